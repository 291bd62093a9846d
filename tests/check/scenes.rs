//! Single scenes under the interleaver: bounded chains, cancellations, a commit sink.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
        mpsc::{Sender, channel},
    },
};
use txloop::{
    CommitSink, Durability, Executor, Failure, Order, TVar, Transaction, atomically, irrevocably,
    probe::{self, interleaved},
    snapshot,
};

/// Runs a scene in the schedule of a seed.
#[track_caller]
fn play(seed: u64, scene: impl FnOnce() + Send + 'static) {
    let scene = move || {
        interleaved::rest();
        scene();
        interleaved::rest();
    };
    if let Err(why) = interleaved::run(seed, scene) {
        panic!("seed={seed}: {why}");
    }
}

/// Other threads go on for a while.
fn wander(steps: u64) {
    (0..steps).for_each(|_| interleaved::point(interleaved::Point::Test));
}

/// Readers, of which one after the other ends and begins again, beside a writer that never pauses.
///
/// A reader that is about to begin, and has announced a range, keeps all that is written meanwhile:
/// so the chain is looked at when all have begun.
pub(super) fn chains_are_bounded(seed: u64) {
    const READERS: usize = 3;
    const ROUNDS: usize = 12;
    play(seed, || {
        let cell = TVar::new(0_u64);
        // How often each reader has begun, and may end.
        let turns: Arc<[(AtomicUsize, AtomicUsize); READERS]> = Arc::default();
        let reader = |i: usize| {
            let (cell, turns) = (cell.clone(), Arc::clone(&turns));
            let read = move || {
                for round in 1..=ROUNDS {
                    let same = snapshot(|s| {
                        let first = *s.get(&cell);
                        turns[i].0.store(round, SeqCst);
                        wait_until(|| turns[i].1.load(SeqCst) >= round);
                        first == *s.get(&cell)
                    });
                    assert!(same, "a snapshot that moves");
                }
            };
            interleaved::spawn("reader", read)
        };
        let readers: Vec<_> = (0..READERS).map(reader).collect();
        for turn in 0..READERS * ROUNDS {
            let (next, ended) = (turn % READERS, turn / READERS);
            turns.iter().enumerate().for_each(|(i, (begun, _))| {
                wait_until(|| {
                    begun.load(SeqCst) > ended + usize::from(i < next && ended + 1 < ROUNDS)
                });
            });
            for commit in 0..12 {
                atomically(|tx| tx.modify(&cell, |n| *n += 1));
                let (length, most) = (cell.chain_length(), READERS + 2 + 2);
                let settled = commit > 4;
                assert!(!settled || length <= most, "{length} versions, more than {most}");
            }
            turns[next].1.store(ended + 1, SeqCst);
        }
        readers.into_iter().for_each(interleaved::Handle::join);
        interleaved::rest();
        assert_eq!((cell.chain_length(), txloop::memory().old_versions), (1, 0));
    });
}

fn wait_until(is_so: impl Fn() -> bool) {
    // What was done before may be what another one waits for.
    interleaved::point(interleaved::Point::Test);
    while !is_so() {
        interleaved::pause();
    }
}

/// Threads that all want the same cell, some of them alone from the first.
pub(super) fn the_impatient_take_turns(seed: u64) {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 3;
    play(seed, move || {
        let cell = TVar::new(0_u64);
        let thread = |name: u64| {
            let cell = cell.clone();
            let live = move || {
                for round in 0..ROUNDS {
                    let add = |tx: &Transaction| {
                        let seen = *tx.get(&cell);
                        wander(2);
                        tx.set(&cell, seen + 1);
                    };
                    if (seed + name + round).is_multiple_of(3) {
                        irrevocably(add);
                    } else {
                        atomically(add);
                    }
                }
            };
            interleaved::spawn("thread", live)
        };
        let threads: Vec<_> = (0..THREADS).map(thread).collect();
        threads.into_iter().for_each(interleaved::Handle::join);
        assert_eq!(snapshot(|s| *s.get(&cell)), THREADS * ROUNDS, "no update is lost");
    });
}

/// Callers that wait for each answer before they ask again, so that the workers often sleep.
pub(super) fn workers_wake(seed: u64) {
    let workers = 1 + seed as usize % 2;
    let order = if seed.is_multiple_of(3) { Order::Arrival } else { Order::Commit };
    play(seed, move || {
        let executor = Executor::builder().threads(workers).order(order).build();
        let (executor, cell) = (Arc::new(executor.expect("threads")), TVar::new(0_u64));
        let caller = |_| {
            let (executor, cell) = (Arc::clone(&executor), cell.clone());
            let call = move || {
                for _ in 0..3 {
                    let cell = cell.clone();
                    let add = move |tx: &Transaction| tx.modify(&cell, |n| *n += 1);
                    assert_eq!(executor.transact("add", add).wait(), Ok(()));
                }
            };
            interleaved::spawn("caller", call)
        };
        let callers: Vec<_> = (0..2).map(caller).collect();
        callers.into_iter().for_each(interleaved::Handle::join);
        assert_eq!(snapshot(|s| *s.get(&cell)), 6, "each once");
    });
}

