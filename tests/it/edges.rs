//! The edges of cells and transactions: what is dropped, panics, nests or leaks unexpectedly.

use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};
use txloop::{
    Executor, GridUnit, TGrid, TMap, TOrdMap, TVar, TVec, Transaction, atomically, irrevocably,
    probe, snapshot, try_atomically,
};

/// Says on a channel that it was dropped, and on which thread.
struct Tell(Sender<std::thread::ThreadId>);

impl Drop for Tell {
    fn drop(&mut self) {
        // A test that has ended does not listen any more.
        let _ = self.0.send(std::thread::current().id());
    }
}

fn tell() -> (Tell, Receiver<std::thread::ThreadId>) {
    let (sender, receiver) = channel();
    (Tell(sender), receiver)
}

/// Waits for a drop; nobody else may be waiting for it, so it is awaited for as long as it takes
/// within a bound that only a defect exceeds.
#[track_caller]
fn dropped(receiver: &Receiver<std::thread::ThreadId>) -> std::thread::ThreadId {
    for _ in 0..1_000 {
        probe::collect();
        if let Ok(thread) = receiver.recv_timeout(Duration::from_millis(10)) {
            return thread;
        }
    }
    panic!("the value was not dropped")
}

#[test]
fn what_a_collection_held_is_dropped_on_a_thread_of_the_library() {
    let check = |replace: &dyn Fn(&Transaction, Arc<Tell>)| {
        let (told, receiver) = tell();
        let told = Cell::new(Some(Arc::new(told)));
        for _ in 0..2 {
            let value = told.take().unwrap_or_else(|| Arc::new(tell().0));
            atomically(|tx| replace(tx, Arc::clone(&value)));
        }
        assert_ne!(dropped(&receiver), std::thread::current().id());
    };
    let map = TMap::new();
    check(&|tx, value| {
        map.insert(tx, 1, value);
    });
    let ordered = TOrdMap::new();
    check(&|tx, value| {
        ordered.insert(tx, 1, value);
    });
    let vec = TVec::new();
    check(&|tx, value| {
        vec.pop(tx);
        vec.push(tx, value);
    });
    for unit in [GridUnit::Tile, GridUnit::Row] {
        let grid = TGrid::new(unit, (2, 2), None);
        check(&|tx, value| grid.set(tx, (1, 1), Some(value)));
    }
}

#[test]
fn a_cell_dropped_inside_the_closure_leaves_the_reference_valid() {
    let text = atomically(|tx| {
        let cell = TVar::new("kept".repeat(3));
        let text: &String = tx.get(&cell);
        drop(cell);
        // Others drop and collect meanwhile: the memory must not be reused.
        for i in 0..1_000 {
            drop(TVar::new(format!("noise {i}")));
        }
        text.clone()
    });
    assert_eq!(text, "keptkeptkept");
    let cell = RefCell::new(Some(TVar::new("snap".repeat(3))));
    let text = snapshot(|s| {
        let handle = cell.take().expect("runs once");
        let text: &String = s.get(&handle);
        drop(handle);
        for i in 0..1_000 {
            drop(TVar::new(format!("noise {i}")));
        }
        text.clone()
    });
    assert_eq!(text, "snapsnapsnap");
}

#[test]
fn a_written_cell_dropped_inside_the_closure_commits() {
    let (value, receiver) = tell();
    let value = RefCell::new(Some(value));
    atomically(|tx| {
        let cell = TVar::new(None);
        tx.set(&cell, value.take());
    });
    dropped(&receiver);
}

#[test]
fn cells_in_cells() {
    let inner = TVar::new(1);
    let outer = TVar::new(inner.clone());
    assert_eq!(snapshot(|s| *s.get(s.get(&outer))), 1);
    atomically(|tx| tx.set(tx.get(&outer), 2));
    assert_eq!(inner.with(|n| *n), 2);
    atomically(|tx| {
        let old: &TVar<i32> = tx.get(&outer);
        tx.set(&outer, TVar::new(3));
        tx.set(old, 4);
        assert_eq!((*tx.get(old), *tx.get(tx.get(&outer))), (4, 3));
    });
    assert_eq!((inner.with(|n| *n), snapshot(|s| *s.get(s.get(&outer)))), (4, 3));
}

