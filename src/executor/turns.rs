//! Arrival order on one thread: running tickets ahead, and serving those whose turn it is.

use super::{
    arrival::{Arrival, Group, Turn},
    core::Work,
    job::{Kind, Task, Verdict},
    runner::Runner,
};
use crate::cell::deferred;
use crate::sync::{fault, now_ns, point};
use crate::transaction::{
    attempt::Attempt,
    commit::{self, Hold, Outcome},
    conflict::Conflict,
    run::Ran,
    view::Mode,
};

/// The most turns in one hold of the baton.
const HOLD_TURNS: usize = 64;
/// The longest that a hold goes on taking further turns, in nanoseconds.
const HOLD_NS: u64 = 40_000;

impl Runner {
    fn arrival(&self) -> &Arrival {
        match &self.core.arrival {
            Some(arrival) => arrival,
            None => unreachable!("called in arrival order only"),
        }
    }

    /// Takes a task that has its ticket: runs it ahead of its turn where that may help.
    pub(super) fn arrive(&mut self, mut task: Box<Task>) -> u64 {
        let mut now = task.began_ns;
        let brief = task.job.handled().cost().goes_together();
        let follows = self.arrived_first + self.arrived.len() as u64 == task.ticket;
        if !brief || !follows {
            match brief {
                true => self.keep_arrived(),
                false => self.put_arrived(),
            }
            self.arrived_first = task.ticket;
            // What was served is not its own cost.
            now = self.look_at_clock();
            task.began_ns = now;
        }
        let handled = task.job.handled();
        let speculates = self.core.threads > 1 && !handled.heat.in_lane(now);
        let ahead = speculates && task.job.kind() != Kind::Read;
        let together = match speculates {
            true => handled.heat.group_ahead(handled.cost()),
            false => handled.cost().together(),
        };
        if ahead {
            let attempt = self.begin(&mut task);
            task.ahead = Some(self.attempt_holding(&mut task, attempt, Mode::Optimistic));
            now = self.ran(&mut task);
        }
        self.arrived.push_back(task);
        if self.arrived.len() >= together {
            if brief {
                self.keep_arrived()
            } else {
                self.put_arrived()
            }
            now = self.look_at_clock();
        }
        now
    }

    /// Runs what would conflict with itself, which then is not run ahead by anybody.
    pub(super) fn arrival_lane(&mut self) {
        self.put_arrived();
        let mut now = self.look_at_clock();
        while self.arrival().stays_in_lane(now) {
            match self.arrival().take_in_lane() {
                Some(Work::Task(task)) => {
                    self.run(task, now);
                }
                Some(Work::Members(series, members)) => self.members(&series, members, now),
                _ => {}
            }
            self.put_arrived();
            now = self.look_at_clock();
        }
        self.core.wake_one();
    }

    /// Serves what was gathered, if it is its turn; else keeps it while this thread runs further
    /// brief tickets: what they left is in this core's cache, and would have to be fetched by
    /// another server.
    pub(super) fn keep_arrived(&mut self) {
        if !self.arrived.is_empty() {
            let empty = self.empty_group();
            let group = std::mem::replace(&mut self.arrived, empty);
            let first = self.arrived_first;
            self.arrived_first += group.len() as u64;
            self.own.push_back((first, group));
        }
        if self.own_is_next() {
            self.serve();
        }
    }

    /// Before anything that may take long, and before this thread comes to rest: serves what was
    /// gathered and kept, if it is its turn; else puts it into the ring for whoever serves.
    pub(super) fn put_arrived(&mut self) {
        if self.arrived.is_empty() && self.own.is_empty() {
            return;
        }
        self.keep_arrived();
        if !self.own.is_empty() {
            while let Some((first, mut group)) = self.own.pop_front() {
                self.arrival().put(first, &mut group);
                self.empty.push(group);
            }
            self.serve();
        }
        self.wake_for_room();
    }

    /// What was served has made room in the ring, for tickets that others left when it was full.
    fn wake_for_room(&self) {
        if self.core.has_work() {
            self.core.wake_one();
        }
    }

    /// Whether it is the turn of what this thread has kept.
    fn own_is_next(&self) -> bool {
        self.own.front().is_some_and(|(first, _)| self.arrival().is_next(*first))
    }

    fn empty_group(&mut self) -> Group {
        self.empty.pop().unwrap_or_default()
    }

    /// Serves all whose turn it is, unless somebody else does.
    pub(super) fn serve(&mut self) {
        while self.arrival().try_serve() {
            self.serve_turns();
            if !self.arrival().end_serving() && !self.own_is_next() {
                return;
            }
        }
    }

    /// Whose turn it is. For the server, which keeps the rest of the `group` it serves.
    fn next_turn(&mut self, group: &mut Group) -> Option<Turn> {
        if group.is_empty()
            && self.own_is_next()
            && let Some((_, own)) = self.own.pop_front()
        {
            self.empty.push(std::mem::replace(group, own));
        }
        self.arrival().turn(group)
    }

