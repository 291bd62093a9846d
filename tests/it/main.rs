//! The one integration binary: scenarios as modules.

mod arrival;
mod awkward;
mod caps;
mod captured;
mod cells;
mod clients;
mod collections;
mod edges;
mod effects;
mod folds;
mod futures;
mod holding;
mod late;
mod limits;
mod loops;
mod opacity;
mod programs;
mod readme;
mod record;
mod running;
mod snapshots;
mod starving;
mod testing;
mod tidy;
mod waiting;
mod wire;
