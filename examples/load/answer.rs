//! HTTP/1.1 answers, read from bytes that arrive in any portions. No I/O here.

use serde_json::Value;

use crate::wrong::Wrong;

/// Longest head of an answer, and longest line between chunks.
const MAX_HEAD: usize = 64 * 1024;

/// Longest body of an answer; the largest map of `astar` takes 4 MB.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// One answer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The text of the `txloop-version` field.
    pub(crate) version: Option<String>,
    /// Whether the connection ends with this answer.
    pub(crate) closes: bool,
    /// The body, with any chunking undone.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON, if the status is the wanted one.
    pub(crate) fn json(&self, status: u16) -> Result<Value, Wrong> {
        if self.status != status {
            return Err(self.wrong(format!("status {}", self.status)));
        }
        serde_json::from_slice(&self.body).map_err(|_| self.wrong("not json"))
    }

    /// The text of a 409: its body is exactly `{"error":"text"}`.
    pub(crate) fn refusal(&self) -> Result<String, Wrong> {
        let value = self.json(409)?;
        let object = value.as_object().filter(|object| object.len() == 1);
        let text = object.and_then(|object| object.get("error")?.as_str());
        text.map(str::to_owned).ok_or_else(|| self.wrong("409 without its reason"))
    }

    /// The fields of a JSON object that has these fields only, all whole numbers from 0.
    pub(crate) fn numbers<const N: usize>(&self, fields: [&str; N]) -> Result<[u64; N], Wrong> {
        let value = self.json(200)?;
        let mut numbers = [0; N];
        let exact = value.as_object().is_some_and(|object| object.len() == N);
        for (number, field) in numbers.iter_mut().zip(fields) {
            *number = value
                .get(field)
                .filter(|_| exact)
                .and_then(Value::as_u64)
                .ok_or_else(|| self.wrong("unexpected fields"))?;
        }
        Ok(numbers)
    }

    /// A complaint about this answer.
    pub(crate) fn wrong(&self, kind: impl Into<String>) -> Wrong {
        let body = String::from_utf8_lossy(&self.body);
        Wrong::answered(kind, format!("{} {body}", self.status))
    }
}

/// What the next bytes of an answer are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The status line.
    #[default]
    Status,
    /// Header fields, up to the empty line.
    Fields,
    /// So many bytes of body.
    Length(usize),
    /// The line with the size of a chunk.
    ChunkSize,
    /// So many bytes of a chunk.
    Chunk(usize),
    /// The empty line after a chunk.
    ChunkEnd,
    /// Fields after the last chunk, up to the empty line.
    Trailers,
    /// Body until the connection closes.
    UntilClose,
    /// None: the answer is complete.
    Done,
}

/// Reads one answer.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// What comes next.
    state: State,
    /// The begun line.
    line: Vec<u8>,
    /// Bytes of head so far, so that no server can make it endless.
    head: usize,
    /// What the `content-length` field says.
    length: Option<usize>,
    /// Whether the body is chunked.
    chunked: bool,
    /// The answer so far.
    answer: Answer,
}

impl Parser {
    /// Forgets the answer and begins the next, in the same memory.
    pub(crate) fn restart(&mut self) {
        let mut body = std::mem::take(&mut self.answer.body);
        body.clear();
        self.line.clear();
        let line = std::mem::take(&mut self.line);
        *self = Parser { line, answer: Answer { body, ..Answer::default() }, ..Parser::default() };
    }

    /// The answer, once it is complete.
    pub(crate) fn complete(&self) -> Option<&Answer> {
        (self.state == State::Done).then_some(&self.answer)
    }

