//! The engine of a replay: tickets out of a recording, in order, into an executor of their own.
//!
//! Who does what: the *driver* is the thread that called `run`. It reads the recording, admits each
//! ticket under its recorded number and time, and reads the recorded answers. Workers run handlers;
//! their ends and what they asked for come to the *stage*. A callback is admitted when the handler
//! that asked for it has committed in the replay, too; until then the driver waits, so later
//! tickets do. A ticket of which nothing remained, or which cannot be made again, is admitted as a
//! handler that does nothing, so that the numbers stay the same.

use super::{
    call::{Call, recorded},
    matching::Matching,
    response::Response,
};
use crate::cell::deferred::{self, Deferred};
use crate::executor::{
    Executor,
    job::{Ended, Handled, Job, Kind, Verdict},
};
use crate::sync::{
    AtomicBool, AtomicU32, Ordering, Table,
    thread::{self, Thread},
};
use crate::transaction::{
    Snapshot, Transaction,
    cancel::{Cancel, Why},
    outbox::{Callback, Home},
};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// The most tickets that are admitted and have not ended, parked ones aside.
const WINDOW: usize = 4096;
/// How long the driver sleeps between two looks when nobody wakes it.
const PAUSE: Duration = Duration::from_micros(100);

/// What driver and handlers share.
pub(super) struct Stage {
    state: Table<State>,
    driver: Thread,
    /// Whether closures given to `on_commit` are called.
    effects: bool,
}

#[derive(Default)]
struct State {
    matching: Matching,
    /// What was asked for and has not been admitted, by ticket and number.
    asked: HashMap<(u64, u32), Callback>,
    /// What has not ended.
    live: HashMap<u64, (Arc<Cancel>, Arc<str>)>,
    closing: bool,
}

/// See the module.
pub(super) struct Rerun {
    executor: Executor,
    stage: Arc<Stage>,
    callbacks: Arc<Handled>,
    left_out: Arc<Handled>,
}

impl Rerun {
    pub(super) fn new(executor: Executor, effects: bool) -> Self {
        let (state, driver) = (Table::default(), thread::current());
        Self {
            executor,
            stage: Arc::new(Stage { state, driver, effects }),
            callbacks: Handled::new("callback"),
            left_out: Handled::new("left out of the replay"),
        }
    }

    pub(super) fn matching<R>(&self, f: impl FnOnce(&mut Matching) -> R) -> R {
        f(&mut self.stage.state.lock().matching)
    }

    /// Admits a request.
    pub(super) fn call(&self, ticket: u64, now_ns: u64, what: Arc<str>, call: Call) {
        let cancel = self.stage.begins(ticket, &what);
        let stage = Arc::clone(&self.stage);
        self.admit(Box::new(CallJob { call, ticket, what, stage, cancel }), now_ns);
    }

    /// Admits a callback.
    pub(super) fn callback(&self, ticket: u64, now_ns: u64, what: &Arc<str>, callback: Callback) {
        let cancel = self.stage.begins(ticket, what);
        let (handled, stage) = (Arc::clone(&self.callbacks), Arc::clone(&self.stage));
        self.admit(Box::new(CallbackJob { callback, ticket, handled, stage, cancel }), now_ns);
    }

    /// Admits a ticket of which nothing is run.
    pub(super) fn leave_out(&self, now_ns: u64) {
        self.admit(Box::new(LeftOut(Arc::clone(&self.left_out))), now_ns);
    }

    fn admit(&self, job: Box<dyn Job>, now_ns: u64) {
        let core = self.executor.core();
        while core.under_way().saturating_sub(core.parked()) >= WINDOW {
            thread::park_timeout(PAUSE);
        }
        self.executor.admit(job, now_ns);
    }

    /// What `parent` asked for as number `index`, once it has committed; `None` if it has not asked
    /// for that many when everything that was admitted has ended or is parked.
    pub(super) fn asked(&self, parent: u64, index: u32) -> Option<Callback> {
        let take = || self.stage.state.lock().asked.remove(&(parent, index));
        loop {
            if let Some(callback) = take() {
                return Some(callback);
            }
            if self.executor.core().is_at_rest() {
                self.open_effects();
                return take();
            }
            thread::park_timeout(PAUSE);
        }
    }

    /// Waits until everything that was admitted has ended or is parked.
    pub(super) fn rest(&self) {
        while !self.executor.core().is_at_rest() {
            thread::park_timeout(PAUSE);
        }
        self.open_effects();
    }

    /// Waits until the effects of what has ended are open: they are in one queue, in order.
    fn open_effects(&self) {
        let (opened, driver) = (Arc::new(AtomicBool::new(false)), thread::current());
        let open = Arc::clone(&opened);
        deferred::push(Deferred::Run(Box::new(move || {
            open.store(true, Ordering::Release);
            driver.unpark();
        })));
        while !opened.load(Ordering::Acquire) {
            self.executor.core().wake_for_deferred();
            thread::park_timeout(PAUSE);
        }
    }

