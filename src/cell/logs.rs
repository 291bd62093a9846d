//! Read logs and write logs: which cells an attempt read, and the boxed values it wants to write.
//!
//! One of the six files with `unsafe`. Both logs are used through `&self`, because handlers get
//! `&Transaction`; neither is `Sync`, no method runs user code while it has one borrowed, and the
//! values lent out live in boxes that are not dropped before the log is cleared through `&mut`.
#![expect(unsafe_code, reason = "logs behind `&self`: one of the six files of the cell module")]

use super::{
    address::AddressHasher,
    boxes::{Boxed, Lent, Version},
    folds::{Fold, Merge, MergeOf, Step, Steps},
    kept::Kept,
    labels::Origin,
    node::{CellOf, CellRef},
    slot::{Announcement, Guard},
    store::Held,
};
use crate::sync::fault;
use std::{cell::UnsafeCell, collections::HashMap, fmt, panic::Location, sync::Arc};

/// The most values that one transaction puts into cells, whether it overwrites them or not; one
/// more panics. Inserting into a collection writes a few.
pub const MAX_WRITES: usize = 1 << 22;
pub(crate) const TOO_MANY_WRITES: &str = "a transaction puts more than 4,194,304 values into cells";

/// Up to this many entries a write log is searched from front to back; above it has an index.
const LINEAR_WRITES: usize = 8;
/// A read log longer than this is sorted and thinned when it has doubled since the last time.
pub(crate) const THIN_READS: usize = 1 << 12;

/// The cells that an attempt read, in order, each with the place of the read when places are kept.
#[derive(Default)]
pub(crate) struct ReadLog(UnsafeCell<Reads>);

#[derive(Default)]
struct Reads {
    cells: Vec<CellRef>,
    /// As long as `cells`, or empty when places are not kept.
    places: Vec<&'static Location<'static>>,
    thin_at: usize,
}

/// Why a read log does not stand: the first cell in it that was written since.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StaleRead {
    /// The cell.
    pub(crate) cell: CellRef,
    /// The type of its value.
    pub(crate) cell_type: &'static str,
    /// Where it was read, when places are kept.
    pub(crate) place: Option<&'static Location<'static>>,
    /// Who wrote it first after the snapshot.
    pub(crate) winner: Origin,
}

impl ReadLog {
    #[inline(always)]
    fn reads(&self) -> *mut Reads {
        self.0.get()
    }

    /// Logs a read.
    #[inline(always)]
    pub(crate) fn push(&self, cell: CellRef) {
        // SAFETY: not Sync, and nothing else borrows the log while this runs.
        let reads = unsafe { &mut *self.reads() };
        if reads.cells.last() == Some(&cell) {
            return;
        }
        if reads.cells.len() == reads.cells.capacity() {
            reads.make_room();
        }
        reads.cells.push(cell);
    }

    /// Logs a read and where it was made.
    #[cold]
    pub(crate) fn push_at(&self, cell: CellRef, place: &'static Location<'static>) {
        // SAFETY: as in `push`.
        let reads = unsafe { &mut *self.reads() };
        if reads.cells.last() == Some(&cell) {
            return;
        }
        if reads.cells.len() == reads.cells.capacity() {
            reads.make_room();
        }
        reads.cells.push(cell);
        reads.places.push(place);
    }

    /// Whether every read cell still has the version seen at `snapshot` (C4). Called with the
    /// baton, so the answer stays true until it is let go.
    pub(crate) fn validate(&self, snapshot: u64, _held: &Guard<Held>) -> Result<(), StaleRead> {
        // SAFETY: as in `push`.
        let reads = unsafe { &*self.reads() };
        let snapshot = snapshot.saturating_sub(u64::from(fault!("validation-at-least")));
        match reads.cells.iter().position(|cell| cell.version() > snapshot) {
            Some(at) if fault!("validation-skips-last") && at + 1 == reads.cells.len() => Ok(()),
            Some(at)
                if fault!("validation-one-late") && reads.cells[at].version() == snapshot + 1 =>
            {
                Ok(())
            }
            None => Ok(()),
            Some(at) => {
                let cell = reads.cells[at];
                let (cell_type, winner) = cell.first_after(snapshot);
                let place = reads.places.get(at).copied();
                Err(StaleRead { cell, cell_type, place, winner })
            }
        }
    }

