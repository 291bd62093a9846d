//! Writes that commute: counters, extremes, logs, and steps of users.
#![expect(clippy::disallowed_types, reason = "a test outside the library")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};
use txloop::{Executor, TCounter, TLog, TMax, TMin, TVar, atomically, snapshot, try_atomically};

fn message(payload: Box<dyn std::any::Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => other.downcast_ref::<&str>().map_or(String::new(), |text| (*text).to_owned()),
    }
}

#[test]
fn commuting_writes_never_conflict() {
    let executor = Executor::new(4).expect("threads");
    let (hits, top, low, log) =
        (TCounter::new(0), TMax::new(0), TMin::new(i64::MAX), TLog::<i64>::new());
    let closures = (1..=2_000_i64).map(|i| {
        let (hits, top, low, log) = (hits.clone(), top.clone(), low.clone(), log.clone());
        move |tx: &txloop::Transaction| {
            hits.add(tx, i);
            top.offer(tx, i);
            low.offer(tx, i);
            log.push(tx, i);
        }
    });
    let answers = executor.run("fold", closures);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(executor.stats().aborted, 0, "nothing was read");
    snapshot(|s| {
        assert_eq!(hits.get(s), 2_000 * 2_001 / 2);
        assert_eq!((*top.get(s), *low.get(s), log.len(s)), (2_000, 1, 2_000));
        let mut entries: Vec<i64> = log.newest_first(s).copied().collect();
        entries.sort_unstable();
        assert!(entries.into_iter().eq(1..=2_000));
    });
}

#[test]
fn a_read_sees_the_own_folds_and_a_set_discards_them() {
    let (count, text) = (TCounter::new(10), TVar::new(String::from("a")));
    let seen = atomically(|tx| {
        count.add(tx, 1);
        count.add(tx, 2);
        tx.update_later(&text, |old| format!("{old}b"));
        tx.update_later(&text, |old| format!("{old}c"));
        let seen = (count.get(tx), tx.get(&text).clone());
        count.add(tx, 4);
        tx.update_later(&text, |old| format!("{old}d"));
        seen
    });
    assert_eq!(seen, (13, "abc".to_owned()));
    assert_eq!((atomically(|tx| count.get(tx)), text.with(String::clone)), (17, "abcd".to_owned()));
    atomically(|tx| {
        count.add(tx, 5);
        count.set(tx, 1);
        count.add(tx, 1);
        tx.update_later(&text, |_| unreachable!("discarded"));
        tx.set(&text, String::from("z"));
    });
    assert_eq!((atomically(|tx| count.get(tx)), text.with(String::clone)), (2, "z".to_owned()));
}

#[test]
fn a_savepoint_takes_back_its_own_folds_only() {
    let (count, text) = (TCounter::new(0), TVar::new(String::new()));
    let add = |tx: &txloop::Transaction, n: i64| {
        count.add(tx, n);
        tx.update_later(&text, move |old| format!("{old}{n}"));
    };
    atomically(|tx| {
        add(tx, 1);
        let undone: Result<(), ()> = try_atomically(|tx| {
            add(tx, 2);
            assert_eq!(count.get(tx), 3);
            add(tx, 3);
            Err(())
        });
        assert_eq!(undone, Err(()));
        let kept: Result<(), ()> = tx.savepoint(|tx| {
            add(tx, 4);
            let undone: Result<(), ()> = tx.savepoint(|tx| {
                add(tx, 5);
                add(tx, 6);
                Err(())
            });
            undone.or(Ok(()))
        });
        assert_eq!(kept, Ok(()));
    });
    assert_eq!((atomically(|tx| count.get(tx)), text.with(String::clone)), (5, "14".to_owned()));
    atomically(|tx| {
        let undone: Result<(), ()> = tx.savepoint(|tx| {
            add(tx, 7);
            Err(())
        });
        assert_eq!(undone, Err(()));
    });
    assert_eq!(text.with(String::clone), "14");
}

#[test]
fn a_panic_in_a_step_is_the_handlers_and_leaves_nothing() {
    let (count, text) = (TCounter::new(0), TVar::new(String::from("a")));
    let attempt = || {
        atomically(|tx| {
            count.add(tx, 1);
            tx.update_later(&text, |_| panic!("no such step"));
        });
    };
    let panic = catch_unwind(AssertUnwindSafe(attempt)).expect_err("the step panics");
    assert_eq!(message(panic), "no such step");
    let executor = Executor::new(2).expect("threads");
    let (cell, counter) = (text.clone(), count.clone());
    let failed = executor.transact("step", move |tx| {
        counter.add(tx, 1);
        tx.update_later(&cell, |_| panic!("nor this one"));
    });
    let failure = failed.wait().expect_err("the step panics");
    assert_eq!(failure.to_string(), "the transaction panicked: nor this one");
    assert_eq!((atomically(|tx| count.get(tx)), text.with(String::clone)), (0, "a".to_owned()));
}

