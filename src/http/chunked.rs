//! Chunked bodies: the framing byte by byte, the data in one piece.

use ::http::StatusCode;
use bytes::{Buf, BytesMut};

use super::claims::BODY_TOO_LARGE;
use super::limits::{MAX_CHUNK_EXTENSION_BYTES, MAX_TRAILER_BYTES, MAX_TRAILERS};
use super::refusal::Refusal;
use super::scan::is_token;

/// More digits than a 64-bit size can have: leading zeros beyond them are refused as well.
const MAX_SIZE_DIGITS: u8 = 16;

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// A chunk's size in hexadecimal digits.
    Size,
    /// Space between the size and the `;` of an extension.
    SizeSpace,
    /// After the `;`. Nothing reads what is here, but it must not hold what others take for a
    /// line's end.
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    /// The LF of the empty line that ends the body.
    EndLf,
    End,
}

/// How far a chunked body has been read. It keeps nothing in the input.
#[derive(Debug)]
pub(super) struct ChunkedReader {
    at: At,
    /// The size that is being read, then how much of the chunk is to come.
    size: u64,
    digits: u8,
    extension_bytes: usize,
    trailer_bytes: usize,
    trailers: usize,
    body: Vec<u8>,
}

impl ChunkedReader {
    pub(super) fn new() -> Self {
        Self {
            at: At::Size,
            size: 0,
            digits: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
            trailers: 0,
            body: Vec::new(),
        }
    }

    /// Takes what belongs to the body off the front of `input`. Once it is whole, answers it.
    pub(super) fn read(
        &mut self,
        input: &mut BytesMut,
        max_body: usize,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        while self.at != At::End {
            if self.at == At::Data {
                self.take_data(input);
            }
            let Some(&byte) = input.first() else { return Ok(None) };
            self.step(byte, max_body)?;
            input.advance(1);
        }
        Ok(Some(std::mem::take(&mut self.body)))
    }

    fn take_data(&mut self, input: &mut BytesMut) {
        let left = usize::try_from(self.size).unwrap_or(usize::MAX);
        let taken = left.min(input.len());
        self.body.extend_from_slice(&input[..taken]);
        input.advance(taken);
        self.size -= taken as u64;
        if self.size == 0 {
            self.at = At::DataCr;
        }
    }

    fn step(&mut self, byte: u8, max_body: usize) -> Result<(), Refusal> {
        self.at = match (self.at, byte) {
            (At::Size, _) => self.size_byte(byte)?,
            (At::SizeSpace | At::Extension, _) => self.extension_byte(byte)?,
            (At::SizeLf, b'\n') => self.size_done(max_body)?,
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => {
                self.digits = 0;
                At::Size
            }
            (At::TrailerStart, b'\r') => At::EndLf,
            (At::EndLf, b'\n') => At::End,
            (At::TrailerStart | At::TrailerName | At::TrailerValue | At::TrailerLf, _) => {
                self.trailer_byte(byte)?
            }
            (At::DataCr | At::DataLf, _) => {
                return Err(Refusal::bad("chunk is longer than its size"));
            }
            (At::SizeLf | At::EndLf | At::Data | At::End, _) => {
                return Err(Refusal::bad("CR without LF in a chunked body"));
            }
        };
        Ok(())
    }

    fn size_byte(&mut self, byte: u8) -> Result<At, Refusal> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if self.digits == MAX_SIZE_DIGITS {
                return Err(Refusal::bad("chunk size exceeds 16 digits"));
            }
            self.digits += 1;
            self.size = self.size << 4 | u64::from(digit);
            return Ok(At::Size);
        }
        match byte {
            _ if self.digits == 0 => Err(Refusal::bad("chunk size is missing")),
            b'\r' => Ok(At::SizeLf),
            b' ' | b'\t' | b';' => self.extension_byte(byte),
            _ => Err(Refusal::bad("chunk size is not hexadecimal")),
        }
    }

    fn extension_byte(&mut self, byte: u8) -> Result<At, Refusal> {
        self.extension_bytes += 1;
        if self.extension_bytes > MAX_CHUNK_EXTENSION_BYTES {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return Err(Refusal::new(status, "chunk extensions exceed 16384 bytes"));
        }
        match byte {
            b'\r' if self.at == At::Extension => Ok(At::SizeLf),
            _ if is_text(byte) && self.at == At::Extension => Ok(At::Extension),
            b';' => Ok(At::Extension),
            b' ' | b'\t' => Ok(At::SizeSpace),
            _ => Err(Refusal::bad("chunk size is followed by neither CR LF nor an extension")),
        }
    }

    fn size_done(&mut self, max_body: usize) -> Result<At, Refusal> {
        let left = (max_body - self.body.len()) as u64;
        match self.size {
            0 => Ok(At::TrailerStart),
            size if size > left => Err(BODY_TOO_LARGE),
            _ => Ok(At::Data),
        }
    }

    /// Trailers are skipped, but a malformed one is refused as in a head: it may be the start of
    /// the next request, after an end that only the sender saw.
    fn trailer_byte(&mut self, byte: u8) -> Result<At, Refusal> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > MAX_TRAILER_BYTES {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(Refusal::new(status, "trailers exceed 16384 bytes"));
        }
        match (self.at, byte) {
            (At::TrailerStart, _) if is_token(byte) => self.trailer_start(),
            (At::TrailerName, _) if is_token(byte) => Ok(At::TrailerName),
            (At::TrailerName, b':') => Ok(At::TrailerValue),
            (At::TrailerValue, b'\r') => Ok(At::TrailerLf),
            (At::TrailerValue, _) if is_text(byte) => Ok(At::TrailerValue),
            (At::TrailerLf, b'\n') => Ok(At::TrailerStart),
            _ => Err(Refusal::bad("trailer is malformed")),
        }
    }

    fn trailer_start(&mut self) -> Result<At, Refusal> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(Refusal::new(status, "more than 100 trailers"));
        }
        Ok(At::TrailerName)
    }
}

/// Whether `byte` may stand in a value: the tab, or no control character.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}
