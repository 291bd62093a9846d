//! [`TVec`]: a vector whose elements do not get in each other's way.

use crate::cell::{
    TVar,
    block::Cells,
    kept::{self, Kept},
    labels::Label,
    node::CellOf,
};
use crate::transaction::{Read, Transaction, view::sealed::Sealed};
use std::{fmt, panic::Location, sync::Arc};

/// Elements of the first segment; each further one has as many as all before it together.
const FIRST: usize = 16;
/// Segments: with the last one there are 2³⁰ elements.
const SEGMENTS: usize = 27;

/// A vector that handlers read and write by index, and that grows and shrinks at its end.
///
/// A clone is another handle to the same vector. References to elements live as long as the view
/// they were read in.
///
/// # Conflict unit
/// An element; and the end. [`TVec::push`], [`TVec::pop`], [`TVec::truncate`] and [`TVec::len`]
/// conflict with each other, and with handlers that use just the elements that come or go. A
/// handler that finds no element at an index has read that place, not the length; where there has
/// been no element near it yet, it has read that there are none.
///
/// # Cost
/// [`TVec::get`], [`TVec::set`], [`TVec::len`]: O(1). [`TVec::push`] and [`TVec::pop`]: O(1),
/// amortized. [`TVec::modify`]: O(1) and a clone. [`TVec::truncate`]: O(elements removed). All of
/// [`TVec::iter`], and to collect elements: O(n). An element takes a cell of 32 bytes, twice that
/// at most, and a version of 40 with its value.
///
/// # Examples
/// ```
/// use txloop::{TVec, atomically, snapshot};
///
/// let names = TVec::named("names");
/// atomically(|tx| {
///     names.push(tx, "ada");
///     names.push(tx, "bob");
///     assert_eq!(names.set(tx, 1, "eve"), Ok(&"bob"));
/// });
/// snapshot(|s| {
///     assert_eq!((names.get(s, 1), names.get(s, 2)), (Some(&"eve"), None));
///     assert!(names.iter(s).eq(&["ada", "eve"]));
/// });
/// ```
pub struct TVec<T: Send + Sync + 'static>(Arc<Elements<T>>);

struct Elements<T: Send + Sync + 'static> {
    len: TVar<usize>,
    segments: Cells<Segment<T>>,
    label: Label,
}

/// The cells of some elements, if there have been so many.
type Segment<T> = Option<Cells<Option<T>>>;

impl<T: Send + Sync + 'static> Kept for Option<T> {
    fn is_plain(&self) -> bool {
        self.is_none() || !std::mem::needs_drop::<T>()
    }

    fn text(&self) -> Option<String> {
        self.as_ref().map_or_else(|| Some("none".to_owned()), |value| kept::of_user(value))
    }
}

/// Where an element is: its segment, and its place there.
fn place(index: usize) -> (usize, usize) {
    match index {
        ..FIRST => (0, index),
        _ => {
            let segment = (index / FIRST).ilog2() as usize + 1;
            (segment, index - start(segment))
        }
    }
}

/// The index of the first element of a segment.
fn start(segment: usize) -> usize {
    match segment {
        0 => 0,
        _ => FIRST << (segment - 1),
    }
}

/// How many elements a segment has.
fn size(segment: usize) -> usize {
    FIRST << segment.saturating_sub(1)
}

impl<T: Send + Sync + 'static> Elements<T> {
    fn of(label: Label, values: Vec<T>) -> Self {
        let len = values.len();
        assert!(len <= TVec::<T>::MAX_LEN, "{len} elements: the maximum is 2^30");
        let mut values = values.into_iter();
        let mut segments: Vec<_> = (0..SEGMENTS).map(|_| None).collect();
        for (at, segment) in segments.iter_mut().enumerate() {
            if values.len() == 0 {
                break;
            }
            let mut first: Vec<_> = values.by_ref().take(size(at)).map(Some).map(Some).collect();
            first.resize_with(size(at), || None);
            *segment = Some(Some(Cells::sharing(label, first, None, None)));
        }
        let segments = Cells::sharing(label, segments, None, None);
        Self { len: TVar::labelled(label, len), segments, label }
    }

    /// The cell of an element, if its segment is there.
    fn cell<'a, 'v: 'a>(
        &'a self,
        view: &'v impl Read,
        index: usize,
        from: &'static Location<'static>,
    ) -> Option<CellOf<'a, Option<T>>> {
        if index >= TVec::<T>::MAX_LEN {
            return None;
        }
        let (segment, at) = place(index);
        view.read(self.segments.at(segment), from).as_ref().map(|cells| cells.at(at))
    }
}