    /// Serves all whose turn it is. For the server.
    fn serve_turns(&mut self) {
        let mut group = self.empty_group();
        while let Some(turn) = self.next_turn(&mut group) {
            // A read-only one needs no baton.
            let Some(turn) = self.announce_reader(turn) else { continue };
            self.has_spare();
            self.hand_in();
            let mut hold = commit::take_alone(turn.first_snapshot());
            self.turn_began = None;
            let mut until = None;
            let mut turns = 0;
            let mut next = Some(turn);
            while let Some(turn) = next {
                if let Some(turn) = self.announce_reader(turn) {
                    self.take_turn(&mut hold, turn);
                }
                turns += 1;
                // A turn that ran here says the time; those that ran ahead take next to none.
                let long = self.turn_began.is_some_and(|now| {
                    now > *until.get_or_insert_with(|| now.saturating_add(HOLD_NS))
                });
                if turns == HOLD_TURNS || long || hold.is_wanted() {
                    break;
                }
                next = self.next_turn(&mut group);
            }
            hold.end();
        }
        self.arrival().put_back(&mut group);
        self.empty.push(group);
    }

    /// Gives a read-only task its snapshot: exactly what precedes its ticket. Whoever comes later
    /// does not wait for its run.
    /// Any other turn is given back.
    fn announce_reader(&mut self, turn: Turn) -> Option<Turn> {
        let (mut task, is_ticket) = match turn {
            Turn::Ticket(task) if task.job.kind() == Kind::Read => (task, true),
            Turn::Woken(task) if task.job.kind() == Kind::Read => (task, false),
            other => return Some(other),
        };
        let attempt = self.begin(&mut task);
        self.arrival().view_begins();
        if is_ticket {
            self.arrival().next_ticket();
        }
        self.core.queue_view(task, attempt);
        None
    }

    /// Runs a read-only task whose snapshot is announced.
    pub(super) fn view_in_turn(&mut self, mut task: Box<Task>, mut attempt: Attempt) {
        task.began_ns = now_ns();
        if fault!("reader-when-it-runs") {
            self.keep(attempt.end());
            attempt = self.begin(&mut task);
        }
        if task.taken_back().is_some() {
            self.keep(attempt.discard());
            task.take_back();
        } else {
            self.view(task, attempt);
        }
        if self.arrival().view_ended() {
            self.serve();
        }
    }

    /// One turn, under the baton: what cannot be committed as it ran ahead is run here and now.
    fn take_turn(&mut self, hold: &mut Hold, turn: Turn) {
        let (mut task, is_ticket) = match turn {
            Turn::Ticket(task) => (task, true),
            Turn::Woken(task) => (task, false),
        };
        match task.ahead.take() {
            Some((attempt, ran)) if task.taken_back().is_some() => {
                self.throw_away(attempt, ran);
                task.take_back();
            }
            Some((attempt, ran)) => self.judge(hold, task, attempt, ran),
            None if task.taken_back().is_some() => task.take_back(),
            None => self.run_here(hold, task),
        }
        // In this very place, before the next ticket.
        for (owner, wake) in hold.take_woken() {
            point!(Wake);
            owner.woken(wake);
        }
        if is_ticket {
            self.arrival().next_ticket();
        }
    }

    /// Commits what has run ahead, or runs it again.
    fn judge(&mut self, hold: &mut Hold, task: Box<Task>, attempt: Attempt, ran: Ran<Verdict>) {
        self.turn_began = None;
        if matches!(ran, Ran::Answer(Verdict::Commit)) {
            let (spare, outcome) = hold.commit(attempt);
            self.keep(spare);
            return match outcome {
                Outcome::Failed(conflict) => self.run_in_turn(hold, task, &conflict),
                outcome => self.commits_in_turn(task, outcome),
            };
        }
        match hold.validate(&attempt) {
            Ok(()) => self.decide_holding(hold, task, attempt, ran),
            Err(conflict) => {
                self.throw_away(attempt, ran);
                self.run_in_turn(hold, task, &conflict);
            }
        }
    }

    /// Throws away what has run ahead in vain.
    fn throw_away(&mut self, attempt: Attempt, ran: Ran<Verdict>) {
        self.keep(attempt.discard());
        if let Ran::Panic(panic) = ran {
            deferred::drop_later(panic.into_payload());
        }
    }

    fn commits_in_turn(&mut self, task: Box<Task>, outcome: Outcome) {
        task.job.handled().heat.committed(task.ticket);
        self.end_committed(task, outcome);
    }

    /// Runs what had run ahead in vain once more, where nothing can come between.
    fn run_in_turn(&mut self, hold: &mut Hold, mut task: Box<Task>, conflict: &Conflict) {
        self.core.book_failure(&mut task, conflict);
        self.run_here(hold, task);
    }

    /// Runs a task whose turn it is. It begins when the one before it ended, if that ran here too.
    fn run_here(&mut self, hold: &mut Hold, mut task: Box<Task>) {
        self.hand_in_before(&task);
        if !task.job.handled().cost().goes_together() {
            self.wake_for_room();
        }
        task.began_ns = self.turn_began.take().unwrap_or_else(|| self.look_at_clock());
        self.turn_began = Some(self.write_alone(hold, task));
    }
}

impl Turn {
    fn first_snapshot(&self) -> u64 {
        let (Turn::Ticket(task) | Turn::Woken(task)) = self;
        task.first_snapshot
    }
}
