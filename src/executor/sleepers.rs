//! Workers that sleep, and how they are woken. See [`super::core`] for why no wake-up is lost.

use crate::sync::{AtomicBool, AtomicUsize, Ordering, Unparker};
use crossbeam_queue::SegQueue;
use crossbeam_utils::CachePadded;

/// See the module.
pub(crate) struct Sleepers {
    workers: Vec<Sleeper>,
    count: CachePadded<AtomicUsize>,
    listed: SegQueue<usize>,
    /// The same for those that only help.
    helpers: SegQueue<usize>,
    /// From this number on workers only help.
    helpers_from: usize,
}

/// How a worker is woken.
struct Sleeper {
    unparker: Unparker,
    asleep: AtomicBool,
    /// Whether its number stands in a list: at most once, however often it sleeps.
    listed: AtomicBool,
}

impl Sleeper {
    fn new(unparker: Unparker) -> Self {
        Self { unparker, asleep: AtomicBool::new(false), listed: AtomicBool::new(false) }
    }
}

impl Sleepers {
    pub(crate) fn new(unparkers: Vec<Unparker>, helpers_from: usize) -> Self {
        Self {
            workers: unparkers.into_iter().map(Sleeper::new).collect(),
            count: CachePadded::new(AtomicUsize::new(0)),
            listed: SegQueue::new(),
            helpers: SegQueue::new(),
            helpers_from,
        }
    }

    /// How many workers there are, awake or asleep.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Whether a worker leaves cheap tickets to others. A loop, whose number is the last, does not.
    pub(crate) fn only_helps(&self, index: usize) -> bool {
        (self.helpers_from..self.workers.len()).contains(&index)
    }

    /// Whether nobody sleeps, as far as this thread can see.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Wakes one that takes all work, if one sleeps.
    pub(crate) fn wake_one(&self) -> bool {
        self.wake(&self.listed)
    }

    /// Wakes one that only helps, if one sleeps.
    pub(crate) fn wake_helper(&self) -> bool {
        self.wake(&self.helpers)
    }

    fn wake(&self, listed: &SegQueue<usize>) -> bool {
        while let Some(index) = listed.pop() {
            let worker = &self.workers[index];
            // SeqCst, against `falls_asleep`: unlisted before the look at `asleep`, so that a
            // worker which finds itself listed still is seen asleep here.
            worker.listed.store(false, Ordering::SeqCst);
            if self.awake(index) {
                worker.unparker.unpark();
                return true;
            }
        }
        false
    }

    /// Lists a worker. It fences, and looks for work, before it parks.
    pub(crate) fn falls_asleep(&self, index: usize) {
        let worker = &self.workers[index];
        worker.asleep.store(true, Ordering::SeqCst);
        self.count.fetch_add(1, Ordering::Relaxed);
        if !worker.listed.swap(true, Ordering::SeqCst) {
            let list = if self.only_helps(index) { &self.helpers } else { &self.listed };
            list.push(index);
        }
    }

    /// Ends a sleep, unless somebody has: then false.
    pub(crate) fn awake(&self, index: usize) -> bool {
        let slept = self.workers[index].asleep.swap(false, Ordering::SeqCst);
        if slept {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        slept
    }

    /// Lets no worker sleep on.
    pub(crate) fn wake_all(&self) {
        for worker in &self.workers {
            worker.unparker.unpark();
        }
    }
}
