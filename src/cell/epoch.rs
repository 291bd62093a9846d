//! Reclamation of unlinked versions: crossbeam's epochs, and in the models a reclaimer that poisons.
//!
//! A pin is held only inside one walk of one chain, never across user code.

use super::node::Version;

/// A pin on the current epoch.
#[cfg(not(loom))]
pub(super) fn pin() -> crossbeam_epoch::Guard {
    crossbeam_epoch::pin()
}

/// The models free nothing, so there is nothing to pin.
#[cfg(loom)]
pub(super) fn pin() {}

/// Frees the versions when no walker can stand on them any more. Runs no user code: a version with
/// drop glue goes to the deferred queue.
#[cfg(not(loom))]
pub(super) fn retire(versions: Vec<Version>) {
    if versions.is_empty() {
        return;
    }
    let guard = crossbeam_epoch::pin();
    guard.defer(move || drop(versions));
    guard.flush();
}

/// In the models a version is dead for readers at once: an announcement protects what may be read,
/// and a walker touches only the header, which is kept.
#[cfg(loom)]
pub(super) fn retire(versions: Vec<Version>) {
    drop(versions);
}

/// Pushes the epoch on as far as it goes now, so that an idle process frees what it retired.
#[cfg(not(loom))]
pub(super) fn advance() {
    for _ in 0..4 {
        crossbeam_epoch::pin().flush();
    }
}
