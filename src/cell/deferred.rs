//! What was put off: values with destructors, what handlers asked to be done after their commit,
//! and memory that could not be freed at once.
//!
//! One queue for what is to be done, first in first out, so that effects open in version order; one
//! drainer at a time. It is drained only on threads of this library (workers, the loop, the
//! reaper), with no current transaction, each item in a `catch_unwind`: a foreign caller of
//! `atomically` may hold the very lock that a destructor takes. For the same reason nobody waits
//! until the queue is empty; but whoever adds to it while it is long pauses for a moment after each
//! transaction.
//!
//! Values to drop have a queue of their own, since their order is nobody's concern: all threads of
//! this library drop them at the same time, so that they do not make more than they drop.
//!
//! Tasks of other runtimes that are to be woken have a queue of their own, which whoever comes by
//! empties first, beside a drainer: they wait for no effect.
//!
//! The *reaper* is a thread that is started when something first has to be freed later, and sleeps
//! while nothing has. It looks after everybody's garbage, so that no loop and no worker need do so.

use super::boxes::Version;
// No part of a protocol.
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What an effect takes besides its captures: its places in queues.
const EFFECT_BYTES: usize = 64;

/// Something to be done later on a thread of this library.
pub(crate) enum Deferred {
    /// An effect of a committed attempt.
    Effect(Box<dyn FnOnce() + Send>, Counted),
    /// Something of the library's.
    Run(Box<dyn FnOnce() + Send>),
}

/// An effect of a committed attempt, or a callback or timer of a loop, that is counted as long as
/// it waits or is being done.
#[derive(Debug)]
pub(crate) struct Counted(usize);

/// Relaxed: figures for people and for limits.
static EFFECTS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

impl Counted {
    /// Counts one, with the bytes of its captures.
    pub(crate) fn of<T: ?Sized>(effect: &T) -> Self {
        let bytes = size_of_val(effect) + EFFECT_BYTES;
        EFFECTS[0].fetch_add(1, Relaxed);
        EFFECTS[1].fetch_add(bytes, Relaxed);
        Self(bytes)
    }

    /// How many there are, and their bytes.
    pub(crate) fn all() -> (usize, usize) {
        let [count, bytes] = &EFFECTS;
        (count.load(Relaxed), bytes.load(Relaxed))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        EFFECTS[0].fetch_sub(1, Relaxed);
        EFFECTS[1].fetch_sub(self.0, Relaxed);
    }
}

#[cfg(not(loom))]
pub(crate) use queue::{
    adopt_thread, contained, is_idle, pending, push, rouse_for_pending, settle, slow_down,
    wake_later, wake_reaper,
};

/// The models free at once what they can, and have no reaper.
#[cfg(loom)]
pub(crate) fn wake_reaper() {}

/// The models drop at once.
#[cfg(loom)]
pub(crate) fn rouse_for_pending() {}

/// The models have no queue.
#[cfg(loom)]
pub(super) fn slow_down() {}

/// Puts a destructor off.
pub(super) fn dispose_later(version: Version) {
    #[cfg(not(loom))]
    queue::dispose(version);
    // The models' values have no destructors worth running.
    #[cfg(loom)]
    version.dispose();
}

/// Drops something of a user's later, where destructors may run.
pub(crate) fn drop_later<T: Send + 'static>(value: T) {
    if std::mem::needs_drop::<T>() {
        push(Deferred::Run(Box::new(move || drop(value))));
    }
}

/// The models run nothing later.
#[cfg(loom)]
pub(crate) fn push(_: Deferred) {}

#[cfg(not(loom))]
mod queue {
    use super::Deferred;
    use crate::cell::{boxes::Version, store::STORE};
    use crate::sync::{
        AtomicBool, AtomicU32, AtomicUsize, OnceLock, Ordering, daemon, fault, fence, global,
        per_thread, point,
        thread::{self, Thread},
    };
    use crossbeam_queue::SegQueue;
    use std::{
        cell::Cell,
        panic::{AssertUnwindSafe, catch_unwind},
        task::Waker,
        time::Duration,
    };

