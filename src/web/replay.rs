//! Replaying a recording: the routes of an application on the recorded tickets, without sockets.

use super::{
    call::find,
    matching::MAX_DIFFERENCES,
    rerun::{Rerun, unrouted},
    router::Router,
};
use crate::error::{Error, ErrorKind, Result};
use crate::executor::{Executor, Order};
use crate::http::Message;
use crate::recording::{Entry, Header, Reader};
use crate::transaction::{Transaction, outbox::Callback};
use bytes::Bytes;
use std::{
    collections::HashSet,
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// More tickets in a row that are not in the recording are taken for damage.
const MAX_GAP: u64 = 1 << 30;

type OnTicket = Box<dyn FnMut(u64, &str)>;
type Foreign = Box<dyn FnMut(u64) -> Option<Callback>>;

/// A recording about to be replayed, made by [`App::replay`](crate::App::replay).
///
/// The handlers get the recorded requests under the recorded tickets, at the recorded times, with
/// the recorded secret, so in [`Order::Arrival`] they answer what was answered, whatever the number
/// of threads; where they do not, [`Replayed::differences`] says so. The cells that they use have
/// to be what they were when the recording began: build a fresh application for each replay.
#[must_use = "nothing is replayed before `run`"]
pub struct Replay {
    router: Router,
    path: PathBuf,
    header: Header,
    survey: Survey,
    threads: usize,
    /// What was said with [`App::look_twice`](crate::App::look_twice).
    look_twice: Option<bool>,
    until: u64,
    effects: bool,
    on_ticket: Option<OnTicket>,
    foreign: Option<Foreign>,
}

/// What has to be known of a recording before it is replayed.
#[derive(Debug, Default)]
struct Survey {
    taken_back: HashSet<u64>,
    unknown_commits: u64,
    note: Option<String>,
}

/// What a replay has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// Requests that were run.
    pub requests: u64,
    /// Callbacks and timers that were run.
    pub callbacks: u64,
    /// Answers that were compared with the recorded ones.
    pub answers_compared: u64,
    /// Answers that were not, because a read-only handler waited in
    /// [`Snapshot::retry`](crate::Snapshot::retry): its place in the order is not recorded.
    pub not_compared: u64,
    /// Requests that were run and whose end is not in the recording, or comes after
    /// [`Replay::until`]: they were under way, or waited.
    pub unanswered: u64,
    /// Tickets that were left out because nothing of them remained: their clients had gone, or
    /// their deadlines had passed.
    pub taken_back: u64,
    /// Tickets that were left out because they came from other threads, and what followed from
    /// them. See [`Replay::foreign`].
    pub foreign: u64,
    /// The first of them: from here on nothing is promised.
    pub first_foreign: Option<u64>,
    /// Commits of the recorded process that belong to no ticket of the recording: something else
    /// than handlers wrote cells. If handlers read them, their answers may differ.
    pub unknown_commits: u64,
    /// The last ticket that was run or left out.
    pub last_ticket: u64,
    /// How many answers and callbacks differ.
    pub different: u64,
    /// The first of them, by ticket: at most 100.
    pub differences: Vec<Difference>,
    /// Why the recording is not whole, if it is not: then all up to there was replayed.
    pub incomplete: Option<String>,
}

/// Where a replay differs from its recording.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The ticket.
    pub ticket: u64,
    /// Method and target of the request, or whose callback it was.
    pub what: String,
    /// The recorded answer.
    pub expected: String,
    /// The answer of the replay.
    pub found: String,
    /// The first byte of the body that differs, from 0, if it is among those that were recorded.
    pub at: Option<u64>,
}

impl Replay {
    /// Reads the recording once, to see what it holds.
    pub(super) fn open(router: Router, look_twice: Option<bool>, path: PathBuf) -> Result<Self> {
        let mut reader = Reader::open_file(&path)?;
        let (mut survey, mut versions) = (Survey::default(), Vec::new());
        while let Some(entry) = reader.next()? {
            match entry {
                Entry::TakenBack { ticket } => {
                    survey.taken_back.insert(ticket);
                }
                Entry::Answer { version, .. } | Entry::Done { version, .. } => {
                    versions.push(version);
                }
                _ => {}
            }
        }
        survey.note = reader.note().map(str::to_owned);
        survey.unknown_commits = missing(versions);
        let header = reader.header().clone();
        let (threads, until, effects) = (1, u64::MAX, false);
        let (on_ticket, foreign) = (None, None);
        Ok(Self {
            router,
            path,
            header,
            survey,
            threads,
            look_twice,
            until,
            effects,
            on_ticket,
            foreign,
        })
    }

    /// The program that wrote the recording, as it called itself: see
    /// [`App::program`](crate::App::program).
    #[must_use]
    pub fn program(&self) -> &str {
        &self.header.program
    }

