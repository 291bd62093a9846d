//! The workloads, each in a file of its own, and what they are called.

mod bank;
mod cost;
mod reads;
mod scans;

use crate::contest::{Bench, Series};

pub(crate) use cost::ATOMIC;

/// Workloads that are measured and shown together.
pub(crate) struct Group {
    /// What it is about.
    pub(crate) title: &'static str,
    /// The names of its workloads.
    pub(crate) workloads: &'static [&'static str],
    /// Measures those that were asked for.
    pub(crate) measure: fn(&Bench) -> Vec<Series>,
    /// What else follows from the figures, line by line.
    pub(crate) notes: fn(&[Series]) -> Vec<String>,
}

/// All, in the order of the report.
pub(crate) const GROUPS: [Group; 5] =
    [cost::GROUP, reads::GROUP, bank::TRANSFERS, bank::AUDITS, scans::GROUP];

/// The names of all workloads.
pub(crate) fn names() -> Vec<&'static str> {
    GROUPS.iter().flat_map(|group| group.workloads).copied().collect()
}
