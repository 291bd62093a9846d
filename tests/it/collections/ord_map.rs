//! [`TOrdMap`] against `BTreeMap`.

use super::{Answer, Pair, chance, program, runner, runs_beside};
use proptest::prelude::*;
use std::{
    cell::Cell,
    collections::BTreeMap,
    ops::Bound::{self, Excluded, Included, Unbounded},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use txloop::{Read, TOrdMap, Transaction, atomically, snapshot};

/// How many keys there are in the beginning: none; as many as a leaf has; a root with leaves; two
/// levels of inner nodes.
const SIZES: [u32; 4] = [0, 16, 300, 2_000];
/// The keys are below this.
const KEYS: u32 = 4_000;
/// The most keys that one operation inserts or removes.
const MANY: u32 = 500;

type Map = TOrdMap<u32, u32>;
type Range = (Bound<u32>, Bound<u32>);

#[derive(Debug, Clone)]
enum Op {
    Get(u32),
    Insert(u32, u32),
    Remove(u32),
    Modify(u32),
    GetOrInsert(u32, u32),
    Len,
    First,
    Last,
    PopFirst,
    PopLast,
    /// The sum over a range, so many of it from the front and the others from the back.
    Sum(Range, usize),
    /// So many keys from one on, upwards or downwards.
    Fill(u32, u32, bool),
    /// So many keys from one on, every one or every other.
    Drain(u32, u32, u32),
    Clear,
    /// Keeps those of which the sum of key and value is no multiple of this, or removes all.
    Retain(u32),
    /// So many keys, with a step of three.
    Extend(u32, u32),
}

fn bound() -> impl Strategy<Value = Bound<u32>> {
    prop_oneof![(0..KEYS).prop_map(Included), (0..KEYS).prop_map(Excluded), Just(Unbounded),]
}

fn range() -> impl Strategy<Value = Range> {
    (bound(), bound()).prop_map(|(one, other)| match (one, other) {
        // What `BTreeMap` refuses too.
        (Included(a) | Excluded(a), Included(b) | Excluded(b)) if a > b => (other, one),
        (Excluded(a), Excluded(b)) if a == b => (Included(a), other),
        _ => (one, other),
    })
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..KEYS;
    prop_oneof![
        4 => key.clone().prop_map(Op::Get),
        6 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Op::Insert(key, value)),
        6 => key.clone().prop_map(Op::Remove),
        2 => key.clone().prop_map(Op::Modify),
        2 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Op::GetOrInsert(key, value)),
        1 => Just(Op::Len),
        1 => Just(Op::First),
        1 => Just(Op::Last),
        1 => Just(Op::PopFirst),
        1 => Just(Op::PopLast),
        4 => (range(), 0..64_usize).prop_map(|(range, front)| Op::Sum(range, front)),
        2 => (key.clone(), 1..MANY, any::<bool>()).prop_map(|(from, n, up)| Op::Fill(from, n, up)),
        3 => (key.clone(), 1..MANY, 1..3_u32).prop_map(|(from, n, step)| Op::Drain(from, n, step)),
        1 => Just(Op::Clear),
        1 => (1..9_u32).prop_map(Op::Retain),
        1 => (key, 1..MANY).prop_map(|(from, n)| Op::Extend(from, n)),
    ]
}

fn pair<'a>((key, value): (&'a u32, &'a u32)) -> u64 {
    u64::from(*key) << 32 | u64::from(*value)
}

/// A number that depends on what is passed, and in which order.
fn digest<'a>(
    mut range: impl DoubleEndedIterator<Item = (&'a u32, &'a u32)>,
    front: usize,
) -> Answer {
    let mut sum = 0_u64;
    let mut add = |entry| sum = sum.rotate_left(7) ^ pair(entry);
    range.by_ref().take(front).for_each(&mut add);
    range.rev().for_each(&mut add);
    Some(sum)
}

fn keys_of(from: u32, count: u32, up: bool) -> impl Iterator<Item = u32> {
    (0..count).map(move |n| from + if up { n } else { count - n })
}

fn stays(divisor: u32) -> impl Fn(u32, u32) -> bool {
    move |key, value| !value.wrapping_add(key).is_multiple_of(divisor)
}

fn every_third(from: u32, count: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..count).map(move |n| (from + 3 * n, n))
}

