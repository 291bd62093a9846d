//! w5: a map of 100,000 possible keys: 90 % look-ups, 10 % insertions and removals.

use super::Group;
use crate::{
    access::Backend,
    backends::{Visitor, visit_all},
    contest::{Bench, Entry, Sample, Series, take_turns},
    maps::{Dash, FastStm, Locked, Map, Plain, Sharded, StmCore, Txloop},
    random::Random,
    tables::{SLOTS, Table},
    timing::{Hand, Pace, alone, together},
};
use std::{hint::black_box, rc::Rc};

/// The name of w5.
pub(crate) const GROUP: Group = Group {
    title: "w5: maps with 50,000 of 100,000 keys, 90 % look-ups (sharded: 64 parking_lot mutexes; \
            w5-cells: no map, but a table of fixed size, a cell for each slot)",
    workloads: &[NAME, IN_CELLS],
    measure,
    notes: |_| Vec::new(),
};

/// Makes the figures of a map.
type Maker = for<'a> fn(&'static str, &[u64], &'a [Vec<Op>]) -> Vec<Entry<'a>>;

/// The maps, some of which are called like backends of other workloads.
const MAPS: &[(&str, Maker)] = &[
    (Plain::NAME, alone_on::<Plain>),
    (Locked::NAME, shared::<Locked>),
    (Sharded::NAME, shared::<Sharded>),
    (Dash::NAME, shared::<Dash>),
    (Txloop::NAME, shared::<Txloop>),
    (StmCore::NAME, shared::<StmCore>),
    (FastStm::NAME, shared::<FastStm>),
];

const NAME: &str = "w5";
const IN_CELLS: &str = "w5-cells";
/// Keys that there can be; at first every second one is there.
const KEYS: usize = 100_000;
/// Operations of a thread before it begins again with the first: so many that the processor does
/// not learn them.
const STREAM: usize = 1 << 16;

/// An operation that was chosen beforehand.
#[derive(Debug, Clone, Copy)]
enum Op {
    Get(u64),
    Insert(u64),
    Remove(u64),
}

/// The operations of a thread.
fn stream(thread: usize) -> Vec<Op> {
    let mut random = Random::of_thread(thread);
    let op = |_| {
        let key = random.below(KEYS) as u64;
        match random.below(20) {
            0 => Op::Insert(key),
            1 => Op::Remove(key),
            _ => Op::Get(key),
        }
    };
    (0..STREAM).map(op).collect()
}

/// A thread: what it does, and what it changed.
// Threads stand side by side in memory: no two of them may write one cache line.
#[repr(align(128))]
struct User<'a, M> {
    map: &'a M,
    ops: &'a [Op],
    at: usize,
    keys: i64,
    sum: i64,
}

impl<M: Map> Hand for User<'_, M> {
    #[inline]
    fn step(&mut self) {
        let map = black_box(self.map);
        match self.ops[self.at] {
            Op::Get(key) => assert!(map.get(key).is_none_or(|value| value == key), "wrong value"),
            Op::Insert(key) if map.insert(key) => {
                self.keys += 1;
                self.sum += key as i64;
            }
            Op::Remove(key) if map.remove(key) => {
                self.keys -= 1;
                self.sum -= key as i64;
            }
            Op::Insert(_) | Op::Remove(_) => {}
        }
        self.at = (self.at + 1) % STREAM;
    }
}

/// One turn with its check: keys and their sum have changed by what the threads did.
fn turn<'a, M: Map>(
    map: &'a M,
    streams: &'a [Vec<Op>],
    work: impl FnOnce(&mut [User<'a, M>]) -> Vec<Pace>,
) -> Sample {
    let before = map.total();
    let user = |ops: &'a Vec<Op>| User { map, ops, at: 0, keys: 0, sum: 0 };
    let mut users: Vec<_> = streams.iter().map(user).collect();
    let paces = work(&mut users);
    let more = |total: u64, of: fn(&User<'a, M>) -> i64| {
        total.wrapping_add_signed(users.iter().map(of).sum())
    };
    let expected = (more(before.0, |user| user.keys), more(before.1, |user| user.sum));
    assert_eq!(map.total(), expected, "keys and their sum");
    Sample::of(&paces)
}

/// The figures of a map that threads share.
fn shared<'a, M: Map + Sync>(
    workload: &'static str,
    keys: &[u64],
    streams: &'a [Vec<Op>],
) -> Vec<Entry<'a>> {
    let map = Rc::new(M::new(keys));
    let entry = |threads| {
        let (map, streams) = (Rc::clone(&map), &streams[..threads]);
        let turn = Box::new(move |window| {
            turn(&*map, streams, |users| match users {
                [user] => vec![alone(window, user)],
                users => together(window, users),
            })
        });
        Entry { workload, backend: M::NAME, threads, turn }
    };
    [1, 2].map(entry).into()
}

/// The figure of a map that they cannot share.
fn alone_on<'a, M: Map>(
    workload: &'static str,
    keys: &[u64],
    streams: &'a [Vec<Op>],
) -> Vec<Entry<'a>> {
    let map = M::new(keys);
    let turn = Box::new(move |window| {
        turn(&map, &streams[..1], |users| users.iter_mut().map(|u| alone(window, u)).collect())
    });
    vec![Entry { workload, backend: M::NAME, threads: 1, turn }]
}

/// Collects the figures of tables in cells.
struct Tables<'a, 'b> {
    bench: &'b Bench,
    keys: &'b [u64],
    streams: &'a [Vec<Op>],
    entries: Vec<Entry<'a>>,
}

impl Tables<'_, '_> {
    fn has_place_for<B: Backend>(&self) -> bool {
        self.bench.admits(B::NAME) && SLOTS <= B::MAX_CELLS
    }
}

impl Visitor for Tables<'_, '_> {
    fn shared<B: Backend + Send + Sync>(&mut self) {
        if self.has_place_for::<B>() {
            self.entries.extend(shared::<Table<B>>(IN_CELLS, self.keys, self.streams));
        }
    }

    fn alone<B: Backend>(&mut self) {
        if self.has_place_for::<B>() {
            self.entries.extend(alone_on::<Table<B>>(IN_CELLS, self.keys, self.streams));
        }
    }
}

fn measure(bench: &Bench) -> Vec<Series> {
    let keys: Vec<u64> = (0..KEYS as u64).step_by(2).collect();
    let streams = [0, 1].map(stream);
    let mut series = Vec::new();
    if bench.wants(NAME) {
        let maps = MAPS.iter().filter(|(name, _)| bench.admits(name));
        let entries = maps.flat_map(|(_, make)| make(NAME, &keys, &streams)).collect();
        series.extend(take_turns(bench.plan, entries));
    }
    if bench.wants(IN_CELLS) {
        let mut tables = Tables { bench, keys: &keys, streams: &streams, entries: Vec::new() };
        visit_all(&mut tables);
        series.extend(take_turns(bench.plan, tables.entries));
    }
    series
}

/// The names of the maps.
pub(crate) fn backends() -> impl Iterator<Item = &'static str> {
    MAPS.iter().map(|(name, _)| *name)
}
