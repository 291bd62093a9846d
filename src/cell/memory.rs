//! Figures of the memory that waits to be freed.

use super::{
    deferred::Counted,
    node::{CellRef, DeadCell},
};
use crate::sync::{AtomicUsize, Ordering, const_fn};

/// What the process keeps besides the newest versions of living cells. Bytes are those of the
/// boxes; what a value owns elsewhere, in a `Vec` say, is not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Versions that were replaced, and that a snapshot can see or nobody has looked at since.
    pub old_versions: usize,
    /// Their bytes.
    pub old_bytes: usize,
    /// Cells without a handle that a snapshot may still see.
    pub dropped_cells: usize,
    /// Their bytes, with those of their newest versions.
    pub dropped_bytes: usize,
    /// Closures of committed transactions, and callbacks and timers of loops, that wait or are
    /// being called.
    pub effects: usize,
    /// Their bytes: those of what they captured, and 64 each.
    pub effect_bytes: usize,
}

impl Memory {
    pub(super) const NONE: Self = Self {
        old_versions: 0,
        old_bytes: 0,
        dropped_cells: 0,
        dropped_bytes: 0,
        effects: 0,
        effect_bytes: 0,
    };

    /// All bytes together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.old_bytes + self.dropped_bytes + self.effect_bytes
    }

    /// Counts versions that were replaced. Wraps, as the next does: a version may be unlinked
    /// before the list that it was noted in has told of it.
    pub(super) fn replace(&mut self, versions: usize, bytes: usize) {
        self.old_versions = self.old_versions.wrapping_add(versions);
        self.old_bytes = self.old_bytes.wrapping_add(bytes);
    }

    /// Counts old versions no longer that were unlinked.
    pub(super) fn unlink(&mut self, versions: usize, bytes: usize) {
        self.old_versions = self.old_versions.wrapping_sub(versions);
        self.old_bytes = self.old_bytes.wrapping_sub(bytes);
    }

    /// Counts a cell no longer that is freed with its chain.
    pub(super) fn bury(&mut self, Dropped { cell, bytes: own }: Dropped) -> DeadCell {
        let (_, older, bytes) = cell.sizes();
        self.unlink(older, bytes);
        self.dropped_cells -= 1;
        self.dropped_bytes -= own;
        cell.dead()
    }
}

/// What is kept as of the last scan, for whoever asks. Relaxed: for people and for limits.
pub(super) struct Figures([AtomicUsize; 4]);

impl Figures {
    const_fn! {
        pub(super) fn new() -> Self {
            #[cfg(not(loom))]
            return Self([const { AtomicUsize::new(0) }; 4]);
            #[cfg(loom)]
            return Self(std::array::from_fn(|_| AtomicUsize::new(0)));
        }
    }

    pub(super) fn show(&self, memory: &Memory) {
        let Memory { old_versions, old_bytes, dropped_cells, dropped_bytes, .. } = *memory;
        let figures = [old_versions, old_bytes, dropped_cells, dropped_bytes];
        for (shown, figure) in self.0.iter().zip(figures) {
            shown.store(figure, Ordering::Relaxed);
        }
    }

    pub(super) fn shown(&self) -> Memory {
        let [old_versions, old_bytes, dropped_cells, dropped_bytes] =
            std::array::from_fn(|i| self.0[i].load(Ordering::Relaxed));
        let (effects, effect_bytes) = Counted::all();
        Memory { old_versions, old_bytes, dropped_cells, dropped_bytes, effects, effect_bytes }
    }
}

/// A cell without a handle, and how many bytes it was counted with: whoever dropped it may write it
/// still.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropped {
    pub(super) cell: CellRef,
    pub(super) bytes: usize,
}

impl Dropped {
    /// Whether a queue has it.
    pub(super) fn is_kept(&self) -> bool {
        self.cell.is_queued() || self.cell.is_waited()
    }
}
