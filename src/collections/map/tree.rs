//! What is inside of a [`TMap`](super::TMap): a root that grows with the number of keys, and below
//! its slots a trie of small nodes, for keys whose hashes begin alike.
//!
//! A root whose table is crowded is replaced by one with a table of [`GROWTH`] times as many slots.
//! These are empty at first and say [`Kind::Before`]: what belongs there is in the table before,
//! where it is looked for until somebody writes there. Whoever does moves what that slot of the old
//! table has, all of it, into the new ones. So no handler moves more than a few keys. The next
//! growth comes when all has moved; what nobody wrote is moved then, some slots at a time.

use super::{
    super::counter::TCounter,
    Place,
    tags::{TAGGED, Tags},
};
use crate::cell::{
    TVar,
    block::Cells,
    boxes::{Boxed, Tailed},
    kept::{self, Kept},
    labels::Label,
    node::CellOf,
};
use crate::transaction::{Read, Transaction, view::sealed::Sealed};
use std::{any::Any, borrow::Borrow, sync::Arc};

/// How many bits of a hash choose the slot of a node.
const NODE_BITS: u32 = 3;
/// The same for the smallest table.
const LEAST_BITS: u32 = 4;
/// A table grows by so many.
const GROWTH_BITS: u32 = 1;
/// How many slots of a table take the place of one of the table before.
const GROWTH: usize = 1 << GROWTH_BITS;
/// The largest table.
const MOST_BITS: u32 = 28;
/// How many slots of the table before are moved together because they are in the way of growth.
const MOVED: usize = 64;
/// How many slots are looked at to find those.
const SEARCHED: usize = 16_384;
/// How many slots are looked at to tell.
const LOOKS: usize = 64;
/// Slots whose keys agree in so many bits take more than one: it is rare enough then that handlers
/// want two of them at the same time, and the fewer lines of memory a large map takes, the more of
/// them are near.
const SHARED_BITS: u32 = 12;
/// Entries of so many bytes are copied with their neighbours nearly as fast as alone.
const LIGHT: usize = 32;
/// So many bytes of light entries take a slot, but no more entries than this.
const SHARED: (usize, usize) = (384, TAGGED);

/// The slot of a hash, of which `above` bits are used up, among those for the next `bits`.
#[inline]
fn index(hash: u64, above: u32, bits: u32) -> usize {
    ((hash << above) >> (u64::BITS - bits)) as usize
}

/// An entry with the hash of its key.
pub(super) type Entry<K, V> = (u64, K, V);

/// Slots for the first bits of a hash.
struct Table<K: Send + Sync + 'static, V: Send + Sync + 'static> {
    slots: Cells<Slot<K, V>>,
    bits: u32,
}

/// Where all begins. Replaced as a whole.
pub(super) struct Root<K: Send + Sync + 'static, V: Send + Sync + 'static> {
    table: Arc<Table<K, V>>,
    /// The table before, from which slots still have to move, or had to.
    before: Option<Arc<Table<K, V>>>,
    /// How many of its slots have not moved.
    left: TCounter,
}

/// What a cell of the tree holds: it belongs to hashes that agree in all bits down to it. Behind it
/// are its own entries, in the order of their hashes, as above.
type Slot<K, V> = Tailed<Kind<K, V>, (K, V)>;