    /// Compares what is left: those that have not ended have no answer.
    pub(super) fn end(&self) {
        let State { matching, live, .. } = &mut *self.stage.state.lock();
        matching.end(|ticket| live.get(&ticket).map(|(_, what)| Arc::clone(what)));
    }
}

impl Drop for Rerun {
    /// Takes back what is parked: dropping the executor waits for it.
    fn drop(&mut self) {
        let live = {
            let mut state = self.stage.state.lock();
            state.closing = true;
            std::mem::take(&mut state.live)
        };
        for (cancel, _) in live.into_values() {
            cancel.cancel(Why::Cancelled);
        }
    }
}

impl Stage {
    fn begins(&self, ticket: u64, what: &Arc<str>) -> Arc<Cancel> {
        let cancel = Arc::new(Cancel::new());
        self.state.lock().live.insert(ticket, (Arc::clone(&cancel), Arc::clone(what)));
        cancel
    }

    fn home(self: &Arc<Self>, parent: u64) -> Option<Arc<dyn Home>> {
        let stage = Arc::clone(self);
        Some(Arc::new(StageHome { stage, parent, next: AtomicU32::new(0) }))
    }
}

/// The home of one attempt: what it asks for waits until the recording says that it was admitted.
struct StageHome {
    stage: Arc<Stage>,
    parent: u64,
    next: AtomicU32,
}

impl Home for StageHome {
    fn add_callback(&self, callback: Callback) {
        // Relaxed: the effects of an attempt open one after another.
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        self.stage.state.lock().asked.insert((self.parent, index), callback);
        self.stage.driver.unpark();
    }

    fn call_later(&self, _delay: Duration, callback: Callback) {
        self.add_callback(callback);
    }

    fn opens_effects(&self) -> bool {
        self.stage.effects
    }
}

/// A recorded request.
struct CallJob {
    call: Call,
    ticket: u64,
    what: Arc<str>,
    stage: Arc<Stage>,
    cancel: Arc<Cancel>,
}

impl Job for CallJob {
    fn handled(&self) -> &Arc<Handled> {
        self.call.handled()
    }

    fn kind(&self) -> Kind {
        self.call.kind()
    }

    fn home(&self) -> Option<Arc<dyn Home>> {
        self.stage.home(self.ticket)
    }

    fn cancel(&self) -> Option<&Arc<Cancel>> {
        Some(&self.cancel)
    }

    fn view(&mut self, view: &Snapshot) {
        self.call.view(view);
    }

    fn attempt(&mut self, tx: &Transaction) -> Verdict {
        self.call.attempt(tx)
    }

    fn answer_text(&self) -> Option<String> {
        self.call.answer_text()
    }

    fn admitted(&mut self, ticket: u64, _now_ns: u64) {
        assert_eq!(ticket, self.ticket, "a replay gives the recorded tickets");
    }

    fn ended(&mut self, ended: Ended) {
        let taken_back = ended.how.is_taken_back();
        let (response, waited) = (self.call.answer(ended.how), self.call.has_waited());
        let mut state = self.stage.state.lock();
        state.live.remove(&self.ticket);
        if !taken_back && !state.closing {
            let (what, answer) = (Arc::clone(&self.what), recorded(&response));
            state.matching.found(self.ticket, what, answer, waited);
        }
    }
}

/// A recorded callback.
struct CallbackJob {
    callback: Callback,
    ticket: u64,
    handled: Arc<Handled>,
    stage: Arc<Stage>,
    cancel: Arc<Cancel>,
}

impl Job for CallbackJob {
    fn handled(&self) -> &Arc<Handled> {
        &self.handled
    }

    fn kind(&self) -> Kind {
        Kind::Write
    }

    fn home(&self) -> Option<Arc<dyn Home>> {
        self.stage.home(self.ticket)
    }

    fn cancel(&self) -> Option<&Arc<Cancel>> {
        Some(&self.cancel)
    }

    fn attempt(&mut self, tx: &Transaction) -> Verdict {
        (self.callback)(tx);
        Verdict::Commit
    }

    fn admitted(&mut self, ticket: u64, _now_ns: u64) {
        assert_eq!(ticket, self.ticket, "a replay gives the recorded tickets");
    }

    fn ended(&mut self, _ended: Ended) {
        self.stage.state.lock().live.remove(&self.ticket);
    }
}

/// A ticket of which nothing is run.
struct LeftOut(Arc<Handled>);

impl Job for LeftOut {
    fn handled(&self) -> &Arc<Handled> {
        &self.0
    }

    fn kind(&self) -> Kind {
        Kind::Write
    }

    fn ended(&mut self, _ended: Ended) {}
}

/// The answer to a request for which there is no handler.
pub(super) fn unrouted(rerun: &Rerun, ticket: u64, what: Arc<str>, response: &Response) {
    rerun.matching(|matching| matching.found(ticket, what, recorded(response), false));
}
