//! Running tasks on one thread: a worker's, or the loop's for inline batches.

use super::{
    arrival::{Group, RING},
    core::{Core, MEMBERS, Work, contained_drop, task_in_lane},
    job::{Ended, How, Kind, Task, Verdict},
    lane::Laned,
    schedule::{Class, Next, Untimed},
    series::Sheet,
    transact::Panicked,
};
use crate::cell::{MAX_VIEWS, deferred};
use crate::conflict_log::Outcome as Booked;
use crate::sync::{Arc, now_ns};
use crate::transaction::{
    attempt::{Attempt, Spare},
    choice::Left,
    commit::{self, Hold, Outcome, Wish},
    run::{Ran, attempt_once, view_attempt, view_logged},
    sink,
    view::Mode,
};
use std::collections::VecDeque;

/// An attempt that waits for others to be committed with waits no longer.
const GATHER_NS: u64 = 20_000;
/// How many attempts wait for the baton at most before they are made READY.
pub(super) const GATHER: usize = 32;
/// The same for handlers that are not gathered.
const PATIENCE: usize = 4;
/// How long a worker stays in the serial lane while other work waits.
const LANE_NS: u64 = 100_000;

/// What a thread that runs handlers keeps between them.
pub(crate) struct Runner {
    pub(super) core: Arc<Core>,
    pub(super) index: usize,
    spares: Vec<Spare>,
    /// The baton, while handlers that are run holding it follow one another.
    pub(super) hold: Option<(Hold, u64)>,
    /// Attempts of cheap handlers that hardly ever fail, to be committed together.
    #[expect(clippy::vec_box, reason = "they go on in the same boxes")]
    pub(super) gathered: Vec<Box<Task>>,
    /// In arrival order: tickets of cheap handlers whose turn has not come, to be put into the ring
    /// together.
    pub(super) arrived: Group,
    /// The first of them, or the one that follows the last.
    pub(super) arrived_first: u64,
    /// Further ones, each with its first ticket: while this thread runs brief tickets it serves
    /// what it has run ahead itself.
    pub(super) own: VecDeque<(u64, Group)>,
    /// Groups that were served, kept for their memory.
    pub(super) empty: Vec<Group>,
    /// While it serves: when the last turn ended, if that is known.
    pub(super) turn_began: Option<u64>,
    /// Whether this thread is in the serial lane.
    pub(super) in_lane: bool,
    /// Failed tasks to be run again, before anything else.
    #[expect(clippy::vec_box, reason = "they go on in the same boxes")]
    pub(super) again: Vec<Box<Task>>,
    /// Tasks of the present series that have ended, and its first ticket.
    #[expect(clippy::vec_box, reason = "they are used again in the same boxes")]
    pub(super) pool: Vec<Box<Task>>,
    pub(super) present: u64,
    /// What members of it answered, while this thread runs some; and between that.
    pub(super) sheet: Option<Box<dyn Sheet>>,
    pub(super) shut_sheet: Option<Box<dyn Sheet>>,
    cheap_run: u32,
    untimed: Untimed,
}

impl Runner {
    /// For thread `index`; the loop's is the one after the workers'.
    pub(crate) fn new(core: Arc<Core>, index: usize) -> Self {
        Self {
            core,
            index,
            spares: Vec::new(),
            hold: None,
            gathered: Vec::new(),
            arrived: Group::new(),
            arrived_first: 0,
            own: VecDeque::new(),
            empty: Vec::new(),
            turn_began: None,
            in_lane: false,
            again: Vec::new(),
            pool: Vec::new(),
            present: 0,
            sheet: None,
            shut_sheet: None,
            cheap_run: 0,
            untimed: Untimed::default(),
        }
    }

