//! Cells: the chain of versions, reading, linking, pruning, retiring.
//!
//! One of the six files with `unsafe`. Who may touch what, and when:
//!
//! | field | written by | read by |
//! |---|---|---|
//! | `Header::head` | the holder of the baton, linking | anyone with an announcement, or the holder |
//! | `Header::version` | the holder, before `head` | the same |
//! | `Header::limbo_next` | the thread that dropped the last handle; then the holder | the holder |
//! | `VersionHeader::version`, value | the owner of the box, before it is linked | anyone whose snapshot sees it; walkers read only the header |
//! | `VersionHeader::next` | the holder, linking and unlinking | the holder, and walkers |
//!
//! A version is freed when it is unlinked and every walker that may stand on it has ended its walk;
//! a cell with its whole chain, when no announcement is as old as its drop (docs/protocol.md).
#![expect(unsafe_code, reason = "version nodes: one of the six files of the cell module")]

use super::{
    active::Active,
    block,
    boxes::{Lent, Version, VersionHeader, value_of},
    labels::{Label, Origin},
    made,
    slot::{Announcement, View},
    store::STORE,
};
#[cfg(loom)]
use crate::sync::UnsafeCell;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fault, fence, point};
use std::{fmt, marker::PhantomData, ptr, ptr::NonNull};

/// Set in `Header::label` while the cell waits in the second-look queue.
const QUEUED: u32 = 1 << 31;
/// Set in `Header::label` while an attempt may be parked on the cell.
const WAITED: u32 = 1 << 30;
/// Set in `Header::label` from the beginning if the cell stands in a block.
const IN_BLOCK: u32 = 1 << 29;
/// The most versions that one pruning of one cell unlinks; a longer chain gets a second look.
const MAX_UNLINK: usize = 32;
/// As in `Arc`: far below overflow, so that racing clones cannot reach it.
const MAX_HANDLES: u32 = i32::MAX as u32;

/// A cell without its type: 32 bytes.
pub(crate) struct Header {
    head: AtomicPtr<VersionHeader>,
    version: AtomicU64,
    limbo_next: AtomicPtr<Header>,
    label: AtomicU32,
    /// How many handles there are; of a cell in a block, its place there.
    handles: AtomicU32,
    #[cfg(loom)]
    alive: UnsafeCell<bool>,
}

impl Header {
    /// The header of cell `at` of a block.
    pub(super) fn in_block(first: NonNull<VersionHeader>, label: Label, at: u32) -> Self {
        Self { label: AtomicU32::new(label.0 | IN_BLOCK), ..Self::new(first, label, at) }
    }

    fn new(first: NonNull<VersionHeader>, label: Label, handles: u32) -> Self {
        Self {
            head: AtomicPtr::new(first.as_ptr()),
            version: AtomicU64::new(0),
            limbo_next: AtomicPtr::new(ptr::null_mut()),
            label: AtomicU32::new(label.0),
            handles: AtomicU32::new(handles),
            #[cfg(loom)]
            alive: UnsafeCell::new(true),
        }
    }
}

/// A handle to one versioned cell: the unit in which conflicts are found.
///
/// Cloning a handle is cheap and gives the same cell. Reads and writes go through a
/// [`Transaction`](crate::Transaction) or a [`Snapshot`](crate::Snapshot).
///
/// A value is never moved out nor changed in place: every write makes a new version, and a version
/// is dropped when no running handler can see it any more. Values with a destructor are dropped
/// later and on a thread of the library, never inside somebody else's transaction; there is
/// therefore no `get_mut` and no `into_inner`.
///
/// A cell takes 32 bytes plus, for each version, 40 bytes and the value.
///
/// # Examples
/// ```
/// use txloop::{TVar, atomically};
///
/// let hits = TVar::new(0_u64);
/// let n = atomically(|tx| {
///     tx.set(&hits, tx.get(&hits) + 1);
///     *tx.get(&hits)
/// });
/// assert_eq!((n, hits.with(|n| *n)), (1, 1));
/// ```
pub struct TVar<T: Send + Sync + 'static> {
    cell: NonNull<Header>,
    value: PhantomData<T>,
}

// SAFETY: a handle gives out `&T` on any thread and lets any thread drop a `T`; both are covered by
// `T: Send + Sync`.
unsafe impl<T: Send + Sync + 'static> Send for TVar<T> {}
// SAFETY: as above; all of the handle's own state is atomic.
unsafe impl<T: Send + Sync + 'static> Sync for TVar<T> {}

