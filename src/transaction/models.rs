//! Loom models of the protocols in docs/protocol.md, run on the code itself.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib models`. Each model names the invariants that
//! it guards; docs/mutations.md lists the changes to the code that each of them must refuse. Values
//! are freed by marking them, so that a read after free fails an assertion.

use super::{
    attempt::{Attempt, Spare},
    cancel::{Cancel, Why},
    choice::Left,
    commit::{self, Alone, Finish, Hold, Outcome, Wish},
    parked::{ParkedId, Wake},
};
use crate::cell::{TVar, folds::Merge, labels::Origin, slot::Guard, store::Held};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Explores every schedule with at most `preemptions` forced switches.
fn model(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(f);
}

fn begin() -> Attempt {
    Spare::new().begin()
}

fn set<T: Send + Sync + 'static>(attempt: &Attempt, cell: &TVar<T>, value: T) {
    attempt.logs.writes.set(cell.kept(), value, Origin::default());
}

/// Reads as a transaction does: logged.
fn get<'a, T: Send + Sync + 'static>(attempt: &'a Attempt, cell: &TVar<T>) -> &'a T {
    attempt.logs.reads.push(cell.cell());
    cell.kept().read_at(&attempt.view)
}

fn commit(attempt: Attempt) -> bool {
    matches!(commit::commit_and_wait(attempt).1, Outcome::Committed(_))
}

fn write<T: Send + Sync + 'static>(cell: &TVar<T>, value: T) {
    let attempt = begin();
    set(&attempt, cell, value);
    assert!(commit(attempt), "a blind write cannot fail");
}

/// I1, I5, I6: a view sees exactly the version of its snapshot, whatever is linked and pruned
/// beside it. The value of the cell is the number of its version.
#[test]
fn a_view_sees_its_snapshot() {
    model(3, || {
        let cell = TVar::new(0_u64);
        let written = cell.clone();
        let writer = thread::spawn(move || {
            write(&written, 1);
            write(&written, 2);
        });
        let attempt = begin();
        assert_eq!(*cell.kept().read_at(&attempt.view), attempt.view.snapshot());
        assert_eq!(*cell.kept().read_at(&attempt.view), attempt.view.snapshot());
        drop(attempt.end());
        writer.join().expect("no panic");
    });
}

/// I5: a walk down a chain never stands on a version that was freed, though it may stand on one
/// that was unlinked.
#[test]
fn a_walker_stands_on_nothing_freed() {
    model(3, || {
        let cell = TVar::new(0_u64);
        let written = cell.clone();
        let attempt = begin();
        let writer = thread::spawn(move || {
            for value in 1..=4 {
                write(&written, value);
            }
        });
        assert_eq!(*cell.kept().read_at(&attempt.view), 0);
        drop(attempt.end());
        writer.join().expect("no panic");
    });
}

