//! cargo bench --bench primes_overhead [-- --quick]
//!
//! What a request costs beside its handler's own work: with one thread a server that lists primes
//! should take at most 2 % more processor time for a request than the bare function for a call.
//!
//! This program starts itself twice: as the server of the example `primes`, and as a loop that
//! calls the function, alone or with its answer written as JSON. Both wait while they have no
//! turn; the turns are interleaved, and both are measured by the processor time that the kernel
//! counts for them. All answers are checked. Only a wrong one, or a failure, is exit 1: a time
//! never is.

#[path = "../examples/primes/list.rs"]
mod list;

use serde::Serialize;
use std::{
    env, fs,
    hint::black_box,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio, exit},
    thread,
    time::{Duration, Instant},
};
use txloop::{App, Json, Request, Response, Snapshot, StatusCode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Primes are listed up to this number: about 10 ms.
const N: u64 = 10_000;
/// The largest number that the server answers.
const MAX: u64 = 1_000_000;
/// Clients of the server, each with one connection and one request under way.
const CONNECTIONS: usize = 4;
/// How much more than the function alone the server may cost.
const BAR: f64 = 1.02;
/// Longest wait for an answer.
const SILENCE: Duration = Duration::from_secs(60);
/// A tick of the times in `/proc/PID/stat`, in ns: 1/100 s on every Linux this runs on.
const TICK_NS: u64 = 10_000_000;
/// What this program is told to be when it starts itself.
const SERVER: &str = "--as-server";
const LOOP: &str = "--as-loop";

/// Every failure ends the program with one line, so a text is enough.
type Result<T> = std::result::Result<T, String>;

/// The answer of the example `primes`.
#[derive(Serialize)]
struct Primes {
    primes: Vec<u64>,
}

/// The function under test; not inlined, so that server and loop run the same machine code.
#[inline(never)]
fn primes(n: u64) -> Vec<u64> {
    list::primes(n)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    let (rounds, length) = match (given("--bench"), given("--quick")) {
        (_, true) => (1, Duration::from_millis(300)),
        (true, false) => (7, Duration::from_secs(1)),
        // Run by cargo test, which does not measure: one call each is checked.
        (false, false) => (1, Duration::ZERO),
    };
    let known = ["--bench", "--quick", SERVER, LOOP];
    let result = match arguments.iter().find(|argument| !known.contains(&argument.as_str())) {
        // Flags of the test harness come with cargo test, and mean nothing here.
        Some(unknown) if given("--bench") => {
            Err(format!("unknown argument {unknown:?}; there is only --quick"))
        }
        _ if given(SERVER) => serve(),
        _ if given(LOOP) => call_on_demand(),
        _ => measure(rounds, length).map(|costs| report(&costs, length)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("primes_overhead: {text}");
            ExitCode::FAILURE
        }
    }
}

/// The handler of the example `primes`.
fn primes_up_to(_: &Snapshot, request: &Request) -> std::result::Result<Json<Primes>, Response> {
    let n = request.param_number("n")?;
    if n > MAX {
        let text = format!("n must be at most {MAX}");
        return Err(Response::error(StatusCode::BAD_REQUEST, &text));
    }
    Ok(Json(Primes { primes: primes(n) }))
}

/// The server of the example `primes`, on one thread.
fn serve() -> Result<()> {
    let app = App::new().get("/{n}", primes_up_to).threads(1);
    let server = app.listen("127.0.0.1:0").map_err(|e| e.to_string())?;
    let address = server.local_addr();
    say(&address.to_string())?;
    // The end of the input is the end of the parent, however that came about.
    let watch = || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        exit(0)
    };
    thread::Builder::new().spawn(watch).map_err(|e| format!("cannot start a thread: {e}"))?;
    server.run().map_err(|e| e.to_string())
}

/// The loop: for every line `json? ms` it calls the function that long, and says how often.
fn call_on_demand() -> Result<()> {
    let expected = sieve(N);
    let text = json(&expected);
    for line in io::stdin().lines() {
        let line = line.map_err(|e| format!("cannot read what to do: {e}"))?;
        let (as_json, length) = match line.split_once(' ') {
            Some((as_json, ms)) => (as_json == "json", ms.parse().map(Duration::from_millis)),
            None => return Err(format!("cannot understand {line:?}")),
        };
        let end = now() + length.map_err(|e| format!("cannot understand {line:?}: {e}"))?;
        let mut calls = 0;
        let mut wrong = false;
        while calls == 0 || now() < end {
            let found = primes(black_box(N));
            calls += 1;
            wrong |= if as_json {
                serde_json::to_vec(&Primes { primes: found }).ok().as_deref() != Some(&*text)
            } else {
                found != expected
            };
        }
        if wrong {
            return Err(format!("primes({N}) in the loop is wrong"));
        }
        say(&calls.to_string())?;
    }
    Ok(())
}

