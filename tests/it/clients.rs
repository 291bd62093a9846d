//! What a server does for clients that leave, come late, or come while it ends.

use crate::{
    holding::while_another_holds, limits::wait_until, running::Running, wire::client::Client,
};
use std::{
    hint::spin_loop,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc::channel,
    },
    thread,
    time::{Duration, Instant},
};
use txloop::{App, Order, Request, Snapshot, TVar, Transaction, parked_for};

/// A hang becomes a failure after this; no check passes because of it.
const HUNG: Duration = Duration::from_secs(8);
const PING: &str = "GET /ping HTTP/1.1\r\nHost: a\r\n\r\n";

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(HUNG)).expect("a timeout");
    stream
}

/// The status of the last answer up to the server's end.
#[track_caller]
fn last_status(stream: &mut TcpStream) -> u16 {
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("answers, then the end");
    let last = answers.rsplit("HTTP/1.1 ").next().and_then(|last| last.get(..3));
    last.and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no answer: {answers}"))
}

/// A handler that waits for what never comes.
fn for_ever() -> impl Fn(&Transaction, &Request) + Send + Sync {
    let never = TVar::new(false);
    move |tx, _| tx.guard(*tx.get(&never))
}

fn parked_on(route: &str) -> usize {
    parked_for(Duration::ZERO, 1000).iter().filter(|parked| parked.handler == route).count()
}

fn app() -> App {
    App::new().look_twice(false).threads(2).get("/ping", |_: &Snapshot, _: &Request| "pong")
}

#[test]
fn nobody_waits_for_a_client_that_has_gone_however_much_it_sent() {
    let running =
        Running::start(app().get("/gone", for_ever()).listen("127.0.0.1:0").expect("a port"));
    let mut other = Client::connect(running.address);
    for (behind, reset) in [(10, false), (10, true), (3_000, false), (3_000, true)] {
        let mut client = connect(running.address);
        if reset {
            // A socket that is closed with something unread resets its connection.
            client.write_all(PING.as_bytes()).expect("sent");
            client.peek(&mut [0]).expect("an answer that stays unread");
        }
        client.write_all(b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
        wait_until(|| parked_on("GET /gone") == 1);
        client.write_all(PING.repeat(behind).as_bytes()).expect("sent");
        // Two exchanges on another connection: by then the loop has seen what came before.
        (0..2).for_each(|_| assert_eq!(other.ask("GET", "/ping", "").status, 200));
        drop(client);
        wait_until(|| parked_on("GET /gone") == 0);
    }
    running.stop();
}

/// More than a handler takes that the loop runs.
const LONG: Duration = Duration::from_micros(50);

#[expect(clippy::disallowed_methods, reason = "a test's own clock")]
fn spend(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        spin_loop();
    }
}

/// Opened when it is dropped, so that a test which fails ends, too.
struct Gate(Arc<AtomicBool>);

impl Gate {
    fn new() -> (Self, impl Fn() + Send + Sync) {
        let open = Arc::new(AtomicBool::new(false));
        (Self(Arc::clone(&open)), move || wait_until(|| open.load(Relaxed)))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn the_end_of_a_stream_is_seen_behind_more_than_is_read_at_once() {
    let (gate, pass) = Gate::new();
    let app = app()
        .threads(1)
        .post("/take", |_: &Transaction, req: &Request| req.body().len().to_string())
        .get("/block", move |_: &Transaction, _: &Request| pass())
        .post("/unended", for_ever());
    let running = Running::start(app.listen("127.0.0.1:0").expect("a port"));
    let mut client = connect(running.address);
    let post = |path: &str, bytes: usize| {
        let body = "x".repeat(bytes);
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n{body}")
    };
    // The system lets more be sent ahead to whom much was sent.
    for _ in 0..30 {
        client.write_all(post("/take", 1 << 20).as_bytes()).expect("sent");
        let mut answer = [0; 512];
        assert!(client.read(&mut answer).expect("an answer") > 0);
    }
    client.write_all(b"GET /block HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let mut writer = client.try_clone().expect("a second handle");
    let (sent, all_sent) = channel();
    let unended = post("/unended", 300 << 10);
    thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(unended.as_bytes()).expect("sent");
            writer.shutdown(Shutdown::Write).expect("our side ends");
            sent.send(()).expect("somebody waits");
        });
        // If it does not fit, the end comes by itself later, and shows nothing.
        let _ = all_sent.recv_timeout(Duration::from_secs(2));
        drop(gate);
        assert_eq!(last_status(&mut client), 503);
    });
    running.stop();
}