    /// Whether every read cell still has the version seen at `snapshot` (R5), in the state that the
    /// caller has just come upon.
    pub(crate) fn are_unchanged_since(&self, snapshot: u64) -> bool {
        // SAFETY: as in `push`.
        let reads = unsafe { &*self.reads() };
        reads.cells.iter().all(|cell| cell.version() <= snapshot)
    }

    /// Forgets all.
    #[inline]
    pub(crate) fn clear(&mut self) {
        let reads = self.0.get_mut();
        reads.cells.clear();
        reads.places.clear();
        reads.thin_at = 0;
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: as in `push`.
        unsafe { &*self.reads() }.cells.len()
    }

    /// The cells, some more than once.
    pub(crate) fn cells(&self) -> Vec<CellRef> {
        // SAFETY: as in `push`.
        unsafe { &*self.reads() }.cells.clone()
    }
}

impl Reads {
    /// Before the log grows: a handler that reads the same cells again and again must not make it
    /// longer than twice the cells it reads.
    #[cold]
    fn make_room(&mut self) {
        if self.cells.len() < THIN_READS.max(self.thin_at) {
            return;
        }
        if self.places.is_empty() {
            self.cells.sort_unstable();
            self.cells.dedup();
        } else {
            let mut both: Vec<_> = self.cells.drain(..).zip(self.places.drain(..)).collect();
            both.sort_by_key(|(cell, _)| *cell);
            both.dedup_by_key(|(cell, _)| *cell);
            (self.cells, self.places) = both.into_iter().unzip();
        }
        self.thin_at = 2 * self.cells.len();
    }
}

/// The values that an attempt wants to write, one per cell, and the ones it replaced.
#[derive(Default)]
pub(crate) struct WriteLog(UnsafeCell<Writes>);

#[derive(Default)]
struct Writes {
    entries: Vec<(CellRef, Version)>,
    /// By cell, once there are more than [`LINEAR_WRITES`] entries.
    index: HashMap<CellRef, usize, std::hash::BuildHasherDefault<AddressHasher>>,
    /// Entries whose values are made at commit, with how. One counts while the box in its entry
    /// names it; what was replaced or undone leaves its fold here.
    folds: Vec<(usize, Fold)>,
    /// What a later write replaced, oldest first: kept until the end, because references to the
    /// values may be out, and to undo back to a savepoint.
    replaced: Vec<Replaced>,
    /// Values undone by a savepoint, kept for the same reason.
    undone: Vec<Version>,
    /// How many savepoints are open: without one, a fold is extended in place.
    savepoints: u32,
    /// How many were undone.
    undos: u32,
    /// How many values were put into the log; one more than [`MAX_WRITES`] if more were to be.
    puts: usize,
}

enum Replaced {
    /// The box that stood in this entry.
    Entry(usize, Version),
    /// Nothing: a step was added to the fold of this entry.
    Step(usize),
}

/// Where a savepoint began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteMark {
    entries: usize,
    replaced: usize,
}

/// The values of a write log as they stood at one moment: `Sync`, for a snapshot that joins a
/// transaction. Made and dropped inside one attempt, which keeps every value to its end.
pub(crate) struct FrozenWrites(HashMap<CellRef, Lent>);

impl FrozenWrites {
    /// Of a snapshot that belongs to no transaction.
    pub(crate) fn none() -> Self {
        Self(HashMap::new())
    }

    /// The value that the transaction had written.
    pub(crate) fn get<'a, T: Send + Sync + 'static>(
        &'a self,
        cell: CellOf<'_, T>,
    ) -> Option<&'a T> {
        let lent = self.0.get(&cell.cell())?;
        // SAFETY: an entry of a cell holds a version of its type; the log keeps it, replaced or
        // undone, until the attempt ends, which is after `self`.
        Some(unsafe { lent.value() })
    }
}

/// What a write log has of a cell.
#[derive(Debug)]
pub(crate) enum Own<'a, T> {
    /// A value.
    Value(&'a T),
    /// A fold, which needs the cell's value to become one.
    Folded,
}

impl WriteLog {
    #[inline(always)]
    fn writes(&self) -> *mut Writes {
        self.0.get()
    }

