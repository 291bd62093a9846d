//! What happens at the limits: refused work says so, loses nothing, and is taken again later; and
//! who keeps everybody waiting is named while it does.

use crate::{running::Running, wire::client::Client};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use txloop::{
    App, Executor, Failure, Order, Request, TVar, Transaction, atomically, holding_for,
    irrevocably, memory, snapshot, write,
};

/// After this what is waited for counts as never to come; no check passes because of it.
const PATIENCE: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "a test's own clock")]
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain");
        thread::yield_now();
    }
}

#[test]
fn more_than_may_be_under_way_is_refused_until_some_have_ended() {
    for order in [Order::Commit, Order::Arrival] {
        let open = TVar::new(false);
        let executor = Executor::builder().threads(2).order(order).max_under_way(3);
        let executor = executor.build().expect("threads");
        let waits = || {
            let open = open.clone();
            executor.transact("waits", move |tx| tx.guard(*tx.get(&open)))
        };
        let parked: Vec<_> = (0..3).map(|_| waits()).collect();
        assert_eq!(waits().wait(), Err(Failure::Overloaded));
        atomically(|tx| tx.set(&open, true));
        assert!(parked.into_iter().all(|waiting| waiting.wait() == Ok(())));
        wait_until(|| executor.stats().under_way == 0);
        assert_eq!(waits().wait(), Ok(()));
    }
}

#[test]
fn dropped_cells_above_the_limit_refuse_work_until_their_snapshot_has_ended() {
    const LIMIT: usize = 8 << 20;
    let executor = Executor::builder().threads(1).max_kept_bytes(LIMIT).build().expect("a thread");
    let nothing = || executor.transact("nothing", |_| ());
    snapshot(|_| {
        (0..200).for_each(|_| drop(TVar::new([0_u8; 1 << 16])));
        wait_until(|| memory().bytes() > LIMIT);
        assert_eq!(nothing().wait(), Err(Failure::Overloaded));
    });
    wait_until(|| memory().bytes() < LIMIT);
    assert_eq!(nothing().wait(), Ok(()));
}

#[test]
fn bodies_above_the_limit_are_answered_503_until_others_have_ended() {
    let open = TVar::new(false);
    let (gate, opened) = (open.clone(), open);
    let entered = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&entered);
    let app = App::new()
        .threads(2)
        .max_input_bytes(1_000)
        .post(
            "/wait",
            write(move |tx, _| {
                let open = *tx.get(&gate);
                if !open {
                    seen.fetch_add(1, Ordering::Relaxed);
                }
                tx.guard(open);
            }),
        )
        .post("/take", write(|_, req: &Request| req.body().len().to_string()));
    let server = app.listen("127.0.0.1:0").expect("a port");
    let body = "x".repeat(600);
    thread::scope(|scope| {
        let running = Running::start(server);
        let (address, body) = (running.address, &body);
        // They may meet the body taken before: its job is dropped a moment after its answer.
        let wait = move || {
            let mut client = Client::connect(address);
            loop {
                match client.ask("POST", "/wait", body).status {
                    503 => thread::yield_now(),
                    status => return status,
                }
            }
        };
        let mut client = Client::connect(address);
        let mut take = || client.ask("POST", "/take", body).status;
        assert_eq!(take(), 200);
        let waiting = [scope.spawn(wait), scope.spawn(wait)];
        wait_until(|| entered.load(Ordering::Relaxed) == 2);
        assert_eq!(take(), 503);
        atomically(|tx| tx.set(&opened, true));
        for answer in waiting {
            assert_eq!(answer.join().expect("answered"), 204);
        }
        // Their jobs are dropped a moment after they were answered.
        wait_until(|| take() == 200);
        running.stop();
    });
}

#[test]
fn whoever_keeps_others_from_committing_is_named_while_it_runs() {
    // The name is asked for inside: nobody else can hold the baton at that time.
    let named = |_: &Transaction| holding_for(Duration::ZERO).map(|holder| holder.handler);
    let executor = Executor::new(1).expect("a thread");
    // Beside threads that commit it may come to run without the baton.
    let all_named = [Ok(Some("the only thread")), Ok(Some("the only thread"))];
    wait_until(|| executor.run("the only thread", vec![named; 2]) == all_named);
    assert_eq!(irrevocably(named), Some(""));
    let long = irrevocably(|_| {
        wait_until(|| holding_for(Duration::from_millis(1)).is_some());
        holding_for(Duration::ZERO).expect("still").to_string()
    });
    assert!(long.starts_with("a transaction has kept everybody from committing for "), "{long}");
}
