//! [`TMap`]: a map whose keys do not get in each other's way.

mod tags;
mod tree;

use super::counter::TCounter;
use crate::cell::{TVar, labels::Label};
use crate::transaction::{Read, Transaction};
use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    panic::Location,
    sync::Arc,
};
use tree::{Found, Root};

type Place = &'static Location<'static>;

/// One new node of so many is a reason to look whether the root is crowded.
const LOOK_EVERY: u64 = 16;

/// A map from keys to values in which handlers that use different keys do not conflict.
///
/// A clone is another handle to the same map. References to keys and values live as long as the
/// view they were read in, like those of a [`TVar`].
///
/// Nothing is put into the map by looking for a key that is not there: to find nothing is to read
/// the place where the key would be.
///
/// The order of iteration is that of the hashes, however the map came about; it is another one in
/// each map with the default hasher. An answer that shows it can neither be compared with another
/// run nor replayed; sort first.
///
/// # Conflict unit
/// A key that is in the map; in a map of more than some two thousand keys also its neighbours,
/// whose hashes agree in twelve bits or more: up to three, or up to 22 if keys and values are
/// small and need no destructor. In smaller maps few keys have such neighbours: from some 250 keys
/// on about one in ten. A new key has to be told apart from one that is in its place: to
/// insert it conflicts, once in about as many times as the map has keys, with a handler that uses a
/// certain other key. To remove one may conflict with handlers that use its last neighbours.
/// [`TMap::len`], and an iteration, conflict with every handler that inserts or removes, but
/// insertions and removals do not conflict with each other over the length.
///
/// An insertion for which the map has to grow, each time it has twice as many keys, conflicts with
/// all handlers that use the map at that moment, as [`TMap::clear`] does. What is in the map then
/// moves bit by bit: the first write near a key does it, and conflicts with its neighbours.
///
/// # Cost
/// [`TMap::get`], [`TMap::insert`], [`TMap::remove`], [`TMap::modify`]: O(1), mostly two reads of
/// cells, in a map that has just grown a few more; [`TMap::len`], [`TMap::clear`]: O(1); iteration:
/// O(the most keys that there were since it was made or cleared). The insertion that lets a map
/// grow makes room for all keys at once: some microseconds for thousands, some milliseconds for a
/// million. A key takes two to five cells of 32 bytes, and a version of 64 and what key and value
/// have; in a large map with small keys and values these are shared by ten keys or so. The cells
/// stay when keys are removed, until [`TMap::clear`] or the end of the map. An empty map takes
/// about a kilobyte. Keys and values are cloned when a new key has to be told apart from them, and
/// with their neighbours in a large map, so what is large belongs in an `Arc`.
///
/// # Flooding
/// The default hasher is keyed at random, so that nobody who chooses keys can choose where they
/// collide. With a hasher that makes all keys collide, each step is O(n).
///
/// # A copy that stays
/// The view is the snapshot: what [`TMap::iter`] passes in one is the map at one moment, without a
/// copy, whatever is written meanwhile. What is to outlive the view is collected from it:
/// `snapshot(|s| map.iter(s).map(|(k, v)| (k.clone(), v.clone())).collect::<HashMap<_, _>>())`.
///
/// # Examples
/// ```
/// use txloop::{TMap, atomically, snapshot};
///
/// let stock = TMap::named("stock");
/// atomically(|tx| {
///     stock.insert(tx, "apples", 3);
///     stock.insert(tx, "pears", 1);
///     stock.modify(tx, "apples", |n| *n -= 1);
/// });
/// snapshot(|s| {
///     assert_eq!(stock.get(s, "apples"), Some(&2));
///     assert_eq!((stock.get(s, "plums"), stock.len(s)), (None, 2));
/// });
/// ```
pub struct TMap<K, V, S = RandomState>(Arc<Map<K, V, S>>)
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static;

struct Map<K: Send + Sync + 'static, V: Send + Sync + 'static, S> {
    root: TVar<Root<K, V>>,
    len: TCounter,
    label: Label,
    hasher: S,
}

/// The tree begins with the first bits of a hash; hashers that do not mix well leave those empty,
/// and the last ones full.
#[inline]
fn hash(hasher: &impl BuildHasher, key: &(impl Hash + ?Sized)) -> u64 {
    hasher.hash_one(key).swap_bytes()
}

impl<K, V, S> Map<K, V, S>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
{
    #[inline]
    fn hash(&self, key: &(impl Hash + ?Sized)) -> u64 {
        hash(&self.hasher, key)
    }

