//! What handlers get: [`Transaction`] and [`Snapshot`], and [`Read`] for code that works with both.

use super::attempt::Attempt;
use super::outbox::{Callback, Home};
use crate::cell::{
    TVar,
    boxes::{FrozenWrites, THIN_READS, WriteMark},
    labels,
    node::{CellRef, Origin},
    slot::Announcement,
};
use crate::sync::{AtomicBool, Ordering, Table, global};
use std::{cell::Cell, fmt, marker::PhantomData, panic::Location, sync::Arc, time::Duration};

global! {
    /// Whether reads and writes note their place in the source: on while a conflict log is written.
    static PLACES: AtomicBool = AtomicBool::new(false);
}

/// Turns the noting of places on. Attempts that run already go on without.
pub(crate) fn keep_places() {
    // Relaxed: a hint to attempts that begin later.
    PLACES.store(true, Ordering::Relaxed);
}

/// A view of all cells at one moment of the serial order.
///
/// Implemented by [`Transaction`] and [`Snapshot`], so that one function, a search say, serves
/// handlers of both kinds:
///
/// ```
/// use txloop::{Read, TVar, atomically, snapshot};
///
/// fn sum(view: &impl Read, cells: &[TVar<i64>]) -> i64 {
///     cells.iter().map(|cell| *view.get(cell)).sum()
/// }
///
/// let cells = [TVar::new(1), TVar::new(2)];
/// assert_eq!(snapshot(|s| sum(s, &cells)), 3);
/// assert_eq!(atomically(|tx| sum(tx, &cells)), 3);
/// ```
pub trait Read: sealed::Sealed {
    /// The value of a cell in this view. Cannot fail; the reference lives as long as the view.
    ///
    /// # Re-run
    /// In a transaction the read is remembered: if the cell is written by somebody who comes
    /// earlier in the serial order, the handler is run again.
    #[track_caller]
    fn get<'a, T: Send + Sync + 'static>(&'a self, cell: &TVar<T>) -> &'a T;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Transaction {}
    impl Sealed for super::Snapshot {}
}

/// What an attempt may do and has to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Reads are logged and validated at commit.
    Optimistic,
    /// The attempt holds the baton: its reads cannot become stale.
    Alone,
    /// Inside a snapshot: nothing to validate, nothing to write.
    ReadOnly,
}

/// One run of a handler that may write.
///
/// All reads are of one snapshot, and of the transaction's own writes. Writes become visible
/// together when the handler is committed, or not at all. The handler may be run several times, so
/// whatever it does besides reading and writing cells must be fit for that; effects belong in
/// [`Transaction::on_commit`].
///
/// A transaction stays on its thread. On threads that a handler starts, `atomically` is a
/// transaction of its own; a handler must not wait for one there, since it may itself be running
/// alone.
pub struct Transaction {
    attempt: Attempt,
    mode: Mode,
    places: bool,
    /// How many snapshots that joined this transaction are under way: writes wait for none.
    frozen: Cell<u32>,
    /// Neither `Send` nor `Sync`.
    _thread: PhantomData<*const ()>,
}

/// Where a savepoint of a transaction began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    writes: WriteMark,
    outbox: usize,
}

impl Transaction {
    /// Lets an attempt run.
    #[inline]
    pub(crate) fn new(attempt: Attempt, mode: Mode) -> Self {
        let places = PLACES.load(Ordering::Relaxed);
        Self { attempt, mode, places, frozen: Cell::new(0), _thread: PhantomData }
    }

    /// The attempt, after its run.
    #[inline]
    pub(crate) fn into_attempt(self) -> Attempt {
        self.attempt
    }

