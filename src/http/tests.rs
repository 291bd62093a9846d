//! The decoder on tables of good and bad bytes in all cuts, the encoder through httparse.

use std::fmt::Write;

use ::http::header::{CONTENT_TYPE, HeaderName};
use ::http::{HeaderValue, StatusCode};
use bytes::BytesMut;
use proptest::prelude::*;

use super::limits::{MAX_CHUNK_EXTENSION_BYTES, MAX_TRAILER_BYTES, MAX_TRAILERS};
use super::*;

/// Small, so that the tables can go beyond them.
const LIMITS: Limits = Limits { max_head: 240, max_headers: 6, max_body: 20 };

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// What a decoder makes of `pieces`: a line for each message, for the refusal, and at the end one
/// for what the peer owes. And how often it asked for `100 Continue`.
fn decode<'a>(limits: Limits, pieces: impl IntoIterator<Item = &'a [u8]>) -> (String, usize) {
    let mut decoder = Decoder::new(limits);
    let mut input = BytesMut::new();
    let (mut told, mut continues) = (String::new(), 0);
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decoder.next(&mut input) {
                Decoded::NeedMore => break,
                Decoded::Continue => continues += 1,
                Decoded::Request(message) => tell(&mut told, &message),
                Decoded::Refused(refusal) => {
                    input.extend_from_slice(b"GET / HTTP/1.1\r\nHost: after\r\n\r\n");
                    let again = decoder.next(&mut input);
                    assert!(matches!(again, Decoded::Refused(it) if it == refusal), "{again:?}");
                    assert!(decoder.end_of_input(&input));
                    writeln!(told, "{}: {}", refusal.status.as_u16(), refusal.reason).unwrap();
                    return (told, continues);
                }
            }
        }
    }
    if decoder.end_of_input(&input) {
        assert!(input.is_empty(), "thrown away after the last request");
    } else {
        writeln!(told, "cut off: {:?}", decoder.phase()).unwrap();
    }
    (told, continues)
}

/// Tells a message, and compares it with what httparse reads from its head.
fn tell(told: &mut String, message: &Message) {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut oracle = httparse::Request::new(&mut fields);
    assert!(oracle.parse(&message.head).unwrap().is_complete());
    assert_eq!(oracle.method, Some(message.method().as_str()));
    assert_eq!(oracle.path, Some(message.target()));
    assert_eq!(oracle.version, Some(message.minor_version()));
    let theirs = oracle.headers.iter().map(|field| (field.name, field.value));
    assert!(theirs.eq(message.headers()), "{:?}", oracle.headers);
    for (name, _) in message.headers() {
        let first = message.headers().find(|(it, _)| it.eq_ignore_ascii_case(name));
        assert_eq!(message.header(&name.to_uppercase()), first.map(|(_, value)| value));
    }
    let (method, path, host) = (message.method(), message.path(), message.host());
    let query = message.query().map_or(String::new(), |query| format!("?{query}"));
    let (minor, body) = (message.minor_version(), message.body().escape_ascii());
    let end = if message.keep_alive() { "" } else { " close" };
    writeln!(told, "{method} {path}{query} @{host} 1.{minor}{end} {body}").unwrap();
}

/// `input` whole, cut at each byte, and byte by byte: all the same, with each line of what is told
/// starting as the line in `expected` does.
#[track_caller]
fn check(input: &[u8], expected: &str) {
    let (whole, continues) = decode(LIMITS, [input]);
    let (told, wanted) = (whole.lines(), expected.lines());
    let same = told.clone().count() == wanted.clone().count()
        && told.zip(wanted).all(|(told, wanted)| match wanted.parse::<u16>() {
            Ok(_) => told.starts_with(wanted),
            Err(_) => told.trim_end() == wanted,
        });
    let shown = input.escape_ascii();
    assert!(same, "{shown}\n told: {whole}\n expected: {expected}");
    assert!(continues <= 1);
    for at in 0..input.len() {
        let (told, _) = decode(LIMITS, [&input[..at], &input[at..]]);
        assert_eq!(told, whole, "{shown} cut at {at}");
    }
    let (told, _) = decode(LIMITS, input.chunks(1));
    assert_eq!(told, whole, "{shown} byte by byte");
}

