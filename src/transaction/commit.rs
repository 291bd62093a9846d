//! The commit: the only place where a version advances.
//!
//! Whoever finishes an attempt tries the baton. If it is free, the attempt is committed there and
//! then, with whatever else is READY; if not, the attempt is pushed on the READY list and the
//! holder is told. The steps C1 to C7 are in docs/protocol.md. Under the baton no user code runs,
//! except that of a handler that runs *alone*.

use super::{
    attempt::{Attempt, Spare},
    choice::Left,
    conflict::Conflict,
    forbid,
    panic::{Panic, Payload},
    parked::{self, MAX_PARKED, MAX_WAITED, ParkedId, Refusal, Wake},
    sink,
};
use crate::cell::{
    deferred,
    logs::TOO_MANY_WRITES,
    slot::{ALONE, Guard, Linked, ReadyList, WORK},
    store::{Held, STORE, Spoils},
};
use crate::sync::{
    Arc, AtomicBool, Mutex, Ordering, const_fn, fault, global, now_ns, point, spin_loop,
    thread::{self, Thread},
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The most commits in one hold.
const HOLD_COMMITS: usize = 64;
/// The longest that a hold goes on taking further attempts, in nanoseconds.
const HOLD_NS: u64 = 10_000;
/// How often a thread that waits for its commit looks before it sleeps: about a microsecond.
#[cfg(not(any(loom, shuttle)))]
const SPINS: usize = 100;
#[cfg(any(loom, shuttle))]
const SPINS: usize = 0;

/// How often such a thread looks for the baton before that.
#[cfg(not(any(loom, shuttle)))]
const LOOKS: u32 = 4;
#[cfg(any(loom, shuttle))]
const LOOKS: u32 = 1;
/// How long it waits after the first look, in pauses of the processor; twice as long each time: in
/// all some ten microseconds, about as long as it takes to fall asleep and be woken. A look takes
/// the baton's line away from whoever uses it. Left alone, the other thread commits a few times in
/// a row, with all that a commit writes in its cache.
const FIRST_WAIT: u32 = 32;

/// How an attempt ended. Two words, so that it is handed on in registers.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Its writes are visible as this version.
    Committed(u64),
    /// It read a cell that was written since; nothing of it is visible.
    Failed(Box<Conflict>),
    /// A step of a fold panicked, or it could not be parked; nothing of it is visible.
    Panicked(Panic),
    /// It was taken back while it waited; nothing of it is visible.
    TakenBack,
}

impl Outcome {
    fn refused(why: String) -> Self {
        Self::Panicked(Panic::of(Box::new(why)))
    }
}

/// What the owner of a READY attempt wants of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wish {
    /// To be committed.
    Commit,
    /// To be parked until a cell that it read is written.
    Park(Left),
}

/// The owner of a READY attempt. Runs no user code.
pub(crate) trait Finish: Send {
    /// Takes the outcome. Called after the hold, without the baton.
    fn finish(self: Box<Self>, spare: Spare, outcome: Outcome);
    /// Learns under which number it is about to be parked; false if it must not be, then it is
    /// woken as cancelled. Called with the baton.
    fn parks(&mut self, id: ParkedId) -> bool;
    /// Is parked no longer. Called without the baton.
    fn woken(self: Box<Self>, wake: Wake);
}

/// Somebody who asked to run alone. Called with the baton, which now is theirs.
pub(crate) trait Alone: Send {
    /// Takes the baton; hands it on to the thread that will run, and returns at once.
    fn serve(self: Box<Self>, guard: Guard<Held>);
}

struct Ready {
    attempt: Attempt,
    wish: Wish,
    owner: Box<dyn Finish>,
}

struct Queues {
    ready: ReadyList<Ready>,
    /// By the snapshot of the first attempt, oldest first: the order in which they are served.
    alone: Mutex<Vec<(u64, Box<dyn Alone>)>>,
}

global! {
    static QUEUES: Queues = Queues::new();
}

impl Queues {
    const_fn! {
        fn new() -> Self {
            Self { ready: ReadyList::new(), alone: Mutex::new(Vec::new()) }
        }
    }
}

