//! One connection: its buffers, its parser, its clock.

use super::response::Response;
use crate::event_loop::reactor::{Reactor, ReadEnd, Stream};
use crate::http::{Body, Decoded, Decoder, Head, Limits, Phase, encode};
use crate::transaction::cancel::Cancel;
use bytes::BytesMut;
use std::{io, sync::Arc};

/// Input beyond a request that runs: above this nothing more is read until it is answered.
const AHEAD_BYTES: usize = 64 * 1024;
/// Unsent bytes above which a connection is written at once and takes no further request.
pub(super) const OUT_BYTES: usize = 64 * 1024;
/// How long a request's head may take from its first byte.
const HEAD_NS: u64 = 10_000_000_000;
/// How long a body may take besides one second for each [`BODY_BYTES_PER_SECOND`].
const BODY_NS: u64 = 10_000_000_000;
/// The slowest body that is waited for.
const BODY_BYTES_PER_SECOND: u64 = 1024;
/// How long a connection may stay open without a request.
const KEEP_ALIVE_NS: u64 = 75_000_000_000;
/// How long a peer may take nothing of what is being sent.
const SEND_NS: u64 = 30_000_000_000;
/// How long the peer has to close after our side was shut.
const LINGER_NS: u64 = 2_000_000_000;

/// What of a request is needed to answer it.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub(super) keep_alive: bool,
    pub(super) minor_version: u8,
    pub(super) head_only: bool,
    /// When it was taken off the input.
    pub(super) since_ns: u64,
}

impl InFlight {
    /// Of something that is no request.
    pub(super) fn refused(now_ns: u64) -> Self {
        Self { keep_alive: false, minor_version: 1, head_only: false, since_ns: now_ns }
    }
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Between requests, nothing to send.
    Idle,
    /// A request is arriving.
    Receiving,
    /// A request is queued or runs.
    Running,
    /// An answer is being sent.
    Sending,
    /// Our side is shut.
    Lingering,
}

pub(super) struct Connection {
    stream: Stream,
    pub(super) serial: u64,
    input: BytesMut,
    decoder: Decoder,
    pub(super) out: Vec<u8>,
    sent: usize,
    pub(super) in_flight: Option<InFlight>,
    pub(super) queued: bool,
    /// Of the request under way.
    pub(super) cancel: Arc<Cancel>,
    /// The peer has said that it sends no more; not all that it sent need have been read.
    peer_leaves: bool,
    /// All that it sent was read.
    peer_closed: bool,
    /// Noted among those whose reading waits.
    pub(super) stalled: bool,
    /// The input holds no whole request.
    starved: bool,
    /// No request is taken any more; closed when all is sent.
    closing: bool,
    lingering: bool,
    /// When the present stage began, or last moved on.
    since_ns: u64,
    /// Bytes received since then.
    received: u64,
}

impl Connection {
    pub(super) fn new(stream: Stream, serial: u64, limits: Limits, now_ns: u64) -> Self {
        Self {
            stream,
            serial,
            input: BytesMut::new(),
            decoder: Decoder::new(limits),
            out: Vec::new(),
            sent: 0,
            in_flight: None,
            queued: false,
            cancel: Arc::new(Cancel::new()),
            peer_leaves: false,
            peer_closed: false,
            stalled: false,
            starved: true,
            closing: false,
            lingering: false,
            since_ns: now_ns,
            received: 0,
        }
    }

    /// The peer sends no more: nobody waits for it in `retry` from now on, whatever of its input is
    /// still to be read.
    pub(super) fn peer_leaves(&mut self) {
        self.peer_leaves = true;
        self.cancel.unheard();
    }

    /// Reads what is there, to the end of the stream if the peer sends no more.
    pub(super) fn read(&mut self, reactor: &mut Reactor, now_ns: u64) -> ReadEnd {
        let before = self.input.len();
        if self.stage() == Stage::Idle {
            self.touch(now_ns);
        }
        let end = reactor.read(&mut self.stream, &mut self.input, self.peer_leaves);
        self.starved &= self.input.len() == before;
        self.received += (self.input.len() - before) as u64;
        if self.closing {
            self.input.clear();
        }
        if end == ReadEnd::Closed {
            self.peer_closed = true;
            self.peer_leaves();
        }
        end
    }

