//! One run of a case: real cells, real transactions, logical threads, and a record of all of it.

use super::{
    State,
    case::{Case, Role, waits},
    model::Told,
    program::{Op, Place, Program, mix},
    world::{World, answer, quiet_panic},
};
use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::{Receiver, Sender, channel},
    },
};
use txloop::{
    Executor, Order, Read, Snapshot, TVar, Transaction,
    probe::{self, interleaved},
};

/// The answer of a program, or what its panic said.
type Answer = Result<u64, String>;

/// Something that happened, in the order in which it did.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// A program was run, at this snapshot.
    Attempt { number: usize, snapshot: u64, told: Told },
    /// A program ended, with its place if it has one.
    Ended { number: usize, began: u64, ended: u64, version: Option<u64>, answer: Answer },
    /// Nobody could go on; the newest version then.
    Quiet { version: u64 },
}

/// All that was seen of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Recorded {
    /// The newest version after it. All versions are counted from the newest one before it.
    pub(super) last: u64,
    /// Those of them that nobody wrote: they let cells be freed.
    pub(super) empty: Vec<u64>,
    pub(super) events: Vec<Event>,
    /// In the order in which they opened.
    pub(super) effects: Vec<(usize, u64)>,
    pub(super) state: State,
    /// What was kept of old versions after its end, and the longest chain.
    pub(super) old_versions: usize,
    pub(super) longest_chain: usize,
}

/// What the threads of a run share.
struct Stage {
    /// The newest version before the run.
    base: u64,
    world: Arc<World>,
    /// A cell of its own for each member of a batch: the version of its write is the member's.
    marks: Vec<TVar<u64>>,
    programs: Vec<(Role, Program)>,
    events: Sender<Event>,
    /// How many programs have not ended.
    left: AtomicUsize,
}

pub(super) fn run(case: &Case, seed: u64) -> Result<interleaved::Ran<Recorded>, String> {
    let case = case.clone();
    interleaved::run(seed, move || {
        interleaved::rest();
        drop(interleaved::empty_versions());
        let (events, happened) = channel();
        let (effects, opened) = channel();
        let programs = case.programs.clone();
        let not_closer = programs.iter().filter(|(role, _)| *role != Role::Closer).count();
        let stage = Arc::new(Stage {
            base: version(),
            world: Arc::new(World::new(effects)),
            marks: programs.iter().map(|_| TVar::new(0)).collect(),
            programs,
            events,
            left: AtomicUsize::new(not_closer),
        });
        perform(&stage, &case);
        interleaved::rest();
        record(&stage, &happened, &opened)
    })
}

fn version() -> u64 {
    txloop::snapshot(Snapshot::version)
}

fn record(
    stage: &Stage,
    happened: &Receiver<Event>,
    opened: &Receiver<Option<(usize, u64)>>,
) -> Recorded {
    let world = &stage.world;
    let chains = world.plain.iter().map(TVar::chain_length);
    Recorded {
        last: version() - stage.base,
        empty: interleaved::empty_versions().iter().map(|version| version - stage.base).collect(),
        events: happened.try_iter().collect(),
        effects: opened.try_iter().flatten().collect(),
        state: world.state(),
        old_versions: txloop::memory().old_versions,
        longest_chain: chains.max().unwrap_or(0),
    }
}

/// Has every program run, and waits for all.
fn perform(stage: &Arc<Stage>, case: &Case) {
    let executor = (case.workers > 0).then(|| {
        let builder = Executor::builder().threads(case.workers).order(case.order).seed([7; 32]);
        Arc::new(builder.build().expect("threads"))
    });
    let closes = stage.programs.iter().any(|(role, _)| *role == Role::Closer);
    let mut handles = Vec::new();
    for thread in 0..4 {
        if stage.programs.iter().any(|(role, _)| role.is_on(thread)) {
            let stage = Arc::clone(stage);
            let live = move || stage.thread(thread);
            handles.push(interleaved::spawn(&format!("thread{thread}"), live));
        }
    }
    let reaps = case.reaps;
    if reaps > 0 {
        handles.push(interleaved::spawn("reaper", move || {
            for _ in 0..reaps {
                interleaved::point(interleaved::Point::Test);
                interleaved::reap();
            }
        }));
    }
    if let Some(executor) = &executor {
        submit(stage, executor, &mut handles);
        let (stage, executor) = (Arc::clone(stage), Arc::clone(executor));
        let members = move || stage.members(&executor);
        if closes {
            handles.push(interleaved::spawn("batch", members));
        } else {
            members();
        }
    }
    if closes {
        stage.close();
    }
    handles.into_iter().for_each(interleaved::Handle::join);
    drop(executor);
}

/// Gives the executor its single programs, in order; each answer is waited for by a thread.
fn submit(stage: &Arc<Stage>, executor: &Executor, handles: &mut Vec<interleaved::Handle>) {
    for (number, (role, _)) in stage.programs.iter().enumerate() {
        let began = interleaved::steps();
        let (own, waiting) = (Arc::clone(stage), Arc::clone(stage));
        let waiter: Box<dyn FnOnce() + Send> = match role {
            Role::Transact => {
                let transact = executor.transact("transact", move |tx| own.attempt(tx, number));
                Box::new(move || {
                    let (told, version) = transact.wait_at();
                    waiting.ended(number, began, Some(version), trimmed(told));
                })
            }
            Role::View => {
                let view = executor.view("view", move |s| own.look(s, number));
                Box::new(move || {
                    let (answer, version) = view.wait_at();
                    waiting.ended(number, began, Some(version), answer);
                })
            }
            _ => continue,
        };
        handles.push(interleaved::spawn(&format!("waits{number}"), waiter));
    }
}

