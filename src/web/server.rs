//! Connections: from readiness to requests to jobs, from answers to bytes.
//!
//! A connection has at most one request under way, so its answers leave in order. Its life:
//!
//! | state | what ends it |
//! |---|---|
//! | idle, or a request arriving | the request is whole; a timeout; the peer leaves |
//! | request queued in the loop's next batch (`queued`) | the batch |
//! | request running or waiting for a worker (`in_flight`) | its answer comes in the post |
//! | closing: the last answer is being written | the last byte is written; a timeout |
//! | lingering: our side is shut, the peer's rest is read and forgotten | the peer closes; a timeout |
//!
//! Answers are collected in `out` while the next pipelined request is cheap enough to run in the
//! next turn, and written together.

use super::{
    call::{Call, find},
    connection::{Connection, InFlight, OUT_BYTES, Stage},
    response::Response,
    router::Router,
};
use crate::event_loop::{
    Mailbox, Service, Turn,
    reactor::{Listener, ReadEnd, Ready, WakeUp},
};
use crate::executor::job::{Ended, Handled, Job, Kind, Verdict};
use crate::http::{self as wire, Decoded, Limits};
use crate::recording::Entry;
use crate::sync::wall_clock;
use crate::transaction::{
    Snapshot, Transaction,
    cancel::{Cancel, Why},
    outbox::Home,
};
use ::http::{Method, StatusCode};
use crossbeam_queue::SegQueue;
use slab::Slab;
use std::{fmt, path::PathBuf, sync::Arc};

/// The most connections accepted in one turn.
const ACCEPT_AT_ONCE: usize = 128;
/// How long accepting pauses when the process is out of descriptors.
const ACCEPT_PAUSE_NS: u64 = 100_000_000;
/// How often the timeouts of connections are looked at.
const SWEEP_NS: u64 = 1_000_000_000;
/// The least time between two looks for requests that are past their deadline.
const LATE_NS: u64 = 1_000_000;

/// How an application is served.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) limits: Limits,
    pub(super) version_header: bool,
    pub(super) max_connections: usize,
    pub(super) log_is_set: bool,
    /// How long a handler may take to commit, waiting included.
    pub(super) deadline_ns: Option<u64>,
    /// The file of the recording.
    pub(super) record: Option<PathBuf>,
    /// The most bytes of the recording.
    pub(super) record_limit: u64,
    /// What the recording says about the program.
    pub(super) program: Option<String>,
}

impl Settings {
    /// How often to look for requests that are past the deadline, if there is one.
    fn late_after_ns(&self) -> Option<u64> {
        self.deadline_ns.map(|ns| (ns / 16).clamp(LATE_NS, SWEEP_NS))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            version_header: false,
            max_connections: 10_000,
            log_is_set: false,
            deadline_ns: None,
            record: None,
            record_limit: 4 << 30,
            program: None,
        }
    }
}

/// Where answers come in, from any thread.
struct Post {
    answers: SegQueue<Answer>,
    wake: Arc<WakeUp>,
}

struct Answer {
    key: usize,
    serial: u64,
    response: Response,
    version: u64,
}

/// The service of an application.
pub(super) struct Connections {
    listener: Option<Listener>,
    router: Router,
    settings: Settings,
    home: Arc<Mailbox>,
    post: Arc<Post>,
    connections: Slab<Connection>,
    serials: u64,
    /// Connections with something to be written, or a request in the last batch.
    dirty: Vec<usize>,
    /// The same while they are gone through, kept for its memory.
    settling: Vec<usize>,
    /// Connections that have more to read than one turn gave them.
    unread: Vec<usize>,
    /// Connections whose reading waits until a request has been answered.
    stalled: Vec<usize>,
    /// Connections with requests in their input that wait for nothing but their turn.
    held_back: Vec<usize>,
    /// More may wait to be accepted: not before this time.
    accept_at: Option<u64>,
    sweep_at: u64,
    draining: bool,
    date: (u64, String),
}

