//! The thread `txloop-log`, which alone touches the file.
//!
//! Vocabulary: a *full block* is what a recorder hands over; *definitions* are the names and places
//! not yet written; *dropped* counts records that will never be in the file.
//!
//! 1. A caller defines a name before it flushes a record that uses it. The writer takes a block
//!    first and the definitions second, so that whatever the block uses is among them.
//! 2. Definitions that cannot be written are kept (they are bounded) and come before the next
//!    block; while they wait, blocks are dropped.
//! 3. `dropped` is only ever added to by whoever drops, and taken by the writer, which writes it
//!    before the next block.
//! 4. `closing` is read before the queue is emptied: what was handed over before
//!    [`Log::finish`] is in the file.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    time::{Duration, SystemTime},
};

use crossbeam_queue::ArrayQueue;

use super::{
    format,
    header::Header,
    recorder::{BLOCK_BYTES, Recorder},
    sink::{Medium, Sink},
};
use crate::{
    error::{Error, Result},
    sync::{
        self, Arc, AtomicBool, AtomicU64, Ordering, Parker, Table, Unparker, thread::JoinHandle,
    },
};

/// Blocks that wait for the writer at most; a block that finds no room is dropped.
pub(super) const QUEUE_BLOCKS: usize = 64;
/// Names, and likewise places, that a log holds at most; later ones are ignored.
pub(super) const MAX_DEFINITIONS: u32 = 65_536;
/// The size of the file past which records are dropped, in bytes.
pub(super) const FILE_LIMIT: u64 = 1 << 30;
/// Room kept free below the limit for the count of what was dropped and the end record, in bytes.
const END_ROOM: u64 = 256;
/// How long the writer sleeps at most: definitions alone do not wake it.
const TICK: Duration = Duration::from_secs(1);

/// A block on its way to the file.
#[derive(Debug)]
pub(super) struct FullBlock {
    pub(super) worker: u16,
    pub(super) records: u32,
    pub(super) bytes: Vec<u8>,
}

/// Names and places not yet written, as encoded records, and how many were ever defined.
#[derive(Debug, Default)]
struct Definitions {
    records: Vec<Vec<u8>>,
    names: u32,
    places: u32,
}

/// What the recorders, the writer and the handles share.
#[derive(Debug)]
pub(super) struct Shared {
    full: ArrayQueue<FullBlock>,
    free: ArrayQueue<Vec<u8>>,
    definitions: Table<Definitions>,
    dropped: AtomicU64,
    closing: AtomicBool,
    wake: Unparker,
}

impl Shared {
    pub(super) fn new(wake: Unparker) -> Self {
        Self {
            full: ArrayQueue::new(QUEUE_BLOCKS),
            free: ArrayQueue::new(QUEUE_BLOCKS),
            definitions: Table::default(),
            dropped: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            wake,
        }
    }

    /// An empty buffer, used before if there is one.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.free.pop().unwrap_or_else(|| Vec::with_capacity(BLOCK_BYTES))
    }

    /// Queues a block and answers with an empty buffer. Does not wait: a block that finds no room
    /// is counted, and its buffer is the answer.
    pub(super) fn hand_over(&self, block: FullBlock) -> Vec<u8> {
        match self.full.push(block) {
            Ok(()) => {
                self.wake.unpark();
                self.buffer()
            }
            Err(mut block) => {
                self.drop_records(u64::from(block.records));
                block.bytes.clear();
                block.bytes
            }
        }
    }

    /// Relaxed: a sum, and nothing is published through it. Drops before `finish` are seen by its
    /// last look, because `closing` is stored after them (Release) and loaded before it (Acquire).
    fn drop_records(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn define_name(&self, id: u32, text: &str) {
        let mut record = Vec::new();
        format::put_name(&mut record, id, text);
        let mut definitions = self.definitions.lock();
        if definitions.names < MAX_DEFINITIONS {
            definitions.names += 1;
            definitions.records.push(record);
        }
    }

    pub(super) fn define_place(&self, id: u32, file: &str, line: u32, column: u32) {
        let mut record = Vec::new();
        format::put_place(&mut record, id, file, line, column);
        let mut definitions = self.definitions.lock();
        if definitions.places < MAX_DEFINITIONS {
            definitions.places += 1;
            definitions.records.push(record);
        }
    }
}

