//! cargo run --release --example counter
//!
//! One hot cell: every hit gets the next number, whatever the concurrency. With `--cell counter` a
//! hit only adds, which commutes: no hit waits for another or is run again, but none knows its
//! number either.

mod flags;
mod serving;

use serde::Serialize;
use txloop::{App, Handler, Json, Request, Response, Snapshot, StatusCode};
use txloop::{TCounter, TVar, write};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Serialize)]
struct Count {
    count: i64,
}

fn hit_cell(count: TVar<i64>) -> Handler {
    write(move |tx, _| {
        let next = tx.get(&count) + 1;
        tx.set(&count, next);
        Json(Count { count: next })
    })
}

fn hit_counter(count: TCounter) -> Handler {
    write(move |tx, _| {
        count.add(tx, 1);
        Response::new(StatusCode::NO_CONTENT)
    })
}

fn main() {
    let flags = serving::flags(
        "counter: one number that everybody increments",
        &[("cell", "tvar")],
        "  --cell KIND     tvar, or counter: hits commute and answer 204 (tvar)\n",
        &[],
    );
    let app = App::new().version_header(true);
    let app = match flags.one_of("cell", &["tvar", "counter"]) {
        "counter" => {
            let count = TCounter::named("count", 0);
            let shown = count.clone();
            let show = move |s: &Snapshot, _: &Request| Json(Count { count: shown.get(s) });
            app.get("/", show).post("/hit", hit_counter(count))
        }
        _ => {
            let count = TVar::named("count", 0);
            let shown = count.clone();
            let show = move |s: &Snapshot, _: &Request| Json(Count { count: *s.get(&shown) });
            app.get("/", show).post("/hit", hit_cell(count))
        }
    };
    serving::serve(app, &flags, &["/hit -X POST", "/"]);
}
