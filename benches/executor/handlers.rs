//! The handlers: each written on plain numbers, for the loop and the locks, and on cells.

use crate::Mutex;
use std::sync::{Arc, PoisonError};
use txloop::{Snapshot, TCounter, TVar, Transaction};

/// Cells that a [`Look`] reads.
pub(crate) const READS: usize = 10;

/// Chance is a hash (splitmix64) of a number, so that all runs have the same handlers.
pub(crate) fn hash(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

/// The body of a handler: every step (xorshift) needs the one before. Not inlined, so that all
/// contenders run the same machine code.
#[inline(never)]
pub(crate) fn compute(seed: u64, steps: u32) -> u64 {
    // Not zero, which xorshift would never leave, for any number that occurs.
    let mut x = seed ^ 0x9E37_79B9_7F4A_7C15;
    for _ in 0..steps {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    x
}

/// A transactional number.
pub(crate) trait Cell: Send + Sync + 'static {
    fn holding(value: u64) -> Self;
    fn value(&self, snapshot: &Snapshot) -> u64;
}

impl Cell for TVar<u64> {
    fn holding(value: u64) -> Self {
        TVar::new(value)
    }

    fn value(&self, snapshot: &Snapshot) -> u64 {
        *snapshot.get(self)
    }
}

impl Cell for TCounter {
    fn holding(value: u64) -> Self {
        TCounter::new(value as i64)
    }

    fn value(&self, snapshot: &Snapshot) -> u64 {
        self.get(snapshot) as u64
    }
}

/// Work that answers with a checksum.
pub(crate) trait Handler: Copy + Send + Sync + 'static {
    type Cell: Cell;
    /// The cells in the closure of a transaction.
    type Captured: Send + Sync + 'static;

    fn capture(&self, cells: &Arc<[Self::Cell]>) -> Self::Captured;
    fn plain(&self, cells: &mut [u64]) -> u64;
    fn transact(&self, captured: &Self::Captured, tx: &Transaction) -> u64;
}

/// Reads a cell, computes, and writes it with one more.
#[derive(Clone, Copy)]
pub(crate) struct Increment {
    pub(crate) cell: u32,
    pub(crate) steps: u32,
}

impl Handler for Increment {
    type Cell = TVar<u64>;
    type Captured = TVar<u64>;

    fn capture(&self, cells: &Arc<[TVar<u64>]>) -> TVar<u64> {
        cells[self.cell as usize].clone()
    }

    fn plain(&self, cells: &mut [u64]) -> u64 {
        let cell = &mut cells[self.cell as usize];
        let answer = compute(*cell, self.steps);
        *cell = cell.wrapping_add(1);
        answer
    }

    fn transact(&self, cell: &TVar<u64>, tx: &Transaction) -> u64 {
        let old = *tx.get(cell);
        let answer = compute(old, self.steps);
        tx.set(cell, old.wrapping_add(1));
        answer
    }
}

/// Computes, then counts itself on the counter of all.
#[derive(Clone, Copy)]
pub(crate) struct Count {
    pub(crate) seed: u64,
    pub(crate) steps: u32,
}

impl Handler for Count {
    type Cell = TCounter;
    type Captured = TCounter;

    fn capture(&self, cells: &Arc<[TCounter]>) -> TCounter {
        cells[0].clone()
    }

    fn plain(&self, cells: &mut [u64]) -> u64 {
        let answer = compute(self.seed, self.steps);
        cells[0] += 1;
        answer
    }

    fn transact(&self, counter: &TCounter, tx: &Transaction) -> u64 {
        let answer = compute(self.seed, self.steps);
        counter.add(tx, 1);
        answer
    }
}

/// Only reads some cells and computes, or is an [`Increment`].
#[derive(Clone, Copy)]
pub(crate) enum Look {
    Only { at: [u32; READS], steps: u32 },
    AndWrite(Increment),
}

impl Handler for Look {
    type Cell = TVar<u64>;
    // Not a handle for each cell: it would cost more to drop all of them than to read.
    type Captured = Arc<[TVar<u64>]>;

    fn capture(&self, cells: &Self::Captured) -> Self::Captured {
        Arc::clone(cells)
    }

    fn plain(&self, cells: &mut [u64]) -> u64 {
        match self {
            Look::Only { at, steps } => {
                let values = at.iter().map(|&i| cells[i as usize]);
                compute(values.fold(0, u64::wrapping_add), *steps)
            }
            Look::AndWrite(increment) => increment.plain(cells),
        }
    }

    fn transact(&self, cells: &Self::Captured, tx: &Transaction) -> u64 {
        match self {
            Look::Only { at, steps } => {
                let values = at.iter().map(|&i| *tx.get(&cells[i as usize]));
                compute(values.fold(0, u64::wrapping_add), *steps)
            }
            Look::AndWrite(increment) => increment.transact(&cells[increment.cell as usize], tx),
        }
    }
}

/// Moves an amount between two accounts; without sufficient funds it leaves both alone.
#[derive(Clone, Copy)]
pub(crate) struct Transfer {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) amount: u64,
    pub(crate) steps: u32,
}

impl Transfer {
    /// The new balances, if it is to be done, and the answer.
    fn decide(&self, from: u64, to: u64) -> (Option<[u64; 2]>, u64) {
        let checksum = compute(from ^ to.rotate_left(32), self.steps);
        let rest = from.checked_sub(self.amount);
        (rest.map(|rest| [rest, to + self.amount]), checksum ^ u64::from(rest.is_some()))
    }

    /// With a lock on each of the two accounts, taken in the order of their numbers.
    pub(crate) fn locked(&self, accounts: &[Mutex<u64>]) -> u64 {
        let lock = |i: u32| accounts[i as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let (mut low, mut high) = (lock(self.from.min(self.to)), lock(self.from.max(self.to)));
        let [from, to] =
            if self.from < self.to { [&mut *low, &mut *high] } else { [&mut *high, &mut *low] };
        let (balances, answer) = self.decide(*from, *to);
        if let Some(balances) = balances {
            [*from, *to] = balances;
        }
        answer
    }
}

impl Handler for Transfer {
    type Cell = TVar<u64>;
    type Captured = [TVar<u64>; 2];

    fn capture(&self, cells: &Arc<[TVar<u64>]>) -> [TVar<u64>; 2] {
        [self.from, self.to].map(|i| cells[i as usize].clone())
    }

    fn plain(&self, cells: &mut [u64]) -> u64 {
        let (from, to) = (self.from as usize, self.to as usize);
        let (balances, answer) = self.decide(cells[from], cells[to]);
        if let Some(balances) = balances {
            [cells[from], cells[to]] = balances;
        }
        answer
    }

    fn transact(&self, [from, to]: &[TVar<u64>; 2], tx: &Transaction) -> u64 {
        let (balances, answer) = self.decide(*tx.get(from), *tx.get(to));
        if let Some(balances) = balances {
            tx.set(from, balances[0]);
            tx.set(to, balances[1]);
        }
        answer
    }
}
