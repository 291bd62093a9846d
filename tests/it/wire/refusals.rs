//! What the servers refuse: command lines, ports, bytes that are not HTTP, unknown routes.

use super::client::{Answer, Client, Server, ends, request, shown};
use std::net::SocketAddr;

/// A server that refuses to start says why in one line.
#[track_caller]
fn check_start(example: &str, flags: &[&str], code: i32) {
    let output = ends(example, flags);
    let said = String::from_utf8_lossy(&output.stderr);
    let context = format!("{example} {flags:?}: {}, {said:?}", output.status);
    assert_eq!(output.status.code(), Some(code), "{context}");
    assert!(output.stdout.is_empty(), "{context}");
    assert!(said.len() > 1 && said.ends_with('\n') && said.lines().count() == 1, "{context}");
}

#[test]
fn bad_command_lines_exit_with_2() {
    let free = "--listen=127.0.0.1:0";
    for example in ["bank", "counter", "astar", "echo", "primes"] {
        for flags in [
            &["--bogus"][..],
            &["--bogus=1"],
            &["-x"],
            &["word"],
            &["--threads", "0"],
            &["--threads=-1"],
            &["--threads", "+1"],
            &["--threads", "1.5"],
            &["--threads", "many"],
            &["--threads", "99999999999999999999"],
            &["--threads"],
            &["--threads="],
            &["--threads", "1", "--threads", "1"],
            &["--log="],
        ] {
            check_start(example, &[&[free], flags].concat(), 2);
        }
        check_start(example, &["--listen"], 2);
    }
    for (example, flag, values) in [
        ("bank", "--accounts", &["0", "1", "1000001", "x"][..]),
        ("astar", "--map", &["0", "7", "2001", "8x"]),
        ("astar", "--cells", &["hex", "Row", "rows"]),
        ("echo", "--max-body", &["0", "-1", "1k"]),
        ("bank", "--map", &["24"]),
        ("counter", "--naive", &["1"]),
    ] {
        for value in values {
            check_start(example, &[free, flag, value], 2);
        }
    }
    check_start("astar", &[free, "--naive=1"], 2);
}

#[test]
fn a_bad_address_exits_with_2() {
    for address in ["nonsense", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:-1", ":"] {
        check_start("counter", &["--listen", address], 2);
    }
}

#[test]
fn a_port_in_use_exits_with_1() {
    let first = Server::start("counter", &["--threads", "1"]);
    let address = first.address().to_string();
    for example in ["counter", "bank", "astar", "echo", "primes"] {
        check_start(example, &["--listen", &address], 1);
    }
    // The first one took no harm.
    let answer = Client::connect(first.address()).ask("POST", "/hit", "");
    assert_eq!(answer.body, b"{\"count\":1}", "{answer:?}");
    first.stop();
}

#[test]
fn a_log_that_cannot_be_written_exits_with_1() {
    // A file stands where a folder would have to be.
    let log = concat!("--log=", env!("CARGO_MANIFEST_DIR"), "/Cargo.toml/log");
    for example in ["counter", "bank", "astar", "echo", "primes"] {
        check_start(example, &["--listen=127.0.0.1:0", log], 1);
    }
}

