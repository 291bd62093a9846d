//! cargo run --release --example counter
//!
//! One hot cell: every hit gets the next number, whatever the concurrency.

mod flags;
mod serving;

use serde::Serialize;
use txloop::{App, Json, Request, Snapshot, TVar, write};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Serialize)]
struct Count {
    count: u64,
}

fn main() {
    let flags = serving::flags("counter: one number that everybody increments", &[], "", &[]);
    let count = TVar::named("count", 0_u64);
    let shown = count.clone();
    let app = App::new()
        .version_header(true)
        .get("/", move |s: &Snapshot, _: &Request| Json(Count { count: *s.get(&shown) }))
        .post(
            "/hit",
            write(move |tx, _| {
                let next = tx.get(&count) + 1;
                tx.set(&count, next);
                Json(Count { count: next })
            }),
        );
    serving::serve(app, &flags, &["/hit -X POST", "/"]);
}
