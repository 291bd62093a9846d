//! The loop: Tornado's turn, with an executor where Tornado ran the callbacks.
//!
//! One turn, in this order: (1) note how many callbacks are queued; (2, 4) take the timers that are
//! due; (3) run exactly that many callbacks, then the timers by deadline and creation: cheap ones
//! here, the others on the workers; (5) the poll's timeout is zero if callbacks are queued, else it
//! ends with the next deadline; (6) leave if stopped; (7) poll; (8) take the events one by one.
//! What the events and the callbacks add waits for the next turn. The loop never waits for a
//! worker.

mod callback;
mod handle;
pub(crate) mod reactor;
mod timers;

pub(crate) use handle::Mailbox;

pub use handle::Handle;
pub use timers::TimerId;

use self::callback::{CallbackJob, Posted};
use self::handle::Message;
use self::reactor::{Reactor, Ready};
use self::timers::Timers;
use crate::cell::deferred;
use crate::error::{Error, Result};
use crate::executor::{
    Executor,
    job::{Handled, Job, Kind},
    runner::Runner,
    schedule::{Class, INLINE_NS},
};
use crate::recording::Recorder;
use crate::sync::now_ns;
use crate::transaction::{Transaction, inputs::wall_ns, run::enter_loop};
use std::{collections::VecDeque, fmt, os::unix::net::UnixStream, sync::Arc, time::Duration};

/// How long the loop sleeps at most while a log is written.
const FLUSH: Duration = Duration::from_millis(250);
/// How long a turn of a loop without workers goes on starting handlers, in nanoseconds.
const LONG_TURN_NS: u64 = 1_000_000;
/// How often a stopping loop looks whether all has ended.
const STOPPING: Duration = Duration::from_millis(5);
/// How long a stop waits for what is under way.
const DRAIN: Duration = Duration::from_secs(10);

