//! The application: routes and settings, then a server.

use super::{
    handler::{Handler, IntoHandler},
    replay::Replay,
    router::Router,
    server::{Connections, Settings},
};
use crate::cell::store::{Account, STORE};
use crate::error::{Error, ErrorKind, Result};
use crate::event_loop::{Handle, Loop};
use crate::executor::{Executor, ExecutorBuilder};
use crate::recording::{Header, Recorder};
use crate::transaction::inputs::wall_ns;
use http::Method;
use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
};

/// A web application: routes with handlers, and how they are served.
///
/// # Examples
/// ```no_run
/// use txloop::{App, Request, Response, Snapshot, TVar, write};
///
/// let hits = TVar::named("hits", 0_u64);
/// let shown = hits.clone();
/// App::new()
///     .get("/", move |s: &Snapshot, _: &Request| s.get(&shown).to_string())
///     .post("/hit", write(move |tx, _| {
///         tx.modify(&hits, |n| *n += 1);
///         Ok::<_, Response>("hit")
///     }))
///     .listen("127.0.0.1:8888")?
///     .run()?;
/// # Ok::<(), txloop::Error>(())
/// ```
#[must_use = "nothing is served before `listen` and `run`"]
pub struct App {
    router: Router,
    executor: ExecutorBuilder,
    settings: Settings,
    /// The first mistake in a route: reported by `listen`, so that routes can be chained.
    mistake: Option<Error>,
}

impl Default for App {
    fn default() -> Self {
        Self::new()
    }
}

impl App {
    /// An application without routes.
    pub fn new() -> Self {
        Self {
            router: Router::default(),
            executor: Executor::builder(),
            settings: Settings::default(),
            mistake: None,
        }
    }

    /// Adds a handler for GET, and HEAD, on a path. `{name}` stands for one segment, `{*rest}` for
    /// all that follow.
    pub fn get<M>(self, path: &str, handler: impl IntoHandler<M>) -> Self {
        self.route(Method::GET, path, handler)
    }

    /// Adds a handler for POST.
    pub fn post<M>(self, path: &str, handler: impl IntoHandler<M>) -> Self {
        self.route(Method::POST, path, handler)
    }

    /// Adds a handler for PUT.
    pub fn put<M>(self, path: &str, handler: impl IntoHandler<M>) -> Self {
        self.route(Method::PUT, path, handler)
    }

    /// Adds a handler for DELETE.
    pub fn delete<M>(self, path: &str, handler: impl IntoHandler<M>) -> Self {
        self.route(Method::DELETE, path, handler)
    }

    /// Adds a handler for PATCH.
    pub fn patch<M>(self, path: &str, handler: impl IntoHandler<M>) -> Self {
        self.route(Method::PATCH, path, handler)
    }

    /// Adds a handler for any method.
    pub fn route<M>(self, method: Method, path: &str, handler: impl IntoHandler<M>) -> Self {
        self.add(Some(method), path, handler.into_handler())
    }

    /// Adds a handler for every method that has none of its own on this path.
    pub fn any<M>(self, path: &str, handler: impl IntoHandler<M>) -> Self {
        self.add(None, path, handler.into_handler())
    }

    fn add(mut self, method: Option<Method>, path: &str, handler: Handler) -> Self {
        if let Err(e) = self.router.add(method, path, handler) {
            self.mistake.get_or_insert(e);
        }
        self
    }

    /// How many handlers can run at once; by default as many as there are cores. 1: on the loop's
    /// own thread. N from 2: on N workers beside the loop's thread, which itself runs only cheap
    /// ones.
    pub fn threads(mut self, threads: usize) -> Self {
        self.executor = self.executor.threads(threads);
        self
    }

    /// Whether some handlers are run twice on one snapshot, to find those that cannot be run again:
    /// see [`ExecutorBuilder::look_twice`](crate::ExecutorBuilder::look_twice), also for the
    /// default.
    pub fn look_twice(mut self, on: bool) -> Self {
        self.executor = self.executor.look_twice(on);
        self
    }

