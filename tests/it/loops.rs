//! The loop without HTTP: order, timers, callbacks from transactions and from other threads.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};
use txloop::{Executor, Handle, Loop, TVar, Transaction};

/// A loop on `threads` threads, and a list of what happened in it.
fn looped(threads: usize) -> (Loop, Sender<&'static str>, Receiver<&'static str>) {
    let executor = Executor::builder().threads(threads).build().expect("threads");
    let (sender, receiver) = channel();
    (Loop::new(executor).expect("a loop"), sender, receiver)
}

/// A callback that notes its name when it commits.
fn note(
    sender: &Sender<&'static str>,
    name: &'static str,
) -> impl Fn(&Transaction) + Send + Sync + 'static {
    let sender = sender.clone();
    move |tx| {
        let sender = sender.clone();
        tx.on_commit(move || sender.send(name).expect("the test listens"));
    }
}

fn stop(handle: &Handle) -> impl Fn(&Transaction) + Send + Sync + 'static {
    let handle = handle.clone();
    move |tx| {
        let handle = handle.clone();
        tx.on_commit(move || handle.stop());
    }
}

#[test]
fn timers_run_by_deadline_and_cancelled_ones_do_not() {
    for threads in [1, 2] {
        let (mut event_loop, sender, seen) = looped(threads);
        let ms = Duration::from_millis;
        event_loop.call_later(ms(60), note(&sender, "third"));
        event_loop.call_later(ms(20), note(&sender, "first"));
        let cancelled = event_loop.call_later(ms(30), note(&sender, "cancelled"));
        event_loop.call_later(ms(40), note(&sender, "second"));
        event_loop.cancel(cancelled);
        event_loop.call_later(ms(80), stop(&event_loop.handle()));
        event_loop.run().expect("it runs");
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["first", "second", "third"]);
    }
}

#[test]
fn a_child_runs_after_its_parent_and_not_if_the_parent_is_undone() {
    for threads in [1, 2] {
        let (mut event_loop, sender, seen) = looped(threads);
        let (parent, child) = (note(&sender, "parent"), sender.clone());
        let last = event_loop.handle();
        event_loop.add_callback(move |tx| {
            let undone: Result<(), ()> = txloop::try_atomically(|tx| {
                tx.add_callback(|_| panic!("added by something undone"));
                Err(())
            });
            assert_eq!(undone, Err(()));
            let (child, last) = (child.clone(), last.clone());
            tx.add_callback(move |tx| {
                note(&child, "child")(tx);
                let stop = stop(&last);
                tx.call_later(Duration::from_millis(5), stop);
            });
            parent(tx);
        });
        event_loop.run().expect("it runs");
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["parent", "child"]);
    }
}

#[test]
fn other_threads_wake_a_sleeping_loop() {
    for threads in [1, 2] {
        let (mut event_loop, _, _) = looped(threads);
        let count = TVar::new(0_u32);
        let handle = event_loop.handle();
        std::thread::scope(|scope| {
            let pushers: Vec<_> = (0..4)
                .map(|_| {
                    let (handle, count) = (handle.clone(), count.clone());
                    scope.spawn(move || {
                        for _ in 0..500 {
                            let count = count.clone();
                            handle.call_soon_threadsafe(move |tx| {
                                tx.set(&count, tx.get(&count) + 1);
                            });
                        }
                    })
                })
                .collect();
            scope.spawn(move || {
                for pusher in pushers {
                    pusher.join().expect("no panic");
                }
                handle.stop();
            });
            event_loop.run().expect("it runs");
        });
        assert_eq!(count.with(|n| *n), 2_000);
    }
}

#[test]
fn a_callback_that_panics_does_not_end_the_loop() {
    for threads in [1, 2] {
        let (mut event_loop, sender, seen) = looped(threads);
        event_loop.add_callback(|_| panic!("in a callback"));
        event_loop.call_later(Duration::from_millis(20), note(&sender, "still here"));
        event_loop.call_later(Duration::from_millis(40), stop(&event_loop.handle()));
        event_loop.run().expect("it runs");
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["still here"]);
    }
}
