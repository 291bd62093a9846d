//! From records to a summary: what the time went to, and which conflicts cost how much.
//!
//! Two steps. A [`Tally`] adds up blocks in numbers only; tallies of different blocks can be made
//! in parallel and merged. A [`Summary`] is the finished account, with names in place of numbers.
//! Any record is safe: times may be absurd, sums saturate, nothing is divided by zero.

use std::{
    collections::{BTreeMap, HashMap},
    io::Read,
};

use crate::conflict_log::{
    AttemptRecord, Block, ConflictKind, ConflictRecord, EventTable, LogReader, NameId, Outcome,
    PlaceId, Record, Side, decode_block,
};

/// Cells of a time line.
pub(super) const TIME_LINE: usize = 60;
/// Notes about single blocks that a report shows at most.
const MAX_BLOCK_NOTES: usize = 10;

/// What a conflict was about: the cell's label if it has one, else its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Cell {
    Named(NameId),
    Typed(NameId),
}

/// Conflicts that a reader would call the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    kind: ConflictKind,
    cell: Cell,
    loser: Side,
    winner: Side,
}

#[derive(Debug, Default)]
struct Group {
    lost_ns: u64,
    cell_type: NameId,
    /// When, and how much time was lost (ns): kept one by one, since what part of the time line a
    /// moment falls into is known only at the end of the log. Less than the record in the file.
    hits: Vec<(u64, u64)>,
}

/// Time and number of the attempts of one worker.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    kept_ns: u64,
    aborted_ns: u64,
}

/// How many attempts ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) committed: u64,
    pub(super) read_only: u64,
    pub(super) rolled_back: u64,
    pub(super) panicked: u64,
    pub(super) aborted: u64,
}

impl Counts {
    /// Attempts that were not thrown away: each is one transaction.
    pub(super) const fn kept(&self) -> u64 {
        self.committed + self.read_only + self.rolled_back + self.panicked
    }
}

/// Sums over some blocks of a log.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: Counts,
    /// Transactions that took one, two, more attempts.
    tries: [u64; 3],
    workers: BTreeMap<u16, Work>,
    /// The first and the last moment in any record, ns.
    span: Option<(u64, u64)>,
    groups: HashMap<Key, Group>,
    conflicts: u64,
    dropped: u64,
    /// When the log was closed (ns), and how many attempts and conflicts it says it has.
    end: Option<(u64, u64)>,
    names: HashMap<NameId, String>,
    places: HashMap<PlaceId, (String, u32)>,
    unknown: BTreeMap<(EventTable, u8), u64>,
    /// Blocks with malformed records: the first few in words, and how many there are.
    malformed: Vec<String>,
    malformed_count: u64,
}

impl Tally {
    /// This tally and one more block.
    pub(super) fn with_block(mut self, block: &Block) -> Self {
        let read =
            decode_block(block.kind, block.worker, &block.payload, |record| self.add(record));
        for code in read.unknown {
            *self.unknown.entry(code).or_default() += 1;
        }
        if let Some(at) = read.malformed_at {
            self.malformed_count += 1;
            self.malformed.push(format!(
                "log block {} at byte {}: the record at byte {at} of its payload is malformed; the \
                 rest of the block was ignored",
                block.number, block.offset
            ));
            self.malformed.truncate(MAX_BLOCK_NOTES);
        }
        self
    }

    /// This tally and that of later blocks.
    pub(super) fn merge(mut self, later: Self) -> Self {
        let counts = [
            (&mut self.counts.committed, later.counts.committed),
            (&mut self.counts.read_only, later.counts.read_only),
            (&mut self.counts.rolled_back, later.counts.rolled_back),
            (&mut self.counts.panicked, later.counts.panicked),
            (&mut self.counts.aborted, later.counts.aborted),
            (&mut self.conflicts, later.conflicts),
            (&mut self.malformed_count, later.malformed_count),
        ];
        for (sum, more) in counts.into_iter().chain(self.tries.iter_mut().zip(later.tries)) {
            *sum += more;
        }
        self.dropped = self.dropped.saturating_add(later.dropped);
        for (worker, more) in later.workers {
            let work = self.workers.entry(worker).or_default();
            work.kept_ns = work.kept_ns.saturating_add(more.kept_ns);
            work.aborted_ns = work.aborted_ns.saturating_add(more.aborted_ns);
        }
        if let Some((first, last)) = later.span {
            self.extend_span(first, last);
        }
        for (key, mut more) in later.groups {
            let group = self.groups.entry(key).or_default();
            group.lost_ns = group.lost_ns.saturating_add(more.lost_ns);
            group.cell_type = known_type(group.cell_type, more.cell_type);
            if group.hits.is_empty() {
                group.hits = more.hits;
            } else {
                group.hits.append(&mut more.hits);
            }
        }
        self.end = later.end.or(self.end);
        self.names.extend(later.names);
        self.places.extend(later.places);
        for (code, more) in later.unknown {
            *self.unknown.entry(code).or_default() += more;
        }
        self.malformed.extend(later.malformed);
        self.malformed.truncate(MAX_BLOCK_NOTES);
        self
    }