fn run(map: &Map, tx: &Transaction, op: &Op) -> Answer {
    let wide = |value: &u32| u64::from(*value);
    match *op {
        Op::Get(key) => map.get(tx, &key).map(wide),
        Op::Insert(key, value) => map.insert(tx, key, value).map(wide),
        Op::Remove(key) => map.remove(tx, &key).map(wide),
        Op::Modify(key) => map.modify(tx, &key, |value| {
            *value = value.wrapping_add(1);
            wide(value)
        }),
        Op::GetOrInsert(key, value) => Some(wide(map.get_or_insert_with(tx, key, || value))),
        Op::Len => Some(map.len(tx) as u64),
        Op::First => map.first_key_value(tx).map(pair),
        Op::Last => map.last_key_value(tx).map(pair),
        Op::PopFirst => map.pop_first(tx).map(pair),
        Op::PopLast => map.pop_last(tx).map(pair),
        Op::Sum(range, front) => digest(map.range(tx, range), front),
        Op::Fill(from, count, up) => {
            let keys = keys_of(from, count, up);
            Some(keys.filter(|key| map.insert(tx, *key, *key).is_some()).count() as u64)
        }
        Op::Drain(from, count, step) => {
            let keys = (from..from + count).step_by(step as usize);
            Some(keys.filter(|key| map.remove(tx, key).is_some()).count() as u64)
        }
        Op::Clear => {
            map.clear(tx);
            None
        }
        Op::Retain(divisor) => {
            map.retain(tx, |key, value| stays(divisor)(*key, *value));
            Some(map.len(tx) as u64)
        }
        Op::Extend(from, count) => {
            map.extend(tx, every_third(from, count));
            Some(map.len(tx) as u64)
        }
    }
}

fn run_on_model(map: &mut BTreeMap<u32, u32>, op: &Op) -> Answer {
    let whole = |(key, value): (u32, u32)| pair((&key, &value));
    match *op {
        Op::Get(key) => map.get(&key).copied().map(u64::from),
        Op::Insert(key, value) => map.insert(key, value).map(u64::from),
        Op::Remove(key) => map.remove(&key).map(u64::from),
        Op::Modify(key) => map.get_mut(&key).map(|value| {
            *value = value.wrapping_add(1);
            u64::from(*value)
        }),
        Op::GetOrInsert(key, value) => Some((*map.entry(key).or_insert(value)).into()),
        Op::Len => Some(map.len() as u64),
        Op::First => map.first_key_value().map(pair),
        Op::Last => map.last_key_value().map(pair),
        Op::PopFirst => map.pop_first().map(whole),
        Op::PopLast => map.pop_last().map(whole),
        Op::Sum(range, front) => digest(map.range(range), front),
        Op::Fill(from, count, up) => {
            let keys = keys_of(from, count, up);
            Some(keys.filter(|key| map.insert(*key, *key).is_some()).count() as u64)
        }
        Op::Drain(from, count, step) => {
            let keys = (from..from + count).step_by(step as usize);
            Some(keys.filter(|key| map.remove(key).is_some()).count() as u64)
        }
        Op::Clear => {
            map.clear();
            None
        }
        Op::Retain(divisor) => {
            map.retain(|key, value| stays(divisor)(*key, *value));
            Some(map.len() as u64)
        }
        Op::Extend(from, count) => {
            map.extend(every_third(from, count));
            Some(map.len() as u64)
        }
    }
}

fn contents(map: &Map, view: &impl Read) -> BTreeMap<u32, u32> {
    let forwards: Vec<_> = map.iter(view).map(|(key, value)| (*key, *value)).collect();
    assert!(forwards.is_sorted_by(|one, next| one.0 < next.0), "in order, none twice");
    let mut backwards: Vec<_> = map.iter(view).rev().map(|(key, value)| (*key, *value)).collect();
    backwards.reverse();
    assert_eq!(forwards, backwards);
    assert_eq!((map.len(view), map.is_empty(view)), (forwards.len(), forwards.is_empty()));
    for (key, value) in &forwards {
        assert_eq!(map.get(view, key), Some(value), "what is passed is found");
    }
    forwards.into_iter().collect()
}

/// Every other key, from far apart on.
fn entries(size: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..size).map(|n| (n * 2 % KEYS, n))
}

