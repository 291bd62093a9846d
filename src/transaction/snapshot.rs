//! [`Snapshot`]: a read-only view, alone or as a part of a transaction.

use super::{
    choice::Left,
    view::{Mode, Read, Transaction, sealed::Sealed},
};
use crate::cell::{
    TVar,
    logs::{FrozenWrites, THIN_READS},
    node::{CellOf, CellRef},
    slot::{Announcement, Fixed, View as _},
    store::STORE,
};
use crate::sync::{Table, fault, point};
use std::{fmt, panic::Location, sync::OnceLock};

/// How deep snapshots are nested in one transaction at most: each takes one of the process's views.
const MAX_NESTED: u32 = 256;

/// A read-only view of all cells at one version. Never aborted, waits for nobody, and nobody waits
/// for it.
///
/// It may be shared with other threads while the handler runs, with scoped threads or rayon's
/// `par_iter` say. A snapshot that is kept for long keeps old versions alive: one per cell and
/// active snapshot.
pub struct Snapshot {
    view: Fixed,
    joined: Option<Box<Joined>>,
    /// Where [`Snapshot::retry`] was called first, on whichever thread.
    left: OnceLock<Left>,
}

/// What a snapshot shares with the transaction that it joined, or with the attempt that will park.
struct Joined {
    writes: FrozenWrites,
    logged: bool,
    irrevocable: bool,
    reads: Table<Vec<(CellRef, &'static Location<'static>)>>,
}

impl Snapshot {
    /// A view of its own.
    #[inline]
    pub(crate) fn new(view: Announcement) -> Self {
        Self { view: Fixed::new(view), joined: None, left: OnceLock::new() }
    }

    /// A view of its own whose reads are logged, to be parked on.
    pub(crate) fn logging(view: Announcement) -> Self {
        let (writes, reads) = (FrozenWrites::none(), Table::new(Vec::new()));
        let joined = Some(Box::new(Joined { writes, logged: true, irrevocable: false, reads }));
        Self { view: Fixed::new(view), joined, left: OnceLock::new() }
    }

    /// Leaves the handler, to be run again when one of the cells that it read has been written.
    ///
    /// A handler that calls it runs once more, at once, with its reads logged, and is then parked
    /// until a commit writes one of them. Unlike a plain read-only run, this costs a log of all
    /// reads.
    ///
    /// # Panics
    /// Always, by a payload of the library that never reaches the panic hook: the handler's
    /// destructors run. If nothing was read, the handler itself ends with a panic, since nothing
    /// could wake it; as it does inside [`irrevocably`](crate::irrevocably) and
    /// [`TVar::with`](crate::TVar::with), whose closures run once.
    ///
    /// # Re-run
    /// That is what it is for.
    #[track_caller]
    pub fn retry(&self) -> ! {
        let irrevocable = self.joined.as_ref().is_some_and(|joined| joined.irrevocable);
        assert!(!irrevocable, "{}", super::choice::RUNS_ONCE);
        self.leave(Left::at(Location::caller()))
    }

    /// Leaves the handler for what a part of it has noted.
    pub(super) fn leave(&self, left: Left) -> ! {
        self.left.get_or_init(|| left);
        super::choice::unwind()
    }

    /// Where [`Snapshot::retry`] was called, if it was.
    pub(crate) fn left(&self) -> Option<Left> {
        self.left.get().copied()
    }

    /// The announcement, and the reads of a [`Snapshot::logging`].
    pub(crate) fn into_parts(self) -> (Announcement, Vec<CellRef>) {
        let cells = self.joined.map(|joined| {
            let mut reads = joined.reads.lock();
            reads.drain(..).map(|(cell, _)| cell).collect()
        });
        (self.view.into_announcement(), cells.unwrap_or_default())
    }

    /// The announcement, after the run.
    #[inline]
    pub(crate) fn into_view(self) -> Announcement {
        self.view.into_announcement()
    }

    /// The announcement.
    pub(crate) fn view(&self) -> &Announcement {
        self.view.announcement()
    }

