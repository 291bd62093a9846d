//! Claiming the cells of a route, and giving them back: for all workloads with routes.

use crate::access::{Access, Job};
use std::sync::Arc;

/// A cell that nobody has claimed.
pub(crate) const FREE: i64 = 0;

/// A route that is claimed under a number.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// Its cells.
    pub(crate) cells: Arc<[u32]>,
    /// What they hold while it has them.
    pub(crate) number: i64,
}

/// Claims all cells of a route, if they are free.
#[derive(Clone)]
pub(crate) struct Claim(pub(crate) Route);

impl Job for Claim {
    /// Whether they were.
    type Answer = bool;

    fn run<A: Access>(&self, cells: &mut A) -> Result<bool, A::Stop> {
        for &cell in &*self.0.cells {
            if cells.get(cell as usize)? != FREE {
                return Ok(false);
            }
        }
        for &cell in &*self.0.cells {
            cells.set(cell as usize, self.0.number)?;
        }
        Ok(true)
    }
}

/// Gives all cells of a route back.
#[derive(Clone)]
pub(crate) struct GiveBack(pub(crate) Route);

impl Job for GiveBack {
    /// How many of them were not the route's any more.
    type Answer = usize;

    fn run<A: Access>(&self, cells: &mut A) -> Result<usize, A::Stop> {
        let mut lost = 0;
        for &cell in &*self.0.cells {
            lost += usize::from(cells.get(cell as usize)? != self.0.number);
            cells.set(cell as usize, FREE)?;
        }
        Ok(lost)
    }
}
