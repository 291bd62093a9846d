//! Running closures as transactions and snapshots, on any thread, and joining when one is current.

use super::{
    attempt::{self, Attempt, Spare},
    commit::{self, Outcome},
    view::{Mark, Mode, Snapshot, Transaction},
};
use crate::cell::{deferred, labels::Label, slot::Scoped};
use crate::sync::now_ns;
use std::{
    any::Any,
    cell::Cell,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr,
};

/// After so many failed attempts a handler runs alone.
pub(crate) const MAX_FAILURES: u32 = 3;
/// After so much time thrown away a handler runs alone, in nanoseconds.
pub(crate) const MAX_LOST_NS: u64 = 10_000_000;

thread_local! {
    static TRANSACTION: Cell<*const ()> = const { Cell::new(ptr::null()) };
    static SNAPSHOT: Cell<*const ()> = const { Cell::new(ptr::null()) };
}

/// The transaction that runs on this thread. Inside a snapshot of its own there is none.
static CURRENT: Scoped<Transaction> = Scoped::new(&TRANSACTION);
/// The snapshot that runs on this thread, unless it joined a transaction.
static VIEWING: Scoped<Snapshot> = Scoped::new(&SNAPSHOT);

/// A panic on its way.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Runs `f` as one transaction, on any thread, and returns its answer when it has committed.
///
/// `f` sees one consistent state and its own writes. If another transaction that committed in the
/// meantime wrote what `f` read, `f` is run again, at most three times or for 10 ms before it runs
/// alone: a call never gives up. A panic in `f` discards its writes and goes on to the caller.
///
/// Inside another transaction the call joins it: it commits, or not, with the outer one. On the
/// caller's thread nothing but `f` is run: no destructor of a replaced value, no
/// [`Transaction::on_commit`] closure.
///
/// # Re-run
/// `f` may be called several times; only the last call counts. It is an `Fn`, so that counting into
/// a captured variable does not compile.
///
/// # Examples
/// ```
/// use txloop::{TVar, atomically};
///
/// let (a, b) = (TVar::new(10), TVar::new(0));
/// atomically(|tx| {
///     tx.set(&a, tx.get(&a) - 3);
///     tx.set(&b, tx.get(&b) + 3);
/// });
/// assert_eq!((a.with(|n| *n), b.with(|n| *n)), (7, 3));
/// ```
#[inline]
pub fn atomically<R>(f: impl Fn(&Transaction) -> R) -> R {
    match try_atomically(|tx| Ok::<R, Infallible>(f(tx))) {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

/// As [`atomically`], and an `Err` rolls back: nothing that `f` wrote or asked for remains.
///
/// Inside another transaction only the writes and effects of `f` are undone; what it read still
/// counts as read.
///
/// # Errors
/// The `Err` of `f`, which saw a consistent state.
///
/// # Re-run
/// As [`atomically`].
///
/// # Examples
/// ```
/// use txloop::{TVar, try_atomically};
///
/// let balance = TVar::new(5);
/// let taken = try_atomically(|tx| {
///     tx.set(&balance, tx.get(&balance) - 8);
///     if *tx.get(&balance) < 0 { Err("insufficient") } else { Ok(()) }
/// });
/// assert_eq!((taken, balance.with(|n| *n)), (Err("insufficient"), 5));
/// ```
#[inline]
pub fn try_atomically<R, E>(f: impl Fn(&Transaction) -> Result<R, E>) -> Result<R, E> {
    if CURRENT.is_empty() && VIEWING.is_empty() { run_own(&f).0 } else { join(&f) }
}

/// Runs `f` on a read-only view of the newest committed state, once.
///
/// Never aborts and waits for nobody. Inside a transaction the snapshot joins it: it sees the
/// transaction's state and writes, and what it reads counts as read. Inside another snapshot it is
/// that snapshot.
///
/// # Panics
/// A write inside `f`, through a transaction that it calls or is part of, panics.
///
/// # Examples
/// ```
/// use txloop::{TVar, snapshot};
///
/// let nested = TVar::new(TVar::new(7));
/// assert_eq!(snapshot(|s| *s.get(s.get(&nested))), 7);
/// ```
#[inline]
pub fn snapshot<R>(f: impl Fn(&Snapshot) -> R) -> R {
    if !CURRENT.is_empty() {
        return CURRENT.with(|tx| match tx {
            Some(tx) => tx.with_joined(f),
            None => unreachable!("tested above"),
        });
    }
    if !VIEWING.is_empty() {
        return VIEWING.with(|view| match view {
            Some(view) => f(view),
            None => unreachable!("tested above"),
        });
    }
    let (spare, _, result) = view_once(attempt::take(), f);
    attempt::keep(spare);
    match result {
        Ok(answer) => answer,
        Err(payload) => resume_unwind(payload),
    }
}

/// Runs `f` once on a snapshot in the given slot, and tells its version.
#[inline]
pub(crate) fn view_once<R>(
    spare: Spare,
    f: impl FnOnce(&Snapshot) -> R,
) -> (Spare, u64, Result<R, Payload>) {
    let (slot, logs) = spare.split();
    let snapshot = Snapshot::new(crate::cell::store::STORE.begin(slot));
    let version = snapshot.version();
    let result = catch_unwind(AssertUnwindSafe(|| VIEWING.enter(Some(&snapshot), || f(&snapshot))));
    (Spare::join(snapshot.into_view().end(), logs), version, result)
}

/// Runs `f` once as an attempt, without deciding its outcome.
#[inline]
pub(crate) fn attempt_once<R>(
    attempt: Attempt,
    mode: Mode,
    f: impl FnOnce(&Transaction) -> R,
) -> (Attempt, Result<R, Payload>) {
    let tx = Transaction::new(attempt, mode);
    let result = catch_unwind(AssertUnwindSafe(|| CURRENT.enter(Some(&tx), || f(&tx))));
    (tx.into_attempt(), result)
}

/// A transaction of the calling thread's own, and the version that is its place.
pub(crate) fn run_own<R, E>(f: &impl Fn(&Transaction) -> Result<R, E>) -> (Result<R, E>, u64) {
    let spare = attempt::take().handler(Label::NONE, None);
    let (spare, result) = run_to_the_end(spare, f);
    attempt::keep(spare);
    if deferred::pending() {
        deferred::settle();
    }
    match result {
        Ok(answer) => answer,
        Err(payload) => resume_unwind(payload),
    }
}

type Ended<R, E> = Result<(Result<R, E>, u64), Payload>;

fn run_to_the_end<R, E>(
    mut spare: Spare,
    f: &impl Fn(&Transaction) -> Result<R, E>,
) -> (Spare, Ended<R, E>) {
    let mut failures = 0;
    let mut began = None;
    let mut first_snapshot = 0;
    loop {
        let attempt = spare.begin();
        let snapshot = attempt.view.snapshot();
        let (mut attempt, result) = attempt_once(attempt, Mode::Optimistic, f);
        let answer = match result {
            // Opaque, so what made it panic or fail was there at its snapshot: its place.
            Err(payload) => return (attempt.discard(), Err(payload)),
            Ok(Err(error)) => return (attempt.discard(), Ok((Err(error), snapshot))),
            Ok(Ok(answer)) => answer,
        };
        if attempt.is_plain_reader() {
            return (attempt.end(), Ok((Ok(answer), snapshot)));
        }
        match commit::commit_and_wait(attempt) {
            (spare, Outcome::Committed(version)) => return (spare, Ok((Ok(answer), version))),
            (again, Outcome::Failed(_)) => spare = again,
        }
        // The clock is read only by those who have failed.
        let began = *began.get_or_insert_with(now_ns);
        if failures == 0 {
            first_snapshot = snapshot;
        }
        failures += 1;
        if failures >= MAX_FAILURES || now_ns() - began >= MAX_LOST_NS {
            return run_alone(spare, first_snapshot, f);
        }
    }
}

fn run_alone<R, E>(
    spare: Spare,
    first_snapshot: u64,
    f: &impl Fn(&Transaction) -> Result<R, E>,
) -> (Spare, Ended<R, E>) {
    let mut hold = commit::take_alone(first_snapshot);
    let attempt = spare.begin();
    let snapshot = attempt.view.snapshot();
    let (attempt, result) = attempt_once(attempt, Mode::Alone, f);
    let (spare, ended) = match result {
        Ok(Ok(answer)) => {
            let (spare, version) = hold.commit(attempt);
            (spare, Ok((Ok(answer), version)))
        }
        Ok(Err(error)) => (attempt.end(), Ok((Err(error), snapshot))),
        Err(payload) => (attempt.end(), Err(payload)),
    };
    hold.end();
    (spare, ended)
}

/// `f` as a part of what runs on this thread already.
fn join<R, E>(f: &impl Fn(&Transaction) -> Result<R, E>) -> Result<R, E> {
    if CURRENT.is_empty() {
        return VIEWING.with(|view| match view {
            Some(view) => read_only(view, f),
            None => unreachable!("tested by the caller"),
        });
    }
    CURRENT.with(|tx| match tx {
        Some(tx) => savepoint(tx, f),
        None => unreachable!("tested above"),
    })
}

fn savepoint<R, E>(tx: &Transaction, f: &impl Fn(&Transaction) -> Result<R, E>) -> Result<R, E> {
    struct Undo<'a>(&'a Transaction, Option<Mark>);
    impl Drop for Undo<'_> {
        fn drop(&mut self) {
            if let Some(mark) = self.1 {
                self.0.undo_to(mark);
            }
        }
    }
    // Undone also when `f` panics and somebody further out catches it.
    let mut undo = Undo(tx, Some(tx.mark()));
    let answer = f(tx)?;
    undo.1 = None;
    Ok(answer)
}

fn read_only<R, E>(view: &Snapshot, f: &impl Fn(&Transaction) -> Result<R, E>) -> Result<R, E> {
    let (slot, logs) = Spare::new().split();
    let attempt = Attempt { view: view.view().again(slot), logs };
    let (attempt, result) = attempt_once(attempt, Mode::ReadOnly, f);
    drop(attempt.discard());
    match result {
        Ok(answer) => answer,
        Err(payload) => resume_unwind(payload),
    }
}

impl<T: Send + Sync + 'static> crate::TVar<T> {
    /// Calls `f` with the value in a snapshot made for this call; inside a transaction or a
    /// snapshot, with the value there.
    #[track_caller]
    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        let f = Cell::new(Some(f));
        snapshot(|s| match f.take() {
            Some(f) => f(s.get(self)),
            None => unreachable!("a snapshot runs its closure once"),
        })
    }
}
