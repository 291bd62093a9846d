//! The crate xstm: TL2 over `Copy` values, reads without a log until something is written. The
//! first write makes the job run again, so there is an abort for each job that writes.
//!
//! It is quick also because it reads a value in the ordinary way while another thread may write it:
//! a data race in Rust's terms.

use crate::access::{Access, Backend, Job, Runs};
use xstm::{Context, Stm, StmError, TVar, Transaction};

/// A cell for each number, and their clock.
pub(crate) struct Xstm(Vec<TVar<i64>>, Stm);

impl Backend for Xstm {
    const NAME: &'static str = "xstm";

    fn new(values: &[i64]) -> Self {
        Self(values.iter().copied().map(TVar::new).collect(), Stm::new())
    }

    #[inline]
    fn run<J: Job>(&self, job: &J) -> J::Answer {
        self.1.atomically(Call { cells: &self.0, job, runs: Runs::default() })
    }
}

/// The crate takes no closures, but a type for each transaction.
struct Call<'c, J> {
    cells: &'c [TVar<i64>],
    job: &'c J,
    runs: Runs,
}

impl<J: Job> Transaction for Call<'_, J> {
    type Output = J::Answer;

    #[inline]
    fn atomically<'this: 'var, 'context, 'var>(
        &'this self,
        context: &'context mut Context<'var>,
    ) -> Result<J::Answer, StmError> {
        self.runs.begin();
        self.job.run(&mut Cells(self.cells, context))
    }
}

struct Cells<'context, 'var>(&'var [TVar<i64>], &'context mut Context<'var>);

impl Access for Cells<'_, '_> {
    type Stop = StmError;

    #[inline]
    fn get(&mut self, cell: usize) -> Result<i64, StmError> {
        self.1.read(&self.0[cell])
    }

    #[inline]
    fn set(&mut self, cell: usize, value: i64) -> Result<(), StmError> {
        self.1.write(&self.0[cell], value)
    }
}
