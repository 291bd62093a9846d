//! A worker's life: run what there is, spin a little, flush, park.

use super::{core::Core, runner::Runner};
use crate::cell::deferred;
use crate::sync::{Arc, Parker, cores, now_ns, spin_loop};
use std::time::Duration;

/// How long a worker looks for work before it parks, where there are cores to spare.
const SPIN_NS: u64 = 10_000;
/// How long a worker sleeps at most while a log is written.
const FLUSH: Duration = Duration::from_millis(250);

pub(crate) fn run(core: Arc<Core>, index: usize, parker: Parker) {
    deferred::adopt_thread();
    let mut runner = Runner::new(Arc::clone(&core), index);
    // Not where a spinning thread would take a core from one that runs: the loop needs one too.
    // A clock that follows the steps of the interleaver stands still meanwhile.
    let spins = core.threads < cores() && !cfg!(txloop_check);
    loop {
        while runner.step() {}
        if core.is_stopping() && core.is_drained() {
            return;
        }
        core.ledger.flush_if_due(index, now_ns());
        if spins && spin(&core) {
            continue;
        }
        runner.rest();
        if core.may_sleep(index) {
            if core.ledger.is_logging() {
                parker.park_timeout(FLUSH);
            } else {
                parker.park();
            }
            core.awake(index);
        }
    }
}

fn spin(core: &Core) -> bool {
    let until = now_ns() + SPIN_NS;
    while now_ns() < until {
        for _ in 0..32 {
            spin_loop();
        }
        if core.has_work() {
            return true;
        }
    }
    false
}