/// Writes a line that the parent waits for.
fn say(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let said = writeln!(out, "{line}").and_then(|()| out.flush());
    said.map_err(|e| format!("cannot tell {line:?} to the parent: {e}"))
}

/// The primes up to `n` in another way than the function under test.
fn sieve(n: u64) -> Vec<u64> {
    let mut composite = vec![false; n as usize + 1];
    let mut found = Vec::new();
    for candidate in 2..composite.len() {
        if !composite[candidate] {
            found.push(candidate as u64);
            (candidate * candidate..composite.len())
                .step_by(candidate)
                .for_each(|multiple| composite[multiple] = true);
        }
    }
    found
}

/// The body that the server must answer, written without its serialiser.
fn json(primes: &[u64]) -> Vec<u8> {
    let numbers: Vec<String> = primes.iter().map(u64::to_string).collect();
    format!("{{\"primes\":[{}]}}", numbers.join(",")).into_bytes()
}

/// A child of this program. It is killed when dropped.
struct Part {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Part {
    fn start(role: &str) -> Result<Part> {
        let program = env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
        let mut command = Command::new(program);
        command.arg(role).env_remove("TXLOOP_LOG");
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|e| format!("cannot start the child {role}: {e}"))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => {
                Ok(Part { child, input, output: BufReader::new(output) })
            }
            _ => Err(format!("the child {role} has no pipes")),
        }
    }

    /// The next line that the child says, without its end.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => Err("a child ended early".to_owned()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(e) => Err(format!("cannot read from a child: {e}")),
        }
    }

    /// The processor time in ns that all threads of the child have used, user and system.
    fn cpu_ns(&self) -> Result<u64> {
        let process = format!("/proc/{}", self.child.id());
        let exact = || -> Option<u64> {
            let mut threads = fs::read_dir(format!("{process}/task")).ok()?;
            threads.try_fold(0, |sum, thread| {
                let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
                Some(sum + text.split_whitespace().next()?.parse::<u64>().ok()?)
            })
        };
        let in_ticks = || -> Option<u64> {
            let text = fs::read_to_string(format!("{process}/stat")).ok()?;
            // The second field is a name in parentheses, and may hold some itself.
            let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
            let mut ticks = || fields.next()?.parse::<u64>().ok();
            Some((ticks()? + ticks()?) * TICK_NS)
        };
        exact()
            .or_else(in_ticks)
            .ok_or_else(|| format!("cannot read the processor time of a child from {process}"))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to be done.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of the server with its connection.
struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    fn connect(address: &str) -> Result<Client> {
        let stream = TcpStream::connect(address).and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(SILENCE))?;
            Ok(stream)
        });
        let stream = stream.map_err(|e| format!("cannot connect to {address}: {e}"))?;
        Ok(Client { stream, received: Vec::new() })
    }

    /// Asks for the primes up to [`N`] and checks the answer.
    fn ask(&mut self, expected: &[u8]) -> Result<()> {
        let request = format!("GET /{N} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let sent = self.stream.write_all(request.as_bytes());
        sent.map_err(|e| format!("cannot send a request: {e}"))?;
        self.received.clear();
        loop {
            let mut portion = [0; 16 * 1024];
            match self.stream.read(&mut portion) {
                Ok(0) => return Err("the server closed a connection".to_owned()),
                Ok(length) => self.received.extend_from_slice(&portion[..length]),
                Err(e) => return Err(format!("no answer from the server: {e}")),
            }
            if self.is_complete(expected)? {
                return Ok(());
            }
        }
    }

    /// Whether the whole answer is here; an error if it is not the expected one.
    fn is_complete(&self, expected: &[u8]) -> Result<bool> {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut answer = httparse::Response::new(&mut fields);
        let parsed = answer.parse(&self.received).map_err(|e| format!("bad answer: {e}"))?;
        let httparse::Status::Complete(head) = parsed else { return Ok(false) };
        let field = |f: &&httparse::Header<'_>| f.name.eq_ignore_ascii_case("content-length");
        let length = answer.headers.iter().find(field).map(|field| field.value);
        if answer.code != Some(200) || length != Some(expected.len().to_string().as_bytes()) {
            let head = String::from_utf8_lossy(&self.received[..head]);
            return Err(format!("wrong answer to GET /{N}: {:?}", head.trim_end()));
        }
        match &self.received[head..] {
            body if body.len() < expected.len() => Ok(false),
            body if body == expected => Ok(true),
            _ => Err(format!("the answer to GET /{N} is not the list of primes")),
        }
    }
}

