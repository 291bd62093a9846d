//! The conflict log: what every attempt cost and which conflict threw it away, recorded to a file.
//!
//! | file | what |
//! |---|---|
//! | `record` | the records as plain data, with the codes that stand for them in a file |
//! | `header` | the start of a file and its event table |
//! | `format` | one record, one block: encoding and decoding, no I/O |
//! | `recorder` | what a worker thread holds: encodes into its own block, never waits |
//! | `writer` | the thread `txloop-log`, which alone touches the file |
//! | `sink` | the file itself, cut back to its last whole block after a failed write |
//! | `read` | a file (or any bytes) back into blocks and notes |
//!
//! docs/log-format.md describes the bytes. Nothing here knows transactions or handlers: callers
//! choose the numbers and define what they mean.
//!
//! How a record travels: a [`Recorder`] appends it to its block; a full or due block goes to a
//! bounded queue; the writer thread takes it, writes every name and place defined so far, then the
//! block, and gives the buffer back. No step of a recorder waits: with the queue full the block is
//! forgotten, and its records are counted.

mod format;
mod header;
mod read;
mod record;
mod recorder;
mod sink;
#[cfg(test)]
mod tests;
mod writer;
#[cfg(test)]
mod writer_tests;

pub(crate) use format::decode_block;
pub(crate) use header::EventTable;
pub(crate) use read::{Block, LogReader};
pub(crate) use record::{
    AttemptRecord, ConflictKind, ConflictRecord, NameId, Outcome, PlaceId, Record, Side,
};
pub(crate) use recorder::Recorder;
pub(crate) use writer::Log;
#[cfg(test)]
pub(crate) use {
    format::{BlockRead, test_block, test_log},
    header::Header,
    tests::temporary_path,
};
