//! The workloads, each in a file of its own, and what they are called.

mod bank;
mod claims;
mod cost;
mod counters;
mod labyrinth;
mod lookups;
mod maze;
mod reads;
mod routes;
mod scans;
#[cfg(test)]
mod tests;
mod vacation;

pub(crate) use maze::SIDE;

use crate::{
    backends,
    contest::{Bench, Series},
};

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
pub(crate) const GROUPS: [Group; 10] = [
    cost::GROUP,
    reads::GROUP,
    counters::GROUP,
    bank::TRANSFERS,
    bank::AUDITS,
    lookups::GROUP,
    scans::GROUP,
    routes::GROUP,
    vacation::GROUP,
    labyrinth::GROUP,
];

/// The names of all workloads.
pub(crate) fn names() -> Vec<&'static str> {
    GROUPS.iter().flat_map(|group| group.workloads).copied().collect()
}

/// The names of all backends, also of those that take part in one workload only.
pub(crate) fn backends() -> Vec<&'static str> {
    let mut names = backends::names();
    for name in lookups::backends().chain([cost::ATOMIC]) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
