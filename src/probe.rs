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
