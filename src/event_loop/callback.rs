//! A callback on its way: who asked for it, its ticket, its run.

use super::handle::{Mailbox, Message, deadline};
use crate::cell::deferred::Counted;
use crate::executor::job::{Ended, Handled, Job, Kind, Verdict};
use crate::recording::Entry;
use crate::sync::{AtomicU32, Ordering};
use crate::transaction::{
    Transaction,
    outbox::{Callback, Home},
};
use std::{sync::Arc, time::Duration};

/// Which handler asked for a callback: its ticket, and as which one of that handler's, from 0. Kept
/// only while a recording is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    parent: u64,
    index: u32,
}

/// A callback that has no ticket yet.
pub(super) struct Posted {
    pub(super) callback: Callback,
    /// `None`: it came from another thread, or nothing is recorded.
    pub(super) asked: Option<Asked>,
    _counted: Counted,
}

impl Posted {
    /// One that no handler asked for.
    pub(super) fn foreign(callback: Callback) -> Self {
        let _counted = Counted::of(&*callback);
        Self { callback, asked: None, _counted }
    }
}

/// The loop as the home of one attempt, while a recording is written: it numbers what is asked for.
/// Only what an attempt that stands has asked for comes here, in the order in which it did.
struct Numbering {
    mailbox: Arc<Mailbox>,
    parent: u64,
    next: AtomicU32,
}

impl Numbering {
    fn posted(&self, callback: Callback) -> Posted {
        // Relaxed: the effects of an attempt open one after another.
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let asked = Some(Asked { parent: self.parent, index });
        Posted { asked, ..Posted::foreign(callback) }
    }
}

impl Home for Numbering {
    fn add_callback(&self, callback: Callback) {
        self.mailbox.post(Message::Callback(self.posted(callback)));
    }

    fn call_later(&self, delay: Duration, callback: Callback) {
        let (at_ns, id) = (deadline(delay), self.mailbox.timer_id());
        self.mailbox.post(Message::Timer(at_ns, id, self.posted(callback)));
    }
}

impl Mailbox {
    /// The home of one attempt of the handler with this ticket.
    pub(crate) fn home_of(self: &Arc<Self>, ticket: u64) -> Arc<dyn Home> {
        let mailbox = Arc::clone(self);
        match self.recorder() {
            None => mailbox,
            Some(_) => Arc::new(Numbering { mailbox, parent: ticket, next: AtomicU32::new(0) }),
        }
    }
}

/// A callback as a job.
pub(super) struct CallbackJob {
    posted: Posted,
    handled: Arc<Handled>,
    mailbox: Arc<Mailbox>,
    /// Known while a recording is written.
    ticket: u64,
}

impl CallbackJob {
    pub(super) fn new(posted: Posted, handled: Arc<Handled>, mailbox: Arc<Mailbox>) -> Self {
        Self { posted, handled, mailbox, ticket: 0 }
    }
}

impl Job for CallbackJob {
    fn handled(&self) -> &Arc<Handled> {
        &self.handled
    }

    fn kind(&self) -> Kind {
        Kind::Write
    }

    fn home(&self) -> Option<Arc<dyn Home>> {
        Some(self.mailbox.home_of(self.ticket))
    }

    fn attempt(&mut self, tx: &Transaction) -> Verdict {
        (self.posted.callback)(tx);
        Verdict::Commit
    }

    fn admitted(&mut self, ticket: u64, now_ns: u64) {
        if let Some(recorder) = self.mailbox.recorder() {
            self.ticket = ticket;
            recorder.push(match self.posted.asked {
                Some(Asked { parent, index }) => Entry::Callback { ticket, now_ns, parent, index },
                None => Entry::Foreign { ticket, now_ns },
            });
        }
    }

    fn ended(&mut self, ended: Ended) {
        if let Some(recorder) = self.mailbox.recorder() {
            recorder.push(Entry::Done { ticket: self.ticket, version: ended.version });
        }
    }
}
