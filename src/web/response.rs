//! What a handler answers.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use serde::Serialize;
use std::fmt;

/// One HTTP answer. Date, Content-Length and Connection are added when it is sent.
#[must_use = "an answer does nothing until it is returned"]
#[derive(Clone)]
pub struct Response {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl Response {
    /// An answer without a body.
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// Plain text, 200.
    pub fn text(text: impl Into<Bytes>) -> Self {
        Self::new(StatusCode::OK).with_header(CONTENT_TYPE, TEXT).with_body(text)
    }

    /// A value as compact JSON, 200; 500 when the value cannot be written as JSON.
    pub fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::new(StatusCode::OK).with_header(CONTENT_TYPE, JSON).with_body(body),
            Err(e) => Self::error(StatusCode::INTERNAL_SERVER_ERROR, &format!("no JSON: {e}")),
        }
    }

    /// `{"error":"text"}` with this status.
    pub fn error(status: StatusCode, text: &str) -> Self {
        Self::json(&serde_json::json!({ "error": text })).with_status(status)
    }

    pub(super) fn method_not_allowed(allow: &HeaderValue) -> Self {
        Self::error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
            .with_header(ALLOW, allow.clone())
    }

    /// The same with another status.
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same with one more header. A value cannot contain line breaks, by its type.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same with this body.
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers given so far.
    #[must_use]
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What can be returned from a handler.
///
/// Text becomes `text/plain`, [`Json`] becomes `application/json`, `()` becomes 204; a status in
/// front, as in `(StatusCode::CREATED, Json(..))`, replaces the usual 200. In a `Result` the `Err`
/// also rolls the transaction back.
pub trait IntoResponse {
    /// Whether the handler's writes and effects are to be undone.
    fn is_rollback(&self) -> bool {
        false
    }

    /// The answer.
    fn into_response(self) -> Response;
}

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

impl IntoResponse for () {
    fn into_response(self) -> Response {
        Response::new(StatusCode::NO_CONTENT)
    }
}

impl IntoResponse for StatusCode {
    fn into_response(self) -> Response {
        Response::new(self)
    }
}

impl IntoResponse for &'static str {
    fn into_response(self) -> Response {
        Response::text(self)
    }
}

impl IntoResponse for String {
    fn into_response(self) -> Response {
        Response::text(self)
    }
}

/// A value to be answered as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        Response::json(&self.0)
    }
}

impl<R: IntoResponse> IntoResponse for (StatusCode, R) {
    fn is_rollback(&self) -> bool {
        self.1.is_rollback()
    }

    fn into_response(self) -> Response {
        self.1.into_response().with_status(self.0)
    }
}

impl<R: IntoResponse, E: IntoResponse> IntoResponse for Result<R, E> {
    fn is_rollback(&self) -> bool {
        self.as_ref().map_or(true, IntoResponse::is_rollback)
    }

    fn into_response(self) -> Response {
        match self {
            Ok(answer) => answer.into_response(),
            Err(error) => error.into_response(),
        }
    }
}
