//! Ownership that crosses threads: snapshot slots, the baton, READY attempts, the current view.
//!
//! One of the six files with `unsafe`. Everything here is a safe interface over *who owns what*:
//!
//! * a [`Slot`] is owned by one thread or one attempt at a time; an [`Announcement`] is a slot
//!   that announces a snapshot, and whatever that snapshot can see is not freed while it lives;
//! * a [`Guard`] is the baton: `&mut` access to what only its holder may touch;
//! * a [`ReadyList`] moves ownership of finished attempts from many threads to the holder;
//! * [`Scoped`] lends the current view to code further down the same stack.
//!
//! The steps are numbered in docs/protocol.md and cited as (B1), (B2), ... here.
#![expect(unsafe_code, reason = "slot ownership: one of the six files of the cell module")]

use crate::sync::{
    AtomicPtr, AtomicU32, AtomicU64, LocalKey, Ordering, Owned, UnsafeCell, const_fn, die, fault,
    fence, point,
};
use crossbeam_utils::CachePadded;
use std::{
    cell::Cell,
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    ptr,
    sync::OnceLock,
};

/// What an idle slot announces. Tested before [`RANGE`], whose bit it contains.
pub(crate) const IDLE: u64 = u64::MAX;
/// The top bit of an announcement: every snapshot from the rest of the word up counts as active.
pub(crate) const RANGE: u64 = 1 << 63;

const SLOTS_PER_BLOCK: usize = if cfg!(any(loom, shuttle)) { 4 } else { 64 };
const BLOCKS: usize = match (cfg!(loom), cfg!(shuttle)) {
    (true, _) => 1,
    (_, true) => 16,
    _ => 64,
};

/// The most attempts and snapshots that can be under way at one time in a process: 4,096. Whoever
/// comes later waits for a free slot.
pub const MAX_VIEWS: usize = SLOTS_PER_BLOCK * BLOCKS;

struct Block {
    occupied: AtomicU64,
    words: [CachePadded<Words>; SLOTS_PER_BLOCK],
}

/// A slot: what others see of it, and what its view knows.
struct Words {
    /// [`IDLE`], a snapshot, or a lower end with [`RANGE`].
    announced: AtomicU64,
    /// The snapshot at which the view began, if it has moved on since; else [`IDLE`]. No cell is
    /// freed that was alive there.
    kept: AtomicU64,
    /// How many threads walk a chain under this slot now: a snapshot may be shared by several.
    walkers: AtomicU32,
    /// For the view alone, and those who share it: what it sees. Here and not in the
    /// [`Announcement`], so that this one is moved in a register.
    snapshot: Owned,
    /// Where it began.
    first: Owned,
    /// Where it is in its block.
    bit: u32,
    /// Its block, known once it was claimed.
    block: OnceLock<&'static Block>,
}

/// What a scan sees of a slot that is in use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighting {
    /// The slot's number.
    pub(crate) slot: usize,
    /// What it announces, possibly [`IDLE`].
    pub(crate) announced: u64,
    /// Where its view began, if it has moved on since; else [`IDLE`].
    pub(crate) kept: u64,
    /// Whether somebody walks a chain under it.
    pub(crate) walking: bool,
}

