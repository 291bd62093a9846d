//! Checks that a server gives the right answers, since a fast wrong one is worth nothing.

use crate::{catalog::Test, process::Running};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Longest wait for an answer.
const SILENCE: Duration = Duration::from_secs(10);

/// Sends what the load will send, pipelined in one write, and checks status, type, length and body.
pub(crate) fn check(server: &Running, test: &Test) -> Result<(), String> {
    let failed = |text: String| format!("{}: GET {}: {text}", server.name, test.path);
    let asked = ask(&server.address, test).map_err(|e| failed(e.to_string()))?;
    let mut rest = asked.as_slice();
    for number in 1..=test.pipeline {
        match verify(rest, test) {
            Ok(Some(length)) => rest = &rest[length..],
            Ok(None) => return Err(failed(format!("answer {number} is cut off"))),
            Err(text) => return Err(failed(format!("answer {number} {text}"))),
        }
    }
    match rest {
        [] => Ok(()),
        _ => Err(failed(format!("{} bytes follow the last answer", rest.len()))),
    }
}

/// Sends as many requests as the test pipelines. All that comes back.
fn ask(address: &str, test: &Test) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let request = format!("GET {} HTTP/1.1\r\nHost: {address}\r\n", test.path);
    let mut requests = format!("{request}\r\n").repeat(test.pipeline as usize - 1);
    // The server ends the connection after its last answer, so anything too much is seen.
    requests.push_str(&format!("{request}Connection: close\r\n\r\n"));
    stream.write_all(requests.as_bytes())?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    Ok(received)
}

/// Checks the first answer in these bytes. Its length, or `None` if not all of it is there.
fn verify(bytes: &[u8], test: &Test) -> Result<Option<usize>, String> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut answer = httparse::Response::new(&mut fields);
    let parsed = answer.parse(bytes).map_err(|e| format!("is not HTTP: {e}"))?;
    let httparse::Status::Complete(head) = parsed else { return Ok(None) };
    if answer.code != Some(200) {
        return Err(format!("has status {:?}", answer.code));
    }
    let length = test.body.len().to_string();
    for (name, wanted) in [("content-type", test.content_type), ("content-length", &length)] {
        let mut values = answer.headers.iter().filter(|f| f.name.eq_ignore_ascii_case(name));
        let value = values.next().map(|field| String::from_utf8_lossy(field.value));
        if value.as_deref() != Some(wanted) || values.next().is_some() {
            return Err(format!("has {name} {value:?}, not {wanted:?}"));
        }
    }
    match bytes.get(head..head + test.body.len()) {
        None => Ok(None),
        Some(body) if body == test.body.as_bytes() => Ok(Some(head + body.len())),
        Some(body) => Err(format!("has body {:?}", String::from_utf8_lossy(body))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::TESTS;

    #[track_caller]
    fn check(status: &str, length: usize, body: &str, expected: Result<bool, &str>) {
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {}\r\n", TESTS[0].content_type);
        let text = format!("{head}Content-Length: {length}\r\n\r\n{body}");
        let whole = |length: Option<usize>| length.map(|length| length == text.len());
        let found = verify(text.as_bytes(), &TESTS[0]).map(|l| whole(l).unwrap_or_default());
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn answers() {
        check("200 OK", 5, "hello", Ok(true));
        check("200 OK", 5, "hell", Ok(false));
        check("200 OK", 5, "hullo", Err("has body \"hullo\""));
        check("200 OK", 6, "hello!", Err("has content-length Some(\"6\"), not \"5\""));
        check("204 No Content", 5, "hello", Err("has status Some(204)"));
        assert_eq!(verify(b"HTTP/1.1 200", &TESTS[0]), Ok(None));
        assert!(verify(b"hello", &TESTS[0]).is_err());
    }
}
