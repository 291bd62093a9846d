//! How often the attempts of a handler fail, and what follows: commits in groups while they hardly
//! ever do, the serial lane while they mostly do. Decided by numbers alone; the counts are
//! approximate, since workers add to them without locks.

use super::schedule::{Class, Cost, GROUP};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// A rate of 1.
const ONE: u32 = 1 << 16;
/// One event moves the rate by a 64th of its distance.
const WEIGHT: u32 = 64;
/// One commit of so many is counted, as so many.
const SAMPLE: u64 = 8;
/// Above this share of failed attempts a handler goes into the serial lane: a thread that
/// speculates beside a conflicting one is worth less than none.
const LANE_ABOVE: u32 = ONE * 3 / 10;
/// Below this share commits go in groups.
const GROUP_BELOW: u32 = ONE * 3 / 100;
/// Below this share they go in short groups, of at most so many.
const SHORT_GROUP_BELOW: u32 = ONE * 12 / 100;
const SHORT_GROUP: usize = 4;
/// The same for tickets, whose thread commits them together even so.
const SHORT_GROUP_AHEAD: usize = 8;
/// How long the first stay in the serial lane is, in nanoseconds; each that follows soon is longer.
const FIRST_TERM_NS: u64 = 1_000_000;
/// The longest stay.
const LONGEST_TERM_NS: u64 = 64_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Heat {
    /// The share of failed attempts among the last ones, in parts of [`ONE`].
    rate: AtomicU32,
    lane_until: AtomicU64,
    term_ns: AtomicU64,
}

fn after(rate: u32, failed: bool) -> u32 {
    match failed {
        true => rate + (ONE - rate) / WEIGHT,
        // Reaches zero, so that a handler that never fails never writes.
        false => rate - (rate / WEIGHT).max(rate.min(1)),
    }
}

/// Whether this is one ticket of [`SAMPLE`].
fn is_sample(ticket: u64) -> bool {
    // Fibonacci hashing.
    (ticket.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).is_multiple_of(SAMPLE)
}

fn next_term(last_ns: u64, calm_ns: u64) -> u64 {
    match last_ns {
        0 => FIRST_TERM_NS,
        _ if calm_ns > 4 * last_ns => FIRST_TERM_NS,
        _ => (2 * last_ns).min(LONGEST_TERM_NS),
    }
}

impl Heat {
    // Relaxed everywhere: statistics, of which a few may be lost.

    /// Counts a commit. A few tickets, picked by a hash, count for all: a store for each commit
    /// would take the line away from all others that run the handler.
    #[inline]
    pub(crate) fn committed(&self, ticket: u64) {
        let rate = self.rate.load(Ordering::Relaxed);
        if rate != 0 && is_sample(ticket) {
            let after = (0..SAMPLE).fold(rate, |rate, _| after(rate, false));
            self.rate.store(after, Ordering::Relaxed);
        }
    }

    /// Counts a failed attempt.
    pub(crate) fn failed(&self, now_ns: u64) {
        let rate = after(self.rate.load(Ordering::Relaxed), true);
        let until = self.lane_until.load(Ordering::Relaxed);
        if rate < LANE_ABOVE || now_ns < until {
            self.rate.store(rate, Ordering::Relaxed);
            return;
        }
        let calm = now_ns.saturating_sub(until);
        let term = next_term(self.term_ns.load(Ordering::Relaxed), calm);
        self.term_ns.store(term, Ordering::Relaxed);
        self.lane_until.store(now_ns + term, Ordering::Relaxed);
        // What it does after its stay decides anew, a little sooner.
        self.rate.store(LANE_ABOVE * 4 / 5, Ordering::Relaxed);
    }

    /// Whether the handler belongs in the serial lane now.
    #[inline]
    pub(crate) fn in_lane(&self, now_ns: u64) -> bool {
        now_ns < self.lane_until.load(Ordering::Relaxed)
    }

    /// Whether tickets of a handler of this cost are worth the help of threads that take a core
    /// from others: it takes long, and seldom in vain.
    pub(crate) fn is_worth_help(&self, cost: Cost) -> bool {
        cost.class() == Class::Expensive && self.rate.load(Ordering::Relaxed) < SHORT_GROUP_BELOW
    }

    /// After how many attempts of a handler of this cost a worker takes the baton.
    #[inline]
    pub(crate) fn group(&self, cost: Cost) -> usize {
        self.at_most(cost, SHORT_GROUP)
    }

    /// How many tickets of a handler of this cost a worker runs ahead before their turn is asked
    /// for. The further ahead, the more comes between; one by one costs a lock for each.
    #[inline]
    pub(crate) fn group_ahead(&self, cost: Cost) -> usize {
        self.at_most(cost, SHORT_GROUP_AHEAD)
    }

    #[inline]
    fn at_most(&self, cost: Cost, short: usize) -> usize {
        let most = match self.rate.load(Ordering::Relaxed) {
            rate if rate < GROUP_BELOW => GROUP,
            rate if rate < SHORT_GROUP_BELOW => short,
            _ => 1,
        };
        cost.together().min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(heat: &Heat, failed_of_10: u64, now_ns: u64) {
        for ticket in 0..1_000 {
            let failed = ticket % 10 < failed_of_10;
            if failed { heat.failed(now_ns) } else { heat.committed(ticket) }
        }
    }

    #[test]
    fn a_handler_is_grouped_while_it_hardly_fails_and_laned_while_it_mostly_does() {
        let heat = Heat::default();
        events(&heat, 0, 5);
        assert_eq!((heat.group(Cost(1_000)), heat.in_lane(5)), (GROUP, false));
        assert_eq!(heat.group(Cost(1_000_000)), 1);
        events(&heat, 1, 5);
        assert_eq!((heat.group(Cost(1_000)), heat.in_lane(5)), (SHORT_GROUP, false));
        assert_eq!(heat.group_ahead(Cost(1_000)), SHORT_GROUP_AHEAD);
        events(&heat, 2, 5);
        assert_eq!((heat.group_ahead(Cost(1_000)), heat.in_lane(5)), (1, false));
        events(&heat, 5, 5);
        assert!(heat.in_lane(5) && !heat.in_lane(5 + FIRST_TERM_NS));
    }

    #[test]
    fn stays_grow_while_they_follow_one_another() {
        assert_eq!(next_term(0, 7), FIRST_TERM_NS);
        assert_eq!(next_term(FIRST_TERM_NS, 0), 2 * FIRST_TERM_NS);
        assert_eq!(next_term(LONGEST_TERM_NS, 0), LONGEST_TERM_NS);
        assert_eq!(next_term(LONGEST_TERM_NS, 5 * LONGEST_TERM_NS), FIRST_TERM_NS);
    }

    #[test]
    fn the_rate_comes_back_to_zero() {
        let mut rate = ONE;
        for _ in 0..1_000 {
            rate = after(rate, false);
        }
        assert_eq!(rate, 0);
        assert!(after(ONE, true) <= ONE);
    }
}
