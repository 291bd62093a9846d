//! What a handler would do.

use crate::TVar;
use crate::cell::logs::Own;
use crate::transaction::{
    attempt::Attempt,
    footprint::{self, Touched},
};
use std::fmt;

/// What a handler would do on the present state: see
/// [`TestLoop::dry_run`](super::TestLoop::dry_run).
///
/// Nothing of it was done, and nothing will be. While this lives, the state that the handler saw is
/// kept.
pub struct DryRun<R> {
    /// What the handler returned.
    pub answer: R,
    pub(super) attempt: Attempt,
}

impl<R> DryRun<R> {
    /// The cells that were read, in order, some more than once. Cells of a collection have its
    /// name.
    #[must_use]
    pub fn reads(&self) -> Vec<Touched> {
        footprint::read(&self.attempt)
    }

    /// The cells that would be written, in the order of the first writes.
    #[must_use]
    pub fn writes(&self) -> Vec<Touched> {
        footprint::written(&self.attempt)
    }

    /// The value that would be written to a cell: none if it would stay as it is, or if the value
    /// is made at commit, as by [`Transaction::update_later`](crate::Transaction::update_later).
    #[must_use]
    pub fn written<T: Send + Sync + 'static>(&self, cell: &TVar<T>) -> Option<&T> {
        match self.attempt.logs.writes.get(cell.kept()) {
            Some(Own::Value(value)) => Some(value),
            Some(Own::Folded) | None => None,
        }
    }

    /// How many effects, callbacks and timers it asked for.
    #[must_use]
    pub fn effects(&self) -> usize {
        self.attempt.logs.outbox.mark()
    }
}

impl<R: fmt::Debug> fmt::Debug for DryRun<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DryRun")
            .field("answer", &self.answer)
            .field("reads", &self.reads())
            .field("writes", &self.writes())
            .field("effects", &self.effects())
            .finish()
    }
}
