//! The test kit, and the handlers that executors and servers try out.

mod reruns;

use crate::{limits::wait_until, running::Running, wire::client::Client};
use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::channel,
    },
    thread,
    time::{Duration, SystemTime},
};
use txloop::{
    App, Executor, GridUnit, Order, Request, Snapshot, TCounter, TGrid, TLog, TMap, TOrdMap,
    TQueue, TSet, TVar, TVec, Transaction, atomically, snapshot,
    testing::{TestLoop, assert_serial},
};

/// The message of the panic in `f`.
#[track_caller]
fn message<R>(f: impl FnOnce() -> R) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).err().expect("a panic");
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}

#[test]
fn an_attempt_is_aborted_and_the_handler_runs_again() {
    let (cell, runs) = (TVar::new(0), AtomicU64::new(0));
    let mut test = TestLoop::new();
    test.abort_nth(1).abort_nth(3);
    // The second attempt stands.
    let count = |tx: &Transaction| {
        runs.fetch_add(1, Relaxed);
        tx.modify(&cell, |n| *n += 1);
    };
    test.run(count);
    assert_eq!((test.attempts(), runs.load(Relaxed), cell.with(|n| *n)), (2, 2, 1));
    test.abort_nth(2).run(count);
    assert_eq!((test.attempts(), runs.load(Relaxed), cell.with(|n| *n)), (4, 6, 2));
    test.leave_in_peace().run(count);
    assert_eq!((test.attempts(), runs.load(Relaxed), cell.with(|n| *n)), (1, 7, 3));
}

#[test]
fn a_conflict_is_forced_where_the_cell_is_read() {
    let (read, other) = (TVar::new(1), TVar::new(0));
    let mut test = TestLoop::new();
    test.force_conflict(&read);
    test.run(|tx| tx.set(&other, *tx.get(&read)));
    assert_eq!((test.attempts(), other.with(|n| *n)), (2, 1));
    test.run(|tx| tx.set(&other, 5));
    assert_eq!(test.attempts(), 1, "it did not read the cell");
    test.run(|tx| tx.set(&read, 2));
    assert_eq!((test.attempts(), read.with(|n| *n)), (1, 2), "nor did this one");
}

#[test]
fn somebody_else_commits_meanwhile() {
    let (seats, taken) = (TMap::new(), TVar::new(0));
    let (others, (send, sent)) = (seats.clone(), channel());
    let mut test = TestLoop::new();
    test.meanwhile(move |tx| _ = others.insert(tx, 7, "Bob"));
    let book = |tx: &Transaction| match seats.get(tx, &7) {
        Some(_) => tx.modify(&taken, |n| *n += 1),
        None => assert_eq!(seats.insert(tx, 7, "Ann"), None),
    };
    test.run(book);
    assert_eq!((test.attempts(), taken.with(|n| *n)), (2, 1));
    // Who has effects and writes nothing has its place when it commits, too.
    atomically(|tx| seats.clear(tx));
    let tell = |tx: &Transaction| {
        let (send, who) = (send.clone(), seats.get(tx, &7).copied());
        tx.on_commit(move || send.send(who).expect("it is received"));
    };
    test.run(tell);
    assert_eq!((test.attempts(), sent.try_iter().collect::<Vec<_>>()), (2, vec![Some("Bob")]));
    test.leave_in_peace().run(tell);
    assert_eq!(test.attempts(), 1);
}

#[test]
fn a_request_for_a_test_is_what_a_server_takes() {
    let text = "POST /a/%20?b=c HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\n";
    let request = Request::parse(format!("{text}content-length: 2\r\n\r\nhi")).expect("whole");
    let request = request.with_param("x", "1").with_param("x", "2");
    assert_eq!((request.path(), request.query(), request.host()), ("/a/%20", Some("b=c"), "h"));
    assert_eq!((&request.body()[..], request.param("x")), (&b"hi"[..], "2"));
    let refused = |text: &str| Request::parse(text).expect_err("no request").to_string();
    assert_eq!(refused("GET / HTTP/1.1\r\nhost: h\r\n"), "the request is not whole");
    assert_eq!(refused("GET / HTTP/1.1\r\nhost: h\r\n\r\nmore"), "4 bytes behind the request");
    assert!(refused("GET / HTTP/1.1\r\n\r\n").starts_with("a server answers this request 400: "));
}

