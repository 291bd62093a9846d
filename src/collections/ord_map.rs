//! [`TOrdMap`]: a map in the order of its keys.

mod tree;
mod walk;

use super::counter::TCounter;
use crate::cell::{TVar, labels::Label};
use crate::transaction::{Read, Transaction};
use std::{
    borrow::Borrow, collections::BTreeMap, fmt, ops::RangeBounds, panic::Location, sync::Arc,
};
use tree::{LEAF, Map, Node, search};
use walk::Walk;

/// A map in the order of its keys, with ranges.
///
/// A clone is another handle to the same map. References to keys and values live as long as the
/// view they were read in, like those of a [`TVar`]. Where the order does not matter,
/// [`TMap`](crate::TMap) has a smaller conflict unit and is faster.
///
/// # Conflict unit
/// Up to sixteen neighbouring keys, with the gaps between them. A handler that looked at a range
/// conflicts with one that changes, removes or inserts a key in it, also where there was none; and
/// with changes of the next few keys beyond both ends of the range. Every sixteenth insertion or
/// so, and about as many removals, change a larger part of the tree: they conflict with each other
/// if that part is the same, but not with handlers that use other keys.
/// [`TOrdMap::len`] conflicts with every handler that inserts or removes, but insertions and
/// removals do not conflict with each other over the length.
///
/// # Cost
/// [`TOrdMap::get`], [`TOrdMap::insert`], [`TOrdMap::remove`], [`TOrdMap::modify`],
/// [`TOrdMap::first_key_value`], [`TOrdMap::last_key_value`]: O(log n), one read of a cell
/// remembered; a write clones the keys and values of a leaf, sixteen at most, so what is large
/// belongs in an `Arc`. [`TOrdMap::range`]: the same for its beginning, then O(1) for each key;
/// all of [`TOrdMap::iter`], [`TOrdMap::keys`] and [`TOrdMap::values`]: O(n).
/// [`TOrdMap::pop_first`], [`TOrdMap::pop_last`]: O(log n), like a remove. [`TOrdMap::len`]: O(1);
/// [`TOrdMap::clear`]: O(n). To collect entries: O(n log n). For each leaf there are about 150
/// bytes beside keys and values.
///
/// # Flooding
/// The tree stays balanced whatever keys clients choose.
///
/// # Examples
/// ```
/// use txloop::{TOrdMap, atomically, snapshot};
///
/// let bids = TOrdMap::named("bids");
/// atomically(|tx| {
///     for (price, quantity) in [(101, 5), (99, 20), (100, 10)] {
///         bids.insert(tx, price, quantity);
///     }
/// });
/// snapshot(|s| {
///     assert_eq!(bids.last_key_value(s), Some((&101, &5)));
///     let from_100: i32 = bids.range(s, 100..).map(|(_, quantity)| quantity).sum();
///     assert_eq!(from_100, 15);
/// });
/// ```
pub struct TOrdMap<K, V>(Arc<Map<K, V>>)
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static;