/// What one call or request cost in every round, in ns of processor time.
#[derive(Default)]
struct Costs {
    function: Vec<f64>,
    with_json: Vec<f64>,
    server: Vec<f64>,
}

/// Takes turns between function, function with JSON, and server.
fn measure(rounds: usize, length: Duration) -> Result<Costs> {
    let mut calls = Part::start(LOOP)?;
    let mut server = Part::start(SERVER)?;
    let address = server.line()?;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::connect(&address)?);
    }
    let expected = json(&sieve(N));
    let mut costs = Costs::default();
    for round in 0..=rounds {
        // Round 0 warms up.
        let length = if round == 0 { length / 5 } else { length };
        let function = in_loop(&mut calls, "function", length)?;
        let answered = in_server(&server, &mut clients, &expected, length)?;
        let with_json = in_loop(&mut calls, "json", length)?;
        if round > 0 {
            costs.function.push(function);
            costs.server.push(answered);
            costs.with_json.push(with_json);
        }
    }
    Ok(costs)
}

/// Processor time in ns for one call in the loop.
fn in_loop(calls: &mut Part, what: &str, length: Duration) -> Result<f64> {
    let before = calls.cpu_ns()?;
    writeln!(calls.input, "{what} {}", length.as_millis())
        .map_err(|e| format!("cannot tell the loop what to do: {e}"))?;
    let line = calls.line()?;
    let count: u32 = line.parse().map_err(|e| format!("the loop said {line:?}: {e}"))?;
    Ok((calls.cpu_ns()? - before) as f64 / f64::from(count))
}

/// Processor time of the server in ns for one request.
fn in_server(
    server: &Part,
    clients: &mut [Client],
    expected: &[u8],
    length: Duration,
) -> Result<f64> {
    let before = server.cpu_ns()?;
    let end = now() + length;
    let count = thread::scope(|scope| {
        let start = |client| scope.spawn(move || ask_until(client, expected, end));
        let running: Vec<_> = clients.iter_mut().map(start).collect();
        let mut sum = 0;
        for client in running {
            sum += client.join().map_err(|_| "a client panicked".to_owned())??;
        }
        Ok::<u32, String>(sum)
    })?;
    Ok((server.cpu_ns()? - before) as f64 / f64::from(count))
}

/// Asks again and again, at least once. How often.
fn ask_until(client: &mut Client, expected: &[u8], end: Instant) -> Result<u32> {
    let mut count = 0;
    while count == 0 || now() < end {
        client.ask(expected)?;
        count += 1;
    }
    Ok(count)
}

#[expect(clippy::disallowed_methods, reason = "a client outside the library measures real time")]
fn now() -> Instant {
    Instant::now()
}

/// Median, least and greatest.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    };
    [median, values[0], values[values.len() - 1]]
}

/// Prints the table; ratios are those within a round.
fn report(costs: &Costs, length: Duration) {
    if length.is_zero() {
        println!("primes_overhead: answers checked, nothing measured (cargo bench does)");
        return;
    }
    println!(
        "primes({N}), server with 1 thread and {CONNECTIONS} connections, rounds: {} of {length:?}",
        costs.function.len()
    );
    println!("                     cpu us: median      min      max   ratio: median    min    max");
    let lines = [
        ("function alone", &costs.function),
        ("function and JSON", &costs.with_json),
        ("server, per request", &costs.server),
    ];
    for (name, ns) in lines {
        let [median, min, max] = spread(ns.iter().map(|ns| ns / 1e3).collect());
        print!("{name:<20}{median:>15.1}{min:>9.1}{max:>9.1}");
        let [median, min, max] = spread(ratios(ns, &costs.function));
        println!("{median:>17.4} {min:.4} {max:.4}");
    }
    let [server, ..] = spread(ratios(&costs.server, &costs.function));
    let [beside_json, min, max] = spread(ratios(&costs.server, &costs.with_json));
    println!("server / function and JSON: {beside_json:.4} ({min:.4} to {max:.4})");
    let word = if server <= BAR { "within" } else { "above" };
    println!("server / function alone: {server:.4}, {word} the bar of {BAR:.2}");
}

/// The ratio in every round.
fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).collect()
}
