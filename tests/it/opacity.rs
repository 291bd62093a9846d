//! No attempt, not even one that is thrown away, sees a mix of two states.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use txloop::{TVar, atomically, snapshot};

/// Attempts to see a mix.
const LOOKS: u64 = 5_000_000;
/// The fewest commits beside them.
const COMMITS: u64 = 1_000_000;

#[test]
fn two_cells_with_a_constant_sum() {
    let (a, b) = (TVar::new(0_i64), TVar::new(1_000_i64));
    let (stop, commits) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                atomically(|tx| {
                    tx.set(&a, tx.get(&a) + 1);
                    tx.set(&b, tx.get(&b) - 1);
                });
                commits.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut looks = 0;
        while looks < LOOKS || commits.load(Ordering::Relaxed) < COMMITS {
            // In both orders, and in both kinds of view.
            let sum = match looks % 4 {
                0 => snapshot(|s| *s.get(&a) + *s.get(&b)),
                1 => snapshot(|s| *s.get(&b) + *s.get(&a)),
                2 => atomically(|tx| *tx.get(&a) + *tx.get(&b)),
                _ => atomically(|tx| *tx.get(&b) + *tx.get(&a)),
            };
            if sum != 1_000 {
                stop.store(true, Ordering::Relaxed);
                panic!("look {looks} saw {sum}");
            }
            looks += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
}
