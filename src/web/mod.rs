//! The web layer: routes to handlers, requests to jobs, answers to bytes. The only place that wires
//! the parser, the loop and the executor together.

mod app;
mod call;
mod connection;
mod handler;
mod matching;
mod replay;
mod request;
mod rerun;
mod response;
mod router;
mod server;

pub use app::{App, Recording, Server};
pub use handler::{Handler, IntoHandler, read, search_then, write};
pub use replay::{Difference, Replay, Replayed};
pub use request::Request;
pub use response::{IntoResponse, Json, Response};
