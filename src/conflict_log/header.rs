//! The start of a log file: what wrote it, when, and what the codes in it mean.

use super::{
    format,
    record::{ConflictKind, Outcome},
};
use crate::varint::{self, Cursor};

/// The first bytes of every log.
pub(super) const MAGIC: [u8; 8] = *b"TXLOOPLG";
/// The version of the format that is written and read here.
pub(super) const FORMAT_VERSION: u16 = 1;
/// Bytes before the header's own contents: magic, version, length, checksum.
pub(super) const PREFIX_LEN: usize = 18;
/// The longest header contents that a reader accepts, in bytes.
pub(super) const MAX_HEADER: usize = 65_536;

/// A family of codes in the event table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EventTable {
    /// Kinds of blocks.
    Block,
    /// Kinds of records.
    Record,
    /// How attempts end.
    Outcome,
    /// Why time is lost.
    Conflict,
}

impl EventTable {
    const fn code(self) -> u8 {
        match self {
            Self::Block => 1,
            Self::Record => 2,
            Self::Outcome => 3,
            Self::Conflict => 4,
        }
    }

    /// What one code of this family is called in a note.
    pub(crate) const fn noun(self) -> &'static str {
        match self {
            Self::Block => "block kind",
            Self::Record => "record kind",
            Self::Outcome => "outcome",
            Self::Conflict => "conflict kind",
        }
    }
}

/// One line of the event table: family, code, name.
type Event = (u8, u8, String);

/// The header of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// The version of this library that wrote the log.
    pub(crate) written_by: String,
    /// The wall clock when the log was opened, ns since 1970 (UTC).
    pub(crate) wall_unix_ns: u64,
    /// The monotonic clock at that moment, ns: the origin of the report's time lines.
    pub(crate) mono_ns: u64,
    /// Threads that run handlers.
    pub(crate) threads: u32,
    events: Vec<Event>,
}

impl Header {
    /// A header of this version.
    pub(crate) fn new(wall_unix_ns: u64, mono_ns: u64, threads: u32) -> Self {
        let blocks =
            format::BLOCK_KINDS.iter().map(|&(code, name)| (EventTable::Block, code, name));
        let records =
            format::RECORD_KINDS.iter().map(|&(code, name)| (EventTable::Record, code, name));
        let outcomes =
            Outcome::ALL.iter().map(|&(outcome, name)| (EventTable::Outcome, outcome.code(), name));
        let conflicts =
            ConflictKind::ALL.iter().map(|&(kind, name)| (EventTable::Conflict, kind.code(), name));
        let events = blocks
            .chain(records)
            .chain(outcomes)
            .chain(conflicts)
            .map(|(table, code, name)| (table.code(), code, name.to_owned()))
            .collect();
        let written_by = env!("CARGO_PKG_VERSION").to_owned();
        Self { written_by, wall_unix_ns, mono_ns, threads, events }
    }

    /// What the writer of this log called a code, which this version may not know.
    pub(crate) fn event_name(&self, table: EventTable, code: u8) -> Option<&str> {
        self.events
            .iter()
            .find(|event| (event.0, event.1) == (table.code(), code))
            .map(|event| event.2.as_str())
    }

    /// The bytes of the whole header, magic included.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(512);
        varint::put_text(&mut body, &self.written_by);
        body.extend_from_slice(&self.wall_unix_ns.to_le_bytes());
        body.extend_from_slice(&self.mono_ns.to_le_bytes());
        body.extend_from_slice(&self.threads.to_le_bytes());
        varint::put(&mut body, self.events.len() as u64);
        for (table, code, name) in &self.events {
            body.extend_from_slice(&[*table, *code]);
            varint::put_text(&mut body, name);
        }
        let mut out = Vec::with_capacity(PREFIX_LEN + body.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        out.extend_from_slice(&body);
        out
    }

    /// The header whose contents (after the prefix) are `body`; fields that a later version
    /// appends are ignored.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(body);
        let written_by = cursor.text()?;
        let wall_unix_ns = u64::from_le_bytes(cursor.array()?);
        let mono_ns = u64::from_le_bytes(cursor.array()?);
        let threads = u32::from_le_bytes(cursor.array()?);
        let count = cursor.varint()?;
        let mut events = Vec::new();
        for _ in 0..count {
            events.push((cursor.byte()?, cursor.byte()?, cursor.text()?));
        }
        Some(Self { written_by, wall_unix_ns, mono_ns, threads, events })
    }
}
