//! Handlers as if at the same time, compared with a serial run.

use super::test_loop::TestLoop;
use crate::transaction::{
    Snapshot, Transaction,
    attempt::{Attempt, Spare},
    commit::{self, Outcome},
    run::{Ran, attempt_once, snapshot},
    view::Mode,
};
use chacha20::{
    ChaCha12Rng,
    rand_core::{Rng as _, SeedableRng},
};
use std::fmt;

/// How many schedules are tried.
const SCHEDULES: u64 = 200;
/// The most attempts of one handler that are thrown away without a conflict.
const THROWN_AWAY: u32 = 3;

/// A handler on a world of cells, for [`assert_serial`].
pub type OnWorld<'a, W, A> = &'a dyn Fn(&W, &Transaction) -> A;

/// Runs handlers as if they ran at the same time, and compares answers and state with those of a
/// serial run in the order that came out.
///
/// `world` makes the cells, once for each run; `look` gives the state that is compared in the end.
/// Two hundred schedules are tried, always the same ones: which handler begins when, which is done
/// when, and which is run again without need. Callbacks that handlers ask for are run at the end;
/// timers are not. All of this happens on the calling thread. What a handler wrote is committed
/// whatever it answers: an `Err` takes nothing back here.
///
/// What is looked for are handlers that depend on something besides their cells and their inputs,
/// or change it: such a handler shows that it was run again, or in which order.
///
/// # Panics
/// If an answer, or the state in the end, is not that of the serial run; if a handler panics, or
/// all that are left wait for each other with [`Transaction::retry`].
///
/// # Examples
/// ```
/// use txloop::{TVar, testing::assert_serial};
///
/// struct Shop {
///     stock: TVar<u32>,
///     sold: TVar<Vec<&'static str>>,
/// }
///
/// let shop = || Shop { stock: TVar::new(1), sold: TVar::new(Vec::new()) };
/// let sell = |shop: &Shop, tx: &txloop::Transaction, to: &'static str| {
///     if *tx.get(&shop.stock) == 0 {
///         return false;
///     }
///     tx.modify(&shop.stock, |n| *n -= 1);
///     tx.modify(&shop.sold, |sold| sold.push(to));
///     true
/// };
/// assert_serial(
///     shop,
///     &[&|shop, tx| sell(shop, tx, "Ann"), &|shop, tx| sell(shop, tx, "Bob")],
///     |shop, s| s.get(&shop.sold).len(),
/// );
/// ```
///
/// A handler that may fail nests [`try_atomically`](crate::try_atomically), whose `Err` undoes what
/// was written inside of it and is an answer like any other.
///
/// Each run has a world of its own, and in each world a [`TMap`](crate::TMap) iterates in an order
/// of its own: `look` sorts what it takes from one.
///
/// A count that is kept outside of the cells is found:
///
/// ```should_panic
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use txloop::{TVar, testing::assert_serial};
///
/// static CALLS: AtomicU32 = AtomicU32::new(0);
/// assert_serial(
///     || TVar::new(0),
///     &[&|cell, tx| tx.set(cell, CALLS.fetch_add(1, Ordering::Relaxed)), &|cell, tx| {
///         tx.modify(cell, |n| *n *= 2);
///     }],
///     |cell, s| *s.get(cell),
/// );
/// ```
#[track_caller]
pub fn assert_serial<W, A, S>(
    world: impl Fn() -> W,
    handlers: &[OnWorld<'_, W, A>],
    look: impl Fn(&W, &Snapshot) -> S,
) where
    A: PartialEq + fmt::Debug,
    S: PartialEq + fmt::Debug,
{
    for schedule in 0..SCHEDULES {
        let here = world();
        let together = Together::new(&here, handlers, schedule).run();
        let serial = world();
        let answers = one_after_another(&serial, handlers, &together.order);
        for (place, &handler) in together.order.iter().enumerate() {
            let (seen, expected) = (&together.answers[handler], &answers[handler]);
            assert!(
                seen.as_ref() == Some(expected),
                "handler {handler} answered {seen:?}; as number {place} of the serial order \
                 {:?}, run one after another, it answers {expected:?} ({})",
                together.order,
                together.story(),
            );
        }
        let (seen, expected) = (snapshot(|s| look(&here, s)), snapshot(|s| look(&serial, s)));
        assert!(
            seen == expected,
            "the state is {seen:?} in the end; in the serial order {:?}, run one after another, it \
             is {expected:?} ({})",
            together.order,
            together.story(),
        );
    }
}

/// One step of a schedule, for the report.
enum Step {
    Ran(usize),
    ThrownAway(usize),
    Conflicted(usize),
    Waited(usize),
    Committed(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ran(handler) => write!(f, "{handler} runs"),
            Self::ThrownAway(handler) => write!(f, "{handler} is thrown away"),
            Self::Conflicted(handler) => write!(f, "{handler} conflicts"),
            Self::Waited(handler) => write!(f, "{handler} waits"),
            Self::Committed(handler) => write!(f, "{handler} commits"),
        }
    }
}

/// A handler under way.
enum State<A> {
    /// To be run, on a later state than that after so many commits, if it waits for one.
    ToRun(Option<usize>),
    /// Run on the state after so many commits.
    Ran(Box<Attempt>, A, usize),
    Ended,
}

