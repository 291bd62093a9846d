//! The account of an executor: counters, the pairs that conflicted, and the conflict log.

use super::job::Task;
use crate::cell::labels::{self, Label};
use crate::conflict_log::{
    AttemptRecord, ConflictKind, ConflictRecord, Log, NameId, Outcome, PlaceId, Recorder, Side,
};
use crate::sync::{AtomicU32, AtomicU64, Ordering, Table};
use crate::transaction::{conflict::Conflict, footprint::of_collection};
use crossbeam_utils::CachePadded;
use dashmap::DashMap;

/// The most pairs of handler and cell that are counted; later ones are only in the log.
const MAX_PAIRS: usize = 10_000;
/// A hold longer than this is noted.
const LONG_HOLD_NS: u64 = 1_000_000;

/// What an executor has done since it was built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Handlers that ended: committed, read-only, rolled back or panicked.
    pub ended: u64,
    /// Attempts that were thrown away and run again.
    pub aborted: u64,
    /// Time spent in attempts that were thrown away, in nanoseconds.
    pub lost_ns: u64,
    /// Handlers that were accepted and have not ended: queued, running or parked.
    pub under_way: usize,
    /// Those of them that called `retry` and wait for a write.
    pub parked: usize,
    /// What was refused because there was too much.
    pub refused: super::Refused,
    /// Bytes of request bodies whose handlers were accepted and have not been dropped.
    pub input_bytes: usize,
    /// Handlers that ran for more than a millisecond while everybody's commits waited, most time
    /// first: after losing too often, or in arrival order. Not counted with one thread.
    pub long_holds: Vec<LongHold>,
    /// Handlers that did not do the same when they were run twice, by name: see
    /// [`ExecutorBuilder::look_twice`](crate::ExecutorBuilder::look_twice).
    pub not_rerunnable: Vec<&'static str>,
    /// The pairs of a handler and a cell that made it run again, most time lost first.
    pub conflicts: Vec<Pair>,
}

/// A handler that kept others from committing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LongHold {
    /// The name of the handler.
    pub handler: &'static str,
    /// How often.
    pub count: u64,
    /// For how long at most, in nanoseconds.
    pub longest_ns: u64,
}

/// A handler that lost, the cell it lost on and the handler that won.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pair {
    /// The handler that ran again.
    pub loser: &'static str,
    /// The name of the cell, or the type of its value.
    pub cell: &'static str,
    /// The handler that wrote the cell; empty for a transaction outside any executor.
    pub winner: &'static str,
    /// How often.
    pub count: u64,
    /// Time thrown away, in nanoseconds.
    pub lost_ns: u64,
}