    /// Whether nothing is to be written.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        // SAFETY: not Sync, and nothing else borrows the log while this runs.
        unsafe { &*self.writes() }.entries.is_empty()
    }

    /// The attempt's own value of a cell.
    #[inline]
    pub(crate) fn get<'a, T: Send + Sync + 'static>(
        &'a self,
        cell: CellOf<'_, T>,
    ) -> Option<Own<'a, T>> {
        // SAFETY: as in `is_empty`.
        let writes = unsafe { &*self.writes() };
        let at = writes.find(cell.cell())?;
        if writes.is_folded(at) {
            return Some(Own::Folded);
        }
        // SAFETY: an entry of a cell that is no fold holds a version of its type. Its box is not
        // dropped before `clear` or the end of the log, both of which need `&mut self` and so end
        // 'a; a box that was lent is not written.
        Some(Own::Value(unsafe { writes.entries[at].1.lend().value() }))
    }

    /// Writes a value; what it replaces stays alive until the log is cleared.
    #[inline]
    pub(crate) fn set<T: Send + Sync + 'static>(
        &self,
        cell: CellOf<'_, T>,
        value: T,
        origin: Origin,
    ) {
        self.put(cell.cell(), Version::new(value, origin));
    }

    /// The same for a value of a collection.
    #[inline]
    pub(crate) fn set_boxed<T: Kept>(&self, cell: CellOf<'_, T>, value: Boxed<T>, origin: Origin) {
        self.put(cell.cell(), value.written_by(origin));
    }

    /// Counts a value that is to be put into the log.
    #[inline]
    fn count(&self) {
        // SAFETY: as in `is_empty`; the borrow ends before a panic hook could run.
        let puts = unsafe { &mut (*self.writes()).puts };
        if *puts >= MAX_WRITES {
            *puts = MAX_WRITES + 1;
            panic!("{TOO_MANY_WRITES}");
        }
        *puts += 1;
    }

    #[inline]
    fn put(&self, cell: CellRef, version: Version) {
        self.count();
        // SAFETY: as in `is_empty`; nothing of a user's runs.
        unsafe { &mut *self.writes() }.put(cell, version, None);
    }

    /// What is merged into the cell at commit, if that was asked for. The log has no value of it.
    pub(crate) fn operand<M: Merge>(&self, cell: CellOf<'_, M::Value>) -> Option<M::Value> {
        // SAFETY: as in `is_empty`; nothing of a user's runs.
        let writes = unsafe { &mut *self.writes() };
        let at = writes.find(cell.cell())?;
        let own = writes.entries[at].1.value_mut::<M::Value>();
        Some(*own.expect("a cell is merged into in one way: see `Merge`"))
    }

    /// Merges `operand` into the cell at commit, in place of what was to be. The log has no value
    /// of the cell.
    pub(crate) fn merge<M: Merge>(
        &self,
        cell: CellOf<'_, M::Value>,
        operand: M::Value,
        origin: Origin,
    ) {
        // SAFETY: as in `is_empty`; nothing of a user's runs.
        let writes = unsafe { &mut *self.writes() };
        if writes.savepoints == 0
            && let Some(at) = writes.find(cell.cell())
            && let Some(own) = writes.entries[at].1.value_mut::<M::Value>()
        {
            *own = operand;
        } else {
            let fold = Fold::Merge(&MergeOf::<M>::OPS);
            self.count();
            // SAFETY: as in `is_empty`; nothing of a user's runs.
            let writes = unsafe { &mut *self.writes() };
            writes.put(cell.cell(), Version::new(operand, origin), Some(fold));
        }
    }

    /// Applies `step` to the cell at commit. The log has no value of the cell.
    pub(crate) fn later<T: Send + Sync + 'static>(
        &self,
        cell: CellOf<'_, T>,
        step: Arc<dyn Step<T>>,
        origin: Origin,
    ) {
        self.count();
        // SAFETY: as in `is_empty`; no code of users runs before the borrow ends.
        let writes = unsafe { &mut *self.writes() };
        let found = writes.find(cell.cell());
        match found.and_then(|at| Some((at, writes.fold_mut(at)?))) {
            Some((at, fold)) => {
                Steps::add(fold, step);
                if writes.savepoints != 0 {
                    writes.replaced.push(Replaced::Step(at));
                }
            }
            None => {
                let version = Version::reserved::<T>(origin);
                writes.put(cell.cell(), version, Some(Steps::fold(step)));
            }
        }
    }

    /// Turns the fold of a cell into a value, given the value that the view sees. Runs the steps of
    /// users.
    pub(crate) fn resolve(&self, cell: CellRef, view: &Announcement) {
        let (fold, mut version) = {
            // SAFETY: as in `is_empty`; the borrow ends before code of users runs.
            let writes = unsafe { &mut *self.writes() };
            let Some(at) = writes.find(cell) else { return };
            let origin = writes.entries[at].1.origin();
            match writes.fold_mut(at) {
                None => return,
                Some(Fold::Later(later)) => (Fold::Later(later.share()), later.reserve(origin)),
                Some(Fold::Merge(ops)) => {
                    let ops = *ops;
                    (Fold::Merge(ops), (ops.copy)(&mut writes.entries[at].1))
                }
            }
        };
        let mut spill = Vec::new();
        self.count();
        // SAFETY: protected by the announcement of `view`, which outlives the call.
        fold.run(unsafe { cell.visible_at(view).seen() }, &mut version, &mut spill);
        // SAFETY: as in `is_empty`.
        let writes = unsafe { &mut *self.writes() };
        writes.put(cell, version, None);
        writes.undone.append(&mut spill);
    }

    /// The cells whose values are made at commit.
    pub(crate) fn folded(&self) -> Vec<CellRef> {
        // SAFETY: as in `is_empty`.
        let writes = unsafe { &*self.writes() };
        let folded = writes.entries.iter().filter(|(_, version)| version.fold().is_some());
        folded.map(|(cell, _)| *cell).collect()
    }

    /// Whether the handler was stopped half-way through a write by [`MAX_WRITES`], and caught that.
    #[inline]
    pub(crate) fn has_overflowed(&mut self) -> bool {
        self.0.get_mut().puts > MAX_WRITES
    }

    /// Whether the values of some cells have to be made at commit.
    #[inline]
    pub(crate) fn has_folds(&mut self) -> bool {
        !self.0.get_mut().folds.is_empty()
    }

    /// Makes the values of all folds (C4). Called with the baton; runs the steps of users.
    #[inline]
    pub(crate) fn run_folds(&mut self, _held: &Guard<Held>) {
        let writes = self.0.get_mut();
        for (number, (at, fold)) in writes.folds.iter().enumerate() {
            let entry = writes.entries.get_mut(*at);
            let Some((cell, version)) = entry.filter(|entry| entry.1.fold() == Some(number)) else {
                continue;
            };
            // SAFETY: the newest value stays linked while the caller holds the baton.
            fold.run(unsafe { cell.newest().seen() }, version, &mut writes.undone);
        }
    }

    /// A copy of the index, for a snapshot that joins. No fold is left.
    pub(crate) fn freeze(&self) -> FrozenWrites {
        // SAFETY: as in `is_empty`.
        let writes = unsafe { &*self.writes() };
        debug_assert!(self.folded().is_empty(), "a fold has no value to lend");
        FrozenWrites(writes.entries.iter().map(|(cell, value)| (*cell, value.lend())).collect())
    }

    /// Where a savepoint begins; ended by [`WriteLog::undo_to`] or [`WriteLog::keep`].
    pub(crate) fn mark(&self) -> WriteMark {
        // SAFETY: as in `is_empty`.
        let writes = unsafe { &mut *self.writes() };
        writes.savepoints += 1;
        WriteMark { entries: writes.entries.len(), replaced: writes.replaced.len() }
    }

    /// Ends a savepoint whose writes stay.
    pub(crate) fn keep(&self) {
        // SAFETY: as in `is_empty`.
        unsafe { &mut *self.writes() }.savepoints -= 1;
    }

    /// Ends a savepoint and undoes every write since the mark.
    pub(crate) fn undo_to(&self, mark: WriteMark) {
        // SAFETY: as in `is_empty`.
        unsafe { &mut *self.writes() }.undo_to(mark);
    }

    /// The cells to be written, in the order of the first writes, with the values as text where
    /// there is one.
    #[cfg(not(loom))]
    pub(crate) fn texts(&self) -> Vec<(CellRef, Option<String>)> {
        // SAFETY: as in `is_empty`; printing a common type runs no code of users.
        let writes = unsafe { &*self.writes() };
        let text = |(cell, version): &(CellRef, Version)| {
            let fold = version.fold().and_then(|number| writes.folds.get(number));
            let text = match fold {
                Some((_, Fold::Later(later))) => later.text(),
                // SAFETY: the log keeps the version, unwritten, during the call.
                _ => super::text::of_seen(unsafe { version.lend().seen() }),
            };
            (*cell, text)
        };
        writes.entries.iter().map(text).collect()
    }

    /// Another number whenever writes have been undone.
    pub(crate) fn undone(&self) -> u32 {
        // SAFETY: as in `is_empty`.
        unsafe { &*self.writes() }.undos
    }

    /// Another number whenever something else is to be written.
    pub(crate) fn state(&self) -> u64 {
        // SAFETY: as in `is_empty`.
        let writes = unsafe { &*self.writes() };
        (u64::from(writes.undos) << 32) | writes.puts as u64
    }

    /// How many cells are to be written.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: as in `is_empty`.
        unsafe { &*self.writes() }.entries.len()
    }

    /// Links every value as version `number` (C5). The log no longer owns them.
    pub(crate) fn link(&mut self, number: u64, held: &mut Guard<Held>) {
        let writes = self.0.get_mut();
        writes.index.clear();
        writes.puts = 0;
        // In any order; most have one, for which a drain would cost more than the link.
        while let Some((cell, version)) = writes.entries.pop() {
            let before = cell.link(version, number);
            held.touch(cell, before);
        }
    }

    /// Drops all values, those with drop glue later; so also what the steps of folds captured.
    #[inline]
    pub(crate) fn clear(&mut self) {
        let writes = self.0.get_mut();
        writes.savepoints = 0;
        // Nothing was written, or all of it was linked and nothing replaced.
        let rest = writes.replaced.len() + writes.undone.len() + writes.folds.len();
        if !writes.entries.is_empty() || rest != 0 {
            writes.clear();
        }
    }
}

