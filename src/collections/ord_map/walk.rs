//! A walk through a range of a [`TOrdMap`](super::TOrdMap), from both ends.

use super::tree::{Inner, Map, Node, Place, search};
use crate::{cell::node::CellOf, transaction::Read};
use std::{
    borrow::Borrow,
    iter::FusedIterator,
    marker::PhantomData,
    ops::{Bound, RangeBounds},
    slice,
};

/// Refuses what is no range.
///
/// # Panics
/// See [`TOrdMap::range`](super::TOrdMap::range).
#[track_caller]
pub(super) fn check<Q: Ord + ?Sized>(range: &impl RangeBounds<Q>) {
    use Bound::{Excluded, Included};
    match (range.start_bound(), range.end_bound()) {
        (Excluded(start), Excluded(end)) if start == end => {
            panic!("a range with the same excluded bound at both ends")
        }
        (Included(start) | Excluded(start), Included(end) | Excluded(end)) if start > end => {
            panic!("a range that begins behind its end")
        }
        _ => {}
    }
}

/// See [`TOrdMap::range`](super::TOrdMap::range).
pub(super) struct Walk<'v, W, K: Send + Sync + 'static, V: Send + Sync + 'static, Q: ?Sized, R> {
    view: &'v W,
    map: &'v Map<K, V>,
    range: R,
    place: Place,
    front: Option<End<'v, K, V>>,
    back: Option<End<'v, K, V>>,
    /// The last keys that were given from either end.
    passed: [Option<&'v K>; 2],
    ended: bool,
    key: PhantomData<fn(&Q)>,
}

/// How far the walk from one end has come.
struct End<'v, K: Send + Sync + 'static, V: Send + Sync + 'static> {
    /// The inner nodes above the leaf, each with how many children there are up to the one that was
    /// entered, and with it.
    path: Vec<(&'v Inner<K, V>, usize)>,
    /// What is left of the leaf.
    leaf: slice::Iter<'v, (K, V)>,
    /// What the view showed when the path was gone: see `Sealed::state`.
    state: u64,
}