/// The slab of slots. Blocks are made when first needed and never freed: a scan costs the slots in
/// use plus one word per block.
pub(crate) struct Registry {
    blocks: [OnceLock<&'static Block>; BLOCKS],
}

impl Registry {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self { blocks: [const { OnceLock::new() }; BLOCKS] }
        }
    }

    fn grow() -> &'static Block {
        let words = |bit| Words {
            announced: AtomicU64::new(IDLE),
            kept: AtomicU64::new(IDLE),
            walkers: AtomicU32::new(0),
            snapshot: Owned::new(IDLE),
            first: Owned::new(IDLE),
            bit: bit as u32,
            block: OnceLock::new(),
        };
        Box::leak(Box::new(Block {
            occupied: AtomicU64::new(0),
            words: std::array::from_fn(|bit| CachePadded::new(words(bit))),
        }))
    }

    /// Claims a free slot (B1). Waits, yielding, while all [`MAX_VIEWS`] are taken.
    pub(crate) fn claim(&self) -> Slot {
        loop {
            for index in 0..BLOCKS {
                let block = self.blocks[index].get_or_init(Self::grow);
                let mut occupied = block.occupied.load(Ordering::Relaxed);
                while (!occupied).trailing_zeros() < SLOTS_PER_BLOCK as u32 {
                    let bit = (!occupied).trailing_zeros();
                    // AcqRel: the slot's last owner put IDLE there before it freed the bit.
                    let before = block.occupied.fetch_or(1 << bit, Ordering::AcqRel);
                    if before & (1 << bit) == 0 {
                        let words = &block.words[bit as usize];
                        words.block.get_or_init(|| block);
                        return Slot { words };
                    }
                    occupied = before | (1 << bit);
                }
            }
            crate::sync::thread::yield_now();
        }
    }

    /// Calls `each` with every slot in use (P2). The caller has fenced.
    pub(crate) fn scan(&self, mut each: impl FnMut(Sighting)) {
        for index in 0..BLOCKS {
            // Blocks are made in order, so the first missing one is the end.
            let Some(block) = self.blocks[index].get() else { return };
            let mut occupied = block.occupied.load(Ordering::Acquire);
            while occupied != 0 {
                let bit = occupied.trailing_zeros() as usize;
                occupied &= occupied - 1;
                let words = &block.words[bit];
                // Acquire, both: what this slot's earlier views and walks read happened before
                // what the caller frees.
                each(Sighting {
                    slot: index * SLOTS_PER_BLOCK + bit,
                    announced: words.announced.load(Ordering::Acquire),
                    // After it: who announces a later snapshot has stored this before.
                    kept: words.kept.load(Ordering::Acquire),
                    walking: words.walkers.load(Ordering::Acquire) != 0,
                });
            }
        }
    }
}

/// A claimed slot that announces nothing. Dropping it gives the slot back.
pub(crate) struct Slot {
    words: &'static Words,
}

impl Slot {
    /// Begins a view at the newest committed state (B2-B5): wait-free, two steps.
    #[inline]
    pub(crate) fn announce(self, watermark: &AtomicU64) -> Announcement {
        // (B2) Any earlier watermark is a safe lower end of the range.
        let lower = watermark.load(Ordering::Relaxed);
        point!(Begin);
        self.words.announced.store(lower | RANGE, Ordering::Release);
        point!(Begin);
        // (B3) Pairs with the fence before a scan (P1): either the scan sees the range, or the
        // load below sees the watermark of that scan.
        fence(Ordering::SeqCst);
        // (B4) Acquire: every version up to `snapshot` was linked before.
        let snapshot = watermark.load(Ordering::Acquire);
        let snapshot = if fault!("begin-no-second-load") { lower } else { snapshot };
        point!(Begin);
        // (B5)
        self.announce_exactly(snapshot)
    }

    #[inline(always)]
    fn announce_exactly(self, snapshot: u64) -> Announcement {
        self.words.announced.store(snapshot, Ordering::Release);
        // Relaxed: whoever shares the view was given it.
        self.words.snapshot.store(snapshot, Ordering::Relaxed);
        self.words.first.store(snapshot, Ordering::Relaxed);
        Announcement { slot: self }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Words { block, bit, .. } = self.words;
        let block = block.get().expect("a slot was claimed");
        // Release: the IDLE stored before is seen by whoever claims the bit next.
        block.occupied.fetch_and(!(1 << bit), Ordering::Release);
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("bit", &self.words.bit).finish_non_exhaustive()
    }
}

/// A slot that announces a snapshot. While it lives, the version of every cell that is visible at
/// its snapshot is not freed, nor is any cell that was alive when the snapshot was taken.
#[derive(Debug)]
pub(crate) struct Announcement {
    slot: Slot,
}

/// Something that keeps an announcement.
///
/// # Safety
/// While it is borrowed, what [`View::snapshot`] says is announced.
pub(crate) unsafe trait View {
    /// The version that this view sees.
    fn snapshot(&self) -> u64;
    /// The announcement.
    fn announcement(&self) -> &Announcement;
}

// SAFETY: the two are written together, by the slot's owner.
unsafe impl View for Announcement {
    #[inline(always)]
    fn snapshot(&self) -> u64 {
        self.snapshot()
    }

