//! An application with a bit of everything a handler can do.

use crate::wire::history::Random;
use std::{
    panic::resume_unwind,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use txloop::{
    App, Request, Response, Snapshot, StatusCode, TLog, TVar, Transaction, search_then, snapshot,
    write,
};

const COUNTERS: usize = 5;
/// A path without a route.
pub(super) const NOWHERE: &str = "/nothing/here";

/// What is wrong with a shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twist {
    None,
    /// Counter 3 is a little off.
    AddsTwice,
    /// `/later` forgets its callback.
    NoCallback,
    /// There is no `/roll`.
    NoRoute,
}

#[derive(Clone)]
pub(super) struct Shop {
    counters: [TVar<u64>; COUNTERS],
    boxes: TVar<Vec<u64>>,
    put: TVar<u64>,
    never: TVar<bool>,
    /// What has happened, in order.
    log: TLog<String>,
}

/// The counters, the boxes, the log.
pub(super) type State = (Vec<u64>, Vec<u64>, Vec<String>);

/// Whether something has happened.
pub(super) fn is_there(state: &State, what: &str) -> bool {
    state.2.iter().any(|line| line.starts_with(what))
}

fn since(now: SystemTime) -> u128 {
    now.duration_since(UNIX_EPOCH).expect("after 1970").as_nanos()
}

impl Shop {
    pub(super) fn new() -> Self {
        Self {
            counters: std::array::from_fn(|i| TVar::new(i as u64)),
            boxes: TVar::new(Vec::new()),
            put: TVar::new(0),
            never: TVar::new(false),
            log: TLog::new(),
        }
    }

    pub(super) fn state(&self) -> State {
        snapshot(|s| {
            let counters = self.counters.iter().map(|cell| *s.get(cell)).collect();
            let mut log: Vec<String> = self.log.newest_first(s).cloned().collect();
            log.reverse();
            (counters, s.get(&self.boxes).clone(), log)
        })
    }

    fn note(&self, tx: &Transaction, text: String) {
        self.log.push(tx, text);
    }

    fn add(&self, tx: &Transaction, request: &Request, twist: Twist) -> Result<String, Response> {
        let (counter, n) = (request.param_number("counter")?, request.param_number("n")?);
        let twice = twist == Twist::AddsTwice && counter == 3;
        let n = if twice { n + 1 } else { n };
        let Some(cell) = self.counters.get(counter as usize) else {
            // Written, and rolled back.
            tx.set(&self.counters[0], 999);
            return Err(Response::error(StatusCode::NOT_FOUND, "no such counter"));
        };
        let sum = tx.modify(cell, |sum| {
            *sum = sum.wrapping_mul(31).wrapping_add(n);
            *sum
        });
        if sum.is_multiple_of(7) {
            self.note(tx, format!("refused {sum}"));
        }
        Ok(format!("{sum} is the sum"))
    }

    fn roll(&self, tx: &Transaction) -> String {
        let (dice, id) = (tx.rng().next_u64(), tx.unique_id());
        let text = format!("rolled {dice:x} {id:x} at {}", since(tx.now()));
        self.note(tx, text.clone());
        text
    }

    fn take(&self, tx: &Transaction) -> String {
        let mut boxes = tx.get(&self.boxes).clone();
        tx.guard(!boxes.is_empty());
        let taken = boxes.remove(0);
        tx.set(&self.boxes, boxes);
        self.note(tx, format!("taken {taken} at {} {}", since(tx.now()), tx.rng().below(1_000)));
        format!("{taken} was taken")
    }

    fn put(&self, tx: &Transaction, n: u64) -> String {
        tx.modify(&self.boxes, |boxes| boxes.push(n));
        tx.modify(&self.put, |put| *put += 1);
        format!("{} were put", tx.get(&self.put))
    }

