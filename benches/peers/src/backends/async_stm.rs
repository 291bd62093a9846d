//! The crate async-stm: a clock, reads that are checked at once, a log that is a tree.

use crate::access::{Access, Backend, Job, Runs};
use async_stm::{StmControl, TVar, atomically};
use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

/// A cell for each number.
pub(crate) struct AsyncStm(Vec<TVar<i64>>);

impl Backend for AsyncStm {
    const NAME: &'static str = "async-stm";

    fn new(values: &[i64]) -> Self {
        Self(values.iter().copied().map(TVar::new).collect())
    }

    /// Polled by hand: what an async runtime costs is another question. Only a transaction that
    /// asks to wait is ever pending, and no job does.
    #[inline]
    fn run<J: Job>(&self, job: &J) -> J::Answer {
        let runs = Runs::default();
        let mut transaction = pin!(atomically(|| {
            runs.begin();
            job.run(&mut Cells(&self.0))
        }));
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(answer) = transaction.as_mut().poll(&mut context) {
                return answer;
            }
        }
    }
}

struct Cells<'a>(&'a [TVar<i64>]);

impl Access for Cells<'_> {
    type Stop = StmControl;

    #[inline]
    fn get(&mut self, cell: usize) -> Result<i64, StmControl> {
        self.0[cell].read_clone()
    }

    #[inline]
    fn set(&mut self, cell: usize, value: i64) -> Result<(), StmControl> {
        self.0[cell].write(value)
    }
}
