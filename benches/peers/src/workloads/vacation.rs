//! vacation, after STAMP: an agency's cars, flights and rooms, and what its customers have
//! reserved, with STAMP's mix for low contention.
//!
//! In STAMP a customer's reservations are a list without end, and resources run out. Here a
//! customer has eight slots and gives one reservation back for a ninth, so that the work stays the
//! same however long a turn is. Tables are arrays instead of trees.

use super::Group;
use crate::{
    access::{Access, Backend, Job, Paper},
    cells::{Named, Workload},
    contest::{Bench, Series, take_turns},
    random::Random,
};
use std::array;

/// The name of the workload.
pub(crate) const GROUP: Group = Group {
    title: "vacation: 1,024 cars, flights and rooms each, 1,024 customers, 98 % reservations",
    workloads: &["vacation"],
    measure,
    notes: |_| Vec::new(),
};

/// Cars, flights, rooms.
const KINDS: usize = 3;
/// Of each kind.
const ITEMS: usize = 1_024;
/// People who reserve.
const CUSTOMERS: usize = 1_024;
/// Reservations of a customer.
const SLOTS: usize = 8;
/// Items that a job asks for or changes.
const QUERIES: usize = 2;
/// Percent of the items that are asked for at all.
const RANGE: usize = 90;
/// Percent of the jobs that are reservations. Of the others one half removes a customer's
/// reservations, the other one changes items.
const RESERVATIONS: usize = 98;
/// By so much grows and shrinks the number of an item.
const LOT: i64 = 100;
/// Cells of an item: how many are reserved, how many there are, and the price.
const FIELDS: usize = 3;
const RESERVED: usize = 0;
const TOTAL: usize = 1;
const PRICE: usize = 2;
/// The cells of the customers come after those of all items.
const FIRST_SLOT: usize = KINDS * ITEMS * FIELDS;
/// A slot without a reservation.
const EMPTY: i64 = 0;

/// The agency.
struct Agency;

/// An item of a kind, by its number among all items.
type Item = usize;

fn cell(item: Item, field: usize) -> usize {
    item * FIELDS + field
}

fn slot(customer: usize, at: usize) -> usize {
    FIRST_SLOT + customer * SLOTS + at
}

/// What a slot holds for an item at a price.
fn reservation(item: Item, price: i64) -> i64 {
    (price << 32) + item as i64 + 1
}

/// The item and the price of a reservation.
fn parts(reservation: i64) -> (Item, i64) {
    (((reservation - 1) & 0xFFFF_FFFF) as usize, (reservation - 1) >> 32)
}

/// What a customer or the agency wants.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// Of each kind among the items, the dearest one that is left.
    Reserve { customer: usize, items: [Item; QUERIES] },
    /// All reservations of a customer.
    Cancel { customer: usize },
    /// More of some items at a new price, or fewer.
    Change { items: [(Item, bool); QUERIES], price: i64 },
}

impl Job for Order {
    /// By how many reservations there are more now.
    type Answer = i64;

    fn run<A: Access>(&self, cells: &mut A) -> Result<i64, A::Stop> {
        match *self {
            Order::Reserve { customer, items } => reserve(cells, customer, items),
            Order::Cancel { customer } => cancel(cells, customer),
            Order::Change { items, price } => change(cells, items, price),
        }
    }
}

fn reserve<A: Access>(
    cells: &mut A,
    customer: usize,
    items: [Item; QUERIES],
) -> Result<i64, A::Stop> {
    let mut dearest: [Option<(Item, i64)>; KINDS] = [None; KINDS];
    for item in items {
        let is_left = cells.get(cell(item, RESERVED))? < cells.get(cell(item, TOTAL))?;
        let price = cells.get(cell(item, PRICE))?;
        let best = &mut dearest[item / ITEMS];
        if is_left && best.is_none_or(|(_, other)| price > other) {
            *best = Some((item, price));
        }
    }
    let mut more = 0;
    for (item, price) in dearest.into_iter().flatten() {
        let mut free = None;
        for at in 0..SLOTS {
            if cells.get(slot(customer, at))? == EMPTY {
                free = Some(slot(customer, at));
                break;
            }
        }
        let slot = match free {
            Some(slot) => slot,
            None => {
                let full = slot(customer, item % SLOTS);
                let (old, _) = parts(cells.get(full)?);
                cells.add(cell(old, RESERVED), -1)?;
                more -= 1;
                full
            }
        };
        cells.set(slot, reservation(item, price))?;
        cells.add(cell(item, RESERVED), 1)?;
        more += 1;
    }
    Ok(more)
}

