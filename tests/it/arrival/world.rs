//! The same programs on real cells, on the threads of an executor.

use super::{
    Seen, State,
    program::{Batch, LAST, NESTED, Op, PHASE, PLAIN, Place, Program, Way, mix, remainder},
};
use std::{
    cell::{Cell, RefCell},
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
};
use txloop::{Executor, Read, TCounter, TLog, TMax, TMin, TVar, Transaction};

/// An effect with its closure and what that had seen; the end of all effects is `None`.
pub(super) type Effects = Sender<Option<(usize, u64)>>;
/// What a closure saw, and what it drew.
pub(super) type Answer = (u64, u64);
type Closure = Box<dyn Fn(&Transaction) -> Answer + Send + Sync>;

/// The cells of one run.
pub(super) struct World {
    pub(super) plain: Vec<TVar<u64>>,
    pub(super) nested: Vec<TVar<Option<TVar<u64>>>>,
    count: TCounter,
    most: TMax<u64>,
    least: TMin<u64>,
    log: TLog<u64>,
    effects: Effects,
}

/// One run of a closure.
struct Attempt<'a> {
    world: &'a World,
    number: usize,
    acc: Cell<u64>,
    drawn: Cell<u64>,
    kept: RefCell<Option<TVar<u64>>>,
}

impl World {
    pub(super) fn new(effects: Effects) -> Self {
        let inner = |i| (i % 2 == 0).then(|| TVar::new(i as u64));
        Self {
            plain: (0..PLAIN as u64).map(TVar::new).collect(),
            nested: (0..NESTED).map(|i| TVar::new(inner(i))).collect(),
            count: TCounter::new(0),
            most: TMax::new(0),
            least: TMin::new(u64::MAX),
            log: TLog::new(),
            effects,
        }
    }

    pub(super) fn state(&self) -> State {
        txloop::snapshot(|s| {
            let mut log: Vec<u64> = self.log.newest_first(s).copied().collect();
            log.reverse();
            State {
                plain: self.plain.iter().map(|cell| *s.get(cell)).collect(),
                nested: self
                    .nested
                    .iter()
                    .map(|cell| s.get(cell).as_ref().map(|cell| *s.get(cell)))
                    .collect(),
                count: self.count.get(s) as u64,
                extremes: (*self.most.get(s), *self.least.get(s)),
                log,
            }
        })
    }

    pub(super) fn run(&self, tx: &Transaction, number: usize, program: &Program) -> Answer {
        let (acc, drawn, kept) = (Cell::new(number as u64), Cell::new(0), RefCell::new(None));
        let attempt = Attempt { world: self, number, acc, drawn, kept };
        attempt.block(tx, program);
        (attempt.acc.get(), attempt.drawn.get())
    }
}

fn closure(world: &Arc<World>, number: usize, program: &Program) -> Closure {
    let (world, program) = (Arc::clone(world), program.clone());
    Box::new(move |tx| world.run(tx, number, &program))
}

/// A panic that does not reach the hook, which would print it.
pub(super) fn quiet_panic(message: String) -> ! {
    resume_unwind(Box::new(message))
}

fn step(old: u64, salt: u64, panics: bool) -> u64 {
    if panics && old.is_multiple_of(3) {
        quiet_panic("a step panicked".to_owned());
    }
    mix(old, salt)
}

