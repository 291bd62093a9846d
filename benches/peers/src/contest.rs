//! The contest: the backends of a workload take turns, round by round.

use crate::timing::Pace;
use std::time::Duration;

/// How often and how long is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Rounds of each figure.
    pub(crate) rounds: usize,
    /// A turn, except where a workload needs more or less.
    pub(crate) window: Duration,
}

impl Plan {
    /// With turns of another length.
    pub(crate) fn with_window(self, window: Duration) -> Self {
        Self { window, ..self }
    }
}

/// What was asked for. An empty list means all.
#[derive(Debug, Clone)]
pub(crate) struct Bench {
    /// Rounds and window.
    pub(crate) plan: Plan,
    /// Names of workloads, or the part of them before a dash.
    pub(crate) workloads: Vec<String>,
    /// Names of backends.
    pub(crate) backends: Vec<String>,
}

impl Bench {
    /// Whether a workload is to be measured.
    pub(crate) fn wants(&self, workload: &str) -> bool {
        let starts = |name: &String| begins(workload, name);
        self.workloads.is_empty() || self.workloads.iter().any(starts)
    }

    /// Whether a backend takes part.
    pub(crate) fn admits(&self, backend: &str) -> bool {
        self.backends.is_empty() || self.backends.iter().any(|name| name == backend)
    }
}

/// Whether a workload is the named one, or one of those that a name before a dash stands for.
pub(crate) fn begins(workload: &str, name: &str) -> bool {
    let rest = workload.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// What a scan met.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scan {
    /// Runs of scans, also of those that never ended.
    pub(crate) attempts: u64,
    /// Runs that saw a state that never was.
    pub(crate) torn: u64,
    /// Writes in a second, and beside no scans.
    pub(crate) writes_per_s: f64,
    /// The same without scans.
    pub(crate) alone_per_s: f64,
}

/// What came of one turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Operations in the window.
    pub(crate) ops: u64,
    /// Time of a thread for an operation.
    pub(crate) ns_per_op: f64,
    /// Operations of all threads in a second.
    pub(crate) per_s: f64,
    /// Runs that came to nothing, for an operation.
    pub(crate) aborts_per_op: f64,
    /// If a scan was measured.
    pub(crate) scan: Option<Scan>,
}

impl Sample {
    /// From what each thread got done.
    pub(crate) fn of(paces: &[Pace]) -> Self {
        let per_s: f64 = paces.iter().map(Pace::per_s).sum();
        let ops: u64 = paces.iter().map(|pace| pace.ops).sum();
        let aborts: u64 = paces.iter().map(|pace| pace.aborts).sum();
        Self {
            ops,
            ns_per_op: paces.len() as f64 * 1e9 / per_s,
            per_s,
            aborts_per_op: aborts as f64 / ops as f64,
            scan: None,
        }
    }
}

/// One figure: a backend, a workload, a number of threads.
pub(crate) struct Entry<'a> {
    /// As in the rows.
    pub(crate) workload: &'static str,
    /// As in the rows.
    pub(crate) backend: &'static str,
    /// As in the rows.
    pub(crate) threads: usize,
    /// Measures for a window, and panics if the result is wrong.
    pub(crate) turn: Box<dyn FnMut(Duration) -> Sample + 'a>,
}

/// A figure and what came of its turns.
#[derive(Debug)]
pub(crate) struct Series {
    /// As in the rows.
    pub(crate) workload: &'static str,
    /// As in the rows.
    pub(crate) backend: &'static str,
    /// As in the rows.
    pub(crate) threads: usize,
    /// One for each round.
    pub(crate) samples: Vec<Sample>,
}

/// Lets the entries take turns.
pub(crate) fn take_turns(plan: Plan, mut entries: Vec<Entry<'_>>) -> Vec<Series> {
    let empty = |entry: &Entry<'_>| Series {
        workload: entry.workload,
        backend: entry.backend,
        threads: entry.threads,
        samples: Vec::new(),
    };
    let mut all: Vec<Series> = entries.iter().map(empty).collect();
    for _ in 0..plan.rounds {
        for (entry, series) in entries.iter_mut().zip(&mut all) {
            series.samples.push((entry.turn)(plan.window));
        }
    }
    all
}

/// Median, least and greatest.
pub(crate) fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    };
    [median, values[0], values[values.len() - 1]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_spreads() {
        for (workload, name, expected) in [
            ("w4-10", "w4-10", true),
            ("w4-10", "w4", true),
            ("w4-100", "w4-10", false),
            ("w4-audit-10", "w4-audit", true),
            ("w4", "w4-10", false),
        ] {
            assert_eq!(begins(workload, name), expected, "{workload} {name}");
        }
        assert_eq!(spread(vec![4.0, 1.0, 2.0, 3.0]), [2.5, 1.0, 4.0]);
        assert_eq!(spread(vec![f64::INFINITY, 1.0, 2.0]), [2.0, 1.0, f64::INFINITY]);
    }
}