    /// Writes a conflict log to this file. Without it, to the file that the environment variable
    /// `TXLOOP_LOG` names, if it is set.
    pub fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.executor = self.executor.log(file);
        self.settings.log_is_set = true;
        self
    }

    /// Whether every answer of a handler carries `txloop-version`: its place in the serial order.
    /// Off by default.
    pub fn version_header(mut self, on: bool) -> Self {
        self.settings.version_header = on;
        self
    }

    /// The longest body of a request, in bytes; 1 MiB by default. A longer one is answered 413.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.settings.limits.max_body = bytes;
        self
    }

    /// How long a request may take until its handler has committed, waiting in queues and in
    /// `retry` included; without a limit by default. After it the handler is taken back, and the
    /// answer is 503: at once if it waits in `retry`, when a worker comes to it if it is queued, at
    /// its next read if it runs, at its end if it reads nothing more. A handler that commits first
    /// is answered, and so is one of a [`Snapshot`](crate::Snapshot) that runs: it has no commit.
    /// Looked at 16 times in the limit, at most once in a millisecond, by the loop: so not while
    /// the loop itself runs a handler, because there is one thread or because the handler has been
    /// brief so far.
    pub fn deadline(mut self, limit: std::time::Duration) -> Self {
        self.settings.deadline_ns = u64::try_from(limit.as_nanos()).ok();
        self
    }

    /// The most requests whose handlers may be under way, parked ones included; 100,000 by default.
    /// Further ones are answered 503.
    pub fn max_under_way(mut self, requests: usize) -> Self {
        self.executor = self.executor.max_under_way(requests);
        self
    }

    /// The most bytes of old versions, dropped cells and effects that wait, see
    /// [`memory`](crate::memory), with which requests are taken; 1 GiB by default. Above it they
    /// are answered 503.
    pub fn max_kept_bytes(mut self, bytes: usize) -> Self {
        self.executor = self.executor.max_kept_bytes(bytes);
        self
    }

    /// The most bytes of request bodies under way, see
    /// [`ExecutorBuilder::max_input_bytes`](crate::ExecutorBuilder::max_input_bytes); 256 MiB by
    /// default. At or above it requests are answered 503.
    pub fn max_input_bytes(mut self, bytes: usize) -> Self {
        self.executor = self.executor.max_input_bytes(bytes);
        self
    }

    /// In which order handlers take effect; [`Order::Commit`](crate::Order::Commit) by default.
    pub fn order(mut self, order: crate::Order) -> Self {
        self.executor = self.executor.order(order);
        self
    }

    /// Records every ticket to this file, which is replaced: what arrived, when, and what was
    /// answered. [`App::replay`] runs it again. Only in [`Order::Arrival`](crate::Order::Arrival).
    ///
    /// The file holds whole requests, and the secret that
    /// [`unique_id`](crate::Transaction::unique_id) follows from: keep it as you keep sessions.
    /// docs/replay.md says what it costs and how to use it.
    pub fn record(mut self, file: impl Into<PathBuf>) -> Self {
        self.settings.record = Some(file.into());
        self
    }

    /// The most bytes that a recording gets; 4 GiB by default. Then it stops, and the server goes
    /// on.
    pub fn record_limit(mut self, bytes: u64) -> Self {
        self.settings.record_limit = bytes;
        self
    }

    /// What a recording says about the program that wrote it: its name and version, say. By default
    /// the name by which it was started.
    pub fn program(mut self, name_and_version: impl Into<String>) -> Self {
        self.settings.program = Some(name_and_version.into());
        self
    }

    /// Opens a recording, to run this application's handlers on its tickets, without sockets.
    ///
    /// # Errors
    /// When a route is wrong, or the file is no recording that can be read here.
    ///
    /// # Examples
    /// See docs/replay.md.
    pub fn replay(self, file: impl Into<PathBuf>) -> Result<Replay> {
        match self.mistake {
            Some(mistake) => Err(mistake),
            None => Replay::open(self.router, self.executor.looks_twice(), file.into()),
        }
    }

    /// The most connections at a time; 10,000 by default. Further ones wait to be accepted.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections;
        self
    }

    /// Starts threads and listens. Port 0 picks a free one.
    ///
    /// # Errors
    /// When a route or a setting is wrong, the address cannot be bound, the log cannot be created,
    /// or the system gives no threads.
    pub fn listen(self, address: impl ToSocketAddrs) -> Result<Server> {
        if let Some(mistake) = self.mistake {
            return Err(mistake);
        }
        if self.settings.max_connections == 0 {
            return Err(Error::new(ErrorKind::Config, "max_connections must be at least 1"));
        }
        if self.settings.record.is_some() && !self.executor.is_arrival() {
            let text = "a recording can be replayed in arrival order only: set Order::Arrival";
            return Err(Error::new(ErrorKind::Config, text));
        }
        let unknown = |e: std::io::Error| {
            let text = "cannot resolve the address to listen on";
            match e.kind() {
                std::io::ErrorKind::InvalidInput => {
                    Error::new(ErrorKind::Config, format!("{text}: {e}"))
                }
                _ => Error::io(text, e),
            }
        };
        let address = address.to_socket_addrs().map_err(unknown)?.next().ok_or_else(|| {
            Error::new(ErrorKind::Config, "the address to listen on resolves to nothing")
        })?;
        let mut executor = self.executor;
        if !self.settings.log_is_set
            && let Some(file) = std::env::var_os("TXLOOP_LOG").filter(|file| !file.is_empty())
        {
            executor = executor.log(file);
        }
        // Bound before any thread starts or any log is replaced: a second server on one port does
        // no harm to the first.
        let mut reactor = crate::event_loop::reactor::Reactor::new()?;
        let listener = reactor.listen(address)?;
        let local = listener.address().map_err(|e| Error::io("no local address", e))?;
        let mut event_loop = Loop::with_reactor(executor.build_for_loop()?, reactor);
        let recorder = match &self.settings.record {
            None => None,
            Some(file) => Some(record(file, &self.settings, event_loop.executor())?),
        };
        if let Some(recorder) = &recorder {
            event_loop.record(recorder.clone());
        }
        let home = event_loop.home();
        let wake = std::sync::Arc::clone(event_loop.reactor().wake_up());
        let connections = Connections::new(listener, self.router, self.settings, home, wake);
        event_loop.serve(Box::new(connections));
        let account = recorder.is_some().then(|| STORE.keep_account());
        Ok(Server { event_loop, local, recorder, _account: account })
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Starts the recording of an executor's tickets.
fn record(file: &Path, settings: &Settings, executor: &Executor) -> Result<Recorder> {
    let started_as = || std::env::args_os().next().map(|name| name.to_string_lossy().into_owned());
    let header = Header {
        written_by: env!("CARGO_PKG_VERSION").to_owned(),
        program: settings.program.clone().or_else(started_as).unwrap_or_default(),
        seed: executor.core().seed,
        wall_ns: wall_ns(),
        threads: executor.threads() as u32,
    };
    Recorder::create(file, &header, settings.record_limit)
}

/// The recording of a server, see [`App::record`].
#[derive(Debug, Clone)]
pub struct Recording(Recorder);

impl Recording {
    /// Why it has stopped before the server, if it has. What was recorded before can be replayed.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        self.0.stopped()
    }

    /// The bytes in the file.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.0.written()
    }
}