    fn announcement(&self) -> &Announcement {
        self
    }
}

/// An announcement that does not move on, with its number: looks need not go through the slot.
#[derive(Debug)]
pub(crate) struct Fixed {
    announcement: Announcement,
    snapshot: u64,
}

// SAFETY: as above, and nobody who has `&self` alone moves it on.
unsafe impl View for Fixed {
    #[inline(always)]
    fn snapshot(&self) -> u64 {
        self.snapshot
    }

    fn announcement(&self) -> &Announcement {
        &self.announcement
    }
}

impl Fixed {
    #[inline(always)]
    pub(crate) fn new(announcement: Announcement) -> Self {
        let snapshot = announcement.snapshot();
        Self { announcement, snapshot }
    }

    #[inline(always)]
    pub(crate) fn into_announcement(self) -> Announcement {
        self.announcement
    }
}

impl Announcement {
    /// The version that this view sees.
    #[inline(always)]
    pub(crate) fn snapshot(&self) -> u64 {
        // Relaxed: changed by the thread alone that reads it.
        self.slot.words.snapshot.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn first(&self) -> u64 {
        self.slot.words.first.load(Ordering::Relaxed)
    }

    /// Moves the view on to the newest state, if `unchanged` says that there all that was read is
    /// as it was (R5). Until that is known, both are announced.
    pub(crate) fn advance(&self, watermark: &AtomicU64, unchanged: impl FnOnce() -> bool) -> bool {
        let (from, announced) = (self.snapshot(), &self.slot.words.announced);
        announced.store(from | RANGE, Ordering::Release);
        point!(Begin);
        // As (B3): either a scan sees the range, or the load below sees the watermark of that scan.
        fence(Ordering::SeqCst);
        // As (B4): whatever was linked up to here is seen by `unchanged`.
        let to = watermark.load(Ordering::Acquire);
        point!(Begin);
        let moves = to != from && unchanged();
        if moves {
            // What was read may be in cells that were dropped since.
            self.slot.words.kept.store(self.first(), Ordering::Release);
        }
        let snapshot = if moves { to } else { from };
        self.slot.words.snapshot.store(snapshot, Ordering::Relaxed);
        announced.store(snapshot, Ordering::Release);
        moves
    }

    /// Walks a chain (R3): what is linked when `walk` begins is not freed before it ends.
    pub(crate) fn while_walking<R>(&self, walk: impl FnOnce() -> R) -> R {
        let walkers = &self.slot.words.walkers;
        walkers.fetch_add(1, Ordering::Relaxed);
        // Pairs with the fence before a scan: that sees the walker, or what it unlinked is gone.
        fence(Ordering::SeqCst);
        let found = walk();
        // Release: the walk happens before what a scan that misses it frees.
        walkers.fetch_sub(1, Ordering::Release);
        found
    }

    /// A second view of the same snapshot in a slot of its own. Exact from the start, because
    /// `self` protects the snapshot until the new announcement stands.
    pub(crate) fn again(&self, slot: Slot) -> Announcement {
        slot.announce_exactly(self.snapshot())
    }

    /// (B6) Release: the reads made under the view happen before what a scan that sees this frees.
    #[inline]
    fn retract(&self) {
        self.slot.words.announced.store(IDLE, Ordering::Release);
        if self.snapshot() != self.first() {
            self.slot.words.kept.store(IDLE, Ordering::Release);
        }
    }

    /// Ends the view.
    #[inline]
    pub(crate) fn end(self) -> Slot {
        self.retract();
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so the slot is moved out exactly once.
        unsafe { ptr::read(&this.slot) }
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        self.retract();
    }
}

const HELD: u32 = 1;
/// A READY attempt was pushed while the baton was held.
pub(crate) const WORK: u32 = 2;
/// A request to run alone was queued while the baton was held.
pub(crate) const ALONE: u32 = 4;

/// The one lock of the engine, and what only its holder may touch. Nobody ever spins on it.
pub(crate) struct Baton<H> {
    word: CachePadded<AtomicU32>,
    held: UnsafeCell<H>,
}

// SAFETY: `held` is reached only through a `Guard`, of which the HELD bit allows one at a time; a
// guard may move between threads, hence `H: Send`.
unsafe impl<H: Send> Sync for Baton<H> {}

impl<H> Baton<H> {
    const_fn! {
        pub(crate) fn new(held: H) -> Self {
            Self { word: CachePadded::new(AtomicU32::new(0)), held: UnsafeCell::new(held) }
        }
    }

