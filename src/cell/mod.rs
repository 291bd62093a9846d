//! Versioned cells: [`TVar`], snapshots of all cells, and the memory behind them.
//!
//! Vocabulary: a *cell* holds a chain of *versions*, newest first; the *watermark* is the number of
//! the newest committed version; a view *announces* its *snapshot* in a *slot*; the *baton* is held
//! by the one thread that links versions. The protocols are numbered steps in docs/protocol.md:
//! begin (B), read (R), commit (C), prune (P), drop (D).

mod active;
mod address;
pub(crate) mod block;
pub(crate) mod boxes;
pub(crate) mod deferred;
pub(crate) mod folds;
pub(crate) mod kept;
pub(crate) mod labels;
pub(crate) mod logs;
pub(crate) mod made;
mod magazines;
mod memory;
pub(crate) mod node;
pub(crate) mod slot;
pub(crate) mod store;
#[cfg(not(loom))]
pub(crate) mod text;

pub use logs::MAX_WRITES;
pub use memory::Memory;
pub use node::TVar;
pub use slot::MAX_VIEWS;

/// What the process keeps besides the newest versions of living cells. Versions and cells are those
/// of the last time that somebody looked: at most some commits, or 20 ms, ago.
#[must_use]
pub fn memory() -> Memory {
    store::STORE.memory()
}