const PAIR: Pair<Map, BTreeMap<u32, u32>, Op> = Pair {
    make: |number| (entries(SIZES[number]).collect(), entries(SIZES[number]).collect()),
    run,
    run_on_model,
};

#[test]
fn an_ordered_map_is_a_btree_map() {
    for (number, size) in SIZES.iter().enumerate() {
        let check = |program| {
            let (map, model) = PAIR.alone(number, &program)?;
            prop_assert_eq!(snapshot(|s| contents(&map, s)), model.clone());
            prop_assert_eq!(atomically(|tx| contents(&map, tx)), model);
            Ok(())
        };
        let outcome = runner(100).run(&program(op(), 30), check);
        outcome.unwrap_or_else(|error| panic!("{size} keys: {error}"));
    }
}

#[test]
fn handlers_on_many_threads_see_a_serial_ordered_map() {
    for (number, size) in SIZES.iter().enumerate() {
        let check = |program| {
            let (map, model) = PAIR.together(number, &program);
            prop_assert_eq!(snapshot(|s| contents(&map, s)), model);
            Ok(())
        };
        let outcome = runner(200).run(&program(op(), 80), check);
        outcome.unwrap_or_else(|error| panic!("{size} keys: {error}"));
    }
}

/// A map of ten leaves with twelve keys each, ten apart: 0, 10, ... 1190.
fn spaced() -> TOrdMap<u64, u64> {
    (0..120).map(|n| (n * 10, n)).collect()
}

fn inserts(map: &TOrdMap<u64, u64>, keys: &'static [u64]) -> impl Fn(&Transaction) + Sync {
    let map = map.clone();
    move |tx: &Transaction| {
        for key in keys {
            map.insert(tx, *key, 0);
        }
    }
}

/// How often a handler runs that reads something and then writes far from it.
fn runs_reading<R>(
    map: &TOrdMap<u64, u64>,
    read: impl Fn(&Transaction) -> R,
    beside: impl Fn(&Transaction) + Sync,
) -> usize {
    let reads_and_writes = |tx: &Transaction| {
        read(tx);
        map.insert(tx, 1_190, 1);
    };
    runs_beside(reads_and_writes, beside)
}

#[test]
fn the_unit_of_conflicts_is_a_neighbourhood() {
    let map = spaced();
    let get = |key: u64| {
        let map = map.clone();
        move |tx: &Transaction| map.get(tx, &key).copied()
    };
    assert_eq!(runs_reading(&map, get(10), inserts(&map, &[10])), 2, "its value");
    assert_eq!(runs_reading(&map, get(11), inserts(&map, &[11])), 2, "its absence");
    assert_eq!(runs_reading(&map, get(500), inserts(&map, &[15])), 1, "a key far away");
    // The leaf of 10 becomes two; the neighbours do not hear of it.
    let split: &[u64] = &[1, 2, 3, 4, 5, 6];
    assert_eq!(runs_reading(&map, get(500), inserts(&map, split)), 1);
    assert_eq!(runs_reading(&map, get(110), inserts(&map, &[111, 112, 113, 114, 115, 116])), 2);
    // Nor when leaves become one.
    let removes = |tx: &Transaction| {
        for n in 12..24 {
            map.remove(tx, &(n * 10));
        }
    };
    assert_eq!(runs_reading(&map, get(500), removes), 1);
    assert_eq!(runs_reading(&map, get(130), inserts(&map, &[130])), 2, "gone, and come again");
    assert_eq!(runs_reading(&map, get(500), |tx| map.clear(tx)), 2);
    assert_eq!(snapshot(|s| map.iter(s).map(|(k, v)| (*k, *v)).collect::<Vec<_>>()), [(1190, 1)]);
}

