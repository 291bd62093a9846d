//! The contest: plain loop and contenders take turns at a batch, and every outcome is checked.

use crate::{
    Mutex,
    handlers::{Cell, Count, Handler, Transfer, compute},
    report::{Case, Row, Unit, Who, spread},
    timed,
};
use std::{
    array, hint,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};
use txloop::{Executor, Order, Transaction, snapshot};

/// Both orders, and their names in the rows.
pub(crate) const ORDERS: [(Order, &str); 2] =
    [(Order::Commit, "commit"), (Order::Arrival, "arrival")];
/// Threads of the locks.
pub(crate) const LOCK_THREADS: usize = 2;
/// Handlers that a thread of the locks takes at once: about as many as a worker does.
const PORTION: usize = 16;

/// Rounds in which the machine itself is measured.
const CEILING_ROUNDS: usize = 5;

/// Handlers in the order of their arrival, and the numbers that they find.
pub(crate) struct Batch<H> {
    pub(crate) case: Case,
    pub(crate) handlers: Vec<H>,
    pub(crate) cells: Vec<u64>,
    /// What holds in every order.
    pub(crate) promise: Promise,
}

/// How much of an outcome is that of the plain loop.
#[derive(Clone, Copy)]
pub(crate) enum Promise {
    /// Answers and cells.
    All,
    /// The cells; and the answers, but whose they are depends on the order.
    Shuffled,
    /// The cells. The answers depend on the order.
    Cells,
    /// The sum of the cells.
    Total,
}

/// What handlers left behind.
struct Outcome {
    answers: Vec<u64>,
    cells: Vec<u64>,
}

impl Outcome {
    fn sorted(&self) -> Vec<u64> {
        let mut answers = self.answers.clone();
        answers.sort_unstable();
        answers
    }
}

/// One run of a batch.
struct Run {
    ns: f64,
    aborted: u64,
    outcome: Outcome,
}

/// Somebody who runs batches, and how that went.
pub(crate) struct Contender<'a> {
    who: Who,
    promise: Promise,
    run: Box<dyn Fn() -> Run + 'a>,
    ratios: Vec<f64>,
    aborted: u64,
}

impl Promise {
    /// # Panics
    /// When it is broken.
    fn check(self, who: &str, plain: &Outcome, found: &Outcome) {
        let same = |what: &str, plain: &[u64], found: &[u64]| {
            assert_eq!(plain.len(), found.len(), "{who}: the number of {what}s is wrong");
            if let Some(i) = (0..plain.len()).find(|&i| plain[i] != found[i]) {
                let (last, plain, found) = (plain.len() - 1, plain[i], found[i]);
                panic!("{who}: {what} {i} of 0 to {last} is {found}, in the plain loop {plain}");
            }
        };
        match self {
            Promise::All => {
                same("answer", &plain.answers, &found.answers);
                same("cell", &plain.cells, &found.cells);
            }
            Promise::Shuffled => {
                same("sorted answer", &plain.sorted(), &found.sorted());
                same("cell", &plain.cells, &found.cells);
            }
            Promise::Cells => same("cell", &plain.cells, &found.cells),
            // Wide enough for a balance that went below zero, which is a huge one.
            Promise::Total => {
                let total = |of: &Outcome| of.cells.iter().map(|&n| u128::from(n)).sum::<u128>();
                let (plain, found) = (total(plain), total(found));
                assert_eq!(found, plain, "{who}: the total of the cells is wrong");
            }
        }
    }
}

impl<H: Handler> Batch<H> {
    fn plain(&self) -> Run {
        let mut cells = self.cells.clone();
        let run = || self.handlers.iter().map(|handler| handler.plain(&mut cells)).collect();
        let (ns, answers) = timed(run);
        Run { ns, aborted: 0, outcome: Outcome { answers, cells } }
    }

