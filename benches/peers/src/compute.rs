//! Work that uses no cells.

use crate::{
    contest::{Plan, Sample, spread},
    timing::{Hand, alone, together},
};
use std::{hint::black_box, time::Instant};

/// Steps of the calibration.
const STEPS: u32 = 200_000;

/// Every step (xorshift) needs the one before. Not inlined, so that all backends run the same
/// machine code.
#[inline(never)]
pub(crate) fn compute(steps: u32) -> u64 {
    let mut x = black_box(0x9E37_79B9_7F4A_7C15);
    for _ in 0..steps {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    x
}

/// Steps that take so long: from the shortest of several times, since others share the cores.
pub(crate) fn steps(ns: f64) -> u32 {
    let time = |_| {
        let start = Instant::now();
        black_box(compute(STEPS));
        start.elapsed().as_nanos() as f64
    };
    let least = (0..20).map(time).fold(f64::INFINITY, f64::min);
    (ns / least * f64::from(STEPS)).round() as u32
}

/// A thread that computes and shares nothing.
struct Computing;

impl Hand for Computing {
    fn step(&mut self) {
        black_box(compute(100));
    }
}

/// How many times as much as one thread do two that share nothing: what the machine has to give
/// now, while others may use it. Median, least and greatest.
pub(crate) fn ceiling(plan: Plan) -> [f64; 3] {
    let round = |_| {
        let one = alone(plan.window / 2, &mut Computing);
        let two = together(plan.window / 2, &mut [Computing, Computing]);
        Sample::of(&two).per_s / one.per_s()
    };
    spread((0..plan.rounds).map(round).collect())
}
