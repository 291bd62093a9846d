//! Memory for boxes of versions, which threads keep when it is free.
//!
//! One of the six files with `unsafe`. A [`Place`] owns its memory; a free one is owned by the
//! magazine that it lies in, and that by a thread or by the depot, behind its lock.
#![expect(unsafe_code, reason = "memory in lists: one of the six files of the cell module")]

use crate::sync::Table;
use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    cell::Cell,
    mem::ManuallyDrop,
    ptr::{self, NonNull},
};

/// The steps in which the sizes of small boxes grow, in bytes.
const STEP: usize = 16;
/// The most that a small box is aligned to: what allocators give without asking.
const ALIGN: usize = align_of::<u64>();
/// Boxes of so many steps and more are not kept for later.
const CLASSES: usize = 17;
/// How many free boxes of one size change hands together. A thread keeps at most twice as many.
const MAGAZINE: usize = 64;
/// The most magazines of one size that lie in the depot.
const DEPOT: usize = 8;

/// Whether any are kept: a sanitizer would take their next use for one after they were freed.
const KEPT: bool = cfg!(not(any(txloop_sanitize, shuttle)));

/// How much memory a box takes, and in which list it is kept when it is free.
#[derive(Clone, Copy)]
pub(super) struct Size {
    layout: Layout,
    /// Its size in steps; 0 if it is not kept.
    class: usize,
}

impl Size {
    /// Of a box with this layout.
    pub(super) const fn of(layout: Layout) -> Self {
        assert!(layout.size() != 0, "a box has a header");
        let class = layout.size().div_ceil(STEP);
        if class < CLASSES
            && layout.align() <= ALIGN
            && KEPT
            && let Ok(layout) = Layout::from_size_align(class * STEP, ALIGN)
        {
            return Self { layout, class };
        }
        Self { layout, class: 0 }
    }
}

/// Memory for one box, owned.
pub(super) struct Place {
    at: NonNull<u8>,
    size: Size,
}

impl Place {
    #[inline]
    pub(super) fn new(size: Size) -> Self {
        let kept = match size.class {
            0 => None,
            class => FREE.try_with(|free| free.take(class)).ok().flatten(),
        };
        let at = kept.unwrap_or_else(|| {
            // SAFETY: not empty, see `Size::of`.
            NonNull::new(unsafe { alloc(size.layout) })
                .unwrap_or_else(|| handle_alloc_error(size.layout))
        });
        Self { at, size }
    }

    /// Its address.
    #[inline]
    pub(super) fn at(&self) -> NonNull<u8> {
        self.at
    }

    /// Gives up the ownership, see [`Place::owned`].
    #[inline]
    pub(super) fn leak(self) -> NonNull<u8> {
        ManuallyDrop::new(self).at
    }

    /// Takes back what was given up.
    ///
    /// # Safety
    /// `at` came from [`Place::leak`] of a place of this size, and nothing else uses it any more.
    #[inline]
    pub(super) unsafe fn owned(at: NonNull<u8>, size: Size) -> Self {
        Self { at, size }
    }
}

impl Drop for Place {
    #[inline]
    fn drop(&mut self) {
        let Size { layout, class } = self.size;
        // Not kept once the thread has begun to end.
        let kept = class != 0 && FREE.try_with(|free| free.give(class, self.at)).is_ok();
        if !kept {
            // SAFETY: owned, and allocated in `new` with this layout, perhaps for another node.
            unsafe { dealloc(self.at.as_ptr(), layout) };
        }
    }
}

/// Free boxes of one size: the first names the next.
#[derive(Debug, Clone, Copy)]
struct Magazine {
    first: *mut u8,
    count: usize,
}

// SAFETY: the boxes in it are owned by it, and free memory belongs to no thread.
unsafe impl Send for Magazine {}

impl Magazine {
    const EMPTY: Self = Self { first: ptr::null_mut(), count: 0 };

    #[inline]
    fn take(&mut self) -> Option<NonNull<u8>> {
        let at = NonNull::new(self.first)?;
        // SAFETY: a box in a magazine is owned by it, large and aligned enough for a pointer, and
        // was given one in `give`.
        self.first = unsafe { at.cast::<*mut u8>().read() };
        self.count -= 1;
        Some(at)
    }

