//! The request line, and the grammar of targets and hosts.

use core::net::Ipv6Addr;

use ::http::{Method, StatusCode};

use super::refusal::Refusal;
use super::request::Span;
use super::scan;

/// A request target, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) whole: Span,
    /// Empty in an absolute-form without a path.
    pub(super) path: Span,
    pub(super) query: Option<Span>,
    /// Only an absolute-form has one.
    pub(super) authority: Option<Span>,
}

/// A head's first line. It starts at the head's first byte.
pub(super) struct RequestLine {
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) minor_version: u8,
}

impl RequestLine {
    /// Reads `line`, which is without its CR LF.
    ///
    /// The version is judged before the target: the grammar of a target is known for the versions
    /// of this server only, so an HTTP/2 preface is told 505 and not 400.
    pub(super) fn parse(line: &[u8]) -> Result<Self, Refusal> {
        let method_end = scan::token_len(line);
        let method = Method::from_bytes(&line[..method_end])
            .map_err(|_| Refusal::bad("request line starts with no method"))?;
        let [b' ', rest @ ..] = &line[method_end..] else {
            return Err(Refusal::bad("method is not followed by one space"));
        };
        let Some(target_len) = rest.iter().position(|&byte| byte == b' ') else {
            return Err(Refusal::bad("request line without a version"));
        };
        let minor_version = minor_version(&rest[target_len + 1..])?;
        if method == Method::CONNECT {
            let status = StatusCode::NOT_IMPLEMENTED;
            return Err(Refusal::new(status, "this server is no tunnel: CONNECT"));
        }
        let start = method_end + 1;
        let target = Target::parse(&rest[..target_len], start, &method)?;
        Ok(Self { method, target, minor_version })
    }
}

fn minor_version(version: &[u8]) -> Result<u8, Refusal> {
    match version {
        b"HTTP/1.1" => Ok(1),
        b"HTTP/1.0" => Ok(0),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            let status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
            Err(Refusal::new(status, "version is neither HTTP/1.1 nor HTTP/1.0"))
        }
        _ => Err(Refusal::bad("request line does not end in one space and a version")),
    }
}

impl Target {
    /// Takes `target` apart, which starts at byte `start` of its head.
    fn parse(target: &[u8], start: usize, method: &Method) -> Result<Self, Refusal> {
        // Without an early exit, which is what lets the compiler do many bytes at once.
        let visible = |ok, &byte: &u8| ok & byte.is_ascii_graphic() & (byte != b'#');
        if !target.iter().fold(true, visible) {
            return Err(Refusal::bad("target has a character other than visible ASCII, or a `#`"));
        }
        let span = |from, to| Span::new(start + from, start + to);
        let end = target.len();
        let path_start = match target {
            [b'/', ..] => 0,
            b"*" if *method == Method::OPTIONS => 0,
            _ => Self::authority_end(target)?,
        };
        let authority = (path_start > 0).then(|| span(scheme_len(target), path_start));
        let question = target[path_start..].iter().position(|&byte| byte == b'?');
        let path_end = question.map_or(end, |at| path_start + at);
        Ok(Self {
            whole: span(0, end),
            path: span(path_start, path_end),
            query: question.map(|_| span(path_end + 1, end)),
            authority,
        })
    }

    /// Where the authority of an absolute-form ends.
    fn authority_end(target: &[u8]) -> Result<usize, Refusal> {
        let scheme = scheme_len(target);
        if scheme == 0 {
            return Err(Refusal::bad("target is neither a path nor an http address"));
        }
        let rest = &target[scheme..];
        let len = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
        if !is_authority(&rest[..len]) {
            return Err(Refusal::bad("target names a malformed host"));
        }
        Ok(scheme + len)
    }
}

/// The length of `http://` or `https://` at the start of `target`, or 0.
fn scheme_len(target: &[u8]) -> usize {
    let starts = |scheme: &&[u8]| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    [&b"http://"[..], b"https://"].into_iter().find(starts).map_or(0, <[u8]>::len)
}

/// Whether `bytes` are a host, and after a colon a port. An empty host is none: it is invalid for
/// http (RFC 9110, 4.2.1), and a router by host could only guess. User information is not allowed.
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    let host_len = match bytes {
        [b'[', rest @ ..] => match rest.iter().position(|&byte| byte == b']') {
            Some(len) if is_ipv6(&rest[..len]) => len + 2,
            _ => return false,
        },
        _ => {
            let colon = bytes.iter().position(|&byte| byte == b':');
            let len = colon.unwrap_or(bytes.len());
            if !is_host(&bytes[..len]) {
                return false;
            }
            len
        }
    };
    match &bytes[host_len..] {
        [] => true,
        [b':', port @ ..] => is_port(port),
        _ => false,
    }
}

fn is_ipv6(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn is_host(mut bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return false;
    }
    loop {
        match bytes {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes = rest;
            }
            [byte, rest @ ..] if scan::is_host_name(*byte) => bytes = rest,
            _ => return false,
        }
    }
}

/// Whether `bytes` are a port's digits. None at all are allowed, as RFC 3986 does.
fn is_port(bytes: &[u8]) -> bool {
    let digits = bytes.len() <= 5 && bytes.iter().all(u8::is_ascii_digit);
    let value = |sum, byte: &u8| sum * 10 + u32::from(byte - b'0');
    digits && bytes.iter().fold(0, value) <= u32::from(u16::MAX)
}
