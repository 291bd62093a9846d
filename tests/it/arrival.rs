//! Arrival order: state, answers and effects are those of one thread that runs one after another.
//!
//! Random batches run on 1, 2, 4 and 8 threads, and each is compared with `model`, a serial oracle
//! of plain data. `TXLOOP_BATCHES=N` runs N batches instead of [`BATCHES`]; `TXLOOP_SEED=N` runs
//! the batch of one seed again and again, for a failure that prints it.

mod model;
mod program;
mod world;

use program::{Batch, Dice, Way, mix};
use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    thread::yield_now,
    time::Duration,
};
use txloop::{Executor, Order, TLog, TVar, Transaction, atomically, parked_for, snapshot};

/// How many batches run by default, on all numbers of threads together.
const BATCHES: u64 = 24_000;
const THREADS: [usize; 4] = [1, 2, 4, 8];
/// Every so many seeds all executors run the batch at the same time.
const TOGETHER: u64 = 8;
/// After this time without a batch that ends, the seed is printed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the cells of a run hold.
#[derive(Debug, Clone, PartialEq)]
struct State {
    plain: Vec<u64>,
    nested: Vec<Option<u64>>,
    count: u64,
    extremes: (u64, u64),
    log: Vec<u64>,
}

/// What anybody can see of a run.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    answers: Vec<Result<u64, String>>,
    /// The number of the closure, and what it had seen.
    effects: Vec<(usize, u64)>,
    state: State,
}

fn executor(threads: usize) -> Executor {
    let builder = Executor::builder().threads(threads).order(Order::Arrival).seed([7; 32]);
    // Also where there are fewer, all are to get into each other's way.
    let builder = builder.cores(threads);
    builder.build().expect("threads")
}

/// The batch of a seed, and what may be seen of it: two callers may come in either order.
fn expected(seed: u64) -> (Batch, Vec<Seen>) {
    let mut dice = Dice::new(seed);
    loop {
        let batch = dice.batch();
        let count = batch.programs.len();
        let orders: Vec<Vec<usize>> = match batch.way {
            Way::Transacts(_) => vec![(0..count).collect()],
            Way::Callers(first) => {
                vec![(0..count).collect(), (first..count).chain(0..first).collect()]
            }
        };
        let runs = orders.into_iter().map(|order| model::serial(&batch.programs, order));
        // A batch of which a closure waits for ever is none.
        if let Some(seen) = runs.collect() {
            return (batch, seen);
        }
    }
}