/// What there is in a slot.
pub(super) enum Kind<K: Send + Sync + 'static, V: Send + Sync + 'static> {
    /// The entries, if any.
    Leaf(Tags),
    /// More keys than fit into a slot: slots for the next bits.
    Branch(Cells<Slot<K, V>>),
    /// What belongs here is in the table before.
    Before,
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Kept for Kind<K, V> {
    fn is_plain(&self) -> bool {
        !matches!(self, Self::Branch(_))
    }

    fn text_of_entry(entry: &dyn Any) -> Option<String> {
        kept::pair(entry.downcast_ref::<(K, V)>()?)
    }
}

/// A place for a hash: its cell, how many bits lead there, and what it holds.
pub(super) struct Found<'v, K: Send + Sync + 'static, V: Send + Sync + 'static> {
    pub(super) cell: CellOf<'v, Slot<K, V>>,
    pub(super) bits: u32,
    pub(super) slot: &'v Slot<K, V>,
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Kind<K, V> {
    /// No entries.
    const NONE: Self = Self::Leaf(Tags::NONE);

    /// Whether it costs next to nothing to clone and to drop an entry.
    const IS_LIGHT: bool = !std::mem::needs_drop::<(K, V)>() && size_of::<(K, V)>() <= LIGHT;

    /// The most keys of a slot, whose hashes agree in so many bits.
    const fn capacity(bits: u32) -> usize {
        match (bits, size_of::<(K, V)>()) {
            (u64::BITS.., _) => usize::MAX,
            (SHARED_BITS.., 0) if Self::IS_LIGHT => SHARED.1,
            (SHARED_BITS.., size) if Self::IS_LIGHT && SHARED.0 / size > SHARED.1 => SHARED.1,
            (SHARED_BITS.., size) if Self::IS_LIGHT => SHARED.0 / size,
            (SHARED_BITS.., _) => 4,
            _ => 1,
        }
    }

    /// A root grows when its slots have more keys than so many on average.
    const fn crowded(bits: u32) -> usize {
        match bits {
            SHARED_BITS.. => Self::capacity(bits) / 3 * 2,
            _ => 1,
        }
    }

    /// A slot with these entries, in the order of their hashes, which agree in so many bits.
    fn of(
        label: Label,
        bits: u32,
        entries: Vec<Entry<K, V>>,
        born: Option<u64>,
    ) -> Boxed<Slot<K, V>> {
        if entries.len() <= Self::capacity(bits) {
            let tags = Tags::of(entries.iter().map(|entry| entry.0));
            return leaf(tags, entries.into_iter().map(|(_, key, value)| (key, value)));
        }
        let slots = slots(label, (bits, NODE_BITS), entries, born);
        Slot::empty(Self::Branch(Cells::sharing(label, slots, Slot::empty(Self::NONE), born)))
            .into()
    }
}

/// A slot with these entries.
#[inline]
fn leaf<K: Send + Sync + 'static, V: Send + Sync + 'static>(
    tags: Tags,
    entries: impl ExactSizeIterator<Item = (K, V)>,
) -> Boxed<Slot<K, V>> {
    Boxed::tailed(Kind::Leaf(tags), entries)
}

/// Slots for the next `bits` bits of hashes that agree in those `above`; none where nothing is.
fn slots<K: Send + Sync + 'static, V: Send + Sync + 'static>(
    label: Label,
    (above, bits): (u32, u32),
    entries: Vec<Entry<K, V>>,
    born: Option<u64>,
) -> Vec<Option<Boxed<Slot<K, V>>>> {
    let mut entries = entries.into_iter().peekable();
    let slot = |at| {
        let here = |entry: &Entry<K, V>| index(entry.0, above, bits) == at;
        let own: Vec<_> = std::iter::from_fn(|| entries.next_if(here)).collect();
        (!own.is_empty()).then(|| Kind::of(label, above + bits, own, born))
    };
    (0..1 << bits).map(slot).collect()
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Table<K, V> {
    fn size(&self) -> usize {
        1 << self.bits
    }

    #[inline]
    fn index(&self, hash: u64) -> usize {
        index(hash, 0, self.bits)
    }

    #[inline]
    fn start(&self, hash: u64) -> (CellOf<'_, Slot<K, V>>, u32) {
        (self.slots.at(self.index(hash)), self.bits)
    }

    /// Whether slots have more keys than they should, as far as a few of them show. What others do
    /// with these does not matter: nothing depends on it but speed.
    fn is_crowded(&self, tx: &Transaction, hash: u64) -> bool {
        let looks = LOOKS.min(self.size());
        // Odd, so that all slots of a small table are looked at, and those of a large one differ in
        // their first bits and in their last.
        let (first, step) = (self.index(hash), (self.size() / 8 * 5) | 1);
        let keys = |look: usize| {
            let slot = tx.peek(self.slots.at((first + look * step) % self.size()));
            match slot.head() {
                Kind::Branch(_) => Kind::<K, V>::capacity(self.bits) + 2,
                Kind::Leaf(_) | Kind::Before => slot.entries().len(),
            }
        };
        (0..looks).map(keys).sum::<usize>() > Kind::<K, V>::crowded(self.bits) * looks
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Root<K, V> {
    /// A root of its own for these entries.
    pub(super) fn of(label: Label, mut entries: Vec<Entry<K, V>>) -> Self {
        entries.sort_by_key(|entry| entry.0);
        let is_enough =
            |bits: &u32| entries.len() >> bits < Kind::<K, V>::crowded(*bits) || *bits >= MOST_BITS;
        let mut sizes = (LEAST_BITS..).step_by(GROWTH_BITS as usize);
        let bits = sizes.find(is_enough).unwrap_or(LEAST_BITS);
        let slots = slots(label, (0, bits), entries, None);
        let slots = Cells::sharing(label, slots, Slot::empty(Kind::NONE), None);
        Self::with(label, Table { slots, bits }, None)
    }

    /// An empty root that takes the place of all others; see [`Cells::sharing`] for `born`.
    pub(super) fn empty(label: Label, born: u64) -> Self {
        let slots = Cells::alike(label, 1 << LEAST_BITS, Slot::empty(Kind::NONE), Some(born));
        Self::with(label, Table { slots, bits: LEAST_BITS }, None)
    }

    fn with(label: Label, table: Table<K, V>, before: Option<Arc<Table<K, V>>>) -> Self {
        let left = before.as_ref().map_or(0, |before| before.size() as i64);
        Self { table: Arc::new(table), before, left: TCounter::labelled(label, left) }
    }

    /// Where the slots for a hash begin, and how many bits lead there.
    #[inline]
    pub(super) fn start(&self, hash: u64) -> (CellOf<'_, Slot<K, V>>, u32) {
        self.table.start(hash)
    }

    /// Where a key of this hash is, if it is in the map; and whether that is below this root and
    /// not one before.
    #[inline]
    pub(super) fn find<'v>(
        &'v self,
        view: &'v impl Read,
        hash: u64,
        place: Place,
    ) -> (Found<'v, K, V>, bool) {
        let ((mut cell, mut bits), mut is_here) = (self.start(hash), true);
        loop {
            let slot = view.read(cell, place);
            match (slot.head(), &self.before) {
                (Kind::Branch(below), _) => {
                    cell = below.at(index(hash, bits, NODE_BITS));
                    bits += NODE_BITS;
                }
                (Kind::Before, Some(before)) => {
                    ((cell, bits), is_here) = (before.start(hash), false);
                }
                _ => return (Found { cell, bits, slot }, is_here),
            }
        }
    }

    /// All entries that are in a slot and below it, with their hashes, in their order.
    fn gather(
        tx: &Transaction,
        slot: &Slot<K, V>,
        hashed: &impl Fn(&K) -> u64,
        place: Place,
        into: &mut Vec<Entry<K, V>>,
    ) where
        K: Clone,
        V: Clone,
    {
        let entry = |(key, value): &(K, V)| (hashed(key), key.clone(), value.clone());
        into.extend(slot.entries().iter().map(entry));
        if let Kind::Branch(below) = slot.head() {
            for at in 0..1 << NODE_BITS {
                Self::gather(tx, tx.read(below.at(at), place), hashed, place, into);
            }
        }
    }

    /// Moves what the slot of a hash in the table before has.
    #[track_caller]
    pub(super) fn settle(
        &self,
        tx: &Transaction,
        label: Label,
        (hash, hashed): (u64, &impl Fn(&K) -> u64),
        place: Place,
    ) where
        K: Clone,
        V: Clone,
    {
        if let Some(before) = &self.before {
            self.settle_slot(tx, label, (before, before.index(hash)), hashed, place);
        }
    }

    #[track_caller]
    fn settle_slot(
        &self,
        tx: &Transaction,
        label: Label,
        (before, at): (&Table<K, V>, usize),
        hashed: &impl Fn(&K) -> u64,
        place: Place,
    ) where
        K: Clone,
        V: Clone,
    {
        let from = before.slots.at(at);
        let mut entries = Vec::new();
        Self::gather(tx, tx.read(from, place), hashed, place, &mut entries);
        let born = Some(Transaction::newest_version());
        let slots = slots(label, (before.bits, GROWTH_BITS), entries, born);
        for (n, slot) in slots.into_iter().enumerate() {
            let slot = slot.unwrap_or_else(|| Slot::empty(Kind::NONE).into());
            tx.write(self.table.slots.at(at * GROWTH + n), slot);
        }
        tx.write(from, Slot::empty(Kind::NONE));
        self.left.add(tx, -1);
    }
}

/// Puts a larger root into the place of one that is crowded, if all has moved to that one; else
/// moves some more.
#[track_caller]
pub(super) fn grow<K, V>(
    tx: &Transaction,
    cell: &TVar<Root<K, V>>,
    label: Label,
    (hash, hashed): (u64, &impl Fn(&K) -> u64),
    place: Place,
) where
    K: Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let root = tx.read(cell.kept(), place);
    let table = &root.table;
    if table.bits >= MOST_BITS || !table.is_crowded(tx, hash) {
        return;
    }
    if let Some(before) = &root.before
        && root.left.get(tx) > 0
    {
        let first = before.index(hash);
        let all = (0..before.size().min(SEARCHED)).map(|n| (first + n) % before.size());
        let stays =
            |at: &usize| matches!(tx.peek(table.slots.at(at * GROWTH)).head(), Kind::Before);
        // A peek is enough: whoever moves a slot reads it and empties it.
        for at in all.filter(stays).take(MOVED) {
            root.settle_slot(tx, label, (before, at), hashed, place);
        }
        return;
    }
    let bits = table.bits + GROWTH_BITS;
    let born = Some(Transaction::newest_version());
    let slots = Cells::alike(label, 1 << bits, Slot::empty(Kind::Before), born);
    tx.set(cell, Root::with(label, Table { slots, bits }, Some(Arc::clone(table))));
}

/// The tags of a slot that is no node.
#[inline]
fn tags<K: Send + Sync + 'static, V: Send + Sync + 'static>(slot: &Slot<K, V>) -> Tags {
    match slot.head() {
        Kind::Leaf(tags) => *tags,
        Kind::Branch(_) | Kind::Before => Tags::NONE,
    }
}

/// Whether a key of this hash is in a slot, and where.
#[inline]
fn position<K, V, Q>(slot: &Slot<K, V>, hash: u64, key: &Q) -> Option<usize>
where
    K: Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Eq + ?Sized,
{
    let Kind::Leaf(tags) = slot.head() else { return None };
    let entries = slot.entries();
    let is_it = |at: usize| entries.get(at).is_some_and(|entry| entry.0.borrow() == key);
    tags.find(entries.len(), hash, is_it)
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Found<'_, K, V> {
    /// Whether a key of this hash is there, and where.
    #[inline]
    pub(super) fn position<Q>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        position(self.slot, hash, key)
    }
}

impl<K: Clone + Send + Sync + 'static, V: Clone + Send + Sync + 'static> Found<'_, K, V> {
    /// What the slot holds with another entry instead of the one at `at`.
    pub(super) fn with(&self, at: usize, new: (K, V)) -> Boxed<Slot<K, V>> {
        let (entries, mut new) = (self.slot.entries().iter().enumerate(), Some(new));
        let entry = |(n, old): (usize, &(K, V))| match n == at {
            true => new.take().unwrap_or_else(|| old.clone()),
            false => old.clone(),
        };
        leaf(tags(self.slot), entries.map(entry))
    }