    /// Runs one task to its end, or until somebody else has to decide it. It begins at `began_ns`;
    /// the answer is the time at its end.
    pub(crate) fn run(&mut self, mut task: Box<Task>, began_ns: u64) -> u64 {
        if let Some(first) = self.gathered.first() {
            let late = began_ns.saturating_sub(first.ended_ns) > GATHER_NS;
            if late || task.job.handled().cost().class() == Class::Expensive {
                self.commit_gathered();
            }
        }
        task.worker = self.index;
        task.began_ns = began_ns;
        if self.core.arrival.is_some() {
            return self.arrive(task);
        }
        if task.is_member() {
            return self.write(task);
        }
        if task.taken_back().is_some() {
            task.take_back();
            return began_ns;
        }
        match task.job.kind() {
            Kind::Read => {
                let attempt = self.begin(&mut task);
                self.view(task, attempt)
            }
            Kind::Write => self.write(task),
            Kind::SearchThenWrite => match self.search(task) {
                Some(task) => self.write(task),
                None => now_ns(),
            },
        }
    }

    /// The next work of this thread, if there is any.
    pub(crate) fn step(&mut self) -> bool {
        if deferred::pending() {
            self.let_go();
            deferred::settle();
        }
        if let Some(task) = self.again.pop() {
            self.run(task, now_ns());
            return true;
        }
        let now = self.look_at_clock();
        let Some(work) = self.core.next(self.index, &mut self.cheap_run, now) else {
            self.let_go();
            return !self.again.is_empty();
        };
        if self.core.has_work() {
            self.core.wake_one();
        }
        let goes_on = matches!(work, Work::Members(..));
        if !goes_on && self.shut_sheet.as_ref().is_some_and(|sheet| !sheet.has_others()) {
            // Others took the last members of that series; this thread may not rest for long.
            self.give_up_members();
        }
        match work {
            Work::Task(task) if self.core.waits_for_room(&task) => self.core.put_aside(task),
            Work::Task(task) => self.begin_queued(Laned::Task(task), now),
            Work::Members(series, members) => {
                self.begin_queued(Laned::Members(series, members), now);
            }
            Work::Lane => self.lane(),
            Work::View(task, attempt) => {
                match task.job.handled().cost().goes_together() {
                    true => self.keep_arrived(),
                    false => self.put_arrived(),
                }
                self.view_in_turn(task, attempt);
            }
            Work::Turn => self.serve(),
            Work::InLane => self.arrival_lane(),
            Work::Alone(mut task) => {
                self.let_go();
                self.has_spare();
                let mut hold = commit::take_alone(task.first_snapshot);
                task.worker = self.index;
                task.began_ns = now_ns();
                self.write_alone(&mut hold, task);
                hold.end();
                // This thread looks once more for what came meanwhile.
                self.core.alone.leave();
            }
        }
        true
    }

    /// Runs what was queued, unless it belongs in the serial lane.
    fn begin_queued(&mut self, work: Laned, now: u64) {
        let laned = match &work {
            Laned::Task(task) => task_in_lane(task, now),
            Laned::Members(series, _) | Laned::Series(series) => series.handled().heat.in_lane(now),
        };
        if laned && self.core.threads > 1 && self.core.arrival.is_none() {
            self.commit_gathered();
            if let Laned::Members(series, _) = &work {
                self.core.lane_series(series);
            }
            self.core.lane.push(work);
            if self.core.lane.enter() {
                self.lane();
            }
        } else {
            self.run_queued(work, now);
        }
    }

    fn run_queued(&mut self, work: Laned, now: u64) {
        match work {
            Laned::Task(task) => {
                self.run(task, now);
            }
            Laned::Members(series, members) => self.members(&series, members, now),
            Laned::Series(series) => {
                let members = series.claim(MEMBERS);
                self.members(&series, members, now);
                if !series.has_more() {
                } else if series.handled().heat.in_lane(now) {
                    self.core.lane.push(Laned::Series(series));
                } else {
                    self.core.queue_series(series);
                    self.core.wake_one();
                }
            }
        }
    }

    /// Runs what waits in the serial lane, which was entered.
    fn lane(&mut self) {
        let began = self.look_at_clock();
        let mut now = began;
        self.commit_gathered();
        self.in_lane = true;
        loop {
            while self.core.ready.has_room()
                && let Some(work) = self.core.lane.next()
            {
                self.run_queued(work, now);
                while let Some(task) = self.again.pop() {
                    self.run(task, now_ns());
                }
                now = self.look_at_clock();
                if now - began > LANE_NS {
                    break;
                }
            }
            self.let_go();
            self.core.lane.leave();
            // Out of it for a moment, or for good if other work has waited long enough.
            let stays = now - began <= LANE_NS && self.core.ready.has_room();
            if !stays || !self.core.lane.enter() {
                self.in_lane = false;
                return;
            }
        }
    }

