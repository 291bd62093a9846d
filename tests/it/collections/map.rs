//! [`TMap`] against `HashMap`.

use super::{Answer, Pair, chance, program, runner, runs_beside};
use proptest::prelude::*;
use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use txloop::{Read, TMap, Transaction, atomically, snapshot};

/// A hasher that lets few bits through, so that keys share slots, levels and whole hashes.
#[derive(Debug, Clone, Copy, Default)]
struct Masked(u64);

impl BuildHasher for Masked {
    type Hasher = MaskedHasher;

    fn build_hasher(&self) -> MaskedHasher {
        MaskedHasher { mask: self.0, hash: 0 }
    }
}

struct MaskedHasher {
    mask: u64,
    hash: u64,
}

impl Hasher for MaskedHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = self.hash.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn finish(&self) -> u64 {
        self.hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) & self.mask
    }
}

/// Good hashes; few slots of the first level; only the last level; none at all.
const MASKS: [u64; 4] = [u64::MAX, 0x3, 0xf000_0000_0000_0000, 0];
/// The keys are below this.
const KEYS: u16 = 32;
/// In programs under which a map grows, they are below this.
const MANY_KEYS: u16 = 600;

type Map = TMap<u16, u32, Masked>;

#[derive(Debug, Clone)]
enum Op {
    Get(u16),
    Insert(u16, u32),
    Remove(u16),
    Modify(u16),
    GetOrInsert(u16, u32),
    Len,
    Sum,
    Clear,
    /// Inserts a third of all keys, from one on.
    Fill(u16, u32),
    /// Removes them.
    Drain(u16),
    /// Keeps those of which the sum of key and value is no multiple of this, or removes all.
    Retain(u32),
    /// A few keys.
    Extend(u16, u32),
}

/// What `Op::Extend` puts in: one key twice.
fn some(from: u16, value: u32) -> impl Iterator<Item = (u16, u32)> {
    [(0, 0), (3, 1), (5, 2), (3, 3)].into_iter().map(move |(more, n)| (from + more, value ^ n))
}

fn stays(divisor: u32) -> impl Fn(u16, u32) -> bool {
    move |key, value| !value.wrapping_add(key.into()).is_multiple_of(divisor)
}

fn third(from: u16) -> impl Iterator<Item = u16> {
    (0..MANY_KEYS / 3).map(move |n| (from + 3 * n) % MANY_KEYS)
}

fn op(keys: u16) -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..keys).prop_map(Op::Get),
        6 => (0..keys, any::<u32>()).prop_map(|(key, value)| Op::Insert(key, value)),
        6 => (0..keys).prop_map(Op::Remove),
        2 => (0..keys).prop_map(Op::Modify),
        2 => (0..keys, any::<u32>()).prop_map(|(key, value)| Op::GetOrInsert(key, value)),
        1 => Just(Op::Len),
        1 => Just(Op::Sum),
        1 => Just(Op::Clear),
        1 => (1..5_u32).prop_map(Op::Retain),
        1 => (0..keys, any::<u32>()).prop_map(|(from, value)| Op::Extend(from, value)),
    ]
}

/// The same under which a map grows.
fn growing() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => op(MANY_KEYS),
        3 => (0..MANY_KEYS, any::<u32>()).prop_map(|(from, value)| Op::Fill(from, value)),
        1 => (0..MANY_KEYS).prop_map(Op::Drain),
    ]
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
        Op::Sum => Some(map.iter(tx).map(|(key, value)| u64::from(*key) * 7 + wide(value)).sum()),
        Op::Clear => {
            map.clear(tx);
            None
        }
        Op::Fill(from, value) => {
            Some(third(from).filter(|key| map.insert(tx, *key, value).is_some()).count() as u64)
        }
        Op::Drain(from) => {
            Some(third(from).filter(|key| map.remove(tx, key).is_some()).count() as u64)
        }
        Op::Retain(divisor) => {
            map.retain(tx, |key, value| stays(divisor)(*key, *value));
            Some(map.len(tx) as u64)
        }
        Op::Extend(from, value) => {
            map.extend(tx, some(from, value));
            Some(map.len(tx) as u64)
        }
    }
}

