//! Many requests in one write: the answers come in the same order.

use super::{
    client::{Client, Server, request, shown},
    history::{Random, seed},
};

/// A request, and what the answer has to be.
struct Case {
    sent: Vec<u8>,
    status: u16,
    content_type: &'static str,
    /// `None`: what an error says.
    body: Option<Vec<u8>>,
    head_only: bool,
    /// Whether a handler answers, who tells a version.
    handled: bool,
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

impl Case {
    fn new(sent: Vec<u8>, status: u16, content_type: &'static str, body: &[u8]) -> Self {
        let body = Some(body.to_vec()).filter(|_| status == 200);
        Self { sent, status, content_type, body, head_only: false, handled: true }
    }
}

/// The body cut into chunks, with what a parser has to skip.
fn chunked(target: &str, body: &[u8], random: &mut Random) -> Vec<u8> {
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: wire\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut sent = head.into_bytes();
    let mut rest = body;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(1 + random.below(rest.len().min(700)));
        sent.extend_from_slice(format!("{:X};x=\"y\"\r\n", piece.len()).as_bytes());
        sent.extend_from_slice(piece);
        sent.extend_from_slice(b"\r\n");
        rest = more;
    }
    sent.extend_from_slice(b"0\r\nTrailer: 1\r\n\r\n");
    sent
}

/// A case whose answer is unlike those of its neighbours.
fn case(number: usize, random: &mut Random) -> Case {
    let length = random.pick(&[1, 20, 300, 3_000]) + number;
    let body: String =
        (0..length).map(|i| char::from(b'a' + ((i * 7 + number) % 26) as u8)).collect();
    let counted = format!("len={length}");
    match random.below(9) {
        0 => Case::new(request("GET", "/", ""), 200, TEXT, b"hello"),
        1 => {
            let case = Case::new(request("HEAD", "/?q", ""), 200, TEXT, b"hello");
            Case { head_only: true, ..case }
        }
        2 => Case::new(request("POST", "/", &body), 200, TEXT, counted.as_bytes()),
        3 => {
            Case::new(chunked("/?x=/echo", body.as_bytes(), random), 200, TEXT, counted.as_bytes())
        }
        4 => {
            let sent = chunked("/echo", body.as_bytes(), random);
            Case::new(sent, 200, "application/octet-stream", body.as_bytes())
        }
        5 => {
            let head = format!(
                "PUT /echo?n={number} HTTP/1.1\r\nhost: wire\r\nCONTENT-TYPE:  x/y; z=1 \r\n\
                 content-length: {length}\r\n\r\n"
            );
            Case::new([head.as_bytes(), body.as_bytes()].concat(), 200, "x/y; z=1", body.as_bytes())
        }
        6 => Case::new(request("DELETE", "/echo", ""), 200, "application/octet-stream", b""),
        7 => Case::new(request("PUT", "/", &body), 404, JSON, b""),
        _ => {
            let case = Case::new(request("POST", &format!("/{number}"), &body), 404, JSON, b"");
            Case { handled: false, ..case }
        }
    }
}

#[track_caller]
fn check_answer(client: &mut Client, case: &Case, context: &str) {
    let sent = shown(&case.sent);
    let answer = match client.receive(case.head_only) {
        Ok(Some(answer)) => answer,
        other => panic!("{context}: {other:?} instead of an answer to {sent}"),
    };
    let context = format!("{context}: {sent}\n  answered {answer:?}");
    assert_eq!(answer.status, case.status, "{context}");
    assert_eq!(answer.field("content-type"), Some(case.content_type), "{context}");
    assert_eq!(answer.version.is_some(), case.handled, "{context}");
    assert_eq!(answer.field("connection"), None, "{context}");
    match &case.body {
        Some(body) if case.head_only => {
            assert_eq!((answer.length, answer.body.len()), (body.len(), 0), "{context}");
        }
        Some(body) => assert_eq!(shown(&answer.body), shown(body), "{context}"),
        None => assert!(answer.json().is_ok(), "{context}"),
    }
    assert!(case.head_only || case.body.as_ref().is_none_or(|b| *b == answer.body), "{context}");
}

/// The pieces in which the requests are sent: the answers must not depend on them.
fn pieces(all: &[u8], longest: usize) -> impl Iterator<Item = &[u8]> {
    all.chunks(longest)
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    for (threads, usual) in [("1", 51), ("2", 52)] {
        let seed = seed(usual);
        let server = Server::start("echo", &["--threads", threads]);
        for (round, longest) in [usize::MAX, usize::MAX, 1, 100, 1_460].into_iter().enumerate() {
            let mut random = Random::new(seed, round);
            let cases: Vec<_> = (0..50).map(|number| case(number, &mut random)).collect();
            let all: Vec<u8> = cases.iter().flat_map(|case| case.sent.clone()).collect();
            let mut client = Client::connect(server.address());
            for piece in pieces(&all, longest) {
                assert!(client.send(piece), "seed {seed} round {round}: closed too early");
            }
            for (number, case) in cases.iter().enumerate() {
                let context =
                    format!("echo --threads {threads} seed {seed} round {round} request {number}");
                check_answer(&mut client, case, &context);
            }
            let last = client.ask("GET", "/", "");
            assert_eq!(last.body, b"hello", "the connection goes on: {last:?}");
        }
        server.stop();
    }
}

#[test]
fn nothing_behind_a_closing_request_is_answered() {
    let server = Server::start("counter", &["--threads", "2"]);
    let mut client = Client::connect(server.address());
    let hit = request("POST", "/hit", "");
    let last = b"POST /hit HTTP/1.1\r\nHost: wire\r\nConnection: close\r\n\r\n";
    let all = [&hit[..], &hit, last, &hit, &hit].concat();
    client.send(&all);
    for count in 1..=3 {
        let answer = client.answer(false, &all);
        assert_eq!(answer.body, format!("{{\"count\":{count}}}").as_bytes(), "{answer:?}");
        let told = answer.field("connection");
        assert_eq!(told, (count == 3).then_some("close"), "{answer:?}");
    }
    client.is_closed(&all);
    // The server lingers until the peer closes, too.
    drop(client);
    let read = Client::connect(server.address()).ask("GET", "/", "");
    assert_eq!(read.body, b"{\"count\":3}", "what is not answered was not done: {read:?}");
    server.stop();
}
