//! Running closures as transactions and snapshots, on any thread, and joining when one is current.

use super::{
    attempt::{self, Attempt, Spare},
    choice::Left,
    commit::{self, Outcome},
    holder,
    panic::{Panic, Payload},
    sink,
    snapshot::Snapshot,
    view::{Mode, Transaction},
};
use crate::cell::{deferred, labels::Label, slot::Scoped, store::STORE};
use crate::sync::{now_ns, per_thread};
use std::{
    cell::Cell,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
};

/// After so many failed attempts a handler runs alone.
pub(crate) const MAX_FAILURES: u32 = 3;
/// After so much time thrown away a handler runs alone, in nanoseconds.
pub(crate) const MAX_LOST_NS: u64 = 10_000_000;

per_thread! {
    static TRANSACTION: Cell<*const ()> = Cell::new(ptr::null());
}
per_thread! {
    static SNAPSHOT: Cell<*const ()> = Cell::new(ptr::null());
}
per_thread! {
    static ON_LOOP: Cell<bool> = Cell::new(false);
}

/// The transaction that runs on this thread. Inside a snapshot of its own there is none.
static CURRENT: Scoped<Transaction> = Scoped::new(&TRANSACTION);
/// The snapshot that runs on this thread, unless it joined a transaction.
static VIEWING: Scoped<Snapshot> = Scoped::new(&SNAPSHOT);

/// Runs `f` where no transaction and no snapshot may begin.
pub(super) fn forbid<R>(f: impl FnOnce() -> R) -> R {
    CURRENT.forbid(f)
}

/// What one run of a handler came to. One word beside a small answer, so that it is handed on in
/// registers.
pub(crate) enum Ran<R> {
    /// It returned.
    Answer(R),
    /// It panicked.
    Panic(Panic),
    /// It called `retry`.
    Left(Box<Left>),
    /// It was taken back before it ended.
    TakenBack,
}

impl<R> Ran<R> {
    /// A note that the handler was left decides, even if the handler caught the unwinding.
    #[inline(always)]
    fn of(result: Result<R, Payload>, left: Option<Left>) -> Self {
        match (result, left) {
            (Ok(answer), None) => Self::Answer(answer),
            (result, left) => Self::undone(result, left),
        }
    }

    #[cold]
    fn undone(result: Result<R, Payload>, left: Option<Left>) -> Self {
        match (result, left) {
            (Ok(answer), None) => Self::Answer(answer),
            (Err(payload), None) => Self::Panic(Panic::of(payload)),
            (result, Some(left)) => {
                if let Err(payload) = result {
                    deferred::drop_later(payload);
                }
                if left.taken_back { Self::TakenBack } else { Self::Left(Box::new(left)) }
            }
        }
    }
}

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