type PairKey = (Label, &'static str, Label);

pub(crate) struct Ledger {
    /// By the thread that ended them: one counter would be everybody's.
    ended: Box<[CachePadded<AtomicU64>]>,
    /// Those that were ended by a thread which runs no handlers for this executor.
    ended_elsewhere: AtomicU64,
    aborted: AtomicU64,
    lost_ns: AtomicU64,
    pairs: DashMap<PairKey, (u64, u64)>,
    /// How often and how long.
    holds: DashMap<Label, (u64, u64)>,
    log: Option<Logging>,
}

struct Logging {
    log: Log,
    /// One for each thread that runs handlers, the loop's last.
    recorders: Vec<Table<Recorder>>,
    /// Names and places that the file defines already.
    names: AtomicU32,
    places: AtomicU32,
    types: DashMap<&'static str, u32>,
}

impl Ledger {
    /// An account for `threads` threads that run handlers.
    pub(crate) fn new(log: Option<Log>, threads: usize) -> Self {
        let log = log.map(|log| Logging {
            recorders: (0..threads).map(|i| Table::new(log.recorder(i as u16))).collect(),
            log,
            names: AtomicU32::new(0),
            places: AtomicU32::new(0),
            types: DashMap::new(),
        });
        Self {
            ended: (0..threads).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
            ended_elsewhere: AtomicU64::new(0),
            aborted: AtomicU64::new(0),
            lost_ns: AtomicU64::new(0),
            pairs: DashMap::new(),
            holds: DashMap::new(),
            log,
        }
    }

    /// Whether attempts are logged one by one, so that their times are worth taking.
    pub(crate) fn is_logging(&self) -> bool {
        self.log.is_some()
    }

    /// Books a task that committed its writes, on any thread.
    pub(crate) fn committed(&self, task: &Task, version: u64) {
        self.ended_elsewhere(task, version, Outcome::Committed);
    }

    fn ended_elsewhere(&self, task: &Task, version: u64, outcome: Outcome) {
        // Relaxed: statistics, here and below.
        self.ended_elsewhere.fetch_add(1, Ordering::Relaxed);
        self.log_end(task, version, outcome);
    }

    /// Books a task that was ended by thread `by`, which calls this.
    pub(crate) fn ended(&self, by: usize, task: &Task, version: u64, outcome: Outcome) {
        let count = &self.ended[by];
        // The only one who writes it, so no need for one step.
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.log_end(task, version, outcome);
    }

    #[inline]
    fn log_end(&self, task: &Task, version: u64, outcome: Outcome) {
        if let Some(logging) = &self.log {
            logging.attempt(task, version, outcome, task.failures + 1);
        }
    }

    /// Books a handler that ran while holding the baton.
    pub(crate) fn held(&self, task: &Task) {
        let ns = task.ended_ns.saturating_sub(task.began_ns);
        if ns > LONG_HOLD_NS {
            let mut hold = self.holds.entry(task.job.handled().label).or_default();
            *hold = (hold.0 + 1, hold.1.max(ns));
        }
    }

    /// Books a task whose commit panicked.
    pub(crate) fn panicked(&self, task: &Task, version: u64) {
        self.ended_elsewhere(task, version, Outcome::Panicked);
    }

    /// Books a task that was taken back.
    pub(crate) fn cancelled(&self, task: &Task) {
        self.ended_elsewhere(task, task.first_snapshot, Outcome::RolledBack);
    }

    /// Books an attempt that was thrown away. `task` has counted it among its failures.
    pub(crate) fn aborted(&self, task: &Task, conflict: &Conflict, lost_ns: u64) {
        self.aborted.fetch_add(1, Ordering::Relaxed);
        self.lost_ns.fetch_add(lost_ns, Ordering::Relaxed);
        let cell = match conflict.name.text() {
            "" => conflict.cell_type,
            name => name,
        };
        let key = (task.job.handled().label, cell, conflict.winner.handler);
        if self.pairs.len() < MAX_PAIRS || self.pairs.contains_key(&key) {
            let mut pair = self.pairs.entry(key).or_default();
            pair.0 += 1;
            pair.1 += lost_ns;
        }
        if let Some(logging) = &self.log {
            logging.attempt(task, task.first_snapshot, Outcome::Aborted, task.failures);
            logging.conflict(task, conflict, lost_ns);
        }
    }

    /// Hands what thread `worker` has recorded to the writer of the log, if it is time.
    pub(crate) fn flush_if_due(&self, worker: usize, now_ns: u64) {
        if let Some(logging) = &self.log {
            logging.recorders[worker].lock().flush_if_due(now_ns);
        }
    }

    /// Hands all that is recorded to the writer of the log.
    pub(crate) fn flush(&self) {
        for recorder in self.log.iter().flat_map(|logging| &logging.recorders) {
            recorder.lock().flush();
        }
    }

    /// Ends the log.
    pub(crate) fn finish(&self) {
        self.flush();
        if let Some(logging) = &self.log {
            logging.log.finish();
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut conflicts: Vec<Pair> = self
            .pairs
            .iter()
            .map(|pair| {
                let ((loser, cell, winner), (count, lost_ns)) = (*pair.key(), *pair.value());
                Pair { loser: loser.text(), cell, winner: winner.text(), count, lost_ns }
            })
            .collect();
        let mut long_holds: Vec<LongHold> = self
            .holds
            .iter()
            .map(|hold| LongHold {
                handler: hold.key().text(),
                count: hold.value().0,
                longest_ns: hold.value().1,
            })
            .collect();
        long_holds.sort_by_key(|hold| std::cmp::Reverse(hold.longest_ns));
        conflicts.sort_by(|a, b| b.lost_ns.cmp(&a.lost_ns).then_with(|| a.cell.cmp(b.cell)));
        let here: u64 = self.ended.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        Stats {
            ended: here + self.ended_elsewhere.load(Ordering::Relaxed),
            aborted: self.aborted.load(Ordering::Relaxed),
            lost_ns: self.lost_ns.load(Ordering::Relaxed),
            long_holds,
            conflicts,
            ..Stats::default()
        }
    }
}

impl Logging {
    fn attempt(&self, task: &Task, version: u64, outcome: Outcome, attempt: u32) {
        let record = AttemptRecord {
            handler: self.name(task.job.handled().label),
            ticket: task.ticket,
            version,
            attempt,
            start_ns: task.began_ns,
            end_ns: task.ended_ns,
            outcome,
        };
        self.recorders[task.worker].lock().attempt(&record);
    }

    fn conflict(&self, task: &Task, conflict: &Conflict, lost_ns: u64) {
        let read_at = conflict.read_at.map_or(0, labels::place);
        let record = ConflictRecord {
            kind: ConflictKind::WriteRead,
            ticket: task.ticket,
            attempt: task.failures,
            at_ns: task.ended_ns,
            lost_ns,
            cell_name: self.name(conflict.name),
            cell_type: NameId(self.type_name(conflict.cell_type)),
            cell_id: conflict.cell,
            loser: Side {
                handler: self.name(task.job.handled().label),
                place: self.place(read_at),
            },
            winner: Side {
                handler: self.name(conflict.winner.handler),
                place: self.place(conflict.winner.place),
            },
        };
        self.recorders[task.worker].lock().conflict(&record);
    }

    /// The label's number, defined in the file before it is used: names up to it that the file
    /// does not have yet are added. A race defines one twice, which does no harm.
    fn name(&self, label: Label) -> NameId {
        // Acquire and Release: whoever finds a name defined writes behind its definition.
        let known = self.names.load(Ordering::Acquire);
        if label.0 > known {
            for number in known + 1..=label.0 {
                self.log.define_name(number, Label(number).text());
            }
            self.names.fetch_max(label.0, Ordering::Release);
        }
        NameId(label.0)
    }

    fn place(&self, place: u32) -> PlaceId {
        let known = self.places.load(Ordering::Acquire);
        if place > known {
            for number in known + 1..=place {
                if let Some(at) = labels::location(number) {
                    self.log.define_place(number, at.file(), at.line(), at.column());
                }
            }
            self.places.fetch_max(place, Ordering::Release);
        }
        PlaceId(place)
    }

    /// Types are named through the table of labels, looked up once each; what a collection keeps in
    /// its cells is named as the collection.
    fn type_name(&self, name: &'static str) -> u32 {
        let of = || Label::of(of_collection(name).as_deref().unwrap_or(name)).0;
        let label = *self.types.entry(name).or_insert_with(of);
        self.name(Label(label)).0
    }
}