/// An application that listens.
#[must_use = "nothing is answered before `run`"]
#[derive(Debug)]
pub struct Server {
    event_loop: Loop,
    local: SocketAddr,
    recorder: Option<Recorder>,
    /// A version that no ticket of the recording explains is to be a commit of somebody else.
    _account: Option<Account>,
}

impl Server {
    /// The address that it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The loop, to stop the server or to give it callbacks from other threads.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.event_loop.handle()
    }

    /// The recording, if there is one.
    #[must_use]
    pub fn recording(&self) -> Option<Recording> {
        self.recorder.clone().map(Recording)
    }

    /// The loop itself: timers and callbacks can be added before it runs.
    pub fn event_loop(&mut self) -> &mut Loop {
        &mut self.event_loop
    }

    /// Serves until SIGTERM or SIGINT, or until [`Handle::stop`]: then it accepts nothing more,
    /// answers what it has begun, for at most 10 seconds, and ends the log.
    ///
    /// # Errors
    /// When polling fails or the signal handlers cannot be set.
    pub fn run(mut self) -> Result<()> {
        self.event_loop.stop_on_signals()?;
        self.run_until_stopped()
    }

    /// As [`Server::run`], without touching the process's signal handlers.
    ///
    /// # Errors
    /// When polling fails.
    pub fn run_until_stopped(mut self) -> Result<()> {
        let ended = self.event_loop.run();
        if let Some(recorder) = self.recorder {
            recorder.finish();
        }
        ended
    }
}
