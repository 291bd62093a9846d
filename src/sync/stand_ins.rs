//! What the interleaver puts in the place of threads and parkers: the same, as long as the calling
//! thread belongs to no run; else to block is to let others go on.

use super::interleave::{self, Logical};
use super::{Arc, AtomicBool, Mutex, Ordering};
use std::time::Duration;

/// As `std::thread`, with what the library uses of it.
pub(crate) mod thread {
    use super::{Duration, Logical, interleave};
    use std::thread as real;

    /// A handle to a thread, by which it is unparked.
    #[derive(Debug, Clone)]
    pub(crate) struct Thread {
        real: real::Thread,
        logical: Option<Logical>,
    }

    impl Thread {
        pub(crate) fn unpark(&self) {
            match &self.logical {
                Some(logical) => logical.unpark(),
                None => self.real.unpark(),
            }
        }

        pub(crate) fn id(&self) -> real::ThreadId {
            self.real.id()
        }
    }

    /// Of a thread that was started by [`spawn`].
    #[derive(Debug)]
    pub(crate) struct JoinHandle<T> {
        real: real::JoinHandle<T>,
        thread: Thread,
    }

    impl<T> JoinHandle<T> {
        pub(crate) fn thread(&self) -> &Thread {
            &self.thread
        }

        pub(crate) fn join(self) -> real::Result<T> {
            if let Some(logical) = &self.thread.logical {
                logical.join();
            }
            self.real.join()
        }
    }

    pub(crate) fn current() -> Thread {
        Thread { real: real::current(), logical: interleave::me() }
    }

    pub(crate) fn park() {
        match interleave::me() {
            Some(me) => me.park(),
            None => real::park(),
        }
    }

    /// A logical thread has no clock to be woken by: it sleeps until it is unparked.
    pub(crate) fn park_timeout(time: Duration) {
        match interleave::me() {
            Some(me) => me.park(),
            None => real::park_timeout(time),
        }
    }

    pub(crate) fn yield_now() {
        if !interleave::pause() {
            real::yield_now();
        }
    }

    pub(crate) fn sleep(time: Duration) {
        if !interleave::pause() {
            real::sleep(time);
        }
    }

    /// Starts a thread: a logical one, of the same run, if the caller is one.
    pub(crate) fn spawn(
        name: &str,
        f: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        let (real, logical) = match interleave::me() {
            Some(me) => {
                let (logical, real) = me.start(name, f)?;
                (real, Some(logical))
            }
            None => (real::Builder::new().name(name.to_owned()).spawn(f)?, None),
        };
        let thread = Thread { real: real.thread().clone(), logical };
        Ok(JoinHandle { real, thread })
    }
}

/// As crossbeam's.
#[derive(Debug)]
pub(crate) struct Parker(Unparker);

/// As crossbeam's.
#[derive(Debug, Clone)]
pub(crate) struct Unparker(Arc<Token>);

#[derive(Debug)]
struct Token {
    there: AtomicBool,
    thread: Mutex<Option<thread::Thread>>,
}

impl Parker {
    pub(crate) fn new() -> Self {
        let (there, thread) = (AtomicBool::new(false), Mutex::new(None));
        Self(Unparker(Arc::new(Token { there, thread })))
    }

    pub(crate) fn unparker(&self) -> &Unparker {
        &self.0
    }

    pub(crate) fn park(&self) {
        *self.0.0.thread.lock() = Some(thread::current());
        while !self.0.0.there.swap(false, Ordering::SeqCst) {
            thread::park();
        }
    }

    /// May end early, as crossbeam's.
    pub(crate) fn park_timeout(&self, time: Duration) {
        *self.0.0.thread.lock() = Some(thread::current());
        if !self.0.0.there.swap(false, Ordering::SeqCst) {
            thread::park_timeout(time);
            self.0.0.there.store(false, Ordering::SeqCst);
        }
    }
}

impl Unparker {
    pub(crate) fn unpark(&self) {
        self.0.there.store(true, Ordering::SeqCst);
        if let Some(thread) = &*self.0.thread.lock() {
            thread.unpark();
        }
    }
}
