//! Shuttle's stand-ins: what blocks here blocks a coroutine, never the thread that runs them all.
//!
//! Nobody is ever late: a wait with a time limit ends only when somebody ends it, so that a lost
//! wake-up is found and not mended by the next look.

use super::Arc;
use shuttle::sync::{Condvar, Once};
use std::{io, sync::PoisonError, time::Duration};

pub(crate) mod thread {
    //! Threads, as far as the library uses them.

    pub(crate) use shuttle::thread::{
        Builder, JoinHandle, Thread, current, park, park_timeout, yield_now,
    };

    /// Lets others go on: there is no time to pass.
    pub(crate) fn sleep(_: std::time::Duration) {
        yield_now();
    }
}

/// A clock that follows the schedule: a step takes 100 ns, so that a replay sees the same times.
pub(crate) fn now_ns() -> u64 {
    shuttle::current::context_switches() as u64 * 100
}

/// One: nobody spins, because there is no core to spare.
pub(crate) fn cores() -> usize {
    1
}

/// Starts a thread that never ends. Nobody waits for it: a test is over without it.
pub(crate) fn daemon(_: &str, f: impl FnOnce() + Send + 'static) -> io::Result<thread::Thread> {
    let started = Arc::new(OnceLock::new());
    let starts = Arc::clone(&started);
    // A task whose handle is dropped is the only kind that shuttle does not wait for.
    drop(shuttle::future::spawn(async move {
        starts.get_or_init(thread::current);
        f();
    }));
    loop {
        if let Some(thread) = started.get() {
            return Ok(Clone::clone(thread));
        }
        thread::yield_now();
    }
}

/// A value that is made once, by a maker that may be preempted.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    once: Once,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) const fn new() -> Self {
        Self { once: Once::new(), value: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.value.get()
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        self.once.call_once(|| {
            let _ = self.value.set(make());
        });
        self.get().expect("made by the line above, or by another thread before")
    }
}

/// The token of a [`Parker`]. Its lock may be poisoned though nobody panicked with it: all coroutines
/// count as panicking while one of them unwinds.
#[derive(Debug, Default)]
struct Token {
    left: shuttle::sync::Mutex<bool>,
    changed: Condvar,
}

/// Parks its thread until somebody leaves a token.
#[derive(Debug)]
pub(crate) struct Parker(Unparker);

/// Leaves the token of a [`Parker`].
#[derive(Debug, Clone)]
pub(crate) struct Unparker(Arc<Token>);

impl Parker {
    pub(crate) fn new() -> Self {
        Self(Unparker(Arc::default()))
    }

    pub(crate) fn unparker(&self) -> &Unparker {
        &self.0
    }

    pub(crate) fn park(&self) {
        let Token { left, changed } = &*self.0.0;
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        while !std::mem::take(&mut *left) {
            left = changed.wait(left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn park_timeout(&self, _: Duration) {
        self.park();
    }
}

impl Unparker {
    pub(crate) fn unpark(&self) {
        *self.0.left.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_one();
    }
}