/// A run as if at the same time.
struct Together<'a, W, A> {
    world: &'a W,
    handlers: &'a [OnWorld<'a, W, A>],
    chance: ChaCha12Rng,
    /// One for each handler: it keeps what that one asks for.
    loops: Vec<TestLoop>,
    states: Vec<State<A>>,
    thrown_away: Vec<u32>,
    steps: Vec<Step>,
    /// The handlers that wrote something, as they committed.
    committed: Vec<usize>,
    /// Those that only read, each with the number of commits that it saw.
    readers: Vec<(usize, usize)>,
    answers: Vec<Option<A>>,
    /// All of them, in the serial order.
    order: Vec<usize>,
}

impl<'a, W, A> Together<'a, W, A> {
    fn new(world: &'a W, handlers: &'a [OnWorld<'a, W, A>], schedule: u64) -> Self {
        let count = handlers.len();
        Self {
            world,
            handlers,
            chance: ChaCha12Rng::seed_from_u64(schedule),
            loops: (0..count).map(|_| TestLoop::new()).collect(),
            states: (0..count).map(|_| State::ToRun(None)).collect(),
            thrown_away: vec![0; count],
            steps: Vec::new(),
            committed: Vec::new(),
            readers: Vec::new(),
            answers: (0..count).map(|_| None).collect(),
            order: Vec::new(),
        }
    }

    #[track_caller]
    fn run(mut self) -> Self {
        loop {
            let seen = self.committed.len();
            let ready: Vec<usize> = (0..self.handlers.len())
                .filter(|handler| match &self.states[*handler] {
                    State::ToRun(after) => after.is_none_or(|after| after < seen),
                    State::Ran(..) => true,
                    State::Ended => false,
                })
                .collect();
            if ready.is_empty() {
                break;
            }
            let handler = ready[self.below(ready.len())];
            self.step(handler);
        }
        let ended = self.states.iter().all(|state| matches!(state, State::Ended));
        assert!(ended, "all handlers that are left wait ({})", self.story());
        for seen in 0..=self.committed.len() {
            // A reader's place is right behind the last commit that it saw.
            let readers = self.readers.iter().filter(|(_, saw)| *saw == seen);
            let next = self.committed.get(seen);
            self.order.extend(readers.map(|(reader, _)| reader).chain(next));
        }
        for handler in &self.order {
            self.loops[*handler].run_until_idle();
        }
        self
    }

    /// Runs a handler, or ends it.
    fn step(&mut self, handler: usize) {
        match std::mem::replace(&mut self.states[handler], State::ToRun(None)) {
            State::ToRun(_) => {
                let seen = self.committed.len();
                // Each attempt of a handler has the same inputs.
                self.loops[handler].count_from(first_number(handler));
                let spare = self.loops[handler].admit();
                let (attempt, ran) = run(spare, |tx| self.handlers[handler](self.world, tx));
                let (step, state) = match ran {
                    Some(answer) => {
                        (Step::Ran(handler), State::Ran(Box::new(attempt), answer, seen))
                    }
                    None => (Step::Waited(handler), State::ToRun(Some(seen))),
                };
                self.steps.push(step);
                self.states[handler] = state;
            }
            State::Ran(attempt, ..)
                if self.thrown_away[handler] < THROWN_AWAY && self.below(4) == 0 =>
            {
                self.thrown_away[handler] += 1;
                self.steps.push(Step::ThrownAway(handler));
                drop(attempt.discard());
            }
            State::Ran(mut attempt, answer, seen) => {
                let effects = attempt.logs.outbox.take();
                if attempt.wrote_nothing() && effects.is_empty() {
                    drop(attempt.discard());
                    self.readers.push((handler, seen));
                } else {
                    match commit::commit_and_wait(*attempt) {
                        (_, Outcome::Committed(_)) => self.committed.push(handler),
                        (_, Outcome::Failed(_)) => {
                            return self.steps.push(Step::Conflicted(handler));
                        }
                        (_, Outcome::Panicked(panic)) => panic.resume(),
                        (_, Outcome::TakenBack) => unreachable!("nobody takes it back"),
                    }
                }
                effects.into_iter().for_each(|effect| effect());
                self.steps.push(Step::Committed(handler));
                self.answers[handler] = Some(answer);
                self.states[handler] = State::Ended;
            }
            State::Ended => unreachable!("it is not chosen"),
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.chance.next_u64() % limit as u64) as usize
    }

    fn story(&self) -> String {
        let steps: Vec<_> = self.steps.iter().map(Step::to_string).collect();
        steps.join(", ")
    }
}

/// The numbers of a handler and of its callbacks follow this one; no other handler has them.
fn first_number(handler: usize) -> u64 {
    (handler as u64) << 32
}

/// One attempt; no answer if the handler waits.
fn run<A>(spare: Spare, f: impl Fn(&Transaction) -> A) -> (Attempt, Option<A>) {
    let (attempt, ran) = attempt_once(spare.begin(), Mode::Optimistic, f);
    match ran {
        Ran::Answer(answer) => (attempt, Some(answer)),
        Ran::Left(_) => (attempt, None),
        Ran::Panic(panic) => panic.resume(),
        Ran::TakenBack => unreachable!("nobody takes it back"),
    }
}

/// The answers of a serial run.
fn one_after_another<W, A>(world: &W, handlers: &[OnWorld<'_, W, A>], order: &[usize]) -> Vec<A> {
    let mut loops: Vec<_> = handlers.iter().map(|_| TestLoop::new()).collect();
    let mut answers: Vec<_> = handlers.iter().map(|_| None).collect();
    for &handler in order {
        let only = &mut loops[handler];
        only.count_from(first_number(handler));
        answers[handler] = Some(only.run(|tx| handlers[handler](world, tx)));
    }
    for &handler in order {
        loops[handler].run_until_idle();
    }
    answers.into_iter().map(|answer| answer.expect("each has its place in the order")).collect()
}