impl Attempt<'_> {
    fn find(&self, view: &impl Read, place: Place) -> Option<TVar<u64>> {
        match place {
            Place::Plain(i) => Some(self.world.plain[i].clone()),
            Place::Inner(i) => view.get(&self.world.nested[i]).clone(),
            Place::Kept => self.kept.borrow().clone(),
        }
    }

    fn number(&self, view: &impl Read, place: Place) -> u64 {
        self.find(view, place).map_or(1, |cell| *view.get(&cell))
    }

    fn saw(&self, seen: u64) {
        self.acc.set(mix(self.acc.get(), seen));
    }

    /// Whether it need not wait.
    fn is_there(&self, view: &impl Read, place: Place, number: u64) -> bool {
        let seen = self.number(view, place);
        self.saw(seen);
        seen.is_multiple_of(number) || self.number(view, Place::Plain(PHASE)) >= LAST
    }

    fn block(&self, tx: &Transaction, ops: &[Op]) {
        for op in ops {
            if let Op::Leave(number) = op
                && self.acc.get().is_multiple_of(*number)
            {
                break;
            }
            match op {
                Op::Nested(..) | Op::Savepoint(..) | Op::OrElse(..) | Op::Catch(..) => {
                    self.part(tx, op);
                }
                Op::Get(place)
                | Op::Set(place, _)
                | Op::Modify(place)
                | Op::SetIfChanged(place, _)
                | Op::Later(place, _) => {
                    if let Some(cell) = self.find(tx, *place) {
                        self.number_op(tx, op, &cell);
                    }
                }
                Op::Make(_) | Op::Drop(_) | Op::Share(..) | Op::Keep(_) => self.cell_op(tx, op),
                Op::Phase(_) | Op::Add | Op::Offer | Op::Push | Op::Clear => self.fold_op(tx, op),
                _ => self.other_op(tx, op),
            }
        }
    }

    fn part(&self, tx: &Transaction, op: &Op) {
        let part = |tx: &Transaction, ops: &[Op], undo: bool| {
            self.block(tx, ops);
            if undo { Err(()) } else { Ok(()) }
        };
        // An `Err` has undone what it should, and the closure goes on.
        let _ = match op {
            Op::Nested(ops, undo) => txloop::try_atomically(|tx| part(tx, ops, *undo)),
            Op::Savepoint(ops, undo) => tx.savepoint(|tx| part(tx, ops, *undo)),
            Op::OrElse(a, b) => tx.or_else(|tx| part(tx, a, false), |tx| part(tx, b, false)),
            Op::Catch(ops) => {
                let result = catch_unwind(AssertUnwindSafe(|| self.block(tx, ops)));
                self.saw(u64::from(result.is_err()));
                Ok(())
            }
            _ => unreachable!("has no parts"),
        };
    }

    fn number_op(&self, tx: &Transaction, op: &Op, cell: &TVar<u64>) {
        let acc = self.acc.get();
        match *op {
            Op::Get(_) => self.saw(*tx.get(cell)),
            Op::Set(_, number) => tx.set(cell, remainder(acc, number)),
            Op::Modify(_) => {
                let old = tx.modify(cell, |n| std::mem::replace(n, mix(*n, acc)));
                self.saw(old);
            }
            Op::SetIfChanged(_, number) => {
                let changed = tx.set_if_changed(cell, remainder(acc, number));
                self.saw(u64::from(changed));
            }
            Op::Later(_, panics) => tx.update_later(cell, move |old| step(*old, acc, panics)),
            _ => unreachable!("not for one number"),
        }
    }

    fn cell_op(&self, tx: &Transaction, op: &Op) {
        let nested = &self.world.nested;
        match *op {
            Op::Make(i) => tx.set(&nested[i], Some(TVar::new(self.acc.get()))),
            Op::Drop(i) => tx.set(&nested[i], None),
            Op::Share(from, to) => tx.set(&nested[to], tx.get(&nested[from]).clone()),
            Op::Keep(i) => drop(self.kept.replace(tx.get(&nested[i]).clone())),
            _ => unreachable!("not for a cell with a cell"),
        }
    }

    fn fold_op(&self, tx: &Transaction, op: &Op) {
        let (world, acc) = (self.world, self.acc.get());
        match *op {
            Op::Phase(phase) => tx.set(&world.plain[PHASE], phase),
            Op::Add => world.count.add(tx, acc as i64),
            Op::Offer => {
                world.most.offer(tx, acc);
                world.least.offer(tx, acc);
            }
            Op::Push => world.log.push(tx, acc),
            Op::Clear => world.log.clear(tx),
            _ => unreachable!("not a write alone"),
        }
    }

    fn other_op(&self, tx: &Transaction, op: &Op) {
        let (world, acc) = (self.world, self.acc.get());
        match *op {
            Op::Count => self.saw(world.count.get(tx) as u64),
            Op::Extremes => {
                let (most, least) = (*world.most.get(tx), *world.least.get(tx));
                self.saw(most);
                self.saw(least);
            }
            Op::Entries => {
                self.saw(world.log.len(tx));
                world.log.newest_first(tx).for_each(|entry| self.saw(*entry));
            }
            Op::Wait(place, number) => tx.guard(self.is_there(tx, place, number)),
            Op::LookWait(place, number) => txloop::snapshot(|s| {
                if !self.is_there(s, place, number) {
                    s.retry();
                }
            }),
            Op::WaitPhase(phase) => tx.guard(*tx.get(&world.plain[PHASE]) >= phase),
            Op::Look(a, b) => {
                let (a, b) = txloop::snapshot(|s| (self.number(s, a), self.number(s, b)));
                self.saw(mix(a, b));
            }
            Op::Panic(place, number) => {
                let seen = self.number(tx, place);
                if seen.is_multiple_of(number) {
                    quiet_panic(format!("saw {seen} after {acc}"));
                }
            }
            Op::Effect => {
                let (effects, number) = (world.effects.clone(), self.number);
                tx.on_commit(move || effects.send(Some((number, acc))).expect("listened to"));
            }
            Op::Chance => self.drawn.set(mix(self.drawn.get(), tx.rng().next_u64())),
            Op::Name => {
                let name = tx.unique_id();
                self.drawn.set(mix(self.drawn.get(), name as u64 ^ (name >> 64) as u64));
            }
            Op::Yield => std::thread::yield_now(),
            Op::Spin(turns) => (0..turns).for_each(|_| std::hint::spin_loop()),
            Op::Leave(_) => {}
            _ => unreachable!("done by the others"),
        }
    }
}

