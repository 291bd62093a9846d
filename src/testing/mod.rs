//! A kit for tests of handlers: without sockets, threads, chance or a clock that runs.
//!
//! | I want to | use |
//! |---|---|
//! | run handlers, callbacks and timers one after another | [`TestLoop`] |
//! | fix the time and the random numbers | [`TestLoop::set_now`], [`TestLoop::seed`] |
//! | run a web handler | [`Request::parse`](crate::Request::parse), and [`TestLoop::run`] |
//! | have a handler run again | [`TestLoop::abort_nth`], [`TestLoop::force_conflict`], [`TestLoop::meanwhile`] |
//! | know that a handler does the same each time it is run | [`TestLoop::assert_rerunnable`] |
//! | see what a handler would write | [`TestLoop::dry_run`] |
//! | run handlers as if at the same time, and compare with a serial run | [`assert_serial`] |
//!
//! What such tests find is told in [the guide](crate::guide::rerunnable).

mod dry_run;
mod serial;
mod test_loop;

pub use crate::transaction::Touched;
pub use dry_run::DryRun;
pub use serial::{OnWorld, assert_serial};
pub use test_loop::TestLoop;