    /// What the slot holds with one entry more; and whether it is a node now.
    pub(super) fn beside(
        &self,
        label: Label,
        new: Entry<K, V>,
        hashed: &impl Fn(&K) -> u64,
    ) -> (Boxed<Slot<K, V>>, bool) {
        let entries = self.slot.entries();
        let at = entries.partition_point(|(key, _)| hashed(key) <= new.0);
        if entries.len() < Kind::<K, V>::capacity(self.bits) {
            let (tags, mut new) = (tags(self.slot).with(at, new.0), Some((new.1, new.2)));
            let entry = |n: usize| match n == at {
                true => new.take().unwrap_or_else(|| unreachable!("there is one such place")),
                false => entries[n - usize::from(n > at)].clone(),
            };
            return (leaf(tags, (0..entries.len() + 1).map(entry)), false);
        }
        let hash = |(key, value): &(K, V)| (hashed(key), key.clone(), value.clone());
        let mut entries: Vec<_> = entries.iter().map(hash).collect();
        entries.insert(at, new);
        // What is made here is come upon only through what this transaction will write.
        (Kind::of(label, self.bits, entries, Some(Transaction::newest_version())), true)
    }
}

/// Takes a key out of a slot, to which so many bits lead, and of those below it; and counts it.
#[track_caller]
pub(super) fn take<'t, K, V, Q>(
    tx: &'t Transaction,
    (cell, bits): (CellOf<'t, Slot<K, V>>, u32),
    (hash, key): (u64, &Q),
    len: &TCounter,
    place: Place,
) -> Option<&'t V>
where
    K: Borrow<Q> + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    Q: Eq + ?Sized,
{
    let slot = tx.read(cell, place);
    if let Kind::Branch(below) = slot.head() {
        let next = below.at(index(hash, bits, NODE_BITS));
        let value = take(tx, (next, bits + NODE_BITS), (hash, key), len, place)?;
        if let Some(rest) = rest(tx, below, Kind::<K, V>::capacity(bits), place) {
            tx.write(cell, rest);
        }
        return Some(value);
    }
    let entries = slot.entries();
    let at = position(slot, hash, key)?;
    let others = (0..entries.len() - 1).map(|n| entries[n + usize::from(n >= at)].clone());
    tx.write(cell, leaf(tags(slot).without(at), others));
    // Before code of a user's runs, which may panic.
    len.add(tx, -1);
    Some(&entries[at].1)
}

