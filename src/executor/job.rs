//! What an executor runs: a [`Job`] given by the web layer, the loop or a caller, wrapped in a
//! [`Task`] that remembers its ticket and its failures; and what is known of a handler.

use super::{core::Core, heats, schedule::Cost, series::Sheet, transact::Panicked};
use crate::cell::{deferred, labels::Label};
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::transaction::{
    Snapshot, Transaction,
    attempt::{Attempt, Spare},
    cancel::{Cancel, Why},
    commit::{Finish, Outcome},
    inputs::{Admission, wall_ns},
    outbox::Home,
    parked::{ParkedId, Wake},
    run::Ran,
    sink,
};

/// A handler as the executor knows it: its name, what it costs, and how often it fails.
#[derive(Debug)]
pub(crate) struct Handled {
    /// The name.
    pub(crate) label: Label,
    cost_ns: AtomicU64,
    pub(crate) heat: heats::Shared,
}

impl Handled {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        Self::sharing(Label::of(name), heats::Shared::default())
    }

    /// One that others fail with.
    pub(crate) fn sharing(label: Label, heat: heats::Shared) -> Arc<Self> {
        let cost_ns = AtomicU64::new(0);
        Arc::new(Self { label, cost_ns, heat })
    }

    /// The recent maximum. Relaxed: a statistic.
    pub(crate) fn cost(&self) -> Cost {
        Cost(self.cost_ns.load(Ordering::Relaxed))
    }

    /// Counts one run. Two at the same time may lose one of them: a statistic. Written only when
    /// it says something new, because all workers read it.
    pub(crate) fn ran(&self, ns: u64) {
        let before = self.cost();
        let after = before.after(ns);
        if after.differs(before) {
            self.cost_ns.store(after.0, Ordering::Relaxed);
        }
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

/// What a handler decided about its own writes. A whole word: in [`Ran`], whose other variants have
/// one, it is not copied byte by byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Verdict {
    Commit,
    RollBack,
}

/// How a job ended.
pub(crate) struct Ended {
    /// Its place in the serial order: its own version, or its snapshot if it wrote nothing.
    pub(crate) version: u64,
    pub(crate) how: How,
}

/// What the end of a job means for whoever waits for it. Two words, so that it is handed on in
/// registers: only one variant may have a value.
pub(crate) enum How {
    /// Its last attempt stands.
    Done,
    /// The panic that ended it.
    Panicked(Panicked),
    /// It was never run: too much was under way.
    Refused,
    /// It was taken back before it could commit: nobody wanted its answer any more.
    Cancelled,
    /// The same: its deadline had passed.
    Late,
}

impl How {
    /// Whether it was taken back.
    pub(crate) fn is_taken_back(&self) -> bool {
        matches!(self, How::Cancelled | How::Late)
    }
}

impl From<Why> for How {
    fn from(why: Why) -> Self {
        match why {
            Why::Cancelled => How::Cancelled,
            Why::Late => How::Late,
        }
    }
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
    /// What its last attempt answered, as text, where that can be told.
    fn answer_text(&self) -> Option<String> {
        None
    }
    /// How many bytes were given with it, and are held as long as it is.
    fn input_bytes(&self) -> usize {
        0
    }
    /// Whether it may be refused when there is too much under way.
    fn may_be_refused(&self) -> bool {
        false
    }
    /// By what it can be taken back.
    fn cancel(&self) -> Option<&Arc<Cancel>> {
        None
    }
    /// It got its ticket, in arrival order. Called in the step that gives it, so in the order of
    /// tickets: brief, no user code.
    fn admitted(&mut self, _ticket: u64, _now_ns: u64) {}
    /// The end, on any thread. Runs no user code; the executor drops the job where that may run.
    fn ended(&mut self, ended: Ended);
    /// The same for a member of the series that `sheet` belongs to, which may take its answer.
    fn ended_on(&mut self, ended: Ended, _sheet: &mut dyn Sheet) {
        self.ended(ended);
    }
    /// Becomes another member of its series. Runs no user code.
    fn assign(&mut self, _member: usize) {}
}

