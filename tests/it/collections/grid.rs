//! [`TGrid`] against a vector of rows, in each unit.

use super::{agree, runs_beside};
use txloop::{GridUnit, TGrid, Transaction, atomically, snapshot};

const UNITS: [GridUnit; 3] = [GridUnit::Tile, GridUnit::Row, GridUnit::Grid];
const SIZE: (usize, usize) = (7, 5);

#[test]
fn a_grid_is_a_rectangle() {
    for unit in UNITS {
        let grid = TGrid::from_fn(unit, SIZE, |(x, y)| 10 * y + x);
        assert_eq!((grid.width(), grid.height()), SIZE);
        atomically(|tx| {
            grid.set(tx, (6, 4), 99);
            grid.set(tx, (0, 4), 98);
            assert_eq!((grid.get(tx, (6, 4)), grid.get(tx, (5, 4))), (&99, &45));
        });
        let rows =
            snapshot(|s| grid.rows(s).map(|row| row.copied().collect()).collect::<Vec<Vec<_>>>());
        let mut expected: Vec<Vec<_>> =
            (0..5).map(|y| (0..7).map(|x| 10 * y + x).collect()).collect();
        (expected[4][6], expected[4][0]) = (99, 98);
        assert_eq!(rows, expected, "{unit:?}");
    }
    let named = TGrid::named("board", GridUnit::Tile, (1, 2), 0);
    assert_eq!(format!("{named:?}"), "TGrid { name: \"board\", size: (1, 2), .. }");
}

#[test]
fn handlers_on_many_threads_see_a_serial_grid() {
    for unit in UNITS {
        let mut model = vec![0_u64; SIZE.0 * SIZE.1];
        // Each moves what is on one tile to another.
        let moves: Vec<_> = (0..400_usize).map(|n| (n * 31 % 35, n * 17 % 35)).collect();
        let serial: Vec<_> = moves
            .iter()
            .map(|&(from, to)| {
                let taken = std::mem::take(&mut model[from]) + 1;
                model[to] += taken;
                model[to]
            })
            .collect();
        let handlers = || {
            let grid = TGrid::new(unit, SIZE, 0_u64);
            let at = |n| (n % SIZE.0, n / SIZE.0);
            let handler = |(from, to)| {
                let grid = grid.clone();
                move |tx: &Transaction| {
                    let taken = grid.get(tx, at(from)) + 1;
                    grid.set(tx, at(from), 0);
                    grid.set(tx, at(to), grid.get(tx, at(to)) + taken);
                    *grid.get(tx, at(to))
                }
            };
            moves.iter().copied().map(handler).collect()
        };
        agree(handlers, &serial);
    }
}

#[test]
fn the_unit_of_conflicts_is_the_one_chosen() {
    for (unit, beside, in_row, elsewhere) in
        [(GridUnit::Tile, 2, 1, 1), (GridUnit::Row, 2, 2, 1), (GridUnit::Grid, 2, 2, 2)]
    {
        let grid = TGrid::new(unit, SIZE, 0);
        let reads = |tx: &Transaction| grid.set(tx, (6, 0), *grid.get(tx, (1, 1)));
        let writes = |at| {
            let grid = &grid;
            move |tx: &Transaction| grid.set(tx, at, 1)
        };
        assert_eq!(runs_beside(reads, writes((1, 1))), beside, "{unit:?}");
        assert_eq!(runs_beside(reads, writes((2, 1))), in_row, "{unit:?}");
        assert_eq!(runs_beside(reads, writes((1, 3))), elsewhere, "{unit:?}");
    }
}

#[test]
fn a_grid_that_is_dropped_and_written_then_is_counted_as_it_was() {
    // So large that dropping it collects at once, while the transaction has it in its log.
    let size = (64, 64);
    for _ in 0..20 {
        let written = atomically(|tx| {
            let grid = TGrid::new(GridUnit::Tile, size, 0);
            (0..size.0).for_each(|x| grid.set(tx, (x, 0), x));
            *grid.get(tx, (9, 0))
        });
        assert_eq!(written, 9);
    }
    super::eventually(|| txloop::memory().dropped_bytes < 1 << 30);
}

#[test]
#[should_panic(expected = "tile (7, 0) of a grid of 7 by 5")]
fn a_tile_outside_is_refused() {
    snapshot(|s| *TGrid::new(GridUnit::Row, SIZE, 0).get(s, (7, 0)));
}

#[test]
#[should_panic(expected = "a grid of 2147483648 by 2147483648: the maximum is 2^30 tiles")]
fn a_grid_that_is_too_large_is_refused() {
    let _ = TGrid::new(GridUnit::Tile, (1 << 31, 1 << 31), ());
}