fn run_on_model(map: &mut HashMap<u16, u32>, op: &Op) -> Answer {
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
        Op::Sum => {
            Some(map.iter().map(|(key, value)| u64::from(*key) * 7 + u64::from(*value)).sum())
        }
        Op::Clear => {
            map.clear();
            None
        }
        Op::Fill(from, value) => {
            Some(third(from).filter(|key| map.insert(*key, value).is_some()).count() as u64)
        }
        Op::Drain(from) => Some(third(from).filter(|key| map.remove(key).is_some()).count() as u64),
        Op::Retain(divisor) => {
            map.retain(|key, value| stays(divisor)(*key, *value));
            Some(map.len() as u64)
        }
        Op::Extend(from, value) => {
            map.extend(some(from, value));
            Some(map.len() as u64)
        }
    }
}

fn contents(map: &Map, view: &impl Read) -> HashMap<u16, u32> {
    let mut seen = HashMap::new();
    for (key, value) in map.iter(view) {
        assert_eq!(map.get(view, key), Some(value), "what is passed is found");
        assert_eq!(seen.insert(*key, *value), None, "{key} is passed twice");
    }
    assert_eq!(map.len(view), seen.len());
    assert_eq!(map.is_empty(view), seen.is_empty());
    assert!((0..MANY_KEYS).all(|key| map.contains_key(view, &key) == seen.contains_key(&key)));
    seen
}

const PAIR: Pair<Map, HashMap<u16, u32>, Op> = Pair {
    make: |number| (Map::with_hasher(Masked(MASKS[number])), HashMap::new()),
    run,
    run_on_model,
};

#[test]
fn a_map_is_a_hash_map() {
    for (number, mask) in MASKS.iter().enumerate() {
        let check = |program| {
            let (map, model) = PAIR.alone(number, &program)?;
            prop_assert_eq!(snapshot(|s| contents(&map, s)), model.clone());
            prop_assert_eq!(atomically(|tx| contents(&map, tx)), model);
            Ok(())
        };
        let outcome = runner(200).run(&program(op(KEYS), 40), check);
        let outcome = outcome.and_then(|()| runner(20).run(&program(growing(), 40), check));
        outcome.unwrap_or_else(|error| panic!("{mask:x}: {error}"));
    }
}

#[test]
fn handlers_on_many_threads_see_a_serial_map() {
    for (number, mask) in MASKS.iter().enumerate() {
        let check = |program| {
            let (map, model) = PAIR.together(number, &program);
            prop_assert_eq!(snapshot(|s| contents(&map, s)), model);
            Ok(())
        };
        let outcome = runner(60).run(&program(op(KEYS), 120), check);
        let outcome = outcome.and_then(|()| runner(15).run(&program(growing(), 60), check));
        outcome.unwrap_or_else(|error| panic!("{mask:x}: {error}"));
    }
}

/// A map whose key `n` is in slot `n` of the first level, or below it.
fn by_number() -> TMap<u64, u64, ByNumber> {
    TMap::with_hasher(ByNumber)
}

#[derive(Debug, Clone, Copy, Default)]
struct ByNumber;

struct Number(u64);

impl BuildHasher for ByNumber {
    type Hasher = Number;

    fn build_hasher(&self) -> Number {
        Number(0)
    }
}

impl Hasher for Number {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        // The tree looks at the low byte first, and at its high half.
        (self.0 & 0x0f0f_0f0f_0f0f_0f0f) << 4 | self.0 >> 4 & 0x0f0f_0f0f_0f0f_0f0f
    }
}

#[test]
fn the_unit_of_conflicts_is_a_key() {
    let map = by_number();
    let insert = |key| {
        let map = map.clone();
        move |tx: &Transaction| {
            map.insert(tx, key, key);
        }
    };
    // New keys, and one that is not there.
    assert_eq!(runs_beside(insert(1), insert(2)), 1);
    assert_eq!(runs_beside(|tx| map.get(tx, &3).copied(), insert(4)), 1);
    // The handler writes, so what it read has to stand.
    let reads = |key| {
        let map = map.clone();
        move |tx: &Transaction| {
            map.get(tx, &key);
            map.insert(tx, 5, 0);
        }
    };
    assert_eq!(runs_beside(reads(6), insert(6)), 2, "absence is read");
    assert_eq!(runs_beside(reads(6), insert(6)), 2, "a changed value is read");
    assert_eq!(runs_beside(reads(7), insert(8)), 1);
    // Keys that share the first level, once they are told apart.
    atomically(|tx| [9, 9 + 16, 9 + 32].map(|key| map.insert(tx, key, 0).copied()));
    assert_eq!(runs_beside(reads(9), insert(9 + 16)), 1);
    assert_eq!(runs_beside(insert(9), insert(9 + 16)), 1);
    let remove = |tx: &Transaction| {
        map.remove(tx, &9);
    };
    assert_eq!(runs_beside(reads(9), remove), 2);
    assert_eq!(runs_beside(reads(9), insert(9)), 2, "absence is read after a removal");
    assert_eq!(runs_beside(|tx| (map.len(tx), map.insert(tx, 10, 0)).0, insert(11)), 2);
    assert_eq!(runs_beside(|tx| (map.len(tx), map.insert(tx, 10, 0)).0, insert(11)), 1);
}