    /// By what the next request can be taken back. A peer that has closed its side may still read
    /// an answer that comes at once, but is not waited for; nor is anybody while the server ends.
    pub(super) fn next_cancel(&self, server_ends: bool) -> Arc<Cancel> {
        self.cancel.renew();
        if self.peer_leaves || server_ends {
            self.cancel.unheard();
        }
        Arc::clone(&self.cancel)
    }

    /// Whether reading has to wait until a request has been answered.
    pub(super) fn is_full(&self) -> bool {
        (self.in_flight.is_some() || self.unsent() >= OUT_BYTES) && self.input.len() >= AHEAD_BYTES
    }

    /// Whether the next request may be taken off the input.
    pub(super) fn may_take(&self) -> bool {
        self.in_flight.is_none() && !self.closing && self.unsent() < OUT_BYTES
    }

    /// Whether a request may be taken and may be there.
    pub(super) fn has_more(&self) -> bool {
        self.may_take() && !self.starved
    }

    /// The next request of the input.
    pub(super) fn decode(&mut self) -> Decoded {
        let decoded = self.decoder.next(&mut self.input);
        self.starved = matches!(decoded, Decoded::NeedMore);
        decoded
    }

    /// Starts the clock of the next stage.
    pub(super) fn touch(&mut self, now_ns: u64) {
        self.since_ns = now_ns;
        self.received = 0;
    }

    /// Appends an answer to what is to be sent.
    pub(super) fn write_answer(
        &mut self,
        ask: &InFlight,
        response: &Response,
        version: Option<u64>,
        date: &str,
    ) {
        let keep_alive = ask.keep_alive && !self.closing;
        let head = Head {
            status: response.status(),
            headers: response.headers(),
            date,
            version,
            keep_alive,
            minor_version: ask.minor_version,
        };
        let status = response.status();
        let body = if status.is_informational() || status == 204 || status == 304 {
            Body::None
        } else if ask.head_only {
            Body::Head(response.body().len())
        } else {
            Body::Bytes(response.body())
        };
        encode(&mut self.out, &head, body);
        self.closing |= !keep_alive;
        if self.closing {
            self.input.clear();
        }
    }

    pub(super) fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&mut self, now_ns: u64) -> io::Result<()> {
        while self.unsent() > 0 {
            match self.stream.write(&self.out[self.sent..])? {
                Some(0) => return Err(io::ErrorKind::WriteZero.into()),
                Some(n) => {
                    self.sent += n;
                    self.since_ns = now_ns;
                }
                None => {
                    // Not for each piece of a long answer: each time the rest is moved.
                    if self.sent > OUT_BYTES.max(self.out.len() / 2) {
                        self.out.drain(..self.sent);
                        self.sent = 0;
                    }
                    return Ok(());
                }
            }
        }
        self.out.clear();
        self.sent = 0;
        if self.out.capacity() > AHEAD_BYTES {
            self.out = Vec::new();
        }
        if self.closing && self.in_flight.is_none() && !self.lingering {
            // Closed only after the peer has read the answer: closing with input unread would
            // reset the connection and could take the answer back.
            self.lingering = true;
            self.since_ns = now_ns;
            self.stream.finish();
        }
        Ok(())
    }

    /// Whether nothing is left to do here.
    pub(super) fn is_over(&self) -> bool {
        let sent = self.unsent() == 0 && self.in_flight.is_none();
        self.peer_closed && sent && (self.starved || self.closing)
    }

    pub(super) fn stage(&self) -> Stage {
        if self.lingering {
            Stage::Lingering
        } else if self.in_flight.is_some() {
            Stage::Running
        } else if self.unsent() > 0 {
            Stage::Sending
        } else if self.decoder.phase() == Phase::Idle && self.input.is_empty() {
            Stage::Idle
        } else {
            Stage::Receiving
        }
    }

    /// Whether the peer has taken too long.
    pub(super) fn is_late(&self, now_ns: u64) -> bool {
        let limit = match self.stage() {
            Stage::Idle => KEEP_ALIVE_NS,
            Stage::Receiving if self.decoder.phase() == Phase::Body => {
                BODY_NS + self.received.saturating_mul(1_000_000_000 / BODY_BYTES_PER_SECOND)
            }
            Stage::Receiving => HEAD_NS,
            // A handler takes as long as it takes; what is unsent beside it waits for it.
            Stage::Running if self.unsent() == 0 => return false,
            Stage::Running | Stage::Sending => SEND_NS,
            Stage::Lingering => LINGER_NS,
        };
        now_ns.saturating_sub(self.since_ns) > limit
    }
}
