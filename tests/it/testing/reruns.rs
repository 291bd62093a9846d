//! What the test kit says of handlers that are run again: which cells they used, and who else was
//! there.

use super::message;
use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
};
use txloop::{
    GridUnit, Snapshot, TGrid, TMap, TQueue, TVar, TVec, Transaction, atomically, snapshot,
    testing::{TestLoop, assert_serial},
};

#[test]
fn another_cell_is_found_though_nobody_has_written_it() {
    let count = AtomicUsize::new(0);
    let next = || count.fetch_add(1, Relaxed);
    let cells = [(); 2].map(|()| TVar::new(0));
    let list: TVec<i32> = (0..10).collect();
    let grid = TGrid::new(GridUnit::Tile, (10, 1), 0);
    let map: TMap<usize, i32> = (0..10).map(|key| (key, 0)).collect();
    type Handler<'a> = &'a dyn Fn(&Transaction);
    let handlers: [(&str, Handler<'_>); 4] = [
        ("cells", &|tx| tx.set(&cells[next() % 2], 1)),
        ("elements", &|tx| _ = list.set(tx, next() % 10, 1)),
        ("tiles", &|tx| grid.set(tx, (next() % 10, 0), 1)),
        ("keys", &|tx| _ = map.insert(tx, next() % 10, 1)),
    ];
    for (name, handler) in handlers {
        let said = message(|| TestLoop::new().assert_rerunnable(handler));
        assert!(said.contains("cannot be run again"), "{name}: {said:?}");
    }
    // What an attempt makes itself is another cell each time, and means the same.
    let kept = TVar::new(None);
    TestLoop::new().assert_rerunnable(|tx| {
        let made: (TVar<u8>, TMap<u8, u8>) = (TVar::new(1), [(1, 2)].into_iter().collect());
        tx.modify(&made.0, |n| *n += 1);
        made.1.insert(tx, 3, *tx.get(&made.0));
        tx.set(&kept, Some(made));
    });
}

#[test]
fn what_others_write_between_two_runs_is_no_difference() {
    let (cell, other, written) = (TVar::new(0), TVar::new(0), AtomicBool::new(false));
    let runs = Cell::new(0);
    TestLoop::new().assert_rerunnable(|tx| {
        runs.set(runs.get() + 1);
        let seen = *tx.get(&cell);
        tx.set(&other, seen);
        if !written.swap(true, Relaxed) {
            thread::scope(|scope| scope.spawn(|| atomically(|tx| tx.set(&cell, 1))).join())
                .expect("no panic");
        }
        seen
    });
    assert_eq!(runs.get(), 4);
}

#[test]
fn an_attempt_that_is_thrown_away_is_not_the_one_that_others_come_before() {
    let cell = TVar::new(0);
    let mut test = TestLoop::new();
    let others = cell.clone();
    test.abort_nth(1).meanwhile(move |tx| tx.set(&others, 10));
    let add = |tx: &Transaction| tx.modify(&cell, |n| std::mem::replace(n, *n + 1));
    assert_eq!((test.run(add), test.attempts()), (10, 3));
    assert_eq!(cell.with(|n| *n), 11);
    test.leave_in_peace().abort_nth(1).abort_nth(2).force_conflict(&cell);
    assert_eq!((test.run(add), test.attempts()), (11, 4));
}

#[test]
fn a_reader_with_effects_has_its_place_when_it_commits() {
    type World = (TVar<u64>, Arc<AtomicU64>);
    let world = || -> World { (TVar::new(0), Arc::default()) };
    // What was said before, and then a digit.
    let say = |(_, said): &World, tx: &Transaction, digit| {
        let said = Arc::clone(said);
        tx.on_commit(move || said.store(10 * said.load(Relaxed) + digit, Relaxed));
    };
    assert_serial(
        world,
        &[&|world, tx| say(world, tx, 1 + tx.get(&world.0)), &|world, tx| {
            tx.set(&world.0, 1);
            say(world, tx, 9);
        }],
        |(_, said), _: &Snapshot| said.load(Relaxed),
    );
}

#[test]
fn the_types_of_functions_are_named_whole() {
    let grid: TGrid<fn(i32) -> i32> = TGrid::named("grid", GridUnit::Tile, (1, 1), i32::abs);
    let run = TestLoop::new().dry_run(|tx| grid.set(tx, (0, 0), i32::signum));
    assert_eq!(run.writes()[0].to_string(), "`grid` (part of a TGrid<fn(i32) -> i32>)");
}

#[test]
fn many_elements_are_pushed_at_once() {
    let queue = TQueue::new();
    atomically(|tx| {
        queue.push(tx, 0);
        queue.extend(tx, 1..1_000);
        queue.extend(tx, []);
        queue.push(tx, 1_000);
    });
    snapshot(|s| assert!(queue.iter(s).copied().eq(0..=1_000) && queue.len(s) == 1_001));
    assert_eq!(atomically(|tx| (*queue.take(tx), queue.peek(tx).copied())), (0, Some(1)));
}