impl Connections {
    pub(super) fn new(
        listener: Listener,
        router: Router,
        settings: Settings,
        home: Arc<Mailbox>,
        wake: Arc<WakeUp>,
    ) -> Self {
        Self {
            listener: Some(listener),
            router,
            settings,
            home,
            post: Arc::new(Post { answers: SegQueue::new(), wake }),
            connections: Slab::new(),
            serials: 0,
            dirty: Vec::new(),
            settling: Vec::new(),
            unread: Vec::new(),
            stalled: Vec::new(),
            held_back: Vec::new(),
            accept_at: None,
            sweep_at: 0,
            draining: false,
            date: (u64::MAX, String::new()),
        }
    }

    fn accept(&mut self, turn: &mut Turn<'_>) {
        self.accept_at = None;
        for _ in 0..ACCEPT_AT_ONCE {
            if self.connections.len() >= self.settings.max_connections {
                // Looked at again when a connection closes.
                self.accept_at = Some(turn.now_ns + ACCEPT_PAUSE_NS);
                return;
            }
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok(None) => return,
                Ok(Some(mut stream)) => {
                    let entry = self.connections.vacant_entry();
                    if turn.reactor.register(&mut stream, entry.key()).is_ok() {
                        self.serials += 1;
                        let limits = self.settings.limits;
                        entry.insert(Connection::new(stream, self.serials, limits, turn.now_ns));
                    }
                }
                // Out of descriptors, most likely: no new edge will come for what waits.
                Err(_) => {
                    self.accept_at = Some(turn.now_ns + ACCEPT_PAUSE_NS);
                    return;
                }
            }
        }
        self.accept_at = Some(turn.now_ns);
    }

    fn readable(&mut self, key: usize, turn: &mut Turn<'_>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.is_full() {
            if !std::mem::replace(&mut connection.stalled, true) {
                self.stalled.push(key);
            }
            return;
        }
        match connection.read(turn.reactor, turn.now_ns) {
            ReadEnd::Empty | ReadEnd::Closed => {}
            ReadEnd::More => self.unread.push(key),
            ReadEnd::Failed => {
                self.close(key);
                return;
            }
        }
        self.advance(key, turn);
        self.settle(key, turn.now_ns);
    }

    /// Takes requests off the input until one has to run.
    fn advance(&mut self, key: usize, turn: &mut Turn<'_>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        while connection.may_take() {
            match connection.decode() {
                Decoded::NeedMore => return,
                Decoded::Continue => connection.out.extend_from_slice(wire::CONTINUE),
                Decoded::Refused(refusal) => {
                    let response = Response::error(refusal.status, refusal.reason);
                    let ask = InFlight::refused(turn.now_ns);
                    refresh(&mut self.date, turn.now_ns);
                    connection.write_answer(&ask, &response, None, &self.date.1);
                }
                Decoded::Request(message) => {
                    let ask = InFlight {
                        keep_alive: message.keep_alive() && !self.draining,
                        minor_version: message.minor_version(),
                        head_only: *message.method() == Method::HEAD,
                        since_ns: turn.now_ns,
                    };
                    match find(&self.router, message) {
                        Ok(call) => {
                            let job = RequestJob {
                                call,
                                home: Arc::clone(&self.home),
                                post: Arc::clone(&self.post),
                                key,
                                serial: connection.serial,
                                cancel: connection.next_cancel(self.draining),
                                ticket: 0,
                            };
                            connection.in_flight = Some(ask);
                            connection.queued = true;
                            if let Some(every) = self.settings.late_after_ns() {
                                self.sweep_at = self.sweep_at.min(turn.now_ns + every);
                            }
                            turn.batch.push_back(Box::new(job));
                            self.dirty.push(key);
                        }
                        Err(response) => {
                            refresh(&mut self.date, turn.now_ns);
                            connection.write_answer(&ask, &response, None, &self.date.1);
                        }
                    }
                }
            }
        }
    }

    fn take_answers(&mut self, turn: &mut Turn<'_>) {
        while let Some(answer) = self.post.answers.pop() {
            let Some(connection) = self.connections.get_mut(answer.key) else { continue };
            if connection.serial != answer.serial {
                continue;
            }
            let Some(mut ask) = connection.in_flight.take() else { continue };
            ask.keep_alive &= !self.draining;
            refresh(&mut self.date, turn.now_ns);
            let version = self.settings.version_header.then_some(answer.version);
            connection.write_answer(&ask, &answer.response, version, &self.date.1);
            connection.touch(turn.now_ns);
            if !connection.queued {
                self.dirty.push(answer.key);
            }
            self.advance(answer.key, turn);
        }
    }

    /// Writes what there is to write, and closes what is over.
    fn settle(&mut self, key: usize, now_ns: u64) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        // The answer to a request in the next batch will come soon: one write for both.
        if connection.queued && connection.unsent() < OUT_BYTES {
            return;
        }
        let failed = connection.flush(now_ns).is_err();
        let left = self.draining && connection.stage() == Stage::Idle;
        if failed || left || connection.is_over() {
            self.close(key);
        } else if connection.has_more() {
            // Requests that were held back by unsent answers, which are written now.
            self.held_back.push(key);
        }
    }

    fn close(&mut self, key: usize) {
        let connection = self.connections.remove(key);
        if connection.in_flight.is_some() {
            connection.cancel.cancel(Why::Cancelled);
        }
    }

    fn sweep(&mut self, now_ns: u64) {
        if now_ns < self.sweep_at {
            return;
        }
        self.sweep_at = now_ns + SWEEP_NS;
        if let (Some(limit), Some(every)) =
            (self.settings.deadline_ns, self.settings.late_after_ns())
        {
            for (_, connection) in &self.connections {
                let Some(ask) = connection.in_flight else { continue };
                self.sweep_at = now_ns + every;
                if now_ns - ask.since_ns > limit {
                    connection.cancel.cancel(Why::Late);
                }
            }
        }
        let late: Vec<usize> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.is_late(now_ns))
            .map(|(key, _)| key)
            .collect();
        for key in late {
            refresh(&mut self.date, now_ns);
            let Some(connection) = self.connections.get_mut(key) else { continue };
            // A request that has begun and does not end is told so; anything else just closes.
            if connection.stage() == Stage::Receiving {
                let response = Response::error(StatusCode::REQUEST_TIMEOUT, "request timeout");
                let ask = InFlight::refused(now_ns);
                connection.write_answer(&ask, &response, None, &self.date.1);
                self.settle(key, now_ns);
            } else {
                self.close(key);
            }
        }
    }
}