/// A job under way.
pub(crate) struct Task {
    pub(crate) job: Box<dyn Job>,
    pub(crate) core: Arc<Core>,
    /// See [`Job::input_bytes`].
    pub(super) input_bytes: usize,
    pub(crate) ticket: u64,
    /// The wall clock at its admission.
    pub(crate) now_ns: u64,
    /// The first ticket of the series that it belongs to, which is counted as one; 0 for none.
    pub(crate) series: u64,
    pub(crate) searched: bool,
    /// In arrival order: it has run ahead of its turn, and awaits its judgement.
    pub(super) ahead: Option<(Attempt, Ran<Verdict>)>,
    /// Between its run and its end, where others are committed with it: the attempt, then what
    /// became of that.
    pub(super) attempt: Option<Attempt>,
    pub(super) outcome: Option<Outcome>,
    /// Whether it is counted among the READY ones.
    pub(crate) is_ready: bool,
    pub(crate) failures: u32,
    pub(crate) lost_ns: u64,
    pub(crate) first_snapshot: u64,
    /// When it was parked first, or 0.
    pub(crate) waits_since: u64,
    /// The last attempt.
    pub(crate) worker: usize,
    pub(crate) began_ns: u64,
    pub(crate) ended_ns: u64,
}

impl Task {
    /// Whether it belongs to a series: then it is a write, nobody takes it back, and its callbacks
    /// go to no loop of its own.
    #[inline]
    pub(super) fn is_member(&self) -> bool {
        self.series != 0
    }

    /// The inputs of its attempts.
    pub(super) fn admission(&self) -> Admission {
        Admission { ticket: self.ticket, now_ns: self.now_ns }
    }

    /// Becomes another member of its series, with that one's ticket.
    pub(crate) fn assign(&mut self, member: usize, ticket: u64) {
        self.job.assign(member);
        self.ticket = ticket;
        self.waits_since = 0;
        self.forget();
    }

    /// Forgets earlier attempts.
    fn forget(&mut self) {
        self.searched = false;
        self.failures = 0;
        self.lost_ns = 0;
    }

    /// Ends the task where no user code may run: the job is dropped later. With a commit sink, when
    /// `version` is durable.
    pub(crate) fn end_elsewhere(self: Box<Self>, version: u64, how: How) {
        if sink::is_active() {
            let end = move |durable| {
                let lost = || How::Panicked(Panicked::new("the commit sink has failed"));
                self.end_now(version, if durable { how } else { lost() });
            };
            sink::when_durable(version, Box::new(end));
        } else {
            self.end_now(version, how);
        }
    }

    fn end_now(mut self: Box<Self>, version: u64, how: How) {
        self.job.ended(Ended { version, how });
        let core = Arc::clone(&self.core);
        let member = self.is_member();
        deferred::push(deferred::Deferred::Run(Box::new(move || drop(self))));
        if !member {
            core.task_ended();
        }
        core.wake_for_deferred();
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.core.gave_back_input(self.input_bytes);
    }
}

impl Finish for Task {
    /// The outcome of a READY task, on whichever thread held the baton.
    fn finish(mut self: Box<Self>, spare: Spare, outcome: Outcome) {
        let core = Arc::clone(&self.core);
        core.return_spare(spare);
        core.leaves_ready(&mut self);
        self.decided(outcome);
    }

    fn parks(&mut self, id: ParkedId) -> bool {
        let core = Arc::clone(&self.core);
        core.leaves_ready(self);
        core.parks();
        !self.job.cancel().is_some_and(|cancel| cancel.parks(id))
    }

    fn woken(mut self: Box<Self>, wake: Wake) {
        let core = Arc::clone(&self.core);
        core.unparks();
        match wake {
            Wake::Written => {
                self.forget();
                self.now_ns = wall_ns();
                core.queue_again(self);
            }
            Wake::Cancelled => self.take_back(),
        }
    }
}

impl Task {
    /// Why it was taken back, if it was.
    pub(crate) fn taken_back(&self) -> Option<Why> {
        self.job.cancel().and_then(|cancel| cancel.why())
    }

    /// Ends it as taken back, where no user code may run.
    pub(crate) fn take_back(self: Box<Self>) {
        let (version, why) = (self.first_snapshot, self.taken_back().unwrap_or(Why::Cancelled));
        self.core.ledger.cancelled(&self);
        self.end_elsewhere(version, why.into());
    }

    /// Acts on an outcome where no user code may run.
    pub(crate) fn decided(mut self: Box<Self>, outcome: Outcome) {
        match outcome {
            Outcome::Committed(version) => {
                self.job.handled().heat.committed(self.ticket);
                self.core.ledger.committed(&self, version);
                self.end_elsewhere(version, How::Done);
            }
            Outcome::Failed(conflict) => {
                let core = Arc::clone(&self.core);
                let next = core.book_failure(&mut self, &conflict);
                core.queue_failed(self, next);
            }
            Outcome::TakenBack => self.take_back(),
            Outcome::Panicked(panic) => {
                let version = self.first_snapshot;
                let panicked = Panicked::contain(panic);
                self.core.ledger.panicked(&self, version);
                self.end_elsewhere(version, How::Panicked(panicked));
            }
        }
    }
}
