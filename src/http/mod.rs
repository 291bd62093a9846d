//! HTTP/1.1 and 1.0 without sockets and clocks: bytes in, whole requests out, and back.
//!
//! # Vocabulary
//!
//! - A *head* is a request line, field lines and the empty line that ends them. A *field* is what
//!   is also called a header.
//! - A *message* is one whole request: head and body, the body's framing taken off.
//! - A *refusal* says why no message is made of some bytes, with the status to answer. After it
//!   nobody knows where another request would start, so the connection is closed.
//!
//! # Which bytes go where
//!
//! The owner of a connection appends what it reads to `input` and calls [`Decoder::next`] until it
//! says [`Decoded::NeedMore`]. The decoder takes from the front of `input`: empty lines and the
//! bytes of a body as they come, a head once it is whole. So `input` never has to hold more than
//! one head, and each byte is looked at once, however slowly it comes. A verdict depends on the
//! bytes alone, not on how they were cut into pieces: what is judged, is judged in their order.
//! A message owns its bytes. [`encode()`] appends a response to an output buffer.
//!
//! ```text
//!          whole head             whole body
//!   Head ------------> Body ---------------------> Head     message, the peer keeps alive
//!    |                  |  (a body that is there     |
//!    | refusal          |   already takes no time)   +----> Closed   message, it does not
//!    +------> Refused <-+                                   (what follows is thrown away)
//! ```
//!
//! # What is refused
//!
//! | status | what |
//! |---|---|
//! | 400 | CR or LF other than as a pair, controls other than the tab, in head or framing |
//! | 400 | more than 4 empty lines before a request line |
//! | 400 | a method that is no token, other than one space between the parts, no version |
//! | 400 | a target other than `/...`, `http(s)://host...` or (OPTIONS) `*`; `#`, 8-bit in it |
//! | 400 | a field without a name or a colon, space before the colon, a folded line |
//! | 400 | HTTP/1.1 without Host; Host repeated, empty, with a user, a bad name or port |
//! | 400 | Content-Length repeated, empty, signed, not decimal, over 64 bits |
//! | 400 | Transfer-Encoding repeated, in HTTP/1.0, or with a Content-Length |
//! | 400 | `chunked` twice or not last, an empty or malformed list of codings |
//! | 400 | a chunk size missing, not hexadecimal, over 16 digits; data of another length |
//! | 400 | malformed trailers |
//! | 413 | a body over [`Limits::max_body`], once its size is told; 16 KiB of chunk extensions |
//! | 414 | a request line over [`Limits::max_head`] |
//! | 417 | Expect other than `100-continue` |
//! | 431 | a head over [`Limits::max_head`] or [`Limits::max_headers`] |
//! | 431 | trailers over 16 KiB or 100 lines |
//! | 501 | CONNECT; transfer codings other than `chunked` |
//! | 505 | versions other than HTTP/1.0 and HTTP/1.1 |
//!
//! Taken on purpose, though rare: a body with any method, bytes from 0x80 in values, and an
//! absolute target with a Host that differs from it: the target wins (RFC 9112, 3.2.2).

mod chunked;
mod claims;
mod decode;
mod encode;
mod head;
mod limits;
mod refusal;
mod request;
mod scan;
mod target;
#[cfg(test)]
mod tests;

pub(crate) use decode::{Decoded, Decoder, Phase};
pub(crate) use encode::{Body, CONTINUE, Head, encode};
pub(crate) use limits::Limits;
pub(crate) use request::Message;
