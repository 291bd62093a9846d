//! [`TGrid`]: a rectangle of tiles, in which the unit of conflicts can be chosen.

mod tiles;

pub use tiles::{GridEdit, GridTiles};

use crate::cell::{
    block::Cells,
    boxes::{Boxed, Tailed},
    kept::{self, Kept},
    labels::Label,
};
use crate::transaction::{Read, Snapshot, Transaction, view::sealed::Sealed};
use std::{fmt, panic::Location, sync::Arc};

/// In which unit a [`TGrid`] finds conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GridUnit {
    /// Each tile is a cell: two handlers conflict only over the same tile, and each tile that is
    /// read costs a read of a cell.
    Tile,
    /// Each block of 8 by 8 tiles is a cell: for searches that read much, and for changes of tiles
    /// that lie together.
    Block,
    /// Each row is a cell: for what goes by rows.
    Row,
    /// The whole grid is one cell.
    Grid,
}

/// A rectangle of tiles that handlers read and write.
///
/// A clone is another handle to the same grid.
///
/// # Conflict unit
/// What [`GridUnit`] says: a tile, a block, a row or the grid. A search that reads many tiles is
/// faster over blocks than over tiles, and conflicts with every write in a block that it has read.
///
/// # Cost
/// [`TGrid::get`]: O(1). [`TGrid::set`]: O(1) where a tile is the unit, else the unit is copied:
/// 64 tiles, O(width) or O(width · height). Handlers that look at many tiles do it through
/// [`TGrid::tiles`] or [`TGrid::edit`]: then each unit is looked up once, and copied once.
/// [`TGrid::new`], [`TGrid::from_fn`] and all of [`TGrid::rows`]: O(width · height). A tile that is
/// a cell takes 32 bytes, and 40 more with its value once it was written.
///
/// # Examples
/// ```
/// use txloop::{GridUnit, TGrid, atomically, snapshot};
///
/// let walls = TGrid::new(GridUnit::Row, (8, 4), false);
/// atomically(|tx| walls.set(tx, (3, 2), true));
/// snapshot(|s| {
///     assert!(*walls.get(s, (3, 2)));
///     assert_eq!(walls.rows(s).flatten().filter(|wall| **wall).count(), 1);
/// });
/// ```
pub struct TGrid<T: Send + Sync + 'static>(Arc<Grid<T>>);

struct Grid<T: Send + Sync + 'static> {
    label: Label,
    units: Units,
    tiles: Tiles<T>,
}

enum Tiles<T: Send + Sync + 'static> {
    Each(Cells<Tile<T>>),
    Together(Cells<Unit<T>>),
}

/// A tile in a cell of its own.
struct Tile<T>(T);

impl<T: Send + Sync + 'static> Kept for Tile<T> {
    fn text(&self) -> Option<String> {
        kept::of_user(&self.0)
    }
}

/// Some tiles in one cell, row by row.
type Unit<T> = Tailed<Plain, T>;

/// What stands before the tiles of a unit: nothing.
struct Plain;

impl Kept for Plain {}

/// How the tiles of a grid are put together. A unit is 2ˣ wide and 2ʸ high, but for those at the
/// right and lower edges: as far as the grid goes.
#[derive(Clone, Copy)]
struct Units {
    size: (usize, usize),
    bits: (u32, u32),
    /// What of a column and of a row says where in its unit a tile is.
    masks: (usize, usize),
    /// How many stand side by side.
    across: usize,
    /// Where those at the right edge begin, if they are not as wide as all.
    edge: usize,
    /// How wide all are, and those.
    widths: (usize, usize),
}

/// Wider than any grid, in bits.
const ALL: u32 = usize::BITS - 1;

impl Units {
    fn new(x_bits: u32, y_bits: u32, size: (usize, usize)) -> Self {
        let width = 1 << x_bits;
        let masks = (width - 1, (1 << y_bits) - 1);
        let edge = size.0 & !masks.0;
        let across = size.0.div_ceil(width);
        Self { size, bits: (x_bits, y_bits), masks, across, edge, widths: (width, size.0 - edge) }
    }

    /// Looks whether there is such a tile.
    #[inline]
    #[track_caller]
    fn check(&self, at: (usize, usize)) {
        if at.0 >= self.size.0 || at.1 >= self.size.1 {
            self.missing(at);
        }
    }

    #[cold]
    #[track_caller]
    fn missing(&self, (x, y): (usize, usize)) -> ! {
        let (width, height) = self.size;
        panic!("tile ({x}, {y}) of a grid of {width} by {height}");
    }

    /// The unit of a tile, and which of its tiles it is.
    #[inline]
    fn place(&self, (x, y): (usize, usize)) -> (usize, usize) {
        let unit = (y >> self.bits.1) * self.across + (x >> self.bits.0);
        (unit, (y & self.masks.1) * self.width(x) + (x & self.masks.0))
    }

    /// How wide the unit of a column is.
    #[inline]
    fn width(&self, x: usize) -> usize {
        if x < self.edge { self.widths.0 } else { self.widths.1 }
    }