#[test]
fn destructors_run_elsewhere_and_may_panic() {
    struct Bomb(Tell);
    impl Drop for Bomb {
        fn drop(&mut self) {
            let _ = &self.0;
            panic!("a destructor that panics");
        }
    }
    let (value, receiver) = tell();
    let cell = TVar::new(Some(Bomb(value)));
    atomically(|tx| tx.set(&cell, None));
    assert_ne!(dropped(&receiver), std::thread::current().id());
    // Others still get their turn.
    let (value, receiver) = tell();
    let cell = TVar::new(Some(value));
    atomically(|tx| tx.set(&cell, None));
    dropped(&receiver);
}

#[test]
fn a_destructor_may_use_cells() {
    struct Counts(TVar<usize>);
    impl Drop for Counts {
        fn drop(&mut self) {
            atomically(|tx| tx.set(&self.0, tx.get(&self.0) + 1));
        }
    }
    let count = TVar::new(0);
    for _ in 0..10 {
        let cell = TVar::new(Some(Counts(count.clone())));
        atomically(|tx| tx.set(&cell, None));
    }
    for _ in 0..1_000 {
        probe::collect();
        if count.with(|n| *n) == 10 {
            return;
        }
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(5));
    }
    panic!("{} of 10 destructors counted", count.with(|n| *n));
}

#[test]
fn a_panic_discards_and_goes_on() {
    let cell = TVar::new(1);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        atomically(|tx| {
            tx.set(&cell, 2);
            if *tx.get(&cell) == 2 {
                panic!("on purpose");
            }
        });
    }));
    assert_eq!(*caught.expect_err("it panics").downcast_ref::<&str>().expect("text"), "on purpose");
    assert_eq!(cell.with(|n| *n), 1);
    atomically(|tx| tx.set(&cell, 3));
    assert_eq!(cell.with(|n| *n), 3);
}

#[test]
fn a_thread_locals_destructor_may_run_transactions() {
    struct AtExit(TVar<i32>, Sender<i32>);
    impl Drop for AtExit {
        fn drop(&mut self) {
            let n = atomically(|tx| {
                tx.set(&self.0, tx.get(&self.0) + 1);
                *tx.get(&self.0)
            });
            let seen = snapshot(|s| *s.get(&self.0));
            let _ = self.1.send(n.min(seen));
        }
    }
    thread_local!(static LAST: RefCell<Option<AtExit>> = const { RefCell::new(None) });
    let (sender, receiver) = channel();
    let cell = TVar::new(41);
    let moved = cell.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Registered first, so destroyed after what the library keeps for this thread.
            LAST.with(|last| *last.borrow_mut() = Some(AtExit(moved.clone(), sender)));
            atomically(|tx| *tx.get(&moved));
        });
    });
    assert_eq!((receiver.recv(), cell.with(|n| *n)), (Ok(42), 42));
}

