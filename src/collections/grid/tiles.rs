//! [`GridTiles`] and [`GridEdit`]: a grid for a handler that goes over many of its tiles.

use super::{Grid, Plain, Tile, Tiles, Unit, Units};
use crate::cell::{block::Cells, boxes::Boxed, node::CellOf};
use crate::transaction::{Read, Snapshot, Transaction};
use std::{
    cell::{Cell, OnceCell},
    fmt,
    panic::Location,
    ptr,
};

/// What a view shows of a grid: see [`TGrid::tiles`](super::TGrid::tiles).
///
/// # Cost
/// Making one: O(units / 64). [`GridTiles::get`]: O(1).
pub struct GridTiles<'v, T: Send + Sync + 'static, V = Snapshot> {
    grid: &'v Grid<T>,
    view: &'v V,
    place: &'static Location<'static>,
    units: Units,
    /// What was looked up, by the unit. Made as units of them are come to; none for a grid whose
    /// tiles are cells of their own.
    pages: Box<[OnceCell<Box<Page<'v, T>>>]>,
}

/// How many units stand in a page.
const PAGE: usize = 64;

/// Units beside each other.
type Page<'v, T> = [Cell<Seen<'v, T>>; PAGE];

/// What is known of a unit.
struct Seen<'v, T> {
    /// The tiles as the view shows them; none if they were not looked up, or if an edit has a copy.
    tiles: &'v [T],
    /// From 1: where an edit has a copy. 0: nowhere.
    own: u32,
    /// What the view said of its writes when they were looked up.
    state: u64,
}

impl<T> Seen<'_, T> {
    const NOTHING: Self = Self { tiles: &[], own: 0, state: 0 };
}

impl<T> Clone for Seen<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Seen<'_, T> {}

impl<'v, T: Send + Sync + 'static, V: Read> GridTiles<'v, T, V> {
    pub(super) fn new(grid: &'v Grid<T>, view: &'v V, place: &'static Location<'static>) -> Self {
        let pages = match &grid.tiles {
            Tiles::Each(_) => 0,
            Tiles::Together(cells) => cells.len().div_ceil(PAGE),
        };
        let pages = (0..pages).map(|_| OnceCell::new()).collect();
        Self { grid, view, place, units: grid.units, pages }
    }

    /// A tile. The reference lives as long as the view.
    ///
    /// # Panics
    /// If there is no such tile.
    ///
    /// # Re-run
    /// None: a snapshot is never re-run.
    #[inline]
    #[track_caller]
    pub fn get(&self, at: (usize, usize)) -> &'v T {
        self.units.check(at);
        let (unit, at) = self.units.place(at);
        match self.seen(unit).and_then(|seen| seen.get().tiles.get(at)) {
            Some(tile) => tile,
            None => self.look_up(unit, at),
        }
    }

    /// What is known of a unit, if it or one beside it was looked up.
    #[inline]
    fn seen(&self, unit: usize) -> Option<&Cell<Seen<'v, T>>> {
        Some(&self.pages.get(unit / PAGE)?.get()?[unit % PAGE])
    }

    /// Looks a unit up.
    #[inline(never)]
    fn look_up(&self, unit: usize, at: usize) -> &'v T {
        match &self.grid.tiles {
            Tiles::Each(cells) => &self.view.read(cells.at(unit), self.place).0,
            Tiles::Together(cells) => {
                let tiles = self.read(cells.at(unit));
                self.know(unit, Seen { tiles, own: 0, state: self.state() });
                &tiles[at]
            }
        }
    }

    fn know(&self, unit: usize, seen: Seen<'v, T>) {
        let page = || Box::new([const { Cell::new(Seen::NOTHING) }; PAGE]);
        self.pages[unit / PAGE].get_or_init(page)[unit % PAGE].set(seen);
    }

    fn read(&self, unit: CellOf<'_, Unit<T>>) -> &'v [T] {
        self.view.read(unit, self.place).entries()
    }

    #[inline]
    fn state(&self) -> u64 {
        self.view.state()
    }
}

/// A grid in which a transaction replaces tiles: see [`TGrid::edit`](super::TGrid::edit).
///
/// # Cost
/// As [`GridTiles`], but for the first [`GridEdit::set`] of each unit, which copies it.
pub struct GridEdit<'v, T: Send + Sync + 'static> {
    tiles: GridTiles<'v, T, Transaction>,
    /// The units in which a tile was replaced.
    own: Vec<Own<'v, T>>,
    /// What it said of undone ones when the first unit was copied.
    undone: u32,
}