impl Writes {
    #[inline(never)]
    fn clear(&mut self) {
        self.entries.clear();
        self.index.clear();
        self.replaced.clear();
        self.undone.clear();
        self.folds.clear();
        self.puts = 0;
    }

    #[inline]
    fn find(&self, cell: CellRef) -> Option<usize> {
        if self.entries.len() <= LINEAR_WRITES {
            self.entries.iter().position(|(other, _)| *other == cell)
        } else {
            self.index.get(&cell).copied()
        }
    }

    #[inline]
    fn is_folded(&self, at: usize) -> bool {
        !self.folds.is_empty() && self.entries[at].1.fold().is_some()
    }

    fn fold_mut(&mut self, at: usize) -> Option<&mut Fold> {
        let number = self.entries[at].1.fold()?;
        self.folds.get_mut(number).map(|(_, fold)| fold)
    }

    fn put(&mut self, cell: CellRef, mut version: Version, fold: Option<Fold>) {
        let found = self.find(cell);
        let at = found.unwrap_or(self.entries.len());
        if let Some(fold) = fold {
            version.folded_by(self.folds.len());
            self.folds.push((at, fold));
        }
        if found.is_some() {
            let old = std::mem::replace(&mut self.entries[at].1, version);
            self.replaced.push(Replaced::Entry(at, old));
            return;
        }
        self.entries.push((cell, version));
        if at == LINEAR_WRITES {
            self.index.extend(self.entries.iter().enumerate().map(|(i, (cell, _))| (*cell, i)));
        } else if at > LINEAR_WRITES {
            self.index.insert(cell, at);
        }
    }

    fn undo_to(&mut self, mark: WriteMark) {
        self.savepoints -= 1;
        self.undos = self.undos.wrapping_add(1);
        while self.replaced.len() > mark.replaced {
            match self.replaced.pop() {
                Some(Replaced::Entry(at, old)) => {
                    self.undone.push(std::mem::replace(&mut self.entries[at].1, old));
                }
                Some(Replaced::Step(at)) => {
                    if let Some(Fold::Later(later)) = self.fold_mut(at)
                        && !fault!("undone-step-stays")
                    {
                        later.pop();
                    }
                }
                None => break,
            }
        }
        while self.entries.len() > mark.entries {
            let Some((cell, version)) = self.entries.pop() else { break };
            self.index.remove(&cell);
            self.undone.push(version);
        }
        if self.entries.len() <= LINEAR_WRITES {
            self.index.clear();
        }
    }
}

impl fmt::Debug for ReadLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadLog({})", self.len())
    }
}

impl fmt::Debug for WriteLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriteLog({})", self.len())
    }
}