/// Runs `f` once, as a transaction that nothing can make run again: for effects that have to happen
/// in the middle, with what the cells say then.
///
/// It waits until it may run alone, and while it runs nobody else commits: keep it short. What it
/// does to the world is done whatever follows, so [`Transaction::retry`] is refused in it. An `Err`
/// is a value like any other: nothing is rolled back.
///
/// # Panics
/// Inside a transaction or a snapshot, which may be run again; on the thread of a loop, which must
/// not wait. A panic of `f` discards what it wrote and goes on to the caller: the effects remain.
///
/// # Examples
/// ```
/// use txloop::{TVar, irrevocably};
///
/// let printed = TVar::new(0);
/// irrevocably(|tx| {
///     println!("page {}", tx.get(&printed) + 1);
///     tx.modify(&printed, |n| *n += 1);
/// });
/// assert_eq!(printed.with(|n| *n), 1);
/// ```
pub fn irrevocably<R>(f: impl FnOnce(&Transaction) -> R) -> R {
    let inside = !CURRENT.is_empty() || !VIEWING.is_empty();
    assert!(!inside, "inside a transaction or a snapshot nothing is irrevocable: it may run again");
    assert!(!ON_LOOP.with(Cell::get), "a loop must not wait: give it to a thread of its own");
    // Its slot first: with the baton in hand nobody would give one back who waits for it.
    let spare = attempt::take();
    let mut hold = commit::take_alone(STORE.watermark());
    if sink::is_active()
        && let Some(why) = sink::failure()
    {
        // Told before it does what cannot be undone.
        hold.end();
        attempt::keep(spare);
        panic!("{why}");
    }
    let attempt = spare.handler(Label::NONE, None).begin();
    holder::runs(Label::NONE, now_ns());
    let (attempt, ran) = attempt_once(attempt, Mode::Irrevocable, f);
    holder::ran();
    let (spare, result, version) = match ran {
        Ran::Answer(answer) => match hold.commit(attempt) {
            (spare, Outcome::Committed(version)) => (spare, Ok(answer), version),
            (spare, Outcome::Panicked(panic)) => (spare, Err(panic), 0),
            (_, Outcome::Failed(conflict)) => unreachable!("stale under the baton: {conflict:?}"),
            (_, Outcome::TakenBack) => unreachable!("it has not waited"),
        },
        Ran::Panic(panic) => (attempt.end(), Err(panic), 0),
        Ran::Left(_) | Ran::TakenBack => {
            unreachable!("refused by its `retry`, and by that of a snapshot inside of it")
        }
    };
    hold.end();
    attempt::keep(spare);
    if deferred::pending() {
        deferred::settle();
    }
    wait_durable(version);
    result.unwrap_or_else(|panic| panic.resume())
}

/// Says that this is the thread of a loop.
pub(crate) fn enter_loop() {
    ON_LOOP.with(|on_loop| on_loop.set(true));
}

/// Runs `f` on a read-only view of the newest committed state, once.
///
/// Never aborts and waits for nobody. Inside a transaction the snapshot joins it: it sees the
/// transaction's state and writes, and what it reads counts as read. Inside another snapshot it is
/// that snapshot.
///
/// # Panics
/// A write inside `f`, through a transaction that it calls or is part of, panics. So does a
/// snapshot in 256 others of one transaction.
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
    let (mut spare, mut version, mut ran) = view_once(attempt::take(), &f);
    // Left early: from now on with its reads logged, to be parked on.
    let mut waits_since = 0;
    while let Ran::Left(_) = ran {
        let attempt;
        (attempt, ran) = view_logged(spare.begin(), &f);
        version = attempt.view.snapshot();
        spare = match &ran {
            Ran::Left(left) => park(attempt, left.since(&mut waits_since)),
            _ => attempt.end(),
        };
    }
    attempt::keep(spare);
    wait_durable(version);
    match ran {
        Ran::Answer(answer) => answer,
        Ran::Panic(panic) => panic.resume(),
        Ran::Left(_) | Ran::TakenBack => unreachable!("the loop above ends it, and nobody else"),
    }
}

/// Runs `f` once on a snapshot in the given slot, and tells its version.
#[inline]
pub(crate) fn view_once<R>(spare: Spare, f: impl FnOnce(&Snapshot) -> R) -> (Spare, u64, Ran<R>) {
    let (slot, logs) = spare.split();
    let (attempt, ran) = view_attempt(Attempt { view: STORE.begin(slot), logs }, f);
    let version = attempt.view.snapshot();
    (attempt.end_view(), version, ran)
}

/// Runs `f` once on the snapshot of an attempt.
#[inline]
pub(crate) fn view_attempt<R>(
    attempt: Attempt,
    f: impl FnOnce(&Snapshot) -> R,
) -> (Attempt, Ran<R>) {
    let snapshot = Snapshot::new(attempt.view);
    let result = catch_unwind(AssertUnwindSafe(|| VIEWING.enter(Some(&snapshot), || f(&snapshot))));
    let ran = Ran::of(result, snapshot.left());
    (Attempt { view: snapshot.into_view(), logs: attempt.logs }, ran)
}

