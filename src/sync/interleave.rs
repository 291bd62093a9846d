//! The interleaver: logical threads, of which exactly one runs at a time, in an order that follows
//! from a seed.
//!
//! A logical thread is a thread of the system that holds a *token* while it runs. At every *point*
//! of the engine, and wherever the engine would block, the thread that has the token asks the
//! *chooser* who goes on, and hands it over. So a seed gives one schedule, and the same one again.
//! A thread that belongs to no run passes through every point. No point stands where a lock may be
//! held: whoever waits for it would wait for ever.
//!
//! | state | goes on when |
//! |---|---|
//! | runnable | it is chosen |
//! | parked | it was unparked; a token is kept, as by the real `park` |
//! | waiting | somebody else came past a point since it looked last |
//! | joining | the other thread has ended |
//! | idle | nobody else can go on |
//!
//! When no thread can go on and one has not ended, the run is *stuck*: its threads stay where they
//! are, and with them whatever they hold, so nothing else can be run in the process after it.

use super::{Arc, Mutex};
use std::{
    any::Any,
    cell::RefCell,
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Condvar, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Where a thread came to a point; the name says what it is about to do, or waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// A view has announced a range and is about to load its snapshot.
    Begin,
    /// A cell is about to be read, or its head was loaded and its number was not.
    Read,
    /// A walk along a chain goes on.
    Walk,
    /// A value goes into a write log.
    Write,
    /// The handler is about to be left.
    Retry,
    /// The baton is about to be tried.
    Take,
    /// A READY attempt was pushed, nobody told yet.
    Ready,
    /// An attempt is about to be validated.
    Validate,
    /// A version is about to be linked, or is half linked.
    Link,
    /// The watermark is about to be moved.
    Publish,
    /// The watermark was moved, effects not opened yet.
    Open,
    /// A hold is about to prune, or has scanned and is about to unlink.
    Prune,
    /// The baton is about to be let go, or was just now.
    Release,
    /// A parked attempt is about to be told.
    Wake,
    /// An attempt is about to be parked, or a parked one to be taken out.
    Park,
    /// A ticket is about to be put into the ring.
    Put,
    /// Tickets are about to be taken.
    Turn,
    /// A turn was served, or serving is about to end.
    Serve,
    /// A worker is about to sleep.
    Sleep,
    /// Something that was put off is about to be done.
    Effect,
    /// A thread was started.
    Spawn,
    /// A thread waits.
    Wait,
    /// A test's own.
    Test,
}

/// The most steps of a run: it has no end otherwise.
const MAX_STEPS: usize = 300_000;
/// How many of the last steps a report shows.
const SHOWN: usize = 80;

/// A thread's place in a run.
#[derive(Debug, Clone)]
pub(crate) struct Logical {
    run: Arc<Run>,
    index: usize,
}

thread_local! {
    static ME: RefCell<Option<Logical>> = const { RefCell::new(None) };
}

/// Set by a run that got stuck.
static STUCK: AtomicBool = AtomicBool::new(false);
/// Held by the run of the process.
static ONE: Mutex<()> = Mutex::new(());

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Runnable,
    Parked,
    /// Since that many events.
    Waiting(u64),
    Joining(usize),
    Idle,
    Ended,
}

#[derive(Debug)]
struct Seat {
    name: String,
    state: State,
    /// Was unparked before it parked.
    unparked: bool,
    priority: u64,
    called: Arc<Condvar>,
}

#[derive(Debug)]
struct Inner {
    seats: Vec<Seat>,
    running: usize,
    chooser: Chooser,
    /// How many points that change something were passed.
    events: u64,
    trace: Vec<(u16, Point)>,
    panics: Vec<String>,
    stuck: Option<String>,
}

/// One run: see the module.
#[derive(Debug)]
struct Run {
    inner: Mutex<Inner>,
    over: Condvar,
    seed: u64,
    step_ns: u64,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran<R> {
    /// What its first thread returned.
    pub answer: R,
    /// Who came past which point, in order.
    pub trace: Vec<(u16, Point)>,
}

/// Runs `first` as the first logical thread of a run with this seed, to the end of all its threads.
/// One run at a time: others wait.
///
/// # Errors
/// When the run got stuck, or a thread panicked, with a report.
///
/// # Panics
/// When the system gives no thread.
pub fn run<R: Send + 'static>(
    seed: u64,
    first: impl FnOnce() -> R + Send + 'static,
) -> Result<Ran<R>, String> {
    let _one = ONE.lock();
    if STUCK.load(Ordering::SeqCst) {
        return Err("an earlier run got stuck, with whatever its threads hold".to_owned());
    }
    let mut dice = Dice::new(seed);
    let step_ns = [20, 200, 2_000][dice.below(3) as usize];
    let inner = Inner {
        seats: Vec::new(),
        running: 0,
        chooser: Chooser::new(dice),
        events: 0,
        trace: Vec::new(),
        panics: Vec::new(),
        stuck: None,
    };
    let run = Arc::new(Run { inner: Mutex::new(inner), over: Condvar::new(), seed, step_ns });
    let answer = Arc::new(Mutex::new(None));
    let told = Arc::clone(&answer);
    let first = move || *told.lock() = Some(first());
    let (_, thread) = Run::start(&run, "first", first).expect("a thread");
    let mut inner = run.inner.lock();
    while inner.stuck.is_none() && inner.seats.iter().any(|seat| seat.state != State::Ended) {
        inner = wait(&run.over, inner);
    }
    if let Some(report) = inner.stuck.clone() {
        STUCK.store(true, Ordering::SeqCst);
        return Err(report);
    }
    let (trace, panics) = (std::mem::take(&mut inner.trace), std::mem::take(&mut inner.panics));
    drop(inner);
    let joined = thread.join();
    debug_assert!(joined.is_ok(), "a logical thread contains its panics");
    if !panics.is_empty() {
        return Err(format!("seed={seed}: {}", panics.join("; ")));
    }
    let answer = answer.lock().take().expect("the first thread has ended without a panic");
    Ok(Ran { answer, trace })
}

