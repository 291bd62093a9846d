//! The serial oracle: one closure after another on plain data, without cells and threads.
//!
//! A closure that is left waits, with the set of cells that it has read. Whoever writes one of them
//! has it run again right behind, before the next closure of the batch; those who are woken run in
//! the order in which they began to wait.

use super::{
    Seen, State,
    program::{LAST, NESTED, Op, PHASE, PLAIN, Place, Program, mix, remainder},
};
use std::collections::{BTreeSet, VecDeque};

/// The number of a cell, in the order in which they were made.
type Id = usize;

const COUNT: Id = PLAIN + NESTED;
const MOST: Id = COUNT + 1;
const LEAST: Id = COUNT + 2;
const LOG: Id = COUNT + 3;

fn plain(i: usize) -> Id {
    i
}

fn nested(i: usize) -> Id {
    PLAIN + i
}

/// What a cell holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Number(u64),
    Cell(Option<Id>),
    Log(Vec<u64>),
}

impl Value {
    fn number(&self) -> u64 {
        match self {
            Value::Number(number) => *number,
            _ => unreachable!("not a number"),
        }
    }

    fn cell(&self) -> Option<Id> {
        match self {
            Value::Cell(cell) => *cell,
            _ => unreachable!("not a cell with a cell"),
        }
    }
}

/// One step of a write whose value is made at commit.
#[derive(Debug, Clone)]
enum Step {
    Add(u64),
    Max(u64),
    Min(u64),
    Push(u64),
    Later(u64, bool),
}

impl Step {
    fn after(&self, old: &Value) -> Result<Value, Stop> {
        Ok(match (self, old) {
            (Step::Add(n), Value::Number(old)) => Value::Number(old.wrapping_add(*n)),
            (Step::Max(n), Value::Number(old)) => Value::Number(*old.max(n)),
            (Step::Min(n), Value::Number(old)) => Value::Number(*old.min(n)),
            (Step::Push(n), Value::Log(old)) => Value::Log([&old[..], &[*n]].concat()),
            (Step::Later(_, true), Value::Number(old)) if old % 3 == 0 => {
                return Err(Stop::Panic("a step panicked".to_owned()));
            }
            (Step::Later(salt, _), Value::Number(old)) => Value::Number(mix(*old, *salt)),
            _ => unreachable!("a step for a cell of another type"),
        })
    }
}

fn fold(mut value: Value, steps: &[Step]) -> Result<Value, Stop> {
    for step in steps {
        value = step.after(&value)?;
    }
    Ok(value)
}

/// Why a closure does not go on.
pub(super) enum Stop {
    Panic(String),
    Left,
}

/// What a run of a closure comes to, before anything is decided about it.
#[cfg(txloop_check)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Returned(u64),
    Panicked(String),
    /// It unwound because it is to wait.
    Left,
}

#[derive(Debug, Clone)]
enum Write {
    Value(Value),
    Steps(Vec<Step>),
}

/// One run of a closure.
struct Attempt<'a> {
    memory: &'a mut Vec<Value>,
    number: usize,
    acc: u64,
    kept: Option<Id>,
    /// In the order of the first write.
    writes: Vec<(Id, Write)>,
    reads: BTreeSet<Id>,
    effects: Vec<(usize, u64)>,
    left: bool,
}

/// What a savepoint puts back.
type Mark = (Vec<(Id, Write)>, usize);

impl<'a> Attempt<'a> {
    fn new(memory: &'a mut Vec<Value>, number: usize) -> Self {
        let (writes, effects, reads) = (Vec::new(), Vec::new(), BTreeSet::new());
        let (acc, kept, left) = (number as u64, None, false);
        Self { memory, number, acc, kept, writes, reads, effects, left }
    }

    fn own(&self, id: Id) -> Option<usize> {
        self.writes.iter().position(|(other, _)| *other == id)
    }