/// Runs `f` once on a snapshot whose reads are logged: an attempt that can be parked.
pub(crate) fn view_logged<R>(
    attempt: Attempt,
    f: impl FnOnce(&Snapshot) -> R,
) -> (Attempt, Ran<R>) {
    let snapshot = Snapshot::logging(attempt.view);
    let result = catch_unwind(AssertUnwindSafe(|| VIEWING.enter(Some(&snapshot), || f(&snapshot))));
    let ran = Ran::of(result, snapshot.left());
    let (view, cells) = snapshot.into_parts();
    cells.into_iter().for_each(|cell| attempt.logs.reads.push(cell));
    (Attempt { view, logs: attempt.logs }, ran)
}

/// Waits on this thread until a cell that the attempt read is written, or was already.
fn park(attempt: Attempt, left: Left) -> Spare {
    match commit::park_and_wait(attempt, left) {
        Ok(spare) | Err((spare, Outcome::Failed(_))) => spare,
        Err((_, Outcome::Panicked(panic))) => panic.resume(),
        Err((_, outcome)) => unreachable!("it asked to be parked: {outcome:?}"),
    }
}

/// Runs `f` once as an attempt, without deciding its outcome.
#[inline(always)]
pub(crate) fn attempt_once<R>(
    attempt: Attempt,
    mode: Mode,
    f: impl FnOnce(&Transaction) -> R,
) -> (Attempt, Ran<R>) {
    let tx = Transaction::new(attempt, mode);
    let result = catch_unwind(AssertUnwindSafe(|| CURRENT.enter(Some(&tx), || f(&tx))));
    let ran = match Ran::of(result, tx.left.get()) {
        Ran::Answer(_) if tx.attempt.is_taken_back() => Ran::TakenBack,
        ran => ran,
    };
    (tx.into_attempt(), ran)
}

/// A transaction of the calling thread's own, and the version that is its place.
pub(crate) fn run_own<R, E>(f: &impl Fn(&Transaction) -> Result<R, E>) -> (Result<R, E>, u64) {
    let (spare, result) = run_to_the_end(attempt::take().own(), f);
    attempt::keep(spare);
    if deferred::pending() {
        deferred::settle();
    }
    match result {
        Ok(answer) => {
            wait_durable(answer.1);
            answer
        }
        Err(panic) => panic.resume(),
    }
}

/// With a commit sink, nobody learns of a state that may still be lost.
#[inline(always)]
fn wait_durable(version: u64) {
    if sink::is_active() {
        wait_sink(version);
    }
}

#[inline(never)]
fn wait_sink(version: u64) {
    if let Err(why) = sink::wait_durable(version) {
        panic!("{why}");
    }
}

type Ended<R, E> = Result<(Result<R, E>, u64), Panic>;

fn run_to_the_end<R, E>(
    mut spare: Spare,
    f: &impl Fn(&Transaction) -> Result<R, E>,
) -> (Spare, Ended<R, E>) {
    let mut failures = 0;
    let mut began = None;
    let (mut first_snapshot, mut waits_since) = (0, 0);
    loop {
        let (mut attempt, ran) = attempt_once(spare.begin(), Mode::Optimistic, f);
        let snapshot = attempt.view.snapshot();
        let answer = match ran {
            // Opaque, so what made it panic or fail was there at its snapshot: its place.
            Ran::Panic(panic) => return (attempt.discard(), Err(panic)),
            Ran::Answer(Err(error)) => return (attempt.discard(), Ok((Err(error), snapshot))),
            Ran::Answer(Ok(answer)) => answer,
            Ran::Left(left) => {
                spare = park(attempt, left.since(&mut waits_since));
                (failures, began) = (0, None);
                continue;
            }
            Ran::TakenBack => unreachable!("only an executor takes back"),
        };
        if attempt.is_plain_reader() {
            return (attempt.end(), Ok((Ok(answer), snapshot)));
        }
        match commit::commit_and_wait(attempt) {
            (spare, Outcome::Committed(version)) => return (spare, Ok((Ok(answer), version))),
            (spare, Outcome::Panicked(panic)) => return (spare, Err(panic)),
            (again, Outcome::Failed(_)) => spare = again,
            (_, Outcome::TakenBack) => unreachable!("only an executor takes back"),
        }
        // The clock is read only by those who have failed.
        let since = *began.get_or_insert_with(now_ns);
        if failures == 0 {
            first_snapshot = snapshot;
        }
        failures += 1;
        if failures >= MAX_FAILURES || now_ns() - since >= MAX_LOST_NS {
            match run_alone(spare, first_snapshot, f) {
                Ok(ended) => return ended,
                Err(left) => spare = left,
            }
            (failures, began) = (0, None);
        }
    }
}

