//! What a failed validation returns: which cell, read where, written by whom.

use crate::cell::{
    labels::{Label, Origin},
    logs::StaleRead,
};
use std::panic::Location;

/// Why an attempt was thrown away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conflict {
    /// The cell's address, for display.
    pub(crate) cell: u64,
    /// The cell's name.
    pub(crate) name: Label,
    /// The type of the cell's value.
    pub(crate) cell_type: &'static str,
    /// Where the loser read it, when places are kept.
    pub(crate) read_at: Option<&'static Location<'static>>,
    /// Who wrote it, and where when places are kept.
    pub(crate) winner: Origin,
}

impl Conflict {
    /// Boxed, so that an outcome without one is two words.
    #[cold]
    pub(crate) fn boxed(stale: StaleRead) -> Box<Self> {
        Box::new(Self {
            cell: stale.cell.id(),
            name: stale.cell.label(),
            cell_type: stale.cell_type,
            read_at: stale.place,
            winner: stale.winner,
        })
    }
}
