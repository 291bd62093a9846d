//! txloop through its public interface: a `TVar` for each cell, a counter for each, or a grid.

use crate::{
    access::{Access, Backend, Job, Runs},
    workloads::SIDE,
};
use std::convert::Infallible;
use txloop::{
    GridEdit, GridTiles, GridUnit, Snapshot, TCounter, TGrid, TVar, Transaction, atomically,
    snapshot,
};

/// A cell for each number.
pub(crate) struct Txloop(Vec<TVar<i64>>);

impl Backend for Txloop {
    const NAME: &'static str = "txloop";
    const LOOKS: bool = true;

    fn new(values: &[i64]) -> Self {
        Self(values.iter().copied().map(TVar::new).collect())
    }

    #[inline]
    fn run<J: Job>(&self, job: &J) -> J::Answer {
        let runs = Runs::default();
        atomically(|tx| {
            runs.begin();
            let Ok(answer) = job.run(&mut Writing(&self.0, tx));
            answer
        })
    }

    #[inline]
    fn look<J: Job>(&self, job: &J) -> J::Answer {
        let runs = Runs::default();
        snapshot(|view| {
            runs.begin();
            let Ok(answer) = job.run(&mut Reading(&self.0, view));
            answer
        })
    }
}

struct Writing<'a>(&'a [TVar<i64>], &'a Transaction);

impl Access for Writing<'_> {
    type Stop = Infallible;

    #[inline]
    fn get(&mut self, cell: usize) -> Result<i64, Infallible> {
        Ok(*self.1.get(&self.0[cell]))
    }

    #[inline]
    fn set(&mut self, cell: usize, value: i64) -> Result<(), Infallible> {
        self.1.set(&self.0[cell], value);
        Ok(())
    }
}

struct Reading<'a>(&'a [TVar<i64>], &'a Snapshot);

impl Access for Reading<'_> {
    type Stop = Infallible;

    #[inline]
    fn get(&mut self, cell: usize) -> Result<i64, Infallible> {
        Ok(*self.1.get(&self.0[cell]))
    }

    fn set(&mut self, cell: usize, _: i64) -> Result<(), Infallible> {
        unreachable!("a job that only reads writes cell {cell}")
    }
}

/// A counter for each number: additions do not read.
pub(crate) struct TxloopCounters(Vec<TCounter>);

impl Backend for TxloopCounters {
    const NAME: &'static str = "txloop-tcounter";

    fn new(values: &[i64]) -> Self {
        Self(values.iter().copied().map(TCounter::new).collect())
    }

    #[inline]
    fn run<J: Job>(&self, job: &J) -> J::Answer {
        let runs = Runs::default();
        atomically(|tx| {
            runs.begin();
            let Ok(answer) = job.run(&mut Counting(&self.0, tx));
            answer
        })
    }
}

struct Counting<'a>(&'a [TCounter], &'a Transaction);

impl Access for Counting<'_> {
    type Stop = Infallible;

    #[inline]
    fn get(&mut self, cell: usize) -> Result<i64, Infallible> {
        Ok(self.0[cell].get(self.1))
    }

    #[inline]
    fn set(&mut self, cell: usize, value: i64) -> Result<(), Infallible> {
        self.0[cell].set(self.1, value);
        Ok(())
    }

    #[inline]
    fn add(&mut self, cell: usize, more: i64) -> Result<(), Infallible> {
        self.0[cell].add(self.1, more);
        Ok(())
    }
}

/// The same numbers as the tiles of the square of w7, in blocks.
pub(crate) struct TxloopGrid(TGrid<i64>);

/// Where a cell lies.
#[inline]
fn tile(cell: usize) -> (usize, usize) {
    (cell % SIDE, cell / SIDE)
}

impl Backend for TxloopGrid {
    const NAME: &'static str = "txloop-tgrid";
    const LOOKS: bool = true;

    fn new(values: &[i64]) -> Self {
        assert_eq!(SIDE * SIDE, values.len(), "the cells are not the square");
        let value = |(x, y)| values[y * SIDE + x];
        Self(TGrid::from_fn(GridUnit::Block, (SIDE, SIDE), value))
    }

    #[inline]
    fn run<J: Job>(&self, job: &J) -> J::Answer {
        let runs = Runs::default();
        atomically(|tx| {
            runs.begin();
            let Ok(answer) = self.0.edit(tx, |tiles| job.run(&mut Edited(tiles)));
            answer
        })
    }

    #[inline]
    fn look<J: Job>(&self, job: &J) -> J::Answer {
        let runs = Runs::default();
        snapshot(|view| {
            runs.begin();
            let Ok(answer) = job.run(&mut Shown(self.0.tiles(view)));
            answer
        })
    }
}

struct Edited<'a, 'v>(&'a mut GridEdit<'v, i64>);

impl Access for Edited<'_, '_> {
    type Stop = Infallible;

    #[inline]
    fn get(&mut self, cell: usize) -> Result<i64, Infallible> {
        Ok(*self.0.get(tile(cell)))
    }

    #[inline]
    fn set(&mut self, cell: usize, value: i64) -> Result<(), Infallible> {
        self.0.set(tile(cell), value);
        Ok(())
    }
}

struct Shown<'v>(GridTiles<'v, i64>);

impl Access for Shown<'_> {
    type Stop = Infallible;

    #[inline]
    fn get(&mut self, cell: usize) -> Result<i64, Infallible> {
        Ok(*self.0.get(tile(cell)))
    }

    fn set(&mut self, cell: usize, _: i64) -> Result<(), Infallible> {
        unreachable!("a job that only reads writes cell {cell}")
    }
}
