//! What is run: programs, who runs each, and the shapes that follow from a seed.

use super::{
    history, model,
    program::{Dice, LAST, NESTED, Op, PLAIN, Place, Program},
    stage::{self, Recorded},
};
use txloop::{Order, probe::interleaved::Ran};

/// Who runs a program, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `atomically` on this thread.
    Thread(usize),
    /// The same, and it ends with an `Err`.
    Failing(usize),
    /// `snapshot` on this thread: the program only reads.
    Snapshot(usize),
    /// `Executor::transact`.
    Transact,
    /// A read-only job of the executor: the program only reads.
    View,
    /// Given to `Executor::run` with the other members.
    Member,
    /// Run when nobody can go on: it sets the last phase, at which nobody waits any more.
    Closer,
}

impl Role {
    /// Whether the program runs on this thread outside the executor.
    pub(super) fn is_on(self, thread: usize) -> bool {
        let (Self::Thread(own) | Self::Failing(own) | Self::Snapshot(own)) = self else {
            return false;
        };
        own == thread
    }
}

/// One run, but for its schedule.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) order: Order,
    /// Of the executor; without any there is none.
    pub(super) workers: usize,
    /// How often a thread does what the reaper does in production.
    pub(super) reaps: u64,
    pub(super) programs: Vec<(Role, Program)>,
}

impl Case {
    /// Runs it in the schedule of a seed.
    pub(super) fn run(&self, seed: u64) -> Result<Ran<Recorded>, String> {
        stage::run(self, seed)
    }

    /// Runs it and looks for what no serial order explains.
    pub(super) fn check(&self, seed: u64) -> Result<(), String> {
        history::check(self, &self.run(seed)?.answer)
    }
}

/// A program that only reads.
fn reads(dice: &mut Dice) -> Program {
    let place = |dice: &mut Dice| match dice.below(4) {
        0 => Place::Inner(dice.index(NESTED)),
        _ => Place::Plain(dice.index(PLAIN)),
    };
    (0..1 + dice.below(4)).map(|_| Op::Get(place(dice))).collect()
}

/// Whether one of the steps, or a step inside one, is such.
fn has(program: &[Op], such: &impl Fn(&Op) -> bool) -> bool {
    program.iter().any(|op| {
        let inside = match op {
            Op::Nested(ops, _) | Op::Savepoint(ops, _) | Op::Catch(ops) => has(ops, such),
            Op::OrElse(a, b) => has(a, such) || has(b, such),
            _ => false,
        };
        inside || such(op)
    })
}

/// Whether a program may wait for a write.
pub(super) fn waits(program: &[Op]) -> bool {
    has(program, &|op| matches!(op, Op::Wait(..) | Op::LookWait(..) | Op::WaitPhase(_)))
}

/// A program that does not wait in the last phase: one that sets a phase waits for none.
fn program(dice: &mut Dice) -> Program {
    loop {
        let program = dice.program();
        if !(waits(&program) && has(&program, &|op| matches!(op, Op::Phase(_)))) {
            return program;
        }
    }
}

fn with_closers(mut programs: Vec<(Role, Program)>) -> Vec<(Role, Program)> {
    // One for each that may set another phase, and some.
    let closers = programs.len() + 2;
    programs.extend((0..closers).map(|_| (Role::Closer, vec![Op::Phase(LAST)])));
    programs
}

/// Threads that call `atomically`.
pub(super) fn of_threads(seed: u64) -> Case {
    let mut dice = Dice::new(seed);
    let threads = 2 + dice.index(3);
    let one = |i: usize, dice: &mut Dice| match dice.below(12) {
        0 => (Role::Snapshot(i), reads(dice)),
        1 => (Role::Failing(i), program(dice)),
        _ => (Role::Thread(i), program(dice)),
    };
    let count = threads + dice.index(2 * threads);
    let programs = (0..count).map(|i| one(i % threads, &mut dice)).collect();
    let reaps = if dice.one_in(2) { dice.below(6) } else { 0 };
    Case { order: Order::Commit, workers: 0, reaps, programs: with_closers(programs) }
}

/// An executor, in either order, and threads beside it.
pub(super) fn of_executor(seed: u64) -> Case {
    let mut dice = Dice::new(seed);
    let order = if dice.one_in(4) { Order::Arrival } else { Order::Commit };
    let threads = dice.index(3);
    let one = |i: usize, dice: &mut Dice| match dice.below(8) {
        0..=2 if i < threads => (Role::Thread(i), program(dice)),
        3 if i < threads => (Role::Snapshot(i), reads(dice)),
        4 => (Role::View, reads(dice)),
        5..=6 => (Role::Member, program(dice)),
        _ => (Role::Transact, program(dice)),
    };
    let count = 2 + dice.index(7);
    let programs = (0..count).map(|i| one(i % 3, &mut dice)).collect();
    let reaps = if dice.one_in(4) { dice.below(6) } else { 0 };
    let workers = 1 + dice.index(3);
    Case { order, workers, reaps, programs: with_closers(programs) }
}

/// An executor in arrival order and nobody else: everything that is seen follows from the programs.
pub(super) fn of_arrival(seed: u64) -> Case {
    let mut dice = Dice::new(seed);
    loop {
        let batch = dice.batch();
        let members = if dice.one_in(3) { dice.index(batch.programs.len()) } else { 0 };
        let first_member = batch.programs.len() - members;
        let programs = batch.programs.into_iter().enumerate();
        let programs: Vec<(Role, Program)> = programs
            .map(|(i, program)| match i {
                _ if i >= first_member => (Role::Member, program),
                _ if dice.one_in(4) && i + 1 < first_member => (Role::View, reads(&mut dice)),
                _ => (Role::Transact, program),
            })
            .collect();
        let (workers, reaps) = (1 + dice.index(4), 0);
        let case = Case { order: Order::Arrival, workers, reaps, programs };
        // A batch of which a closure waits for ever is none.
        if expected(&case).is_some() {
            return case;
        }
    }
}

/// What a case in arrival order without closers shows, if nobody waits for ever.
pub(super) fn expected(case: &Case) -> Option<super::Seen> {
    let programs: Vec<Program> = case.programs.iter().map(|(_, program)| program.clone()).collect();
    model::serial(&programs, 0..programs.len())
}
