//! What the conflict log calls the cells of collections.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};
use txloop::{
    Executor, GridUnit, TCounter, TGrid, TLog, TMap, TOrdMap, TQueue, TVar, TVec, Transaction,
    atomically, conflict_report,
};

type Handler = Arc<dyn Fn(&Transaction) + Send + Sync>;

/// A handler that reads something, and one that writes it.
fn pair<C: Clone + Send + Sync + 'static>(
    cells: &C,
    read: impl Fn(&C, &Transaction) + Send + Sync + 'static,
    write: impl Fn(&C, &Transaction) + Send + Sync + 'static,
) -> [Handler; 2] {
    let (reader, writer) = (cells.clone(), cells.clone());
    [Arc::new(move |tx| read(&reader, tx)), Arc::new(move |tx| write(&writer, tx))]
}

/// Readers and writers of the same cells, and what the log calls those.
fn cases() -> Vec<([Handler; 2], &'static str)> {
    let map = TMap::<String, u64>::named("ages");
    let key = || "ada".to_owned();
    let ordered = TOrdMap::<u32, Option<char>>::named("ranks");
    let grids =
        [GridUnit::Tile, GridUnit::Block].map(|unit| TGrid::named("board", unit, (9, 9), 7));
    let list = TVec::<i8>::named("scores");
    atomically(|tx| {
        map.insert(tx, key(), 36);
        ordered.insert(tx, 1, None);
        list.push(tx, 1);
    });
    let [tiles, blocks] = grids.map(|grid| {
        pair(&grid, |grid, tx| _ = grid.get(tx, (1, 1)), |grid, tx| grid.set(tx, (1, 1), 8))
    });
    vec![
        (
            pair(
                &map,
                move |map, tx| _ = map.get(tx, "ada"),
                move |map, tx| _ = map.insert(tx, "ada".to_owned(), 37),
            ),
            "`ages` (TMap<String, u64>)",
        ),
        (
            pair(&ordered, |o, tx| _ = o.get(tx, &1), |o, tx| _ = o.insert(tx, 1, Some('x'))),
            "`ranks` (TOrdMap<u32, Option<char>>)",
        ),
        (tiles, "`board` (TGrid<i32>)"),
        (blocks, "`board` (TGrid<i32>)"),
        (
            pair(&list, |list, tx| _ = list.get(tx, 0), |list, tx| _ = list.set(tx, 0, 2)),
            "`scores` (Option<i8>)",
        ),
        (
            pair(&TLog::named("audit"), |log, tx| _ = log.len(tx), |log, tx| log.push(tx, 1_u8)),
            "`audit` (TLog or TQueue<u8>)",
        ),
        (
            pair(&TQueue::named("jobs"), |q, tx| _ = q.pop(tx), |q, tx| q.push(tx, 'j')),
            "`jobs` (TLog or TQueue<char>)",
        ),
        (
            pair(&TCounter::named("hits", 0), |c, tx| _ = c.get(tx), |c, tx| c.add(tx, 1)),
            "`hits` (i64)",
        ),
        (pair(&TVar::new(Some(1)), |v, tx| _ = tx.get(v), |v, tx| tx.set(v, None)), "Option<i32>"),
    ]
}

#[test]
fn the_log_names_collections_as_users_know_them() {
    let cases = cases();
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("collections.stmlog");
    let executor = Executor::builder().threads(2).cores(2).log(&path).build().expect("a file");
    for (handlers, _) in &cases {
        let [read, write] = handlers.clone();
        let written = AtomicBool::new(false);
        // Read before somebody writes, once: the commit then finds it stale.
        let handler = move |tx: &Transaction| {
            read(tx);
            if !written.swap(true, Relaxed) {
                thread::scope(|scope| scope.spawn(|| atomically(|tx| write(tx))).join())
                    .expect("no panic");
            }
            // It has a version of its own to get.
            tx.set(&TVar::new(0), 1);
        };
        let [answer] = &executor.run("reader", vec![handler])[..] else { panic!("one answer") };
        assert!(answer.is_ok());
    }
    drop(executor);
    let mut shown = Vec::new();
    conflict_report::run(&path, 100, &mut shown).expect("a log");
    let shown = String::from_utf8(shown).expect("UTF-8");
    for (_, name) in cases {
        assert!(shown.contains(name), "no {name:?} in\n{shown}");
    }
    assert!(!shown.contains("txloop::") && !shown.contains("Kind<"), "{shown}");
}
