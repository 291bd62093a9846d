//! One lock around all cells, held from the beginning of a job to its end.

use crate::access::{Access, Backend, Job};
use std::{convert::Infallible, sync};

/// Cells that are borrowed exclusively.
pub(crate) struct Exclusive<'a>(pub(crate) &'a mut [i64]);

impl Access for Exclusive<'_> {
    type Stop = Infallible;

    #[inline]
    fn get(&mut self, cell: usize) -> Result<i64, Infallible> {
        Ok(self.0[cell])
    }

    #[inline]
    fn set(&mut self, cell: usize, value: i64) -> Result<(), Infallible> {
        self.0[cell] = value;
        Ok(())
    }
}

/// Cells that may only be read.
pub(crate) struct Shared<'a>(pub(crate) &'a [i64]);

impl Access for Shared<'_> {
    type Stop = Infallible;

    #[inline]
    fn get(&mut self, cell: usize) -> Result<i64, Infallible> {
        Ok(self.0[cell])
    }

    fn set(&mut self, cell: usize, _: i64) -> Result<(), Infallible> {
        unreachable!("a job that only reads writes cell {cell}")
    }
}

/// A mutex of the standard library.
pub(crate) struct Mutex(sync::Mutex<Vec<i64>>);

impl Backend for Mutex {
    const NAME: &'static str = "mutex";

    fn new(values: &[i64]) -> Self {
        Self(sync::Mutex::new(values.to_vec()))
    }

    #[inline]
    fn run<J: Job>(&self, job: &J) -> J::Answer {
        let mut cells = self.0.lock().unwrap_or_else(sync::PoisonError::into_inner);
        let Ok(answer) = job.run(&mut Exclusive(&mut cells));
        answer
    }
}

/// A reader-writer lock of the standard library.
pub(crate) struct RwLock(sync::RwLock<Vec<i64>>);

impl Backend for RwLock {
    const NAME: &'static str = "rwlock";
    const LOOKS: bool = true;

    fn new(values: &[i64]) -> Self {
        Self(sync::RwLock::new(values.to_vec()))
    }

    #[inline]
    fn run<J: Job>(&self, job: &J) -> J::Answer {
        let mut cells = self.0.write().unwrap_or_else(sync::PoisonError::into_inner);
        let Ok(answer) = job.run(&mut Exclusive(&mut cells));
        answer
    }

    #[inline]
    fn look<J: Job>(&self, job: &J) -> J::Answer {
        let cells = self.0.read().unwrap_or_else(sync::PoisonError::into_inner);
        let Ok(answer) = job.run(&mut Shared(&cells));
        answer
    }
}

/// A mutex of the crate parking_lot.
pub(crate) struct ParkingMutex(parking_lot::Mutex<Vec<i64>>);

impl Backend for ParkingMutex {
    const NAME: &'static str = "parking_lot-mutex";

    fn new(values: &[i64]) -> Self {
        Self(parking_lot::Mutex::new(values.to_vec()))
    }

    #[inline]
    fn run<J: Job>(&self, job: &J) -> J::Answer {
        let Ok(answer) = job.run(&mut Exclusive(&mut self.0.lock()));
        answer
    }
}

/// A reader-writer lock of the crate parking_lot.
pub(crate) struct ParkingRwLock(parking_lot::RwLock<Vec<i64>>);

impl Backend for ParkingRwLock {
    const NAME: &'static str = "parking_lot-rwlock";
    const LOOKS: bool = true;

    fn new(values: &[i64]) -> Self {
        Self(parking_lot::RwLock::new(values.to_vec()))
    }

    #[inline]
    fn run<J: Job>(&self, job: &J) -> J::Answer {
        let Ok(answer) = job.run(&mut Exclusive(&mut self.0.write()));
        answer
    }

    #[inline]
    fn look<J: Job>(&self, job: &J) -> J::Answer {
        let Ok(answer) = job.run(&mut Shared(&self.0.read()));
        answer
    }
}
