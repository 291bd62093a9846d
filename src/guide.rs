//! Pages to read, beside the reference.

#[doc = include_str!("../docs/rerunnable.md")]
pub mod rerunnable {}
