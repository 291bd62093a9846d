//! The store: watermark, registry, baton, and the memory that waits to be freed.
//!
//! One for the process. Executors, loops and foreign threads share it.

mod dropped;
mod lists;

use super::{
    active::Active,
    boxes::Version,
    deferred,
    memory::{Dropped, Figures, Memory},
    node::{CellRef, DeadCell, Limbo},
    slot::{Announcement, Baton, Guard, Registry, Slot},
};
use crate::sync::{AtomicU64, AtomicUsize, Ordering, const_fn, fault, fence, global, point};
use crossbeam_utils::CachePadded;
use dropped::FREED_IDLE;
use lists::{LISTS, List, own_list};
use std::{collections::VecDeque, ops::Range, sync::OnceLock};

/// Every so many dropped cells, whoever drops one tries to collect.
#[cfg(not(any(loom, shuttle, txloop_check)))]
const COLLECT_EVERY: usize = 64;
#[cfg(txloop_check)]
const COLLECT_EVERY: usize = 2;
#[cfg(any(loom, shuttle))]
const COLLECT_EVERY: usize = 1;
/// How many queued cells one hold looks at again.
const SECOND_LOOKS: usize = 16;
/// The same for a collection by an idle thread.
const SECOND_LOOKS_IDLE: usize = 1024;
/// With so many dropped cells whoever drops more looks at each hold, and at more of them.
const CROWDED: usize = 1024;
/// With so many that could be freed, whoever drops more frees some first, or waits a little while
/// another one does: threads drop cells faster together than one of them frees them.
const BEHIND: usize = 16_384;
/// So often at most each time, and once more for each 1,024 of its own: a thread that has the baton
/// itself waits in vain.
const ROUNDS: usize = 4;
/// How long it waits each time.
#[cfg(not(loom))]
const PAUSE: std::time::Duration = std::time::Duration::from_micros(50);
/// How often such a thread takes the baton while there is something to free.
const COLLECTIONS: usize = 64;
/// Room for so many items is left to a list after such a collection.
#[cfg(not(loom))]
const ROOM: usize = 256;
/// How many written cells are pruned together: a scan reads a line of every other thread's.
#[cfg(not(any(loom, shuttle, txloop_check)))]
const PRUNE_TOGETHER: usize = 128;
#[cfg(txloop_check)]
const PRUNE_TOGETHER: usize = 2;
#[cfg(any(loom, shuttle))]
const PRUNE_TOGETHER: usize = 1;
/// After how many holds there is a scan although little was written.
#[cfg(not(any(loom, shuttle, txloop_check)))]
const LOOK_EVERY: usize = 16;
#[cfg(txloop_check)]
const LOOK_EVERY: usize = 1;
#[cfg(any(loom, shuttle))]
const LOOK_EVERY: usize = 0;
/// One scan of so many sees to the lists of all threads.
const SEE_TO_ALL: usize = 16;
/// How many unlinked versions are freed together.
#[cfg(not(any(loom, shuttle, txloop_check)))]
const RETIRE_TOGETHER: usize = 16;
#[cfg(txloop_check)]
const RETIRE_TOGETHER: usize = 2;
#[cfg(any(loom, shuttle))]
const RETIRE_TOGETHER: usize = 1;

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
    /// How many cells were dropped, and how many of them were taken from limbo.
    dropped: AtomicUsize,
    taken: AtomicUsize,
    /// How many of those that were taken could have been freed in the last hold, and were not.
    left_over: AtomicUsize,
    /// How many there are who keep account of all versions: while there is one, every version is
    /// somebody's.
    accounts: AtomicUsize,
    memory: Figures,
    /// What to do when the baton is let go with something left for its holder.
    on_flag: OnceLock<fn(Guard<Held>, u32)>,
}