    fn add(&mut self, record: Record) {
        match record {
            Record::Name { id, text } => {
                self.names.insert(id, text);
            }
            Record::Place { id, file, line, .. } => {
                self.places.insert(id, (file, line));
            }
            Record::Attempt(worker, attempt) => self.add_attempt(worker, &attempt),
            Record::Conflict(_, conflict) => self.add_conflict(&conflict),
            Record::Dropped { count } => self.dropped = self.dropped.saturating_add(count),
            Record::End { at_ns, records } => self.end = Some((at_ns, records)),
        }
    }

    fn add_attempt(&mut self, worker: u16, attempt: &AttemptRecord) {
        let took_ns = attempt.end_ns.saturating_sub(attempt.start_ns);
        self.extend_span(attempt.start_ns, attempt.end_ns);
        let work = self.workers.entry(worker).or_default();
        let count = match attempt.outcome {
            Outcome::Committed => &mut self.counts.committed,
            Outcome::ReadOnly => &mut self.counts.read_only,
            Outcome::RolledBack => &mut self.counts.rolled_back,
            Outcome::Panicked => &mut self.counts.panicked,
            Outcome::Aborted => &mut self.counts.aborted,
        };
        *count += 1;
        if attempt.outcome == Outcome::Aborted {
            work.aborted_ns = work.aborted_ns.saturating_add(took_ns);
        } else {
            work.kept_ns = work.kept_ns.saturating_add(took_ns);
            self.tries[(attempt.attempt.clamp(1, 3) - 1) as usize] += 1;
        }
    }

    fn add_conflict(&mut self, conflict: &ConflictRecord) {
        self.extend_span(conflict.at_ns, conflict.at_ns);
        self.conflicts += 1;
        let ConflictRecord { kind, cell_name, cell_type, loser, winner, .. } = *conflict;
        let cell = match cell_name {
            NameId(0) => Cell::Typed(cell_type),
            name => Cell::Named(name),
        };
        let group = self.groups.entry(Key { kind, cell, loser, winner }).or_default();
        group.lost_ns = group.lost_ns.saturating_add(conflict.lost_ns);
        group.cell_type = known_type(group.cell_type, cell_type);
        group.hits.push((conflict.at_ns, conflict.lost_ns));
    }

    fn extend_span(&mut self, first: u64, last: u64) {
        let (start, end) = self.span.unwrap_or((first, last));
        self.span = Some((start.min(first), end.max(last)));
    }
}

/// The type to show for cells of one label: if they differ, the one defined first, so that the
/// answer does not depend on the order of merging.
fn known_type(a: NameId, b: NameId) -> NameId {
    match (a, b) {
        (NameId(0), known) | (known, NameId(0)) => known,
        (a, b) => a.min(b),
    }
}

/// One side of a conflict in words, as far as they are known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Party {
    pub(super) handler: Option<String>,
    /// File and line.
    pub(super) place: Option<(String, u32)>,
}

/// Conflicts that are the same in all that a reader would look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conflict {
    pub(super) kind: ConflictKind,
    pub(super) count: u64,
    pub(super) lost_ns: u64,
    pub(super) cell_name: Option<String>,
    pub(super) cell_type: Option<String>,
    pub(super) loser: Party,
    pub(super) winner: Party,
    /// The time lost (ns, at least 1 a conflict) in each sixtieth of the real time.
    pub(super) time_line: [u64; TIME_LINE],
}

/// The account of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Summary {
    /// From the opening of the log to its end or, without an end record, to the last record.
    pub(super) wall_ns: u64,
    /// Threads that run handlers, or that did.
    pub(super) threads: u64,
    /// Time in attempts that were not thrown away.
    pub(super) kept_ns: u64,
    /// Time in attempts that were thrown away.
    pub(super) aborted_ns: u64,
    /// The part of `aborted_ns` that no conflict accounts for.
    pub(super) unexplained_ns: u64,
    pub(super) counts: Counts,
    /// Transactions that took one, two, more attempts.
    pub(super) tries: [u64; 3],
    /// Time in attempts (ns) of each worker that had one, by its number.
    pub(super) busy_ns: Vec<(u16, u64)>,
    /// Kinds of conflicts, of which `conflicts` has only the most expensive.
    pub(super) conflict_groups: usize,
    pub(super) conflicts: Vec<Conflict>,
    /// What is missing from the log, a sentence each.
    pub(super) notes: Vec<String>,
}

