//! How long does a cheap request wait while others take 100 ms? A server in this process, clients
//! on loopback; the figure is the 99th percentile of each round, of a client that asks, gets its
//! answer, and rests for a moment.

use crate::{
    Bench, compute,
    contest::ORDERS,
    report::{Case, Row, Unit, Who},
    timed,
};
use std::{
    hint::black_box,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};
use txloop::{App, Order, TVar, read, snapshot, write};

/// What a slow handler takes, in nanoseconds.
const SLOW_NS: u64 = 100_000_000;
/// How long the client rests between an answer and its next question.
const REST: Duration = Duration::from_micros(200);
/// The questions of a round.
const ASKED: usize = 3_000;
/// The questions before, which tell the server what a cheap handler costs.
const FIRST: usize = 50;
const THREADS: usize = 2;

/// Who slows the cheap requests down.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nobody,
    /// One client whose handlers only read.
    Readers,
    /// One client whose handlers write.
    Writers,
}

/// See the module. Not asked in arrival order behind a slow writer: there the answer is 100 ms, by
/// the order's definition.
pub(crate) fn latency(bench: &Bench) -> Vec<Row> {
    let mut rows = Vec::new();
    for (order, name) in ORDERS {
        for (cheap, beside, call) in [
            ("GET", Beside::Nobody, "read"),
            ("GET", Beside::Readers, "read, slow readers"),
            ("GET", Beside::Writers, "read, slow writers"),
            ("POST", Beside::Nobody, "write"),
            ("POST", Beside::Readers, "write, slow readers"),
            ("POST", Beside::Writers, "write, slow writers"),
        ] {
            if order == Order::Arrival && beside == Beside::Writers {
                continue;
            }
            let rounds = bench.rounds.max(1);
            let found: Vec<_> = (0..rounds).map(|_| round(bench, order, cheap, beside)).collect();
            if bench.rounds > 0 {
                let case = Case { test: "latency", call: Some(call), ..Case::default() };
                let who = Who { backend: "txloop", order: Some(name), threads: THREADS };
                let row = Row::new(case, who, Unit::P99Us, found, None);
                row.print();
                rows.push(row);
            }
        }
    }
    rows
}

/// The 99th percentile of one round, in microseconds.
fn round(bench: &Bench, order: Order, cheap: &str, beside: Beside) -> f64 {
    let measured = bench.rounds > 0;
    let steps = bench.steps(if measured { SLOW_NS } else { 1_000_000 });
    let asked = if measured { ASKED } else { 64 };
    let (hits, slows) = (TVar::new(0_u64), TVar::new(0_u64));
    let (seen, hit, slowed) = (hits.clone(), hits.clone(), slows.clone());
    let slow = move |n: u64| black_box(compute(n, steps)).to_string();
    let app = App::new()
        .threads(THREADS)
        .order(order)
        .get("/cheap", read(move |s, _| s.get(&seen).to_string()))
        .post("/cheap", write(move |tx, _| tx.modify(&hit, |n| *n += 1)))
        .get("/slow", read(move |_, _| slow(1)))
        .post(
            "/slow",
            write(move |tx, _| {
                slow(2);
                tx.modify(&slowed, |n| *n += 1);
            }),
        );
    let server = app.listen("127.0.0.1:0").unwrap_or_else(|e| panic!("cannot listen: {e}"));
    let (address, handle) = (server.local_addr(), server.handle());
    let stop = AtomicBool::new(false);
    let (took, slow_answers) = thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(|| server.run_until_stopped().expect("the server runs"));
        let slow = (beside != Beside::Nobody).then(|| {
            scope.spawn(move || {
                let method = if beside == Beside::Readers { "GET" } else { "POST" };
                let mut client = Client::connect(address);
                let mut answers = 0;
                while !stop.load(Ordering::Relaxed) {
                    client.ask(method, "/slow");
                    answers += 1;
                }
                answers
            })
        });
        let mut client = Client::connect(address);
        let mut ask = || {
            thread::sleep(REST);
            timed(|| client.ask(cheap, "/cheap")).0 / 1e3
        };
        let took: Vec<f64> = (0..FIRST + asked).map(|_| ask()).skip(FIRST).collect();
        stop.store(true, Ordering::Relaxed);
        let answers = slow.map_or(0, |slow| slow.join().expect("a slow client"));
        handle.stop();
        (took, answers)
    });
    let expected = if cheap == "POST" { (FIRST + asked) as u64 } else { 0 };
    assert_eq!(snapshot(|s| *s.get(&hits)), expected, "every cheap write counts once");
    let expected = if beside == Beside::Writers { slow_answers } else { 0 };
    assert_eq!(snapshot(|s| *s.get(&slows)), expected, "every slow write counts once");
    percentile(took, 0.99)
}

fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share) as usize]
}

struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, input: vec![0; 4_096] }
    }

    /// Asks, and waits for the whole answer, which is short and comes at once.
    fn ask(&mut self, method: &str, path: &str) {
        let length = if method == "POST" { "content-length: 0\r\n" } else { "" };
        let request = format!("{method} {path} HTTP/1.1\r\nhost: bench\r\n{length}\r\n");
        self.stream.write_all(request.as_bytes()).expect("a request");
        let mut filled = 0;
        loop {
            let got = self.stream.read(&mut self.input[filled..]).expect("an answer");
            assert!(got > 0, "the server closed");
            filled += got;
            let text = String::from_utf8_lossy(&self.input[..filled]);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            assert!(head.starts_with("HTTP/1.1 20"), "{head}");
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let value = value.trim().parse::<usize>().ok()?;
                name.eq_ignore_ascii_case("content-length").then_some(value)
            });
            if body.len() >= length.unwrap_or(0) {
                return;
            }
        }
    }
}