/// A point of the engine: the interleaver may let somebody else go on here.
pub fn point(point: Point) {
    if let Some(me) = me() {
        me.hand_over(State::Runnable, point);
    }
}

/// Waits until somebody else has come past a point; the caller then looks again. Whoever changes
/// what others look at has to come past one afterwards. False on a thread that belongs to no run.
pub fn pause() -> bool {
    let me = me();
    if let Some(me) = &me {
        let events = me.run.inner.lock().events;
        me.hand_over(State::Waiting(events), Point::Wait);
    }
    me.is_some()
}

/// Waits until no other thread can go on.
pub fn idle() {
    if let Some(me) = me() {
        me.hand_over(State::Idle, Point::Wait);
    }
}

/// Runs `f` as if this thread belonged to no run: past no point, while nobody else goes on.
pub(crate) fn aside<R>(f: impl FnOnce() -> R) -> R {
    let me = ME.take();
    let answer = f();
    ME.set(me);
    answer
}

/// How many steps the run of this thread has made: its clock.
#[must_use]
pub fn steps() -> u64 {
    me().map_or(0, |me| me.run.inner.lock().trace.len() as u64)
}

/// The clock of the engine in a run: it follows the steps.
pub(super) fn now_ns() -> Option<u64> {
    let me = me()?;
    let steps = me.run.inner.lock().trace.len() as u64;
    Some((steps + 1) * me.run.step_ns)
}

/// Another logical thread of this run.
///
/// # Panics
/// On a thread that belongs to no run; when the system gives no thread.
pub fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> Handle {
    let me = me().expect("on a logical thread");
    let (logical, real) = me.start(name, f).expect("a thread");
    Handle { logical, real }
}

/// A thread that was started by [`spawn`].
#[derive(Debug)]
#[must_use = "joined by `Handle::join`"]
pub struct Handle {
    logical: Logical,
    real: thread::JoinHandle<()>,
}

impl Handle {
    /// Waits for its end. A panic of it is in the report of the run.
    pub fn join(self) {
        self.logical.join();
        let joined = self.real.join();
        debug_assert!(joined.is_ok(), "a logical thread contains its panics");
    }
}

/// The place of the calling thread, if it belongs to a run.
pub(super) fn me() -> Option<Logical> {
    ME.try_with(|me| me.borrow().clone()).ok().flatten()
}

fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

impl Run {
    fn start(
        run: &Arc<Self>,
        name: &str,
        f: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<(Logical, thread::JoinHandle<()>)> {
        let mut inner = run.inner.lock();
        let (index, priority) = (inner.seats.len(), inner.chooser.priority());
        inner.seats.push(Seat {
            name: name.to_owned(),
            state: State::Runnable,
            unparked: false,
            priority,
            called: Arc::new(Condvar::new()),
        });
        drop(inner);
        let logical = Logical { run: Arc::clone(run), index };
        let own = logical.clone();
        let body = move || own.live(f);
        let thread = thread::Builder::new().name(format!("logical-{name}")).spawn(body)?;
        Ok((logical, thread))
    }
}

impl Logical {
    /// Starts another thread of the same run.
    pub(super) fn start(
        &self,
        name: &str,
        f: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<(Self, thread::JoinHandle<()>)> {
        let started = Run::start(&self.run, name, f)?;
        self.hand_over(State::Runnable, Point::Spawn);
        Ok(started)
    }

    /// The life of the thread.
    fn live(self, f: impl FnOnce()) {
        drop(self.called(self.run.inner.lock()));
        ME.set(Some(self.clone()));
        let result = catch_unwind(AssertUnwindSafe(f));
        ME.set(None);
        if let Err(payload) = result {
            let text = text_of(&*payload);
            let mut inner = self.run.inner.lock();
            let name = inner.seats[self.index].name.clone();
            inner.panics.push(format!("thread {name} panicked: {text}"));
        }
        self.hand_over(State::Ended, Point::Wait);
    }

    /// Waits until this thread is the one that runs.
    fn called<'a>(&self, mut inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        let called = Arc::clone(&inner.seats[self.index].called);
        while inner.running != self.index || inner.stuck.is_some() {
            inner = wait(&called, inner);
        }
        inner
    }