    /// When the recording began.
    #[must_use]
    pub fn began(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.header.wall_ns)
    }

    /// How many handlers run at once; 1 by default. The outcome is the same.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Stops behind this ticket: cells are then as they were when it had had its turn.
    pub fn until(mut self, ticket: u64) -> Self {
        self.until = ticket;
        self
    }

    /// Has `f` called before each ticket, with its number and what it is, when all earlier ones
    /// have ended or wait in `retry`: a place for a breakpoint, or a look at the cells.
    ///
    /// The tickets are then run one at a time, which takes longer.
    pub fn on_ticket(mut self, f: impl FnMut(u64, &str) + 'static) -> Self {
        self.on_ticket = Some(Box::new(f));
        self
    }

    /// Supplies the callbacks that no handler asked for: those given to
    /// [`Loop::add_callback`](crate::Loop::add_callback), [`Handle::call_soon_threadsafe`] and the
    /// like. They are not in the recording, only their tickets. `f` gets their number, from 0, in
    /// the order of their tickets; for `None` one is left out.
    ///
    /// [`Handle::call_soon_threadsafe`]: crate::Handle::call_soon_threadsafe
    pub fn foreign(
        mut self,
        mut f: impl FnMut(u64) -> Option<Box<dyn Fn(&Transaction) + Send + Sync>> + 'static,
    ) -> Self {
        self.foreign = Some(Box::new(move |number| f(number).map(Callback::from)));
        self
    }

    /// Whether what handlers give to [`Transaction::on_commit`] is called; not by default: mails
    /// were sent already.
    pub fn effects(mut self, on: bool) -> Self {
        self.effects = on;
        self
    }

    /// Replays, and compares every answer with the recorded one.
    ///
    /// # Errors
    /// When the number of threads is out of range, the system gives no threads, or the recording
    /// cannot be read. Where it is damaged, or was stopped, what comes before is replayed: see
    /// [`Replayed::incomplete`].
    ///
    /// # Panics
    /// If `on_ticket` or `foreign` do.
    pub fn run(self) -> Result<Replayed> {
        let builder =
            Executor::builder().threads(self.threads).order(Order::Arrival).seed(self.header.seed);
        let executor = match self.look_twice {
            Some(on) => builder.look_twice(on).build()?,
            None => builder.build()?,
        };
        let reader = Reader::open_file(&self.path)?;
        let rerun = Rerun::new(executor, self.effects);
        let (unknown_commits, incomplete) = (self.survey.unknown_commits, self.survey.note.clone());
        let replayed = Replayed { unknown_commits, incomplete, ..Replayed::default() };
        let (foreigners, orphans) = (0, HashSet::new());
        Run { replay: self, rerun, replayed, foreigners, orphans }.run(reader)
    }
}

/// How many of the numbers between the first and the last are not there.
fn missing(mut versions: Vec<u64>) -> u64 {
    versions.sort_unstable();
    versions.dedup();
    match (versions.first(), versions.last()) {
        (Some(first), Some(last)) => last - first - (versions.len() as u64 - 1),
        _ => 0,
    }
}

/// A replay under way.
struct Run {
    replay: Replay,
    rerun: Rerun,
    replayed: Replayed,
    /// How many callbacks have come that no handler asked for.
    foreigners: u64,
    /// Tickets that were left out although something of them remained: whatever they asked for
    /// cannot be made again either.
    orphans: HashSet<u64>,
}

impl Run {
    fn run<R: std::io::Read>(mut self, mut reader: Reader<R>) -> Result<Replayed> {
        let until = self.replay.until;
        let (mut answers, mut own) = (0, true);
        while let Some(entry) = reader.next()? {
            match entry {
                Entry::Request { ticket, now_ns, head, body } if ticket <= until => {
                    self.skip_to(ticket)?;
                    self.request(ticket, now_ns, &head, body)?;
                }
                Entry::Callback { ticket, now_ns, parent, index } if ticket <= until => {
                    self.skip_to(ticket)?;
                    self.callback(ticket, now_ns, parent, index);
                }
                Entry::Foreign { ticket, now_ns } if ticket <= until => {
                    self.skip_to(ticket)?;
                    self.foreign(ticket, now_ns);
                }
                Entry::Answer { ticket, waited, answer, .. } if ticket <= until => {
                    answers += 1;
                    self.rerun.matching(|matching| matching.expect(ticket, answer, waited, own));
                }
                Entry::Request { .. } | Entry::Callback { .. } | Entry::Foreign { .. } => {
                    own = false
                }
                _ => {}
            }
        }
        self.rerun.rest();
        self.rerun.end();
        let mut replayed = std::mem::take(&mut self.replayed);
        replayed.unanswered = replayed.requests.saturating_sub(answers);
        self.rerun.matching(|matching| {
            replayed.unanswered += matching.unanswered;
            replayed.answers_compared = matching.compared;
            replayed.not_compared = matching.not_compared;
            replayed.different = matching.different;
            replayed.differences =
                std::mem::take(&mut matching.differences).into_values().collect();
        });
        debug_assert!(replayed.differences.len() <= MAX_DIFFERENCES);
        Ok(replayed)
    }