    #[inline]
    fn root<'v>(&self, view: &'v impl Read, place: Place) -> &'v Root<K, V> {
        view.read(self.root.kept(), place)
    }

    /// Where the key of a hash is to be written.
    #[track_caller]
    fn settled<'t>(&self, tx: &'t Transaction, hash: u64, place: Place) -> Found<'t, K, V>
    where
        K: Hash + Clone,
        V: Clone,
    {
        let root = self.root(tx, place);
        let (found, is_here) = root.find(tx, hash, place);
        if is_here {
            return found;
        }
        root.settle(tx, self.label, (hash, &|key: &K| self.hash(key)), place);
        root.find(tx, hash, place).0
    }
}

impl<K, V> TMap<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::with_hasher(RandomState::new())
    }

    /// The same, with a name for the conflict log.
    #[must_use]
    pub fn named(name: &'static str) -> Self {
        Self::of(Label::of(name), RandomState::new(), Vec::new())
    }
}

impl<K, V, S> TMap<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
{
    /// An empty map whose keys this hasher hashes. It must give equal keys equal hashes, in every
    /// attempt and on every thread; for keys that clients choose it must be keyed at random.
    #[must_use]
    pub fn with_hasher(hasher: S) -> Self {
        Self::of(Label::NONE, hasher, Vec::new())
    }

    fn of(label: Label, hasher: S, entries: Vec<(u64, K, V)>) -> Self {
        let len = TCounter::labelled(label, entries.len() as i64);
        let root = TVar::labelled(label, Root::of(label, entries));
        Self(Arc::new(Map { root, len, label, hasher }))
    }

    /// The value of a key.
    ///
    /// # Re-run
    /// In a transaction the place of the key is remembered as read, also when the key is not there:
    /// if somebody who comes earlier in the serial order inserts, changes or removes it, the
    /// handler is run again.
    #[inline]
    #[track_caller]
    pub fn get<'v, Q>(&self, view: &'v impl Read, key: &Q) -> Option<&'v V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.get_key_value(view, key).map(|(_, value)| value)
    }

    /// The key as it is in the map, and its value.
    ///
    /// # Re-run
    /// As [`TMap::get`].
    #[inline]
    #[track_caller]
    pub fn get_key_value<'v, Q>(&self, view: &'v impl Read, key: &Q) -> Option<(&'v K, &'v V)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (hash, place) = (self.0.hash(key), Location::caller());
        let (found, _) = self.0.root(view, place).find(view, hash, place);
        let (own, value) = &found.slot.entries()[found.position(hash, key)?];
        Some((own, value))
    }

    /// Whether a key is in the map.
    ///
    /// # Re-run
    /// As [`TMap::get`].
    #[track_caller]
    pub fn contains_key<Q>(&self, view: &impl Read, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
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
    /// As [`TMap::len`].
    #[track_caller]
    pub fn is_empty(&self, view: &impl Read) -> bool {
        self.len(view) == 0
    }

    /// All keys with their values, in the order of their hashes.
    ///
    /// A transaction may change the map meanwhile: what it leaves alone is passed once. What it
    /// inserts, changes or removes may be passed as it was, or as it is.
    ///
    /// # Re-run
    /// In a transaction what is passed is remembered as read: with the last key, the whole map. A
    /// [`Snapshot`](crate::Snapshot) is better for it.
    #[track_caller]
    pub fn iter<'a>(&'a self, view: &'a impl Read) -> impl Iterator<Item = (&'a K, &'a V)> {
        let place = Location::caller();
        tree::walk(view, &self.0.root, place).map(|(key, value)| (key, value))
    }

    /// All keys, as [`TMap::iter`].
    ///
    /// # Re-run
    /// As [`TMap::iter`].
    #[track_caller]
    pub fn keys<'a>(&'a self, view: &'a impl Read) -> impl Iterator<Item = &'a K> {
        self.iter(view).map(|(key, _)| key)
    }

    /// All values, as [`TMap::iter`].
    ///
    /// # Re-run
    /// As [`TMap::iter`].
    #[track_caller]
    pub fn values<'a>(&'a self, view: &'a impl Read) -> impl Iterator<Item = &'a V> {
        self.iter(view).map(|(_, value)| value)
    }

    /// Removes all keys, in O(1).
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot).
    ///
    /// # Re-run
    /// Nothing is read. It is a conflict for all handlers that use a key.
    #[track_caller]
    pub fn clear(&self, tx: &Transaction) {
        let root = Root::empty(self.0.label, Transaction::newest_version());
        tx.set(&self.0.root, root);
        self.0.len.set(tx, 0);
    }
}

