//! Durability: records go to a sink, and what a commit lets out waits until they are safe.
//!
//! K1: under the baton, before its writes are linked, a commit appends its record to a bounded
//! buffer. K2: the sink's thread takes the buffer and reads the watermark while it has the lock:
//! every version up to it has its record in what was taken before, or none. K3: it writes and syncs
//! without any lock, then moves `durable` and takes from the gate what waited for it, in one step.
//! K4: effects and answers of version n enter the gate, or pass if `durable` is at least n, under
//! the same lock: so they leave in version order. K5: a full buffer closes the commit: no attempt
//! is taken up, the baton is free; the sink's thread opens it and commits what is READY meanwhile.
//! K6: a failed write or sync is final: nothing that waits gets out, and no write commits again.

use super::{commit, view::Transaction};
use crate::cell::{deferred, store::STORE};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{
    Arc, AtomicBool, AtomicU64, Ordering, Table, fault, global, spawn,
    thread::{self, JoinHandle, Thread},
};
use std::{
    collections::BTreeMap,
    fmt, io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
};

/// The longest record of one transaction, in bytes.
pub const MAX_RECORD: usize = 1 << 20;

/// Where the records of committed transactions go: a file, a replica.
///
/// Called by one thread of the library, never while the baton is held. A `write` is followed by a
/// `sync` before anything of it counts as durable. The first error is final, and so is a panic. A
/// sink must not look at cells: what it sees would wait for the sink; it panics instead.
pub trait CommitSink: Send + 'static {
    /// Takes the record of one version. Versions grow; those without a record are left out.
    ///
    /// # Errors
    /// When the record cannot be kept.
    fn write(&mut self, version: u64, record: &[u8]) -> io::Result<()>;

    /// Makes all that was written safe.
    ///
    /// # Errors
    /// When that is not certain.
    fn sync(&mut self) -> io::Result<()>;
}

/// Told whether the version that it waited for is durable, or never will be.
type Waiting = Box<dyn FnOnce(bool) + Send>;

#[derive(Default)]
struct State {
    records: Vec<(u64, Vec<u8>)>,
    bytes: usize,
    capacity: usize,
    gate: BTreeMap<u64, Vec<Waiting>>,
    /// Threads that wait until there is room.
    outside: Vec<Thread>,
    stopping: bool,
    failure: Option<String>,
}

global! {
    static STATE: Table<Option<State>> = Table::new(None);
}
global! {
    /// Whether there is a sink.
    static ACTIVE: AtomicBool = AtomicBool::new(false);
}
global! {
    /// Whether the buffer is full.
    static CLOSED: AtomicBool = AtomicBool::new(false);
}
global! {
    static DURABLE: AtomicU64 = AtomicU64::new(0);
}
global! {
    /// Whether the sink's thread sleeps, or is about to.
    static ASLEEP: AtomicBool = AtomicBool::new(false);
}
global! {
    static THREAD: Table<Option<Thread>> = Table::new(None);
}

/// Whether there is a sink.
#[inline]
pub(crate) fn is_active() -> bool {
    // Acquire: whoever sees a sink sees its state.
    ACTIVE.load(Ordering::Acquire)
}

/// Whether no attempt may be taken up (K5).
#[inline]
pub(super) fn is_closed() -> bool {
    CLOSED.load(Ordering::SeqCst)
}

/// Why no write commits any more (K6).
pub(super) fn failure() -> Option<String> {
    STATE.lock().as_ref().and_then(|state| state.failure.clone())
}

/// Appends the record of a version (K1), or says why it may not commit (K6). Called with the baton;
/// runs no user code.
pub(super) fn append(version: u64, record: Vec<u8>) -> Result<(), String> {
    let mut state = STATE.lock();
    let Some(state) = state.as_mut() else { return Ok(()) };
    // Under the lock under which it fails: behind that nothing is left to open what this closed.
    if let Some(why) = &state.failure {
        return Err(why.clone());
    }
    if !record.is_empty() && !state.stopping {
        state.bytes += record.len();
        state.records.push((version, record));
        if state.bytes >= state.capacity {
            CLOSED.store(true, Ordering::SeqCst);
        }
    }
    Ok(())
}

/// Panics on the sink's thread, which would wait for itself.
fn check_thread() {
    let sinks = THREAD.lock().as_ref().is_some_and(|sink| sink.id() == thread::current().id());
    assert!(!sinks, "a commit sink must not look at cells: what it sees waits for the sink");
}

/// Wakes the sink's thread if it sleeps. Called without the baton.
#[inline]
pub(super) fn wake() {
    if is_active() && ASLEEP.load(Ordering::SeqCst) {
        wake_thread();
    }
}

