//! What handlers captured, and what they asked for: when it is dropped, where, and what its
//! destructor may do there.

use std::{
    sync::{
        Arc, Barrier,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};
use txloop::{Executor, Loop, Order, TVar, TVec, Transaction, atomically, snapshot};

/// Uses a cell when it is dropped, and says so: on a thread that has the baton it would wait for
/// itself.
struct Uses(TVar<u64>, Sender<()>);

impl Drop for Uses {
    fn drop(&mut self) {
        atomically(|tx| tx.modify(&self.0, |n| *n += 1));
        // A test that has ended does not listen any more.
        let _ = self.1.send(());
    }
}

fn uses() -> (Arc<Uses>, Receiver<()>) {
    let (sender, receiver) = channel();
    (Arc::new(Uses(TVar::new(0), sender)), receiver)
}

/// Waits for the drop: as long as it takes, within what only a defect exceeds.
#[track_caller]
fn dropped(receiver: &Receiver<()>) {
    receiver.recv_timeout(Duration::from_secs(20)).expect("dropped, and not kept for good");
}

fn start<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> thread::JoinHandle<R> {
    thread::Builder::new().spawn(f).expect("a thread")
}

/// Runs a test on a thread of its own: one that waits for itself is not waited for.
#[track_caller]
fn in_time(test: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = channel();
    let thread = start(move || {
        test();
        let _ = sender.send(());
    });
    match receiver.recv_timeout(Duration::from_secs(60)) {
        Ok(()) => thread.join().expect("it has ended"),
        Err(_) if thread.is_finished() => thread.join().expect("the test"),
        Err(_) => panic!("a thread waits for itself"),
    }
}

/// Whichever worker ended the last of a batch, and whichever of them sleep.
#[test]
fn what_the_closures_of_a_batch_captured_is_dropped() {
    for order in [Order::Commit, Order::Arrival] {
        let executor = Executor::builder().threads(8).order(order).build().expect("threads");
        let cells = TVec::from_iter([0; 64]);
        for _ in 0..100 {
            let (captured, receiver) = uses();
            let closure = |n: usize| {
                let (captured, cells) = (Arc::clone(&captured), cells.clone());
                move |tx: &Transaction| {
                    let _captured = &captured;
                    cells.modify(tx, n % 64, |value| *value += 1);
                }
            };
            let closures: Vec<_> = (0..512).map(closure).collect();
            drop(captured);
            executor.run("modify", closures);
            dropped(&receiver);
        }
        assert_eq!(snapshot(|s| cells.iter(s).sum::<i32>()), 100 * 512);
    }
}

/// Of two runs of a handler one answer is in vain. It is not dropped where the baton is held, as it
/// is from member to member with one thread.
#[test]
fn an_answer_in_vain_is_dropped_without_the_baton() {
    in_time(|| {
        let executor = Executor::builder().threads(1).look_twice(true).build().expect("threads");
        let (sender, receiver) = channel();
        let cell = TVar::new(0);
        let closure = |_| {
            let (cell, sender) = (cell.clone(), sender.clone());
            move |tx: &Transaction| {
                tx.modify(&cell, |n| *n += 1);
                Uses(TVar::new(0), sender.clone())
            }
        };
        let answers = executor.run("answers", (0..4).map(closure));
        assert_eq!(answers.len(), 4);
        // At least one was run twice.
        dropped(&receiver);
        drop(answers);
        assert_eq!(executor.transact("next", |_| 1).wait(), Ok(1));
    });
}

/// A handler that asks for an effect and then waits: the effect is dropped where the holder of the
/// baton parks the handler.
#[test]
fn an_effect_of_a_handler_that_waits_is_dropped_without_the_baton() {
    for threads in [0, 1, 2] {
        in_time(move || {
            let (captured, receiver) = uses();
            let gate = TVar::new(false);
            let own = gate.clone();
            let waits = move |tx: &Transaction| {
                let captured = Uses(TVar::new(0), captured.1.clone());
                tx.on_commit(move || drop(captured));
                if !*tx.get(&own) {
                    tx.retry();
                }
            };
            let open = || {
                dropped(&receiver);
                atomically(|tx| tx.set(&gate, true));
            };
            if threads == 0 {
                thread::scope(|scope| {
                    scope.spawn(|| atomically(&waits));
                    open();
                });
            } else {
                let executor = Executor::new(threads).expect("threads");
                let waiting = executor.transact("waits", waits);
                open();
                assert_eq!(waiting.wait(), Ok(()));
            }
            // That of the run that stood.
            dropped(&receiver);
        });
    }
}

/// Nothing else is run by these workers, whose attempts have left their logs behind.
#[test]
fn what_attempts_asked_for_is_dropped_before_a_worker_sleeps() {
    for threads in [1, 2] {
        let executor = Executor::new(threads).expect("threads");
        let cell = TVar::new(0);
        let (step, stepped) = uses();
        let own = cell.clone();
        let later = executor.transact("later", move |tx| {
            let step = Arc::clone(&step);
            tx.update_later(&own, move |n| n + u64::from(Arc::strong_count(&step) > 0));
        });
        assert_eq!(later.wait(), Ok(()));
        dropped(&stepped);
        let (effect, never) = uses();
        let panics = executor.transact("panics", move |tx| {
            let effect = Arc::clone(&effect);
            tx.on_commit(move || drop(effect));
            assert!(tx.get(&cell) > &1, "undone");
        });
        assert!(panics.wait().is_err());
        dropped(&never);
    }
}

/// An executor that only an effect in vain still has.
#[test]
fn an_executor_in_an_effect_in_vain_ends() {
    in_time(|| {
        let (ended, receiver) = uses();
        let executor = Arc::new(Executor::new(1).expect("threads"));
        let own = Arc::clone(&executor);
        let panics = executor.transact("panics", move |tx| {
            let (own, ended) = (Arc::clone(&own), Arc::clone(&ended));
            tx.on_commit(move || drop((own, ended)));
            panic!("undone");
        });
        assert!(panics.wait().is_err());
        drop(executor);
        dropped(&receiver);
    });
}

#[test]
fn what_a_cancelled_timer_captured_is_dropped_at_once() {
    let mut event_loop = Loop::new(Executor::new(1).expect("threads")).expect("a loop");
    let (captured, receiver) = uses();
    // Before it, so that nobody comes upon it by looking for the next one.
    event_loop.call_later(Duration::from_secs(1_800), |_| {});
    let timer = event_loop.call_later(Duration::from_secs(3_600), move |_| {
        let _captured = &captured;
    });
    let handle = event_loop.handle();
    let loops = start(move || event_loop.run());
    handle.cancel(timer);
    dropped(&receiver);
    handle.stop();
    loops.join().expect("no panic").expect("it runs");
}

/// Also if that is a handle to the loop itself.
#[test]
fn what_is_given_to_a_loop_that_is_gone_is_dropped() {
    let event_loop = Loop::new(Executor::new(1).expect("threads")).expect("a loop");
    let handle = event_loop.handle();
    let give = || {
        let (captured, receiver) = uses();
        let own = handle.clone();
        handle.call_soon_threadsafe(move |_| {
            let _captured = (&captured, &own);
        });
        receiver
    };
    let before = give();
    drop(event_loop);
    dropped(&before);
    dropped(&give());
}

/// A callback that a handler asked for, and that stands behind an effect that takes long.
#[test]
fn a_loop_that_is_stopped_runs_what_its_handlers_asked_for() {
    for threads in [1, 2] {
        let mut event_loop = Loop::new(Executor::new(threads).expect("threads")).expect("a loop");
        let (handle, seen) = (event_loop.handle(), TVar::new(0));
        let (gate, count) = (Arc::new(Barrier::new(2)), seen.clone());
        let go_on = Arc::clone(&gate);
        event_loop.add_callback(move |tx| {
            let (gate, handle, count) = (Arc::clone(&gate), handle.clone(), count.clone());
            tx.on_commit(move || {
                handle.stop();
                gate.wait();
            });
            tx.add_callback(move |tx| tx.set(&count, 1));
        });
        let loops = start(move || event_loop.run());
        // Time for the loop to end too early, in which case it has.
        thread::park_timeout(Duration::from_millis(100));
        go_on.wait();
        loops.join().expect("no panic").expect("it runs");
        assert_eq!(seen.with(|n| *n), 1, "with {threads} threads");
    }
}