    /// An executor for each order and number of threads.
    pub(crate) fn executors(&self, threads: &[usize]) -> Vec<Contender<'_>> {
        let mut contenders = Vec::new();
        for (order, name) in ORDERS {
            for &threads in threads {
                let executor = start(order, threads);
                contenders.push(Contender {
                    who: Who { backend: "txloop", order: Some(name), threads },
                    promise: if order == Order::Arrival { Promise::All } else { self.promise },
                    run: Box::new(move || self.run_on(&executor)),
                    ratios: Vec::new(),
                    aborted: 0,
                });
            }
        }
        contenders
    }

    /// Runs all on fresh cells. Making cells and closures is not timed, nor is reading the cells.
    fn run_on(&self, executor: &Executor) -> Run {
        let cells: Arc<[H::Cell]> = self.cells.iter().map(|&n| H::Cell::holding(n)).collect();
        let closure = |&handler: &H| {
            let captured = handler.capture(&cells);
            move |tx: &Transaction| handler.transact(&captured, tx)
        };
        let closures: Vec<_> = self.handlers.iter().map(closure).collect();
        let before = executor.stats();
        let (ns, answers) = timed(|| executor.run(self.case.test, closures));
        let after = executor.stats();
        let (ended, aborted) = (after.ended - before.ended, after.aborted - before.aborted);
        assert_eq!(ended, self.handlers.len() as u64, "not every handler ended once");
        let answers: Result<_, _> = answers.into_iter().collect();
        let answers = answers.unwrap_or_else(|panicked| panic!("a handler failed: {panicked}"));
        let cells = snapshot(|snapshot| cells.iter().map(|cell| cell.value(snapshot)).collect());
        Run { ns, aborted, outcome: Outcome { answers, cells } }
    }

    /// Two threads and one lock, held by a handler from its beginning to its end.
    pub(crate) fn mutex(&self) -> Contender<'_> {
        self.with_locks("mutex", || {
            let cells = Mutex::new(self.cells.clone());
            let lock = || cells.lock().unwrap_or_else(PoisonError::into_inner);
            let (ns, answers) = on_threads(&self.handlers, |handler| handler.plain(&mut lock()));
            let cells = lock().clone();
            Run { ns, aborted: 0, outcome: Outcome { answers, cells } }
        })
    }

    fn with_locks<'a>(
        &'a self,
        backend: &'static str,
        run: impl Fn() -> Run + 'a,
    ) -> Contender<'a> {
        Contender {
            who: Who { backend, order: None, threads: LOCK_THREADS },
            promise: self.promise,
            run: Box::new(run),
            ratios: Vec::new(),
            aborted: 0,
        }
    }
}

impl Batch<Transfer> {
    /// Two threads and a lock for each account.
    pub(crate) fn lock_each(&self) -> Contender<'_> {
        self.with_locks("lock_each", || {
            let accounts: Vec<_> = self.cells.iter().map(|&n| Mutex::new(n)).collect();
            let (ns, answers) = on_threads(&self.handlers, |handler| handler.locked(&accounts));
            let value =
                |account: &Mutex<u64>| *account.lock().unwrap_or_else(PoisonError::into_inner);
            let cells = accounts.iter().map(value).collect();
            Run { ns, aborted: 0, outcome: Outcome { answers, cells } }
        })
    }
}

/// Starts an executor.
pub(crate) fn start(order: Order, threads: usize) -> Executor {
    let executor = Executor::builder().threads(threads).order(order).build();
    executor.unwrap_or_else(|e| panic!("cannot start an executor: {e}"))
}

/// Runs handlers on threads that share them out as they go. The time is that of the whole, with the
/// start of the threads.
fn on_threads<H: Sync>(handlers: &[H], run: impl Fn(&H) -> u64 + Sync) -> (f64, Vec<u64>) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut answers = Vec::with_capacity(handlers.len());
        loop {
            // Relaxed: the handlers were there before the threads.
            let from = next.fetch_add(PORTION, Ordering::Relaxed);
            if from >= handlers.len() {
                return answers;
            }
            let portion = from..handlers.len().min(from + PORTION);
            answers.extend(portion.map(|i| (i, run(&handlers[i]))));
        }
    };
    let (ns, parts) = timed(|| {
        thread::scope(|scope| {
            let running: [_; LOCK_THREADS] = array::from_fn(|_| scope.spawn(work));
            running.map(|thread| thread.join().unwrap_or_else(|_| panic!("a handler panicked")))
        })
    });
    let mut answers = vec![0; handlers.len()];
    parts.into_iter().flatten().for_each(|(i, answer)| answers[i] = answer);
    (ns, answers)
}

