//! Planted faults: one of them is switched on by `TXLOOP_FAULT=name`, for the tests of the tests.
//!
//! Each stands at its place as `fault!("name")`; docs/mutations.md says what each does and what
//! finds it, and `.ci/faults` sees to it that each is found.

use std::sync::OnceLock;

/// Whether this fault is on.
pub(crate) fn is(name: &str) -> bool {
    static ON: OnceLock<Option<String>> = OnceLock::new();
    let on = ON.get_or_init(|| std::env::var("TXLOOP_FAULT").ok());
    on.as_deref() == Some(name)
}
