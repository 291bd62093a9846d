//! What workers, loop and committers share: the queues, the sleepers, the account.
//!
//! | field | written by | read by |
//! |---|---|---|
//! | queues | anyone pushes | workers, and the loop in its own batch, pop |
//! | `sleepers`, `asleep` | a worker before it parks | whoever pushes, after a fence |
//! | `outstanding` | accepted: +1; ended: -1 | workers that were told to stop |
//! | `ready` | the worker that submits: +1; the finisher: -1 | workers, to bound it |
//!
//! No lost wake-up: a worker says that it sleeps, fences, and looks at the queues once more;
//! whoever pushes does so, fences, and looks for sleepers. One of the two sees the other.

use super::{
    job::{Ended, Job, Task},
    ledger::Ledger,
    schedule::{self, Class, Next},
};
use crate::cell::deferred;
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use crate::transaction::{
    attempt::Spare,
    conflict::Conflict,
    run::{MAX_FAILURES, MAX_LOST_NS},
};
use crossbeam_queue::{ArrayQueue, SegQueue};
use crossbeam_utils::CachePadded;
use crossbeam_utils::sync::Unparker;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

/// The most attempts of one executor that are finished and not committed.
const MAX_READY: usize = 64;
/// How long a worker waits between two looks at a full READY list.
const READY_PAUSE: Duration = Duration::from_micros(20);

pub(crate) struct Core {
    /// How many handlers can run at once. With one, it runs while holding the baton.
    pub(crate) threads: usize,
    /// Served before all else: whoever takes one waits for the baton first.
    alone: SegQueue<Box<Task>>,
    again: SegQueue<Box<Task>>,
    cheap: SegQueue<Box<Task>>,
    expensive: SegQueue<Box<Task>>,
    spares: ArrayQueue<Spare>,
    tickets: AtomicU64,
    outstanding: CachePadded<AtomicUsize>,
    ready: CachePadded<AtomicUsize>,
    sleeping: CachePadded<AtomicUsize>,
    sleepers: SegQueue<usize>,
    workers: Vec<Sleeper>,
    stopping: AtomicBool,
    pub(crate) ledger: Ledger,
}

/// How a worker is woken.
struct Sleeper {
    unparker: Unparker,
    asleep: AtomicBool,
    /// Whether its number stands in `sleepers`: at most once, however often it sleeps.
    listed: AtomicBool,
}

impl Sleeper {
    fn new(unparker: Unparker) -> Self {
        Self { unparker, asleep: AtomicBool::new(false), listed: AtomicBool::new(false) }
    }
}

impl Core {
    pub(crate) fn new(threads: usize, unparkers: Vec<Unparker>, ledger: Ledger) -> Arc<Self> {
        Arc::new(Self {
            threads,
            alone: SegQueue::new(),
            again: SegQueue::new(),
            cheap: SegQueue::new(),
            expensive: SegQueue::new(),
            spares: ArrayQueue::new(MAX_READY),
            tickets: AtomicU64::new(0),
            outstanding: CachePadded::new(AtomicUsize::new(0)),
            ready: CachePadded::new(AtomicUsize::new(0)),
            sleeping: CachePadded::new(AtomicUsize::new(0)),
            sleepers: SegQueue::new(),
            workers: unparkers.into_iter().map(Sleeper::new).collect(),
            stopping: AtomicBool::new(false),
            ledger,
        })
    }

    /// Admits a job: it gets its ticket.
    pub(crate) fn admit(self: &Arc<Self>, job: Box<dyn Job>) -> Box<Task> {
        // Relaxed: counters; a task is handed over by a queue.
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        Box::new(Task {
            job,
            core: Arc::clone(self),
            ticket: self.tickets.fetch_add(1, Ordering::Relaxed) + 1,
            searched: false,
            failures: 0,
            lost_ns: 0,
            first_snapshot: 0,
            worker: 0,
            began_ns: 0,
            ended_ns: 0,
        })
    }

    /// Queues an admitted task by its class, without waking anybody.
    pub(crate) fn queue(&self, task: Box<Task>) {
        match task.job.handled().cost().class() {
            Class::Cheap => self.cheap.push(task),
            Class::Expensive => self.expensive.push(task),
        }
    }

    /// The next task for a worker. `cheap_run` counts cheap ones in a row.
    pub(crate) fn next(&self, cheap_run: &mut u32) -> Option<Work> {
        if let Some(task) = self.alone.pop() {
            return Some(Work::Alone(task));
        }
        if let Some(task) = self.again.pop() {
            return Some(Work::Task(task));
        }
        if *cheap_run < schedule::CHEAP_IN_A_ROW
            && let Some(task) = self.cheap.pop()
        {
            *cheap_run += 1;
            return Some(Work::Task(task));
        }
        *cheap_run = 0;
        self.expensive.pop().or_else(|| self.cheap.pop()).map(Work::Task)
    }

