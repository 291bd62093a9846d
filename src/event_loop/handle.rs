//! What other threads have of a loop: a way to give it callbacks and to stop it.

use super::{callback::Posted, reactor::WakeUp, timers::TimerId};
use crate::cell::deferred;
use crate::recording::Recorder;
use crate::sync::{AtomicBool, AtomicU64, Ordering, fence, now_ns};
use crate::transaction::{
    Transaction,
    outbox::{Callback, Home},
};
use crossbeam_queue::SegQueue;
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

pub(super) enum Message {
    Callback(Posted),
    Timer(u64, TimerId, Posted),
    Cancel(TimerId),
    Stop,
}

/// The loop's letter box. Pushing is lock-free; only a sleeping loop is woken.
pub(crate) struct Mailbox {
    pub(super) messages: SegQueue<Message>,
    /// Whether the loop is gone, and nobody takes the messages.
    closed: AtomicBool,
    wake: Arc<WakeUp>,
    timers: AtomicU64,
    recorder: OnceLock<Recorder>,
}

impl Mailbox {
    pub(super) fn new(wake: Arc<WakeUp>) -> Arc<Self> {
        let (messages, recorder) = (SegQueue::new(), OnceLock::new());
        let (closed, timers) = (AtomicBool::new(false), AtomicU64::new(0));
        Arc::new(Self { messages, closed, wake, timers, recorder })
    }

    /// Records from now on what the loop admits.
    pub(super) fn record(&self, recorder: Recorder) {
        self.recorder.get_or_init(|| recorder);
    }

    /// What records the tickets, if anything does.
    pub(crate) fn recorder(&self) -> Option<&Recorder> {
        self.recorder.get()
    }

    pub(super) fn post(&self, message: Message) {
        self.messages.push(message);
        // Pairs with the fence of `close`: one of the two finds the message.
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Relaxed) {
            self.throw_away();
        } else {
            self.wake.wake();
        }
    }

    /// The loop is gone: what was posted, and what will be, is thrown away.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.throw_away();
    }

    /// A message may have a handle to this very box.
    fn throw_away(&self) {
        while let Some(message) = self.messages.pop() {
            deferred::drop_later(message);
        }
        deferred::rouse_for_pending();
    }

    /// A fresh name for a timer.
    pub(super) fn timer_id(&self) -> TimerId {
        TimerId(self.timers.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// When a delay from now is over.
pub(super) fn deadline(delay: Duration) -> u64 {
    now_ns().saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX))
}

impl Home for Mailbox {
    fn add_callback(&self, callback: Callback) {
        self.post(Message::Callback(Posted::foreign(callback)));
    }

    fn call_later(&self, delay: Duration, callback: Callback) {
        let posted = Posted::foreign(callback);
        self.post(Message::Timer(deadline(delay), self.timer_id(), posted));
    }
}

/// A loop, as other threads have it. Cheap to clone.
///
/// Everything here acts at once, also inside a handler: if the handler is run again, it acts again.
/// What a handler wants done once goes through [`Transaction::add_callback`] or
/// [`Transaction::on_commit`]. What is given to a loop that was dropped is thrown away.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Mailbox>);

impl Handle {
    /// Has the loop run `f` as a transaction in its next turn.
    ///
    /// # Re-run
    /// `f` may be called several times; only the last call counts. This method is not undone.
    pub fn call_soon_threadsafe(&self, f: impl Fn(&Transaction) + Send + Sync + 'static) {
        self.0.add_callback(Arc::new(f));
    }

    /// The same, not before `delay` has passed.
    ///
    /// # Re-run
    /// As [`Handle::call_soon_threadsafe`].
    pub fn call_later(
        &self,
        delay: Duration,
        f: impl Fn(&Transaction) + Send + Sync + 'static,
    ) -> TimerId {
        let id = self.0.timer_id();
        self.0.post(Message::Timer(deadline(delay), id, Posted::foreign(Arc::new(f))));
        id
    }

    /// Cancels a timer, unless it has run.
    pub fn cancel(&self, timer: TimerId) {
        self.0.post(Message::Cancel(timer));
    }

    /// Ends the loop after its present turn, when everything under way has ended.
    pub fn stop(&self) {
        self.0.post(Message::Stop);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}