/// A conflict log being written; cheap to clone. Dropping the last clone finishes it.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    writer: Table<Option<JoinHandle<()>>>,
}

impl Log {
    /// Opens (and empties) the file, writes the header and starts the writer thread. `threads` is
    /// how many threads run handlers: the report's thread time is that times the real time.
    pub(crate) fn create(path: &Path, threads: u32) -> Result<Self> {
        let failed = |error| {
            Error::io(format!("the conflict log {} cannot be created", path.display()), error)
        };
        let file = File::create(path).map_err(failed)?;
        let header = Header::new(unix_ns(sync::wall_clock()), sync::now_ns(), threads);
        let parker = Parker::new();
        let shared = Arc::new(Shared::new(parker.unparker().clone()));
        let mut writer =
            Writer::new(Arc::clone(&shared), file, FILE_LIMIT, path.display().to_string());
        writer.sink.append(&header.encode()).map_err(failed)?;
        let thread = sync::spawn("txloop-log", move || writer.run(&parker)).map_err(failed)?;
        let handle = Handle { shared, writer: Table::new(Some(thread)) };
        Ok(Self { handle: Arc::new(handle) })
    }

    /// A recorder for the worker of this number; several may share one.
    pub(crate) fn recorder(&self, worker: u16) -> Recorder {
        Recorder::new(Arc::clone(&self.handle.shared), worker)
    }

    /// Says what a `NameId` means. Written before any block that is flushed after this call; kept
    /// in memory until then. Of more than 65,536 names the later ones are ignored.
    pub(crate) fn define_name(&self, id: u32, text: &str) {
        self.handle.shared.define_name(id, text);
    }

    /// Says what a `PlaceId` means; otherwise like [`Log::define_name`].
    pub(crate) fn define_place(&self, id: u32, file: &str, line: u32, column: u32) {
        self.handle.shared.define_place(id, file, line, column);
    }

    /// Writes everything handed over so far and the end record, and waits for the writer thread.
    /// Recorders must have been flushed; what they record later is lost. Calling it again is fine.
    pub(crate) fn finish(&self) {
        self.handle.finish();
    }
}