    fn get(&mut self, id: Id) -> Result<Value, Stop> {
        let Some(at) = self.own(id) else {
            self.reads.insert(id);
            return Ok(self.memory[id].clone());
        };
        if let Write::Steps(steps) = &self.writes[at].1 {
            // From now on an ordinary write of a cell that was read.
            self.reads.insert(id);
            self.writes[at].1 = Write::Value(fold(self.memory[id].clone(), steps)?);
        }
        match &self.writes[at].1 {
            Write::Value(value) => Ok(value.clone()),
            Write::Steps(_) => unreachable!("replaced above"),
        }
    }

    fn set(&mut self, id: Id, value: Value) {
        match self.own(id) {
            Some(at) => self.writes[at].1 = Write::Value(value),
            None => self.writes.push((id, Write::Value(value))),
        }
    }

    fn later(&mut self, id: Id, step: Step) -> Result<(), Stop> {
        match self.own(id).map(|at| &mut self.writes[at].1) {
            Some(Write::Value(value)) => *value = step.after(value)?,
            Some(Write::Steps(steps)) => steps.push(step),
            None => self.writes.push((id, Write::Steps(vec![step]))),
        }
        Ok(())
    }

    /// A snapshot inside the closure begins: all values are made.
    fn look(&mut self) -> Result<(), Stop> {
        let written: Vec<Id> = self.writes.iter().map(|(id, _)| *id).collect();
        written.into_iter().try_for_each(|id| self.get(id).map(drop))
    }

    fn mark(&self) -> Mark {
        (self.writes.clone(), self.effects.len())
    }

    fn undo(&mut self, (writes, effects): Mark) {
        self.writes = writes;
        self.effects.truncate(effects);
    }

    fn find(&mut self, place: Place) -> Result<Option<Id>, Stop> {
        match place {
            Place::Plain(i) => Ok(Some(plain(i))),
            Place::Inner(i) => Ok(self.get(nested(i))?.cell()),
            Place::Kept => Ok(self.kept),
        }
    }

    /// The number in a place; 1 if there is no cell.
    fn number(&mut self, place: Place) -> Result<u64, Stop> {
        Ok(match self.find(place)? {
            Some(id) => self.get(id)?.number(),
            None => 1,
        })
    }

    fn saw(&mut self, seen: u64) {
        self.acc = mix(self.acc, seen);
    }

    fn guard(&mut self, ok: bool) -> Result<(), Stop> {
        if !ok {
            self.left = true;
            return Err(Stop::Left);
        }
        Ok(())
    }

    /// Waits for a multiple of the number, or for the last phase.
    fn wait(&mut self, place: Place, number: u64) -> Result<(), Stop> {
        let seen = self.number(place)?;
        self.saw(seen);
        let ok = seen.is_multiple_of(number) || self.number(Place::Plain(PHASE))? >= LAST;
        self.guard(ok)
    }

    fn block(&mut self, ops: &[Op]) -> Result<(), Stop> {
        for op in ops {
            if let Op::Leave(number) = op
                && self.acc.is_multiple_of(*number)
            {
                break;
            }
            match op {
                Op::Nested(..) | Op::Savepoint(..) | Op::OrElse(..) | Op::Catch(..) => {
                    self.part(op)?;
                }
                Op::Get(place)
                | Op::Set(place, _)
                | Op::Modify(place)
                | Op::SetIfChanged(place, _)
                | Op::Later(place, _) => {
                    if let Some(id) = self.find(*place)? {
                        self.number_op(op, id)?;
                    }
                }
                Op::Make(i) | Op::Drop(i) | Op::Share(i, _) | Op::Keep(i) => {
                    self.cell_op(op, nested(*i))?;
                }
                _ => self.other_op(op)?,
            }
        }
        Ok(())
    }

    fn part(&mut self, op: &Op) -> Result<(), Stop> {
        let mark = self.mark();
        match op {
            Op::Nested(ops, undo) | Op::Savepoint(ops, undo) => {
                let result = self.block(ops);
                if *undo || result.is_err() {
                    self.undo(mark);
                }
                result
            }
            Op::OrElse(a, b) => {
                let before = std::mem::take(&mut self.left);
                let result = self.block(a);
                let left = std::mem::replace(&mut self.left, before);
                if left || result.is_err() {
                    self.undo(mark);
                }
                if left { self.block(b) } else { result }
            }
            Op::Catch(ops) => {
                let result = self.block(ops);
                self.saw(u64::from(result.is_err()));
                Ok(())
            }
            _ => unreachable!("has no parts"),
        }
    }