#[test]
fn nested_calls_join_and_an_err_undoes_only_its_part() {
    let (a, b) = (TVar::new(0), TVar::new(0));
    let ran = Arc::new(AtomicUsize::new(0));
    let (kept, undone) = (Arc::clone(&ran), Arc::clone(&ran));
    atomically(move |tx| {
        tx.set(&a, 1);
        let (kept, undone) = (Arc::clone(&kept), Arc::clone(&undone));
        let inner: Result<(), &str> = try_atomically(|inner| {
            assert_eq!(*inner.get(&a), 1);
            inner.set(&a, 2);
            inner.set(&b, 2);
            let undone = Arc::clone(&undone);
            inner.on_commit(move || {
                undone.fetch_add(100, Ordering::Relaxed);
            });
            assert_eq!(snapshot(|s| (*s.get(&a), *s.get(&b))), (2, 2));
            Err("undo")
        });
        assert_eq!(inner, Err("undo"));
        assert_eq!((*tx.get(&a), *tx.get(&b)), (1, 0));
        atomically(|inner| inner.set(&b, 7));
        tx.on_commit(move || {
            kept.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!((*tx.get(&a), *tx.get(&b)), (1, 7));
    });
    for _ in 0..1_000 {
        if ran.load(Ordering::Relaxed) != 0 {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

#[test]
fn an_err_undoes_many_writes_to_few_and_to_many_cells() {
    let cells: Vec<_> = (0..40).map(TVar::new).collect();
    atomically(|tx| {
        for cell in &cells[..5] {
            tx.set(cell, tx.get(cell) + 100);
        }
        let undone: Result<(), ()> = try_atomically(|tx| {
            for _ in 0..3 {
                for cell in &cells {
                    tx.set(cell, tx.get(cell) + 1_000);
                }
            }
            Err(())
        });
        assert_eq!(undone, Err(()));
        for (i, cell) in cells.iter().enumerate() {
            assert_eq!(*tx.get(cell), if i < 5 { i + 100 } else { i });
        }
        for cell in &cells[3..20] {
            tx.set(cell, tx.get(cell) + 7);
        }
    });
    for (i, cell) in cells.iter().enumerate() {
        let first = if i < 5 { 100 } else { 0 };
        let second = if (3..20).contains(&i) { 7 } else { 0 };
        assert_eq!(cell.with(|n| *n), i + first + second);
    }
}

#[test]
fn a_write_in_a_snapshot_panics() {
    let cell = TVar::new(1);
    let write = |tx: &Transaction| tx.set(&cell, 2);
    let message = "a snapshot is read-only";
    let refused = |f: &dyn Fn()| {
        let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
        assert!(payload.downcast_ref::<&str>().is_some_and(|text| text.starts_with(message)));
    };
    refused(&|| snapshot(|_| atomically(write)));
    refused(&|| atomically(|_| snapshot(|_| atomically(write))));
    refused(&|| atomically(|tx| snapshot(|_| tx.set(&cell, 2))));
    refused(&|| snapshot(|_| atomically(|tx| tx.on_commit(|| {}))));
    assert_eq!(snapshot(|s| atomically(|tx| *tx.get(&cell)) + *s.get(&cell)), 2);
}

#[test]
fn a_snapshot_in_a_transaction_makes_it_conflict() {
    // Read through a joined snapshot on another thread, then written by somebody else.
    let (a, b) = (TVar::new(0), TVar::new(0));
    let attempts = AtomicUsize::new(0);
    atomically(|tx| {
        let seen =
            snapshot(|s| std::thread::scope(|t| t.spawn(|| *s.get(&a)).join().expect("no panic")));
        if attempts.fetch_add(1, Ordering::Relaxed) == 0 {
            // Joined by the handler's own thread only: this is a transaction of its own.
            std::thread::scope(|t| t.spawn(|| atomically(|tx| tx.set(&a, 5))).join()).expect("ok");
        }
        tx.set(&b, seen);
    });
    assert_eq!((attempts.load(Ordering::Relaxed), b.with(|n| *n)), (2, 5));
}

#[test]
fn forgotten_handles_and_results_leak_and_do_no_harm() {
    let cell = TVar::new("leaked".to_owned());
    std::mem::forget(cell.clone());
    drop(cell);
    let executor = Executor::new(1).expect("threads");
    std::mem::forget(executor.transact("forgotten", |_| vec![1, 2, 3]));
    assert_eq!(executor.transact("next", |_| 1).wait(), Ok(1));
    let count = TVar::new(0);
    atomically(|tx| {
        std::mem::forget(TVar::new(String::from("in a transaction")));
        tx.set(&count, tx.get(&count) + 1);
    });
    assert_eq!(count.with(|n| *n), 1);
}

#[test]
fn a_handler_that_starts_threads() {
    let cells: Vec<_> = (0..100_i64).map(TVar::new).collect();
    let sum: i64 = snapshot(|s| {
        std::thread::scope(|t| {
            let halves = [&cells[..50], &cells[50..]];
            let sums = halves.map(|half| t.spawn(|| half.iter().map(|c| *s.get(c)).sum::<i64>()));
            sums.into_iter().map(|sum| sum.join().expect("no panic")).sum()
        })
    });
    assert_eq!(sum, 4950);
}

#[test]
fn a_handler_that_loses_every_race_runs_alone() {
    let (cell, done) = (TVar::new(0_u64), TVar::new(0_u64));
    let attempts = AtomicUsize::new(0);
    std::thread::scope(|t| {
        let stop = Arc::new(AtomicUsize::new(0));
        let stopped = Arc::clone(&stop);
        let cell = &cell;
        t.spawn(move || {
            while stopped.load(Ordering::Relaxed) == 0 {
                atomically(|tx| tx.set(cell, tx.get(cell) + 1));
            }
        });
        atomically(|tx| {
            attempts.fetch_add(1, Ordering::Relaxed);
            let before = *tx.get(cell);
            // Long enough for the writer to get in, unless it waits for the baton.
            let start = cell.with(|n| *n);
            for _ in 0..10_000 {
                std::hint::spin_loop();
            }
            tx.set(&done, before + start);
        });
        stop.store(1, Ordering::Relaxed);
    });
    assert!(attempts.load(Ordering::Relaxed) <= 4, "three failures, then alone");
}

#[test]
fn what_an_executor_drops_may_panic() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a captured value that panics when dropped");
        }
    }
    let executor = Executor::new(1).expect("threads");
    for _ in 0..3 {
        let bomb = Bomb;
        let one = executor.transact("captures", move |_| {
            let _ = &bomb;
            1
        });
        assert_eq!(one.wait(), Ok(1));
    }
    assert_eq!(executor.transact("next", |_| 2).wait(), Ok(2));
}

#[test]
fn a_destructor_of_a_captured_value_may_use_cells() {
    struct Counts(TVar<usize>);
    impl Drop for Counts {
        fn drop(&mut self) {
            atomically(|tx| tx.set(&self.0, tx.get(&self.0) + 1));
        }
    }
    let count = TVar::new(0);
    for threads in [1, 2] {
        let executor = Executor::new(threads).expect("threads");
        for i in 0..20 {
            let (captured, cell) = (Counts(count.clone()), TVar::new(0));
            let done = executor.transact("captures", move |tx| {
                let _ = &captured;
                tx.set(&cell, i);
                Counts(TVar::new(0))
            });
            // Half of the answers find nobody waiting.
            if i % 2 == 0 {
                assert!(done.wait().is_ok());
            }
        }
    }
    for _ in 0..1_000 {
        if count.with(|n| *n) == 40 {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    panic!("{} of 40 destructors counted", count.with(|n| *n));
}

#[test]
fn the_sixty_fourth_drop_runs_its_destructor_too() {
    for _ in 0..130 {
        let (value, receiver) = tell();
        drop(TVar::new(value));
        // Without `probe::collect`: nobody but the reaper does it.
        receiver.recv_timeout(Duration::from_secs(10)).expect("a drop");
    }
}

#[test]
fn idle_workers_do_not_spin_behind_a_slow_effect() {
    let executor = Executor::new(3).expect("threads");
    let (sender, receiver) = channel::<()>();
    let receiver = Arc::new(receiver_once(receiver));
    let (done, ended) = channel();
    let slow = executor.transact("slow effect", move |tx| {
        let (receiver, done) = (Arc::clone(&receiver), done.clone());
        tx.on_commit(move || receiver());
        tx.on_commit(move || done.send(()).expect("the test listens"));
    });
    assert_eq!(slow.wait(), Ok(()));
    // Others commit while an effect waits, and its turn comes after.
    for i in 0..100 {
        assert_eq!(executor.transact("next", move |_| i).wait(), Ok(i));
    }
    sender.send(()).expect("the effect waits");
    assert_eq!(ended.recv(), Ok(()));
}

/// A closure that waits for one message, callable from any thread.
fn receiver_once(receiver: Receiver<()>) -> impl Fn() + Send + Sync {
    #[expect(clippy::disallowed_types, reason = "a test's own lock")]
    let receiver = std::sync::Mutex::new(receiver);
    move || receiver.lock().expect("no panic").recv().expect("a message")
}

#[test]
fn an_executor_dropped_by_the_task_that_holds_it_ends() {
    for threads in [1, 2] {
        let executor = Arc::new(Executor::new(threads).expect("threads"));
        let last = Arc::clone(&executor);
        let (go, wait) = channel();
        let wait = receiver_once(wait);
        let done = executor.transact("holds the last handle", move |_| {
            let _ = &last;
            wait();
        });
        drop(executor);
        go.send(()).expect("the task waits");
        assert_eq!(done.wait(), Ok(()));
    }
}

#[test]
fn an_executor_dropped_on_its_own_thread_ends() {
    let executor = Arc::new(Executor::new(2).expect("threads"));
    let (sender, receiver) = channel();
    let last = Arc::clone(&executor);
    let done = executor.transact("holds the last handle", move |tx| {
        let (last, sender) = (Arc::clone(&last), sender.clone());
        tx.on_commit(move || {
            drop(last);
            // Whoever waits has what it wants.
            let _ = sender.send(());
        });
    });
    drop(executor);
    assert_eq!(done.wait(), Ok(()));
    assert_eq!(receiver.recv(), Ok(()));
}

#[test]
fn what_an_executor_runs_may_panic() {
    let executor = Executor::new(2).expect("threads");
    let cell = TVar::new(1);
    let copy = cell.clone();
    let failed = executor.transact("panics", move |tx| {
        tx.set(&copy, 2);
        panic!("in a worker")
    });
    let failed: Result<(), _> = failed.wait();
    let failure = failed.expect_err("it panics");
    assert_eq!(failure.to_string(), "the transaction panicked: in a worker");
    assert_eq!(cell.with(|n| *n), 1);
    assert_eq!(executor.transact("next", |_| 1).wait(), Ok(1));
    assert_eq!(executor.stats().ended, 2);
}

/// The text of a panic.
pub(crate) fn panic_text(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast_ref::<&str>().map(ToString::to_string).unwrap_or_default(),
    }
}

#[test]
fn what_runs_once_cannot_be_left() {
    let cell = TVar::new(0);
    let leave = || {
        snapshot(|s| {
            s.get(&cell);
            s.retry();
        })
    };
    let text = panic_text(|| irrevocably(|_| leave()));
    assert!(text.contains("cannot be run again"), "{text}");
    // The baton is free.
    atomically(|tx| tx.set(&cell, 1));
    let text = panic_text(|| cell.with(|_| leave()));
    assert!(text.contains("closure runs once"), "{text}");
}

#[test]
fn a_snapshot_waits_for_what_was_read_inside_of_it() {
    let (cell, looked) = (TVar::new(0), AtomicUsize::new(0));
    let read = || atomically(|tx| *tx.get(&cell));
    let reads = [
        // The wish of an inner snapshot is that of the outer one.
        &(|| {
            snapshot(|_| atomically(|_| snapshot(|s| if read() == 0 { s.retry() } else { read() })))
        }) as &(dyn Fn() -> i32 + Sync),
        &|| snapshot(|s| if read() == 0 { s.retry() } else { read() }),
    ];
    for (n, wait) in reads.into_iter().enumerate() {
        atomically(|tx| tx.set(&cell, 0));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let answer = wait();
                looked.fetch_add(1, Ordering::SeqCst);
                answer
            });
            let written = n as i32 + 7;
            atomically(|tx| tx.set(&cell, written));
            assert_eq!(waiter.join().expect("it is woken"), written);
        });
    }
}