impl Handle {
    fn finish(&self) {
        let mut writer = self.writer.lock();
        if let Some(thread) = writer.take() {
            // Release: pairs with the Acquire in `Writer::run` (protocol step 4).
            self.shared.closing.store(true, Ordering::Release);
            self.shared.wake.unpark();
            // The thread does not panic, and there would be nothing left to do if it had.
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Nanoseconds since 1970 (UTC); 0 for a clock set before.
fn unix_ns(wall: SystemTime) -> u64 {
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The writer thread's own state.
#[derive(Debug)]
pub(super) struct Writer<M> {
    shared: Arc<Shared>,
    pub(super) sink: Sink<M>,
    limit: u64,
    /// For the warning.
    path: String,
    warned: bool,
    /// Definitions taken over, not yet in the file.
    pending: Vec<Vec<u8>>,
    /// Attempts and conflicts in the file.
    records: u64,
    /// The block being put together: one piece, one write.
    piece: Vec<u8>,
}

impl<M: Medium> Writer<M> {
    pub(super) fn new(shared: Arc<Shared>, medium: M, limit: u64, path: String) -> Self {
        let sink = Sink::new(medium);
        let (pending, piece) = (Vec::new(), Vec::new());
        Self { shared, sink, limit, path, warned: false, pending, records: 0, piece }
    }

    fn run(&mut self, parker: &Parker) {
        loop {
            // Acquire: pairs with the Release in `Handle::finish` (protocol step 4).
            let closing = self.shared.closing.load(Ordering::Acquire);
            let emptied = self.round();
            if closing {
                self.end(sync::now_ns());
                return;
            }
            if emptied {
                parker.park_timeout(TICK);
            }
        }
    }

    /// Writes what waits, at most one queue's worth, so that `closing` is looked at now and then;
    /// answers whether the queue was found empty.
    pub(super) fn round(&mut self) -> bool {
        for _ in 0..QUEUE_BLOCKS {
            let Some(block) = self.shared.full.pop() else {
                self.write_definitions();
                self.write_dropped(END_ROOM);
                return true;
            };
            self.write_events(block);
        }
        false
    }

    /// Writes the end, also past the limit: room was kept for it.
    pub(super) fn end(&mut self, at_ns: u64) {
        self.write_dropped(0);
        let mut payload = Vec::with_capacity(format::MAX_RECORD);
        format::put_end(&mut payload, at_ns, self.records);
        self.write(format::BLOCK_END, format::NO_WORKER, &payload, 0);
        // Half a block at the end of a full disk: nothing more can be done about it.
        let _ = self.sink.mend();
    }

    fn write_events(&mut self, block: FullBlock) {
        let FullBlock { worker, records, mut bytes } = block;
        let written = self.write_definitions()
            && self.write_dropped(END_ROOM)
            && self.write(format::BLOCK_EVENTS, worker, &bytes, END_ROOM);
        if written {
            self.records += u64::from(records);
        } else {
            self.shared.drop_records(u64::from(records));
        }
        bytes.clear();
        // Full: more buffers than the queue holds are not worth keeping.
        let _ = self.shared.free.push(bytes);
    }

    /// Writes the definitions there are; `false` if some are left.
    fn write_definitions(&mut self) -> bool {
        self.pending.append(&mut self.shared.definitions.lock().records);
        while !self.pending.is_empty() {
            let mut payload = Vec::with_capacity(BLOCK_BYTES);
            let mut taken = 0;
            for record in &self.pending {
                if taken > 0 && payload.len() + record.len() > BLOCK_BYTES {
                    break;
                }
                payload.extend_from_slice(record);
                taken += 1;
            }
            if !self.write(format::BLOCK_TABLES, format::NO_WORKER, &payload, END_ROOM) {
                return false;
            }
            self.pending.drain(..taken);
        }
        true
    }

    /// Writes how many records were dropped since the last time; `false` if that failed, and the
    /// count is kept.
    fn write_dropped(&mut self, room: u64) -> bool {
        // Relaxed: see `drop_records`.
        let count = self.shared.dropped.swap(0, Ordering::Relaxed);
        if count == 0 {
            return true;
        }
        let mut payload = Vec::with_capacity(format::MAX_RECORD);
        format::put_dropped(&mut payload, count);
        let written = self.write(format::BLOCK_TABLES, format::NO_WORKER, &payload, room);
        if !written {
            self.shared.drop_records(count);
        }
        written
    }

    /// Writes one block, unless it would leave less than `room` bytes below the limit.
    fn write(&mut self, kind: u8, worker: u16, payload: &[u8], room: u64) -> bool {
        self.piece.clear();
        format::put_block(&mut self.piece, kind, worker, payload);
        if room > 0 && self.sink.len() + self.piece.len() as u64 + room > self.limit {
            return false;
        }
        match self.sink.append(&self.piece) {
            Ok(()) => true,
            Err(error) => {
                self.warn(&error);
                false
            }
        }
    }

    /// One line for the life of the log: a disk that stays full must not fill the terminal too.
    fn warn(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.warned, true) {
            // Not `eprintln!`, which panics where standard error is closed.
            let _ = writeln!(
                io::stderr(),
                "txloop: writing the conflict log {} failed, records are dropped until it works \
                 again: {error}",
                self.path
            );
        }
    }
}
