//! cargo run --release --example par_audit -- --cells 1000000
//!
//! One snapshot shared by all cores: rayon sums a million cells while a writer moves money between
//! them. Every sum is right, and no sum is ever begun again.

mod flags;

use flags::Flags;
use rayon::prelude::*;
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};
use txloop::{TVar, atomically, snapshot};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START: i64 = 100;

fn main() {
    let flags = Flags::parse(
        "par_audit: sums all cells on all cores while a writer changes them\n
  --cells N       how many (1000000)
  --rounds N      how many sums (20)
  --help          this text",
        &[("cells", "1000000"), ("rounds", "20")],
        &[],
        &[],
        0,
    );
    let (count, rounds) = (flags.number("cells", 2..=1 << 26), flags.number("rounds", 1..=100_000));
    let cells: Vec<_> = (0..count).map(|_| TVar::new(START)).collect();
    let (stop, transfers) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut i = 1;
            while !stop.load(Ordering::Relaxed) {
                i = (i * 7_919 + 11) % cells.len();
                let j = (i + 1) % cells.len();
                atomically(|tx| {
                    tx.set(&cells[i], tx.get(&cells[i]) - 1);
                    tx.set(&cells[j], tx.get(&cells[j]) + 1);
                });
                transfers.fetch_add(1, Ordering::Relaxed);
            }
        });
        for round in 1..=rounds {
            #[expect(clippy::disallowed_methods, reason = "an example's own clock")]
            let start = Instant::now();
            let (version, sum) =
                snapshot(|s| (s.version(), cells.par_iter().map(|cell| *s.get(cell)).sum::<i64>()));
            let took = start.elapsed();
            println!("{round:>3}: version {version:>9}: {sum} in {took:.1?}");
            if sum != count as i64 * START {
                flags::fail(1, "a sum is wrong");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("{} transfers meanwhile", transfers.load(Ordering::Relaxed));
}
