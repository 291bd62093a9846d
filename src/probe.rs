//! Doors for this project's own tests and benches. Not part of the API: no promise is made.
use crate::{Transaction, transaction};

/// As [`crate::atomically`], with the version that is the transaction's place in the serial order.
pub fn atomically_at<R>(f: impl Fn(&Transaction) -> R) -> (R, u64) {
    let (answer, version) =
        transaction::run::run_own(&|tx| Ok::<R, std::convert::Infallible>(f(tx)));
    match answer {
        Ok(answer) => (answer, version),
        Err(never) => match never {},
    }
}

/// As [`crate::try_atomically`], with the version.
pub fn try_atomically_at<R, E>(f: impl Fn(&Transaction) -> Result<R, E>) -> (Result<R, E>, u64) {
    transaction::run::run_own(&f)
}

/// What an idle loop does: frees what nobody can see any more.
pub fn collect() {
    crate::cell::store::STORE.collect_idle();
    if crate::cell::deferred::pending() {
        crate::cell::deferred::settle();
    }
}

/// The interleaver, and what its tests have to know: see docs/mutations.md.
#[cfg(txloop_check)]
pub mod interleaved {
    pub use crate::executor::check::Viewed;
    pub use crate::sync::interleave::{Handle, Point, Ran, idle, pause, point, run, spawn, steps};
    use crate::{TVar, Transaction, cell, sync::interleave};

    /// The version that a transaction sees.
    #[must_use]
    pub fn snapshot_of(tx: &Transaction) -> u64 {
        tx.snapshot_version()
    }

    /// The newest version of a cell; 0 if it was never written.
    #[must_use]
    pub fn version_of<T: Send + Sync + 'static>(var: &TVar<T>) -> u64 {
        var.cell().version()
    }

    /// The versions since the last call that no transaction has made, so that cells can be freed.
    #[must_use]
    pub fn empty_versions() -> Vec<u64> {
        interleave::aside(|| cell::store::STORE.take_empties())
    }

    /// What the reaper does in production: frees, and runs what was put off.
    pub fn reap() {
        cell::deferred::adopt_thread();
        cell::store::STORE.collect_idle();
        if cell::deferred::pending() {
            cell::deferred::settle();
        }
    }

    /// Between two runs: frees all that can be, and forgets what was counted; no part of a
    /// schedule.
    pub fn rest() {
        interleave::aside(|| {
            for _ in 0..4 {
                reap();
            }
            cell::store::STORE.forget_counts();
        });
    }
}
