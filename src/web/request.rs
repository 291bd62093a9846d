//! What a handler is asked.

use super::response::Response;
use crate::error::{Error, ErrorKind};
use crate::http::{Decoded, Decoder, Limits, Message};
use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use std::fmt;

/// One HTTP request, whole: the handler runs when the last byte of the body is there.
///
/// It does not change between the runs of a handler.
pub struct Request {
    message: Message,
    params: Vec<(String, String)>,
}

impl Request {
    pub(super) fn new(message: Message, params: Vec<(String, String)>) -> Self {
        Self { message, params }
    }

    /// A request as a client sends it, for tests of handlers: as a server with the default limits
    /// takes it.
    ///
    /// # Errors
    /// When a server would refuse it, when it is not whole, and when there is more behind it.
    ///
    /// # Examples
    /// ```
    /// use txloop::{Request, TVar, Transaction, testing::TestLoop};
    ///
    /// let total = TVar::new(0);
    /// let add = |tx: &Transaction, req: &Request| {
    ///     let n = req.param_number("n")?;
    ///     Ok::<_, txloop::Response>(tx.modify(&total, |sum| {
    ///         *sum += n;
    ///         *sum
    ///     }))
    /// };
    /// let request = Request::parse("POST /add/7 HTTP/1.1\r\nhost: test\r\n\r\n")?;
    /// let request = request.with_param("n", "7");
    /// let mut test = TestLoop::new();
    /// test.force_conflict(&total);
    /// assert_eq!(test.run(|tx| add(tx, &request).ok()), Some(7));
    /// # Ok::<_, txloop::Error>(())
    /// ```
    pub fn parse(bytes: impl AsRef<[u8]>) -> crate::Result<Self> {
        let refuse = |why: String| Err(Error::new(ErrorKind::Config, why));
        let mut input = BytesMut::from(bytes.as_ref());
        let mut decoder = Decoder::new(Limits::default());
        loop {
            return match decoder.next(&mut input) {
                Decoded::Continue => continue,
                Decoded::Request(message) if input.is_empty() => Ok(Self::new(message, Vec::new())),
                Decoded::Request(_) => refuse(format!("{} bytes behind the request", input.len())),
                Decoded::NeedMore => refuse("the request is not whole".to_owned()),
                Decoded::Refused(refusal) => {
                    let (status, reason) = (refusal.status.as_u16(), refusal.reason);
                    refuse(format!("a server answers this request {status}: {reason}"))
                }
            };
        }
    }

    /// The same with a part of its path under the name that a route gives it: no route is looked
    /// at here.
    #[must_use]
    pub fn with_param(mut self, name: &str, value: &str) -> Self {
        self.params.retain(|(known, _)| known != name);
        self.params.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn message(&self) -> &Message {
        &self.message
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        self.message.method()
    }

    /// The path as it was sent, without the query, not decoded.
    #[must_use]
    pub fn path(&self) -> &str {
        self.message.path()
    }

    /// The request target as it was sent: path and query, or a whole URL.
    #[must_use]
    pub fn target(&self) -> &str {
        self.message.target()
    }

    /// The host that was asked, with its port if one was given; empty if HTTP/1.0 named none.
    #[must_use]
    pub fn host(&self) -> &str {
        self.message.host()
    }

    /// The query as it was sent, without the question mark.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.message.query()
    }

    /// The names and values of the query, decoded, in order.
    pub fn query_pairs(&self) -> impl Iterator<Item = (String, String)> {
        form_urlencoded::parse(self.query().unwrap_or_default().as_bytes()).into_owned()
    }

    /// The part of the path that stands for `{name}` in the route, percent-decoded; empty if the
    /// route has no such part. Decoded text that is not UTF-8 never reaches a handler: such a path
    /// is answered with 400.
    #[must_use]
    pub fn param(&self, name: &str) -> &str {
        let found = self.params.iter().find(|(other, _)| other == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// The part of the path that stands for `{name}`, as a number of plain digits.
    ///
    /// # Errors
    /// An answer 400 when it is not one, or too large.
    pub fn param_number(&self, name: &str) -> Result<u64, Response> {
        let text = self.param(name);
        plain_number(text).ok_or_else(|| {
            Response::error(StatusCode::BAD_REQUEST, &format!("{name} must be a plain number"))
        })
    }

    /// The first header of this name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.message.header(name)
    }

    /// All headers in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.message.headers()
    }

    /// The body, decoded from chunks if it came in chunks.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        self.message.body()
    }

    /// The body as one JSON value, whatever its Content-Type says.
    ///
    /// # Errors
    /// An answer 400 that says what is wrong and where: an empty body, trailing bytes, a repeated
    /// or missing field, a wrong type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Response> {
        let bad = |e: &dyn fmt::Display| {
            Response::error(StatusCode::BAD_REQUEST, &format!("invalid JSON: {e}"))
        };
        // Checked as a whole: a field that is skipped would not be.
        let text = std::str::from_utf8(self.body()).map_err(|e| bad(&e))?;
        serde_json::from_str(text).map_err(|e| bad(&e))
    }

    /// As [`Request::json`], and the value must be an object: a struct is otherwise also read from
    /// an array of its fields.
    ///
    /// # Errors
    /// As [`Request::json`].
    pub fn json_object<T: DeserializeOwned>(&self) -> Result<T, Response> {
        if self.body().trim_ascii_start().starts_with(b"[") {
            let text = "invalid JSON: expected an object";
            return Err(Response::error(StatusCode::BAD_REQUEST, text));
        }
        self.json()
    }
}

/// A number written in plain digits, leading zeros allowed.
fn plain_number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", self.method())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}
