//! What a scan of the slots found: the snapshots that may be in use, and who walks a chain.

use super::slot::{IDLE, RANGE, Sighting};
use crate::sync::fault;

/// What a scan of the announcements found.
#[derive(Debug)]
pub(super) struct Active {
    /// Exact snapshots, sorted.
    exact: Vec<u64>,
    /// The lowest end of a range: every snapshot from here up counts. `u64::MAX` when none is
    /// announced.
    range: u64,
    /// The oldest snapshot at which a view began that has moved on since; `u64::MAX` if none has.
    kept: u64,
    /// The slots under which somebody walks a chain.
    walking: Vec<usize>,
}

impl Active {
    crate::sync::const_fn! {
        pub(super) fn new() -> Self {
            Self { exact: Vec::new(), range: u64::MAX, kept: u64::MAX, walking: Vec::new() }
        }
    }

    /// Starts a new scan.
    pub(super) fn clear(&mut self) {
        self.exact.clear();
        self.range = u64::MAX;
        self.kept = u64::MAX;
        self.walking.clear();
    }

    /// Adds what the scan saw of one slot.
    pub(super) fn add(&mut self, seen: Sighting) {
        if seen.walking {
            self.walking.push(seen.slot);
        }
        self.kept = self.kept.min(seen.kept);
        // IDLE first: it has the bit of a range, too.
        if seen.announced == IDLE {
        } else if seen.announced & RANGE == 0 {
            self.exact.push(seen.announced);
        } else if !fault!("prune-ignores-ranges") {
            self.range = self.range.min(seen.announced & !RANGE);
        }
    }

    /// The slots under which somebody walked at the scan.
    pub(super) fn walking(&self) -> &[usize] {
        &self.walking
    }

    /// Ends the scan.
    pub(super) fn sort(&mut self) {
        self.exact.sort_unstable();
        if fault!("prune-misses-one") {
            self.exact.pop();
        }
    }

    /// The oldest snapshot that may be active, or at which an active view began; `u64::MAX` when
    /// none is.
    pub(super) fn oldest(&self) -> u64 {
        self.exact.first().copied().unwrap_or(u64::MAX).min(self.range).min(self.kept)
    }

    /// Whether a version that was the newest from `from` until before `until` may be seen.
    pub(super) fn sees(&self, from: u64, until: u64) -> bool {
        if self.range < until {
            return true;
        }
        let after = self.exact.partition_point(|&snapshot| snapshot < from);
        self.exact.get(after).is_some_and(|&snapshot| snapshot < until)
    }
}
