//! txloop
mod cell;
mod error;
mod sync;
mod transaction;
pub use cell::{MAX_VIEWS, TVar};
pub use error::{Error, ErrorKind, Result};
pub use transaction::{Read, Snapshot, Transaction};
#[cfg(not(loom))]
pub use transaction::{atomically, snapshot, try_atomically};
#[doc(hidden)]
pub mod probe;
