//! Who has run, and waits to commit, is still taken back; and so is who runs for long, whatever its
//! earlier runs were like.

use crate::{holding::while_another_holds, limits::wait_until};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use txloop::{Executor, Failure, Order, TVar, Transaction, atomically};

/// Passes at once.
const SOON: Duration = Duration::from_millis(1);

#[test]
fn what_has_run_ahead_is_taken_back_before_its_turn() {
    let executor = Executor::builder().threads(2).order(Order::Arrival).build().expect("threads");
    let (gate, ran) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (cell, pass) = (TVar::new(0), Arc::clone(&gate));
    let first = executor.transact("first", move |_| wait_until(|| pass.load(SeqCst)));
    let write = || {
        let (cell, ran) = (cell.clone(), Arc::clone(&ran));
        executor.transact("behind", move |tx| {
            tx.modify(&cell, |n| *n += 1);
            ran.fetch_add(1, SeqCst);
        })
    };
    let (cancelled, late, stays) = (write(), write(), write());
    wait_until(|| ran.load(SeqCst) == 3);
    // Only now: before, it could be late before it has run.
    let late = late.within(SOON);
    cancelled.cancel();
    is_late();
    gate.store(true, SeqCst);
    assert_eq!((first.wait(), cancelled.wait()), (Ok(()), Err(Failure::Cancelled)));
    assert_eq!((late.wait(), stays.wait()), (Err(Failure::Late), Ok(())));
    assert_eq!(cell.with(|n| *n), 1);
}

/// Returns when everything with an earlier deadline than this is late.
fn is_late() {
    let never = TVar::new(false);
    let executor = Executor::new(2).expect("threads");
    let waits = executor.transact("waits", move |tx| tx.guard(*tx.get(&never)));
    assert_eq!(waits.within(2 * SOON).wait(), Err(Failure::Late));
}

#[test]
fn what_waits_for_the_baton_is_taken_back() {
    let executor = Executor::new(2).expect("threads");
    let (cell, ran) = (TVar::new(0), Arc::new(AtomicUsize::new(0)));
    while_another_holds(|open| {
        let write = || {
            let (cell, ran) = (cell.clone(), Arc::clone(&ran));
            executor.transact("ready", move |tx| {
                tx.modify(&cell, |n| *n += 1);
                ran.fetch_add(1, SeqCst);
            })
        };
        let (cancelled, stays) = (write(), write());
        wait_until(|| ran.load(SeqCst) == 2);
        cancelled.cancel();
        drop(open);
        assert_eq!((cancelled.wait(), stays.wait()), (Err(Failure::Cancelled), Ok(())));
    });
    assert_eq!(cell.with(|n| *n), 1);
}

#[test]
fn a_deadline_holds_for_a_run_that_takes_longer_than_all_before() {
    for (order, threads) in [(Order::Commit, 1), (Order::Commit, 2), (Order::Arrival, 2)] {
        let executor = Executor::builder().threads(threads).order(order).build().expect("threads");
        let (cell, long) = (TVar::new(0_u64), TVar::new(false));
        let run = || {
            let (cell, long) = (cell.clone(), long.clone());
            executor.transact("run", move |tx: &Transaction| {
                tx.modify(&cell, |n| *n += 1);
                // For ever, unless it is left at a read.
                while *tx.get(&long) {}
            })
        };
        // Brief so far.
        (0..64).for_each(|_| assert_eq!(run().wait(), Ok(())));
        atomically(|tx| tx.set(&long, true));
        assert_eq!(run().within(50 * SOON).wait(), Err(Failure::Late), "{order:?} on {threads}");
        assert_eq!(cell.with(|n| *n), 64);
    }
}

#[test]
fn whoever_has_not_committed_in_time_does_not() {
    for (order, threads) in [(Order::Commit, 1), (Order::Commit, 2), (Order::Arrival, 2)] {
        let executor = Executor::builder().threads(threads).order(order).build().expect("threads");
        let cell = TVar::new(0_u64);
        let (written, runs) = (cell.clone(), Arc::new(AtomicUsize::new(0)));
        let (gate, begun) = (Arc::new(AtomicBool::new(false)), Arc::clone(&runs));
        let pass = Arc::clone(&gate);
        let late = executor.transact("late", move |tx: &Transaction| {
            tx.set(&written, 1);
            begun.fetch_add(1, SeqCst);
            wait_until(|| pass.load(SeqCst));
        });
        wait_until(|| runs.load(SeqCst) > 0);
        late.cancel();
        gate.store(true, SeqCst);
        assert_eq!(late.wait(), Err(Failure::Cancelled), "{order:?} on {threads}");
        assert_eq!(cell.with(|n| *n), 0);
    }
}