/// What a loop serves besides callbacks: connections, say. The loop knows nothing of its protocol.
pub(crate) trait Service: Send {
    /// One event.
    fn ready(&mut self, ready: Ready, turn: &mut Turn<'_>);
    /// After the batch, and before the poll: what has ended, what is to be sent.
    fn after_batch(&mut self, turn: &mut Turn<'_>);
    /// Whether something waits for [`Service::after_batch`] that came from other threads.
    fn has_mail(&self) -> bool;
    /// When [`Service::after_batch`] is to be called at the latest, on the clock of `now_ns`.
    fn deadline_ns(&self) -> Option<u64>;
    /// Takes nothing new from now on.
    fn drain(&mut self, turn: &mut Turn<'_>);
    /// Whether everything taken has been answered.
    fn is_drained(&self) -> bool;
}

/// What a service may use during a turn.
pub(crate) struct Turn<'a> {
    pub(crate) reactor: &'a mut Reactor,
    /// The next turn's batch.
    pub(crate) batch: &'a mut VecDeque<Box<dyn Job>>,
    pub(crate) now_ns: u64,
}

/// An event loop: callbacks and timers as transactions, in Tornado's order, on an executor's
/// threads.
///
/// # Examples
/// ```
/// use txloop::{Executor, Loop, TVar};
///
/// let mut event_loop = Loop::new(Executor::new(2)?)?;
/// let (seen, cell) = (TVar::new(0), TVar::new(0));
/// let (handle, copy) = (event_loop.handle(), seen.clone());
/// event_loop.add_callback(move |tx| {
///     tx.set(&cell, 41);
///     tx.set(&copy, tx.get(&cell) + 1);
///     let handle = handle.clone();
///     tx.on_commit(move || handle.stop());
/// });
/// event_loop.run()?;
/// assert_eq!(seen.with(|n| *n), 42);
/// # Ok::<(), txloop::Error>(())
/// ```
pub struct Loop {
    executor: Executor,
    runner: Runner,
    reactor: Reactor,
    mailbox: Arc<Mailbox>,
    batch: VecDeque<Box<dyn Job>>,
    timers: Timers<Posted>,
    callbacks: Arc<Handled>,
    service: Option<Box<dyn Service>>,
    ready: Vec<Ready>,
    stopping_until: Option<u64>,
}

impl Loop {
    /// A loop on this executor's threads.
    ///
    /// # Errors
    /// When the system gives no poll descriptor.
    pub fn new(executor: Executor) -> Result<Self> {
        Ok(Self::with_reactor(executor, Reactor::new()?))
    }

    pub(crate) fn with_reactor(executor: Executor, reactor: Reactor) -> Self {
        let mailbox = Mailbox::new(Arc::clone(reactor.wake_up()));
        if executor.is_inline_only() {
            let wake = Arc::clone(reactor.wake_up());
            executor.core().on_work(Box::new(move || wake.wake()));
        }
        Self {
            runner: executor.loop_runner(),
            executor,
            reactor,
            mailbox,
            batch: VecDeque::new(),
            timers: Timers::default(),
            callbacks: Handled::new("callback"),
            service: None,
            ready: Vec::new(),
            stopping_until: None,
        }
    }

    pub(crate) fn serve(&mut self, service: Box<dyn Service>) {
        self.service = Some(service);
    }

    pub(crate) fn reactor(&mut self) -> &mut Reactor {
        &mut self.reactor
    }

    /// The loop's home for callbacks of handlers.
    pub(crate) fn home(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }

    /// Records from now on what gets a ticket here.
    pub(crate) fn record(&self, recorder: Recorder) {
        self.mailbox.record(recorder);
    }

    /// The executor.
    #[must_use]
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// The loop, for other threads and for handlers.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.mailbox))
    }

    /// Runs `f` as a transaction in the next turn.
    ///
    /// # Re-run
    /// `f` may be called several times; only the last call counts.
    pub fn add_callback(&mut self, f: impl Fn(&Transaction) + Send + Sync + 'static) {
        self.push_callback(Posted::foreign(Arc::new(f)));
    }

    /// The same, not before `delay` has passed.
    ///
    /// # Re-run
    /// As [`Loop::add_callback`].
    pub fn call_later(
        &mut self,
        delay: Duration,
        f: impl Fn(&Transaction) + Send + Sync + 'static,
    ) -> TimerId {
        let id = self.mailbox.timer_id();
        self.timers.add(handle::deadline(delay), id, Posted::foreign(Arc::new(f)));
        id
    }

    /// Cancels a timer, unless it has run.
    pub fn cancel(&mut self, timer: TimerId) {
        // What it captured is dropped where a destructor does no harm.
        if let Some(callback) = self.timers.cancel(timer) {
            deferred::drop_later(callback);
        }
    }

    /// Ends the loop as [`Handle::stop`] does on SIGTERM and SIGINT; on a second one the process
    /// exits at once with code 1.
    ///
    /// # Errors
    /// When the signal handlers cannot be set.
    pub fn stop_on_signals(&mut self) -> Result<()> {
        let cannot = |e| Error::io("cannot handle signals", e);
        let (reader, writer) = UnixStream::pair().map_err(cannot)?;
        let first = Arc::new(std::sync::atomic::AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            // In this order: the first signal finds the flag unset, sets it and writes the byte.
            let exit =
                signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&first));
            exit.map_err(cannot)?;
            signal_hook::flag::register(signal, Arc::clone(&first)).map_err(cannot)?;
            let writer = writer.try_clone().map_err(cannot)?;
            signal_hook::low_level::pipe::register(signal, writer).map_err(cannot)?;
        }
        self.reactor.watch_signals(reader).map_err(cannot)
    }

    /// Runs until stopped, then finishes what is under way, for at most 10 seconds.
    ///
    /// # Errors
    /// When polling fails.
    pub fn run(&mut self) -> Result<()> {
        deferred::adopt_thread();
        enter_loop();
        while self.turn()? {}
        self.runner.let_go();
        if !self.executor.core().is_drained() {
            // Its threads may never end: leave them, so that the process can.
            eprintln!("txloop: stopped with handlers still running after {DRAIN:?}");
            self.executor.abandon();
        }
        if deferred::pending() {
            deferred::settle();
        }
        self.executor.core().ledger.flush();
        Ok(())
    }

    fn push_callback(&mut self, posted: Posted) {
        let job = CallbackJob::new(posted, Arc::clone(&self.callbacks), self.home());
        self.batch.push_back(Box::new(job));
    }

    /// One turn; false when the loop is to end.
    fn turn(&mut self) -> Result<bool> {
        let now = now_ns();
        self.take_mail(now);
        let callbacks = self.batch.len();
        let due = self.take_due(now);
        let after = self.run_batch(callbacks + due, now);
        self.serve_after_batch(after);
        if self.is_over(after) {
            return Ok(false);
        }
        let timeout = self.poll_timeout(after);
        let mut ready = std::mem::take(&mut self.ready);
        let (mailbox, service) = (&self.mailbox, &self.service);
        let core = self.executor.core();
        let is_idle = || !self.executor.is_inline_only() || !core.has_work();
        let has_mail = || service.as_ref().is_some_and(|s| s.has_mail());
        let is_empty = || mailbox.messages.is_empty() && !has_mail() && is_idle();
        self.reactor
            .poll(timeout, is_empty, &mut ready)
            .map_err(|e| Error::io("the poll failed", e))?;
        let now = now_ns();
        for event in ready.drain(..) {
            if event == Ready::Signal {
                self.start_drain(now);
            } else if let Some(service) = &mut self.service {
                let (reactor, batch) = (&mut self.reactor, &mut self.batch);
                service.ready(event, &mut Turn { reactor, batch, now_ns: now });
            }
        }
        self.ready = ready;
        Ok(true)
    }

    fn take_mail(&mut self, now: u64) {
        while let Some(message) = self.mailbox.messages.pop() {
            match message {
                Message::Callback(callback) => self.push_callback(callback),
                Message::Timer(at_ns, id, callback) => self.timers.add(at_ns, id, callback),
                Message::Cancel(id) => self.cancel(id),
                Message::Stop => self.start_drain(now),
            }
        }
    }

    /// Puts the timers that are due behind the callbacks.
    fn take_due(&mut self, now: u64) -> usize {
        let mut due = 0;
        while let Some(callback) = self.timers.pop_due(now) {
            self.push_callback(callback);
            due += 1;
        }
        due
    }

    /// Runs `count` jobs of the batch: here while they are cheap and the turn's budget lasts, the
    /// rest on the workers. Without workers all run here, but after [`LONG_TURN_NS`] the rest waits
    /// for the next turn, so that answers leave and events are seen. Returns the time.
    fn run_batch(&mut self, count: usize, began: u64) -> u64 {
        let inline_only = self.executor.is_inline_only();
        let core = Arc::clone(self.executor.core());
        let (mut now, mut handed, mut arrived_ns) = (began, false, None);
        for _ in 0..count {
            if inline_only && now - began > LONG_TURN_NS {
                break;
            }
            let Some(job) = self.batch.pop_front() else { break };
            let handled = job.handled();
            // While somebody holds the baton for long, what would wait for it is for the workers.
            let takes = job.kind() == Kind::Read || core.ready.has_room();
            let cheap = handled.cost().class() == Class::Cheap && !handled.heat.in_lane(now);
            let Some(job) = core.refuse_if_full(job) else { continue };
            let task = core.accept(job, *arrived_ns.get_or_insert_with(wall_ns));
            let here = takes && (inline_only || cheap && now - began < INLINE_NS);
            match core.admit_here(task) {
                // In arrival order it is queued: those that came before it go first.
                None => handed = true,
                Some(task) if here => now = self.runner.run(task, now),
                Some(task) => {
                    core.queue_by_class(task);
                    handed = true;
                }
            }
        }
        // What others gave to an executor that has no thread but this one.
        while inline_only && now - began <= LONG_TURN_NS && self.runner.step() {
            now = now_ns();
        }
        self.runner.let_go();
        // A turn may be the last one for long.
        self.runner.forget();
        if handed {
            // One is enough: a worker that finds more than it can run wakes the next.
            core.wake_one();
        }
        if deferred::pending() {
            if inline_only { deferred::settle() } else { core.wake_one() }
        }
        core.ledger.flush_if_due(self.executor.loop_index(), now);
        now
    }

    fn serve_after_batch(&mut self, now_ns: u64) {
        if let Some(service) = &mut self.service {
            let (reactor, batch) = (&mut self.reactor, &mut self.batch);
            service.after_batch(&mut Turn { reactor, batch, now_ns });
        }
    }

    fn start_drain(&mut self, now_ns: u64) {
        if self.stopping_until.is_some() {
            return;
        }
        self.stopping_until = Some(now_ns + DRAIN.as_nanos() as u64);
        if let Some(service) = &mut self.service {
            let (reactor, batch) = (&mut self.reactor, &mut self.batch);
            service.drain(&mut Turn { reactor, batch, now_ns });
        }
    }

    fn is_over(&self, now: u64) -> bool {
        let Some(until) = self.stopping_until else { return false };
        // In this order: a handler that has ended may have asked for what is being done, and that
        // may be a message to this loop.
        let drained = self.service.as_ref().is_none_or(|s| s.is_drained())
            && self.batch.is_empty()
            && self.executor.core().is_drained()
            && deferred::is_idle()
            && self.mailbox.messages.is_empty();
        drained || now >= until
    }

    fn poll_timeout(&mut self, now: u64) -> Option<Duration> {
        let core = self.executor.core();
        if !self.batch.is_empty() || self.executor.is_inline_only() && core.has_work() {
            return Some(Duration::ZERO);
        }
        let deadline = [
            self.timers.next_ns(),
            self.service.as_ref().and_then(|s| s.deadline_ns()),
            self.stopping_until,
        ];
        let next = deadline.into_iter().flatten().min();
        let mut timeout = next.map(|at| Duration::from_nanos(at.saturating_sub(now)));
        if self.executor.core().ledger.is_logging() {
            timeout = Some(timeout.map_or(FLUSH, |t| t.min(FLUSH)));
        }
        if self.stopping_until.is_some() {
            // The last task to end wakes nobody.
            timeout = Some(timeout.map_or(STOPPING, |t| t.min(STOPPING)));
        }
        timeout
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.mailbox.close();
    }
}

impl fmt::Debug for Loop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loop").field("queued", &self.batch.len()).finish_non_exhaustive()
    }
}
