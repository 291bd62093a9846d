//! The closed loop: one thread per connection, which asks again as soon as it has its answer.
//!
//! Every connection is open before the clock starts; nothing else is warmed up, so the first second
//! counts like any other. When the time is over no request is sent any more, and the answers still
//! outstanding are awaited and counted.

use std::{
    io::IsTerminal,
    sync::{
        Arc, Barrier, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    answer::Answer,
    client::Client,
    cpu,
    options::Options,
    tally::Tally,
    wrong::{Fate, Wrong},
};

/// Stack of a connection's thread: enough for a JSON value, small enough for 10,000 of them.
const STACK: usize = 256 * 1024;

/// Pause after a failed attempt to connect, so that a dead server is not hammered.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// What one connection asks for, and how it checks the answers.
pub(crate) trait Script: Send + 'static {
    /// Makes one request; an error is counted and does not end the run.
    fn step(&mut self, session: &mut Session) -> Result<(), Wrong>;

    /// Takes note that the last request got no answer, so that its effect is unknown.
    fn lost(&mut self) {}
}

/// One connection during the run.
#[derive(Debug)]
pub(crate) struct Session {
    /// The connection.
    client: Client,
    /// What it counted.
    pub(crate) tally: Tally,
    /// What all connections share.
    shared: Arc<Shared>,
}

/// What all connections share. The counters order nothing but `newest`.
#[derive(Debug)]
struct Shared {
    /// Holds all connections back until the last is ready.
    gate: Barrier,
    /// When the clock started.
    start: OnceLock<Instant>,
    /// The highest version that any answer has carried.
    newest: AtomicU64,
    /// Answers so far, for the progress line.
    answered: AtomicU64,
    /// Errors so far, for the progress line.
    errors: AtomicU64,
}

/// What came out of a run.
#[derive(Debug)]
pub(crate) struct Run<S> {
    /// All counts.
    pub(crate) tally: Tally,
    /// From the start of the clock to the last answer.
    pub(crate) elapsed: Duration,
    /// Server CPU used meanwhile, if a process was named.
    pub(crate) cpu: Option<Duration>,
    /// The scripts with what they remember, in no order.
    pub(crate) scripts: Vec<S>,
}

impl Session {
    /// Makes a request of the run: measures it, counts it and checks its version.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> Result<&Answer, Wrong> {
        // Acquire, with the release below: an answer seen by any thread before this line was
        // received before this request is sent, so this answer cannot have a lower version.
        let floor = self.shared.newest.load(Ordering::Acquire);
        let begun = now();
        let answer = self.client.ask(method, path, body)?;
        let ended = now();
        self.tally.answered(ended - begun, ended);
        // Relaxed: the progress line needs no order.
        self.shared.answered.fetch_add(1, Ordering::Relaxed);
        if let Some(text) = &answer.version {
            match text.parse::<u64>() {
                Ok(version) if version >= floor => {
                    // Most versions are old news on arrival; a load spares the line its writers.
                    if version > self.shared.newest.load(Ordering::Relaxed) {
                        self.shared.newest.fetch_max(version, Ordering::AcqRel);
                    }
                }
                Ok(version) => {
                    let kind = "version below that of an earlier answer";
                    let text = format!("version {version} after version {floor} was received");
                    self.tally.wrong(Wrong::answered(kind, text));
                    self.shared.errors.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => {
                    self.tally.wrong(Wrong::answered("version that is no number", text));
                    self.shared.errors.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(answer)
    }

    /// Runs a script until the time is over.
    fn follow(&mut self, script: &mut impl Script, length: Duration) {
        self.shared.gate.wait();
        let deadline = *self.shared.start.get_or_init(now) + length;
        while now() < deadline {
            let Err(wrong) = script.step(self) else { continue };
            self.shared.errors.fetch_add(1, Ordering::Relaxed);
            match wrong.fate {
                Fate::Unsent => thread::sleep(RECONNECT_PAUSE),
                Fate::Lost => script.lost(),
                Fate::Answered => {}
            }
            self.tally.wrong(wrong.after(&self.client.asked()));
        }
    }
}

/// Runs all scripts at once, each on a connection of its own.
pub(crate) fn drive<S: Script>(options: &Options, scripts: Vec<S>) -> Result<Run<S>, String> {
    let count = scripts.len();
    cpu::check_open_files(count)?;
    let shared = Arc::new(Shared {
        gate: Barrier::new(count + 1),
        start: OnceLock::new(),
        newest: AtomicU64::new(0),
        answered: AtomicU64::new(0),
        errors: AtomicU64::new(0),
    });
    let (sender, receiver) = mpsc::channel();
    for mut script in scripts {
        let client = Client::connect(&options.url).map_err(|wrong| wrong.example)?;
        let mut session = Session { client, tally: Tally::default(), shared: Arc::clone(&shared) };
        let (sender, length) = (sender.clone(), options.length);
        thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || {
                session.follow(&mut script, length);
                // Nobody listens only when the whole run has failed already.
                let _ = sender.send((script, session.tally));
            })
            .map_err(|error| format!("cannot start a thread per connection: {error}"))?;
    }
    drop(sender);
    let before = options.pid.map(cpu::used).transpose()?;
    shared.gate.wait();
    let start = *shared.start.get_or_init(now);

    let mut run =
        Run { tally: Tally::default(), elapsed: Duration::ZERO, cpu: None, scripts: vec![] };
    let mut progress = Progress::new(&shared, start);
    while run.scripts.len() < count {
        match receiver.recv_timeout(progress.until_next()) {
            Ok((script, tally)) => {
                run.tally.merge(tally);
                run.scripts.push(script);
            }
            Err(RecvTimeoutError::Timeout) => progress.show(),
            Err(RecvTimeoutError::Disconnected) => {
                return Err("the thread of a connection panicked".to_owned());
            }
        }
    }
    run.elapsed = run.tally.ended.map_or(Duration::ZERO, |ended| ended - start);
    if let (Some(pid), Some(before)) = (options.pid, before) {
        match cpu::used(pid) {
            Ok(after) => run.cpu = Some(after.saturating_sub(before)),
            // The counts of the run are worth more than an early end.
            Err(text) => run.tally.wrong(Wrong::answered("server process", text)),
        }
    }
    Ok(run)
}

/// The line per second on a terminal.
struct Progress<'a> {
    /// The counts to show.
    shared: &'a Shared,
    /// Whether standard error is a terminal.
    terminal: bool,
    /// When the next line is due.
    next: Instant,
    /// Lines so far.
    seconds: u64,
    /// Answers at the last line.
    answered: u64,
}

impl Progress<'_> {
    /// Progress of a run that started at `start`.
    fn new(shared: &Shared, start: Instant) -> Progress<'_> {
        let next = start + Duration::from_secs(1);
        let terminal = std::io::stderr().is_terminal();
        Progress { shared, terminal, next, seconds: 0, answered: 0 }
    }

    /// Time until the next line.
    fn until_next(&self) -> Duration {
        self.next.saturating_duration_since(now())
    }

    /// Prints a line, if there is someone to read it.
    fn show(&mut self) {
        self.next += Duration::from_secs(1);
        self.seconds += 1;
        let answered = self.shared.answered.load(Ordering::Relaxed);
        if self.terminal {
            let errors = self.shared.errors.load(Ordering::Relaxed);
            let latest = answered - self.answered;
            eprintln!("{:4} s  {latest:8} requests/s  {errors} errors", self.seconds);
        }
        self.answered = answered;
    }
}

/// The clock.
#[expect(clippy::disallowed_methods, reason = "a client outside the library measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
