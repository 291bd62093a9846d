//! w4: transfers between accounts, and audits that add up all accounts beside them.

use super::Group;
use crate::{
    access::{Access, Backend, Job, Paper},
    beside::Scans,
    cells::{Named, Workload},
    contest::{Bench, Series, take_turns},
    random::Random,
};
use std::time::Duration;

/// The names of the transfers.
pub(crate) const TRANSFERS: Group = Group {
    title: "w4: transfers between two random accounts of 10, 1,000 or 100,000",
    workloads: &["w4-10", "w4-1000", "w4-100000"],
    measure: transfers,
    notes: |_| Vec::new(),
};
/// The names of the audits.
pub(crate) const AUDITS: Group = Group {
    title: "w4-audit: the sum of all accounts, beside a thread that transfers flat out",
    workloads: &["w4-audit-10", "w4-audit-1000", "w4-audit-100000"],
    measure: audits,
    notes: |_| Vec::new(),
};

/// What an account holds at first.
const FUNDS: i64 = 1_000;
/// The most that is transferred at once.
const MOST: usize = 100;
/// As much longer than elsewhere is the turn of an audit: some take long.
const LONGER: u32 = 2;

/// A bank with so many accounts.
struct Bank {
    accounts: usize,
}

/// From one account to another, unless it would go below zero.
#[derive(Clone, Copy)]
struct Transfer {
    from: u32,
    to: u32,
    amount: i64,
}

impl Job for Transfer {
    /// Whether there were the funds.
    type Answer = bool;

    #[inline]
    fn run<A: Access>(&self, cells: &mut A) -> Result<bool, A::Stop> {
        let (from, to) = (self.from as usize, self.to as usize);
        let funds = cells.get(from)?;
        if funds < self.amount {
            return Ok(false);
        }
        let other = cells.get(to)?;
        cells.set(from, funds - self.amount)?;
        cells.set(to, other + self.amount)?;
        Ok(true)
    }
}

/// A thread: what it is going to do, and what it did.
struct Clerk {
    random: Random,
    jobs: u64,
    done: u64,
}

impl Clerk {
    #[inline]
    fn next(&mut self, accounts: usize) -> Transfer {
        self.jobs += 1;
        let from = self.random.below(accounts);
        let to = from + 1 + self.random.below(accounts - 1);
        let to = if to < accounts { to } else { to - accounts };
        let amount = 1 + self.random.below(MOST) as i64;
        Transfer { from: from as u32, to: to as u32, amount }
    }
}

impl Workload for Bank {
    type State = Clerk;

    fn values(&self) -> Vec<i64> {
        vec![FUNDS; self.accounts]
    }

    fn begin(&self, thread: usize) -> Clerk {
        Clerk { random: Random::of_thread(thread), jobs: 0, done: 0 }
    }

    #[inline]
    fn step<B: Backend>(&self, cells: &B, clerk: &mut Clerk) {
        let transfer = clerk.next(self.accounts);
        clerk.done += u64::from(cells.run(&transfer));
    }

    /// What one thread did is done once more on paper. Of two, nobody knows the order.
    fn check(&self, before: &[i64], after: &[i64], clerks: &[Clerk]) {
        let total: i64 = after.iter().sum();
        assert_eq!(total, before.iter().sum::<i64>(), "the total of all accounts");
        assert!(after.iter().all(|funds| *funds >= 0), "an account is below zero");
        if let [clerk] = clerks {
            let (mut again, mut paper) = (self.begin(0), Paper(before.to_vec()));
            while again.jobs < clerk.jobs {
                let transfer = again.next(self.accounts);
                again.done += u64::from(paper.run(&transfer));
            }
            assert_eq!(clerk.done, again.done, "the number of transfers");
            assert_eq!(paper.0, after, "the accounts after one thread's transfers");
        }
    }
}

fn transfers(bench: &Bench) -> Vec<Series> {
    let banks = [("w4-10", 10), ("w4-1000", 1_000), ("w4-100000", 100_000)]
        .map(|(name, accounts)| Named::new(name, Bank { accounts }));
    let measure = |bank: &Named<Bank>| take_turns(bench.plan, bank.entries(bench));
    banks.iter().flat_map(measure).collect()
}

fn audits(bench: &Bench) -> Vec<Series> {
    let audits = [("w4-audit-10", 10), ("w4-audit-1000", 1_000), ("w4-audit-100000", 100_000)]
        .map(|(name, accounts)| Scans { name, every: Duration::ZERO, writes: Bank { accounts } });
    let plan = bench.plan.with_window(bench.plan.window * LONGER);
    audits.iter().flat_map(|audit| take_turns(plan, audit.entries(bench))).collect()
}
