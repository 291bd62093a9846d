//! cargo bench --bench executor [-- --quick] [--only NAME[,NAME]]
//!
//! How many times as fast as a plain loop is a batch of handlers on an executor? Asked by length of
//! the body, share of conflicts, order and threads, and beside locks; also where it must lose.
//!
//! A figure is the time of the plain loop, over the same handlers on plain numbers, divided by that
//! of the contender which runs right after it; contenders take turns, round by round. Every run is
//! checked against the plain loop: in arrival order all answers and all cells, in commit order what
//! every order gives. A wrong result is a panic; a time never is.

mod contest;
mod handlers;
mod latency;
mod report;

use contest::{Batch, LOCK_THREADS, ORDERS, Promise, compare, start};
use handlers::{Count, Increment, Look, READS, Transfer, compute, hash};
use report::{Case, Row, Unit, Who};
use std::{env, hint::black_box, process::ExitCode, time::Instant};
use txloop::{Executor, Transaction};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(clippy::disallowed_types, reason = "what the library is compared with")]
pub(crate) type Mutex<T> = std::sync::Mutex<T>;

/// A test measures, prints and returns its rows.
type Test = fn(&Bench) -> Vec<Row>;

/// Those that `--only` can name, and what their figures are.
const TESTS: [(&str, Unit, Test); 6] = [
    ("bodies", Unit::Speedup, bodies),
    ("counter", Unit::Speedup, counter),
    ("reads", Unit::Speedup, reads),
    ("transfers", Unit::Speedup, transfers),
    ("run_queue", Unit::NsPerCall, run_queue),
    ("latency", Unit::P99Us, latency::latency),
];
const HELP: &str = "\
usage: cargo bench --bench executor -- [--quick] [--only NAME[,NAME]]

  --quick  3 rounds, 20 ms of plain time each, instead of 5 of 80 ms
  --only   only these tests: bodies, counter, reads, transfers, run_queue,
           latency
  --help   this text

Prints a table, and writes its rows, without those of earlier runs, to
target/bench/executor.json.";
/// Cells that handlers choose from: few enough to stay in a core's cache, as a server's hot ones
/// do. What cells cost that do not is the question of another bench.
const CELLS: u64 = 4_096;
/// The body where its length is not the question.
const BODY_NS: u64 = 1_000;
/// The executors' threads where they are not the question; as many as the locks have.
const TWO: &[usize] = &[LOCK_THREADS];
/// What an account holds at first. A transfer is of at most as much, so that many are refused.
const FUNDS: u64 = 100;
/// The fewest handlers of a batch, also where nothing is measured.
const FEWEST: u64 = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let result = match Plan::parse(&arguments) {
        Ok(plan) if plan.help => {
            println!("{HELP}");
            Ok(())
        }
        Ok(plan) => measure(&plan),
        Err(text) => Err(text),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("executor: {text}");
            ExitCode::FAILURE
        }
    }
}

/// What the arguments ask for.
#[derive(Default)]
struct Plan {
    bench: bool,
    quick: bool,
    help: bool,
    /// All tests, if it is empty.
    only: Vec<String>,
}

impl Plan {
    fn parse(arguments: &[String]) -> Result<Plan, String> {
        let mut plan = Plan::default();
        // Flags of the test harness come with cargo test, and mean nothing here.
        let strict = arguments.iter().any(|argument| argument == "--bench");
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--bench" => plan.bench = true,
                "--quick" => plan.quick = true,
                "--help" => plan.help = true,
                "--only" => {
                    // Cargo adds --bench at the end.
                    let names = rest.next().filter(|names| !names.starts_with("--"));
                    let names = names.ok_or("--only is followed by names of tests")?;
                    plan.only.extend(names.split(',').map(str::to_owned));
                }
                unknown if strict => {
                    return Err(format!("unknown argument {unknown:?}; --help names all"));
                }
                _ => {}
            }
        }
        let is_known = |name: &String| TESTS.iter().any(|(test, ..)| test == name);
        match plan.only.iter().find(|name| !is_known(name)) {
            Some(unknown) => Err(format!("unknown test {unknown:?}; --help names all")),
            None => Ok(plan),
        }
    }
}

/// Runs the tests that were asked for.
fn measure(plan: &Plan) -> Result<(), String> {
    let (rounds, length_ns) = match (plan.bench, plan.quick) {
        (_, true) => (3, 20_000_000),
        (true, false) => (5, 80_000_000),
        // Run by cargo test, which does not measure: one run of everything is checked.
        (false, false) => (0, 100_000),
    };
    let bench = Bench { rounds, length_ns, step_ns: step_ns() };
    if rounds > 0 {
        let ms = length_ns / 1_000_000;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        println!("rounds: {rounds}, plain time of each: about {ms} ms, cores: {cores}");
        bench.print_ceiling("before");
    }
    let mut rows = Vec::new();
    for (name, unit, test) in TESTS {
        if plan.only.is_empty() || plan.only.iter().any(|only| only == name) {
            if rounds > 0 {
                report::heading(unit);
            }
            rows.extend(test(&bench));
        }
    }
    if rounds == 0 {
        println!("executor: results checked, nothing measured (cargo bench does)");
        return Ok(());
    }
    println!();
    bench.print_ceiling("after");
    report::write(&rows).map_err(|e| format!("cannot write the rows: {e}"))
}

