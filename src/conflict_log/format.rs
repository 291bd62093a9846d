//! One record, one block: encoding and decoding, without I/O. docs/log-format.md has the picture.
//!
//! A record is a tag (kind in the high half, length in the low half, 15 = a length of its own
//! follows) and a body. So a reader steps over kinds it does not know, and over fields that a
//! later version appends to kinds it knows. Attempts and conflicts are written as differences from
//! the one before in the *same* block, so that blocks can be decoded in any order, in parallel.

use super::{
    header::EventTable,
    record::{AttemptRecord, ConflictKind, ConflictRecord, NameId, Outcome, PlaceId, Record, Side},
};
use crate::varint::{Cursor, put, put_delta, put_text};

/// The longest payload of a block that a reader accepts, in bytes.
pub(super) const MAX_PAYLOAD: usize = 65_536;
/// Bytes of a block before its payload: length, checksum, kind, worker.
pub(super) const FRAME_LEN: usize = 11;
/// The longest name or file name in a log, in bytes; longer ones are cut.
pub(super) const MAX_TEXT: usize = 4096;
/// More bytes than any attempt, conflict, `Dropped` or `End` record takes.
pub(super) const MAX_RECORD: usize = 128;
/// The worker of blocks that the writer thread fills itself.
pub(super) const NO_WORKER: u16 = u16::MAX;

/// Attempts and conflicts of one worker.
pub(super) const BLOCK_EVENTS: u8 = 1;
/// Names, places and counts of what was dropped.
pub(super) const BLOCK_TABLES: u8 = 2;
/// The last block of a log that was closed in order.
pub(super) const BLOCK_END: u8 = 3;
/// Every kind of block, for the event table.
pub(super) const BLOCK_KINDS: [(u8, &str); 3] =
    [(BLOCK_EVENTS, "events"), (BLOCK_TABLES, "tables"), (BLOCK_END, "end")];

const ATTEMPT: u8 = 1;
const CONFLICT: u8 = 2;
const NAME: u8 = 3;
const PLACE: u8 = 4;
const DROPPED: u8 = 5;
const END: u8 = 6;
/// Every kind of record, for the event table.
pub(super) const RECORD_KINDS: [(u8, &str); 6] = [
    (ATTEMPT, "attempt"),
    (CONFLICT, "conflict"),
    (NAME, "name"),
    (PLACE, "place"),
    (DROPPED, "dropped"),
    (END, "end"),
];

/// The low half of a tag that says "the length follows as an integer".
const LONG: u8 = 15;
/// The high half of an attempt's shape that says "the rest of the attempt number follows".
const MANY_ATTEMPTS: u32 = 15;

/// What the next record of a block is a difference from; all zero where a block starts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Base {
    ticket: u64,
    version: u64,
    time_ns: u64,
}

impl Base {
    /// What a version is a difference from: it tends to grow as tickets do, whatever the number of
    /// workers that share them.
    #[inline]
    const fn version_at(self, ticket: u64) -> u64 {
        self.version.wrapping_add(ticket.wrapping_sub(self.ticket))
    }
}

/// Appends one record whose body `fill` writes.
#[inline]
fn put_record(out: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.push(kind << 4);
    fill(out);
    let length = out.len() - start - 1;
    if length < usize::from(LONG) {
        out[start] |= length as u8;
        return;
    }
    out[start] |= LONG;
    let end = out.len();
    put(out, length as u64);
    let width = out.len() - end;
    out[start + 1..].rotate_right(width);
}

/// Appends an attempt; nine bytes where tickets and versions grow by little.
#[inline]
pub(super) fn put_attempt(out: &mut Vec<u8>, base: &mut Base, a: &AttemptRecord) {
    put_record(out, ATTEMPT, |out| {
        let few = a.attempt.min(MANY_ATTEMPTS);
        out.push(a.outcome.code() | (few as u8) << 4);
        if few == MANY_ATTEMPTS {
            put(out, u64::from(a.attempt - MANY_ATTEMPTS));
        }
        put(out, u64::from(a.handler.0));
        put_delta(out, base.ticket, a.ticket);
        put_delta(out, base.version_at(a.ticket), a.version);
        put_delta(out, base.time_ns, a.start_ns);
        put(out, a.end_ns.wrapping_sub(a.start_ns));
    });
    *base = Base { ticket: a.ticket, version: a.version, time_ns: a.end_ns };
}

