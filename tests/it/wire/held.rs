//! Connections that send much at once, read nothing, or close their side: nothing stalls and
//! nothing piles up.

use super::client::Server;
use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

/// A hang becomes a failure after this; no check passes because of it.
const HUNG: Duration = Duration::from_secs(8);

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("a connection");
    stream.set_read_timeout(Some(HUNG)).expect("a timeout");
    stream
}

/// Sends `count` requests and then reads everything up to the server's end.
fn pipeline(server: &Server, request: &str, count: usize) -> String {
    let mut stream = connect(server);
    let mut writer = stream.try_clone().expect("a second handle");
    let bytes = request.repeat(count);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(bytes.as_bytes()).expect("the server takes it");
            writer.shutdown(Shutdown::Write).expect("our side ends");
        });
        let mut answers = String::new();
        stream.read_to_string(&mut answers).expect("answers, then the end");
        answers
    })
}

#[test]
fn many_answers_to_one_connection_do_not_stall() {
    for threads in ["1", "2"] {
        let server = Server::start("echo", &["--threads", threads]);
        for (request, count) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 5_000),
            ("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 5_000),
            (
                format!(
                    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{}",
                    "x".repeat(100_000)
                ),
                20,
            ),
        ] {
            let answers = pipeline(&server, &request, count);
            assert_eq!(answers.matches("HTTP/1.1 ").count(), count, "{threads} threads");
        }
        server.stop();
    }
}

#[test]
fn a_half_closed_connection_is_answered_and_closed() {
    let server = Server::start("counter", &["--threads", "2"]);
    for _ in 0..50 {
        let answer = pipeline(&server, "POST /hit HTTP/1.1\r\nHost: a\r\n\r\n", 1);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    server.stop();
}

#[test]
fn a_client_that_never_reads_is_not_read_from_for_ever() {
    let server = Server::start("echo", &["--threads", "1"]);
    let mut stream = connect(&server);
    stream.set_nonblocking(true).expect("non-blocking");
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1_000);
    let (mut sent, mut refusals) = (0, 0);
    // Until the server has taken nothing for a second: the buffers of both sides are full.
    while refusals < 100 {
        match stream.write(request.as_bytes()) {
            Ok(n) => {
                sent += n;
                refusals = 0;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                refusals += 1;
                std::thread::park_timeout(Duration::from_millis(10));
            }
            Err(e) => panic!("after {sent} bytes: {e}"),
        }
        assert!(sent < 256 << 20, "the server took {sent} bytes from a client that reads nothing");
    }
    drop(stream);
    server.stop();
}
