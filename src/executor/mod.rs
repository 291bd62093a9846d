//! The executor: runs jobs as transactions on several threads, again where they conflict.
//!
//! A *task* is a job with a ticket. A worker runs it with a fresh attempt and tries the baton; if
//! somebody else holds it, the attempt becomes READY and the worker goes on. Whoever holds the
//! baton commits it or gives the task back to be run again; after three failures, or 10 ms thrown
//! away, it runs *alone*, holding the baton. With one thread every write handler does, and nothing
//! is logged nor validated, unless a thread outside has the baton for longer than a few looks.

mod arrival;
#[cfg(txloop_check)]
pub(crate) mod check;
mod core;
mod heat;
mod heats;
mod holding;
pub(crate) mod job;
mod lane;
mod ledger;
mod limits;
mod members;
mod ready;
pub(crate) mod runner;
pub(crate) mod schedule;
mod series;
#[cfg(all(test, shuttle))]
mod shuttled;
mod sleepers;
mod transact;
mod turns;
mod twice;
mod watch;
mod worker;

pub use ledger::{LongHold, Pair, Stats};
pub use limits::Refused;
pub use transact::{Failure, Panicked, Transact};

use self::{
    core::{Core, Queued},
    limits::Limits,
};
use crate::conflict_log::Log;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{
    Arc, Parker, cores, now_ns, spawn,
    thread::{self, JoinHandle},
};
use crate::transaction::{
    Transaction,
    inputs::{fresh_seed, wall_ns},
    view,
};
use job::Job;
use ledger::Ledger;
use series::{Batch, Series};
use sleepers::Sleepers;
use std::{fmt, path::PathBuf};
use twice::Twice;

/// The most threads of one executor.
pub const MAX_THREADS: usize = 256;

/// In which order the transactions of an executor take effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// In the order in which they commit, whatever that turns out to be: strictly serializable.
    /// Nobody waits for a long handler that came earlier.
    #[default]
    Commit,
    /// In the order in which they arrived: state, answers and effects are byte for byte those of
    /// one thread that runs them one after another, given the same tickets.
    ///
    /// Handlers still run ahead on all threads, but an answer waits for all that arrived earlier. A
    /// read-only handler holds nobody back. A transaction on a thread outside the executor takes
    /// its place between two tickets. Threads beyond the number of cores take only handlers of more
    /// than 20 us that seldom conflict: whoever is taken off its core while it has a brief one
    /// would hold up all others. For the same reason, a handler whose runs have all been brief and
    /// that once waits for something of its own, a lock say, holds up tickets before its own: its
    /// thread may have run some ahead and kept them.
    Arrival,
}

/// How an [`Executor`] is to be built.
#[derive(Debug, Clone, Default)]
#[must_use = "nothing runs before `build`"]
pub struct ExecutorBuilder {
    threads: Option<usize>,
    order: Order,
    seed: Option<[u8; 32]>,
    limits: Limits,
    log: Option<PathBuf>,
    look_twice: Option<bool>,
    cores: Option<usize>,
}

impl ExecutorBuilder {
    /// How many handlers can run at once: 1 to [`MAX_THREADS`]; by default as many as there are
    /// cores. With 1, a handler runs while holding the baton: no read is logged, none validated,
    /// unless a thread outside has it for long.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// As if so many threads could run at once here, for tests.
    #[doc(hidden)]
    pub fn cores(mut self, cores: usize) -> Self {
        self.cores = Some(cores);
        self
    }

    /// In which order the transactions take effect; [`Order::Commit`] by default.
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Fixes the secret from which [`Transaction::rng`] and [`Transaction::unique_id`] follow,
    /// ticket by ticket: for tests and replays. By default the system provides one.
    pub fn seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The most transactions that may be under way, parked ones included; 100,000 by default.
    /// Further ones are refused: [`Failure::Overloaded`], or 503 from an
    /// [`App`](crate::App). Callbacks, timers and [`Executor::run`] are not.
    pub fn max_under_way(mut self, transactions: usize) -> Self {
        self.limits.under_way = transactions;
        self
    }

    /// The most bytes of old versions, dropped cells and effects that wait, see
    /// [`memory`](crate::memory), with which new transactions are taken; 1 GiB by default. Above it
    /// they are refused as by [`ExecutorBuilder::max_under_way`], until the snapshots have ended
    /// that hold such memory, or the effects have been called.
    pub fn max_kept_bytes(mut self, bytes: usize) -> Self {
        self.limits.kept_bytes = bytes;
        self
    }

    /// The most bytes of request bodies under way with which new transactions are taken; 256 MiB by
    /// default. At or above it they are refused as by [`ExecutorBuilder::max_under_way`]. Bodies
    /// that are still being read are bounded by [`App::max_body`](crate::App::max_body) and the
    /// number of connections.
    pub fn max_input_bytes(mut self, bytes: usize) -> Self {
        self.limits.input_bytes = bytes;
        self
    }

