//! A loop without sockets and threads, whose clock stands still.

use super::dry_run::DryRun;
use crate::TVar;
use crate::cell::{labels::Label, made};
use crate::sync::Table;
use crate::transaction::{
    Transaction,
    attempt::{Attempt, Spare},
    commit::{self, Outcome},
    footprint,
    inputs::{Admission, Seed},
    outbox::{Callback, Home},
    run::{Ran, attempt_once},
    view::Mode,
};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The most callbacks of one [`TestLoop::run_until_idle`].
const MAX_CALLBACKS: usize = 1_000_000;
/// How often two runs are tried until no other thread writes between them.
const MAX_TRIES: usize = 100;
/// Where the clock stands in the beginning: the first second of 2020.
const BEGIN_NS: u64 = 1_577_836_800_000_000_000;

/// Runs handlers one after another on the calling thread, each as a transaction; with a clock that
/// stands still until it is moved, and random numbers that are the same in every test.
///
/// Callbacks and timers that handlers ask for wait until they are run: by
/// [`TestLoop::run_until_idle`] and [`TestLoop::advance`]. What handlers gave to
/// [`Transaction::on_commit`] is called before the call that ran them returns.
///
/// Cells are shared by the whole process, so other threads may use the same ones meanwhile.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use txloop::{TVar, Transaction, testing::TestLoop};
///
/// // A session that ends ten minutes after it began.
/// fn log_in(tx: &Transaction, session: &TVar<Option<u128>>) {
///     tx.set(session, Some(tx.unique_id()));
///     let session = session.clone();
///     tx.call_later(Duration::from_secs(600), move |tx| tx.set(&session, None));
/// }
///
/// let session = TVar::named("session", None);
/// let mut test = TestLoop::new();
/// // The handler is run again, as after a conflict.
/// test.abort_nth(1);
/// test.run(|tx| log_in(tx, &session));
/// assert_eq!(test.attempts(), 2);
/// assert!(session.with(Option::is_some));
///
/// test.advance(Duration::from_secs(599));
/// assert!(session.with(Option::is_some));
/// test.advance(Duration::from_secs(1));
/// assert!(session.with(Option::is_none));
/// ```
pub struct TestLoop {
    seed: Seed,
    now_ns: u64,
    tickets: u64,
    aborted: Vec<u32>,
    conflicts: Vec<Conflict>,
    attempts: u32,
    asked: Arc<Asked>,
}

/// What somebody else does before a first attempt commits.
struct Conflict {
    /// Only if the attempt has read this cell.
    cell: Option<u64>,
    write: Box<dyn Fn()>,
}

/// What handlers asked the loop for.
#[derive(Default)]
struct Asked(Table<Waiting>);

#[derive(Default)]
struct Waiting {
    now_ns: u64,
    callbacks: VecDeque<Callback>,
    /// By the time that they are due, then in the order in which they were asked for.
    timers: BTreeMap<(u64, u64), Callback>,
    timers_asked: u64,
}

impl Home for Asked {
    fn add_callback(&self, callback: Callback) {
        self.0.lock().callbacks.push_back(callback);
    }

