//! The commit sink, slow, full and failing. A binary of its own: there is one sink for a process.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test outside the library uses the standard primitives"
)]

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};
use txloop::{
    CommitSink, Durability, Executor, Failure, MAX_RECORD, Order, TVar, Transaction, atomically,
    irrevocably, snapshot,
};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

type Records = Arc<Mutex<Vec<(u64, Vec<u8>)>>>;

/// A sink whose syncs end when the test says so, and as it says.
struct Directed {
    written: Vec<(u64, Vec<u8>)>,
    safe: Records,
    begun: Sender<usize>,
    end: Receiver<io::Result<()>>,
}

struct Director {
    safe: Records,
    begun: Receiver<usize>,
    end: Sender<io::Result<()>>,
}

fn directed() -> (Directed, Director) {
    let safe = Records::default();
    let (begins, begun) = channel();
    let (ends, end) = channel();
    let sink = Directed { written: Vec::new(), safe: Arc::clone(&safe), begun: begins, end };
    (sink, Director { safe, begun, end: ends })
}

impl CommitSink for Directed {
    fn write(&mut self, version: u64, record: &[u8]) -> io::Result<()> {
        self.written.push((version, record.to_vec()));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        // The test may have left.
        let _ = self.begun.send(self.written.len());
        // A test that fails must not hang here.
        self.end.recv_timeout(Duration::from_secs(20)).unwrap_or(Ok(()))?;
        self.safe.lock().expect("not poisoned").append(&mut self.written);
        Ok(())
    }
}

impl Director {
    /// Waits until a sync has begun; says how many records it is to make safe.
    fn wait(&self) -> usize {
        self.begun.recv().expect("the sink works")
    }

    fn let_sync(&self, result: io::Result<()>) {
        self.end.send(result).expect("the sink works");
    }

    fn records(&self) -> Vec<Vec<u8>> {
        let safe = self.safe.lock().expect("not poisoned");
        assert!(safe.is_sorted_by_key(|(version, _)| *version));
        safe.iter().map(|(_, record)| record.clone()).collect()
    }
}

/// Adds one, with a record of what is then there, and says so when it may be told.
fn hit(
    cell: &TVar<u8>,
    told: &Arc<Mutex<Vec<u8>>>,
) -> impl Fn(&Transaction) -> u8 + Send + Sync + use<> {
    let (cell, told) = (cell.clone(), Arc::clone(told));
    move |tx| {
        let next = tx.get(&cell) + 1;
        tx.set(&cell, next);
        tx.persist(&[next]);
        let told = Arc::clone(&told);
        tx.on_commit(move || told.lock().expect("not poisoned").push(next));
        next
    }
}

/// Waits until so many handlers have ended, answered or not.
fn await_ended(executor: &Executor, ended: u64) {
    while executor.stats().ended < ended {
        thread::yield_now();
    }
}

#[test]
fn a_slow_sync_holds_back_what_gets_out_and_nothing_else() {
    let _alone = alone();
    for order in [Order::Commit, Order::Arrival] {
        let executor = Executor::builder().threads(2).order(order).build().expect("threads");
        let (cell, told) = (TVar::new(0), Arc::default());
        let (sink, director) = directed();
        let durability = Durability::start(sink, 1_000).expect("no other sink");
        let first = executor.transact("hit", hit(&cell, &told));
        assert_eq!(director.wait(), 1);
        // While the first is being synced, others commit on top of it and read what it wrote.
        let second = executor.transact("hit", hit(&cell, &told));
        await_ended(&executor, 2);
        let seen = cell.clone();
        let reader = executor.transact("look", move |tx| *tx.get(&seen));
        await_ended(&executor, 3);
        assert!(told.lock().expect("not poisoned").is_empty(), "nothing is durable");
        let before = durability.durable();
        director.let_sync(Ok(()));
        assert_eq!(first.wait(), Ok(1));
        assert!(durability.durable() > before);
        assert_eq!(director.wait(), 1);
        assert_eq!(director.records(), [[1]]);
        director.let_sync(Ok(()));
        assert_eq!((second.wait(), reader.wait()), (Ok(2), Ok(2)));
        let third = thread::spawn({
            let hit = hit(&cell, &told);
            move || atomically(hit)
        });
        assert_eq!(director.wait(), 1);
        director.let_sync(Ok(()));
        assert_eq!(third.join().expect("no panic"), 3);
        assert_eq!(snapshot(|s| *s.get(&cell)), 3);
        durability.stop().expect("it never failed");
        assert_eq!(director.records(), [[1], [2], [3]]);
        drop(executor);
        while told.lock().expect("not poisoned").len() < 3 {
            thread::yield_now();
        }
        assert_eq!(*told.lock().expect("not poisoned"), [1, 2, 3]);
    }
}