impl<K, V> TOrdMap<K, V>
where
    K: Ord + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Label::NONE, 0, Node::GONE)
    }

    /// The same, with a name for the conflict log.
    #[must_use]
    pub fn named(name: &'static str) -> Self {
        Self::of(Label::of(name), 0, Node::GONE)
    }

    fn of(label: Label, len: i64, root: Node<K, V>) -> Self {
        let (root, len) = (TVar::labelled(label, root), TCounter::labelled(label, len));
        Self(Arc::new(Map { root, len, label }))
    }

    /// The value of a key.
    ///
    /// # Re-run
    /// In a transaction the neighbourhood of the key is remembered as read, also when the key is
    /// not there: if somebody who comes earlier in the serial order inserts, changes or removes a
    /// key there, the handler is run again.
    #[inline]
    #[track_caller]
    pub fn get<'v, Q>(&self, view: &'v impl Read, key: &Q) -> Option<&'v V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.get_key_value(view, key).map(|(_, value)| value)
    }

    /// The key as it is in the map, and its value.
    ///
    /// # Re-run
    /// As [`TOrdMap::get`].
    #[inline]
    #[track_caller]
    pub fn get_key_value<'v, Q>(&self, view: &'v impl Read, key: &Q) -> Option<(&'v K, &'v V)>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let (_, leaf) = self.0.cover(view, key, Location::caller());
        search(leaf, key).ok().map(|at| (&leaf[at].0, &leaf[at].1))
    }

    /// Whether a key is in the map.
    ///
    /// # Re-run
    /// As [`TOrdMap::get`].
    #[track_caller]
    pub fn contains_key<Q>(&self, view: &impl Read, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.get_key_value(view, key).is_some()
    }

    /// How many keys there are.
    ///
    /// # Re-run
    /// In a transaction every insertion and removal of a key by others is a conflict.
    #[track_caller]
    pub fn len(&self, view: &impl Read) -> usize {
        self.0.len.get(view) as usize
    }

    /// Whether there is no key.
    ///
    /// # Re-run
    /// As [`TOrdMap::len`].
    #[track_caller]
    pub fn is_empty(&self, view: &impl Read) -> bool {
        self.len(view) == 0
    }

    /// The keys in a range with their values, in order, from both ends.
    ///
    /// A transaction may change the map meanwhile: what it leaves alone is passed once. What it
    /// inserts, changes or removes may be passed as it was, or as it is.
    ///
    /// # Panics
    /// As [`BTreeMap::range`]: if the range begins behind its end, or if it has the same excluded
    /// bound at both ends.
    ///
    /// # Re-run
    /// In a transaction what is passed is remembered as read, with the gaps between the keys: if
    /// somebody who comes earlier in the serial order inserts, changes or removes a key there, the
    /// handler is run again. What is not passed is not remembered: an iterator that is given up
    /// half-way costs half as much.
    #[track_caller]
    pub fn range<'v, Q>(
        &'v self,
        view: &'v impl Read,
        range: impl RangeBounds<Q>,
    ) -> impl DoubleEndedIterator<Item = (&'v K, &'v V)>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        walk::check(&range);
        Walk::new(view, &self.0, range, Location::caller())
    }

    /// All keys with their values, in order, from both ends.
    ///
    /// # Re-run
    /// As [`TOrdMap::range`]. A [`Snapshot`](crate::Snapshot) is better for it.
    #[track_caller]
    pub fn iter<'v>(
        &'v self,
        view: &'v impl Read,
    ) -> impl DoubleEndedIterator<Item = (&'v K, &'v V)> {
        self.range::<K>(view, ..)
    }

    /// All keys, as [`TOrdMap::iter`].
    ///
    /// # Re-run
    /// As [`TOrdMap::range`].
    #[track_caller]
    pub fn keys<'v>(&'v self, view: &'v impl Read) -> impl DoubleEndedIterator<Item = &'v K> {
        self.iter(view).map(|(key, _)| key)
    }

    /// All values in the order of their keys, as [`TOrdMap::iter`].
    ///
    /// # Re-run
    /// As [`TOrdMap::range`].
    #[track_caller]
    pub fn values<'v>(&'v self, view: &'v impl Read) -> impl DoubleEndedIterator<Item = &'v V> {
        self.iter(view).map(|(_, value)| value)
    }

    /// The least key, and its value.
    ///
    /// # Re-run
    /// As [`TOrdMap::get`] of that key and of all that are less.
    #[track_caller]
    pub fn first_key_value<'v>(&'v self, view: &'v impl Read) -> Option<(&'v K, &'v V)> {
        self.iter(view).next()
    }

    /// The greatest key, and its value.
    ///
    /// # Re-run
    /// As [`TOrdMap::get`] of that key and of all that are greater.
    #[track_caller]
    pub fn last_key_value<'v>(&'v self, view: &'v impl Read) -> Option<(&'v K, &'v V)> {
        self.iter(view).next_back()
    }

    /// Removes all keys, in O(n).
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot).
    ///
    /// # Re-run
    /// It is a conflict for all handlers that use a key, and conflicts with all that write one.
    #[track_caller]
    pub fn clear(&self, tx: &Transaction) {
        Map::empty(tx, self.0.root.kept(), Location::caller());
        self.0.len.set(tx, 0);
    }
}

