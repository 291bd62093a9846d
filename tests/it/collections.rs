//! The collections: each against the structure of the standard library that it replaces, alone and
//! under many handlers at once, and the unit in which it finds conflicts.

mod grid;
mod map;
mod small;
mod vec;

use proptest::test_runner::{Config, TestRunner};
use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};
use txloop::{Executor, Order, Transaction, atomically};

/// Runs handlers in arrival order on several numbers of threads; each answer must be the one that
/// `serial` gives, called for one handler after another.
#[track_caller]
fn agree<F, R>(handlers: impl Fn() -> Vec<F>, serial: &[R])
where
    F: Fn(&Transaction) -> R + Send + Sync + 'static,
    R: PartialEq + std::fmt::Debug + Send + 'static,
{
    for threads in [1, 2, 4] {
        let executor = Executor::builder().threads(threads).order(Order::Arrival);
        let executor = executor.build().expect("threads");
        let answers = executor.run("program", handlers());
        for (at, (answer, expected)) in answers.iter().zip(serial).enumerate() {
            assert_eq!(answer.as_ref().ok(), Some(expected), "handler {at} on {threads} threads");
        }
        assert_eq!(answers.len(), serial.len());
    }
}

/// How often `first` runs when `second` commits after its first run and before its end.
#[track_caller]
fn runs_beside<R>(
    first: impl Fn(&Transaction) -> R,
    second: impl Fn(&Transaction) + Sync,
) -> usize {
    let runs = AtomicUsize::new(0);
    atomically(|tx| {
        first(tx);
        if runs.fetch_add(1, Relaxed) == 0 {
            thread::scope(|scope| {
                let other = scope.spawn(|| atomically(&second));
                other.join().expect("nothing panics");
            });
        }
    });
    runs.into_inner()
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, ..Config::default() })
}

/// Waits for what the library's threads do in a moment.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test's own clock")]
fn eventually(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(10), "waited in vain");
        thread::yield_now();
    }
}
