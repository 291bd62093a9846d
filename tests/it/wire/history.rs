//! Runs many clients, records what they saw, and looks for one order that explains it all.

use super::client::{Client, Server, ends, request};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::Debug,
    net::SocketAddr,
    panic::resume_unwind,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

/// Threads of clients in a run.
const THREADS: usize = 4;
/// Connections of each, on which it may wait for as many answers at once.
const WIDTH: usize = 8;
/// Requests of each thread.
const REQUESTS: usize = 1_600;

/// What a stamp is taken from. Stamps order events of all threads: `SeqCst` makes a stamp that was
/// taken after another one, by whatever chain of events over the server, the greater.
static CLOCK: AtomicU64 = AtomicU64::new(0);

fn stamp() -> u64 {
    CLOCK.fetch_add(1, Ordering::SeqCst)
}

/// Numbers that look random and are the same for the same seed (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64, stream: usize) -> Self {
        let mut random = Self(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ stream as u64);
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 up to below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// The seed of a run: the given one, or what `WIRE_SEED` says.
pub(super) fn seed(usual: u64) -> u64 {
    let chosen = std::env::var("WIRE_SEED").ok();
    chosen.map_or(usual, |text| text.parse().expect("WIRE_SEED is a number"))
}

/// A request as it is sent.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) body: String,
}

impl Message {
    pub(super) fn new(method: &'static str, target: impl Into<String>, body: String) -> Self {
        Self { method, target: target.into(), body }
    }
}

/// What the server answered.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) status: u16,
    /// What Content-Length says, which for HEAD is not that of `text`.
    pub(super) length: usize,
    pub(super) text: String,
    pub(super) body: Value,
}

impl Told {
    /// Compares the answer with the only right one.
    pub(super) fn must_be(&self, status: u16, body: &Value) -> Result<(), String> {
        if self.status == status && self.body == *body {
            Ok(())
        } else {
            Err(format!("{status} {body}"))
        }
    }

    /// Compares the answer with an error, whose text the interface does not tell.
    pub(super) fn must_fail(&self, status: u16) -> Result<(), String> {
        if self.status == status { Ok(()) } else { Err(format!("{status} and some error")) }
    }
}

/// A server as a plain sequential program.
pub(super) trait Model {
    type Ask: Debug + Send;
    /// The example that does the same.
    const EXAMPLE: &'static str;
    /// What every run has to show at least once, so that it proves something: kind, status, and
    /// for a 409 the error.
    const OUTCOMES: &'static [&'static str];

    /// A random request.
    fn choose(random: &mut Random) -> Self::Ask;
    /// What is asked after all others have been answered.
    fn at_the_end() -> Vec<Self::Ask>;
    fn kind(ask: &Self::Ask) -> &'static str;
    fn message(ask: &Self::Ask) -> Message;
    /// Whether this answer says that the request changed the state.
    fn changes(ask: &Self::Ask, told: &Told) -> bool;
    /// Does what was asked. An error is what the answer should have been.
    fn judge(&mut self, ask: &Self::Ask, told: &Told) -> Result<(), String>;
}

/// A request, its answer, and when both happened.
#[derive(Debug)]
struct Exchange<A> {
    /// The thread, and the number of the request there.
    id: (usize, usize),
    start: u64,
    end: u64,
    version: u64,
    changed: bool,
    ask: A,
    told: Told,
}

impl<A> Exchange<A> {
    fn shown<M: Model<Ask = A>>(&self) -> String {
        let Message { method, target, body } = M::message(&self.ask);
        let Exchange { id: (thread, number), start, end, version, changed, told, .. } = self;
        let body: String = body.chars().take(200).collect();
        format!(
            "client {thread} request {number} [{start}..{end}]: {method} {target} {body}\n    \
             -> {} {} (txloop-version {version}, changed state: {changed})",
            told.status, told.text
        )
    }
}

/// How often a server is run with the same flags.
const RUNS: u64 = 5;

