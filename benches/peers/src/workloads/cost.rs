//! w8: what a transaction costs where nothing else happens, on one thread and hot cells.

use super::Group;
use crate::{
    access::{Access, Backend, Job, Sum},
    cells::{Named, Workload},
    contest::{Bench, Entry, Sample, Series, spread, take_turns},
    timing::{Hand, alone},
};
use std::{
    hint::black_box,
    sync::atomic::{AtomicI64, Ordering},
};

/// The names of w8.
pub(crate) const GROUP: Group = Group {
    title: "w8: cost on one thread, hot cells",
    workloads: &[
        "w8-add",
        "w8-empty",
        "w8-snapshot",
        "w8-read1",
        "w8-read10",
        "w8-read100",
        "w8-look1",
        "w8-look10",
        "w8-look100",
        "w8-write1",
        "w8-write10",
        "w8-write100",
    ],
    measure,
    notes: in_additions,
};

/// The backend of `w8-add`.
pub(crate) const ATOMIC: &str = "atomic";
/// The most cells that a job uses.
const CELLS: usize = 100;
/// As much shorter than elsewhere is a turn: there are many figures, and they are steady.
const SHORTER: u32 = 4;

/// How a job uses the first cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Reads them, in a transaction.
    Read,
    /// Reads them, in the backend's own way of reading only.
    Look,
    /// Writes them without reading.
    Write,
}

/// Uses so many cells.
struct Use {
    way: Way,
    count: usize,
}

/// Writes a number into so many cells.
#[derive(Clone, Copy)]
struct Fill(usize, i64);

impl Job for Fill {
    type Answer = ();

    #[inline]
    fn run<A: Access>(&self, cells: &mut A) -> Result<(), A::Stop> {
        for cell in 0..self.0 {
            cells.set(cell, self.1)?;
        }
        Ok(())
    }
}

impl Workload for Use {
    /// The operations so far.
    type State = i64;

    fn values(&self) -> Vec<i64> {
        (0..CELLS as i64).collect()
    }

    fn begin(&self, _: usize) -> i64 {
        0
    }

    #[inline]
    fn step<B: Backend>(&self, cells: &B, operations: &mut i64) {
        *operations += 1;
        let sum = match self.way {
            Way::Read => cells.run(&Sum { cells: self.count }),
            Way::Look => cells.look(&Sum { cells: self.count }),
            Way::Write => return cells.run(&Fill(self.count, *operations)),
        };
        // Cell n holds n.
        let expected = (self.count * self.count.saturating_sub(1) / 2) as i64;
        assert_eq!(sum, expected, "the sum of {} cells", self.count);
    }

    fn check(&self, before: &[i64], after: &[i64], operations: &[i64]) {
        let written = if self.way == Way::Write { self.count } else { 0 };
        assert!(after[..written].iter().all(|n| *n == operations[0]), "a write was lost");
        assert_eq!(after[written..], before[written..], "a cell changed that nobody wrote");
    }
}

/// Adds one to a number that no other thread uses.
struct Add(AtomicI64, i64);

impl Hand for Add {
    #[inline]
    fn step(&mut self) {
        self.1 += 1;
        black_box(&self.0).fetch_add(1, Ordering::AcqRel);
    }
}

/// The unit of the others, in the same rounds.
fn add() -> Entry<'static> {
    let turn = Box::new(|window| {
        let mut add = Add(AtomicI64::new(0), 0);
        let pace = alone(window, &mut add);
        assert_eq!(add.0.into_inner(), add.1, "an addition was lost");
        Sample::of(&[pace])
    });
    Entry { workload: "w8-add", backend: ATOMIC, threads: 1, turn }
}

fn measure(bench: &Bench) -> Vec<Series> {
    let uses = [
        ("w8-empty", Way::Read, 0),
        ("w8-snapshot", Way::Look, 0),
        ("w8-read1", Way::Read, 1),
        ("w8-read10", Way::Read, 10),
        ("w8-read100", Way::Read, 100),
        ("w8-look1", Way::Look, 1),
        ("w8-look10", Way::Look, 10),
        ("w8-look100", Way::Look, 100),
        ("w8-write1", Way::Write, 1),
        ("w8-write10", Way::Write, 10),
        ("w8-write100", Way::Write, 100),
    ];
    let all = uses.map(|(name, way, count)| Named {
        name,
        threads: &[1],
        looks_only: way == Way::Look,
        workload: Use { way, count },
    });
    let mut entries = Vec::new();
    if bench.wants("w8-add") && bench.admits(ATOMIC) {
        entries.push(add());
    }
    entries.extend(all.iter().flat_map(|named| named.entries(bench)));
    take_turns(bench.plan.with_window(bench.plan.window / SHORTER), entries)
}

/// The same costs in units of the addition.
fn in_additions(all: &[Series]) -> Vec<String> {
    let find = |workload: &str, backend: &str| {
        all.iter().find(|series| series.workload == workload && series.backend == backend)
    };
    let Some(additions) = find("w8-add", ATOMIC) else { return Vec::new() };
    // Round by round: the time of one workload, less that of another one, for each cell between.
    let cost = |backend: &str, workload: &str, less: Option<&str>, cells: f64| {
        let Some(series) = find(workload, backend) else { return "-".to_owned() };
        let base = match less.map(|less| find(less, backend)) {
            None => None,
            Some(Some(series)) => Some(&series.samples),
            Some(None) => return "-".to_owned(),
        };
        let round = |(at, unit): (usize, &Sample)| {
            let base = base.map_or(0.0, |samples| samples[at].ns_per_op);
            (series.samples[at].ns_per_op - base) / cells / unit.ns_per_op
        };
        let [median, ..] = spread(additions.samples.iter().enumerate().map(round).collect());
        format!("{median:.1}")
    };
    let mut lines = vec![
        String::new(),
        "in uncontended additions      empty  snapshot  a read  a look  write1  write100"
            .to_owned(),
    ];
    let mut backends: Vec<&str> = all.iter().map(|series| series.backend).collect();
    backends.dedup();
    for (at, backend) in backends.iter().enumerate() {
        if *backend == ATOMIC || backends[..at].contains(backend) {
            continue;
        }
        lines.push(format!(
            "{backend:<26}{:>9}{:>10}{:>8}{:>8}{:>8}{:>10}",
            cost(backend, "w8-empty", None, 1.0),
            cost(backend, "w8-snapshot", None, 1.0),
            cost(backend, "w8-read100", Some("w8-read10"), 90.0),
            cost(backend, "w8-look100", Some("w8-look10"), 90.0),
            cost(backend, "w8-write1", None, 1.0),
            cost(backend, "w8-write100", None, 1.0),
        ));
    }
    lines
}