impl Service for Connections {
    fn ready(&mut self, ready: Ready, turn: &mut Turn<'_>) {
        match ready {
            Ready::Listener => self.accept(turn),
            Ready::Stream { token, broken: true, .. } => {
                if self.connections.contains(token) {
                    self.close(token);
                }
            }
            Ready::Stream { token, readable, writable, closed, broken: false } => {
                if closed && let Some(connection) = self.connections.get_mut(token) {
                    connection.peer_leaves();
                }
                if writable && self.connections.get(token).is_some_and(|c| c.unsent() > 0) {
                    self.settle(token, turn.now_ns);
                    // Room again: what was held back goes on.
                    self.advance(token, turn);
                    self.settle(token, turn.now_ns);
                }
                if readable {
                    self.readable(token, turn);
                }
            }
            Ready::Signal => {}
        }
    }

    fn after_batch(&mut self, turn: &mut Turn<'_>) {
        let mut settling = std::mem::take(&mut self.settling);
        settling.append(&mut self.dirty);
        for &key in &settling {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.queued = false;
            }
        }
        // Those with a request in the next batch are noted again.
        self.take_answers(turn);
        settling.extend_from_slice(&self.dirty);
        for key in settling.drain(..) {
            self.settle(key, turn.now_ns);
        }
        self.settling = settling;
        self.dirty.retain(|&key| self.connections.get(key).is_some_and(|c| c.queued));
        for key in std::mem::take(&mut self.unread) {
            self.readable(key, turn);
        }
        for key in std::mem::take(&mut self.stalled) {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.stalled = false;
                self.readable(key, turn);
            }
        }
        for key in std::mem::take(&mut self.held_back) {
            self.advance(key, turn);
            self.settle(key, turn.now_ns);
        }
        if self.accept_at.is_some_and(|at| at <= turn.now_ns) {
            self.accept(turn);
        }
        self.sweep(turn.now_ns);
    }

    fn has_mail(&self) -> bool {
        !self.post.answers.is_empty()
    }

    fn deadline_ns(&self) -> Option<u64> {
        let unread = (!self.unread.is_empty() || !self.held_back.is_empty()).then_some(0);
        let sweep = (!self.connections.is_empty()).then_some(self.sweep_at);
        [unread, sweep, self.accept_at].into_iter().flatten().min()
    }

    fn drain(&mut self, turn: &mut Turn<'_>) {
        self.draining = true;
        for (_, connection) in self.connections.iter().filter(|(_, c)| c.in_flight.is_some()) {
            // A parked one would wait for requests that do not come any more.
            connection.cancel.unheard();
        }
        self.accept_at = None;
        if let Some(listener) = self.listener.take() {
            turn.reactor.close(listener);
        }
        let idle: Vec<usize> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.stage() == Stage::Idle)
            .map(|(key, _)| key)
            .collect();
        for key in idle {
            self.close(key);
        }
    }

    fn is_drained(&self) -> bool {
        self.connections.is_empty()
    }
}