#[test]
fn time_and_chance_are_the_same_in_every_test() {
    let draw = |seed: [u8; 32]| {
        let mut test = TestLoop::new();
        test.seed(seed);
        let draw = |tx: &Transaction| (tx.now(), tx.rng().next_u64(), tx.unique_id());
        [test.run(draw), test.run(draw)]
    };
    let [first, second] = draw([1; 32]);
    assert_eq!([first, second], draw([1; 32]));
    assert_ne!(first, draw([2; 32])[0]);
    assert!(first.0 == second.0 && first.1 != second.1 && first.2 != second.2);

    let mut test = TestLoop::new();
    let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(43_200);
    test.set_now(noon);
    assert_eq!((test.now(), test.run(Transaction::now)), (noon, noon));
    test.advance(Duration::from_millis(1));
    assert_eq!(test.run(Transaction::now), noon + Duration::from_millis(1));
}

#[test]
fn callbacks_and_timers_run_when_they_are_asked_to() {
    let log = TVar::new(Vec::new());
    let say = |tx: &Transaction, what: &'static str| {
        let now = tx.now().duration_since(SystemTime::UNIX_EPOCH).expect("later").as_millis();
        tx.modify(&log, |log| log.push((what, now)));
    };
    let said = || log.with(Vec::clone);
    let mut test = TestLoop::new();
    test.set_now(SystemTime::UNIX_EPOCH).abort_nth(1);
    let record = |what: &'static str| {
        let log = log.clone();
        move |tx: &Transaction| {
            let now = tx.now().duration_since(SystemTime::UNIX_EPOCH).expect("later").as_millis();
            tx.modify(&log, |log| log.push((what, now)));
        }
    };
    test.run(|tx| {
        tx.add_callback(record("callback"));
        tx.call_later(Duration::from_millis(20), record("late"));
        let again = record("callback of a timer");
        tx.call_later(Duration::from_millis(10), move |tx| tx.add_callback(again.clone()));
        say(tx, "handler");
    });
    assert_eq!((said(), test.timers()), (vec![("handler", 0)], 2));
    assert_eq!((test.run_until_idle(), test.run_until_idle()), (1, 0));
    assert_eq!(said()[1..], [("callback", 0)]);
    assert_eq!(test.advance(Duration::from_millis(9)), 0);
    assert_eq!(test.advance(Duration::from_millis(100)), 2);
    assert_eq!(said()[2..], [("callback of a timer", 10), ("late", 20)]);
    assert_eq!(test.timers(), 0);
    assert_eq!(test.now(), SystemTime::UNIX_EPOCH + Duration::from_millis(109));
}

#[test]
fn effects_are_called_once_and_before_the_run_returns() {
    let (cell, (send, sent)) = (TVar::new(0), channel());
    let mut test = TestLoop::new();
    test.abort_nth(1).force_conflict(&cell);
    let handler = |tx: &Transaction| {
        let (send, n) = (send.clone(), tx.get(&cell) + 1);
        tx.set(&cell, n);
        tx.on_commit(move || send.send(n).expect("it is received"));
        if n == 2 { Err("no") } else { Ok(()) }
    };
    assert_eq!(test.try_run(handler), Ok(()));
    assert_eq!(sent.try_iter().collect::<Vec<_>>(), [1]);
    assert_eq!(test.try_run(handler), Err("no"));
    assert_eq!((cell.with(|n| *n), sent.try_iter().count()), (1, 0));
}

#[test]
fn who_would_wait_is_told_from_who_would_not() {
    let queue = TQueue::new();
    let mut test = TestLoop::new();
    assert!(test.waits(|tx| *queue.take(tx)));
    assert!(message(|| test.run(|tx| *queue.take(tx))).contains("tests/it/testing.rs"));
    test.run(|tx| queue.push(tx, 7));
    assert!(!test.waits(|tx| *queue.take(tx)));
    assert_eq!(test.run(|tx| *queue.take(tx)), 7, "and is still there");
}