    /// The tiles of each unit.
    fn tiles(self) -> impl Iterator<Item = impl ExactSizeIterator<Item = (usize, usize)>> {
        let Self { size, bits, across, .. } = self;
        (0..across * size.1.div_ceil(1 << bits.1)).map(move |unit| {
            let (left, top) = ((unit % across) << bits.0, (unit / across) << bits.1);
            let (width, height) = (self.width(left), (size.1 - top).min(1 << bits.1));
            (0..width * height).map(move |at| (left + at % width, top + at / width))
        })
    }
}

impl<T: Clone + Send + Sync + 'static> TGrid<T> {
    /// A grid of so many columns and rows, all tiles alike.
    ///
    /// # Panics
    /// If it has more than 2³⁰ tiles.
    #[must_use]
    pub fn new(unit: GridUnit, size: (usize, usize), tile: T) -> Self {
        Self::labelled(Label::NONE, unit, size, tile)
    }

    /// The same, with a name for the conflict log.
    ///
    /// # Panics
    /// As [`TGrid::new`].
    #[must_use]
    pub fn named(name: &'static str, unit: GridUnit, size: (usize, usize), tile: T) -> Self {
        Self::labelled(Label::of(name), unit, size, tile)
    }

    fn labelled(label: Label, unit: GridUnit, (width, height): (usize, usize), tile: T) -> Self {
        let (area, units) = (area(width, height), unit.units((width, height)));
        let tiles = match unit {
            GridUnit::Tile => Tiles::Each(Cells::alike(label, area, Tile(tile), None)),
            _ => Tiles::together(label, units, |_| tile.clone()),
        };
        Self(Arc::new(Grid { label, units, tiles }))
    }

    /// Replaces a tile.
    ///
    /// # Panics
    /// Inside a [`Snapshot`]. If there is no such tile.
    ///
    /// # Re-run
    /// The unit is read too, unless it is a tile: as [`TGrid::get`].
    #[track_caller]
    pub fn set(&self, tx: &Transaction, at: (usize, usize), tile: T) {
        self.0.units.check(at);
        let (unit, at) = self.0.units.place(at);
        match &self.0.tiles {
            Tiles::Each(cells) => tx.write(cells.at(unit), Tile(tile)),
            Tiles::Together(cells) => {
                let cell = cells.at(unit);
                let old = tx.read(cell, Location::caller()).entries();
                let mut tiles = Boxed::tailed(Plain, old.iter().cloned());
                tiles.entries_mut()[at] = tile;
                tx.write(cell, tiles);
            }
        }
    }

    /// Changes a clone of a tile and sets it.
    ///
    /// # Panics
    /// As [`TGrid::set`]. If `f` panics, nothing is set.
    ///
    /// # Re-run
    /// As [`TGrid::get`].
    #[track_caller]
    pub fn modify<R>(
        &self,
        tx: &Transaction,
        at: (usize, usize),
        f: impl FnOnce(&mut T) -> R,
    ) -> R {
        let mut tile = self.get(tx, at).clone();
        let answer = f(&mut tile);
        self.set(tx, at, tile);
        answer
    }

    /// Looks at many tiles and replaces some: each unit is looked up once and copied once, however
    /// many of its tiles are looked at and replaced. What the closure sets is written when it
    /// returns; until then only what it is lent shows it. Where the unit is a tile there is nothing
    /// to gain: then what it sets is written at once, as by [`TGrid::set`].
    ///
    /// # Panics
    /// Inside a [`Snapshot`], if a tile is replaced. Except where the unit is a tile: if a unit is
    /// written in another way, with [`TGrid::set`] say, after the closure has set a tile of it, for
    /// one of the two would be lost; and if a savepoint or an alternative of `or_else` inside of it
    /// is undone after a tile was set, which cannot be undone before it is written.
    ///
    /// # Re-run
    /// As [`TGrid::get`] and [`TGrid::set`].
    ///
    /// # Examples
    /// ```
    /// use txloop::{GridUnit, TGrid, atomically};
    ///
    /// let grid = TGrid::new(GridUnit::Block, (100, 100), 0);
    /// let free = atomically(|tx| {
    ///     grid.edit(tx, |tiles| {
    ///         let free: Vec<_> = (0..100).filter(|&x| *tiles.get((x, 7)) == 0).collect();
    ///         free.iter().for_each(|&x| tiles.set((x, 7), 1));
    ///         free.len()
    ///     })
    /// });
    /// assert_eq!(free, 100);
    /// ```
    #[track_caller]
    pub fn edit<R>(&self, tx: &Transaction, edit: impl FnOnce(&mut GridEdit<'_, T>) -> R) -> R {
        let mut tiles = GridEdit::new(&self.0, tx, Location::caller());
        let answer = edit(&mut tiles);
        for (cell, tiles) in tiles.written() {
            tx.write(cell, tiles);
        }
        answer
    }
}

