//! [`TSemaphore`]: a number of permits.

use super::counter::TCounter;
use crate::transaction::{Read, Transaction};

/// A number of permits that handlers take and give back: seats, connections, stock.
///
/// A handler that takes permits and is not committed has taken none. Nothing gives them back by
/// itself: what one handler takes, another one gives back.
///
/// A clone is another handle to the same permits.
///
/// # Conflict unit
/// The number. To take permits is to read and write it; to give them back is to add to it, so that
/// those who give back do not conflict with each other.
///
/// # Cost
/// O(1) each.
///
/// # Examples
/// ```
/// use txloop::{TSemaphore, atomically};
///
/// let seats = TSemaphore::named("seats", 2);
/// assert!(atomically(|tx| seats.try_acquire(tx, 2)));
/// assert!(!atomically(|tx| seats.try_acquire(tx, 1)));
/// atomically(|tx| seats.release(tx, 1));
/// atomically(|tx| seats.acquire(tx, 1));
/// assert_eq!(atomically(|tx| seats.available(tx)), 0);
/// ```
#[derive(Debug, Clone)]
pub struct TSemaphore(TCounter);

impl TSemaphore {
    /// The most permits that one call takes or gives, and that [`TSemaphore::available`] tells of.
    pub const MAX_PERMITS: u32 = u32::MAX;

    /// So many permits.
    #[must_use]
    pub fn new(permits: u32) -> Self {
        Self(TCounter::new(permits.into()))
    }

    /// The same, with a name for the conflict log.
    #[must_use]
    pub fn named(name: &'static str, permits: u32) -> Self {
        Self(TCounter::named(name, permits.into()))
    }

    /// How many permits are left; at most [`TSemaphore::MAX_PERMITS`].
    ///
    /// # Re-run
    /// In a transaction every change by others is a conflict.
    #[track_caller]
    pub fn available(&self, view: &impl Read) -> u32 {
        u32::try_from(self.0.get(view)).unwrap_or(Self::MAX_PERMITS)
    }

    /// Takes permits if there are so many, and says whether it did.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), if there are so many.
    ///
    /// # Re-run
    /// As [`TSemaphore::available`].
    #[track_caller]
    pub fn try_acquire(&self, tx: &Transaction, permits: u32) -> bool {
        let enough = self.available(tx) >= permits;
        if enough {
            self.0.add(tx, -i64::from(permits));
        }
        enough
    }

    /// Takes permits; waits, with [`Transaction::retry`], while there are not so many.
    ///
    /// # Panics
    /// As [`Transaction::retry`].
    ///
    /// # Re-run
    /// As [`TSemaphore::available`].
    #[track_caller]
    pub fn acquire(&self, tx: &Transaction, permits: u32) {
        if !self.try_acquire(tx, permits) {
            tx.retry();
        }
    }

    /// Gives permits back, or adds new ones.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot).
    ///
    /// # Re-run
    /// Never the cause of one, unless the same handler reads the number.
    #[track_caller]
    pub fn release(&self, tx: &Transaction, permits: u32) {
        self.0.add(tx, permits.into());
    }
}