    /// Whether a worker would find something, as far as this thread can see.
    pub(crate) fn has_work(&self) -> bool {
        !(self.cheap.is_empty()
            && self.expensive.is_empty()
            && self.again.is_empty()
            && self.alone.is_empty())
    }

    /// Wakes one sleeping worker, if work waits and one sleeps.
    pub(crate) fn wake_one(&self) {
        // See the module: pairs with the fence in `sleep`.
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) == 0 {
            return;
        }
        while let Some(index) = self.sleepers.pop() {
            let worker = &self.workers[index];
            // SeqCst, against `may_sleep`: unlisted before the look at `asleep`, so that a worker
            // which finds itself listed still is seen asleep here.
            worker.listed.store(false, Ordering::SeqCst);
            if worker.asleep.swap(false, Ordering::SeqCst) {
                self.sleeping.fetch_sub(1, Ordering::Relaxed);
                worker.unparker.unpark();
                return;
            }
        }
    }

    /// Says that worker `index` is about to park; false if there is something to do after all.
    pub(crate) fn may_sleep(&self, index: usize) -> bool {
        let worker = &self.workers[index];
        worker.asleep.store(true, Ordering::SeqCst);
        self.sleeping.fetch_add(1, Ordering::Relaxed);
        if !worker.listed.swap(true, Ordering::SeqCst) {
            self.sleepers.push(index);
        }
        fence(Ordering::SeqCst);
        let over = self.is_stopping() && self.is_drained();
        if self.has_work() || over || deferred::pending() {
            self.awake(index);
            return false;
        }
        true
    }

    /// Takes back what [`Core::may_sleep`] said, unless somebody has ended the sleep.
    pub(crate) fn awake(&self, index: usize) {
        if self.workers[index].asleep.swap(false, Ordering::SeqCst) {
            self.sleeping.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Tells the workers to end when everything accepted has ended.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        for worker in &self.workers {
            worker.unparker.unpark();
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Whether everything accepted has ended.
    pub(crate) fn is_drained(&self) -> bool {
        self.outstanding.load(Ordering::Acquire) == 0
    }

    /// A task has ended.
    pub(crate) fn task_ended(&self) {
        // Release: what the task did happens before `is_drained` says so.
        if self.outstanding.fetch_sub(1, Ordering::Release) == 1 && self.is_stopping() {
            self.stop();
        }
    }

    /// Values wait to be dropped: a sleeping worker may do it.
    pub(crate) fn wake_for_deferred(&self) {
        if deferred::pending() {
            self.wake_one();
        }
    }

    pub(crate) fn take_spare(&self) -> Spare {
        self.spares.pop().unwrap_or_else(Spare::new)
    }

    pub(crate) fn return_spare(&self, spare: Spare) {
        // A full pool gives the slot back.
        let _ = self.spares.push(spare);
    }

    /// Counts an attempt that becomes READY. Waits while [`MAX_READY`] are: the holder takes them.
    pub(crate) fn ready_joins(&self) {
        while self.ready.load(Ordering::Relaxed) >= MAX_READY {
            // Somebody holds the baton, possibly for as long as a handler that runs alone.
            crate::sync::thread::sleep(READY_PAUSE);
        }
        self.ready.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ready_left(&self) {
        self.ready.fetch_sub(1, Ordering::Relaxed);
    }

    /// Books a committed task.
    pub(crate) fn committed(&self, task: &Task, version: u64) {
        self.ledger.committed(task, version);
    }

    /// Books a failed attempt and lets the task run again, alone if it has been patient enough.
    pub(crate) fn failed(mut task: Box<Task>, conflict: &Conflict) {
        let core = Arc::clone(&task.core);
        task.failures += 1;
        let lost = task.ended_ns.saturating_sub(task.began_ns);
        task.lost_ns += lost;
        core.ledger.aborted(&task, conflict, lost);
        let next = schedule::after_failure(task.failures, task.lost_ns, MAX_FAILURES, MAX_LOST_NS);
        match next {
            Next::Again => {
                core.again.push(task);
                core.wake_one();
            }
            // Without the baton, which must not wait for a worker: all commits would.
            Next::Alone => {
                core.alone.push(task);
                core.wake_one();
            }
        }
    }

    /// Ends a task on a thread of the library, where its job may be dropped.
    pub(crate) fn end(&self, mut task: Box<Task>, ended: Ended) {
        task.job.ended(ended);
        // Before the drop, which may be that of the executor itself.
        self.task_ended();
        // What the job captured may have a destructor that panics: that ends no thread of ours.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(task))) {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        }
    }
}

/// What a worker does next.
pub(crate) enum Work {
    /// Run it.
    Task(Box<Task>),
    /// Run it while holding the baton.
    Alone(Box<Task>),
}
