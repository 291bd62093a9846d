//! [`TGrid`]: a rectangle of tiles, in which the unit of conflicts can be chosen.

use crate::cell::{block::Cells, boxes::Kept, labels::Label};
use crate::transaction::{Read, Transaction, view::sealed::Sealed};
use std::{fmt, panic::Location, sync::Arc};

/// In which unit a [`TGrid`] finds conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GridUnit {
    /// Each tile is a cell: two handlers conflict only over the same tile, and each tile that is
    /// read costs a read of a cell.
    Tile,
    /// Each row is a cell: for searches that read much and writes that are few.
    Row,
    /// The whole grid is one cell.
    Grid,
}

/// A rectangle of tiles that handlers read and write.
///
/// A clone is another handle to the same grid.
///
/// # Conflict unit
/// What [`GridUnit`] says: a tile, a row or the grid. A search that reads many tiles is faster over
/// rows than over tiles, and conflicts with every write in a row that it has read.
///
/// # Cost
/// [`TGrid::get`]: O(1). [`TGrid::set`]: O(1) where a tile is the unit, else the unit is copied:
/// O(width), or O(width · height). A tile that is a cell takes 32 bytes, and 40 more with its value
/// once it was written.
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
    width: usize,
    height: usize,
    label: Label,
    tiles: Tiles<T>,
}

enum Tiles<T: Send + Sync + 'static> {
    Each(Cells<Tile<T>>),
    /// As many rows in one cell.
    Rows(usize, Cells<Box<[T]>>),
}

/// A tile in a cell of its own.
struct Tile<T>(T);

impl<T: Send + Sync + 'static> Kept for Tile<T> {}

impl<T: Send + Sync + 'static> Kept for Box<[T]> {
    fn is_plain(&self) -> bool {
        !std::mem::needs_drop::<T>()
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
        let area = area(width, height);
        let row = |count: usize| vec![tile.clone(); count].into_boxed_slice();
        let tiles = match unit {
            GridUnit::Tile => Tiles::Each(Cells::alike(label, area, Tile(tile), None)),
            GridUnit::Row => Tiles::Rows(1, Cells::new(label, (0..height).map(|_| row(width)))),
            GridUnit::Grid => Tiles::Rows(height, Cells::new(label, [row(area)])),
        };
        Self(Arc::new(Grid { width, height, label, tiles }))
    }

    /// Replaces a tile.
    ///
    /// # Panics
    /// Inside a [`Snapshot`](crate::Snapshot). If there is no such tile.
    ///
    /// # Re-run
    /// With rows or the grid as the unit, that is read too: as [`TGrid::get`].
    #[track_caller]
    pub fn set(&self, tx: &Transaction, (x, y): (usize, usize), tile: T) {
        let Grid { width, tiles, .. } = &*self.0;
        self.check((x, y));
        match tiles {
            Tiles::Each(cells) => tx.write(cells.at(y * width + x), Tile(tile)),
            Tiles::Rows(together, cells) => {
                let cell = cells.at(y / together);
                let mut rows = tx.read(cell, Location::caller()).clone();
                rows[y % together * width + x] = tile;
                tx.write(cell, rows);
            }
        }
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
        let mut tiles = (0..area).map(|at| tile((at % width, at / width)));
        let tiles = match unit {
            GridUnit::Tile => Tiles::Each(Cells::new(label, tiles.map(Tile))),
            GridUnit::Row => {
                let row = |_| tiles.by_ref().take(width).collect();
                Tiles::Rows(1, Cells::new(label, (0..height).map(row)))
            }
            GridUnit::Grid => Tiles::Rows(height, Cells::new(label, [tiles.collect()])),
        };
        Self(Arc::new(Grid { width, height, label, tiles }))
    }

    /// How many columns there are.
    #[must_use]
    pub fn width(&self) -> usize {
        self.0.width
    }

    /// How many rows there are.
    #[must_use]
    pub fn height(&self) -> usize {
        self.0.height
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
    pub fn get<'v>(&self, view: &'v impl Read, (x, y): (usize, usize)) -> &'v T {
        self.check((x, y));
        self.tile(view, (x, y), Location::caller())
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
        (x, y): (usize, usize),
        place: &'static Location<'static>,
    ) -> &'v T {
        let Grid { width, tiles, .. } = &*self.0;
        match tiles {
            Tiles::Each(cells) => &view.read(cells.at(y * width + x), place).0,
            Tiles::Rows(together, cells) => {
                &view.read(cells.at(y / together), place)[y % together * width + x]
            }
        }
    }

    #[inline]
    #[track_caller]
    fn check(&self, (x, y): (usize, usize)) {
        let Grid { width, height, .. } = *self.0;
        assert!(x < width && y < height, "tile ({x}, {y}) of a grid of {width} by {height}");
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
        let Grid { width, height, label, .. } = &*self.0;
        let (name, size) = (label.text(), (width, height));
        f.debug_struct("TGrid").field("name", &name).field("size", &size).finish_non_exhaustive()
    }
}
