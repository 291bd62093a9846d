//! [`GridTiles`] and [`GridEdit`]: a grid for a handler that goes over many of its tiles.

use super::{Grid, Plain, Tile, Tiles, Unit};
use crate::cell::{block::Cells, boxes::Boxed, node::CellOf};
use crate::transaction::{Read, Snapshot, Transaction};
use std::{cell::Cell, collections::HashMap, fmt, panic::Location, ptr};

/// How many units are remembered at most, a power of two. In a grid of more, one that is looked up
/// drives out another one.
const REMEMBERED: usize = 1 << 12;

/// What a view shows of a grid: see [`TGrid::tiles`](super::TGrid::tiles).
///
/// # Cost
/// Making one: O(units), for at most 4,096 of them. [`GridTiles::get`]: O(1).
pub struct GridTiles<'v, T: Send + Sync + 'static, V = Snapshot> {
    grid: &'v Grid<T>,
    view: &'v V,
    place: &'static Location<'static>,
    /// By the unit; if there are more units, by its last bits.
    remembered: Box<[Cell<Remembered<'v, T>>]>,
}

/// The unit that was looked up last among those that belong here.
struct Remembered<'v, T> {
    unit: u32,
    /// From 1: where an edit has a copy of it. 0: nowhere.
    own: u32,
    /// What the view shows; none if nothing was looked up.
    tiles: Option<&'v Unit<T>>,
}

impl<T> Remembered<'_, T> {
    const NOTHING: Self = Self { unit: 0, own: 0, tiles: None };
}

impl<T> Clone for Remembered<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Remembered<'_, T> {}

impl<'v, T: Send + Sync + 'static, V: Read> GridTiles<'v, T, V> {
    pub(super) fn new(grid: &'v Grid<T>, view: &'v V, place: &'static Location<'static>) -> Self {
        let units = match &grid.tiles {
            Tiles::Each(_) => 0,
            Tiles::Together(_, cells) => cells.len().min(REMEMBERED),
        };
        let remembered = (0..units).map(|_| Cell::new(Remembered::NOTHING)).collect();
        Self { grid, view, place, remembered }
    }

    /// A tile. The reference lives as long as the view.
    ///
    /// # Panics
    /// If there is no such tile.
    #[inline]
    #[track_caller]
    pub fn get(&self, at: (usize, usize)) -> &'v T {
        self.grid.check(at);
        match &self.grid.tiles {
            Tiles::Each(cells) => &self.view.read(cells.at(self.grid.index(at)), self.place).0,
            Tiles::Together(units, cells) => {
                let (unit, at) = units.place(at);
                let slot = self.slot(unit);
                let tiles = match slot.get() {
                    Remembered { unit: known, tiles: Some(tiles), .. }
                        if known as usize == unit =>
                    {
                        tiles
                    }
                    _ => self.look_up(cells, unit, slot, 0),
                };
                &tiles.entries()[at]
            }
        }
    }

    #[inline]
    fn slot(&self, unit: usize) -> &Cell<Remembered<'v, T>> {
        &self.remembered[unit & (REMEMBERED - 1)]
    }

    fn read(&self, unit: CellOf<'_, Unit<T>>) -> &'v Unit<T> {
        self.view.read(unit, self.place)
    }

    #[inline]
    fn state(&self) -> u64 {
        self.view.state()
    }

    #[cold]
    fn look_up(
        &self,
        cells: &Cells<Unit<T>>,
        unit: usize,
        slot: &Cell<Remembered<'v, T>>,
        own: u32,
    ) -> &'v Unit<T> {
        let tiles = self.read(cells.at(unit));
        slot.set(Remembered { unit: unit as u32, own, tiles: Some(tiles) });
        tiles
    }
}

/// A grid in which a transaction replaces tiles: see [`TGrid::edit`](super::TGrid::edit).
///
/// # Cost
/// [`GridEdit::get`] and [`GridEdit::set`]: O(1), but for the first `set` of each unit, which
/// copies it.
pub struct GridEdit<'v, T: Send + Sync + 'static> {
    tiles: GridTiles<'v, T, Transaction>,
    /// The units in which a tile was replaced.
    own: Vec<Own<'v, T>>,
    /// Where each stands there, from 1, where not all units are remembered.
    places: HashMap<usize, u32>,
    /// What the transaction said of its writes when something was last looked up.
    state: Cell<u64>,
    /// What it said of undone ones when the first unit was copied.
    undone: u32,
}

