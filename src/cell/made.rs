//! Which cells an attempt makes, while it is tried out: two attempts make different ones, and mean
//! the same by them.

use super::node::CellRef;
use crate::sync::per_thread;
use std::{cell::RefCell, ops::Range};

/// Cells, by their addresses.
#[derive(Debug, Default)]
pub(crate) struct Made(Vec<Range<u64>>);

per_thread! {
    /// Those that this thread makes, if somebody wants to know.
    static MADE: RefCell<Option<Made>> = RefCell::new(None);
}

impl Made {
    /// Whether a cell is one of them.
    pub(crate) fn has(&self, cell: CellRef) -> bool {
        self.0.iter().any(|cells| cells.contains(&cell.id()))
    }
}

/// What a closure answers, and the cells that it makes.
pub(crate) fn noting<R>(run: impl FnOnce() -> R) -> (R, Made) {
    MADE.with(|made| made.replace(Some(Made::default())));
    let answer = run();
    (answer, MADE.with(|made| made.take()).unwrap_or_default())
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