impl<T: Send + Sync + 'static> TVar<T> {
    /// A new cell. Its first value is visible to every snapshot, also to older ones: they can only
    /// have the handle from whoever made it.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self::labelled(Label::NONE, value)
    }

    /// A new cell with a name, under which the conflict log speaks of it. Names are not unique and
    /// cost nothing but a table entry; the first 65,535 different ones are kept, later ones all
    /// read "other".
    #[must_use]
    pub fn named(name: &'static str, value: T) -> Self {
        Self::labelled(Label::of(name), value)
    }

    pub(crate) fn labelled(label: Label, value: T) -> Self {
        let first = std::mem::ManuallyDrop::new(Version::new(value, Origin::default()));
        let cell = Box::new(Header::new(first.node(), label, 1));
        // SAFETY: a box is never null.
        let cell = unsafe { NonNull::new_unchecked(Box::into_raw(cell)) };
        made::note(cell.as_ptr() as u64..cell.as_ptr() as u64 + 1);
        Self { cell, value: PhantomData }
    }

    #[inline(always)]
    fn header(&self) -> &Header {
        // SAFETY: a cell is not retired while a handle lives, and `self` is one.
        unsafe { self.cell.as_ref() }
    }

    /// The cell without its type.
    #[inline(always)]
    pub(crate) fn cell(&self) -> CellRef {
        CellRef(self.cell)
    }

    /// The cell with its type, kept by this handle.
    #[inline(always)]
    pub(crate) fn kept(&self) -> CellOf<'_, T> {
        CellOf(self.cell(), PhantomData)
    }

    /// How many versions the cell holds, for tests of memory bounds.
    #[doc(hidden)]
    #[must_use]
    pub fn chain_length(&self) -> usize {
        STORE.begin(STORE.claim()).while_walking(|| {
            let mut node = self.header().head.load(Ordering::Acquire);
            let mut length = 0;
            while !node.is_null() {
                length += 1;
                // SAFETY: linked when the walk began or later, so not freed before it ends.
                node = unsafe { &*node }.next.load(Ordering::Acquire);
            }
            length
        })
    }
}

/// A cell of a known type that somebody keeps alive during 'a: what reads and writes take.
#[derive(Debug)]
pub struct CellOf<'a, T>(CellRef, PhantomData<&'a T>);

impl<T> Clone for CellOf<'_, T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for CellOf<'_, T> {}

impl<T: Send + Sync + 'static> CellOf<'_, T> {
    /// # Safety
    /// The cell was made with values of this type, and is kept during the lifetime.
    #[inline(always)]
    pub(super) unsafe fn new(cell: CellRef) -> Self {
        Self(cell, PhantomData)
    }

    /// The cell without its type.
    #[inline(always)]
    pub(crate) fn cell(self) -> CellRef {
        self.0
    }

    /// The newest value, if that is the one that `view` sees (R1, R2, R4).
    #[inline(always)]
    pub(crate) fn read_newest(self, view: &impl View) -> Option<&T> {
        let node = newest_if_visible(self.0.header(), view)?;
        // SAFETY: as in `read_at`.
        Some(unsafe { value_of(node) })
    }

    /// The value that `view` sees (R1-R4): wait-free, and two loads when the newest version is the
    /// visible one.
    #[inline(always)]
    pub(crate) fn read_at(self, view: &impl View) -> &T {
        let node = visible(self.0.header(), view);
        // SAFETY: `node` is visible at the snapshot that `view` announces, so it is not freed
        // while the announcement stands, which outlives the reference; the cell is of this type.
        unsafe { value_of(node) }
    }
}

/// The version that a view sees (R1-R3).
#[inline(always)]
fn visible(header: &Header, view: &impl View) -> *mut VersionHeader {
    match newest_if_visible(header, view) {
        Some(head) => head,
        None => walk(header, view),
    }
}

/// The newest version, if a view sees it (R1, R2).
#[inline(always)]
fn newest_if_visible(header: &Header, view: &impl View) -> Option<*mut VersionHeader> {
    // (R1) Acquire: if this is a version, the cell's number that goes with it is seen below.
    let head = header.head.load(Ordering::Acquire);
    point!(Read);
    // (R2) Relaxed: ordered after R1 by its Acquire.
    (header.version.load(Ordering::Relaxed) <= view.snapshot()).then_some(head)
}