    /// Lets the chooser say who goes on, and waits until it is this thread, unless it ends.
    fn hand_over(&self, state: State, point: Point) {
        let mut inner = self.run.inner.lock();
        inner.trace.push((self.index as u16, point));
        inner.events += u64::from(!matches!(state, State::Waiting(_)));
        inner.seats[self.index].state = state;
        let next = inner.choose(self.index);
        let over = inner.seats.iter().all(|seat| seat.state == State::Ended);
        match next.filter(|_| inner.trace.len() < MAX_STEPS) {
            Some(next) => {
                inner.running = next;
                inner.seats[next].state = State::Runnable;
                inner.seats[next].called.notify_one();
            }
            None => {
                inner.stuck = (!over).then(|| inner.report(self.run.seed));
                self.run.over.notify_all();
            }
        }
        if state != State::Ended {
            drop(self.called(inner));
        }
    }

    /// As `thread::park`.
    pub(super) fn park(&self) {
        let unparked = std::mem::take(&mut self.run.inner.lock().seats[self.index].unparked);
        self.hand_over(if unparked { State::Runnable } else { State::Parked }, Point::Wait);
    }

    /// As `Thread::unpark`.
    pub(super) fn unpark(&self) {
        let seat = &mut self.run.inner.lock().seats[self.index];
        match seat.state {
            State::Parked => seat.state = State::Runnable,
            _ => seat.unparked = true,
        }
    }

    /// Waits for the end of this thread, if the caller belongs to the run too.
    pub(super) fn join(&self) {
        if let Some(me) = me() {
            me.hand_over(State::Joining(self.index), Point::Wait);
        }
    }
}

impl Inner {
    /// Who could go on.
    fn can_go_on(&self) -> Vec<usize> {
        let can = |state: State| match state {
            State::Runnable => true,
            State::Waiting(since) => self.events > since,
            State::Joining(other) => self.seats[other].state == State::Ended,
            State::Parked | State::Idle | State::Ended => false,
        };
        let all = 0..self.seats.len();
        let busy: Vec<usize> = all.clone().filter(|&i| can(self.seats[i].state)).collect();
        if !busy.is_empty() {
            return busy;
        }
        all.filter(|&i| self.seats[i].state == State::Idle).collect()
    }

    fn choose(&mut self, me: usize) -> Option<usize> {
        let (can, step) = (self.can_go_on(), self.trace.len() as u64);
        self.chooser.choose(&can, me, step, &mut self.seats)
    }

    fn report(&self, seed: u64) -> String {
        let what = if self.trace.len() < MAX_STEPS { "stuck" } else { "no end" };
        let mut text = format!("seed={seed}: {what} after {} steps\n", self.trace.len());
        for panic in &self.panics {
            let _ = writeln!(text, "  {panic}");
        }
        for seat in &self.seats {
            let _ = writeln!(text, "  thread {}: {:?}", seat.name, seat.state);
        }
        let from = self.trace.len().saturating_sub(SHOWN);
        text.push_str("the last steps:");
        let mut last = usize::MAX;
        for (thread, point) in &self.trace[from..] {
            if usize::from(*thread) != last {
                last = usize::from(*thread);
                let _ = write!(text, "\n  {}:", self.seats[last].name);
            }
            let _ = write!(text, " {point:?}");
        }
        text
    }
}

/// What a panic said.
fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&'static str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".to_owned())
}

/// Who goes on.
#[derive(Debug)]
struct Chooser {
    dice: Dice,
    how: How,
}

#[derive(Debug)]
enum How {
    /// One in so many points lets somebody else go on, each as likely as the other.
    Uniform(u64),
    /// The one with the highest priority goes on; at each of these steps the one that runs gets the
    /// lowest. With d of them, a fault that needs d switches is found with a known likelihood.
    Priorities(Vec<u64>),
}

impl Chooser {
    fn new(mut dice: Dice) -> Self {
        let how = if dice.below(3) == 0 {
            let (changes, length) = (1 + dice.below(5), [100, 400, 1_600][dice.below(3) as usize]);
            How::Priorities((0..changes).map(|_| dice.below(length)).collect())
        } else {
            How::Uniform([2, 3, 6, 12, 30][dice.below(5) as usize])
        };
        Self { dice, how }
    }

    /// That of a new thread.
    fn priority(&mut self) -> u64 {
        1_000_000 + self.dice.below(1_000_000)
    }

    fn choose(&mut self, can: &[usize], me: usize, step: u64, seats: &mut [Seat]) -> Option<usize> {
        match &self.how {
            How::Uniform(one_in) => {
                if can.contains(&me) && self.dice.below(*one_in) != 0 {
                    return Some(me);
                }
                (!can.is_empty()).then(|| can[self.dice.below(can.len() as u64) as usize])
            }
            How::Priorities(changes) => {
                if changes.contains(&step) {
                    // Lower than all before.
                    seats[me].priority = 1_000_000 - step;
                }
                can.iter().copied().max_by_key(|&i| seats[i].priority)
            }
        }
    }
}

/// A xorshift generator.
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        let mixed = (seed ^ 0x5eed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(mixed ^ (mixed >> 31) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}
