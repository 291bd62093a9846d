//! w6: scans of 65,536 cells, alone and beside a writer of two of them, the same or others each
//! time.

use super::Group;
use crate::{
    access::{Access, Backend, Job, Paper, Sum},
    backends::Tl2Logged,
    beside::Scans,
    cells::{Named, Workload},
    contest::{Bench, Series, take_turns},
    random::Random,
};
use std::time::Duration;

/// The names of w6.
pub(crate) const GROUP: Group = Group {
    title: "w6: scan of 65,536 cells: alone, beside a writer of two of them flat out, of two \
            random ones, and of two at 1 kHz",
    workloads: &["w6-alone", "w6-flat", "w6-random", "w6-1khz"],
    measure,
    notes: |_| Vec::new(),
};

/// Cells of a scan.
const CELLS: usize = 1 << 16;
/// Between these moves what is written, so that the total of all stays.
const PAIR: (usize, usize) = (CELLS / 4, CELLS / 4 * 3);
/// As much longer than elsewhere is the turn of a scan beside a writer.
const LONGER: u32 = 2;

/// Reads all cells.
struct ScanAll;

impl Workload for ScanAll {
    type State = ();

    fn values(&self) -> Vec<i64> {
        (0..CELLS as i64).collect()
    }

    fn begin(&self, _: usize) {}

    #[inline]
    fn step<B: Backend>(&self, cells: &B, (): &mut ()) {
        let total: i64 = cells.look(&Sum { cells: CELLS });
        assert_eq!(total, (CELLS * (CELLS - 1) / 2) as i64, "the total of a scan");
    }

    fn check(&self, before: &[i64], after: &[i64], _: &[()]) {
        assert_eq!(before, after, "a cell changed that nobody wrote");
    }
}

/// Moves one from a cell to another, again and again: between the [`PAIR`], or random ones.
struct Moves {
    random: bool,
}

/// Once.
#[derive(Clone, Copy)]
struct Move(usize, usize);

impl Job for Move {
    type Answer = ();

    #[inline]
    fn run<A: Access>(&self, cells: &mut A) -> Result<(), A::Stop> {
        let (from, to) = (cells.get(self.0)?, cells.get(self.1)?);
        cells.set(self.0, from - 1)?;
        cells.set(self.1, to + 1)
    }
}

/// A thread that moves, and how often it did.
struct Mover {
    random: Random,
    moves: u64,
}

impl Moves {
    #[inline]
    fn next(&self, mover: &mut Mover) -> Move {
        mover.moves += 1;
        if !self.random {
            return Move(PAIR.0, PAIR.1);
        }
        let from = mover.random.below(CELLS);
        Move(from, (from + 1 + mover.random.below(CELLS - 1)) % CELLS)
    }
}

impl Workload for Moves {
    type State = Mover;

    fn values(&self) -> Vec<i64> {
        (0..CELLS as i64).collect()
    }

    fn begin(&self, thread: usize) -> Mover {
        Mover { random: Random::of_thread(thread), moves: 0 }
    }

    #[inline]
    fn step<B: Backend>(&self, cells: &B, mover: &mut Mover) {
        cells.run(&self.next(mover));
    }

    fn check(&self, before: &[i64], after: &[i64], movers: &[Mover]) {
        let mut paper = Paper(before.to_vec());
        for (thread, mover) in movers.iter().enumerate() {
            let mut again = self.begin(thread);
            while again.moves < mover.moves {
                paper.run(&self.next(&mut again));
            }
        }
        assert!(after == paper.0, "the cells after all moves");
    }
}

fn measure(bench: &Bench) -> Vec<Series> {
    let alone = Named { threads: &[1], ..Named::new("w6-alone", ScanAll) };
    let mut entries = alone.entries(bench);
    entries.extend(alone.entries_of::<Tl2Logged>(bench));
    let mut series = take_turns(bench.plan, entries);
    let flat_out = Duration::ZERO;
    let beside = [
        ("w6-flat", flat_out, false),
        ("w6-random", flat_out, true),
        ("w6-1khz", Duration::from_millis(1), false),
    ]
    .map(|(name, every, random)| Scans { name, every, writes: Moves { random } });
    let plan = bench.plan.with_window(bench.plan.window * LONGER);
    series.extend(beside.iter().flat_map(|scans| take_turns(plan, scans.entries(bench))));
    series
}