    /// Whether this is no loop's thread, which must not wait and has other things to do.
    fn is_worker(&self) -> bool {
        self.index < self.core.workers()
    }

    pub(super) fn spare(&mut self) -> Spare {
        self.spares.pop().unwrap_or_else(|| self.core.take_spare())
    }

    /// Sees to it that the next attempt has its slot. Before the baton is waited for: with it in
    /// hand nobody would give one back who waits for it.
    pub(super) fn has_spare(&mut self) {
        if self.spares.is_empty() {
            let spare = self.core.take_spare();
            self.spares.push(spare);
        }
    }

    /// How many tasks or attempts this thread keeps for later: `few`, or in arrival order as many
    /// as it may have run ahead, unless with that all threads together had most of what there is.
    pub(super) fn most_kept(&self, few: usize) -> usize {
        let ahead = RING.min(MAX_VIEWS / 4 / self.core.threads);
        if self.core.arrival.is_some() { ahead.max(few) } else { few }
    }

    pub(super) fn keep(&mut self, spare: Spare) {
        if self.spares.len() < self.most_kept(GATHER) {
            self.spares.push(spare);
        } else {
            self.core.return_spare(spare);
        }
    }

    /// Before a sleep: gives back all slots but one, since every scan looks at each slot in use.
    pub(crate) fn rest(&mut self) {
        if self.spares.len() > 1 {
            self.spares.drain(1..).for_each(contained_drop);
        }
        self.forget();
    }

    /// Where nothing may follow for long: gives up all that handlers captured, also of series whose
    /// last members others may have taken meanwhile.
    pub(crate) fn forget(&mut self) {
        self.spares.iter_mut().for_each(Spare::empty);
        self.give_up_members();
    }

    /// Begins an attempt of a task.
    pub(super) fn begin(&mut self, task: &mut Task) -> Attempt {
        self.look_twice(task);
        let spare = self.spare();
        let handled = task.job.handled();
        let mut spare = spare.handler(handled.label, Some(task.admission()));
        if !task.is_member() {
            // A snapshot is not left.
            let writes = task.job.kind() != Kind::Read;
            let cancel = task.job.cancel().filter(|_| writes).cloned();
            spare = spare.tied(cancel, task.job.home());
        }
        let attempt = spare.begin();
        if task.failures == 0 {
            task.first_snapshot = attempt.view.snapshot();
        }
        attempt
    }

    /// Runs a read-only task on the snapshot of `attempt`.
    pub(super) fn view(&mut self, mut task: Box<Task>, attempt: Attempt) -> u64 {
        self.let_go_hold();
        let job = &mut task.job;
        let (attempt, ran) = view_attempt(attempt, |snapshot| job.view(snapshot));
        let now = self.ran(&mut task);
        let (booked, how) = match ran {
            Ran::Answer(()) => (Booked::ReadOnly, How::Done),
            Ran::Panic(panic) => (Booked::Panicked, How::Panicked(Panicked::contain(panic))),
            Ran::Left(_) => {
                self.keep(attempt.end());
                self.view_to_park(task);
                return now;
            }
            Ran::TakenBack => unreachable!("a snapshot is not taken back"),
        };
        let version = attempt.view.snapshot();
        self.keep(attempt.end());
        self.end(task, version, booked, how);
        now
    }

    /// Runs a task that called `retry` on its snapshot once more, with its reads logged, to park
    /// it.
    fn view_to_park(&mut self, mut task: Box<Task>) {
        let attempt = self.begin(&mut task);
        let job = &mut task.job;
        let (attempt, ran) = view_logged(attempt, |snapshot| job.view(snapshot));
        self.ran(&mut task);
        let (booked, how) = match ran {
            Ran::Left(left) => return self.park(task, attempt, *left),
            Ran::Panic(panic) => (Booked::Panicked, How::Panicked(Panicked::contain(panic))),
            // The state has changed meanwhile; a search is followed by its act.
            Ran::Answer(()) if task.job.kind() == Kind::SearchThenWrite => {
                self.keep(attempt.end());
                task.searched = true;
                self.write(task);
                return;
            }
            Ran::Answer(()) => (Booked::ReadOnly, How::Done),
            Ran::TakenBack => unreachable!("a snapshot is not taken back"),
        };
        let version = attempt.view.snapshot();
        self.keep(attempt.end());
        self.end(task, version, booked, how);
    }