/// Appends a conflict.
pub(super) fn put_conflict(out: &mut Vec<u8>, base: &mut Base, c: &ConflictRecord) {
    put_record(out, CONFLICT, |out| {
        out.push(c.kind.code());
        put(out, u64::from(c.attempt));
        put_delta(out, base.ticket, c.ticket);
        put_delta(out, base.time_ns, c.at_ns);
        put(out, c.lost_ns);
        put(out, u64::from(c.cell_name.0));
        put(out, u64::from(c.cell_type.0));
        put(out, c.cell_id);
        for side in [c.loser, c.winner] {
            put(out, u64::from(side.handler.0));
            put(out, u64::from(side.place.0));
        }
    });
    *base = Base { ticket: c.ticket, time_ns: c.at_ns, ..*base };
}

/// The longest start of `text` within [`MAX_TEXT`] bytes that ends between two characters.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Appends the definition of a name.
pub(super) fn put_name(out: &mut Vec<u8>, id: u32, text: &str) {
    put_record(out, NAME, |out| {
        put(out, u64::from(id));
        put_text(out, cut(text));
    });
}

/// Appends the definition of a place.
pub(super) fn put_place(out: &mut Vec<u8>, id: u32, file: &str, line: u32, column: u32) {
    put_record(out, PLACE, |out| {
        put(out, u64::from(id));
        put_text(out, cut(file));
        put(out, u64::from(line));
        put(out, u64::from(column));
    });
}

/// Appends how many records were lost.
pub(super) fn put_dropped(out: &mut Vec<u8>, count: u64) {
    put_record(out, DROPPED, |out| put(out, count));
}

/// Appends the end of the log.
pub(super) fn put_end(out: &mut Vec<u8>, at_ns: u64, records: u64) {
    put_record(out, END, |out| {
        put(out, at_ns);
        put(out, records);
    });
}

/// Wraps a payload into a block: the bytes for the file.
pub(super) fn put_block(out: &mut Vec<u8>, kind: u8, worker: u16, payload: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    out.extend_from_slice(&worker.to_le_bytes());
    out.extend_from_slice(payload);
    let sum = checksum(&out[start..start + FRAME_LEN], payload);
    out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
}

/// The checksum of a block: everything in it but the checksum itself.
pub(super) fn checksum(frame: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..4]);
    hasher.update(&frame[8..]);
    hasher.update(payload);
    hasher.finalize()
}

/// What the decoding of one block left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BlockRead {
    /// Codes that this version does not know, once for every record (or block) skipped.
    pub(crate) unknown: Vec<(EventTable, u8)>,
    /// The payload offset of a record that is not what the format says: the rest was ignored.
    pub(crate) malformed_at: Option<usize>,
}

/// Hands every record of a block's payload to `visit`, in order. Any bytes are safe.
pub(crate) fn decode_block(
    kind: u8,
    worker: u16,
    payload: &[u8],
    mut visit: impl FnMut(Record),
) -> BlockRead {
    let mut read = BlockRead::default();
    if !BLOCK_KINDS.iter().any(|&(code, _)| code == kind) {
        read.unknown.push((EventTable::Block, kind));
        return read;
    }
    let mut base = Base::default();
    let mut cursor = Cursor::new(payload);
    while cursor.left() > 0 {
        let at = payload.len() - cursor.left();
        match decode_record(&mut cursor, worker, &mut base) {
            Some(Ok(record)) => visit(record),
            Some(Err(unknown)) => read.unknown.push(unknown),
            None => {
                read.malformed_at = Some(at);
                break;
            }
        }
    }
    read
}

/// A record, or the code in it that this version does not know.
type Decoded = Result<Record, (EventTable, u8)>;

/// The next record; `None` if the bytes are malformed.
fn decode_record(cursor: &mut Cursor<'_>, worker: u16, base: &mut Base) -> Option<Decoded> {
    let tag = cursor.byte()?;
    let length = match tag & 15 {
        LONG => usize::try_from(cursor.varint()?).ok()?,
        short => usize::from(short),
    };
    let mut body = Cursor::new(cursor.take(length)?);
    match tag >> 4 {
        ATTEMPT => decode_attempt(&mut body, worker, base),
        CONFLICT => decode_conflict(&mut body, worker, base),
        NAME => {
            let id = NameId(body.varint_u32()?);
            Some(Ok(Record::Name { id, text: body.text()? }))
        }
        PLACE => {
            let id = PlaceId(body.varint_u32()?);
            let file = body.text()?;
            let (line, column) = (body.varint_u32()?, body.varint_u32()?);
            Some(Ok(Record::Place { id, file, line, column }))
        }
        DROPPED => Some(Ok(Record::Dropped { count: body.varint()? })),
        END => Some(Ok(Record::End { at_ns: body.varint()?, records: body.varint()? })),
        kind => Some(Err((EventTable::Record, kind))),
    }
}

