//! Transactions on threads of their own, under shuttle: who waits is woken, who loses wins at last,
//! and what leaves is durable. See `sync/explore.rs` for how to run and replay them.

use super::{CommitSink, Durability, Transaction, atomically, irrevocably, parked_for, snapshot};
use crate::cell::TVar;
use crate::error::ErrorKind;
use crate::sync::{
    Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering,
    explore::{below, explore},
    spawn,
    thread::{self, JoinHandle},
};
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

fn start(f: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    spawn("test", f).expect("a thread")
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

fn value(cell: &TVar<u64>) -> u64 {
    cell.with(|n| *n)
}

#[track_caller]
fn nobody_is_parked() {
    assert_eq!(parked_for(Duration::ZERO, 10), [], "and nobody writes any more");
}

/// Waits until `done`: what it waits for is done by others, and who does it leaves no token.
fn wait_until(done: impl Fn() -> bool) {
    while !done() {
        thread::yield_now();
    }
}

/// Takes one from a cell, when there is one.
fn take(tx: &Transaction, cell: &TVar<u64>) {
    tx.guard(*tx.get(cell) > 0);
    tx.modify(cell, |n| *n -= 1);
}

/// C, A: nothing is lost, and nobody runs more than four times: three failures, and once alone.
#[test]
fn three_that_get_in_each_others_way_all_come_through() {
    const TIMES: u64 = 3;
    explore(2_400, || {
        let (cell, most) = (TVar::new(0), Arc::new(AtomicUsize::new(0)));
        let threads = (0..3).map(|_| {
            let (cell, most) = (cell.clone(), Arc::clone(&most));
            start(move || {
                for _ in 0..TIMES {
                    let runs = std::cell::Cell::new(0);
                    atomically(|tx| {
                        runs.set(runs.get() + 1);
                        let seen = *tx.get(&cell);
                        thread::yield_now();
                        tx.set(&cell, seen + 1);
                    });
                    most.fetch_max(runs.get(), Ordering::Relaxed);
                }
            })
        });
        join(threads.collect::<Vec<_>>());
        assert_eq!(value(&cell), 3 * TIMES);
        assert!(most.load(Ordering::Relaxed) <= 4, "{most:?} runs");
    });
}

/// I1, I2: the sum of cells between which others transfer is the same for everybody who looks, also
/// for attempts that will fail.
#[test]
fn nobody_sees_half_a_transfer() {
    explore(1_600, || {
        let cells = [(); 3].map(|()| TVar::new(10_u64));
        let sum = |tx: &Transaction, cells: &[TVar<u64>; 3]| -> u64 {
            cells.iter().map(|cell| *tx.get(cell)).sum()
        };
        let threads = (0..2_usize).map(|n| {
            let cells = cells.clone();
            start(move || {
                for i in 0..2 {
                    atomically(|tx| {
                        assert_eq!(sum(tx, &cells), 30, "as an attempt sees it");
                        tx.modify(&cells[n], |n| *n -= 1);
                        tx.modify(&cells[(n + 1 + i) % 3], |n| *n += 1);
                        assert_eq!(sum(tx, &cells), 30, "with its own writes");
                    });
                }
            })
        });
        let threads: Vec<_> = threads.collect();
        for _ in 0..3 {
            let seen = snapshot(|s| {
                thread::yield_now();
                cells.iter().map(|cell| *s.get(cell)).sum::<u64>()
            });
            assert_eq!(seen, 30, "as a snapshot shows it");
        }
        join(threads);
    });
}

/// Who is irrevocable runs once, and what it read stands until it has committed.
#[test]
fn the_irrevocable_runs_once_and_nothing_changes_meanwhile() {
    explore(2_000, || {
        let (cell, told) = (TVar::new(0_u64), Arc::new(AtomicUsize::new(0)));
        let theirs = cell.clone();
        let mut threads = vec![start(move || {
            for _ in 0..3 {
                atomically(|tx| tx.modify(&theirs, |n| *n += 1));
            }
        })];
        for _ in 0..2 {
            let (cell, told) = (cell.clone(), Arc::clone(&told));
            threads.push(start(move || {
                irrevocably(|tx| {
                    told.fetch_add(1, Ordering::Relaxed);
                    let seen = *tx.get(&cell);
                    thread::yield_now();
                    assert_eq!(snapshot(|s| *s.get(&cell)), seen, "joined");
                    tx.set(&cell, seen + 10);
                });
            }));
        }
        join(threads);
        assert_eq!((value(&cell), told.load(Ordering::Relaxed)), (23, 2));
    });
}

/// W: who waits for room, and who waits for goods, are both woken. A wake-up that is lost is a
/// deadlock, which shuttle finds.
#[test]
fn producers_and_consumers_never_wait_for_nothing() {
    explore(2_000, || {
        let slot = TVar::new(None);
        let sum = Arc::new(AtomicU64::new(0));
        let mut threads = Vec::new();
        for n in 0..2_u64 {
            let (room, goods, sum) = (slot.clone(), slot.clone(), Arc::clone(&sum));
            threads.push(start(move || {
                for i in 0..2 {
                    atomically(|tx| {
                        tx.guard(tx.get(&room).is_none());
                        tx.set(&room, Some(1 + 2 * n + i));
                    });
                }
            }));
            threads.push(start(move || {
                for _ in 0..2 {
                    let got = atomically(|tx| match tx.get(&goods) {
                        Some(got) => {
                            tx.set(&goods, None);
                            *got
                        }
                        None => tx.retry(),
                    });
                    sum.fetch_add(got, Ordering::Relaxed);
                }
            }));
        }
        join(threads);
        assert_eq!(sum.load(Ordering::Relaxed), 1 + 2 + 3 + 4);
        nobody_is_parked();
    });
}

/// W1 to W3: a snapshot that waits sees what it waited for, whole.
#[test]
fn a_snapshot_that_waits_is_woken_by_either_of_its_cells() {
    explore(2_000, || {
        let (a, b) = (TVar::new(0_u64), TVar::new(0_u64));
        let (a2, b2) = (a.clone(), b.clone());
        let mut threads = vec![start(move || {
            atomically(|tx| tx.set(&a2, 1));
            atomically(|tx| tx.set(&b2, 1));
        })];
        for _ in 0..2 {
            let (a, b) = (a.clone(), b.clone());
            threads.push(start(move || {
                let seen = snapshot(|s| match s.get(&a) + s.get(&b) {
                    2 => *s.get(&b),
                    _ => s.retry(),
                });
                assert_eq!(seen, 1);
            }));
        }
        join(threads);
        nobody_is_parked();
    });
}

/// W: of two alternatives the first that can goes on, what the other wrote is undone, and who finds
/// neither waits for both.
#[test]
fn alternatives_take_each_thing_once() {
    explore(2_000, || {
        let (left, right) = (TVar::new(0_u64), TVar::new(0_u64));
        let tried = TVar::new(0_u64);
        let mut threads = Vec::new();
        for _ in 0..2 {
            let (left, right, tried) = (left.clone(), right.clone(), tried.clone());
            threads.push(start(move || {
                for _ in 0..2 {
                    atomically(|tx| {
                        let first = |tx: &Transaction| {
                            tx.modify(&tried, |n| *n += 1);
                            take(tx, &left);
                        };
                        tx.or_else(first, |tx| take(tx, &right));
                    });
                }
            }));
        }
        for cell in [left.clone(), right.clone()] {
            threads.push(start(move || {
                for _ in 0..2 {
                    atomically(|tx| tx.modify(&cell, |n| *n += 1));
                }
            }));
        }
        join(threads);
        assert_eq!((value(&left), value(&right)), (0, 0), "all were taken");
        assert_eq!(value(&tried), 2, "the left ones by the first alternative, which stood");
        nobody_is_parked();
    });
}

/// What transactions ask for is done once each, in their order, by nobody but the library.
#[test]
fn effects_come_in_the_order_of_versions() {
    explore(2_000, || {
        let (cell, done) = (TVar::new(0_u64), Arc::new(Mutex::new(Vec::new())));
        let threads = (0..2).map(|_| {
            let (cell, done) = (cell.clone(), Arc::clone(&done));
            start(move || {
                for _ in 0..2 {
                    atomically(|tx| {
                        let n = tx.modify(&cell, |n| {
                            *n += 1;
                            *n
                        });
                        let done = Arc::clone(&done);
                        tx.on_commit(move || done.lock().push(n));
                    });
                }
            })
        });
        join(threads.collect::<Vec<_>>());
        wait_until(|| done.lock().len() == 4);
        assert_eq!(*done.lock(), [1, 2, 3, 4]);
    });
}

/// A sink that is slow, and fails when it is told to.
struct Slow {
    written: Vec<(u64, Vec<u8>)>,
    safe: Arc<Mutex<Vec<(u64, Vec<u8>)>>>,
    /// How many records it takes before it fails.
    good: usize,
}

impl CommitSink for Slow {
    fn write(&mut self, version: u64, record: &[u8]) -> io::Result<()> {
        thread::yield_now();
        if self.good == 0 {
            return Err(io::Error::other("the disk is full"));
        }
        self.good -= 1;
        self.written.push((version, record.to_vec()));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        thread::yield_now();
        self.safe.lock().append(&mut self.written);
        Ok(())
    }
}

/// Counts up, with a record of each step. The answer is the step.
fn step(tx: &Transaction, cell: &TVar<u8>) -> u8 {
    let next = tx.get(cell) + 1;
    tx.set(cell, next);
    tx.persist(&[next]);
    next
}

/// K: two that commit on a sink whose buffer is full with the first record, or never. Who returns
/// has its record safe; all records are there in the end, in order.
#[test]
fn nothing_gets_out_that_is_not_durable() {
    explore(1_400, || {
        let (cell, safe) = (TVar::new(0_u8), Arc::new(Mutex::new(Vec::new())));
        let sink = Slow { written: Vec::new(), safe: Arc::clone(&safe), good: usize::MAX };
        let durability = Durability::start(sink, [1, 2, 1_000][below(3)]).expect("no other");
        let threads = (0..2).map(|_| {
            let (cell, safe) = (cell.clone(), Arc::clone(&safe));
            let is_safe = move |n: u8| safe.lock().iter().any(|(_, record)| *record == [n]);
            start(move || {
                for _ in 0..2 {
                    let step = |tx: &Transaction| step(tx, &cell);
                    let n = if below(2) == 0 { atomically(step) } else { irrevocably(step) };
                    assert!(is_safe(n), "{n} got out");
                    let seen = cell.with(|n| *n);
                    assert!(is_safe(seen), "{seen} was seen");
                }
            })
        });
        join(threads.collect::<Vec<_>>());
        durability.stop().expect("nothing has failed");
        let safe = safe.lock();
        assert!(safe.is_sorted_by(|(a, _), (b, _)| a < b), "in the order of versions");
        let records: Vec<u8> = safe.iter().flat_map(|(_, record)| record.clone()).collect();
        assert_eq!(records, [1, 2, 3, 4]);
    });
}

/// K6: after a failure nothing more gets out, and everybody who waits is told.
#[test]
fn a_sink_that_fails_is_final() {
    explore(600, || {
        let (cell, safe) = (TVar::new(0_u8), Arc::new(Mutex::new(Vec::new())));
        let good = below(3);
        let sink = Slow { written: Vec::new(), safe: Arc::clone(&safe), good };
        let durability = Durability::start(sink, [1, 1_000][below(2)]).expect("no other");
        let threads = (0..2).map(|_| {
            let (cell, safe) = (cell.clone(), Arc::clone(&safe));
            start(move || {
                for _ in 0..2 {
                    // What was refused is told by a panic.
                    let told = catch_unwind(AssertUnwindSafe(|| atomically(|tx| step(tx, &cell))));
                    if let Ok(n) = told {
                        let is_safe = safe.lock().iter().any(|(_, record)| *record == [n]);
                        assert!(is_safe, "{n} got out");
                    }
                }
            })
        });
        join(threads.collect::<Vec<_>>());
        let stopped = durability.stop();
        assert_eq!(stopped.map_err(|e| e.kind()), Err(ErrorKind::Io), "four records, {good} good");
        assert!(safe.lock().len() <= good);
    });
}

/// K4: what comes while a sink ends gets out behind what has a record, and in order.
#[test]
fn what_comes_while_a_sink_ends_waits_behind_it() {
    explore(1_000, || {
        let (cell, safe) = (TVar::new(0_u8), Arc::new(Mutex::new(Vec::new())));
        let (told, done) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let good = if below(4) > 0 { usize::MAX } else { below(3) };
        let sink = Slow { written: Vec::new(), safe: Arc::clone(&safe), good };
        let durability = Durability::start(sink, 1_000).expect("no other");
        let threads = (0..2).map(|_| {
            let (cell, safe) = (cell.clone(), Arc::clone(&safe));
            let (told, done) = (Arc::clone(&told), Arc::clone(&done));
            start(move || {
                for _ in 0..2 {
                    let step = |tx: &Transaction| {
                        let (n, done) = (step(tx, &cell), Arc::clone(&done));
                        tx.on_commit(move || done.lock().push(n));
                        n
                    };
                    // What was refused, or seen and is not safe, is told by a panic.
                    let written = catch_unwind(AssertUnwindSafe(|| atomically(step)));
                    told.lock().extend(written.map(|n| (true, n, safe.lock().clone())));
                    if good == usize::MAX {
                        continue;
                    }
                    let seen = catch_unwind(AssertUnwindSafe(|| cell.with(|n| *n)));
                    told.lock().extend(seen.map(|n| (false, n, safe.lock().clone())));
                }
            })
        });
        let threads: Vec<_> = threads.collect();
        let stopped = durability.stop();
        join(threads);
        assert!(stopped.is_ok() || good != usize::MAX);
        let told = std::mem::take(&mut *told.lock());
        for (_, n, then) in &told {
            let before = |(_, record): &&(u64, Vec<u8>)| record[0] <= *n;
            let (now, then) = (safe.lock().clone(), then.iter().filter(before));
            assert_eq!(then.count(), now.iter().filter(before).count(), "{n} got out");
        }
        let written = told.iter().filter(|(written, ..)| *written).count();
        // See `stop` on what a failure drops.
        wait_until(|| done.lock().len() == written || stopped.is_err());
        assert!(done.lock().is_sorted(), "{:?}", done.lock());
    });
}

/// I5: a cell whose handle was replaced is there for whoever still sees the handle.
#[test]
fn a_cell_that_is_dropped_while_others_read_it_is_there_for_them() {
    explore(1_600, || {
        let outer = TVar::new(TVar::new(7_u64));
        let (replaced, over) = (outer.clone(), Arc::new(AtomicBool::new(false)));
        let ends = Arc::clone(&over);
        let writer = start(move || {
            for n in 8..11 {
                atomically(|tx| tx.set(&replaced, TVar::new(n)));
            }
            ends.store(true, Ordering::Relaxed);
        });
        let mut last = 7;
        while !over.load(Ordering::Relaxed) {
            let seen = snapshot(|s| {
                let inner = s.get(&outer);
                thread::yield_now();
                *s.get(inner)
            });
            assert!((last..11).contains(&seen), "{seen} after {last}");
            last = seen;
        }
        join([writer]);
    });
}

/// C2, C7: the first flag of a process may be left by a sink that ends, for a thread that has the
/// baton only to collect.
#[test]
fn a_sink_that_ends_may_leave_the_first_flag() {
    explore(2_000, || {
        let dropper = start(|| drop(TVar::new(7_u64)));
        let sink = Slow { written: Vec::new(), safe: Arc::default(), good: 0 };
        let durability = Durability::start(sink, 1).expect("no other");
        durability.stop().expect("nothing was written");
        join([dropper]);
        // The baton was let go.
        let cell = TVar::new(0);
        atomically(|tx| tx.set(&cell, 1));
    });
}
