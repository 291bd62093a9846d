//! The crate arc-swap: immutable arrays; a write copies the whole and swaps it in.

use crate::access::{Access, Backend, Job, Runs};
use crate::backends::locks::Shared;
use std::{convert::Infallible, sync::Arc};

/// The newest array.
pub(crate) struct ArcSwap(arc_swap::ArcSwap<Vec<i64>>);

impl Backend for ArcSwap {
    const NAME: &'static str = "arc-swap";
    const LOOKS: bool = true;
    /// Each write would copy more than 512 KiB.
    const MAX_CELLS: usize = 1 << 16;

    fn new(values: &[i64]) -> Self {
        Self(arc_swap::ArcSwap::from_pointee(values.to_vec()))
    }

    #[inline]
    fn run<J: Job>(&self, job: &J) -> J::Answer {
        let runs = Runs::default();
        loop {
            runs.begin();
            let base = self.0.load();
            let mut cells = Cells { base: &base, copy: None };
            let Ok(answer) = job.run(&mut cells);
            let Some(copy) = cells.copy else { return answer };
            let before = self.0.compare_and_swap(&*base, Arc::new(copy));
            if Arc::ptr_eq(&before, &base) {
                return answer;
            }
        }
    }

    #[inline]
    fn look<J: Job>(&self, job: &J) -> J::Answer {
        let Ok(answer) = job.run(&mut Shared(&self.0.load()));
        answer
    }
}

/// An array, and its copy once something was written.
struct Cells<'a> {
    base: &'a [i64],
    copy: Option<Vec<i64>>,
}

impl Access for Cells<'_> {
    type Stop = Infallible;

    #[inline]
    fn get(&mut self, cell: usize) -> Result<i64, Infallible> {
        Ok(self.copy.as_deref().unwrap_or(self.base)[cell])
    }

    #[inline]
    fn set(&mut self, cell: usize, value: i64) -> Result<(), Infallible> {
        self.copy.get_or_insert_with(|| self.base.to_vec())[cell] = value;
        Ok(())
    }
}
