//! SIGTERM in the middle of everything: what was begun is answered, and nothing else.

use super::client::{Client, Server, request};
use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    panic::resume_unwind,
    sync::mpsc::{Sender, channel},
    thread,
};

#[track_caller]
fn check_refuses(address: SocketAddr) {
    match TcpStream::connect(address) {
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => {}
        other => panic!("{other:?}: a stopping server takes no connection"),
    }
}

/// Hits the counter until the server ends the connection; the counts that it answered, each with
/// its version.
fn hit_until_closed(mut client: Client, warm: &Sender<()>) -> Vec<(u64, u64)> {
    let hit = request("POST", "/hit", "");
    let mut counts = Vec::new();
    loop {
        if !client.send(&hit) {
            return counts;
        }
        let answer = match client.receive(false) {
            Ok(Some(answer)) => answer,
            Ok(None) => return counts,
            Err(e) => panic!("after {} answers: {e}", counts.len()),
        };
        let count = answer.json().ok().and_then(|body| body["count"].as_u64());
        let (Some(count), 200, Some(version)) = (count, answer.status, answer.version) else {
            panic!("no count: {answer:?}");
        };
        counts.push((count, version));
        if counts.len() == 100 {
            // Nobody listens any more when the test has failed already.
            let _ = warm.send(());
        }
        if answer.field("connection") == Some("close") {
            client.is_closed(&hit);
            return counts;
        }
    }
}

/// Every hit that was done was answered: without a gap no answer is missing.
#[test]
fn a_stop_loses_no_answer() {
    for threads in ["1", "2"] {
        let server = Server::start("counter", &["--threads", threads]);
        let address = server.address();
        let mut counts: Vec<(u64, u64)> = thread::scope(|scope| {
            let (warm, warmed) = channel();
            let clients: Vec<_> = (0..16)
                .map(|_| {
                    let (client, warm) = (Client::connect(address), warm.clone());
                    scope.spawn(move || hit_until_closed(client, &warm))
                })
                .collect();
            drop(warm);
            // All of them are in full swing; a client that failed has dropped its sender.
            warmed.iter().take(clients.len()).for_each(drop);
            server.terminate();
            let joined = clients.into_iter().map(|client| client.join());
            joined.flat_map(|end| end.unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        server.ended();
        check_refuses(address);
        counts.sort_unstable();
        for (i, &(count, _)) in counts.iter().enumerate() {
            let at = i as u64 + 1;
            assert_eq!(count, at, "--threads {threads}: hit {at} was done but not answered");
        }
        let rising = counts.is_sorted_by(|(_, a), (_, b)| a < b);
        assert!(rising, "--threads {threads}: versions do not rise with the counts: {counts:?}");
    }
}

/// While a long request is running, idle connections are closed and new ones refused; its answer
/// comes whole. If the machine is so busy that the request ends before the signal comes, nothing
/// here changes; so whether the answer announces the close is left to the next test.
#[test]
fn a_stop_waits_for_what_runs() {
    let server = Server::start("bank", &["--threads", "2", "--accounts", "500"]);
    let address = server.address();
    let mut long = Client::connect(address);
    let audit = request("GET", "/audit/100000", "");
    long.send(&audit);
    // A whole exchange on another connection: the loop has by then seen what came before it.
    let mut idle = Client::connect(address);
    for _ in 0..2 {
        assert_eq!(idle.ask("GET", "/balance/7", "").body, b"{\"balance\":1000}");
    }
    server.terminate();
    idle.is_closed(b"SIGTERM");
    check_refuses(address);
    let answer = long.answer(false, &audit);
    assert_eq!(answer.body, b"{\"total\":500000,\"rounds\":100000}", "{answer:?}");
    long.is_closed(&audit);
    drop(long);
    server.ended();
}

/// A request of which only the front has arrived was begun, too.
#[test]
fn a_stop_waits_for_a_request_that_is_arriving() {
    let server = Server::start("bank", &["--threads", "2", "--accounts", "2"]);
    let mut begun = Client::connect(server.address());
    let transfer = request("POST", "/transfer", r#"{"from":0,"to":1,"amount":300}"#);
    let (front, rest) = transfer.split_at(transfer.len() - 9);
    begun.send(front);
    let mut idle = Client::connect(server.address());
    for _ in 0..2 {
        assert_eq!(idle.ask("GET", "/balance/1", "").body, b"{\"balance\":1000}");
    }
    server.terminate();
    idle.is_closed(b"SIGTERM");
    begun.send(rest);
    let answer = begun.answer(false, &transfer);
    assert_eq!(answer.body, b"{\"from\":700,\"to\":1300}", "{answer:?}");
    assert_eq!(answer.field("connection"), Some("close"), "{answer:?}");
    begun.is_closed(&transfer);
    drop(begun);
    server.ended();
}