/// An answer, or the message of the panic without the place of a refused `retry`.
pub(super) fn answer<E: Display>(answer: Result<Answer, E>) -> Result<Answer, String> {
    answer.map_err(|error| {
        let text = error.to_string();
        let message = text.strip_prefix("the transaction panicked: ").expect("a panic");
        let end = message.find(" would wait for ever (at ").unwrap_or(message.len());
        message[..end].to_owned()
    })
}

/// Runs a batch, and returns what was seen of it and what its closures drew.
pub(super) fn run(executor: &Executor, batch: &Batch) -> (Seen, Vec<u64>) {
    let (sender, receiver) = channel();
    let world = Arc::new(World::new(sender));
    let programs = batch.programs.iter().enumerate();
    let mut closures: Vec<Closure> = programs.map(|(i, p)| closure(&world, i, p)).collect();
    let answers: Vec<Result<Answer, String>> = match batch.way {
        Way::Transacts(first) => {
            let rest = closures.split_off(first);
            let first: Vec<_> =
                closures.into_iter().map(|closure| executor.transact("alone", closure)).collect();
            let rest = executor.run("batch", rest);
            first
                .into_iter()
                .map(|one| answer(one.wait()))
                .chain(rest.into_iter().map(answer))
                .collect()
        }
        Way::Callers(first) => {
            let rest = closures.split_off(first);
            std::thread::scope(|scope| {
                let rest = scope.spawn(|| executor.run("second", rest));
                let mut answers = executor.run("first", closures);
                answers.append(&mut rest.join().expect("no panic"));
                answers.into_iter().map(answer).collect()
            })
        }
    };
    let (last, end) = (Arc::clone(&world), TVar::new(()));
    let last = executor.transact("last", move |tx| {
        let effects = last.effects.clone();
        tx.set(&end, ());
        tx.on_commit(move || effects.send(None).expect("listened to"));
    });
    last.wait().expect("no panic");
    let effects = receiver.iter().map_while(|effect| effect).collect();
    let drawn = answers.iter().map(|answer| answer.as_ref().map_or(0, |(_, drawn)| *drawn));
    let drawn = drawn.collect();
    let answers = answers.into_iter().map(|answer| answer.map(|(acc, _)| acc)).collect();
    (Seen { answers, effects, state: world.state() }, drawn)
}
