//! Workloads on cells, written once and run on every backend.

use crate::{
    access::{Backend, Dump},
    backends::{self, Visitor},
    contest::{Bench, Entry, Sample},
    timing::{Hand, Pace, alone, together},
};
use std::{hint::black_box, rc::Rc};

/// Operations on cells.
pub(crate) trait Workload: Sync {
    /// What a thread has to know from one operation to the next.
    type State: Send;

    /// What the cells hold at first.
    fn values(&self) -> Vec<i64>;

    /// The state of a thread at the beginning of a turn. It is the same in every turn, so that
    /// the operations are.
    fn begin(&self, thread: usize) -> Self::State;

    /// Operations in a step. A window has only whole steps, so that operations that take unequally
    /// long are always the same ones.
    fn ops(&self) -> u64 {
        1
    }

    /// Does them.
    fn step<B: Backend>(&self, cells: &B, state: &mut Self::State);

    /// Ends what a thread has begun. Not timed.
    fn end<B: Backend>(&self, _cells: &B, _state: &mut Self::State) {}

    /// Checks the cells as they were before a turn and after it, and the states at its end.
    ///
    /// # Panics
    /// If something is wrong.
    fn check(&self, before: &[i64], after: &[i64], states: &[Self::State]);
}

/// A workload under its name.
pub(crate) struct Named<W> {
    /// As in the rows.
    pub(crate) name: &'static str,
    /// The numbers of threads, each a figure of its own.
    pub(crate) threads: &'static [usize],
    /// Only for backends that have a way of their own for steps that only read.
    pub(crate) looks_only: bool,
    /// What is measured.
    pub(crate) workload: W,
}

impl<W: Workload> Named<W> {
    /// With one thread and with two, on all backends.
    pub(crate) fn new(name: &'static str, workload: W) -> Self {
        Self { name, threads: &[1, 2], looks_only: false, workload }
    }

    /// Figures for all backends that take part.
    pub(crate) fn entries(&self, bench: &Bench) -> Vec<Entry<'_>> {
        let mut lineup = Lineup { bench, named: self, entries: Vec::new() };
        if bench.wants(self.name) {
            backends::visit_all(&mut lineup);
        }
        lineup.entries
    }

    /// Figures for one backend more, if it takes part.
    pub(crate) fn entries_of<B: Backend + Send + Sync>(&self, bench: &Bench) -> Vec<Entry<'_>> {
        let mut lineup = Lineup { bench, named: self, entries: Vec::new() };
        if bench.wants(self.name) {
            lineup.shared::<B>();
        }
        lineup.entries
    }
}

/// Collects the figures of a workload.
struct Lineup<'a, 'b, W> {
    bench: &'b Bench,
    named: &'a Named<W>,
    entries: Vec<Entry<'a>>,
}

impl<W: Workload> Lineup<'_, '_, W> {
    fn has_place_for<B: Backend>(&self, cells: usize) -> bool {
        self.bench.admits(B::NAME) && cells <= B::MAX_CELLS && (B::LOOKS || !self.named.looks_only)
    }
}

impl<W: Workload> Visitor for Lineup<'_, '_, W> {
    fn shared<B: Backend + Send + Sync>(&mut self) {
        let (Named { name, workload, threads, .. }, values) =
            (self.named, self.named.workload.values());
        if !self.has_place_for::<B>(values.len()) {
            return;
        }
        let cells = Rc::new(B::new(&values));
        for &threads in *threads {
            let cells = Rc::clone(&cells);
            let turn = Box::new(move |window| {
                let cells = &*cells;
                checked(workload, cells, threads, |workers| match workers {
                    [worker] => vec![alone(window, worker)],
                    workers => together(window, workers),
                })
            });
            self.entries.push(Entry { workload: name, backend: B::NAME, threads, turn });
        }
    }

    fn alone<B: Backend>(&mut self) {
        let (Named { name, workload, .. }, values) = (self.named, self.named.workload.values());
        if !self.has_place_for::<B>(values.len()) {
            return;
        }
        let cells = B::new(&values);
        let turn = Box::new(move |window| {
            let work = |workers: &mut [_]| workers.iter_mut().map(|w| alone(window, w)).collect();
            checked(workload, &cells, 1, work)
        });
        self.entries.push(Entry { workload: name, backend: B::NAME, threads: 1, turn });
    }
}

/// A thread of a workload on a backend.
// Threads stand side by side in memory: no two of them may write one cache line.
#[repr(align(128))]
pub(crate) struct Worker<'a, W: Workload, B> {
    /// What it does.
    pub(crate) workload: &'a W,
    /// On which cells.
    pub(crate) cells: &'a B,
    /// What it knows.
    pub(crate) state: W::State,
}

impl<W: Workload, B: Backend> Hand for Worker<'_, W, B> {
    fn ops(&self) -> u64 {
        self.workload.ops()
    }

    #[inline]
    fn step(&mut self) {
        // Nothing is known of the cells from one operation to the next.
        self.workload.step(black_box(self.cells), &mut self.state);
    }
}

/// One turn with its check.
fn checked<'a, W: Workload, B: Backend>(
    workload: &'a W,
    cells: &'a B,
    threads: usize,
    work: impl FnOnce(&mut [Worker<'a, W, B>]) -> Vec<Pace>,
) -> Sample {
    let dump = Dump { cells: workload.values().len() };
    let before = cells.look(&dump);
    let worker = |thread| Worker { workload, cells, state: workload.begin(thread) };
    let mut workers: Vec<_> = (0..threads).map(worker).collect();
    let paces = work(&mut workers);
    let mut states: Vec<_> = workers.into_iter().map(|worker| worker.state).collect();
    states.iter_mut().for_each(|state| workload.end(cells, state));
    workload.check(&before, &cells.look(&dump), &states);
    Sample::of(&paces)
}
