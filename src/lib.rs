//! Handlers written as if one thread ran them, run on all cores.
//!
//! Shared state lives in cells, [`TVar`]. A handler is a function of a [`Transaction`], or of a
//! [`Snapshot`] if it only reads. Handlers run in parallel; where two of them get in each other's
//! way, one is run again. What anybody can see, answers included, is what running them one after
//! another would have given, in an order that respects real time.
//!
//! # Trade-offs
//!
//! * A handler that may write may be run several times, so it must have no effects of its own: what
//!   it wants done goes through [`Transaction::on_commit`].
//! * Handlers that all write one cell run one at a time, with the cost of a transaction on top.
//! * A value is never changed in place: a write makes a new version. A map in one cell is copied by
//!   every write to it.
//! * State is in memory. What is to be kept when the process ends goes through a [`CommitSink`].
//!
//! # Which construct do I want?
//!
//! | I want to | use |
//! |---|---|
//! | share a value between handlers | [`TVar`] |
//! | change several cells as one step | [`atomically`], or a handler with a [`Transaction`] |
//! | undo the step when something is wrong | [`try_atomically`], or an `Err` from the handler |
//! | read many cells at one moment, never run again | [`snapshot()`], or a handler with a [`Snapshot`] |
//! | search for long, then write a little | [`search_then`] |
//! | wait until something has been written | [`Transaction::retry`], [`Transaction::or_else`] |
//! | a map, a set, a vector or a grid whose parts do not conflict | [`TMap`], [`TSet`], [`TVec`], [`TGrid`] |
//! | a map in order, ranges of it | [`TOrdMap`] |
//! | hand work on, or limit it | [`TQueue`], [`TSemaphore`], [`TOnce`] |
//! | count, or append, without conflicts | [`TCounter`], [`TMax`], [`TLog`], [`Transaction::update_later`] |
//! | know the time, roll dice, name things | [`Transaction::now`], [`Transaction::rng`], [`Transaction::unique_id`] |
//! | get what one thread would have given, exactly | [`Order::Arrival`] |
//! | `.await` a transaction in an async server | [`Executor::transact`] |
//! | do something once, in the middle of a transaction | [`irrevocably`] |
//! | keep what was committed | [`Durability`], [`Transaction::persist`] |
//! | write one function for both kinds | [`Read`] |
//! | do something once, after the commit | [`Transaction::on_commit`] |
//! | serve HTTP | [`App`] |
//! | timers and callbacks without HTTP | [`Loop`] |
//! | run transactions on other threads | [`Executor`] |
//! | do again what a server did, for a debugger | [`App::record`], [`App::replay`] |
//! | see what conflicted, where and what it cost | `stm-log`, after [`App::log`] |
//! | test a handler, know whether it can be run again | [`testing`], [`guide::rerunnable`] |
//!
//! # Examples
//! ```
//! use txloop::{TVar, atomically, snapshot};
//!
//! let (checking, savings) = (TVar::new(100), TVar::new(0));
//! std::thread::scope(|scope| {
//!     for _ in 0..10 {
//!         scope.spawn(|| atomically(|tx| {
//!             tx.set(&checking, tx.get(&checking) - 10);
//!             tx.set(&savings, tx.get(&savings) + 10);
//!         }));
//!     }
//!     assert_eq!(snapshot(|s| s.get(&checking) + s.get(&savings)), 100);
//! });
//! assert_eq!(savings.with(|n| *n), 100);
//! ```

#[cfg(not(panic = "unwind"))]
compile_error!("needs panic = \"unwind\": a handler that panics is contained by unwinding");

mod cell;
mod collections;
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
pub mod guide;
#[cfg(not(loom))]
mod http;
#[cfg(doctest)]
mod must_not_compile;
/// The program of docs/replay.md, run.
#[cfg(doctest)]
#[doc = include_str!("../docs/replay.md")]
mod replay_program {}
#[cfg(not(loom))]
#[doc(hidden)]
pub mod probe;
#[cfg(not(loom))]
mod recording;
mod sync;
#[cfg(not(loom))]
pub mod testing;
mod transaction;
#[cfg(not(loom))]
mod varint;
#[cfg(not(loom))]
mod web;

pub use cell::{MAX_VIEWS, MAX_WRITES, Memory, TVar, memory};
pub use collections::{
    GridEdit, GridTiles, GridUnit, NewestFirst, TCounter, TGrid, TLog, TMap, TMax, TMin, TOnce,
    TOrdMap, TQueue, TSemaphore, TSet, TVec,
};
pub use error::{Error, ErrorKind, Result};
#[cfg(not(loom))]
pub use transaction::{Holder, holding_for};
pub use transaction::{
    MAX_EFFECTS, MAX_PARKED, MAX_WAITED, Parked, Read, Rng, Snapshot, Transaction, parked_for,
};

#[cfg(not(loom))]
pub use ::http::{HeaderName, HeaderValue, Method, StatusCode};
#[cfg(not(loom))]
pub use event_loop::{Handle, Loop, TimerId};
#[cfg(not(loom))]
pub use executor::{
    Executor, ExecutorBuilder, Failure, LongHold, MAX_THREADS, Order, Pair, Panicked, Refused,
    Stats, Transact,
};
#[cfg(not(loom))]
pub use transaction::{
    CommitSink, Durability, MAX_RECORD, atomically, irrevocably, snapshot, try_atomically,
};
#[cfg(not(loom))]
pub use web::{
    App, Difference, Handler, IntoHandler, IntoResponse, Json, Recording, Replay, Replayed,
    Request, Response, Server, read, search_then, write,
};