#[test]
fn help_goes_to_standard_output() {
    for example in ["counter", "bank", "astar", "echo", "primes"] {
        let output = ends(example, &["--threads", "1", "--help"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{example} --help");
        assert!(output.stderr.is_empty(), "{example} --help");
        for flag in ["--listen ADDR", "--threads N", "--log FILE", "--help"] {
            assert!(text.contains(flag), "{example} --help lacks {flag}: {text}");
        }
    }
}

/// An answer that no handler gave: an error in JSON, without a version.
#[track_caller]
fn check_unhandled(answer: &Answer, status: u16, sent: &[u8]) {
    let context = format!("{}\n  answered {answer:?}", shown(sent));
    assert_eq!(answer.status, status, "{context}");
    assert_eq!(answer.version, None, "{context}");
    if let Err(e) = answer.json() {
        panic!("{e}: {context}");
    }
}

/// The server answers with this status and closes, whatever follows.
#[track_caller]
fn check_refused(address: SocketAddr, sent: &[u8], status: u16) {
    let mut client = Client::connect(address);
    client.send(sent);
    let answer = client.answer(false, sent);
    check_unhandled(&answer, status, sent);
    assert_eq!(answer.field("connection"), Some("close"), "{}: {answer:?}", shown(sent));
    client.is_closed(sent);
}

#[test]
fn malformed_requests_are_answered_and_closed() {
    let server = Server::start("echo", &["--threads", "2", "--max-body", "1000"]);
    let long = "x".repeat(70_000);
    let fields = "a: b\r\n".repeat(101);
    for (sent, status) in [
        ("GARBAGE\r\n\r\n", 400),
        ("GET\r\nHost: wire\r\n\r\n", 400),
        ("GET /\r\nHost: wire\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: wire\r\n\r\n", 400),
        ("GET / HTTP/1.1 \r\nHost: wire\r\n\r\n", 400),
        ("GET / http/1.1\r\nHost: wire\r\n\r\n", 400),
        ("GET nowhere HTTP/1.1\r\nHost: wire\r\n\r\n", 400),
        ("GET /\x07 HTTP/1.1\r\nHost: wire\r\n\r\n", 400),
        ("G(T / HTTP/1.1\r\nHost: wire\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: wire\r\n\r\n", 505),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : wire\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: wire\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: wire\n\n", 400),
        ("POST / HTTP/1.1\r\nHost: wire\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: wire\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (
            "POST / HTTP/1.1\r\nHost: wire\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\
             \r\n0\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: wire\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: wire\r\nContent-Length: 1001\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: wire\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n", 413),
        (&format!("GET / HTTP/1.1\r\nHost: wire\r\nlong: {long}\r\n\r\n"), 431),
        (&format!("GET / HTTP/1.1\r\nHost: wire\r\n{fields}\r\n"), 431),
        (&format!("GET /{long} HTTP/1.1\r\nHost: wire\r\n\r\n"), 414),
    ] {
        check_refused(server.address(), sent.as_bytes(), status);
    }
    server.stop();
}

#[test]
fn what_comes_before_a_malformed_request_is_answered() {
    let server = Server::start("echo", &["--threads", "2", "--max-body", "1000"]);
    let mut client = Client::connect(server.address());
    let good = [request("GET", "/", ""), request("POST", "/", &"x".repeat(1_000))].concat();
    let all = [&good[..], b"BAD\r\n\r\n", &good].concat();
    client.send(&all);
    for body in ["hello", "len=1000"] {
        let answer = client.answer(false, &all);
        assert_eq!(answer.body, body.as_bytes(), "{answer:?}");
        assert!(answer.version.is_some(), "{answer:?}");
    }
    check_unhandled(&client.answer(false, &all), 400, &all);
    client.is_closed(&all);
    drop(client);
    server.stop();
}

/// One request that no handler gets, after which the connection goes on; the answer's `Allow`.
#[track_caller]
fn check_unrouted(client: &mut Client, line: &str, status: u16) -> Option<Vec<String>> {
    let (method, target) = line.split_once(' ').expect("method and target");
    let sent = request(method, target, "");
    let answer = client.ask(method, target, "");
    if method != "HEAD" {
        check_unhandled(&answer, status, &sent);
    }
    assert_eq!((answer.status, answer.version), (status, None), "{line}: {answer:?}");
    assert_eq!(answer.field("connection"), None, "{line}: {answer:?}");
    let mut allow: Vec<String> =
        answer.field("allow")?.split(',').map(|method| method.trim().to_owned()).collect();
    allow.sort();
    Some(allow)
}

#[test]
fn unknown_routes_and_methods() {
    for (example, missing, wrong) in [
        (
            "counter",
            &["GET /nope", "POST /hit/", "HEAD /nope", "GET //", "GET /hi"][..],
            &[("GET /hit", &["POST"][..]), ("POST /", &["GET", "HEAD"]), ("BREW /hit", &["POST"])]
                [..],
        ),
        (
            "bank",
            &["GET /", "GET /balance", "GET /balance/1/2", "POST /Transfer"],
            &[("GET /transfer", &["POST"]), ("PUT /balance/1", &["GET", "HEAD"])],
        ),
        (
            "astar",
            &["GET /players", "GET /map/", "POST /players/ann/run", "GET /players/a/b/c"],
            &[
                ("POST /walls", &["DELETE", "PUT"]),
                ("GET /players/ann", &["DELETE", "PUT"]),
                ("HEAD /players/ann/move", &["POST"]),
                ("DELETE /map", &["GET", "HEAD"]),
            ],
        ),
        ("echo", &["GET /nope", "PUT /echo/1", "OPTIONS *"], &[]),
    ] {
        let server = Server::start(example, &["--threads", "2"]);
        let mut client = Client::connect(server.address());
        for line in missing {
            assert_eq!(check_unrouted(&mut client, line, 404), None, "{example} {line}");
        }
        for (line, methods) in wrong {
            let allow = check_unrouted(&mut client, line, 405);
            let right = methods.iter().map(|&method| method.to_owned()).collect();
            assert_eq!(allow, Some(right), "Allow of {example} {line}");
        }
        server.stop();
    }
}

#[test]
fn a_path_that_is_not_utf_8_is_400() {
    let server = Server::start("astar", &["--map=8", "--threads=1"]);
    let mut client = Client::connect(server.address());
    for name in ["%FF", "%C3", "%ED%A0%80"] {
        check_unrouted(&mut client, &format!("DELETE /players/{name}"), 400);
    }
    server.stop();
}
