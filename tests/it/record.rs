//! Recording and replay: what a server did under load is done again, on any number of threads.

mod damage;
mod foreign;
mod shop;

use self::shop::{Shop, State, Twist, is_there};
use crate::{
    running::Running,
    wire::{
        client::{Client, request},
        history::Random,
    },
};
use std::{
    cell::RefCell,
    net::SocketAddr,
    path::{Path, PathBuf},
    process,
    rc::Rc,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};
use txloop::{App, ErrorKind, Order, Replay, Replayed, Server, TVar};

/// Clients that ask what is answered at once, and clients that wait.
const ASKERS: usize = 4;
const WAITERS: usize = 4;
/// Connections of each asker.
const WIDTH: usize = 4;
/// Requests of each asker, and of each waiter.
const ASKED: usize = 250;
const WAITED: usize = 20;

/// A file of this process, removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let (process, number) = (process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(format!("txloop-{process}-{number}.record")))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Not there if the test has failed early.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn listen(app: App, threads: usize, file: &Path) -> Server {
    let app = app.order(Order::Arrival).threads(threads).record(file);
    app.listen("127.0.0.1:0").expect("a free port")
}

/// What clients did.
#[derive(Debug, Default)]
struct Asked {
    /// Requests that found a handler and were answered.
    routed: u64,
    /// Clients that have left without an answer.
    left: u64,
}

/// Serves a shop to many clients, and records it: the state in the end.
fn record(threads: usize, seed: u64, file: &Path) -> (State, Asked) {
    let shop = Shop::new();
    let running = Running::start(listen(shop.app(Twist::None), threads, file));
    let address = running.address;
    let mut all = Asked::default();
    thread::scope(|scope| {
        for waiter in 0..WAITERS {
            scope.spawn(move || wait(address, &mut Random::new(seed, 100 + waiter)));
        }
        let ask = |i| scope.spawn(move || ask(address, &mut Random::new(seed, i)));
        let askers: Vec<_> = (0..ASKERS).map(ask).collect();
        for asker in askers {
            let asked = asker.join().expect("the asker ends");
            all.left += asked.left;
            all.routed += asked.routed;
        }
        // Enough for everybody who waits.
        let mut client = Client::connect(address);
        for n in 0..WAITERS * WAITED {
            assert_eq!(client.ask("POST", &format!("/put/{n}"), "").status, 200);
        }
    });
    running.stop();
    all.routed += (2 * WAITERS * WAITED) as u64;
    (shop.state(), all)
}

/// Asks on several connections at once.
fn ask(address: SocketAddr, random: &mut Random) -> Asked {
    let mut clients: Vec<_> = (0..WIDTH).map(|_| Client::connect(address)).collect();
    let mut asked = Asked::default();
    for round in 0..ASKED / WIDTH {
        if round % 8 == 0 {
            Client::connect(address).send(&request("POST", "/never", ""));
            asked.left += 1;
        }
        let sent: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                let (method, target, body) = shop::choose(random);
                asked.routed += u64::from(target != shop::NOWHERE);
                let bytes = request(method, &target, &body);
                assert!(client.send(&bytes), "the server listens");
                bytes
            })
            .collect();
        for (client, sent) in clients.iter_mut().zip(sent) {
            client.answer(false, &sent);
        }
    }
    asked
}

/// Asks for what may not be there yet.
fn wait(address: SocketAddr, random: &mut Random) {
    let mut client = Client::connect(address);
    for _ in 0..WAITED {
        let (method, target) = match random.below(4) {
            0 => ("GET", format!("/wait/{}", random.below(WAITERS * WAITED))),
            _ => ("POST", "/take".to_owned()),
        };
        assert_eq!(client.ask(method, &target, "").status, 200);
    }
}

/// Replays on a fresh shop; what it has found, and the state then.
fn replay(
    file: &Path,
    twist: Twist,
    change: impl FnOnce(Replay, &Shop) -> Replay,
) -> (Replayed, State) {
    let shop = Shop::new();
    let replay = shop.app(twist).replay(file).expect("a recording");
    let replayed = change(replay, &shop).run().expect("the recording can be read");
    (replayed, shop.state())
}

#[test]
fn a_replay_is_the_same_on_any_number_of_threads() {
    for (threads, seed) in [(1, 31), (2, 32), (4, 33)] {
        let file = Scratch::new();
        let (state, asked) = record(threads, seed, file.path());
        for replaying in [1, 2, 4] {
            let run = format!("recorded on {threads}, replayed on {replaying}, seed {seed}");
            let change = |replay: Replay, _: &Shop| replay.threads(replaying);
            let (replayed, found) = replay(file.path(), Twist::None, change);
            assert!(replayed.is_same(), "{run}: {replayed}");
            assert_eq!(found, state, "{run}");
            assert_eq!(replayed.incomplete, None, "{run}");
            assert_eq!((replayed.foreign, replayed.unanswered), (0, 0), "{run}");
            assert_eq!(replayed.taken_back, asked.left, "{run}");
            // All that was asked was compared, but for readers that waited.
            assert_eq!(replayed.requests, asked.routed, "{run}");
            let compared = replayed.answers_compared + replayed.not_compared;
            assert_eq!(compared, asked.routed, "{run}");
            assert!(replayed.answers_compared > compared * 9 / 10, "{run}: {replayed}");
            assert!(replayed.callbacks > 20, "{run}: {replayed}");
        }
        // The shop was full of everything: none of these may be missing.
        for seen in ["taken", "panicked", "refused", "timer", "nested", "rolled", "searched"] {
            assert!(is_there(&state, seen), "no {seen} in {state:?}");
        }
    }
}

