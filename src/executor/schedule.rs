//! Decisions as functions of values: which class a handler is in, when it runs inline, when an
//! attempt that failed runs alone. No atomics, no threads, no clock.

/// A handler whose recent runs all took less is cheap: it may run on the loop thread, and never
/// waits behind an expensive one.
pub(crate) const CHEAP_NS: u64 = 20_000;
/// What the loop thread spends on handlers in one turn before it hands the rest to a worker. Waking
/// a sleeping worker costs about as much.
pub(crate) const INLINE_NS: u64 = 10_000;
/// How many attempts end together at most.
pub(crate) const GROUP: usize = 16;
/// How long the first of those that end together waits for the others.
pub(crate) const TOGETHER_NS: u64 = 40_000;
/// How many cheap handlers a worker runs in a row before it takes an expensive one that waits.
pub(crate) const CHEAP_IN_A_ROW: u32 = 16;

/// Whether a handler is cheap or expensive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Cheap,
    Expensive,
}

/// The recent maximum of a handler's running time, in nanoseconds; 0 while it has never run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost(pub(crate) u64);

impl Cost {
    /// The class. A handler that never ran is expensive: a wrong guess then costs a hand-off, where
    /// the other way round it would stop the loop.
    pub(crate) fn class(self) -> Class {
        if self.0 == 0 || self.0 >= CHEAP_NS { Class::Expensive } else { Class::Cheap }
    }

    /// The cost after one more run. Grows at most eightfold at once, so that a run during which the
    /// thread was off its core does not change the class; shrinks by a seventh a run. Where as many
    /// end together as may, no decision needs it closer than by half, and it does not shrink after
    /// a run that took more than half of it: whoever stores it takes it away from all others.
    pub(crate) fn after(self, ran_ns: u64) -> Cost {
        let ran_ns = ran_ns.max(1);
        match self.0 {
            0 => Cost(ran_ns),
            old if self.together() == GROUP && ran_ns <= old && ran_ns > old / 2 => self,
            old => Cost(ran_ns.min(old.saturating_mul(8)).max(old - old / 7)),
        }
    }
}

impl Cost {
    /// How many such runs may end together, each waiting for the others: 1 if not worth it.
    #[inline]
    pub(crate) fn together(self) -> usize {
        match self.0 {
            0 => 1,
            cost => (TOGETHER_NS / cost).clamp(1, GROUP as u64) as usize,
        }
    }

    /// Whether its end may wait for that of others.
    #[inline]
    pub(crate) fn goes_together(self) -> bool {
        self.0 != 0 && self.0 <= TOGETHER_NS / 2
    }

    /// Whether this is news to those who know `other`: another class, or an eighth more or less.
    pub(crate) fn differs(self, other: Cost) -> bool {
        self.class() != other.class() || self.0.abs_diff(other.0) > other.0 / 8
    }
}

/// How many runs of brief members end between two that are timed.
const UNTIMED: u64 = 3;

/// The runs on a thread whose end was not timed.
#[derive(Debug, Default)]
pub(crate) struct Untimed {
    /// Since the clock was looked at.
    since_look: u64,
    /// Since one was timed. However often the clock is looked at between two runs, some run is
    /// timed: else a cost that is wrong once would stay so.
    in_a_row: u64,
}

impl Untimed {
    /// The clock was looked at between two runs.
    pub(crate) fn looked(&mut self) {
        self.since_look = 0;
    }

    /// Whether the run that has just ended need not be timed.
    #[inline]
    pub(crate) fn another(&mut self) -> bool {
        let another = self.in_a_row < UNTIMED;
        self.since_look += u64::from(another);
        self.in_a_row += u64::from(another);
        another
    }

    /// A run was timed. The time since the last look at the clock is that of so many.
    pub(crate) fn timed(&mut self) -> u64 {
        let runs = 1 + self.since_look;
        *self = Self::default();
        runs
    }
}

/// What to do with an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Again,
    Alone,
}

/// After `failures` failed attempts that took `lost_ns` together.
pub(crate) fn after_failure(failures: u32, lost_ns: u64, max_failures: u32, max_ns: u64) -> Next {
    if failures >= max_failures || lost_ns >= max_ns { Next::Alone } else { Next::Again }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(runs: &[u64], class: Class) {
        let cost = runs.iter().fold(Cost(0), |cost, &ran| cost.after(ran));
        assert_eq!(cost.class(), class, "{cost:?} after {runs:?}");
    }

    #[test]
    fn a_handler_is_classed_by_its_recent_maximum() {
        check(&[], Class::Expensive);
        check(&[300], Class::Cheap);
        check(&[0], Class::Cheap);
        check(&[300, 300, 4_000_000], Class::Cheap);
        check(&[300, 4_000_000, 4_000_000, 4_000_000], Class::Expensive);
        check(&[10_000_000, 300], Class::Expensive);
        let mut long_ago = vec![10_000_000];
        long_ago.resize(100, 300);
        check(&long_ago, Class::Cheap);
    }

    #[test]
    fn one_run_in_four_is_timed_however_often_the_clock_is_looked_at() {
        for looked_every in 1..=8 {
            let (mut untimed, mut timed, mut since_look) = (Untimed::default(), 0, 0);
            for run in 0..100 {
                if run % looked_every == 0 {
                    untimed.looked();
                    since_look = 0;
                }
                since_look += 1;
                if !untimed.another() {
                    assert_eq!(untimed.timed(), since_look);
                    timed += 1;
                    since_look = 0;
                }
            }
            assert_eq!(timed, 25, "looked at every {looked_every}");
        }
    }

    #[test]
    fn patience_ends_by_count_or_by_time() {
        assert_eq!(after_failure(1, 0, 3, 100), Next::Again);
        assert_eq!(after_failure(3, 0, 3, 100), Next::Alone);
        assert_eq!(after_failure(1, 100, 3, 100), Next::Alone);
    }
}
