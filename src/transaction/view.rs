//! [`Transaction`]: reads, writes and effects; and [`Read`] for code that works with both views.

use super::{
    attempt::Attempt,
    choice::Left,
    forbid,
    outbox::{Callback, Home},
};
use crate::cell::{
    TVar,
    boxes::Boxed,
    deferred,
    folds::{Merge, Step},
    kept::Kept,
    labels::{self, Origin},
    logs::Own,
    node::{CellOf, CellRef},
    store::STORE,
};
use crate::sync::{AtomicBool, Ordering, global, point};
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

/// How often each logged read may be looked at, on average, for the snapshot to move on.
const LOOKS_AT_EACH: usize = 4;

/// A view of all cells at one moment of the serial order.
///
/// Implemented by [`Transaction`] and [`Snapshot`](crate::Snapshot), so that one function, a search
/// say, serves handlers of both kinds:
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
    #[inline]
    #[track_caller]
    fn get<'a, T: Send + Sync + 'static>(&'a self, cell: &TVar<T>) -> &'a T {
        self.read(cell.kept(), Location::caller())
    }
}

pub(crate) mod sealed {
    use crate::cell::node::CellOf;
    use std::panic::Location;

    pub trait Sealed {
        /// See [`super::Read::get`].
        fn read<'a, T: Send + Sync + 'static>(
            &'a self,
            cell: CellOf<'_, T>,
            place: &'static Location<'static>,
        ) -> &'a T;

        /// The value in the same view for a hint: an answer must not depend on it, since it is not
        /// remembered.
        fn peek<'a, T: Send + Sync + 'static>(&'a self, cell: CellOf<'_, T>) -> &'a T;

        /// Another number whenever the view shows something else than before, because its
        /// transaction has written.
        fn state(&self) -> u64;
    }
}

/// What an attempt may do and has to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Reads are logged and validated at commit.
    Optimistic,
    /// The attempt holds the baton: its reads cannot become stale.
    Alone,
    /// The same, and it cannot be left either.
    Irrevocable,
    /// Inside a snapshot: nothing to validate, nothing to write. Reads are `logged` where that one
    /// is to be parked.
    ReadOnly { logged: bool },
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
    pub(super) attempt: Attempt,
    pub(super) mode: Mode,
    places: bool,
    /// Whether a read has more to do than to be logged.
    slow: bool,
    /// How many snapshots that joined this transaction are under way: writes wait for none.
    pub(super) frozen: Cell<u32>,
    /// Why it is being left early, and where that was asked for. It decides the outcome, even if
    /// the handler catches the unwinding.
    pub(super) left: Cell<Option<Left>>,
    /// Whether references may be out to what was read and not logged.
    peeked: Cell<bool>,
    /// How many logged reads were looked at to catch up; [`usize::MAX`] once that was in vain.
    looked_at: Cell<usize>,
    /// Neither `Send` nor `Sync`.
    _thread: PhantomData<*const ()>,
}

impl Transaction {
    /// Lets an attempt run.
    #[inline]
    pub(crate) fn new(attempt: Attempt, mode: Mode) -> Self {
        let places = PLACES.load(Ordering::Relaxed);
        let (frozen, left) = (Cell::new(0), Cell::new(None));
        let logged = mode == Mode::ReadOnly { logged: true };
        let slow = places || attempt.logs.cancel.is_some() || logged;
        let (peeked, looked_at) = (Cell::new(false), Cell::new(0));
        let _thread = PhantomData;
        Self { attempt, mode, places, slow, frozen, left, peeked, looked_at, _thread }
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
        sealed::Sealed::read(self, cell.kept(), Location::caller())
    }

