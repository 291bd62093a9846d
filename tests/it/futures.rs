//! Transactions as futures on several runtimes: answers, wakers, cancelling, deadlines; and the
//! handlers that wait for a write, wherever they run.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc::{RecvTimeoutError, channel},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};
use txloop::{
    Executor, Failure, Order, Parked, TVar, Transact, Transaction, atomically, parked_for, snapshot,
};

/// What only a defect takes longer than.
const PATIENCE: Duration = Duration::from_secs(120);
/// A deadline that passes at once.
const SOON: Duration = Duration::from_millis(1);
/// The executors that everything is tried on.
const KINDS: [(Order, usize); 4] =
    [(Order::Commit, 1), (Order::Commit, 2), (Order::Arrival, 1), (Order::Arrival, 2)];

fn executor((order, threads): (Order, usize)) -> Executor {
    Executor::builder().threads(threads).order(order).build().expect("threads")
}

/// Runs a test with each kind of executor, on a thread of its own, so that one that hangs fails.
/// The last kind printed is the one that failed.
#[track_caller]
fn with_each(test: impl Fn((Order, usize), Executor) + Send + 'static) {
    let (sender, receiver) = channel::<()>();
    let all = move || {
        for kind in KINDS {
            println!("{kind:?}");
            test(kind, executor(kind));
        }
        drop(sender);
    };
    let name = thread::current().name().unwrap_or_default().to_owned();
    let tests = thread::Builder::new().name(name).spawn(all).expect("a thread");
    let ended = receiver.recv_timeout(PATIENCE);
    assert_eq!(ended, Err(RecvTimeoutError::Disconnected), "it hangs");
    tests.join().unwrap_or_else(|panic| resume_unwind(panic));
}

/// Looks again and again until something is so.
#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..30_000 {
        if is_so() {
            return;
        }
        thread::park_timeout(SOON);
    }
    panic!("not so after 30 seconds: {what}");
}

/// A name that no other cell of the process has.
fn unique() -> &'static str {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    format!("cell {} of futures", LAST.fetch_add(1, SeqCst)).leak()
}

/// Who waits for a write to the cell of this name.
fn parked_on(cell: &str) -> Vec<Parked> {
    let all = parked_for(Duration::ZERO, usize::MAX);
    all.into_iter().filter(|parked| parked.cells.contains(&cell)).collect()
}

#[track_caller]
fn until_parked(cell: &str, count: usize) {
    until(&format!("{count} parked on {cell}"), || parked_on(cell).len() == count);
}

/// Something that happens once, and others wait for.
type Event = Arc<AtomicBool>;

#[track_caller]
fn has_happened(event: &Event) {
    until("it has happened", || event.load(SeqCst));
}

/// Counts how often it was woken, and unparks the thread that made it.
struct Unpark {
    thread: Thread,
    woken: AtomicUsize,
}

impl Unpark {
    fn new() -> Arc<Self> {
        Arc::new(Self { thread: thread::current(), woken: AtomicUsize::new(0) })
    }
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, SeqCst);
        self.thread.unpark();
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F, unpark: &Arc<Unpark>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(unpark));
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