#[cold]
fn wake_thread() {
    if ASLEEP.swap(false, Ordering::SeqCst)
        && let Some(thread) = &*THREAD.lock()
    {
        thread.unpark();
    }
}

/// Calls `waiting` when `version` is durable (K4): at once, or on the sink's thread. It must run no
/// user code and take no baton.
pub(crate) fn when_durable(version: u64, waiting: Waiting) {
    let version = version.saturating_sub(u64::from(fault!("durable-one-early")));
    let now = {
        let mut state = STATE.lock();
        match state.as_mut() {
            Some(state) if state.failure.is_some() => Some((waiting, false)),
            Some(state) if DURABLE.load(Ordering::Relaxed) < version => {
                state.gate.entry(version).or_default().push(waiting);
                None
            }
            _ => Some((waiting, true)),
        }
    };
    match now {
        Some((waiting, durable)) => waiting(durable),
        None => wake(),
    }
}

/// Waits on this thread until `version` is durable. `Err` says why it never will be.
pub(super) fn wait_durable(version: u64) -> Result<(), String> {
    let told = Arc::new(OnceLock::new());
    let (tell, thread) = (Arc::clone(&told), thread::current());
    when_durable(
        version,
        Box::new(move |durable| {
            let _ = tell.set(durable);
            thread.unpark();
        }),
    );
    loop {
        match told.get() {
            Some(true) => return Ok(()),
            Some(false) => return Err(failure().unwrap_or_default()),
            None => {
                check_thread();
                thread::park();
            }
        }
    }
}

/// Waits on this thread until commits are taken up again (K5).
pub(super) fn wait_open() {
    while is_closed() {
        check_thread();
        wake();
        match STATE.lock().as_mut() {
            // Looked at again under the lock under which it is opened.
            Some(state) if is_closed() => state.outside.push(thread::current()),
            _ => return,
        }
        thread::park();
    }
}

/// A sink at work. There is one for the process, because there is one serial order.
///
/// While it works, what a committed transaction lets out waits until its version is durable: its
/// answer, its closures and callbacks, the return of [`atomically`](crate::atomically). So do
/// answers of read-only handlers, for the version that they saw. Commits themselves go on, and
/// others see their writes, until `capacity` bytes of records wait, which those that commit
/// together may exceed by a few records: then no write commits until there is room. Of an executor
/// some 64 writes are run meanwhile and wait with their results, the others in its queues; no
/// thread of it waits, in commit order, but one for a handler that is to run alone.
///
/// If the sink fails, all that waits ends with an error, as does every later write; what had been
/// let out before is durable.
#[must_use = "dropping it stops the sink"]
pub struct Durability {
    thread: Option<JoinHandle<()>>,
}

impl Durability {
    /// Starts a sink. `capacity` is in bytes; one record may exceed it.
    ///
    /// # Errors
    /// When a sink works already, the capacity is 0, or the system gives no thread.
    pub fn start(sink: impl CommitSink, capacity: usize) -> Result<Self> {
        if capacity == 0 {
            return Err(Error::new(ErrorKind::Config, "a sink's capacity must be at least 1 byte"));
        }
        {
            let mut state = STATE.lock();
            if state.is_some() {
                let message = "a commit sink is at work already: there is one for the process";
                return Err(Error::new(ErrorKind::Config, message));
            }
            *state = Some(State { capacity, ..State::default() });
        }
        // What was committed before has no record: it counts as durable.
        DURABLE.store(STORE.watermark(), Ordering::Relaxed);
        let started = spawn("txloop-sink", move || run(sink));
        let thread = started.map_err(|e| {
            *STATE.lock() = None;
            Error::io("cannot start the sink's thread", e)
        })?;
        ACTIVE.store(true, Ordering::Release);
        Ok(Self { thread: Some(thread) })
    }

    /// The newest version that is durable.
    #[must_use]
    pub fn durable(&self) -> u64 {
        DURABLE.load(Ordering::Acquire)
    }

    /// Writes and syncs what is left, then ends the sink. Later commits are not recorded.
    ///
    /// If it has failed, stop it when nothing commits: a call under way may return as if all were
    /// well, although its closures were dropped by the failure.
    ///
    /// # Errors
    /// When the sink has failed.
    pub fn stop(mut self) -> Result<()> {
        match self.end() {
            None => Ok(()),
            Some(why) => Err(Error::new(ErrorKind::Io, why)),
        }
    }

