//! Writes responses. What delimits a response is written here only, whoever made the response.

use ::http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use ::http::{HeaderName, HeaderValue, StatusCode};

/// The interim answer that [`Decoded::Continue`](super::Decoded::Continue) asks for.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The field that tells the version of a handler's transaction. No handler can set it itself.
const VERSION_FIELD: &str = "txloop-version";

/// A response without its body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    /// The status. With 101, `Connection: upgrade` is written.
    pub(crate) status: StatusCode,
    /// The fields in the order they are written. Content-Length, Transfer-Encoding, Connection,
    /// Date and txloop-version are left out: they are this module's to say.
    pub(crate) headers: &'a [(HeaderName, HeaderValue)],
    /// The time as an IMF-fixdate, 29 bytes.
    pub(crate) date: &'a str,
    /// What the field txloop-version says, if it is there.
    pub(crate) version: Option<u64>,
    /// Whether the connection stays open after this response.
    pub(crate) keep_alive: bool,
    /// The request's minor version. Open is the default of 1, closed that of 0, and only the
    /// other case is said.
    pub(crate) minor_version: u8,
}

/// What follows a response's head.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// Nothing, since the request was HEAD: the length is that of the body for GET.
    Head(usize),
    /// Nothing: a length of 0, where the status lets a length be said.
    None,
}

/// Appends a response to `out`.
///
/// With a status that has no body (1xx, 204, 304) neither a body nor a length is written, whatever
/// `body` is: the peer takes the next byte as the start of another response.
pub(crate) fn encode(out: &mut Vec<u8>, head: &Head<'_>, body: Body<'_>) {
    debug_assert_eq!(head.date.len(), 29, "a date is an IMF-fixdate");
    let (length, bytes): (usize, &[u8]) = match body {
        Body::Bytes(bytes) => (bytes.len(), bytes),
        Body::Head(length) => (length, &[]),
        Body::None => (0, &[]),
    };
    let (length, bytes) =
        if has_body(head.status) { (Some(length), bytes) } else { (None, &[][..]) };
    // Room for what is written below in the usual case; more fields only cost a reallocation.
    out.reserve(256 + bytes.len());

    status_line(out, head.status);
    out.extend_from_slice(b"Date: ");
    out.extend_from_slice(head.date.as_bytes());
    if let Some(length) = length {
        out.extend_from_slice(b"\r\nContent-Length: ");
        out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    }
    out.extend_from_slice(connection(head));
    if let Some(version) = head.version {
        out.extend_from_slice(b"\r\ntxloop-version: ");
        out.extend_from_slice(itoa::Buffer::new().format(version).as_bytes());
    }
    for (name, value) in head.headers.iter().filter(|(name, _)| !is_ours(name)) {
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(bytes);
}

fn has_body(status: StatusCode) -> bool {
    let without = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
    !status.is_informational() && !without.contains(&status)
}

/// Always HTTP/1.1: a server tells its own version, not that of the request (RFC 9110, 2.5).
fn status_line(out: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::OK {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The line about the connection, with the line end before it, or nothing.
fn connection(head: &Head<'_>) -> &'static [u8] {
    match (head.keep_alive, head.minor_version) {
        _ if head.status == StatusCode::SWITCHING_PROTOCOLS => b"\r\nConnection: upgrade",
        (true, 0) => b"\r\nConnection: keep-alive",
        (true, _) | (false, 0) => b"",
        (false, _) => b"\r\nConnection: close",
    }
}

fn is_ours(name: &HeaderName) -> bool {
    [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, DATE].contains(name)
        || name.as_str() == VERSION_FIELD
}