/// The slow half of a read (R3): the newest version that the view sees.
#[cold]
#[inline(never)]
fn walk(header: &Header, view: &impl View) -> *mut VersionHeader {
    view.announcement().while_walking(|| {
        // Reloaded inside the walk: what was loaded before it may be freed by now.
        let mut node = header.head.load(Ordering::Acquire);
        loop {
            // SAFETY: linked when the walk began or later, so not freed before it ends. Never
            // null: the version visible at an announced snapshot is in the chain.
            let version = unsafe { &*node };
            #[cfg(loom)]
            // SAFETY: never freed in the models.
            version.alive.with(|alive| assert!(unsafe { *alive }, "a walk over a freed version"));
            if version.version <= view.snapshot() {
                return node;
            }
            point!(Walk);
            node = version.next.load(Ordering::Acquire);
        }
    })
}

impl<T: Send + Sync + 'static> Clone for TVar<T> {
    fn clone(&self) -> Self {
        // Relaxed: the new handle is made from one that keeps the cell alive.
        let handles = self.header().handles.fetch_add(1, Ordering::Relaxed);
        if handles >= MAX_HANDLES {
            // As `Arc` does: a panic could be caught, again and again, until the count wraps.
            std::process::abort();
        }
        Self { cell: self.cell, value: PhantomData }
    }
}

impl<T: Send + Sync + 'static> Drop for TVar<T> {
    fn drop(&mut self) {
        // Release: what was done through this handle happens before the last one's drop.
        if self.header().handles.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            STORE.retire(CellRef(self.cell));
        }
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for TVar<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TVar").field("name", &self.cell().label().text()).finish_non_exhaustive()
    }
}

/// A cell without its type: its identity in read and write sets.
///
/// It does not keep the cell alive. Whoever holds one is covered by an announcement that is as old
/// as the handle it came from, or is the holder of the baton and the cell is queued or not yet
/// freed; this is an invariant of the cell module, stated where each is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CellRef(NonNull<Header>);

// SAFETY: only an address; what it points to is Sync, and see above for how long it lives.
unsafe impl Send for CellRef {}
// SAFETY: as above.
unsafe impl Sync for CellRef {}

impl CellRef {
    #[inline(always)]
    pub(super) fn new(header: NonNull<Header>) -> Self {
        Self(header)
    }

    #[inline(always)]
    fn header(&self) -> &Header {
        // SAFETY: the invariant of the type.
        let header = unsafe { self.0.as_ref() };
        #[cfg(loom)]
        // SAFETY: never freed in the models.
        header.alive.with(|alive| assert!(unsafe { *alive }, "a cell used after free"));
        header
    }

    /// The address, as a number for logs: never an identity across time.
    pub(crate) fn id(self) -> u64 {
        self.0.as_ptr() as u64
    }

    /// The name of the cell.
    pub(crate) fn label(self) -> Label {
        Label(self.header().label.load(Ordering::Relaxed) & !(QUEUED | WAITED | IN_BLOCK))
    }

