//! A program as a job, and the book in which all of them note how they ended.

use super::{
    super::{
        Executor,
        job::{Ended, Handled, How, Job, Kind, Verdict},
    },
    program::{CELLS, Model, Program, Real, SEARCH, Seen, run},
};
use crate::TVar;
use crate::sync::{Arc, AtomicUsize, Ordering, Table, now_ns, thread};
use crate::transaction::{
    Snapshot, Transaction,
    cancel::{Cancel, Why},
};

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// At this version, with this answer.
    Done(u64, u64),
    TakenBack,
    Lost,
}

/// The cells of a run, and how its programs ended.
pub(super) struct Book {
    pub(super) cells: [TVar<u64>; CELLS],
    pub(super) programs: Vec<Program>,
    ends: Table<Vec<Option<End>>>,
}

struct Piece {
    book: Arc<Book>,
    number: usize,
    handled: Arc<Handled>,
    cancel: Arc<Cancel>,
    found: u64,
    answer: Option<u64>,
}

impl Job for Piece {
    fn handled(&self) -> &Arc<Handled> {
        &self.handled
    }

    fn kind(&self) -> Kind {
        self.book.programs[self.number].kind
    }

    fn cancel(&self) -> Option<&Arc<Cancel>> {
        Some(&self.cancel)
    }

    fn view(&mut self, view: &Snapshot) {
        let cells = Seen(view, &self.book.cells);
        match self.kind() {
            Kind::SearchThenWrite => self.found = run(&SEARCH, &cells).unwrap_or_default(),
            _ => self.answer = run(&self.book.programs[self.number].ops, &cells).ok(),
        }
    }

    fn attempt(&mut self, tx: &Transaction) -> Verdict {
        let program = &self.book.programs[self.number];
        let Ok(answer) = run(&program.ops, &Real(tx, &self.book.cells)) else {
            unreachable!("it is left by unwinding")
        };
        self.answer = Some(answer.wrapping_add(self.found));
        if program.undoes(answer) { Verdict::RollBack } else { Verdict::Commit }
    }

    fn ended(&mut self, ended: Ended) {
        let end = match ended.how {
            How::Done => End::Done(ended.version, self.answer.expect("it has run")),
            How::Cancelled | How::Late => End::TakenBack,
            How::Panicked(_) | How::Refused => End::Lost,
        };
        let before = self.book.ends.lock()[self.number].replace(end);
        assert_eq!(before, None, "{} ended twice, now {end:?}", self.number);
    }
}

impl Book {
    pub(super) fn new(programs: Vec<Program>) -> Arc<Self> {
        let ends = Table::new(vec![None; programs.len()]);
        Arc::new(Self { cells: std::array::from_fn(|_| TVar::new(0)), programs, ends })
    }

    /// Gives a program to an executor.
    pub(super) fn submit(
        self: &Arc<Self>,
        executor: &Executor,
        number: usize,
        handled: &Arc<Handled>,
    ) -> Arc<Cancel> {
        let (handled, cancel) = (Arc::clone(handled), Arc::new(Cancel::new()));
        let piece =
            Piece { book: Arc::clone(self), number, handled, cancel, found: 0, answer: None };
        let cancel = Arc::clone(&piece.cancel);
        executor.submit(Box::new(piece));
        cancel
    }

    /// Takes a program back.
    pub(super) fn take_back(cancel: &Cancel) {
        cancel.cancel(Why::Cancelled);
    }

    /// How each program ended: every one has.
    #[track_caller]
    pub(super) fn ends(&self) -> Vec<End> {
        let ends = self.ends.lock();
        ends.iter().map(|end| end.expect("what was accepted has ended")).collect()
    }

    pub(super) fn values(&self) -> [u64; CELLS] {
        crate::snapshot(|s| self.cells.each_ref().map(|cell| *s.get(cell)))
    }

    /// State and answers are those of the programs that were done, one after another, each at its
    /// version; those that wrote nothing right behind it.
    #[track_caller]
    pub(super) fn check_versions(&self) {
        let mut done: Vec<(u64, bool, usize, u64)> = Vec::new();
        for (number, end) in self.ends().into_iter().enumerate() {
            if let End::Done(version, answer) = end {
                done.push((version, !self.programs[number].writes(answer), number, answer));
            }
        }
        done.sort_unstable();
        let mut versions: Vec<u64> = done.iter().filter(|p| !p.1).map(|p| p.0).collect();
        versions.dedup();
        assert_eq!(versions.len(), done.iter().filter(|p| !p.1).count(), "a version each");
        let mut model = Model::default();
        for (_, _, number, answer) in done {
            model.run(&self.programs, number);
            assert_eq!(model.ended.last(), Some(&(number, answer)), "{self:#?}");
        }
        assert_eq!(model.values, self.values(), "{self:#?}");
    }

    /// State, answers and versions are those of one thread that runs the programs in this order,
    /// without those that were taken back, and everybody whom one of them wakes right behind it.
    #[track_caller]
    pub(super) fn check_order(&self, order: impl IntoIterator<Item = usize>) {
        let ends = self.ends();
        let mut model = Model::default();
        for number in order {
            if ends[number] != End::TakenBack {
                model.run(&self.programs, number);
            }
        }
        let mut last = 0;
        for &(number, answer) in &model.ended {
            let End::Done(version, given) = ends[number] else { panic!("{number}: {self:#?}") };
            assert_eq!(given, answer, "{number}: {self:#?}");
            let next = if self.programs[number].writes(answer) { last + 1 } else { last };
            assert_eq!(version, next, "{number} has its place: {self:#?}");
            last = next;
        }
        let done = ends.iter().filter(|end| matches!(end, End::Done(..))).count();
        assert_eq!(model.ended.len(), done, "{self:#?}");
        assert_eq!(model.values, self.values(), "{self:#?}");
    }
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ends = self.ends();
        f.debug_list().entries(self.programs.iter().zip(ends)).finish()
    }
}

/// A name, and whether it belongs in the serial lane.
pub(super) fn handled(name: &str, hot: bool) -> Arc<Handled> {
    let handled = Handled::new(name);
    for _ in 0..if hot { 30 } else { 0 } {
        handled.heat.failed(now_ns());
    }
    assert_eq!(handled.heat.in_lane(now_ns()), hot);
    handled
}

/// A job that runs until somebody says that it is over.
pub(super) struct Watcher {
    pub(super) handled: Arc<Handled>,
    pub(super) kind: Kind,
    pub(super) over: Arc<AtomicUsize>,
}

impl Watcher {
    fn watch(&self) {
        while self.over.load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
    }
}

impl Job for Watcher {
    fn handled(&self) -> &Arc<Handled> {
        &self.handled
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn view(&mut self, _: &Snapshot) {
        self.watch();
    }

    fn attempt(&mut self, _: &Transaction) -> Verdict {
        self.watch();
        Verdict::Commit
    }

    fn ended(&mut self, ended: Ended) {
        assert!(matches!(ended.how, How::Done));
    }
}