#[test]
fn a_full_buffer_stops_commits_and_not_the_rest() {
    let _alone = alone();
    let executor = Executor::new(2).expect("threads");
    let (cell, told) = (TVar::new(0), Arc::default());
    let (sink, director) = directed();
    let durability = Durability::start(sink, 2).expect("no other sink");
    let mut hits = vec![executor.transact("hit", hit(&cell, &told))];
    director.wait();
    // The second one fills the buffer: the first is not safe yet.
    hits.push(executor.transact("hit", hit(&cell, &told)));
    await_ended(&executor, 2);
    hits.extend((0..20).map(|_| executor.transact("hit", hit(&cell, &told))));
    let foreign = thread::spawn({
        let hit = hit(&cell, &told);
        move || atomically(hit)
    });
    // Read-only work goes on, and sees two hits.
    for i in 0..50 {
        let (seen, at) = (cell.clone(), Arc::new(Mutex::new(None)));
        let note = Arc::clone(&at);
        drop(executor.transact("look", move |tx| {
            *note.lock().expect("not poisoned") = Some(*tx.get(&seen));
        }));
        await_ended(&executor, 3 + i);
        assert_eq!(*at.lock().expect("not poisoned"), Some(2));
    }
    director.let_sync(Ok(()));
    let mut safe = 1;
    while safe < 23 {
        let records = director.wait();
        assert!(records <= 2 + 16, "no more than the buffer holds, and one group of commits");
        safe += records;
        director.let_sync(Ok(()));
    }
    let mut answers: Vec<_> = hits.into_iter().map(|hit| hit.wait().expect("committed")).collect();
    answers.push(foreign.join().expect("no panic"));
    answers.sort_unstable();
    assert!(answers.into_iter().eq(1..=23));
    durability.stop().expect("it never failed");
    assert!(director.records().concat().into_iter().eq(1..=23));
}

#[test]
fn a_failed_sync_is_final() {
    let _alone = alone();
    for panics in [false, true] {
        let executor = Executor::new(2).expect("threads");
        let (cell, told): (_, Arc<Mutex<Vec<u8>>>) = (TVar::new(0), Arc::default());
        let (sink, director) = directed();
        struct Panics(Directed, bool);
        impl CommitSink for Panics {
            fn write(&mut self, version: u64, record: &[u8]) -> io::Result<()> {
                self.0.write(version, record)
            }
            fn sync(&mut self) -> io::Result<()> {
                let result = self.0.sync();
                assert!(result.is_ok() || !self.1, "as told");
                result
            }
        }
        let durability = Durability::start(Panics(sink, panics), 1_000).expect("no other sink");
        let first = executor.transact("hit", hit(&cell, &told));
        director.wait();
        director.let_sync(Ok(()));
        assert_eq!(first.wait(), Ok(1));
        let second = executor.transact("hit", hit(&cell, &told));
        director.wait();
        let third = executor.transact("hit", hit(&cell, &told));
        await_ended(&executor, 3);
        director.let_sync(Err(io::Error::other("no space")));
        let what = |failure: txloop::Failure| failure.to_string();
        for lost in [second, third, executor.transact("hit", hit(&cell, &told))] {
            let failure = lost.wait().map_err(what).expect_err("it is not durable");
            assert!(failure.contains("the commit sink has failed"), "{failure}");
        }
        let (write, read) = (hit(&cell, &told), cell.clone());
        assert!(thread::spawn(move || atomically(write)).join().is_err());
        assert!(thread::spawn(move || snapshot(|s| *s.get(&read))).join().is_err());
        let ran = AtomicBool::new(false);
        let irrevocable = || irrevocably(|_| ran.store(true, Ordering::Relaxed));
        assert!(thread::scope(|scope| scope.spawn(irrevocable).join()).is_err());
        assert!(!ran.load(Ordering::Relaxed), "told before it does what cannot be undone");
        let error = durability.stop().expect_err("it failed").to_string();
        assert!(error.contains(if panics { "it panicked" } else { "no space" }), "{error}");
        assert_eq!(director.records(), [[1]]);
        drop(executor);
        assert_eq!(*told.lock().expect("not poisoned"), [1], "what was not safe was not told");
    }
}

