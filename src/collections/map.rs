//! [`TMap`]: a map whose keys do not get in each other's way.

use super::counter::TCounter;
use crate::cell::{block::Cells, boxes::Kept, labels::Label, node::CellOf};
use crate::transaction::{Read, Transaction, view::sealed::Sealed};
use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    panic::Location,
    sync::Arc,
};

type Place = &'static Location<'static>;

/// How many bits of a hash choose the slot of a node.
const BITS: u32 = 4;
/// Slots of a node.
const SLOTS: usize = 1 << BITS;
/// The level below which no bits of a hash are left.
const LAST: u32 = u64::BITS / BITS - 1;
/// From this level on, with 65,536 slots and more, keys share a slot: a slot of its own for each
/// would be mostly air, which costs a cache line for every look.
const SHARED: u32 = 3;
/// The most keys of such a slot.
const TOGETHER: usize = 4;

/// The most keys of a slot on a level.
fn capacity(level: u32) -> usize {
    match level {
        LAST => usize::MAX,
        SHARED.. => TOGETHER,
        _ => 1,
    }
}

/// A map from keys to values in which handlers that use different keys do not conflict.
///
/// A clone is another handle to the same map. References to keys and values live as long as the
/// view they were read in, like those of a [`TVar`](crate::TVar).
///
/// Nothing is put into the map by looking for a key that is not there: to find nothing is to read
/// the place where the key would be.
///
/// The order of iteration is that of the hashes: it stays the same for a map, and is another one in
/// the next process. An answer that shows it can neither be compared with another run nor replayed;
/// sort first.
///
/// # Conflict unit
/// A key that is in the map; in a map of more than some ten thousand keys also up to four whose
/// hashes agree in sixteen bits or more. A new key has to be told apart from one that is in its
/// place: to insert it conflicts, once in about as many times as the map has keys, with a handler
/// that uses a certain other key. To remove one may conflict with handlers that use its last
/// neighbours.
/// [`TMap::len`], and an iteration, conflict with every handler that inserts or removes, but
/// insertions and removals do not conflict with each other over the length.
///
/// # Cost
/// [`TMap::get`], [`TMap::insert`], [`TMap::remove`], [`TMap::modify`]: O(log₁₆ n), at most 16
/// steps, each a read of a cell; [`TMap::len`], [`TMap::clear`]: O(1); iteration: O(n). A key takes
/// one to four cells of 32 bytes, and a version of 40 with the key and the value. Keys and values
/// are cloned when a new key has to be told apart from them, and with their neighbours in a large
/// map, so what is large belongs in an `Arc`.
///
/// # Flooding
/// The default hasher is keyed at random, so that nobody who chooses keys can choose where they
/// collide. With a hasher that makes all keys collide, each step is O(n).
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
    root: Node<K, V>,
    len: TCounter,
    label: Label,
    hasher: S,
}

struct Node<K: Send + Sync + 'static, V: Send + Sync + 'static>(Cells<Slot<K, V>>);