/// Runs `f` while holding the baton. `Err` if it called `retry`: it has been parked and woken.
fn run_alone<R, E>(
    spare: Spare,
    first_snapshot: u64,
    f: &impl Fn(&Transaction) -> Result<R, E>,
) -> Result<(Spare, Ended<R, E>), Spare> {
    let mut hold = commit::take_alone(first_snapshot);
    let attempt = spare.begin();
    let snapshot = attempt.view.snapshot();
    holder::runs(Label::NONE, now_ns());
    let (attempt, ran) = attempt_once(attempt, Mode::Alone, f);
    holder::ran();
    let (spare, ended) = match ran {
        Ran::Answer(Ok(answer)) => match hold.commit(attempt) {
            (spare, Outcome::Committed(version)) => (spare, Ok((Ok(answer), version))),
            (spare, Outcome::Panicked(panic)) => (spare, Err(panic)),
            (_, Outcome::Failed(conflict)) => unreachable!("stale under the baton: {conflict:?}"),
            (_, Outcome::TakenBack) => unreachable!("it has not waited"),
        },
        Ran::Answer(Err(error)) => (attempt.end(), Ok((Err(error), snapshot))),
        Ran::Panic(panic) => (attempt.end(), Err(panic)),
        Ran::TakenBack => unreachable!("only an executor takes back"),
        Ran::Left(_) => {
            // What it read was not logged: once more without the baton, patient as at first.
            let spare = attempt.end();
            hold.end();
            return Err(spare);
        }
    };
    hold.end();
    Ok((spare, ended))
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
        Some(tx) => tx.savepoint(f),
        None => unreachable!("tested above"),
    })
}

fn read_only<R, E>(view: &Snapshot, f: &impl Fn(&Transaction) -> Result<R, E>) -> Result<R, E> {
    let (slot, logs) = Spare::new().split();
    let attempt = Attempt { view: view.view().again(slot), logs };
    let mode = Mode::ReadOnly { logged: view.is_logged() };
    let (attempt, ran) = attempt_once(attempt, mode, f);
    view.log(&attempt.logs.reads.cells());
    drop(attempt.discard());
    match ran {
        Ran::Answer(answer) => answer,
        Ran::Panic(panic) => panic.resume(),
        // By a snapshot inside of it.
        Ran::Left(left) => view.leave(*left),
        Ran::TakenBack => unreachable!("it has nothing by which it could be"),
    }
}

impl<T: Send + Sync + 'static> crate::TVar<T> {
    /// Calls `f` with the value in a snapshot made for this call; inside a transaction or a
    /// snapshot, with the value there.
    ///
    /// # Panics
    /// When `f` calls [`Snapshot::retry`](crate::Snapshot::retry) outside of any transaction: it
    /// runs once.
    #[track_caller]
    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        let f = Cell::new(Some(f));
        snapshot(|s| match f.take() {
            Some(f) => f(s.get(self)),
            None => panic!("`retry` inside `TVar::with`, whose closure runs once"),
        })
    }
}
