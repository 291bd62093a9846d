//! [`TGrid`] against a vector of rows, in each unit.

use super::{agree, runs_beside};
use txloop::{GridUnit, TGrid, Transaction, atomically, snapshot};

const UNITS: [GridUnit; 4] = [GridUnit::Tile, GridUnit::Block, GridUnit::Row, GridUnit::Grid];
/// Neither is a multiple of a block's.
const SIZE: (usize, usize) = (19, 13);
const LAST: (usize, usize) = (SIZE.0 - 1, SIZE.1 - 1);

#[test]
fn a_grid_is_a_rectangle() {
    for unit in UNITS {
        let grid = TGrid::from_fn(unit, SIZE, |(x, y)| 100 * y + x);
        assert_eq!((grid.width(), grid.height()), SIZE);
        atomically(|tx| {
            grid.set(tx, LAST, 999);
            grid.set(tx, (0, LAST.1), 998);
            assert_eq!((grid.get(tx, LAST), grid.get(tx, (5, LAST.1))), (&999, &1205));
        });
        let rows =
            snapshot(|s| grid.rows(s).map(|row| row.copied().collect()).collect::<Vec<Vec<_>>>());
        let mut expected: Vec<Vec<_>> =
            (0..SIZE.1).map(|y| (0..SIZE.0).map(|x| 100 * y + x).collect()).collect();
        (expected[LAST.1][LAST.0], expected[LAST.1][0]) = (999, 998);
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
        let tiles = model.len();
        let moves: Vec<_> = (0..400_usize).map(|n| (n * 31 % tiles, n * 17 % tiles)).collect();
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
                    if from % 2 == 0 {
                        // Each look and each replacement by itself.
                        let taken = grid.modify(tx, at(from), std::mem::take) + 1;
                        grid.set(tx, at(to), grid.get(tx, at(to)) + taken);
                        return *grid.get(tx, at(to));
                    }
                    grid.edit(tx, |tiles| {
                        let taken = tiles.get(at(from)) + 1;
                        tiles.set(at(from), 0);
                        tiles.set(at(to), tiles.get(at(to)) + taken);
                    });
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
    // Beside a write of the tile that is read, of one in its block, of one in its row and of one
    // that is far away.
    for (unit, runs) in [
        (GridUnit::Tile, [2, 1, 1, 1]),
        (GridUnit::Block, [2, 2, 1, 1]),
        (GridUnit::Row, [2, 1, 2, 1]),
        (GridUnit::Grid, [2, 2, 2, 2]),
    ] {
        let grid = TGrid::new(unit, SIZE, 0);
        let singly = |tx: &Transaction| grid.set(tx, (18, 9), *grid.get(tx, (1, 1)));
        let together = |tx: &Transaction| {
            grid.edit(tx, |tiles| tiles.set((18, 9), *tiles.get((1, 1))));
        };
        let writes = |at| {
            let grid = &grid;
            move |tx: &Transaction| grid.set(tx, at, 1)
        };
        for (at, runs) in [(1, 1), (7, 7), (8, 1), (1, 8)].into_iter().zip(runs) {
            assert_eq!(runs_beside(singly, writes(at)), runs, "{unit:?}, {at:?}");
            assert_eq!(runs_beside(together, writes(at)), runs, "{unit:?}, {at:?}, edited");
        }
    }
}

/// Units in many pages of what an edit remembers, copies among them.
#[test]
fn an_edit_of_a_large_grid_loses_nothing() {
    for unit in [GridUnit::Block, GridUnit::Row] {
        let size = if unit == GridUnit::Row { (3, 5_000) } else { (8 * 70, 8 * 70) };
        let grid = TGrid::from_fn(unit, size, |(x, y)| y * size.0 + x);
        let mut model: Vec<usize> = (0..size.0 * size.1).collect();
        let at = |n: usize| (n % size.0, n / size.0);
        let places =
            |step: usize| (0..3 * model.len()).step_by(step).map(|n| n % (size.0 * size.1));
        let (sums, last) = (places(97).collect::<Vec<_>>(), size.0 * size.1 - 1);
        atomically(|tx| {
            grid.edit(tx, |tiles| {
                for &n in &sums {
                    tiles.set(at(n), tiles.get(at(n)) + tiles.get(at(last - n)));
                }
            });
        });
        for &n in &sums {
            model[n] += model[last - n];
        }
        snapshot(|s| {
            let tiles = grid.tiles(s);
            for (n, expected) in model.iter().enumerate() {
                assert_eq!(tiles.get(at(n)), expected, "{unit:?}, {:?}", at(n));
                assert_eq!(grid.get(s, at(n)), expected, "{unit:?}, {:?}", at(n));
            }
        });
    }
}

#[test]
fn an_edit_that_is_left_has_replaced_nothing() {
    for unit in UNITS {
        let grid = TGrid::new(unit, SIZE, 0);
        let failed = txloop::try_atomically(|tx| {
            grid.edit(tx, |tiles| {
                tiles.set((3, 3), 1);
                assert_eq!((tiles.get((3, 3)), tiles.get((3, 4))), (&1, &0));
                tiles.set((3, 3), 2);
                Err::<(), _>(*tiles.get((3, 3)))
            })
        });
        assert_eq!(failed, Err(2), "{unit:?}");
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            atomically(|tx| {
                grid.edit(tx, |tiles| {
                    tiles.set((3, 3), 3);
                    panic!("in the middle");
                })
            })
        }));
        assert!(ran.is_err());
        let other = atomically(|tx| {
            tx.or_else(
                |tx| {
                    grid.edit(tx, |tiles| tiles.set((3, 3), 4));
                    tx.retry()
                },
                |tx| *grid.get(tx, (3, 3)),
            )
        });
        assert_eq!((other, snapshot(|s| *grid.get(s, (3, 3)))), (0, 0), "{unit:?}");
    }
}

