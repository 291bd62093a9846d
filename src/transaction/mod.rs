//! Transactions: what a handler reads and writes, and how that becomes a version of the store.
//!
//! A [`Transaction`] is one attempt: a view, a read log, a write log, an outbox. Validation, in the
//! cell module's read log, is a comparison of numbers; [`commit`] alone advances the version. This
//! module does not know that a conflict log exists: it returns a [`conflict::Conflict`].

pub(crate) mod attempt;
pub(crate) mod cancel;
pub(crate) mod choice;
pub(crate) mod commit;
pub(crate) mod conflict;
#[cfg(not(loom))]
pub(crate) mod footprint;
#[cfg(not(loom))]
pub(crate) mod holder;
pub(crate) mod inputs;
#[cfg(all(test, loom))]
mod models;
pub(crate) mod outbox;
pub(crate) mod panic;
pub(crate) mod parked;
#[cfg(not(loom))]
pub(crate) mod run;
#[cfg(all(test, shuttle))]
mod shuttled;
#[cfg(not(loom))]
pub(crate) mod sink;
#[cfg(loom)]
pub(crate) mod sink {
    //! The models have no sink.
    pub(super) fn is_active() -> bool {
        false
    }
    pub(super) fn is_closed() -> bool {
        false
    }
    pub(super) fn append(_: u64, _: Vec<u8>) -> Result<(), String> {
        Ok(())
    }
    pub(super) fn wake() {}
    pub(super) fn wait_open() {}
    pub(super) fn when_durable(_: u64, _: Box<dyn FnOnce(bool) + Send>) {}
}
pub(crate) mod snapshot;
pub(crate) mod view;

#[cfg(not(loom))]
pub use footprint::Touched;
#[cfg(not(loom))]
pub use holder::{Holder, holding_for};
pub use inputs::Rng;
pub use outbox::MAX_EFFECTS;
pub use parked::{MAX_PARKED, MAX_WAITED, Parked, parked_for};
#[cfg(not(loom))]
pub use run::{atomically, irrevocably, snapshot, try_atomically};
#[cfg(not(loom))]
pub use sink::{CommitSink, Durability, MAX_RECORD};
pub use snapshot::Snapshot;
pub use view::{Read, Transaction};

#[cfg(not(loom))]
use run::forbid;

/// The models' folds are their own.
#[cfg(loom)]
fn forbid<R>(f: impl FnOnce() -> R) -> R {
    f()
}
