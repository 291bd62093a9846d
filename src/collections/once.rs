//! [`TOnce`]: a value that is set once.

use crate::cell::TVar;
use crate::transaction::{Read, Transaction};
use std::fmt;

/// A value that is set once, and that handlers can wait for.
///
/// A clone is another handle to the same value.
///
/// # Conflict unit
/// The value. Once it is set nobody writes it any more, and nobody who reads it conflicts.
///
/// # Cost
/// O(1) each.
///
/// # Examples
/// ```
/// use txloop::{TOnce, atomically};
///
/// let winner = TOnce::named("winner");
/// assert_eq!(atomically(|tx| winner.get(tx).copied()), None);
/// assert_eq!(atomically(|tx| winner.set(tx, "ada")), Ok(()));
/// assert_eq!(atomically(|tx| winner.set(tx, "bob")), Err("bob"));
/// assert_eq!(atomically(|tx| *winner.wait(tx)), "ada");
/// ```
pub struct TOnce<T: Send + Sync + 'static>(TVar<Option<T>>);

impl<T: Send + Sync + 'static> TOnce<T> {
    /// Without a value.
    #[must_use]
    pub fn new() -> Self {
        Self(TVar::new(None))
    }

    /// The same, with a name for the conflict log.
    #[must_use]
    pub fn named(name: &'static str) -> Self {
        Self(TVar::named(name, None))
    }

    /// The value, if there is one.
    ///
    /// # Re-run
    /// If somebody who comes earlier in the serial order sets it, the handler is run again.
    #[track_caller]
    pub fn get<'v>(&self, view: &'v impl Read) -> Option<&'v T> {
        view.get(&self.0).as_ref()
    }

    /// Sets the value.
    ///
    /// # Errors
    /// Gives the value back if there is one already.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), if there is none.
    ///
    /// # Re-run
    /// As [`TOnce::get`].
    #[track_caller]
    pub fn set(&self, tx: &Transaction, value: T) -> Result<(), T> {
        if self.get(tx).is_some() {
            return Err(value);
        }
        tx.set(&self.0, Some(value));
        Ok(())
    }

    /// The value, which is set to what `f` gives if there is none.
    ///
    /// # Panics
    /// As [`TOnce::set`]. If `f` panics, nothing is set. If `f` sets it, too.
    ///
    /// # Re-run
    /// As [`TOnce::get`].
    #[track_caller]
    pub fn get_or_init<'t>(&self, tx: &'t Transaction, f: impl FnOnce() -> T) -> &'t T {
        if let Some(value) = self.get(tx) {
            return value;
        }
        let value = f();
        assert!(self.get(tx).is_none(), "a `TOnce` was set by what was to make its value");
        tx.set(&self.0, Some(value));
        self.get(tx).expect("just set")
    }

    /// The value; waits, with [`Transaction::retry`], while there is none.
    ///
    /// # Panics
    /// As [`Transaction::retry`].
    ///
    /// # Re-run
    /// When it is set.
    #[track_caller]
    pub fn wait<'t>(&self, tx: &'t Transaction) -> &'t T {
        let Some(value) = self.get(tx) else { tx.retry() };
        value
    }
}

impl<T: Send + Sync + 'static> Clone for TOnce<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + Sync + 'static> Default for TOnce<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for TOnce<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TOnce").field(&self.0).finish()
    }
}
