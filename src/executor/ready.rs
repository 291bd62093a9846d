//! Attempts that are READY: finished, and left to whoever has the baton. How many there are is
//! bounded, since each has its logs and its slot: somebody may hold the baton for long, and nothing
//! commits while the buffer of a sink is full.
//!
//! Nobody waits for room. Without it no write is begun that has not failed yet: what a worker takes
//! from a queue is put aside, and workers and loop see to what only reads. Whoever makes room wakes
//! a worker; as for every push, one of the two sees the other. What was begun before is made READY
//! all the same, as is what has failed: so there are at most four times as many and what the
//! threads had in hand.

use super::{
    core::Core,
    job::{Kind, Task},
};
use crate::sync::{AtomicUsize, Ordering, fence};
use crossbeam_utils::CachePadded;

/// With so many attempts of one executor READY, no other write is begun.
#[cfg(not(any(txloop_check, shuttle)))]
pub(super) const MAX_READY: usize = 64;
#[cfg(any(txloop_check, shuttle))]
pub(super) const MAX_READY: usize = 2;

/// How many attempts of an executor are READY.
#[derive(Debug, Default)]
pub(crate) struct Ready(CachePadded<AtomicUsize>);

impl Ready {
    /// Whether there is room for another one.
    pub(crate) fn has_room(&self) -> bool {
        self.0.load(Ordering::Relaxed) < MAX_READY
    }

    /// Counts an attempt.
    pub(super) fn joins(&self, task: &mut Task) {
        task.is_ready = true;
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts it no longer. Whether there is room since: the caller wakes a worker then.
    pub(super) fn left(&self, task: &mut Task) -> bool {
        // Relaxed, as everywhere here: the fences of sleepers and wakers order it.
        std::mem::take(&mut task.is_ready) && self.0.fetch_sub(1, Ordering::Relaxed) == MAX_READY
    }
}

impl Core {
    /// Whether a task is not to be begun now: it may become READY, and there is no room. See
    /// the module.
    pub(super) fn waits_for_room(&self, task: &Task) -> bool {
        let exempt = task.job.kind() == Kind::Read || task.failures > 0;
        !exempt && self.arrival.is_none() && !self.ready.has_room()
    }

    /// Keeps a task until there is room, in commit order.
    pub(super) fn put_aside(&self, task: Box<Task>) {
        self.aside.push(task);
        // There may be room since it was looked for: pairs with the fence of who made it.
        fence(Ordering::SeqCst);
        if self.ready.has_room() {
            self.wake_one();
        }
    }

    /// A task is READY no longer.
    pub(super) fn leaves_ready(&self, task: &mut Task) {
        if self.ready.left(task) {
            self.wake_one();
        }
    }
}
