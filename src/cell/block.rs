//! Cells side by side in one piece of memory, for collections.
//!
//! One of the six files with `unsafe`. A block is kept by one [`Cells`], which gives out its cells
//! while it lives. When that is dropped, each cell is retired as any other cell is
//! (docs/protocol.md, D1); whoever frees the last one (D4) frees the block.
//!
//! | field | written by | read by |
//! |---|---|---|
//! | `Block::unfreed` | whoever frees a cell of it, counting down | the same |
//! | `Block::len`, `born`, its headers' places | whoever makes the block | anyone |
//! | the headers | see [`super::node`] | see there |
#![expect(unsafe_code, reason = "cells in one allocation: one of the six files of the cell module")]

use super::{
    boxes::{Boxed, Version, VersionHeader},
    kept::Kept,
    labels::{Label, Origin},
    made,
    node::{CellOf, CellRef, Header},
    store::STORE,
};
use crate::sync::{AtomicUsize, Ordering, fence};
use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    fmt,
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull,
};

/// The most cells of one block.
pub(crate) const MAX_CELLS: usize = 1 << 30;

/// What stands before the cells.
#[repr(C)]
struct Block {
    /// How many of its cells are not freed yet.
    unfreed: AtomicUsize,
    len: usize,
    /// If the block is owned by a version: the watermark when it was made. Views at it or an older
    /// one cannot come upon the cells.
    born: Option<u64>,
}

/// Some cells of one type, with one owner: 32 bytes each, plus their versions.
pub(crate) struct Cells<T: Send + Sync + 'static> {
    /// The first of them. Whoever wants one need not look at what stands before.
    first: NonNull<Header>,
    len: usize,
    values: PhantomData<T>,
}

// SAFETY: as a `TVar`: it gives out `&T` on any thread and lets any thread drop a `T`, both of
// which `T: Send + Sync` covers; its own state is atomic, or not written after its making.
unsafe impl<T: Send + Sync + 'static> Send for Cells<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync + 'static> Sync for Cells<T> {}

impl<T: Kept> Cells<T> {
    /// As many cells as there are values.
    ///
    /// # Panics
    /// If they are more than [`MAX_CELLS`].
    pub(crate) fn new(label: Label, values: impl IntoIterator<Item = impl Into<Boxed<T>>>) -> Self {
        let firsts: Vec<Boxed<T>> = values.into_iter().map(Into::into).collect();
        let firsts = firsts.into_iter().map(first);
        Self::of(label, firsts, None)
    }

    /// As many cells as there are values; those without one share `rest` as their first.
    ///
    /// If they are `born`, they are a part of a value that a transaction writes now, and that moves
    /// only into other such values: views come upon them through these versions alone, which the
    /// views keep. Then nobody who came before keeps what they replace, and nobody their memory,
    /// once that value is dropped.
    ///
    /// # Panics
    /// As [`Cells::new`].
    pub(crate) fn sharing(
        label: Label,
        values: Vec<Option<impl Into<Boxed<T>>>>,
        rest: T,
        born: Option<u64>,
    ) -> Self {
        let shares = values.iter().filter(|value| value.is_none()).count();
        let shared = Version::shared(rest, shares).map(|version| ManuallyDrop::new(version).node());
        let firsts = values.into_iter().map(|value| match (value, shared) {
            (Some(value), _) => first(value.into()),
            (None, Some(shared)) => shared,
            (None, None) => unreachable!("one is counted"),
        });
        Self::of(label, firsts, born)
    }
}

