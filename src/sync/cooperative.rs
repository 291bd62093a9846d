//! Shuttle's stand-ins: what blocks here blocks a coroutine, never the thread that runs them all.
//!
//! Nobody is ever late: a wait with a time limit ends only when somebody ends it, so that a lost
//! wake-up is found and not mended by the next look. For the same reason threads are not parked
//! with shuttle's own `park`, which may end at any time: here it may end at its beginning, or not
//! at all.

use super::Arc;
use shuttle::sync::{Condvar, Once};
use std::{cell::RefCell, io, sync::PoisonError, time::Duration};

/// How often a wait ends for no reason: once in so many.
const SPURIOUS: usize = 16;

/// What wakes whoever waits for it. Its lock may be poisoned though nobody panicked with it: all
/// coroutines count as panicking while one of them unwinds.
#[derive(Debug, Default)]
struct Token {
    left: shuttle::sync::Mutex<bool>,
    changed: Condvar,
}

impl Token {
    fn leave(&self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        while !std::mem::take(&mut *left) {
            left = self.changed.wait(left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

shuttle::thread_local! {
    static OWN: RefCell<Arc<Token>> = RefCell::default();
}

pub(crate) mod thread {
    //! Threads, as far as the library uses them.

    use super::{Arc, Duration, OWN, SPURIOUS, Token, below};
    pub(crate) use shuttle::thread::yield_now;

    /// A handle to a thread.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Thread(pub(super) Arc<Token>);

    impl Thread {
        pub(crate) fn unpark(&self) {
            self.0.leave();
        }

        pub(crate) fn id(&self) -> usize {
            Arc::as_ptr(&self.0).addr()
        }
    }

    /// Waits for the end of a thread.
    #[derive(Debug)]
    pub(crate) struct JoinHandle<T> {
        pub(super) ends: shuttle::thread::JoinHandle<T>,
        pub(super) thread: Thread,
    }

    impl<T> JoinHandle<T> {
        pub(crate) fn join(self) -> shuttle::thread::Result<T> {
            self.ends.join()
        }

        pub(crate) fn thread(&self) -> &Thread {
            &self.thread
        }
    }

    pub(crate) fn current() -> Thread {
        Thread(OWN.with(|own| Arc::clone(&own.borrow())))
    }

    pub(crate) fn park() {
        if below(SPURIOUS) == 0 {
            yield_now();
        } else {
            current().0.wait();
        }
    }

    pub(crate) fn park_timeout(_: Duration) {
        park();
    }

    /// Lets others go on: there is no time to pass.
    pub(crate) fn sleep(_: Duration) {
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

/// A number below `limit`, drawn by the schedule.
pub(crate) fn below(limit: usize) -> usize {
    use shuttle::rand::{Rng as _, thread_rng};
    thread_rng().gen_range(0..limit)
}

/// Starts a thread of this library.
pub(crate) fn spawn(
    name: &str,
    f: impl FnOnce() + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    let thread = thread::Thread::default();
    let own = Arc::clone(&thread.0);
    let builder = shuttle::thread::Builder::new().name(name.to_owned());
    let ends = builder.spawn(move || {
        OWN.with(|token| token.replace(own));
        f();
    })?;
    Ok(thread::JoinHandle { ends, thread })
}

/// Starts a thread that never ends. Nobody waits for it: a test is over without it.
pub(crate) fn daemon(_: &str, f: impl FnOnce() + Send + 'static) -> io::Result<thread::Thread> {
    let thread = thread::Thread::default();
    let own = Arc::clone(&thread.0);
    // A task whose handle is dropped is the only kind that shuttle does not wait for.
    drop(shuttle::future::spawn(async move {
        OWN.with(|token| token.replace(own));
        f();
    }));
    Ok(thread)
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
        self.0.0.wait();
    }

    pub(crate) fn park_timeout(&self, _: Duration) {
        self.park();
    }
}

impl Unparker {
    pub(crate) fn unpark(&self) {
        self.0.leave();
    }
}
