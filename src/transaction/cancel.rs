//! Taking a handler back before it has committed: whether it is queued, runs or is parked.
//!
//! X1: whoever cancels sets the state, then looks for a parking number. X2: whoever parks stores
//! the number, then looks at the state, both under the lock of the table of the parked. Each fences
//! between the two, so one of them sees the other: a handler that is cancelled never stays parked.

use super::parked::{self, ParkedId};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fault, fence, point};

const NOT: u32 = 0;
const CANCELLED: u32 = 1;
const LATE: u32 = 2;
/// May run to its end, but not be parked.
const UNHEARD: u32 = 3;

/// Why a handler was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Nobody wants its answer any more.
    Cancelled,
    /// Its deadline has passed.
    Late,
}

/// Shared by a task and whoever may cancel it.
#[derive(Debug)]
pub(crate) struct Cancel {
    state: AtomicU32,
    parked: AtomicU64,
}

impl Cancel {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU32::new(NOT), parked: AtomicU64::new(0) }
    }

    /// Begins with another task. The last one has ended.
    pub(crate) fn renew(&self) {
        // Relaxed: the next task is handed over by a queue.
        self.state.store(NOT, Ordering::Relaxed);
        self.parked.store(0, Ordering::Relaxed);
    }

    /// Why the task was taken back, if it was.
    #[inline]
    pub(crate) fn why(&self) -> Option<Why> {
        match self.state.load(Ordering::Relaxed) {
            CANCELLED => Some(Why::Cancelled),
            LATE => Some(Why::Late),
            _ => None,
        }
    }

    /// Takes the task back, unless it commits first (X1). Runs no user code.
    pub(crate) fn cancel(&self, why: Why) {
        self.set(match why {
            Why::Cancelled => CANCELLED,
            Why::Late => LATE,
        });
    }

    /// Nobody will hear the answer: the task is not parked any more, nor will it be, but if it runs
    /// it may end. It can still be taken back. Runs no user code.
    pub(crate) fn unheard(&self) {
        self.set(UNHEARD);
    }

    fn set(&self, state: u32) {
        // Relaxed, here and below: ordered by the fences. The first reason counts, but nobody takes
        // back what is only unheard.
        let _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
            (old == NOT || old == UNHEARD && state != UNHEARD).then_some(state)
        });
        point!(Park);
        fence(Ordering::SeqCst);
        let parked = self.parked.load(Ordering::Relaxed);
        if parked != 0 {
            parked::cancel(ParkedId(parked));
        }
    }

    /// The task is about to be parked (X2); true if it must not be.
    pub(crate) fn parks(&self, id: ParkedId) -> bool {
        self.parked.store(id.0, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.state.load(Ordering::Relaxed) != NOT && !fault!("parked-though-cancelled")
    }
}
