//! Running tasks on one thread: a worker's, or the loop's for inline batches.

use super::{
    core::{Core, Work},
    job::{Ended, Kind, Task, Verdict},
    transact::Panicked,
};
use crate::cell::deferred;
use crate::conflict_log::Outcome as Booked;
use crate::sync::{Arc, now_ns};
use crate::transaction::{
    attempt::{Attempt, Spare},
    commit::{self, Hold, Outcome},
    run::{Payload, attempt_once, view_once},
    view::Mode,
};

/// With one thread the baton is kept from handler to handler, at most so long.
const KEEP_HOLD_NS: u64 = 50_000;

/// What a thread that runs handlers keeps between them.
pub(crate) struct Runner {
    core: Arc<Core>,
    index: usize,
    spare: Option<Spare>,
    /// With one thread: the baton, while write handlers follow one another.
    hold: Option<(Hold, u64)>,
    cheap_run: u32,
}

impl Runner {
    /// For thread `index`; the loop's is the one after the workers'.
    pub(crate) fn new(core: Arc<Core>, index: usize) -> Self {
        Self { core, index, spare: None, hold: None, cheap_run: 0 }
    }

    /// Runs one task to its end, or until somebody else has to decide it. It begins at `began_ns`;
    /// the answer is the time at its end.
    pub(crate) fn run(&mut self, mut task: Box<Task>, began_ns: u64) -> u64 {
        task.worker = self.index;
        task.began_ns = began_ns;
        match task.job.kind() {
            Kind::Read => self.view(task),
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
        let Some(work) = self.core.next(&mut self.cheap_run) else {
            self.let_go();
            return false;
        };
        if self.core.has_work() {
            self.core.wake_one();
        }
        let now = now_ns();
        match work {
            Work::Task(task) => {
                self.run(task, now);
            }
            Work::Alone(mut task) => {
                self.let_go();
                let hold = commit::take_alone(task.first_snapshot);
                task.worker = self.index;
                task.began_ns = now_ns();
                let hold = self.write_alone(hold, task);
                hold.end();
            }
        }
        true
    }

    fn spare(&mut self) -> Spare {
        self.spare.take().unwrap_or_else(|| self.core.take_spare())
    }

    fn view(&mut self, mut task: Box<Task>) -> u64 {
        self.let_go();
        let job = &mut task.job;
        let (spare, version, result) = view_once(self.spare(), |snapshot| job.view(snapshot));
        self.spare = Some(spare);
        let now = self.ran(&mut task);
        match result {
            Ok(()) => self.end(task, version, Booked::ReadOnly, None),
            Err(panic) => self.end(task, version, Booked::Panicked, Some(contain(panic))),
        }
        now
    }

    /// The search of a [`Kind::SearchThenWrite`], once. A panic in it ends the task.
    fn search(&mut self, mut task: Box<Task>) -> Option<Box<Task>> {
        if task.searched {
            return Some(task);
        }
        self.let_go();
        task.searched = true;
        let job = &mut task.job;
        let (spare, version, result) = view_once(self.spare(), |snapshot| job.view(snapshot));
        self.spare = Some(spare);
        match result {
            Ok(()) => Some(task),
            Err(panic) => {
                self.ran(&mut task);
                self.end(task, version, Booked::Panicked, Some(contain(panic)));
                None
            }
        }
    }

    fn begin(&mut self, task: &mut Task) -> Attempt {
        let spare = self.spare();
        let handler = task.job.handled().label;
        let attempt = spare.handler(handler, task.job.home()).begin();
        if task.failures == 0 {
            task.first_snapshot = attempt.view.snapshot();
        }
        attempt
    }

    fn write(&mut self, mut task: Box<Task>) -> u64 {
        if self.core.threads == 1 {
            return self.write_holding(task);
        }
        let attempt = self.begin(&mut task);
        let job = &mut task.job;
        let (attempt, result) = attempt_once(attempt, Mode::Optimistic, |tx| job.attempt(tx));
        let now = self.ran(&mut task);
        if let Some((task, mut attempt)) = self.decide(task, attempt, result) {
            if attempt.is_plain_reader() {
                let version = attempt.view.snapshot();
                self.spare = Some(attempt.end());
                self.end(task, version, Booked::ReadOnly, None);
            } else {
                self.commit(task, attempt);
            }
        }
        now
    }

    fn commit(&mut self, task: Box<Task>, attempt: Attempt) {
        match commit::try_commit(attempt) {
            Ok((spare, Outcome::Committed(version))) => {
                self.spare = Some(spare);
                self.end(task, version, Booked::Committed, None);
            }
            Ok((spare, Outcome::Failed(conflict))) => {
                self.spare = Some(spare);
                Core::failed(task, &conflict);
            }
            Err(attempt) => {
                self.core.ready_joins();
                commit::submit(attempt, task);
            }
        }
    }

    /// With one thread: the handler runs while holding the baton, so nothing is validated.
    fn write_holding(&mut self, task: Box<Task>) -> u64 {
        let (hold, since) = match self.hold.take() {
            Some(hold) => hold,
            None => (commit::take_alone(u64::MAX), task.began_ns),
        };
        let hold = self.write_alone(hold, task);
        let now = now_ns();
        if hold.is_wanted() || now.saturating_sub(since) > KEEP_HOLD_NS {
            hold.end();
        } else {
            self.hold = Some((hold, since));
        }
        now
    }

    fn write_alone(&mut self, mut hold: Hold, mut task: Box<Task>) -> Hold {
        let attempt = self.begin(&mut task);
        let job = &mut task.job;
        let (attempt, result) = attempt_once(attempt, Mode::Alone, |tx| job.attempt(tx));
        self.ran(&mut task);
        // Under the baton: what the job captured is dropped later.
        let (version, booked, panic) = match result {
            Ok(Verdict::Commit) => {
                let (spare, version) = hold.commit(attempt);
                self.spare = Some(spare);
                (version, Booked::Committed, None)
            }
            other => {
                let version = attempt.view.snapshot();
                self.spare = Some(attempt.end());
                let (booked, panic) = undone(other);
                (version, booked, panic)
            }
        };
        self.core.ledger.ended(&task, version, booked);
        task.end_elsewhere(Ended { version, panic });
        hold
    }

    /// Ends a task whose last attempt panicked or rolls back: its snapshot is its place. Gives back
    /// one that wants to commit.
    fn decide(
        &mut self,
        task: Box<Task>,
        attempt: Attempt,
        result: Result<Verdict, Payload>,
    ) -> Option<(Box<Task>, Attempt)> {
        if let Ok(Verdict::Commit) = result {
            return Some((task, attempt));
        }
        let (booked, panic) = undone(result);
        let snapshot = attempt.view.snapshot();
        self.spare = Some(attempt.discard());
        self.end(task, snapshot, booked, panic);
        None
    }

    /// Lets go of a baton that was kept.
    pub(crate) fn let_go(&mut self) {
        if let Some((hold, _)) = self.hold.take() {
            hold.end();
        }
    }

    fn ran(&self, task: &mut Task) -> u64 {
        task.ended_ns = now_ns();
        task.job.handled().ran(task.ended_ns.saturating_sub(task.began_ns));
        task.ended_ns
    }

    fn end(&self, task: Box<Task>, version: u64, outcome: Booked, panic: Option<Panicked>) {
        self.core.ledger.ended(&task, version, outcome);
        self.core.end(task, Ended { version, panic });
    }
}

/// How an attempt that is not to be committed is booked.
fn undone(result: Result<Verdict, Payload>) -> (Booked, Option<Panicked>) {
    match result {
        Ok(_) => (Booked::RolledBack, None),
        Err(panic) => (Booked::Panicked, Some(contain(panic))),
    }
}

/// What a panic said; its payload, which may be anything, is dropped later.
fn contain(payload: Payload) -> Panicked {
    let panicked = Panicked::from_payload(&*payload);
    deferred::push(deferred::Deferred::Run(Box::new(move || drop(payload))));
    panicked
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.let_go();
    }
}
