//! One call of a handler: its request, what it found and what it answers. The same whether the
//! request came over a socket or out of a recording.

use super::{
    request::Request,
    response::Response,
    router::{Found, Route, Router},
};
use crate::executor::job::{Handled, How, Kind, Verdict};
use crate::http::Message;
use crate::recording::{Answer, Entry};
use crate::transaction::{Snapshot, Transaction};
use ::http::StatusCode;
use std::{any::Any, sync::Arc};

/// See the module.
pub(super) struct Call {
    route: Arc<Route>,
    request: Request,
    found: Option<Box<dyn Any + Send>>,
    response: Option<Response>,
    /// How often it was run on a snapshot.
    views: u32,
}

/// The call that answers a request, or the answer that needs no handler.
pub(super) fn find(router: &Router, message: Message) -> Result<Call, Response> {
    let (route, params) = match router.find(message.method(), message.path()) {
        Found::Route(route, params) => (Arc::clone(route), params),
        Found::Nothing => return Err(Response::error(StatusCode::NOT_FOUND, "not found")),
        Found::WrongMethod(allow) => return Err(Response::method_not_allowed(allow)),
        Found::BadPath => {
            return Err(Response::error(StatusCode::BAD_REQUEST, "path is not UTF-8"));
        }
    };
    let request = Request::new(message, params);
    Ok(Call { route, request, found: None, response: None, views: 0 })
}

impl Call {
    pub(super) fn handled(&self) -> &Arc<Handled> {
        &self.route.handled
    }

    pub(super) fn kind(&self) -> Kind {
        self.route.handler.kind()
    }

    /// How large its body is.
    pub(super) fn input_bytes(&self) -> usize {
        self.request.message().body().len()
    }

    /// A run on a snapshot: the answer, or what a search found.
    pub(super) fn view(&mut self, view: &Snapshot) {
        self.views += 1;
        match self.route.handler.view(view, &self.request) {
            Ok(response) => self.response = Some(response),
            Err(found) => self.found = Some(found),
        }
    }

    /// One attempt.
    pub(super) fn attempt(&mut self, tx: &Transaction) -> Verdict {
        let handler = &self.route.handler;
        let (response, verdict) = handler.attempt(tx, &self.request, self.found.as_ref());
        self.response = Some(response);
        verdict
    }

    /// The answer of the last attempt: what a client would see of it.
    pub(super) fn answer_text(&self) -> Option<String> {
        let response = self.response.as_ref()?;
        let headers: Vec<_> =
            response.headers().iter().map(|header| format!("{header:?}")).collect();
        let body = String::from_utf8_lossy(response.body());
        Some(format!("{} {} {body}", response.status(), headers.join(" ")))
    }

    /// What is answered in the end.
    pub(super) fn answer(&mut self, how: How) -> Response {
        match (how, self.response.take()) {
            (How::Done, Some(response)) => response,
            (How::Refused, _) => Response::error(StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            (How::Cancelled | How::Late, _) => {
                Response::error(StatusCode::SERVICE_UNAVAILABLE, "too late")
            }
            _ => Response::error(StatusCode::INTERNAL_SERVER_ERROR, "internal server error"),
        }
    }

    /// Whether it only reads and has called `retry`: then it was answered at the state of some
    /// later moment, and not at that of its ticket.
    pub(super) fn has_waited(&self) -> bool {
        self.kind() == Kind::Read && self.views > 1
    }

    /// What a recording says of its ticket. Copies no bytes.
    pub(super) fn admission(&self, ticket: u64, now_ns: u64) -> Entry {
        let message = self.request.message();
        let (head, body) = (message.head().clone(), message.body().clone());
        Entry::Request { ticket, now_ns, head, body }
    }

    /// What a recording says of its answer. Copies no body.
    pub(super) fn answered(&self, ticket: u64, version: u64, response: &Response) -> Entry {
        let (waited, answer) = (self.has_waited(), recorded(response));
        Entry::Answer { ticket, version, waited, answer }
    }
}

/// An answer as it is recorded.
pub(super) fn recorded(response: &Response) -> Answer {
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().to_vec(),
        body: response.body().clone(),
        whole: None,
    }
}
