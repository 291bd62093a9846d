//! The executor: runs jobs as transactions on several threads, again where they conflict.
//!
//! A *task* is a job with a ticket. A worker runs it with a fresh attempt and tries the baton; if
//! somebody else holds it, the attempt becomes READY and the worker goes on. Whoever holds the
//! baton commits it or gives the task back to be run again; after three failures, or 10 ms thrown
//! away, it runs *alone*, holding the baton. With one thread every write handler does, and nothing
//! is logged nor validated.

mod core;
pub(crate) mod job;
mod ledger;
pub(crate) mod runner;
pub(crate) mod schedule;
mod transact;
mod worker;

pub use ledger::{Pair, Stats};
pub use transact::{Panicked, Transact};

use self::core::Core;
use crate::conflict_log::Log;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{Arc, now_ns, spawn, thread::JoinHandle};
use crate::transaction::{Transaction, view};
use crossbeam_utils::sync::Parker;
use job::Job;
use ledger::Ledger;
use std::{fmt, path::PathBuf};

/// The most threads of one executor.
pub const MAX_THREADS: usize = 256;

/// How an [`Executor`] is to be built.
#[derive(Debug, Clone, Default)]
#[must_use = "nothing runs before `build`"]
pub struct ExecutorBuilder {
    threads: Option<usize>,
    log: Option<PathBuf>,
}

impl ExecutorBuilder {
    /// How many handlers can run at once: 1 to [`MAX_THREADS`]; by default as many as there are
    /// cores. With 1, a handler runs while holding the baton: no read is logged, none validated.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Writes a conflict log to this file, which is replaced. Read it with `stm-log`.
    pub fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self
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
            None => std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS),
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
        let core = Core::new(threads, unparkers, Ledger::new(log, workers + 1));
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
        let (job, transact) = transact::job(name, f);
        self.submit(job);
        transact
    }

    /// Admits a job and sees to it that a worker runs it.
    pub(crate) fn submit(&self, job: Box<dyn Job>) {
        let task = self.core.admit(job);
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
        self.core.ledger.stats()
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

    /// The loop's number among the threads that run handlers.
    pub(crate) fn loop_index(&self) -> usize {
        self.workers.len()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.core.stop();
        let me = std::thread::current().id();
        if self.workers.iter().any(|worker| worker.thread().id() == me) {
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
