//! What workers, loop and committers share: the queues, the sleepers, the account.
//!
//! | field | written by | read by |
//! |---|---|---|
//! | queues | anyone pushes | workers, and the loop in its own batch, pop |
//! | `lane` | whoever meets a task that belongs there | the one worker that has entered it |
//! | `alone` | whoever decides that a task has lost too often | the one worker that has entered it |
//! | `aside` | workers that take a write while there is no room | workers, once there is |
//! | `sleepers` | a worker before it parks | whoever pushes, after a fence |
//! | `outstanding` | accepted: +1; ended: -1 | workers that were told to stop |
//! | `ready` | the worker that submits: +1; the finisher: -1 | workers and loop, to bound it |
//!
//! In arrival order workers beyond the number of cores leave cheap tickets, and those of handlers
//! that often fail, to the others: one that is taken off its core with a ticket in hand keeps
//! everybody from theirs. They only ever help, so nothing is lost if one is not woken; before it
//! sleeps it wakes one of the others for what it leaves.
//!
//! No lost wake-up: a worker says that it sleeps, fences, and looks at the queues once more;
//! whoever pushes does so, fences, and looks for sleepers. One of the two sees the other.

use super::{
    Order,
    arrival::Arrival,
    heats::Heats,
    job::{Ended, How, Job, Kind, Task},
    lane::{Lane, Laned},
    ledger::Ledger,
    limits::{Limits, Refusals},
    ready::{MAX_READY, Ready},
    schedule::{self, Class, Next},
    series::Series,
    sleepers::Sleepers,
    twice::Twice,
};
use crate::cell::{deferred, store::STORE};
use crate::sync::{
    Arc, AtomicBool, AtomicU64, AtomicUsize, Ordering, Table, fault, fence, now_ns, point,
};
use crate::transaction::{
    attempt::{Attempt, Spare},
    conflict::Conflict,
    inputs::Seed,
    run::{MAX_FAILURES, MAX_LOST_NS},
};
use crossbeam_queue::{ArrayQueue, SegQueue};
use crossbeam_utils::CachePadded;
use std::{collections::VecDeque, ops::Range, sync::OnceLock};

/// How many members of a series a worker takes at once.
#[cfg(not(shuttle))]
pub(crate) const MEMBERS: usize = 32;
#[cfg(shuttle)]
pub(crate) const MEMBERS: usize = 2;

pub(crate) struct Core {
    /// How many handlers can run at once. With one, it runs while holding the baton.
    pub(crate) threads: usize,
    pub(crate) seed: Seed,
    pub(super) heats: Heats,
    limits: Limits,
    pub(super) refusals: Refusals,
    /// The turn of tickets, in arrival order.
    pub(crate) arrival: Option<Arrival>,
    /// Served before all else: whoever takes one waits for the baton first.
    pub(super) alone: Lane<Box<Task>>,
    /// Writes that wait for room among the READY ones.
    pub(super) aside: SegQueue<Box<Task>>,
    again: SegQueue<Box<Task>>,
    cheap: SegQueue<Box<Task>>,
    expensive: SegQueue<Box<Task>>,
    /// Series with members left, and how many: all workers take part in the first one.
    series: Table<VecDeque<Arc<dyn Series>>>,
    series_left: AtomicUsize,
    /// Read-only tasks whose snapshot is announced, in arrival order.
    views: SegQueue<(Box<Task>, Attempt)>,
    pub(crate) lane: Lane<Laned>,
    spares: ArrayQueue<Spare>,
    /// Members of series that have ended, beyond those that the threads keep.
    members: ArrayQueue<Box<Task>>,
    tickets: AtomicU64,
    outstanding: CachePadded<AtomicUsize>,
    pub(crate) ready: Ready,
    parked: AtomicUsize,
    /// Of the jobs that have not been dropped.
    input_bytes: CachePadded<AtomicUsize>,
    pub(crate) sleepers: Sleepers,
    /// Wakes the loop, where its thread is the only one.
    loop_alone: OnceLock<Box<dyn Fn() + Send + Sync>>,
    stopping: AtomicBool,
    pub(crate) ledger: Ledger,
    /// Which handlers cannot be run again.
    pub(super) twice: Twice,
}

