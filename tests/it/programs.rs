//! Random programs over random cells, in parallel, against the serial replay in version order.

use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};
use txloop::{Executor, TVar, Transaction, probe};

/// Plain cells, and cells that hold cells, of one program.
const CELLS: usize = 4;

/// One step of a transaction. `acc` is what it has seen so far; it is also the answer.
#[derive(Debug, Clone)]
enum Op {
    Get(usize),
    /// Writes something that depends on all that was read.
    Set(usize),
    /// Reads the cell inside a cell, if there is one.
    GetInner(usize),
    SetInner(usize),
    /// Writes at commit what depends on the cell then, and on all that was read before.
    Later(usize),
    SetIfChanged(usize),
    /// Two alternatives; the first one is left at its end if what it read is odd.
    OrElse(Vec<Op>, Vec<Op>),
    /// Makes a new cell inside a cell; what was there is dropped.
    Make(usize),
    Drop(usize),
    /// A nested transaction, which is undone if the flag says so.
    Nested(Vec<Op>, bool),
    /// A nested snapshot of two cells.
    Look(usize, usize),
}

#[derive(Debug, Clone)]
struct Program {
    ops: Vec<Op>,
    /// Ends with an `Err`: everything is undone.
    fails: bool,
}

fn op() -> impl Strategy<Value = Op> {
    let cell = 0..CELLS;
    let leaf = prop_oneof![
        3 => cell.clone().prop_map(Op::Get),
        3 => cell.clone().prop_map(Op::Set),
        3 => cell.clone().prop_map(Op::Later),
        1 => cell.clone().prop_map(Op::SetIfChanged),
        2 => cell.clone().prop_map(Op::GetInner),
        2 => cell.clone().prop_map(Op::SetInner),
        1 => cell.clone().prop_map(Op::Make),
        1 => cell.clone().prop_map(Op::Drop),
        1 => (cell.clone(), cell).prop_map(|(a, b)| Op::Look(a, b)),
    ];
    leaf.prop_recursive(2, 8, 4, |op| {
        let ops = || prop::collection::vec(op.clone(), 1..4);
        prop_oneof![
            (ops(), any::<bool>()).prop_map(|(ops, undo)| Op::Nested(ops, undo)),
            (ops(), ops()).prop_map(|(a, b)| Op::OrElse(a, b)),
        ]
    })
}

fn threads() -> impl Strategy<Value = Vec<Vec<Program>>> {
    let program = (prop::collection::vec(op(), 1..6), prop::bool::weighted(0.1))
        .prop_map(|(ops, fails)| Program { ops, fails });
    prop::collection::vec(prop::collection::vec(program, 1..5), 1..=8)
}

/// The cells of a run.
struct World {
    plain: Vec<TVar<u64>>,
    nested: Vec<TVar<Option<TVar<u64>>>>,
}

/// What the cells stand for, in the serial replay.
#[derive(Debug, Clone, PartialEq)]
struct Model {
    plain: Vec<u64>,
    nested: Vec<Option<u64>>,
}

fn mix(acc: u64, seen: u64) -> u64 {
    (acc ^ seen).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17)
}

impl World {
    fn new() -> Self {
        Self {
            plain: (0..CELLS as u64).map(TVar::new).collect(),
            nested: (0..CELLS as u64)
                .map(|i| TVar::new((i % 2 == 0).then(|| TVar::new(i))))
                .collect(),
        }
    }

    fn run(&self, tx: &Transaction, ops: &[Op], mut acc: u64) -> u64 {
        for op in ops {
            match op {
                Op::Get(i) => acc = mix(acc, *tx.get(&self.plain[*i])),
                Op::Set(i) => tx.set(&self.plain[*i], acc),
                Op::Later(i) => tx.update_later(&self.plain[*i], move |old| mix(*old, acc)),
                Op::SetIfChanged(i) => {
                    acc = mix(acc, u64::from(tx.set_if_changed(&self.plain[*i], acc % 4)));
                }
                Op::OrElse(a, b) => {
                    let first = |tx: &Transaction| {
                        let acc = self.run(tx, a, acc);
                        tx.guard(acc.is_multiple_of(2));
                        acc
                    };
                    acc = tx.or_else(first, |tx| self.run(tx, b, acc));
                }
                Op::GetInner(i) => {
                    acc = mix(acc, tx.get(&self.nested[*i]).as_ref().map_or(1, |c| *tx.get(c)));
                }
                Op::SetInner(i) => {
                    if let Some(cell) = tx.get(&self.nested[*i]) {
                        tx.set(cell, acc);
                    }
                }
                Op::Make(i) => tx.set(&self.nested[*i], Some(TVar::new(acc))),
                Op::Drop(i) => tx.set(&self.nested[*i], None),
                Op::Look(i, j) => {
                    let (a, b) =
                        txloop::snapshot(|s| (*s.get(&self.plain[*i]), *s.get(&self.plain[*j])));
                    acc = mix(mix(acc, a), b);
                }
                Op::Nested(ops, undo) => {
                    let result = txloop::try_atomically(|inner| {
                        let acc = self.run(inner, ops, acc);
                        if *undo { Err(acc) } else { Ok(acc) }
                    });
                    acc = result.unwrap_or_else(|acc| acc);
                }
            }
        }
        acc
    }

    fn model(&self) -> Model {
        txloop::snapshot(|s| Model {
            plain: self.plain.iter().map(|c| *s.get(c)).collect(),
            nested: self.nested.iter().map(|c| s.get(c).as_ref().map(|c| *s.get(c))).collect(),
        })
    }
}