/// Makes an attempt READY (C1, C2): its owner hears of it once it has been committed, parked or has
/// failed.
pub(crate) fn submit(attempt: Attempt, wish: Wish, owner: Box<dyn Finish>) {
    QUEUES.ready.push(Linked::new(Ready { attempt, wish, owner }));
    point!(Ready);
    work();
}

/// Commits for a thread that waits: nobody else can run its closure again.
pub(crate) fn commit_and_wait(attempt: Attempt) -> (Spare, Outcome) {
    if let Some(mut hold) = Hold::begin_soon() {
        let result = hold.commit(attempt);
        hold.end();
        return result;
    }
    match wait(attempt, Wish::Commit) {
        Waited::Ended(spare, outcome) => (spare, outcome),
        Waited::Woken => unreachable!("parked without having asked for it"),
    }
}

/// Parks the calling thread until a cell that the attempt read is written. `Err` gives the outcome
/// if it was not parked.
pub(crate) fn park_and_wait(attempt: Attempt, left: Left) -> Result<Spare, (Spare, Outcome)> {
    match wait(attempt, Wish::Park(left)) {
        Waited::Ended(spare, outcome) => Err((spare, outcome)),
        Waited::Woken => Ok(Spare::new()),
    }
}

fn wait(attempt: Attempt, wish: Wish) -> Waited {
    let waiter = Waiter::new();
    submit(attempt, wish, Box::new(Arc::clone(&waiter)));
    waiter.wait()
}

/// Takes the baton to run alone, after everybody whose first attempt was older. Waits for it.
pub(crate) fn take_alone(first_snapshot: u64) -> Hold {
    sink::wait_open();
    if let Some(hold) = Hold::try_begin() {
        return hold;
    }
    let waiter = Waiter::new();
    request_alone(first_snapshot, Box::new(Arc::clone(&waiter)));
    Hold::adopt(waiter.wait())
}

/// Queues a request to run alone (A1, A2); it is served when the present holder lets go.
pub(crate) fn request_alone(first_snapshot: u64, request: Box<dyn Alone>) {
    STORE.on_flag(flagged);
    {
        point!(Ready);
        let mut alone = QUEUES.alone.lock();
        let at = alone.partition_point(|(first, _)| *first <= first_snapshot);
        alone.insert(at, (first_snapshot, request));
    }
    if let Some(guard) = STORE.baton().take_or_flag(ALONE) {
        flagged(guard, ALONE);
    }
}

/// The baton in the hands of somebody who runs handlers while holding it, or commits several.
#[must_use = "let go by `Hold::end`"]
pub(crate) struct Hold {
    guard: Guard<Held>,
    /// Whom the commits of this hold have woken.
    woken: Woken,
}

/// Attempts that are parked no longer, and why.
pub(crate) type Woken = Vec<(Box<dyn Finish>, Wake)>;

impl Hold {
    /// Takes the baton if it is free.
    #[inline]
    pub(crate) fn try_begin() -> Option<Self> {
        if sink::is_closed() {
            return None;
        }
        STORE.baton().try_take().map(Self::adopt)
    }

    /// Takes the baton if it is free within a few looks, less and less often: a commit is about as
    /// long as handing one over, and here its logs are in this core's cache.
    #[inline]
    pub(crate) fn begin_soon() -> Option<Self> {
        for look in 0..LOOKS {
            match Self::try_begin() {
                None if sink::is_closed() => return None,
                None => (0..FIRST_WAIT << look).for_each(|_| spin_loop()),
                hold => return hold,
            }
        }
        None
    }

    /// Whether the baton is free, as far as this thread can see.
    pub(crate) fn is_free() -> bool {
        STORE.baton().is_free()
    }

    /// Continues a hold that was handed over by [`Alone::serve`].
    pub(crate) fn adopt(guard: Guard<Held>) -> Self {
        Self { guard, woken: Vec::new() }
    }

    /// Commits an attempt. One that ran under this hold cannot have failed.
    #[inline]
    pub(crate) fn commit(&mut self, attempt: Attempt) -> (Spare, Outcome) {
        commit_one(&mut self.guard, attempt, &mut self.woken)
    }

