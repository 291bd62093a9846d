//! Structures made of cells, without `unsafe`: each says in which unit conflicts are found, and
//! what its operations cost.

mod append_log;
mod counter;
mod extreme;
mod grid;
mod map;
mod once;
mod ord_map;
mod queue;
mod semaphore;
mod set;
mod vec;

pub use append_log::{NewestFirst, TLog};
pub use counter::TCounter;
pub use extreme::{TMax, TMin};
pub use grid::{GridEdit, GridTiles, GridUnit, TGrid};
pub use map::TMap;
pub use once::TOnce;
pub use ord_map::TOrdMap;
pub use queue::TQueue;
pub use semaphore::TSemaphore;
pub use set::TSet;
pub use vec::TVec;
