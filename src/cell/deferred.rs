//! What may run user code and was put off: values with destructors, and what handlers asked to be
//! done after their commit.
//!
//! One queue, first in first out, so that effects open in version order; one drainer at a time. It
//! is drained only on threads of this library (workers, the loop, else a reaper started when first
//! needed), with no current transaction, each item in a `catch_unwind`: a foreign caller of
//! `atomically` may hold the very lock that a destructor takes.

use super::node::Version;

/// Something to be done later on a thread of this library.
pub(crate) enum Deferred {
    /// A value to drop.
    Dispose(Version),
    /// An effect of a committed attempt.
    Run(Box<dyn FnOnce() + Send>),
}

#[cfg(not(loom))]
pub(crate) use queue::{adopt_thread, is_adopted, pending, push, settle};

/// Puts a destructor off.
pub(super) fn dispose_later(version: Version) {
    #[cfg(not(loom))]
    push(Deferred::Dispose(version));
    // The models' values have no destructors worth running.
    #[cfg(loom)]
    version.dispose();
}

/// The models run nothing later.
#[cfg(loom)]
pub(crate) fn push(item: Deferred) {
    match item {
        Deferred::Dispose(version) => version.dispose(),
        Deferred::Run(_) => {}
    }
}

#[cfg(not(loom))]
mod queue {
    use super::Deferred;
    use crate::sync::{AtomicBool, Ordering, spawn};
    use crossbeam_queue::SegQueue;
    use std::{
        cell::Cell,
        panic::{AssertUnwindSafe, catch_unwind},
        sync::OnceLock,
        thread::Thread,
        time::Duration,
    };

    static QUEUE: SegQueue<Deferred> = SegQueue::new();
    static DRAINING: AtomicBool = AtomicBool::new(false);
    static REAPER: OnceLock<Option<Thread>> = OnceLock::new();

    thread_local! {
        static ADOPTED: Cell<bool> = const { Cell::new(false) };
    }

    /// Says that this thread belongs to the library and may run what was put off.
    pub(crate) fn adopt_thread() {
        ADOPTED.set(true);
    }

    /// Whether this thread belongs to the library.
    pub(crate) fn is_adopted() -> bool {
        ADOPTED.get()
    }

    /// Puts an item off. Runs no user code.
    pub(crate) fn push(item: Deferred) {
        QUEUE.push(item);
    }

    /// Whether something waits, as far as this thread can see.
    #[inline]
    pub(crate) fn pending() -> bool {
        !QUEUE.is_empty()
    }

    /// Sees to it that what waits is done: here if this thread may, else by the reaper. Called with
    /// no current transaction and without the baton.
    #[cold]
    pub(crate) fn settle() {
        if is_adopted() {
            drain();
        } else if let Some(reaper) = REAPER.get_or_init(start_reaper) {
            reaper.unpark();
        }
    }

    fn start_reaper() -> Option<Thread> {
        let reaper = spawn("txloop-reaper", || {
            adopt_thread();
            loop {
                drain();
                // Bounded, so that values which came through the epoch without a call to `settle`
                // do not wait for the next one.
                std::thread::park_timeout(Duration::from_millis(50));
            }
        });
        // Without a thread the values stay queued until a worker or a loop runs: a leak, no harm.
        reaper.ok().map(|handle| handle.thread().clone())
    }

    fn drain() {
        while !QUEUE.is_empty() {
            // Acquire and Release: one drainer after the other, in order.
            if DRAINING.swap(true, Ordering::Acquire) {
                return;
            }
            while let Some(item) = QUEUE.pop() {
                run(item);
            }
            DRAINING.store(false, Ordering::Release);
            // Looked at again by the loop: an item pushed after the last pop and before the store
            // may have found the drainer busy.
        }
    }

    fn run(item: Deferred) {
        let outcome = catch_unwind(AssertUnwindSafe(|| match item {
            Deferred::Dispose(version) => version.dispose(),
            Deferred::Run(effect) => effect(),
        }));
        if let Err(payload) = outcome {
            // The payload's own destructor may panic too; then it is leaked with the unwind.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        }
    }
}
