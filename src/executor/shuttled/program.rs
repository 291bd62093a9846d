//! Small random handlers as data: what each does, with cells and in a model of plain numbers.

use super::super::job::Kind;
use crate::TVar;
use crate::sync::{explore::below, thread::yield_now};
use crate::transaction::{Read, Snapshot, Transaction};
use std::{
    cell::RefCell,
    collections::{BTreeSet, VecDeque},
};

/// Two cells with numbers, then two with things to take.
pub(super) const CELLS: usize = 4;
const GOODS: [usize; 2] = [2, 3];

#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    Look(usize),
    Add(usize, u64),
    Move(usize, usize, u64),
    /// Adds at commit.
    Later(usize, u64),
    Put(usize),
    /// Takes one, or waits for one.
    Take(usize),
    /// Takes one of the first goods, or else one of the second, or waits for either.
    Either,
}

/// One handler.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) kind: Kind,
    pub(super) ops: Vec<Op>,
    /// Whether what it writes is undone where its answer is odd.
    pub(super) denies: bool,
}

/// What a search looks at.
pub(super) const SEARCH: [Op; 2] = [Op::Look(0), Op::Look(1)];

impl Program {
    fn new(kind: Kind, ops: Vec<Op>) -> Self {
        Self { kind, ops, denies: false }
    }

    /// Whether it writes, with this answer.
    pub(super) fn writes(&self, answer: u64) -> bool {
        self.ops.iter().any(|op| !matches!(op, Op::Look(_))) && !self.undoes(answer)
    }

    /// Whether what it writes is undone, with this answer.
    pub(super) fn undoes(&self, answer: u64) -> bool {
        self.denies && !answer.is_multiple_of(2)
    }
}

/// The handler was left, to wait.
#[derive(Debug)]
pub(super) struct Left;

/// What a program works on.
pub(super) trait Cells {
    fn get(&self, cell: usize) -> u64;
    fn set(&self, cell: usize, value: u64);
    fn later(&self, cell: usize, n: u64);
    fn leave(&self) -> Left;
    fn or_else<R>(
        &self,
        a: impl FnOnce() -> Result<R, Left>,
        b: impl FnOnce() -> Result<R, Left>,
    ) -> Result<R, Left>;

    fn add(&self, cell: usize, n: u64) -> u64 {
        let before = self.get(cell);
        self.set(cell, before.wrapping_add(n));
        before
    }

    fn take(&self, cell: usize) -> Result<u64, Left> {
        match self.get(cell) {
            0 => Err(self.leave()),
            n => Ok(self.add(cell, u64::MAX) + n),
        }
    }
}

/// Takes these steps; the answer is made of all that they saw.
pub(super) fn run(ops: &[Op], cells: &impl Cells) -> Result<u64, Left> {
    let mut answer = 0_u64;
    for op in ops {
        let seen = match *op {
            Op::Look(cell) => cells.get(cell),
            Op::Add(cell, n) => cells.add(cell, n),
            Op::Move(from, to, n) => {
                cells.add(from, n.wrapping_neg()).wrapping_mul(3) + cells.add(to, n)
            }
            Op::Later(cell, n) => {
                cells.later(cell, n);
                0
            }
            Op::Put(cell) => cells.add(cell, 1),
            Op::Take(cell) => cells.take(cell)?,
            Op::Either => cells.or_else(
                || {
                    // Undone if there is nothing to take.
                    cells.add(1, 100);
                    cells.take(GOODS[0])
                },
                || cells.take(GOODS[1]),
            )?,
        };
        answer = answer.wrapping_mul(31).wrapping_add(seen);
    }
    Ok(answer)
}

/// A transaction on the real cells.
pub(super) struct Real<'a>(pub(super) &'a Transaction, pub(super) &'a [TVar<u64>; CELLS]);

impl Cells for Real<'_> {
    fn get(&self, cell: usize) -> u64 {
        *self.0.get(&self.1[cell])
    }

    fn set(&self, cell: usize, value: u64) {
        self.0.set(&self.1[cell], value);
    }

    fn later(&self, cell: usize, n: u64) {
        self.0.update_later(&self.1[cell], move |old| old.wrapping_add(n));
    }

    fn leave(&self) -> Left {
        self.0.retry()
    }

    fn or_else<R>(
        &self,
        a: impl FnOnce() -> Result<R, Left>,
        b: impl FnOnce() -> Result<R, Left>,
    ) -> Result<R, Left> {
        self.0.or_else(|_| a(), |_| b())
    }
}

/// A snapshot of the real cells, for programs that only look.
pub(super) struct Seen<'a>(pub(super) &'a Snapshot, pub(super) &'a [TVar<u64>; CELLS]);

impl Cells for Seen<'_> {
    fn get(&self, cell: usize) -> u64 {
        yield_now();
        *Read::get(self.0, &self.1[cell])
    }

    fn set(&self, _: usize, _: u64) {
        unreachable!("it only looks")
    }

    fn later(&self, _: usize, _: u64) {
        unreachable!("it only looks")
    }

    fn leave(&self) -> Left {
        unreachable!("it only looks")
    }

    fn or_else<R>(
        &self,
        _: impl FnOnce() -> Result<R, Left>,
        _: impl FnOnce() -> Result<R, Left>,
    ) -> Result<R, Left> {
        unreachable!("it only looks")
    }
}