impl Model {
    fn run(&mut self, ops: &[Op], mut acc: u64) -> u64 {
        for op in ops {
            match op {
                Op::Get(i) => acc = mix(acc, self.plain[*i]),
                Op::Set(i) => self.plain[*i] = acc,
                Op::Later(i) => self.plain[*i] = mix(self.plain[*i], acc),
                Op::SetIfChanged(i) => {
                    let changed = std::mem::replace(&mut self.plain[*i], acc % 4) != acc % 4;
                    acc = mix(acc, u64::from(changed));
                }
                Op::OrElse(a, b) => {
                    let before = self.clone();
                    let first = self.run(a, acc);
                    if first.is_multiple_of(2) {
                        acc = first;
                    } else {
                        *self = before;
                        acc = self.run(b, acc);
                    }
                }
                Op::GetInner(i) => acc = mix(acc, self.nested[*i].unwrap_or(1)),
                Op::SetInner(i) => self.nested[*i] = self.nested[*i].map(|_| acc),
                Op::Make(i) => self.nested[*i] = Some(acc),
                Op::Drop(i) => self.nested[*i] = None,
                Op::Look(i, j) => acc = mix(mix(acc, self.plain[*i]), self.plain[*j]),
                Op::Nested(ops, undo) => {
                    let before = self.clone();
                    acc = self.run(ops, acc);
                    if *undo {
                        *self = before;
                    }
                }
            }
        }
        acc
    }
}

/// One transaction as it was seen from outside.
#[derive(Debug)]
struct Seen<'a> {
    program: &'a Program,
    began: u64,
    ended: u64,
    version: u64,
    answer: u64,
}

fn run_one<'a>(
    world: &World,
    program: &'a Program,
    clock: &AtomicU64,
    executor: Option<&Executor>,
) -> Seen<'a> {
    let began = clock.fetch_add(1, Ordering::SeqCst);
    let run = |tx: &Transaction, world: &World, program: &Program| {
        let answer = world.run(tx, &program.ops, 7);
        if program.fails { Err(answer) } else { Ok(answer) }
    };
    let (answer, version) = match executor {
        None => probe::try_atomically_at(|tx| run(tx, world, program)),
        Some(executor) => {
            let (plain, nested) = (world.plain.clone(), world.nested.clone());
            let program = program.clone();
            let world = World { plain, nested };
            // An executor's closure has no `Err`: its part is a nested transaction's.
            let transact = executor.transact("program", move |_| {
                txloop::try_atomically(|tx| run(tx, &world, &program))
            });
            let (answer, version) = transact.wait_at();
            (answer.expect("no panic"), version)
        }
    };
    let ended = clock.fetch_add(1, Ordering::SeqCst);
    Seen { program, began, ended, version, answer: answer.unwrap_or_else(|answer| answer) }
}

fn check(threads: &[Vec<Program>], executor: Option<&Executor>) -> Result<(), TestCaseError> {
    let (world, clock) = (World::new(), AtomicU64::new(0));
    let mut replay = world.model();
    let mut seen: Vec<Seen<'_>> = std::thread::scope(|scope| {
        let runs: Vec<_> = threads
            .iter()
            .map(|programs| {
                let (world, clock) = (&world, &clock);
                scope.spawn(move || {
                    let runs = programs.iter().map(|p| run_one(world, p, clock, executor));
                    runs.collect::<Vec<_>>()
                })
            })
            .collect();
        runs.into_iter().flat_map(|run| run.join().expect("no panic")).collect()
    });
    // The one that changed state comes first among those of a version; which one that is, the
    // replay shows: every other must leave the state as it is.
    let mut by_version: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (i, one) in seen.iter().enumerate() {
        by_version.entry(one.version).or_default().push(i);
    }
    let mut changed = vec![false; seen.len()];
    for group in by_version.values() {
        let before = replay.clone();
        let agrees = |first: Option<usize>| {
            let mut state = before.clone();
            if let Some(first) = first {
                let good = state.run(&seen[first].program.ops, 7) == seen[first].answer;
                if !good || seen[first].program.fails {
                    return None;
                }
            }
            let rest = group.iter().filter(|&&i| Some(i) != first);
            let all = rest.into_iter().all(|&i| {
                let mut scratch = state.clone();
                let good = scratch.run(&seen[i].program.ops, 7) == seen[i].answer;
                good && (seen[i].program.fails || scratch == state)
            });
            all.then_some(state)
        };
        let firsts = group.iter().copied().map(Some).chain([None]);
        let found = firsts.filter_map(|first| agrees(first).map(|state| (first, state))).next();
        let Some((first, state)) = found else {
            return Err(TestCaseError::fail(format!(
                "no serial order at version {:?}",
                seen[group[0]]
            )));
        };
        if let Some(first) = first {
            changed[first] = state != before;
        }
        replay = state;
    }
    prop_assert_eq!(&replay, &world.model());
    check_real_time(&mut seen, &changed)
}

/// Whoever began after another had ended has no smaller version.
fn check_real_time(seen: &mut [Seen<'_>], changed: &[bool]) -> Result<(), TestCaseError> {
    for a in seen.iter() {
        for (b, changed) in seen.iter().zip(changed) {
            if a.ended < b.began {
                prop_assert!(a.version <= b.version, "{:?} before {:?}", a, b);
                prop_assert!(!changed || a.version < b.version, "{:?} before {:?}", a, b);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 9_000, ..ProptestConfig::default() })]

    #[test]
    fn threads_agree_with_the_serial_replay(threads in threads()) {
        check(&threads, None)?;
    }
}

#[test]
fn executors_agree_with_the_serial_replay() {
    for workers in [1, 2, 4] {
        let executor = Executor::new(workers).expect("threads");
        let config = ProptestConfig { cases: 400, ..ProptestConfig::default() };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        runner.run(&threads(), |threads| check(&threads, Some(&executor))).expect("serial");
    }
}
