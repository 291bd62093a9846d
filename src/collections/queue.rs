//! [`TQueue`]: first in, first out, with ends that do not get in each other's way.

use super::append_log::TLog;
use crate::cell::labels::Label;
use crate::transaction::{Read, Transaction};
use std::fmt;

/// A queue that handlers push to and pop from.
///
/// A clone is another handle to the same queue. It grows until it is popped from: where that may
/// not keep up, begin with `tx.guard(queue.len(tx) < limit)`, or answer that there is too much to
/// do.
///
/// # Conflict unit
/// Each end. Pushes conflict neither with each other nor with pops, except with the one pop, once
/// for all elements that were pushed since the last time, that finds the front empty and takes over
/// the back. Pops conflict with each other.
///
/// # Cost
/// [`TQueue::push`], [`TQueue::len`], [`TQueue::peek`]: O(1). [`TQueue::extend`]: O(n), at commit:
/// see [`TLog`]. [`TQueue::pop`]: O(1), amortized; the one that takes the back over, O(n), and run
/// again if somebody pushes meanwhile. [`TQueue::iter`]: O(1) for each element, but for the first
/// one that was pushed since the back was last taken over: O(n), since a view moves nothing.
///
/// # Examples
/// ```
/// use txloop::{TQueue, atomically};
///
/// let jobs = TQueue::named("jobs");
/// atomically(|tx| ["wash", "dry"].map(|job| jobs.push(tx, job)));
/// assert_eq!(atomically(|tx| *jobs.take(tx)), "wash");
/// assert_eq!(atomically(|tx| jobs.pop(tx).copied()), Some("dry"));
/// assert!(atomically(|tx| jobs.is_empty(tx)));
/// ```
pub struct TQueue<T: Send + Sync + 'static> {
    /// The next to be popped is its newest entry.
    front: TLog<T>,
    back: TLog<T>,
}

impl<T: Send + Sync + 'static> TQueue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::labelled(Label::NONE)
    }

    /// The same, with a name for the conflict log.
    #[must_use]
    pub fn named(name: &'static str) -> Self {
        Self::labelled(Label::of(name))
    }

    fn labelled(label: Label) -> Self {
        Self { front: TLog::labelled(label), back: TLog::labelled(label) }
    }

    /// Adds an element behind all others.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot).
    ///
    /// # Re-run
    /// Never the cause of one, unless the same handler looks at the queue.
    #[track_caller]
    pub fn push(&self, tx: &Transaction, value: T) {
        self.back.push(tx, value);
    }

    /// Adds elements behind all others.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot).
    ///
    /// # Re-run
    /// As [`TQueue::push`].
    #[track_caller]
    pub fn extend(&self, tx: &Transaction, values: impl IntoIterator<Item = T>) {
        self.back.extend(tx, values);
    }

    /// Removes all elements, in O(1).
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot).
    ///
    /// # Re-run
    /// Nothing is read. It is a conflict for all handlers that pop or look.
    #[track_caller]
    pub fn clear(&self, tx: &Transaction) {
        self.front.clear(tx);
        self.back.clear(tx);
    }

    /// Takes the first element.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), if there is one.
    ///
    /// # Re-run
    /// If somebody who comes earlier in the serial order pops, or pushes into a queue that was seen
    /// empty, the handler is run again.
    #[track_caller]
    pub fn pop<'t>(&self, tx: &'t Transaction) -> Option<&'t T> {
        let first = self.front.pop(tx);
        if first.is_some() {
            return first;
        }
        self.front.take_over(tx, &self.back);
        self.front.pop(tx)
    }

    /// Takes the first element; waits, with [`Transaction::retry`], while there is none.
    ///
    /// # Panics
    /// As [`Transaction::retry`].
    ///
    /// # Re-run
    /// As [`TQueue::pop`], and when something comes.
    #[track_caller]
    pub fn take<'t>(&self, tx: &'t Transaction) -> &'t T {
        let Some(first) = self.pop(tx) else { tx.retry() };
        first
    }

    /// The first element.
    ///
    /// # Re-run
    /// As [`TQueue::pop`].
    #[track_caller]
    pub fn peek<'v>(&self, view: &'v impl Read) -> Option<&'v T> {
        // Not looked at before it is needed.
        self.front.newest_first(view).next().or_else(|| self.back.oldest(view))
    }

    /// How many elements there are.
    ///
    /// # Re-run
    /// In a transaction every push and every pop by others is a conflict.
    #[track_caller]
    pub fn len(&self, view: &impl Read) -> usize {
        (self.front.len(view) + self.back.len(view)) as usize
    }

    /// Whether there is none.
    ///
    /// # Re-run
    /// As [`TQueue::pop`].
    #[track_caller]
    pub fn is_empty(&self, view: &impl Read) -> bool {
        self.front.is_empty(view) && self.back.is_empty(view)
    }

    /// The elements, the first one first.
    ///
    /// # Re-run
    /// In a transaction every pop by others is a conflict, and every push from where the back
    /// begins.
    #[track_caller]
    pub fn iter<'v>(&self, view: &'v impl Read) -> impl Iterator<Item = &'v T> {
        let (mut front, back) = (self.front.newest_first(view), self.back.clone());
        let mut pushed = None;
        std::iter::from_fn(move || {
            front.next().or_else(|| {
                // Not looked at before it is needed.
                pushed.get_or_insert_with(|| back.newest_first(view).collect::<Vec<_>>()).pop()
            })
        })
    }
}

impl<T: Send + Sync + 'static> Clone for TQueue<T> {
    fn clone(&self) -> Self {
        Self { front: self.front.clone(), back: self.back.clone() }
    }
}

impl<T: Send + Sync + 'static> Default for TQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for TQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TQueue").field(&self.back).finish()
    }
}