/// Transactions that wait for a write that may never come, each cancelled at some time.
pub(super) fn the_cancelled_end(seed: u64) {
    let order = if seed.is_multiple_of(2) { Order::Commit } else { Order::Arrival };
    play(seed, move || {
        let executor = Executor::builder().threads(2).order(order).build().expect("threads");
        let cell = TVar::new(0_u64);
        let waiting = (0..4).map(|i| {
            let own = cell.clone();
            let transact = executor.transact("waits", move |tx| tx.guard(*tx.get(&own) > i));
            let wait = move || {
                wander(seed % 11 * i);
                transact.cancel();
                let answer = transact.wait_at().0;
                assert!(matches!(answer, Ok(()) | Err(Failure::Cancelled)), "{answer:?}");
            };
            interleaved::spawn("cancels", wait)
        });
        let waiting: Vec<_> = waiting.collect();
        if seed.is_multiple_of(3) {
            atomically(|tx| tx.set(&cell, 2));
        }
        waiting.into_iter().for_each(interleaved::Handle::join);
        let stats = executor.stats();
        assert_eq!((stats.parked, stats.under_way), (0, 0), "all have ended");
    });
}

/// Effects of transactions that follow one another, opened by whichever worker comes first.
pub(super) fn effects_open_in_order(seed: u64) {
    const CALLS: u64 = 6;
    play(seed, move || {
        let executor = Executor::builder().threads(2 + seed as usize % 2).build();
        let (executor, cell) = (executor.expect("threads"), TVar::new(0_u64));
        let (opened, effects) = channel();
        let call = |_| {
            let (cell, opened) = (cell.clone(), opened.clone());
            executor.transact("effects", move |tx| {
                let next = tx.modify(&cell, |n| {
                    *n += 1;
                    *n
                });
                for effect in 0..2 {
                    let opened = opened.clone();
                    tx.on_commit(move || {
                        wander(1);
                        let _ = opened.send((next, effect));
                    });
                }
            })
        };
        let calls: Vec<_> = (0..CALLS).map(call).collect();
        calls.into_iter().for_each(|call| assert_eq!(call.wait(), Ok(())));
        drop(executor);
        interleaved::rest();
        let seen: Vec<(u64, u64)> = effects.try_iter().collect();
        let expected: Vec<_> = (1..=CALLS).flat_map(|n| [(n, 0), (n, 1)]).collect();
        assert_eq!(seen, expected, "in the order of versions");
    });
}

/// A sink that says what was synced.
struct Sink {
    written: Vec<(u64, Vec<u8>)>,
    synced: Arc<AtomicU64>,
    records: Sender<(u64, Vec<u8>)>,
}

impl CommitSink for Sink {
    fn write(&mut self, version: u64, record: &[u8]) -> io::Result<()> {
        wander(2);
        self.written.push((version, record.to_vec()));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        wander(3);
        for record in self.written.drain(..) {
            self.synced.store(record.0, SeqCst);
            let _ = self.records.send(record);
        }
        Ok(())
    }
}

/// Threads whose commits are recorded by a slow sink with little room.
pub(super) fn the_sink_keeps_order(seed: u64) {
    play(seed, move || {
        let (synced, (records, kept)) = (Arc::new(AtomicU64::new(0)), channel());
        let sink = Sink { written: Vec::new(), synced: Arc::clone(&synced), records };
        let sink = Durability::start(sink, 1 + seed as usize % 24).expect("one at a time");
        let (cell, (opened, effects)) = (TVar::new(0_u64), channel());
        let workers = 1 + seed as usize % 2;
        let executor = Executor::builder().threads(workers).build().expect("threads");
        let executor = Arc::new(executor);
        let thread = |name: u64| {
            let (executor, told) = (Arc::clone(&executor), Arc::clone(&synced));
            let (cell, synced, opened) = (cell.clone(), Arc::clone(&synced), opened.clone());
            let add = move |tx: &Transaction| {
                let next = tx.modify(&cell, |n| {
                    *n += 1;
                    *n
                });
                tx.persist(&[name as u8, 0, next as u8]);
                let (synced, opened) = (Arc::clone(&synced), opened.clone());
                tx.on_commit(move || {
                    let _ = opened.send((next, synced.load(SeqCst)));
                });
            };
            let live = move || {
                for round in 0..3 {
                    let version = if (seed + round + name).is_multiple_of(2) {
                        probe::atomically_at(&add).1
                    } else {
                        executor.transact("add", add.clone()).wait_at().1
                    };
                    let synced = told.load(SeqCst);
                    assert!(synced >= version, "told of {version}, synced is {synced}");
                }
            };
            interleaved::spawn("thread", live)
        };
        let threads: Vec<_> = (0..3).map(thread).collect();
        threads.into_iter().for_each(interleaved::Handle::join);
        drop(executor);
        sink.stop().expect("it has not failed");
        interleaved::rest();
        let kept: Vec<(u64, Vec<u8>)> = kept.try_iter().collect();
        let numbers: Vec<u64> = kept.iter().map(|(_, record)| u64::from(record[2])).collect();
        assert_eq!(numbers, (1..=9).collect::<Vec<_>>(), "records in the order of versions");
        assert!(kept.is_sorted_by(|a, b| a.0 < b.0), "{kept:?}");
        let effects: Vec<(u64, u64)> = effects.try_iter().collect();
        assert_eq!(effects.len(), 9, "each effect once");
        for ((number, synced), (version, record)) in effects.iter().zip(&kept) {
            assert_eq!(*number, u64::from(record[2]), "effects in the order of versions");
            assert!(synced >= version, "an effect of {version}, synced is {synced}");
        }
    });
}
