//! The executor under shuttle: random handlers against one thread that runs them one after another,
//! workers that sleep and wake, and whoever works beside them. See `sync/explore.rs` for how to run
//! and replay them.

mod piece;
mod program;
mod series;

use super::{
    Executor, Failure, Limits, Order,
    core::Core,
    job::{Ended, How, Kind},
    lane::Laned,
    ledger::Ledger,
    series::{Batch, Series},
    sleepers::Sleepers,
    transact::Panicked,
    twice::Twice,
};
use crate::cell::{deferred, store::STORE};
use crate::sync::{
    Arc, AtomicUsize, Mutex, Ordering, Parker,
    explore::{below, explore},
    spawn,
    thread::{self, JoinHandle},
};
use crate::transaction::{
    CommitSink, Durability, Transaction, atomically, irrevocably, parked_for,
};
use crate::{TVar, snapshot};
use piece::{Book, Watcher, handled};
use program::{Model, Op, Program, programs};
use series::{Closure, admit_series, closures, run_series};
use std::{io, time::Duration};

fn executor(threads: usize, order: Order) -> Executor {
    let builder = Executor::builder().threads(threads).order(order).seed([7; 32]);
    // In arrival order some only help.
    builder.cores(1 + below(3)).build().expect("threads")
}

fn start(f: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    spawn("test", f).expect("a thread")
}

#[track_caller]
fn nobody_is_parked() {
    assert_eq!(parked_for(Duration::ZERO, 10), [], "and nobody writes any more");
}

/// Each handler had the book, and its task the executor, both of which have ended.
#[track_caller]
fn all_is_dropped(book: &Arc<Book>) {
    deferred::adopt_thread();
    // The reaper may be at it.
    while !deferred::is_idle() {
        deferred::settle();
        thread::yield_now();
    }
    assert_eq!(Arc::strong_count(book), 1, "a handler is kept for good");
}

/// Gives all programs to an executor, in order, and takes some of them back.
fn submit_all(book: &Arc<Book>, executor: &Executor, takes_back: bool) {
    let handlers = [handled("cold", false), handled("hot", true)];
    let hot = below(3) == 0;
    let mut cancels = Vec::new();
    for number in 0..book.programs.len() {
        let handler = &handlers[usize::from(hot && below(2) == 0)];
        let cancel = book.submit(executor, number, handler);
        // Others may need what these put there.
        let puts = matches!(book.programs[number].ops[0], Op::Put(_));
        if takes_back && !puts && below(3) == 0 {
            cancels.push(cancel);
        }
        if !cancels.is_empty() && below(2) == 0 {
            Book::take_back(&cancels.swap_remove(0));
        }
    }
    cancels.iter().for_each(|cancel| Book::take_back(cancel));
}

/// I2, I3, I4: in commit order, every handler ends once, and state and answers are those of their
/// versions, one after another.
#[test]
fn commit_order_is_the_order_of_versions() {
    explore(2_400, || {
        let executor = executor(1 + below(3), Order::Commit);
        let book = Book::new(programs(3 + below(4), false));
        submit_all(&book, &executor, below(3) == 0);
        drop(executor);
        book.check_versions();
        nobody_is_parked();
        all_is_dropped(&book);
    });
}

/// I4, I7, I9: in arrival order the place of each is that of its ticket, or right behind whoever
/// woke it; with a ring of four.
#[test]
fn arrival_order_is_that_of_tickets() {
    explore(2_400, || {
        let executor = executor(1 + below(3), Order::Arrival);
        let book = Book::new(programs(4 + below(5), true));
        submit_all(&book, &executor, below(3) == 0);
        drop(executor);
        book.check_order(0..book.programs.len());
        nobody_is_parked();
        all_is_dropped(&book);
    });
}

