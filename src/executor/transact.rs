//! A closure given to an executor, and the answer that comes back.

use super::job::{Ended, Handled, How, Job, Kind, Verdict};
use crate::cell::deferred;
use crate::sync::Arc;
use crate::transaction::{Transaction, commit::Payload};
use std::{
    any::Any,
    fmt,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

/// The closure panicked; nothing of what it did remains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panicked {
    message: String,
}

impl Panicked {
    /// What a panic said; its payload, which may be anything, is dropped later.
    pub(crate) fn contain(payload: Payload) -> Self {
        let panicked = Self::from_payload(&*payload);
        deferred::drop_later(payload);
        panicked
    }

    pub(crate) fn from_payload(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&'static str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        Self { message: text.unwrap_or_else(|| "a panic without a message".to_owned()) }
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

type Answer<R> = (Result<R, Panicked>, u64);

/// A transaction under way on an [`Executor`](super::Executor). Dropping it does not cancel.
#[must_use = "the answer comes with `wait`"]
pub struct Transact<R> {
    answer: Receiver<Answer<R>>,
}

impl<R> Transact<R> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// When the closure panicked.
    ///
    /// # Panics
    /// When called on the only thread that could run it, it waits for ever; it does not panic.
    pub fn wait(self) -> Result<R, Panicked> {
        self.wait_at().0
    }

    /// The answer, and its place in the serial order.
    #[doc(hidden)]
    pub fn wait_at(self) -> (Result<R, Panicked>, u64) {
        match self.answer.recv() {
            Ok(answer) => answer,
            Err(_) => unreachable!("an executor ends every job that it accepted"),
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
    /// The answer of the last attempt.
    answer: Option<R>,
    /// Answers of attempts that did not stand, dropped with the job.
    stale: Vec<R>,
    reply: SyncSender<Answer<R>>,
}

/// A job for `f`, and where its answer comes.
pub(crate) fn job<R: Send + 'static>(
    name: &str,
    f: impl Fn(&Transaction) -> R + Send + Sync + 'static,
) -> (Box<dyn Job>, Transact<R>) {
    let (reply, answer) = sync_channel(1);
    let handled = Handled::new(name);
    (Box::new(Closure { f, handled, answer: None, stale: Vec::new(), reply }), Transact { answer })
}

impl<F, R> Job for Closure<F, R>
where
    F: Fn(&Transaction) -> R + Send + Sync,
    R: Send,
{
    fn handled(&self) -> &Arc<Handled> {
        &self.handled
    }

    fn kind(&self) -> Kind {
        Kind::Write
    }

    fn attempt(&mut self, tx: &Transaction) -> Verdict {
        self.stale.extend(self.answer.take());
        self.answer = Some((self.f)(tx));
        Verdict::Commit
    }

    fn ended(&mut self, ended: Ended) {
        let answer = match (ended.how, self.answer.take()) {
            (How::Done, Some(answer)) => Ok(answer),
            (How::Panicked(panicked), last) => {
                self.stale.extend(last);
                Err(panicked)
            }
            _ => unreachable!("an attempt that ends without a panic has an answer"),
        };
        if let Err(unsent) = self.reply.send((answer, ended.version)) {
            // Nobody waits any more: the answer is dropped with the job, where that may be done.
            self.stale.extend(unsent.0.0);
        }
    }
}
