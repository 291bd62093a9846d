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

global! {
    static DEADLINES: Table<BinaryHeap<Reverse<Deadline>>> = Table::new(BinaryHeap::new());
}
global! {
    static WATCH: OnceLock<Option<Thread>> = OnceLock::new();
}

/// Cancels after `limit`, unless nobody holds `cancel` any more.
pub(super) fn cancel_after(limit: Duration, cancel: &Arc<Cancel>) {
    let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    let at_ns = now_ns().saturating_add(limit);
    let first = {
        let mut deadlines = DEADLINES.lock();
        deadlines.push(Reverse(Deadline { at_ns, cancel: Arc::downgrade(cancel) }));
        deadlines.peek().is_some_and(|Reverse(first)| first.at_ns == at_ns)
    };
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
        while let Some(Reverse(first)) = deadlines.peek() {
            if first.at_ns > now {
                break;
            }
            late.extend(deadlines.pop().and_then(|Reverse(first)| first.cancel.upgrade()));
        }
        deadlines.peek().map(|Reverse(first)| first.at_ns - now)
    };
    for cancel in late {
        cancel.cancel(Why::Late);
    }
    match next {
        Some(ns) => thread::park_timeout(Duration::from_nanos(ns)),
        None => thread::park(),
    }
}
