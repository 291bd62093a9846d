//! What holds leave behind to be pruned and freed, in a list for each thread: what a thread wrote
//! is in the cache of its core, and what it frees it uses again.

use crate::cell::{boxes::Version, node::CellRef};
use crate::sync::{AtomicUsize, Ordering, global, per_thread};
use std::cell::Cell;

/// How many lists there are; of more threads, some share one.
#[cfg(not(any(loom, txloop_check)))]
pub(super) const LISTS: usize = 4;
#[cfg(any(loom, txloop_check))]
pub(super) const LISTS: usize = 1;

global! {
    /// How many threads have a list.
    static LISTED: AtomicUsize = AtomicUsize::new(0);
}

per_thread! {
    /// The list of this thread; [`LISTS`] while it has none.
    static LIST: Cell<usize> = Cell::new(LISTS);
}

/// Which list is that of this thread.
#[inline]
pub(super) fn own_list() -> usize {
    if LISTS == 1 {
        return 0;
    }
    let take = |list: &Cell<usize>| {
        if list.get() == LISTS {
            // Relaxed: a counter.
            list.set(LISTED.fetch_add(1, Ordering::Relaxed) % LISTS);
        }
        list.get()
    };
    // Any will do for a thread that has begun to end.
    LIST.try_with(take).unwrap_or(0)
}

/// What the holds of a thread left behind; on lines of its own, since all but a few holds write to
/// the list of their thread and to nothing else that holds share.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct List {
    /// Cells that got a new version since its last scan. They are pruned before any cell is freed.
    pub(super) touched: Vec<CellRef>,
    /// The bytes of the versions that were replaced by those.
    pub(super) replaced: usize,
    /// Versions unlinked since its last scan that looked for walkers.
    pub(super) retired: Vec<Version>,
    /// How many holds have ended since its last scan.
    pub(super) looked: usize,
}

impl List {
    pub(super) const EMPTY: Self =
        Self { touched: Vec::new(), replaced: 0, retired: Vec::new(), looked: 0 };

    pub(super) fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.retired.is_empty()
    }
}