    fn number_op(&mut self, op: &Op, id: Id) -> Result<(), Stop> {
        match op {
            Op::Get(_) => {
                let seen = self.get(id)?.number();
                self.saw(seen);
            }
            Op::Set(_, number) => self.set(id, Value::Number(remainder(self.acc, *number))),
            Op::Modify(_) => {
                let old = self.get(id)?.number();
                self.set(id, Value::Number(mix(old, self.acc)));
                self.saw(old);
            }
            Op::SetIfChanged(_, number) => {
                let new = Value::Number(remainder(self.acc, *number));
                let changed = self.get(id)? != new;
                if changed {
                    self.set(id, new);
                }
                self.saw(u64::from(changed));
            }
            Op::Later(_, panics) => self.later(id, Step::Later(self.acc, *panics))?,
            _ => unreachable!("not for one number"),
        }
        Ok(())
    }

    fn cell_op(&mut self, op: &Op, id: Id) -> Result<(), Stop> {
        match op {
            Op::Make(_) => {
                self.memory.push(Value::Number(self.acc));
                self.set(id, Value::Cell(Some(self.memory.len() - 1)));
            }
            Op::Drop(_) => self.set(id, Value::Cell(None)),
            Op::Share(_, to) => {
                let shared = self.get(id)?;
                self.set(nested(*to), shared);
            }
            Op::Keep(_) => self.kept = self.get(id)?.cell(),
            _ => unreachable!("not for a cell with a cell"),
        }
        Ok(())
    }

    fn other_op(&mut self, op: &Op) -> Result<(), Stop> {
        match op {
            Op::Phase(phase) => self.set(plain(PHASE), Value::Number(*phase)),
            Op::Add => self.later(COUNT, Step::Add(self.acc))?,
            Op::Offer => {
                self.later(MOST, Step::Max(self.acc))?;
                self.later(LEAST, Step::Min(self.acc))?;
            }
            Op::Push => self.later(LOG, Step::Push(self.acc))?,
            Op::Clear => self.set(LOG, Value::Log(Vec::new())),
            Op::Count => {
                let count = self.get(COUNT)?.number();
                self.saw(count);
            }
            Op::Extremes => {
                let (most, least) = (self.get(MOST)?.number(), self.get(LEAST)?.number());
                self.saw(most);
                self.saw(least);
            }
            Op::Entries => {
                let Value::Log(log) = self.get(LOG)? else { unreachable!("a log") };
                self.saw(log.len() as u64);
                log.iter().rev().for_each(|entry| self.saw(*entry));
            }
            Op::Wait(place, number) => self.wait(*place, *number)?,
            Op::LookWait(place, number) => {
                self.look()?;
                self.wait(*place, *number)?;
            }
            Op::WaitPhase(phase) => {
                let ok = self.number(Place::Plain(PHASE))? >= *phase;
                self.guard(ok)?;
            }
            Op::Look(a, b) => {
                self.look()?;
                let (a, b) = (self.number(*a)?, self.number(*b)?);
                self.saw(mix(a, b));
            }
            Op::Panic(place, number) => {
                let seen = self.number(*place)?;
                if seen.is_multiple_of(*number) {
                    return Err(Stop::Panic(format!("saw {seen} after {}", self.acc)));
                }
            }
            Op::Effect => self.effects.push((self.number, self.acc)),
            _ => {}
        }
        Ok(())
    }

    /// All values are made; nothing can stop it any more if that succeeds.
    fn values(&self) -> Result<Vec<(Id, Value)>, Stop> {
        let value = |(id, write): &(Id, Write)| {
            let value = match write {
                Write::Value(value) => value.clone(),
                Write::Steps(steps) => fold(self.memory[*id].clone(), steps)?,
            };
            Ok((*id, value))
        };
        self.writes.iter().map(value).collect()
    }
}

