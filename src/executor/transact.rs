//! A closure given to an executor, and the answer that comes back: by waiting, or as a future.

use super::job::{Ended, Handled, How, Job, Kind, Verdict};
use super::watch;
use crate::cell::{deferred, text};
use crate::sync::{
    Arc, Table,
    thread::{self, Thread},
};
use crate::transaction::{
    Transaction,
    cancel::{Cancel, Why},
    panic::Panic,
};
use std::{
    any::Any,
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

/// The closure panicked; nothing of what it did remains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panicked {
    /// Behind one pointer, so that a result is as small as its answer.
    #[expect(clippy::box_collection, reason = "one word instead of three")]
    message: Box<String>,
}

impl Panicked {
    /// What a panic said; its payload, which may be anything, is dropped later.
    pub(crate) fn contain(panic: Panic) -> Self {
        let payload = panic.into_payload();
        let panicked = Self::from_payload(&*payload);
        deferred::drop_later(payload);
        panicked
    }

    pub(crate) fn new(message: &str) -> Self {
        Self { message: Box::new(message.to_owned()) }
    }

    pub(crate) fn from_payload(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&'static str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        let message = text.unwrap_or_else(|| "a panic without a message".to_owned());
        Self { message: Box::new(message) }
    }

    /// What the panic said.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the transaction panicked: {}", self.message)
    }
}

impl std::error::Error for Panicked {}

/// Why a [`Transact`] has no answer. In every case nothing of the transaction remains.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The closure panicked.
    Panicked(Panicked),
    /// It was cancelled before it committed.
    Cancelled,
    /// It did not commit before its deadline.
    Late,
    /// It was not taken: too much was under way, see
    /// [`ExecutorBuilder::max_under_way`](crate::ExecutorBuilder::max_under_way).
    Overloaded,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Panicked(panicked) => panicked.fmt(f),
            Failure::Cancelled => f.write_str("the transaction was cancelled"),
            Failure::Late => f.write_str("the transaction did not commit before its deadline"),
            Failure::Overloaded => f.write_str("the executor is overloaded"),
        }
    }
}

impl std::error::Error for Failure {}

type Answer<R> = (Result<R, Failure>, u64);

/// Where the answer comes in.
struct Reply<R>(Table<State<R>>);

enum State<R> {
    Open(Listener),
    Answered(Answer<R>),
    Taken,
}

/// Who waits.
enum Listener {
    Nobody,
    Thread(Thread),
    Task(Waker),
}

impl<R> Reply<R> {
    /// Leaves the answer, or gives it back if nobody will ever take it. Runs no user code: the
    /// waker of a task may be anything, so it is called later.
    fn answer(&self, answer: Answer<R>) {
        let before = mem::replace(&mut *self.0.lock(), State::Answered(answer));
        match before {
            State::Open(Listener::Thread(thread)) => thread.unpark(),
            State::Open(Listener::Task(waker)) => {
                deferred::wake_later(waker);
            }
            _ => {}
        }
    }

    /// The answer, or a note who waits for it.
    fn take(&self, listener: impl FnOnce() -> Listener) -> Option<Answer<R>> {
        let mut state = self.0.lock();
        match mem::replace(&mut *state, State::Taken) {
            State::Answered(answer) => Some(answer),
            State::Open(_) => {
                *state = State::Open(listener());
                None
            }
            State::Taken => panic!("a transaction's answer is taken once"),
        }
    }
}

/// A transaction under way on an [`Executor`](super::Executor): wait for it with
/// [`Transact::wait`], or `.await` it on any async runtime, since it is a plain future.
///
/// Dropping it does not cancel; see [`Transact::cancel_on_drop`].
#[must_use = "the answer comes with `wait` or `.await`"]
pub struct Transact<R> {
    reply: Arc<Reply<R>>,
    cancel: Arc<Cancel>,
    cancel_on_drop: bool,
}

impl<R> Transact<R> {
    /// Waits for the answer on this thread.
    ///
    /// # Errors
    /// When the closure panicked, or was taken back before it committed.
    ///
    /// # Panics
    /// When called on the only thread that could run it, it waits for ever; it does not panic.
    pub fn wait(self) -> Result<R, Failure> {
        self.wait_at().0
    }