/// The least runtime. It polls only when it was woken, so that it hides no lost wake-up.
fn block_on<F: Future>(future: F) -> F::Output {
    let (mut future, unpark) = (pin!(future), Unpark::new());
    loop {
        if let Poll::Ready(answer) = poll_once(&mut future, &unpark) {
            return answer;
        }
        while unpark.woken.swap(0, SeqCst) == 0 {
            thread::park();
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Runtime {
    Bare,
    Current,
    Multi,
}

impl Runtime {
    fn run<F: Future<Output: Send + 'static> + Send + 'static>(self, future: F) -> F::Output {
        let tokio = match self {
            Runtime::Bare => return block_on(future),
            Runtime::Current => tokio::runtime::Builder::new_current_thread().build(),
            Runtime::Multi => tokio::runtime::Builder::new_multi_thread().worker_threads(2).build(),
        };
        let tokio = tokio.expect("a runtime");
        tokio.block_on(tokio.spawn(future)).expect("no panic")
    }
}

async fn join_all<R>(mut all: Vec<Transact<R>>) -> Vec<Result<R, Failure>> {
    let mut answers: Vec<_> = all.iter().map(|_| None).collect();
    poll_fn(move |context| {
        let mut open = 0;
        for (transact, answer) in all.iter_mut().zip(&mut answers) {
            if answer.is_none() {
                match Pin::new(transact).poll(context) {
                    Poll::Ready(ended) => *answer = Some(ended),
                    Poll::Pending => open += 1,
                }
            }
        }
        match open {
            0 => Poll::Ready(answers.iter_mut().filter_map(Option::take).collect()),
            _ => Poll::Pending,
        }
    })
    .await
}

#[test]
fn many_at_once_are_one_after_another() {
    with_each(|(order, _), executor| {
        for runtime in [Runtime::Bare, Runtime::Current, Runtime::Multi] {
            println!("{runtime:?}");
            let total = TVar::new(0_u64);
            let add = |n: u64| {
                let total = total.clone();
                executor.transact("add", move |tx| {
                    tx.set(&total, tx.get(&total) + n);
                    *tx.get(&total)
                })
            };
            let all = join_all((1..=1_000).map(add).collect());
            let seen = total.clone();
            let (answers, seen) = runtime.run(async move { (all.await, seen.with(|sum| *sum)) });
            // Each answer is the total after its addition: in some order, they add up.
            let answers = answers.into_iter().map(|answer| answer.expect("an answer"));
            let mut steps: Vec<(u64, u64)> = answers.zip(1..).collect();
            if order == Order::Commit {
                steps.sort_unstable();
            }
            let mut sum = 0;
            for (answer, n) in steps {
                sum += n;
                assert_eq!(answer, sum);
            }
            assert_eq!((sum, seen), (500_500, 500_500));
        }
    });
}

#[test]
fn whoever_is_polled_waits_for_no_effect_of_others() {
    for order in [Order::Commit, Order::Arrival] {
        let executor = Arc::new(executor((order, 3)));
        let (inner, answered) = (Arc::clone(&executor), Event::default());
        let answers = answered.clone();
        let effect = move |tx: &Transaction| {
            let (inner, answers) = (Arc::clone(&inner), answers.clone());
            tx.on_commit(move || {
                assert_eq!(block_on(inner.transact("inner", |_| 7)), Ok(7));
                answers.store(true, SeqCst);
            });
        };
        executor.transact("outer", effect).wait().expect("it commits");
        has_happened(&answered);
    }
}

#[test]
fn the_waker_of_the_last_poll_is_called() {
    with_each(|_, executor| {
        let gate = Event::default();
        let passed = gate.clone();
        let mut transact = executor.transact("blocked", move |_| has_happened(&passed));
        let (first, last) = (Unpark::new(), Unpark::new());
        assert!(poll_once(&mut transact, &first).is_pending());
        assert!(poll_once(&mut transact, &last).is_pending());
        // A waker that is not wanted any more is not kept.
        assert_eq!(Arc::strong_count(&first), 1);
        gate.store(true, SeqCst);
        until("woken", || last.woken.load(SeqCst) > 0);
        assert_eq!(poll_once(&mut transact, &last), Poll::Ready(Ok(())));
        assert_eq!((first.woken.load(SeqCst), last.woken.load(SeqCst)), (0, 1));
    });
}

#[test]
fn a_dropped_future_goes_on() {
    with_each(|_, executor| {
        let (name, out) = (unique(), TVar::new(0));
        let gate = TVar::named(name, false);
        let (read, written) = (gate.clone(), out.clone());
        let mut transact = executor.transact("parked", move |tx| {
            tx.guard(*tx.get(&read));
            tx.set(&written, 1);
        });
        assert!(poll_once(&mut transact, &Unpark::new()).is_pending());
        until_parked(name, 1);
        drop(transact);
        assert_eq!(parked_on(name).len(), 1);
        atomically(|tx| tx.set(&gate, true));
        until("it has committed", || out.with(|n| *n) == 1);
    });
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Queued,
    Parked,
    Running,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Cancelled,
    Late,
    Dropped,
}

/// Keeps all threads of an executor busy until the gate is open.
fn keep_busy(executor: &Executor, gate: &Event) -> Vec<Transact<()>> {
    let busy = Arc::new(AtomicUsize::new(0));
    let block = |_| {
        let (gate, busy) = (gate.clone(), Arc::clone(&busy));
        executor.transact("busy", move |_| {
            busy.fetch_add(1, SeqCst);
            has_happened(&gate);
        })
    };
    let blocked = (0..executor.threads()).map(block).collect();
    until("all threads are busy", || busy.load(SeqCst) == executor.threads());
    blocked
}

/// Takes one back in this stage of its life: it ends, and leaves nothing.
fn check_taken_back(kind: (Order, usize), stage: Stage, how: How) {
    println!("{stage:?} {how:?}");
    let (name, gate, runs) = (unique(), Event::default(), Arc::new(AtomicUsize::new(0)));
    let (cell, out) = (TVar::named(name, false), TVar::new(0));
    // Ends when everything with an earlier deadline is late. Parked before a busy executor of one
    // thread has the baton.
    let (elsewhere, other) = (executor((Order::Commit, 2)), unique());
    let never = TVar::named(other, false);
    let last = elsewhere.transact("last", move |tx| tx.guard(*tx.get(&never)));
    until_parked(other, 1);
    let executor = executor(kind);
    let busy = if stage == Stage::Queued { keep_busy(&executor, &gate) } else { Vec::new() };
    let captured = (cell.clone(), out.clone(), Arc::clone(&runs));
    let transact = executor.transact("taken back", move |tx| {
        let (cell, out, runs) = &captured;
        runs.fetch_add(1, SeqCst);
        tx.set(out, 1);
        if stage == Stage::Running {
            until("it is left at a read", || *tx.get(cell));
        }
        tx.guard(*tx.get(cell));
    });
    match stage {
        Stage::Queued => {}
        Stage::Parked => until_parked(name, 1),
        Stage::Running => until("it runs", || runs.load(SeqCst) > 0),
    }
    let ended = match how {
        How::Cancelled => {
            transact.cancel();
            Some((transact, Failure::Cancelled))
        }
        How::Late => Some((transact.within(SOON), Failure::Late)),
        How::Dropped => {
            drop(transact.cancel_on_drop());
            None
        }
    };
    assert_eq!(last.within(2 * SOON).wait(), Err(Failure::Late));
    gate.store(true, SeqCst);
    if let Some((transact, failure)) = ended {
        assert_eq!(block_on(transact), Err(failure));
    }
    until("its captures are dropped", || Arc::strong_count(&runs) == 1);
    assert_eq!(parked_on(name), []);
    let ran = runs.load(SeqCst);
    atomically(|tx| tx.set(&cell, true));
    assert!(busy.into_iter().all(|busy| busy.wait().is_ok()));
    drop(executor);
    assert_eq!((out.with(|n| *n), runs.load(SeqCst)), (0, ran));
    // In arrival order handlers run ahead of their turn, where that is not looked at.
    assert!(ran == 0 || stage != Stage::Queued || kind.0 == Order::Arrival);
}

#[test]
fn what_is_taken_back_leaves_nothing() {
    with_each(|kind, _| {
        for how in [How::Cancelled, How::Late, How::Dropped] {
            check_taken_back(kind, Stage::Queued, how);
            check_taken_back(kind, Stage::Parked, how);
            check_taken_back(kind, Stage::Running, how);
        }
    });
}

#[test]
fn an_aborted_task_takes_back_what_it_awaits() {
    with_each(|_, executor| {
        let (name, tokio) = (unique(), tokio::runtime::Builder::new_current_thread().build());
        let (cell, tokio) = (TVar::named(name, 0), tokio.expect("a runtime"));
        let transact = executor.transact("parked", move |tx| tx.guard(*tx.get(&cell) > 0));
        let task = tokio.spawn(transact.cancel_on_drop());
        until_parked(name, 1);
        task.abort();
        assert!(tokio.block_on(task).expect_err("no answer").is_cancelled());
        until_parked(name, 0);
    });
}

#[test]
fn who_commits_in_time_is_not_late() {
    with_each(|_, executor| {
        let cell = TVar::new(0);
        let add = || {
            let cell = cell.clone();
            executor.transact("add", move |tx| tx.modify(&cell, |n| *n += 1))
        };
        let never = || {
            let never = TVar::new(0);
            executor.transact("never", move |tx| tx.guard(*tx.get(&never) > 0))
        };
        assert_eq!(block_on(add().within(PATIENCE)), Ok(()));
        assert_eq!(add().within(Duration::MAX).wait(), Ok(()));
        let committed = add();
        until("committed", || cell.with(|n| *n) == 3);
        // All this comes after the commit, and before the answer is taken.
        let committed = committed.within(Duration::ZERO);
        assert_eq!(block_on(never().within(SOON)), Err(Failure::Late));
        committed.cancel();
        assert_eq!(block_on(committed), Ok(()));
        // The first reason counts.
        let cancelled = never().within(PATIENCE);
        cancelled.cancel();
        assert_eq!(block_on(cancelled.within(Duration::ZERO)), Err(Failure::Cancelled));
    });
}

#[test]
fn taking_back_races_with_waking_and_committing() {
    const HANDLERS: u64 = 300;
    with_each(|_, executor| {
        for round in 0..10_u64 {
            let (gate, done) = (TVar::new(0), TVar::new(0));
            let handler = |n| {
                let (gate, done) = (gate.clone(), done.clone());
                executor.transact("raced", move |tx| {
                    tx.guard(*tx.get(&gate) >= n % 4);
                    tx.modify(&done, |n| *n += 1);
                })
            };
            let cancelled: Vec<_> = (0..HANDLERS).map(handler).collect();
            let late = |n| handler(n).within(Duration::from_micros(n * round * 10));
            let late: Vec<_> = (0..HANDLERS).map(late).collect();
            thread::scope(|scope| {
                scope.spawn(|| cancelled.iter().for_each(Transact::cancel));
                (1..4).for_each(|n| atomically(|tx| tx.set(&gate, n)));
            });
            let ended = |all, failure| {
                let answers = block_on(join_all(all));
                assert!(answers.iter().all(|answer| *answer == Ok(()) || *answer == failure));
                answers.iter().filter(|answer| answer.is_ok()).count()
            };
            let mut committed = ended(cancelled, Err(Failure::Cancelled));
            committed += ended(late, Err(Failure::Late));
            assert_eq!(done.with(|n| *n), committed);
        }
    });
}

#[test]
fn a_panic_is_an_answer() {
    type Panics = fn(&Transaction, &TVar<i32>);
    let all: [(&str, Panics); 4] = [
        ("a str", |_, _| panic!("a str")),
        ("a String of 8", |_, _| panic!("a String of {}", 8)),
        ("a panic without a message", |_, _| panic_any(8)),
        ("while folding", |tx, _| tx.update_later(&TVar::new(0), |_| panic!("while folding"))),
    ];
    with_each(move |_, executor| {
        for (message, panics) in all {
            let cell = TVar::new(0);
            let transact = || {
                let cell = cell.clone();
                executor.transact("panics", move |tx| {
                    tx.set(&cell, 1);
                    panics(tx, &cell);
                })
            };
            for answer in [block_on(transact()), transact().wait()] {
                let Err(Failure::Panicked(panicked)) = answer else { panic!("{answer:?}") };
                assert_eq!(panicked.message(), message);
            }
            assert_eq!(cell.with(|n| *n), 0);
        }
    });
}

#[test]
fn retry_without_a_read_is_a_panic() {
    const MESSAGE: &str = "retry without having read a cell would wait for ever";
    #[track_caller]
    fn check(f: impl FnOnce()) {
        let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("a panic");
        let message = panic.downcast_ref::<String>().expect("a text");
        assert!(message.starts_with(MESSAGE), "{message}");
    }
    with_each(|_, executor| {
        let answer = block_on(executor.transact("reads nothing", |tx| {
            tx.set(&TVar::new(0), 1);
            tx.guard(false);
        }));
        let message = answer.expect_err("a failure").to_string();
        assert!(message.contains(MESSAGE) && message.contains("futures.rs"), "{message}");
        check(|| atomically(|tx| tx.guard(false)));
        check(|| atomically(|tx| tx.or_else(|tx| tx.guard(false), |tx| tx.guard(false))));
        check(|| snapshot::<()>(|s| s.retry()));
    });
}

#[test]
fn catching_the_unwinding_changes_nothing() {
    fn is_left(f: impl FnOnce()) -> bool {
        catch_unwind(AssertUnwindSafe(f)).is_err()
    }
    with_each(|(_, threads), executor| {
        let (name, out) = (unique(), TVar::new(0));
        let gate = TVar::named(name, false);
        let captured = (gate.clone(), out.clone());
        let retries = executor.transact("catches retry", move |tx| {
            let (gate, out) = &captured;
            let left = is_left(|| tx.guard(*tx.get(gate)));
            tx.set(out, i32::from(left));
            left
        });
        until_parked(name, 1);
        atomically(|tx| tx.set(&gate, true));
        assert_eq!((block_on(retries), out.with(|n| *n)), (Ok(false), 0));
        if threads == 1 {
            return;
        }
        let (runs, captured) = (Event::default(), (gate.clone(), out.clone()));
        let running = runs.clone();
        let transact = executor.transact("catches being taken back", move |tx| {
            let (gate, out) = &captured;
            running.store(true, SeqCst);
            assert!(is_left(|| until("it is left at a read", || !*tx.get(gate))));
            tx.set(out, 1);
            // Nor does anything that it does afterwards.
            is_left(|| tx.or_else(|tx| tx.guard(!*tx.get(gate)), |_| ())) && is_left(|| tx.retry())
        });
        has_happened(&runs);
        transact.cancel();
        assert_eq!(block_on(transact), Err(Failure::Cancelled));
        assert_eq!(out.with(|n| *n), 0);
    });
}

#[test]
fn a_thread_of_somebody_else_blocks_until_it_is_woken() {
    with_each(|_, executor| {
        let name = unique();
        let cell = TVar::named(name, 0);
        thread::scope(|scope| {
            let transaction = scope.spawn(|| {
                atomically(|tx| {
                    tx.guard(*tx.get(&cell) >= 2);
                    tx.modify(&cell, |n| *n += 10);
                });
            });
            let view = scope.spawn(|| {
                snapshot(|s| match *s.get(&cell) {
                    n if n >= 2 => n,
                    _ => s.retry(),
                })
            });
            for n in 1..3 {
                until_parked(name, 2);
                let report = parked_on(name).into_iter().map(|p| (p.handler, p.cells));
                assert!(report.eq([("", vec![name]), ("", vec![name])]));
                let cell = cell.clone();
                assert_eq!(executor.transact("set", move |tx| tx.set(&cell, n)).wait(), Ok(()));
            }
            transaction.join().expect("no panic");
            let seen = view.join().expect("no panic");
            assert!(seen == 2 || seen == 12, "{seen}");
        });
        assert_eq!(cell.with(|n| *n), 12);
    });
}

#[test]
fn one_of_two_queues() {
    type Queue = TVar<VecDeque<i32>>;
    with_each(|_, executor| {
        let names = [unique(), unique()];
        let (queues, tried) = (names.map(|name| Queue::named(name, VecDeque::new())), TVar::new(0));
        let take = || {
            let (queues, tried) = (queues.clone(), tried.clone());
            executor.transact("take", move |tx| {
                let pop = |queue: &Queue| {
                    tx.modify(&tried, |n| *n += 1);
                    let item = tx.modify(queue, VecDeque::pop_front);
                    item.unwrap_or_else(|| tx.retry())
                };
                tx.or_else(|_| pop(&queues[0]), |_| pop(&queues[1]))
            })
        };
        for (n, from) in [(1, 0), (2, 1), (3, 1), (4, 0)] {
            let taken = take();
            names.iter().for_each(|name| until_parked(name, 1));
            atomically(|tx| tx.modify(&queues[from], |queue| queue.push_back(n)));
            assert_eq!(block_on(taken), Ok(n));
            // The alternative that was left has tried nothing.
            assert_eq!(tried.with(|n| *n), n);
        }
    });
}

#[test]
fn a_write_that_does_not_match_parks_it_again() {
    const WRITES: usize = 100;
    with_each(|_, executor| {
        let (name, runs) = (unique(), Arc::new(AtomicUsize::new(0)));
        let cell = TVar::named(name, 0);
        let (read, counted) = (cell.clone(), Arc::clone(&runs));
        let transact = executor.transact("patient", move |tx| {
            counted.fetch_add(1, SeqCst);
            tx.guard(*tx.get(&read) > WRITES);
        });
        for n in 1..=WRITES {
            until_parked(name, 1);
            let ran = runs.load(SeqCst);
            atomically(|tx| tx.set(&cell, n));
            until("it has run again", || runs.load(SeqCst) > ran);
        }
        atomically(|tx| tx.set(&cell, WRITES + 1));
        assert_eq!(block_on(transact), Ok(()));
    });
}

#[test]
fn two_executors_wake_each_other() {
    const TURNS: u64 = 200;
    with_each(|_, first| {
        for kind in KINDS {
            println!("and {kind:?}");
            let (second, turn) = (executor(kind), TVar::new(0));
            let step = |n: u64| {
                let turn = turn.clone();
                let executor = if n.is_multiple_of(2) { &first } else { &second };
                executor.transact("step", move |tx| {
                    tx.guard(*tx.get(&turn) == n);
                    tx.set(&turn, n + 1);
                })
            };
            // Backwards, so that nearly all of them have to wait.
            let steps = (0..TURNS).rev().map(step).collect();
            assert!(block_on(join_all(steps)).iter().all(Result::is_ok));
            assert_eq!(turn.with(|n| *n), TURNS);
        }
    });
}