    fn end(&mut self) -> Option<String> {
        let thread = self.thread.take()?;
        // What is committed from now on has no record, but keeps its place behind what has one.
        if let Some(state) = STATE.lock().as_mut() {
            state.stopping = true;
        }
        ASLEEP.store(true, Ordering::SeqCst);
        wake_thread();
        // Fails only if the destructor of the sink panicked, which had done its work.
        let _ = thread.join();
        let failure = {
            let mut all = STATE.lock();
            let mut state = all.take()?;
            CLOSED.store(false, Ordering::SeqCst);
            // Under the lock, as in `advance`.
            for waiting in state.gate.into_values().flatten() {
                waiting(state.failure.is_none());
            }
            // Behind them: who sees no sink asks for no lock, and must come after what waited.
            ACTIVE.store(false, Ordering::Release);
            state.outside.drain(..).for_each(|thread| thread.unpark());
            state.failure
        };
        commit::work();
        deferred::rouse_for_pending();
        failure
    }
}

impl Drop for Durability {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durability").field("durable", &self.durable()).finish_non_exhaustive()
    }
}

/// The life of the sink's thread.
fn run(mut sink: impl CommitSink) {
    // Before it is first said to be asleep: who wakes it finds it.
    *THREAD.lock() = Some(thread::current());
    loop {
        // Said before the look, so that what the look misses finds it asleep.
        ASLEEP.store(true, Ordering::SeqCst);
        let (records, upto, stopping) = {
            let mut state = STATE.lock();
            let Some(state) = state.as_mut() else { return };
            (mem::take(&mut state.records), STORE.watermark(), state.stopping)
        };
        let last = records.last().map_or(upto, |(version, _)| upto.max(*version));
        if last > DURABLE.load(Ordering::Relaxed) {
            ASLEEP.store(false, Ordering::SeqCst);
            // A sink that panics has failed.
            match catch_unwind(AssertUnwindSafe(|| keep(&mut sink, &records))) {
                // Nothing was recorded since: what is without a record is let out at the end.
                Ok(Ok(())) if stopping => return advance(last, records),
                Ok(Ok(())) => advance(last, records),
                Ok(Err(e)) => return fail(format!("the commit sink has failed: {e}")),
                Err(_) => return fail("the commit sink has failed: it panicked".to_owned()),
            }
        } else if stopping {
            return;
        } else {
            thread::park();
        }
    }
}

fn keep(sink: &mut impl CommitSink, records: &[(u64, Vec<u8>)]) -> io::Result<()> {
    for (version, record) in records {
        sink.write(*version, record)?;
    }
    if records.is_empty() { Ok(()) } else { sink.sync() }
}

/// Moves `durable` and lets out what waited for it (K3).
fn advance(durable: u64, records: Vec<(u64, Vec<u8>)>) {
    let open = {
        let mut state = STATE.lock();
        let Some(state) = state.as_mut() else { return };
        state.bytes -= records.iter().map(|(_, record)| record.len()).sum::<usize>();
        DURABLE.store(durable, Ordering::Release);
        let later = state.gate.split_off(&(durable + 1));
        let open = mem::replace(&mut state.gate, later);
        // Under the lock: what passes the gate after this passes it behind these.
        for waiting in open.into_values().flatten() {
            waiting(true);
        }
        let closed = state.bytes >= state.capacity;
        let open = CLOSED.swap(closed, Ordering::SeqCst) && !closed;
        if open {
            state.outside.drain(..).for_each(|thread| thread.unpark());
        }
        open
    };
    if open {
        commit::work();
    }
    // What was let out of the gate: whoever asked for it may be gone.
    deferred::rouse_for_pending();
}

/// The end (K6).
fn fail(why: String) {
    let gate = {
        let mut state = STATE.lock();
        let Some(state) = state.as_mut() else { return };
        state.failure = Some(why);
        CLOSED.store(false, Ordering::SeqCst);
        state.outside.drain(..).for_each(|thread| thread.unpark());
        mem::take(&mut state.gate)
    };
    for waiting in gate.into_values().flatten() {
        waiting(false);
    }
    // Those that wait for room are told.
    commit::work();
    deferred::rouse_for_pending();
}

impl Transaction {
    /// Appends to this transaction's record, which goes to the [`CommitSink`] when it commits;
    /// without a sink it is dropped. The format is the caller's.
    ///
    /// # Panics
    /// When the record would be longer than [`MAX_RECORD`]; inside a [`Snapshot`](crate::Snapshot).
    ///
    /// # Re-run
    /// An abandoned attempt's record is dropped, as is that of a savepoint that is undone.
    #[track_caller]
    pub fn persist(&self, record: &[u8]) {
        self.check_writable();
        let mut all = self.attempt.logs.record.borrow_mut();
        let length = all.len() + record.len();
        assert!(length <= MAX_RECORD, "a record of {length} bytes exceeds {MAX_RECORD}");
        all.extend_from_slice(record);
    }
}