    /// Whether what an attempt read still stands.
    pub(crate) fn validate(&self, attempt: &Attempt) -> Result<(), Box<Conflict>> {
        let snapshot = attempt.view.snapshot();
        attempt.logs.reads.validate(snapshot, &self.guard).map_err(Conflict::boxed)
    }

    /// Parks an attempt that logged its reads, or gives its owner back with the outcome.
    pub(crate) fn park(
        &mut self,
        attempt: Attempt,
        left: Left,
        owner: Box<dyn Finish>,
    ) -> Result<(), (Box<dyn Finish>, Spare, Outcome)> {
        park_one(&self.guard, attempt, left, owner, &mut self.woken)
    }

    /// Whom the commits of this hold have woken so far, in the order in which they were parked.
    pub(crate) fn take_woken(&mut self) -> Woken {
        std::mem::take(&mut self.woken)
    }

    /// Whether somebody waits for the baton.
    pub(crate) fn is_wanted(&self) -> bool {
        self.guard.flagged(WORK | ALONE) || sink::is_closed()
    }

    /// Lets go, after committing what is READY.
    #[inline]
    pub(crate) fn end(self) {
        let Self { mut guard, woken } = self;
        // Most holds: nobody else is READY, and what was written can be seen to later.
        if woken.capacity() == 0
            && QUEUES.ready.is_empty()
            && let Some(more) = STORE.puts_off_end(&mut guard)
        {
            // Never filled: there is nothing to look through for what is to be dropped.
            std::mem::forget(woken);
            let left = guard.release();
            point!(Release);
            if more {
                deferred::wake_reaper();
            }
            if let Err((guard, flags)) = left {
                flagged(guard, flags);
            }
            sink::wake();
        } else {
            hold(guard, woken);
        }
    }
}

/// Validates one attempt and makes its writes visible (C4 to C6).
#[inline]
fn commit_one(
    guard: &mut Guard<Held>,
    mut attempt: Attempt,
    woken: &mut Woken,
) -> (Spare, Outcome) {
    // (C4) Phase a: all that can fail.
    point!(Validate);
    if fault!("outbox-before-commit") {
        attempt.logs.outbox.open(0);
    }
    if let Err(stale) = attempt.logs.reads.validate(attempt.view.snapshot(), guard) {
        if fault!("failed-is-linked") {
            let version = STORE.watermark() + 1;
            attempt.logs.writes.link(version, guard);
            STORE.publish(guard, version);
        }
        return (attempt.end(), Outcome::Failed(Conflict::boxed(stale)));
    }
    if attempt.logs.writes.has_overflowed() {
        return (attempt.end(), Outcome::refused(TOO_MANY_WRITES.to_owned()));
    }
    if attempt.wrote_nothing() {
        // It came here to open its effects, behind those of all versions so far: this is its place.
        let version = STORE.watermark();
        attempt.logs.outbox.open(version);
        return (attempt.end(), Outcome::Committed(version));
    }
    if attempt.logs.writes.has_folds()
        && let Err(payload) = run_folds(guard, &mut attempt)
    {
        return (attempt.end(), Outcome::Panicked(Panic::of(payload)));
    }
    guard.reserve(attempt.logs.writes.len());
    let version = STORE.watermark() + 1;
    if sink::is_active() {
        let record = std::mem::take(attempt.logs.record.get_mut());
        if let Err(why) = sink::append(version, record) {
            return (attempt.end(), Outcome::refused(why));
        }
    }
    // (C5, C6) Phase b: cannot fail.
    point!(Link);
    if fault!("watermark-before-link") {
        STORE.publish(guard, version);
    }
    attempt.logs.writes.link(version, guard);
    point!(Publish);
    STORE.publish(guard, version);
    point!(Open);
    // After the watermark: an effect finds what its handler wrote.
    attempt.logs.outbox.open(version);
    let waited = guard.take_waited();
    if !waited.is_empty() {
        parked::take_written(&waited, woken);
    }
    // The announcement ends before the scan that prunes what this commit replaced.
    (attempt.end(), Outcome::Committed(version))
}

/// Makes the values of folds: the one place where code of users runs under the baton, which is why
/// it may neither begin a transaction nor get away with a panic.
#[cold]
fn run_folds(guard: &mut Guard<Held>, attempt: &mut Attempt) -> Result<(), Payload> {
    let writes = &mut attempt.logs.writes;
    catch_unwind(AssertUnwindSafe(|| forbid(|| writes.run_folds(guard))))
}

