//! The only door to atomics, locks, threads and clocks, and to the stand-ins of loom, of shuttle
//! and, under `cfg(txloop_check)`, of the interleaver.
//!
//! Everything that takes part in a protocol of docs/protocol.md is imported from here, so that the
//! same code runs in production, in the models and under shuttle. Structures from crates (queues,
//! padding) are used directly: no modelled protocol rests on them, and none of them blocks.
//!
//! Shuttle runs the threads of a test as coroutines on one thread of the system. So whatever
//! blocks, and whatever belongs to one thread or to one process, comes from here as well.

/// A constructor that is `const` in production, so that it can fill a static, and plain under loom,
/// whose stand-ins cannot be made in a constant.
macro_rules! const_fn {
    ($(#[$meta:meta])* $vis:vis fn $($rest:tt)*) => {
        #[cfg(not(loom))]
        $(#[$meta])* $vis const fn $($rest)*
        #[cfg(loom)]
        $(#[$meta])* $vis fn $($rest)*
    };
}

/// One value for the whole process; under loom and shuttle, one for each execution. Shuttle's is
/// never dropped, as in production: what is dropped at the end of an execution may still use it.
macro_rules! global {
    ($(#[$meta:meta])* pub(crate) static $name:ident: $ty:ty = $init:expr;) => {
        #[cfg(not(any(loom, shuttle)))]
        $(#[$meta])* pub(crate) static $name: $ty = $init;
        #[cfg(loom)]
        loom::lazy_static! { $(#[$meta])* pub(crate) static ref $name: $ty = $init; }
        #[cfg(shuttle)]
        shuttle::lazy_static! {
            $(#[$meta])* pub(crate) static ref $name: &'static $ty = Box::leak(Box::new($init));
        }
    };
    ($(#[$meta:meta])* static $name:ident: $ty:ty = $init:expr;) => {
        #[cfg(not(any(loom, shuttle)))]
        $(#[$meta])* static $name: $ty = $init;
        #[cfg(loom)]
        loom::lazy_static! { $(#[$meta])* static ref $name: $ty = $init; }
        #[cfg(shuttle)]
        shuttle::lazy_static! {
            $(#[$meta])* static ref $name: &'static $ty = Box::leak(Box::new($init));
        }
    };
}

/// A place where the interleaver may let another thread go on: nothing at all without it.
#[cfg(not(txloop_check))]
macro_rules! point {
    ($point:ident) => {};
}
#[cfg(txloop_check)]
macro_rules! point {
    ($point:ident) => {
        $crate::sync::interleave::point($crate::sync::interleave::Point::$point)
    };
}

/// Whether a planted fault is on: never without the interleaver, whose tests have to find each.
#[cfg(not(txloop_check))]
macro_rules! fault {
    ($name:literal) => {
        false
    };
}
#[cfg(txloop_check)]
macro_rules! fault {
    ($name:literal) => {
        $crate::sync::faults::is($name)
    };
}

/// One value for each thread.
macro_rules! per_thread {
    ($(#[$meta:meta])* $vis:vis static $name:ident: $ty:ty = $init:expr;) => {
        #[cfg(not(shuttle))]
        thread_local! { $(#[$meta])* $vis static $name: $ty = const { $init }; }
        #[cfg(shuttle)]
        shuttle::thread_local! { $(#[$meta])* $vis static $name: $ty = const { $init }; }
    };
}

/// Ends the process. A model or a schedule that fails unwinds its threads, so there it goes on.
#[cold]
pub(crate) fn die(why: &str) {
    if !cfg!(any(loom, shuttle)) {
        eprintln!("txloop: {why}");
        std::process::abort();
    }
}

/// A number that is shared and that only its owner changes: no part of a protocol, so the models do
/// not look at it.
pub(crate) type Owned = std::sync::atomic::AtomicU64;

pub(crate) use {const_fn, fault, global, per_thread, point};

#[cfg(loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    hint::spin_loop,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread,
};

#[cfg(shuttle)]
pub(crate) use shuttle::{
    hint::spin_loop,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread::LocalKey,
};

#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::{
    hint::spin_loop,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    },
};

#[cfg(not(any(loom, shuttle, txloop_check)))]
pub(crate) use {
    crossbeam_utils::sync::{Parker, Unparker},
    std::thread,
};

#[cfg(txloop_check)]
pub(crate) mod faults;
#[cfg(txloop_check)]
pub(crate) mod interleave;
#[cfg(txloop_check)]
pub(crate) mod stand_ins;
#[cfg(txloop_check)]
pub(crate) use stand_ins::{Parker, Unparker, thread};

pub(crate) use lock::Mutex;
#[cfg(not(shuttle))]
pub(crate) use std::thread::LocalKey;
#[cfg(not(shuttle))]
pub(crate) use table::Table;
#[cfg(not(loom))]
pub(crate) use unsafe_cell::UnsafeCell;

#[cfg(shuttle)]
mod cooperative;
#[cfg(all(test, shuttle))]
pub(crate) mod explore;
/// A lock like any other: a thread that is preempted while it holds one would stop all others.
#[cfg(shuttle)]
pub(crate) use self::lock::Mutex as Table;
#[cfg(shuttle)]
pub(crate) use cooperative::{OnceLock, Parker, Unparker, cores, daemon, now_ns, spawn, thread};

/// A mutex that ignores poisoning: no invariant of this library is broken by a panic under a lock.
mod lock {
    #[cfg(loom)]
    use loom::sync as imported;
    #[cfg(shuttle)]
    use shuttle::sync as imported;
    #[cfg(not(any(loom, shuttle)))]
    use std::sync as imported;

    #[expect(clippy::disallowed_types, reason = "this is the door")]
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(imported::Mutex<T>);

    impl<T> Mutex<T> {
        super::const_fn! {
            #[expect(clippy::disallowed_types, reason = "this is the door")]
            pub(crate) fn new(value: T) -> Self {
                Self(imported::Mutex::new(value))
            }
        }

        pub(crate) fn lock(&self) -> imported::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}

/// A lock around a table that takes part in no protocol: the same under loom, which cannot see it.
#[cfg(not(shuttle))]
mod table {
    #[expect(clippy::disallowed_types, reason = "this is the door")]
    #[derive(Debug, Default)]
    pub(crate) struct Table<T>(std::sync::Mutex<T>);

    impl<T> Table<T> {
        #[expect(clippy::disallowed_types, reason = "this is the door")]
        pub(crate) const fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}

/// `UnsafeCell` with the closure interface of loom's, which checks every access in the models.
#[cfg(not(loom))]
mod unsafe_cell {
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        #[inline(always)]
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

/// Nanoseconds on the monotonic clock since the first call in this process.
#[cfg(not(any(loom, shuttle)))]
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn now_ns() -> u64 {
    use std::{sync::OnceLock, time::Instant};
    #[cfg(txloop_check)]
    if let Some(now) = interleave::now_ns() {
        return now;
    }
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The models have no clock: time limits never strike there.
#[cfg(loom)]
pub(crate) fn now_ns() -> u64 {
    0
}

/// The wall clock, for the `Date` header, the stamp of a log file and the time of a ticket.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn wall_clock() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// Starts a named thread of this library.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn spawn(
    name: &str,
    f: impl FnOnce() + Send + 'static,
) -> std::io::Result<thread::JoinHandle<()>> {
    #[cfg(not(txloop_check))]
    return thread::Builder::new().name(name.to_owned()).spawn(f);
    #[cfg(txloop_check)]
    thread::spawn(name, f)
}

/// Starts a thread of this library that never ends.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn daemon(
    name: &str,
    f: impl FnOnce() + Send + 'static,
) -> std::io::Result<thread::Thread> {
    spawn(name, f).map(|handle| handle.thread().clone())
}

/// How many threads can run at once.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
