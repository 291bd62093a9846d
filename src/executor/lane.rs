//! Lanes: queues that one worker at a time sees to. The serial lane has what would conflict with
//! itself, another one what waits for the baton to run alone, so that the other workers go on.
//!
//! | field | written by | read by |
//! |---|---|---|
//! | `queue` | anyone pushes | the one worker inside pops |
//! | `busy` | whoever enters and leaves | workers, before they enter or sleep |

use super::{job::Task, series::Series};
use crate::sync::{Arc, AtomicBool, Ordering, fence};
use crossbeam_queue::SegQueue;
use std::ops::Range;

/// What waits in the serial lane.
pub(crate) enum Laned {
    Task(Box<Task>),
    Members(Arc<dyn Series>, Range<usize>),
    Series(Arc<dyn Series>),
}

/// A queue that one worker at a time sees to.
pub(crate) struct Lane<T> {
    queue: SegQueue<T>,
    busy: AtomicBool,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self { queue: SegQueue::new(), busy: AtomicBool::new(false) }
    }
}

impl<T> Lane<T> {
    pub(crate) fn push(&self, queued: T) {
        self.queue.push(queued);
        // Pairs with the fence of `leave`.
        fence(Ordering::SeqCst);
    }

    /// Whether somebody may enter and would find something.
    pub(super) fn is_open(&self) -> bool {
        !self.queue.is_empty() && !self.busy.load(Ordering::Relaxed)
    }

    /// Enters, if nobody else is inside. Acquire: what ran here before happened before.
    pub(crate) fn enter(&self) -> bool {
        self.is_open() && !self.busy.swap(true, Ordering::Acquire)
    }

    /// The next one; for who has entered.
    pub(crate) fn next(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Enters for the next one, if there is one and nobody else is inside.
    pub(crate) fn enter_for_next(&self) -> Option<T> {
        if !self.enter() {
            return None;
        }
        let next = self.next();
        if next.is_none() {
            // Whoever was inside before took it.
            self.leave();
        }
        next
    }

    /// Leaves. The caller looks at the queue once more: what was pushed meanwhile may have found
    /// the lane busy.
    pub(crate) fn leave(&self) {
        self.busy.store(false, Ordering::Release);
        fence(Ordering::SeqCst);
    }
}
