//! w2, w3 and counter: increments, of a cell for each thread or of one for all.

use super::Group;
use crate::{
    access::{Access, Backend, Job},
    backends::TxloopCounters,
    cells::{Named, Workload},
    compute::{compute, steps},
    contest::{Bench, Series, take_turns},
};
use std::hint::black_box;

/// The names of the workloads.
pub(crate) const GROUP: Group = Group {
    title: "w2: own counter; w3: one for all; counter: that again, after 0 or 1 us of work",
    workloads: &["w2", "w3", "counter-bare", "counter-1us"],
    measure,
    notes: |_| Vec::new(),
};

/// So far apart are the threads' own cells that they share no cache line in any backend.
const APART: usize = 64;

/// Counts up.
struct Counter {
    /// From one thread's cell to the next one's.
    apart: usize,
    /// Work before an increment, as a part of the same job.
    steps: u32,
}

/// Once.
#[derive(Clone, Copy)]
struct Increment {
    cell: usize,
    steps: u32,
}

impl Job for Increment {
    type Answer = ();

    #[inline]
    fn run<A: Access>(&self, cells: &mut A) -> Result<(), A::Stop> {
        if self.steps > 0 {
            black_box(compute(self.steps));
        }
        cells.add(self.cell, 1)
    }
}

/// A thread: its cell, and how often it was counted up.
struct Count {
    cell: usize,
    done: i64,
}

impl Workload for Counter {
    type State = Count;

    fn values(&self) -> Vec<i64> {
        vec![0; APART * 2]
    }

    fn begin(&self, thread: usize) -> Count {
        Count { cell: thread * self.apart, done: 0 }
    }

    #[inline]
    fn step<B: Backend>(&self, cells: &B, count: &mut Count) {
        cells.run(&Increment { cell: count.cell, steps: self.steps });
        count.done += 1;
    }

    fn check(&self, before: &[i64], after: &[i64], counts: &[Count]) {
        let mut expected = before.to_vec();
        counts.iter().for_each(|count| expected[count.cell] += count.done);
        assert!(after == expected, "an increment was lost, or made twice");
    }
}

fn measure(bench: &Bench) -> Vec<Series> {
    let counter = |apart, steps| Counter { apart, steps };
    let mut series = Vec::new();
    for (name, apart) in [("w2", APART), ("w3", 0)] {
        series.extend(take_turns(bench.plan, Named::new(name, counter(apart, 0)).entries(bench)));
    }
    for (name, steps) in [("counter-bare", 0), ("counter-1us", steps(1_000.0))] {
        let named = Named::new(name, counter(0, steps));
        let mut entries = named.entries(bench);
        entries.extend(named.entries_of::<TxloopCounters>(bench));
        series.extend(take_turns(bench.plan, entries));
    }
    series
}
