//! Which cells an attempt makes, while it is tried out: two attempts make different ones, and mean
//! the same by them.

use super::node::CellRef;
use crate::sync::per_thread;
use std::{cell::RefCell, ops::Range};

/// Cells, by their addresses; in order once all are known.
#[derive(Debug, Default)]
pub(crate) struct Made(Vec<Range<u64>>);

per_thread! {
    /// Those that this thread makes, if somebody wants to know.
    static MADE: RefCell<Option<Made>> = RefCell::new(None);
}

impl Made {
    /// Whether a cell is one of them.
    pub(crate) fn has(&self, cell: CellRef) -> bool {
        let at = self.0.partition_point(|cells| cells.end <= cell.id());
        self.0.get(at).is_some_and(|cells| cells.contains(&cell.id()))
    }
}

/// Ends it, also by a panic.
struct Noting;

impl Drop for Noting {
    fn drop(&mut self) {
        take();
    }
}

fn take() -> Made {
    let mut made = MADE.with(RefCell::take).unwrap_or_default();
    made.0.sort_unstable_by_key(|cells| cells.start);
    made
}

/// What a closure answers, and the cells that it makes. Not for one in another.
pub(crate) fn noting<R>(run: impl FnOnce() -> R) -> (R, Made) {
    let noting = Noting;
    MADE.with(|made| made.replace(Some(Made::default())));
    let answer = run();
    let made = take();
    drop(noting);
    (answer, made)
}

/// Takes note of cells that lie beside each other.
#[inline]
pub(super) fn note(cells: Range<u64>) {
    // A thread that has begun to end tries nothing out.
    let _ = MADE.try_with(|made| {
        if let Some(made) = made.borrow_mut().as_mut() {
            made.0.push(cells);
        }
    });
}
