//! What the server holds, and the thread `txloop-record`, which alone touches the file.
//!
//! | field | written by | read by |
//! |---|---|---|
//! | `entries`, `bytes` | whoever pushes; the writer takes all | the writer |
//! | `asleep` | the writer before it parks; whoever wakes it takes it back | whoever pushes |
//! | `closed` | whoever stops or finishes, once | whoever pushes: nothing is queued any more |
//!
//! All of it is under one lock, so the entries have one order, and none is queued behind one that
//! was refused. The writer naps between two looks, so that a busy server wakes it a hundred times a
//! second and not for each request: a process that is killed loses that much of its recording.

use super::{
    entry::{Base, Entry},
    file::{FRAME_LEN, Header, put_block},
};
use crate::error::{Error, Result};
use crate::sync::{Arc, AtomicU64, Ordering, Table, spawn, thread::JoinHandle, wall_clock};
use crossbeam_utils::sync::{Parker, Unparker};
use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

/// The most bytes of entries that wait for the disk; with more the recording stops.
pub(super) const PENDING_BYTES: usize = 64 << 20;
/// With so many bytes waiting the writer's nap ends.
const NAP_BYTES: usize = 4 << 20;
/// How long the writer naps: what a killed process loses at most.
const NAP: Duration = Duration::from_millis(10);
/// A block is written when its payload has so many bytes.
const BLOCK_BYTES: usize = 64 * 1024;
/// Room kept free below the file's limit for the note that it was reached.
const END_ROOM: u64 = 1024;

#[derive(Debug, Default)]
struct Pending {
    entries: Vec<Entry>,
    bytes: usize,
    asleep: bool,
    closed: Option<Closed>,
}

/// Why nothing more is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Closed {
    /// In order.
    Finished,
    /// It had to stop.
    Stopped(String),
}

/// What recorder and writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pending: Table<Pending>,
    written: AtomicU64,
    wake: Unparker,
}

impl Shared {
    pub(super) fn new(wake: Unparker) -> Self {
        Self { pending: Table::default(), written: AtomicU64::new(0), wake }
    }

    /// Queues an entry, or forgets it and everything after it if too much waits. Runs no user code
    /// and waits for no disk.
    pub(super) fn push(&self, entry: Entry) {
        let entry = entry.cut_if_long();
        let size = entry.size();
        let mut pending = self.pending.lock();
        if pending.closed.is_some() {
            return;
        }
        let napping = pending.bytes < NAP_BYTES;
        pending.bytes += size;
        if pending.bytes > PENDING_BYTES {
            let why = format!("stopped: more than {PENDING_BYTES} bytes waited for the disk");
            pending.closed = Some(Closed::Stopped(why));
        } else {
            pending.entries.push(entry);
        }
        let many = napping && pending.bytes >= NAP_BYTES;
        let wake = std::mem::take(&mut pending.asleep) || many || pending.closed.is_some();
        drop(pending);
        if wake {
            self.wake.unpark();
        }
    }

    fn close(&self, closed: Closed) {
        self.pending.lock().closed.get_or_insert(closed);
        self.wake.unpark();
    }

    pub(super) fn stopped(&self) -> Option<String> {
        match &self.pending.lock().closed {
            Some(Closed::Stopped(why)) => Some(why.clone()),
            _ => None,
        }
    }
}

/// A recording being written; cheap to clone. Dropping the last clone finishes it.
#[derive(Clone)]
pub(crate) struct Recorder(Arc<Owner>);

struct Owner {
    shared: Arc<Shared>,
    writer: Table<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// Creates the file, readable by its owner only, or empties it; writes the header and starts
    /// the writer thread. The file gets at most `limit` bytes.
    pub(crate) fn create(path: &Path, header: &Header, limit: u64) -> Result<Self> {
        let failed =
            |error| Error::io(format!("the recording {} cannot be created", path.display()), error);
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(path).map_err(failed)?;
        let header = header.encode();
        file.write_all(&header).map_err(failed)?;
        let parker = Parker::new();
        let shared = Arc::new(Shared::new(parker.unparker().clone()));
        let name = path.display().to_string();
        let mut writer =
            Writer::<File>::new(Arc::clone(&shared), file, name, limit, header.len() as u64);
        let thread = spawn("txloop-record", move || writer.run(&parker)).map_err(failed)?;
        Ok(Self(Arc::new(Owner { shared, writer: Table::new(Some(thread)) })))
    }

    /// Records, if the recording has not stopped. Runs no user code.
    pub(crate) fn push(&self, entry: Entry) {
        self.0.shared.push(entry);
    }

    /// Why it has stopped, if it has.
    pub(crate) fn stopped(&self) -> Option<String> {
        self.0.shared.stopped()
    }