/// A bad input, alone and behind a good request.
#[track_caller]
fn check_bad(input: &[u8], status: u16) {
    check(input, &status.to_string());
    let behind = [b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n", input].concat();
    check(&behind, &format!("GET /good @a 1.1\n{status}"));
}

const GOOD: &[(&str, &str)] = &[
    ("", ""),
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / @a 1.1"),
    ("GET / HTTP/1.1\r\nhOST:a\r\n\r\n", "GET / @a 1.1"),
    ("GET / HTTP/1.1\r\nHost: \t a\t \r\n\r\n", "GET / @a 1.1"),
    ("GET / HTTP/1.0\r\n\r\n", "GET / @ 1.0 close"),
    ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET / @ 1.0"),
    ("GET / HTTP/1.0\r\nConnection: x , Keep-Alive\r\n\r\n", "GET / @ 1.0"),
    ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "GET / @ 1.0 close"),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET / @a 1.1 close"),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: te,, CLOSE\r\n\r\n", "GET / @a 1.1 close"),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
        "GET / @a 1.1 close",
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", "GET / @a 1.1"),
    ("GET /a/b?c=d?e&f HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a/b?c=d?e&f @a 1.1"),
    ("GET /? HTTP/1.1\r\nHost: a\r\n\r\n", "GET /? @a 1.1"),
    ("GET //x%2F..|\"{}\\^` HTTP/1.1\r\nHost: a\r\n\r\n", "GET //x%2F..|\"{}\\^` @a 1.1"),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * @a 1.1"),
    ("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * @b 1.1"),
    ("OPTIONS http://b?q HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS /?q @b 1.1"),
    ("GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", "GET / @b 1.1"),
    ("GET HTTPS://b:8/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x?y @b:8 1.1"),
    ("GET http://b?y HTTP/1.0\r\n\r\n", "GET /?y @b 1.0 close"),
    ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "GET / @[::1]:80 1.1"),
    ("GET / HTTP/1.1\r\nHost: [::ffff:1.2.3.4]\r\n\r\n", "GET / @[::ffff:1.2.3.4] 1.1"),
    ("GET / HTTP/1.1\r\nHost: a_b-c.d~%7E.:65535\r\n\r\n", "GET / @a_b-c.d~%7E.:65535 1.1"),
    ("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", "GET / @a: 1.1"),
    ("!#$%&'*+-.^_`|~09az / HTTP/1.1\r\nHost: a\r\n\r\n", "!#$%&'*+-.^_`|~09az / @a 1.1"),
    ("get / HTTP/1.1\r\nHost: a\r\nx!~: \r\ny:\r\n\r\n", "get / @a 1.1"),
    ("GET / HTTP/1.1\r\nHost: a\r\nx: a \t \"b\" \u{e9}\r\n\r\n", "GET / @a 1.1"),
    ("\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n", "GET / @a 1.1"),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "GET / @a 1.1 hello"),
    ("POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 0\r\n\r\n", "POST / @a 1.1"),
    ("POST / HTTP/1.0\r\nContent-Length: 0005\r\n\r\nhello", "POST / @ 1.0 close hello"),
    ("P / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n\r\n3456789\r\n234567890", TWENTY),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1GET /2 HTTP/1.1\r\nHost: b\r\n\r\n\
         \r\nPUT /3 HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n3\r\n0\r\n\r\n\
         GET /4 HTTP/1.0\r\n\r\nGET /never HTTP/1.0\r\n\r\n",
        "POST / @a 1.1 1\nGET /2 @b 1.1\nPUT /3 @c 1.1 3\nGET /4 @ 1.0 close",
    ),
    ("G", "cut off: Head"),
    ("GET / HTTP/1.1\r\nHost: a\r\n\r", "cut off: Head"),
    ("P / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", "cut off: Body"),
    ("P / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r", "cut off: Body"),
    (
        "P / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n1",
        "P / @a 1.1 1",
    ),
];

const TWENTY: &str = r"P / @a 1.1 \r\n3456789\r\n234567890";

#[test]
fn good_requests() {
    for (input, expected) in GOOD {
        check(input.as_bytes(), expected);
    }
}