    #[inline]
    fn give(&mut self, at: NonNull<u8>) {
        // SAFETY: the caller owned the box, whose value is gone; see `take`.
        unsafe { at.cast::<*mut u8>().write(self.first) };
        self.first = at.as_ptr();
        self.count += 1;
    }

    fn dealloc(mut self, class: usize) {
        let Ok(layout) = Layout::from_size_align(class * STEP, ALIGN) else { return };
        while let Some(at) = self.take() {
            // SAFETY: owned by the magazine; every box of a class has this layout.
            unsafe { dealloc(at.as_ptr(), layout) };
        }
    }
}

thread_local! {
    /// Versions are made where handlers run and freed where commits end, in the long run often by
    /// another thread than the one that had allocated the memory: giving it back to the allocator
    /// there costs more than the rest of a small transaction. (Magazines and depot: Bonwick and
    /// Adams, 2001.)
    static FREE: Free = const { Free([const { Cell::new([Magazine::EMPTY; 2]) }; CLASSES]) };
}

/// Full magazines that threads had too many of, by size.
static FULL: [Table<Depot>; CLASSES] = [const { Table::new(Depot::EMPTY) }; CLASSES];

/// Full magazines of one size.
#[derive(Debug)]
struct Depot {
    full: Vec<Magazine>,
    /// The fewest there were since the last call of [`give_back`].
    fewest: usize,
}

impl Depot {
    const EMPTY: Self = Self { full: Vec::new(), fewest: 0 };

    fn pop(&mut self) -> Option<Magazine> {
        let full = self.full.pop();
        self.fewest = self.fewest.min(self.full.len());
        full
    }

    /// Those that nobody came for since the last call.
    #[cfg(not(loom))]
    fn spare(&mut self) -> Vec<Magazine> {
        let spare = self.full.split_off(self.full.len() - self.fewest);
        self.fewest = self.full.len();
        spare
    }
}

/// Gives back to the allocator what threads did without since the last call. (The working set of
/// a depot: Bonwick and Adams.)
#[cfg(not(loom))]
pub(super) fn give_back() {
    if !KEPT {
        return;
    }
    for (class, depot) in FULL.iter().enumerate() {
        let spare = depot.lock().spare();
        for magazine in spare {
            magazine.dealloc(class);
        }
    }
}

/// The magazines of a thread, by size: the one in use, and one that is full or empty.
struct Free([Cell<[Magazine; 2]>; CLASSES]);

impl Free {
    #[inline]
    fn take(&self, class: usize) -> Option<NonNull<u8>> {
        let [mut used, other] = self.0[class].get();
        if used.count == 0 {
            return self.exchange_empty(class, other);
        }
        let at = used.take();
        self.0[class].set([used, other]);
        at
    }

    #[cold]
    fn exchange_empty(&self, class: usize, other: Magazine) -> Option<NonNull<u8>> {
        let mut used = match other.count {
            0 => FULL[class].lock().pop()?,
            _ => other,
        };
        let at = used.take();
        self.0[class].set([used, Magazine::EMPTY]);
        at
    }

    #[inline]
    fn give(&self, class: usize, at: NonNull<u8>) {
        let [mut used, other] = self.0[class].get();
        if used.count == MAGAZINE {
            self.exchange_full(class, other);
            self.0[class].set([Magazine::EMPTY, used]);
            return self.give(class, at);
        }
        used.give(at);
        self.0[class].set([used, other]);
    }

    /// Makes room for a full magazine where `other` is.
    #[cold]
    fn exchange_full(&self, class: usize, other: Magazine) {
        if other.count != 0 {
            let mut depot = FULL[class].lock();
            if depot.full.len() < DEPOT {
                depot.full.push(other);
            } else {
                drop(depot);
                other.dealloc(class);
            }
        }
    }
}

impl Drop for Free {
    fn drop(&mut self) {
        for class in 1..CLASSES {
            let [used, other] = self.0[class].replace([Magazine::EMPTY; 2]);
            used.dealloc(class);
            other.dealloc(class);
        }
    }
}