#[test]
fn nodes_that_are_left_with_one_key_are_given_up() {
    let map = by_number();
    let deep = 1 << 60;
    atomically(|tx| {
        map.insert(tx, 1, 1);
        map.insert(tx, 1 + deep, 2);
    });
    // The other key was moved: whoever used it is told.
    let uses_the_other = |tx: &Transaction| map.modify(tx, &1, |value| *value += 1);
    let removes = |tx: &Transaction| {
        map.remove(tx, &(1 + deep));
    };
    assert_eq!(runs_beside(uses_the_other, removes), 2);
    let all = || snapshot(|s| map.iter(s).map(|(k, v)| (*k, *v)).collect::<Vec<_>>());
    assert_eq!(all(), [(1, 2)]);
    atomically(|tx| map.insert(tx, 1 + deep, 2).copied());
    let changes_the_other = |tx: &Transaction| {
        uses_the_other(tx);
    };
    assert_eq!(runs_beside(removes, changes_the_other), 2);
    assert_eq!(all(), [(1, 3)], "what is moved is what is there");
    // It stands on the first level now: whoever comes beside it tells them apart again.
    let comes = |tx: &Transaction| {
        map.insert(tx, 1 + 16, 3);
    };
    assert_eq!(runs_beside(uses_the_other, comes), 2);
    assert_eq!(runs_beside(uses_the_other, comes), 1);
}

#[test]
fn the_order_of_iteration_is_that_of_the_hashes_however_the_map_grew() {
    let hasher = Masked(u64::MAX);
    let keys = |map: &TMap<u64, (), Masked>| snapshot(|s| map.keys(s).copied().collect::<Vec<_>>());
    let grown = TMap::with_hasher(hasher);
    let mut orders = Vec::new();
    for last in [10, 100, 1_000, 10_000_u64, 100_000] {
        (0..last).for_each(|key| {
            atomically(|tx| grown.insert(tx, key, ()).copied());
        });
        // In one transaction and in another order, of which the first half is removed again.
        let made = TMap::with_hasher(hasher);
        atomically(|tx| {
            for key in (0..last.min(20_000)).rev() {
                made.insert(tx, key, ());
            }
        });
        if last <= 20_000 {
            assert_eq!(keys(&grown), keys(&made));
        }
        orders.push(keys(&grown));
    }
    for pair in orders.windows(2) {
        let last = pair[0].len() as u64;
        let old = pair[1].iter().filter(|key| **key < last);
        assert!(old.eq(&pair[0]), "what is added moves nothing");
    }
}

