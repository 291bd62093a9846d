//! Attempts that are READY: finished, and left to whoever has the baton. How many there are is
//! bounded, since each has its logs and its slot.

use super::job::Task;
use crate::sync::{AtomicUsize, Ordering, thread};
use crossbeam_utils::CachePadded;
use std::time::Duration;

/// The most attempts of one executor that are READY.
#[cfg(not(txloop_check))]
pub(super) const MAX_READY: usize = 64;
#[cfg(txloop_check)]
pub(super) const MAX_READY: usize = 2;
/// How long a worker waits between two looks at a full list.
const PAUSE: Duration = Duration::from_micros(20);

/// How many attempts of an executor are READY.
#[derive(Debug, Default)]
pub(crate) struct Ready(CachePadded<AtomicUsize>);

impl Ready {
    // Relaxed everywhere: a bound.

    /// Whether there is room for another one.
    pub(crate) fn has_room(&self) -> bool {
        self.0.load(Ordering::Relaxed) < MAX_READY
    }

    /// Counts an attempt. A worker `waits` for room: the holder makes some. A loop does not, which
    /// begins no more instead: somebody may hold the baton for as long as a handler that runs
    /// alone.
    pub(super) fn joins(&self, task: &mut Task, waits: bool) {
        while waits && !self.has_room() {
            thread::sleep(PAUSE);
        }
        task.is_ready = true;
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts it no longer.
    pub(super) fn left(&self, task: &mut Task) {
        if std::mem::take(&mut task.is_ready) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