/// Parks one attempt (W1, W2), or says why not.
fn park_one(
    guard: &Guard<Held>,
    attempt: Attempt,
    left: Left,
    owner: Box<dyn Finish>,
    cancelled: &mut Woken,
) -> Result<(), (Box<dyn Finish>, Spare, Outcome)> {
    point!(Validate);
    let snapshot = if fault!("parked-unvalidated") { u64::MAX } else { attempt.view.snapshot() };
    if let Err(stale) = attempt.logs.reads.validate(snapshot, guard) {
        return Err((owner, attempt.end(), Outcome::Failed(Conflict::boxed(stale))));
    }
    let refuse = |why: String| Outcome::refused(format!("{why} (at {})", left.place));
    let cells = attempt.logs.reads.cells();
    if cells.is_empty() {
        let why = "retry without having read a cell would wait for ever";
        return Err((owner, attempt.end(), refuse(why.to_owned())));
    }
    match parked::enter(cells, attempt.logs.handler, left, owner) {
        Ok(()) => {
            // The slot goes back to the registry: the parked need none.
            drop(attempt.end());
            // The thread may wait now, whoever's it is.
            deferred::rouse_for_pending();
            Ok(())
        }
        Err((owner, Refusal::Cancelled)) => {
            drop(attempt.end());
            deferred::rouse_for_pending();
            cancelled.push((owner, Wake::Cancelled));
            Ok(())
        }
        Err((owner, Refusal::TooMany)) => {
            let why = format!("retry while {MAX_PARKED} handlers are parked already");
            Err((owner, attempt.end(), refuse(why)))
        }
        Err((owner, Refusal::TooMuchRead)) => {
            let why = format!("retry after reads that are more than {MAX_WAITED} with all parked");
            Err((owner, attempt.end(), refuse(why)))
        }
    }
}

/// Goes on with the baton until nothing is READY, then lets go. `woken` are told afterwards.
fn hold(mut guard: Guard<Held>, mut woken: Woken) {
    let mut backlog = Backlog::new();
    loop {
        // (C3)
        if !sink::is_closed() {
            QUEUES.ready.take_all(&mut backlog);
        }
        let finished = match backlog.is_empty() {
            true => Finished::new(),
            false => commit_some(&mut guard, &mut backlog, &mut woken),
        };
        point!(Prune);
        let spoils = STORE.end_hold(&mut guard, false);
        let work_left = let_go(guard, spoils);
        point!(Release);
        sink::wake();
        for (owner, spare, outcome) in finished {
            owner.finish(spare, outcome);
        }
        for (owner, wake) in woken.drain(..) {
            point!(Wake);
            owner.woken(wake);
        }
        if !work_left && backlog.is_empty() {
            return;
        }
        // What is left goes back first, so that whoever gets the baton finds all of it.
        for ready in backlog.drain(..) {
            QUEUES.ready.push(ready);
        }
        if sink::is_closed() {
            // Whoever opens it sees to what is READY.
            return;
        }
        match STORE.baton().take_or_flag(WORK) {
            Some(again) => guard = again,
            None => return,
        }
    }
}

/// READY attempts that were taken off the list, in the boxes in which they may have to go back.
type Backlog = Vec<Box<Linked<Ready>>>;
type Finished = Vec<(Box<dyn Finish>, Spare, Outcome)>;