/// What waits in arrival order.
pub(crate) enum Queued {
    Task(Box<Task>),
    Series(Arc<dyn Series>),
}

/// What a worker does next.
pub(crate) enum Work {
    /// Run it.
    Task(Box<Task>),
    /// Run these members.
    Members(Arc<dyn Series>, Range<usize>),
    /// Run it while holding the baton.
    Alone(Box<Task>),
    /// Run what waits in the serial lane, which is entered.
    Lane,
    /// Run it on its snapshot.
    View(Box<Task>, Attempt),
    /// See whose turn it is.
    Turn,
    /// Take, one after another, what would conflict with itself; the lane is entered.
    InLane,
}

impl Core {
    pub(crate) fn new(
        threads: usize,
        order: Order,
        limits: Limits,
        seed: Seed,
        sleepers: Sleepers,
        ledger: Ledger,
        twice: Twice,
    ) -> Arc<Self> {
        Arc::new(Self {
            threads,
            seed,
            heats: Heats::default(),
            limits,
            refusals: Refusals::default(),
            arrival: (order == Order::Arrival).then(Arrival::new),
            alone: Lane::default(),
            aside: SegQueue::new(),
            again: SegQueue::new(),
            cheap: SegQueue::new(),
            expensive: SegQueue::new(),
            series: Table::new(VecDeque::new()),
            series_left: AtomicUsize::new(0),
            views: SegQueue::new(),
            lane: Lane::default(),
            spares: ArrayQueue::new(MAX_READY),
            members: ArrayQueue::new(MAX_READY),
            tickets: AtomicU64::new(0),
            outstanding: CachePadded::new(AtomicUsize::new(0)),
            ready: Ready::default(),
            parked: AtomicUsize::new(0),
            input_bytes: CachePadded::new(AtomicUsize::new(0)),
            sleepers,
            loop_alone: OnceLock::new(),
            stopping: AtomicBool::new(false),
            ledger,
            twice,
        })
    }

    /// The numbers of `count` more tickets: the first of them. In arrival order the caller holds
    /// the lock of the queue that they go to.
    pub(crate) fn tickets(&self, count: usize) -> u64 {
        // Relaxed: a counter.
        self.tickets.fetch_add(count as u64, Ordering::Relaxed) + 1
    }

    /// Accepts a job that arrived at `now_ns` on the wall clock.
    pub(crate) fn accept(self: &Arc<Self>, job: Box<dyn Job>, now_ns: u64) -> Box<Task> {
        self.accepted();
        self.task(job, now_ns)
    }

    /// Ends a job that may be refused, if there is too much under way; else gives it back.
    pub(crate) fn refuse_if_full(&self, mut job: Box<dyn Job>) -> Option<Box<dyn Job>> {
        let Some(limit) = self.limits.reached(self.under_way(), self.input_bytes()) else {
            return Some(job);
        };
        if !job.may_be_refused() {
            return Some(job);
        }
        self.refusals.note(limit);
        let version = STORE.watermark();
        job.ended(Ended { version, how: How::Refused });
        deferred::drop_later(job);
        self.wake_for_deferred();
        None
    }

