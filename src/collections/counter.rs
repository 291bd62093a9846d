//! [`TCounter`]: a number that many handlers change without conflicts.

use crate::cell::{TVar, folds::Merge, labels::Label};
use crate::transaction::{Read, Transaction};

/// A number that handlers add to without reading it, so that they do not conflict.
///
/// An addition is made when the handler commits, to whatever the number is then. A handler that
/// *reads* the counter conflicts with all that change it, like any reader of a cell.
///
/// # Conflict unit
/// The counter. Additions do not conflict with each other.
///
/// # Cost
/// O(1) each; an addition is a write of a cell.
///
/// # Examples
/// ```
/// use txloop::{TCounter, atomically};
///
/// let hits = TCounter::named("hits", 0);
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| atomically(|tx| hits.add(tx, 10)));
///     }
/// });
/// assert_eq!(atomically(|tx| hits.get(tx)), 40);
/// ```
#[derive(Debug, Clone)]
pub struct TCounter(TVar<i64>);

struct Sum;

impl Merge for Sum {
    type Value = i64;

    fn merge(old: i64, operand: i64) -> i64 {
        old.wrapping_add(operand)
    }
}

impl TCounter {
    /// A counter that begins at `value`.
    #[must_use]
    pub fn new(value: i64) -> Self {
        Self(TVar::new(value))
    }

    /// The same, with a name for the conflict log.
    #[must_use]
    pub fn named(name: &'static str, value: i64) -> Self {
        Self(TVar::named(name, value))
    }

    pub(super) fn labelled(label: Label, value: i64) -> Self {
        Self(TVar::labelled(label, value))
    }

    /// Adds `n`, which may be negative; wraps around at the ends of `i64`.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot).
    ///
    /// # Re-run
    /// Never the cause of one, unless the same handler reads the counter.
    #[inline]
    #[track_caller]
    pub fn add(&self, tx: &Transaction, n: i64) {
        tx.merge::<Sum>(&self.0, n);
    }

    /// The number, this transaction's own additions included.
    ///
    /// # Re-run
    /// In a transaction it is remembered as read, and every addition of others is a conflict.
    #[track_caller]
    pub fn get(&self, view: &impl Read) -> i64 {
        *view.get(&self.0)
    }

    /// Replaces the number.
    ///
    /// # Panics
    /// As [`TCounter::add`].
    ///
    /// # Re-run
    /// As a write of a cell: it does not read.
    #[track_caller]
    pub fn set(&self, tx: &Transaction, value: i64) {
        tx.set(&self.0, value);
    }
}

impl Default for TCounter {
    /// Zero.
    fn default() -> Self {
        Self::new(0)
    }
}