#[test]
fn a_changed_handler_is_found_at_its_first_ticket() {
    let file = Scratch::new();
    record(2, 41, file.path());
    let tickets = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&tickets);
    let note = move |ticket, what: &str| noted.borrow_mut().push((ticket, what.to_owned()));
    replay(file.path(), Twist::None, |replay, _| replay.on_ticket(note));
    let tickets = tickets.take();
    let first = tickets.iter().find(|(_, what)| what.starts_with("POST /add/3/"));
    let (first, what) = first.expect("the third counter was used");
    for threads in [1, 4] {
        let change = |replay: Replay, _: &Shop| replay.threads(threads);
        let (replayed, _) = replay(file.path(), Twist::AddsTwice, change);
        let difference = replayed.differences.first().expect("a difference");
        assert_eq!((difference.ticket, &difference.what), (*first, what), "{replayed}");
        assert_ne!(difference.expected, difference.found);
        assert!(difference.at.is_some(), "{difference}");
        assert!(replayed.differences.is_sorted_by_key(|difference| difference.ticket));
        assert!(!replayed.is_same());
    }
    // One that does not ask for its callback any more.
    let (replayed, _) = replay(file.path(), Twist::NoCallback, |replay, _| replay);
    let missing = replayed.differences.iter().find(|d| d.what.starts_with("callback 0 of"));
    assert_eq!(missing.expect("a callback").found, "not asked for", "{replayed}");
    // One that is not there any more.
    let (replayed, _) = replay(file.path(), Twist::NoRoute, |replay, _| replay);
    let first = tickets.iter().find(|(_, what)| what.starts_with("POST /roll"));
    let difference = replayed.differences.first().expect("a difference");
    assert_eq!(Some(difference.ticket), first.map(|(ticket, _)| *ticket), "{replayed}");
    assert!(difference.found.starts_with("404"), "{difference}");
}

#[test]
fn it_stops_behind_a_ticket_with_the_state_of_then() {
    let file = Scratch::new();
    record(2, 51, file.path());
    // The state before each ticket.
    let states = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&states);
    let (replayed, last) = replay(file.path(), Twist::None, move |replay, shop| {
        let shop = shop.clone();
        replay.on_ticket(move |ticket, _| noted.borrow_mut().push((ticket, shop.state())))
    });
    assert!(replayed.is_same(), "{replayed}");
    let mut states = states.take();
    states.push((replayed.last_ticket + 1, last));
    for pick in [1, 2, states.len() / 3, states.len() / 2, states.len() - 1] {
        let (ticket, state) = &states[pick];
        for threads in [1, 2] {
            let change = |replay: Replay, _: &Shop| replay.threads(threads).until(ticket - 1);
            let (replayed, found) = replay(file.path(), Twist::None, change);
            assert!(replayed.is_same(), "until {ticket}: {replayed}");
            assert_eq!(found, *state, "until {ticket} on {threads}");
            assert_eq!(replayed.last_ticket, ticket - 1);
        }
    }
}

#[test]
fn effects_are_left_out_unless_asked_for() {
    let file = Scratch::new();
    let (sender, sent) = std::sync::mpsc::channel();
    let app = |name: &'static str| {
        let (sender, cell) = (sender.clone(), TVar::new(0));
        App::new().post(
            "/mail",
            txloop::write(move |tx, _| {
                let sender = sender.clone();
                tx.on_commit(move || sender.send(name).expect("the test listens"));
                tx.modify(&cell, |n| *n += 1);
            }),
        )
    };
    let running = Running::start(listen(app("served"), 2, file.path()));
    assert_eq!(Client::connect(running.address).ask("POST", "/mail", "").status, 204);
    running.stop();
    assert_eq!(sent.recv(), Ok("served"));
    for (on, name) in [(false, "left out"), (true, "asked for")] {
        let replay = app(name).replay(file.path()).expect("a recording");
        assert!(replay.effects(on).run().expect("it can be read").is_same());
    }
    // Effects open in order: what was left out would have come first.
    assert_eq!(sent.recv(), Ok("asked for"));
}

#[test]
fn what_cannot_be_recorded_is_refused() {
    let file = Scratch::new();
    let e = App::new().record(file.path()).listen("127.0.0.1:0").expect_err("commit order");
    assert_eq!(e.kind(), ErrorKind::Config);
    assert!(e.to_string().contains("Order::Arrival"), "{e}");
    assert!(!file.path().exists(), "nothing is replaced by a server that does not start");
    let nowhere = file.path().join("below/a/file");
    let app = App::new().order(Order::Arrival).record(&nowhere);
    assert_eq!(app.listen("127.0.0.1:0").expect_err("no folder").kind(), ErrorKind::Io);
    assert_eq!(App::new().replay(&nowhere).expect_err("no file").kind(), ErrorKind::Io);
}

#[test]
fn a_recording_that_is_full_stops_and_the_server_goes_on() {
    let file = Scratch::new();
    let shop = Shop::new();
    let app = shop.app(Twist::None).record_limit(20_000);
    let server = listen(app, 2, file.path());
    let recording = server.recording().expect("a recording");
    let running = Running::start(server);
    let mut client = Client::connect(running.address);
    for n in 0..2_000 {
        assert_eq!(client.ask("POST", &format!("/add/1/{n}"), "").status, 200);
    }
    running.stop();
    let why = recording.stopped().expect("it has stopped");
    assert!(why.contains("limit of 20000 bytes"), "{why}");
    assert!(recording.written() <= 20_000);
    let (replayed, _) = replay(file.path(), Twist::None, |replay, _| replay);
    assert!(replayed.is_same() && replayed.requests < 2_000, "{replayed}");
    assert!(replayed.answers_compared > 20, "{replayed}");
    assert!(replayed.incomplete.is_some_and(|note| note.contains("limit of 20000 bytes")));
}