impl Summary {
    /// The account of a log that was read to its end, with the `top` most expensive conflicts.
    pub(super) fn new<R: Read>(mut tally: Tally, reader: &LogReader<R>, top: usize) -> Self {
        let header = reader.header();
        let opened = header.mono_ns;
        let (first, last) = tally.span.unwrap_or((opened, opened));
        let start_ns = opened.min(first);
        let end_ns = tally.end.map_or(last, |(at_ns, _)| last.max(at_ns)).max(opened);
        let wall_ns = end_ns - start_ns;
        let sum =
            |part: fn(&Work) -> u64| tally.workers.values().map(part).fold(0, u64::saturating_add);
        let (kept_ns, aborted_ns) = (sum(|work| work.kept_ns), sum(|work| work.aborted_ns));
        let explained = tally
            .groups
            .iter()
            .filter(|(key, _)| !key.kind.is_wait())
            .fold(0, |sum: u64, (_, group)| sum.saturating_add(group.lost_ns));
        let busy_ns = tally
            .workers
            .iter()
            .map(|(&worker, work)| (worker, work.kept_ns.saturating_add(work.aborted_ns)))
            .collect();
        let notes = notes(&tally, reader);
        let mut groups: Vec<_> = std::mem::take(&mut tally.groups).into_iter().collect();
        groups.sort_unstable_by(|(a_key, a), (b_key, b)| {
            let by_cost = (b.lost_ns, b.hits.len()).cmp(&(a.lost_ns, a.hits.len()));
            by_cost.then_with(|| a_key.cmp(b_key))
        });
        let conflict_groups = groups.len();
        groups.truncate(top);
        let conflicts = groups
            .into_iter()
            .map(|(key, group)| tally.in_words(key, &group, (start_ns, wall_ns)))
            .collect();
        Self {
            wall_ns,
            threads: u64::from(header.threads).max(tally.workers.len() as u64),
            kept_ns,
            aborted_ns,
            unexplained_ns: aborted_ns.saturating_sub(explained),
            counts: tally.counts,
            tries: tally.tries,
            busy_ns,
            conflict_groups,
            conflicts,
            notes,
        }
    }

    /// Time of all threads together, ns.
    pub(super) const fn thread_ns(&self) -> u64 {
        self.wall_ns.saturating_mul(self.threads)
    }
}

impl Tally {
    fn in_words(&self, key: Key, group: &Group, span: (u64, u64)) -> Conflict {
        let name = |id: NameId| self.names.get(&id).filter(|_| id.0 != 0).cloned();
        let party = |side: Side| Party {
            handler: name(side.handler),
            place: self.places.get(&side.place).filter(|_| side.place.0 != 0).cloned(),
        };
        Conflict {
            kind: key.kind,
            count: group.hits.len() as u64,
            lost_ns: group.lost_ns,
            cell_name: match key.cell {
                Cell::Named(id) => name(id),
                Cell::Typed(_) => None,
            },
            cell_type: name(group.cell_type),
            loser: party(key.loser),
            winner: party(key.winner),
            time_line: time_line(&group.hits, span),
        }
    }
}

/// Spreads what was lost over the real time. The last moment belongs to the last cell.
fn time_line(hits: &[(u64, u64)], (start_ns, wall_ns): (u64, u64)) -> [u64; TIME_LINE] {
    let mut cells = [0u64; TIME_LINE];
    for &(at_ns, lost_ns) in hits {
        let since = u128::from(at_ns.saturating_sub(start_ns));
        let index = (since * TIME_LINE as u128).checked_div(u128::from(wall_ns)).unwrap_or(0);
        let index = usize::try_from(index).map_or(TIME_LINE - 1, |index| index.min(TIME_LINE - 1));
        cells[index] = cells[index].saturating_add(lost_ns.max(1));
    }
    cells
}

/// What is missing from the log.
fn notes<R: Read>(tally: &Tally, reader: &LogReader<R>) -> Vec<String> {
    let mut notes = Vec::new();
    if tally.dropped > 0 {
        notes.push(format!(
            "{} records were dropped while recording: attempts and conflicts are missing above",
            tally.dropped
        ));
    }
    for (&(table, code), count) in &tally.unknown {
        let name = reader.header().event_name(table, code).unwrap_or("no name");
        let what = if table == EventTable::Block { "blocks" } else { "records" };
        let noun = table.noun();
        notes.push(format!(
            "{count} {what} skipped, unknown to this version: {noun} {code} ({name})"
        ));
    }
    notes.extend_from_slice(&tally.malformed);
    let more = tally.malformed_count - tally.malformed.len() as u64;
    if more > 0 {
        notes.push(format!("{more} more blocks with malformed records"));
    }
    notes.extend(reader.tear().map(str::to_owned));
    if !reader.ended() {
        notes.push("the log has no end record: the program was killed or still runs".to_owned());
    }
    let read = tally.counts.kept() + tally.counts.aborted + tally.conflicts;
    if let Some((_, records)) = tally.end.filter(|&(_, records)| records != read) {
        notes.push(format!("{records} attempts and conflicts were written, {read} were read"));
    }
    notes
}
