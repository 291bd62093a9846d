//! What a handler may use of the world and still be re-run: the time, chance, fresh names.
//!
//! All three belong to the ticket and not to the run, so every attempt of a handler gets the same,
//! and so does a replay of the same ticket.

use super::view::Transaction;
use crate::sync::{AtomicU64, Ordering, global, wall_clock};
use chacha20::{
    ChaCha12Rng,
    rand_core::{Rng as _, SeedableRng, TryRng},
};
use std::{
    cell::{Cell, OnceCell, RefCell},
    convert::Infallible,
    fmt,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The secret from which the chance of all tickets of an executor follows.
pub(crate) type Seed = [u8; 32];

global! {
    /// Tickets of transactions outside any executor.
    static TICKETS: AtomicU64 = AtomicU64::new(0);
}

/// A seed from the system.
pub(crate) fn fresh_seed() -> Seed {
    let mut seed = Seed::default();
    getrandom::fill(&mut seed).expect("the system has a source of randomness");
    seed
}

/// Nanoseconds on the wall clock since 1970.
pub(crate) fn wall_ns() -> u64 {
    let since = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The inputs of one ticket, beside the seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admission {
    pub(crate) ticket: u64,
    /// See [`wall_ns`].
    pub(crate) now_ns: u64,
}

/// The inputs of an attempt. Drawn from lazily: a handler that uses none pays nothing.
#[derive(Default)]
pub(crate) struct Inputs {
    /// The executor's; `None` outside of executors.
    seed: Option<Seed>,
    /// Outside of executors it is made when it is first used.
    admission: OnceCell<Admission>,
    rng: RefCell<Option<Box<ChaCha12Rng>>>,
    ids: Cell<u64>,
}

impl Inputs {
    /// For the tickets of an executor.
    pub(crate) fn seeded(seed: Seed) -> Self {
        Self { seed: Some(seed), ..Self::default() }
    }

    /// Begins another ticket.
    #[inline]
    pub(crate) fn admit(&mut self, admission: Option<Admission>) {
        self.admission = admission.map_or_else(OnceCell::new, OnceCell::from);
    }

    /// Begins another attempt of the same ticket.
    #[inline]
    pub(crate) fn rewind(&mut self) {
        if self.rng.get_mut().is_some() {
            *self.rng.get_mut() = None;
        }
        self.ids.set(0);
    }

    fn seed(&self) -> Seed {
        static SEED: OnceLock<Seed> = OnceLock::new();
        self.seed.unwrap_or_else(|| *SEED.get_or_init(fresh_seed))
    }

    fn admission(&self) -> &Admission {
        self.admission.get_or_init(|| Admission {
            ticket: TICKETS.fetch_add(1, Ordering::Relaxed) + 1,
            now_ns: wall_ns(),
        })
    }

    fn draw<R>(&self, f: impl FnOnce(&mut ChaCha12Rng) -> R) -> R {
        let mut rng = self.rng.borrow_mut();
        f(rng.get_or_insert_with(|| {
            let mut rng = ChaCha12Rng::from_seed(self.seed());
            rng.set_stream(self.admission().ticket);
            Box::new(rng)
        }))
    }

    fn unique_id(&self) -> u128 {
        let (mut seed, ticket) = (self.seed(), self.admission().ticket);
        // A key of its own, so that ids and numbers do not depend on each other.
        seed.iter_mut().for_each(|byte| *byte = !*byte);
        let mut rng = ChaCha12Rng::from_seed(seed);
        rng.set_stream(ticket);
        rng.set_word_pos(u128::from(self.ids.replace(self.ids.get() + 1)) * 4);
        u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())
    }
}

impl Transaction {
    /// The time, the same in every attempt of this handler: when it got its ticket, or for a
    /// transaction outside any executor, when it first asked. A handler that was parked gets a new
    /// one when it is woken.
    ///
    /// # Re-run
    /// Use this instead of the clock: a handler that reads the clock itself may decide differently
    /// each time it is run.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        let ns = self.attempt.logs.inputs.admission().now_ns;
        UNIX_EPOCH + Duration::from_nanos(ns)
    }

    /// Random numbers, the same in every attempt of this handler: ChaCha12, keyed by a secret of
    /// the executor and the ticket.
    ///
    /// # Re-run
    /// An attempt starts the stream anew.
    ///
    /// # Examples
    /// ```
    /// let dice = txloop::atomically(|tx| tx.rng().below(6) + 1);
    /// assert!((1..=6).contains(&dice));
    /// ```
    #[must_use]
    pub fn rng(&self) -> Rng<'_> {
        Rng(&self.attempt.logs.inputs)
    }

    /// An identifier that no other call gives, 128 bits that cannot be guessed: for sessions and
    /// rows, say. The same in every attempt of this handler.
    ///
    /// # Re-run
    /// The n-th call of an attempt gives the n-th identifier of the ticket.
    #[must_use]
    pub fn unique_id(&self) -> u128 {
        self.attempt.logs.inputs.unique_id()
    }
}

/// The random numbers of a transaction, see [`Transaction::rng`].
///
/// It is a generator in the sense of the `rand` crates, version 0.10.
#[derive(Clone, Copy)]
pub struct Rng<'a>(&'a Inputs);

impl Rng<'_> {
    /// The next 64 bits.
    #[must_use]
    pub fn next_u64(&self) -> u64 {
        self.0.draw(|rng| rng.next_u64())
    }

    /// A number from 0 up to `limit`, which is not included, all equally likely.
    ///
    /// # Panics
    /// If `limit` is 0.
    #[must_use]
    pub fn below(&self, limit: u64) -> u64 {
        assert!(limit != 0, "there is no number below 0");
        // Lemire: the high half of a product, without the part that would favour some numbers.
        let reject = limit.wrapping_neg() % limit;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(limit);
            if product as u64 >= reject {
                return (product >> 64) as u64;
            }
        }
    }

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.0.draw(|rng| rng.fill_bytes(bytes));
    }
}

impl TryRng for Rng<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.draw(|rng| rng.next_u32()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}

impl fmt::Debug for Rng<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}
