//! Members of series: each is run with a task that was another one's before, as long as the series
//! has some left.

use super::{
    core::{MEMBERS, contained_drop},
    job::{Ended, Task},
    runner::{GATHER, Runner},
    series::Series,
};
use crate::sync::{Arc, now_ns};
use crate::transaction::{commit::Hold, sink};
use std::ops::Range;

impl Runner {
    /// Runs members of a series, each with a task of this thread.
    pub(super) fn members(
        &mut self,
        series: &Arc<dyn Series>,
        members: Range<usize>,
        mut now: u64,
    ) {
        if self.present != series.ticket(0) {
            self.give_up_members();
            self.present = series.ticket(0);
        }
        let kept = self.shut_sheet.take();
        self.sheet = Some(kept.unwrap_or_else(|| Arc::clone(series).sheet()));
        for member in members {
            let kept = self.pool.pop().or_else(|| self.core.take_member(self.present));
            let mut task = kept.unwrap_or_else(|| {
                let job = Arc::clone(series).job();
                let mut task = self.core.task(job, series.now_ns());
                task.series = series.ticket(0);
                task
            });
            task.assign(member, series.ticket(member));
            now = self.run(task, now);
            now = self.run_again().unwrap_or(now);
        }
        if !series.has_more() || self.gathered.len() >= GATHER || Hold::is_free() {
            self.commit_gathered();
        }
        self.keep_arrived();
        self.run_again();
        if let Some(mut sheet) = self.sheet.take() {
            sheet.hand_in();
            self.shut_sheet = Some(sheet);
        }
        if !series.has_more() {
            self.give_up_members();
        }
    }

    /// Runs what has failed, and says when the last run ended, if there was one.
    fn run_again(&mut self) -> Option<u64> {
        let mut now = None;
        while let Some(task) = self.again.pop() {
            self.hand_in_before(&task);
            now = Some(self.run(task, now_ns()));
        }
        now
    }

    /// Hands in what members have answered, before this thread goes on with others.
    #[inline]
    pub(super) fn hand_in(&mut self) {
        if let Some(sheet) = &mut self.sheet {
            sheet.hand_in();
        }
    }

    /// The same before a handler runs here that is not one of the series, which does not wait for
    /// it.
    #[inline]
    pub(super) fn hand_in_before(&mut self, task: &Task) {
        if task.series != self.present {
            self.hand_in();
        }
    }

    /// Gives up the sheet of the present series, and its tasks, here and where all threads find
    /// them. They may be the last that have what its closures captured, whose destructors must not
    /// find the baton taken by this very thread.
    pub(super) fn give_up_members(&mut self) {
        if self.present == 0 {
            // Whoever keeps one has a series.
            return;
        }
        self.put_arrived();
        self.let_go_hold();
        self.pool.drain(..).for_each(contained_drop);
        contained_drop(self.shut_sheet.take());
        self.core.give_up_members();
        self.present = 0;
    }

    /// Ends a member of the present series.
    #[inline]
    pub(super) fn member_ended(&mut self, task: &mut Task, ended: Ended) {
        match &mut self.sheet {
            Some(sheet) => task.job.ended_on(ended, &mut **sheet),
            None => task.job.ended(ended),
        }
    }

    /// Whether a task that has ended can become another member of the present series.
    pub(super) fn reuses(&self, task: &Task) -> bool {
        task.is_member() && task.series == self.present && !sink::is_active()
    }

    /// Keeps such a task, or gives it back if there are enough.
    pub(super) fn keep_member(&mut self, task: Box<Task>) -> Option<Box<Task>> {
        if self.pool.len() < self.most_kept(MEMBERS) {
            self.pool.push(task);
            return None;
        }
        self.core.keep_member(task)
    }
}