    /// The type of the value.
    #[cfg(not(loom))]
    pub(crate) fn type_name(self, view: &Announcement) -> &'static str {
        let node = visible(self.header(), view);
        // SAFETY: as in `CellOf::read_at`.
        unsafe { &*node }.type_name()
    }

    /// The number of the newest version. Only the holder gets an answer that stays true.
    #[inline(always)]
    pub(crate) fn version(self) -> u64 {
        self.header().version.load(Ordering::Relaxed)
    }

    /// For a conflict: the type of the value, and who wrote the oldest version after `snapshot`.
    /// Called by the holder: nobody else unlinks.
    pub(super) fn first_after(self, snapshot: u64) -> (&'static str, Origin) {
        let mut node = self.header().head.load(Ordering::Acquire);
        loop {
            // SAFETY: in the chain, and only the holder, which the caller is, takes it out.
            let version = unsafe { &*node };
            let next = version.next.load(Ordering::Relaxed);
            // SAFETY: as above, or null.
            match unsafe { next.as_ref() } {
                Some(older) if older.version > snapshot => node = next,
                _ => return (version.type_name(), version.origin),
            }
        }
    }

    /// Makes `version` the newest (C5), and says how large the one before it is. Called by the
    /// holder, with numbers that only grow.
    pub(super) fn link(self, version: Version, number: u64) -> usize {
        let node = std::mem::ManuallyDrop::new(version).node().as_ptr();
        let header = self.header();
        // SAFETY: not published yet, so owned by this call.
        unsafe { (*node).version = number };
        let head = header.head.load(Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { &*node }.next.store(head, Ordering::Relaxed);
        // Before the head, whose Release orders it: a reader that finds the new node finds the
        // new number too, and goes the slow way.
        if fault!("number-after-head") {
            header.head.store(node, Ordering::Release);
            point!(Link);
        }
        header.version.store(number, Ordering::Relaxed);
        point!(Link);
        header.head.store(node, Ordering::Release);
        point!(Link);
        // SAFETY: linked until the holder, which the caller is, unlinks it.
        unsafe { &*head }.size()
    }

    /// The bytes of the cell and its newest version. Called by the holder.
    pub(super) fn own_bytes(self) -> usize {
        size_of::<Header>() + self.sizes().0
    }

    /// The sizes of the newest version, and of the older ones together with their number. Called by
    /// the holder.
    pub(super) fn sizes(self) -> (usize, usize, usize) {
        // SAFETY: in the chain; only the holder unlinks.
        let newest = unsafe { &*self.header().head.load(Ordering::Relaxed) };
        let (mut count, mut older) = (0, 0);
        let mut node = newest.next.load(Ordering::Relaxed);
        while !node.is_null() {
            // SAFETY: as above.
            let version = unsafe { &*node };
            (count, older) = (count + 1, older + version.size());
            node = version.next.load(Ordering::Relaxed);
        }
        (newest.size(), count, older)
    }

    /// Unlinks every version that no announcement can see (P3), and says whether the cell needs a
    /// second look. `active` holds the announcements of a scan made after the newest link, largest
    /// first, ranges last in effect: see [`Active`]. Called by the holder.
    pub(super) fn prune(self, active: &Active, retired: &mut Vec<Version>) -> bool {
        let header = self.header();
        let mut kept = header.head.load(Ordering::Relaxed);
        let mut unlinked = 0;
        loop {
            // SAFETY: in the chain; only the holder unlinks.
            let newer = unsafe { &*kept };
            let node = newer.next.load(Ordering::Relaxed);
            let Some(owned) = NonNull::new(node) else { break };
            // SAFETY: as above.
            let version = unsafe { &*node };
            let from = match version.version {
                // The first one: visible to whoever can come upon the cell.
                0 => self.born().map_or(0, |born| born + 1),
                number => number,
            };
            if active.sees(from, newer.version) {
                kept = node;
                continue;
            }
            if unlinked == MAX_UNLINK {
                return true;
            }
            unlinked += 1;
            let older = version.next.load(Ordering::Relaxed);
            // Release: a walker that comes past the gap finds the older versions whole.
            newer.next.store(older, Ordering::Release);
            // SAFETY: unlinked here and once, so owned; the caller keeps it while somebody may
            // stand on it.
            retired.push(unsafe { Version::owned(owned) });
        }
        kept != header.head.load(Ordering::Relaxed)
    }

    /// The value that a view sees, for a fold.
    pub(super) fn visible_at(self, view: &Announcement) -> Lent {
        let node = visible(self.header(), view);
        // SAFETY: the version visible at an announced snapshot is in the chain.
        Lent(unsafe { NonNull::new_unchecked(node) })
    }

    /// The newest value, for a fold. Called by the holder.
    pub(super) fn newest(self) -> Lent {
        let head = self.header().head.load(Ordering::Acquire);
        // SAFETY: a cell has a version from its making to its end.
        Lent(unsafe { NonNull::new_unchecked(head) })
    }

    /// Notes that an attempt is parked on the cell (W2). Called by the holder.
    pub(crate) fn wait_on(self) {
        // Relaxed, as below: set, and looked at, under the baton; taken off under it or the lock of
        // the table of the parked, which the holder takes before it relies on it.
        self.header().label.fetch_or(WAITED, Ordering::Relaxed);
    }

    /// Whether an attempt may be parked on the cell, which keeps it from being freed. Called by the
    /// holder.
    pub(super) fn is_waited(self) -> bool {
        self.header().label.load(Ordering::Relaxed) & WAITED != 0
    }

    /// Notes that nobody is parked on the cell any more. Called with the lock of the table of the
    /// parked, in which the cell was until now.
    pub(crate) fn unwait(self) {
        self.header().label.fetch_and(!WAITED, Ordering::Relaxed);
    }

    /// Whether an attempt may be parked on the cell; not any more after this. Called by the holder.
    pub(crate) fn take_waited(self) -> bool {
        let label = &self.header().label;
        label.load(Ordering::Relaxed) & WAITED != 0
            && label.fetch_and(!WAITED, Ordering::Relaxed) & WAITED != 0
    }

    /// Marks the cell as waiting for a second look; false if it was already. Called by the holder.
    pub(super) fn queue(self) -> bool {
        self.header().label.fetch_or(QUEUED, Ordering::Relaxed) & QUEUED == 0
    }

    /// Takes the mark off. Called by the holder.
    pub(super) fn unqueue(self) {
        self.header().label.fetch_and(!QUEUED, Ordering::Relaxed);
    }

    /// Whether the mark is on. Called by the holder.
    pub(super) fn is_queued(self) -> bool {
        self.header().label.load(Ordering::Relaxed) & QUEUED != 0
    }

    /// Where the cell stands in a block, if it does.
    fn place(self) -> Option<usize> {
        let in_block = self.header().label.load(Ordering::Relaxed) & IN_BLOCK != 0;
        in_block.then(|| self.header().handles.load(Ordering::Relaxed) as usize)
    }

    /// The version up to which no view can come upon the cell, if that is known.
    pub(super) fn born(self) -> Option<u64> {
        // SAFETY: a cell of a block, with its place there.
        self.place().and_then(|at| unsafe { block::born(self.0, at) })
    }

    /// Declares the cell dead: no handle, no announcement as old as the drop of the last one, and
    /// no queue has it any more. Called by the holder, who just found that to be so.
    pub(super) fn dead(self) -> DeadCell {
        DeadCell(self.0)
    }
}