/// S1: what a worker keeps for itself is served although that worker runs something that ends only
/// when it has been; so do the answers of what it has served.
#[test]
fn nobody_keeps_tickets_behind_what_may_take_long() {
    explore(40_000, || {
        let threads = 3;
        // Of those that only help none would take what is brief.
        let executor = Executor::builder().threads(threads).cores(threads).order(Order::Arrival);
        let executor = executor.build().expect("threads");
        let (cell, over) = (TVar::new(0_u64), Arc::new(AtomicUsize::new(0)));
        let hit = |_| -> Closure {
            let cell = cell.clone();
            Box::new(move |tx| {
                tx.modify(&cell, |n| {
                    *n += 1;
                    *n
                })
            })
        };
        let kind = [Kind::Read, Kind::Write][below(2)];
        // If hot, a writer is run in its turn only, by whoever serves.
        let watcher = handled("watcher", below(4) == 0);
        let job = Watcher { handled: watcher, kind, over: Arc::clone(&over) };
        let queue = |job| {
            executor.core.queue(executor.core.accept(Box::new(job), 0));
            executor.core.wake_one();
        };
        let watch = || queue(job);
        // Single ones before the batch, which are kept like members and do not belong to it.
        let brief = handled("brief", false);
        brief.ran(1);
        for _ in 0..below(4) {
            let (handled, over) = (Arc::clone(&brief), Arc::new(AtomicUsize::new(1)));
            queue(Watcher { handled, kind: Kind::Write, over });
        }
        let batch = || admit_series(&executor, false, (0..1 + below(8)).map(hit).collect());
        // Nobody waits for a reader.
        let batch = if kind == Kind::Read && below(2) == 0 {
            watch();
            batch()
        } else {
            let batch = batch();
            watch();
            batch
        };
        let answers = batch.wait();
        over.store(1, Ordering::Release);
        executor.core.task_ended();
        let answers = answers.into_iter().map(|answer| answer.expect("no panic"));
        assert!(answers.eq(1..=cell.with(|n| *n)), "one after another");
    });
}

/// The same for the members of a series, which are claimed and committed in groups, in the lane or
/// not, while another thread gives the executor a series of its own.
#[test]
fn members_of_series_end_once_each() {
    explore(2_000, || {
        let order = [Order::Commit, Order::Arrival][below(2)];
        let (executor, hot) = (Arc::new(executor(1 + below(3), order)), below(3) == 0);
        let programs = programs(3 + below(4), false);
        // A closure decides nothing.
        let all = programs.into_iter().map(|program| Program { denies: false, ..program });
        let book = Book::new(all.collect());
        let noted = TVar::new(Vec::new());
        let (others, beside) = (TVar::new(0), Arc::clone(&executor));
        let theirs = others.clone();
        let other = start(move || {
            let hit = |_| {
                let cell = theirs.clone();
                move |tx: &Transaction| tx.modify(&cell, |n| *n += 1)
            };
            beside.run("beside", (0..3).map(hit).collect::<Vec<_>>());
        });
        let answers = run_series(&executor, hot, closures(&book, &noted));
        other.join().expect("no panic");
        drop(executor);
        let mut model = Model::default();
        match order {
            Order::Commit => {
                for number in snapshot(|s| s.get(&noted).clone()) {
                    model.run(&book.programs, number);
                }
            }
            Order::Arrival => {
                (0..answers.len()).for_each(|number| model.run(&book.programs, number));
            }
        }
        let ended: Vec<usize> = model.ended.iter().map(|(number, _)| *number).collect();
        assert_eq!(ended, snapshot(|s| s.get(&noted).clone()), "{:#?}", book.programs);
        assert_eq!(answers.len(), ended.len());
        for (number, answer) in model.ended {
            assert_eq!(answers[number], answer, "{number}: {:#?}", book.programs);
        }
        assert_eq!((model.values, others.with(|n| *n)), (book.values(), 3));
        all_is_dropped(&book);
    });
}

/// Whoever waits for a batch hears of its end, whichever workers end its members and when.
#[test]
fn a_batch_ends_with_the_last_of_its_pages() {
    explore(2_000, || {
        let closures = vec![|_: &Transaction| (); 4];
        let batch = Arc::new(Batch::new(closures, handled("member", false), 1, 0));
        // Each fills the page that the other one began with.
        let workers = [[0, 2], [3, 1]].map(|members| {
            let batch = Arc::clone(&batch);
            start(move || {
                for member in members {
                    let mut job = Arc::clone(&batch).job();
                    job.assign(member);
                    let panicked = Panicked::new(&member.to_string());
                    job.ended(Ended { version: 0, how: How::Panicked(panicked) });
                }
            })
        });
        let answers = batch.wait();
        let members: Vec<_> = answers.into_iter().map(|answer| answer.unwrap_err()).collect();
        for (member, panicked) in members.iter().enumerate() {
            assert_eq!(panicked.message(), member.to_string());
        }
        assert_eq!(members.len(), 4);
        workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
    });
}