    /// Whether nobody has it, as far as this thread can see.
    pub(crate) fn is_free(&self) -> bool {
        self.word.load(Ordering::Relaxed) == 0
    }

    /// Takes the baton if it is free, without writing if it is not.
    #[inline]
    pub(crate) fn try_take(&'static self) -> Option<Guard<H>> {
        point!(Take);
        if self.word.load(Ordering::Relaxed) != 0 {
            return None;
        }
        // Acquire: what the last holder did happened before.
        self.word.compare_exchange(0, HELD, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(Guard { baton: self })
    }

    /// Takes the baton, or leaves `flag` for the holder, in one atomic step (C2): whoever lets go
    /// sees either the flag or a thread that already has the baton.
    pub(crate) fn take_or_flag(&'static self, flag: u32) -> Option<Guard<H>> {
        point!(Take);
        let flag = if fault!("flag-not-left") { 0 } else { flag };
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let (next, success) = if word & HELD == 0 {
                (word | HELD, Ordering::Acquire)
            } else {
                // Release: the push that the flag announces happens before the holder's look.
                (word | flag, Ordering::Release)
            };
            match self.word.compare_exchange(word, next, success, Ordering::Relaxed) {
                Ok(_) if word & HELD == 0 => return Some(Guard { baton: self }),
                Ok(_) => return None,
                Err(now) => word = now,
            }
        }
    }
}

/// The baton in hand, let go by [`Guard::release`], whose answer says what came in meanwhile and
/// must not be lost. A panic that drops it ends the process: what it guards may be half done.
#[must_use = "a guard that is dropped ends the process"]
pub(crate) struct Guard<H: 'static> {
    baton: &'static Baton<H>,
}

impl<H> Guard<H> {
    /// Lets go (C7). `Err` gives the guard back with the flags that were left meanwhile, cleared.
    pub(crate) fn release(self) -> Result<(), (Self, u32)> {
        point!(Release);
        let baton = std::mem::ManuallyDrop::new(self).baton;
        // Release: the next holder sees all that this one did.
        match baton.word.compare_exchange(HELD, 0, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(_) => {
                // Acquire: pairs with the Release of the flag.
                let word = baton.word.swap(HELD, Ordering::AcqRel);
                Err((Self { baton }, word & !HELD))
            }
        }
    }

    /// Whether one of these flags was left since the guard was taken.
    #[inline]
    pub(crate) fn flagged(&self, flags: u32) -> bool {
        self.baton.word.load(Ordering::Relaxed) & flags != 0
    }

    /// Leaves a flag for whoever lets go next.
    pub(crate) fn flag(&self, flag: u32) {
        self.baton.word.fetch_or(flag, Ordering::Relaxed);
    }
}

impl<H> Drop for Guard<H> {
    fn drop(&mut self) {
        die("a panic of the library itself while it commits; this is a bug");
    }
}

impl<H> Deref for Guard<H> {
    type Target = H;
    #[inline]
    fn deref(&self) -> &H {
        // SAFETY: HELD is set by this guard alone until `release`, so no other access exists; the
        // pointer comes from a live static.
        self.baton.held.with(|held| unsafe { &*held })
    }
}

impl<H> DerefMut for Guard<H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut H {
        // SAFETY: as in `deref`, and `&mut self` makes it the only one through this guard.
        self.baton.held.with_mut(|held| unsafe { &mut *held })
    }
}

/// A value in the box with which it is linked into a [`ReadyList`].
pub(crate) struct Linked<T> {
    next: *mut Linked<T>,
    value: T,
}

// SAFETY: `next` is written and read only by the list, between `push` and `take_all`, when the box
// is owned by the list; outside it is just a stale number.
unsafe impl<T: Send> Send for Linked<T> {}

impl<T> Linked<T> {
    pub(crate) fn new(value: T) -> Box<Self> {
        Box::new(Self { next: ptr::null_mut(), value })
    }