    /// How much was accepted and has not ended.
    pub(crate) fn under_way(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// In arrival order, for whoever admits: whether all that has not ended is parked.
    pub(crate) fn is_at_rest(&self) -> bool {
        let last = self.tickets.load(Ordering::Relaxed);
        let Some(arrival) = self.arrival.as_ref().filter(|arrival| arrival.try_serve()) else {
            return false;
        };
        // As the server: nobody is woken meanwhile, and readers can do no more than end or park.
        let rests = arrival.all_served(last) && self.under_way() == self.parked();
        // With the Release of `task_ended`: what they did happens before.
        fence(Ordering::Acquire);
        if arrival.end_serving() {
            self.wake_one();
        }
        rests
    }

    /// How many bytes the jobs hold that were given with them.
    pub(crate) fn input_bytes(&self) -> usize {
        self.input_bytes.load(Ordering::Relaxed)
    }

    /// Counts what a job holds.
    fn takes_input(&self, bytes: usize) {
        // Most have none, and share no line for it. Relaxed, as in `gave_back_input`: a figure.
        if bytes != 0 {
            self.input_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Counts it no longer.
    pub(crate) fn gave_back_input(&self, bytes: usize) {
        if bytes != 0 {
            self.input_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Counts something that has to end before the workers may.
    pub(crate) fn accepted(&self) {
        // Relaxed: a task is handed over by a queue.
        self.outstanding.fetch_add(1, Ordering::Relaxed);
    }

    /// A task around a job, not accepted yet.
    pub(crate) fn task(self: &Arc<Self>, job: Box<dyn Job>, now_ns: u64) -> Box<Task> {
        let input_bytes = job.input_bytes();
        self.takes_input(input_bytes);
        Box::new(Task {
            job,
            input_bytes,
            core: Arc::clone(self),
            ticket: 0,
            now_ns,
            series: 0,
            searched: false,
            ahead: None,
            attempt: None,
            outcome: None,
            is_ready: false,
            failures: 0,
            lost_ns: 0,
            first_snapshot: 0,
            waits_since: 0,
            worker: 0,
            began_ns: 0,
            ended_ns: 0,
        })
    }

    /// Admits an accepted task: it gets its ticket and is queued, without waking anybody.
    pub(crate) fn queue(&self, task: Box<Task>) {
        if let Some(task) = self.admit_here(task) {
            self.queue_by_class(task);
        }
    }

    /// Gives an accepted task its ticket. In arrival order it is queued in the same step.
    pub(crate) fn admit_here(&self, mut task: Box<Task>) -> Option<Box<Task>> {
        if let Some(arrival) = &self.arrival {
            arrival.admit(task, || self.tickets(1));
            return None;
        }
        task.ticket = self.tickets(1);
        Some(task)
    }

    /// Queues what has its tickets already, in commit order.
    pub(crate) fn queue_by_class(&self, task: Box<Task>) {
        match task.job.handled().cost().class() {
            Class::Cheap => self.cheap.push(task),
            Class::Expensive => self.expensive.push(task),
        }
    }

    /// Queues a series, in commit order.
    pub(crate) fn queue_series(&self, series: Arc<dyn Series>) {
        let mut queue = self.series.lock();
        queue.push_back(series);
        self.series_left.store(queue.len(), Ordering::Relaxed);
    }

    /// Moves a series into the serial lane, unless that was done.
    pub(crate) fn lane_series(&self, series: &Arc<dyn Series>) {
        let mut queue = self.series.lock();
        let before = queue.len();
        queue.retain(|queued| queued.ticket(0) != series.ticket(0));
        self.series_left.store(queue.len(), Ordering::Relaxed);
        if queue.len() < before {
            self.lane.push(Laned::Series(Arc::clone(series)));
        }
    }

    /// Some members of the first series. It stays where it is while it has more, so that no worker
    /// finds nothing to do because another one has it in hand.
    fn members(&self) -> Option<Work> {
        if self.series_left.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut queue = self.series.lock();
        let mut work = None;
        while let Some(first) = queue.front()
            && work.is_none()
        {
            let members = first.claim(MEMBERS);
            if !members.is_empty() {
                work = Some(Work::Members(Arc::clone(first), members));
            }
            if work.is_none() || !queue.front().is_some_and(|first| first.has_more()) {
                queue.pop_front();
            }
        }
        self.series_left.store(queue.len(), Ordering::Relaxed);
        work
    }

    /// Queues a task that is to be run once more, and sees to it that somebody does.
    pub(crate) fn queue_again(&self, task: Box<Task>) {
        match &self.arrival {
            Some(arrival) => arrival.woken(task),
            None => self.again.push(task),
        }
        self.wake_one();
    }

    /// Queues a read-only task that has its snapshot.
    pub(crate) fn queue_view(&self, task: Box<Task>, attempt: Attempt) {
        self.views.push((task, attempt));
    }

    /// The next task for worker `index`. `cheap_run` counts cheap ones in a row.
    pub(crate) fn next(&self, index: usize, cheap_run: &mut u32, now_ns: u64) -> Option<Work> {
        if let Some(task) = self.alone.enter_for_next() {
            return Some(Work::Alone(task));
        }
        if let Some(arrival) = &self.arrival {
            let view = self.views.pop().map(|(task, attempt)| Work::View(task, attempt));
            if self.sleepers.only_helps(index) {
                return view.or_else(|| arrival.next_to_help(now_ns));
            }
            let turn = || arrival.is_unserved().then_some(Work::Turn);
            return view.or_else(turn).or_else(|| arrival.next(now_ns));
        }
        if let Some(task) = self.again.pop() {
            return Some(Work::Task(task));
        }
        let room = self.ready.has_room();
        if room {
            if let Some(task) = self.aside.pop() {
                return Some(Work::Task(task));
            }
            if self.lane.enter() {
                return Some(Work::Lane);
            }
        }
        if *cheap_run < schedule::CHEAP_IN_A_ROW
            && let Some(task) = self.cheap.pop()
        {
            *cheap_run += 1;
            return Some(Work::Task(task));
        }
        *cheap_run = 0;
        let expensive = self.expensive.pop().map(Work::Task);
        let members = || if room { self.members() } else { None };
        expensive.or_else(members).or_else(|| self.cheap.pop().map(Work::Task))
    }

    /// Whether there is something for a worker that only helps.
    fn has_work_to_help(&self) -> bool {
        self.alone.is_open()
            || !self.views.is_empty()
            || self.arrival.as_ref().is_some_and(Arrival::has_work_to_help)
    }

    /// Whether a worker would find something, as far as this thread can see.
    pub(crate) fn has_work(&self) -> bool {
        let may_write = || {
            self.series_left.load(Ordering::Relaxed) > 0
                || self.lane.is_open()
                || !self.aside.is_empty()
        };
        !(self.cheap.is_empty()
            && self.expensive.is_empty()
            && self.again.is_empty()
            && !self.alone.is_open()
            && self.views.is_empty()
            && !(self.ready.has_room() && may_write())
            && !self.arrival.as_ref().is_some_and(Arrival::has_work))
    }

    /// Wakes one sleeping worker, if work waits and one sleeps.
    pub(crate) fn wake_one(&self) {
        // See the module: pairs with the fence in `may_sleep`.
        fence(Ordering::SeqCst);
        if self.sleepers.is_empty() {
            if let Some(wake) = self.loop_alone.get() {
                wake();
            }
        } else if !self.sleepers.wake_one() && self.has_work_to_help() {
            self.sleepers.wake_helper();
        }
    }

    /// How many threads there are beside a loop's.
    pub(crate) fn workers(&self) -> usize {
        self.sleepers.workers()
    }

    /// Sets how the loop is woken whose thread is the only one of the executor.
    pub(crate) fn on_work(&self, wake: Box<dyn Fn() + Send + Sync>) {
        self.loop_alone.get_or_init(|| wake);
    }

    /// Says that worker `index` is about to park; false if there is something to do after all.
    pub(crate) fn may_sleep(&self, index: usize) -> bool {
        point!(Sleep);
        self.sleepers.falls_asleep(index);
        fence(Ordering::SeqCst);
        point!(Sleep);
        let over = self.is_stopping() && self.is_drained();
        let mut work = self.has_work();
        if work && self.sleepers.only_helps(index) {
            // What this one did may have made room for what it leaves to the others.
            self.sleepers.wake_one();
            work = self.has_work_to_help();
        }
        if (work && !fault!("sleep-without-look")) || over || deferred::pending() {
            self.awake(index);
            return false;
        }
        true
    }

    /// Takes back what [`Core::may_sleep`] said, unless somebody has ended the sleep.
    pub(crate) fn awake(&self, index: usize) {
        self.sleepers.awake(index);
    }

    /// Tells the workers to end when everything accepted has ended.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.sleepers.wake_all();
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
        self.spares.pop().unwrap_or_else(|| Spare::seeded(self.seed))
    }

    pub(crate) fn return_spare(&self, mut spare: Spare) {
        spare.empty();
        // A full pool gives the slot back.
        let _ = self.spares.push(spare);
    }

    /// A task that was a member of the series with this first ticket.
    pub(crate) fn take_member(&self, series: u64) -> Option<Box<Task>> {
        let task = self.members.pop()?;
        if task.series == series {
            return Some(task);
        }
        // Not here: the caller may keep tickets that others wait for.
        deferred::drop_later(task);
        None
    }

    /// Keeps a member that has ended, or gives it back.
    pub(crate) fn keep_member(&self, task: Box<Task>) -> Option<Box<Task>> {
        self.members.push(task).err()
    }

    /// Gives up the members that were kept: each has this core, and what its closures captured.
    pub(crate) fn give_up_members(&self) {
        while let Some(task) = self.members.pop() {
            contained_drop(task);
        }
    }

    /// Counts a task that is parked.
    pub(crate) fn parks(&self) {
        self.parked.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one that is not any more.
    pub(crate) fn unparks(&self) {
        self.parked.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many tasks are parked.
    pub(crate) fn parked(&self) -> usize {
        self.parked.load(Ordering::Relaxed)
    }

    /// Books a failed attempt, and says how the task is to be run next.
    pub(crate) fn book_failure(&self, task: &mut Task, conflict: &Conflict) -> Next {
        task.failures += 1;
        let lost = match task.ended_ns.saturating_sub(task.began_ns) {
            // Not timed: what such runs usually take.
            0 => task.job.handled().cost().0,
            ns => ns,
        };
        task.lost_ns += lost;
        task.job.handled().heat.failed(now_ns());
        self.ledger.aborted(task, conflict, lost);
        schedule::after_failure(task.failures, task.lost_ns, MAX_FAILURES, MAX_LOST_NS)
    }

    /// Queues a task after a failed attempt.
    pub(crate) fn queue_failed(&self, task: Box<Task>, next: Next) {
        let reader = task.job.kind() == Kind::Read;
        match next {
            // A reader that was not parked, because what it waits for was just written: served as
            // if it had been woken by that.
            _ if self.arrival.is_some() => return self.queue_again(task),
            // Without the baton, which must not wait for a worker: all commits would. A reader has
            // no attempt that could run alone.
            Next::Alone if !reader => self.alone.push(task),
            _ => self.again.push(task),
        }
        self.wake_one();
    }

    /// Ends a task on a thread of the library, where its job may be dropped.
    pub(crate) fn end(&self, mut task: Box<Task>, ended: Ended) {
        task.job.ended(ended);
        // Before the drop, which may be that of the executor itself.
        if task.series == 0 {
            self.task_ended();
        }
        contained_drop(task);
    }
}

/// Drops what a user gave: a destructor that panics ends no thread of ours.
pub(crate) fn contained_drop<T>(value: T) {
    deferred::contained(|| drop(value));
}

/// Whether a task belongs in the serial lane now.
pub(crate) fn task_in_lane(task: &Task, now_ns: u64) -> bool {
    task.job.kind() != Kind::Read && task.job.handled().heat.in_lane(now_ns)
}