#[test]
fn what_is_undone_inside_of_an_edit_is_undone_or_refused() {
    for unit in UNITS {
        let grid = TGrid::new(unit, SIZE, 0);
        let undone = |first: bool| {
            txloop::try_atomically(|tx| {
                grid.edit(tx, |tiles| {
                    // What others than the edit write is undone as ever.
                    let _ = tx.savepoint(|tx| {
                        grid.set(tx, (3, 3), 5);
                        if first {
                            tiles.set((3, 3), 6);
                        }
                        Err::<(), _>(())
                    });
                    tiles.set((4, 3), 7);
                });
                Ok::<_, ()>(())
            })
        };
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| undone(true)));
        let tiles = || snapshot(|s| [(3, 3), (4, 3)].map(|at| *grid.get(s, at)));
        match unit {
            GridUnit::Tile => assert_eq!((refused.is_ok(), tiles()), (true, [0, 7])),
            _ => assert_eq!((refused.is_err(), tiles()), (true, [0, 0]), "{unit:?}"),
        }
        assert_eq!((undone(false), tiles()), (Ok(()), [0, 7]), "{unit:?}");
    }
}

#[test]
fn what_is_set_beside_an_edit_is_kept_or_refused() {
    for unit in UNITS {
        let grid = TGrid::new(unit, SIZE, 0);
        let set = |beside: (usize, usize), before: bool| {
            let both = || {
                atomically(|tx| {
                    grid.edit(tx, |tiles| {
                        if before {
                            grid.set(tx, beside, 5);
                        }
                        tiles.set((3, 3), 6);
                        if !before {
                            grid.set(tx, beside, 5);
                        }
                    });
                });
            };
            let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(both)).is_err();
            let tiles = snapshot(|s| [(3, 3), beside].map(|at| *grid.get(s, at)));
            atomically(|tx| [(3, 3), beside].map(|at| grid.set(tx, at, 0)));
            (refused, tiles)
        };
        let far = (SIZE.0 - 1, SIZE.1 - 1);
        let (is_tile, is_grid) = (unit == GridUnit::Tile, unit == GridUnit::Grid);
        assert_eq!(set((4, 3), true), (false, [6, 5]), "{unit:?}");
        let lost = if is_tile { (false, [6, 5]) } else { (true, [0, 0]) };
        assert_eq!(set((4, 3), false), lost, "{unit:?}");
        let lost = if is_grid { (true, [0, 0]) } else { (false, [6, 5]) };
        assert_eq!(set(far, false), lost, "{unit:?}");
    }
}