    /// The answer, and its place in the serial order.
    #[doc(hidden)]
    pub fn wait_at(self) -> (Result<R, Failure>, u64) {
        loop {
            if let Some(answer) = self.reply.take(|| Listener::Thread(thread::current())) {
                return answer;
            }
            thread::park();
        }
    }

    /// Takes the transaction back if it has not committed: parked it ends at once, queued when a
    /// worker comes to it, running at its next read, and with its run over when its commit would be
    /// its turn. Its answer is then [`Failure::Cancelled`].
    pub fn cancel(&self) {
        self.cancel.cancel(Why::Cancelled);
    }

    /// Has it taken back if it has not committed after `limit`: its answer is then
    /// [`Failure::Late`]. About a millisecond after the limit it is taken back as by
    /// [`Transact::cancel`]; so while all threads of the executor are busy, the answer of one that
    /// is queued comes later.
    pub fn within(self, limit: Duration) -> Self {
        watch::cancel_after(limit, &self.cancel);
        self
    }

    /// Has it taken back when this is dropped before the answer is there, as when the client of an
    /// async server has gone.
    pub fn cancel_on_drop(mut self) -> Self {
        self.cancel_on_drop = true;
        self
    }
}

impl<R> Future for Transact<R> {
    type Output = Result<R, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = context.waker().clone();
        match self.reply.take(|| Listener::Task(waker)) {
            Some((answer, _)) => Poll::Ready(answer),
            None => Poll::Pending,
        }
    }
}

impl<R> Drop for Transact<R> {
    fn drop(&mut self) {
        if self.cancel_on_drop {
            self.cancel.cancel(Why::Cancelled);
        }
    }
}

impl<R> fmt::Debug for Transact<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transact")
    }
}

struct Closure<F, R> {
    f: F,
    handled: Arc<Handled>,
    cancel: Arc<Cancel>,
    /// The answer of the last attempt.
    answer: Option<R>,
    /// Answers of attempts that did not stand, dropped with the job.
    stale: Vec<R>,
    reply: Arc<Reply<R>>,
}

/// A job for `f`, and where its answer comes.
pub(crate) fn job<R: Send + 'static>(
    handled: Arc<Handled>,
    f: impl Fn(&Transaction) -> R + Send + Sync + 'static,
) -> (Box<dyn Job>, Transact<R>) {
    let reply = Arc::new(Reply(Table::new(State::Open(Listener::Nobody))));
    let cancel = Arc::new(Cancel::new());
    let transact =
        Transact { reply: Arc::clone(&reply), cancel: Arc::clone(&cancel), cancel_on_drop: false };
    (Box::new(Closure { f, handled, cancel, answer: None, stale: Vec::new(), reply }), transact)
}

impl<F, R> Job for Closure<F, R>
where
    F: Fn(&Transaction) -> R + Send + Sync,
    R: Send + 'static,
{
    fn handled(&self) -> &Arc<Handled> {
        &self.handled
    }

    fn kind(&self) -> Kind {
        Kind::Write
    }

    fn may_be_refused(&self) -> bool {
        true
    }

    fn cancel(&self) -> Option<&Arc<Cancel>> {
        Some(&self.cancel)
    }

    fn answer_text(&self) -> Option<String> {
        self.answer.as_ref().and_then(|answer| text::of(answer))
    }

    fn attempt(&mut self, tx: &Transaction) -> Verdict {
        self.stale.extend(self.answer.take());
        self.answer = Some((self.f)(tx));
        Verdict::Commit
    }

    fn ended(&mut self, ended: Ended) {
        let last = self.answer.take();
        let answer = match ended.how {
            How::Done => match last {
                Some(answer) => Ok(answer),
                None => unreachable!("an attempt that stands has an answer"),
            },
            undone => {
                self.stale.extend(last);
                Err(match undone {
                    How::Panicked(panicked) => Failure::Panicked(panicked),
                    How::Late => Failure::Late,
                    How::Refused => Failure::Overloaded,
                    _ => Failure::Cancelled,
                })
            }
        };
        // If nobody waits any more, the answer is dropped with the last of the two owners.
        self.reply.answer((answer, ended.version));
    }
}