/// Runs the server with these flags and many clients, and checks all of their answers: a few times,
/// until every outcome that the model knows has been seen.
#[track_caller]
pub(super) fn check<M: Model + Clone>(flags: &[&str], model: &M, usual_seed: u64) {
    let (seed, mut seen) = (seed(usual_seed), BTreeMap::new());
    for run in 0..RUNS {
        let history = check_run(flags, model.clone(), seed + 1_000 * run);
        count_outcomes::<M>(&history, &mut seen);
        if M::OUTCOMES.iter().all(|outcome| seen.contains_key(*outcome)) {
            return;
        }
    }
    let (name, all) = (M::EXAMPLE, M::OUTCOMES);
    panic!("{name} {flags:?} with seed {seed}: seen {seen:#?}, not all of {all:#?}");
}

#[track_caller]
fn check_run<M: Model>(flags: &[&str], mut model: M, seed: u64) -> Vec<Exchange<M::Ask>> {
    let run = format!("{} {} with seed {seed}", M::EXAMPLE, flags.join(" "));
    let server = Server::start(M::EXAMPLE, flags);
    let mut history = drive::<M>(server.address(), seed, &run);
    let mut last = Client::connect(server.address());
    for (number, ask) in M::at_the_end().into_iter().enumerate() {
        history.push(Waiting::<M>::send(&mut last, (ask, (THREADS, number))).receive(&run));
    }
    server.stop();
    assert_real_time::<M>(&history, &run);
    // Of several answers with one version the one that changed state goes first.
    history.sort_by_key(|e| (e.version, !e.changed));
    replay(&mut model, &history, &run);
    history
}

/// The same in arrival order, recorded: then the recording is replayed by the same program, which
/// has to find no difference, on any number of threads.
#[track_caller]
pub(super) fn check_recorded<M: Model>(flags: &[&str], model: M, seed: u64) {
    let name = format!("txloop-{}-{}-{seed}.record", std::process::id(), M::EXAMPLE);
    let file = std::env::temp_dir().join(name);
    let file = file.to_str().expect("a path in UTF-8");
    let order = ["--order", "arrival", "--threads", "2", "--record", file];
    check_run(&[flags, &order].concat(), model, self::seed(seed));
    for threads in ["1", "2", "4"] {
        let replayed =
            ends(M::EXAMPLE, &[flags, &["--replay", file, "--threads", threads]].concat());
        let said = String::from_utf8_lossy(&replayed.stdout);
        assert_eq!(replayed.status.code(), Some(0), "on {threads}: {said}");
        // One line: nothing was left out, not compared, or done by anybody else.
        assert_eq!(said.lines().count(), 1, "on {threads}: {said}");
        assert!(said.starts_with("replayed ") && said.contains(", 0 differ"), "{said}");
    }
    std::fs::remove_file(file).expect("it was there");
}

