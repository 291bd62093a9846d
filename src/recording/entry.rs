//! One entry of a recording: what it says, and its bytes. docs/replay.md has the table.
//!
//! Tickets, times and versions are written as differences from the entry before in the *same*
//! block, so that each block can be decoded alone. Decoding never panics, whatever the bytes.

use crate::varint::{Cursor, put, put_bytes, put_delta, put_text};
use ::http::{HeaderName, HeaderValue};
use bytes::Bytes;

/// Of a longer answer so many bytes are kept, beside its length and its checksum.
pub(crate) const KEPT_BYTES: usize = 4096;
/// A longer answer is cut where it is recorded, and not by the writer: that costs what copying it
/// for its client costs.
const LONG_BYTES: usize = 64 * 1024;
/// What an entry is taken to occupy in memory beside its bytes.
const ENTRY_BYTES: usize = 128;

const REQUEST: u8 = 1;
const CALLBACK: u8 = 2;
const FOREIGN: u8 = 3;
const TAKEN_BACK: u8 = 4;
const ANSWER: u8 = 5;
const DONE: u8 = 6;
const STOPPED: u8 = 7;
const END: u8 = 8;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A request got its ticket: its head as it was sent, and its body without framing.
    Request { ticket: u64, now_ns: u64, head: Bytes, body: Bytes },
    /// What the handler of `parent` asked for as number `index` (from 0) got its ticket.
    Callback { ticket: u64, now_ns: u64, parent: u64, index: u32 },
    /// A callback that no handler asked for got its ticket: it came from another thread.
    Foreign { ticket: u64, now_ns: u64 },
    /// It was taken back: nothing of it remains.
    TakenBack { ticket: u64 },
    /// A request was answered. `version`: its place in the serial order of the process. `waited`: a
    /// read-only handler that called `retry`, so its place is not that of its ticket.
    Answer { ticket: u64, version: u64, waited: bool, answer: Answer },
    /// A callback has ended.
    Done { ticket: u64, version: u64 },
    /// Nothing was recorded from here on.
    Stopped { why: String },
    /// The recording was closed in order, at this time on the wall clock.
    End { at_ns: u64 },
}

/// An answer, without what is added when it is sent (Date, Content-Length, Connection).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// The whole body, or its first [`KEPT_BYTES`].
    pub(crate) body: Bytes,
    /// Of a body that was cut.
    pub(crate) whole: Option<Whole>,
}

/// What is known of a body that was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) length: u64,
    pub(crate) crc32: u32,
}

impl Answer {
    /// The same as it is kept in a recording.
    pub(crate) fn cut(mut self) -> Self {
        if self.whole.is_none() && self.body.len() > KEPT_BYTES {
            let (length, crc32) = (self.body.len() as u64, crc32fast::hash(&self.body));
            self.whole = Some(Whole { length, crc32 });
            // A copy: a part of it would keep the whole.
            self.body = Bytes::copy_from_slice(&self.body[..KEPT_BYTES]);
        }
        self
    }
}

/// What the next entry of a block is a difference from; all zero where a block starts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Base {
    ticket: u64,
    now_ns: u64,
    version: u64,
}

impl Base {
    fn put_ticket(&mut self, out: &mut Vec<u8>, ticket: u64) {
        put_delta(out, self.ticket, ticket);
        self.ticket = ticket;
    }

    fn put_admission(&mut self, out: &mut Vec<u8>, ticket: u64, now_ns: u64) {
        self.put_ticket(out, ticket);
        put_delta(out, self.now_ns, now_ns);
        self.now_ns = now_ns;
    }

    fn put_version(&mut self, out: &mut Vec<u8>, version: u64) {
        put_delta(out, self.version, version);
        self.version = version;
    }

    fn ticket(&mut self, cursor: &mut Cursor<'_>) -> Option<u64> {
        self.ticket = cursor.delta(self.ticket)?;
        Some(self.ticket)
    }

    fn now_ns(&mut self, cursor: &mut Cursor<'_>) -> Option<u64> {
        self.now_ns = cursor.delta(self.now_ns)?;
        Some(self.now_ns)
    }

    fn version(&mut self, cursor: &mut Cursor<'_>) -> Option<u64> {
        self.version = cursor.delta(self.version)?;
        Some(self.version)
    }
}

impl Entry {
    /// How much memory it occupies while it waits for the disk, about.
    pub(super) fn size(&self) -> usize {
        ENTRY_BYTES
            + match self {
                Self::Request { head, body, .. } => head.len() + body.len(),
                Self::Answer { answer, .. } => {
                    answer.headers.len() * ENTRY_BYTES + answer.body.len()
                }
                _ => 0,
            }
    }

