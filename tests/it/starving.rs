//! A handler that loses every race commits within the bound of docs/protocol.md.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};
use txloop::{Executor, TVar, Transaction, atomically, irrevocably};

const CELLS: usize = 16;

/// Sums the cells, slowly enough that a writer always gets between; counts its runs.
fn slow_sum(
    cells: &[TVar<u64>],
    total: &TVar<u64>,
    runs: &Arc<AtomicU64>,
) -> impl Fn(&Transaction) -> u64 + Send + Sync + use<> {
    let (cells, total, runs) = (cells.to_vec(), total.clone(), Arc::clone(runs));
    move |tx| {
        runs.fetch_add(1, Ordering::Relaxed);
        let mut sum = 0;
        for cell in &cells {
            sum += *tx.get(cell);
            for _ in 0..2_000 {
                std::hint::spin_loop();
            }
        }
        tx.set(&total, sum);
        sum
    }
}

#[test]
fn whoever_loses_every_race_runs_at_most_four_times() {
    let cells: Vec<TVar<u64>> = (0..CELLS).map(|_| TVar::new(100)).collect();
    let (total, stop) = (TVar::new(0), AtomicBool::new(false));
    let executor = Executor::new(2).expect("threads");
    thread::scope(|scope| {
        for offset in 0..2 {
            let (cells, stop) = (&cells, &stop);
            scope.spawn(move || {
                for i in (offset..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                    let (from, to) = (i * 7 % CELLS, i * 11 % CELLS);
                    atomically(|tx| {
                        tx.modify(&cells[from], |n| *n = n.wrapping_sub(1));
                        tx.modify(&cells[to], |n| *n = n.wrapping_add(1));
                    });
                }
            });
        }
        let mut lost = 0;
        for _ in 0..50 {
            let runs = Arc::new(AtomicU64::new(0));
            let sum = slow_sum(&cells, &total, &runs);
            assert_eq!(atomically(&sum), 100 * CELLS as u64);
            let foreign = runs.swap(0, Ordering::Relaxed);
            assert_eq!(executor.transact("sum", sum).wait(), Ok(100 * CELLS as u64));
            let own = runs.load(Ordering::Relaxed);
            assert!(foreign <= 4 && own <= 4, "{foreign} and {own} runs");
            lost += foreign + own - 2;
        }
        stop.store(true, Ordering::Relaxed);
        assert!(lost > 0, "nobody got between: the test shows nothing");
    });
}

#[test]
fn what_is_irrevocable_runs_once_whoever_writes_meanwhile() {
    let cells: Vec<TVar<u64>> = (0..CELLS).map(|_| TVar::new(0)).collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (cells, stop) = (&cells, &stop);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                atomically(|tx| cells.iter().for_each(|cell| tx.modify(cell, |n| *n += 1)));
            }
        });
        let mut last = 0;
        for _ in 0..100 {
            let mut runs = 0;
            let seen = irrevocably(|tx| {
                runs += 1;
                let first = *tx.get(&cells[0]);
                assert!(cells.iter().all(|cell| *tx.get(cell) == first));
                tx.set(&cells[0], first);
                first
            });
            assert!(seen >= last && runs == 1);
            last = seen;
        }
        stop.store(true, Ordering::Relaxed);
    });
    let refused = |f: &(dyn Fn() + std::panic::RefUnwindSafe)| std::panic::catch_unwind(f).is_err();
    let cell = &cells[0];
    assert!(refused(&|| irrevocably(|tx| {
        tx.get(cell);
        tx.retry()
    })));
    assert!(refused(&|| atomically(|_| irrevocably(|_| ()))));
    let before = cell.with(|n| *n);
    assert!(refused(&|| irrevocably(|tx| {
        tx.set(cell, 7);
        panic!("what it wrote is discarded")
    })));
    assert_eq!(cell.with(|n| *n), before);
}

/// A worker in the serial lane runs what conflicts while holding the baton. Handlers of the lane
/// and others take turns on it, and stays in the lane begin and end: nobody may wait for himself.
#[test]
fn the_serial_lane_waits_for_nobody_who_waits_for_it() {
    let executor = Executor::new(2).expect("threads");
    let (hot, cold) = (TVar::new(0_u64), TVar::new(0_u64));
    for round in 0..30 {
        let batch = (0..10_000).map(|_| {
            let hot = hot.clone();
            move |tx: &Transaction| tx.modify(&hot, |n| *n += 1)
        });
        let others: Vec<_> = (0..50)
            .map(|_| {
                let cold = cold.clone();
                executor.transact("other", move |tx| tx.modify(&cold, |n| *n += 1))
            })
            .collect();
        assert!(executor.run("hot", batch.collect::<Vec<_>>()).iter().all(Result::is_ok));
        assert!(others.into_iter().all(|other| other.wait() == Ok(())));
        assert_eq!((hot.with(|n| *n), cold.with(|n| *n)), ((round + 1) * 10_000, (round + 1) * 50));
    }
}

#[test]
fn one_thread_gets_through_beside_many_that_are_irrevocable() {
    let (executor, stop) = (Executor::new(1).expect("a thread"), AtomicBool::new(false));
    let cell = TVar::new(0_u64);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    irrevocably(|_| (0..2_000).for_each(|_| std::hint::spin_loop()));
                }
            });
        }
        for n in 1..=50 {
            let cell = cell.clone();
            let add = executor.transact("add", move |tx| {
                tx.modify(&cell, |n| *n += 1);
                *tx.get(&cell)
            });
            let answer = add.within(std::time::Duration::from_secs(20)).wait();
            if answer != Ok(n) {
                stop.store(true, Ordering::Relaxed);
            }
            assert_eq!(answer, Ok(n));
        }
        stop.store(true, Ordering::Relaxed);
    });
}