#[test]
fn a_range_is_read_with_its_gaps() {
    let map = spaced();
    let sum = |from: u64, to: u64| {
        let map = map.clone();
        move |tx: &Transaction| map.range(tx, from..to).map(|(key, _)| key).sum::<u64>()
    };
    assert_eq!(runs_reading(&map, sum(0, 400), inserts(&map, &[395])), 2, "a phantom at the end");
    assert_eq!(runs_reading(&map, sum(55, 400), inserts(&map, &[55])), 2, "and at the beginning");
    assert_eq!(runs_reading(&map, sum(201, 209), inserts(&map, &[205])), 2, "in an empty range");
    assert_eq!(runs_reading(&map, sum(0, 400), inserts(&map, &[605])), 1, "far behind it");
    assert_eq!(runs_reading(&map, sum(400, 600), inserts(&map, &[5])), 1, "far before it");
    let first = |tx: &Transaction| map.first_key_value(tx).map(|(key, _)| *key);
    assert_eq!(runs_reading(&map, first, inserts(&map, &[700])), 1, "the rest was not passed");
    let last = |tx: &Transaction| map.range(tx, ..800).next_back().map(|(key, _)| *key);
    assert_eq!(runs_reading(&map, last, inserts(&map, &[799])), 2);
    assert_eq!(runs_reading(&map, last, inserts(&map, &[3])), 1);
    let len = |tx: &Transaction| map.len(tx);
    assert_eq!(runs_reading(&map, len, inserts(&map, &[4])), 2);
    assert_eq!(runs_reading(&map, len, inserts(&map, &[4])), 1, "no new key");
}

#[test]
fn insertions_far_apart_split_leaves_side_by_side() {
    let map = spaced();
    let splits = inserts(&map, &[1, 2, 3, 4, 5, 6]);
    // Both change the node above: the one that comes later in the serial order runs again.
    assert_eq!(runs_beside(&splits, inserts(&map, &[701, 702, 703, 704, 705, 706])), 2);
    // Neither does; one new key in every leaf.
    assert_eq!(runs_beside(inserts(&map, &[7]), inserts(&map, &[711])), 1);
    let expected = snapshot(|s| map.keys(s).copied().collect::<Vec<_>>());
    assert_eq!(expected.len(), 120 + 6 + 6 + 2);
}

#[test]
fn to_clear_a_root_is_to_read_what_it_is() {
    let map = TOrdMap::new();
    let keys: &[u64] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17];
    // The only leaf becomes an inner node meanwhile: its children are cleared too.
    assert_eq!(runs_beside(|tx| map.clear(tx), inserts(&map, keys)), 2);
    assert_eq!(snapshot(|s| (map.len(s), map.iter(s).count())), (0, 0));
}

#[test]
fn what_is_no_range_is_refused_as_by_a_btree_map() {
    let (map, model) = (spaced(), BTreeMap::from([(1_u64, 1_u64)]));
    let refused = |range: (Bound<u64>, Bound<u64>)| {
        let ours = catch_unwind(AssertUnwindSafe(|| snapshot(|s| map.range(s, range).count())));
        let theirs = catch_unwind(AssertUnwindSafe(|| model.range(range).count()));
        assert_eq!(ours.is_err(), theirs.is_err(), "{range:?}");
        ours.is_err()
    };
    assert!(refused((Included(5), Included(4))) && refused((Excluded(5), Excluded(5))));
    assert!(!refused((Included(5), Excluded(5))) && !refused((Excluded(5), Included(5))));
    snapshot(|s| {
        let mut range = map.range(s, 30..=50);
        assert_eq!(range.next_back().map(|(key, _)| *key), Some(50));
        assert_eq!(range.next().map(|(key, _)| *key), Some(30));
        assert_eq!(range.next().map(|(key, _)| *key), Some(40));
        assert!(range.next_back().is_none() && range.next().is_none());
    });
    assert_eq!(snapshot(|s| map.values(s).copied().sum::<u64>()), (0..120).sum::<u64>());
}

#[test]
fn entries_of_an_ordered_map_are_dropped_once() {
    let token = Arc::new(());
    let map = TOrdMap::named("tokens");
    for round in 0..40_u32 {
        atomically(|tx| {
            for key in 0..60 {
                map.insert(tx, format!("{:03}", key * (round + 1) % 331), Arc::clone(&token));
            }
            for key in 0..40 {
                map.remove(tx, format!("{:03}", key * (round + 3) % 331).as_str());
            }
        });
    }
    assert!(snapshot(|s| map.len(s)) > 100);
    atomically(|tx| map.clear(tx));
    assert_eq!(format!("{map:?}"), "TOrdMap { name: \"tokens\", .. }");
    drop(map);
    super::eventually(|| Arc::strong_count(&token) == 1);
}

