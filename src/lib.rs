//! txloop

mod cell;
#[cfg(not(loom))]
mod conflict_log;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod conflict_report;
mod error;
#[cfg(not(loom))]
mod event_loop;
#[cfg(not(loom))]
mod executor;
#[cfg(not(loom))]
mod http;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod probe;
mod sync;
mod transaction;
#[cfg(not(loom))]
mod web;

pub use cell::{MAX_VIEWS, TVar};
pub use error::{Error, ErrorKind, Result};
pub use transaction::{Read, Snapshot, Transaction};

#[cfg(not(loom))]
pub use ::http::{HeaderName, HeaderValue, Method, StatusCode};
#[cfg(not(loom))]
pub use event_loop::{Handle, Loop, TimerId};
#[cfg(not(loom))]
pub use executor::{Executor, ExecutorBuilder, MAX_THREADS, Pair, Panicked, Stats, Transact};
#[cfg(not(loom))]
pub use transaction::{atomically, snapshot, try_atomically};
#[cfg(not(loom))]
pub use web::{
    App, Handler, IntoHandler, IntoResponse, Json, Request, Response, Server, read, search_then,
    write,
};
