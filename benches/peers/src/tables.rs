//! A map made of cells, of keys that are numbers and have no values: a table of fixed size with
//! open addressing.

use crate::{
    access::{Access, Backend, Dump, Job},
    maps::Map,
};

/// Slots, each a cell: a power of two, about two fifths of them used with 100,000 keys.
pub(crate) const SLOTS: usize = 1 << 18;

/// What a cell holds: nothing yet, or a key and whether it is there. The slot of a key that is
/// removed stays its own, so that no search has to go around what was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot(i64);

impl Slot {
    const UNUSED: Self = Self(0);

    #[inline]
    fn of(key: u64, is_there: bool) -> Self {
        Self((key as i64 + 1) << 1 | i64::from(is_there))
    }

    #[inline]
    fn key(self) -> u64 {
        ((self.0 >> 1) - 1) as u64
    }

    #[inline]
    fn is_there(self) -> bool {
        self.0 & 1 == 1
    }
}

/// The cell that is a key's, and what it holds.
#[inline]
fn find<A: Access>(cells: &mut A, key: u64) -> Result<(usize, Slot), A::Stop> {
    // Fibonacci hashing, Knuth, The Art of Computer Programming, 6.4.
    let mut at = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.ilog2())) as usize;
    for _ in 0..SLOTS {
        let slot = Slot(cells.get(at)?);
        if slot == Slot::UNUSED || slot.key() == key {
            return Ok((at, slot));
        }
        at = (at + 1) % SLOTS;
    }
    panic!("more keys than slots");
}

/// Whether a key is there.
#[derive(Debug, Clone, Copy)]
struct Look(u64);

impl Job for Look {
    type Answer = bool;

    #[inline]
    fn run<A: Access>(&self, cells: &mut A) -> Result<bool, A::Stop> {
        Ok(find(cells, self.0)?.1.is_there())
    }
}

/// Whether a key was there, which it is or is not from now on.
#[derive(Debug, Clone, Copy)]
struct Put {
    key: u64,
    is_there: bool,
}

impl Job for Put {
    type Answer = bool;

    #[inline]
    fn run<A: Access>(&self, cells: &mut A) -> Result<bool, A::Stop> {
        let (at, slot) = find(cells, self.key)?;
        if slot.is_there() != self.is_there {
            cells.set(at, Slot::of(self.key, self.is_there).0)?;
        }
        Ok(slot.is_there())
    }
}

/// The table on the cells of a backend.
pub(crate) struct Table<B>(B);

impl<B: Backend> Map for Table<B> {
    const NAME: &'static str = B::NAME;

    fn new(keys: &[u64]) -> Self {
        let table = Self(B::new(&vec![Slot::UNUSED.0; SLOTS]));
        keys.iter().for_each(|&key| assert!(table.insert(key)));
        table
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.look(&Look(key)).then_some(key)
    }

    #[inline]
    fn insert(&self, key: u64) -> bool {
        !self.0.run(&Put { key, is_there: true })
    }

    #[inline]
    fn remove(&self, key: u64) -> bool {
        self.0.run(&Put { key, is_there: false })
    }

    fn total(&self) -> (u64, u64) {
        let slots = self.0.look(&Dump { cells: SLOTS }).into_iter().map(Slot);
        let there = slots.filter(|slot| slot.is_there());
        there.fold((0, 0), |(count, sum), slot| (count + 1, sum + slot.key()))
    }
}
