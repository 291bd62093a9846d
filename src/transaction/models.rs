//! Loom models of the protocols in docs/protocol.md.
