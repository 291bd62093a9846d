//! What a handler asked for and gets only if it commits: closures, callbacks, timers.

use super::{Transaction, sink};
use crate::cell::deferred::{self, Counted, Deferred};
use std::{cell::RefCell, fmt, sync::Arc, time::Duration};

/// A callback of the loop: a handler without a request.
pub(crate) type Callback = Arc<dyn Fn(&Transaction) + Send + Sync>;

/// Where callbacks and timers go: the loop that the handler belongs to.
pub(crate) trait Home: Send + Sync {
    /// Runs `callback` as a transaction in a later turn.
    fn add_callback(&self, callback: Callback);
    /// The same, not before `delay` has passed.
    fn call_later(&self, delay: Duration, callback: Callback);
    /// Whether closures given to `on_commit` are called: not in a replay that leaves them out.
    fn opens_effects(&self) -> bool {
        true
    }
}

/// Something to be done once, after the commit.
pub(crate) type Effect = Box<dyn FnOnce() + Send>;

/// The most closures, callbacks and timers that one transaction asks for; one more panics.
pub const MAX_EFFECTS: usize = 1 << 16;

/// The effects of one attempt, in order.
#[derive(Default)]
pub(crate) struct Outbox(RefCell<Vec<Effect>>);

impl Outbox {
    /// Adds an effect.
    ///
    /// # Panics
    /// When there are [`MAX_EFFECTS`] already.
    #[track_caller]
    pub(crate) fn push(&self, effect: Effect) {
        let full = self.0.borrow().len() >= MAX_EFFECTS;
        assert!(!full, "a transaction asks for more than {MAX_EFFECTS} effects");
        self.0.borrow_mut().push(effect);
    }

    /// Where a savepoint began.
    pub(crate) fn mark(&self) -> usize {
        self.0.borrow().len()
    }

    /// Takes back what was asked for since the mark.
    pub(crate) fn undo_to(&self, mark: usize) {
        let undone = self.0.borrow_mut().split_off(mark);
        discard(undone);
    }

    /// Takes all effects, for whoever calls them itself.
    #[cfg(not(loom))]
    pub(crate) fn take(&mut self) -> Vec<Effect> {
        std::mem::take(self.0.get_mut())
    }

    /// Whether nothing was asked for.
    #[inline]
    pub(crate) fn is_empty(&mut self) -> bool {
        self.0.get_mut().is_empty()
    }

    /// Hands the effects to the one queue that opens them, in order. Runs no user code, so that the
    /// holder may call it.
    #[inline]
    pub(crate) fn open(&mut self, version: u64) {
        if !self.is_empty() {
            self.open_all(version);
        }
    }

    fn open_all(&mut self, version: u64) {
        let durable = !sink::is_active();
        for effect in self.0.get_mut().drain(..) {
            let counted = Counted::of(&*effect);
            if durable {
                deferred::push(Deferred::Effect(effect, counted));
            } else {
                let open = move |durable| match durable {
                    true => deferred::push(Deferred::Effect(effect, counted)),
                    false => discard(vec![effect]),
                };
                sink::when_durable(version, Box::new(open));
            }
        }
    }

    /// Throws the effects away: what they captured is dropped later, where destructors may run.
    #[inline]
    pub(crate) fn clear(&mut self) {
        if !self.is_empty() {
            discard(std::mem::take(self.0.get_mut()));
        }
    }
}

impl Drop for Outbox {
    /// Also where the baton is held.
    fn drop(&mut self) {
        self.clear();
    }
}

#[inline(never)]
fn discard(effects: Vec<Effect>) {
    if !effects.is_empty() {
        deferred::push(Deferred::Run(Box::new(move || drop(effects))));
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox({})", self.0.borrow().len())
    }
}
