//! One snapshot on many threads.

use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use txloop::{TVar, atomically, snapshot};

#[test]
fn rayon_sums_one_state_while_a_writer_changes_it() {
    let cells: Vec<_> = (0..10_000).map(|_| TVar::new(10_i64)).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut i = 0;
            while !stop.load(Ordering::Relaxed) {
                let j = (i + 4_999) % cells.len();
                atomically(|tx| {
                    tx.set(&cells[i], tx.get(&cells[i]) - 1);
                    tx.set(&cells[j], tx.get(&cells[j]) + 1);
                });
                i = (i + 7) % cells.len();
            }
        });
        for _ in 0..200 {
            let sum: i64 = snapshot(|s| cells.par_iter().map(|cell| *s.get(cell)).sum());
            if sum != 100_000 {
                stop.store(true, Ordering::Relaxed);
            }
            assert_eq!(sum, 100_000);
        }
        stop.store(true, Ordering::Relaxed);
    });
}
