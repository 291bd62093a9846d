//! No synchronisation: what one thread could do by itself.

use crate::access::{Access, Backend, Job};
use std::{cell::Cell, convert::Infallible};

/// Numbers that one thread can use.
pub(crate) struct Plain(Vec<Cell<i64>>);

impl Backend for Plain {
    const NAME: &'static str = "plain";

    fn new(values: &[i64]) -> Self {
        Self(values.iter().copied().map(Cell::new).collect())
    }

    #[inline]
    fn run<J: Job>(&self, job: &J) -> J::Answer {
        let Ok(answer) = job.run(&mut Cells(&self.0));
        answer
    }
}

struct Cells<'a>(&'a [Cell<i64>]);

impl Access for Cells<'_> {
    type Stop = Infallible;

    #[inline]
    fn get(&mut self, cell: usize) -> Result<i64, Infallible> {
        Ok(self.0[cell].get())
    }

    #[inline]
    fn set(&mut self, cell: usize, value: i64) -> Result<(), Infallible> {
        self.0[cell].set(value);
        Ok(())
    }
}