    /// Leaves out the tickets that were never recorded: closures given to the executor by hand.
    fn skip_to(&mut self, ticket: u64) -> Result<()> {
        let next = self.replayed.last_ticket + 1;
        if ticket < next || ticket - next > MAX_GAP {
            let path = self.replay.path.display();
            let text = format!("recording {path}: ticket {ticket} where {next} was expected");
            return Err(Error::new(ErrorKind::Recording, text));
        }
        for missing in next..ticket {
            self.leave_out(missing, 0);
        }
        self.replayed.last_ticket = ticket;
        Ok(())
    }

    /// Leaves out a ticket of which something may have remained.
    fn leave_out(&mut self, ticket: u64, now_ns: u64) {
        self.replayed.foreign += 1;
        self.replayed.first_foreign.get_or_insert(ticket);
        self.orphans.insert(ticket);
        self.rerun.leave_out(now_ns);
    }

    fn announce(&mut self, ticket: u64, what: &str) {
        if let Some(on_ticket) = &mut self.replay.on_ticket {
            self.rerun.rest();
            on_ticket(ticket, what);
        }
    }

    fn request(&mut self, ticket: u64, now_ns: u64, head: &Bytes, body: Bytes) -> Result<()> {
        if self.replay.survey.taken_back.contains(&ticket) {
            self.replayed.taken_back += 1;
            self.rerun.leave_out(now_ns);
            return Ok(());
        }
        let Some(message) = Message::again(head, body) else {
            let path = self.replay.path.display();
            let text = format!("recording {path}: the head of ticket {ticket} is malformed");
            return Err(Error::new(ErrorKind::Recording, text));
        };
        let what: Arc<str> = format!("{} {}", message.method(), message.target()).into();
        self.announce(ticket, &what);
        self.replayed.requests += 1;
        match find(&self.replay.router, message) {
            Ok(call) => self.rerun.call(ticket, now_ns, what, call),
            Err(response) => {
                unrouted(&self.rerun, ticket, what, &response);
                self.rerun.leave_out(now_ns);
            }
        }
        Ok(())
    }

    fn callback(&mut self, ticket: u64, now_ns: u64, parent: u64, index: u32) {
        if self.orphans.contains(&parent) {
            self.leave_out(ticket, now_ns);
            return;
        }
        let what: Arc<str> = format!("callback {index} of ticket {parent}").into();
        match self.rerun.asked(parent, index) {
            Some(callback) => {
                self.announce(ticket, &what);
                self.replayed.callbacks += 1;
                self.rerun.callback(ticket, now_ns, &what, callback);
            }
            None => {
                let difference = Difference {
                    ticket,
                    what: what.to_string(),
                    expected: "asked for".to_owned(),
                    found: "not asked for".to_owned(),
                    at: None,
                };
                self.rerun.matching(|matching| matching.differ(ticket, difference));
                self.orphans.insert(ticket);
                self.rerun.leave_out(now_ns);
            }
        }
    }

    fn foreign(&mut self, ticket: u64, now_ns: u64) {
        let number = self.foreigners;
        self.foreigners += 1;
        let supplied = self.replay.foreign.as_mut().and_then(|foreign| foreign(number));
        match supplied {
            Some(callback) => {
                let what: Arc<str> = format!("foreign callback {number}").into();
                self.announce(ticket, &what);
                self.replayed.callbacks += 1;
                self.rerun.callback(ticket, now_ns, &what, callback);
            }
            None => self.leave_out(ticket, now_ns),
        }
    }
}

impl Replayed {
    /// Whether no answer and no callback differs. What was not compared is counted in the fields.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.different == 0
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ticket, what, expected, found, .. } = self;
        write!(f, "ticket {ticket}, {what}\n  recorded: {expected}\n  replayed: {found}")
    }
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "replayed {} requests and {} callbacks, up to ticket {}: {} answers compared, \
             {} differ",
            self.requests, self.callbacks, self.last_ticket, self.answers_compared, self.different
        )?;
        let counts = [
            (self.not_compared, "answers not compared: read-only handlers that waited"),
            (self.unanswered, "requests whose end is not in the recording, or later"),
            (self.taken_back, "tickets left out: they were taken back"),
            (self.foreign, "tickets left out: they came from other threads, or from such ones"),
            (self.unknown_commits, "commits of the recorded process that no ticket made"),
        ];
        for (count, text) in counts.into_iter().filter(|(count, _)| *count != 0) {
            writeln!(f, "  {count} {text}")?;
        }
        if let Some(ticket) = self.first_foreign {
            writeln!(f, "  nothing is promised from ticket {ticket} on")?;
        }
        if let Some(why) = &self.incomplete {
            writeln!(f, "  not whole: {why}")?;
        }
        for difference in &self.differences {
            writeln!(f, "{difference}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("path", &self.path).finish_non_exhaustive()
    }
}