/// What only the holder of the baton touches.
#[derive(Debug)]
pub(crate) struct Held {
    /// What holds left behind, by thread.
    lists: [List; LISTS],
    /// How many scans there were; wraps.
    scans: usize,
    /// Without the old versions that were made since the last scan of their list.
    memory: Memory,
    /// Those of them that attempts may be parked on, since the last look at it.
    waited: Vec<CellRef>,
    /// Versions unlinked before, and the slots whose walkers may still stand on them.
    stood_on: Vec<Version>,
    walkers: Vec<usize>,
    /// Cells whose old versions are still seen by somebody.
    second_look: VecDeque<CellRef>,
    /// Dropped cells, each batch with the watermark at which it was taken from limbo.
    dropped: VecDeque<(u64, Vec<Dropped>)>,
    /// Those of blocks that a version owned.
    owned: VecDeque<Dropped>,
    active: Active,
    /// The empty versions since the last look at them.
    #[cfg(txloop_check)]
    empties: Vec<u64>,
}

/// Somebody who keeps account of all versions, see [`Store::keep_account`].
#[derive(Debug)]
pub(crate) struct Account(());

/// What a hold leaves to be freed after the baton is let go.
#[must_use = "freed by `Spoils::free`"]
#[derive(Debug, Default)]
pub(crate) struct Spoils {
    versions: Vec<Version>,
    cells: Vec<DeadCell>,
    /// Whether something is left that a later collection has to free.
    more: bool,
}