    /// The value of a cell: this transaction's own, if it wrote one, else the one of its snapshot.
    ///
    /// Cannot fail. The reference lives as long as the transaction, also across later writes to the
    /// same cell. About a nanosecond, plus the cache miss.
    ///
    /// # Re-run
    /// The read is remembered (8 bytes): if somebody who comes earlier in the serial order writes
    /// the cell, the handler is run again.
    #[inline]
    #[track_caller]
    pub fn get<'a, T: Send + Sync + 'static>(&'a self, cell: &TVar<T>) -> &'a T {
        if !self.attempt.logs.writes.is_empty()
            && let Some(own) = self.attempt.logs.writes.get(cell)
        {
            return own;
        }
        if self.mode == Mode::Optimistic {
            self.log_read(cell.cell(), Location::caller());
        }
        cell.read_at(&self.attempt.view)
    }

    #[inline(always)]
    fn log_read(&self, cell: CellRef, place: &'static Location<'static>) {
        if self.places {
            self.attempt.logs.reads.push_at(cell, place);
        } else {
            self.attempt.logs.reads.push(cell);
        }
    }

    /// Writes a cell: visible to this transaction at once, to others when it commits.
    ///
    /// A write does not read: two handlers that only write a cell do not conflict.
    ///
    /// # Panics
    /// Inside a [`Snapshot`], also one that joined this transaction.
    ///
    /// # Re-run
    /// An attempt that is not committed leaves nothing behind; the value is dropped later, on a
    /// thread of the library.
    #[inline]
    #[track_caller]
    pub fn set<T: Send + Sync + 'static>(&self, cell: &TVar<T>, value: T) {
        self.check_writable();
        let place = if self.places { labels::place(Location::caller()) } else { 0 };
        let origin = Origin { handler: self.attempt.logs.handler, place };
        self.attempt.logs.writes.set(cell, value, origin);
    }

    /// Changes a clone of a cell's value and writes it.
    ///
    /// # Panics
    /// As [`Transaction::set`]. If `f` panics, the cell is not written.
    ///
    /// # Re-run
    /// As a [`Transaction::get`] followed by a [`Transaction::set`].
    #[track_caller]
    pub fn modify<T: Clone + Send + Sync + 'static, R>(
        &self,
        cell: &TVar<T>,
        f: impl FnOnce(&mut T) -> R,
    ) -> R {
        let mut value = self.get(cell).clone();
        let answer = f(&mut value);
        self.set(cell, value);
        answer
    }

    #[inline]
    #[track_caller]
    fn check_writable(&self) {
        if self.mode == Mode::ReadOnly || self.frozen.get() != 0 {
            refuse_write();
        }
    }

    /// Has `f` called once, after this transaction has committed; never if it does not.
    ///
    /// The closures of all transactions are called in the serial order, one at a time, on a thread
    /// of the library, possibly after the call that committed has returned. A panic in one is
    /// caught and affects no other.
    ///
    /// # Re-run
    /// An abandoned attempt's closures are dropped uncalled.
    ///
    /// # Panics
    /// Inside a [`Snapshot`].
    pub fn on_commit(&self, f: impl FnOnce() + Send + 'static) {
        self.check_writable();
        self.attempt.logs.outbox.push(Box::new(f));
    }

    /// Has the loop run `f` as a transaction of its own, in a turn after this one commits.
    ///
    /// # Re-run
    /// Held until commit: an abandoned attempt adds nothing. `f` itself may be re-run.
    ///
    /// # Panics
    /// If this transaction does not run in a loop; inside a [`Snapshot`].
    pub fn add_callback(&self, f: impl Fn(&Transaction) + Send + Sync + 'static) {
        let home = self.home();
        let callback: Callback = Arc::new(f);
        self.attempt.logs.outbox.push(Box::new(move || home.add_callback(callback)));
    }

    /// As [`Transaction::add_callback`], not before `delay` has passed since the commit.
    ///
    /// # Re-run
    /// As [`Transaction::add_callback`].
    ///
    /// # Panics
    /// As [`Transaction::add_callback`].
    pub fn call_later(&self, delay: Duration, f: impl Fn(&Transaction) + Send + Sync + 'static) {
        let home = self.home();
        let callback: Callback = Arc::new(f);
        self.attempt.logs.outbox.push(Box::new(move || home.call_later(delay, callback)));
    }

    #[track_caller]
    fn home(&self) -> Arc<dyn Home> {
        self.check_writable();
        let home = self.attempt.logs.home.clone();
        home.expect("callbacks need an event loop: this transaction runs outside of one")
    }

    /// Where a savepoint begins.
    pub(crate) fn mark(&self) -> Mark {
        let logs = &self.attempt.logs;
        Mark { writes: logs.writes.mark(), outbox: logs.outbox.mark() }
    }

    /// Undoes writes and effects since the mark; reads stay logged.
    pub(crate) fn undo_to(&self, mark: Mark) {
        self.attempt.logs.writes.undo_to(mark.writes);
        self.attempt.logs.outbox.undo_to(mark.outbox);
    }

    /// Runs `f` with a snapshot that joins this transaction: it sees its writes, and its reads are
    /// logged here.
    pub(crate) fn with_joined<R>(&self, f: impl FnOnce(&Snapshot) -> R) -> R {
        struct Thaw<'a>(&'a Transaction, Option<&'a Snapshot>);
        impl Drop for Thaw<'_> {
            fn drop(&mut self) {
                self.0.frozen.set(self.0.frozen.get() - 1);
                if let Some(joined) = self.1.and_then(|snapshot| snapshot.joined.as_deref()) {
                    for (cell, place) in joined.reads.lock().drain(..) {
                        self.0.log_read(cell, place);
                    }
                }
            }
        }
        let slot = crate::cell::store::STORE.claim();
        let snapshot = Snapshot {
            view: self.attempt.view.again(slot),
            joined: Some(Box::new(Joined {
                writes: self.attempt.logs.writes.freeze(),
                logged: self.mode == Mode::Optimistic,
                reads: Table::new(Vec::new()),
            })),
        };
        self.frozen.set(self.frozen.get() + 1);
        let _thaw = Thaw(self, Some(&snapshot));
        f(&snapshot)
    }

    /// The version that this transaction's snapshot sees.
    pub(crate) fn snapshot_version(&self) -> u64 {
        self.attempt.view.snapshot()
    }
}

