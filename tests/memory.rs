//! Memory in use, counted in bytes: a binary of its own, because it replaces the allocator and
//! nothing else may run beside it.

#[path = "it/running.rs"]
#[expect(dead_code, reason = "nobody connects here")]
mod running;

use running::Running;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};
use txloop::{
    App, Executor, Failure, GridUnit, Loop, MAX_PARKED, MAX_VIEWS, Memory, Snapshot, TGrid, TMap,
    TOrdMap, TVar, TVec, Transact, Transaction, atomically, parked_for, probe, snapshot,
};

/// The system's allocator with a count of live bytes.
struct Counting;

static LIVE: AtomicI64 = AtomicI64::new(0);

// SAFETY: passes every call on to the system's allocator, which keeps the contract.
#[expect(unsafe_code, reason = "an allocator is unsafe by its trait")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn live() -> i64 {
    LIVE.load(Ordering::Relaxed)
}

/// Frees what an idle process frees, until the count has not changed for a while.
fn settled() -> i64 {
    let (mut last, mut same) = (live(), 0);
    for _ in 0..1_000 {
        same = if collected() == last { same + 1 } else { 0 };
        if same == 10 {
            break;
        }
        last = live();
    }
    live()
}

fn collected() -> i64 {
    for _ in 0..5 {
        probe::collect();
    }
    std::thread::park_timeout(Duration::from_millis(10));
    live()
}

/// Waits until there is about as much as before; only a defect takes so long that this gives up.
#[track_caller]
fn settles_at(before: i64, after: &str) {
    let grown = (0..1_000).map(|_| collected() - before).find(|grown| grown.abs() <= 64 * 1024);
    assert!(grown.is_some(), "{} bytes more after {after}", live() - before);
}

/// One test, so that nothing runs beside a count.
#[test]
fn memory() {
    dropped_cells_leave_nothing();
    cells_that_come_and_go_leave_little();
    executors_drop_what_they_replace();
    readers_in_turn_keep_no_cells();
    an_idle_server_drops_what_was_replaced();
    overlapping_readers_hold_few_versions();
    parked_handlers_cost_little();
    one_more_than_may_be_parked_panics();
    one_more_view_waits_until_one_ends();
    what_waits_is_counted();
    keys_that_come_and_go_leave_little();
}

fn dropped_cells_leave_nothing() {
    for _ in 0..1_000 {
        drop(TVar::new(0_u64));
    }
    let before = settled();
    for i in 0..1_000_000_u64 {
        drop(TVar::new(i));
    }
    settles_at(before, "a million cells");
    for i in 0..100_000_u64 {
        drop(TVar::new(format!("a value with a destructor, {i}")));
    }
    settles_at(before, "cells with destructors");
}

