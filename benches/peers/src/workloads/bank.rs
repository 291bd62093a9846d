//! w4: transfers between accounts, and audits that add up all accounts beside them.

use super::Group;
use crate::{
    access::{Access, Backend, Job, Paper},
    beside::Scans,
    cells::{Named, Workload},
    contest::{Bench, Series, take_turns},
    random::Random,
};
use std::{array, time::Duration};

/// The names of the transfers.
pub(crate) const TRANSFERS: Group = Group {
    title: "w4: transfers between two random accounts of 10, 1,000 or 100,000, with a look at \
            eight others: ten reads and two writes (w4-short: without that look)",
    workloads: &["w4-10", "w4-1000", "w4-100000", "w4-short-1000"],
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

/// What an account holds at first: so much that nothing is refused. Then transfers can be made in
/// any order, and what two threads did can be done once more.
const FUNDS: i64 = 1 << 40;
/// So many other accounts stand surety for a transfer. With them it has the twelve accesses of the
/// note that these workloads are from: its plain loop needs 22 ns.
const SURETIES: usize = 8;
/// The most that is transferred at once.
const MOST: usize = 100;
/// As much longer than elsewhere is the turn of an audit: some take long.
const LONGER: u32 = 2;

/// A bank with so many accounts, of which so many stand surety for a transfer.
struct Bank<const S: usize = SURETIES> {
    accounts: usize,
}

/// From one account to another, unless it would go below zero, or is more than the sureties have.
#[derive(Clone, Copy)]
struct Transfer<const S: usize> {
    sureties: [u32; S],
    from: u32,
    to: u32,
    amount: i64,
}

impl<const S: usize> Job for Transfer<S> {
    /// All that was seen, if it was made.
    type Answer = Option<i64>;

    #[inline]
    fn run<A: Access>(&self, cells: &mut A) -> Result<Option<i64>, A::Stop> {
        let mut surety = 0;
        for &account in &self.sureties {
            surety += cells.get(account as usize)?;
        }
        let (from, to) = (self.from as usize, self.to as usize);
        let funds = cells.get(from)?;
        if funds < self.amount || S != 0 && surety < self.amount {
            return Ok(None);
        }
        let other = cells.get(to)?;
        cells.set(from, funds - self.amount)?;
        cells.set(to, other + self.amount)?;
        Ok(Some(surety + funds + other))
    }
}

/// A thread: what it is going to do, what it did, and what it saw.
struct Clerk {
    random: Random,
    jobs: u64,
    done: u64,
    seen: i64,
}

impl Clerk {
    #[inline]
    fn next<const S: usize>(&mut self, accounts: usize) -> Transfer<S> {
        self.jobs += 1;
        let sureties = array::from_fn(|_| self.random.below(accounts) as u32);
        let from = self.random.below(accounts);
        let to = from + 1 + self.random.below(accounts - 1);
        let to = if to < accounts { to } else { to - accounts };
        let amount = 1 + self.random.below(MOST) as i64;
        Transfer { sureties, from: from as u32, to: to as u32, amount }
    }

    /// Takes note of what came of a transfer.
    #[inline]
    fn note(&mut self, made: Option<i64>) {
        if let Some(seen) = made {
            self.done += 1;
            self.seen = self.seen.wrapping_add(seen);
        }
    }
}

impl<const S: usize> Workload for Bank<S> {
    type State = Clerk;

    fn values(&self) -> Vec<i64> {
        vec![FUNDS; self.accounts]
    }

    fn begin(&self, thread: usize) -> Clerk {
        Clerk { random: Random::of_thread(thread), jobs: 0, done: 0, seen: 0 }
    }

    #[inline]
    fn step<B: Backend>(&self, cells: &B, clerk: &mut Clerk) {
        let transfer = clerk.next::<S>(self.accounts);
        clerk.note(cells.run(&transfer));
    }

    /// What was done is done once more on paper. In which order two threads did it, and so what
    /// they saw, nobody knows.
    fn check(&self, before: &[i64], after: &[i64], clerks: &[Clerk]) {
        let mut paper = Paper(before.to_vec());
        for (thread, clerk) in clerks.iter().enumerate() {
            let mut again = self.begin(thread);
            while again.jobs < clerk.jobs {
                let transfer = again.next::<S>(self.accounts);
                again.note(paper.run(&transfer));
            }
            assert_eq!(clerk.done, again.done, "the number of transfers");
            assert!(clerks.len() > 1 || clerk.seen == again.seen, "what one thread saw");
        }
        assert!(paper.0 == after, "the accounts after all transfers");
    }
}

fn transfers(bench: &Bench) -> Vec<Series> {
    let banks = [("w4-10", 10), ("w4-1000", 1_000), ("w4-100000", 100_000)]
        .map(|(name, accounts)| Named::new(name, Bank { accounts }));
    let measure = |bank: &Named<Bank>| take_turns(bench.plan, bank.entries(bench));
    let mut series: Vec<_> = banks.iter().flat_map(measure).collect();
    let short = Named::new("w4-short-1000", Bank::<0> { accounts: 1_000 });
    series.extend(take_turns(bench.plan, short.entries(bench)));
    series
}

fn audits(bench: &Bench) -> Vec<Series> {
    let audits = [("w4-audit-10", 10), ("w4-audit-1000", 1_000), ("w4-audit-100000", 100_000)]
        .map(|(name, accounts)| (name, Bank::<SURETIES> { accounts }))
        .map(|(name, writes)| Scans { name, every: Duration::ZERO, writes });
    let plan = bench.plan.with_window(bench.plan.window * LONGER);
    audits.iter().flat_map(|audit| take_turns(plan, audit.entries(bench))).collect()
}
