//! The crate kovan-stm: a clock, reads that are checked at once, a log that is a tree.

use crate::access::{Access, Backend, Job, Runs};
use kovan_stm::{Stm, StmError, TVar, Transaction};

/// A cell for each number, and their clock.
pub(crate) struct Kovan(Vec<TVar<i64>>, Stm);

impl Backend for Kovan {
    const NAME: &'static str = "kovan-stm";

    fn new(values: &[i64]) -> Self {
        Self(values.iter().copied().map(TVar::new).collect(), Stm::new())
    }

    #[inline]
    fn run<J: Job>(&self, job: &J) -> J::Answer {
        let runs = Runs::default();
        self.1.atomically(|tx| {
            runs.begin();
            job.run(&mut Cells(&self.0, tx))
        })
    }
}

struct Cells<'a, 's>(&'a [TVar<i64>], &'a mut Transaction<'s>);

impl Access for Cells<'_, '_> {
    type Stop = StmError;

    #[inline]
    fn get(&mut self, cell: usize) -> Result<i64, StmError> {
        self.1.load(&self.0[cell])
    }

    #[inline]
    fn set(&mut self, cell: usize, value: i64) -> Result<(), StmError> {
        self.1.store(&self.0[cell], value)
    }
}
