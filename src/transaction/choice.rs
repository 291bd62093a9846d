//! Leaving a handler early, alternatives, and savepoints.
//!
//! `retry` notes in the transaction that it is left, then unwinds with a payload of its own. The
//! note decides the outcome, whatever becomes of the unwinding: user code may catch it. Nothing is
//! parked here: that happens when the attempt has ended, under the baton (W1 to W4 in
//! docs/protocol.md).

use super::view::{Mode, Transaction};
use crate::cell::{deferred, logs::WriteMark};
use crate::sync::{fault, now_ns, point};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};

/// Why and where a handler was left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left {
    /// The call that left it, for the report of parked handlers.
    pub(crate) place: &'static Location<'static>,
    /// Whether it was taken back and is not to be run again.
    pub(crate) taken_back: bool,
    /// When it was parked first, if it was woken in vain since; else 0.
    pub(crate) since_ns: u64,
}

impl Left {
    /// Left at `place`, to be run again.
    pub(super) fn at(place: &'static Location<'static>) -> Self {
        Self { place, taken_back: false, since_ns: 0 }
    }

    /// The same for one that has waited since it was parked first, which is kept in `first_ns`.
    pub(crate) fn since(self, first_ns: &mut u64) -> Self {
        if *first_ns == 0 {
            *first_ns = now_ns();
        }
        Self { since_ns: *first_ns, ..self }
    }
}

/// The payload with which a handler is left.
struct Unwind;

pub(super) const RUNS_ONCE: &str = "an irrevocable transaction cannot be run again";

/// Leaves the handler, without the panic hook.
pub(super) fn unwind() -> ! {
    resume_unwind(Box::new(Unwind))
}

/// A part of a transaction that can be undone. Dropped before [`Savepoint::keep`], it is.
pub(crate) struct Savepoint<'a> {
    tx: &'a Transaction,
    writes: WriteMark,
    outbox: usize,
    record: usize,
    kept: bool,
}

impl<'a> Savepoint<'a> {
    pub(crate) fn begin(tx: &'a Transaction) -> Self {
        let logs = &tx.attempt.logs;
        let (outbox, record) = (logs.outbox.mark(), logs.record.borrow().len());
        Self { tx, writes: logs.writes.mark(), outbox, record, kept: false }
    }

    /// What was written and asked for since the beginning stays.
    pub(crate) fn keep(mut self) {
        self.kept = true;
        self.tx.attempt.logs.writes.keep();
    }
}

impl Drop for Savepoint<'_> {
    /// Undoes, also when the part panics and somebody further out catches it. Reads stay logged.
    fn drop(&mut self) {
        if !self.kept {
            self.tx.attempt.logs.writes.undo_to(self.writes);
            if !fault!("savepoint-keeps-effects") {
                self.tx.attempt.logs.outbox.undo_to(self.outbox);
            }
            self.tx.attempt.logs.record.borrow_mut().truncate(self.record);
        }
    }
}

impl Transaction {
    /// Leaves the handler, to be run again when one of the cells that it read has been written.
    ///
    /// Nothing of this attempt remains. Until a commit writes one of those cells the handler is
    /// parked: it holds no thread, no snapshot and no place in a queue. Inside
    /// [`Transaction::or_else`] it is the first alternative alone that is left. A plain
    /// [`atomically`](crate::atomically) blocks its thread meanwhile.
    ///
    /// # Panics
    /// It leaves by unwinding, with a payload of the library that never reaches the panic hook:
    /// destructors run, and catching it does not change the outcome. A handler that has read no
    /// cell ends with a panic, since nothing could wake it, and so does one after
    /// [`MAX_PARKED`](crate::MAX_PARKED) others, or whose cells are more than
    /// [`MAX_WAITED`](crate::MAX_WAITED) with theirs. In a destructor that runs because of a panic
    /// it ends the process, as any panic does there. Inside a [`Snapshot`](crate::Snapshot),
    /// use its own `retry`.
    ///
    /// # Re-run
    /// That is what it is for.
    ///
    /// # Examples
    /// ```
    /// use txloop::{TVar, atomically};
    ///
    /// let mailbox = TVar::new(None);
    /// let letter = std::thread::scope(|scope| {
    ///     let reader = scope.spawn(|| atomically(|tx| match tx.get(&mailbox) {
    ///         Some(letter) => *letter,
    ///         None => tx.retry(),
    ///     }));
    ///     atomically(|tx| tx.set(&mailbox, Some("hello")));
    ///     reader.join().expect("no panic")
    /// });
    /// assert_eq!(letter, "hello");
    /// ```
    #[track_caller]
    pub fn retry(&self) -> ! {
        let reads_only = matches!(self.mode, Mode::ReadOnly { .. });
        assert!(!reads_only, "inside a snapshot: use `Snapshot::retry`");
        assert!(self.mode != Mode::Irrevocable, "{RUNS_ONCE}");
        self.leave();
        point!(Retry);
        unwind()
    }