    /// Submits an attempt whose reads are to be validated by whoever has the baton; without room,
    /// it is run again once there is some.
    fn park(&mut self, mut task: Box<Task>, attempt: Attempt, left: Left) {
        self.let_go();
        if self.core.arrival.is_none() && !self.core.ready.has_room() {
            self.keep(attempt.end());
            return self.core.put_aside(task);
        }
        self.core.ready.joins(&mut task);
        let left = left.since(&mut task.waits_since);
        commit::submit(attempt, Wish::Park(left), task);
    }

    /// The search of a [`Kind::SearchThenWrite`], once. A panic in it ends the task.
    fn search(&mut self, mut task: Box<Task>) -> Option<Box<Task>> {
        if task.searched {
            return Some(task);
        }
        self.let_go_hold();
        let attempt = self.begin(&mut task);
        let job = &mut task.job;
        let (attempt, ran) = view_attempt(attempt, |snapshot| job.view(snapshot));
        let version = attempt.view.snapshot();
        self.keep(attempt.end());
        match ran {
            Ran::Answer(()) => {
                task.searched = true;
                return Some(task);
            }
            Ran::Left(_) => self.view_to_park(task),
            Ran::TakenBack => unreachable!("a snapshot is not taken back"),
            Ran::Panic(panic) => {
                self.ran(&mut task);
                let how = How::Panicked(Panicked::contain(panic));
                self.end(task, version, Booked::Panicked, how);
            }
        }
        None
    }

    fn write(&mut self, mut task: Box<Task>) -> u64 {
        if self.may_hold(&task) {
            match self.write_holding(task) {
                Ok(now) => return now,
                Err(given_back) => task = given_back,
            }
        }
        // What is submitted waits for the holder, who must not be this thread.
        self.let_go_hold();
        let attempt = self.begin(&mut task);
        let job = &mut task.job;
        let (mut attempt, ran) = attempt_once(attempt, Mode::Optimistic, |tx| job.attempt(tx));
        let now = self.ran(&mut task);
        match ran {
            Ran::Answer(Verdict::Commit) if attempt.is_plain_reader() => {
                let version = attempt.view.snapshot();
                self.keep(attempt.end());
                self.end(task, version, Booked::ReadOnly, How::Done);
            }
            Ran::Answer(Verdict::Commit) => self.commit(task, attempt, now),
            Ran::Left(left) => self.park(task, attempt, *left),
            Ran::TakenBack => {
                self.keep(attempt.discard());
                task.take_back();
            }
            undone => {
                // Opaque: what made it panic or roll back was there at its snapshot, its place.
                let (booked, how) = undone_as(undone);
                let version = attempt.view.snapshot();
                self.keep(attempt.discard());
                self.end(task, version, booked, how);
            }
        }
        now
    }

    /// Commits an attempt, now or with the next ones.
    fn commit(&mut self, mut task: Box<Task>, attempt: Attempt, now: u64) {
        let handled = task.job.handled();
        let group = match handled.heat.in_lane(now) {
            // One after another: the next one is to find what this one wrote.
            true => 1,
            false => handled.heat.group(handled.cost()),
        };
        let patience = match handled.cost().goes_together() {
            true if group > 1 => GATHER,
            true => PATIENCE,
            false => 0,
        };
        task.attempt = Some(attempt);
        self.gathered.push(task);
        if self.gathered.len() >= group {
            match Hold::try_begin() {
                Some(hold) => self.commit_holding(hold),
                None if self.gathered.len() < patience => {}
                None => self.submit_gathered(),
            }
        }
    }