#[test]
fn a_step_cannot_begin_a_transaction() {
    let (cell, other) = (TVar::new(0), TVar::new(1));
    for step in [
        Box::new(|other: &TVar<i32>| other.with(|n| *n))
            as Box<dyn Fn(&TVar<i32>) -> i32 + Send + Sync>,
        Box::new(|other: &TVar<i32>| atomically(|tx| *tx.get(other))),
    ] {
        let (step, other) = (Arc::new(step), other.clone());
        let attempt = || {
            atomically(|tx| {
                let (step, other) = (Arc::clone(&step), other.clone());
                tx.update_later(&cell, move |_| step(&other));
            });
        };
        let panic = catch_unwind(AssertUnwindSafe(attempt)).expect_err("it is refused");
        assert!(message(panic).contains("cannot begin a transaction"));
    }
    assert_eq!(cell.with(|n| *n), 0);
}

/// What a step captured and what lies between two steps is dropped on a thread of the library.
#[test]
fn destructors_around_steps_run_elsewhere() {
    struct Tell(Mutex<mpsc::Sender<thread::ThreadId>>);
    impl Drop for Tell {
        fn drop(&mut self) {
            let sender = self.0.lock().expect("not poisoned");
            sender.send(thread::current().id()).expect("the test listens");
        }
    }
    let (sender, dropped) = mpsc::channel();
    let cell: TVar<Option<Arc<Tell>>> = TVar::new(None);
    atomically(|tx| {
        let captured = Tell(Mutex::new(sender.clone()));
        tx.update_later(&cell, move |old| {
            assert!(captured.0.lock().is_ok());
            old.clone()
        });
        let between = sender.clone();
        tx.update_later(&cell, move |_| Some(Arc::new(Tell(Mutex::new(between.clone())))));
        tx.update_later(&cell, |_| None);
    });
    for _ in 0..2 {
        let thread = dropped.recv().expect("both are dropped");
        assert_ne!(thread, thread::current().id());
    }
}

#[test]
fn an_attempt_that_is_thrown_away_folds_nothing() {
    let (guard, count) = (TVar::new(0), TCounter::new(0));
    let runs = AtomicUsize::new(0);
    atomically(|tx| {
        let seen = *tx.get(&guard);
        count.add(tx, 1);
        if runs.fetch_add(1, Ordering::SeqCst) == 0 {
            thread::scope(|scope| {
                scope.spawn(|| atomically(|tx| tx.set(&guard, 1)));
            });
        }
        seen
    });
    assert_eq!((runs.into_inner(), atomically(|tx| count.get(tx))), (2, 1));
}

#[test]
fn a_long_log_is_dropped_without_recursion() {
    let log = TLog::new();
    for round in 0..100 {
        atomically(|tx| (0..2_000).for_each(|i| log.push(tx, round * 2_000 + i)));
    }
    snapshot(|s| assert_eq!(log.len(s), 200_000));
    atomically(|tx| log.clear(tx));
    snapshot(|s| assert!(log.is_empty(s) && log.newest_first(s).next().is_none()));
}

#[test]
fn a_comparison_that_comes_back_to_the_cells_is_refused() {
    use std::cmp::Ordering as Than;

    /// Looks at the cells whenever it is compared.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Looks(u64);
    static SEEN: std::sync::OnceLock<TVar<u64>> = std::sync::OnceLock::new();
    impl Ord for Looks {
        fn cmp(&self, other: &Self) -> Than {
            atomically(|tx| tx.set(SEEN.get_or_init(|| TVar::new(0)), self.0));
            self.0.cmp(&other.0)
        }
    }
    impl PartialOrd for Looks {
        fn partial_cmp(&self, other: &Self) -> Option<Than> {
            Some(self.cmp(other))
        }
    }
    let largest = TMax::new(Looks(1));
    let offers = |values: &[u64]| {
        let offer = |tx: &txloop::Transaction| {
            values.iter().for_each(|&value| largest.offer(tx, Looks(value)));
        };
        catch_unwind(AssertUnwindSafe(|| atomically(offer)))
    };
    // At the second offer, and at the commit of the first.
    for values in [&[5, 9][..], &[5]] {
        let refused = message(offers(values).expect_err("refused"));
        assert!(refused.contains("a comparison for a `TMax`"), "{refused}");
    }
    assert_eq!(snapshot(|s| largest.get(s).0), 1);
}
