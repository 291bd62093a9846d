//! w6: scans of 65,536 cells, alone and beside a writer of two of them.

use super::Group;
use crate::{
    access::{Access, Backend, Job, Sum},
    beside::Scans,
    cells::{Named, Workload},
    contest::{Bench, Series, take_turns},
};
use std::time::Duration;

/// The names of w6.
pub(crate) const GROUP: Group = Group {
    title: "w6: scan of 65,536 cells: alone, beside a writer flat out, and at 1 kHz",
    workloads: &["w6-alone", "w6-flat", "w6-1khz"],
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

/// Moves one from the first of the [`PAIR`] to the second, again and again.
struct Moves;

/// Once.
#[derive(Clone, Copy)]
struct Move;

impl Job for Move {
    type Answer = ();

    #[inline]
    fn run<A: Access>(&self, cells: &mut A) -> Result<(), A::Stop> {
        let (from, to) = (cells.get(PAIR.0)?, cells.get(PAIR.1)?);
        cells.set(PAIR.0, from - 1)?;
        cells.set(PAIR.1, to + 1)
    }
}

impl Workload for Moves {
    /// The moves so far.
    type State = i64;

    fn values(&self) -> Vec<i64> {
        (0..CELLS as i64).collect()
    }

    fn begin(&self, _: usize) -> i64 {
        0
    }

    #[inline]
    fn step<B: Backend>(&self, cells: &B, moves: &mut i64) {
        cells.run(&Move);
        *moves += 1;
    }

    fn check(&self, before: &[i64], after: &[i64], moves: &[i64]) {
        let mut expected = before.to_vec();
        let all: i64 = moves.iter().sum();
        expected[PAIR.0] -= all;
        expected[PAIR.1] += all;
        assert!(after == expected, "the cells after {all} moves");
    }
}

fn measure(bench: &Bench) -> Vec<Series> {
    let alone = Named { threads: &[1], ..Named::new("w6-alone", ScanAll) };
    let mut series = take_turns(bench.plan, alone.entries(bench));
    let beside = [("w6-flat", Duration::ZERO), ("w6-1khz", Duration::from_millis(1))]
        .map(|(name, every)| Scans { name, every, writes: Moves });
    let plan = bench.plan.with_window(bench.plan.window * LONGER);
    series.extend(beside.iter().flat_map(|scans| take_turns(plan, scans.entries(bench))));
    series
}
