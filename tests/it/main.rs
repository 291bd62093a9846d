//! The one integration binary: scenarios as modules.
mod cells;