    /// The bytes in the file.
    pub(crate) fn written(&self) -> u64 {
        // Relaxed: a statistic.
        self.0.shared.written.load(Ordering::Relaxed)
    }

    /// Writes everything recorded so far and the end. Calling it again is fine.
    pub(crate) fn finish(&self) {
        self.0.finish();
    }
}

impl Owner {
    fn finish(&self) {
        if let Some(thread) = self.writer.lock().take() {
            self.shared.close(Closed::Finished);
            // The thread does not panic, and there would be nothing left to do if it had.
            let _ = thread.join();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.finish();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("written", &self.written()).finish_non_exhaustive()
    }
}

/// The writer thread's own state.
#[derive(Debug)]
pub(super) struct Writer<W> {
    shared: Arc<Shared>,
    medium: W,
    /// For the warning.
    name: String,
    limit: u64,
    /// Bytes in the file.
    length: u64,
    /// Taken from the queue; kept for its memory.
    entries: Vec<Entry>,
    payload: Vec<u8>,
    block: Vec<u8>,
}

/// What the queue was found to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Round {
    Wrote,
    Empty,
    Over,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(
        shared: Arc<Shared>,
        medium: W,
        name: String,
        limit: u64,
        length: u64,
    ) -> Self {
        let (entries, payload, block) = (Vec::new(), Vec::new(), Vec::new());
        Self { shared, medium, name, limit, length, entries, payload, block }
    }

    fn run(&mut self, parker: &Parker) {
        loop {
            match self.round() {
                Round::Wrote => parker.park_timeout(NAP),
                Round::Empty => parker.park(),
                Round::Over => return,
            }
        }
    }

    /// Writes what waits.
    pub(super) fn round(&mut self) -> Round {
        let closed = {
            let mut pending = self.shared.pending.lock();
            std::mem::swap(&mut pending.entries, &mut self.entries);
            pending.bytes = 0;
            pending.asleep = self.entries.is_empty();
            pending.closed.clone()
        };
        let empty = self.entries.is_empty();
        let written = self.write_entries();
        match (written, closed) {
            (Err(why), _) => self.stop(&why),
            (Ok(()), Some(Closed::Stopped(why))) => self.stop(&why),
            (Ok(()), Some(Closed::Finished)) => {
                let since = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
                let at_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
                if let Err(why) = self.write_last(Entry::End { at_ns }) {
                    self.warn(&why);
                }
            }
            (Ok(()), None) if empty => return Round::Empty,
            (Ok(()), None) => return Round::Wrote,
        }
        Round::Over
    }

    /// Writes what was taken, up to the first entry that the file has no room for.
    fn write_entries(&mut self) -> Result<(), String> {
        let mut entries = std::mem::take(&mut self.entries);
        let (mut base, mut result) = (Base::default(), Ok(()));
        for entry in entries.drain(..) {
            let before = self.payload.len();
            entry.put(&mut self.payload, &mut base);
            let length = self.length + (FRAME_LEN + self.payload.len()) as u64;
            if length + END_ROOM > self.limit {
                self.payload.truncate(before);
                let full = format!("stopped: the limit of {} bytes is reached", self.limit);
                result = self.write_block().and(Err(full));
                break;
            }
            if self.payload.len() >= BLOCK_BYTES {
                base = Base::default();
                result = self.write_block();
                if result.is_err() {
                    break;
                }
            }
        }
        entries.clear();
        self.entries = entries;
        result.and_then(|()| self.write_block())
    }

    /// Writes the payload as a block.
    fn write_block(&mut self) -> Result<(), String> {
        if self.payload.is_empty() {
            return Ok(());
        }
        self.block.clear();
        put_block(&mut self.block, &self.payload);
        self.payload.clear();
        let written = self.medium.write_all(&self.block).and_then(|()| self.medium.flush());
        written.map_err(|e| format!("stopped: it cannot be written: {e}"))?;
        self.length += self.block.len() as u64;
        self.shared.written.store(self.length, Ordering::Relaxed);
        Ok(())
    }

    fn write_last(&mut self, entry: Entry) -> Result<(), String> {
        self.payload.clear();
        entry.put(&mut self.payload, &mut Base::default());
        self.write_block()
    }

    /// Ends the recording before the server ends, and says so: in the file if that can be written.
    fn stop(&mut self, why: &str) {
        self.shared.close(Closed::Stopped(why.to_owned()));
        self.shared.pending.lock().entries = Vec::new();
        // A disk that is full has no room for it; then the recording ends without a note.
        let _ = self.write_last(Entry::Stopped { why: why.to_owned() });
        self.warn(why);
    }

    fn warn(&self, why: &str) {
        // Not `eprintln!`, which panics where standard error is closed.
        let _ = writeln!(io::stderr(), "txloop: the recording {} has {why}", self.name);
    }
}