enum Slot<K: Send + Sync + 'static, V: Send + Sync + 'static> {
    Empty,
    One(K, V),
    /// Where keys share a slot.
    Few(Vec<(K, V)>),
    /// More keys than fit into a slot, one level below.
    Branch(Node<K, V>),
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Kept for Slot<K, V> {
    fn is_plain(&self) -> bool {
        !std::mem::needs_drop::<(K, V)>() && !matches!(self, Self::Branch(_))
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Node<K, V> {
    /// The slot for a hash on this level.
    #[inline]
    fn slot(&self, hash: u64, level: u32) -> CellOf<'_, Slot<K, V>> {
        self.0.at(bits(hash, level))
    }

    fn slots(&self) -> impl Iterator<Item = CellOf<'_, Slot<K, V>>> {
        (0..SLOTS).map(|at| self.0.at(at))
    }

    /// A node of a level with these entries, whose hashes agree above it.
    fn of(label: Label, level: u32, entries: Vec<(u64, K, V)>, born: Option<u64>) -> Self {
        let mut slots: [Vec<_>; SLOTS] = std::array::from_fn(|_| Vec::new());
        for entry in entries {
            slots[bits(entry.0, level)].push(entry);
        }
        let slots = slots.into_iter().map(|entries| match entries.is_empty() {
            true => None,
            false => Some(Slot::of(label, level, entries, born)),
        });
        Self(Cells::sharing(label, slots.collect(), Slot::Empty, born))
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Slot<K, V> {
    /// A slot of a level with these entries, whose hashes agree down to it.
    fn of(label: Label, level: u32, mut entries: Vec<(u64, K, V)>, born: Option<u64>) -> Self {
        if entries.len() > capacity(level) {
            return Self::Branch(Node::of(label, level + 1, entries, born));
        }
        match entries.pop() {
            None => Self::Empty,
            Some((_, key, value)) if entries.is_empty() => Self::One(key, value),
            Some(last) => {
                let all = entries.into_iter().chain([last]);
                Self::Few(all.map(|(_, key, value)| (key, value)).collect())
            }
        }
    }

    fn few(mut entries: Vec<(K, V)>) -> Self {
        match entries.len() {
            0 | 1 => entries.pop().map_or(Self::Empty, |(key, value)| Self::One(key, value)),
            _ => Self::Few(entries),
        }
    }
}

/// The slot of a hash on a level.
#[inline]
fn bits(hash: u64, level: u32) -> usize {
    (hash >> (level * BITS)) as usize % SLOTS
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static, S> Map<K, V, S> {
    /// Where a key of this hash is, if it is in the map: the slot, its level and what it holds.
    #[inline]
    fn locate<'a, 'v: 'a>(
        &'a self,
        view: &'v impl Read,
        hash: u64,
        place: Place,
    ) -> (CellOf<'a, Slot<K, V>>, u32, &'v Slot<K, V>) {
        let (mut cell, mut level) = (self.root.slot(hash, 0), 0);
        loop {
            let slot = view.read(cell, place);
            let Slot::Branch(node) = slot else { return (cell, level, slot) };
            level += 1;
            cell = node.slot(hash, level);
        }
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
        let root = Node::of(label, 0, entries, None);
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
        let hash = self.0.hasher.hash_one(key);
        match self.0.locate(view, hash, Location::caller()).2 {
            Slot::One(own, value) => (own.borrow() == key).then_some((own, value)),
            Slot::Few(few) => {
                few.iter().find(|(own, _)| own.borrow() == key).map(|(own, value)| (own, value))
            }
            Slot::Empty | Slot::Branch(_) => None,
        }
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
    /// # Re-run
    /// In a transaction what is passed is remembered as read: with the last key, the whole map. A
    /// [`Snapshot`](crate::Snapshot) is better for it.
    #[track_caller]
    pub fn iter<'a>(&'a self, view: &'a impl Read) -> impl Iterator<Item = (&'a K, &'a V)> {
        let (place, mut path, mut few) = (Location::caller(), vec![(&self.0.root, 0)], [].iter());
        std::iter::from_fn(move || {
            loop {
                if let Some((key, value)) = few.next() {
                    return Some((key, value));
                }
                let (node, at) = path.last_mut()?;
                if *at == SLOTS {
                    path.pop();
                    continue;
                }
                let slot = view.read(node.0.at(*at), place);
                *at += 1;
                match slot {
                    Slot::Empty => {}
                    Slot::One(key, value) => return Some((key, value)),
                    Slot::Branch(below) => path.push((below, 0)),
                    Slot::Few(entries) => few = entries.iter(),
                }
            }
        })
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
        for slot in self.0.root.slots() {
            tx.write(slot, Slot::Empty);
        }
        self.0.len.set(tx, 0);
    }
}

impl<K, V, S> TMap<K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
{
    /// Sets the value of a key, and gives the one before.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot).
    ///
    /// # Re-run
    /// As [`TMap::get`].
    #[track_caller]
    pub fn insert<'t>(&self, tx: &'t Transaction, key: K, value: V) -> Option<&'t V> {
        let hash = self.0.hasher.hash_one(&key);
        let (cell, level, slot) = self.0.locate(tx, hash, Location::caller());
        let (new, old) = match slot {
            Slot::One(own, old) if *own == key => (Slot::One(key, value), Some(old)),
            Slot::One(own, other) => {
                (self.beside(level, [(own, other)].into_iter(), (hash, key, value)), None)
            }
            Slot::Few(few) => match few.iter().position(|(own, _)| *own == key) {
                Some(at) => {
                    let mut all = few.clone();
                    all[at].1 = value;
                    (Slot::Few(all), Some(&few[at].1))
                }
                None => {
                    let few = few.iter().map(|(own, value)| (own, value));
                    (self.beside(level, few, (hash, key, value)), None)
                }
            },
            Slot::Empty | Slot::Branch(_) => (Slot::One(key, value), None),
        };
        tx.write(cell, new);
        if old.is_none() {
            self.0.len.add(tx, 1);
        }
        old
    }

    /// A slot of a level with a new entry beside others.
    fn beside<'a>(
        &self,
        level: u32,
        others: impl ExactSizeIterator<Item = (&'a K, &'a V)>,
        (hash, key, value): (u64, K, V),
    ) -> Slot<K, V> {
        if others.len() < capacity(level) {
            let others = others.map(|(key, value)| (key.clone(), value.clone()));
            return Slot::few(others.chain([(key, value)]).collect());
        }
        let hashed =
            |(key, value): (&K, &V)| (self.0.hasher.hash_one(key), key.clone(), value.clone());
        let all = others.map(hashed).chain([(hash, key, value)]).collect();
        // What is made here is come upon only through what this transaction will write.
        Slot::of(self.0.label, level, all, Some(Transaction::newest_version()))
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
    /// As [`TMap::get`]; and if the node of the key is left with one key or none, also when another
    /// key of that node changes, since it is given up then.
    #[track_caller]
    pub fn remove<'t, Q>(&self, tx: &'t Transaction, key: &Q) -> Option<&'t V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.0.hasher.hash_one(key);
        let root = self.0.root.slot(hash, 0);
        let value = take(tx, root, (hash, 0), key, Location::caller())?;
        self.0.len.add(tx, -1);
        Some(value)
    }
}

