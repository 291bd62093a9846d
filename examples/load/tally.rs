//! What the connections counted, added up.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{histogram::Histogram, wrong::Wrong};

/// Counts of one connection, or of all.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Latency of every request that got an answer.
    pub(crate) latencies: Histogram,
    /// Requests that got an answer.
    pub(crate) requests: u64,
    /// Errors by kind: how many, and the first one.
    pub(crate) errors: BTreeMap<String, (u64, String)>,
    /// Good answers by what they said.
    pub(crate) outcomes: BTreeMap<&'static str, u64>,
    /// When the last answer was in.
    pub(crate) ended: Option<Instant>,
}

impl Tally {
    /// Counts an answer.
    pub(crate) fn answered(&mut self, latency: Duration, ended: Instant) {
        self.latencies.record(latency);
        self.requests += 1;
        self.ended = Some(ended);
    }

    /// Counts a good answer under what it said.
    pub(crate) fn outcome(&mut self, name: &'static str) {
        *self.outcomes.entry(name).or_default() += 1;
    }

    /// Counts an error.
    pub(crate) fn wrong(&mut self, wrong: Wrong) {
        self.errors.entry(wrong.kind).or_insert((0, wrong.example)).0 += 1;
    }

    /// All errors.
    pub(crate) fn error_count(&self) -> u64 {
        self.errors.values().map(|(count, _)| count).sum()
    }

    /// Adds the counts of another connection.
    pub(crate) fn merge(&mut self, other: Tally) {
        self.latencies.merge(&other.latencies);
        self.requests += other.requests;
        self.ended = self.ended.max(other.ended);
        for (kind, (count, example)) in other.errors {
            self.errors.entry(kind).or_insert((0, example)).0 += count;
        }
        for (name, count) in other.outcomes {
            *self.outcomes.entry(name).or_default() += count;
        }
    }
}
