//! Timers by (deadline, creation), cancelled lazily.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet},
};

/// Cancelled timers are swept out when they are more than this and more than half of all.
const SWEEP: usize = 512;

/// Names a timer, to cancel it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId(pub(super) u64);

struct Timer<C> {
    at_ns: u64,
    id: TimerId,
    callback: C,
}

impl<C> Timer<C> {
    fn key(&self) -> (u64, TimerId) {
        (self.at_ns, self.id)
    }
}

impl<C> PartialEq for Timer<C> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<C> Eq for Timer<C> {}

impl<C> PartialOrd for Timer<C> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<C> Ord for Timer<C> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

pub(super) struct Timers<C> {
    heap: BinaryHeap<Reverse<Timer<C>>>,
    waiting: HashSet<TimerId>,
}

impl<C> Default for Timers<C> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), waiting: HashSet::new() }
    }
}

impl<C> Timers<C> {
    pub(super) fn add(&mut self, at_ns: u64, id: TimerId, callback: C) {
        self.waiting.insert(id);
        self.heap.push(Reverse(Timer { at_ns, id, callback }));
    }

    /// Cancels; does nothing if the timer is unknown, cancelled or has run.
    pub(super) fn cancel(&mut self, id: TimerId) {
        self.waiting.remove(&id);
        let cancelled = self.heap.len() - self.waiting.len();
        if cancelled > SWEEP && cancelled * 2 > self.heap.len() {
            let waiting = &self.waiting;
            self.heap.retain(|Reverse(timer)| waiting.contains(&timer.id));
        }
    }

    /// The deadline of the next timer.
    pub(super) fn next_ns(&mut self) -> Option<u64> {
        while let Some(Reverse(first)) = self.heap.peek() {
            if self.waiting.contains(&first.id) {
                return Some(first.at_ns);
            }
            self.heap.pop();
        }
        None
    }

    /// Takes a timer that is due.
    pub(super) fn pop_due(&mut self, now_ns: u64) -> Option<C> {
        if self.next_ns()? > now_ns {
            return None;
        }
        let Reverse(timer) = self.heap.pop()?;
        self.waiting.remove(&timer.id);
        Some(timer.callback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn timers_run_by_deadline_then_creation_and_cancelled_ones_do_not() {
        let (sender, seen) = std::sync::mpsc::channel();
        let mut timers = Timers::default();
        for (id, at) in [(1, 30), (2, 10), (3, 10), (4, 20), (5, 99)] {
            let sender = sender.clone();
            let note = move |_: &crate::Transaction| sender.send(id).expect("a receiver");
            timers.add(at, TimerId(id), Arc::new(note));
        }
        timers.cancel(TimerId(4));
        timers.cancel(TimerId(4));
        assert_eq!(timers.next_ns(), Some(10));
        while let Some(callback) = timers.pop_due(50) {
            crate::atomically(|tx| callback(tx));
        }
        assert_eq!(seen.try_iter().collect::<Vec<u64>>(), [2, 3, 1]);
        assert_eq!(timers.next_ns(), Some(99));
    }
}