/// What could stand in place of a node, if it has few keys for a slot of this capacity. Only then
/// all of it is remembered as read.
fn rest<K, V>(
    tx: &Transaction,
    node: &Cells<Slot<K, V>>,
    capacity: usize,
    place: Place,
) -> Option<Boxed<Slot<K, V>>>
where
    K: Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let slots = || (0..1 << NODE_BITS).map(|at| node.at(at));
    // Not as soon as they fit: the next one that comes would open the node again.
    let (most, mut count) = (capacity.div_ceil(2), 0);
    for slot in slots() {
        let slot = tx.peek(slot);
        if let Kind::Branch(_) = slot.head() {
            return None;
        }
        count += slot.entries().len();
        if count > most {
            return None;
        }
    }
    let (mut all, mut rest) = (Tags::NONE, Vec::new());
    for slot in slots().map(|slot| tx.read(slot, place)) {
        let entries = slot.entries();
        all = all.and(rest.len(), tags(slot), entries.len());
        rest.extend_from_slice(entries);
    }
    Some(leaf(all, rest.into_iter()))
}

/// Where an iteration is in a row of slots.
struct Row<'v, K: Send + Sync + 'static, V: Send + Sync + 'static> {
    slots: &'v Cells<Slot<K, V>>,
    at: usize,
    end: usize,
    /// The table before, if the slots are those of a table that has one.
    before: Option<&'v Table<K, V>>,
}