/// One run in the model.
struct Modelled {
    values: RefCell<[u64; CELLS]>,
    read: RefCell<BTreeSet<usize>>,
    written: RefCell<BTreeSet<usize>>,
}

impl Cells for Modelled {
    fn get(&self, cell: usize) -> u64 {
        self.read.borrow_mut().insert(cell);
        self.values.borrow()[cell]
    }

    fn set(&self, cell: usize, value: u64) {
        self.written.borrow_mut().insert(cell);
        self.values.borrow_mut()[cell] = value;
    }

    fn later(&self, cell: usize, n: u64) {
        let old = self.values.borrow()[cell];
        self.set(cell, old.wrapping_add(n));
    }

    fn leave(&self) -> Left {
        Left
    }

    fn or_else<R>(
        &self,
        a: impl FnOnce() -> Result<R, Left>,
        b: impl FnOnce() -> Result<R, Left>,
    ) -> Result<R, Left> {
        let before = (*self.values.borrow(), self.written.borrow().clone());
        a().or_else(|Left| {
            *self.values.borrow_mut() = before.0;
            *self.written.borrow_mut() = before.1;
            b()
        })
    }
}

/// What one thread that runs programs one after another comes to.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) values: [u64; CELLS],
    /// The programs that have ended, with their answers, in order.
    pub(super) ended: Vec<(usize, u64)>,
    /// Who waits, for what.
    parked: Vec<(usize, BTreeSet<usize>)>,
}

impl Model {
    /// Runs program `number`, then whoever it wakes, and so on.
    pub(super) fn run(&mut self, programs: &[Program], number: usize) {
        let mut next = VecDeque::from([number]);
        while let Some(number) = next.pop_front() {
            let cells = Modelled {
                values: RefCell::new(self.values),
                read: RefCell::default(),
                written: RefCell::default(),
            };
            let Program { kind, ops, .. } = &programs[number];
            let search: &[Op] = if *kind == Kind::SearchThenWrite { &SEARCH } else { &[] };
            let answer =
                run(search, &cells).and_then(|found| Ok(run(ops, &cells)?.wrapping_add(found)));
            let Modelled { values, read, written } = cells;
            match answer {
                Err(Left) => self.parked.push((number, read.into_inner())),
                Ok(answer) if programs[number].undoes(answer) => self.ended.push((number, answer)),
                Ok(answer) => {
                    self.values = values.into_inner();
                    self.ended.push((number, answer));
                    let written = written.into_inner();
                    let wakes = |of: &(usize, BTreeSet<usize>)| !of.1.is_disjoint(&written);
                    next.extend(self.parked.extract_if(.., |p| wakes(p)).map(|(n, _)| n));
                }
            }
        }
    }
}

fn program(searches: bool) -> Program {
    let mut ops = Vec::new();
    let n = 1 + below(5) as u64;
    let cell = below(2);
    if searches && below(8) == 0 {
        return Program::new(Kind::SearchThenWrite, vec![Op::Add(cell, n)]);
    }
    match below(11) {
        0 | 1 => ops.push(Op::Add(cell, n)),
        2 | 3 => ops.push(Op::Move(cell, 1 - cell, n)),
        4 => ops.push(Op::Later(cell, n)),
        5 => ops.extend([Op::Later(cell, n), Op::Add(1 - cell, n)]),
        6 => ops.push(Op::Take(GOODS[below(2)])),
        7 => ops.extend([Op::Take(GOODS[below(2)]), Op::Add(cell, n)]),
        8 => ops.push(Op::Either),
        9 => {
            ops.extend([Op::Add(1 - cell, n), Op::Look(cell)]);
            return Program { denies: true, ..Program::new(Kind::Write, ops) };
        }
        _ => {
            ops.extend((0..CELLS).map(Op::Look));
            let kind = if below(3) == 0 { Kind::Write } else { Kind::Read };
            return Program::new(kind, ops);
        }
    }
    Program::new(Kind::Write, ops)
}

/// So many random programs, with one more for each thing that they may need. What a search finds is
/// what its act writes on in arrival order only.
pub(super) fn programs(count: usize, searches: bool) -> Vec<Program> {
    let mut programs: Vec<Program> = (0..count).map(|_| program(searches)).collect();
    for number in 0..count {
        let puts: &[usize] = match programs[number].ops[0] {
            Op::Take(goods) => &[goods],
            Op::Either => &GOODS,
            _ => continue,
        };
        for &goods in puts {
            let at = below(programs.len() - count + 1) + count;
            programs.insert(at, Program::new(Kind::Write, vec![Op::Put(goods)]));
        }
    }
    // Some of what is needed comes before it is.
    let turn = below(programs.len());
    programs.rotate_right(turn);
    programs
}
