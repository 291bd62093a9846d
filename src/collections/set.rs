//! [`TSet`]: a [`TMap`] without values.

use super::map::TMap;
use crate::transaction::{Read, Transaction};
use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
};

/// A set in which handlers that use different keys do not conflict.
///
/// A clone is another handle to the same set. What is said of [`TMap`]'s hasher, order of iteration
/// and memory holds here too.
///
/// # Conflict unit
/// A key, as of a [`TMap`].
///
/// # Cost
/// As a [`TMap`]: O(1) for a key and for [`TSet::len`], O(n) for iteration.
///
/// # Examples
/// ```
/// use txloop::{TSet, atomically};
///
/// let online = TSet::named("online");
/// atomically(|tx| {
///     assert!(online.insert(tx, "ada"));
///     assert!(!online.insert(tx, "ada"));
/// });
/// assert!(atomically(|tx| online.contains(tx, "ada") && online.remove(tx, "ada")));
/// ```
pub struct TSet<K: Send + Sync + 'static, S = RandomState>(TMap<K, (), S>);

impl<K: Hash + Eq + Send + Sync + 'static> TSet<K> {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self(TMap::new())
    }

    /// The same, with a name for the conflict log.
    #[must_use]
    pub fn named(name: &'static str) -> Self {
        Self(TMap::named(name))
    }
}

impl<K: Hash + Eq + Send + Sync + 'static, S: BuildHasher> TSet<K, S> {
    /// An empty set whose keys this hasher hashes, see [`TMap::with_hasher`].
    #[must_use]
    pub fn with_hasher(hasher: S) -> Self {
        Self(TMap::with_hasher(hasher))
    }

    /// Whether a key is in the set.
    ///
    /// # Re-run
    /// As [`TMap::get`].
    #[track_caller]
    pub fn contains<Q>(&self, view: &impl Read, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.contains_key(view, key)
    }

    /// How many keys there are.
    ///
    /// # Re-run
    /// As [`TMap::len`].
    #[track_caller]
    pub fn len(&self, view: &impl Read) -> usize {
        self.0.len(view)
    }

    /// Whether there is none.
    ///
    /// # Re-run
    /// As [`TMap::len`].
    #[track_caller]
    pub fn is_empty(&self, view: &impl Read) -> bool {
        self.0.is_empty(view)
    }

    /// All keys, in the order of their hashes.
    ///
    /// # Re-run
    /// As [`TMap::iter`].
    #[track_caller]
    pub fn iter<'a>(&'a self, view: &'a impl Read) -> impl Iterator<Item = &'a K> {
        self.0.keys(view)
    }

    /// Removes all keys, in O(1).
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot).
    ///
    /// # Re-run
    /// As [`TMap::clear`].
    #[track_caller]
    pub fn clear(&self, tx: &Transaction) {
        self.0.clear(tx);
    }
}

impl<K, S> TSet<K, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    S: BuildHasher,
{
    /// Adds a key, and says whether it is new. One that is there already is not written.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), if it is new.
    ///
    /// # Re-run
    /// As [`TMap::get`].
    #[track_caller]
    pub fn insert(&self, tx: &Transaction, key: K) -> bool {
        let is_new = !self.contains(tx, &key);
        if is_new {
            self.0.insert(tx, key, ());
        }
        is_new
    }

    /// Removes a key, and says whether it was there.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), if it was there.
    ///
    /// # Re-run
    /// As [`TMap::remove`].
    #[track_caller]
    pub fn remove<Q>(&self, tx: &Transaction, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.remove(tx, key).is_some()
    }

    /// Adds many keys, as [`TSet::insert`] does one by one.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), if one is new.
    ///
    /// # Re-run
    /// As [`TMap::get`] of each key.
    #[track_caller]
    pub fn extend(&self, tx: &Transaction, keys: impl IntoIterator<Item = K>) {
        for key in keys {
            self.insert(tx, key);
        }
    }

    /// Removes all keys for which `keep` says no.
    ///
    /// # Panics
    /// As [`TMap::retain`].
    ///
    /// # Re-run
    /// As [`TMap::iter`].
    #[track_caller]
    pub fn retain(&self, tx: &Transaction, mut keep: impl FnMut(&K) -> bool) {
        self.0.retain(tx, |key, ()| keep(key));
    }
}

impl<K, S> FromIterator<K> for TSet<K, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    S: BuildHasher + Default,
{
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        Self(keys.into_iter().map(|key| (key, ())).collect())
    }
}

impl<K, S> Default for TSet<K, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    S: BuildHasher + Default,
{
    fn default() -> Self {
        Self(TMap::default())
    }
}

impl<K: Send + Sync + 'static, S> Clone for TSet<K, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Send + Sync + 'static, S> fmt::Debug for TSet<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TSet").field(&self.0).finish()
    }
}