#[test]
fn a_dry_run_tells_and_does_nothing() {
    let (a, b) = (TVar::named("a", 1_u64), TVar::named("b", String::new()));
    let (hits, map) = (TCounter::named("hits", 0), TMap::named("map"));
    let run = TestLoop::new().dry_run(|tx| {
        tx.set(&b, tx.get(&a).to_string());
        hits.add(tx, 3);
        map.insert(tx, 1_u8, 2_u8);
        tx.on_commit(|| panic!("not committed"));
        "done"
    });
    let names = |cells: Vec<txloop::testing::Touched>| -> Vec<_> {
        cells.into_iter().map(|cell| (cell.cell, cell.value)).collect()
    };
    assert_eq!((run.answer, run.effects()), ("done", 1));
    // A map has a root and a slot for the key.
    assert_eq!(names(run.reads()), [("a", None), ("map", None), ("map", None)]);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(names(run.writes())[..2], [("b", some("\"1\"")), ("hits", some("3"))]);
    assert_eq!(run.writes()[2].cell, "map");
    assert_eq!((run.written(&b).map(String::as_str), run.written(&a)), (Some("1"), None));
    assert!(format!("{run:?}").contains("hits"));
    drop(run);
    assert_eq!(snapshot(|s| (s.get(&b).len(), hits.get(s), map.len(s))), (0, 0, 0));
}

#[test]
fn cells_of_a_collection_are_shown_as_a_part_of_it() {
    let (map, set, ordered) = (TMap::named("map"), TSet::new(), TOrdMap::named("ordered"));
    let (elements, queue) = (TVec::named("elements"), TQueue::named("queue"));
    let grids = [GridUnit::Tile, GridUnit::Block];
    let grids = grids.map(|unit| TGrid::named("grid", unit, (9, 9), Some(7_i8)));
    let cell = TVar::named("cell", Some(1_u8));
    let run = TestLoop::new().dry_run(|tx| {
        map.insert(tx, 1_u8, Some(2_u8));
        set.insert(tx, vec![true]);
        ordered.insert(tx, 1_u8, [1_i64]);
        elements.push(tx, 'a');
        elements.get(tx, 0);
        queue.push(tx, (1_u16, 'b'));
        grids.iter().for_each(|grid| grid.set(tx, (1, 1), None));
        tx.set(&cell, None);
    });
    let shown: Vec<_> = run.writes().iter().map(ToString::to_string).collect();
    for part in [
        "`map` (part of a TMap<u8, core::option::Option<u8>>)",
        "a cell without a name (part of a TMap<alloc::vec::Vec<bool>, ()>)",
        "`ordered` (part of a TOrdMap<u8, [i64; 1]>)",
        "`elements` (part of a TVec<char>)",
        "`queue` (part of a TLog or TQueue<(u16, char)>)",
        "`grid` (part of a TGrid<core::option::Option<i8>>)",
        "`cell` (core::option::Option<u8>)",
    ] {
        assert!(shown.iter().any(|text| text == part), "{part} in {shown:?}");
    }
    let all = run.reads().iter().chain(&run.writes()).map(ToString::to_string).collect::<String>();
    assert!(!all.contains("txloop::"), "{all}");
}

/// A handler that is not re-runnable: its name, and what is said of it.
type Bad = (&'static str, Box<dyn Fn(&Transaction) -> u64 + Send + Sync>, &'static str);

/// Another number each time.
fn count() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Relaxed)
}

fn writes(
    write: impl Fn(&Transaction, u64) + Send + Sync + 'static,
) -> Box<dyn Fn(&Transaction) -> u64 + Send + Sync> {
    Box::new(move |tx| {
        write(tx, count());
        0
    })
}