#[cold]
#[track_caller]
fn refuse_write() -> ! {
    panic!("a snapshot is read-only: the write belongs in a transaction of its own")
}

impl Read for Transaction {
    #[inline]
    #[track_caller]
    fn get<'a, T: Send + Sync + 'static>(&'a self, cell: &TVar<T>) -> &'a T {
        Transaction::get(self, cell)
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("snapshot", &self.snapshot_version())
            .field("mode", &self.mode)
            .field("reads", &self.attempt.logs.reads.len())
            .field("writes", &self.attempt.logs.writes.len())
            .finish()
    }
}

/// A read-only view of all cells at one version. Never aborted, waits for nobody, and nobody waits
/// for it.
///
/// It may be shared with other threads while the handler runs, with scoped threads or rayon's
/// `par_iter` say. A snapshot that is kept for long keeps old versions alive: one per cell and
/// active snapshot.
pub struct Snapshot {
    view: Announcement,
    joined: Option<Box<Joined>>,
}

/// What a snapshot inside a transaction shares with it.
struct Joined {
    writes: FrozenWrites,
    logged: bool,
    reads: Table<Vec<(CellRef, &'static Location<'static>)>>,
}

impl Snapshot {
    /// A view of its own.
    #[inline]
    pub(crate) fn new(view: Announcement) -> Self {
        Self { view, joined: None }
    }

    /// The announcement, after the run.
    #[inline]
    pub(crate) fn into_view(self) -> Announcement {
        self.view
    }

    /// The announcement.
    pub(crate) fn view(&self) -> &Announcement {
        &self.view
    }

    /// The value of a cell in this snapshot. Cannot fail; the reference lives as long as the
    /// snapshot. Nothing is logged.
    #[inline]
    #[track_caller]
    pub fn get<'a, T: Send + Sync + 'static>(&'a self, cell: &TVar<T>) -> &'a T {
        if let Some(joined) = &self.joined {
            if let Some(own) = joined.writes.get(cell) {
                return own;
            }
            joined.log(cell.cell(), Location::caller());
        }
        cell.read_at(&self.view)
    }

    /// The version of the serial order that this snapshot shows.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.view.snapshot()
    }
}

impl Joined {
    #[cold]
    fn log(&self, cell: CellRef, place: &'static Location<'static>) {
        if !self.logged {
            return;
        }
        let mut reads = self.reads.lock();
        if reads.last().is_none_or(|(last, _)| *last != cell) {
            // As in a read log: no longer than a few times the cells that are read.
            if reads.len() >= THIN_READS && reads.len().is_power_of_two() {
                reads.sort_by_key(|(cell, _)| *cell);
                reads.dedup_by_key(|(cell, _)| *cell);
            }
            reads.push((cell, place));
        }
    }
}

impl Read for Snapshot {
    #[inline]
    #[track_caller]
    fn get<'a, T: Send + Sync + 'static>(&'a self, cell: &TVar<T>) -> &'a T {
        Snapshot::get(self, cell)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("version", &self.version()).finish_non_exhaustive()
    }
}
