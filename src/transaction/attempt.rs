//! One run of a handler, from its snapshot to its outcome, and what is kept between runs.

use super::{
    cancel::Cancel,
    inputs::{Admission, Inputs, Seed},
    outbox::{Home, Outbox},
};
use crate::cell::{
    labels::Label,
    logs::{ReadLog, WriteLog},
    slot::{Announcement, Slot},
    store::STORE,
};
use crate::sync::fault;
use std::{cell::RefCell, sync::Arc};

/// What an attempt has gathered.
#[derive(Default)]
pub(crate) struct Logs {
    pub(crate) reads: ReadLog,
    pub(crate) writes: WriteLog,
    pub(crate) outbox: Outbox,
    /// For the commit sink.
    pub(crate) record: RefCell<Vec<u8>>,
    /// The handler's name.
    pub(crate) handler: Label,
    /// Time, chance and names.
    pub(crate) inputs: Inputs,
    /// By what the handler can be taken back while it runs.
    pub(crate) cancel: Option<Arc<Cancel>>,
    /// The loop that callbacks and timers go to.
    pub(crate) home: Option<Arc<dyn Home>>,
    /// Whether an attempt may have left something here. Not in [`Spare`], which is passed in two
    /// registers.
    used: bool,
}

/// A running or finished attempt that has no outcome yet. Its announcement stands until it has one:
/// the holder of the baton looks at the cells of its read set.
pub(crate) struct Attempt {
    pub(crate) view: Announcement,
    pub(crate) logs: Box<Logs>,
}

/// What is left when an attempt has its outcome: a slot and empty logs, for the next one.
pub(crate) struct Spare {
    slot: Slot,
    logs: Box<Logs>,
}

impl Spare {
    /// A new slot with new logs. Waits while all slots are taken.
    pub(crate) fn new() -> Self {
        Self { slot: STORE.claim(), logs: Box::default() }
    }

    /// For handlers of an executor.
    pub(crate) fn seeded(seed: Seed) -> Self {
        let mut spare = Self::new();
        spare.logs.inputs = Inputs::seeded(seed);
        spare
    }

    /// Begins an attempt at the newest state.
    #[inline(always)]
    pub(crate) fn begin(mut self) -> Attempt {
        self.reset();
        Attempt { view: STORE.begin(self.slot), logs: self.logs }
    }

    /// Begins an attempt on the snapshot of another one.
    #[cfg(not(loom))]
    pub(crate) fn begin_beside(mut self, other: &Attempt) -> Attempt {
        self.reset();
        Attempt { view: other.view.again(self.slot), logs: self.logs }
    }

    /// Names the handler whose attempts follow, and its inputs.
    #[inline]
    pub(crate) fn handler(mut self, handler: Label, admission: Option<Admission>) -> Self {
        let logs = &mut self.logs;
        logs.handler = handler;
        logs.inputs.admit(admission);
        if logs.cancel.is_some() {
            logs.cancel = None;
        }
        if logs.home.is_some() {
            logs.home = None;
        }
        self
    }

    /// By what that handler can be taken back, and where its callbacks go.
    pub(crate) fn tied(mut self, cancel: Option<Arc<Cancel>>, home: Option<Arc<dyn Home>>) -> Self {
        self.logs.cancel = cancel;
        self.logs.home = home;
        self
    }

    /// Begins a transaction outside of executors, in a spare that was never used for another kind.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn own(mut self) -> Self {
        self.logs.inputs.admit(None);
        self
    }

    /// To be kept where nobody may come for it: with nothing of a user's left in it.
    pub(crate) fn empty(&mut self) {
        self.reset();
        (self.logs.cancel, self.logs.home) = (None, None);
    }

    /// The slot alone, for a snapshot.
    #[inline]
    pub(crate) fn split(self) -> (Slot, Box<Logs>) {
        debug_assert!(!self.logs.used, "its logs are not emptied again");
        (self.slot, self.logs)
    }

    /// Empties the logs. Not under the baton: it frees memory.
    #[inline(always)]
    fn reset(&mut self) {
        if !std::mem::take(&mut self.logs.used) {
            return;
        }
        self.logs.reads.clear();
        self.logs.writes.clear();
        if !fault!("outbox-not-cleared") {
            self.logs.outbox.clear();
        }
        self.logs.inputs.rewind();
        self.logs.record.get_mut().clear();
    }
}

impl Attempt {
    /// Whether it leaves all cells as they are, and has nothing for a sink: then it is no version.
    #[inline]
    pub(crate) fn wrote_nothing(&self) -> bool {
        self.logs.writes.is_empty() && self.logs.record.borrow().is_empty()
    }

    /// Whether its end changes nothing but its answer: then it needs no baton, and its snapshot is
    /// its place.
    #[inline]
    pub(crate) fn is_plain_reader(&mut self) -> bool {
        self.wrote_nothing() && self.logs.outbox.is_empty()
    }

    /// Whether it was taken back, by a deadline or because nobody wants its answer.
    #[inline]
    pub(crate) fn is_taken_back(&self) -> bool {
        self.logs.cancel.as_ref().is_some_and(|cancel| cancel.why().is_some())
    }

    /// Moves its snapshot on to the newest state, if nothing that it read was written since (R5).
    /// Nothing that was read without being logged may be in use.
    pub(crate) fn catch_up(&self) -> bool {
        let (reads, snapshot) = (&self.logs.reads, self.view.snapshot());
        STORE.advance(&self.view, || reads.are_unchanged_since(snapshot))
    }

    /// Throws away what it wrote and asked for, and ends it.
    pub(crate) fn discard(self) -> Spare {
        let mut spare = self.end();
        spare.reset();
        spare
    }

    /// Ends the view and keeps slot and logs. The logs may still name cells, which nobody looks at
    /// any more, and own values, which [`Spare::begin`] or [`keep`] frees.
    #[inline]
    pub(crate) fn end(self) -> Spare {
        let mut logs = self.logs;
        logs.used = true;
        Spare { slot: self.view.end(), logs }
    }
}

#[cfg(not(loom))]
impl Attempt {
    /// Ends the view of a snapshot, which left nothing in the logs.
    #[inline]
    pub(crate) fn end_view(self) -> Spare {
        Spare { slot: self.view.end(), logs: self.logs }
    }
}

/// What the calling thread kept from its last attempt, or something new.
#[cfg(not(loom))]
#[inline]
pub(crate) fn take() -> Spare {
    // After the thread-local is gone (destructors of others may come here) a slot is claimed anew.
    kept::SPARE.try_with(std::cell::Cell::take).ok().flatten().unwrap_or_else(Spare::new)
}

/// Keeps slot and logs for the calling thread's next attempt.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn keep(mut spare: Spare) {
    spare.reset();
    // The closure is not called when the thread-local is gone; then the slot is given back.
    let _ = kept::SPARE.try_with(move |kept| kept.set(Some(spare)));
}

#[cfg(not(loom))]
mod kept {
    use super::Spare;
    use crate::sync::per_thread;
    use std::cell::Cell;

    per_thread! {
        pub(super) static SPARE: Cell<Option<Spare>> = Cell::new(None);
    }
}

impl std::fmt::Debug for Spare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spare")
    }
}