/// Chunked bodies and what they hold.
const GOOD_CHUNKED: &[(&str, &str)] = &[
    ("0\r\n\r\n", ""),
    ("5\r\nhello\r\n0\r\n\r\n", "hello"),
    ("5\r\nhello\r\n1\r\n!\r\n000\r\n\r\n", "hello!"),
    ("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
    ("0000000000000002\r\n\r\n\r\n0\r\n\r\n", r"\r\n"),
    ("2;a\r\nhi\r\n0;b=c\r\n\r\n", "hi"),
    ("2 ; a=\"x;y\" ;;\t\u{e9}\r\nhi\r\n0\t;\r\n\r\n", "hi"),
    ("2\r\nhi\r\n0\r\nA: b\r\nContent-Length: 7\r\nc:\r\n\r\n", "hi"),
];

fn with_chunked(body: &str) -> Vec<u8> {
    format!("P / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n{body}").into_bytes()
}

#[test]
fn good_chunked_bodies() {
    for (body, expected) in GOOD_CHUNKED {
        let request = format!("P / @a 1.1 {expected}");
        check(&with_chunked(body), request.trim_end());
        let twice = [with_chunked(body), with_chunked(body)].concat();
        check(&twice, &format!("{}\n{}", request.trim_end(), request.trim_end()));
    }
}

const BAD_REQUEST_LINES: &[(&[u8], u16)] = &[
    (b"GET /", 400),
    (b"GET", 400),
    (b"GET  HTTP/1.1", 400),
    (b"GET HTTP/1.1", 400),
    (b" GET / HTTP/1.1", 400),
    (b" / HTTP/1.1", 400),
    (b"GET  / HTTP/1.1", 400),
    (b"GET /  HTTP/1.1", 400),
    (b"GET / HTTP/1.1 ", 400),
    (b"GET / x HTTP/1.1", 400),
    (b"GET\t/ HTTP/1.1", 400),
    (b"GET /\tHTTP/1.1", 400),
    (b"GET /a\tb HTTP/1.1", 400),
    (b"GET / http/1.1", 400),
    (b"GET / HTTP/1", 400),
    (b"GET / HTTP/1.10", 400),
    (b"GET / HTTP/01.1", 400),
    (b"GET / HTTP/1,1", 400),
    (b"GET / HTTP/x.1", 400),
    (b"GET / FTP/1.1", 400),
    (b"GET / HTTP/1.2", 505),
    (b"GET / HTTP/0.9", 505),
    (b"GET / HTTP/2.0", 505),
    (b"PRI * HTTP/2.0", 505),
    (b"G(T / HTTP/1.1", 400),
    (b"G\xc9T / HTTP/1.1", 400),
    (b"\"GET\" / HTTP/1.1", 400),
    (b"GET /a#b HTTP/1.1", 400),
    (b"GET /\xc3\xa9 HTTP/1.1", 400),
    (b"GET /\x01 HTTP/1.1", 400),
    (b"GET /\x7f HTTP/1.1", 400),
    (b"GET /\0 HTTP/1.1", 400),
    (b"GET * HTTP/1.1", 400),
    (b"OPTIONS ** HTTP/1.1", 400),
    (b"GET x HTTP/1.1", 400),
    (b"GET a:80 HTTP/1.1", 400),
    (b"GET ?q HTTP/1.1", 400),
    (b"GET ftp://a/ HTTP/1.1", 400),
    (b"GET http:/a HTTP/1.1", 400),
    (b"GET http:// HTTP/1.1", 400),
    (b"GET http:///x HTTP/1.1", 400),
    (b"GET http://u@a/ HTTP/1.1", 400),
    (b"GET http://a:x/ HTTP/1.1", 400),
    (b"GET http://a:65536/ HTTP/1.1", 400),
    (b"GET http://[::1/ HTTP/1.1", 400),
    (b"GET http://a\\b/ HTTP/1.1", 400),
    (b"CONNECT a:80 HTTP/1.1", 501),
    (b"CONNECT / HTTP/1.1", 501),
];

#[test]
fn bad_request_lines() {
    for (line, status) in BAD_REQUEST_LINES {
        // The line alone is enough to refuse it.
        check_bad(&[line, &b"\r\n"[..]].concat(), *status);
        check_bad(&[line, &b"\r\nHost: a\r\n\r\n"[..]].concat(), *status);
    }
}

/// Field lines behind `Host: a`.
const BAD_FIELDS: &[(&[u8], u16)] = &[
    (b"Host: a", 400),
    (b"host: b", 400),
    (b": x", 400),
    (b"x", 400),
    (b"x y", 400),
    (b"x : y", 400),
    (b"x\t: y", 400),
    (b" x: y", 400),
    (b"\tx: y", 400),
    (b"x: y\r\n z", 400),
    (b"x: y\r\n\tz: z", 400),
    (b"x: y\r\n \r\nz: z", 400),
    (b"x\xe9: y", 400),
    (b"x(y): z", 400),
    (b"\"x\": y", 400),
    (b"x: a\0b", 400),
    (b"x: a\x08", 400),
    (b"x: \x1b[2J", 400),
    (b"x: a\x7f", 400),
    (b"x: a\rb", 400),
    (b"x: a\nb", 400),
    (b"x: a\ny: b", 400),
    (b"x: a\r\r\ny: b", 400),
    (b"x: a\n\r\ny: b", 400),
    (b"\0: a", 400),
    (b"Content-Length:", 400),
    (b"Content-Length: +5", 400),
    (b"Content-Length: -5", 400),
    (b"Content-Length: 0x5", 400),
    (b"Content-Length: 5_0", 400),
    (b"Content-Length: 5 5", 400),
    (b"Content-Length: 5,5", 400),
    (b"Content-Length: 5.0", 400),
    (b"Content-Length: \xb2", 400),
    (b"Content-Length: five", 400),
    (b"Content-Length: 18446744073709551616", 400),
    (b"Content-Length: 99999999999999999999999", 400),
    (b"Content-Length: 5\r\nContent-Length: 5", 400),
    (b"Content-Length: 5\r\ncontent-length: 6", 400),
    (b"Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
    (b"Transfer-Encoding: chunked\r\nContent-Length: 0", 400),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400),
    (b"Transfer-Encoding: chunked, chunked", 400),
    (b"Transfer-Encoding: chunked, gzip", 400),
    (b"Transfer-Encoding: ,chunked", 400),
    (b"Transfer-Encoding: chunked,", 400),
    (b"Transfer-Encoding:", 400),
    (b"Transfer-Encoding: chunked;q=1", 400),
    (b"Transfer-Encoding: \"chunked\"", 400),
    (b"Transfer-Encoding: chunked gzip", 400),
    (b"Transfer-Encoding: \x0bchunked", 400),
    (b"Transfer-Encoding: \xa0chunked", 400),
    (b"Transfer-Encoding: gzip", 501),
    (b"Transfer-Encoding: identity", 501),
    (b"Transfer-Encoding: xchunked", 501),
    (b"Transfer-Encoding: gzip, chunked", 501),
    (b"Expect: 200-ok", 417),
    (b"Expect:", 417),
    (b"Expect: 100-continue, x", 417),
    (b"Content-Length: 21", 413),
    (b"Content-Length: 18446744073709551615", 413),
    (b"Expect: 100-continue\r\nContent-Length: 21", 413),
    (b"a: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\ne: 5\r\nf: 6", 431),
];

#[test]
fn bad_fields() {
    for (line, status) in BAD_FIELDS {
        let start = b"POST / HTTP/1.1\r\nHost: a\r\n";
        let input = [&start[..], line, b"\r\n\r\nhello"].concat();
        check_bad(&input, *status);
        assert_eq!(decode(LIMITS, [&input[..]]).1, 0, "no 100 before a refusal");
    }
}

const BAD_HOSTS: &[&[u8]] = &[
    b"",
    b"u@a",
    b"u:p@a",
    b"a b",
    b"a,b",
    b"a, b",
    b"a/b",
    b"a?b",
    b"a#b",
    b"a\\b",
    b"<a>",
    b"\"a\"",
    b"http://a",
    b"a:x",
    b"a:-1",
    b"a:+1",
    b"a:65536",
    b"a:000080",
    b"a:80:80",
    b"a:80 ,",
    b":80",
    b":",
    b"::1",
    b"[::1",
    b"[]",
    b"[::1]x",
    b"[::1]80",
    b"[1.2.3.4]",
    b"[::1%25eth0]",
    b"[v1.x]",
    b"[fe80::zz]",
    b"a%",
    b"a%2",
    b"a%zz",
    b"a%z2",
    b"a%2z",
    b"\xc3\xa9",
    b"a\tb",
];

#[test]
fn bad_hosts() {
    for host in BAD_HOSTS {
        for version in ["1.0", "1.1"] {
            let start = format!("GET / HTTP/{version}\r\nHost: ");
            check_bad(&[start.as_bytes(), host, b"\r\n\r\n"].concat(), 400);
        }
        let start = b"GET http://b/ HTTP/1.1\r\nHost: ";
        check_bad(&[start, *host, b"\r\n\r\n"].concat(), 400);
    }
}

const BAD_CHUNKED: &[(&str, u16)] = &[
    ("\r\n", 400),
    ("x\r\n", 400),
    ("g\r\n", 400),
    (" 5\r\nhello\r\n", 400),
    ("+5\r\nhello\r\n", 400),
    ("-1\r\n", 400),
    ("0x5\r\nhello\r\n", 400),
    ("5_0\r\n", 400),
    ("5,\r\n", 400),
    ("\u{ff15}\r\n", 400),
    (";a\r\n", 400),
    ("5 \r\nhello\r\n", 400),
    ("5 x\r\nhello\r\n", 400),
    ("5\nhello\r\n", 400),
    ("5\rhello\r\n", 400),
    ("5\r\rhello\r\n", 400),
    ("5;a\nhello\r\n", 400),
    ("5;a\rb\r\nhello\r\n", 400),
    ("5;a\0\r\nhello\r\n", 400),
    ("5;a\u{7f}\r\nhello\r\n", 400),
    ("00000000000000000\r\n\r\n", 400),
    ("10000000000000005\r\nhello\r\n", 400),
    ("ffffffffffffffff\r\n", 413),
    ("15\r\n", 413),
    ("a\r\n0123456789\r\nb\r\n", 413),
    ("14\r\n01234567890123456789\r\n1\r\n", 413),
    ("5\r\nhello!\r\n0\r\n\r\n", 400),
    ("5\r\nhello0\r\n\r\n", 400),
    ("5\r\nhello\n0\r\n\r\n", 400),
    ("5\r\nhello\r0\r\n\r\n", 400),
    ("5\r\nhello\rx0\r\n\r\n", 400),
    ("5\r\nhellox\n0\r\n\r\n", 400),
    ("5\r\nhello\r\n\r\n0\r\n\r\n", 400),
    ("4\r\nhello\r\n0\r\n\r\n", 400),
    ("0\r\nx\r\n\r\n", 400),
    ("0\r\n: x\r\n\r\n", 400),
    ("0\r\nx : y\r\n\r\n", 400),
    ("0\r\nx: y\r\n z\r\n\r\n", 400),
    ("0\r\nx: y\n\r\n\r\n", 400),
    ("0\r\nx: y\rz\r\n\r\n", 400),
    ("0\r\nx: \0\r\n\r\n", 400),
    ("0\r\n\n", 400),
    ("0\r\n\rx", 400),
    ("0\n\n", 400),
    ("0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
];

#[test]
fn bad_chunked_bodies() {
    for (body, status) in BAD_CHUNKED {
        check_bad(&with_chunked(body), *status);
    }
}

const BAD_STARTS: &[(&[u8], u16)] = &[
    (b"\r\n\r\n\r\n\r\n\r\n", 400),
    (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"\r\n GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"\xef\xbb\xbfGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    (b"GET / HTTP/1.1\rHost: a\r\r", 400),
    (b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\rG", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nX: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    (b"GET http://a/ HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    (b"P / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (
        b"P / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\
      Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        b"P / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
      Content-Length: 5\r\n\r\n0\r\n\r\n",
        400,
    ),
    (b"P / HTTP/1.0\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    (b"P / HTTP/1.0\r\nExpect: x\r\n\r\n", 417),
];

#[test]
fn bad_starts() {
    for (input, status) in BAD_STARTS {
        check_bad(input, *status);
    }
}

#[test]
fn each_control_character_is_refused_wherever_it_is() {
    for byte in (0..=255_u8).filter(|byte| byte.is_ascii_control() && *byte != b'\t') {
        for place in 0..17 {
            let filling = "x".repeat(place);
            let start = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {filling}");
            let input = [start.as_bytes(), &[byte], b"yyyyyyyyy\r\n\r\n"].concat();
            assert!(decode(LIMITS, [&input[..]]).0.starts_with("400"), "{byte} at {place}");
        }
    }
}

#[test]
fn heads_at_and_over_their_limit() {
    let head = |path: usize, value: usize| {
        let (path, value) = ("p".repeat(path), "v".repeat(value));
        format!("GET /{path} HTTP/1.1\r\nHost: a\r\nX: {value}\r\n\r\n").into_bytes()
    };
    let frame = head(0, 0).len();
    let over = LIMITS.max_head - frame + 1;
    assert_eq!(head(0, over - 1).len(), LIMITS.max_head);
    check(&head(0, over - 1), "GET / @a 1.1");
    for more in [over, over + 1, over + 2, over + 3, over + 4, over * 2] {
        check_bad(&head(0, more), 431);
    }
    check_bad(&head(over, 0), 431);
    let request_line = "GET / HTTP/1.1\r\n".len();
    check_bad(&head(LIMITS.max_head - request_line, 0), 431);
    check_bad(&head(LIMITS.max_head - request_line + 1, 0), 414);
    check_bad(&vec![b'x'; LIMITS.max_head], 414);
    let fields = "x: y\r\n".repeat(LIMITS.max_headers - 1);
    check(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes(), "GET / @a 1.1");
}

#[track_caller]
fn check_chunked_tail(tail: &str, expected: &str) {
    let input = with_chunked(tail);
    for size in [1, 999, input.len()] {
        let (told, _) = decode(LIMITS, input.chunks(size));
        assert!(told.starts_with(expected), "{told}, expected {expected}");
    }
}

#[test]
fn chunk_extensions_and_trailers_at_and_over_their_limits() {
    let half = "x".repeat(MAX_CHUNK_EXTENSION_BYTES / 2 - 2);
    check_chunked_tail(&format!("1;{half}\r\n1\r\n0;{half}\r\n\r\n"), "P / @a 1.1 1");
    check_chunked_tail(&format!("1;{half}\r\n1\r\n0;{half}xx\r\n\r\n"), "413");
    check_chunked_tail(&format!("1{}", " ".repeat(MAX_CHUNK_EXTENSION_BYTES + 1)), "413");
    let lines = "x: y\r\n".repeat(MAX_TRAILERS);
    check_chunked_tail(&format!("0\r\n{lines}\r\n"), "P / @a 1.1");
    check_chunked_tail(&format!("0\r\n{lines}x"), "431");
    let value = "x".repeat(MAX_TRAILER_BYTES - 4);
    check_chunked_tail(&format!("0\r\nx:{value}\r\n\r\n"), "P / @a 1.1");
    check_chunked_tail(&format!("0\r\nx:{value}y\r\n\r\n"), "431");
}

/// Gives `pieces` to a decoder one by one and compares what it says to each.
#[track_caller]
fn check_steps(steps: &[(&str, &str)]) {
    let mut decoder = Decoder::new(LIMITS);
    let mut input = BytesMut::new();
    for (number, (piece, expected)) in steps.iter().enumerate() {
        input.extend_from_slice(piece.as_bytes());
        let said = match decoder.next(&mut input) {
            Decoded::NeedMore => "more".to_owned(),
            Decoded::Continue => "continue".to_owned(),
            Decoded::Request(message) => message.path().to_owned(),
            Decoded::Refused(refusal) => refusal.status.as_u16().to_string(),
        };
        let clean = if decoder.end_of_input(&input) { ", clean" } else { "" };
        let told = format!("{said} {:?}{clean}", decoder.phase());
        assert_eq!(told, *expected, "step {number}: {piece:?}");
    }
}

#[test]
fn phases() {
    check_steps(&[
        ("", "more Idle, clean"),
        ("\r\n", "more Idle, clean"),
        ("\r", "more Idle"),
        ("\nG", "more Head"),
        ("ET /1 HTTP/1.1\r\nHost: a\r\n", "more Head"),
        ("\r\n", "/1 Idle, clean"),
        ("GET /2 HTTP/1.1\r\nHost: a\r\n\r\nP /3 HTTP/1.1\r\n", "/2 Idle"),
        ("Host: a\r\nContent-Length: 2\r\n\r\n", "more Body"),
        ("1", "more Body"),
        ("2GET /4 HTTP/1.0\r\n\r\nGET", "/3 Idle"),
        ("", "/4 Idle, clean"),
        (" \0", "more Idle, clean"),
    ]);
}

#[test]
fn continue_is_said_once_and_only_to_who_waits() {
    let head = |version, fields| {
        format!("P / HTTP/{version}\r\nHost: a\r\nExpect: 100-continue\r\n{fields}\r\n\r\n")
    };
    let length = head("1.1", "Content-Length: 2");
    check_steps(&[
        (&length[..length.len() - 1], "more Head"),
        ("\n", "continue Body"),
        ("", "more Body"),
        ("1", "more Body"),
        ("2", "/ Idle, clean"),
        (&length, "continue Body"),
        ("12", "/ Idle, clean"),
    ]);
    let chunked = head("1.1", "Transfer-Encoding: chunked");
    check_steps(&[(&chunked, "continue Body"), ("0\r\n\r\n", "/ Idle, clean")]);
    check_steps(&[(&format!("{length}1"), "more Body"), ("2", "/ Idle, clean")]);
    check_steps(&[(&format!("{length}12"), "/ Idle, clean")]);
    check_steps(&[(&head("1.1", "Content-Length: 0"), "/ Idle, clean")]);
    check_steps(&[(&head("1.1", "X: y"), "/ Idle, clean")]);
    check_steps(&[(&head("1.0", "Content-Length: 2"), "more Body"), ("12", "/ Idle, clean")]);
    check_steps(&[(&head("1.1", "Content-Length: 21"), "413 Idle, clean")]);
}

#[test]
fn long_bodies_come_whole_in_pieces() {
    let body: Vec<u8> = (0..1024 * 1024).map(|at: u32| (at % 251) as u8).collect();
    let length = format!("P / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut chunked = with_chunked("");
    for piece in body.chunks(70_001) {
        chunked.extend_from_slice(format!("{:X}\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    for input in [[length.as_bytes(), &body].concat(), chunked] {
        for size in [1_000, 65_536, input.len()] {
            let (mut decoder, mut buffer) = (Decoder::new(Limits::default()), BytesMut::new());
            let mut found = None;
            for piece in input.chunks(size) {
                assert!(found.is_none());
                buffer.extend_from_slice(piece);
                if let Decoded::Request(message) = decoder.next(&mut buffer) {
                    found = Some(message);
                }
                assert!(buffer.is_empty());
            }
            assert!(found.is_some_and(|message| message.body()[..] == body[..]));
        }
    }
}

/// What tends to matter to the decoder, to be put together at random.
const FRAGMENTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\n",
    b"POST /a?b HTTP/1.0\r\n",
    b"GET ",
    b"http://a",
    b" HTTP/1.1\r\n",
    b"Host: a\r\n",
    b"Host: a\r\n\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length:",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: keep-alive\r\n",
    b"Expect: 100-continue\r\n",
    b"X: y\r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b" ",
    b":",
    b"0\r\n",
    b"3\r\nabc\r\n",
    b"ffffffffffffffff",
    b";x=y",
    b"abc",
];

fn soup() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        9 => proptest::sample::select(FRAGMENTS).prop_map(<[u8]>::to_vec),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    proptest::collection::vec(fragment, 0..24).prop_map(|pieces| pieces.concat())
}

fn good_request() -> impl Strategy<Value = (String, String)> {
    let chunks = proptest::collection::vec("[a-z]{1,4}", 0..5);
    let path = "[a-z/%?]{0,8}";
    (path, "[ -~]{0,12}", prop_oneof![Just(None), chunks.prop_map(Some)], "[a-z]{0,9}").prop_map(
        |(path, value, chunks, plain)| {
            let body = chunks.as_ref().map_or(plain, |chunks| chunks.concat());
            let framed = match chunks {
                None => format!("Content-Length: {}\r\n\r\n{body}", body.len()),
                Some(chunks) => {
                    let framed = chunks.iter().map(|it| format!("{:x};q\r\n{it}\r\n", it.len()));
                    let framed = framed.collect::<String>();
                    format!("Transfer-Encoding: chunked\r\n\r\n{framed}0\r\nt: u\r\n\r\n")
                }
            };
            let sent = format!("PUT /{path} HTTP/1.1\r\nHost: h\r\nX: {value}\r\n{framed}");
            (sent, format!("PUT /{path} @h 1.1 {body}\n"))
        },
    )
}

/// `input` in pieces that end at `cuts` (reduced to its length).
fn cut<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    ends.extend([0, input.len()]);
    ends.sort_unstable();
    ends.windows(2).map(|ends| &input[ends[0]..ends[1]]).collect()
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(any::<usize>(), 0..8)
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        input in proptest::collection::vec(any::<u8>(), 0..400),
        cuts in cuts(),
    ) {
        prop_assert_eq!(decode(LIMITS, [&input[..]]).0, decode(LIMITS, cut(&input, &cuts)).0);
    }

    #[test]
    fn random_fragments_mean_the_same_in_all_cuts(input in soup(), cuts in cuts()) {
        let limits = Limits { max_head: 120, ..LIMITS };
        prop_assert_eq!(decode(limits, [&input[..]]).0, decode(limits, cut(&input, &cuts)).0);
    }

    #[test]
    fn pipelined_requests_come_out_in_order(
        requests in proptest::collection::vec(good_request(), 0..6),
        cuts in cuts(),
    ) {
        let (sent, expected): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        let (sent, expected) = (sent.concat(), expected.concat());
        let told = decode(LIMITS, cut(sent.as_bytes(), &cuts)).0;
        prop_assert_eq!(told, expected);
    }
}

fn encoded(head: &Head<'_>, body: Body<'_>) -> String {
    let mut out = b"before".to_vec();
    encode(&mut out, head, body);
    let out = String::from_utf8(out).unwrap();
    out.strip_prefix("before").unwrap().to_owned()
}

const OK: Head<'static> = Head {
    status: StatusCode::OK,
    headers: &[],
    date: DATE,
    version: None,
    keep_alive: true,
    minor_version: 1,
};

#[track_caller]
fn check_encoded(head: &Head<'_>, body: Body<'_>, expected: &str) {
    let told = encoded(head, body).replace("\r\n", "\n");
    assert_eq!(told, expected.replace("DATE", &format!("Date: {DATE}")));
}

#[test]
fn responses_as_text() {
    check_encoded(&OK, Body::Bytes(b"hello"), "HTTP/1.1 200 OK\nDATE\nContent-Length: 5\n\nhello");
    let closed = Head { keep_alive: false, version: Some(17), ..OK };
    check_encoded(
        &closed,
        Body::Head(1234),
        "HTTP/1.1 200 OK\nDATE\nContent-Length: 1234\nConnection: close\ntxloop-version: 17\n\n",
    );
    let status = StatusCode::NOT_MODIFIED;
    check_encoded(
        &Head { status, minor_version: 0, ..OK },
        Body::Bytes(b"never sent"),
        "HTTP/1.1 304 Not Modified\nDATE\nConnection: keep-alive\n\n",
    );
    let status = StatusCode::SWITCHING_PROTOCOLS;
    check_encoded(
        &Head { status, ..OK },
        Body::None,
        "HTTP/1.1 101 Switching Protocols\nDATE\nConnection: upgrade\n\n",
    );
    let status = StatusCode::from_u16(799).unwrap();
    check_encoded(&Head { status, ..OK }, Body::None, "HTTP/1.1 799 \nDATE\nContent-Length: 0\n\n");
    let named = |name: &'static str| (HeaderName::from_static(name), HeaderValue::from_static("7"));
    let forbidden =
        ["content-length", "transfer-encoding", "connection", "date", "txloop-version", "etag"];
    check_encoded(
        &Head { headers: &forbidden.map(named), keep_alive: false, minor_version: 0, ..OK },
        Body::Bytes(b"x"),
        "HTTP/1.1 200 OK\nDATE\nContent-Length: 1\netag: 7\n\nx",
    );
}

#[test]
fn responses_are_what_httparse_reads() {
    let plain = (CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    let bytes = HeaderValue::from_bytes(b"a\t\xff b").unwrap();
    let headers = [plain, (HeaderName::from_static("x-bytes"), bytes)];
    for status in [101, 103, 200, 204, 205, 206, 301, 304, 404, 413, 500, 599] {
        for minor_version in [0, 1] {
            for keep_alive in [false, true] {
                for body in [Body::Bytes(b"hello"), Body::Bytes(b""), Body::Head(5), Body::None] {
                    let status = StatusCode::from_u16(status).unwrap();
                    let head = Head { status, headers: &headers, keep_alive, minor_version, ..OK };
                    check_round_trip(&head, body);
                }
            }
        }
    }
}

#[test]
fn continue_is_a_whole_head_without_fields() {
    let mut response = httparse::Response::new(&mut []);
    let end = response.parse(CONTINUE).unwrap();
    assert_eq!((response.code, end), (Some(100), httparse::Status::Complete(CONTINUE.len())));
}

#[track_caller]
fn check_round_trip(head: &Head<'_>, body: Body<'_>) {
    let mut out = Vec::new();
    encode(&mut out, head, body);
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(end) = response.parse(&out).unwrap() else {
        panic!("the head is not whole: {}", out.escape_ascii());
    };
    let all = |name: &str| {
        let same = response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        same.map(|field| str::from_utf8(field.value).unwrap()).collect::<Vec<_>>().join("|")
    };
    assert_eq!(response.code, Some(head.status.as_u16()));
    assert_eq!(response.version, Some(1));
    assert_eq!(all("date"), DATE);
    let bodiless = matches!(head.status.as_u16(), 100..200 | 204 | 304);
    let (length, sent): (&str, &[u8]) = match body {
        _ if bodiless => ("", b""),
        Body::Bytes(b"") | Body::None => ("0", b""),
        Body::Bytes(bytes) => ("5", bytes),
        Body::Head(_) => ("5", b""),
    };
    assert_eq!((all("content-length").as_str(), &out[end..]), (length, sent));
    let open = match (head.status.as_u16(), all("connection").as_str()) {
        (101, option) => option == "upgrade" && head.keep_alive,
        (_, "close") => false,
        (_, "keep-alive") => true,
        (_, option) => option.is_empty() && head.minor_version == 1,
    };
    assert!(open == head.keep_alive, "{}", out.escape_ascii());
    let theirs = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let last = response.headers.len() - head.headers.len();
    assert!(theirs.eq(response.headers[last..].iter().map(|field| (field.name, field.value))));
}
