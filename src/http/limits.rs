//! How much one request may take of the server: the settable limits and the fixed ones.

/// The limits of one connection's requests. A request beyond one of them is refused, and with it
/// the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of a head: request line, field lines and the empty line that ends them. Beyond it
    /// 431, or 414 if the request line alone is longer. Values above `u32::MAX` count as that.
    pub(crate) max_head: usize,
    /// Field lines of a head, beyond it 431.
    pub(crate) max_headers: usize,
    /// Bytes of a body without its framing, beyond it 413.
    pub(crate) max_body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_head: 64 * 1024, max_headers: 100, max_body: 1024 * 1024 }
    }
}

/// Bytes after the chunk sizes (extensions and the space before them) of one body, beyond it 413.
/// Nothing here reads extensions, so whoever sends more than this only keeps the server busy.
pub(crate) const MAX_CHUNK_EXTENSION_BYTES: usize = 16 * 1024;

/// Bytes of the trailer lines of one body, beyond it 431.
pub(crate) const MAX_TRAILER_BYTES: usize = 16 * 1024;

/// Trailer lines of one body, beyond it 431.
pub(crate) const MAX_TRAILERS: usize = 100;

/// Empty lines skipped before a request line, beyond it 400. Old clients send one after a body.
pub(crate) const MAX_EMPTY_LINES: u8 = 4;
