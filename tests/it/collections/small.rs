//! [`TQueue`], [`TSet`], [`TOnce`] and [`TSemaphore`].

use super::{Answer, Pair, program, runner, runs_beside};
use proptest::prelude::*;
use std::{
    collections::{HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
};
use txloop::{
    Executor, TOnce, TQueue, TSemaphore, TSet, Transact, Transaction, atomically, snapshot,
    try_atomically,
};

#[derive(Debug, Clone)]
enum Op {
    Push(u32),
    Extend(u8),
    Clear,
    Pop,
    Peek,
    Len,
    Sum,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => any::<u32>().prop_map(Op::Push),
        1 => (0..6_u8).prop_map(Op::Extend),
        1 => prop::bool::weighted(0.2).prop_map(|all| if all { Op::Clear } else { Op::Len }),
        4 => Just(Op::Pop),
        1 => Just(Op::Peek),
        1 => Just(Op::Len),
        1 => Just(Op::Sum),
    ]
}

fn run(queue: &TQueue<u32>, tx: &Transaction, op: &Op) -> Answer {
    let wide = |value: &u32| u64::from(*value);
    match *op {
        Op::Push(value) => {
            queue.push(tx, value);
            None
        }
        Op::Extend(count) => {
            queue.extend(tx, (0..count).map(u32::from));
            None
        }
        Op::Clear => {
            queue.clear(tx);
            None
        }
        Op::Pop => queue.pop(tx).map(wide),
        Op::Peek => queue.peek(tx).map(wide),
        Op::Len => Some(queue.len(tx) as u64 + u64::from(queue.is_empty(tx))),
        // Weighted by place, so that the order counts.
        Op::Sum => Some((1..).zip(queue.iter(tx)).map(|(at, value)| at * wide(value)).sum()),
    }
}

fn run_on_model(queue: &mut VecDeque<u32>, op: &Op) -> Answer {
    match *op {
        Op::Push(value) => {
            queue.push_back(value);
            None
        }
        Op::Extend(count) => {
            queue.extend((0..count).map(u32::from));
            None
        }
        Op::Clear => {
            queue.clear();
            None
        }
        Op::Pop => queue.pop_front().map(u64::from),
        Op::Peek => queue.front().copied().map(u64::from),
        Op::Len => Some(queue.len() as u64 + u64::from(queue.is_empty())),
        Op::Sum => Some((1..).zip(&*queue).map(|(at, value)| at * u64::from(*value)).sum()),
    }
}

const PAIR: Pair<TQueue<u32>, VecDeque<u32>, Op> =
    Pair { make: |_| Default::default(), run, run_on_model };