/// A worker without handlers: it takes what is queued, and sleeps as `worker.rs` does. The last one
/// to take something ends all.
fn take_all(core: &Core, index: usize, parker: &Parker, left: &AtomicUsize) {
    while !core.is_stopping() {
        while core.lane.next().is_some() {
            if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                core.stop();
            }
        }
        if core.may_sleep(index) {
            parker.park();
            core.awake(index);
        }
    }
}

/// The sleep alone, in short programs: every push that finds nobody awake wakes somebody.
#[test]
fn whoever_sleeps_hears_of_what_is_pushed() {
    explore(20_000, || {
        let parkers: Vec<_> = (0..1 + below(2)).map(|_| Parker::new()).collect();
        let unparkers = parkers.iter().map(|parker| parker.unparker().clone()).collect();
        let (ledger, pushes) = (Ledger::new(None, 3), 2 + below(2));
        let core = Core::new(
            2,
            Order::Commit,
            Limits::default(),
            [0; 32],
            Sleepers::new(unparkers, usize::MAX),
            ledger,
            Twice::new(false),
        );
        let left = Arc::new(AtomicUsize::new(pushes));
        let workers = parkers.into_iter().enumerate().map(|(index, parker)| {
            let (core, left) = (Arc::clone(&core), Arc::clone(&left));
            start(move || take_all(&core, index, &parker, &left))
        });
        let workers: Vec<_> = workers.collect();
        let nothing = Vec::<fn(&Transaction)>::new();
        let nothing: Arc<dyn Series> = Arc::new(Batch::new(nothing, handled("n", false), 1, 0));
        for _ in 0..pushes {
            core.lane.push(Laned::Series(Arc::clone(&nothing)));
            core.wake_one();
        }
        workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
    });
}

/// No wake-up of a worker is lost: one task at a time, so that all workers sleep in between, and
/// each with an effect that only a worker, or the reaper, can do.
#[test]
fn workers_that_sleep_are_woken() {
    explore(2_000, || {
        let order = [Order::Commit, Order::Arrival][below(2)];
        let executor = executor(1 + below(3), order);
        let (cell, done) = (TVar::new(0_u64), Arc::new(AtomicUsize::new(0)));
        for turn in 1..4 {
            let count = 1 + below(2);
            let hits = (0..count).map(|_| {
                let (cell, done) = (cell.clone(), Arc::clone(&done));
                executor.transact("hit", move |tx| {
                    let done = Arc::clone(&done);
                    tx.on_commit(move || {
                        done.fetch_add(1, Ordering::Relaxed);
                    });
                    tx.modify(&cell, |n| *n += 1);
                })
            });
            for hit in hits.collect::<Vec<_>>() {
                assert_eq!(hit.wait(), Ok(()));
            }
            while done.load(Ordering::Relaxed) < count {
                thread::yield_now();
            }
            done.fetch_sub(count, Ordering::Relaxed);
            assert!(cell.with(|n| *n) >= turn);
        }
    });
}

/// Effects come in the order of versions, whoever does them: workers, or the reaper.
#[test]
fn effects_come_in_the_order_of_versions() {
    explore(2_000, || {
        let order = [Order::Commit, Order::Arrival][below(2)];
        let executor = executor(2 + below(2), order);
        let (cell, done) = (TVar::new(0_u64), Arc::new(Mutex::new(Vec::new())));
        let hit = || {
            let (cell, done) = (cell.clone(), Arc::clone(&done));
            move |tx: &Transaction| {
                let n = tx.modify(&cell, |n| {
                    *n += 1;
                    *n
                });
                let done = Arc::clone(&done);
                tx.on_commit(move || done.lock().push(n));
            }
        };
        let beside = hit();
        let foreign = start(move || (0..2).for_each(|_| atomically(&beside)));
        let hits = [(); 4].map(|()| executor.transact("hit", hit()));
        for hit in hits {
            assert_eq!(hit.wait(), Ok(()));
        }
        foreign.join().expect("no panic");
        while done.lock().len() < 6 {
            thread::yield_now();
        }
        assert_eq!(*done.lock(), [1, 2, 3, 4, 5, 6]);
    });
}