/// An attempt. One with an unknown outcome still moves the base.
fn decode_attempt(body: &mut Cursor<'_>, worker: u16, base: &mut Base) -> Option<Decoded> {
    let shape = body.byte()?;
    let mut attempt = u32::from(shape >> 4);
    if attempt == MANY_ATTEMPTS {
        attempt = MANY_ATTEMPTS.checked_add(body.varint_u32()?)?;
    }
    let handler = NameId(body.varint_u32()?);
    let ticket = body.delta(base.ticket)?;
    let version = body.delta(base.version_at(ticket))?;
    let start_ns = body.delta(base.time_ns)?;
    let end_ns = start_ns.wrapping_add(body.varint()?);
    *base = Base { ticket, version, time_ns: end_ns };
    let code = shape & 15;
    let Some(outcome) = Outcome::from_code(code) else {
        return Some(Err((EventTable::Outcome, code)));
    };
    let record = AttemptRecord { handler, ticket, version, attempt, start_ns, end_ns, outcome };
    Some(Ok(Record::Attempt(worker, record)))
}

/// A conflict. One of an unknown kind still moves the base.
fn decode_conflict(body: &mut Cursor<'_>, worker: u16, base: &mut Base) -> Option<Decoded> {
    let code = body.byte()?;
    let attempt = body.varint_u32()?;
    let ticket = body.delta(base.ticket)?;
    let at_ns = body.delta(base.time_ns)?;
    let lost_ns = body.varint()?;
    let cell_name = NameId(body.varint_u32()?);
    let cell_type = NameId(body.varint_u32()?);
    let cell_id = body.varint()?;
    let (loser, winner) = (decode_side(body)?, decode_side(body)?);
    *base = Base { ticket, time_ns: at_ns, ..*base };
    let Some(kind) = ConflictKind::from_code(code) else {
        return Some(Err((EventTable::Conflict, code)));
    };
    let record = ConflictRecord {
        kind,
        ticket,
        attempt,
        at_ns,
        lost_ns,
        cell_name,
        cell_type,
        cell_id,
        loser,
        winner,
    };
    Some(Ok(Record::Conflict(worker, record)))
}

fn decode_side(body: &mut Cursor<'_>) -> Option<Side> {
    Some(Side { handler: NameId(body.varint_u32()?), place: PlaceId(body.varint_u32()?) })
}

/// A log with the given records, each list in a block of its own. For tests.
#[cfg(test)]
pub(crate) fn test_log(
    header: &super::Header,
    blocks: &[(u16, &[Record])],
    end: Option<(u64, u64)>,
) -> Vec<u8> {
    let mut out = header.encode();
    for (worker, records) in blocks {
        let (mut payload, mut base) = (Vec::new(), Base::default());
        for record in *records {
            match record {
                Record::Name { id, text } => put_name(&mut payload, id.0, text),
                Record::Place { id, file, line, column } => {
                    put_place(&mut payload, id.0, file, *line, *column);
                }
                Record::Attempt(_, attempt) => put_attempt(&mut payload, &mut base, attempt),
                Record::Conflict(_, conflict) => put_conflict(&mut payload, &mut base, conflict),
                Record::Dropped { count } => put_dropped(&mut payload, *count),
                Record::End { at_ns, records } => put_end(&mut payload, *at_ns, *records),
            }
        }
        let kind = if *worker == NO_WORKER { BLOCK_TABLES } else { BLOCK_EVENTS };
        put_block(&mut out, kind, *worker, &payload);
    }
    if let Some((at_ns, records)) = end {
        let mut payload = Vec::new();
        put_end(&mut payload, at_ns, records);
        put_block(&mut out, BLOCK_END, NO_WORKER, &payload);
    }
    out
}

/// A header and one block of any payload, as it might come from somewhere else. For tests.
#[cfg(test)]
pub(crate) fn test_block(header: &super::Header, kind: u8, worker: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = header.encode();
    put_block(&mut out, kind, worker, payload);
    out
}
