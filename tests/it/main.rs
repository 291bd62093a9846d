//! The one integration binary: scenarios as modules.

mod cells;
mod edges;
mod opacity;
mod programs;
mod tidy;
