//! What a transaction may ask for at most, and what all of them may leave to be done: whoever asks
//! for more is told, and nothing is lost or half done.

use crate::{edges::panic_text, limits::wait_until};
use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::channel,
    },
};
use txloop::{
    Executor, Failure, MAX_EFFECTS, MAX_WAITED, MAX_WRITES, Order, TMap, TVar, Transaction,
    atomically, memory, snapshot,
};

#[test]
fn a_transaction_that_writes_too_much_panics_and_writes_nothing() {
    let cell = TVar::new(0);
    let told = panic_text(|| atomically(|tx| (0..=MAX_WRITES).for_each(|n| tx.set(&cell, n))));
    assert_eq!(told, "a transaction puts more than 4,194,304 values into cells");
    assert_eq!(snapshot(|s| *s.get(&cell)), 0);
    atomically(|tx| (1..=MAX_WRITES).for_each(|n| tx.set(&cell, n)));
    assert_eq!(snapshot(|s| *s.get(&cell)), MAX_WRITES);
}

/// What is caught may have been stopped between two writes that belong together.
#[test]
fn a_transaction_that_catches_that_panic_does_not_commit() {
    for order in [Order::Commit, Order::Arrival] {
        let (cell, map) = (TVar::new(0), TMap::new());
        let (inner, filled) = (cell.clone(), map.clone());
        let too_much = move |tx: &Transaction| {
            (1..MAX_WRITES).for_each(|_| tx.update_later(&inner, |n| n + 1));
            let fill = || (0..10).for_each(|n| assert_eq!(filled.insert(tx, n, n), None));
            assert!(catch_unwind(AssertUnwindSafe(fill)).is_err());
        };
        let executor = Executor::builder().threads(2).order(order).build().expect("threads");
        let Err(Failure::Panicked(told)) = executor.transact("too much", too_much).wait() else {
            panic!("it commits");
        };
        assert!(told.to_string().contains("more than 4,194,304 values"), "{told}");
        assert_eq!(snapshot(|s| (*s.get(&cell), map.len(s))), (0, 0));
    }
}

#[test]
fn a_transaction_that_asks_for_too_many_effects_panics_and_has_none() {
    let (cell, called) = (TVar::new(0), Arc::new(AtomicUsize::new(0)));
    let ask = |tx: &Transaction, count: usize| {
        tx.set(&cell, 1);
        for _ in 0..count {
            let called = Arc::clone(&called);
            tx.on_commit(move || {
                called.fetch_add(1, SeqCst);
            });
        }
    };
    let told = panic_text(|| atomically(|tx| ask(tx, MAX_EFFECTS + 1)));
    assert_eq!(told, format!("a transaction asks for more than {MAX_EFFECTS} effects"));
    assert_eq!(snapshot(|s| *s.get(&cell)), 0);
    atomically(|tx| ask(tx, MAX_EFFECTS));
    wait_until(|| called.load(SeqCst) >= MAX_EFFECTS);
    assert_eq!(called.load(SeqCst), MAX_EFFECTS);
}

#[test]
fn whoever_waits_for_too_many_cells_panics() {
    let cells: Vec<_> = (0..=MAX_WAITED).map(TVar::new).collect();
    let executor = Executor::new(2).expect("threads");
    let waits = executor.transact("waits", move |tx| {
        cells.iter().for_each(|cell| assert!(*tx.get(cell) <= MAX_WAITED));
        tx.guard(false);
    });
    let Err(Failure::Panicked(told)) = waits.wait() else { panic!("it ends") };
    assert!(told.to_string().contains("retry after reads"), "{told}");
}

#[test]
fn effects_above_the_limit_refuse_work_until_they_have_been_called() {
    const LIMIT: usize = 64 << 20;
    let executor = Executor::builder().threads(2).max_kept_bytes(LIMIT).build().expect("threads");
    let (called, (open, opened)) = (Arc::new(AtomicUsize::new(0)), channel::<()>());
    let opened = Cell::new(Some(opened));
    // It reads nothing, so it is run once.
    atomically(|tx| {
        let opened = opened.take().expect("run once");
        // It ends by the drop of the other end.
        tx.on_commit(move || assert!(opened.recv().is_err()));
    });
    let asks = || {
        let called = Arc::clone(&called);
        executor.transact("asks", move |tx| {
            let (called, large) = (Arc::clone(&called), [0_u8; 1 << 16]);
            tx.on_commit(move || {
                called.fetch_add(large.len() >> 16, SeqCst);
            });
        })
    };
    let mut taken = 0;
    loop {
        match asks().wait() {
            Ok(()) => taken += 1,
            Err(failure) => break assert_eq!(failure, Failure::Overloaded),
        }
        assert!(memory().effect_bytes <= LIMIT + (1 << 20), "{taken} were taken");
    }
    assert_eq!((called.load(SeqCst), executor.stats().refused.kept_bytes), (0, 1));
    drop(open);
    wait_until(|| called.load(SeqCst) == taken);
    wait_until(|| asks().wait() == Ok(()));
}

#[test]
fn a_snapshot_in_too_many_others_panics() {
    fn nest(deep: u32) -> u32 {
        snapshot(|_| if deep == 0 { 0 } else { 1 + nest(deep - 1) })
    }
    assert_eq!(atomically(|_| nest(255)), 255);
    let told = panic_text(|| drop(atomically(|_| nest(256).to_string())));
    assert_eq!(told, "a snapshot in 256 others of one transaction");
    assert_eq!(nest(1_000), 1_000);
}