impl<'v, W, K, V, Q, R> Walk<'v, W, K, V, Q, R>
where
    W: Read,
    K: Ord + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Ord + ?Sized,
    R: RangeBounds<Q>,
{
    pub(super) fn new(view: &'v W, map: &'v Map<K, V>, range: R, place: Place) -> Self {
        let (passed, key) = ([None; 2], PhantomData);
        Self { view, map, range, place, front: None, back: None, passed, ended: false, key }
    }

    /// Goes down from a cell to a leaf, which is remembered as read, by the children that `choose`
    /// names.
    fn descend(
        &self,
        path: &mut Vec<(&'v Inner<K, V>, usize)>,
        mut cell: CellOf<'v, Node<K, V>>,
        choose: impl Fn(&Inner<K, V>) -> usize,
    ) -> slice::Iter<'v, (K, V)> {
        while let Node::Inner(inner) = self.view.peek(cell) {
            let at = choose(inner);
            path.push((inner, at + 1));
            cell = inner.children[at].cell();
        }
        self.view.read(cell, self.place).leaf().iter()
    }

    /// The way to what begins here.
    fn from(&self, start: Bound<&Q>) -> End<'v, K, V> {
        let (mut path, root) = (Vec::new(), self.map.root.kept());
        let state = self.view.state();
        let start = match start {
            Bound::Unbounded => None,
            Bound::Included(start) => Some((start, false)),
            Bound::Excluded(start) => Some((start, true)),
        };
        let Some((start, excluded)) = start else {
            let leaf = self.descend(&mut path, root, |_| 0);
            return End { path, leaf, state };
        };
        let leaf = self.descend(&mut path, root, |inner| inner.child_of(start));
        let before = match search(leaf.as_slice(), start) {
            Ok(at) => at + usize::from(excluded),
            Err(at) => at,
        };
        let leaf = leaf.as_slice()[before..].iter();
        End { path, leaf, state }
    }

    /// The way to what ends here.
    fn until(&self, end: Bound<&Q>) -> End<'v, K, V> {
        let (mut path, root) = (Vec::new(), self.map.root.kept());
        let state = self.view.state();
        let end = match end {
            Bound::Unbounded => None,
            Bound::Included(end) => Some((end, true)),
            Bound::Excluded(end) => Some((end, false)),
        };
        let Some((end, included)) = end else {
            let leaf = self.descend(&mut path, root, |inner| inner.children.len() - 1);
            return End { path, leaf, state };
        };
        let leaf = self.descend(&mut path, root, |inner| inner.child_of(end));
        let until = match search(leaf.as_slice(), end) {
            Ok(at) => at + usize::from(included),
            Err(at) => at,
        };
        let leaf = leaf.as_slice()[..until].iter();
        End { path, leaf, state }
    }

    /// The next key from the front, wherever the range ends; none if no node can have one in it.
    fn forward(&self, end: &mut End<'v, K, V>) -> Option<(&'v K, &'v V)> {
        loop {
            if let Some((key, value)) = end.leaf.next() {
                return Some((key, value));
            }
            let (inner, up_to) = end.path.last_mut()?;
            let Some(child) = inner.children.get(*up_to) else {
                end.path.pop();
                continue;
            };
            let from = inner.separators[*up_to - 1].borrow();
            if !self.is_before_end(from) {
                return None;
            }
            if end.state != self.view.state() {
                // What was to follow may have been joined with what was passed.
                *end = self.from(Bound::Included(from));
                continue;
            }
            *up_to += 1;
            end.leaf = self.descend(&mut end.path, child.cell(), |_| 0);
        }
    }

    /// The same from the back.
    fn backward(&self, end: &mut End<'v, K, V>) -> Option<(&'v K, &'v V)> {
        loop {
            if let Some((key, value)) = end.leaf.next_back() {
                return Some((key, value));
            }
            let (inner, up_to) = end.path.last_mut()?;
            if *up_to == 1 {
                end.path.pop();
                continue;
            }
            // The child below covers what is less than this.
            let until = inner.separators[*up_to - 2].borrow();
            if let Bound::Included(start) | Bound::Excluded(start) = self.range.start_bound()
                && until <= start
            {
                return None;
            }
            if end.state != self.view.state() {
                *end = self.until(Bound::Excluded(until));
                continue;
            }
            *up_to -= 1;
            let child = inner.children[*up_to - 1].cell();
            end.leaf = self.descend(&mut end.path, child, |inner| inner.children.len() - 1);
        }
    }

    fn is_before_end(&self, key: &Q) -> bool {
        match self.range.end_bound() {
            Bound::Unbounded => true,
            Bound::Included(end) => key <= end,
            Bound::Excluded(end) => key < end,
        }
    }

    fn is_behind_start(&self, key: &Q) -> bool {
        match self.range.start_bound() {
            Bound::Unbounded => true,
            Bound::Included(start) => key >= start,
            Bound::Excluded(start) => key > start,
        }
    }
}

impl<'v, W, K, V, Q, R> Iterator for Walk<'v, W, K, V, Q, R>
where
    W: Read,
    K: Ord + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Ord + ?Sized,
    R: RangeBounds<Q>,
{
    type Item = (&'v K, &'v V);

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let mut front = self.front.take().unwrap_or_else(|| self.from(self.range.start_bound()));
        let entry = self.forward(&mut front).filter(|(key, _)| {
            self.is_before_end((*key).borrow()) && self.passed[1].is_none_or(|back| *key < back)
        });
        self.front = Some(front);
        self.passed[0] = entry.map(|(key, _)| key);
        self.ended = entry.is_none();
        entry
    }
}

impl<W, K, V, Q, R> DoubleEndedIterator for Walk<'_, W, K, V, Q, R>
where
    W: Read,
    K: Ord + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Ord + ?Sized,
    R: RangeBounds<Q>,
{
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let mut back = self.back.take().unwrap_or_else(|| self.until(self.range.end_bound()));
        let entry = self.backward(&mut back).filter(|(key, _)| {
            self.is_behind_start((*key).borrow()) && self.passed[0].is_none_or(|front| *key > front)
        });
        self.back = Some(back);
        self.passed[1] = entry.map(|(key, _)| key);
        self.ended = entry.is_none();
        entry
    }
}

impl<W, K, V, Q, R> FusedIterator for Walk<'_, W, K, V, Q, R>
where
    W: Read,
    K: Ord + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Ord + ?Sized,
    R: RangeBounds<Q>,
{
}