impl<T: Send + Sync + 'static> TVec<T> {
    /// The most elements.
    pub const MAX_LEN: usize = 1 << 30;

    /// An empty vector.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Elements::of(Label::NONE, Vec::new())))
    }

    /// The same, with a name for the conflict log.
    #[must_use]
    pub fn named(name: &'static str) -> Self {
        Self(Arc::new(Elements::of(Label::of(name), Vec::new())))
    }

    /// An element, if there is one at this index.
    ///
    /// # Re-run
    /// In a transaction the place is remembered as read, also when there is nothing: if somebody
    /// who comes earlier in the serial order writes there, the handler is run again.
    #[inline]
    #[track_caller]
    pub fn get<'v>(&self, view: &'v impl Read, index: usize) -> Option<&'v T> {
        let from = Location::caller();
        self.0.cell(view, index, from).and_then(|cell| view.read(cell, from).as_ref())
    }

    /// Replaces an element, and gives the one before.
    ///
    /// # Errors
    /// Gives the value back if there is no element at this index.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), if there is one.
    ///
    /// # Re-run
    /// As [`TVec::get`].
    #[track_caller]
    pub fn set<'t>(&self, tx: &'t Transaction, index: usize, value: T) -> Result<&'t T, T> {
        let from = Location::caller();
        let cell = self.0.cell(tx, index, from);
        match cell.and_then(|cell| Some((cell, tx.read(cell, from).as_ref()?))) {
            Some((cell, old)) => {
                tx.write(cell, Some(value));
                Ok(old)
            }
            None => Err(value),
        }
    }

    /// Changes a clone of an element and sets it; nothing if there is none at this index.
    ///
    /// # Panics
    /// As [`TVec::set`]. If `f` panics, nothing is set.
    ///
    /// # Re-run
    /// As [`TVec::get`].
    #[track_caller]
    pub fn modify<R>(
        &self,
        tx: &Transaction,
        index: usize,
        f: impl FnOnce(&mut T) -> R,
    ) -> Option<R>
    where
        T: Clone,
    {
        let mut value = self.get(tx, index)?.clone();
        let answer = f(&mut value);
        let _ = self.set(tx, index, value);
        Some(answer)
    }

    /// Adds an element at the end.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot). If there are [`TVec::MAX_LEN`].
    ///
    /// # Re-run
    /// If somebody who comes earlier in the serial order pushes or pops, the handler is run again.
    #[track_caller]
    pub fn push(&self, tx: &Transaction, value: T) {
        let (from, len) = (Location::caller(), *tx.get(&self.0.len));
        assert!(len < Self::MAX_LEN, "{len} elements are the most");
        let (segment, at) = place(len);
        let directory = self.0.segments.at(segment);
        if tx.read(directory, from).is_none() {
            // What is made here is come upon only through what this transaction will write.
            let born = Some(Transaction::newest_version());
            let cells = Cells::alike(self.0.label, size(segment), None, born);
            tx.write(directory, Some(cells));
        }
        if let Some(cells) = tx.read(directory, from) {
            tx.write(cells.at(at), Some(value));
        }
        tx.set(&self.0.len, len + 1);
    }

    /// Adds elements at the end.
    ///
    /// # Panics
    /// As [`TVec::push`].
    ///
    /// # Re-run
    /// As [`TVec::push`].
    #[track_caller]
    pub fn extend(&self, tx: &Transaction, values: impl IntoIterator<Item = T>) {
        for value in values {
            self.push(tx, value);
        }
    }

    /// Exchanges two elements.
    ///
    /// # Panics
    /// If there is none at one of the indexes. Inside a [`Snapshot`](crate::Snapshot).
    ///
    /// # Re-run
    /// As [`TVec::get`] of both.
    #[track_caller]
    pub fn swap(&self, tx: &Transaction, a: usize, b: usize)
    where
        T: Clone,
    {
        let element = |index| {
            let element = self.get(tx, index).cloned();
            element.unwrap_or_else(|| panic!("there is no element {index} to swap"))
        };
        let (of_a, of_b) = (element(a), element(b));
        for (index, value) in [(a, of_b), (b, of_a)] {
            assert!(self.set(tx, index, value).is_ok(), "it was read");
        }
    }

    /// Takes the last element.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), if there is one.
    ///
    /// # Re-run
    /// As [`TVec::push`].
    #[track_caller]
    pub fn pop<'t>(&self, tx: &'t Transaction) -> Option<&'t T> {
        let last = tx.get(&self.0.len).checked_sub(1)?;
        let value = self.get(tx, last);
        self.truncate(tx, last);
        value
    }

    /// Removes all elements from this index on.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), if there are any. If it writes more than 4,194,304
    /// values, the most for one transaction: elements that go from the segment of the new end and
    /// from the one behind it, which is twice as large, are a write each. The rest goes at once,
    /// and [`TVec::clear`] is never too much.
    ///
    /// # Re-run
    /// As [`TVec::push`].
    #[track_caller]
    pub fn truncate(&self, tx: &Transaction, len: usize) {
        let (from, before) = (Location::caller(), *tx.get(&self.0.len));
        if len >= before {
            return;
        }
        // One segment more than is needed stays: a push that follows need not make it again.
        let kept = place(len).0 + 1;
        for segment in place(len).0..SEGMENTS {
            let directory = self.0.segments.at(segment);
            let Some(cells) = tx.read(directory, from) else { break };
            if segment > kept {
                tx.write(directory, None);
                continue;
            }
            let start = start(segment);
            let end = before.clamp(start, start + size(segment));
            for index in len.max(start)..end {
                tx.write(cells.at(index - start), None);
            }
        }
        tx.set(&self.0.len, len);
    }

    /// Removes all elements.
    ///
    /// # Panics
    /// As [`TVec::truncate`].
    ///
    /// # Re-run
    /// As [`TVec::push`].
    #[track_caller]
    pub fn clear(&self, tx: &Transaction) {
        self.truncate(tx, 0);
    }

    /// The first element.
    ///
    /// # Re-run
    /// As [`TVec::get`].
    #[track_caller]
    pub fn first<'v>(&self, view: &'v impl Read) -> Option<&'v T> {
        self.get(view, 0)
    }

    /// The last element.
    ///
    /// # Re-run
    /// As [`TVec::len`] and [`TVec::get`].
    #[track_caller]
    pub fn last<'v>(&self, view: &'v impl Read) -> Option<&'v T> {
        self.get(view, self.len(view).checked_sub(1)?)
    }

    /// How many elements there are.
    ///
    /// # Re-run
    /// In a transaction every push and pop by others is a conflict.
    #[track_caller]
    pub fn len(&self, view: &impl Read) -> usize {
        *view.get(&self.0.len)
    }

    /// Whether there is none.
    ///
    /// # Re-run
    /// As [`TVec::get`] of the first.
    #[track_caller]
    pub fn is_empty(&self, view: &impl Read) -> bool {
        self.get(view, 0).is_none()
    }

    /// All elements, the first one first. What the same transaction pushes meanwhile is passed,
    /// too: a loop that pushes at each step has no end.
    ///
    /// # Re-run
    /// In a transaction what is passed is remembered as read; with the last one, where the end is.
    #[track_caller]
    pub fn iter<'a>(&'a self, view: &'a impl Read) -> impl Iterator<Item = &'a T> {
        let from = Location::caller();
        let cell = move |index| self.0.cell(view, index, from);
        (0..).map_while(move |index| cell(index).and_then(|cell| view.read(cell, from).as_ref()))
    }
}

impl<T: Send + Sync + 'static> FromIterator<T> for TVec<T> {
    /// Outside of any transaction, and faster than one.
    ///
    /// # Panics
    /// If there are more than [`TVec::MAX_LEN`].
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self(Arc::new(Elements::of(Label::NONE, values.into_iter().collect())))
    }
}

impl<T: Send + Sync + 'static> Clone for TVec<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + Sync + 'static> Default for TVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for TVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TVec").field("name", &self.0.label.text()).finish_non_exhaustive()
    }
}
