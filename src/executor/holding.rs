//! Running and deciding tasks while holding the baton: where nothing else commits, nothing fails.
//!
//! With one thread every write handler is run so, unless somebody outside has the baton for longer
//! than a commit or two; else short ones in the serial lane, those that
//! have lost too often, and in arrival order those whose turn it is. No destructor of a user runs
//! here.

use super::{
    job::{Ended, How, Kind, Task, Verdict},
    runner::{Runner, undone_as},
    transact::Panicked,
};
use crate::cell::{deferred, store::STORE};
use crate::conflict_log::Outcome as Booked;
use crate::transaction::{
    attempt::Attempt,
    commit::{Hold, Outcome},
    holder,
    run::{Ran, attempt_once},
    view::Mode,
};

/// The baton is kept from handler to handler, at most so long.
const KEEP_HOLD_NS: u64 = 50_000;

impl Runner {
    /// Whether a handler is to be run while holding the baton, if that is free: nothing is
    /// validated then. With one thread nobody else could commit; in the serial lane it is short,
    /// and whatever ran beside it would mostly fail.
    pub(super) fn may_hold(&self, task: &Task) -> bool {
        let handled = task.job.handled();
        let laned = || self.in_lane && handled.heat.in_lane(task.began_ns);
        self.core.threads == 1 || (laned() && handled.cost().goes_together())
    }

    /// Runs a handler while holding the baton; gives it back if others have that.
    pub(super) fn write_holding(&mut self, task: Box<Task>) -> Result<u64, Box<Task>> {
        let (mut hold, since) = match self.hold.take() {
            Some(kept) => kept,
            None => {
                // Else they would have to be submitted to this very thread.
                self.commit_gathered();
                let hold = match self.core.threads {
                    1 => Hold::begin_soon(),
                    _ => Hold::try_begin(),
                };
                match hold {
                    Some(hold) => (hold, task.began_ns),
                    None => return Err(task),
                }
            }
        };
        let now = self.write_alone(&mut hold, task);
        if hold.is_wanted() || now.saturating_sub(since) > KEEP_HOLD_NS {
            hold.end();
        } else {
            self.hold = Some((hold, since));
        }
        Ok(now)
    }

    /// Runs a task to its end while holding the baton. Nothing of the task is dropped here.
    pub(super) fn write_alone(&mut self, hold: &mut Hold, mut task: Box<Task>) -> u64 {
        let attempt = self.begin(&mut task);
        holder::runs(task.job.handled().label, task.began_ns);
        let (attempt, ran) = self.attempt_holding(&mut task, attempt, Mode::Alone);
        holder::ran();
        let mut now = self.ran(&mut task);
        if self.core.threads > 1 {
            self.core.ledger.held(&task);
        }
        if let Ran::Left(_) = ran {
            // What it read was not logged: once more, with a log to be parked on.
            self.keep(attempt.end());
            let attempt = self.begin(&mut task);
            let (attempt, ran) = self.attempt_holding(&mut task, attempt, Mode::Optimistic);
            now = self.ran(&mut task);
            self.decide_holding(hold, task, attempt, ran);
        } else {
            self.decide_holding(hold, task, attempt, ran);
        }
        now
    }

    /// One attempt, with the search inside where that has to be repeated with it.
    #[inline(always)]
    pub(super) fn attempt_holding(
        &self,
        task: &mut Task,
        attempt: Attempt,
        mode: Mode,
    ) -> (Attempt, Ran<Verdict>) {
        let may_search = !task.is_member() && !task.searched;
        let search = may_search && task.job.kind() == Kind::SearchThenWrite;
        let job = &mut task.job;
        attempt_once(attempt, mode, |tx| {
            if search {
                tx.with_joined(|snapshot| job.view(snapshot));
            }
            job.attempt(tx)
        })
    }

    /// Decides an attempt whose reads stand, as the holder.
    #[inline(always)]
    pub(super) fn decide_holding(
        &mut self,
        hold: &mut Hold,
        task: Box<Task>,
        attempt: Attempt,
        ran: Ran<Verdict>,
    ) {
        if let Ran::Answer(Verdict::Commit) = ran {
            let (spare, outcome) = hold.commit(attempt);
            self.keep(spare);
            self.end_committed(task, outcome);
        } else {
            self.decide_undone(hold, task, attempt, ran);
        }
    }

    /// The same for one that is not to be committed.
    fn decide_undone(
        &mut self,
        hold: &mut Hold,
        mut task: Box<Task>,
        attempt: Attempt,
        undone: Ran<Verdict>,
    ) {
        match undone {
            Ran::Left(left) => {
                task.is_ready = false;
                let left = left.since(&mut task.waits_since);
                if let Err((owner, spare, outcome)) = hold.park(attempt, left, task) {
                    owner.finish(spare, outcome);
                }
            }
            Ran::TakenBack => {
                self.keep(attempt.discard());
                task.take_back();
            }
            undone => {
                let (booked, how) = undone_as(undone);
                // What precedes it in the order is committed: this is its place, though it may have
                // run ahead of that on what was the same.
                let version = STORE.watermark();
                self.keep(attempt.end());
                self.core.ledger.ended(self.index, &task, version, booked);
                self.end_holding(task, version, how);
            }
        }
    }

    /// Ends a task whose commit did not fail.
    #[inline(always)]
    pub(super) fn end_committed(&mut self, task: Box<Task>, outcome: Outcome) {
        let (version, booked, how) = match outcome {
            Outcome::Committed(version) => (version, Booked::Committed, How::Done),
            Outcome::Panicked(panic) => {
                let how = How::Panicked(Panicked::contain(panic));
                (STORE.watermark(), Booked::Panicked, how)
            }
            // Each taken apart: nothing is left to be dropped on the way of those that commit.
            Outcome::Failed(conflict) => unreachable!("stale under the baton: {conflict:?}"),
            Outcome::TakenBack => unreachable!("it has not waited"),
        };
        self.core.ledger.ended(self.index, &task, version, booked);
        self.end_holding(task, version, how);
    }

    /// Ends a task under the baton: what its job captured is dropped later.
    #[inline(always)]
    fn end_holding(&mut self, mut task: Box<Task>, version: u64, how: How) {
        if self.reuses(&task) {
            self.member_ended(&mut task, Ended { version, how });
            if let Some(task) = self.keep_member(task) {
                deferred::drop_later(task);
            }
        } else {
            task.end_elsewhere(version, how);
        }
    }
}
