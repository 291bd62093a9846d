//! Read-only handlers that wait with `Snapshot::retry` while others write what they wait for.

use crate::{limits::wait_until, running::Running, wire::client::Client};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};
use txloop::{
    App, Executor, Order, Request, Response, Snapshot, TVar, atomically, parked_for, write,
};

/// What the cell is counted up to.
const LAST: u64 = 3_000;
/// Readers at a time, and how often each waits.
const READERS: u64 = 4;
const WAITS: u64 = 200;

#[test]
fn readers_that_wait_under_a_busy_writer_are_answered() {
    for (order, threads) in [(Order::Arrival, 1), (Order::Arrival, 3), (Order::Commit, 3)] {
        let count = TVar::new(0_u64);
        let (seen, counted) = (count.clone(), count);
        let app = App::new()
            .get("/wait/{n}", move |s: &Snapshot, req: &Request| {
                let n = req.param_number("n")?;
                if *s.get(&seen) < n {
                    s.retry();
                }
                Ok::<_, Response>(s.get(&seen).to_string())
            })
            .post("/count", write(move |tx, _| tx.modify(&counted, |n| *n += 1)));
        let server = app.order(order).threads(threads).listen("127.0.0.1:0").expect("a port");
        thread::scope(|scope| {
            let running = Running::start(server);
            let address = running.address;
            let reader = |offset| {
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    for wait in 0..WAITS {
                        let n = wait * (LAST / WAITS) + offset;
                        let answer = client.ask("GET", &format!("/wait/{n}"), "");
                        assert_eq!(answer.status, 200, "{order:?} on {threads}");
                        let seen: u64 = String::from_utf8_lossy(&answer.body).parse().expect("n");
                        assert!(seen >= n, "{seen} after waiting for {n}");
                    }
                })
            };
            let readers: Vec<_> = (0..READERS).map(reader).collect();
            let mut client = Client::connect(address);
            for _ in 0..LAST {
                assert_eq!(client.ask("POST", "/count", "").status, 204);
            }
            readers.into_iter().for_each(|reader| reader.join().expect("answered"));
            running.stop();
        });
    }
}

#[test]
fn whoever_is_woken_in_vain_has_waited_since_the_beginning() {
    let place = "whoever_is_woken_in_vain";
    for threads in [1, 2] {
        let (wanted, other) = (TVar::new(false), TVar::new(0_u64));
        let executor = Executor::new(threads).expect("threads");
        let (read, noise) = (wanted.clone(), other.clone());
        let runs = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&runs);
        let waits = executor.transact(place, move |tx| {
            counts.fetch_add(1, Relaxed);
            let woken = *tx.get(&noise);
            tx.guard(*tx.get(&read));
            woken
        });
        let waited = || {
            let all = parked_for(Duration::ZERO, usize::MAX);
            all.into_iter().find(|parked| parked.handler == place).map(|parked| parked.since)
        };
        const LONG: Duration = Duration::from_millis(50);
        wait_until(|| waited().is_some_and(|since| since > LONG));
        let before = runs.load(Relaxed);
        atomically(|tx| tx.modify(&other, |n| *n += 1));
        wait_until(|| runs.load(Relaxed) > before);
        let mut again = None;
        wait_until(|| {
            again = waited();
            again.is_some()
        });
        assert!(again > Some(LONG), "{again:?}");
        atomically(|tx| tx.set(&wanted, true));
        assert_eq!(waits.wait(), Ok(1));
    }
}