impl<K, V, S> TMap<K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
{
    /// Sets the value of a key, and gives the one before. An equal key that was there gives way to
    /// this one, unlike in the map of the standard library.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot).
    ///
    /// # Re-run
    /// As [`TMap::get`].
    #[track_caller]
    pub fn insert<'t>(&self, tx: &'t Transaction, key: K, value: V) -> Option<&'t V> {
        let (hash, place) = (self.0.hash(&key), Location::caller());
        let found = self.0.settled(tx, hash, place);
        if let Some(at) = found.position(hash, &key) {
            tx.write(found.cell, found.with(at, (key, value)));
            return Some(&found.slot.entries()[at].1);
        }
        let hashed = |key: &K| self.0.hash(key);
        let (slot, is_node) = found.beside(self.0.label, (hash, key, value), &hashed);
        tx.write(found.cell, slot);
        self.0.len.add(tx, 1);
        // Fibonacci hashing: some bits of the hash are the same for all keys that come here.
        if is_node && (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).is_multiple_of(LOOK_EVERY) {
            tree::grow(tx, &self.0.root, self.0.label, (hash, &hashed), place);
        }
        None
    }

    /// Changes a clone of a key's value and sets it; nothing if the key is not there.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), if the key is there. If `f` panics, nothing is set.
    ///
    /// # Re-run
    /// As [`TMap::get`].
    #[track_caller]
    pub fn modify<Q, R>(&self, tx: &Transaction, key: &Q, f: impl FnOnce(&mut V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
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
    /// As [`TMap::get`].
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
    /// As [`TMap::get`]; and if the node of the key is left with few keys, also when another key of
    /// that node changes, since it is given up then.
    #[track_caller]
    pub fn remove<'t, Q>(&self, tx: &'t Transaction, key: &Q) -> Option<&'t V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (hash, place) = (self.0.hash(key), Location::caller());
        let root = self.0.root(tx, place);
        let len = &self.0.len;
        let mut value = tree::take(tx, root.start(hash), (hash, key), len, place);
        if value.is_none() {
            let (found, is_here) = root.find(tx, hash, place);
            if is_here || found.position(hash, key).is_none() {
                return None;
            }
            root.settle(tx, self.0.label, (hash, &|key: &K| self.0.hash(key)), place);
            value = tree::take(tx, root.start(hash), (hash, key), len, place);
        }
        value
    }

    /// Sets the values of many keys, as [`TMap::insert`] does one by one: to fill a map with a
    /// name, for example.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot).
    ///
    /// # Re-run
    /// As [`TMap::get`] of each key.
    #[track_caller]
    pub fn extend(&self, tx: &Transaction, entries: impl IntoIterator<Item = (K, V)>) {
        for (key, value) in entries {
            self.insert(tx, key, value);
        }
    }

    /// Removes all keys for which `keep` says no, in O(the most keys that there were since it was
    /// made or cleared).
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), if there is one. If `keep` panics, nothing is
    /// removed.
    ///
    /// # Re-run
    /// As [`TMap::iter`].
    #[track_caller]
    pub fn retain(&self, tx: &Transaction, mut keep: impl FnMut(&K, &V) -> bool) {
        let passed = self.iter(tx).filter(|(key, value)| !keep(key, value));
        let dropped: Vec<_> = passed.map(|(key, _)| key).collect();
        for key in dropped {
            self.remove(tx, key);
        }
    }
}

impl<K, V, S> FromIterator<(K, V)> for TMap<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Default,
{
    /// Outside of any transaction, and faster than one. Of equal keys the last one counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let entries: HashMap<K, V> = entries.into_iter().collect();
        let hasher = S::default();
        let hashed = |(key, value): (K, V)| (hash(&hasher, &key), key, value);
        let entries = entries.into_iter().map(hashed).collect();
        Self::of(Label::NONE, hasher, entries)
    }
}

impl<K, V, S> Default for TMap<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Default,
{
    fn default() -> Self {
        Self::with_hasher(S::default())
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static, S> Clone for TMap<K, V, S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static, S> fmt::Debug for TMap<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TMap").field("name", &self.0.label.text()).finish_non_exhaustive()
    }
}
