//! What a worker thread holds: encodes records into its own block and never waits for anyone.

use super::{
    format::{self, Base},
    record::{AttemptRecord, ConflictRecord},
    writer::{FullBlock, Shared},
};
use crate::sync::Arc;

/// The size at which a block is handed over, in bytes: large enough that the hand-over (a queue
/// push, a wake) costs nothing per record, small enough that a dropped block is a small loss.
pub(super) const BLOCK_BYTES: usize = 16 * 1024;
/// The longest that a record of a busy worker waits before it is handed over, ns.
pub(super) const DUE_NS: u64 = 250_000_000;

/// Records the attempts and conflicts of one worker. Owned by one thread; dropping it flushes.
#[derive(Debug)]
pub(crate) struct Recorder {
    shared: Arc<Shared>,
    worker: u16,
    bytes: Vec<u8>,
    base: Base,
    /// Records in `bytes`.
    records: u32,
    flushed_ns: u64,
}

impl Recorder {
    pub(super) fn new(shared: Arc<Shared>, worker: u16) -> Self {
        let bytes = shared.buffer();
        Self { shared, worker, bytes, base: Base::default(), records: 0, flushed_ns: 0 }
    }

    /// Records the end of an attempt.
    #[inline]
    pub(crate) fn attempt(&mut self, attempt: &AttemptRecord) {
        format::put_attempt(&mut self.bytes, &mut self.base, attempt);
        self.added(attempt.end_ns);
    }

    /// Records why an attempt lost time.
    pub(crate) fn conflict(&mut self, conflict: &ConflictRecord) {
        format::put_conflict(&mut self.bytes, &mut self.base, conflict);
        self.added(conflict.at_ns);
    }

    /// Hands over what there is. If the writer is behind by its whole queue, it is dropped and
    /// counted instead.
    pub(crate) fn flush(&mut self) {
        if self.records == 0 {
            return;
        }
        let bytes = std::mem::take(&mut self.bytes);
        let block = FullBlock { worker: self.worker, records: self.records, bytes };
        self.bytes = self.shared.hand_over(block);
        self.base = Base::default();
        self.records = 0;
    }

    /// Flushes if the last flush is 250 ms ago or more: to be called when a worker goes idle, and
    /// now and then while it is busy. `now_ns` is on the monotonic clock.
    pub(crate) fn flush_if_due(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.flushed_ns) >= DUE_NS {
            self.flushed_ns = now_ns;
            self.flush();
        }
    }

    /// Counts a record, and hands the block over unless every record would still fit.
    #[inline]
    fn added(&mut self, time_ns: u64) {
        self.records += 1;
        if self.bytes.len() > BLOCK_BYTES - format::MAX_RECORD {
            self.flushed_ns = time_ns;
            self.flush();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.flush();
    }
}
