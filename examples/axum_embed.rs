//! cargo run --release --example axum_embed
//!
//! The interface of `bank` in an ordinary axum server on tokio. A transfer is a transaction on an
//! executor, awaited as a future; a read is a snapshot, taken in the async handler itself, for it
//! waits for nobody. `/wait/{id}/{amount}` is answered once the account has so much: until then its
//! transaction is parked, and a client that goes away takes it back.

mod flags;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State, rejection::BytesRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use flags::{Flags, fail};
use serde::{Deserialize, Serialize};
use std::{hint::black_box, io::Write, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use txloop::{Executor, ExecutorBuilder, Failure, MAX_THREADS, Order, TVar, snapshot};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What every account starts with.
const START: i64 = 1_000;
/// The most rounds of one audit.
const MAX_ROUNDS: u64 = 1_000_000;
/// The longest body of a request.
const MAX_BODY: usize = 1 << 20;

const USAGE: &str = "axum_embed: the bank on axum, and requests that wait for money

  --accounts N    how many accounts, 2 to 1000000 (1000)
  --limit N       how many seconds /wait waits at most (30)
  --listen ADDR   where to listen (127.0.0.1:8888; port 0 picks a free one)
  --threads N     how many transactions can run at once (all cores)
  --order ORDER   commit, or arrival: as one thread would have answered (commit)
  --log FILE      write a conflict log, for stm-log
  --help          this text";
const FLAGS: [(&str, &str); 6] = [
    ("accounts", "1000"),
    ("limit", "30"),
    ("listen", "127.0.0.1:8888"),
    ("threads", ""),
    ("order", "commit"),
    ("log", ""),
];

struct Bank {
    accounts: Vec<TVar<i64>>,
    /// Set when the server ends. Whoever waits has read it, so setting it wakes them all.
    closing: TVar<bool>,
    limit: Duration,
    executor: Executor,
}

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

/// An answer other than what was asked for.
struct Refusal(StatusCode, String);

type Answer<T> = Result<Json<T>, Refusal>;

fn refusal(status: StatusCode, text: impl ToString) -> Refusal {
    Refusal(status, text.to_string())
}

fn bad(text: impl ToString) -> Refusal {
    refusal(StatusCode::BAD_REQUEST, text)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        refusal(rejection.status(), rejection.body_text())
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Late => refusal(StatusCode::SERVICE_UNAVAILABLE, "too late"),
            Failure::Overloaded => refusal(StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            other => refusal(StatusCode::INTERNAL_SERVER_ERROR, other),
        }
    }
}

/// A number written in plain digits.
fn number(name: &str, text: &str) -> Result<u64, Refusal> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| plain);
    number.ok_or_else(|| bad(format!("{name} must be a plain number")))
}

fn transfer_of(body: &[u8]) -> Result<Transfer, Refusal> {
    // A struct would also be read from an array of its fields.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(bad("invalid JSON: expected an object"));
    }
    // Checked as a whole: a field that is skipped would not be.
    let text = std::str::from_utf8(body).map_err(|e| bad(format!("invalid JSON: {e}")))?;
    serde_json::from_str(text).map_err(|e| bad(format!("invalid JSON: {e}")))
}

impl Bank {
    fn account(&self, id: &str) -> Result<&TVar<i64>, Refusal> {
        let id = usize::try_from(number("id", id)?).ok();
        let account = id.and_then(|id| self.accounts.get(id));
        account.ok_or_else(|| refusal(StatusCode::NOT_FOUND, "unknown account"))
    }
}

