//! The store: watermark, registry, baton, and the memory that waits to be freed.
//!
//! One for the process. Executors, loops and foreign threads share it.

use super::{
    epoch,
    node::{Active, CellRef, DeadCell, Limbo, Version},
    slot::{Announcement, Baton, Guard, Registry, Slot},
};
use crate::sync::{AtomicU64, AtomicUsize, Ordering, const_fn, fence, global};
use crossbeam_utils::CachePadded;
use std::{collections::VecDeque, sync::OnceLock};

/// Every so many dropped cells, whoever drops one tries to collect.
const COLLECT_EVERY: usize = 64;
/// How many queued cells one hold looks at again.
const SECOND_LOOKS: usize = 16;
/// How many unlinked versions are retired together.
const RETIRE_TOGETHER: usize = 64;

global! {
    /// The process's store.
    pub(crate) static STORE: Store = Store::new();
}

/// See the module.
pub(crate) struct Store {
    /// The newest committed version. Stored by the holder of the baton only.
    watermark: CachePadded<AtomicU64>,
    registry: Registry,
    baton: Baton<Held>,
    limbo: Limbo,
    dropped: AtomicUsize,
    /// What to do when the baton is let go with something left for its holder.
    on_flag: OnceLock<fn(Guard<Held>, u32)>,
}

/// What only the holder of the baton touches.
#[derive(Debug)]
pub(crate) struct Held {
    /// Cells that got a new version in this hold.
    touched: Vec<CellRef>,
    /// Unlinked versions that were not given to the epoch yet.
    retired: Vec<Version>,
    /// Cells whose old versions are still seen by somebody.
    second_look: VecDeque<CellRef>,
    /// Dropped cells, each batch with the watermark at which it was taken from limbo.
    dropped: VecDeque<(u64, Vec<CellRef>)>,
    active: Active,
}

/// What a hold leaves to be freed after the baton is let go.
#[must_use = "freed by `Spoils::free`"]
#[derive(Debug, Default)]
pub(crate) struct Spoils {
    versions: Vec<Version>,
    cells: Vec<DeadCell>,
}

impl Store {
    const_fn! {
        fn new() -> Self {
            Self {
                watermark: CachePadded::new(AtomicU64::new(0)),
                registry: Registry::new(),
                baton: Baton::new(Held {
                    touched: Vec::new(),
                    retired: Vec::new(),
                    second_look: VecDeque::new(),
                    dropped: VecDeque::new(),
                    active: Active::new(),
                }),
                limbo: Limbo::new(),
                dropped: AtomicUsize::new(0),
                on_flag: OnceLock::new(),
            }
        }
    }

    /// Claims a slot.
    pub(crate) fn claim(&self) -> Slot {
        self.registry.claim()
    }

    /// Begins a view at the newest state.
    #[inline(always)]
    pub(crate) fn begin(&self, slot: Slot) -> Announcement {
        slot.announce(&self.watermark)
    }

    /// The newest committed version.
    pub(crate) fn watermark(&self) -> u64 {
        self.watermark.load(Ordering::Acquire)
    }