/// One hold's share of the backlog: at least one, at most [`HOLD_COMMITS`], until somebody wants to
/// run alone or [`HOLD_NS`] are over.
fn commit_some(guard: &mut Guard<Held>, backlog: &mut Backlog, woken: &mut Woken) -> Finished {
    let began = now_ns();
    let mut finished = Vec::with_capacity(backlog.len().min(HOLD_COMMITS));
    let mut taken = 0;
    let mut waiting = std::mem::take(backlog).into_iter();
    for ready in waiting.by_ref() {
        let Ready { attempt, wish, owner } = ready.into_value();
        match wish {
            Wish::Commit => {
                let (spare, outcome) = match attempt.is_taken_back() {
                    // What it asked for is thrown away.
                    true => (attempt.end(), Outcome::TakenBack),
                    false => commit_one(guard, attempt, woken),
                };
                finished.push((owner, spare, outcome));
            }
            Wish::Park(left) => {
                finished.extend(park_one(guard, attempt, left, owner, woken).err());
            }
        }
        taken += 1;
        let full = taken == HOLD_COMMITS || guard.flagged(ALONE) || sink::is_closed();
        // The clock costs about as much as a small commit: every eighth is enough.
        if full || (taken % 8 == 0 && now_ns() - began > HOLD_NS) {
            break;
        }
    }
    backlog.extend(waiting);
    finished
}

/// Lets go of the baton (C7), then frees. Says whether a READY attempt may be waiting that nobody
/// else was told of.
fn let_go(guard: Guard<Held>, spoils: Spoils) -> bool {
    let work_left = match guard.release() {
        Ok(()) => false,
        Err((guard, flags)) => serve(guard, flags),
    };
    spoils.free();
    work_left
}

/// Sees to the flags that others left meanwhile: hands the baton to the oldest request to run
/// alone, or lets go of it. The answer is that of [`let_go`].
#[cold]
fn serve(mut guard: Guard<Held>, mut more: u32) -> bool {
    let mut flags = 0;
    loop {
        flags = flags & WORK | more;
        if fault!("ready-lost") {
            flags &= ALONE;
        }
        if flags & ALONE != 0 {
            let (request, others) = {
                let mut alone = QUEUES.alone.lock();
                let request = (!alone.is_empty()).then(|| alone.remove(0).1);
                (request, !alone.is_empty())
            };
            if let Some(request) = request {
                let others = others && !fault!("alone-forgotten");
                guard.flag(if others { ALONE } else { 0 } | flags & WORK);
                request.serve(guard);
                return false;
            }
        }
        match guard.release() {
            Ok(()) => return flags & WORK != 0,
            Err((again, left)) => (guard, more) = (again, left),
        }
    }
}

/// What [`crate::cell::store::Store::let_go`] does with a guard that others left flags on.
#[cold]
fn flagged(guard: Guard<Held>, flags: u32) {
    if serve(guard, flags) {
        work();
    }
}

/// Sees to it that what is READY is committed: by this thread, or by the holder.
pub(super) fn work() {
    // Here and not by whoever pushes: a sink leaves a flag although nothing was ever pushed.
    STORE.on_flag(flagged);
    if let Some(guard) = STORE.baton().take_or_flag(WORK) {
        hold(guard, Vec::new());
    }
}

/// A thread that waits for one thing to be handed to it.
struct Waiter<T> {
    there: AtomicBool,
    what: Mutex<Option<T>>,
    thread: Thread,
}

impl<T> Waiter<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            there: AtomicBool::new(false),
            what: Mutex::new(None),
            thread: thread::current(),
        })
    }

    fn hand(&self, what: T) {
        *self.what.lock() = Some(what);
        // Release: the mutex orders the value; the flag only says that it is worth a look.
        self.there.store(true, Ordering::Release);
        self.thread.unpark();
    }

    fn wait(&self) -> T {
        for _ in 0..SPINS {
            if self.there.load(Ordering::Acquire) {
                break;
            }
            spin_loop();
        }
        loop {
            if self.there.load(Ordering::Acquire)
                && let Some(what) = self.what.lock().take()
            {
                return what;
            }
            thread::park();
        }
    }
}

/// What a thread that submitted an attempt is told.
enum Waited {
    Ended(Spare, Outcome),
    Woken,
}

impl Finish for Arc<Waiter<Waited>> {
    fn finish(self: Box<Self>, spare: Spare, outcome: Outcome) {
        self.hand(Waited::Ended(spare, outcome));
    }

    fn parks(&mut self, _: ParkedId) -> bool {
        true
    }

    fn woken(self: Box<Self>, _: Wake) {
        self.hand(Waited::Woken);
    }
}

impl Alone for Arc<Waiter<Guard<Held>>> {
    fn serve(self: Box<Self>, guard: Guard<Held>) {
        self.hand(guard);
    }
}