    /// A read of a cell that was written with [`Transaction::update_later`] or its like: the write
    /// becomes an ordinary one.
    #[cold]
    fn get_folded<'a, T: Send + Sync + 'static>(
        &'a self,
        cell: CellOf<'_, T>,
        place: &'static Location<'static>,
    ) -> &'a T {
        self.resolve(cell.cell(), place);
        match self.attempt.logs.writes.get(cell) {
            Some(Own::Value(own)) => own,
            _ => unreachable!("a fold that was resolved is a value"),
        }
    }

    /// Turns a fold of the write log into a value, which makes it a read.
    pub(super) fn resolve(&self, cell: CellRef, place: &'static Location<'static>) {
        if self.mode == Mode::Optimistic {
            self.log_read(cell, place);
        }
        forbid(|| self.attempt.logs.writes.resolve(cell, &self.attempt.view));
    }

    /// The first read of a cell that was written since the snapshot. What it shows there is out of
    /// date, and would make the handler run again: so the snapshot moves on first, if it can.
    #[cold]
    #[inline(never)]
    fn read_behind<'a, T: Send + Sync + 'static>(
        &'a self,
        cell: CellOf<'_, T>,
        place: &'static Location<'static>,
    ) -> &'a T {
        let (reads, looked_at) = (self.attempt.logs.reads.len(), self.looked_at.get());
        let all = looked_at.saturating_add(reads);
        // All looks together cost no more than some for each read.
        let in_bounds = all <= LOOKS_AT_EACH * reads + LOOKS_AT_EACH;
        if in_bounds && self.frozen.get() == 0 && !self.peeked.get() {
            self.looked_at.set(if self.attempt.catch_up() { all } else { usize::MAX });
        }
        self.log_read(cell.cell(), place);
        cell.read_at(&self.attempt.view)
    }

    #[inline(always)]
    pub(super) fn log_read(&self, cell: CellRef, place: &'static Location<'static>) {
        if self.slow {
            self.log_read_slowly(cell, place);
        } else {
            self.attempt.logs.reads.push(cell);
        }
    }

    #[cold]
    fn log_read_slowly(&self, cell: CellRef, place: &'static Location<'static>) {
        self.leave_if_taken_back(place);
        if self.places {
            self.attempt.logs.reads.push_at(cell, place);
        } else {
            self.attempt.logs.reads.push(cell);
        }
    }

    /// The same for an attempt that has nothing to validate.
    #[cold]
    fn read_unlogged(&self, cell: CellRef, place: &'static Location<'static>) {
        self.leave_if_taken_back(place);
        if self.mode == (Mode::ReadOnly { logged: true }) {
            self.attempt.logs.reads.push(cell);
        }
    }

    /// Writes a cell: visible to this transaction at once, to others when it commits.
    ///
    /// A write does not read: two handlers that only write a cell do not conflict.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot), also one that joined this transaction. After
    /// [`MAX_WRITES`](crate::MAX_WRITES) values, as all that writes does.
    ///
    /// # Re-run
    /// An attempt that is not committed leaves nothing behind; the value is dropped later, on a
    /// thread of the library.
    #[inline]
    #[track_caller]
    pub fn set<T: Send + Sync + 'static>(&self, cell: &TVar<T>, value: T) {
        let origin = self.origin();
        self.attempt.logs.writes.set(cell.kept(), value, origin);
    }

    /// As [`Transaction::set`], for the collections.
    #[inline]
    #[track_caller]
    pub(crate) fn write<T: Kept>(&self, cell: CellOf<'_, T>, value: impl Into<Boxed<T>>) {
        let origin = self.origin();
        self.attempt.logs.writes.set_boxed(cell, value.into(), origin);
    }

    /// Who writes, and where; panics where nothing may be written.
    #[inline]
    #[track_caller]
    fn origin(&self) -> Origin {
        point!(Write);
        self.check_writable();
        let place = if self.places { labels::place(Location::caller()) } else { 0 };
        Origin { handler: self.attempt.logs.handler, place }
    }

    /// Writes a cell if the value is another one, and says whether it was.
    ///
    /// Where the value is the same, others that only read the cell are left in peace.
    ///
    /// # Panics
    /// As [`Transaction::set`], if the value is another one.
    ///
    /// # Re-run
    /// As a [`Transaction::get`], also when nothing is written: the answer depends on it.
    #[track_caller]
    pub fn set_if_changed<T: PartialEq + Send + Sync + 'static>(
        &self,
        cell: &TVar<T>,
        value: T,
    ) -> bool {
        let changed = *self.get(cell) != value;
        if changed {
            self.set(cell, value);
        }
        changed
    }

    /// Has `f` applied to the cell's value when this transaction commits: a write that commutes.
    ///
    /// Nothing is read while the handler runs, so handlers that do only this to a cell do not
    /// conflict. `f` runs while everybody else's commits wait: it must be quick, its cost
    /// independent of the size of the value, and it must not block. Several for one cell run in the
    /// order in which they were asked for. A snapshot inside the transaction, or a
    /// [`Transaction::get`] of the cell, afterwards turns it
    /// into an ordinary write of a cell that was read; a [`Transaction::set`] discards it.
    ///
    /// # Panics
    /// As [`Transaction::set`]. If `f` panics, or calls this library's `atomically`, `snapshot` or
    /// [`TVar::with`], nothing of the transaction remains, and the panic is that of the handler.
    ///
    /// # Re-run
    /// `f` is called once for each attempt that is committed, or that reads the cell; only the last
    /// call counts.
    ///
    /// # Examples
    /// ```
    /// use txloop::{TVar, atomically};
    ///
    /// let longest = TVar::new(String::from("ab"));
    /// atomically(|tx| {
    ///     tx.update_later(&longest, |old| if old.len() < 3 { "abc".into() } else { old.clone() });
    /// });
    /// assert_eq!(longest.with(|s| s.len()), 3);
    /// ```
    #[track_caller]
    pub fn update_later<T: Send + Sync + 'static>(
        &self,
        cell: &TVar<T>,
        f: impl Fn(&T) -> T + Send + Sync + 'static,
    ) {
        let (origin, cell) = (self.origin(), cell.kept());
        match self.attempt.logs.writes.get(cell) {
            Some(Own::Value(own)) => {
                let value = forbid(|| f(own));
                self.attempt.logs.writes.set(cell, value, origin);
            }
            _ => self.attempt.logs.writes.later(cell, Arc::new(f), origin),
        }
    }

    /// As [`Transaction::update_later`], for the collections: the step does not look at what is the
    /// user's.
    #[track_caller]
    pub(crate) fn later<T: Kept>(&self, cell: &TVar<T>, step: impl Step<T> + 'static) {
        let (origin, cell) = (self.origin(), cell.kept());
        match self.attempt.logs.writes.get(cell) {
            Some(Own::Value(own)) => {
                let value = step.take(own);
                self.attempt.logs.writes.set_boxed(cell, value.into(), origin);
            }
            _ => self.attempt.logs.writes.later(cell, Arc::new(step), origin),
        }
    }

    /// As [`Transaction::update_later`], for the collections: without a closure.
    #[inline]
    #[track_caller]
    pub(crate) fn merge<M: Merge>(&self, cell: &TVar<M::Value>, operand: M::Value) {
        let (origin, cell) = (self.origin(), cell.kept());
        match self.attempt.logs.writes.get(cell) {
            Some(Own::Value(own)) => {
                let value = forbid(|| M::merge(*own, operand));
                self.attempt.logs.writes.set(cell, value, origin);
            }
            _ => {
                let own = self.attempt.logs.writes.operand::<M>(cell);
                // It may compare by an `Ord` of a user's, which must not come back to the log.
                let both = own.map(|own| forbid(|| M::merge(own, operand))).unwrap_or(operand);
                self.attempt.logs.writes.merge::<M>(cell, both, origin);
            }
        }
    }

    /// Another number whenever writes have been undone.
    pub(crate) fn undone(&self) -> u32 {
        self.attempt.logs.writes.undone()
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

    /// The newest committed version: what a transaction makes now, others see above it only.
    pub(crate) fn newest_version() -> u64 {
        STORE.watermark()
    }

    #[inline]
    #[track_caller]
    pub(super) fn check_writable(&self) {
        if matches!(self.mode, Mode::ReadOnly { .. }) || self.frozen.get() != 0 {
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
    /// Inside a [`Snapshot`](crate::Snapshot); the one after [`MAX_EFFECTS`](crate::MAX_EFFECTS),
    /// callbacks and timers included.
    pub fn on_commit(&self, f: impl FnOnce() + Send + 'static) {
        self.check_writable();
        if self.attempt.logs.home.as_ref().is_none_or(|home| home.opens_effects()) {
            self.attempt.logs.outbox.push(Box::new(f));
        } else {
            deferred::drop_later(f);
        }
    }

    /// Has the loop run `f` as a transaction of its own, in a turn after this one commits.
    ///
    /// # Re-run
    /// Held until commit: an abandoned attempt adds nothing. `f` itself may be re-run.
    ///
    /// # Panics
    /// If this transaction does not run in a loop; inside a [`Snapshot`](crate::Snapshot); as
    /// [`Transaction::on_commit`].
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

impl Read for Transaction {}

impl sealed::Sealed for Transaction {
    #[inline]
    fn read<'a, T: Send + Sync + 'static>(
        &'a self,
        cell: CellOf<'_, T>,
        place: &'static Location<'static>,
    ) -> &'a T {
        if !self.attempt.logs.writes.is_empty()
            && let Some(own) = self.attempt.logs.writes.get(cell)
        {
            return match own {
                Own::Value(own) => own,
                Own::Folded => self.get_folded(cell, place),
            };
        }
        point!(Read);
        if self.mode != Mode::Optimistic {
            if self.slow {
                self.read_unlogged(cell.cell(), place);
            }
            return cell.read_at(&self.attempt.view);
        }
        match cell.read_newest(&self.attempt.view) {
            Some(value) => {
                self.log_read(cell.cell(), place);
                value
            }
            None => self.read_behind(cell, place),
        }
    }

    fn peek<'a, T: Send + Sync + 'static>(&'a self, cell: CellOf<'_, T>) -> &'a T {
        match self.attempt.logs.writes.get(cell) {
            Some(Own::Value(own)) => own,
            _ => {
                self.peeked.set(true);
                cell.read_at(&self.attempt.view)
            }
        }
    }

    fn state(&self) -> u64 {
        self.attempt.logs.writes.state()
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