    /// Takes the bytes that arrived; the error says why they are not an answer.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            match self.state {
                State::Done => return Err("bytes after the end of the answer".to_owned()),
                State::Length(left) | State::Chunk(left) => {
                    let (now, rest) = bytes.split_at(left.min(bytes.len()));
                    self.answer.body.extend_from_slice(now);
                    bytes = rest;
                    self.state = match (self.state, left - now.len()) {
                        (State::Length(_), 0) => State::Done,
                        (State::Length(_), left) => State::Length(left),
                        (_, 0) => State::ChunkEnd,
                        (_, left) => State::Chunk(left),
                    };
                }
                State::UntilClose => {
                    self.fits(bytes.len())?;
                    self.answer.body.extend_from_slice(bytes);
                    bytes = &[];
                }
                _ => bytes = self.take_line(bytes)?,
            }
        }
        Ok(())
    }

    /// Takes the end of the connection, which ends an answer without a length.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        match self.state {
            State::UntilClose => self.state = State::Done,
            State::Status if self.line.is_empty() => {
                return Err("connection closed instead of an answer".to_owned());
            }
            _ => return Err("connection closed inside an answer".to_owned()),
        }
        Ok(())
    }

    /// Takes bytes up to the end of a line, acts on a whole line, and returns the rest.
    fn take_line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], String> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (now, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        self.head += now.len();
        if self.head > MAX_HEAD {
            return Err(format!("head of the answer exceeds {MAX_HEAD} bytes"));
        }
        self.line.extend_from_slice(now);
        if end.is_some() {
            let line = std::mem::take(&mut self.line);
            let text = line
                .strip_suffix(b"\r\n")
                .and_then(|line| std::str::from_utf8(line).ok())
                .ok_or("line of the head that is not text or ends without CRLF")?;
            self.state = self.after_line(text)?;
            // The memory serves the next line.
            self.line = line;
            self.line.clear();
        }
        Ok(rest)
    }

    /// What follows a whole line.
    fn after_line(&mut self, line: &str) -> Result<State, String> {
        match self.state {
            State::Status => {
                let mut parts = line.splitn(3, ' ');
                self.answer.closes = match parts.next() {
                    Some("HTTP/1.1") => false,
                    Some("HTTP/1.0") => true,
                    _ => return Err(format!("status line {line:?}")),
                };
                let digits = parts.next().filter(|code| code.len() == 3 && is_digits(code));
                let code = digits.and_then(|code| code.parse().ok());
                self.answer.status = code.ok_or_else(|| format!("status line {line:?}"))?;
                Ok(State::Fields)
            }
            State::Fields if line.is_empty() => Ok(self.body_state()),
            State::Fields => self.field(line).map(|()| State::Fields),
            State::ChunkSize => {
                let digits = line.split(';').next().unwrap_or_default().trim_end();
                let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                let size = usize::from_str_radix(digits, 16).ok().filter(|_| hex);
                let size = size.ok_or_else(|| format!("chunk size {line:?}"))?;
                self.fits(size)?;
                // A body may have any number of chunks: only a single line is limited.
                self.head = 0;
                Ok(if size == 0 { State::Trailers } else { State::Chunk(size) })
            }
            State::ChunkEnd if line.is_empty() => Ok(State::ChunkSize),
            State::ChunkEnd => Err("chunk longer than its size".to_owned()),
            State::Trailers if line.is_empty() => Ok(State::Done),
            other => Ok(other),
        }
    }

    /// Takes a header field.
    fn field(&mut self, line: &str) -> Result<(), String> {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("header {line:?}"))?;
        let value = value.trim_matches([' ', '\t']);
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.parse().ok().filter(|_| is_digits(value));
            let length = length.ok_or_else(|| format!("header {line:?}"))?;
            self.fits(length)?;
            if self.length.replace(length).is_some_and(|before| before != length) {
                return Err("two different content-length fields".to_owned());
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") {
                return Err(format!("header {line:?}"));
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            for option in value.split(',').map(str::trim) {
                self.answer.closes |= option.eq_ignore_ascii_case("close");
                self.answer.closes &= !option.eq_ignore_ascii_case("keep-alive");
            }
        } else if name.eq_ignore_ascii_case("txloop-version") {
            self.answer.version = Some(value.to_owned());
        }
        if self.chunked && self.length.is_some() {
            return Err("answer both chunked and with a content-length".to_owned());
        }
        Ok(())
    }

    /// What follows the head.
    fn body_state(&mut self) -> State {
        match (self.answer.status, self.length) {
            // An interim answer: the real one is still to come.
            (100..=199, _) => {
                let head = self.head;
                self.restart();
                self.head = head;
                State::Status
            }
            (204 | 304, _) => State::Done,
            _ if self.chunked => State::ChunkSize,
            (_, Some(0)) => State::Done,
            (_, Some(length)) => State::Length(length),
            (_, None) => {
                self.answer.closes = true;
                State::UntilClose
            }
        }
    }

    /// Refuses more bytes of body than [`MAX_BODY`].
    fn fits(&self, more: usize) -> Result<(), String> {
        if more > MAX_BODY - self.answer.body.len() {
            return Err(format!("body of the answer exceeds {MAX_BODY} bytes"));
        }
        Ok(())
    }
}