impl<K, V> TOrdMap<K, V>
where
    K: Ord + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Sets the value of a key, and gives the one before. The key stays as it was.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot).
    ///
    /// # Re-run
    /// As [`TOrdMap::get`].
    #[track_caller]
    pub fn insert<'t>(&self, tx: &'t Transaction, key: K, value: V) -> Option<&'t V> {
        let place = Location::caller();
        let (cell, leaf) = self.0.cover(tx, &key, place);
        let at = match search(leaf, &key) {
            Ok(at) => {
                let mut all = leaf.to_vec();
                all[at].1 = value;
                tx.write(cell, Node::Leaf(all));
                return Some(&leaf[at].1);
            }
            Err(at) => at,
        };
        let path = if leaf.len() == LEAF { self.0.path(tx, &key) } else { Vec::new() };
        let mut all = Vec::with_capacity(leaf.len() + 1);
        all.extend_from_slice(&leaf[..at]);
        all.push((key, value));
        all.extend_from_slice(&leaf[at..]);
        if all.len() <= LEAF {
            tx.write(cell, Node::Leaf(all));
        } else {
            // Keys that come in their order leave full leaves behind.
            let cut = if at == LEAF { LEAF } else { LEAF.div_ceil(2) };
            let above = all.split_off(cut);
            let above = (above[0].0.clone(), Node::Leaf(above));
            self.0.grow(tx, path, cell, Node::Leaf(all), above, place);
        }
        self.0.len.add(tx, 1);
        None
    }

    /// Changes a clone of a key's value and sets it; nothing if the key is not there.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), if the key is there. If `f` panics, nothing is set.
    ///
    /// # Re-run
    /// As [`TOrdMap::get`].
    #[track_caller]
    pub fn modify<Q, R>(&self, tx: &Transaction, key: &Q, f: impl FnOnce(&mut V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let (own, value) = self.get_key_value(tx, key)?;
        let mut value = value.clone();
        let answer = f(&mut value);
        self.insert(tx, own.clone(), value);
        Some(answer)
    }

    /// The value of a key, which is inserted with what `f` gives if it is not there.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), if the key is not there. If `f` panics, nothing is
    /// set.
    ///
    /// # Re-run
    /// As [`TOrdMap::get`].
    #[track_caller]
    pub fn get_or_insert_with<'t>(
        &self,
        tx: &'t Transaction,
        key: K,
        f: impl FnOnce() -> V,
    ) -> &'t V {
        if let Some(value) = self.get(tx, &key) {
            return value;
        }
        self.insert(tx, key.clone(), f());
        self.get(tx, &key).expect("just inserted")
    }

    /// Removes a key, and gives its value.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), if the key is there.
    ///
    /// # Re-run
    /// As [`TOrdMap::get`]; and if the neighbourhood is left with few keys, also when the next one
    /// changes, since they may become one then.
    #[track_caller]
    pub fn remove<'t, Q>(&self, tx: &'t Transaction, key: &Q) -> Option<&'t V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let place = Location::caller();
        let (cell, leaf) = self.0.cover(tx, key, place);
        let at = search(leaf, key).ok()?;
        let rest = Node::Leaf([&leaf[..at], &leaf[at + 1..]].concat());
        if leaf.len() > LEAF / 4 {
            tx.write(cell, rest);
        } else {
            self.0.shrink(tx, self.0.path(tx, key), cell, rest, place);
        }
        self.0.len.add(tx, -1);
        Some(&leaf[at].1)
    }

    /// Removes the least key, and gives it with its value.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), if there is a key.
    ///
    /// # Re-run
    /// As [`TOrdMap::first_key_value`] and [`TOrdMap::remove`].
    #[track_caller]
    pub fn pop_first<'t>(&'t self, tx: &'t Transaction) -> Option<(&'t K, &'t V)> {
        let (key, value) = self.first_key_value(tx)?;
        self.remove(tx, key);
        Some((key, value))
    }

    /// Removes the greatest key, and gives it with its value.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), if there is a key.
    ///
    /// # Re-run
    /// As [`TOrdMap::last_key_value`] and [`TOrdMap::remove`].
    #[track_caller]
    pub fn pop_last<'t>(&'t self, tx: &'t Transaction) -> Option<(&'t K, &'t V)> {
        let (key, value) = self.last_key_value(tx)?;
        self.remove(tx, key);
        Some((key, value))
    }

    /// Sets the values of many keys, as [`TOrdMap::insert`] does one by one: to fill a map with a
    /// name, for example.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot).
    ///
    /// # Re-run
    /// As [`TOrdMap::get`] of each key.
    #[track_caller]
    pub fn extend(&self, tx: &Transaction, entries: impl IntoIterator<Item = (K, V)>) {
        for (key, value) in entries {
            self.insert(tx, key, value);
        }
    }

    /// Removes all keys for which `keep` says no. O(n log n).
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), if there is one. If `keep` panics, nothing is
    /// removed.
    ///
    /// # Re-run
    /// As [`TOrdMap::iter`].
    #[track_caller]
    pub fn retain(&self, tx: &Transaction, mut keep: impl FnMut(&K, &V) -> bool) {
        let passed = self.iter(tx).filter(|(key, value)| !keep(key, value));
        let dropped: Vec<_> = passed.map(|(key, _)| key).collect();
        for key in dropped {
            self.remove(tx, key);
        }
    }
}

impl<K, V> FromIterator<(K, V)> for TOrdMap<K, V>
where
    K: Ord + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Outside of any transaction, and faster than one. Of equal keys the last one counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let entries: BTreeMap<K, V> = entries.into_iter().collect();
        let len = entries.len() as i64;
        Self::of(Label::NONE, len, Node::of(Label::NONE, entries.into_iter().collect()))
    }
}

impl<K, V> Default for TOrdMap<K, V>
where
    K: Ord + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Clone for TOrdMap<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> fmt::Debug for TOrdMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TOrdMap").field("name", &self.0.label.text()).finish_non_exhaustive()
    }
}
