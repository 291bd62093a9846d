//! Reads a head line by line, each byte once, whatever pieces it comes in.

use std::mem;

use ::http::StatusCode;
use bytes::{Buf, Bytes, BytesMut};

use super::claims::{Claims, Framing};
use super::limits::{Limits, MAX_EMPTY_LINES};
use super::refusal::Refusal;
use super::request::{Field, Message, Span};
use super::scan;
use super::target::RequestLine;

/// A whole head: the request as far as it is known, and what comes behind it.
pub(super) struct Head {
    pub(super) message: Message,
    pub(super) framing: Framing,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(super) waits: bool,
}

/// How far the head at the front of the input has been read.
///
/// Every judgement is made on a complete line, in the order of the lines, and what concerns the
/// whole head at its end. So the verdict does not depend on how the bytes were cut into pieces.
#[derive(Default)]
pub(super) struct HeadReader {
    /// Bytes looked at. They stay in the input until the head is whole.
    scanned: usize,
    line_start: usize,
    empty_lines: u8,
    request_line: Option<RequestLine>,
    /// Kept from one request to the next for its capacity.
    fields: Vec<Field>,
    claims: Claims,
}

impl HeadReader {
    /// Whether nothing of a head has been seen. Empty lines before it do not count.
    pub(super) fn is_idle(&self) -> bool {
        self.scanned == 0
    }

    /// Takes the head off the front of `input` if it is whole.
    pub(super) fn read(
        &mut self,
        input: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<Head>, Refusal> {
        loop {
            let window = &input[..input.len().min(limits.max_head)];
            let Some(end) = scan::line_end(window, &mut self.scanned)? else {
                let full = window.len() == limits.max_head;
                return if full { Err(self.too_large()) } else { Ok(None) };
            };
            let start = mem::replace(&mut self.line_start, self.scanned);
            match self.request_line {
                None if start == end => {
                    self.skip_empty_line()?;
                    input.advance(2);
                }
                None => self.request_line = Some(RequestLine::parse(&window[start..end])?),
                Some(_) if start < end => self.read_field(window, start, end, limits)?,
                Some(_) => return self.finish(input, limits).map(Some),
            }
        }
    }

    fn too_large(&self) -> Refusal {
        match self.request_line {
            None => Refusal::new(StatusCode::URI_TOO_LONG, "request line exceeds the head's limit"),
            Some(_) => Refusal::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head exceeds its limit of bytes",
            ),
        }
    }

    fn skip_empty_line(&mut self) -> Result<(), Refusal> {
        self.empty_lines += 1;
        if self.empty_lines > MAX_EMPTY_LINES {
            return Err(Refusal::bad("too many empty lines before the request line"));
        }
        self.scanned = 0;
        self.line_start = 0;
        Ok(())
    }

    fn read_field(
        &mut self,
        head: &[u8],
        start: usize,
        end: usize,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        let line = &head[start..end];
        let name_len = scan::token_len(line);
        match (name_len, line.get(name_len)) {
            (0, Some(b' ' | b'\t')) => return Err(Refusal::bad("field line starts with space")),
            (0, _) => return Err(Refusal::bad("field without a name")),
            (_, Some(b':')) => {}
            (_, None) => return Err(Refusal::bad("field line without a colon")),
            (_, Some(b' ' | b'\t')) => return Err(Refusal::bad("space after a field's name")),
            (_, Some(_)) => return Err(Refusal::bad("field name is not a token")),
        }
        if self.fields.len() == limits.max_headers {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(Refusal::new(status, "head exceeds its limit of fields"));
        }
        let name = Span::new(start, start + name_len);
        let value = trim_span(head, start + name_len + 1, end);
        self.claims.note(name.of(head), value.of(head), value)?;
        self.fields.push(Field { name, value });
        Ok(())
    }

    /// Makes the request of a whole head, and gets ready for the next one.
    fn finish(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Head, Refusal> {
        let fields = Box::from(self.fields.as_slice());
        self.fields.clear();
        let next = Self { fields: mem::take(&mut self.fields), ..Self::default() };
        let Self { scanned, request_line, claims, .. } = mem::replace(self, next);
        let RequestLine { method, target, minor_version } =
            request_line.expect("a head ends after its request line");
        let framing = claims.framing(minor_version, limits)?;
        let head = Bytes::copy_from_slice(&input[..scanned]);
        input.advance(scanned);
        let message = Message {
            head,
            fields,
            method,
            target,
            host: claims.host,
            minor_version,
            keep_alive: claims.stays_open(minor_version),
            body: Bytes::new(),
        };
        Ok(Head { message, framing, waits: claims.waits(minor_version) })
    }
}

/// Where the value between `start` and `end` is, without the space around it.
fn trim_span(head: &[u8], start: usize, end: usize) -> Span {
    let start = end - head[start..end].trim_ascii_start().len();
    Span::new(start, start + head[start..end].trim_ascii_end().len())
}