/// Keys that are there throughout are passed once, in their order, whatever the transaction itself
/// removes and inserts meanwhile, and from whichever end.
#[test]
fn a_walk_passes_what_stays_while_its_transaction_changes_the_rest() {
    for seed in 0..200_u64 {
        let map: TOrdMap<u64, u64> = (0..400).map(|n| (n * 10, n)).collect();
        let next = chance(seed);
        let (backwards, from, to) = (next(2) == 1, next(1_000), 3_000 + next(2_000));
        atomically(|tx| {
            // Every third key stays.
            let stays = |key: u64| key.is_multiple_of(30);
            let (mut passed, mut walk) = (Vec::new(), map.range(tx, from..to));
            while let Some((key, _)) = if backwards { walk.next_back() } else { walk.next() } {
                passed.push(*key);
                for _ in 0..next(12) {
                    let other = next(400) * 10 + next(2);
                    if !stays(other) {
                        match next(2) {
                            0 => map.remove(tx, &other),
                            _ => map.insert(tx, other, 0),
                        };
                    }
                }
            }
            if backwards {
                passed.reverse();
            }
            assert!(passed.is_sorted_by(|a, b| a < b), "seed {seed}: {passed:?}");
            passed.retain(|key| stays(*key));
            let all: Vec<u64> = (0..4_000).filter(|key| stays(*key)).collect();
            let all: Vec<u64> = all.into_iter().filter(|key| (from..to).contains(key)).collect();
            assert_eq!(passed, all, "seed {seed}");
        });
    }
}

#[test]
fn all_keys_can_be_removed_on_the_way() {
    for backwards in [false, true] {
        let map: TOrdMap<u32, u32> = (0..500).map(|n| (n, n)).collect();
        atomically(|tx| {
            let mut keys = map.keys(tx);
            while let Some(key) = if backwards { keys.next_back() } else { keys.next() } {
                assert_eq!(map.remove(tx, key), Some(key));
            }
        });
        assert_eq!(snapshot(|s| (map.len(s), map.iter(s).count())), (0, 0));
    }
}

thread_local! {
    /// How many clones of a [`Fragile`] go well.
    static CLONES: Cell<u32> = const { Cell::new(u32::MAX) };
}

/// A key whose clones panic when they have been made often enough.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fragile(u32);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        let left = CLONES.get();
        assert!(left != 0, "a clone that panics");
        CLONES.set(left - 1);
        Self(self.0)
    }
}

/// Wherever it happens, the rest of the transaction finds the map as it was before that call.
#[test]
fn a_clone_that_panics_changes_nothing_of_the_tree() {
    // So many that inner nodes are split and joined too.
    let full = || (0..700).map(|n| (Fragile(2 * n), n)).collect::<TOrdMap<_, _>>();
    let mut panicked = 0;
    for change in 0..2 {
        for clones in (7..50).step_by(4) {
            let map = full();
            let (model, in_vain) = atomically(|tx| {
                let mut model: BTreeMap<u32, u32> = (0..700).map(|n| (2 * n, n)).collect();
                let mut in_vain = 0;
                for n in 0..700 {
                    let key = if change == 0 { 2 * n + 1 } else { 2 * n };
                    CLONES.set(clones);
                    let done = catch_unwind(AssertUnwindSafe(|| match change {
                        0 => map.insert(tx, Fragile(key), n).is_none(),
                        _ => map.remove(tx, &Fragile(key)).is_some(),
                    }));
                    CLONES.set(u32::MAX);
                    match (done, change) {
                        (Ok(done), 0) => assert!(done && model.insert(key, n).is_none()),
                        (Ok(done), _) => assert!(done && model.remove(&key).is_some()),
                        (Err(_), _) => in_vain += 1,
                    }
                }
                (model, in_vain)
            });
            panicked += in_vain;
            snapshot(|s| {
                let all: Vec<_> = map.iter(s).map(|(key, n)| (key.0, *n)).collect();
                assert_eq!(all, model.clone().into_iter().collect::<Vec<_>>());
                assert_eq!(map.len(s), model.len());
                assert!(model.iter().all(|(key, n)| map.get(s, &Fragile(*key)) == Some(n)));
            });
        }
    }
    assert!(panicked > 1_000, "{panicked}");
}