/// Counts those that there are.
struct Live(Arc<AtomicUsize>);

impl Live {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What was replaced is dropped by workers, several at a time, or the reaper.
#[test]
fn what_was_replaced_is_dropped() {
    explore(1_000, || {
        let executor = executor(1 + below(3), [Order::Commit, Order::Arrival][below(2)]);
        let live = Arc::new(AtomicUsize::new(0));
        let cells = [(); 2].map(|()| TVar::new(Live::new(&live)));
        let replace = |at: usize| {
            let (cell, live) = (cells[at].clone(), Arc::clone(&live));
            move |tx: &Transaction| tx.set(&cell, Live::new(&live))
        };
        let beside = replace(0);
        let foreign = start(move || (0..2).for_each(|_| atomically(&beside)));
        let hits = [0, 1, 1].map(|at| executor.transact("replace", replace(at)));
        for hit in hits {
            assert_eq!(hit.wait(), Ok(()));
        }
        foreign.join().expect("no panic");
        // As the reaper, whose naps have no end here: what a view has held up, and what other
        // threads have left behind. Whoever writes sees to it that values are dropped.
        let next = TVar::new(0_u64);
        while live.load(Ordering::Relaxed) > cells.len() {
            STORE.collect_idle();
            atomically(|tx| tx.modify(&next, |n| *n += 1));
            thread::yield_now();
        }
        assert_eq!(live.load(Ordering::Relaxed), cells.len());
    });
}

/// More writes than may be READY while another thread has the baton. It commits or parks them
/// itself, and those that are parked leave nothing else that would wake a worker: what is put aside
/// is run by one that hears of the room.
#[test]
fn what_is_put_aside_is_run_when_there_is_room() {
    explore(4_000, || {
        let executor = executor(2 + below(2), Order::Commit);
        let gate = TVar::new(false);
        let foreign = start(|| {
            for _ in 0..2 {
                irrevocably(|_| (0..below(6)).for_each(|_| thread::yield_now()));
            }
        });
        let waits = [(); 2].map(|()| {
            let gate = gate.clone();
            executor.transact("waits", move |tx| tx.guard(*tx.get(&gate)))
        });
        let opens = executor.transact("opens", move |tx| tx.set(&gate, true));
        for hit in waits.into_iter().chain([opens]) {
            assert_eq!(hit.wait(), Ok(()));
        }
        foreign.join().expect("no panic");
    });
}

/// Threads of their own beside an executor, in both orders: what they add is there, and what the
/// executor's handlers saw still is what their versions say.
#[test]
fn foreign_threads_take_their_places_between() {
    explore(2_000, || {
        let order = [Order::Commit, Order::Arrival][below(2)];
        let executor = executor(2 + below(2), order);
        let (cell, seen) = (TVar::new(0_u64), Arc::new(Mutex::new(Vec::new())));
        let foreign = [false, true].map(|alone| {
            let (cell, seen) = (cell.clone(), Arc::clone(&seen));
            start(move || {
                for _ in 0..2 {
                    let hit = |tx: &Transaction| {
                        tx.modify(&cell, |n| {
                            *n += 1;
                            *n
                        })
                    };
                    let n = if alone { irrevocably(hit) } else { atomically(hit) };
                    seen.lock().push(n);
                }
            })
        });
        let hits = [(); 4].map(|()| {
            let cell = cell.clone();
            executor.transact("hit", move |tx| {
                tx.modify(&cell, |n| {
                    *n += 1;
                    *n
                })
            })
        });
        let mut places = Vec::new();
        for hit in hits {
            let (answer, version) = hit.wait_at();
            let n = answer.expect("no panic");
            assert_eq!(n, version, "each version adds one");
            places.push(n);
        }
        foreign.into_iter().for_each(|thread| thread.join().expect("no panic"));
        drop(executor);
        if order == Order::Arrival {
            assert!(places.is_sorted(), "{places:?}");
        }
        places.append(&mut seen.lock());
        places.sort_unstable();
        assert_eq!(places, [1, 2, 3, 4, 5, 6, 7, 8]);
    });
}

/// W, X: somebody waits, somebody else takes it back and a third one writes what it waits for: it
/// ends once, and has done all or nothing.
#[test]
fn cancelled_and_woken_it_ends_once() {
    explore(2_800, || {
        let order = [Order::Commit, Order::Arrival][below(2)];
        let executor = executor(1 + below(2), order);
        let (goods, got) = (TVar::new(0_u64), TVar::new(0_u64));
        let waits = [(); 2].map(|()| {
            let (goods, got) = (goods.clone(), got.clone());
            executor.transact("take", move |tx| {
                tx.guard(*tx.get(&goods) > 0);
                tx.modify(&goods, |n| *n -= 1);
                tx.modify(&got, |n| *n += 1);
            })
        });
        let there = goods.clone();
        let writer = start(move || atomically(|tx| tx.set(&there, 1)));
        // At any time of its life.
        (0..below(200)).for_each(|_| thread::yield_now());
        waits[1].cancel();
        let [first, second] = waits;
        let second = second.wait();
        writer.join().expect("no panic");
        if second.is_ok() {
            // The first one would wait for ever.
            first.cancel();
        }
        let first = first.wait();
        drop(executor);
        let ended = [&first, &second];
        let done = ended.iter().filter(|end| end.is_ok()).count() as u64;
        let taken_back = ended.iter().filter(|end| ***end == Err(Failure::Cancelled)).count();
        assert_eq!(done as usize + taken_back, 2, "{ended:?}");
        assert_eq!((goods.with(|n| *n), got.with(|n| *n)), (1 - done, done), "{ended:?}");
        nobody_is_parked();
    });
}

/// Handlers of an executor and threads of their own wait for each other.
#[test]
fn pairs_wait_for_each_other_across_threads() {
    explore(2_000, || {
        let order = [Order::Commit, Order::Arrival][below(2)];
        let executor = executor(1 + below(2), order);
        let ball = TVar::new(0_u64);
        let theirs = ball.clone();
        let returns = start(move || {
            for stroke in [1, 3] {
                atomically(|tx| {
                    tx.guard(*tx.get(&theirs) == stroke);
                    tx.set(&theirs, stroke + 1);
                });
            }
        });
        let strokes = [0, 2, 4].map(|stroke| {
            let ball = ball.clone();
            executor.transact("stroke", move |tx| {
                tx.guard(*tx.get(&ball) == stroke);
                tx.set(&ball, stroke + 1);
            })
        });
        for stroke in strokes {
            assert_eq!(stroke.wait(), Ok(()));
        }
        returns.join().expect("no panic");
        assert_eq!(ball.with(|n| *n), 5);
        nobody_is_parked();
    });
}

/// A sink that is slow.
struct Slow(Arc<Mutex<Vec<u8>>>);

impl CommitSink for Slow {
    fn write(&mut self, _: u64, record: &[u8]) -> io::Result<()> {
        thread::yield_now();
        self.0.lock().extend_from_slice(record);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        thread::yield_now();
        Ok(())
    }
}

/// K: the answers of an executor wait for the sink; a buffer that is full stops nobody for ever.
#[test]
fn answers_wait_until_they_are_durable() {
    explore(1_200, || {
        let safe = Arc::new(Mutex::new(Vec::new()));
        let capacity = [1, 2, 1_000][below(3)];
        let durability = Durability::start(Slow(Arc::clone(&safe)), capacity).expect("no other");
        let order = [Order::Commit, Order::Arrival][below(2)];
        let executor = executor(1 + below(3), order);
        let cell = TVar::new(0_u8);
        let hits = [(); 4].map(|()| {
            let cell = cell.clone();
            executor.transact("hit", move |tx| {
                let next = tx.get(&cell) + 1;
                tx.set(&cell, next);
                tx.persist(&[next]);
                next
            })
        });
        for hit in hits {
            let n = hit.wait().expect("no panic");
            assert!(safe.lock().contains(&n), "{n} got out");
        }
        drop(executor);
        durability.stop().expect("nothing has failed");
        assert_eq!(*safe.lock(), [1, 2, 3, 4]);
    });
}
