//! [`TLog`]: a list that many handlers append to without conflicts.

use crate::cell::{
    TVar,
    folds::Step,
    kept::{self, Kept},
    labels::Label,
};
use crate::transaction::{Read, Transaction};
use std::{fmt, sync::Arc};

/// A list that handlers append to without reading it, so that they do not conflict.
///
/// Entries come in the serial order of the handlers that appended them. Nothing is copied: an entry
/// is put in front of a shared tail. The list grows until it is cleared.
///
/// # Conflict unit
/// The whole list. Appends do not conflict with each other; a handler that reads the list conflicts
/// with all of them.
///
/// # Cost
/// [`TLog::push`], [`TLog::len`], [`TLog::oldest`] and [`TLog::clear`]: O(1). [`TLog::extend`]:
/// O(n). What is appended is linked when the handler commits, while other commits wait: less of
/// that for entries of one `extend` than for as many that are pushed one by one. Reading goes from
/// the newest entry back, O(1) each.
///
/// # Examples
/// ```
/// use txloop::{TLog, atomically, snapshot};
///
/// let log = TLog::named("audit");
/// atomically(|tx| {
///     log.push(tx, "first");
///     log.push(tx, "second");
/// });
/// snapshot(|s| {
///     assert_eq!(log.len(s), 2);
///     assert!(log.newest_first(s).eq([&"second", &"first"]));
///     assert_eq!(log.oldest(s), Some(&"first"));
/// });
/// ```
pub struct TLog<T: Send + Sync + 'static>(TVar<List<T>>);

struct List<T> {
    len: u64,
    newest: Option<Arc<Entry<T>>>,
    /// The value of the entry at the other end.
    oldest: Option<Arc<T>>,
}

struct Entry<T> {
    value: Arc<T>,
    older: Option<Arc<Entry<T>>>,
}

impl<T> List<T> {
    const EMPTY: Self = Self { len: 0, newest: None, oldest: None };
}

impl<T: Send + Sync + 'static> Kept for List<T> {
    fn text(&self) -> Option<String> {
        let newest = self.newest.as_ref().and_then(|entry| kept::of_user(&*entry.value));
        newest.map(|newest| format!("{} up to {newest}", self.len))
    }
}

/// Appends entries.
struct Push<V>(V);

impl<T: Send + Sync + 'static, V: AsRef<[Arc<T>]> + Send + Sync> Step<List<T>> for Push<V> {
    fn take(&self, list: &List<T>) -> List<T> {
        let values = self.0.as_ref();
        let oldest = list.oldest.as_ref().or(values.first()).map(Arc::clone);
        let newest = values
            .iter()
            .map(Arc::clone)
            .fold(list.newest.clone(), |older, value| Some(Arc::new(Entry { value, older })));
        List { len: list.len + values.len() as u64, newest, oldest }
    }

    fn text(&self) -> Option<String> {
        kept::list(self.0.as_ref(), |value| kept::of_user(&**value))
    }
}

impl<T> Drop for Entry<T> {
    /// Goes down the list in a loop: by recursion a long one would overflow the stack.
    fn drop(&mut self) {
        let mut next = self.older.take();
        while let Some(mut entry) = next.and_then(Arc::into_inner) {
            next = entry.older.take();
        }
    }
}

impl<T: Send + Sync + 'static> TLog<T> {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::labelled(Label::NONE)
    }

    /// The same, with a name for the conflict log.
    #[must_use]
    pub fn named(name: &'static str) -> Self {
        Self::labelled(Label::of(name))
    }

    pub(super) fn labelled(label: Label) -> Self {
        Self(TVar::labelled(label, List::EMPTY))
    }

    /// Appends an entry.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot).
    ///
    /// # Re-run
    /// Never the cause of one, unless the same handler reads the list.
    #[track_caller]
    pub fn push(&self, tx: &Transaction, value: T) {
        tx.later(&self.0, Push([Arc::new(value)]));
    }

    /// Appends entries, in this order.
    ///
    /// # Panics
    /// As [`TLog::push`].
    ///
    /// # Re-run
    /// As [`TLog::push`].
    #[track_caller]
    pub fn extend(&self, tx: &Transaction, values: impl IntoIterator<Item = T>) {
        let values: Vec<_> = values.into_iter().map(Arc::new).collect();
        if !values.is_empty() {
            tx.later(&self.0, Push(values));
        }
    }

    /// Removes all entries.
    ///
    /// # Panics
    /// As [`TLog::push`].
    ///
    /// # Re-run
    /// As a write of a cell: it does not read.
    #[track_caller]
    pub fn clear(&self, tx: &Transaction) {
        tx.write(self.0.kept(), List::EMPTY);
    }

    /// Takes the newest entry.
    #[track_caller]
    pub(super) fn pop<'t>(&self, tx: &'t Transaction) -> Option<&'t T> {
        let list = tx.get(&self.0);
        let entry = list.newest.as_deref()?;
        let newest = entry.older.clone();
        let oldest = list.oldest.clone().filter(|_| newest.is_some());
        tx.write(self.0.kept(), List { len: list.len - 1, newest, oldest });
        Some(&entry.value)
    }

    /// Takes all entries of another list, so that its oldest is the newest here; this one is empty.
    #[track_caller]
    pub(super) fn take_over(&self, tx: &Transaction, other: &Self) {
        let list = tx.get(&other.0);
        let oldest = list.newest.as_ref().map(|entry| Arc::clone(&entry.value));
        let (mut from, mut newest) = (list.newest.as_deref(), None);
        while let Some(entry) = from {
            newest = Some(Arc::new(Entry { value: Arc::clone(&entry.value), older: newest }));
            from = entry.older.as_deref();
        }
        if newest.is_some() {
            tx.write(self.0.kept(), List { len: list.len, newest, oldest });
            tx.write(other.0.kept(), List::EMPTY);
        }
    }

    /// How many entries there are.
    ///
    /// # Re-run
    /// In a transaction it is remembered as read, and every append of others is a conflict.
    #[track_caller]
    pub fn len(&self, view: &impl Read) -> u64 {
        view.get(&self.0).len
    }

    /// Whether there are none.
    ///
    /// # Re-run
    /// As [`TLog::len`].
    #[track_caller]
    pub fn is_empty(&self, view: &impl Read) -> bool {
        self.len(view) == 0
    }

    /// The oldest entry.
    ///
    /// # Re-run
    /// As [`TLog::len`].
    #[track_caller]
    pub fn oldest<'a>(&self, view: &'a impl Read) -> Option<&'a T> {
        view.get(&self.0).oldest.as_deref()
    }

    /// The entries, newest first.
    ///
    /// # Re-run
    /// As [`TLog::len`].
    #[track_caller]
    pub fn newest_first<'a>(&self, view: &'a impl Read) -> NewestFirst<'a, T> {
        NewestFirst(view.get(&self.0).newest.as_deref())
    }
}

impl<T: Send + Sync + 'static> Clone for TLog<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + Sync + 'static> Default for TLog<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for TLog<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TLog").field(&self.0).finish()
    }
}

/// The entries of a [`TLog`], newest first.
pub struct NewestFirst<'a, T>(Option<&'a Entry<T>>);

impl<'a, T> Iterator for NewestFirst<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        let entry = self.0?;
        self.0 = entry.older.as_deref();
        Some(&entry.value)
    }
}

impl<T> fmt::Debug for NewestFirst<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewestFirst")
    }
}
