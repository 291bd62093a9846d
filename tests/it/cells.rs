//! Cells and transactions on plain threads.
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use txloop::{TVar, atomically, snapshot, try_atomically};

#[test]
fn transfers_keep_the_sum_and_audits_see_it() {
    let cells: Vec<_> = (0..10).map(|_| TVar::new(100_i64)).collect();
    let stop = AtomicBool::new(false);
    let audits = AtomicU64::new(0);
    std::thread::scope(|s| {
        let writers: Vec<_> = (0..3u64)
            .map(|seed| {
                let cells = &cells;
                s.spawn(move || {
                    let mut x = seed * 7919 + 1;
                    for _ in 0..50_000 {
                        x = x
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1442695040888963407);
                        let (i, j) = ((x >> 33) as usize % 10, (x >> 43) as usize % 10);
                        if i == j {
                            continue;
                        }
                        atomically(|tx| {
                            tx.set(&cells[i], tx.get(&cells[i]) - 1);
                            tx.set(&cells[j], tx.get(&cells[j]) + 1);
                        });
                    }
                })
            })
            .collect();
        s.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let total: i64 = snapshot(|s| cells.iter().map(|c| *s.get(c)).sum());
                assert_eq!(total, 1000);
                let total: i64 = atomically(|tx| cells.iter().map(|c| *tx.get(c)).sum());
                assert_eq!(total, 1000);
                audits.fetch_add(1, Ordering::Relaxed);
            }
        });
        for w in writers {
            w.join().expect("writer");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(audits.load(Ordering::Relaxed) > 0);
    assert_eq!(snapshot(|s| cells.iter().map(|c| *s.get(c)).sum::<i64>()), 1000);
}

#[test]
fn a_hot_counter_loses_nothing() {
    let hits = TVar::new(0_u64);
    let barrier = Barrier::new(4);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                barrier.wait();
                for _ in 0..20_000 {
                    atomically(|tx| tx.set(&hits, tx.get(&hits) + 1));
                }
            });
        }
    });
    assert_eq!(hits.with(|n| *n), 80_000);
}

#[test]
fn an_err_rolls_back_and_references_outlive_writes() {
    let (a, b) = (TVar::new(1_i64), TVar::new("one".to_owned()));
    let n = atomically(|tx| {
        let name: &String = tx.get(&b);
        tx.set(&a, name.len() as i64);
        tx.set(&b, format!("{name}!"));
        let second: &String = tx.get(&b);
        tx.set(&b, format!("{second}!"));
        name.len() + second.len() + tx.get(&b).len()
    });
    assert_eq!(n, 3 + 4 + 5);
    let e: Result<(), i32> = try_atomically(|tx| {
        tx.set(&a, 99);
        Err(5)
    });
    assert_eq!(e, Err(5));
    assert_eq!(a.with(|n| *n), 3);
}