impl GridUnit {
    /// How the tiles of a grid of this size are put together.
    fn units(self, size: (usize, usize)) -> Units {
        let (x_bits, y_bits) = match self {
            Self::Tile => (0, 0),
            Self::Block => (3, 3),
            Self::Row => (ALL, 0),
            Self::Grid => (ALL, ALL),
        };
        Units::new(x_bits, y_bits, size)
    }
}

impl<T: Send + Sync + 'static> Tiles<T> {
    fn together(label: Label, units: Units, mut tile: impl FnMut((usize, usize)) -> T) -> Self {
        let boxed = units.tiles().map(|places| Boxed::tailed(Plain, places.map(&mut tile)));
        Self::Together(Cells::new(label, boxed))
    }
}

impl<T: Send + Sync + 'static> TGrid<T> {
    /// A grid with the tiles that `tile` gives for (x, y).
    ///
    /// # Panics
    /// As [`TGrid::new`].
    #[must_use]
    pub fn from_fn(
        unit: GridUnit,
        (width, height): (usize, usize),
        mut tile: impl FnMut((usize, usize)) -> T,
    ) -> Self {
        let (area, label) = (area(width, height), Label::NONE);
        let units = unit.units((width, height));
        let tiles = match unit {
            GridUnit::Tile => {
                let tiles = (0..area).map(|at| Tile(tile((at % width, at / width))));
                Tiles::Each(Cells::new(label, tiles))
            }
            _ => {
                // Asked for in the same order, whatever the unit.
                let tiles = (0..area).map(|at| Some(tile((at % width, at / width))));
                let mut tiles: Vec<_> = tiles.collect();
                Tiles::together(label, units, |(x, y)| {
                    tiles[y * width + x].take().expect("each tile is in one unit")
                })
            }
        };
        Self(Arc::new(Grid { label, units, tiles }))
    }

    /// How many columns there are.
    #[must_use]
    pub fn width(&self) -> usize {
        self.0.units.size.0
    }

    /// How many rows there are.
    #[must_use]
    pub fn height(&self) -> usize {
        self.0.units.size.1
    }

    /// A tile. The reference lives as long as the view.
    ///
    /// # Panics
    /// If there is no such tile.
    ///
    /// # Re-run
    /// In a transaction its unit is remembered as read: if somebody who comes earlier in the serial
    /// order writes in it, the handler is run again.
    #[inline]
    #[track_caller]
    pub fn get<'v>(&self, view: &'v impl Read, at: (usize, usize)) -> &'v T {
        self.0.units.check(at);
        self.tile(view, at, Location::caller())
    }

    /// The tiles as a snapshot shows them, for a look at many of them: each unit is looked up once,
    /// and what is then read of it costs little more than in a vector.
    ///
    /// # Re-run
    /// None: a snapshot is never re-run. In a transaction, see [`TGrid::edit`].
    ///
    /// # Examples
    /// ```
    /// use txloop::{GridUnit, TGrid, snapshot};
    ///
    /// let heights = TGrid::from_fn(GridUnit::Block, (100, 100), |(x, y)| x * y);
    /// let sum: usize = snapshot(|s| {
    ///     let tiles = heights.tiles(s);
    ///     (0..100).map(|at| *tiles.get((at, at))).sum()
    /// });
    /// assert_eq!(sum, 328_350);
    /// ```
    #[track_caller]
    pub fn tiles<'v>(&'v self, view: &'v Snapshot) -> GridTiles<'v, T, Snapshot> {
        GridTiles::new(&self.0, view, Location::caller())
    }

    /// The rows from the first to the last, each from left to right.
    ///
    /// # Re-run
    /// In a transaction what is passed is remembered as read.
    #[track_caller]
    pub fn rows<'a>(
        &'a self,
        view: &'a impl Read,
    ) -> impl Iterator<Item = impl Iterator<Item = &'a T>> {
        let place = Location::caller();
        (0..self.height())
            .map(move |y| (0..self.width()).map(move |x| self.tile(view, (x, y), place)))
    }

    #[inline]
    fn tile<'v>(
        &self,
        view: &'v impl Read,
        at: (usize, usize),
        place: &'static Location<'static>,
    ) -> &'v T {
        let (unit, at) = self.0.units.place(at);
        match &self.0.tiles {
            Tiles::Each(cells) => &view.read(cells.at(unit), place).0,
            Tiles::Together(cells) => &view.read(cells.at(unit), place).entries()[at],
        }
    }
}

#[track_caller]
fn area(width: usize, height: usize) -> usize {
    let area = width.checked_mul(height).filter(|area| *area <= crate::cell::block::MAX_CELLS);
    area.unwrap_or_else(|| panic!("a grid of {width} by {height}: the maximum is 2^30 tiles"))
}

impl<T: Send + Sync + 'static> Clone for TGrid<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for TGrid<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, size) = (self.0.label.text(), self.0.units.size);
        f.debug_struct("TGrid").field("name", &name).field("size", &size).finish_non_exhaustive()
    }
}