impl<T: Send + Sync + 'static> Cells<T> {
    /// So many cells, which share their first value; see [`Cells::sharing`] for `born`.
    ///
    /// # Panics
    /// As [`Cells::new`].
    pub(crate) fn alike(label: Label, len: usize, value: T, born: Option<u64>) -> Self {
        let shared = Version::shared(value, len).map(|version| ManuallyDrop::new(version).node());
        let firsts = (0..len).map(|_| shared.unwrap_or_else(|| unreachable!("there are some")));
        Self::of(label, firsts, born)
    }

    /// Cells with these first versions, which are theirs from now on.
    fn of(
        label: Label,
        firsts: impl ExactSizeIterator<Item = NonNull<VersionHeader>>,
        born: Option<u64>,
    ) -> Self {
        let len = firsts.len();
        assert!(len <= MAX_CELLS, "a block of {len} cells: the maximum is {MAX_CELLS}");
        let layout = layout(len);
        // SAFETY: the layout is that of a `Block` at least, so not empty.
        let block = NonNull::new(unsafe { alloc(layout) }.cast::<Block>());
        let block = block.unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: just allocated, large and aligned enough.
        unsafe { block.write(Block { unfreed: AtomicUsize::new(len), len, born }) };
        // SAFETY: one `Block` from the beginning is where the cells are, see `layout`.
        let first = unsafe { block.add(1) }.cast::<Header>();
        for (at, version) in firsts.enumerate() {
            let header = Header::in_block(version, label, at as u32);
            // SAFETY: inside the allocation, since the iterator is as long as it says.
            let place = unsafe { first.add(at) };
            // SAFETY: as above, and not read yet.
            unsafe { place.write(header) };
        }
        let begin = first.as_ptr() as u64;
        made::note(begin..begin + (len * size_of::<Header>()) as u64);
        Self { first, len, values: PhantomData }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// One of the cells.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline]
    pub(crate) fn at(&self, at: usize) -> CellOf<'_, T> {
        assert!(at < self.len, "cell {at} of {}", self.len);
        // SAFETY: inside the allocation.
        let header = unsafe { self.first.add(at) };
        // SAFETY: `self` keeps the cell, and made it for this type.
        unsafe { CellOf::new(CellRef::new(header)) }
    }
}

impl<T: Send + Sync + 'static> Drop for Cells<T> {
    fn drop(&mut self) {
        if self.len == 0 {
            // SAFETY: where a first cell would be, a `Block` stands before it.
            let block = unsafe { self.first.cast::<Block>().sub(1) };
            // SAFETY: there is nothing in it, and nobody else has its address.
            return unsafe { free(block) };
        }
        let cells = (0..self.len).map(|at| self.at(at).cell());
        // The block may be gone before the last one is looked at.
        let cells: Vec<_> = cells.collect();
        STORE.retire_all(&cells);
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Cells<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").field("len", &self.len).finish_non_exhaustive()
    }
}

/// A version that belongs to a cell from now on.
fn first<T: Kept>(value: Boxed<T>) -> NonNull<VersionHeader> {
    ManuallyDrop::new(value.written_by(Origin::default())).node()
}

fn layout(len: usize) -> Layout {
    let headers = Layout::array::<Header>(len);
    let layout = headers.and_then(|headers| Layout::new::<Block>().extend(headers));
    let (layout, at) = layout.expect("below the maximum, far from overflow");
    assert!(at == size_of::<Block>(), "the cells follow at once");
    layout.pad_to_align()
}

/// The block of a cell.
///
/// # Safety
/// `header` is cell `at` of a block.
unsafe fn block_of(header: NonNull<Header>, at: usize) -> NonNull<Block> {
    // SAFETY: the caller's: the first cell lies so many before this one.
    let first = unsafe { header.sub(at) };
    // SAFETY: a `Block` stands before the first cell.
    unsafe { first.cast::<Block>().sub(1) }
}

/// The version up to which no view can come upon a cell, if its block has one.
///
/// # Safety
/// `header` is cell `at` of a block, and not freed.
pub(super) unsafe fn born(header: NonNull<Header>, at: usize) -> Option<u64> {
    // SAFETY: the caller's.
    let block = unsafe { block_of(header, at) };
    // SAFETY: freed after its cells; never written.
    unsafe { block.as_ref() }.born
}

/// Takes note that a cell of a block is freed: its versions are gone, and nobody names it.
///
/// # Safety
/// `header` is cell `at` of a block, and this is called once for it.
pub(super) unsafe fn freed(header: NonNull<Header>, at: usize) {
    // SAFETY: the caller's.
    let block = unsafe { block_of(header, at) };
    // SAFETY: not freed, since this cell is counted still.
    let unfreed = &unsafe { block.as_ref() }.unfreed;
    // Release: what was done with this cell happens before the block is freed.
    if unfreed.fetch_sub(1, Ordering::Release) == 1 {
        fence(Ordering::Acquire);
        // SAFETY: the last of the cells.
        unsafe { free(block) };
    }
}

/// # Safety
/// `block` was made by [`Cells::of`], all of its cells are freed, and it is not used again.
unsafe fn free(block: NonNull<Block>) {
    // SAFETY: the caller's.
    let len = unsafe { block.as_ref() }.len;
    // SAFETY: allocated with this layout; neither a block nor a header has a destructor.
    unsafe { dealloc(block.as_ptr().cast(), layout(len)) };
}
