//! Read-only jobs given to an executor, for the tests of the interleaver: elsewhere they come from
//! routes alone.

use super::{
    Executor,
    job::{Ended, Handled, How, Job, Kind},
};
use crate::sync::{Arc, Table, interleave};
use crate::transaction::Snapshot;
use std::fmt;

type Answer<R> = (Result<R, String>, u64);

/// The answer of a read-only job, when it is there.
#[must_use = "the answer comes with `wait_at`"]
pub struct Viewed<R>(Arc<Table<Option<Answer<R>>>>);

impl<R> Viewed<R> {
    /// Waits on a logical thread for the answer, or what the panic said, and the place in the
    /// serial order.
    pub fn wait_at(self) -> (Result<R, String>, u64) {
        loop {
            if let Some(answer) = self.0.lock().take() {
                return answer;
            }
            interleave::pause();
        }
    }
}

impl<R> fmt::Debug for Viewed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Viewed")
    }
}

struct View<F, R> {
    f: F,
    handled: Arc<Handled>,
    last: Option<R>,
    told: Arc<Table<Option<Answer<R>>>>,
}

impl Executor {
    /// Runs `f` on a snapshot on one of the threads.
    #[doc(hidden)]
    pub fn view<R: Send + 'static>(
        &self,
        name: &str,
        f: impl Fn(&Snapshot) -> R + Send + Sync + 'static,
    ) -> Viewed<R> {
        let told = Arc::new(Table::new(None));
        let (handled, last) = (Handled::new(name), None);
        self.submit(Box::new(View { f, handled, last, told: Arc::clone(&told) }));
        Viewed(told)
    }
}

impl<F, R> Job for View<F, R>
where
    F: Fn(&Snapshot) -> R + Send + Sync,
    R: Send,
{
    fn handled(&self) -> &Arc<Handled> {
        &self.handled
    }

    fn kind(&self) -> Kind {
        Kind::Read
    }

    fn view(&mut self, view: &Snapshot) {
        self.last = Some((self.f)(view));
    }

    fn ended(&mut self, ended: Ended) {
        let answer = match (ended.how, self.last.take()) {
            (How::Done, Some(last)) => Ok(last),
            (How::Panicked(panicked), _) => Err(panicked.message().to_owned()),
            _ => Err("neither run nor panicked".to_owned()),
        };
        *self.told.lock() = Some((answer, ended.version));
    }
}