    /// Notes that the handler is left.
    #[track_caller]
    pub(super) fn leave(&self) {
        self.left.set(Some(Left::at(Location::caller())));
    }

    /// At a read of a handler that can be taken back: leaves it if it was. Not while it unwinds
    /// already: a destructor that reads must not be left by a second unwinding.
    pub(super) fn leave_if_taken_back(&self, place: &'static Location<'static>) {
        let cancel = self.attempt.logs.cancel.as_ref();
        if cancel.is_some_and(|cancel| cancel.why().is_some()) && !std::thread::panicking() {
            self.left.set(Some(Left { taken_back: true, ..Left::at(place) }));
            unwind()
        }
    }

    /// Goes on if `ok`, else [`Transaction::retry`].
    ///
    /// # Panics
    /// As [`Transaction::retry`].
    ///
    /// # Re-run
    /// As [`Transaction::retry`].
    #[track_caller]
    pub fn guard(&self, ok: bool) {
        if !ok {
            self.retry();
        }
    }

    /// Runs `a`; if it calls [`Transaction::retry`], undoes its writes and effects and runs `b`.
    ///
    /// What `a` read stays read. If `b` calls `retry` too, the handler is left and waits for the
    /// cells of both. An alternative that is left costs about two microseconds.
    ///
    /// # Re-run
    /// Both may be called again with the handler.
    ///
    /// # Examples
    /// ```
    /// use txloop::{TVar, atomically};
    ///
    /// let (left, right) = (TVar::new(0), TVar::new(3));
    /// let taken = atomically(|tx| {
    ///     let take = |cell| {
    ///         tx.guard(*tx.get(cell) > 0);
    ///         tx.modify(cell, |n| *n -= 1);
    ///     };
    ///     tx.or_else(|_| { take(&left); "left" }, |_| { take(&right); "right" })
    /// });
    /// assert_eq!((taken, right.with(|n| *n)), ("right", 2));
    /// ```
    pub fn or_else<R>(
        &self,
        a: impl FnOnce(&Transaction) -> R,
        b: impl FnOnce(&Transaction) -> R,
    ) -> R {
        let savepoint = Savepoint::begin(self);
        let before = self.left.take();
        let result = catch_unwind(AssertUnwindSafe(|| a(self)));
        let left = self.left.take();
        if left.is_some_and(|left| left.taken_back) {
            // No alternative will do.
            self.left.set(left);
            drop(savepoint);
            unwind();
        }
        self.left.set(before);
        match (result, left) {
            (Ok(answer), None) => {
                savepoint.keep();
                return answer;
            }
            (Err(payload), None) => resume_unwind(payload),
            (Ok(_), Some(_)) => {}
            (Err(payload), Some(_)) => deferred::drop_later(payload),
        }
        if fault!("or-else-keeps-writes") {
            savepoint.keep();
        } else {
            drop(savepoint);
        }
        b(self)
    }

    /// Runs `f`; an `Err` undoes what it wrote and asked for, and the transaction goes on.
    ///
    /// What it read stays read.
    ///
    /// # Errors
    /// That of `f`.
    ///
    /// # Re-run
    /// `f` may be called again with the handler.
    pub fn savepoint<R, E>(&self, f: impl FnOnce(&Transaction) -> Result<R, E>) -> Result<R, E> {
        let savepoint = Savepoint::begin(self);
        let answer = f(self)?;
        savepoint.keep();
        Ok(answer)
    }
}