fn cancel<A: Access>(cells: &mut A, customer: usize) -> Result<i64, A::Stop> {
    let mut more = 0;
    for at in 0..SLOTS {
        let held = cells.get(slot(customer, at))?;
        if held != EMPTY {
            cells.add(cell(parts(held).0, RESERVED), -1)?;
            cells.set(slot(customer, at), EMPTY)?;
            more -= 1;
        }
    }
    Ok(more)
}

fn change<A: Access>(
    cells: &mut A,
    items: [(Item, bool); QUERIES],
    price: i64,
) -> Result<i64, A::Stop> {
    for (item, grows) in items {
        let total = cells.get(cell(item, TOTAL))?;
        if grows {
            cells.set(cell(item, TOTAL), total + LOT)?;
            cells.set(cell(item, PRICE), price)?;
        } else if total - cells.get(cell(item, RESERVED))? >= LOT {
            cells.set(cell(item, TOTAL), total - LOT)?;
        }
    }
    Ok(0)
}

/// A thread: its orders, and what came of them.
struct Clerk {
    random: Random,
    orders: u64,
    more: i64,
}

impl Clerk {
    fn item(&mut self) -> Item {
        self.random.below(KINDS) * ITEMS + self.random.below(ITEMS * RANGE / 100)
    }

    fn next(&mut self) -> Order {
        self.orders += 1;
        if self.random.below(100) < RESERVATIONS {
            let items = array::from_fn(|_| self.item());
            Order::Reserve { customer: self.random.below(CUSTOMERS * RANGE / 100), items }
        } else if self.random.below(2) == 0 {
            Order::Cancel { customer: self.random.below(CUSTOMERS * RANGE / 100) }
        } else {
            let items = array::from_fn(|_| (self.item(), self.random.below(2) == 0));
            Order::Change { items, price: price(&mut self.random) }
        }
    }
}

fn price(random: &mut Random) -> i64 {
    50 + 10 * random.below(5) as i64
}

/// How many reservations there are.
///
/// # Panics
/// If those of the items are not those of the customers, or more than there are.
fn reservations(cells: &[i64]) -> i64 {
    let mut held = vec![0; KINDS * ITEMS];
    for &slot in cells[FIRST_SLOT..].iter().filter(|&&slot| slot != EMPTY) {
        held[parts(slot).0] += 1;
    }
    for (item, &held) in held.iter().enumerate() {
        let (reserved, total) = (cells[cell(item, RESERVED)], cells[cell(item, TOTAL)]);
        assert_eq!(reserved, held, "item {item}: its reservations and those of the customers");
        assert!(reserved <= total, "item {item}: {reserved} reserved of {total}");
    }
    held.iter().sum()
}

impl Workload for Agency {
    type State = Clerk;

    fn values(&self) -> Vec<i64> {
        let mut random = Random::seeded(0);
        let item = |_| [0, LOT * (1 + random.below(5) as i64), price(&mut random)];
        let items = (0..KINDS * ITEMS).flat_map(item);
        items.chain([EMPTY; CUSTOMERS * SLOTS]).collect()
    }

    fn begin(&self, thread: usize) -> Clerk {
        Clerk { random: Random::of_thread(thread), orders: 0, more: 0 }
    }

    #[inline]
    fn step<B: Backend>(&self, cells: &B, clerk: &mut Clerk) {
        let order = clerk.next();
        clerk.more += cells.run(&order);
    }

    /// What one thread did is done once more on paper. Of two, nobody knows the order.
    fn check(&self, before: &[i64], after: &[i64], clerks: &[Clerk]) {
        let more: i64 = clerks.iter().map(|clerk| clerk.more).sum();
        assert_eq!(reservations(after) - reservations(before), more, "reservations in all");
        if let [clerk] = clerks {
            let (mut again, mut paper) = (self.begin(0), Paper(before.to_vec()));
            while again.orders < clerk.orders {
                let order = again.next();
                again.more += paper.run(&order);
            }
            assert_eq!(again.more, clerk.more, "reservations of one thread");
            assert!(paper.0 == after, "the cells after one thread's orders");
        }
    }
}

fn measure(bench: &Bench) -> Vec<Series> {
    take_turns(bench.plan, Named::new("vacation", Agency).entries(bench))
}