    /// Asks for a callback that asks for a timer.
    fn later(&self, tx: &Transaction, n: u64) {
        // An alternative that is left takes back what it has asked for.
        tx.or_else(
            |tx| {
                tx.add_callback(|_| panic!("never asked for"));
                tx.retry()
            },
            |_| {},
        );
        let (shop, timed) = (self.clone(), self.clone());
        tx.add_callback(move |tx| {
            let inner = shop.clone();
            shop.note(tx, format!("nested {n} at {}", since(tx.now())));
            tx.call_later(Duration::from_micros(200), move |tx| {
                inner.put(tx, n);
            });
            if n.is_multiple_of(5) {
                resume_unwind(Box::new("a callback panics"));
            }
        });
        tx.call_later(Duration::from_micros(100 * (n % 4)), move |tx| {
            timed.note(tx, format!("timer {n} {:x}", tx.unique_id()));
        });
    }

    pub(super) fn app(&self, twist: Twist) -> App {
        let shops: [Self; 10] = std::array::from_fn(|_| self.clone());
        let [add, roll, take, put, later, panics, sum, waits, never, finds] = shops;
        let found = finds.clone();
        let app = App::new()
            .post("/add/{counter}/{n}", write(move |tx, req| add.add(tx, req, twist)))
            .post("/take", write(move |tx, _| take.take(tx)))
            .post(
                "/put/{n}",
                write(move |tx, req| Ok::<_, Response>(put.put(tx, req.param_number("n")?))),
            )
            .post(
                "/later/{n}",
                write(move |tx, req| {
                    let n = req.param_number("n")?;
                    if twist != Twist::NoCallback {
                        later.later(tx, n);
                    }
                    Ok::<_, Response>("later")
                }),
            )
            .post(
                "/panic/{n}",
                write(move |tx, req| -> () {
                    // Gone with the panic, the callback too.
                    panics.note(tx, "never seen".to_owned());
                    let noted = panics.clone();
                    tx.add_callback(move |tx| noted.note(tx, "noted later".to_owned()));
                    if req.param("n") != "0" {
                        resume_unwind(Box::new("a handler panics"));
                    }
                    panics.note(tx, "panicked not".to_owned());
                }),
            )
            .get("/sum", move |s: &Snapshot, _: &Request| {
                sum.counters.iter().map(|cell| *s.get(cell)).fold(0, u64::wrapping_add).to_string()
            })
            .get("/wait/{n}", move |s: &Snapshot, req: &Request| {
                let n = req.param_number("n")?;
                if *s.get(&waits.put) < n {
                    s.retry();
                }
                Ok::<_, Response>(format!("{n} were put"))
            })
            .post("/never", write(move |tx, _| tx.guard(*tx.get(&never.never))))
            .post(
                "/find",
                search_then(
                    move |s, _| finds.counters.iter().map(|cell| *s.get(cell)).max(),
                    move |tx, _, most: &Option<u64>| {
                        found.note(tx, format!("searched {most:?} at {}", since(tx.now())));
                        tx.set(&found.counters[4], most.unwrap_or(0) / 2);
                        format!("{most:?}")
                    },
                ),
            )
            .post(
                "/echo",
                write(|_, req| {
                    let text = String::from_utf8(req.body().to_vec());
                    let host = req.header("host").map_or(0, <[u8]>::len);
                    let text = text.map_err(|_| StatusCode::BAD_REQUEST)?;
                    Ok::<_, StatusCode>((StatusCode::CREATED, format!("{host} {text}")))
                }),
            );
        if twist == Twist::NoRoute {
            return app;
        }
        app.post("/roll", write(move |tx, _| roll.roll(tx)))
    }
}

/// A random request that does not wait.
pub(super) fn choose(random: &mut Random) -> (&'static str, String, String) {
    let n = random.below(50);
    let post = |target: String| ("POST", target, String::new());
    match random.below(100) {
        0..40 => post(format!("/add/{}/{n}", random.below(COUNTERS + 1))),
        40..50 => post("/roll".to_owned()),
        50..58 => post(format!("/put/{n}")),
        58..66 => post(format!("/later/{n}")),
        66..70 => post(format!("/panic/{}", random.below(3))),
        70..82 => ("GET", "/sum".to_owned(), String::new()),
        82..92 => post("/find".to_owned()),
        // Longer than what is kept of an answer.
        92..94 => ("POST", "/echo".to_owned(), "long ".repeat(1_000 + n)),
        94..97 => ("POST", "/echo?a=%20b".to_owned(), format!("{n}")),
        _ => ("GET", NOWHERE.to_owned(), String::new()),
    }
}
