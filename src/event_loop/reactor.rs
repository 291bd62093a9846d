//! The only file that knows mio: sockets, readiness, and the wake-up of a sleeping loop.

use crate::error::{Error, Result};
use crate::sync::{AtomicBool, Ordering, fence};
use bytes::BytesMut;
use mio::{Events, Interest, Poll, Token, Waker, net, unix::SourceFd};
use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    os::{fd::AsRawFd, unix::net::UnixStream},
    sync::Arc,
    time::Duration,
};

/// How many events one poll takes.
const EVENTS: usize = 1024;
/// How much one read takes.
const READ_BYTES: usize = 64 * 1024;
/// The most that is read from one connection before others have their turn.
const READ_AT_ONCE: usize = 256 * 1024;

const WAKER: Token = Token(usize::MAX);
const SIGNAL: Token = Token(usize::MAX - 1);
const LISTENER: Token = Token(usize::MAX - 2);

/// What became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// Connections to accept.
    Listener,
    /// A connection, by the token it was registered under. `closed`: the peer will send no more, so
    /// that no event will come after this one. `broken`: nothing can be sent or received any more.
    Stream { token: usize, readable: bool, writable: bool, closed: bool, broken: bool },
    /// A signal to stop.
    Signal,
}

/// Polls.
pub(crate) struct Reactor {
    poll: Poll,
    events: Events,
    wake: Arc<WakeUp>,
    scratch: Box<[u8]>,
    signal: Option<UnixStream>,
}

/// Wakes a loop that sleeps, once however many ask.
///
/// No lost wake-up: the loop says that it sleeps, fences, and looks at its queues once more;
/// whoever pushes does so, fences, and looks whether the loop sleeps. One of the two sees the
/// other.
pub(crate) struct WakeUp {
    sleeping: AtomicBool,
    waker: Waker,
}

impl WakeUp {
    /// Called after a push onto one of the loop's queues.
    pub(crate) fn wake(&self) {
        fence(Ordering::SeqCst);
        // Looked at before it is written: most pushes find the loop awake.
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel) {
            // Fails only when the loop's descriptor is gone, and then nobody needs waking.
            let _ = self.waker.wake();
        }
    }
}

impl Reactor {
    pub(crate) fn new() -> Result<Self> {
        let no_poll = |e| Error::io("cannot poll", e);
        let poll = Poll::new().map_err(no_poll)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(no_poll)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            wake: Arc::new(WakeUp { sleeping: AtomicBool::new(false), waker }),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            signal: None,
        })
    }

    pub(crate) fn wake_up(&self) -> &Arc<WakeUp> {
        &self.wake
    }

    /// Listens on an address.
    pub(crate) fn listen(&mut self, address: SocketAddr) -> Result<Listener> {
        let cannot = |e| Error::io(format!("cannot listen on {address}"), e);
        let mut listener = net::TcpListener::bind(address).map_err(cannot)?;
        self.poll
            .registry()
            .register(&mut listener, LISTENER, Interest::READABLE)
            .map_err(cannot)?;
        Ok(Listener(listener))
    }

    /// Stops listening.
    pub(crate) fn close(&mut self, mut listener: Listener) {
        // The close that follows does the same; an error leaves nothing to do.
        let _ = self.poll.registry().deregister(&mut listener.0);
    }

    /// Reports [`Ready::Signal`] when a byte arrives on this socket.
    pub(crate) fn watch_signals(&mut self, socket: UnixStream) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let fd = socket.as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&fd), SIGNAL, Interest::READABLE)?;
        self.signal = Some(socket);
        Ok(())
    }

    /// Watches a connection for reading and writing, under this token.
    pub(crate) fn register(&mut self, stream: &mut Stream, token: usize) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream.0, Token(token), interest)
    }

    /// Waits for events, at most so long, and puts them into `ready`. `is_empty` is asked once more
    /// after others can see that the loop sleeps.
    pub(crate) fn poll(
        &mut self,
        timeout: Option<Duration>,
        is_empty: impl Fn() -> bool,
        ready: &mut Vec<Ready>,
    ) -> io::Result<()> {
        let mut timeout = timeout;
        if timeout != Some(Duration::ZERO) {
            self.wake.sleeping.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if !is_empty() {
                timeout = Some(Duration::ZERO);
            }
        }
        let polled = self.poll.poll(&mut self.events, timeout);
        self.wake.sleeping.store(false, Ordering::Relaxed);
        match polled {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            match event.token() {
                WAKER => {}
                SIGNAL => ready.push(Ready::Signal),
                LISTENER => ready.push(Ready::Listener),
                Token(token) => ready.push(Ready::Stream {
                    token,
                    readable: event.is_readable() || event.is_read_closed(),
                    writable: event.is_writable(),
                    closed: event.is_read_closed(),
                    broken: event.is_error(),
                }),
            }
        }
        Ok(())
    }

    /// Reads what a connection has, to the end or [`READ_AT_ONCE`] bytes. If the peer has `closed`,
    /// the end is that of the stream.
    pub(crate) fn read(
        &mut self,
        stream: &mut Stream,
        into: &mut BytesMut,
        closed: bool,
    ) -> ReadEnd {
        let mut total = 0;
        loop {
            match stream.0.read(&mut self.scratch) {
                Ok(0) => return ReadEnd::Closed,
                Ok(n) => {
                    into.extend_from_slice(&self.scratch[..n]);
                    total += n;
                    // A short read has emptied the socket: whatever comes later is a new event.
                    if n < self.scratch.len() && !closed {
                        return ReadEnd::Empty;
                    }
                    if total >= READ_AT_ONCE {
                        return ReadEnd::More;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return ReadEnd::Empty,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return ReadEnd::Failed,
            }
        }
    }
}

/// How a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadEnd {
    /// Nothing more is there now; an event will come.
    Empty,
    /// More may be there, and no event will come for it.
    More,
    /// The peer has closed its side.
    Closed,
    /// The connection is broken.
    Failed,
}

/// A socket that listens.
pub(crate) struct Listener(net::TcpListener);

impl Listener {
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The next connection, with `TCP_NODELAY` set; `None` when none waits.
    pub(crate) fn accept(&self) -> io::Result<Option<Stream>> {
        loop {
            match self.0.accept() {
                Ok((stream, _)) => {
                    // Without it, an answer would wait for the acknowledgement of the one before.
                    // A peer that is gone already is found out at the first read.
                    let _ = stream.set_nodelay(true);
                    return Ok(Some(Stream(stream)));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                // The peer gave up before it was accepted, or a signal came.
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// A connection.
pub(crate) struct Stream(net::TcpStream);

impl Stream {
    /// Writes what the socket takes; `None` when it takes nothing now.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        loop {
            match self.0.write(bytes) {
                Ok(n) => return Ok(Some(n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Says that nothing more will be written.
    pub(crate) fn finish(&mut self) {
        // A connection that is already broken needs no goodbye.
        let _ = self.0.shutdown(std::net::Shutdown::Write);
    }
}