/// As the world's answer, without what was drawn.
fn trimmed<E: std::fmt::Display>(told: Result<u64, E>) -> Answer {
    answer(told.map(|acc| (acc, 0))).map(|(acc, _)| acc)
}

impl Stage {
    /// Runs the programs of one thread.
    fn thread(self: &Arc<Self>, thread: usize) {
        for (number, (role, _)) in self.programs.iter().enumerate() {
            if role.is_on(thread) {
                self.run_here(number);
            }
        }
    }

    /// Runs one program on the calling thread.
    fn run_here(&self, number: usize) {
        let began = interleaved::steps();
        let role = self.programs[number].0;
        let result = catch_unwind(AssertUnwindSafe(|| match role {
            Role::Snapshot(_) => txloop::snapshot(|s| (self.look(s, number), s.version())),
            Role::Failing(_) => {
                let run = |tx: &Transaction| Err::<Infallible, _>(self.attempt(tx, number));
                match probe::try_atomically_at(run) {
                    (Err(acc), version) => (acc, version),
                    (Ok(never), _) => match never {},
                }
            }
            _ => probe::atomically_at(|tx| self.attempt(tx, number)),
        }));
        let (answer, version) = match result {
            Ok((acc, version)) => (Ok(acc), Some(version)),
            Err(payload) => {
                let text = payload.downcast_ref::<&'static str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
                let text = text.unwrap_or_default();
                (trimmed(Err(format!("the transaction panicked: {text}"))), None)
            }
        };
        self.ended(number, began, version, answer);
    }

    /// Runs the members of the batch.
    fn members(self: &Arc<Self>, executor: &Executor) {
        let programs = self.programs.iter().enumerate();
        let members = programs.filter(|(_, (role, _))| *role == Role::Member);
        let numbers: Vec<usize> = members.map(|(number, _)| number).collect();
        let began = interleaved::steps();
        let closure = |&number: &usize| {
            let stage = Arc::clone(self);
            move |tx: &Transaction| {
                tx.set(&stage.marks[number], 1);
                stage.attempt(tx, number)
            }
        };
        let answers = executor.run("member", numbers.iter().map(closure));
        for (number, answer) in numbers.into_iter().zip(answers) {
            let version = interleaved::version_of(&self.marks[number]);
            self.ended(number, began, (version != 0).then_some(version), trimmed(answer));
        }
    }

    /// Sets the last phase whenever nobody can go on, until all have ended.
    fn close(&self) {
        let closers = self.programs.iter().enumerate();
        let closers = closers.filter(|(_, (role, _))| *role == Role::Closer);
        for (number, _) in closers {
            interleaved::idle();
            self.tell(Event::Quiet { version: version() - self.base });
            if self.left.load(SeqCst) == 0 {
                return;
            }
            self.run_here(number);
        }
        interleaved::idle();
        let left = self.left.load(SeqCst);
        assert!(left == 0, "{left} programs wait though it is the last phase");
    }

    fn tell(&self, event: Event) {
        self.events.send(event).expect("listened to");
    }

    fn ended(&self, number: usize, began: u64, version: Option<u64>, answer: Answer) {
        let ended = interleaved::steps();
        let version = version.map(|version| version.saturating_sub(self.base));
        self.tell(Event::Ended { number, began, ended, version, answer });
        if self.programs[number].0 != Role::Closer {
            self.left.fetch_sub(1, SeqCst);
        }
    }

    /// Runs a program and records that.
    fn attempt(&self, tx: &Transaction, number: usize) -> u64 {
        let program = &self.programs[number].1;
        if !waits(program) {
            // It is in the read log when its only handle is gone.
            let dropped = TVar::new(number);
            assert_eq!(*tx.get(&dropped), number, "its first value");
        }
        let result = catch_unwind(AssertUnwindSafe(|| self.world.run(tx, number, program)));
        // It moves on while the program runs.
        let snapshot = interleaved::snapshot_of(tx) - self.base;
        let told = match &result {
            Ok((acc, _)) => Told::Returned(*acc),
            Err(payload) => match payload.downcast_ref::<String>() {
                Some(message) => Told::Panicked(message.clone()),
                None if payload.is::<&'static str>() => Told::Panicked("of the library".to_owned()),
                None => Told::Left,
            },
        };
        self.tell(Event::Attempt { number, snapshot, told });
        result.unwrap_or_else(|payload| resume_unwind(payload)).0
    }

    /// Runs a program that only reads on a snapshot, and records that.
    fn look(&self, view: &Snapshot, number: usize) -> u64 {
        let snapshot = view.version() - self.base;
        let mut acc = number as u64;
        for op in &self.programs[number].1 {
            let Op::Get(place) = op else { quiet_panic(format!("{op:?} in a snapshot")) };
            let cell = match *place {
                Place::Plain(i) => Some(self.world.plain[i].clone()),
                Place::Inner(i) => Read::get(view, &self.world.nested[i]).clone(),
                Place::Kept => None,
            };
            if let Some(cell) = cell {
                acc = mix(acc, *view.get(&cell));
            }
        }
        self.tell(Event::Attempt { number, snapshot, told: Told::Returned(acc) });
        acc
    }
}

/// Whether the case says all that can be seen of it.
pub(super) fn is_determined(case: &Case) -> bool {
    case.order == Order::Arrival && case.programs.iter().all(|(role, _)| *role != Role::Closer)
}