    fn call_later(&self, delay: Duration, callback: Callback) {
        let mut waiting = self.0.lock();
        let due = waiting.now_ns.saturating_add(nanoseconds(delay));
        waiting.timers_asked += 1;
        let at = (due, waiting.timers_asked);
        waiting.timers.insert(at, callback);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl TestLoop {
    /// A loop whose clock shows the beginning of 2020 (UTC), and whose random numbers follow from a
    /// seed of zeroes.
    #[must_use]
    pub fn new() -> Self {
        let waiting = Waiting { now_ns: BEGIN_NS, ..Waiting::default() };
        Self {
            seed: Seed::default(),
            now_ns: BEGIN_NS,
            tickets: 0,
            aborted: Vec::new(),
            conflicts: Vec::new(),
            attempts: 0,
            asked: Arc::new(Asked(Table::new(waiting))),
        }
    }

    /// Sets what [`Transaction::rng`] and [`Transaction::unique_id`] follow from, together with the
    /// number of the handler: as [`ExecutorBuilder::seed`](crate::ExecutorBuilder::seed).
    pub fn seed(&mut self, seed: [u8; 32]) -> &mut Self {
        self.seed = seed;
        self
    }

    /// The time that handlers see.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.now_ns)
    }

    /// Sets the time that handlers see. Timers that are due by then run with the next
    /// [`TestLoop::advance`].
    ///
    /// # Panics
    /// If it is before 1970 or after 2554.
    pub fn set_now(&mut self, now: SystemTime) -> &mut Self {
        let since = now.duration_since(UNIX_EPOCH).expect("a time after 1970");
        self.turn_clock(u64::try_from(since.as_nanos()).expect("a time before 2554"));
        self
    }

    fn turn_clock(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.asked.0.lock().now_ns = now_ns;
    }

    /// Has attempt number `k`, counted from 1, of each handler that follows thrown away, as after a
    /// conflict: the handler runs again. Several calls add up.
    ///
    /// # Panics
    /// If `k` is 0.
    pub fn abort_nth(&mut self, k: u32) -> &mut Self {
        assert!(k != 0, "attempts are counted from 1");
        self.aborted.push(k);
        self
    }

    /// Has somebody else write `cell`, with the value that it has, between the first attempt of
    /// each handler that follows (the first that [`TestLoop::abort_nth`] leaves) and its commit. A
    /// handler that read the cell, and writes anything or has effects, conflicts and runs again;
    /// one that only reads has its place before that write.
    pub fn force_conflict<T>(&mut self, cell: &TVar<T>) -> &mut Self
    where
        T: Clone + Send + Sync + 'static,
    {
        let (id, cell) = (cell.cell().id(), cell.clone());
        let write = Box::new(move || {
            crate::atomically(|tx| tx.set(&cell, tx.get(&cell).clone()));
        });
        self.conflicts.push(Conflict { cell: Some(id), write });
        self
    }

    /// Has somebody else commit `f` between the first attempt of each handler that follows and its
    /// commit: into collections, or with another value.
    ///
    /// # Re-run
    /// `f` is a transaction like any other.
    ///
    /// # Examples
    /// ```
    /// use txloop::{TMap, testing::TestLoop};
    ///
    /// let seats = TMap::new();
    /// let book = |tx: &txloop::Transaction, name| match seats.get(tx, "1A") {
    ///     Some(_) => false,
    ///     None => seats.insert(tx, "1A", name).is_none(),
    /// };
    /// let (mut test, others) = (TestLoop::new(), seats.clone());
    /// test.meanwhile(move |tx| _ = others.insert(tx, "1A", "Bob"));
    /// assert!(!test.run(|tx| book(tx, "Ann")), "he was first");
    /// assert_eq!(test.attempts(), 2);
    /// ```
    pub fn meanwhile(&mut self, f: impl Fn(&Transaction) + 'static) -> &mut Self {
        let write = Box::new(move || crate::atomically(&f));
        self.conflicts.push(Conflict { cell: None, write });
        self
    }

    /// Ends what [`TestLoop::abort_nth`], [`TestLoop::force_conflict`] and [`TestLoop::meanwhile`]
    /// asked for.
    pub fn leave_in_peace(&mut self) -> &mut Self {
        self.aborted.clear();
        self.conflicts.clear();
        self
    }

    /// How many attempts the last handler took.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Runs `f` as a handler, and what it gave to [`Transaction::on_commit`].
    ///
    /// # Panics
    /// If `f` panics, or waits with [`Transaction::retry`]: nobody would wake it. Then nothing of
    /// it remains.
    ///
    /// # Re-run
    /// `f` is called again as often as was asked for, and when another thread gets in its way.
    #[track_caller]
    pub fn run<R>(&mut self, f: impl Fn(&Transaction) -> R) -> R {
        match self.try_run(|tx| Ok::<R, std::convert::Infallible>(f(tx))) {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }

    /// The same for a handler that may fail: with an `Err` nothing of it remains but the `Err`.
    ///
    /// # Errors
    /// What `f` returns.
    ///
    /// # Panics
    /// As [`TestLoop::run`].
    ///
    /// # Re-run
    /// As [`TestLoop::run`].
    #[track_caller]
    pub fn try_run<R, E>(&mut self, f: impl Fn(&Transaction) -> Result<R, E>) -> Result<R, E> {
        self.attempts = 0;
        let mut spare = self.admit();
        let mut in_peace = true;
        loop {
            self.attempts += 1;
            let (attempt, ran) = attempt_once(spare.begin(), Mode::Optimistic, &f);
            if self.aborted.contains(&self.attempts) {
                spare = attempt.discard();
                continue;
            }
            let answer = match ran {
                Ran::Answer(Ok(answer)) => answer,
                Ran::Answer(Err(error)) => {
                    drop(attempt.discard());
                    return Err(error);
                }
                Ran::Panic(panic) => {
                    drop(attempt.discard());
                    panic.resume()
                }
                Ran::Left(left) => {
                    drop(attempt.discard());
                    panic!("the handler waits, at {}, and nobody would wake it", left.place)
                }
                Ran::TakenBack => unreachable!("nobody takes it back"),
            };
            if std::mem::take(&mut in_peace) {
                self.disturb(&attempt);
            }
            match Self::commit(attempt) {
                Ok(()) => return Ok(answer),
                Err(again) => spare = again,
            }
        }
    }

    /// Has others commit before the first attempt that comes so far.
    fn disturb(&self, attempt: &Attempt) {
        let read: Vec<_> = attempt.logs.reads.cells().iter().map(|cell| cell.id()).collect();
        let is_hit = |conflict: &&Conflict| conflict.cell.is_none_or(|cell| read.contains(&cell));
        self.conflicts.iter().filter(is_hit).for_each(|conflict| (conflict.write)());
    }

    /// Commits an attempt and calls its effects; `Err` if it has to run again.
    fn commit(mut attempt: Attempt) -> Result<(), Spare> {
        // Called here and not by a thread of the library, so that a test need not wait for them.
        let effects = attempt.logs.outbox.take();
        if attempt.wrote_nothing() && effects.is_empty() {
            drop(attempt.discard());
        } else {
            match commit::commit_and_wait(attempt) {
                (_, Outcome::Committed(_)) => {}
                (spare, Outcome::Failed(_)) => return Err(spare),
                (_, Outcome::Panicked(panic)) => panic.resume(),
                (_, Outcome::TakenBack) => unreachable!("nobody takes it back"),
            }
        }
        effects.into_iter().for_each(|effect| effect());
        Ok(())
    }

    /// Whether a handler would wait, with [`Transaction::retry`], on the present state. Nothing of
    /// it remains.
    ///
    /// # Panics
    /// If `f` panics.
    pub fn waits<R>(&mut self, f: impl Fn(&Transaction) -> R) -> bool {
        let (attempt, ran) = attempt_once(self.admit().begin(), Mode::Optimistic, f);
        drop(attempt.discard());
        match ran {
            Ran::Left(_) => true,
            Ran::Panic(panic) => panic.resume(),
            Ran::Answer(_) | Ran::TakenBack => false,
        }
    }

    /// Runs a handler on the present state and tells what it would do; nothing of it is done.
    ///
    /// # Panics
    /// As [`TestLoop::run`].
    ///
    /// # Examples
    /// ```
    /// use txloop::{TVar, testing::TestLoop};
    ///
    /// let (stock, orders) = (TVar::named("stock", 3), TVar::named("orders", 0));
    /// let order = TestLoop::new().dry_run(|tx| {
    ///     tx.set(&stock, tx.get(&stock) - 1);
    ///     tx.modify(&orders, |n| *n += 1);
    /// });
    /// let writes: Vec<_> = order.writes().into_iter().map(|cell| cell.cell).collect();
    /// assert_eq!(writes, ["stock", "orders"]);
    /// assert_eq!((order.written(&stock), stock.with(|n| *n)), (Some(&2), 3));
    /// ```
    #[track_caller]
    pub fn dry_run<R>(&mut self, f: impl Fn(&Transaction) -> R) -> DryRun<R> {
        let (attempt, ran) = attempt_once(self.admit().begin(), Mode::Optimistic, f);
        match ran {
            Ran::Answer(answer) => DryRun { answer, attempt },
            Ran::Panic(panic) => {
                drop(attempt.discard());
                panic.resume()
            }
            Ran::Left(left) => {
                drop(attempt.discard());
                panic!("the handler waits, at {}, and nobody would wake it", left.place)
            }
            Ran::TakenBack => unreachable!("nobody takes it back"),
        }
    }

    /// Runs a handler twice on the present state, with the same inputs, and throws both attempts
    /// away.
    ///
    /// # Panics
    /// If they differ: in what they answered, in the cells that they used, in the values that they
    /// would have written (as far as these are numbers, strings, times and the like), in the number
    /// of effects. Also as [`TestLoop::run`]; and if other threads write what the handler reads
    /// between its two runs, a hundred times.
    ///
    /// # Examples
    /// ```should_panic
    /// use std::time::SystemTime;
    /// use txloop::{TVar, testing::TestLoop};
    ///
    /// let seen = TVar::named("seen", None);
    /// // The clock, and not `tx.now()`.
    /// TestLoop::new().assert_rerunnable(|tx| tx.set(&seen, Some(SystemTime::now())));
    /// ```
    #[track_caller]
    pub fn assert_rerunnable<R>(&mut self, f: impl Fn(&Transaction) -> R)
    where
        R: PartialEq + fmt::Debug,
    {
        for _ in 0..MAX_TRIES {
            let (first, first_made) = made::noting(|| self.dry_run(&f));
            self.tickets -= 1;
            let beside = self.admit().begin_beside(&first.attempt);
            let ((second, ran), made) = made::noting(|| attempt_once(beside, Mode::Optimistic, &f));
            if first.attempt.view.snapshot() != second.view.snapshot() {
                // It met what another thread wrote meanwhile, and moved on.
                self.tickets -= 1;
                continue;
            }
            let difference = match ran {
                Ran::Answer(answer) if answer != first.answer => {
                    Some(format!("answered {:?}, then {answer:?}", first.answer))
                }
                Ran::Answer(_) => {
                    footprint::difference((&first.attempt, &first_made), (&second, &made))
                }
                _ => Some("returned at first, and did not return then".to_owned()),
            };
            let Some(how) = difference else { return };
            panic!(
                "the handler cannot be run again: on one snapshot, with the same inputs, it {how}"
            );
        }
        panic!("other threads write what the handler reads, all the time");
    }

    /// Runs callbacks in the order in which they were asked for, also those that they ask for,
    /// until there are none. Gives their number.
    ///
    /// # Panics
    /// As [`TestLoop::run`], and after a million callbacks.
    #[track_caller]
    pub fn run_until_idle(&mut self) -> usize {
        let mut count = 0;
        loop {
            let next = self.asked.0.lock().callbacks.pop_front();
            let Some(callback) = next else { return count };
            count += 1;
            assert!(count <= MAX_CALLBACKS, "callbacks without an end");
            self.run(|tx| callback(tx));
        }
    }

    /// Moves the clock on, and stops on the way wherever a timer is due, to run it and all
    /// callbacks. Gives the number of timers.
    ///
    /// # Panics
    /// As [`TestLoop::run_until_idle`], and after a million timers.
    #[track_caller]
    pub fn advance(&mut self, by: Duration) -> usize {
        let end = self.now_ns.saturating_add(nanoseconds(by));
        let mut count = 0;
        self.run_until_idle();
        loop {
            let next = {
                let mut waiting = self.asked.0.lock();
                let first = waiting.timers.first_entry().filter(|timer| timer.key().0 <= end);
                first.map(|timer| timer.remove_entry())
            };
            let Some(((due, _), callback)) = next else { break };
            self.turn_clock(self.now_ns.max(due));
            count += 1;
            assert!(count <= MAX_CALLBACKS, "timers without an end");
            self.run(|tx| callback(tx));
            self.run_until_idle();
        }
        self.turn_clock(end);
        count
    }

    /// How many timers have not run.
    #[must_use]
    pub fn timers(&self) -> usize {
        self.asked.0.lock().timers.len()
    }

    /// Gives the next handler the number after this one.
    pub(super) fn count_from(&mut self, tickets: u64) {
        self.tickets = tickets;
    }

    /// A slot and logs for the next handler.
    pub(super) fn admit(&mut self) -> Spare {
        self.tickets += 1;
        let admission = Admission { ticket: self.tickets, now_ns: self.now_ns };
        let home = Arc::clone(&self.asked) as Arc<dyn Home>;
        Spare::seeded(self.seed).handler(Label::NONE, Some(admission)).tied(None, Some(home))
    }
}

impl Default for TestLoop {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TestLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestLoop")
            .field("now", &self.now())
            .field("handlers", &self.tickets)
            .field("timers", &self.timers())
            .finish_non_exhaustive()
    }
}
