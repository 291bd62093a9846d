//! Attempts that called `retry` and wait until a cell that they read is written.
//!
//! An attempt is entered under the baton, right after its reads were found to stand (W1, W2), and
//! taken out by whoever commits a write to one of its cells, under the baton too (W3): no write
//! falls between. Somebody who cancels takes it out at any time; the table's lock decides who gets
//! its owner (W4). A parked attempt has no announcement; a cell that is marked as waited for is not
//! freed, so that no other can take its address and with it the attempt's place. If all handles to
//! its cells are gone, nothing but a cancellation ends the wait.

use super::{
    choice::Left,
    commit::{Finish, Woken},
};
use crate::cell::{labels::Label, node::CellRef};
use crate::sync::{Mutex, const_fn, fault, global, now_ns, point};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

/// The most attempts that are parked at one time in a process; one more ends with a panic.
pub const MAX_PARKED: usize = 1 << 17;

/// The most cells that those read who are parked at one time in a process, each as often as there
/// are who read it; whoever would be parked beyond that ends with a panic.
pub const MAX_WAITED: usize = 1 << 20;

/// The number of a parked attempt: they count up in the order of parking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ParkedId(pub(crate) u64);

/// Why an attempt is parked no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// A cell that it read was written.
    Written,
    /// Somebody took it out.
    Cancelled,
}

/// Why an attempt is not parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    TooMany,
    TooMuchRead,
    Cancelled,
}

struct Entry {
    owner: Box<dyn Finish>,
    /// With names, because the cells themselves may be gone.
    cells: Box<[(CellRef, Label)]>,
    handler: Label,
    left: Left,
    since_ns: u64,
}

struct Table {
    entries: BTreeMap<ParkedId, Entry>,
    waiters: BTreeSet<(CellRef, ParkedId)>,
    last: u64,
}

global! {
    static TABLE: Mutex<Table> = Mutex::new(Table::new());
}

impl Table {
    const_fn! {
        fn new() -> Self {
            Self { entries: BTreeMap::new(), waiters: BTreeSet::new(), last: 0 }
        }
    }

    fn take(&mut self, id: ParkedId) -> Option<Box<dyn Finish>> {
        let entry = self.entries.remove(&id)?;
        for (cell, _) in &entry.cells {
            self.waiters.remove(&(*cell, id));
            if self.waiting_for(*cell).next().is_none() {
                cell.unwait();
            }
        }
        Some(entry.owner)
    }

    fn waiting_for(&self, cell: CellRef) -> impl Iterator<Item = ParkedId> {
        let all = (cell, ParkedId(0))..=(cell, ParkedId(u64::MAX));
        self.waiters.range(all).map(|(_, id)| *id)
    }
}

/// Parks an attempt (W2): `owner` is told its number first. Called by the holder, who has found
/// that the reads of `cells` stand.
pub(super) fn enter(
    mut cells: Vec<CellRef>,
    handler: Label,
    left: Left,
    mut owner: Box<dyn Finish>,
) -> Result<(), (Box<dyn Finish>, Refusal)> {
    cells.sort_unstable();
    cells.dedup();
    point!(Park);
    let mut table = TABLE.lock();
    if table.entries.len() >= MAX_PARKED {
        return Err((owner, Refusal::TooMany));
    }
    if table.waiters.len() + cells.len() > MAX_WAITED {
        return Err((owner, Refusal::TooMuchRead));
    }
    table.last += 1;
    let id = ParkedId(table.last);
    if !owner.parks(id) {
        return Err((owner, Refusal::Cancelled));
    }
    for cell in &cells {
        cell.wait_on();
        if fault!("parked-unmarked") {
            cell.unwait();
        }
        table.waiters.insert((*cell, id));
    }
    let cells = cells.into_iter().map(|cell| (cell, cell.label())).collect();
    let since_ns = if left.since_ns == 0 { now_ns() } else { left.since_ns };
    table.entries.insert(id, Entry { owner, cells, handler, left, since_ns });
    Ok(())
}

/// Takes out whoever waits for one of these cells (W3), oldest first. Called by the holder, who has
/// just written them.
pub(super) fn take_written(cells: &[CellRef], woken: &mut Woken) {
    point!(Park);
    let forgotten = usize::from(fault!("waiters-of-last-forgotten"));
    let cells = &cells[..cells.len() - forgotten];
    let mut table = TABLE.lock();
    let mut ids = BTreeSet::new();
    for cell in cells {
        ids.extend(table.waiting_for(*cell));
    }
    let taken = ids.into_iter().filter_map(|id| table.take(id));
    woken.extend(taken.map(|owner| (owner, Wake::Written)));
}

/// Takes an attempt out, if it is parked still (W4). Runs no user code.
pub(crate) fn cancel(id: ParkedId) {
    point!(Park);
    let owner = TABLE.lock().take(id);
    if let Some(owner) = owner {
        owner.woken(Wake::Cancelled);
    }
}

/// A handler that called `retry` and waits for a write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parked {
    /// The name of the handler; empty for a transaction outside any executor.
    pub handler: &'static str,
    /// The names of the cells that it waits for, each once; an unnamed one reads "unnamed cell".
    pub cells: Vec<&'static str>,
    /// Where it called `retry`: file and line.
    pub place: String,
    /// For how long.
    pub since: Duration,
}

impl fmt::Display for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handler = if self.handler.is_empty() { "a transaction" } else { self.handler };
        let (cells, seconds) = (self.cells.join(", "), self.since.as_secs_f64());
        write!(f, "{handler} at {} has waited {seconds:.1} s for {cells}", self.place)
    }
}

/// The handlers that have been parked for at least `age`, oldest first, at most `most` of them.
///
/// For an operator: a handler that is parked for long waits for something that does not come, and
/// this says for which cells.
#[must_use]
pub fn parked_for(age: Duration, most: usize) -> Vec<Parked> {
    let now = now_ns();
    let waits = |entry: &Entry| Duration::from_nanos(now.saturating_sub(entry.since_ns));
    let table = TABLE.lock();
    let mut old: Vec<_> = table.entries.values().filter(|entry| waits(entry) >= age).collect();
    // Not that of the table: who was woken in vain has a new entry, and its first time. Commits
    // that park or wake somebody wait for this: only those that are shown are sorted.
    if most < old.len() {
        old.select_nth_unstable_by_key(most, |entry| entry.since_ns);
        old.truncate(most);
    }
    old.sort_by_key(|entry| entry.since_ns);
    let report = old.into_iter().map(|entry| {
        let mut cells: Vec<_> = entry.cells.iter().map(|(_, name)| name.text()).collect();
        cells.iter_mut().filter(|name| name.is_empty()).for_each(|name| *name = "unnamed cell");
        cells.sort_unstable();
        cells.dedup();
        let place = entry.left.place;
        let place = format!("{}:{}", place.file(), place.line());
        Parked { handler: entry.handler.text(), cells, place, since: waits(entry) }
    });
    report.collect()
}
