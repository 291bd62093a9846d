//! How long things take: hands that work flat out for a while, alone or side by side.

use crate::access;
use std::{
    panic::resume_unwind,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

/// A look at the clock for about so much work.
const PORTION: Duration = Duration::from_micros(20);
/// The part of a window that a hand works before it is timed.
const WARM_UP: u32 = 10;

/// What one thread does, operation after operation.
pub(crate) trait Hand {
    /// Operations in a step.
    fn ops(&self) -> u64 {
        1
    }

    /// Does them.
    fn step(&mut self);
}

/// What one thread got done in its window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Operations.
    pub(crate) ops: u64,
    /// How long they took.
    pub(crate) ns: f64,
    /// Runs of jobs that came to nothing.
    pub(crate) aborts: u64,
}

impl Pace {
    /// Operations in a second.
    pub(crate) fn per_s(&self) -> f64 {
        self.ops as f64 * 1e9 / self.ns
    }
}

/// Lets a hand work on this thread.
pub(crate) fn alone(window: Duration, hand: &mut impl Hand) -> Pace {
    flat_out(window / WARM_UP, hand);
    flat_out(window, hand)
}

/// Lets hands work side by side, each on a thread of its own. A panic of one is passed on.
pub(crate) fn together(window: Duration, hands: &mut [impl Hand + Send]) -> Vec<Pace> {
    let start = &Barrier::new(hands.len());
    thread::scope(|scope| {
        let work = |hand| {
            scope.spawn(move || {
                start.wait();
                alone(window, hand)
            })
        };
        let running: Vec<_> = hands.iter_mut().map(work).collect();
        running.into_iter().map(joined).collect()
    })
}

/// What a scanning thread got done beside a writing one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beside {
    /// The scans that ended while the writer worked, and the time that it did.
    pub(crate) scans: Pace,
    /// The writes.
    pub(crate) writes: Pace,
}

/// Lets one hand scan until another one has worked for a window. A scan that never ends beside the
/// writer ends after it, and does not count.
pub(crate) fn beside(
    window: Duration,
    scanning: &mut (impl Hand + Send),
    writing: &mut (impl Hand + Send),
) -> Beside {
    let (start, over) = (&Barrier::new(2), &AtomicBool::new(false));
    let (ops, aborts, writes) = thread::scope(|scope| {
        let scanning = scope.spawn(move || {
            start.wait();
            let (mut ops, aborts) = (0, access::aborts());
            loop {
                scanning.step();
                // Relaxed: only when it is seen counts.
                if over.load(Ordering::Relaxed) {
                    return (ops, access::aborts() - aborts);
                }
                ops += 1;
            }
        });
        let writing = scope.spawn(move || {
            let _over = SetAtEnd(over);
            start.wait();
            flat_out(window, writing)
        });
        let ((ops, aborts), writes) = (joined(scanning), joined(writing));
        (ops, aborts, writes)
    });
    Beside { scans: Pace { ops, ns: writes.ns, aborts }, writes }
}

/// Sets a flag when it is dropped, also by a panic.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        // Relaxed: it promises nothing about what else was written.
        self.0.store(true, Ordering::Relaxed);
    }
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|payload| resume_unwind(payload))
}

/// Works until the window is over.
fn flat_out(window: Duration, hand: &mut impl Hand) -> Pace {
    let (start, aborts) = (Instant::now(), access::aborts());
    let (mut steps, mut portion) = (0, 1);
    let mut before = Duration::ZERO;
    loop {
        for _ in 0..portion {
            hand.step();
        }
        steps += portion;
        let now = start.elapsed();
        if now >= window {
            let (ops, ns) = (steps * hand.ops(), now.as_nanos() as f64);
            return Pace { ops, ns, aborts: access::aborts() - aborts };
        }
        if now - before < PORTION {
            portion *= 2;
        } else if now - before > 4 * PORTION {
            portion = (portion / 2).max(1);
        }
        before = now;
    }
}
