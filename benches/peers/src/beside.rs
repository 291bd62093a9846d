//! Scans of all cells beside a thread that writes.

use crate::{
    access::{Access, Backend, Dump, Job},
    backends::{self, Visitor},
    cells::{Worker, Workload},
    contest::{Bench, Entry, Sample, Scan},
    timing::{Beside, Hand, beside, together},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A workload whose operations leave the total of all cells as it is, and scans that add it up.
pub(crate) struct Scans<W> {
    /// As in the rows.
    pub(crate) name: &'static str,
    /// From one write to the next; none of it: flat out.
    pub(crate) every: Duration,
    /// What is written.
    pub(crate) writes: W,
}

/// Adds up all cells.
#[derive(Clone)]
struct Total {
    cells: usize,
    expected: i64,
    /// Runs that found another total.
    torn: Arc<AtomicU64>,
}

impl Job for Total {
    type Answer = i64;

    #[inline]
    fn run<A: Access>(&self, cells: &mut A) -> Result<i64, A::Stop> {
        let mut total = 0;
        for cell in 0..self.cells {
            total += cells.get(cell)?;
        }
        if total != self.expected {
            self.torn.fetch_add(1, Ordering::Relaxed);
        }
        Ok(total)
    }
}

/// The thread that scans.
// Threads stand side by side in memory: no two of them may write one cache line.
#[repr(align(128))]
struct Scanner<'a, B> {
    cells: &'a B,
    job: Total,
}

impl<B: Backend> Hand for Scanner<'_, B> {
    #[inline]
    fn step(&mut self) {
        assert_eq!(self.cells.look(&self.job), self.job.expected, "the total of a scan");
    }
}

/// A thread that keeps to a pace.
// Threads stand side by side in memory: no two of them may write one cache line.
#[repr(align(128))]
struct Paced<H> {
    hand: H,
    every: Duration,
    next: Instant,
}

impl<H: Hand> Hand for Paced<H> {
    #[inline]
    fn step(&mut self) {
        if !self.every.is_zero() {
            let now = Instant::now();
            thread::sleep(self.next.saturating_duration_since(now));
            self.next = self.next.max(now) + self.every;
        }
        self.hand.step();
    }
}

impl<W: Workload> Scans<W> {
    /// Figures for all backends that take part.
    pub(crate) fn entries(&self, bench: &Bench) -> Vec<Entry<'_>> {
        let mut lineup = Lineup { bench, scans: self, entries: Vec::new() };
        if bench.wants(self.name) {
            backends::visit_all(&mut lineup);
            lineup.shared::<backends::Tl2Logged>();
        }
        lineup.entries
    }

    /// The writer alone, then the scans beside it.
    fn turn<B: Backend + Sync>(&self, cells: &B, window: Duration) -> Sample {
        let count = self.writes.values().len();
        let before = cells.look(&Dump { cells: count });
        let (expected, torn) = (before.iter().sum(), Arc::default());
        let job = Total { cells: count, expected, torn: Arc::clone(&torn) };
        let hand = Worker { workload: &self.writes, cells, state: self.writes.begin(0) };
        let mut writer = [Paced { hand, every: self.every, next: Instant::now() }];
        let alone_per_s = together(window / 2, &mut writer)[0].per_s();
        let mut scanner = Scanner { cells, job };
        let [mut writer] = writer;
        let Beside { scans, writes } = beside(window, &mut scanner, &mut writer);
        let after = cells.look(&Dump { cells: count });
        self.writes.check(&before, &after, &[writer.hand.state]);
        let scan = Scan {
            attempts: scans.ops + scans.aborts,
            torn: torn.load(Ordering::Relaxed),
            writes_per_s: writes.per_s(),
            alone_per_s,
        };
        Sample { scan: Some(scan), ..Sample::of(&[scans]) }
    }
}

/// Collects the figures.
struct Lineup<'a, 'b, W> {
    bench: &'b Bench,
    scans: &'a Scans<W>,
    entries: Vec<Entry<'a>>,
}

impl<W: Workload> Visitor for Lineup<'_, '_, W> {
    fn shared<B: Backend + Send + Sync>(&mut self) {
        let (scans, values) = (self.scans, self.scans.writes.values());
        if self.bench.admits(B::NAME) && values.len() <= B::MAX_CELLS {
            let cells = B::new(&values);
            let turn = Box::new(move |window| scans.turn(&cells, window));
            self.entries.push(Entry { workload: scans.name, backend: B::NAME, threads: 2, turn });
        }
    }

    /// One thread alone has nobody beside it.
    fn alone<B: Backend>(&mut self) {}
}