    global! {
        static QUEUE: SegQueue<Deferred> = SegQueue::new();
    }
    global! {
        /// Values to drop, by as many threads as come by.
        static DROPS: SegQueue<Version> = SegQueue::new();
    }
    global! {
        /// How many threads drop some now.
        static DROPPING: AtomicUsize = AtomicUsize::new(0);
    }
    global! {
        /// Looked at beside [`QUEUE`] everywhere, and by whoever comes while another one drains.
        static WAKERS: SegQueue<Waker> = SegQueue::new();
    }
    global! {
        static DRAINING: AtomicBool = AtomicBool::new(false);
    }
    global! {
        static REAPER_STATE: AtomicU32 = AtomicU32::new(ASLEEP);
    }
    /// The reaper waits to be woken.
    const ASLEEP: u32 = 0;
    /// The reaper comes back by itself, for memory that cannot be freed yet.
    const NAPPING: u32 = 1;
    /// The reaper works, or has been woken.
    const UP: u32 = 2;
    /// With more than so many items, threads that make more are slowed down.
    const CROWDED: usize = 4_096;
    /// For how long each time, at least: what a short sleep takes.
    const PAUSE: Duration = Duration::from_micros(50);
    /// So many pauses at a time at most.
    const MOST_PAUSES: usize = 200;
    /// With more than so many values to drop, others help whoever does it.
    const MUCH: usize = 64;
    /// So many values a thread drops before it looks for other things to do.
    const DROPS_AT_ONCE: usize = 1_024;
    /// How long a nap is.
    const NAP: Duration = Duration::from_millis(20);
    global! {
        static REAPER: OnceLock<Option<Thread>> = OnceLock::new();
    }

    per_thread! {
        static ADOPTED: Cell<bool> = Cell::new(false);
    }

    /// Says that this thread belongs to the library and may run what was put off.
    pub(crate) fn adopt_thread() {
        ADOPTED.with(|adopted| adopted.set(true));
    }

    /// Puts an item off. Runs no user code.
    pub(crate) fn push(item: Deferred) {
        QUEUE.push(item);
        // Pairs with the fence of `drain`: either a later look finds nobody draining, or the
        // drainer finds the item.
        fence(Ordering::SeqCst);
    }

    /// Has a value dropped. Runs no user code.
    pub(super) fn dispose(version: Version) {
        DROPS.push(version);
        // Pairs with the fence of `drop_some`.
        fence(Ordering::SeqCst);
    }

    /// Has a task of another runtime woken. Runs no user code.
    pub(crate) fn wake_later(waker: Waker) {
        WAKERS.push(waker);
        fence(Ordering::SeqCst);
    }

    /// Whether something waits, as far as this thread can see.
    #[inline]
    pub(crate) fn pending() -> bool {
        // Whoever drains goes on until the queue is empty. With much to drop all come.
        !WAKERS.is_empty()
            || !DROPS.is_empty() && (DROPPING.load(Ordering::Relaxed) == 0 || DROPS.len() > MUCH)
            || !QUEUE.is_empty() && (!DRAINING.load(Ordering::Relaxed) || QUEUE.len() > CROWDED)
    }

    /// Whether nothing waits and nothing is being done.
    pub(crate) fn is_idle() -> bool {
        // Acquire: what the last drainer did happened before.
        let waits = !(QUEUE.is_empty() && WAKERS.is_empty() && DROPS.is_empty());
        !waits && !DRAINING.load(Ordering::Acquire) && DROPPING.load(Ordering::Acquire) == 0
    }

    /// Sees to it that what waits is done: here if this thread may, else by the reaper. Called with
    /// no current transaction and without the baton.
    #[cold]
    pub(crate) fn settle() {
        if ADOPTED.with(Cell::get) {
            drain();
            return;
        }
        if REAPER_STATE.load(Ordering::Relaxed) != UP {
            call_reaper(UP);
        }
        slow_down();
    }

    /// Whoever makes garbage faster than it is dropped waits a little, each time, and the longer
    /// the more there is. Not until it is gone: a destructor may need what this thread holds.
    pub(crate) fn slow_down() {
        let crowds = (QUEUE.len() + DROPS.len()) / CROWDED;
        if crowds > 0 && !ADOPTED.with(Cell::get) {
            // Not parked: its own wake-ups are not to be lost.
            thread::sleep(PAUSE * crowds.min(MOST_PAUSES) as u32);
        }
    }