#[test]
fn a_handler_beside_the_growth_of_a_map_sees_what_one_thread_would() {
    // Hashes that leave some slots out for long.
    let map = TMap::<u64, u64>::new();
    let (first, more) = (0..10_000_u64, 10_000..20_000);
    let executor = txloop::Executor::builder().threads(3).build().expect("threads");
    let insert = |range: std::ops::Range<u64>| {
        let handler = |key| {
            let map = map.clone();
            move |tx: &Transaction| map.insert(tx, key, key).copied()
        };
        executor.run("insert", range.map(handler).collect::<Vec<_>>())
    };
    assert!(insert(first.clone()).into_iter().all(|answer| answer == Ok(None)));
    snapshot(|old| {
        assert!(insert(more.clone()).into_iter().all(|answer| answer == Ok(None)));
        // Reads what has moved since, and what has not.
        assert_eq!(map.len(old), 10_000);
        assert!(first.clone().all(|key| map.get(old, &key) == Some(&key)));
        assert!((10_000..20_000).all(|key| map.get(old, &key).is_none()));
        let mut keys: Vec<_> = map.keys(old).copied().collect();
        keys.sort_unstable();
        assert!(keys.into_iter().eq(first.clone()));
    });
    let all = snapshot(|s| (0..20_000).all(|key| map.get(s, &key) == Some(&key)));
    assert!(all);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own clock")]
fn a_reader_sees_what_was_removed_meanwhile() {
    let map = by_number();
    let key = |n: u64| n % 40 * 16 + 3;
    for n in 0..10 {
        // Nodes are made and given up before, between and after the readers' beginnings.
        atomically(|tx| {
            map.insert(tx, key(n), n);
            map.insert(tx, key(n * 7), n);
        });
        snapshot(|reader| {
            let expected: Vec<_> = map.iter(reader).map(|(k, v)| (*k, *v)).collect();
            thread::scope(|scope| {
                // Long enough for the library to free what it believes nobody sees.
                let churn = || {
                    let began = Instant::now();
                    while began.elapsed() < Duration::from_millis(80) {
                        for m in 0..60 {
                            atomically(|tx| map.remove(tx, &key(m)).is_some());
                            atomically(|tx| map.insert(tx, key(m * n), m).is_some());
                        }
                    }
                };
                scope.spawn(churn).join().expect("nothing panics");
            });
            assert!(map.iter(reader).map(|(k, v)| (*k, *v)).eq(expected));
        });
    }
}

#[test]
fn keys_and_values_are_dropped_once() {
    let token = Arc::new(());
    let map = TMap::named("tokens");
    for round in 0..50 {
        atomically(|tx| {
            for key in 0..20 {
                map.insert(tx, format!("{}", key * (round + 1) % 33), Arc::clone(&token));
            }
            map.remove(tx, "7");
        });
    }
    atomically(|tx| map.clear(tx));
    drop(map);
    super::eventually(|| Arc::strong_count(&token) == 1);
}

/// A value that must not be dropped by those who handle it.
#[derive(Clone)]
struct Kept(Arc<AtomicUsize>, thread::ThreadId);

impl Drop for Kept {
    fn drop(&mut self) {
        let elsewhere = thread::current().id() != self.1;
        self.0.fetch_add(usize::from(elsewhere), Ordering::Relaxed);
    }
}

#[test]
fn destructors_of_users_run_on_threads_of_the_library() {
    let elsewhere = Arc::new(AtomicUsize::new(0));
    let map = TMap::new();
    for _ in 0..1_000 {
        let value = Kept(Arc::clone(&elsewhere), thread::current().id());
        atomically(|tx| map.insert(tx, 1, value.clone()).is_some());
    }
    super::eventually(|| elsewhere.load(Ordering::Relaxed) == 999);
}

/// A value that cannot be cloned once its fuse has burnt down.
struct Fragile {
    token: Arc<()>,
    fuse: Arc<AtomicUsize>,
}

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert!(self.fuse.fetch_sub(1, Ordering::Relaxed) > 1, "burnt down");
        Self { token: Arc::clone(&self.token), fuse: Arc::clone(&self.fuse) }
    }
}

#[test]
fn what_a_clone_that_panics_leaves_behind_is_dropped() {
    const KEYS: usize = 5;
    let token = Arc::new(());
    let fuse = Arc::new(AtomicUsize::new(usize::MAX));
    let fragile = || Fragile { token: Arc::clone(&token), fuse: Arc::clone(&fuse) };
    // All in one slot, which is written as a whole.
    let map = TMap::with_hasher(Masked(0));
    (0..KEYS).for_each(|key| atomically(|tx| assert!(map.insert(tx, key, fragile()).is_none())));
    for burning in 1..=KEYS {
        for key in 0..KEYS {
            fuse.store(burning, Ordering::Relaxed);
            let replace = || atomically(|tx| map.insert(tx, key, fragile()).is_some());
            let replaced = catch_unwind(AssertUnwindSafe(replace));
            assert_eq!(replaced.is_ok(), burning == KEYS, "one clone for each of the others");
        }
        super::eventually(|| Arc::strong_count(&token) == 1 + KEYS);
        assert_eq!(snapshot(|s| map.iter(s).count()), KEYS);
    }
    drop(map);
    super::eventually(|| Arc::strong_count(&token) == 1);
}

