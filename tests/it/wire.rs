//! The example servers, checked from outside: over sockets, against plain sequential models.
//!
//! The examples are found beside this binary, where `cargo test` builds them. `cargo test --test
//! it` alone does not, so run `cargo build --profile test --examples` before it.
//!
//! What `history` proves of a run: all answers, put in the order of their `txloop-version`, are
//! those of a sequential program, and this order does not contradict the order in which the
//! clients saw them happen. `WIRE_SEED=N` runs the same mixes with another seed.

mod astar;
mod bank;
pub(crate) mod client;
mod counter;
mod held;
pub(crate) mod history;
mod pipeline;
mod refusals;
mod stopping;
mod story;