#[test]
fn a_queue_is_a_deque() {
    let check = |program| {
        let (queue, model) = PAIR.alone(0, &program)?;
        prop_assert!(snapshot(|s| queue.iter(s).eq(&model)));
        Ok(())
    };
    runner(300).run(&program(op(), 60), check).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn handlers_on_many_threads_see_a_serial_queue() {
    let check = |program| {
        let (queue, model) = PAIR.together(0, &program);
        prop_assert!(snapshot(|s| queue.iter(s).eq(&model)));
        Ok(())
    };
    runner(60).run(&program(op(), 150), check).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_ends_of_a_queue_do_not_conflict() {
    let queue = TQueue::new();
    let push = |tx: &Transaction| queue.push(tx, 1);
    let pop = |tx: &Transaction| {
        queue.pop(tx);
    };
    assert_eq!(runs_beside(push, push), 1);
    assert_eq!(runs_beside(push, pop), 1);
    atomically(|tx| (0..5).for_each(|_| queue.push(tx, 2)));
    atomically(pop);
    assert_eq!(runs_beside(pop, push), 2, "the one that takes over");
    assert_eq!(runs_beside(pop, push), 1);
    assert_eq!(runs_beside(push, pop), 1);
    assert_eq!(runs_beside(pop, pop), 2);
    // The front is empty once the pops have taken what they found: absence is read.
    atomically(|tx| while queue.pop(tx).is_some() {});
    assert_eq!(runs_beside(|tx| queue.push(tx, queue.len(tx)), push), 2);
    atomically(|tx| while queue.pop(tx).is_some() {});
    let pop_and_note = |tx: &Transaction| {
        let found = queue.pop(tx).is_some();
        queue.push(tx, usize::from(found));
    };
    assert_eq!(runs_beside(pop_and_note, push), 2);
}

#[test]
fn those_who_wait_are_woken() {
    let executor = Executor::new(2).expect("threads");
    let (queue, done) = (TQueue::new(), TOnce::new());
    let seats = TSemaphore::new(0);
    let waiting: Vec<Transact<u64>> = (0..20)
        .map(|_| {
            let (queue, done, seats) = (queue.clone(), done.clone(), seats.clone());
            executor.transact("waits", move |tx| {
                seats.acquire(tx, 2);
                queue.take(tx) + done.wait(tx)
            })
        })
        .collect();
    for n in 0..20_u64 {
        atomically(|tx| queue.push(tx, n));
        atomically(|tx| seats.release(tx, 1));
    }
    atomically(|tx| done.set(tx, 100)).expect("once");
    for _ in 0..4 {
        atomically(|tx| seats.release(tx, 5));
    }
    let mut taken: Vec<_> = waiting.into_iter().map(|one| one.wait().expect("woken")).collect();
    taken.sort_unstable();
    assert!(taken.into_iter().eq(100..120));
    assert_eq!(
        snapshot(|s| (seats.available(s), queue.len(s), done.get(s).copied())),
        (0, 0, Some(100))
    );
}

#[test]
fn permits_are_taken_and_given_back() {
    let seats = TSemaphore::named("seats", 3);
    assert!(atomically(|tx| seats.try_acquire(tx, 2) && !seats.try_acquire(tx, 2)));
    let refused = try_atomically(|tx| Err::<(), _>(seats.try_acquire(tx, 1)));
    assert_eq!((refused, snapshot(|s| seats.available(s))), (Err(true), 1), "undone");
    let release = |tx: &Transaction| seats.release(tx, 1);
    assert_eq!(runs_beside(release, release), 1);
    assert_eq!(runs_beside(|tx| seats.try_acquire(tx, 1), release), 2);
}

#[test]
fn what_is_set_once_stays() {
    let once = TOnce::named("once");
    let init = |n| {
        let once = once.clone();
        move |tx: &Transaction| *once.get_or_init(tx, || n)
    };
    assert_eq!(runs_beside(init(1), |tx| assert_eq!(init(2)(tx), 2)), 2, "the second was first");
    assert_eq!(atomically(|tx| once.set(tx, 3)), Err(3));
    assert_eq!(runs_beside(init(4), |tx| assert_eq!(init(5)(tx), 2)), 1);
    let both = TOnce::new();
    let sets = |tx: &Transaction| {
        *both.get_or_init(tx, || {
            both.set(tx, 1).expect("the first");
            2
        })
    };
    assert!(catch_unwind(AssertUnwindSafe(|| atomically(sets))).is_err());
    assert_eq!(atomically(|tx| both.get(tx).copied()), None);
    assert_eq!(format!("{once:?}"), "TOnce(TVar { name: \"once\", .. })");
}

#[test]
fn a_set_is_a_hash_set() {
    let (set, mut model) = (TSet::named("set"), HashSet::new());
    let mut random = 1_u64;
    for _ in 0..2_000 {
        // Knuth's linear congruential generator.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (key, what) = ((random >> 40) % 50, (random >> 33) % 100);
        match what {
            0..45 => {
                let is_new = model.insert(key);
                assert_eq!(atomically(|tx| set.insert(tx, key)), is_new);
            }
            45..90 => {
                let removed = model.remove(&key);
                assert_eq!(atomically(|tx| set.remove(tx, &key)), removed);
            }
            90..95 => assert_eq!(snapshot(|s| set.contains(s, &key)), model.contains(&key)),
            95 => {
                model.clear();
                atomically(|tx| set.clear(tx));
            }
            _ => snapshot(|s| {
                assert_eq!((set.len(s), set.is_empty(s)), (model.len(), model.is_empty()));
                assert_eq!(set.iter(s).copied().collect::<HashSet<_>>(), model);
            }),
        }
    }
    let set: TSet<u32> = (0..100).map(|n| n % 10).collect();
    assert_eq!(snapshot(|s| set.len(s)), 10);
}
