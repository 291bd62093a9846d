//! Programs as the members of a series.

use super::{
    super::{
        Executor, Queued,
        series::{Batch, Series},
    },
    piece::{Book, handled},
    program,
};
use crate::TVar;
use crate::sync::{Arc, explore::below, now_ns};
use crate::transaction::Transaction;

pub(super) type Closure = Box<dyn Fn(&Transaction) -> u64 + Send + Sync>;
pub(super) type Closures = Batch<Closure, u64>;

/// The programs as closures that also note their numbers, in the order of their commits.
pub(super) fn closures(book: &Arc<Book>, noted: &TVar<Vec<usize>>) -> Vec<Closure> {
    let closure = |number: usize| -> Closure {
        let (book, noted) = (Arc::clone(book), noted.clone());
        Box::new(move |tx| {
            let note = move |before: &Vec<usize>| [before.as_slice(), &[number]].concat();
            tx.update_later(&noted, note);
            match program::run(&book.programs[number].ops, &program::Real(tx, &book.cells)) {
                Ok(answer) => answer,
                Err(program::Left) => unreachable!("it is left by unwinding"),
            }
        })
    };
    (0..book.programs.len()).map(closure).collect()
}

/// As [`Executor::run`], under a name that belongs in the serial lane if `hot`, but not waited for.
pub(super) fn admit_series(
    executor: &Executor,
    hot: bool,
    closures: Vec<Closure>,
) -> Arc<Closures> {
    let (core, count) = (&executor.core, closures.len());
    let handled = handled("series", hot);
    // Known to be brief from the first run on, or not.
    (0..below(2)).for_each(|_| handled.ran(1));
    // In groups, or one by one.
    (0..10 * below(2)).for_each(|_| handled.heat.failed(now_ns()));
    let batch = |first| Arc::new(Batch::new(closures, handled, first, 0));
    core.accepted();
    let mut admitted = None;
    match &core.arrival {
        None => {
            let batch = batch(core.tickets(count));
            core.queue_series(Arc::clone(&batch) as Arc<dyn Series>);
            admitted = Some(batch);
        }
        Some(arrival) => arrival.admit_series(|| {
            let batch = batch(core.tickets(count));
            admitted = Some(Arc::clone(&batch));
            Queued::Series(batch)
        }),
    }
    core.wake_one();
    admitted.expect("admitted above")
}

pub(super) fn run_series(executor: &Executor, hot: bool, closures: Vec<Closure>) -> Vec<u64> {
    let answers = admit_series(executor, hot, closures).wait();
    executor.core.task_ended();
    answers.into_iter().map(|answer| answer.expect("no panic")).collect()
}