/// The answer of `f`, and how long it took, in ns.
#[expect(clippy::disallowed_methods, reason = "a bench outside the library measures real time")]
pub(crate) fn timed<T>(f: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let answer = f();
    (start.elapsed().as_nanos() as f64, answer)
}

/// How long one step of [`compute`] takes, in ns: the least of several, since others share the
/// cores.
fn step_ns() -> f64 {
    const STEPS: u32 = 200_000;
    let times = (0..20).map(|i| timed(|| black_box(compute(black_box(i), STEPS))).0);
    times.fold(f64::INFINITY, f64::min) / f64::from(STEPS)
}

/// How it is measured.
struct Bench {
    /// Rounds that count. If there are none, one is run and checked.
    rounds: usize,
    /// About how long one run of the plain loop takes.
    length_ns: u64,
    /// One step of [`compute`].
    step_ns: f64,
}

impl Bench {
    /// Steps of [`compute`] that take so long.
    fn steps(&self, body_ns: u64) -> u32 {
        (body_ns as f64 / self.step_ns).round().max(1.0) as u32
    }

    /// Says what two threads could gain at best.
    fn print_ceiling(&self, when: &str) {
        let steps = self.steps(BODY_NS);
        let handlers = self.handlers(BODY_NS, |i| Count { seed: hash(i), steps });
        let [median, min, max] = contest::ceiling(&handlers);
        println!(
            "{LOCK_THREADS} threads that share nothing, {when}: {median:.3} x plain \
             ({min:.3} to {max:.3})"
        );
        let [median, min, max] = contest::round_trip();
        println!(
            "a line of memory to another thread and back: {median:.0} ns ({min:.0} to {max:.0})"
        );
    }

    /// A batch of handlers, each made from its number.
    fn handlers<H>(&self, body_ns: u64, handler: impl FnMut(u64) -> H) -> Vec<H> {
        (0..(self.length_ns / body_ns).max(FEWEST)).map(handler).collect()
    }
}

/// Prints rows, and passes them on.
fn printed(rows: Vec<Row>) -> Vec<Row> {
    rows.iter().for_each(Row::print);
    rows
}

/// Whether handler `index` belongs to this share of them.
fn is_in_share(index: u64, share: f64) -> bool {
    ((hash(index) >> 11) as f64) < share * (1_u64 << 53) as f64
}

/// Something that depends on a handler's number and on which of its choices this is.
fn choice(index: u64, which: u64) -> u64 {
    hash(hash(index) ^ which)
}

/// Cells with different numbers.
fn numbers(count: u64) -> Vec<u64> {
    (0..count).map(hash).collect()
}

/// Handlers that read a cell, compute and write it; a share of them uses one hot cell.
fn bodies(bench: &Bench) -> Vec<Row> {
    let mut rows = Vec::new();
    for body_ns in [200, 1_000, 10_000, 100_000] {
        for conflict in [0.0, 0.01, 0.1, 1.0] {
            let steps = bench.steps(body_ns);
            let increment = |i| {
                // The hot cell is the one after those to choose from.
                // The others take turns, so that without it nobody meets.
                let cell = if is_in_share(i, conflict) { CELLS } else { i % CELLS };
                Increment { cell: cell as u32, steps }
            };
            let (body, conflict) = (Some(body_ns), Some(conflict));
            let batch = Batch {
                case: Case { test: "bodies", body_ns: body, conflict, ..Case::default() },
                handlers: bench.handlers(body_ns, increment),
                cells: numbers(CELLS + 1),
                // Whatever the order, each number from the first on is found in a cell once.
                promise: Promise::Shuffled,
            };
            let contenders = batch.executors(&[1, 2, 4]);
            rows.extend(printed(compare(bench.rounds, &batch, contenders)));
        }
    }
    rows
}

/// Handlers that compute and end with counting themselves, beside a lock around them.
fn counter(bench: &Bench) -> Vec<Row> {
    let steps = bench.steps(BODY_NS);
    let batch = Batch {
        case: Case { test: "counter", body_ns: Some(BODY_NS), ..Case::default() },
        handlers: bench.handlers(BODY_NS, |i| Count { seed: hash(i), steps }),
        cells: vec![0],
        promise: Promise::All,
    };
    let mut contenders = batch.executors(TWO);
    contenders.push(batch.mutex());
    printed(compare(bench.rounds, &batch, contenders))
}

