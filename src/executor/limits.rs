//! When new work is refused, and how often it was.

use crate::cell::store::STORE;
use crate::sync::{AtomicU64, Ordering};

/// The limits of an executor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) under_way: usize,
    pub(crate) input_bytes: usize,
    pub(crate) kept_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { under_way: 100_000, input_bytes: 256 << 20, kept_bytes: 1 << 30 }
    }
}

/// One of the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    UnderWay,
    InputBytes,
    KeptBytes,
}

impl Limits {
    /// The limit that is reached with so much under way, if one is.
    pub(super) fn reached(&self, under_way: usize, input_bytes: usize) -> Option<Limit> {
        if under_way >= self.under_way {
            Some(Limit::UnderWay)
        } else if input_bytes >= self.input_bytes {
            Some(Limit::InputBytes)
        } else if STORE.memory().bytes() > self.kept_bytes {
            Some(Limit::KeptBytes)
        } else {
            None
        }
    }
}

/// How many transactions were refused, by the limit that was reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// Of [`ExecutorBuilder::max_under_way`](crate::ExecutorBuilder::max_under_way).
    pub under_way: u64,
    /// Of [`ExecutorBuilder::max_input_bytes`](crate::ExecutorBuilder::max_input_bytes).
    pub input_bytes: u64,
    /// Of [`ExecutorBuilder::max_kept_bytes`](crate::ExecutorBuilder::max_kept_bytes).
    pub kept_bytes: u64,
}

/// The same while it goes on.
#[derive(Debug, Default)]
pub(super) struct Refusals([AtomicU64; 3]);

impl Refusals {
    pub(super) fn note(&self, limit: Limit) {
        // Relaxed, here and below: a statistic.
        self.0[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn shown(&self) -> Refused {
        let [under_way, input_bytes, kept_bytes] =
            std::array::from_fn(|i| self.0[i].load(Ordering::Relaxed));
        Refused { under_way, input_bytes, kept_bytes }
    }
}
