//! Every workload runs on every backend, and its checks find planted faults.

use super::{GROUPS, backends, names};
use crate::contest::{Bench, Plan, Series};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

fn measured(workload: &str, backends: &[&str]) -> Vec<Series> {
    let bench = Bench {
        plan: Plan { rounds: 1, window: Duration::from_millis(2) },
        workloads: vec![workload.to_owned()],
        backends: backends.iter().map(|&name| name.to_owned()).collect(),
    };
    let group = GROUPS.iter().find(|group| group.workloads.contains(&workload));
    (group.expect("a workload").measure)(&bench)
}

#[test]
fn all_workloads_on_all_backends() {
    let mut sound = backends();
    sound.retain(|name| !["lost-writes", "wrong-reads"].contains(name));
    let mut idle = sound.clone();
    for workload in names() {
        let found = measured(workload, &sound);
        assert!(found.iter().all(|series| series.samples.len() == 1), "{workload}");
        assert!(found.iter().any(|series| series.workload == workload), "{workload}");
        idle.retain(|name| found.iter().all(|series| series.backend != *name));
    }
    assert_eq!(idle, [""; 0], "backends that took part in nothing");
}

/// What the checks of workloads have to say of a backend with a fault.
#[track_caller]
fn planted(backend: &str, workloads: &[&str]) {
    for workload in workloads {
        let run = || measured(workload, &[backend]);
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err(), "{workload} lets {backend} pass");
    }
}

#[test]
fn lost_writes_are_found() {
    planted("lost-writes", &["w2", "w3", "counter-bare", "counter-1us", "w4-10", "w4-1000"]);
    planted(
        "lost-writes",
        &["w4-100000", "w4-audit-10", "w5-cells", "w6-flat", "w6-random", "vacation"],
    );
    planted("lost-writes", &["w7", "w7-search", "labyrinth"]);
}

#[test]
fn wrong_reads_are_found() {
    planted(
        "wrong-reads",
        &["w1", "w3", "w4-10", "w4-1000", "w5-cells", "w8-read1", "w8-read10", "w8-read100"],
    );
    planted(
        "wrong-reads",
        &["w4-audit-10", "w4-audit-100000", "w6-alone", "w6-flat", "w6-random", "w6-1khz"],
    );
}
