//! Random programs under the interleaver, each schedule from a seed, and the check of everything
//! that could be seen of them against the serial order: see docs/mutations.md.
//!
//! Built with `RUSTFLAGS="--cfg txloop_check"` only. `TXLOOP_RUNS=N` makes N runs of each test,
//! `TXLOOP_SEED=N` the one of a seed that was printed, `TXLOOP_TRACE=1` prints each seed before its
//! run, `TXLOOP_FAULT=name` plants a fault into the engine.
#![cfg(txloop_check)]

mod case;
mod history;
#[path = "../it/arrival/model.rs"]
mod model;
mod poison;
#[path = "../it/arrival/program.rs"]
mod program;
mod scenes;
mod shrink;
mod stage;
#[path = "../it/arrival/world.rs"]
#[expect(dead_code, reason = "batches are run in another way here")]
mod world;

use case::Case;
use txloop::probe::interleaved;

/// How many runs each test makes by default.
const RUNS: u64 = 2_000;

/// What the cells of a run hold.
#[derive(Debug, Clone, PartialEq)]
struct State {
    plain: Vec<u64>,
    nested: Vec<Option<u64>>,
    count: u64,
    extremes: (u64, u64),
    log: Vec<u64>,
}

/// What anybody can see of a run in arrival order.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    answers: Vec<Result<u64, String>>,
    /// The number of the closure, and what it had seen.
    effects: Vec<(usize, u64)>,
    state: State,
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Calls `one` with every seed that is asked for: a share of the runs, or the one seed.
fn seeds(share: u64, mut one: impl FnMut(u64)) {
    match number("TXLOOP_SEED") {
        Some(seed) => one(seed),
        None => (0..number("TXLOOP_RUNS").unwrap_or(RUNS) / share).for_each(one_traced(&mut one)),
    }
}

fn one_traced(one: &mut impl FnMut(u64)) -> impl FnMut(u64) {
    let trace = std::env::var("TXLOOP_TRACE").is_ok();
    move |seed| {
        if trace {
            // Not by `eprintln!`, which the harness keeps: a fault may end the process.
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("seed={seed}\n").as_bytes(),
            );
        }
        one(seed);
    }
}

/// Runs the case of each seed, and prints the smallest that still fails.
fn cases(share: u64, of_seed: fn(u64) -> Case) {
    seeds(share, |seed| {
        let case = of_seed(seed);
        if let Err(why) = case.check(seed) {
            let (whole, small) = (shrink::shown(&case), shrink::smallest(&case, seed));
            panic!("seed={seed}: {why}\n{whole}the smallest that fails:\n{small}");
        }
    });
}

#[test]
fn threads_agree_with_the_serial_replay() {
    cases(1, case::of_threads);
}

#[test]
fn executors_agree_with_the_serial_replay() {
    cases(1, case::of_executor);
}

#[test]
fn arrival_order_agrees_with_the_serial_oracle() {
    cases(1, case::of_arrival);
}

#[test]
fn a_seed_gives_one_schedule_and_one_history() {
    for (seed, of_seed) in
        [case::of_threads, case::of_executor, case::of_arrival].iter().enumerate()
    {
        for seed in (0..20).map(|i| 3 * i + seed as u64) {
            let case = of_seed(seed);
            let runs = [case.run(seed), case.run(seed)];
            let [first, second] = runs.map(|ran| ran.expect("it passes"));
            assert!(first.trace == second.trace, "seed={seed}: another schedule");
            assert_eq!(first.answer, second.answer, "seed={seed}: another history");
        }
    }
}

#[test]
fn a_chain_is_bounded_by_the_views_that_are_active() {
    seeds(500, scenes::chains_are_bounded);
}

#[test]
fn whoever_runs_alone_takes_turns() {
    seeds(4, scenes::the_impatient_take_turns);
}

#[test]
fn a_worker_that_sleeps_is_woken() {
    seeds(4, scenes::workers_wake);
}

#[test]
fn whoever_is_cancelled_ends() {
    seeds(4, scenes::the_cancelled_end);
}

#[test]
fn effects_open_in_order() {
    seeds(4, scenes::effects_open_in_order);
}

#[test]
fn effects_wait_for_the_sink_in_order() {
    seeds(4, scenes::the_sink_keeps_order);
}

#[test]
fn a_run_that_cannot_go_on_is_reported() {
    // Nothing can be run after it in the same process.
    const NAME: &str = "a_run_that_cannot_go_on_is_reported";
    if std::env::var_os("TXLOOP_STUCK").is_none() {
        let this = std::env::current_exe().expect("this program");
        let mut child = std::process::Command::new(this);
        let child = child.args(["--exact", NAME]).env("TXLOOP_STUCK", "1");
        let child = child.output().expect("it starts");
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let report = interleaved::run(1, || {
        let wait = || {
            let cell = txloop::TVar::new(0);
            move || txloop::atomically(|tx| tx.guard(*tx.get(&cell) == 1))
        };
        let both = ["a", "b"].map(|name| interleaved::spawn(name, wait()));
        both.into_iter().for_each(interleaved::Handle::join);
    });
    let report = report.expect_err("two threads wait for ever");
    assert!(report.starts_with("seed=1: stuck after "), "{report}");
    assert!(report.contains("thread a: Parked") && report.contains("thread b: Parked"), "{report}");
    let next = interleaved::run(2, || ());
    assert!(next.is_err(), "what the threads hold is lost");
}