#[test]
fn a_deadline_holds_for_clients_that_have_closed_their_side() {
    let (cell, given_up) = (TVar::new(0_u64), Arc::new(AtomicBool::new(false)));
    let gives_up = Arc::clone(&given_up);
    let app = app().deadline(Duration::from_millis(100)).get(
        "/long",
        move |tx: &Transaction, _: &Request| {
            // Some seconds, if nobody takes it back. The pauses only keep its reads few.
            for _ in 0..4_000 {
                tx.get(&cell);
                thread::sleep(Duration::from_millis(1));
            }
            gives_up.store(true, Relaxed);
        },
    );
    let running = Running::start(app.listen("127.0.0.1:0").expect("a port"));
    for closes in [false, true] {
        let mut client = connect(running.address);
        client.set_read_timeout(Some(2 * HUNG)).expect("a timeout");
        client
            .write_all(b"GET /long HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .expect("sent");
        if closes {
            client.shutdown(Shutdown::Write).expect("our side ends");
        }
        assert_eq!(last_status(&mut client), 503, "closes its side: {closes}");
        assert!(!given_up.load(Relaxed), "taken back at a read");
    }
    running.stop();
}

#[test]
fn nobody_waits_whose_request_is_whole_while_the_server_ends() {
    let running =
        Running::start(app().get("/ending", for_ever()).listen("127.0.0.1:0").expect("a port"));
    let [mut first, mut late] = [(); 2].map(|()| connect(running.address));
    let request = "GET /ending HTTP/1.1\r\nHost: a\r\n\r\n";
    let (front, rest) = request.split_at(request.len() - 2);
    late.write_all(front.as_bytes()).expect("sent");
    first.write_all(request.as_bytes()).expect("sent");
    wait_until(|| parked_on("GET /ending") == 1);
    running.handle.stop();
    // Its answer shows that the server ends.
    assert_eq!(last_status(&mut first), 503);
    late.write_all(rest.as_bytes()).expect("sent");
    assert_eq!(last_status(&mut late), 503);
    running.stop();
}

#[test]
fn loop_and_workers_go_on_while_others_keep_them_from_committing() {
    [1, 2].into_iter().for_each(goes_on_with);
}

fn goes_on_with(threads: usize) {
    const CLIENTS: usize = 200;
    const ROUNDS: u64 = 5;
    let cells: Arc<[TVar<u64>]> = (0..CLIENTS).map(|_| TVar::new(0)).collect();
    let (written, scanned) = (Arc::clone(&cells), Arc::clone(&cells));
    let set = move |tx: &Transaction, req: &Request| {
        let n = req.param_number("n").unwrap_or(0) as usize;
        tx.modify(&written[n], |times| *times += 1);
    };
    // Of the second kind one waits in the queues of the workers.
    let long = set.clone();
    let app = app()
        .threads(threads)
        .get("/set/{n}", set)
        .get("/long/{n}", move |tx: &Transaction, req: &Request| {
            spend(LONG);
            long(tx, req);
        })
        .get("/scan", move |view: &Snapshot, _: &Request| {
            spend(LONG);
            scanned.iter().map(|cell| *view.get(cell)).sum::<u64>().to_string()
        });
    let running = Running::start(app.listen("127.0.0.1:0").expect("a port"));
    let address = running.address;
    let ask = |path, n| format!("GET /{path}/{n} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    // Brief ones run on the loop, once that is known of them.
    for _ in 0..64 {
        let mut client = connect(address);
        client.write_all(ask("set", 0).as_bytes()).expect("sent");
        assert_eq!(last_status(&mut client), 204);
    }
    // A run that is disturbed is not brief, and shows nothing.
    for _ in 0..ROUNDS {
        while_another_holds(|open| {
            let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(address)).collect();
            for (n, client) in clients.iter_mut().enumerate() {
                let path = if n % 2 == 0 { "set" } else { "long" };
                client.write_all(ask(path, n).as_bytes()).expect("sent");
            }
            let mut other = Client::connect(address);
            for (path, status) in [("/nowhere", 404), ("/ping", 200), ("/scan", 200)].repeat(3) {
                assert_eq!(other.ask("GET", path, "").status, status);
            }
            drop(open);
            for client in &mut clients {
                assert_eq!(last_status(client), 204);
            }
        });
    }
    assert!(cells.iter().skip(1).all(|cell| cell.with(|times| *times) == ROUNDS));
    running.stop();
}

#[test]
fn who_only_reads_is_late_too_whatever_the_order() {
    for order in [Order::Commit, Order::Arrival] {
        let (gate, pass) = Gate::new();
        let [runs, entered] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let (counted, enters) = (Arc::clone(&runs), Arc::clone(&entered));
        let limit = Duration::from_secs(1);
        let app = app()
            .order(order)
            .deadline(limit)
            .get("/block", move |_: &Transaction, _: &Request| {
                enters.fetch_add(1, Relaxed);
                pass();
            })
            .get("/read", move |_: &Snapshot, _: &Request| {
                counted.fetch_add(1, Relaxed);
            });
        let running = Running::start(app.listen("127.0.0.1:0").expect("a port"));
        let ask = |path: &str| {
            let mut client = connect(running.address);
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            client.write_all(request.as_bytes()).expect("sent");
            client
        };
        // One for each worker; the loop runs nothing that has not been seen to be brief.
        let blocked = [ask("/block"), ask("/block")];
        wait_until(|| entered.load(Relaxed) == 2);
        let mut late = ask("/read");
        // The deadline is to pass; after too short a time the test would fail, not pass.
        thread::sleep(2 * limit);
        drop(gate);
        assert_eq!(last_status(&mut late), 503, "{order:?}");
        assert_eq!(runs.load(Relaxed), 0, "{order:?}");
        for mut client in blocked {
            assert_eq!(last_status(&mut client), 503, "{order:?}: at its end");
        }
        drop(late);
        running.stop();
    }
}