/// Runs the batch of a seed on every executor: on one after the other, or on all at the same time.
fn check(executors: &[Executor], seed: u64) {
    let (batch, expected) = expected(seed);
    let run = |executor| world::run(executor, &batch);
    let runs: Vec<_> = if seed.is_multiple_of(TOGETHER) {
        std::thread::scope(|scope| {
            let runs: Vec<_> = executors.iter().map(|e| scope.spawn(move || run(e))).collect();
            runs.into_iter().map(|run| run.join().expect("no panic")).collect()
        })
    } else {
        executors.iter().map(run).collect()
    };
    let mut drawn = None;
    for (executor, (seen, draws)) in executors.iter().zip(runs) {
        let threads = executor.threads();
        if !expected.contains(&seen) {
            panic!("seed={seed} threads={threads}\n{batch:#?}\n{seen:#?}\nbut {expected:#?}");
        }
        // The tickets of two callers follow the order in which they come.
        if let Way::Transacts(_) = batch.way {
            let first = drawn.get_or_insert_with(|| draws.clone());
            assert_eq!(*first, draws, "seed={seed} threads={threads}: drawn numbers\n{batch:#?}");
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

#[test]
fn random_batches_agree_with_the_serial_oracle() {
    let executors = THREADS.map(executor);
    let runs = number("TXLOOP_BATCHES").unwrap_or(BATCHES).div_ceil(THREADS.len() as u64);
    let seed = number("TXLOOP_SEED");
    let (current, (done, is_done)) = (AtomicU64::new(0), channel::<()>());
    std::thread::scope(|scope| {
        let current = &current;
        scope.spawn(move || {
            let mut last = None;
            // A batch that hangs cannot say so itself, and the harness keeps what it prints.
            while let Err(RecvTimeoutError::Timeout) = is_done.recv_timeout(PATIENCE) {
                let now = Some(current.load(Ordering::Relaxed));
                if last == now {
                    let seed = seed.or(now).unwrap_or_default();
                    let _ = writeln!(std::io::stderr(), "no batch has ended lately: seed={seed}");
                }
                last = now;
            }
        });
        let _done = done;
        for run in 0..runs {
            current.store(run, Ordering::Relaxed);
            check(&executors, seed.unwrap_or(run));
        }
    });
}

type Closure<R> = Box<dyn Fn(&Transaction) -> R + Send + Sync>;

fn boxed<R>(f: impl Fn(&Transaction) -> R + Send + Sync + 'static) -> Closure<R> {
    Box::new(f)
}

fn spin(turns: u32) {
    (0..turns).for_each(|_| std::hint::spin_loop());
}

/// The entries of a log, oldest first.
fn entries<T: Copy + Send + Sync>(log: &TLog<T>) -> Vec<T> {
    let mut entries: Vec<T> = snapshot(|s| log.newest_first(s).copied().collect());
    entries.reverse();
    entries
}

/// A closure that waits for a phase, then says its name in the log.
fn waits(phase: &TVar<u64>, at_least: u64, log: &TLog<u64>, name: u64) -> Closure<()> {
    let (phase, log) = (phase.clone(), log.clone());
    boxed(move |tx| {
        tx.guard(*tx.get(&phase) >= at_least);
        log.push(tx, name);
    })
}

/// A closure that sets a cell and says its name in the log.
fn sets(cell: &TVar<u64>, value: u64, log: &TLog<u64>, name: u64) -> Closure<()> {
    let (cell, log) = (cell.clone(), log.clone());
    boxed(move |tx| {
        tx.set(&cell, value);
        log.push(tx, name);
    })
}

#[test]
fn effects_open_in_the_order_of_arrival() {
    for threads in THREADS {
        let (executor, (sender, receiver)) = (executor(threads), channel());
        let effects = |i: u32| {
            let sender = sender.clone();
            move |tx: &Transaction| {
                let tell = |what: u32| {
                    let sender = sender.clone();
                    tx.on_commit(move || sender.send((i, what)).expect("listened to"));
                };
                tell(0);
                let undone = tx.savepoint(|_| {
                    tell(1);
                    Err::<(), ()>(())
                });
                // The first ones take longest.
                spin(1_000 / (i % 10 + 1));
                tell(2);
                assert!(i % 7 != 3, "nothing of closure {i} remains");
                undone.is_err()
            }
        };
        let answers = executor.run("effects", (0..100).map(effects));
        let told = (0..100).filter(|i| i % 7 != 3).flat_map(|i| [(i, 0), (i, 2)]);
        for (i, answer) in answers.iter().enumerate() {
            match answer {
                Ok(undone) => assert!(*undone && i % 7 != 3),
                Err(p) => assert_eq!(p.message(), format!("nothing of closure {i} remains")),
            }
        }
        drop(sender);
        drop(executor);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), told.collect::<Vec<_>>(), "{threads}");
    }
}

#[test]
fn a_panic_that_read_what_is_stale_is_run_again() {
    for threads in [2, 4, 8] {
        let executor = executor(threads);
        let (cell, runs) = (TVar::new(0), Arc::new(AtomicU64::new(0)));
        let (first_cell, first_runs) = (cell.clone(), Arc::clone(&runs));
        let first = executor.transact("first", move |tx| {
            // Until the second one has run ahead and panicked.
            while first_runs.load(Ordering::SeqCst) == 0 {
                yield_now();
            }
            tx.set(&first_cell, 5);
        });
        let second_runs = Arc::clone(&runs);
        let second = executor.transact("second", move |tx| {
            let seen = *tx.get(&cell);
            second_runs.fetch_add(1, Ordering::SeqCst);
            assert!(seen != 0, "the first one has not been here");
            seen
        });
        assert_eq!((first.wait(), second.wait()), (Ok(()), Ok(5)), "{threads}");
        assert_eq!(runs.load(Ordering::SeqCst), 2, "{threads}: once ahead, once in its turn");
    }
}

#[test]
fn a_parked_closure_runs_right_behind_its_waker() {
    for threads in THREADS {
        let (phase, other, log) = (TVar::new(0), TVar::new(0), TLog::new());
        let wakes = {
            let (phase, other, log) = (phase.clone(), other.clone(), log.clone());
            boxed(move |tx| {
                tx.guard(*tx.get(&phase) == 1);
                tx.set(&other, 1);
                log.push(tx, 2);
            })
        };
        let batch = vec![
            waits(&phase, 1, &log, 1),
            wakes,
            waits(&other, 1, &log, 3),
            waits(&phase, 1, &log, 4),
            sets(&TVar::new(0), 1, &log, 5),
            sets(&phase, 1, &log, 6),
            sets(&phase, 2, &log, 7),
        ];
        let answers = executor(threads).run("chain", batch);
        assert!(answers.iter().all(Result::is_ok), "{threads}");
        // Whoever was woken by one who was woken comes behind those who were woken before.
        assert_eq!(entries(&log), [5, 6, 1, 2, 4, 3, 7], "{threads}");
    }
}

#[test]
fn whoever_waits_again_waits_behind_the_others() {
    for threads in THREADS {
        let (phase, nudge, log) = (TVar::new(0), TVar::new(0), TLog::new());
        let nudged = {
            let (nudge, wait) = (nudge.clone(), waits(&phase, 1, &log, 1));
            boxed(move |tx| {
                tx.get(&nudge);
                wait(tx);
            })
        };
        let batch = vec![
            nudged,
            waits(&phase, 1, &log, 2),
            waits(&phase, 2, &log, 3),
            sets(&nudge, 1, &log, 4),
            // An equal value is a write too.
            sets(&phase, 0, &log, 5),
            sets(&nudge, 1, &log, 6),
            sets(&phase, 2, &log, 7),
        ];
        let answers = executor(threads).run("again", batch);
        assert!(answers.iter().all(Result::is_ok), "{threads}");
        assert_eq!(entries(&log), [4, 5, 6, 7, 2, 3, 1], "{threads}");
    }
}

#[test]
fn retry_without_reads_ends_with_a_panic() {
    for threads in THREADS {
        let (cell, log) = (TVar::new(0), TLog::new());
        let own = cell.clone();
        let refused = boxed(move |tx| {
            // Its own write is not a read.
            tx.set(&own, 1);
            tx.guard(*tx.get(&own) == 2);
        });
        let batch = vec![boxed(|tx| tx.retry()), refused, sets(&cell, 3, &log, 1)];
        let answers = executor(threads).run("refused", batch);
        for answer in &answers[..2] {
            let message = answer.as_ref().expect_err("refused").message();
            let start = "retry without having read a cell would wait for ever (at tests/it/";
            assert!(message.starts_with(start), "{threads}: {message}");
        }
        assert_eq!((&answers[2], cell.with(|n| *n)), (&Ok(()), 3), "{threads}");
    }
}

#[test]
fn short_closures_behind_a_long_one_keep_their_order() {
    for threads in THREADS {
        let (cell, log) = (TVar::new(1), TLog::new());
        let (long_cell, long_log) = (cell.clone(), log.clone());
        let long = boxed(move |tx| {
            spin(200_000);
            long_log.push(tx, 0);
            tx.modify(&long_cell, |n| *n *= 7)
        });
        let short = |i: u64| {
            let (cell, log) = (cell.clone(), log.clone());
            boxed(move |tx| {
                log.push(tx, i);
                // Some depend on the long one, the others could have gone ahead.
                if i.is_multiple_of(16) {
                    tx.modify(&cell, |n| *n = mix(*n, i));
                }
            })
        };
        let batch = std::iter::once(long).chain((1..300).map(short));
        let answers = executor(threads).run("short", batch);
        assert!(answers.iter().all(Result::is_ok), "{threads}");
        assert_eq!(entries(&log), (0..300).collect::<Vec<_>>(), "{threads}");
        let serial = (1..300).filter(|i| i % 16 == 0).fold(7, mix);
        assert_eq!(cell.with(|n| *n), serial, "{threads}");
    }
}

#[test]
fn all_closures_on_one_cell() {
    for threads in THREADS {
        let cell = TVar::new(0);
        let closure = |i: u64| {
            let cell = cell.clone();
            boxed(move |tx| match i % 4 {
                0 => tx.update_later(&cell, move |n| mix(*n, i)),
                1 => tx.set(&cell, mix(*tx.get(&cell), i)),
                _ => tx.modify(&cell, |n| *n = mix(*n, i)),
            })
        };
        let answers = executor(threads).run("one", (0..500).map(closure));
        assert!(answers.iter().all(Result::is_ok), "{threads}");
        assert_eq!(cell.with(|n| *n), (0..500).fold(0, mix), "{threads}");
    }
}

#[test]
fn chance_and_names_follow_the_ticket() {
    let draw = |threads: usize| {
        let (executor, cell) = (executor(threads), TVar::new(0));
        let closure = |_| {
            let cell = cell.clone();
            move |tx: &Transaction| {
                // The cell makes attempts fail, which must not show in what is drawn.
                let first = (tx.rng().next_u64(), tx.unique_id());
                tx.modify(&cell, |n: &mut u64| *n = mix(*n, first.0));
                (first, tx.rng().next_u64(), tx.unique_id(), *tx.get(&cell))
            }
        };
        let batches = (0..5).map(|_| executor.run("draw", (0..40).map(closure)));
        batches.flatten().collect::<Vec<_>>()
    };
    let serial = draw(1);
    for threads in THREADS {
        assert_eq!(draw(threads), serial, "{threads}");
    }
}

#[test]
fn a_closure_woken_from_outside_leaves_the_next_batch_alone() {
    for threads in THREADS {
        let executor = executor(threads);
        for round in 0..20 {
            let (phase, log) = (TVar::named("phase outside", 0), TLog::new());
            let batch = vec![waits(&phase, 1, &log, 1), sets(&TVar::new(0), 0, &log, 2)];
            std::thread::scope(|scope| {
                let run = scope.spawn(|| executor.run("parked", batch));
                // Others may be parked by other tests at the same time.
                let is_ours = |parked: &txloop::Parked| parked.cells == ["phase outside"];
                while !parked_for(Duration::ZERO, usize::MAX).iter().any(is_ours) {
                    yield_now();
                }
                atomically(|tx| tx.set(&phase, 1));
                assert_eq!(run.join().expect("no panic"), [Ok(()), Ok(())], "{threads}");
            });
            let next = (0..8).map(|i| boxed(move |_| (round, i)));
            let next = executor.run("next", next);
            assert_eq!(next, (0..8).map(|i| Ok((round, i))).collect::<Vec<_>>(), "{threads}");
            let seen = entries(&log);
            assert!([[1, 2], [2, 1]].contains(&[seen[0], seen[1]]), "{threads}: {seen:?}");
        }
    }
}
