//! cargo run --release --manifest-path benches/peers/Cargo.toml -- stm [--quick] [--only w1]
//!
//! txloop beside other STM crates, locks, maps and a plain loop, on the same operations. Absolute
//! times depend on the machine and on its other load, so the backends of a workload take turns,
//! round by round, and what counts is the ratio. Every turn is checked; a wrong result is a panic.
//! Each group of workloads has a process of its own: memory that an earlier one has used and given
//! back in disorder would make a later one slower, and not all backends alike.
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
mod tables;
mod timing;
mod workloads;

use contest::{Bench, Plan, begins};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
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
  --rows FILE       measure in this one process, and write the rows to FILE
  --help            this text";

const FULL: Plan = Plan { rounds: 5, window: Duration::from_millis(100) };
const QUICK: Plan = Plan { rounds: 1, window: Duration::from_millis(20) };

/// Relative to the root of the repository.
const FILE: &str = "target/bench/stm.json";

/// What the command line asks for.
struct Order {
    quick: bool,
    bench: Bench,
    /// Where the rows go, if this process is to measure.
    rows: Option<PathBuf>,
}

fn main() -> ExitCode {
    let order = match read_arguments(env::args().skip(1)) {
        Ok(Some(order)) => order,
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
    let done = match &order.rows {
        Some(file) => measure(&order.bench, file),
        None => measure_apart(&order),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line; `None` if help was asked for.
fn read_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Option<Order>, String> {
    let (mut workloads, mut backends, mut rows) = (Vec::new(), Vec::new(), None);
    let (mut quick, mut command) = (false, false);
    while let Some(argument) = arguments.next() {
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let mut text = |flag: &str| {
            let text = value.clone().or_else(|| arguments.next());
            text.ok_or_else(|| format!("flag {flag} needs a value"))
        };
        match flag {
            "--only" => workloads.extend(text(flag)?.split(',').map(str::to_owned)),
            "--backends" => backends.extend(text(flag)?.split(',').map(str::to_owned)),
            "--rows" => rows = Some(text(flag)?.into()),
            "stm" if value.is_none() => command = true,
            "--quick" if value.is_none() => quick = true,
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
    let plan = if quick { QUICK } else { FULL };
    Ok(Some(Order { quick, bench: Bench { plan, workloads, backends }, rows }))
}

/// Measures in this process.
fn measure(bench: &Bench, file: &Path) -> Result<(), String> {
    let mut rows = Vec::new();
    for group in &GROUPS {
        if group.workloads.iter().any(|workload| bench.wants(workload)) {
            let [median, min, max] = compute::ceiling(bench.plan);
            println!("\n== {}", group.title);
            println!(
                "now two threads that share nothing: {median:.2} x one ({min:.2} to {max:.2})"
            );
            let all = (group.measure)(bench);
            report::print(group, &all);
            rows.extend(all.iter().map(report::row));
        }
    }
    report::write(file, &rows)
}

/// Has each group measured by a process of its own, and puts their rows together.
fn measure_apart(order: &Order) -> Result<(), String> {
    let Order { quick, bench, .. } = order;
    println!(
        "{} cores; {} round(s), turns of {:?} or thereabouts",
        thread::available_parallelism().map_or(0, usize::from),
        bench.plan.rounds,
        bench.plan.window
    );
    let file = root()?.join(FILE);
    let part = file.with_extension("part.json");
    let mut rows = Vec::new();
    for group in &GROUPS {
        let wanted = |workload: &&str| bench.wants(workload);
        let workloads: Vec<&str> = group.workloads.iter().copied().filter(wanted).collect();
        if workloads.is_empty() {
            continue;
        }
        let program = env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
        let mut program = Command::new(program);
        program.args(["stm", "--only", &workloads.join(","), "--rows"]).arg(&part);
        if !bench.backends.is_empty() {
            program.args(["--backends", &bench.backends.join(",")]);
        }
        if *quick {
            program.arg("--quick");
        }
        let status = program.status().map_err(|e| format!("cannot start a process: {e}"))?;
        if !status.success() {
            return Err(format!("{}: {status}", workloads.join(", ")));
        }
        rows.extend(report::read(&part)?);
    }
    report::write(&file, &rows)?;
    let _ = fs::remove_file(part);
    println!("\n{} rows in {FILE}", rows.len());
    Ok(())
}

/// The root of the repository, wherever this program was started.
fn root() -> Result<PathBuf, String> {
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&package).join("../..");
    root.canonicalize().map_err(|e| format!("cannot find {}: {e}", root.display()))
}