#[test]
fn a_sink_that_looks_at_a_cell_has_failed() {
    let _alone = alone();
    struct Looks(TVar<u8>);
    impl CommitSink for Looks {
        fn write(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
            self.0.with(|_| ());
            Ok(())
        }
        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (cell, told) = (TVar::new(0), Arc::default());
    let executor = Executor::new(2).expect("threads");
    let durability = Durability::start(Looks(cell.clone()), 1_000).expect("no other sink");
    let failure = executor.transact("hit", hit(&cell, &told)).wait().expect_err("not durable");
    assert!(failure.to_string().contains("the commit sink has failed"), "{failure}");
    let error = durability.stop().expect_err("it failed").to_string();
    assert!(error.contains("it panicked"), "{error}");
}

/// Of a thread outside of any executor, long after all others have gone to sleep.
#[test]
fn an_effect_comes_though_nothing_else_happens() {
    let _alone = alone();
    let (sink, director) = directed();
    let durability = Durability::start(sink, 1_000).expect("no other sink");
    let (sends, effect) = channel();
    let cell = TVar::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            atomically(|tx| {
                let sends = sends.clone();
                tx.set(&cell, 1);
                tx.persist(&[1]);
                tx.on_commit(move || sends.send(()).expect("the test listens"));
            });
        });
        assert_eq!(director.wait(), 1);
        // Longer than the reaper naps.
        thread::park_timeout(Duration::from_millis(100));
        director.let_sync(Ok(()));
        effect.recv_timeout(Duration::from_secs(20)).expect("the effect");
    });
    drop(durability);
}

#[test]
fn the_records_replay_to_the_state() {
    struct Keep(Records, Vec<(u64, Vec<u8>)>);
    impl CommitSink for Keep {
        fn write(&mut self, version: u64, record: &[u8]) -> io::Result<()> {
            self.1.push((version, record.to_vec()));
            Ok(())
        }
        fn sync(&mut self) -> io::Result<()> {
            self.0.lock().expect("not poisoned").append(&mut self.1);
            Ok(())
        }
    }
    let _alone = alone();
    for (order, threads) in [(Order::Commit, 1), (Order::Commit, 3), (Order::Arrival, 3)] {
        let executor = Executor::builder().threads(threads).order(order).build().expect("threads");
        let cells: Vec<TVar<u32>> = (0..8).map(TVar::new).collect();
        let safe = Records::default();
        let sink = Keep(Arc::clone(&safe), Vec::new());
        let durability = Durability::start(sink, 200).expect("no other sink");
        let closures = (0..5_000_usize).map(|i| {
            let cells = cells.clone();
            move |tx: &Transaction| {
                let (from, to) = (i * 7 % 8, i * 13 % 5);
                let value = tx.get(&cells[from]).wrapping_mul(31).wrapping_add(i as u32);
                tx.set(&cells[to], value);
                tx.persist(&[to as u8]);
                let undone: Result<(), ()> = tx.savepoint(|tx| {
                    tx.persist(b"never");
                    Err(())
                });
                assert!(undone.is_err());
                tx.persist(&value.to_le_bytes());
            }
        });
        assert!(executor.run("write", closures).iter().all(Result::is_ok));
        durability.stop().expect("it never fails");
        let mut replayed: Vec<u32> = (0..8).collect();
        let safe = safe.lock().expect("not poisoned");
        assert_eq!(safe.len(), 5_000);
        assert!(safe.is_sorted_by_key(|(version, _)| *version));
        for (_, record) in safe.iter() {
            let value = record[1..].try_into().expect("four bytes");
            replayed[usize::from(record[0])] = u32::from_le_bytes(value);
        }
        assert_eq!(cells.iter().map(|cell| cell.with(|n| *n)).collect::<Vec<_>>(), replayed);
    }
}