#[test]
fn a_map_that_has_grown_keeps_nothing_of_before() {
    let (old, new) = (Arc::new(()), Arc::new(()));
    // With good hashes: with others it does not grow.
    let map = TMap::new();
    for value in [&old, &new] {
        for key in 0..2_000_u64 {
            atomically(|tx| map.insert(tx, key, Arc::clone(value)).is_some());
        }
    }
    super::eventually(|| Arc::strong_count(&old) == 1);
    super::eventually(|| Arc::strong_count(&new) == 2_001);
    assert_eq!(snapshot(|s| map.values(s).filter(|value| Arc::ptr_eq(value, &new)).count()), 2_000);
}

#[test]
fn a_large_map_is_made_from_pairs_and_emptied() {
    const KEYS: u32 = 100_000;
    let map: TMap<u32, u32> = (0..3 * KEYS).map(|n| (n % KEYS, n)).collect();
    let check = |kept: &dyn Fn(u32) -> bool| {
        snapshot(|s| {
            let all: Vec<u32> = (0..KEYS).filter(|key| kept(*key)).collect();
            assert_eq!(map.len(s), all.len());
            let value = |key| kept(key).then_some(2 * KEYS + key);
            assert!((0..KEYS).all(|key| map.get(s, &key).copied() == value(key)));
            let mut keys: Vec<_> = map.keys(s).copied().collect();
            keys.sort_unstable();
            assert!(keys == all);
            let sum: u64 = all.iter().map(|key| u64::from(2 * KEYS + key)).sum();
            assert_eq!(map.values(s).map(|value| u64::from(*value)).sum::<u64>(), sum);
        });
    };
    check(&|_| true);
    let remove = |from: u32| {
        let keys: Vec<_> = (from..KEYS).step_by(3).collect();
        for some in keys.chunks(1_000) {
            let all = |tx: &Transaction| some.iter().all(|key| map.remove(tx, key).is_some());
            assert!(atomically(all));
        }
    };
    remove(0);
    check(&|key| key % 3 != 0);
    remove(1);
    check(&|key| key % 3 == 2);
    remove(2);
    check(&|_| false);
    assert_eq!(format!("{:?}", TMap::<u8, u8>::named("board")), "TMap { name: \"board\", .. }");
}

/// Keys that are there throughout are passed once, in whatever tables they are by then.
#[test]
fn a_walk_passes_what_stays_while_its_transaction_changes_the_rest() {
    for seed in 0..60_u64 {
        let map: TMap<u64, u64> = (0..500).map(|n| (n, n)).collect();
        let next = chance(seed);
        atomically(|tx| {
            let stays = |key: u64| key.is_multiple_of(3);
            let mut passed = Vec::new();
            for (key, _) in map.iter(tx) {
                passed.push(*key);
                for _ in 0..next(60) {
                    // More and more of them, so that the map grows, more than once.
                    let other = next(10_000) * 3 + 1 + next(2);
                    match next(5) {
                        0 => map.remove(tx, &other),
                        _ => map.insert(tx, other, 0),
                    };
                }
            }
            passed.retain(|key| stays(*key));
            passed.sort_unstable();
            assert_eq!(passed, (0..500).filter(|key| stays(*key)).collect::<Vec<_>>());
        });
    }
}

#[test]
fn all_keys_can_be_removed_on_the_way() {
    let map: TMap<u32, u32> = (0..3_000).map(|n| (n, n)).collect();
    atomically(|tx| {
        for (key, value) in map.iter(tx) {
            assert_eq!(map.remove(tx, key), Some(value));
        }
    });
    assert_eq!(snapshot(|s| (map.len(s), map.iter(s).count())), (0, 0));
    atomically(|tx| {
        map.insert(tx, 1, 1);
        for _ in map.iter(tx) {
            map.clear(tx);
        }
    });
    assert_eq!(snapshot(|s| map.iter(s).count()), 0);
}

/// Two keys in one node, one of which is left alone there: it is cloned, and that panics.
#[test]
fn a_removal_that_panics_is_counted_if_it_was_made() {
    #[derive(Debug)]
    struct Fragile;
    impl Clone for Fragile {
        fn clone(&self) -> Self {
            panic!("a clone that panics");
        }
    }
    let map: TMap<u64, Fragile, ByNumber> = [(1, Fragile), (0x81, Fragile)].into_iter().collect();
    atomically(|tx| {
        let removed = catch_unwind(AssertUnwindSafe(|| map.remove(tx, &0x81).is_some()));
        assert!(removed.is_err());
    });
    snapshot(|s| assert_eq!((map.len(s), map.iter(s).count()), (1, 1)));
}
