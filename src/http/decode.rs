//! Takes whole requests off the front of a connection's input.

use std::{fmt, mem};

use bytes::{Buf, Bytes, BytesMut};

use super::chunked::ChunkedReader;
use super::claims::Framing;
use super::head::{Head, HeadReader};
use super::limits::Limits;
use super::refusal::Refusal;
use super::request::Message;

/// A body's first allocation is at most this, whatever length its head claims: memory is given
/// for bytes that arrived, not for a promise of them.
const FIRST_BODY_CAPACITY: usize = 64 * 1024;

/// What [`Decoder::next`] found.
#[derive(Debug)]
pub(crate) enum Decoded {
    /// Nothing whole: read more from the peer, then ask again.
    NeedMore,
    /// Send [`CONTINUE`](super::CONTINUE) now, then ask again: the peer waits for it before it
    /// sends a body. At most once a request, and only if it said `Expect: 100-continue`, speaks
    /// HTTP/1.1, and no byte of the body is here yet.
    Continue,
    /// A whole request.
    Request(Message),
    /// The peer's bytes are refused. Answer and close; every later call says the same.
    Refused(Refusal),
}

/// What the peer owes, as of the last [`Decoder::next`]: it tells which timeout applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing: no byte of a request has been seen since the last one. Also after the last.
    Idle,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
}

/// Takes the requests of one connection off its input, in order.
pub(crate) struct Decoder {
    limits: Limits,
    head: HeadReader,
    state: State,
}

enum State {
    Head,
    /// Boxed: most requests never get here.
    Body(Box<Pending>),
    Refused(Refusal),
    /// The last request said that it is the last. What follows is not looked at.
    Closed,
}

/// A request whose body is not here yet.
struct Pending {
    message: Message,
    body: BodyReader,
}

enum BodyReader {
    Length { length: usize, body: Vec<u8> },
    Chunked(ChunkedReader),
}

impl Decoder {
    /// A decoder at the start of a connection.
    pub(crate) fn new(limits: Limits) -> Self {
        // A head's ranges are kept in 32 bits.
        let max_head = limits.max_head.min(u32::MAX as usize);
        let limits = Limits { max_head, ..limits };
        Self { limits, head: HeadReader::default(), state: State::Head }
    }

    /// Takes the next request off the front of `input` if it is whole.
    ///
    /// What is left in `input` has to be there at the next call, with what has been read since
    /// behind it. It is at most an unfinished head, or what follows the request that is answered.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Decoded {
        self.advance(input).unwrap_or_else(|refusal| {
            self.state = State::Refused(refusal);
            Decoded::Refused(refusal)
        })
    }

    /// What the peer owes.
    pub(crate) fn phase(&self) -> Phase {
        match self.state {
            State::Head if !self.head.is_idle() => Phase::Head,
            State::Body(_) => Phase::Body,
            State::Head | State::Refused(_) | State::Closed => Phase::Idle,
        }
    }

    /// Whether the peer may close the connection here without cutting off a request. `input` is
    /// what the last [`next`](Self::next) left.
    #[cfg(test)]
    pub(crate) fn end_of_input(&self, input: &BytesMut) -> bool {
        match self.state {
            State::Head => input.is_empty(),
            State::Body(_) => false,
            State::Refused(_) | State::Closed => true,
        }
    }

    /// Leaves the state to [`next`](Self::next) if it answers a refusal.
    fn advance(&mut self, input: &mut BytesMut) -> Result<Decoded, Refusal> {
        match mem::replace(&mut self.state, State::Head) {
            State::Head => {
                let head = self.head.read(input, &self.limits)?;
                head.map_or(Ok(Decoded::NeedMore), |head| self.start_body(head, input))
            }
            State::Body(mut pending) => match pending.body.read(input, self.limits.max_body)? {
                Some(body) => Ok(self.finish(pending.message, body)),
                None => {
                    self.state = State::Body(pending);
                    Ok(Decoded::NeedMore)
                }
            },
            State::Refused(refusal) => Err(refusal),
            State::Closed => {
                self.state = State::Closed;
                input.clear();
                Ok(Decoded::NeedMore)
            }
        }
    }

    fn start_body(&mut self, head: Head, input: &mut BytesMut) -> Result<Decoded, Refusal> {
        let Head { message, framing, waits } = head;
        let body = match framing {
            Framing::Length(0) => return Ok(self.finish(message, Bytes::new())),
            Framing::Length(length) if length <= input.len() => {
                let body = Bytes::copy_from_slice(&input[..length]);
                input.advance(length);
                return Ok(self.finish(message, body));
            }
            Framing::Length(length) => BodyReader::Length { length, body: Vec::new() },
            Framing::Chunked => BodyReader::Chunked(ChunkedReader::new()),
        };
        self.state = State::Body(Box::new(Pending { message, body }));
        if waits && input.is_empty() { Ok(Decoded::Continue) } else { self.advance(input) }
    }

    fn finish(&mut self, mut message: Message, body: Bytes) -> Decoded {
        message.body = body;
        self.state = if message.keep_alive { State::Head } else { State::Closed };
        Decoded::Request(message)
    }
}

impl BodyReader {
    /// Takes what belongs to the body off the front of `input`. Once it is whole, answers it.
    fn read(&mut self, input: &mut BytesMut, max_body: usize) -> Result<Option<Bytes>, Refusal> {
        match self {
            Self::Chunked(reader) => Ok(reader.read(input, max_body)?.map(Bytes::from)),
            Self::Length { length, body } => {
                let taken = input.len().min(*length - body.len());
                if body.capacity() - body.len() < taken {
                    let room = (body.capacity() * 2).max(FIRST_BODY_CAPACITY);
                    let room = room.max(body.len() + taken).min(*length);
                    body.reserve_exact(room - body.len());
                }
                body.extend_from_slice(&input[..taken]);
                input.advance(taken);
                Ok((body.len() == *length).then(|| Bytes::from(mem::take(body))))
            }
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("phase", &self.phase()).finish_non_exhaustive()
    }
}
