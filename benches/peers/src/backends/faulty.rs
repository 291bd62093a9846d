//! Planted faults, to see that the checks of the workloads find them.

use crate::access::{Access, Backend, Job};
use std::{
    convert::Infallible,
    sync::{Mutex, PoisonError},
};

/// The first access goes wrong, and then one in so many.
const EVERY: u64 = 101;

/// Cells under a mutex, and the accesses so far.
struct Counted(Vec<i64>, u64);

/// Cells of which a write is lost from time to time.
pub(crate) struct LostWrites(Mutex<Counted>);

/// Cells of which a read is wrong from time to time.
pub(crate) struct WrongReads(Mutex<Counted>);

impl Backend for LostWrites {
    const NAME: &'static str = "lost-writes";

    fn new(values: &[i64]) -> Self {
        Self(Mutex::new(Counted(values.to_vec(), 0)))
    }

    fn run<J: Job>(&self, job: &J) -> J::Answer {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(answer) = job.run(&mut Losing(&mut cells));
        answer
    }
}

impl Backend for WrongReads {
    const NAME: &'static str = "wrong-reads";

    fn new(values: &[i64]) -> Self {
        Self(Mutex::new(Counted(values.to_vec(), 0)))
    }

    fn run<J: Job>(&self, job: &J) -> J::Answer {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(answer) = job.run(&mut Misreading(&mut cells));
        answer
    }
}

struct Losing<'a>(&'a mut Counted);

impl Access for Losing<'_> {
    type Stop = Infallible;

    fn get(&mut self, cell: usize) -> Result<i64, Infallible> {
        Ok(self.0.0[cell])
    }

    fn set(&mut self, cell: usize, value: i64) -> Result<(), Infallible> {
        self.0.1 += 1;
        if self.0.1 % EVERY != 1 {
            self.0.0[cell] = value;
        }
        Ok(())
    }
}

struct Misreading<'a>(&'a mut Counted);

impl Access for Misreading<'_> {
    type Stop = Infallible;

    fn get(&mut self, cell: usize) -> Result<i64, Infallible> {
        self.0.1 += 1;
        Ok(self.0.0[cell] + i64::from(self.0.1 % EVERY == 1))
    }

    fn set(&mut self, cell: usize, value: i64) -> Result<(), Infallible> {
        self.0.0[cell] = value;
        Ok(())
    }
}
