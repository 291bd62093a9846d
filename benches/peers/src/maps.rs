//! Maps from numbers to numbers: what a map workload needs of them.

use dashmap::DashMap;
use imbl::{GenericHashMap, shared_ptr::DefaultSharedPtr};
use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};
use txloop::{TMap, atomically, snapshot};

/// A map that holds its keys as values. All use the hasher of the standard library, but for
/// [`Table`](crate::tables::Table).
pub(crate) trait Map: 'static {
    /// As in the rows and in `--backends`.
    const NAME: &'static str;

    /// With these keys.
    fn new(keys: &[u64]) -> Self;

    /// The value of a key.
    fn get(&self, key: u64) -> Option<u64>;

    /// Whether the key is new.
    fn insert(&self, key: u64) -> bool;

    /// Whether the key was there.
    fn remove(&self, key: u64) -> bool;

    /// How many keys there are, and their sum.
    fn total(&self) -> (u64, u64);
}

/// Number and sum of keys that are found one by one.
fn total_of(keys: impl Iterator<Item = u64>) -> (u64, u64) {
    keys.fold((0, 0), |(count, sum), key| (count + 1, sum + key))
}

/// For one thread.
pub(crate) struct Plain(RefCell<HashMap<u64, u64>>);

impl Map for Plain {
    const NAME: &'static str = "plain";

    fn new(keys: &[u64]) -> Self {
        Self(RefCell::new(keys.iter().map(|&key| (key, key)).collect()))
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.borrow().get(&key).copied()
    }

    #[inline]
    fn insert(&self, key: u64) -> bool {
        self.0.borrow_mut().insert(key, key).is_none()
    }

    #[inline]
    fn remove(&self, key: u64) -> bool {
        self.0.borrow_mut().remove(&key).is_some()
    }

    fn total(&self) -> (u64, u64) {
        total_of(self.0.borrow().keys().copied())
    }
}

/// Under one mutex of the standard library.
pub(crate) struct Locked(Mutex<HashMap<u64, u64>>);

impl Locked {
    #[inline]
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Map for Locked {
    const NAME: &'static str = "mutex";

    fn new(keys: &[u64]) -> Self {
        Self(Mutex::new(keys.iter().map(|&key| (key, key)).collect()))
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.lock().get(&key).copied()
    }

    #[inline]
    fn insert(&self, key: u64) -> bool {
        self.lock().insert(key, key).is_none()
    }

    #[inline]
    fn remove(&self, key: u64) -> bool {
        self.lock().remove(&key).is_some()
    }

    fn total(&self) -> (u64, u64) {
        total_of(self.lock().keys().copied())
    }
}

/// 64 maps, each under a mutex of the crate parking_lot.
pub(crate) struct Sharded(Vec<parking_lot::Mutex<HashMap<u64, u64>>>);

impl Sharded {
    const SHARDS: usize = 64;

    #[inline]
    fn shard(&self, key: u64) -> parking_lot::MutexGuard<'_, HashMap<u64, u64>> {
        self.0[key as usize % Self::SHARDS].lock()
    }
}

impl Map for Sharded {
    const NAME: &'static str = "sharded";

    fn new(keys: &[u64]) -> Self {
        let map = Self((0..Self::SHARDS).map(|_| parking_lot::Mutex::default()).collect());
        keys.iter().for_each(|&key| assert!(map.insert(key)));
        map
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.shard(key).get(&key).copied()
    }

    #[inline]
    fn insert(&self, key: u64) -> bool {
        self.shard(key).insert(key, key).is_none()
    }

    #[inline]
    fn remove(&self, key: u64) -> bool {
        self.shard(key).remove(&key).is_some()
    }

    fn total(&self) -> (u64, u64) {
        let keys = |shard: &parking_lot::Mutex<HashMap<u64, u64>>| -> Vec<u64> {
            shard.lock().keys().copied().collect()
        };
        total_of(self.0.iter().flat_map(keys))
    }
}

/// The crate dashmap.
pub(crate) struct Dash(DashMap<u64, u64>);

