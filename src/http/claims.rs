//! The fields that decide where a request ends and what becomes of its connection.

use ::http::StatusCode;

use super::limits::Limits;
use super::refusal::Refusal;
use super::request::Span;
use super::scan::is_token;
use super::target::is_authority;

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes, none if the request says nothing.
    Length(usize),
    Chunked,
}

/// What a head's fields say so far.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) host: Option<Span>,
    content_length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expect: bool,
}

impl Claims {
    /// Takes note of a field. `span` is where its value is in the head. There is no white space
    /// in a value but spaces and tabs, so that `trim_ascii` takes what HTTP calls optional space.
    pub(super) fn note(&mut self, name: &[u8], value: &[u8], span: Span) -> Result<(), Refusal> {
        // By length first: nearly all fields are none of these.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.note_host(value, span),
            6 if name.eq_ignore_ascii_case(b"expect") => self.note_expect(value),
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.note_connection(value);
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.note_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.note_coding(value),
            _ => Ok(()),
        }
    }

    fn note_host(&mut self, value: &[u8], span: Span) -> Result<(), Refusal> {
        if self.host.replace(span).is_some() {
            return Err(Refusal::bad("Host is repeated"));
        }
        if is_authority(value) { Ok(()) } else { Err(Refusal::bad("Host is malformed")) }
    }

    fn note_expect(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            let status = StatusCode::EXPECTATION_FAILED;
            return Err(Refusal::new(status, "Expect is not 100-continue"));
        }
        self.expect = true;
        Ok(())
    }

    fn note_connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// A list of equal lengths is refused too, though RFC 9112 would let it pass: who merged two
    /// lines into it did not look at them.
    fn note_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.content_length.is_some() {
            return Err(Refusal::bad("Content-Length is repeated"));
        }
        if value.is_empty() {
            return Err(Refusal::bad("Content-Length is empty"));
        }
        let mut length = 0_u64;
        for &byte in value {
            if !byte.is_ascii_digit() {
                return Err(Refusal::bad("Content-Length is not decimal"));
            }
            length = length
                .checked_mul(10)
                .and_then(|tens| tens.checked_add(u64::from(byte - b'0')))
                .ok_or(Refusal::bad("Content-Length exceeds 64 bits"))?;
        }
        self.content_length = Some(length);
        Ok(())
    }

    fn note_coding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked {
            return Err(Refusal::bad("Transfer-Encoding is repeated"));
        }
        let mut codings = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        if codings.clone().any(|it| it.is_empty() || !it.iter().all(|&byte| is_token(byte))) {
            return Err(Refusal::bad("Transfer-Encoding is malformed"));
        }
        let chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
        let last = codings.next_back().is_some_and(chunked);
        if codings.clone().any(chunked) {
            return Err(Refusal::bad("Transfer-Encoding has chunked before its end"));
        }
        if !last || codings.next().is_some() {
            let status = StatusCode::NOT_IMPLEMENTED;
            return Err(Refusal::new(status, "Transfer-Encoding other than chunked"));
        }
        self.chunked = true;
        Ok(())
    }

    /// Decides, when the head is whole, how the body is delimited.
    pub(super) fn framing(&self, minor_version: u8, limits: &Limits) -> Result<Framing, Refusal> {
        if self.chunked && minor_version == 0 {
            return Err(Refusal::bad("Transfer-Encoding in HTTP/1.0"));
        }
        if self.chunked && self.content_length.is_some() {
            return Err(Refusal::bad("both Transfer-Encoding and Content-Length"));
        }
        if self.host.is_none() && minor_version > 0 {
            return Err(Refusal::bad("HTTP/1.1 without Host"));
        }
        if self.chunked {
            return Ok(Framing::Chunked);
        }
        match usize::try_from(self.content_length.unwrap_or(0)) {
            Ok(length) if length <= limits.max_body => Ok(Framing::Length(length)),
            _ => Err(BODY_TOO_LARGE),
        }
    }

    /// Whether the connection stays open. `close` wins over `keep-alive`.
    pub(super) fn stays_open(&self, minor_version: u8) -> bool {
        !self.close && (minor_version > 0 || self.keep_alive)
    }

    /// Whether the client waits for `100 Continue`. One that speaks HTTP/1.0 could not read it.
    pub(super) fn waits(&self, minor_version: u8) -> bool {
        self.expect && minor_version > 0
    }
}

pub(super) const BODY_TOO_LARGE: Refusal =
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body exceeds its limit");
