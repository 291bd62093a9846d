//! cargo run --release --manifest-path benches/peers/Cargo.toml -- stm [--quick] [--only w1]
//!
//! txloop beside other STM crates, locks, maps and a plain loop, on the same operations. Absolute
//! times depend on the machine and on its other load, so the backends of a workload take turns,
//! round by round, and what counts is the ratio. Every turn is checked; a wrong result is a panic.
//!
//! The rows go to `target/bench/stm.json` of the repository, without those of earlier runs.

mod access;
mod backends;
mod beside;
mod cells;
mod compute;
mod contest;
mod maps;
mod random;
mod report;
mod timing;
mod workloads;

use contest::{Bench, Plan, begins};
use report::Row;
use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};
use workloads::GROUPS;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "\
peers: txloop beside other STM crates, locks and maps

usage: peers stm [FLAGS]

  --quick           one short round, to see that everything works
  --only NAMES      only these workloads, separated by commas; a name stands
                    also for those that go on after it with a dash
  --backends NAMES  only these backends, separated by commas
  --help            this text";

const FULL: Plan = Plan { rounds: 5, window: Duration::from_millis(100) };
const QUICK: Plan = Plan { rounds: 1, window: Duration::from_millis(20) };

/// Relative to the root of the repository.
const FILE: &str = "target/bench/stm.json";

fn main() -> ExitCode {
    let bench = match read_arguments(env::args().skip(1)) {
        Ok(Some(bench)) => bench,
        Ok(None) => {
            println!("{USAGE}\n\nworkloads: {}", workloads::names().join(", "));
            println!("backends: {}", workloads::backends().join(", "));
            return ExitCode::SUCCESS;
        }
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    match run(&bench) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line; `None` if help was asked for.
fn read_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Option<Bench>, String> {
    let (mut workloads, mut backends) = (Vec::new(), Vec::new());
    let (mut plan, mut command) = (FULL, false);
    while let Some(argument) = arguments.next() {
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let mut names = |flag: &str| {
            let value = value.clone().or_else(|| arguments.next());
            let value = value.ok_or_else(|| format!("flag {flag} needs a value"))?;
            Ok::<_, String>(value.split(',').map(str::to_owned).collect::<Vec<_>>())
        };
        match flag {
            "--only" => workloads.extend(names(flag)?),
            "--backends" => backends.extend(names(flag)?),
            "stm" if value.is_none() => command = true,
            "--quick" if value.is_none() => plan = QUICK,
            "--help" if value.is_none() => return Ok(None),
            _ => return Err(format!("unknown argument {argument:?} (--help lists the flags)")),
        }
    }
    if !command {
        return Err("say what is to be measured: stm (--help lists the flags)".to_owned());
    }
    let known = workloads::names();
    if let Some(name) = workloads.iter().find(|name| !known.iter().any(|w| begins(w, name))) {
        return Err(format!("no workload {name:?}; there are {}", known.join(", ")));
    }
    let known = workloads::backends();
    if let Some(name) = backends.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("no backend {name:?}; there are {}", known.join(", ")));
    }
    Ok(Some(Bench { plan, workloads, backends }))
}

/// Measures and reports.
fn run(bench: &Bench) -> Result<(), String> {
    println!(
        "{} cores; {} round(s), turns of {:?} or thereabouts",
        thread::available_parallelism().map_or(0, usize::from),
        bench.plan.rounds,
        bench.plan.window
    );
    let mut rows = Vec::new();
    for group in &GROUPS {
        if group.workloads.iter().any(|workload| bench.wants(workload)) {
            println!("\n== {}", group.title);
            let all = (group.measure)(bench);
            report::print(group, &all);
            rows.extend(all.iter().map(Row::of));
        }
    }
    let file = root()?.join(FILE);
    report::write(&file, &rows).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    println!("\n{} rows in {FILE}", rows.len());
    Ok(())
}

/// The root of the repository, wherever this program was started.
fn root() -> Result<PathBuf, String> {
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&package).join("../..");
    root.canonicalize().map_err(|e| format!("cannot find {}: {e}", root.display()))
}
