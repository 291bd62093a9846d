//! What a backend is: an array of numbers, and a way to run jobs on it as one step each.

use std::{cell::Cell, convert::Infallible};

/// The cells as a job sees them.
pub(crate) trait Access {
    /// Why a run ends early: the backend runs the job again.
    type Stop;

    /// The number in a cell.
    fn get(&mut self, cell: usize) -> Result<i64, Self::Stop>;

    /// Replaces the number in a cell.
    fn set(&mut self, cell: usize, value: i64) -> Result<(), Self::Stop>;

    /// Adds to the number in a cell, where the backend can without a read.
    #[inline]
    fn add(&mut self, cell: usize, more: i64) -> Result<(), Self::Stop> {
        let value = self.get(cell)?;
        self.set(cell, value + more)
    }
}

/// One step, written once for all backends. It may be run several times, and only the last run
/// counts. Owned, so that it can be sent to another thread.
pub(crate) trait Job: Clone + Send + Sync + 'static {
    /// What the step finds out.
    type Answer: Send + 'static;

    /// The step. Nothing that it reads is to be believed before the backend gives its answer: not
    /// every backend shows one state to a run that is going to be repeated.
    fn run<A: Access>(&self, cells: &mut A) -> Result<Self::Answer, A::Stop>;
}

/// A way to share an array of numbers.
pub(crate) trait Backend: 'static {
    /// As in the rows and in `--backends`.
    const NAME: &'static str;
    /// Whether it has a way of its own for steps that only read.
    const LOOKS: bool = false;
    /// The most cells with which it is worth measuring.
    const MAX_CELLS: usize = usize::MAX;

    /// Cells that hold these numbers.
    fn new(values: &[i64]) -> Self;

    /// Runs a job as one step.
    fn run<J: Job>(&self, job: &J) -> J::Answer;

    /// As `run`, for a job that only reads.
    fn look<J: Job>(&self, job: &J) -> J::Answer {
        self.run(job)
    }
}

thread_local! {
    /// Runs on this thread that came to nothing.
    static ABORTS: Cell<u64> = const { Cell::new(0) };
}

/// How many runs on this thread came to nothing so far.
pub(crate) fn aborts() -> u64 {
    ABORTS.get()
}

/// Counts the runs of one job.
#[derive(Debug, Default)]
pub(crate) struct Runs(Cell<u64>);

impl Runs {
    /// A run begins.
    #[inline]
    pub(crate) fn begin(&self) {
        self.0.set(self.0.get() + 1);
    }
}

impl Drop for Runs {
    /// The last run was the good one.
    #[inline]
    fn drop(&mut self) {
        if self.0.get() > 1 {
            ABORTS.set(ABORTS.get() + self.0.get() - 1);
        }
    }
}

/// All cells at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dump {
    /// How many there are.
    pub(crate) cells: usize,
}

impl Job for Dump {
    type Answer = Vec<i64>;

    fn run<A: Access>(&self, cells: &mut A) -> Result<Vec<i64>, A::Stop> {
        (0..self.cells).map(|cell| cells.get(cell)).collect()
    }
}

/// The sum of the first cells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sum {
    /// How many they are.
    pub(crate) cells: usize,
}

impl Job for Sum {
    type Answer = i64;

    #[inline]
    fn run<A: Access>(&self, cells: &mut A) -> Result<i64, A::Stop> {
        let mut sum = 0;
        for cell in 0..self.cells {
            sum += cells.get(cell)?;
        }
        Ok(sum)
    }
}

/// Numbers on which jobs are done once more, to know what they should have led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paper(pub(crate) Vec<i64>);

impl Paper {
    /// Does a job.
    pub(crate) fn run<J: Job>(&mut self, job: &J) -> J::Answer {
        let Ok(answer) = job.run(self);
        answer
    }
}

impl Access for Paper {
    type Stop = Infallible;

    fn get(&mut self, cell: usize) -> Result<i64, Infallible> {
        Ok(self.0[cell])
    }

    fn set(&mut self, cell: usize, value: i64) -> Result<(), Infallible> {
        self.0[cell] = value;
        Ok(())
    }
}