/// A cell that nobody can reach any more. Dropping it frees the cell and its chain, iteratively;
/// values with drop glue go to the deferred queue.
#[derive(Debug)]
pub(super) struct DeadCell(NonNull<Header>);

// SAFETY: the only owner of a cell and of versions that are themselves `Send`.
unsafe impl Send for DeadCell {}

impl Drop for DeadCell {
    fn drop(&mut self) {
        // SAFETY: freed below only; in the models never.
        let header = unsafe { self.0.as_ref() };
        #[cfg(loom)]
        // SAFETY: loom checks that nobody else looks, in any order that it can find.
        header.alive.with_mut(|alive| unsafe { *alive = false });
        let mut node = header.head.load(Ordering::Relaxed);
        while let Some(owned) = NonNull::new(node) {
            // SAFETY: in the chain that belongs to this call now.
            node = unsafe { owned.as_ref() }.next.load(Ordering::Relaxed);
            // SAFETY: as above, and named by nothing any more.
            drop(unsafe { Version::owned(owned) });
        }
        #[cfg(not(loom))]
        match CellRef(self.0).place() {
            // SAFETY: made by a box in `labelled`; by `CellRef::dead` nobody else has it any more.
            None => drop(unsafe { Box::from_raw(self.0.as_ptr()) }),
            // SAFETY: a cell of a block has its place there, and is freed once, here.
            Some(at) => unsafe { block::freed(self.0, at) },
        }
    }
}

/// The cells that were dropped and not yet looked at: a lock-free stack through the cells.
pub(super) struct Limbo(AtomicPtr<Header>);

impl Limbo {
    crate::sync::const_fn! {
        pub(super) fn new() -> Self {
            Self(AtomicPtr::new(ptr::null_mut()))
        }
    }

    /// Whether nothing is here, as far as this thread can see.
    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed).is_null()
    }

    /// Adds cells that nobody keeps any more (D1).
    pub(super) fn push(&self, cells: &[CellRef]) {
        let [top, .., bottom] = cells else {
            return cells.iter().for_each(|cell| self.push_between(*cell, *cell));
        };
        for pair in cells.windows(2) {
            pair[0].header().limbo_next.store(pair[1].0.as_ptr(), Ordering::Relaxed);
        }
        self.push_between(*top, *bottom);
    }

    /// Adds what is linked from `top` to `bottom`.
    fn push_between(&self, top: CellRef, bottom: CellRef) {
        let mut first = self.0.load(Ordering::Relaxed);
        loop {
            bottom.header().limbo_next.store(first, Ordering::Relaxed);
            let swapped = self.0.compare_exchange_weak(
                first,
                top.0.as_ptr(),
                Ordering::Release,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    /// Takes all cells (D2). Called by the holder, before its fence.
    pub(super) fn take(&self, out: &mut Vec<CellRef>) {
        let mut next = self.0.swap(ptr::null_mut(), Ordering::Acquire);
        while let Some(cell) = NonNull::new(next) {
            // SAFETY: a cell in limbo is freed by the holder only, which is the caller.
            next = unsafe { cell.as_ref() }.limbo_next.load(Ordering::Relaxed);
            out.push(CellRef(cell));
        }
    }
}
