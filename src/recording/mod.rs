//! Recordings: what arrived under which ticket, and what was answered, written to a file.
//!
//! | file | what |
//! |---|---|
//! | `entry` | one entry: what it says, and its bytes |
//! | `file` | the header and the blocks: any bytes back into entries |
//! | `recorder` | what the server holds, and the thread `txloop-record`, which alone touches the file |
//!
//! docs/replay.md describes the bytes. Nothing here knows handlers or sockets: an entry holds the
//! bytes of a request and of an answer.
//!
//! The one rule: **a recording is a prefix of what happened.** Entries are queued under one lock,
//! so they have an order. Once one of them could not be kept, because the disk is slower than the
//! server or the file is full, none after it is: the recording stops, says so, and the server goes
//! on. Whoever admits a ticket queues its entry in the step that gives it its ticket, so the
//! tickets of a recording are in order, and one that is missing was never recorded at all.

mod entry;
mod file;
mod recorder;
#[cfg(test)]
mod tests;

pub(crate) use entry::{Answer, Entry};
pub(crate) use file::{Header, Reader};
pub(crate) use recorder::Recorder;