/// How many times as fast as one thread are [`LOCK_THREADS`] that compute and share nothing: what
/// the machine has to give now, while others may use it. Median, least and greatest.
pub(crate) fn ceiling(handlers: &[Count]) -> [f64; 3] {
    let body = |handler: &Count| compute(handler.seed, handler.steps);
    let round = |_| {
        let (plain, expected) = timed(|| handlers.iter().map(body).collect::<Vec<_>>());
        let (found, answers) = on_threads(handlers, body);
        assert_eq!(answers, expected, "threads that share nothing are wrong");
        plain / found
    };
    spread((0..CEILING_ROUNDS).map(round).collect())
}

/// How long a line of memory takes to another thread and back, in ns: whatever two threads share
/// costs a multiple of it. On a virtual machine it changes with where its processors are just now.
/// Median, least and greatest.
pub(crate) fn round_trip() -> [f64; 3] {
    const TRIPS: u64 = 200;
    const CALLS: u64 = 50;
    const OVER: u64 = u64::MAX;
    let calls = AtomicU64::new(0);
    // Odd: called. Even: answered.
    let until = |is_so: &dyn Fn(u64) -> bool| {
        for look in 1_u32.. {
            match calls.load(Ordering::Acquire) {
                call if is_so(call) => return call,
                // Both may be on one processor.
                _ if look.is_multiple_of(1_000) => thread::yield_now(),
                _ => hint::spin_loop(),
            }
        }
        panic!("no answer");
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                match until(&|call| call % 2 == 1) {
                    OVER => return,
                    call => calls.store(call + 1, Ordering::Release),
                }
            }
        });
        let call = |n| {
            calls.store(2 * n + 1, Ordering::Release);
            until(&|call| call == 2 * n + 2);
        };
        let trips = (0..TRIPS).map(|trip| {
            let calls = trip * CALLS..(trip + 1) * CALLS;
            timed(|| calls.for_each(call)).0 / CALLS as f64
        });
        let trips = spread(trips.collect());
        calls.store(OVER, Ordering::Release);
        trips
    })
}

/// Lets plain loop and contenders take turns. Round 0 warms up, and is checked as well.
pub(crate) fn compare<H: Handler>(
    rounds: usize,
    batch: &Batch<H>,
    mut contenders: Vec<Contender<'_>>,
) -> Vec<Row> {
    let (case, handlers) = (batch.case, batch.handlers.len());
    eprintln!("{} ({}): {handlers} handlers", case.test, case.text());
    for round in 0..=rounds {
        for Contender { who, promise, run, ratios, aborted } in &mut contenders {
            let plain = batch.plain();
            let found = run();
            let Who { backend, order, threads } = *who;
            let order = order.map_or(String::new(), |order| format!("{order} order, "));
            let who = format!(
                "{} ({}) on {backend}, {order}threads {threads}, round {round}",
                case.test,
                case.text()
            );
            promise.check(&who, &plain.outcome, &found.outcome);
            if round > 0 {
                ratios.push(plain.ns / found.ns);
                *aborted += found.aborted;
            }
        }
    }
    if rounds == 0 {
        return Vec::new();
    }
    let row = |contender: Contender<'_>| {
        let Contender { who, ratios, aborted, .. } = contender;
        let aborts = who.order.map(|_| aborted as f64 / (rounds * handlers) as f64);
        Row::new(case, who, Unit::Speedup, ratios, aborts)
    };
    contenders.into_iter().map(row).collect()
}