/// How a run of a closure ended.
pub(super) enum Outcome {
    /// It committed, and wrote these cells.
    Committed(u64, Vec<Id>, Vec<(usize, u64)>),
    Panicked(String),
    /// It waits for one of these cells.
    Waits(BTreeSet<Id>),
}

/// Runs a closure on a copy of the cells, and says how it ended, and whether it is to wait.
#[cfg(txloop_check)]
pub(super) fn told(memory: &[Value], number: usize, program: &Program) -> (Told, bool) {
    let mut memory = memory.to_vec();
    let mut attempt = Attempt::new(&mut memory, number);
    let told = match attempt.block(program) {
        Ok(()) => Told::Returned(attempt.acc),
        Err(Stop::Panic(message)) => Told::Panicked(message),
        Err(Stop::Left) => Told::Left,
    };
    (told, attempt.left)
}

pub(super) fn run(memory: &mut Vec<Value>, number: usize, program: &Program) -> Outcome {
    let mut attempt = Attempt::new(memory, number);
    let result = attempt.block(program);
    if attempt.left {
        return match attempt.reads.is_empty() {
            true => Outcome::Panicked("retry without having read a cell".to_owned()),
            false => Outcome::Waits(attempt.reads),
        };
    }
    match result.and_then(|()| attempt.values()) {
        Ok(values) => {
            let (acc, effects) = (attempt.acc, attempt.effects);
            let ids = values.iter().map(|(id, _)| *id).collect();
            values.into_iter().for_each(|(id, value)| memory[id] = value);
            Outcome::Committed(acc, ids, effects)
        }
        Err(Stop::Panic(message)) => Outcome::Panicked(message),
        Err(Stop::Left) => unreachable!("noted in the attempt"),
    }
}

/// The cells before the first closure.
pub(super) fn memory() -> Vec<Value> {
    let mut memory: Vec<Value> = (0..PLAIN as u64).map(Value::Number).collect();
    memory.extend((0..NESTED).map(|i| Value::Cell((i % 2 == 0).then_some(LOG + 1 + i))));
    memory.extend([Value::Number(0), Value::Number(0), Value::Number(u64::MAX)]);
    memory.push(Value::Log(Vec::new()));
    memory.extend((0..NESTED as u64).map(Value::Number));
    memory
}

/// Runs the closures in the given order; `None` if one of them waits for ever.
pub(super) fn serial(programs: &[Program], order: impl IntoIterator<Item = usize>) -> Option<Seen> {
    let mut memory = memory();
    let mut answers = vec![None; programs.len()];
    let mut effects = Vec::new();
    let mut waiting: Vec<(usize, BTreeSet<Id>)> = Vec::new();
    for number in order {
        let mut turns = VecDeque::from([number]);
        while let Some(number) = turns.pop_front() {
            match run(&mut memory, number, &programs[number]) {
                Outcome::Committed(answer, written, mut new) => {
                    answers[number] = Some(Ok(answer));
                    effects.append(&mut new);
                    let wakes = |reads: &BTreeSet<Id>| written.iter().any(|id| reads.contains(id));
                    turns.extend(waiting.iter().filter(|(_, reads)| wakes(reads)).map(|w| w.0));
                    waiting.retain(|(_, reads)| !wakes(reads));
                }
                Outcome::Panicked(message) => answers[number] = Some(Err(message)),
                Outcome::Waits(reads) => waiting.push((number, reads)),
            }
        }
    }
    let answers = answers.into_iter().collect::<Option<_>>()?;
    Some(Seen { answers, effects, state: state(&memory) })
}

pub(super) fn state(memory: &[Value]) -> State {
    let Value::Log(log) = &memory[LOG] else { unreachable!("a log") };
    State {
        plain: (0..PLAIN).map(|i| memory[plain(i)].number()).collect(),
        nested: (0..NESTED)
            .map(|i| memory[nested(i)].cell().map(|cell| memory[cell].number()))
            .collect(),
        count: memory[COUNT].number(),
        extremes: (memory[MOST].number(), memory[LEAST].number()),
        log: log.clone(),
    }
}