/// Takes a key out of a slot that is on a level, and of those below it.
#[track_caller]
fn take<'t, K, V, Q>(
    tx: &'t Transaction,
    cell: CellOf<'_, Slot<K, V>>,
    (hash, level): (u64, u32),
    key: &Q,
    place: Place,
) -> Option<&'t V>
where
    K: Borrow<Q> + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    Q: Eq + ?Sized,
{
    match tx.read(cell, place) {
        Slot::Empty => None,
        Slot::One(own, value) => (own.borrow() == key).then(|| {
            tx.write(cell, Slot::Empty);
            value
        }),
        Slot::Branch(node) => {
            let value = take(tx, node.slot(hash, level + 1), (hash, level + 1), key, place)?;
            if let Some(rest) = node.rest(tx, capacity(level), place) {
                tx.write(cell, rest);
            }
            Some(value)
        }
        Slot::Few(few) => {
            let at = few.iter().position(|(own, _)| own.borrow() == key)?;
            let mut rest = few.clone();
            rest.remove(at);
            tx.write(cell, Slot::few(rest));
            Some(&few[at].1)
        }
    }
}

impl<K: Clone + Send + Sync + 'static, V: Clone + Send + Sync + 'static> Node<K, V> {
    /// What could stand in place of this node, if it has few keys for a slot of this capacity. Only
    /// then all of it is remembered as read.
    fn rest(&self, tx: &Transaction, capacity: usize, place: Place) -> Option<Slot<K, V>> {
        // Not as soon as they fit: the next one that comes would open the node again.
        let (most, mut count) = (capacity.div_ceil(2), 0);
        for slot in self.slots() {
            count += match tx.peek(slot) {
                Slot::Empty => 0,
                Slot::One(..) => 1,
                Slot::Few(few) => few.len(),
                Slot::Branch(_) => return None,
            };
            if count > most {
                return None;
            }
        }
        let mut rest = Vec::with_capacity(count);
        for slot in self.slots() {
            match tx.read(slot, place) {
                Slot::One(key, value) => rest.push((key.clone(), value.clone())),
                Slot::Few(few) => rest.extend_from_slice(few),
                Slot::Empty | Slot::Branch(_) => {}
            }
        }
        Some(Slot::few(rest))
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
        let entries = entries.into_iter();
        let entries = entries.map(|(key, value)| (hasher.hash_one(&key), key, value)).collect();
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