    /// Whether some handlers are run twice on one snapshot, to find those that cannot be run again.
    /// By default as the environment variable `TXLOOP_LOOK_TWICE` says, `on` or `off`; without it,
    /// in debug builds. Sampled are the first run under a name, the second, the fourth,
    /// the eighth and so on. What these runs do is thrown away. A handler that does not do the same
    /// twice is named on the standard error stream, and in
    /// [`Stats::not_rerunnable`]: see [the guide](crate::guide::rerunnable). One that blocks until
    /// something comes that comes once waits for ever: it was not re-runnable either.
    pub fn look_twice(mut self, on: bool) -> Self {
        self.look_twice = Some(on);
        self
    }

    /// Writes a conflict log to this file, which is replaced. Read it with `stm-log`.
    pub fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self
    }

    /// What was said with [`ExecutorBuilder::look_twice`].
    pub(crate) fn looks_twice(&self) -> Option<bool> {
        self.look_twice
    }

    /// Whether transactions take effect in the order of arrival.
    pub(crate) fn is_arrival(&self) -> bool {
        self.order == Order::Arrival
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// When the number of threads is out of range, the log cannot be created, or the system gives
    /// no more threads.
    pub fn build(self) -> Result<Executor> {
        self.start(false)
    }

    /// Without worker threads if there is to be one: the loop's thread is it.
    pub(crate) fn build_for_loop(self) -> Result<Executor> {
        self.start(true)
    }

    fn start(self, for_loop: bool) -> Result<Executor> {
        let threads = match self.threads {
            Some(threads) => threads,
            None => cores().min(MAX_THREADS),
        };
        if !(1..=MAX_THREADS).contains(&threads) {
            let message = format!("{threads} threads: must be 1 to {MAX_THREADS}");
            return Err(Error::new(ErrorKind::Config, message));
        }
        let log = match self.log {
            Some(file) => {
                view::keep_places();
                Some(Log::create(&file, threads as u32)?)
            }
            None => None,
        };
        let workers = if for_loop && threads == 1 { 0 } else { threads };
        let parkers: Vec<Parker> = (0..workers).map(|_| Parker::new()).collect();
        let unparkers = parkers.iter().map(|parker| parker.unparker().clone()).collect();
        let (ledger, seed) = (Ledger::new(log, workers + 1), self.seed.unwrap_or_else(fresh_seed));
        let twice = Twice::new(self.look_twice.unwrap_or_else(Twice::by_default));
        let helpers_from = match self.order {
            Order::Commit => usize::MAX,
            Order::Arrival => self.cores.unwrap_or_else(cores),
        };
        let sleepers = Sleepers::new(unparkers, helpers_from);
        let core = Core::new(threads, self.order, self.limits, seed, sleepers, ledger, twice);
        let mut executor = Executor { core, workers: Vec::new() };
        for (index, parker) in parkers.into_iter().enumerate() {
            let core = Arc::clone(&executor.core);
            let worker =
                spawn(&format!("txloop-{index}"), move || worker::run(core, index, parker));
            // On failure the executor is dropped, which ends the workers that started.
            let worker =
                worker.map_err(|e| Error::io(format!("cannot start thread {index}"), e))?;
            executor.workers.push(worker);
        }
        Ok(executor)
    }
}

/// Threads that run transactions for others.
///
/// Dropping an executor waits until everything that it accepted has ended.
pub struct Executor {
    core: Arc<Core>,
    workers: Vec<JoinHandle<()>>,
}

impl Executor {
    /// An executor with `threads` threads.
    ///
    /// # Errors
    /// As [`ExecutorBuilder::build`].
    pub fn new(threads: usize) -> Result<Self> {
        Self::builder().threads(threads).build()
    }

    /// How the executor is to be built.
    pub fn builder() -> ExecutorBuilder {
        ExecutorBuilder::default()
    }