impl Store {
    const_fn! {
        fn new() -> Self {
            Self {
                watermark: CachePadded::new(AtomicU64::new(0)),
                registry: Registry::new(),
                baton: Baton::new(Held {
                    lists: [const { List::EMPTY }; LISTS],
                    scans: 0,
                    memory: Memory::NONE,
                    waited: Vec::new(),
                    stood_on: Vec::new(),
                    walkers: Vec::new(),
                    second_look: VecDeque::new(),
                    dropped: VecDeque::new(),
                    owned: VecDeque::new(),
                    active: Active::new(),
                    #[cfg(txloop_check)]
                    empties: Vec::new(),
                }),
                limbo: Limbo::new(),
                dropped: AtomicUsize::new(0),
                taken: AtomicUsize::new(0),
                left_over: AtomicUsize::new(0),
                accounts: AtomicUsize::new(0),
                memory: Figures::new(),
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

    /// Moves a view on, see [`Announcement::advance`].
    pub(crate) fn advance(&self, view: &Announcement, unchanged: impl FnOnce() -> bool) -> bool {
        view.advance(&self.watermark, unchanged)
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
    pub(crate) fn publish(&self, _guard: &mut Guard<Held>, version: u64) {
        let early = fault!("watermark-before-link");
        let grows = version > self.watermark.load(Ordering::Relaxed);
        debug_assert!(early || grows, "versions only grow");
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
        self.retire_all(&[cell]);
    }

    /// The same for cells that have one owner.
    pub(super) fn retire_all(&'static self, cells: &[CellRef]) {
        self.limbo.push(cells);
        // Relaxed: a rough count.
        let before = self.dropped.fetch_add(cells.len(), Ordering::Relaxed);
        if before / COLLECT_EVERY != (before + cells.len()) / COLLECT_EVERY {
            self.try_collect(cells.len());
        } else {
            // Pairs with the fence of the reaper, which says that it sleeps and then looks.
            fence(Ordering::SeqCst);
            deferred::wake_reaper();
        }
    }

    /// Frees what can be freed, if the baton is free, after so many cells were dropped at once.
    /// Waits for nothing, but a little where there is much to free.
    fn try_collect(&'static self, cells: usize) {
        // Its own cells need a quarter of that: another thread may have left some meanwhile.
        let rounds = ROUNDS + 4 * cells / FREED_IDLE;
        let (mut collected, mut waited) = (0, 0);
        while collected < rounds && waited < rounds {
            if let Some(mut guard) = self.baton.try_take() {
                if guard.memory.dropped_cells + self.in_limbo() >= CROWDED {
                    guard.own().looked = LOOK_EVERY;
                }
                let spoils = self.end_hold(&mut guard, false);
                self.let_go(guard);
                spoils.free();
                // No `settle` follows here: this may be inside somebody's transaction.
                deferred::rouse_for_pending();
                if !self.is_behind() {
                    break;
                }
                collected += 1;
            } else if self.is_behind() {
                waited += 1;
                // Not parked: the caller's own wake-ups are not to be lost.
                #[cfg(not(loom))]
                crate::sync::thread::sleep(PAUSE);
            } else {
                // Whoever has the baton may have looked for garbage before this came.
                fence(Ordering::SeqCst);
                deferred::wake_reaper();
                break;
            }
        }
        deferred::slow_down();
    }

    /// Whether more cells could be freed than should wait for it. Relaxed, as below: rough counts.
    fn is_behind(&self) -> bool {
        self.in_limbo().saturating_add(self.left_over.load(Ordering::Relaxed)) > BEHIND
    }

    /// How many were dropped that no hold has taken.
    fn in_limbo(&self) -> usize {
        let taken = self.taken.load(Ordering::Relaxed);
        self.dropped.load(Ordering::Relaxed).saturating_sub(taken)
    }

    /// Whether the end of a hold can be left to a later one: nothing was dropped, and little
    /// written since the last scan. Then: whether that is to be seen to.
    #[inline]
    pub(crate) fn puts_off_end(&self, guard: &mut Guard<Held>) -> Option<bool> {
        let held = &mut **guard;
        let puts_off = self.limbo.is_empty() && held.puts_off_scan();
        puts_off.then_some(!held.own().touched.is_empty())
    }

    /// Ends a hold: one fence, one scan, then everything that nobody can see any more is unlinked
    /// and handed out to be freed after the baton is let go (P1-P5, D2-D4).
    pub(crate) fn end_hold(&self, guard: &mut Guard<Held>, flush: bool) -> Spoils {
        let held = &mut **guard;
        // (D2) Before the fence: what is dropped later waits for the next hold.
        if !self.limbo.is_empty() {
            let mut cells = Vec::new();
            self.limbo.take(&mut cells);
            self.taken.fetch_add(cells.len(), Ordering::Relaxed);
            let count = |cell: CellRef| Dropped { cell, bytes: cell.own_bytes() };
            let mut cells: Vec<_> = cells.into_iter().map(count).collect();
            held.memory.dropped_cells += cells.len();
            held.memory.dropped_bytes += cells.iter().map(|dropped| dropped.bytes).sum::<usize>();
            // Relaxed: the holder stored it.
            let stamp = self.watermark.load(Ordering::Relaxed);
            cells.retain(|&dropped| {
                let owned = dropped.cell.born().is_some();
                if owned {
                    held.owned.push_back(dropped);
                }
                !owned
            });
            match held.dropped.back_mut() {
                _ if cells.is_empty() => {}
                Some((last, batch)) if *last == stamp => batch.append(&mut cells),
                _ => held.dropped.push_back((stamp, cells)),
            }
        }
        if !held.has_garbage() {
            return Spoils::default();
        }
        let mut spoils = Spoils::default();
        if !flush && held.puts_off_scan() {
            spoils.more = true;
            return spoils;
        }
        held.scan(&self.registry);
        point!(Prune);
        // All that was written is pruned before any cell is freed.
        let all = flush || !held.dropped.is_empty() || !held.owned.is_empty();
        // What a thread left behind that writes no more is seen to by others.
        held.scans = held.scans.wrapping_add(1);
        let all = all || held.scans.is_multiple_of(SEE_TO_ALL);
        let own = own_list();
        let lists = if all { 0..LISTS } else { own..own + 1 };
        // Of all before any is pruned: those that were unlinked before this scan.
        held.release_unlinked(lists.clone(), flush, &mut spoils.versions);
        for list in lists {
            held.lists[list].looked = 0;
            held.prune_touched(list);
        }
        held.look_again(flush);
        let left_over = held.free_dropped(&mut spoils.cells, flush);
        let left_over = left_over + held.free_owned(&mut spoils.cells, flush);
        self.left_over.store(left_over, Ordering::Relaxed);
        if held.awaits_version(self.watermark()) && self.accounts.load(Ordering::Relaxed) == 0 {
            let version = self.watermark() + 1;
            #[cfg(txloop_check)]
            held.empties.push(version);
            self.publish(guard, version);
        }
        let held = &mut **guard;
        self.memory.show(&held.all_memory());
        spoils.more = held.has_garbage();
        spoils
    }

    /// From now until what it returns is dropped, every version is one of a transaction (no D5).
    pub(crate) fn keep_account(&'static self) -> Account {
        // Relaxed: whoever commits has the baton later than a hold that has not seen this.
        self.accounts.fetch_add(1, Ordering::Relaxed);
        Account(())
    }

    /// What is kept, as of the last scan.
    pub(crate) fn memory(&self) -> Memory {
        self.memory.shown()
    }

    /// Whether a collection would find something to do.
    #[cfg(not(loom))]
    pub(super) fn has_garbage(&'static self) -> bool {
        if !self.limbo.is_empty() {
            return true;
        }
        // Whoever holds the baton makes garbage or frees it: look again later.
        let Some(guard) = self.baton.try_take() else { return true };
        let garbage = guard.has_garbage();
        self.let_go(guard);
        garbage
    }

    /// The versions since the last call that no transaction has made.
    #[cfg(txloop_check)]
    pub(crate) fn take_empties(&'static self) -> Vec<u64> {
        let Some(mut guard) = self.baton.try_take() else { return Vec::new() };
        let empties = std::mem::take(&mut guard.empties);
        self.let_go(guard);
        empties
    }

    /// Between two runs of the interleaver: nothing that counts what was done is carried over.
    #[cfg(txloop_check)]
    pub(crate) fn forget_counts(&'static self) {
        self.dropped.store(0, Ordering::Relaxed);
        self.taken.store(0, Ordering::Relaxed);
        if let Some(mut guard) = self.baton.try_take() {
            guard.lists.iter_mut().for_each(|list| list.looked = 0);
            self.let_go(guard);
        }
    }

    /// For the reaper: looks at queued cells again and frees what it can, and the room of lists
    /// that were long. Runs no user code.
    #[cfg(not(loom))]
    pub(crate) fn collect_idle(&'static self) {
        super::magazines::give_back();
        // At least twice: what the first unlinks, a later scan frees.
        for round in 0..COLLECTIONS {
            if let Some(mut guard) = self.baton.try_take() {
                let spoils = self.end_hold(&mut guard, true);
                guard.give_back_room();
                self.let_go(guard);
                if round > 0 && spoils.cells.is_empty() {
                    return;
                }
            } else if round > 0 {
                return;
            }
        }
    }
}

impl Held {
    /// The calling thread's list.
    #[inline]
    fn own(&mut self) -> &mut List {
        &mut self.lists[own_list()]
    }

    fn has_garbage(&self) -> bool {
        !(self.lists.iter().all(List::is_empty)
            && self.stood_on.is_empty()
            && self.second_look.is_empty()
            && self.dropped.is_empty()
            && self.owned.is_empty())
    }

    /// What is kept, with what the lists have not told yet.
    fn all_memory(&self) -> Memory {
        let mut memory = self.memory;
        for list in &self.lists {
            memory.replace(list.touched.len(), list.replaced);
        }
        memory
    }

    /// Whether the end of this hold may do without a scan. Counts those that do.
    #[inline]
    fn puts_off_scan(&mut self) -> bool {
        let own = self.own();
        let puts_off = own.touched.len() < PRUNE_TOGETHER && own.looked < LOOK_EVERY;
        own.looked += usize::from(puts_off);
        puts_off
    }

    /// Makes room for `writes` more cells, so that linking cannot fail.
    pub(crate) fn reserve(&mut self, writes: usize) {
        self.own().touched.reserve(writes);
    }

    /// Notes that a cell got a new version.
    #[inline]
    pub(super) fn touch(&mut self, cell: CellRef, bytes_before: usize) {
        let own = self.own();
        own.touched.push(cell);
        own.replaced += bytes_before;
        if cell.take_waited() {
            self.waited.push(cell);
        }
    }

    /// The cells written since the last call that attempts may be parked on.
    #[inline]
    pub(crate) fn take_waited(&mut self) -> Vec<CellRef> {
        // Looked at first: a line that nobody writes.
        if self.waited.is_empty() { Vec::new() } else { std::mem::take(&mut self.waited) }
    }

    /// Gives back the room of lists that grew while a thread stood still.
    #[cfg(not(loom))]
    fn give_back_room(&mut self) {
        for list in &mut self.lists {
            list.touched.shrink_to(ROOM);
            list.retired.shrink_to(ROOM);
        }
        self.stood_on.shrink_to(ROOM);
        self.second_look.shrink_to(ROOM);
        self.dropped.shrink_to(ROOM);
        self.owned.shrink_to(ROOM);
    }

    /// (P1, P2) The fence pairs with the one of a begin: a view that this scan misses begins at or
    /// above the watermark of now.
    fn scan(&mut self, registry: &Registry) {
        fence(Ordering::SeqCst);
        self.active.clear();
        registry.scan(|sighting| self.active.add(sighting));
        self.active.sort();
    }

    /// (P5) Frees versions that were unlinked before this hold's scan and that no walker stands
    /// on: none walked at the scan, or each that did was seen at rest since.
    fn release_unlinked(&mut self, lists: Range<usize>, flush: bool, free: &mut Vec<Version>) {
        let stood_on = !self.stood_on.is_empty();
        let many = |list: &List| list.retired.len() >= RETIRE_TOGETHER;
        if !(stood_on || flush || self.lists[lists.clone()].iter().any(many)) {
            return;
        }
        let walking = self.active.walking();
        self.walkers.retain(|slot| walking.contains(slot));
        if !self.walkers.is_empty() {
            return;
        }
        free.append(&mut self.stood_on);
        let set_aside = if walking.is_empty() { free } else { &mut self.stood_on };
        self.lists[lists].iter_mut().for_each(|list| set_aside.append(&mut list.retired));
        if !self.stood_on.is_empty() {
            self.walkers.extend_from_slice(walking);
        }
    }

    /// (P3) Prunes what this hold wrote.
    fn prune_touched(&mut self, list: usize) {
        let List { touched, retired, replaced, .. } = &mut self.lists[list];
        self.memory.replace(touched.len(), std::mem::take(replaced));
        let before = retired.len();
        for cell in touched.drain(..) {
            let seen = cell.prune(&self.active, retired);
            if seen && !fault!("second-look-forgotten") && cell.queue() {
                self.second_look.push_back(cell);
            }
        }
        self.count_retired(list, before);
    }

    /// Counts the versions that were unlinked since there were `before`.
    fn count_retired(&mut self, list: usize, before: usize) {
        let retired = &self.lists[list].retired[before..];
        let bytes = retired.iter().map(|old| old.header().size()).sum();
        self.memory.unlink(retired.len(), bytes);
    }

    /// (P4) Prunes cells that had old versions in use when they were last looked at.
    fn look_again(&mut self, idle: bool) {
        let list = own_list();
        let before = self.lists[list].retired.len();
        let looks = if idle { SECOND_LOOKS_IDLE } else { SECOND_LOOKS };
        for _ in 0..looks.min(self.second_look.len()) {
            let Some(cell) = self.second_look.pop_front() else { break };
            if cell.prune(&self.active, &mut self.lists[list].retired) {
                self.second_look.push_back(cell);
            } else {
                cell.unqueue();
            }
        }
        self.count_retired(list, before);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        STORE.accounts.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Spoils {
    /// Frees, and sees to it that what is left will be. Called without the baton; runs no user
    /// code.
    pub(crate) fn free(self) {
        drop(self.versions);
        drop(self.cells);
        if self.more {
            // The reaper says that it sleeps before it looks under the baton, so a hold that comes
            // after its look finds it asleep.
            deferred::wake_reaper();
        }
    }
}
