//! Callbacks that no handler asked for: counted, or supplied by whoever replays.

use super::{Scratch, listen};
use crate::running::Running;
use crate::wire::client::Client;
use std::{
    path::Path,
    sync::mpsc::{Sender, channel},
    time::Duration,
};
use txloop::{App, TVar, Transaction, write};

type Tick = Box<dyn Fn(&Transaction) + Send + Sync>;

/// A counter that ticks: each tick asks for the next one, up to ten.
fn tick(cell: &TVar<u64>, done: Sender<()>) -> Tick {
    let cell = cell.clone();
    Box::new(move |tx| {
        let n = tx.modify(&cell, |n| {
            *n += 1;
            *n
        });
        let next = tick(&cell, done.clone());
        if n.is_multiple_of(10) {
            let done = done.clone();
            tx.on_commit(move || done.send(()).expect("the test listens"));
        } else {
            tx.call_later(Duration::from_micros(50), next);
        }
    })
}

fn app(cell: &TVar<u64>) -> App {
    let cell = cell.clone();
    App::new().post(
        "/double",
        write(move |tx, _| {
            tx.modify(&cell, |n| {
                *n *= 2;
                n.to_string()
            })
        }),
    )
}

/// Two foreign callbacks with nine children each, and a request behind each.
fn record(file: &Path) -> u64 {
    let cell = TVar::new(0);
    let mut server = listen(app(&cell), 2, file);
    let (sender, done) = channel();
    let handle = server.handle();
    server.event_loop().call_later(Duration::from_micros(1), tick(&cell, sender.clone()));
    let running = Running::start(server);
    done.recv().expect("ten ticks");
    let mut client = Client::connect(running.address);
    assert_eq!(client.ask("POST", "/double", "").body, b"20");
    handle.call_soon_threadsafe(tick(&cell, sender));
    done.recv().expect("ten ticks");
    assert_eq!(client.ask("POST", "/double", "").body, b"60");
    running.stop();
    cell.with(|n| *n)
}

#[test]
fn they_are_left_out_and_counted_or_supplied() {
    let file = Scratch::new();
    assert_eq!(record(file.path()), 60);
    let cell = TVar::new(0);
    let without = app(&cell).replay(file.path()).expect("a recording").run().expect("readable");
    assert_eq!((without.foreign, without.callbacks, without.first_foreign), (20, 0, Some(1)));
    assert_eq!((without.different, without.differences[0].ticket), (2, 11), "{without}");
    assert!(without.to_string().contains("nothing is promised from ticket 1 on"));
    for threads in [1, 3] {
        let (cell, sender) = (TVar::new(0), channel().0);
        let own = cell.clone();
        let replay = app(&cell).replay(file.path()).expect("a recording").threads(threads);
        let supply = move |number| {
            assert!(number < 2);
            Some(tick(&own, sender.clone()))
        };
        let with = replay.foreign(supply).run().expect("readable");
        assert!(with.is_same(), "{with}");
        assert_eq!((with.foreign, with.callbacks, with.first_foreign), (0, 20, None));
        assert_eq!(cell.with(|n| *n), 60);
    }
}