#[test]
fn an_edit_shows_what_its_transaction_writes_beside_it() {
    for unit in UNITS {
        let grid = TGrid::new(unit, SIZE, 0);
        let seen = atomically(|tx| {
            grid.edit(tx, |tiles| {
                let mut seen = vec![*tiles.get((3, 3)), *tiles.get((4, 3))];
                grid.set(tx, (4, 3), 5);
                seen.extend([*tiles.get((3, 3)), *tiles.get((4, 3))]);
                let _ = tx.savepoint(|tx| {
                    grid.set(tx, (3, 3), 9);
                    seen.extend([*tiles.get((3, 3)), *tiles.get((4, 3))]);
                    Err::<(), _>(())
                });
                seen.extend([*tiles.get((3, 3)), *tiles.get((4, 3))]);
                tiles.set((3, 3), 7);
                seen.extend([*tiles.get((3, 3)), *tiles.get((4, 3))]);
                // Far from what was set, where the unit is not the grid.
                if unit != GridUnit::Grid {
                    grid.set(tx, LAST, 8);
                    seen.extend([*tiles.get((3, 3)), *tiles.get(LAST)]);
                    tiles.set(LAST, tiles.get(LAST) + 1);
                }
                seen
            })
        });
        let expected = [0, 0, 0, 5, 9, 5, 0, 5, 7, 5, 7, 8];
        let (expected, last) =
            if unit == GridUnit::Grid { (&expected[..10], 0) } else { (&expected[..], 9) };
        assert_eq!(seen, expected, "{unit:?}");
        let tiles = snapshot(|s| [(3, 3), (4, 3), LAST].map(|at| *grid.get(s, at)));
        assert_eq!(tiles, [7, 5, last], "{unit:?}");
    }
}

#[test]
fn an_edit_that_is_refused_has_replaced_nothing() {
    for unit in [GridUnit::Block, GridUnit::Row] {
        let grid = TGrid::new(unit, SIZE, 0);
        atomically(|tx| {
            let edit = || {
                grid.edit(tx, |tiles| {
                    tiles.set((3, 3), 1);
                    tiles.set(LAST, 2);
                    grid.set(tx, LAST, 3);
                });
            };
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(edit)).is_err());
        });
        assert_eq!(snapshot(|s| [(3, 3), LAST].map(|at| *grid.get(s, at))), [0, 3], "{unit:?}");
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
#[should_panic(expected = "tile (19, 0) of a grid of 19 by 13")]
fn a_tile_outside_is_refused() {
    snapshot(|s| *TGrid::new(GridUnit::Row, SIZE, 0).get(s, (19, 0)));
}

#[test]
fn a_tile_outside_is_refused_by_whoever_goes_over_many() {
    for unit in UNITS {
        let grid = TGrid::new(unit, SIZE, 0);
        for at in [(19, 0), (0, 13)] {
            let refused = |look: &dyn Fn()| {
                let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(look));
                let text = *ran.expect_err("a panic").downcast::<String>().expect("with a text");
                assert!(text.ends_with("of a grid of 19 by 13"), "{text}");
            };
            refused(&|| assert_eq!(snapshot(|s| *grid.tiles(s).get(at)), 0));
            refused(&|| assert_eq!(atomically(|tx| grid.edit(tx, |tiles| *tiles.get(at))), 0));
            refused(&|| atomically(|tx| grid.edit(tx, |tiles| tiles.set(at, 1))));
        }
    }
}

#[test]
fn a_grid_without_tiles_is_one() {
    for (unit, size) in UNITS.into_iter().flat_map(|unit| [(unit, (0, 3)), (unit, (3, 0))]) {
        let grid = TGrid::from_fn(unit, size, |_| unreachable!("there is no tile"));
        let tiles = snapshot(|s| grid.rows(s).flatten().count());
        assert_eq!((grid.width(), grid.height(), tiles), (size.0, size.1, 0));
        atomically(|tx| grid.edit(tx, |_: &mut txloop::GridEdit<'_, u8>| ()));
    }
}

/// Each value is dropped once: those that are copied, those that are replaced in a copy, and those
/// of a copy that is never written.
#[test]
fn what_an_edit_copies_is_dropped() {
    let alive = std::sync::Arc::new(());
    for unit in UNITS {
        let grid = TGrid::new(unit, SIZE, std::sync::Arc::clone(&alive));
        for _ in 0..10 {
            atomically(|tx| {
                grid.edit(tx, |tiles| {
                    for x in 0..SIZE.0 {
                        tiles.set((x, 2), std::sync::Arc::clone(tiles.get((x, 3))));
                    }
                });
            });
            let failed = txloop::try_atomically(|tx| {
                grid.edit(tx, |tiles| tiles.set((1, 1), std::sync::Arc::clone(tiles.get((2, 2)))));
                Err::<(), _>(())
            });
            assert!(failed.is_err());
        }
        drop(grid);
        super::eventually(|| std::sync::Arc::strong_count(&alive) == 1);
    }
}

#[test]
#[should_panic(expected = "a grid of 2147483648 by 2147483648: the maximum is 2^30 tiles")]
fn a_grid_that_is_too_large_is_refused() {
    let _ = TGrid::new(GridUnit::Tile, (1 << 31, 1 << 31), ());
}