/// A share of handlers that only read ten cells, among some that write one.
fn reads(bench: &Bench) -> Vec<Row> {
    let mut rows = Vec::new();
    for share in [0.5, 0.9, 1.0] {
        let steps = bench.steps(BODY_NS);
        let cell = |i, which| (choice(i, which) % CELLS) as u32;
        let look = |i| match is_in_share(i, share) {
            true => Look::Only { at: std::array::from_fn(|which| cell(i, which as u64)), steps },
            false => Look::AndWrite(Increment { cell: cell(i, READS as u64), steps }),
        };
        let (body_ns, read_share) = (Some(BODY_NS), Some(share));
        let batch = Batch {
            case: Case { test: "reads", body_ns, read_share, ..Case::default() },
            handlers: bench.handlers(BODY_NS, look),
            cells: numbers(CELLS),
            promise: if share == 1.0 { Promise::All } else { Promise::Cells },
        };
        rows.extend(printed(compare(bench.rounds, &batch, batch.executors(TWO))));
    }
    rows
}

/// Transfers between accounts, beside one lock and one for each account.
fn transfers(bench: &Bench) -> Vec<Row> {
    let mut rows = Vec::new();
    for accounts in [2, 10, 100, 1_000, 10_000] {
        let steps = bench.steps(BODY_NS);
        let transfer = |i| {
            let count = u64::from(accounts);
            let from = choice(i, 0) % count;
            let to = (from + 1 + choice(i, 1) % (count - 1)) % count;
            let (from, to, amount) = (from as u32, to as u32, 1 + choice(i, 2) % FUNDS);
            Transfer { from, to, amount, steps }
        };
        let (body_ns, accounts) = (Some(BODY_NS), Some(accounts));
        let batch = Batch {
            case: Case { test: "transfers", body_ns, accounts, ..Case::default() },
            handlers: bench.handlers(BODY_NS, transfer),
            cells: accounts.iter().flat_map(|&count| vec![FUNDS; count as usize]).collect(),
            promise: Promise::Total,
        };
        let mut contenders = batch.executors(TWO);
        contenders.extend([batch.mutex(), batch.lock_each()]);
        rows.extend(printed(compare(bench.rounds, &batch, contenders)));
    }
    rows
}

/// Runs so many closures that do nothing, and checks their answers; the time of all in ns.
type Calls = fn(&Executor, u64) -> f64;

/// What a call costs beside its work: one of a batch, and one that is waited for by itself.
fn run_queue(bench: &Bench) -> Vec<Row> {
    eprintln!("run_queue");
    let calls: [(&str, Calls); 2] = [("run", run), ("transact", transact)];
    let mut contenders = Vec::new();
    for (call, calls) in calls {
        for (order, name) in ORDERS {
            for threads in [1, 2] {
                let case = Case { test: "run_queue", call: Some(call), ..Case::default() };
                let who = Who { backend: "txloop", order: Some(name), threads };
                let executor = start(order, threads);
                let some = bench.length_ns / 40_000;
                let ns = (0..3).map(|_| calls(&executor, some)).fold(f64::INFINITY, f64::min);
                let count = (bench.length_ns as f64 / ns * some as f64) as u64;
                contenders.push((case, who, executor, calls, count.max(FEWEST), Vec::new()));
            }
        }
    }
    for _ in 0..bench.rounds {
        for (_, _, executor, calls, count, times) in &mut contenders {
            times.push(calls(executor, *count) / *count as f64);
        }
    }
    let measured = contenders.into_iter().filter(|(.., times)| !times.is_empty());
    let row = |(case, who, times)| Row::new(case, who, Unit::NsPerCall, times, None);
    printed(measured.map(|(case, who, .., times)| row((case, who, times))).collect())
}

fn run(executor: &Executor, count: u64) -> f64 {
    let closures: Vec<_> = (0..count).map(|i| move |_: &Transaction| i).collect();
    let (ns, answers) = timed(|| executor.run("run_queue", closures));
    assert_eq!(answers.len() as u64, count, "run: the number of answers is wrong");
    let wrong = answers.into_iter().zip(0..).find(|(answer, i)| answer.as_ref() != Ok(i));
    assert_eq!(wrong, None, "run: answer and number of a closure differ");
    ns
}

fn transact(executor: &Executor, count: u64) -> f64 {
    let call = |i| executor.transact("run_queue", move |_| i).wait() == Ok(i);
    let (ns, right) = timed(|| (0..count).filter(|&i| call(i)).count());
    assert_eq!(right as u64, count, "transact: the number of right answers is wrong");
    ns
}