    /// The same without the rest of a long answer, which would fill the memory for what waits.
    pub(super) fn cut_if_long(self) -> Self {
        match self {
            Self::Answer { ticket, version, waited, answer } if answer.body.len() > LONG_BYTES => {
                Self::Answer { ticket, version, waited, answer: answer.cut() }
            }
            short => short,
        }
    }

    /// Appends the entry.
    pub(super) fn put(self, out: &mut Vec<u8>, base: &mut Base) {
        match self {
            Self::Request { ticket, now_ns, head, body } => {
                out.push(REQUEST);
                base.put_admission(out, ticket, now_ns);
                put_bytes(out, &head);
                put_bytes(out, &body);
            }
            Self::Callback { ticket, now_ns, parent, index } => {
                out.push(CALLBACK);
                base.put_admission(out, ticket, now_ns);
                put(out, ticket.wrapping_sub(parent));
                put(out, u64::from(index));
            }
            Self::Foreign { ticket, now_ns } => {
                out.push(FOREIGN);
                base.put_admission(out, ticket, now_ns);
            }
            Self::TakenBack { ticket } => {
                out.push(TAKEN_BACK);
                base.put_ticket(out, ticket);
            }
            Self::Answer { ticket, version, waited, answer } => {
                out.push(ANSWER);
                base.put_ticket(out, ticket);
                base.put_version(out, version);
                put_answer(out, waited, &answer.cut());
            }
            Self::Done { ticket, version } => {
                out.push(DONE);
                base.put_ticket(out, ticket);
                base.put_version(out, version);
            }
            Self::Stopped { why } => {
                out.push(STOPPED);
                put_text(out, &why);
            }
            Self::End { at_ns } => {
                out.push(END);
                put(out, at_ns);
            }
        }
    }

    /// The next entry; `None` if the bytes are malformed.
    pub(super) fn take(cursor: &mut Cursor<'_>, base: &mut Base) -> Option<Self> {
        let bytes = |cursor: &mut Cursor<'_>| cursor.bytes().map(Bytes::copy_from_slice);
        let kind = cursor.byte()?;
        match kind {
            STOPPED => return Some(Self::Stopped { why: cursor.text()? }),
            END => return Some(Self::End { at_ns: cursor.varint()? }),
            _ => {}
        }
        let ticket = base.ticket(cursor)?;
        Some(match kind {
            REQUEST => {
                let now_ns = base.now_ns(cursor)?;
                Self::Request { ticket, now_ns, head: bytes(cursor)?, body: bytes(cursor)? }
            }
            CALLBACK => {
                let now_ns = base.now_ns(cursor)?;
                let parent = ticket.wrapping_sub(cursor.varint()?);
                Self::Callback { ticket, now_ns, parent, index: cursor.varint_u32()? }
            }
            FOREIGN => Self::Foreign { ticket, now_ns: base.now_ns(cursor)? },
            TAKEN_BACK => Self::TakenBack { ticket },
            ANSWER => {
                let version = base.version(cursor)?;
                let (waited, answer) = take_answer(cursor)?;
                Self::Answer { ticket, version, waited, answer }
            }
            DONE => Self::Done { ticket, version: base.version(cursor)? },
            _ => return None,
        })
    }
}

/// Bits of an answer's first byte.
const WAITED: u8 = 1;
const CUT: u8 = 2;

fn put_answer(out: &mut Vec<u8>, waited: bool, answer: &Answer) {
    let cut = if answer.whole.is_some() { CUT } else { 0 };
    out.push(u8::from(waited) | cut);
    put(out, u64::from(answer.status));
    put(out, answer.headers.len() as u64);
    for (name, value) in &answer.headers {
        put_text(out, name.as_str());
        put_bytes(out, value.as_bytes());
    }
    put_bytes(out, &answer.body);
    if let Some(whole) = answer.whole {
        put(out, whole.length);
        out.extend_from_slice(&whole.crc32.to_le_bytes());
    }
}

fn take_answer(cursor: &mut Cursor<'_>) -> Option<(bool, Answer)> {
    let flags = cursor.byte()?;
    let status = u16::try_from(cursor.varint()?).ok()?;
    // A header takes at least two bytes, so a wrong number of them ends early.
    let count = cursor.varint()?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = HeaderName::from_bytes(cursor.bytes()?).ok()?;
        headers.push((name, HeaderValue::from_bytes(cursor.bytes()?).ok()?));
    }
    let body = Bytes::copy_from_slice(cursor.bytes()?);
    let whole = match flags & CUT {
        0 => None,
        _ => {
            let length = cursor.varint()?;
            Some(Whole { length, crc32: u32::from_le_bytes(cursor.array()?) })
        }
    };
    Some((flags & WAITED != 0, Answer { status, headers, body, whole }))
}
