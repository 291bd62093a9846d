//! Exploring: a test runs under many schedules, drawn at random and by PCT with three changes.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --release --lib shuttled`. `TXLOOP_SCHEDULES=N` runs N
//! times as many schedules as a test asks for, and `TXLOOP_SEED=N` others than those of seed 0. A
//! test that fails prints its schedule: with `TXLOOP_SCHEDULE=TEXT`, or `@FILE` for a file with it,
//! that one alone is run again. Every access to shared memory counts as sequentially consistent
//! here: missing fences are for the models.

pub(crate) use super::cooperative::below;
use shuttle::{
    Config, MaxSteps, Runner,
    scheduler::{
        PctScheduler, RandomScheduler, ReplayScheduler, Scheduler,
        UncontrolledNondeterminismCheckScheduler as Twice,
    },
};
use std::{env, fs, sync::Arc};

/// The most steps of one schedule. More of them mean that some threads wait for ever, looking.
const MOST_STEPS: usize = 200_000;
/// How many changes of priority PCT makes, and one.
const DEPTH: usize = 3;
/// Every so many schedules one is run twice, to see that a replay takes the same steps.
const REPLAYED: usize = 20;

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

fn run(scheduler: impl Scheduler + 'static, test: &Arc<impl Fn() + Send + Sync + 'static>) {
    let mut config = Config::new();
    config.stack_size = 1 << 17;
    config.max_steps = MaxSteps::FailAfter(MOST_STEPS);
    config.silence_warnings = true;
    let test = Arc::clone(test);
    Runner::new(scheduler, config).run(move || test());
}

/// Runs `test` under so many schedules of each kind.
pub(crate) fn explore(schedules: usize, test: impl Fn() + Send + Sync + 'static) {
    let test = Arc::new(test);
    if let Ok(text) = env::var("TXLOOP_SCHEDULE") {
        let text = match text.strip_prefix('@') {
            Some(file) => fs::read_to_string(file).expect("a file with a schedule"),
            None => text,
        };
        return run(ReplayScheduler::new_from_encoded(text.trim()), &test);
    }
    let schedules = schedules * number("TXLOOP_SCHEDULES").unwrap_or(1) as usize;
    let seed = number("TXLOOP_SEED").unwrap_or(0);
    run(RandomScheduler::new_from_seed(seed, schedules), &test);
    run(PctScheduler::new_from_seed(seed, DEPTH, schedules), &test);
    run(Twice::new(RandomScheduler::new_from_seed(seed, schedules / REPLAYED)), &test);
}