    /// Says that there is memory to free. A sleeping reaper is woken to nap: it comes by itself a
    /// little later, and nobody wakes it until then.
    #[inline]
    pub(crate) fn wake_reaper() {
        if REAPER_STATE.load(Ordering::Relaxed) == ASLEEP {
            call_reaper(NAPPING);
        }
    }

    /// As [`wake_reaper`], and not even a nap may go on: something waits to be dropped.
    pub(crate) fn rouse_for_pending() {
        if pending() && REAPER_STATE.load(Ordering::Relaxed) != UP {
            call_reaper(UP);
        }
    }

    #[cold]
    fn call_reaper(state: u32) {
        // AcqRel: of those who come at the same time, one wakes it.
        let called = match state {
            UP => REAPER_STATE.swap(UP, Ordering::AcqRel) != UP,
            _ => REAPER_STATE
                .compare_exchange(ASLEEP, state, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok(),
        };
        if called {
            // Without a thread the values stay queued until a worker or a loop runs: a leak, no
            // harm.
            if let Some(reaper) = REAPER.get_or_init(start_reaper) {
                reaper.unpark();
            }
        }
    }

    fn start_reaper() -> Option<Thread> {
        if cfg!(txloop_check) {
            // Its work is done by logical threads: see `probe::reap`.
            return None;
        }
        let reaper = daemon("txloop-reaper", || {
            adopt_thread();
            loop {
                reap();
            }
        });
        reaper.ok()
    }

    /// Sleeps until called, or naps; then frees what can be freed.
    fn reap() {
        match REAPER_STATE.load(Ordering::Relaxed) {
            ASLEEP => {
                thread::park();
                return;
            }
            // Whoever calls meanwhile leaves a token, which ends the nap at once.
            NAPPING => thread::park_timeout(NAP),
            _ => {}
        }
        REAPER_STATE.store(UP, Ordering::Relaxed);
        STORE.collect_idle();
        drain();
        // Said before the look, so that what the look misses finds the reaper asleep.
        REAPER_STATE.store(ASLEEP, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let next = match (pending(), STORE.has_garbage()) {
            (true, _) => UP,
            (false, true) => NAPPING,
            (false, false) => return,
        };
        let (asleep, relaxed) = (ASLEEP, Ordering::Relaxed);
        let _ = REAPER_STATE.compare_exchange(asleep, next, relaxed, relaxed);
    }

    fn wake_all() {
        while let Some(waker) = WAKERS.pop() {
            contained(|| waker.wake());
        }
    }

    /// Drops values, while others may do the same.
    fn drop_some() {
        let mut left = DROPS_AT_ONCE;
        while left > 0 && !DROPS.is_empty() {
            // Relaxed: who finds the queue empty has seen the pop, which comes behind.
            DROPPING.fetch_add(1, Ordering::Relaxed);
            while left > 0
                && let Some(version) = DROPS.pop()
            {
                left -= 1;
                point!(Effect);
                contained(|| version.dispose());
            }
            // Release: see `is_idle`.
            DROPPING.fetch_sub(1, Ordering::Release);
            // What was pushed after the last pop may have found this thread at it.
            fence(Ordering::SeqCst);
        }
        if left == 0 {
            rouse_for_pending();
        }
    }

    fn drain() {
        wake_all();
        drop_some();
        while !QUEUE.is_empty() {
            point!(Effect);
            // Acquire and Release: one drainer after the other, in order.
            if DRAINING.swap(true, Ordering::Acquire) && !fault!("two-drainers") {
                return;
            }
            while let Some(item) = QUEUE.pop() {
                point!(Effect);
                run(item);
                wake_all();
            }
            DRAINING.store(false, Ordering::Release);
            fence(Ordering::SeqCst);
            // Looked at again by the loop: an item pushed after the last pop and before the store
            // may have found the drainer busy.
        }
    }

    fn run(item: Deferred) {
        contained(|| match item {
            Deferred::Effect(effect, _counted) => effect(),
            Deferred::Run(run) => run(),
        });
    }

    /// Runs what a user gave: its panic ends no thread of ours.
    pub(crate) fn contained(f: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
            // The payload's own destructor may panic too; then it is leaked with the unwind.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        }
    }
}