    /// The baton.
    #[inline(always)]
    pub(crate) fn baton(&'static self) -> &'static Baton<Held> {
        &self.baton
    }

    /// Moves the watermark (C6): everything up to `version` is linked. Only the commit calls it,
    /// with the guard as proof. Release: a view that begins here sees every link.
    #[inline]
    pub(crate) fn publish(&self, guard: &mut Guard<Held>, version: u64) {
        debug_assert!(version > self.watermark.load(Ordering::Relaxed), "versions only grow");
        debug_assert!(!guard.touched.is_empty(), "a version without a write");
        self.watermark.store(version, Ordering::Release);
    }

    /// Sets what is done with a guard whose flags were left by others. The first call counts.
    pub(crate) fn on_flag(&self, act: fn(Guard<Held>, u32)) {
        self.on_flag.get_or_init(|| act);
    }

    /// Lets the baton go, and hands what came in meanwhile to [`Store::on_flag`].
    pub(crate) fn let_go(&self, guard: Guard<Held>) {
        if let Err((guard, flags)) = guard.release() {
            let act = self.on_flag.get().expect("a flag is left only after on_flag was called");
            act(guard, flags);
        }
    }

    /// Takes a cell whose last handle was dropped (D1): drop means retire.
    pub(super) fn retire(&'static self, cell: CellRef) {
        self.limbo.push(cell);
        // Relaxed: a rough count.
        if (self.dropped.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(COLLECT_EVERY) {
            self.try_collect();
        }
    }

    /// Frees what can be freed, if the baton is free. Never waits.
    fn try_collect(&'static self) {
        if let Some(mut guard) = self.baton.try_take() {
            let spoils = self.end_hold(&mut guard, false);
            self.let_go(guard);
            spoils.free();
        }
    }

    /// Ends a hold: one fence, one scan, then everything that nobody can see any more is unlinked
    /// and handed out to be freed after the baton is let go (P1-P5, D2-D4).
    pub(crate) fn end_hold(&self, guard: &mut Guard<Held>, flush: bool) -> Spoils {
        let held = &mut **guard;
        // (D2) Before the fence: what is dropped later waits for the next hold.
        if !self.limbo.is_empty() {
            let mut cells = Vec::new();
            self.limbo.take(&mut cells);
            // Relaxed: the holder stored it.
            held.dropped.push_back((self.watermark.load(Ordering::Relaxed), cells));
        }
        let idle = held.touched.is_empty()
            && held.second_look.is_empty()
            && held.dropped.is_empty()
            && held.retired.is_empty();
        if idle {
            return Spoils::default();
        }
        held.scan(&self.registry);
        held.prune_touched();
        held.look_again(flush);
        let mut spoils = Spoils::default();
        held.free_dropped(&mut spoils.cells);
        if held.retired.len() >= RETIRE_TOGETHER || flush {
            spoils.versions = std::mem::take(&mut held.retired);
        }
        spoils
    }

    /// Whether an idle collection would find something to do.
    #[cfg(not(loom))]
    pub(crate) fn has_garbage(&'static self) -> bool {
        if !self.limbo.is_empty() {
            return true;
        }
        // Whoever holds the baton makes garbage or frees it: look again later.
        let Some(guard) = self.baton.try_take() else { return true };
        let garbage =
            !(guard.retired.is_empty() && guard.second_look.is_empty() && guard.dropped.is_empty());
        self.let_go(guard);
        garbage
    }

    /// For idle threads: looks at every queued cell again, frees what it can, and pushes the epoch
    /// on. Runs no user code; call [`super::deferred::settle`] afterwards.
    #[cfg(not(loom))]
    pub(crate) fn collect_idle(&'static self) {
        if let Some(mut guard) = self.baton.try_take() {
            let spoils = self.end_hold(&mut guard, true);
            self.let_go(guard);
            spoils.free();
        }
        epoch::advance();
    }
}

impl Held {
    /// Makes room for `writes` more cells, so that linking cannot fail.
    pub(crate) fn reserve(&mut self, writes: usize) {
        self.touched.reserve(writes);
    }

    /// Notes that a cell got a new version.
    #[inline]
    pub(super) fn touch(&mut self, cell: CellRef) {
        self.touched.push(cell);
    }

    /// (P1, P2) The fence pairs with the one of a begin: a view that this scan misses begins at or
    /// above the watermark of now.
    fn scan(&mut self, registry: &Registry) {
        fence(Ordering::SeqCst);
        self.active.clear();
        registry.scan(|announced| self.active.add(announced));
        self.active.sort();
    }

    /// (P3) Prunes what this hold wrote.
    fn prune_touched(&mut self) {
        for cell in self.touched.drain(..) {
            if cell.prune(&self.active, &mut self.retired) && cell.queue() {
                self.second_look.push_back(cell);
            }
        }
    }

    /// (P4) Prunes cells that had old versions in use when they were last looked at.
    fn look_again(&mut self, all: bool) {
        let looks = if all { usize::MAX } else { SECOND_LOOKS };
        for _ in 0..looks.min(self.second_look.len()) {
            let Some(cell) = self.second_look.pop_front() else { return };
            if cell.prune(&self.active, &mut self.retired) {
                self.second_look.push_back(cell);
            } else {
                cell.unqueue();
            }
        }
    }

    /// (D3, D4) Frees cells dropped before every active snapshot, unless a queue still has them.
    fn free_dropped(&mut self, dead: &mut Vec<DeadCell>) {
        let oldest = self.active.oldest();
        for _ in 0..self.dropped.len() {
            if self.dropped.front().is_none_or(|(stamp, _)| *stamp >= oldest) {
                return;
            }
            let Some((stamp, mut cells)) = self.dropped.pop_front() else { return };
            cells.retain(|cell| {
                if !cell.is_queued() {
                    dead.push(cell.dead());
                }
                cell.is_queued()
            });
            if !cells.is_empty() {
                self.dropped.push_back((stamp, cells));
            }
        }
    }
}

impl Spoils {
    /// Frees. Called without the baton; runs no user code.
    pub(crate) fn free(self) {
        epoch::retire(self.versions);
        drop(self.cells);
    }

    /// Whether there is nothing to free.
    pub(crate) fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.cells.is_empty()
    }
}
