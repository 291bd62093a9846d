//! What handlers let out by `on_commit` comes in the serial order, also from those that write
//! nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::{Sender, channel},
    },
    thread,
};
use txloop::{Executor, TVar, Transaction, atomically};

/// Publishes what the cell has, after `meanwhile` in its first run.
fn publishes(
    cell: &TVar<&'static str>,
    published: &Sender<&'static str>,
    runs: &Arc<AtomicUsize>,
    meanwhile: impl Fn() + Send + Sync + 'static,
) -> impl Fn(&Transaction) + Send + Sync + 'static {
    let (cell, published, runs) = (cell.clone(), published.clone(), Arc::clone(runs));
    move |tx| {
        let seen = *tx.get(&cell);
        if runs.fetch_add(1, SeqCst) == 0 {
            meanwhile();
        }
        let published = published.clone();
        tx.on_commit(move || published.send(seen).expect("somebody listens"));
    }
}

#[test]
fn who_publishes_what_it_read_comes_before_whoever_replaces_that() {
    for on_executor in [false, true] {
        let (published, listens) = channel();
        let (cell, runs) = (TVar::new("old"), Arc::default());
        let (replaced, replaces) = (cell.clone(), published.clone());
        let replace = move || {
            // A transaction of its own, on a thread of its own.
            thread::scope(|scope| {
                scope.spawn(|| {
                    atomically(|tx| {
                        tx.set(&replaced, "new");
                        let published = replaces.clone();
                        tx.on_commit(move || published.send("new").expect("somebody listens"));
                    });
                });
            });
        };
        let publish = publishes(&cell, &published, &runs, replace);
        if on_executor {
            let executor = Executor::new(2).expect("threads");
            executor.transact("publish", publish).wait().expect("it commits");
        } else {
            atomically(publish);
        }
        // "old" would have come behind "new", which nobody could have seen one after another.
        let both: Vec<_> = listens.iter().take(2).collect();
        assert_eq!((both, runs.load(SeqCst)), (vec!["new", "new"], 2), "{on_executor}");
    }
}
