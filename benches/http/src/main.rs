//! cargo run --release --manifest-path benches/http/Cargo.toml -- [--quick] [--only txloop,axum]
//!
//! Web servers side by side: what a request costs them in processor time, user and system, under
//! the same load. Absolute times depend on the machine and on its other load, so the servers take
//! turns, round by round, and what counts is the ratio. wrk makes the load on the same machine.
//!
//! The rows go to `target/bench/http.json` of the repository. Wrong answers and errors are exit 1.

mod answer;
mod catalog;
mod process;
mod report;
mod wrk;

use catalog::{SERVERS, Server, TESTS, Test};
use process::Running;
use report::Series;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};
use wrk::Wrk;

const USAGE: &str = "\
http: web servers side by side, driven by wrk

  --quick        one short round, to see that everything works
  --only NAMES   only these servers, separated by commas
  --help         this text";

/// How often and how long is measured.
#[derive(Debug, Clone, Copy)]
struct Plan {
    rounds: usize,
    warm_up: Duration,
    time: Duration,
}

const FULL: Plan =
    Plan { rounds: 5, warm_up: Duration::from_millis(500), time: Duration::from_secs(2) };
const QUICK: Plan =
    Plan { rounds: 1, warm_up: Duration::from_millis(500), time: Duration::from_millis(500) };

/// After a load: until the server has seen that its connections are closed, and sleeps again.
const SETTLE: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    let (plan, servers) = match read_flags(env::args().skip(1)) {
        Ok(Some(flags)) => flags,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    match run(plan, &servers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line; `None` if help was asked for.
fn read_flags(
    mut arguments: impl Iterator<Item = String>,
) -> Result<Option<(Plan, Vec<&'static Server>)>, String> {
    let mut plan = FULL;
    let mut only = None;
    while let Some(argument) = arguments.next() {
        match argument.split_once('=').unwrap_or((&argument, "")) {
            ("--quick", "") => plan = QUICK,
            ("--only", "") => only = Some(arguments.next().ok_or("flag --only needs a value")?),
            ("--only", names) => only = Some(names.to_owned()),
            ("--help", "") => return Ok(None),
            _ => return Err(format!("unknown argument {argument:?} (--help lists the flags)")),
        }
    }
    let Some(only) = only else { return Ok(Some((plan, SERVERS.iter().collect()))) };
    let names: Vec<&str> = only.split(',').collect();
    if let Some(name) = names.iter().find(|name| !SERVERS.iter().any(|s| s.name == **name)) {
        let known: Vec<&str> = SERVERS.iter().map(|server| server.name).collect();
        return Err(format!("no server {name:?}; there are {}", known.join(", ")));
    }
    Ok(Some((plan, SERVERS.iter().filter(|server| names.contains(&server.name)).collect())))
}

/// Builds, measures and reports.
fn run(plan: Plan, servers: &[&'static Server]) -> Result<(), String> {
    let wrk = Wrk::find()?;
    let root = root()?;
    let mut programs = Vec::new();
    for server in servers {
        programs.push((*server, process::build(&root, &server.program)?));
    }
    println!(
        "{} with {} threads, {} cores, load {} at the start; {} round(s) of {:?}",
        Wrk::version(),
        wrk::THREADS,
        thread::available_parallelism().map_or(0, usize::from),
        load(),
        plan.rounds,
        plan.time
    );
    let mut rows = Vec::new();
    let mut errors = 0;
    for test in &TESTS {
        let all = measure(&wrk, plan, test, &programs)?;
        report::print(test, &all);
        errors += all.iter().map(Series::errors).sum::<u64>();
        rows.extend(all.iter().map(|series| series.row(test)));
    }
    let file = root.join("target/bench/http.json");
    report::write(&file, &rows)?;
    println!("\nload {} at the end; rows in target/bench/http.json", load());
    if errors > 0 {
        return Err(format!("{errors} requests failed"));
    }
    Ok(())
}

/// Starts the servers and lets them take turns.
fn measure(
    wrk: &Wrk,
    plan: Plan,
    test: &Test,
    programs: &[(&'static Server, PathBuf)],
) -> Result<Vec<Series>, String> {
    let mut running = Vec::new();
    let mut all = Vec::new();
    for (server, program) in programs {
        running.push(Running::start(server, program, test.threads)?);
        all.push(Series { server: server.name, rounds: Vec::new() });
    }
    for _ in 0..plan.rounds {
        for (server, series) in running.iter().zip(&mut all) {
            let failed = |text: String| format!("{}: {text}", server.name);
            answer::check(server, test)?;
            wrk.run(&server.address, test, plan.warm_up).map_err(failed)?;
            thread::sleep(SETTLE);
            let before = server.cpu_ns()?;
            let found = wrk.run(&server.address, test, plan.time).map_err(failed)?;
            thread::sleep(SETTLE);
            let used = server.cpu_ns()? - before;
            if found.requests < 1.0 {
                return Err(failed(format!("no answers under the load of test {}", test.name)));
            }
            series.rounds.push((found, used));
        }
    }
    for server in &running {
        answer::check(server, test)?;
    }
    Ok(all)
}

/// The root of the repository, wherever this program was started.
fn root() -> Result<PathBuf, String> {
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&package).join("../..");
    root.canonicalize().map_err(|e| format!("cannot find {}: {e}", root.display()))
}

/// How many threads wanted a core in the last minute.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
