//! Why a request was not taken, and the status that says so.

use ::http::StatusCode;

/// A request that was not taken. It is the last thing a connection's decoder says: where the next
/// request would start is no longer known, so the connection has to be closed after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status to answer with.
    pub(crate) status: StatusCode,
    /// What was wrong, as a lower-case fragment. It holds nothing that the peer sent.
    pub(crate) reason: &'static str,
}

impl Refusal {
    pub(super) const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason }
    }

    /// A 400: the bytes are not HTTP/1, or two readers could understand them differently.
    pub(super) const fn bad(reason: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }
}
