//! Transactions: what a handler reads and writes, and how that becomes a version of the store.
//!
//! A [`Transaction`] is one attempt: a view, a read log, a write log, an outbox. Validation, in the
//! cell module's read log, is a comparison of numbers; [`commit`] alone advances the version. This
//! module does not know that a conflict log exists: it returns a [`conflict::Conflict`].

pub(crate) mod attempt;
pub(crate) mod commit;
pub(crate) mod conflict;
#[cfg(all(test, loom))]
mod models;
pub(crate) mod outbox;
#[cfg(not(loom))]
pub(crate) mod run;
pub(crate) mod view;

#[cfg(not(loom))]
pub use run::{atomically, snapshot, try_atomically};
pub use view::{Read, Snapshot, Transaction};