    /// Runs `f` as a transaction on one of the threads, under the name given to the log.
    ///
    /// How often handlers fail, and whether they belong in the serial lane, is kept by that name:
    /// closures that differ much should have different ones. Names are kept for good; beyond some
    /// 65,000 of them all further ones are the same.
    ///
    /// # Re-run
    /// `f` may be called several times; only the last call counts.
    ///
    /// # Examples
    /// ```
    /// use txloop::{Executor, TVar};
    ///
    /// let executor = Executor::new(2)?;
    /// let hits = TVar::new(0);
    /// let cell = hits.clone();
    /// let hit = executor.transact("hit", move |tx| tx.modify(&cell, |n| { *n += 1; *n }));
    /// assert_eq!(hit.wait(), Ok(1));
    /// # Ok::<(), txloop::Error>(())
    /// ```
    pub fn transact<R: Send + 'static>(
        &self,
        name: &str,
        f: impl Fn(&Transaction) -> R + Send + Sync + 'static,
    ) -> Transact<R> {
        let (job, transact) = transact::job(self.core.heats.handled(name), f);
        self.submit(job);
        transact
    }

    /// Runs closures as one transaction each, all under one name, as in [`Executor::transact`], and
    /// returns their answers.
    ///
    /// In [`Order::Arrival`] the result is what running them one after another would have given; in
    /// [`Order::Commit`] what some order would have given. The calling thread sleeps meanwhile.
    /// Much cheaper for each closure than [`Executor::transact`].
    ///
    /// # Panics
    /// When called on a thread of the same executor, by a handler or what it left for after its
    /// commit, or with a [`Loop`](crate::Loop) that has no other thread: the threads could wait for
    /// one another for ever. A closure that panics is no panic of this: its answer is an error.
    ///
    /// # Re-run
    /// A closure may be called several times; only the last call counts.
    ///
    /// # Examples
    /// ```
    /// use txloop::{Executor, Order, TVar, Transaction};
    ///
    /// let executor = Executor::builder().threads(2).order(Order::Arrival).build()?;
    /// let cell = TVar::new(0);
    /// let append = |digit| {
    ///     let cell = cell.clone();
    ///     move |tx: &Transaction| tx.set(&cell, tx.get(&cell) * 10 + digit)
    /// };
    /// executor.run("append", [1, 2, 3].map(append));
    /// assert_eq!(cell.with(|n| *n), 123);
    /// # Ok::<(), txloop::Error>(())
    /// ```
    pub fn run<R: Send + 'static, F>(
        &self,
        name: &str,
        batch: impl IntoIterator<Item = F>,
    ) -> Vec<Result<R, Panicked>>
    where
        F: Fn(&Transaction) -> R + Send + Sync + 'static,
    {
        assert!(
            !self.is_called_by_itself() && !self.is_inline_only(),
            "`Executor::run` was called on a thread of the same executor, which would wait for \
             itself; use `Executor::transact`, and poll it or leave it"
        );
        let closures: Vec<F> = batch.into_iter().collect();
        if closures.is_empty() {
            return Vec::new();
        }
        let (handled, count) = (self.core.heats.handled(name), closures.len());
        let admit = |first| Arc::new(Batch::new(closures, handled, first, wall_ns()));
        self.core.accepted();
        let batch = match &self.core.arrival {
            None => {
                let batch = admit(self.core.tickets(count));
                self.core.queue_series(Arc::clone(&batch) as Arc<dyn Series>);
                batch
            }
            Some(arrival) => {
                let mut admitted = None;
                arrival.admit_series(|| {
                    let batch = admit(self.core.tickets(count));
                    admitted = Some(Arc::clone(&batch));
                    Queued::Series(batch)
                });
                admitted.expect("called by the line above")
            }
        };
        self.core.wake_one();
        let answers = batch.wait();
        self.core.task_ended();
        answers
    }

    /// Admits a job and sees to it that a worker runs it.
    pub(crate) fn submit(&self, job: Box<dyn Job>) {
        if let Some(job) = self.core.refuse_if_full(job) {
            self.admit(job, wall_ns());
        }
    }

    /// Admits a job as one that arrived at `now_ns` on the wall clock.
    pub(crate) fn admit(&self, job: Box<dyn Job>, now_ns: u64) {
        let task = self.core.accept(job, now_ns);
        self.core.queue(task);
        self.core.wake_one();
    }

    /// How many handlers can run at once.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.core.threads
    }

    /// What has been done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (under_way, parked) = (self.core.under_way(), self.core.parked());
        let input_bytes = self.core.input_bytes();
        let not_rerunnable = self.core.twice.found();
        let (refused, stats) = (self.core.refusals.shown(), self.core.ledger.stats());
        Stats { under_way, parked, refused, input_bytes, not_rerunnable, ..stats }
    }

    /// Does not wait for the threads any more when dropped.
    pub(crate) fn abandon(&mut self) {
        self.workers.clear();
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The runner of the loop's own thread.
    pub(crate) fn loop_runner(&self) -> runner::Runner {
        runner::Runner::new(Arc::clone(&self.core), self.loop_index())
    }

    /// Whether the loop's thread is the only one that runs handlers.
    pub(crate) fn is_inline_only(&self) -> bool {
        self.workers.is_empty()
    }

    /// Whether this is one of its threads.
    fn is_called_by_itself(&self) -> bool {
        let me = thread::current().id();
        self.workers.iter().any(|worker| worker.thread().id() == me)
    }

    /// The loop's number among the threads that run handlers.
    pub(crate) fn loop_index(&self) -> usize {
        self.workers.len()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.core.stop();
        if self.is_called_by_itself() {
            // Dropped by something that one of its own threads runs, and which must end first: the
            // threads end by themselves.
            self.workers.clear();
        }
        for worker in self.workers.drain(..) {
            // A worker contains the panics of handlers; its own would be a defect, and is printed.
            let _ = worker.join();
        }
        self.core.ledger.flush_if_due(0, now_ns());
        self.core.ledger.finish();
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("threads", &self.core.threads).finish_non_exhaustive()
    }
}
