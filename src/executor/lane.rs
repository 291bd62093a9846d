//! The serial lane: a queue of what would conflict with itself, and who is inside.
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

/// The serial lane: what would conflict with itself is run here by one worker at a time.
#[derive(Default)]
pub(crate) struct Lane {
    queue: SegQueue<Laned>,
    busy: AtomicBool,
}

impl Lane {
    pub(crate) fn push(&self, queued: Laned) {
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
    pub(crate) fn next(&self) -> Option<Laned> {
        self.queue.pop()
    }

    /// Leaves. The caller looks at the queue once more: what was pushed meanwhile may have found
    /// the lane busy.
    pub(crate) fn leave(&self) {
        self.busy.store(false, Ordering::Release);
        fence(Ordering::SeqCst);
    }
}