#[expect(clippy::disallowed_methods, reason = "a clock that nobody should read in a handler")]
fn bad_handlers() -> Vec<Bad> {
    let (a, b) = (TVar::named("a", 0_u64), TVar::named("b", 0_u64));
    let cells: [TVar<u64>; 2] = [a.clone(), b];
    let (seen, map) = (TVar::named("seen", None), TMap::<u64, u64>::named("map"));
    let (copy, rows) = (a.clone(), cells.clone());
    let (values, set) = (TMap::named("values"), TSet::named("set"));
    let (ordered, elements) = (TOrdMap::named("ordered"), TVec::named("elements"));
    let (queue, log) = (TQueue::named("queue"), TLog::named("log"));
    let grids = [GridUnit::Tile, GridUnit::Grid].map(|unit| TGrid::named("grid", unit, (9, 9), 0));
    let [single, whole] = grids;
    atomically(|tx| (0..900).for_each(|n| assert!(set.insert(tx, n + (1 << 40)))));
    vec![
        ("a static", Box::new(move |_| count()), "answered"),
        (
            "the clock",
            Box::new(move |tx| {
                tx.set(&seen, Some(SystemTime::now()));
                0
            }),
            "to `seen`",
        ),
        ("a cell by chance", Box::new(move |tx| *tx.get(&cells[count() as usize % 2])), "read `"),
        (
            "an order of its own",
            Box::new(move |tx| {
                // Of so many keys, two fresh maps have hardly ever the same order.
                let fresh: HashMap<u64, u64> = (0..50).map(|key| (key, key)).collect();
                for (at, key) in fresh.keys().enumerate() {
                    map.insert(tx, at as u64, *key);
                }
                let _ = tx.get(&rows[*fresh.keys().next().expect("fifty") as usize % 2]);
                fresh.keys().fold(0, |sum, key| sum * 3 % 1_000_003 + key)
            }),
            "",
        ),
        (
            "effects",
            Box::new(move |tx| {
                (0..count() % 2).for_each(|_| tx.on_commit(|| {}));
                0
            }),
            "effects",
        ),
        (
            "a number of writes",
            Box::new(move |tx| {
                if count().is_multiple_of(2) {
                    tx.set(&copy, 0);
                }
                0
            }),
            "wrote",
        ),
        ("a value of a map", writes(move |tx, n| _ = values.insert(tx, 7, n)), "] to `values`"),
        ("a key of a set", writes(move |tx, n| _ = set.insert(tx, n)), "`set`"),
        ("an entry", writes(move |tx, n| _ = ordered.insert(tx, "x", n)), "] to `ordered`"),
        ("an element", writes(move |tx, n| elements.push(tx, n)), "to `elements`"),
        ("what is pushed", writes(move |tx, n| queue.push(tx, n)), "] to `queue`"),
        (
            "what is appended to what was read",
            writes(move |tx, n| {
                log.push(tx, 0);
                assert!(!log.is_empty(tx));
                log.push(tx, n);
            }),
            "to `log`",
        ),
        ("a tile", writes(move |tx, n| single.set(tx, (3, 3), n)), "to `grid`"),
        ("a tile among many", writes(move |tx, n| whole.set(tx, (3, 3), n)), "wrote .."),
    ]
}

/// A handler that does what may be done: chance, time, new cells, collections, `Err`, callbacks.
fn good_handler() -> impl Fn(&Transaction) -> u64 + Send + Sync {
    let boxes = TMap::named("boxes");
    let (order, hits) = (TOrdMap::named("order"), TCounter::named("hits", 0));
    let inner = TMap::named("maps");
    move |tx: &Transaction| {
        let key = tx.rng().below(50);
        let fresh = TVar::named("fresh", tx.now());
        tx.set(&fresh, *tx.get(&fresh) + Duration::from_secs(key));
        boxes.insert(tx, key, fresh);
        order.insert(tx, tx.unique_id(), boxes.len(tx));
        // It hashes with a secret of its own in each run.
        let made = TMap::new();
        for n in 0..8 {
            made.insert(tx, n, key);
        }
        inner.insert(tx, key, made);
        hits.add(tx, 1);
        for (_, other) in boxes.iter(tx) {
            let _ = tx.get(other);
        }
        tx.on_commit(|| {});
        key
    }
}

#[test]
fn a_handler_that_cannot_be_run_again_is_found() {
    for (name, handler, how) in bad_handlers() {
        let said = message(|| TestLoop::new().assert_rerunnable(&handler));
        assert!(said.contains("cannot be run again") && said.contains(how), "{name}: {said}");
    }
    let good = good_handler();
    let mut test = TestLoop::new();
    for _ in 0..200 {
        test.assert_rerunnable(&good);
        test.run(&good);
    }
}