    /// Whether its reads are logged.
    pub(super) fn is_logged(&self) -> bool {
        self.joined.as_ref().is_some_and(|joined| joined.logged)
    }

    /// Logs what a transaction inside of it has read.
    pub(super) fn log(&self, cells: &[CellRef]) {
        if let Some(joined) = &self.joined {
            cells.iter().for_each(|cell| joined.log(*cell, Location::caller()));
        }
    }

    /// The value of a cell in this snapshot. Cannot fail; the reference lives as long as the
    /// snapshot. Nothing is logged.
    #[inline]
    #[track_caller]
    pub fn get<'a, T: Send + Sync + 'static>(&'a self, cell: &TVar<T>) -> &'a T {
        self.read(cell.kept(), Location::caller())
    }

    /// The version of the serial order that this snapshot shows.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.view.snapshot()
    }
}

impl Joined {
    #[cold]
    fn log(&self, cell: CellRef, place: &'static Location<'static>) {
        if !self.logged {
            return;
        }
        let mut reads = self.reads.lock();
        if reads.last().is_none_or(|(last, _)| *last != cell) {
            // As in a read log: no longer than a few times the cells that are read.
            if reads.len() >= THIN_READS && reads.len().is_power_of_two() {
                reads.sort_by_key(|(cell, _)| *cell);
                reads.dedup_by_key(|(cell, _)| *cell);
            }
            reads.push((cell, place));
        }
    }
}

impl Transaction {
    /// Runs `f` with a snapshot that joins this transaction: it sees its writes, and its reads are
    /// logged here.
    #[track_caller]
    pub(crate) fn with_joined<R>(&self, f: impl FnOnce(&Snapshot) -> R) -> R {
        struct Thaw<'a>(&'a Transaction, Snapshot);
        impl Drop for Thaw<'_> {
            fn drop(&mut self) {
                let Thaw(tx, snapshot) = self;
                tx.frozen.set(tx.frozen.get() - 1);
                if let Some(joined) = snapshot.joined.as_deref() {
                    for (cell, place) in joined.reads.lock().drain(..) {
                        if fault!("joined-read-unlogged") {
                            break;
                        }
                        tx.log_read(cell, place);
                    }
                }
                if let Some(left) = snapshot.left() {
                    tx.left.set(Some(left));
                }
            }
        }
        let deep = self.frozen.get() >= MAX_NESTED;
        assert!(!deep, "a snapshot in {MAX_NESTED} others of one transaction");
        let place = Location::caller();
        for cell in self.attempt.logs.writes.folded() {
            self.resolve(cell, place);
        }
        let snapshot = Snapshot {
            view: Fixed::new(self.attempt.view.again(STORE.claim())),
            joined: Some(Box::new(Joined {
                writes: self.attempt.logs.writes.freeze(),
                logged: matches!(self.mode, Mode::Optimistic | Mode::ReadOnly { logged: true }),
                irrevocable: self.mode == Mode::Irrevocable,
                reads: Table::new(Vec::new()),
            })),
            left: OnceLock::new(),
        };
        self.frozen.set(self.frozen.get() + 1);
        let thaw = Thaw(self, snapshot);
        f(&thaw.1)
    }
}

impl Read for Snapshot {}

impl Sealed for Snapshot {
    #[inline]
    fn read<'a, T: Send + Sync + 'static>(
        &'a self,
        cell: CellOf<'_, T>,
        place: &'static Location<'static>,
    ) -> &'a T {
        point!(Read);
        if let Some(joined) = &self.joined {
            if let Some(own) = joined.writes.get(cell) {
                return own;
            }
            joined.log(cell.cell(), place);
        }
        cell.read_at(&self.view)
    }

    fn peek<'a, T: Send + Sync + 'static>(&'a self, cell: CellOf<'_, T>) -> &'a T {
        let own = self.joined.as_ref().and_then(|joined| joined.writes.get(cell));
        own.unwrap_or_else(|| cell.read_at(&self.view))
    }

    fn state(&self) -> u64 {
        0
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("version", &self.version()).finish_non_exhaustive()
    }
}