/// Renews the text of the Date header once a second.
fn refresh(date: &mut (u64, String), now_ns: u64) {
    let second = now_ns / 1_000_000_000;
    if date.0 != second {
        *date = (second, httpdate::fmt_http_date(wall_clock()));
    }
}

/// A request as a job.
struct RequestJob {
    call: Call,
    home: Arc<Mailbox>,
    post: Arc<Post>,
    key: usize,
    serial: u64,
    cancel: Arc<Cancel>,
    /// Known while a recording is written.
    ticket: u64,
}

impl Job for RequestJob {
    fn handled(&self) -> &Arc<Handled> {
        self.call.handled()
    }

    fn kind(&self) -> Kind {
        self.call.kind()
    }

    fn home(&self) -> Option<Arc<dyn Home>> {
        Some(self.home.home_of(self.ticket))
    }

    fn input_bytes(&self) -> usize {
        self.call.input_bytes()
    }

    fn may_be_refused(&self) -> bool {
        true
    }

    fn cancel(&self) -> Option<&Arc<Cancel>> {
        Some(&self.cancel)
    }

    fn view(&mut self, view: &Snapshot) {
        self.call.view(view);
    }

    fn attempt(&mut self, tx: &Transaction) -> Verdict {
        self.call.attempt(tx)
    }

    fn answer_text(&self) -> Option<String> {
        self.call.answer_text()
    }

    fn admitted(&mut self, ticket: u64, now_ns: u64) {
        if let Some(recorder) = self.home.recorder() {
            self.ticket = ticket;
            recorder.push(self.call.admission(ticket, now_ns));
        }
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { version, how, .. } = ended;
        let taken_back = how.is_taken_back();
        let response = self.call.answer(how);
        // One that was refused has no ticket.
        if let Some(recorder) = self.home.recorder().filter(|_| self.ticket != 0) {
            recorder.push(match taken_back {
                true => Entry::TakenBack { ticket: self.ticket },
                false => self.call.answered(self.ticket, version, &response),
            });
        }
        let (key, serial) = (self.key, self.serial);
        self.post.answers.push(Answer { key, serial, response, version });
        self.post.wake.wake();
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("open", &self.connections.len()).finish_non_exhaustive()
    }
}