#[test]
fn executors_try_handlers_out() {
    for (threads, order) in
        [(1, Order::Commit), (2, Order::Commit), (1, Order::Arrival), (2, Order::Arrival)]
    {
        let build = |on| {
            let executor = Executor::builder().threads(threads).order(order).look_twice(on);
            executor.build().expect("threads")
        };
        let executor = build(true);
        let bad: Vec<_> =
            bad_handlers().into_iter().map(|(name, handler, _)| (name, handler)).collect();
        let mut names: Vec<_> = bad.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        for (name, handler) in bad {
            executor.transact(name, handler).wait().expect("it does not panic");
        }
        let good = good_handler();
        let runs = Arc::new(AtomicU64::new(0));
        let good = Arc::new(good);
        for _ in 0..100 {
            let (good, runs) = (Arc::clone(&good), Arc::clone(&runs));
            let run = move |tx: &Transaction| {
                runs.fetch_add(1, Relaxed);
                good(tx)
            };
            executor.transact("good", run).wait().expect("it does not panic");
        }
        assert_eq!(executor.stats().not_rerunnable, names, "{threads} threads, {order:?}");
        // The 1st, 2nd, 4th, 8th, 16th, 32nd and 64th are run twice more; nobody conflicts.
        assert_eq!(runs.load(Relaxed), 100 + 2 * 7, "{threads} threads, {order:?}");
        let (off, count) = (build(false), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&count);
        off.run("static", [move |_: &Transaction| counted.fetch_add(1, Relaxed)]);
        assert_eq!((count.load(Relaxed), off.stats().not_rerunnable.len()), (1, 0));
    }
}

#[test]
fn what_is_tried_out_leaves_nothing_behind() {
    let executor = Executor::builder().threads(2).look_twice(true).build().expect("threads");
    let (cell, sent) = (TVar::new(0), Arc::new(AtomicU64::new(0)));
    for _ in 0..20 {
        let (cell, sent) = (cell.clone(), Arc::clone(&sent));
        let add = move |tx: &Transaction| {
            let sent = Arc::clone(&sent);
            tx.on_commit(move || {
                sent.fetch_add(1, Relaxed);
            });
            tx.modify(&cell, |n| *n += 1);
        };
        executor.transact("add", add).wait().expect("it does not panic");
    }
    assert_eq!(cell.with(|n| *n), 20);
    drop(executor);
    // They are called one after another by whichever thread of the library does.
    wait_until(|| sent.load(Relaxed) >= 20);
    assert_eq!(sent.load(Relaxed), 20);
}

#[test]
fn a_handler_that_was_overtaken_is_not_taken_for_a_bad_one() {
    let (cell, runs) = (TVar::new(0_u64), Arc::new(AtomicU64::new(0)));
    let executor = Executor::builder().threads(2).look_twice(true).build().expect("threads");
    let (read, counted) = (cell.clone(), Arc::clone(&runs));
    let handler = move |tx: &Transaction| {
        // While it is tried out for the second time somebody else commits.
        if counted.fetch_add(1, Relaxed) == 1 {
            let cell = cell.clone();
            let others = move || atomically(|tx| tx.modify(&cell, |n| *n += 1));
            thread::scope(|scope| scope.spawn(others).join().expect("it commits"));
        }
        *tx.get(&read)
    };
    assert_eq!(executor.transact("overtaken", handler).wait(), Ok(1));
    assert_eq!((runs.load(Relaxed), executor.stats().not_rerunnable), (3, vec![]));
}

#[test]
fn servers_try_handlers_out() {
    static VISITS: AtomicU64 = AtomicU64::new(0);
    let cell = TVar::new(0_u64);
    let (read, good) = (cell.clone(), cell.clone());
    let app = App::new()
        .threads(1)
        .look_twice(true)
        .get("/read", move |s: &Snapshot, _: &Request| {
            // Run once, so it may.
            format!("{} {}", s.get(&read), VISITS.fetch_add(1, Relaxed))
        })
        .post("/good", move |tx: &Transaction, _: &Request| {
            tx.modify(&good, |n| *n += 1);
            "good"
        })
        .post("/bad", move |tx: &Transaction, _: &Request| {
            tx.modify(&cell, |n| *n += 1);
            format!("visit {}", VISITS.fetch_add(1, Relaxed))
        });
    let server = Running::start(app.listen("127.0.0.1:0").expect("a port"));
    let mut client = Client::connect(server.address);
    let mut ask = |method, path| {
        let answer = client.ask(method, path, "");
        assert_eq!(answer.status, 200);
        String::from_utf8(answer.body).expect("text")
    };
    assert_eq!(ask("POST", "/good"), "good");
    assert_eq!(ask("GET", "/read"), "1 0", "a read is run once");
    assert_eq!(ask("POST", "/bad"), "visit 3", "tried out twice before");
    assert_eq!(ask("POST", "/bad"), "visit 4", "known to be bad");
    server.stop();
}