/// A unit in which a tile was replaced.
struct Own<'v, T> {
    unit: usize,
    /// What was copied.
    from: &'v [T],
    copy: Boxed<Unit<T>>,
}

impl<'v, T: Clone + Send + Sync + 'static> GridEdit<'v, T> {
    pub(super) fn new(
        grid: &'v Grid<T>,
        tx: &'v Transaction,
        place: &'static Location<'static>,
    ) -> Self {
        Self { tiles: GridTiles::new(grid, tx, place), own: Vec::new(), undone: 0 }
    }

    /// The copies are not in the log of the transaction: what undoes its writes leaves them.
    #[track_caller]
    fn check_undone(&self) {
        assert!(
            self.own.is_empty() || self.tiles.view.undone() == self.undone,
            "a savepoint or an alternative was undone inside of `TGrid::edit`, after a tile was \
             set; what it sets there cannot be undone"
        );
    }

    /// A tile.
    ///
    /// # Panics
    /// If there is no such tile.
    ///
    /// # Re-run
    /// As [`TGrid::get`](super::TGrid::get).
    #[inline]
    #[track_caller]
    pub fn get(&self, at: (usize, usize)) -> &T {
        self.tiles.units.check(at);
        let (unit, at) = self.tiles.units.place(at);
        // What was looked up before the transaction wrote, or its writes were undone, may be out of
        // date. The edit itself writes nothing before its end.
        let is_known = |seen: &Seen<'v, T>| seen.state == self.tiles.state();
        let seen = self.tiles.seen(unit).map(Cell::get).filter(is_known);
        match seen.and_then(|seen| seen.tiles.get(at)) {
            Some(tile) => tile,
            None => self.look_up(unit, at),
        }
    }

    #[inline(never)]
    fn look_up(&self, unit: usize, at: usize) -> &T {
        match self.own(unit) {
            0 => self.tiles.look_up(unit, at),
            own => &self.own[own as usize - 1].copy.value().entries()[at],
        }
    }

    /// From 1: where the copy of a unit is.
    #[inline]
    fn own(&self, unit: usize) -> u32 {
        self.tiles.seen(unit).map_or(0, |seen| seen.get().own)
    }

    /// Replaces a tile.
    ///
    /// # Panics
    /// If there is no such tile. If writes were undone inside of the edit: see
    /// [`TGrid::edit`](super::TGrid::edit).
    ///
    /// # Re-run
    /// As [`TGrid::set`](super::TGrid::set).
    #[track_caller]
    pub fn set(&mut self, at: (usize, usize), tile: T) {
        let GridTiles { grid, view, units, .. } = self.tiles;
        units.check(at);
        self.check_undone();
        let (unit, at) = units.place(at);
        match &grid.tiles {
            Tiles::Each(cells) => view.write(cells.at(unit), Tile(tile)),
            Tiles::Together(cells) => {
                let own = match self.own(unit) {
                    0 => self.copy(cells, unit),
                    own => own,
                };
                self.own[own as usize - 1].copy.entries_mut()[at] = tile;
            }
        }
    }

    fn copy(&mut self, cells: &Cells<Unit<T>>, unit: usize) -> u32 {
        if self.own.is_empty() {
            self.undone = self.tiles.view.undone();
        }
        let from = self.tiles.read(cells.at(unit));
        let copy = Boxed::tailed(Plain, from.iter().cloned());
        self.own.push(Own { unit, from, copy });
        let own = self.own.len() as u32;
        self.tiles.know(unit, Seen { tiles: &[], own, state: 0 });
        own
    }

    /// What is to be written.
    #[track_caller]
    pub(super) fn written(self) -> impl Iterator<Item = (CellOf<'v, Unit<T>>, Boxed<Unit<T>>)> {
        self.check_undone();
        let cells = match &self.tiles.grid.tiles {
            Tiles::Each(_) => None,
            Tiles::Together(cells) => Some(cells),
        };
        for Own { unit, from, .. } in &self.own {
            assert!(
                cells.is_some_and(|cells| ptr::eq(self.tiles.read(cells.at(*unit)), *from)),
                "a tile was set inside of `TGrid::edit`, but not through what it lends, after one \
                 next to it was set through it; one of the two would be lost"
            );
        }
        let own = self.own.into_iter();
        own.filter_map(move |Own { unit, copy, .. }| Some((cells?.at(unit), copy)))
    }
}

impl<T: Send + Sync + 'static, V> fmt::Debug for GridTiles<'_, T, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.grid.label.text();
        f.debug_struct("GridTiles").field("name", &name).finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for GridEdit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.tiles.grid.label.text();
        f.debug_struct("GridEdit").field("name", &name).finish_non_exhaustive()
    }
}