/// A unit in which a tile was replaced.
struct Own<'v, T> {
    unit: usize,
    /// What was copied.
    from: &'v Unit<T>,
    copy: Boxed<Unit<T>>,
}

impl<'v, T: Clone + Send + Sync + 'static> GridEdit<'v, T> {
    pub(super) fn new(
        grid: &'v Grid<T>,
        tx: &'v Transaction,
        place: &'static Location<'static>,
    ) -> Self {
        let tiles = GridTiles::new(grid, tx, place);
        let state = Cell::new(tiles.state());
        Self { tiles, own: Vec::new(), places: HashMap::new(), state, undone: 0 }
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

    /// Forgets what the units showed before the transaction wrote, or its writes were undone. The
    /// edit itself writes none of them before its end.
    #[inline]
    fn refresh(&self) {
        let state = self.tiles.state();
        if self.state.replace(state) != state {
            self.forget();
        }
    }

    #[cold]
    fn forget(&self) {
        let shown = |slot: &Cell<_>| slot.set(Remembered { tiles: None, ..slot.get() });
        self.tiles.remembered.iter().for_each(shown);
    }

    /// A tile.
    ///
    /// # Panics
    /// If there is no such tile.
    #[inline]
    #[track_caller]
    pub fn get(&self, at: (usize, usize)) -> &T {
        self.refresh();
        if let (false, Tiles::Together(units, cells)) =
            (self.own.is_empty(), &self.tiles.grid.tiles)
        {
            self.tiles.grid.check(at);
            let (unit, at) = units.place(at);
            match self.known(cells, unit) {
                Remembered { own: 0, tiles: Some(tiles), .. } => return &tiles.entries()[at],
                Remembered { own, .. } => {
                    return &self.own[own as usize - 1].copy.value().entries()[at];
                }
            }
        }
        self.tiles.get(at)
    }

    /// What is known of a unit, its tiles included.
    #[inline]
    fn known(&self, cells: &Cells<Unit<T>>, unit: usize) -> Remembered<'v, T> {
        let slot = self.tiles.slot(unit);
        let known = slot.get();
        if known.unit as usize != unit {
            let own = self.places.get(&unit).copied().unwrap_or(0);
            self.tiles.look_up(cells, unit, slot, own);
        } else if known.tiles.is_none() {
            self.tiles.look_up(cells, unit, slot, known.own);
        }
        slot.get()
    }

    /// Replaces a tile.
    ///
    /// # Panics
    /// If there is no such tile. If writes were undone inside of the edit: see
    /// [`TGrid::edit`](super::TGrid::edit).
    #[track_caller]
    pub fn set(&mut self, at: (usize, usize), tile: T) {
        let GridTiles { grid, view, .. } = self.tiles;
        grid.check(at);
        self.check_undone();
        self.refresh();
        match &grid.tiles {
            Tiles::Each(cells) => view.write(cells.at(grid.index(at)), Tile(tile)),
            Tiles::Together(units, cells) => {
                let (unit, at) = units.place(at);
                let own = match self.known(cells, unit) {
                    Remembered { own: 0, tiles: Some(tiles), .. } => self.copy(cells, unit, tiles),
                    Remembered { own, .. } => own,
                };
                self.own[own as usize - 1].copy.entries_mut()[at] = tile;
            }
        }
    }

    fn copy(&mut self, cells: &Cells<Unit<T>>, unit: usize, tiles: &'v Unit<T>) -> u32 {
        if self.own.is_empty() {
            self.undone = self.tiles.view.undone();
        }
        let copy = Boxed::tailed(Plain, tiles.entries().iter().cloned());
        self.own.push(Own { unit, from: tiles, copy });
        let own = self.own.len() as u32;
        let slot = self.tiles.slot(unit);
        slot.set(Remembered { own, ..slot.get() });
        if cells.len() > self.tiles.remembered.len() {
            self.places.insert(unit, own);
        }
        own
    }

    /// What is to be written.
    #[track_caller]
    pub(super) fn written(self) -> impl Iterator<Item = (CellOf<'v, Unit<T>>, Boxed<Unit<T>>)> {
        self.check_undone();
        let cells = match &self.tiles.grid.tiles {
            Tiles::Each(_) => None,
            Tiles::Together(_, cells) => Some(cells),
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