async fn transfer(
    State(bank): State<Arc<Bank>>,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Balances> {
    let Transfer { from, to, amount } = transfer_of(&body?)?;
    let (Some(payer), Some(payee)) = (bank.accounts.get(from), bank.accounts.get(to)) else {
        return Err(bad("unknown account"));
    };
    if from == to {
        return Err(bad("from and to are the same account"));
    }
    if amount < 1 {
        return Err(bad("amount must be at least 1"));
    }
    let (payer, payee) = (payer.clone(), payee.clone());
    let transfer = bank.executor.transact("transfer", move |tx| {
        let balance = *tx.get(&payer);
        if balance < amount {
            return None;
        }
        tx.set(&payer, balance - amount);
        tx.set(&payee, tx.get(&payee) + amount);
        Some(Balances { from: *tx.get(&payer), to: *tx.get(&payee) })
    });
    let balances = transfer.cancel_on_drop().await?;
    balances.map(Json).ok_or_else(|| refusal(StatusCode::CONFLICT, "insufficient"))
}

async fn balance(State(bank): State<Arc<Bank>>, Path(id): Path<String>) -> Answer<Balance> {
    let balance = snapshot(|s| bank.account(&id).map(|account| *s.get(account)))?;
    Ok(Json(Balance { balance }))
}

async fn audit(State(bank): State<Arc<Bank>>, Path(rounds): Path<String>) -> Answer<Audit> {
    let rounds = number("rounds", &rounds)?;
    if !(1..=MAX_ROUNDS).contains(&rounds) {
        return Err(bad(format!("rounds must be 1 to {MAX_ROUNDS}")));
    }
    let total = snapshot(|s| {
        let (mut total, mut mixed) = (0, 0_i64);
        for _ in 0..rounds {
            total = bank.accounts.iter().map(|account| *s.get(account)).sum();
            mixed = mixed.rotate_left(5) ^ black_box(total);
        }
        black_box(mixed);
        total
    });
    Ok(Json(Audit { total, rounds }))
}

async fn wait(
    State(bank): State<Arc<Bank>>,
    Path((id, amount)): Path<(String, String)>,
) -> Answer<Balance> {
    // More than an account can hold is waited for like anything else.
    let amount = i64::try_from(number("amount", &amount)?).unwrap_or(i64::MAX);
    let (account, closing) = (bank.account(&id)?.clone(), bank.closing.clone());
    let wait = bank.executor.transact("wait", move |tx| {
        if *tx.get(&closing) {
            return None;
        }
        let balance = *tx.get(&account);
        // Not enough yet: parked here until somebody writes one of the two cells.
        tx.guard(balance >= amount);
        Some(Balance { balance })
    });
    let balance = wait.within(bank.limit).cancel_on_drop().await?;
    balance.map(Json).ok_or_else(|| refusal(StatusCode::SERVICE_UNAVAILABLE, "the server ends"))
}

fn router(bank: Arc<Bank>) -> Router {
    Router::new()
        .route("/transfer", post(transfer))
        .route("/balance/{id}", get(balance))
        .route("/audit/{rounds}", get(audit))
        .route("/wait/{id}/{amount}", get(wait))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "not found") })
        .method_not_allowed_fallback(|| async {
            refusal(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(bank)
}

fn executor(flags: &Flags) -> ExecutorBuilder {
    let mut builder = Executor::builder();
    if flags.one_of("order", &["commit", "arrival"]) == "arrival" {
        builder = builder.order(Order::Arrival);
    }
    if flags.optional("threads").is_some() {
        builder = builder.threads(flags.number("threads", 1..=MAX_THREADS as u64) as usize);
    }
    if let Some(file) = flags.optional("log") {
        builder = builder.log(file);
    }
    builder
}

/// Serves until SIGTERM or SIGINT, and then until what was asked is answered.
async fn serve(listener: TcpListener, bank: Arc<Bank>) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let address = listener.local_addr()?;
    let mut out = std::io::stdout().lock();
    // Whoever started the server waits for this line, so it must not stay in a buffer.
    let shown = writeln!(out, "listening on http://{address}").and_then(|()| out.flush());
    drop(out);
    if shown.is_ok() {
        eprintln!("curl http://{address}/wait/1/1005");
        eprintln!("curl http://{address}/transfer -d '{{\"from\":0,\"to\":1,\"amount\":5}}'");
        eprintln!("curl http://{address}/audit/1");
    }
    let closing = Arc::clone(&bank);
    let stopped = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let cell = closing.closing.clone();
        // It cannot fail, and if it did, those who wait would do so to their limit.
        let _ = closing.executor.transact("close", move |tx| tx.set(&cell, true)).await;
    };
    axum::serve(listener, router(bank)).with_graceful_shutdown(stopped).await
}

/// Ends the program: with 2 if the command line is to blame.
fn refuse(address: &str, error: &std::io::Error) -> ! {
    let code = if error.kind() == std::io::ErrorKind::InvalidInput { 2 } else { 1 };
    fail(code, &format!("cannot serve on {address}: {error}"))
}

#[tokio::main]
async fn main() {
    let flags = Flags::parse(USAGE, &FLAGS, &[], &[], 0);
    let accounts = flags.number("accounts", 2..=1_000_000);
    let limit = Duration::from_secs(flags.number("limit", 1..=86_400));
    let (builder, address) = (executor(&flags), flags.text("listen"));
    // Before a log is replaced: a second server on one port does no harm to the first.
    let listener = TcpListener::bind(address).await.unwrap_or_else(|e| refuse(address, &e));
    let bank = Arc::new(Bank {
        accounts: (0..accounts).map(|_| TVar::named("account", START)).collect(),
        closing: TVar::named("closing", false),
        limit,
        executor: builder.build().unwrap_or_else(|e| fail(1, &e.to_string())),
    });
    serve(listener, bank).await.unwrap_or_else(|e| refuse(address, &e));
}
