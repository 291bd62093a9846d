//! The collections: each against the structure of the standard library that it replaces, alone and
//! under many handlers at once, and the unit in which it finds conflicts.

mod grid;
mod map;
mod ord_map;
mod report;
mod small;
mod tiny;
mod vector;

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};
use txloop::{Executor, Order, Transaction, atomically, try_atomically};

/// Runs handlers in arrival order on several numbers of threads; each answer must be the one that
/// `serial` gives, called for one handler after another.
#[track_caller]
fn agree<F, R>(mut handlers: impl FnMut() -> Vec<F>, serial: &[R])
where
    F: Fn(&Transaction) -> R + Send + Sync + 'static,
    R: PartialEq + std::fmt::Debug + Send + 'static,
{
    for threads in [1, 2, 4] {
        let executor = Executor::builder().threads(threads).cores(threads).order(Order::Arrival);
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

/// What one operation answers, as a number.
type Answer = Option<u64>;
/// Some operations that are one transaction, and whether it is to be undone.
type Program<O> = Vec<(Vec<O>, bool)>;

fn program<O: std::fmt::Debug>(
    op: impl Strategy<Value = O>,
    most: usize,
) -> impl Strategy<Value = Program<O>> {
    vec((vec(op, 1..6), prop::bool::weighted(0.2)), 1..most)
}

/// A collection and the structure of the standard library that says what is right.
struct Pair<C, M, O> {
    /// Makes both alike, as a number says.
    make: fn(usize) -> (C, M),
    run: fn(&C, &Transaction, &O) -> Answer,
    run_on_model: fn(&mut M, &O) -> Answer,
}

impl<C, M, O> Pair<C, M, O>
where
    C: Clone + Send + Sync + 'static,
    M: Clone,
    O: Clone + Send + Sync + 'static,
{
    /// Runs a program transaction by transaction; gives both as they are in the end.
    fn alone(&self, made: usize, program: &Program<O>) -> Result<(C, M), TestCaseError> {
        let (collection, mut model) = (self.make)(made);
        for (ops, undone) in program {
            let mut own = model.clone();
            let expected: Vec<_> = ops.iter().map(|op| (self.run_on_model)(&mut own, op)).collect();
            let all = |tx: &_| ops.iter().map(|op| (self.run)(&collection, tx, op)).collect();
            let answer: Result<Vec<_>, Vec<_>> = try_atomically(|tx| match undone {
                true => Err(all(tx)),
                false => Ok(all(tx)),
            });
            prop_assert_eq!(answer.unwrap_or_else(|answer| answer), expected);
            if !undone {
                model = own;
            }
        }
        Ok((collection, model))
    }

    /// Runs the transactions of a program as handlers in arrival order, where nothing is undone, on
    /// several numbers of threads; gives the last collection, and the model, as they are then.
    fn together(&self, made: usize, program: &Program<O>) -> (C, M) {
        let (mut collection, mut model) = (self.make)(made);
        let mut serial = |(ops, _): &(Vec<O>, bool)| -> Vec<Answer> {
            ops.iter().map(|op| (self.run_on_model)(&mut model, op)).collect()
        };
        let serial: Vec<_> = program.iter().map(&mut serial).collect();
        let handlers = || {
            collection = (self.make)(made).0;
            let handler = |(ops, _): (Vec<O>, bool)| {
                let (collection, run) = (collection.clone(), self.run);
                move |tx: &Transaction| ops.iter().map(|op| run(&collection, tx, op)).collect()
            };
            program.clone().into_iter().map(handler).collect()
        };
        agree(handlers, &serial);
        (collection, model)
    }
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, ..Config::default() })
}

/// Numbers below what is asked for, always the same ones after a seed.
fn chance(seed: u64) -> impl Fn(u64) -> u64 {
    let state = Cell::new(seed);
    move |below| {
        let next = state.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed | 1);
        state.set(next);
        (next >> 33) % below
    }
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