/// Whether a text is a number without a sign.
fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds an answer in portions and shows what came out.
    fn read(portions: &[&[u8]], ends: bool) -> Result<Option<Answer>, String> {
        let mut parser = Parser::default();
        for portion in portions {
            parser.push(portion)?;
        }
        if ends {
            parser.end()?;
        }
        Ok(parser.complete().cloned())
    }

    /// Checks that an answer is read alike however it is cut, and that no part of it is enough.
    #[track_caller]
    fn check(text: &str, ends: bool, expected: (u16, Option<&str>, bool, &str)) {
        let bytes = text.as_bytes();
        let (status, version, closes, body) = expected;
        let version = version.map(str::to_owned);
        let expected = Answer { status, version, closes, body: body.as_bytes().to_vec() };
        for cut in 0..=bytes.len() {
            let (first, second) = bytes.split_at(cut);
            let answer = read(&[first, second], ends);
            assert_eq!(answer, Ok(Some(expected.clone())), "cut at {cut}");
            if !ends && cut < bytes.len() {
                assert_eq!(read(&[first], false), Ok(None), "cut at {cut}");
                assert!(read(&[first], true).is_err(), "cut at {cut}");
            }
        }
        let single: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(read(&single, ends), Ok(Some(expected)));
    }

    #[test]
    fn answers_cut_anywhere() {
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntxloop-version: 17\r\n\r\nhello";
        check(text, false, (200, Some("17"), false, "hello"));
        let text = "HTTP/1.1 409 Conflict\r\nContent-Length:0\r\nConnection: close\r\n\r\n";
        check(text, false, (409, None, true, ""));
        check("HTTP/1.1 204 No Content\r\ndate: x\r\n\r\n", false, (204, None, false, ""));
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let text = format!("{head}5\r\nhello\r\n6;x=1\r\n world\r\n0\r\nt: 1\r\n\r\n");
        check(&text, false, (200, None, false, "hello world"));
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        check(text, false, (200, None, false, "ok"));
        let text = "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok";
        check(text, false, (200, None, false, "ok"));
        check("HTTP/1.1 200 OK\r\n\r\nall", true, (200, None, true, "all"));
    }

    #[test]
    fn malformed_answers() {
        for text in [
            "HTTP/2 200 OK\r\n",
            "HTTP/1.1 20 OK\r\n",
            "HTTP/1.1 +20 OK\r\n",
            "HTTP/1.1 200 OK\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabc",
            "HTTP/1.1 204 No Content\r\n\r\nx",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
        ] {
            assert!(read(&[text.as_bytes()], false).is_err(), "{text}");
        }
        assert!(read(&["x".repeat(MAX_HEAD + 1).as_bytes()], false).is_err());
        assert!(read(&[], true).is_err());
    }

    #[test]
    fn one_parser_reads_many_answers() {
        let mut parser = Parser::default();
        for body in ["one", "three"] {
            parser.restart();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            parser.push(head.as_bytes()).unwrap();
            assert_eq!(parser.complete(), None);
            parser.push(body.as_bytes()).unwrap();
            assert_eq!(parser.complete().unwrap().body, body.as_bytes());
        }
    }
}