    /// Commits what was gathered, or leaves it to whoever has the baton.
    pub(super) fn commit_gathered(&mut self) {
        if !self.gathered.is_empty() {
            match Hold::try_begin() {
                Some(hold) => self.commit_holding(hold),
                None => self.submit_gathered(),
            }
        }
    }

    fn submit_gathered(&mut self) {
        debug_assert!(self.hold.is_none(), "would wait for itself");
        for mut task in self.gathered.drain(..) {
            if let Some(attempt) = task.attempt.take() {
                self.core.ready.joins(&mut task);
                commit::submit(attempt, Wish::Commit, task);
            }
        }
    }

    fn commit_holding(&mut self, mut hold: Hold) {
        let mut gathered = std::mem::take(&mut self.gathered);
        for task in &mut gathered {
            if let Some(attempt) = task.attempt.take() {
                let (spare, outcome) = match attempt.is_taken_back() {
                    true => (attempt.end(), Outcome::TakenBack),
                    false => hold.commit(attempt),
                };
                task.outcome = Some(outcome);
                self.keep(spare);
            }
        }
        hold.end();
        for mut task in gathered.drain(..) {
            match task.outcome.take() {
                Some(Outcome::Committed(version)) => {
                    task.job.handled().heat.committed(task.ticket);
                    self.end(task, version, Booked::Committed, How::Done);
                }
                Some(Outcome::Failed(conflict)) => {
                    match self.core.book_failure(&mut task, &conflict) {
                        // The loop has other things to do.
                        Next::Again if self.is_worker() => self.again.push(task),
                        next => self.core.queue_failed(task, next),
                    }
                }
                Some(Outcome::Panicked(panic)) => {
                    let (version, panicked) = (task.first_snapshot, Panicked::contain(panic));
                    self.end(task, version, Booked::Panicked, How::Panicked(panicked));
                }
                Some(Outcome::TakenBack) => task.take_back(),
                None => unreachable!("gathered without an attempt"),
            }
        }
        self.gathered = gathered;
    }

    /// Lets go of a baton that was kept, and of attempts that were gathered.
    pub(crate) fn let_go(&mut self) {
        self.let_go_hold();
        self.commit_gathered();
        self.put_arrived();
    }

    pub(super) fn let_go_hold(&mut self) {
        if let Some((hold, _)) = self.hold.take() {
            hold.end();
        }
    }

    /// The time at which a run begins that follows no other one.
    pub(super) fn look_at_clock(&mut self) -> u64 {
        self.untimed.looked();
        now_ns()
    }

    /// Notes that a run has ended; the answer is the time. For members of a series that take about
    /// as long as a few looks at the clock it is looked at for every fourth, and the time before is
    /// that of the last look.
    pub(super) fn ran(&mut self, task: &mut Task) -> u64 {
        let handled = task.job.handled();
        let brief = task.is_member() && handled.cost().goes_together();
        if brief && !self.core.ledger.is_logging() && self.untimed.another() {
            task.ended_ns = task.began_ns;
            return task.began_ns;
        }
        task.ended_ns = now_ns();
        let runs = self.untimed.timed();
        handled.ran(task.ended_ns.saturating_sub(task.began_ns) / runs);
        task.ended_ns
    }

    /// Ends a task on this thread, without the baton.
    fn end(&mut self, mut task: Box<Task>, version: u64, outcome: Booked, how: How) {
        self.core.ledger.ended(self.index, &task, version, outcome);
        if sink::is_active() {
            task.end_elsewhere(version, how);
            return;
        }
        let ended = Ended { version, how };
        if self.reuses(&task) {
            self.member_ended(&mut task, ended);
            if let Some(task) = self.keep_member(task) {
                contained_drop(task);
            }
        } else {
            self.core.end(task, ended);
        }
    }
}

/// How an attempt that is not to be committed is booked.
pub(super) fn undone_as(ran: Ran<Verdict>) -> (Booked, How) {
    match ran {
        Ran::Panic(panic) => (Booked::Panicked, How::Panicked(Panicked::contain(panic))),
        _ => (Booked::RolledBack, How::Done),
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.let_go();
        // What others keep after this, they give up.
        self.give_up_members();
    }
}
