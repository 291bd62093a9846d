//! [`TSet`], [`TSemaphore`] and [`TOnce`] against what they stand for, alone and under many
//! handlers at once, in one program: so that what one sees of another counts, too.

use super::{Answer, Pair, program, runner};
use proptest::prelude::*;
use std::collections::HashSet;
use txloop::{TOnce, TSemaphore, TSet, Transaction, snapshot};

/// Keys are below this.
const KEYS: u64 = 40;
/// How many permits there are at first.
const PERMITS: u32 = 5;

#[derive(Debug, Clone)]
enum Op {
    Insert(u64),
    Remove(u64),
    Contains(u64),
    Len,
    /// All keys, mixed in an order that does not count.
    Sum,
    Clear,
    /// Removes the multiples of this.
    Retain(u64),
    Extend(u64),
    Acquire(u32),
    Release(u32),
    Available,
    Set(u64),
    GetOrInit(u64),
    Get,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..KEYS).prop_map(Op::Insert),
        4 => (0..KEYS).prop_map(Op::Remove),
        3 => (0..KEYS).prop_map(Op::Contains),
        1 => Just(Op::Len),
        1 => Just(Op::Sum),
        1 => prop::bool::weighted(0.2).prop_map(|all| if all { Op::Clear } else { Op::Len }),
        1 => (2..5_u64).prop_map(Op::Retain),
        1 => (0..KEYS).prop_map(Op::Extend),
        4 => (0..4_u32).prop_map(Op::Acquire),
        3 => (0..4_u32).prop_map(Op::Release),
        1 => Just(Op::Available),
        1 => any::<u64>().prop_map(Op::Set),
        1 => any::<u64>().prop_map(Op::GetOrInit),
        2 => Just(Op::Get),
    ]
}

/// The three of this library.
#[derive(Clone)]
struct Ours {
    set: TSet<u64>,
    seats: TSemaphore,
    once: TOnce<u64>,
}

/// The same as plain values.
#[derive(Clone, PartialEq, Debug)]
struct Plain {
    set: HashSet<u64>,
    seats: u32,
    once: Option<u64>,
}

/// Both alike; `len` keys are there.
fn make(len: usize) -> (Ours, Plain) {
    let keys = 0..len as u64;
    let seats = TSemaphore::new(PERMITS);
    let ours = Ours { set: keys.clone().collect(), seats, once: TOnce::new() };
    (ours, Plain { set: keys.collect(), seats: PERMITS, once: None })
}

fn mixed<'a>(keys: impl Iterator<Item = &'a u64>) -> u64 {
    keys.map(|key| key * key + 1).sum()
}

fn run(Ours { set, seats, once }: &Ours, tx: &Transaction, op: &Op) -> Answer {
    match *op {
        Op::Insert(key) => Some(u64::from(set.insert(tx, key))),
        Op::Remove(key) => Some(u64::from(set.remove(tx, &key))),
        Op::Contains(key) => Some(u64::from(set.contains(tx, &key))),
        Op::Len => Some(set.len(tx) as u64 * 2 + u64::from(set.is_empty(tx))),
        Op::Sum => Some(mixed(set.iter(tx))),
        Op::Clear => {
            set.clear(tx);
            None
        }
        Op::Retain(divisor) => {
            set.retain(tx, |key| !key.is_multiple_of(divisor));
            Some(set.len(tx) as u64)
        }
        Op::Extend(from) => {
            set.extend(tx, from..from + 5);
            Some(set.len(tx) as u64)
        }
        Op::Acquire(permits) => Some(u64::from(seats.try_acquire(tx, permits))),
        Op::Release(permits) => {
            seats.release(tx, permits);
            None
        }
        Op::Available => Some(u64::from(seats.available(tx))),
        Op::Set(value) => once.set(tx, value).err(),
        Op::GetOrInit(value) => Some(*once.get_or_init(tx, || value)),
        Op::Get => once.get(tx).copied(),
    }
}

fn run_on_model(Plain { set, seats, once }: &mut Plain, op: &Op) -> Answer {
    match *op {
        Op::Insert(key) => Some(u64::from(set.insert(key))),
        Op::Remove(key) => Some(u64::from(set.remove(&key))),
        Op::Contains(key) => Some(u64::from(set.contains(&key))),
        Op::Len => Some(set.len() as u64 * 2 + u64::from(set.is_empty())),
        Op::Sum => Some(mixed(set.iter())),
        Op::Clear => {
            set.clear();
            None
        }
        Op::Retain(divisor) => {
            set.retain(|key| !key.is_multiple_of(divisor));
            Some(set.len() as u64)
        }
        Op::Extend(from) => {
            set.extend(from..from + 5);
            Some(set.len() as u64)
        }
        Op::Acquire(permits) => {
            let left = seats.checked_sub(permits);
            *seats = left.unwrap_or(*seats);
            Some(u64::from(left.is_some()))
        }
        Op::Release(permits) => {
            *seats += permits;
            None
        }
        Op::Available => Some(u64::from(*seats)),
        Op::Set(value) if once.is_some() => Some(value),
        Op::Set(value) => {
            *once = Some(value);
            None
        }
        Op::GetOrInit(value) => Some(*once.get_or_insert(value)),
        Op::Get => *once,
    }
}

const PAIR: Pair<Ours, Plain, Op> = Pair { make, run, run_on_model };

/// What is left, as plain values.
fn left(Ours { set, seats, once }: &Ours) -> Plain {
    snapshot(|s| Plain {
        set: set.iter(s).copied().collect(),
        seats: seats.available(s),
        once: once.get(s).copied(),
    })
}

#[test]
fn a_set_a_semaphore_and_a_once_are_what_they_stand_for() {
    let check = |(made, program)| {
        let (ours, model) = PAIR.alone(made, &program)?;
        prop_assert_eq!(left(&ours), model);
        Ok(())
    };
    let programs = (0..KEYS as usize, program(op(), 60));
    runner(300).run(&programs, check).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn handlers_on_many_threads_see_them_serially() {
    let check = |(made, program)| {
        let (ours, model) = PAIR.together(made, &program);
        prop_assert_eq!(left(&ours), model);
        Ok(())
    };
    let programs = (0..KEYS as usize, program(op(), 150));
    runner(60).run(&programs, check).unwrap_or_else(|error| panic!("{error}"));
}
