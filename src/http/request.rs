//! One whole request: the bytes of its head, and where in them everything is.

use std::fmt;

use ::http::Method;
use bytes::{Bytes, BytesMut};

use super::head::HeadReader;
use super::limits::Limits;
use super::target::Target;

/// A range of a head's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// # Panics
    ///
    /// If `end` is beyond `u32::MAX`, which no head's limit allows.
    pub(super) fn new(start: usize, end: usize) -> Self {
        let narrow = |at| u32::try_from(at).expect("a head is shorter than u32::MAX");
        Self { start: narrow(start), end: narrow(end) }
    }

    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }

    pub(super) fn of(self, head: &[u8]) -> &[u8] {
        &head[self.start as usize..self.end as usize]
    }
}

/// A field line. The name is a token, so ASCII.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: Span,
    pub(super) value: Span,
}

/// One whole request. It owns a copy of its head, so that a request that waits or works does not
/// keep the connection's input buffer from being used again.
pub(crate) struct Message {
    pub(super) head: Bytes,
    pub(super) fields: Box<[Field]>,
    pub(super) method: Method,
    pub(super) target: Target,
    /// `None`: an HTTP/1.0 request without Host.
    pub(super) host: Option<Span>,
    pub(super) minor_version: u8,
    pub(super) keep_alive: bool,
    pub(super) body: Bytes,
}

impl Message {
    /// The head as it was sent, with the empty line that ends it.
    pub(crate) fn head(&self) -> &Bytes {
        &self.head
    }

    /// A message that was decoded before, of its head and its body without framing; `None` if these
    /// bytes are no head. Limits are not looked at once more.
    pub(crate) fn again(head: &[u8], body: Bytes) -> Option<Self> {
        let max_head = u32::MAX as usize;
        let limits = Limits { max_head, max_headers: usize::MAX, max_body: usize::MAX };
        let mut input = BytesMut::from(head);
        let head = HeadReader::default().read(&mut input, &limits).ok()??;
        input.is_empty().then_some(Self { body, ..head.message })
    }

    /// The method. An unknown one is passed on: whether it is allowed depends on the route.
    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    /// The request target as it was sent: visible ASCII without `#`.
    pub(crate) fn target(&self) -> &str {
        self.text(self.target.whole)
    }

    /// The target's path, still percent-encoded. It starts with `/`, except for the `*` of an
    /// OPTIONS request that asks about the server.
    pub(crate) fn path(&self) -> &str {
        if !self.target.path.is_empty() {
            self.text(self.target.path)
        } else if self.method == Method::OPTIONS && self.target.query.is_none() {
            "*"
        } else {
            "/"
        }
    }

    /// What follows the target's first `?`, if it has one.
    pub(crate) fn query(&self) -> Option<&str> {
        self.target.query.map(|span| self.text(span))
    }

    /// The x of HTTP/1.x: 0 or 1.
    pub(crate) fn minor_version(&self) -> u8 {
        self.minor_version
    }

    /// Whether the peer wants the connection kept open. If not, the decoder takes no other
    /// request from it.
    pub(crate) fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// The value of the first field of this name, in whatever case, without space around it.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        let wanted = name.as_bytes();
        let same = |field: &&Field| field.name.of(&self.head).eq_ignore_ascii_case(wanted);
        self.fields.iter().find(same).map(|field| field.value.of(&self.head))
    }

    /// All fields in the order and case they were sent in. A trailer's are not among them.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|field| (self.text(field.name), field.value.of(&self.head)))
    }

    /// The body without its framing.
    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    /// Host and port that the request is for: the target's if it names one, else the Host
    /// field's. Empty if there is neither, which only HTTP/1.0 allows.
    pub(crate) fn host(&self) -> &str {
        self.target.authority.or(self.host).map_or("", |span| self.text(span))
    }

    fn text(&self, span: Span) -> &str {
        str::from_utf8(span.of(&self.head)).expect("seen to be ASCII when the head was read")
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("method", &self.method)
            .field("fields", &self.fields.len())
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}