/// While threads make and drop cells, and nothing is written: 16,384 cells may wait, and what each
/// thread makes meanwhile.
fn cells_that_come_and_go_leave_little() {
    const MOST: i64 = 64 << 20;
    let drops: [(usize, fn()); 4] = [
        (400_000, || drop(TVar::new(1_u64))),
        (400_000, || drop(TVec::<u64>::new())),
        (400_000, || {
            snapshot(|s| *TGrid::new(GridUnit::Tile, (10, 10), 0_u8).get(s, (1, 1)));
        }),
        // Many more at once than may wait.
        (100, || drop(TGrid::new(GridUnit::Tile, (300, 300), 0_u8))),
    ];
    for (which, (times, once)) in drops.into_iter().enumerate() {
        let before = settled();
        let most = AtomicI64::new(before);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for n in 0..times {
                        once();
                        if n % 1_000 == 0 || times < 1_000 {
                            most.fetch_max(live(), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let grown = most.into_inner() - before;
        assert!(grown < MOST, "{which}: {grown} bytes more");
        settles_at(before, "cells that come and go");
    }
}

/// Values that take longer to drop than to make, from more threads than one could drop them for.
fn executors_drop_what_they_replace() {
    const MOST: i64 = 64 << 20;
    struct Slow(Vec<u8>);
    impl Drop for Slow {
        fn drop(&mut self) {
            for _ in 0..20_000 {
                std::hint::black_box(&self.0);
            }
        }
    }
    let executor = Executor::new(4).expect("threads");
    let cells: Vec<_> = (0..64).map(|_| TVar::new(Slow(Vec::new()))).collect();
    let (before, mut most) = (settled(), 0);
    for _ in 0..60 {
        let replace = (0..250).map(|n| {
            let cell = cells[n % cells.len()].clone();
            move |tx: &Transaction| tx.set(&cell, Slow(vec![0; 1 << 16]))
        });
        assert!(executor.run("replace", replace).iter().all(Result::is_ok));
        most = most.max(live() - before);
    }
    // In all they are 940 MiB.
    assert!(most < MOST, "{most} bytes more");
    drop(executor);
    atomically(|tx| cells.iter().for_each(|cell| tx.set(cell, Slow(Vec::new()))));
    settles_at(before, "values with destructors");
}

/// Two readers, one of which is always under way, and no writer.
fn readers_in_turn_keep_no_cells() {
    let (turns, stop) = ([const { AtomicUsize::new(0) }; 2], AtomicBool::new(false));
    std::thread::scope(|scope| {
        for me in 0..2 {
            let (turns, stop) = (&turns, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    snapshot(|_| {
                        turns[me].fetch_add(1, Ordering::Relaxed);
                        let other = turns[1 - me].load(Ordering::Relaxed);
                        // Until the other one has begun anew.
                        while turns[1 - me].load(Ordering::Relaxed) == other
                            && !stop.load(Ordering::Relaxed)
                        {
                            std::thread::yield_now();
                        }
                    });
                }
            });
        }
        let before = live();
        for _ in 0..100 {
            (0..10_000_u64).for_each(|n| drop(TVar::new(n)));
            // Both come to begin anew, however busy the machine is.
            let begun: Vec<_> = turns.iter().map(|turn| turn.load(Ordering::Relaxed)).collect();
            while turns
                .iter()
                .zip(&begun)
                .any(|(turn, &begun)| turn.load(Ordering::Relaxed) == begun)
            {
                std::thread::yield_now();
            }
        }
        let grown = live() - before;
        stop.store(true, Ordering::Relaxed);
        assert!(grown < 16 << 20, "{grown} bytes for a million cells");
    });
}

struct Tell(mpsc::Sender<Instant>);

impl Drop for Tell {
    #[expect(clippy::disallowed_methods, reason = "a test's own clock")]
    fn drop(&mut self) {
        // Not listened to once the test has what it wants.
        let _ = self.0.send(Instant::now());
    }
}

fn an_idle_server_drops_what_was_replaced() {
    for threads in [1, 2] {
        let app =
            App::new().threads(threads).get("/", |_: &txloop::Snapshot, _: &txloop::Request| "");
        let server = app.listen("127.0.0.1:0").expect("a port");
        let running = Running::start(server);
        for _ in 0..5 {
            let (sender, receiver) = mpsc::channel();
            let cell = TVar::new(Some(Tell(sender)));
            #[expect(clippy::disallowed_methods, reason = "a test's own clock")]
            let replaced = Instant::now();
            atomically(|tx| tx.set(&cell, None));
            let dropped = receiver.recv_timeout(Duration::from_secs(10)).expect("a drop");
            let took = dropped.saturating_duration_since(replaced);
            assert!(took < Duration::from_millis(100), "{took:?} with {threads} threads");
        }
        running.stop();
    }
}

/// Ten seconds of readers of 100 ms, each beginning while others run, against a flat-out writer.
fn overlapping_readers_hold_few_versions() {
    const CELLS: usize = 16;
    const READERS: usize = 4;
    const READ: Duration = Duration::from_millis(100);
    const RUN: Duration = Duration::from_secs(10);
    let cells: Vec<TVar<u64>> = (0..CELLS as u64).map(TVar::new).collect();
    let stop = AtomicBool::new(false);
    let active = AtomicUsize::new(0);
    #[expect(clippy::disallowed_methods, reason = "a test's own clock")]
    let start = Instant::now();
    let before = settled();
    let (mut longest, mut samples) = (0, Vec::with_capacity(2_000));
    let writes = std::thread::scope(|scope| {
        let (cells, stop, active) = (&cells, &stop, &active);
        let writer = scope.spawn(move || {
            let mut writes = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let cell = &cells[writes as usize % CELLS];
                atomically(|tx| tx.set(cell, tx.get(cell) + 1));
                writes += 1;
            }
            writes
        });
        for reader in 0..READERS {
            scope.spawn(move || {
                std::thread::park_timeout(READ / READERS as u32 * reader as u32);
                while !stop.load(Ordering::Relaxed) {
                    active.fetch_add(1, Ordering::SeqCst);
                    snapshot(|s| {
                        let sum = || cells.iter().map(|cell| *s.get(cell)).sum::<u64>();
                        let first = sum();
                        std::thread::park_timeout(READ);
                        assert_eq!(sum(), first, "a snapshot does not move");
                    });
                    active.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
        while start.elapsed() < RUN {
            std::thread::park_timeout(Duration::from_millis(20));
            let chains = cells.iter().map(TVar::chain_length).max().unwrap_or(0);
            longest = longest.max(chains);
            if start.elapsed() > Duration::from_secs(2) {
                samples.push(live());
            }
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("no panic")
    });
    let most = *samples.iter().max().expect("longer than two seconds");
    // Of a second each: a thread that loses its core shows in some samples.
    let levels: Vec<i64> = samples.chunks_exact(50).map(median).collect();
    println!("{writes} writes, longest chain {longest}, live bytes {levels:?}, at most {most}");
    // The reader that the writer makes of itself counts too, and chains are looked at while a
    // version is being linked; up to 16 writes are pruned together.
    let bound = READERS + 2 + 16;
    assert!(longest <= bound, "a chain of {longest} versions with {READERS} readers");
    let slack = levels[0] / 10;
    assert!(levels.iter().all(|level| (level - levels[0]).abs() <= slack), "{levels:?} bytes");
    settles_at(before, "overlapping readers");
    assert!(writes > 100_000, "the writer wrote only {writes} times");
}

fn median(samples: &[i64]) -> i64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// The processor time that this process has used, in ticks of 10 ms; `None` where that is not told.
fn ticks() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may contain anything; the third field comes after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

fn one_more_than_may_be_parked_panics() {
    let executor = Executor::builder().threads(2).max_under_way(2 * MAX_PARKED);
    let executor = executor.build().expect("threads");
    let gate = TVar::new(false);
    let park = || {
        let gate = gate.clone();
        executor.transact("parked", move |tx| tx.guard(*tx.get(&gate)))
    };
    let mut parked: Vec<_> = (0..MAX_PARKED).map(|_| park()).collect();
    // 30 seconds: only a defect takes so long.
    for _ in 0..30_000 {
        if executor.stats().parked == MAX_PARKED {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert_eq!(executor.stats().parked, MAX_PARKED);
    let Err(Failure::Panicked(told)) = park().wait() else { panic!("it is parked") };
    assert!(told.to_string().contains("131072 handlers are parked already"), "{told}");
    drop(parked.pop());
    atomically(|tx| tx.set(&gate, true));
    assert!(parked.into_iter().all(|one| one.wait() == Ok(())));
}

fn one_more_view_waits_until_one_ends() {
    const HOLDERS: usize = 16;
    // Each a transaction with so many snapshots in one another.
    const DEEP: usize = 249;
    const ROOM: usize = MAX_VIEWS - HOLDERS * (1 + DEEP);
    fn nest(deep: usize, inside: &dyn Fn()) {
        if deep == 0 { inside() } else { snapshot(|_| nest(deep - 1, inside)) }
    }
    let (holding, viewing, cell) = (AtomicUsize::new(0), AtomicUsize::new(0), TVar::new(1));
    let release = AtomicBool::new(false);
    let until = |is_so: &dyn Fn() -> bool| {
        // 30 seconds: only a defect takes so long.
        (0..30_000).take_while(|_| !is_so()).for_each(|_| {
            std::thread::park_timeout(Duration::from_millis(1));
        });
        assert!(is_so(), "{viewing:?} are viewing beside {holding:?}");
    };
    let hold = || {
        let inside = || {
            holding.fetch_add(1, Ordering::SeqCst);
            until(&|| release.load(Ordering::SeqCst));
        };
        atomically(|_| nest(DEEP, &inside));
    };
    let view = || {
        snapshot(|s| {
            viewing.fetch_add(*s.get(&cell), Ordering::SeqCst);
            until(&|| viewing.load(Ordering::SeqCst) == 2 * ROOM);
        });
    };
    std::thread::scope(|scope| {
        (0..HOLDERS).for_each(|_| drop(scope.spawn(hold)));
        until(&|| holding.load(Ordering::SeqCst) == HOLDERS);
        (0..2 * ROOM).for_each(|_| drop(scope.spawn(view)));
        // The process may have a few views of its own.
        until(&|| viewing.load(Ordering::SeqCst) >= ROOM - 16);
        let seen = viewing.load(Ordering::SeqCst);
        release.store(true, Ordering::SeqCst);
        assert!(seen <= ROOM, "{seen} are viewing");
    });
}

fn what_waits_is_counted() {
    let counted = || {
        let Memory { effects, effect_bytes, .. } = txloop::memory();
        (effects, effect_bytes)
    };
    settled();
    assert_eq!(counted(), (0, 0));
    let large = [0_u8; 1_000];
    let mut event_loop = Loop::new(Executor::new(1).expect("a thread")).expect("a loop");
    let hour = Duration::from_secs(3_600);
    let timer = event_loop.call_later(hour, move |_| assert_eq!(large[0], 0));
    assert_eq!(counted(), (1, 1_064));
    let (tell, told) = mpsc::channel();
    event_loop.add_callback(move |tx| {
        let tell = tell.clone();
        tx.on_commit(move || tell.send((large[0], counted())).expect("somebody listens"));
    });
    event_loop.handle().cancel(timer);
    event_loop.handle().stop();
    event_loop.run().expect("it ends");
    let (_, seen) = told.recv().expect("it is told");
    // Itself, and the callback that asked for it if it is not dropped yet.
    assert!([(1, 1_080), (2, 2_160)].contains(&seen), "{seen:?}");
    drop(event_loop);
    settled();
    assert_eq!(counted(), (0, 0));
}

/// Ten thousand handlers wait for one write: each takes some memory, no processor time, and is
/// woken.
fn parked_handlers_cost_little() {
    const HANDLERS: usize = 10_000;
    const MOST_BYTES: i64 = 1_024;
    let executor = Executor::new(2).expect("threads");
    let parked = || parked_for(Duration::ZERO, usize::MAX).len();
    let park = |gate: &TVar<bool>, all: &mut Vec<Transact<usize>>| {
        all.extend((0..HANDLERS).map(|n| {
            let gate = gate.clone();
            executor.transact("parked", move |tx| {
                tx.guard(*tx.get(&gate));
                n
            })
        }));
        // 30 seconds: only a defect takes so long.
        for _ in 0..30_000 {
            if parked() == HANDLERS {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        panic!("only {} are parked", parked());
    };
    let wake = |gate: &TVar<bool>, all: Vec<Transact<usize>>| {
        atomically(|tx| tx.set(gate, true));
        assert!(all.into_iter().enumerate().all(|(n, transact)| transact.wait() == Ok(n)));
        assert_eq!(parked(), 0);
    };
    let round = |look: &dyn Fn()| {
        let (gate, mut all) = (TVar::named("gate", false), Vec::with_capacity(HANDLERS));
        park(&gate, &mut all);
        look();
        wake(&gate, all);
    };
    // What is made once and kept is made here.
    round(&|| ());
    let before = settled();
    round(&|| {
        let each = (settled() - before) / HANDLERS as i64;
        let begun = ticks();
        std::thread::park_timeout(Duration::from_secs(1));
        let used = ticks().zip(begun).map(|(now, begun)| now - begun);
        println!("{HANDLERS} parked: {each} bytes each, {used:?} ticks in a second");
        assert!(each <= MOST_BYTES, "{each} bytes for one that is parked");
        assert!(used.is_none_or(|ticks| ticks <= 3), "{used:?} ticks while all are parked");
    });
    settles_at(before, "they ended");
}

/// A million keys pass through a map that holds a hundred at a time, while a reader that came
/// before them goes on reading.
fn keys_that_come_and_go_leave_little() {
    for (kind, come_and_go) in [
        ("a map", keys_come_and_go::<TMap<u64, u64>> as fn(u64)),
        ("an ordered map", keys_come_and_go::<TOrdMap<u64, u64>>),
    ] {
        // What the library keeps for the next time, once.
        come_and_go(10_000);
        let before = settled();
        come_and_go(1_000_000);
        settles_at(before, kind);
    }
}

/// What a map is asked for here.
trait Map: FromIterator<(u64, u64)> + Sync {
    fn insert(&self, tx: &Transaction, key: u64);
    fn remove(&self, tx: &Transaction, key: u64);
    /// The sum of all keys and values.
    fn sum(&self, s: &Snapshot) -> u64;
    fn len(&self, s: &Snapshot) -> u64;
}

macro_rules! map {
    ($($ty:ty)*) => {$(
        impl Map for $ty {
            fn insert(&self, tx: &Transaction, key: u64) {
                self.insert(tx, key, 0);
            }

            fn remove(&self, tx: &Transaction, key: u64) {
                self.remove(tx, &key);
            }

            fn sum(&self, s: &Snapshot) -> u64 {
                self.iter(s).map(|(key, value)| key + value).sum()
            }

            fn len(&self, s: &Snapshot) -> u64 {
                self.len(s) as u64
            }
        }
    )*};
}

map!(TMap<u64, u64> TOrdMap<u64, u64>);

fn keys_come_and_go<M: Map>(passing: u64) {
    const KEPT: u64 = 1_000;
    const PRESENT: u64 = 100;
    const MOST: i64 = 4 << 20;
    let map: M = (0..KEPT).map(|key| (key, key)).collect();
    snapshot(|reader| {
        let began = live();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for key in KEPT..KEPT + passing {
                    atomically(|tx| {
                        map.insert(tx, key);
                        map.remove(tx, key - PRESENT);
                    });
                    if key.is_multiple_of(passing / 10) {
                        let grown = live() - began;
                        assert!(grown < MOST, "{grown} bytes more at key {key}");
                    }
                }
            });
        });
        assert_eq!((map.sum(reader), map.len(reader)), (KEPT * (KEPT - 1), KEPT));
    });
    assert_eq!(snapshot(|s| map.len(s)), KEPT);
}