/// All entries, in the order of their hashes.
pub(super) fn walk<'v, K: Send + Sync + 'static, V: Send + Sync + 'static>(
    view: &'v impl Read,
    root: &'v TVar<Root<K, V>>,
    place: Place,
) -> impl Iterator<Item = &'v (K, V)> {
    let (mut state, mut bits) = (view.state(), 0);
    let mut row_of = move |at: usize| {
        let Root { table, before, .. } = view.read(root.kept(), place);
        // None is left of those before in a root that has become smaller.
        let more = table.bits.checked_sub(std::mem::replace(&mut bits, table.bits))?;
        let (at, before) = (at << more, before.as_deref());
        Some(Row { slots: &table.slots, at, end: table.size(), before })
    };
    let (mut path, mut few): (Vec<_>, _) = (row_of(0).into_iter().collect(), [].iter());
    std::iter::from_fn(move || {
        loop {
            if let Some(entry) = few.next() {
                return Some(entry);
            }
            if let [all] = &path[..]
                && view.state() != state
            {
                // The keys that follow may be in another table by now.
                state = view.state();
                path = row_of(all.at).into_iter().collect();
            }
            let row = path.last_mut()?;
            if row.at == row.end {
                path.pop();
                continue;
            }
            let at = row.at;
            row.at += 1;
            let slot = view.read(row.slots.at(at), place);
            match (slot.head(), row.before) {
                (Kind::Branch(slots), _) => {
                    path.push(Row { slots, at: 0, end: 1 << NODE_BITS, before: None });
                }
                (Kind::Before, Some(Table { slots, .. })) => {
                    // Those that take the place of one slot there are not here together.
                    row.at = at + GROWTH;
                    let at = at / GROWTH;
                    path.push(Row { slots, at, end: at + 1, before: None });
                }
                _ => few = slot.entries().iter(),
            }
        }
    })
}