    /// The payload.
    pub(crate) fn into_value(self) -> T {
        self.value
    }
}

/// A lock-free list that many threads push on and the holder of the baton empties with one swap.
pub(crate) struct ReadyList<T> {
    newest: CachePadded<AtomicPtr<Linked<T>>>,
}

impl<T: Send> ReadyList<T> {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self { newest: CachePadded::new(AtomicPtr::new(ptr::null_mut())) }
        }
    }

    /// Gives the box to the list (C1). Release: the attempt in it happens before its take.
    pub(crate) fn push(&self, item: Box<Linked<T>>) {
        let item = Box::into_raw(item);
        let mut newest = self.newest.load(Ordering::Relaxed);
        loop {
            // SAFETY: `item` is ours until the exchange below succeeds.
            unsafe { (*item).next = newest };
            let swapped = self.newest.compare_exchange_weak(
                newest,
                item,
                Ordering::Release,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return,
                Err(now) => newest = now,
            }
        }
    }

    /// Whether nothing is waiting, as far as this thread can see.
    pub(crate) fn is_empty(&self) -> bool {
        self.newest.load(Ordering::Relaxed).is_null()
    }

    /// Takes all that was pushed, oldest last in the stack and first in `out` (C3).
    pub(crate) fn take_all(&self, out: &mut Vec<Box<Linked<T>>>) {
        if self.is_empty() {
            return;
        }
        let first = out.len();
        let mut item = self.newest.swap(ptr::null_mut(), Ordering::Acquire);
        while !item.is_null() {
            // SAFETY: the swap made this thread the only owner of the whole chain; each node came
            // from `Box::into_raw` in `push` and is turned back once.
            let linked = unsafe { Box::from_raw(item) };
            item = linked.next;
            out.push(linked);
        }
        out[first..].reverse();
    }
}

/// Lends a value to the code that runs further down the same stack of the same thread.
pub(crate) struct Scoped<T: 'static> {
    key: &'static LocalKey<Cell<*const ()>>,
    lent: PhantomData<fn(&T)>,
}

/// What a scope holds while it is forbidden: no address of anything.
const FORBIDDEN: *const () = ptr::without_provenance(1);

/// Puts back what a scope held before.
struct Restore(&'static LocalKey<Cell<*const ()>>, *const ());

impl Drop for Restore {
    fn drop(&mut self) {
        self.0.with(|held| held.set(self.1));
    }
}

impl<T> Scoped<T> {
    /// `key` must belong to this scope alone: that is what makes the type of the pointer known.
    pub(crate) const fn new(key: &'static LocalKey<Cell<*const ()>>) -> Self {
        Self { key, lent: PhantomData }
    }

    /// Runs `f` while [`Scoped::with`] lends `value`, or nothing.
    #[inline]
    pub(crate) fn enter<R>(&self, value: Option<&T>, f: impl FnOnce() -> R) -> R {
        let lent = value.map_or(ptr::null(), |v| ptr::from_ref(v).cast());
        let _restore = Restore(self.key, self.key.with(|held| held.replace(lent)));
        f()
    }

    /// Runs `f` while every use of [`Scoped::with`] panics.
    pub(crate) fn forbid<R>(&self, f: impl FnOnce() -> R) -> R {
        let _restore = Restore(self.key, self.key.with(|held| held.replace(FORBIDDEN)));
        f()
    }

    /// Whether nothing is lent on this thread.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.key.with(Cell::get).is_null()
    }

    /// Calls `f` with the value lent to this thread, if any. Panics where it is forbidden.
    pub(crate) fn with<R>(&self, f: impl FnOnce(Option<&T>) -> R) -> R {
        assert!(
            self.key.with(Cell::get) != FORBIDDEN,
            "a step of `update_later`, or a comparison for a `TMax` or `TMin`, runs while others' \
             commits wait: it cannot begin a transaction or a snapshot"
        );
        let lent: *const T = self.key.with(Cell::get).cast();
        // SAFETY: only `enter` stores a pointer that is not null, from a `&T` that outlives the
        // call of its closure, on this thread; we are inside that call, or it would be restored.
        f(unsafe { lent.as_ref() })
    }
}
