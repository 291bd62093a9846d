//! The crate stm-core: locks in order, no clock, a log that is a tree.

use crate::access::{Access, Backend, Job, Runs};
use stm_core::{StmError, TVar, Transaction, atomically};

/// A cell for each number.
pub(crate) struct StmCore(Vec<TVar<i64>>);

impl Backend for StmCore {
    const NAME: &'static str = "stm-core";

    fn new(values: &[i64]) -> Self {
        Self(values.iter().copied().map(TVar::new).collect())
    }

    #[inline]
    fn run<J: Job>(&self, job: &J) -> J::Answer {
        let runs = Runs::default();
        atomically(|tx| {
            runs.begin();
            job.run(&mut Cells(&self.0, tx))
        })
    }
}

struct Cells<'a>(&'a [TVar<i64>], &'a mut Transaction);

impl Access for Cells<'_> {
    type Stop = StmError;

    #[inline]
    fn get(&mut self, cell: usize) -> Result<i64, StmError> {
        self.0[cell].read(self.1)
    }

    #[inline]
    fn set(&mut self, cell: usize, value: i64) -> Result<(), StmError> {
        self.0[cell].write(self.1, value)
    }
}
