//! Whether handlers can be run again: in debug builds, some are tried out.
//!
//! A handler is run twice on one snapshot with the same inputs, and both attempts are thrown away.
//! If they differ, the handler uses something besides its cells and its inputs, the clock say, and
//! an answer of it need not be what a serial run would have given. It is named once. Sampled are
//! the first run under a name, the second, the fourth, the eighth and so on.

use super::{
    job::{Kind, Task, Verdict},
    runner::Runner,
    transact::Panicked,
};
use crate::cell::{labels::Label, made};
use crate::sync::Table;
use crate::transaction::{
    attempt::Attempt,
    footprint::{self, clip},
    run::{Ran, attempt_once},
    view::Mode,
};
use std::collections::HashMap;

/// The handlers that were tried out, by name.
#[derive(Debug)]
pub(crate) struct Twice(Option<Table<HashMap<Label, Sampled>>>);

#[derive(Debug, Clone, Copy, Default)]
struct Sampled {
    runs: u64,
    differs: bool,
}

impl Twice {
    /// Tries nothing out unless `on`.
    pub(super) fn new(on: bool) -> Self {
        Self(on.then(|| Table::new(HashMap::new())))
    }

    /// Whether to try handlers out where nobody said so. Not in the models nor under the
    /// interleaver: their handlers count their runs.
    pub(super) fn by_default() -> bool {
        match std::env::var("TXLOOP_LOOK_TWICE").as_deref() {
            _ if cfg!(any(shuttle, txloop_check)) => false,
            Ok("on") => true,
            Ok("off") => false,
            _ => cfg!(debug_assertions),
        }
    }

    /// Whether anything is tried out.
    fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether this run of a handler is to be tried out. Counts it.
    fn samples(&self, handler: Label) -> bool {
        self.0.as_ref().is_some_and(|seen| {
            let mut seen = seen.lock();
            let sampled = seen.entry(handler).or_default();
            sampled.runs += 1;
            sampled.runs.is_power_of_two() && !sampled.differs
        })
    }

    fn differs(&self, handler: Label, how: &str) {
        let mut seen = match &self.0 {
            Some(seen) => seen.lock(),
            None => return,
        };
        if !std::mem::replace(&mut seen.entry(handler).or_default().differs, true) {
            eprintln!(
                "txloop: the handler `{}` cannot be run again: on one snapshot, with the same \
                 inputs, it {how}. See the guide \"Is my handler re-runnable?\"",
                handler.text(),
            );
        }
    }

    /// The handlers that did not do the same twice.
    pub(super) fn found(&self) -> Vec<&'static str> {
        let Some(seen) = &self.0 else { return Vec::new() };
        let mut found: Vec<_> = seen
            .lock()
            .iter()
            .filter(|(_, sampled)| sampled.differs)
            .map(|(handler, _)| handler.text())
            .collect();
        found.sort_unstable();
        found
    }
}

impl Runner {
    /// Tries a handler out before its first attempt, if it is sampled.
    #[inline]
    pub(super) fn look_twice(&mut self, task: &mut Task) {
        if self.core.twice.is_on() && task.failures == 0 {
            self.try_out(task);
        }
    }

    #[cold]
    fn try_out(&mut self, task: &mut Task) {
        let attempts = match task.job.kind() {
            Kind::Read => false,
            Kind::Write => true,
            Kind::SearchThenWrite => task.searched,
        };
        let handler = task.job.handled().label;
        if !attempts || !self.core.twice.samples(handler) {
            return;
        }
        let (admission, home) = (Some(task.admission()), task.job.home());
        let spare = self.spare().handler(handler, admission).tied(None, home.clone());
        let ((first, before), first_made) = made::noting(|| run(task, spare.begin()));
        // What panics here panics again in a moment, and is told then.
        if before.how != "panicked" {
            let spare = self.spare().handler(handler, admission).tied(None, home);
            let beside = spare.begin_beside(&first);
            let ((second, then), second_made) = made::noting(|| run(task, beside));
            let difference =
                || footprint::difference((&first, &first_made), (&second, &second_made));
            // The second one moves on where it meets what was written meanwhile: then it has run
            // on another snapshot, and may differ.
            if first.view.snapshot() == second.view.snapshot()
                && let Some(how) = before.difference(&then).or_else(difference)
            {
                self.core.twice.differs(handler, &how);
            }
            self.keep(second.discard());
        }
        self.keep(first.discard());
    }
}

/// What is seen of a run from outside.
struct End {
    how: &'static str,
    answer: Option<String>,
}

impl End {
    fn difference(&self, then: &Self) -> Option<String> {
        if self.how != then.how {
            return Some(format!("{} at first and {} then", self.how, then.how));
        }
        match (&self.answer, &then.answer) {
            (Some(before), Some(then)) if before != then => {
                Some(format!("answered {}, then {}", clip(before), clip(then)))
            }
            _ => None,
        }
    }
}

/// One attempt that is not to stand.
fn run(task: &mut Task, attempt: Attempt) -> (Attempt, End) {
    let (attempt, ran) = attempt_once(attempt, Mode::Optimistic, |tx| task.job.attempt(tx));
    let how = match ran {
        Ran::Answer(Verdict::Commit) => "returned",
        Ran::Answer(Verdict::RollBack) => "rolled back",
        Ran::Left(_) | Ran::TakenBack => "waited",
        Ran::Panic(panic) => {
            drop(Panicked::contain(panic));
            "panicked"
        }
    };
    let answered = matches!(how, "returned" | "rolled back");
    let answer = if answered { task.job.answer_text() } else { None };
    (attempt, End { how, answer })
}