impl Map for Dash {
    const NAME: &'static str = "dashmap";

    fn new(keys: &[u64]) -> Self {
        Self(keys.iter().map(|&key| (key, key)).collect())
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key).map(|value| *value)
    }

    #[inline]
    fn insert(&self, key: u64) -> bool {
        self.0.insert(key, key).is_none()
    }

    #[inline]
    fn remove(&self, key: u64) -> bool {
        self.0.remove(&key).is_some()
    }

    fn total(&self) -> (u64, u64) {
        total_of(self.0.iter().map(|entry| *entry.key()))
    }
}

/// txloop's own map.
pub(crate) struct Txloop(TMap<u64, u64>);

impl Map for Txloop {
    const NAME: &'static str = "txloop";

    fn new(keys: &[u64]) -> Self {
        let map = TMap::new();
        keys.chunks(1_000).for_each(|some| {
            atomically(|tx| {
                some.iter().for_each(|&key| assert!(map.insert(tx, key, key).is_none()));
            });
        });
        Self(map)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        snapshot(|view| self.0.get(view, &key).copied())
    }

    #[inline]
    fn insert(&self, key: u64) -> bool {
        atomically(|tx| self.0.insert(tx, key, key).is_none())
    }

    #[inline]
    fn remove(&self, key: u64) -> bool {
        atomically(|tx| self.0.remove(tx, &key).is_some())
    }

    fn total(&self) -> (u64, u64) {
        snapshot(|view| {
            let (count, sum) = total_of(self.0.keys(view).copied());
            assert_eq!(count, self.0.len(view) as u64, "the length of the map");
            (count, sum)
        })
    }
}

/// A persistent map, which a cell of a crate without maps can hold.
type Part = GenericHashMap<u64, u64, RandomState, DefaultSharedPtr>;
/// So many cells with such maps are quicker than one or than one for each key.
const PARTS: usize = 1_024;

/// 1,024 cells of the crate stm-core, or of its descendant fast-stm, with persistent maps.
macro_rules! parts {
    ($map:ident, $name:literal, $krate:ident) => {
        #[doc = concat!("1,024 cells of the crate ", $name, " that hold persistent maps.")]
        pub(crate) struct $map(Vec<$krate::TVar<Part>>);

        impl $map {
            #[inline]
            fn part(&self, key: u64) -> &$krate::TVar<Part> {
                &self.0[key as usize % PARTS]
            }
        }

        impl Map for $map {
            const NAME: &'static str = $name;

            fn new(keys: &[u64]) -> Self {
                let mut parts = vec![Part::default(); PARTS];
                keys.iter().for_each(|&key| {
                    parts[key as usize % PARTS].insert(key, key);
                });
                Self(parts.into_iter().map($krate::TVar::new).collect())
            }

            #[inline]
            fn get(&self, key: u64) -> Option<u64> {
                let part = self.part(key);
                $krate::atomically(|tx| Ok(part.read(tx)?.get(&key).copied()))
            }

            #[inline]
            fn insert(&self, key: u64) -> bool {
                let part = self.part(key);
                $krate::atomically(|tx| {
                    let mut map = part.read(tx)?;
                    let is_new = map.insert(key, key).is_none();
                    part.write(tx, map)?;
                    Ok(is_new)
                })
            }

            #[inline]
            fn remove(&self, key: u64) -> bool {
                let part = self.part(key);
                $krate::atomically(|tx| {
                    let mut map = part.read(tx)?;
                    let was_there = map.remove(&key).is_some();
                    if was_there {
                        part.write(tx, map)?;
                    }
                    Ok(was_there)
                })
            }

            fn total(&self) -> (u64, u64) {
                let maps: Vec<Part> = self.0.iter().map(|part| part.read_atomic()).collect();
                total_of(maps.iter().flat_map(|map| map.keys().copied()))
            }
        }
    };
}

parts!(StmCore, "stm-core", stm_core);
parts!(FastStm, "fast-stm", fast_stm);
