//! [`TVec`] against `Vec`.

use super::{Answer, Pair, program, runner, runs_beside};
use proptest::prelude::*;
use txloop::{TVec, Transaction, atomically, snapshot};

/// Indexes are below this: three segments.
const INDEXES: usize = 70;

#[derive(Debug, Clone)]
enum Op {
    Get(usize),
    Set(usize, u32),
    Modify(usize),
    Push(u32),
    Extend(u8),
    Pop,
    Truncate(usize),
    Clear,
    /// By their places, where there are elements.
    Swap(usize, usize),
    First,
    Last,
    Len,
    Sum,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..INDEXES).prop_map(Op::Get),
        3 => (0..INDEXES, any::<u32>()).prop_map(|(index, value)| Op::Set(index, value)),
        1 => (0..INDEXES).prop_map(Op::Modify),
        4 => any::<u32>().prop_map(Op::Push),
        2 => (0..40_u8).prop_map(Op::Extend),
        3 => Just(Op::Pop),
        1 => (0..INDEXES).prop_map(Op::Truncate),
        1 => prop::bool::weighted(0.2).prop_map(|all| if all { Op::Clear } else { Op::Len }),
        2 => (0..INDEXES, 0..INDEXES).prop_map(|(a, b)| Op::Swap(a, b)),
        1 => Just(Op::First),
        1 => Just(Op::Last),
        1 => Just(Op::Len),
        1 => Just(Op::Sum),
    ]
}

fn run(vector: &TVec<u32>, tx: &Transaction, op: &Op) -> Answer {
    let wide = |value: &u32| u64::from(*value);
    match *op {
        Op::Get(index) => vector.get(tx, index).map(wide),
        Op::Set(index, value) => vector.set(tx, index, value).ok().map(wide),
        Op::Modify(index) => vector.modify(tx, index, |value| {
            *value = value.wrapping_add(1);
            wide(value)
        }),
        Op::Push(value) => {
            vector.push(tx, value);
            None
        }
        Op::Extend(count) => {
            vector.extend(tx, (0..count).map(u32::from));
            None
        }
        Op::Pop => vector.pop(tx).map(wide),
        Op::Truncate(len) => {
            vector.truncate(tx, len);
            None
        }
        Op::Clear => {
            vector.clear(tx);
            None
        }
        Op::Swap(a, b) => {
            let len = vector.len(tx);
            (len > 0).then(|| vector.swap(tx, a % len, b % len));
            None
        }
        Op::First => vector.first(tx).map(wide),
        Op::Last => vector.last(tx).map(wide),
        Op::Len => Some(vector.len(tx) as u64 + u64::from(vector.is_empty(tx))),
        Op::Sum => Some((1..).zip(vector.iter(tx)).map(|(at, value)| at * wide(value)).sum()),
    }
}

fn run_on_model(vector: &mut Vec<u32>, op: &Op) -> Answer {
    match *op {
        Op::Get(index) => vector.get(index).copied().map(u64::from),
        Op::Set(index, value) => {
            vector.get_mut(index).map(|old| std::mem::replace(old, value).into())
        }
        Op::Modify(index) => vector.get_mut(index).map(|value| {
            *value = value.wrapping_add(1);
            u64::from(*value)
        }),
        Op::Push(value) => {
            vector.push(value);
            None
        }
        Op::Extend(count) => {
            vector.extend((0..count).map(u32::from));
            None
        }
        Op::Pop => vector.pop().map(u64::from),
        Op::Truncate(len) => {
            vector.truncate(len);
            None
        }
        Op::Clear => {
            vector.clear();
            None
        }
        Op::Swap(a, b) => {
            let len = vector.len();
            (len > 0).then(|| vector.swap(a % len, b % len));
            None
        }
        Op::First => vector.first().copied().map(u64::from),
        Op::Last => vector.last().copied().map(u64::from),
        Op::Len => Some(vector.len() as u64 + u64::from(vector.is_empty())),
        Op::Sum => Some((1..).zip(&*vector).map(|(at, value)| at * u64::from(*value)).sum()),
    }
}

const PAIR: Pair<TVec<u32>, Vec<u32>, Op> =
    Pair { make: |len| ((0..len as u32).collect(), (0..len as u32).collect()), run, run_on_model };

#[test]
fn a_vector_is_a_vec() {
    let check = |(made, program)| {
        let (vector, model) = PAIR.alone(made, &program)?;
        prop_assert!(snapshot(|s| vector.iter(s).eq(&model)));
        Ok(())
    };
    let programs = (0..INDEXES, program(op(), 60));
    runner(300).run(&programs, check).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn handlers_on_many_threads_see_a_serial_vector() {
    let check = |(made, program)| {
        let (vector, model) = PAIR.together(made, &program);
        prop_assert!(snapshot(|s| vector.iter(s).eq(&model)));
        Ok(())
    };
    let programs = (0..INDEXES, program(op(), 150));
    runner(60).run(&programs, check).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_units_of_conflicts_are_elements_and_the_end() {
    let vector: TVec<u32> = (0..100).collect();
    let adds = |to: usize, from: usize| {
        let vector = vector.clone();
        move |tx: &Transaction| {
            let sum = vector.get(tx, from).copied().unwrap_or(7);
            vector.modify(tx, to, |value| *value = value.wrapping_add(sum));
        }
    };
    let push = |tx: &Transaction| vector.push(tx, 0);
    let pop = |tx: &Transaction| {
        vector.pop(tx);
    };
    assert_eq!(runs_beside(adds(1, 2), adds(3, 4)), 1);
    assert_eq!(runs_beside(adds(1, 2), adds(2, 4)), 2);
    assert_eq!(runs_beside(adds(1, 2), push), 1);
    assert_eq!(runs_beside(adds(1, 101), push), 2, "absence is read");
    assert_eq!(runs_beside(adds(1, 101), pop), 2);
    assert_eq!(runs_beside(adds(1, 110), push), 1);
    assert_eq!(runs_beside(push, push), 2);
    let truncate = |tx: &Transaction| vector.truncate(tx, 10);
    assert_eq!(runs_beside(adds(1, 90), truncate), 2, "its segment is gone");
    assert_eq!(snapshot(|s| (vector.len(s), vector.get(s, 10).copied())), (10, None));
    assert_eq!(atomically(|tx| vector.set(tx, 10, 1).copied()), Err(1));
    let far = TVec::<u32>::MAX_LEN;
    assert_eq!(atomically(|tx| vector.set(tx, far, 1).copied()), Err(1));
}