/// Reads as a transaction does that moves its snapshot on for it (R5).
fn get_newest<'a, T: Send + Sync + 'static>(attempt: &'a Attempt, cell: &TVar<T>) -> &'a T {
    if cell.cell().version() > attempt.view.snapshot() {
        attempt.catch_up();
    }
    get(attempt, cell)
}

/// I1, I5, I6: an attempt that moves its snapshot on sees one state, whatever is pruned beside it;
/// and what it saw before stays.
#[test]
fn an_attempt_that_moves_on_sees_one_state() {
    model(3, || {
        let (a, b) = (TVar::new(0_u64), TVar::new(0_u64));
        let (a2, b2) = (a.clone(), b.clone());
        let attempt = begin();
        let first = get_newest(&attempt, &a);
        let writer = thread::spawn(move || {
            // The one that is read last is linked first.
            let attempt = begin();
            set(&attempt, &b2, 1);
            set(&attempt, &a2, 1);
            assert!(commit(attempt));
        });
        let second = get_newest(&attempt, &b);
        assert_eq!(first, second);
        assert_eq!(get_newest(&attempt, &a), second);
        drop(attempt.end());
        writer.join().expect("no panic");
    });
}

/// I5: the same where the other cell changes alone, again and again.
#[test]
fn an_attempt_that_moves_on_keeps_what_it_sees() {
    model(2, || {
        let (a, b) = (TVar::new(7_u64), TVar::new(0_u64));
        let written = b.clone();
        let attempt = begin();
        assert_eq!(*get_newest(&attempt, &a), 7);
        let writer = thread::spawn(move || {
            for value in 1..=3 {
                write(&written, value);
            }
        });
        thread::yield_now();
        let seen = *get_newest(&attempt, &b);
        assert_eq!(seen, attempt.view.snapshot());
        assert_eq!(*get(&attempt, &b), seen);
        drop(attempt.end());
        writer.join().expect("no panic");
    });
}

/// I5: a cell that was dropped after an attempt read it outlives the attempt, also if that moves
/// on meanwhile.
#[test]
fn a_dropped_cell_outlives_who_moved_on() {
    model(2, || {
        let (dropped, b) = (TVar::new(7_u64), TVar::new(0_u64));
        let written = b.clone();
        let attempt = begin();
        get(&attempt, &dropped);
        let read = dropped.cell();
        let writer = thread::spawn(move || {
            drop(dropped);
            write(&written, 1);
            write(&written, 2);
        });
        get_newest(&attempt, &b);
        // Asserts that it is not freed.
        assert_eq!(read.version(), 0);
        assert_eq!(read.label(), crate::cell::labels::Label::NONE);
        drop(attempt.end());
        writer.join().expect("no panic");
    });
}

/// I1: two cells written together are seen together.
#[test]
fn a_view_sees_whole_commits() {
    model(3, || {
        let (a, b) = (TVar::new(0_u64), TVar::new(0_u64));
        let (a2, b2) = (a.clone(), b.clone());
        let writer = thread::spawn(move || {
            let attempt = begin();
            set(&attempt, &a2, 1);
            set(&attempt, &b2, 1);
            assert!(commit(attempt));
        });
        let attempt = begin();
        assert_eq!(a.kept().read_at(&attempt.view), b.kept().read_at(&attempt.view));
        drop(attempt.end());
        writer.join().expect("no panic");
    });
}

/// I2: of two transactions that each read what the other writes, one does not commit.
#[test]
fn write_skew_is_refused() {
    model(2, || {
        let (a, b) = (TVar::new(0_u64), TVar::new(0_u64));
        let (a2, b2) = (a.clone(), b.clone());
        let other = thread::spawn(move || {
            let attempt = begin();
            let seen = *get(&attempt, &a2);
            set(&attempt, &b2, seen + 1);
            commit(attempt)
        });
        let attempt = begin();
        let seen = *get(&attempt, &b);
        set(&attempt, &a, seen + 1);
        let mine = commit(attempt);
        let theirs = other.join().expect("no panic");
        assert!(mine || theirs, "one of them is first");
        let attempt = begin();
        let (a, b) = (*a.kept().read_at(&attempt.view), *b.kept().read_at(&attempt.view));
        match (mine, theirs) {
            (true, true) => assert_eq!(a.max(b), 2, "both committed: one saw the other"),
            _ => assert_eq!(a + b, 1, "one committed"),
        }
    });
}

/// Counts what became of READY attempts.
struct Count(Arc<AtomicUsize>);

impl Finish for Count {
    fn finish(self: Box<Self>, _: Spare, outcome: Outcome) {
        assert!(matches!(outcome, Outcome::Committed(_)));
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn parks(&mut self, _: ParkedId) -> bool {
        unreachable!("it asked to be committed")
    }

    fn woken(self: Box<Self>, _: Wake) {
        unreachable!("it was not parked")
    }
}

/// Counts how often an attempt that asked to be parked is told of anything.
struct Waits {
    told: Arc<AtomicUsize>,
    cancel: Option<Arc<Cancel>>,
}

impl Finish for Waits {
    fn finish(self: Box<Self>, _: Spare, outcome: Outcome) {
        assert!(matches!(outcome, Outcome::Failed(_)), "the cell was written before");
        self.told.fetch_add(1, Ordering::Relaxed);
    }

    fn parks(&mut self, id: ParkedId) -> bool {
        !self.cancel.as_ref().is_some_and(|cancel| cancel.parks(id))
    }

    fn woken(self: Box<Self>, _: Wake) {
        self.told.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads a cell and, if it is 0, asks to be parked on it.
fn wait_for(cell: &TVar<u64>, owner: Waits) {
    let attempt = begin();
    if *get(&attempt, cell) == 0 {
        let left = Left::at(std::panic::Location::caller());
        commit::submit(attempt, Wish::Park(left), Box::new(owner));
    } else {
        owner.told.fetch_add(1, Ordering::Relaxed);
        drop(attempt.end());
    }
}

/// I3: nor is a wake-up: an attempt that is parked hears of the write that comes after its read.
#[test]
fn no_wake_up_is_lost() {
    model(3, || {
        let (cell, told) = (TVar::new(0_u64), Arc::new(AtomicUsize::new(0)));
        let written = cell.clone();
        let writer = thread::spawn(move || write(&written, 1));
        wait_for(&cell, Waits { told: Arc::clone(&told), cancel: None });
        writer.join().expect("no panic");
        assert_eq!(told.load(Ordering::Relaxed), 1);
    });
}

/// X1, X2: whoever is cancelled while it parks does not stay parked, and hears of it once.
#[test]
fn a_cancelled_attempt_does_not_stay_parked() {
    model(3, || {
        let (cell, told) = (TVar::new(0_u64), Arc::new(AtomicUsize::new(0)));
        let cancel = Arc::new(Cancel::new());
        let theirs = Arc::clone(&cancel);
        let other = thread::spawn(move || theirs.cancel(Why::Cancelled));
        wait_for(&cell, Waits { told: Arc::clone(&told), cancel: Some(cancel) });
        other.join().expect("no panic");
        assert_eq!(told.load(Ordering::Relaxed), 1);
        // What it waited for comes too late.
        write(&cell, 1);
        assert_eq!(told.load(Ordering::Relaxed), 1);
    });
}

struct Sum;

impl Merge for Sum {
    type Value = u64;

    fn merge(old: u64, operand: u64) -> u64 {
        old + operand
    }
}

/// A fold takes the value that its commit finds: two of them never fail, and none is lost.
#[test]
fn folds_commute() {
    model(2, || {
        let cell = TVar::new(0_u64);
        let add = |cell: &TVar<u64>, n| {
            let attempt = begin();
            attempt.logs.writes.merge::<Sum>(cell.kept(), n, Origin::default());
            assert!(commit(attempt), "nothing was read");
        };
        let theirs = cell.clone();
        let other = thread::spawn(move || add(&theirs, 1));
        add(&cell, 2);
        other.join().expect("no panic");
        let attempt = begin();
        assert_eq!(*cell.kept().read_at(&attempt.view), 3);
        drop(attempt.end());
    });
}

/// I3: every READY attempt is finished by somebody, without anybody waiting for it.
#[test]
fn no_ready_attempt_is_lost() {
    model(3, || {
        let done = Arc::new(AtomicUsize::new(0));
        let submit = |done: &Arc<AtomicUsize>| {
            let cell = TVar::new(0_u64);
            let attempt = begin();
            set(&attempt, &cell, 1);
            commit::submit(attempt, Wish::Commit, Box::new(Count(Arc::clone(done))));
        };
        let theirs = Arc::clone(&done);
        let other = thread::spawn(move || submit(&theirs));
        submit(&done);
        other.join().expect("no panic");
        assert_eq!(done.load(Ordering::Relaxed), 2);
    });
}

/// Runs alone at once, and counts.
struct ServeNow(Arc<AtomicUsize>);

impl Alone for ServeNow {
    fn serve(self: Box<Self>, guard: Guard<Held>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        Hold::adopt(guard).end();
    }
}

/// I3: nor is a request to run alone, beside one that commits.
#[test]
fn no_request_to_run_alone_is_lost() {
    model(3, || {
        let done = Arc::new(AtomicUsize::new(0));
        let theirs = Arc::clone(&done);
        let other = thread::spawn(move || {
            let cell = TVar::new(0_u64);
            let attempt = begin();
            set(&attempt, &cell, 1);
            commit::submit(attempt, Wish::Commit, Box::new(Count(theirs)));
        });
        commit::request_alone(0, Box::new(ServeNow(Arc::clone(&done))));
        other.join().expect("no panic");
        assert_eq!(done.load(Ordering::Relaxed), 2);
    });
}

/// I5: a cell whose handle lies in a version that is replaced stays until no view can reach it.
#[test]
fn a_dropped_cell_outlives_its_readers() {
    model(3, || {
        let outer = TVar::new(TVar::new(7_u64));
        let replaced = outer.clone();
        let writer = thread::spawn(move || {
            write(&replaced, TVar::new(8));
            write(&replaced, TVar::new(9));
        });
        let attempt = begin();
        let inner = outer.kept().read_at(&attempt.view);
        assert_eq!(*inner.kept().read_at(&attempt.view), 7 + attempt.view.snapshot());
        drop(attempt.end());
        writer.join().expect("no panic");
    });
}

/// I5: a cell that an attempt has in its logs stays until its outcome, though its last handle was
/// dropped and others collect meanwhile.
#[test]
fn a_cell_in_the_logs_outlives_its_handle() {
    model(2, || {
        let (mine, other) = (TVar::new(7_u64), TVar::new(0_u64));
        let writer = thread::spawn(move || write(&other, 1));
        let attempt = begin();
        let seen = get(&attempt, &mine);
        drop(mine);
        assert_eq!(*seen, 7);
        // Validation looks at the cell again.
        let fresh = TVar::new(0_u64);
        set(&attempt, &fresh, 1);
        assert!(commit(attempt));
        writer.join().expect("no panic");
    });
}
