//! cargo run --release --example primes -- --threads 2
//!
//! Primes by trial division: handlers that share nothing, to see what the runtime itself costs.

#[path = "../flags/mod.rs"]
mod flags;
#[path = "list.rs"]
mod list;
#[path = "../serving/mod.rs"]
mod serving;

use serde::Serialize;
use txloop::{App, Json, Request, Response, Snapshot, StatusCode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The largest number that is answered.
const MAX: u64 = 1_000_000;

#[derive(Serialize)]
struct Primes {
    primes: Vec<u64>,
}

fn primes_up_to(_: &Snapshot, request: &Request) -> Result<Json<Primes>, Response> {
    let n = request.param_number("n")?;
    if n > MAX {
        let text = format!("n must be at most {MAX}");
        return Err(Response::error(StatusCode::BAD_REQUEST, &text));
    }
    Ok(Json(Primes { primes: list::primes(n) }))
}

fn main() {
    let flags =
        serving::flags("primes: all primes up to a number, by trial division", &[], "", &[]);
    serving::serve(App::new().get("/{n}", primes_up_to), &flags, &["/10", "/10000"]);
}
