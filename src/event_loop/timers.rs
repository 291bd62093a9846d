//! Timers by (deadline, creation). Of one that is cancelled only the deadline stays for a while.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

/// Cancelled timers are swept out when they are more than this and more than half of all.
const SWEEP: usize = 512;

/// Names a timer, to cancel it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId(pub(super) u64);

pub(super) struct Timers<C> {
    /// When which of them is due, those among them that were cancelled.
    due: BinaryHeap<Reverse<(u64, TimerId)>>,
    waiting: HashMap<TimerId, C>,
}

impl<C> Default for Timers<C> {
    fn default() -> Self {
        Self { due: BinaryHeap::new(), waiting: HashMap::new() }
    }
}

impl<C> Timers<C> {
    pub(super) fn add(&mut self, at_ns: u64, id: TimerId, callback: C) {
        self.waiting.insert(id, callback);
        self.due.push(Reverse((at_ns, id)));
    }

    /// Cancels, and gives the callback back; none if the timer is unknown, cancelled or has run.
    pub(super) fn cancel(&mut self, id: TimerId) -> Option<C> {
        let callback = self.waiting.remove(&id);
        let cancelled = self.due.len() - self.waiting.len();
        if cancelled > SWEEP && cancelled * 2 > self.due.len() {
            let waiting = &self.waiting;
            self.due.retain(|Reverse((_, id))| waiting.contains_key(id));
        }
        callback
    }

    /// The deadline of the next timer.
    pub(super) fn next_ns(&mut self) -> Option<u64> {
        while let Some(Reverse((at_ns, id))) = self.due.peek() {
            if self.waiting.contains_key(id) {
                return Some(*at_ns);
            }
            self.due.pop();
        }
        None
    }

    /// Takes a timer that is due.
    pub(super) fn pop_due(&mut self, now_ns: u64) -> Option<C> {
        if self.next_ns()? > now_ns {
            return None;
        }
        let Reverse((_, id)) = self.due.pop()?;
        self.waiting.remove(&id)
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
        assert!(timers.cancel(TimerId(4)).is_some());
        assert!(timers.cancel(TimerId(4)).is_none());
        assert_eq!(timers.next_ns(), Some(10));
        while let Some(callback) = timers.pop_due(50) {
            crate::atomically(|tx| callback(tx));
        }
        assert_eq!(seen.try_iter().collect::<Vec<u64>>(), [2, 3, 1]);
        assert_eq!(timers.next_ns(), Some(99));
    }
}