fn drive<M: Model>(address: SocketAddr, seed: u64, run: &str) -> Vec<Exchange<M::Ask>> {
    let connect = |_| -> Vec<_> { (0..WIDTH).map(|_| Client::connect(address)).collect() };
    let connected: Vec<_> = (0..THREADS).map(connect).collect();
    thread::scope(|scope| {
        let started: Vec<_> = connected
            .into_iter()
            .enumerate()
            .map(|(i, mut clients)| {
                let mut random = Random::new(seed, i);
                scope.spawn(move || burst_by_burst::<M>(&mut clients, &mut random, i, run))
            })
            .collect();
        let joined = started.into_iter().map(|thread| thread.join());
        joined.flat_map(|end| end.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

/// Sends on one connection or on several at once, so that handlers overlap, and waits for all of
/// the answers.
fn burst_by_burst<M: Model>(
    clients: &mut [Client],
    random: &mut Random,
    thread: usize,
    run: &str,
) -> Vec<Exchange<M::Ask>> {
    let mut history = Vec::with_capacity(REQUESTS);
    while history.len() < REQUESTS {
        let width = random.pick(&[1, WIDTH / 2, WIDTH]).min(REQUESTS - history.len());
        let number = history.len();
        let asks: Vec<_> = (0..width).map(|i| (M::choose(random), (thread, number + i))).collect();
        let pairs = clients.iter_mut().zip(asks);
        let waiting: Vec<_> = pairs.map(|(client, ask)| Waiting::<M>::send(client, ask)).collect();
        history.extend(waiting.into_iter().map(|waiting| waiting.receive(run)));
    }
    history
}

/// A request that was sent.
struct Waiting<'a, M: Model> {
    on: &'a mut Client,
    ask: M::Ask,
    /// The thread, and the number of the request there.
    id: (usize, usize),
    message: Message,
    start: u64,
}

impl<'a, M: Model> Waiting<'a, M> {
    fn send(on: &'a mut Client, (ask, id): (M::Ask, (usize, usize))) -> Self {
        let message = M::message(&ask);
        let sent = request(message.method, &message.target, &message.body);
        let start = stamp();
        on.send(&sent);
        Self { on, ask, id, message, start }
    }

    /// Waits for the answer, which must be whole and carry a version.
    fn receive(self, run: &str) -> Exchange<M::Ask> {
        let Self { on, ask, id, message, start } = self;
        let received = on.receive(message.method == "HEAD");
        let end = stamp();
        let fail = |what: String| -> ! { panic!("{run}: {what}\nafter {id:?} {message:?}") };
        let answer = match received {
            Ok(Some(answer)) => answer,
            Ok(None) => fail("closed without an answer".to_owned()),
            Err(e) => fail(e),
        };
        let body = answer.json().unwrap_or_else(|e| fail(format!("{e}: {answer:?}")));
        let Some(version) = answer.version else { fail(format!("no txloop-version: {answer:?}")) };
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let told = Told { status: answer.status, length: answer.length, text, body };
        let changed = M::changes(&ask, &told);
        Exchange { id, start, end, version, changed, ask, told }
    }
}

/// For every pair where the first was answered before the second was sent: the first has no higher
/// version, and a lower one if the second changed state.
fn assert_real_time<M: Model>(history: &[Exchange<M::Ask>], run: &str) {
    let mut by_start: Vec<_> = history.iter().collect();
    let mut by_end = by_start.clone();
    by_start.sort_by_key(|e| e.start);
    by_end.sort_by_key(|e| e.end);
    let mut ended = by_end.into_iter().peekable();
    let mut newest: Option<&Exchange<M::Ask>> = None;
    for later in by_start {
        while let Some(earlier) = ended.next_if(|earlier| earlier.end < later.start) {
            newest = newest.filter(|e| e.version >= earlier.version).or(Some(earlier));
        }
        let Some(earlier) = newest else { continue };
        let in_order = if later.changed {
            earlier.version < later.version
        } else {
            earlier.version <= later.version
        };
        assert!(
            in_order,
            "{run}: versions contradict the order in time\n  earlier {}\n  later   {}",
            earlier.shown::<M>(),
            later.shown::<M>()
        );
    }
}

/// Puts the history, which is in order, to the model.
fn replay<M: Model>(model: &mut M, history: &[Exchange<M::Ask>], run: &str) {
    let mut writer: Option<&Exchange<M::Ask>> = None;
    for e in history {
        let before = writer.map_or("nothing".to_owned(), |w| w.shown::<M>());
        if e.changed {
            assert!(
                writer.is_none_or(|w| w.version < e.version),
                "{run}: two changes have one version\n  {before}\n  {}",
                e.shown::<M>()
            );
            writer = Some(e);
        }
        if let Err(right) = model.judge(&e.ask, &e.told) {
            panic!(
                "{run}: not the answer of a sequential program\n  {}\n  the model says: {right}\n  \
                 the change before: {before}",
                e.shown::<M>()
            );
        }
    }
}

fn count_outcomes<M: Model>(history: &[Exchange<M::Ask>], seen: &mut BTreeMap<String, usize>) {
    for e in history {
        let error = if e.told.status == 409 { e.told.body["error"].as_str() } else { None };
        let outcome = format!("{} {} {}", M::kind(&e.ask), e.told.status, error.unwrap_or(""));
        *seen.entry(outcome.trim_end().to_owned()).or_default() += 1;
    }
}
