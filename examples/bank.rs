//! cargo run --release --example bank -- --accounts 1000
//!
//! Transfers between accounts, one cell each, and audits that read them all while transfers go on.

mod flags;
mod serving;

use serde::{Deserialize, Serialize};
use std::{hint::black_box, sync::Arc};
use txloop::{App, Json, Request, Response, Snapshot, StatusCode, TVar, Transaction};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What every account starts with.
const START: i64 = 1_000;
/// The most rounds of one audit.
const MAX_ROUNDS: u64 = 1_000_000;

type Accounts = Arc<[TVar<i64>]>;

#[derive(Deserialize)]
struct Transfer {
    from: usize,
    to: usize,
    amount: i64,
}

#[derive(Serialize)]
struct Balances {
    from: i64,
    to: i64,
}

#[derive(Serialize)]
struct Balance {
    balance: i64,
}

#[derive(Serialize)]
struct Audit {
    total: i64,
    rounds: u64,
}

fn transfer(
    accounts: &Accounts,
    tx: &Transaction,
    request: &Request,
) -> Result<Json<Balances>, Response> {
    let Transfer { from, to, amount } = request.json_object()?;
    let bad = |text| Response::error(StatusCode::BAD_REQUEST, text);
    let (Some(payer), Some(payee)) = (accounts.get(from), accounts.get(to)) else {
        return Err(bad("unknown account"));
    };
    if from == to {
        return Err(bad("from and to are the same account"));
    }
    if amount < 1 {
        return Err(bad("amount must be at least 1"));
    }
    let balance = *tx.get(payer);
    if balance < amount {
        return Err(Response::error(StatusCode::CONFLICT, "insufficient"));
    }
    tx.set(payer, balance - amount);
    tx.set(payee, tx.get(payee) + amount);
    Ok(Json(Balances { from: *tx.get(payer), to: *tx.get(payee) }))
}

fn balance(
    accounts: &Accounts,
    view: &Snapshot,
    request: &Request,
) -> Result<Json<Balance>, Response> {
    let id = request.param_number("id")?;
    match usize::try_from(id).ok().and_then(|id| accounts.get(id)) {
        Some(account) => Ok(Json(Balance { balance: *view.get(account) })),
        None => Err(Response::error(StatusCode::NOT_FOUND, "unknown account")),
    }
}

fn audit(accounts: &Accounts, view: &Snapshot, request: &Request) -> Result<Json<Audit>, Response> {
    let rounds = request.param_number("rounds")?;
    if !(1..=MAX_ROUNDS).contains(&rounds) {
        let text = format!("rounds must be 1 to {MAX_ROUNDS}");
        return Err(Response::error(StatusCode::BAD_REQUEST, &text));
    }
    let (mut total, mut mixed) = (0, 0_i64);
    for _ in 0..rounds {
        total = accounts.iter().map(|account| *view.get(account)).sum();
        mixed = mixed.rotate_left(5) ^ black_box(total);
    }
    black_box(mixed);
    Ok(Json(Audit { total, rounds }))
}

fn main() {
    let flags = serving::flags(
        "bank: transfers between accounts, and audits",
        &[("accounts", "1000")],
        "  --accounts N    how many accounts, 2 to 1000000 (1000)\n",
        &[],
    );
    let count = flags.number("accounts", 2..=1_000_000);
    let accounts: Accounts = (0..count).map(|_| TVar::named("account", START)).collect();
    let (a, b, c) = (accounts.clone(), accounts.clone(), accounts);
    let app = App::new()
        .version_header(true)
        .post("/transfer", move |tx: &Transaction, req: &Request| transfer(&a, tx, req))
        .get("/balance/{id}", move |s: &Snapshot, req: &Request| balance(&b, s, req))
        .get("/audit/{rounds}", move |s: &Snapshot, req: &Request| audit(&c, s, req));
    let try_these = [r#"/transfer -d '{"from":0,"to":1,"amount":5}'"#, "/balance/1", "/audit/1"];
    serving::serve(app, &flags, &try_these);
}
