//! What an executor runs: a [`Job`] given by the web layer, the loop or a caller, wrapped in a
//! [`Task`] that remembers its ticket and its failures.

use super::{core::Core, schedule::Cost, transact::Panicked};
use crate::cell::{deferred, labels::Label};
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::transaction::{
    Snapshot, Transaction,
    attempt::Spare,
    commit::{Finish, Outcome},
    outbox::Home,
};

/// A handler as the executor knows it: its name and what it costs.
#[derive(Debug)]
pub(crate) struct Handled {
    /// The name.
    pub(crate) label: Label,
    cost_ns: AtomicU64,
}

impl Handled {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        Arc::new(Self { label: Label::of(name), cost_ns: AtomicU64::new(0) })
    }

    /// The recent maximum. Relaxed: a statistic.
    pub(crate) fn cost(&self) -> Cost {
        Cost(self.cost_ns.load(Ordering::Relaxed))
    }

    /// Counts one run. Two at the same time may lose one of them: a statistic.
    pub(crate) fn ran(&self, ns: u64) {
        self.cost_ns.store(self.cost().after(ns).0, Ordering::Relaxed);
    }
}

/// How a job wants to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Once, on a snapshot.
    Read,
    /// As a transaction.
    Write,
    /// A search on a snapshot, once, then a transaction.
    SearchThenWrite,
}

/// What a handler decided about its own writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Commit,
    RollBack,
}

/// How a job ended.
pub(crate) struct Ended {
    /// Its place in the serial order: its own version, or its snapshot if it wrote nothing.
    pub(crate) version: u64,
    /// The panic that ended it, if one did.
    pub(crate) panic: Option<Panicked>,
}

/// One handler with its input. Calls into user code are made by the executor only.
pub(crate) trait Job: Send {
    fn handled(&self) -> &Arc<Handled>;
    fn kind(&self) -> Kind;
    /// The loop that its callbacks go to.
    fn home(&self) -> Option<Arc<dyn Home>> {
        None
    }
    /// The run of a [`Kind::Read`]; the search of a [`Kind::SearchThenWrite`].
    fn view(&mut self, _view: &Snapshot) {}
    /// One attempt of the others. Called again if it does not stand; only the last call counts.
    fn attempt(&mut self, _tx: &Transaction) -> Verdict {
        Verdict::Commit
    }
    /// The end, on any thread. Runs no user code; the executor drops the job where that may run.
    fn ended(&mut self, ended: Ended);
}

/// A job under way.
pub(crate) struct Task {
    pub(crate) job: Box<dyn Job>,
    pub(crate) core: Arc<Core>,
    pub(crate) ticket: u64,
    pub(crate) searched: bool,
    pub(crate) failures: u32,
    pub(crate) lost_ns: u64,
    pub(crate) first_snapshot: u64,
    /// The last attempt.
    pub(crate) worker: usize,
    pub(crate) began_ns: u64,
    pub(crate) ended_ns: u64,
}

impl Task {
    /// Ends the task where no user code may run: the job is dropped later.
    pub(crate) fn end_elsewhere(mut self: Box<Self>, ended: Ended) {
        self.job.ended(ended);
        let core = Arc::clone(&self.core);
        deferred::push(deferred::Deferred::Run(Box::new(move || drop(self))));
        core.task_ended();
        core.wake_for_deferred();
    }
}

impl Finish for Task {
    /// The outcome of a READY task, on whichever thread held the baton.
    fn finish(self: Box<Self>, spare: Spare, outcome: Outcome) {
        self.core.return_spare(spare);
        self.core.ready_left();
        match outcome {
            Outcome::Committed(version) => {
                self.core.committed(&self, version);
                self.end_elsewhere(Ended { version, panic: None });
            }
            Outcome::Failed(conflict) => Core::failed(self, &conflict),
        }
    }
}