#[test]
fn no_identifier_is_given_twice_to_handlers_and_their_callbacks() {
    let rows = || Arc::new(TMap::<u64, ()>::new());
    let add = |rows: &Arc<TMap<u64, ()>>, tx: &Transaction| {
        assert!(rows.insert(tx, tx.unique_id() as u64, ()).is_none(), "taken");
    };
    let handler = |rows: &Arc<TMap<u64, ()>>, tx: &Transaction| {
        add(rows, tx);
        let rows = Arc::clone(rows);
        tx.add_callback(move |tx| add(&rows, tx));
    };
    assert_serial(rows, &[&handler, &handler, &handler], |rows, s| rows.len(s));
}

#[test]
fn serial_handlers_pass_and_others_do_not() {
    struct Bank {
        accounts: Vec<TVar<i64>>,
        refused: TCounter,
    }
    let bank =
        || Bank { accounts: (0..3).map(|_| TVar::new(50)).collect(), refused: TCounter::new(0) };
    let transfer = |bank: &Bank, tx: &Transaction, from: usize, to: usize| {
        let (from, to) = (&bank.accounts[from], &bank.accounts[to]);
        let ok = *tx.get(from) >= 40;
        if ok {
            tx.modify(from, |n| *n -= 40);
            tx.modify(to, |n| *n += 40);
        } else {
            bank.refused.add(tx, 1);
        }
        ok
    };
    let sum = |bank: &Bank, view: &Snapshot| -> Vec<i64> {
        let accounts = bank.accounts.iter().map(|cell| *view.get(cell));
        accounts.chain([bank.refused.get(view)]).collect()
    };
    let seen = RefCell::new(HashSet::new());
    assert_serial(
        bank,
        &[
            &|bank, tx| transfer(bank, tx, 0, 1),
            &|bank, tx| transfer(bank, tx, 1, 2),
            &|bank, tx| transfer(bank, tx, 1, 0),
            &|bank, tx| bank.accounts.iter().map(|cell| *tx.get(cell)).sum::<i64>() == 150,
        ],
        |bank, view| {
            let state = sum(bank, view);
            seen.borrow_mut().insert(state.clone());
            state
        },
    );
    assert!(seen.into_inner().len() >= 3, "orders that differ");

    // Waits for what another one writes.
    assert_serial(
        TQueue::new,
        &[&|queue, tx| *queue.take(tx), &|queue, tx| {
            queue.push(tx, 3);
            3
        }],
        |queue, s| queue.is_empty(s),
    );
    let waits = || assert_serial(TQueue::<u8>::new, &[&|queue, tx| *queue.take(tx)], |_, _| ());
    assert!(message(waits).contains("wait"));

    // Writes what a run before this one left outside of the cells.
    let last = AtomicU64::new(0);
    let leak = || {
        assert_serial(
            || TVar::new(0),
            &[&|cell, tx| tx.set(cell, last.fetch_add(1, Relaxed)), &|cell, tx| {
                tx.set(cell, *tx.get(cell))
            }],
            |cell, s| *s.get(cell),
        );
    };
    let said = message(leak);
    assert!(said.contains("the state is") && said.contains("commits"), "{said}");
    let answers = || {
        let handler = |_: &(), _: &Transaction| last.fetch_add(1, Relaxed);
        assert_serial(|| (), &[&handler], |(), _| ());
    };
    assert!(message(answers).contains("handler 0 answered"));
    assert_eq!(atomically(|_| 1), 1, "and the thread is as it was");
}
