//! The watch: one thread that takes back what is late. Started with the first deadline, it sleeps
//! until the next one.

use crate::sync::{
    Arc, OnceLock, Table, daemon, global, now_ns,
    thread::{self, Thread},
};
use crate::transaction::cancel::{Cancel, Why};
use std::{cmp::Reverse, collections::BinaryHeap, sync::Weak, time::Duration};

struct Deadline {
    at_ns: u64,
    cancel: Weak<Cancel>,
}

impl PartialEq for Deadline {
    fn eq(&self, other: &Self) -> bool {
        self.at_ns == other.at_ns
    }
}

impl Eq for Deadline {}

impl PartialOrd for Deadline {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Deadline {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at_ns.cmp(&other.at_ns)
    }
}

/// How many deadlines may be kept before those are forgotten whose transactions have ended.
const KEPT: usize = 1024;

struct Deadlines {
    heap: BinaryHeap<Reverse<Deadline>>,
    /// With so many it is swept.
    most: usize,
}

impl Deadlines {
    /// Adds one; true if it is the first.
    fn add(&mut self, deadline: Deadline) -> bool {
        if self.heap.len() >= self.most {
            self.heap.retain(|Reverse(kept)| kept.cancel.strong_count() > 0);
            self.heap.shrink_to(KEPT);
            // As many again may come before the next time: each pays for a few looks at most.
            self.most = KEPT.max(2 * self.heap.len());
        }
        let at_ns = deadline.at_ns;
        self.heap.push(Reverse(deadline));
        self.heap.peek().is_some_and(|Reverse(first)| first.at_ns == at_ns)
    }
}

global! {
    static DEADLINES: Table<Deadlines> =
        Table::new(Deadlines { heap: BinaryHeap::new(), most: KEPT });
}
global! {
    static WATCH: OnceLock<Option<Thread>> = OnceLock::new();
}

/// Cancels after `limit`, unless nobody holds `cancel` any more.
pub(super) fn cancel_after(limit: Duration, cancel: &Arc<Cancel>) {
    let limit = u64::try_from(limit.as_nanos()).ok();
    // What is later than the clock can tell is never late.
    let Some(at_ns) = limit.and_then(|limit| now_ns().checked_add(limit)) else { return };
    let first = DEADLINES.lock().add(Deadline { at_ns, cancel: Arc::downgrade(cancel) });
    // Without a thread nothing is ever late: as if no limit had been set.
    let watch = WATCH.get_or_init(|| {
        daemon("txloop-watch", || {
            loop {
                watch();
            }
        })
        .ok()
    });
    if let Some(watch) = watch.as_ref().filter(|_| first) {
        watch.unpark();
    }
}

/// Takes back what is late, and sleeps until the next deadline.
fn watch() {
    let now = now_ns();
    let mut late = Vec::new();
    let next = {
        let mut deadlines = DEADLINES.lock();
        while let Some(Reverse(first)) = deadlines.heap.peek() {
            if first.at_ns > now {
                break;
            }
            late.extend(deadlines.heap.pop().and_then(|Reverse(first)| first.cancel.upgrade()));
        }
        deadlines.heap.peek().map(|Reverse(first)| first.at_ns - now)
    };
    for cancel in late {
        cancel.cancel(Why::Late);
    }
    match next {
        Some(ns) => thread::park_timeout(Duration::from_nanos(ns)),
        None => thread::park(),
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn deadlines_of_what_has_ended_are_forgotten() {
        let mut deadlines = Deadlines { heap: BinaryHeap::new(), most: KEPT };
        let live: Vec<_> = (0..3 * KEPT).map(|_| Arc::new(Cancel::new())).collect();
        let mut add = |at_ns, cancel: &Arc<Cancel>| {
            let first = deadlines.add(Deadline { at_ns, cancel: Arc::downgrade(cancel) });
            (first, deadlines.heap.len())
        };
        for (at_ns, cancel) in live.iter().enumerate() {
            let (first, kept) = add(10 + at_ns as u64, cancel);
            assert_eq!((first, kept), (at_ns == 0, at_ns + 1), "those that live are kept");
        }
        for _ in 0..100 * KEPT {
            let (first, kept) = add(u64::MAX, &Arc::new(Cancel::new()));
            assert!(!first && kept <= 2 * live.len(), "{kept}");
        }
        assert!(add(1, &live[0]).0, "earlier than all others");
    }
}