#[test]
fn one_sink_at_a_time_and_its_capacity_is_checked() {
    let _alone = alone();
    let durability = Durability::start(directed().0, 1).expect("no other sink");
    let second = Durability::start(directed().0, 1).expect_err("one is at work");
    assert!(second.to_string().contains("at work already"));
    let told = AtomicBool::new(false);
    // Without a record there is nothing to sync.
    atomically(|tx| tx.set(&TVar::new(0), 1));
    told.store(true, Ordering::Relaxed);
    durability.stop().expect("it never failed");
    assert!(Durability::start(directed().0, 0).is_err());
}

#[test]
fn effects_keep_the_order_of_arrival_whoever_writes() {
    let _alone = alone();
    const TICKETS: u8 = 20;
    for threads in [1, 2] {
        let executor = Executor::builder().threads(threads).order(Order::Arrival);
        let executor = executor.build().expect("threads");
        let (cell, told): (_, Arc<Mutex<Vec<u8>>>) = (TVar::new(0_u8), Arc::default());
        let (sink, director) = directed();
        let durability = Durability::start(sink, 1_000).expect("no other sink");
        // Every other one only reads; it runs ahead on a state that is long durable.
        let handlers = (0..TICKETS).map(|n| {
            let (cell, told) = (cell.clone(), Arc::clone(&told));
            move |tx: &Transaction| {
                if n % 2 == 0 {
                    tx.set(&cell, n);
                    tx.persist(&[n]);
                }
                let told = Arc::clone(&told);
                tx.on_commit(move || told.lock().expect("not poisoned").push(n));
            }
        });
        let transacts: Vec<_> = handlers.map(|f| executor.transact("told", f)).collect();
        await_ended(&executor, u64::from(TICKETS));
        let safe: usize = std::iter::from_fn(|| {
            let before = director.records().len();
            if before == usize::from(TICKETS) / 2 {
                return None;
            }
            director.wait();
            director.let_sync(Ok(()));
            while director.records().len() == before {
                thread::yield_now();
            }
            Some(director.records().len() - before)
        })
        .sum();
        assert_eq!(safe, usize::from(TICKETS) / 2);
        assert!(transacts.into_iter().all(|transact| transact.wait().is_ok()));
        durability.stop().expect("it has not failed");
        drop(executor);
        let all: Vec<u8> = (0..TICKETS).collect();
        assert_eq!(*told.lock().expect("not poisoned"), all, "{threads} threads");
    }
}

#[test]
fn a_record_is_kept_though_no_cell_was_written() {
    let _alone = alone();
    let (sink, director) = directed();
    let durability = Durability::start(sink, 1_000).expect("no other sink");
    let writer = thread::spawn(|| atomically(|tx| tx.persist(b"login")));
    assert_eq!(director.wait(), 1);
    director.let_sync(Ok(()));
    writer.join().expect("it is durable");
    durability.stop().expect("it has not failed");
    assert_eq!(director.records(), [b"login"]);
}

#[test]
fn a_record_may_be_as_long_as_the_limit_and_no_longer() {
    let _alone = alone();
    let (sink, director) = directed();
    let durability = Durability::start(sink, 1_000).expect("no other sink");
    let executor = Executor::new(2).expect("threads");
    let persist = |bytes: usize| {
        let cell = TVar::new(false);
        let written = cell.clone();
        let persist = executor.transact("persist", move |tx| {
            tx.set(&written, true);
            tx.persist(&vec![7; bytes]);
            tx.persist(b"!");
        });
        (persist, cell)
    };
    let (longer, cell) = persist(MAX_RECORD);
    let Err(Failure::Panicked(told)) = longer.wait() else { panic!("it commits") };
    assert_eq!(
        told.to_string(),
        "the transaction panicked: a record of 1048577 bytes exceeds 1048576"
    );
    assert!(!snapshot(|s| *s.get(&cell)));
    let (longest, cell) = persist(MAX_RECORD - 1);
    assert_eq!(director.wait(), 1);
    director.let_sync(Ok(()));
    assert_eq!(longest.wait(), Ok(()));
    assert!(snapshot(|s| *s.get(&cell)));
    durability.stop().expect("it has not failed");
    let [record] = &director.records()[..] else { panic!("one record") };
    assert_eq!((record.len(), record[0], record[MAX_RECORD - 1]), (MAX_RECORD, 7, b'!'));
}
