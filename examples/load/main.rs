//! `cargo run --release --example load -- primes --url http://127.0.0.1:8888/10000 -c 50 -t 20`
//!
//! A closed-loop load generator that checks every answer: `primes`, `counter`, `bank` and `astar`
//! ask the example servers of these names.

mod answer;
mod astar;
mod bank;
mod client;
mod counter;
mod cpu;
mod drive;
#[path = "../flags/mod.rs"]
mod flags;
mod histogram;
mod map;
mod options;
mod primes;
mod random;
mod report;
mod tally;
mod url;
mod wrong;

use crate::{
    drive::Run,
    flags::fail,
    options::{Command, Options},
};

/// Runs the command and prints its result.
fn main() {
    let options = Options::parse();
    match options.command {
        Command::Primes => finish(&options, primes::run(&options)),
        Command::Counter => finish(&options, counter::run(&options)),
        Command::Bank { accounts, audits, rounds } => {
            finish(&options, bank::run(&options, accounts, audits, rounds));
        }
        Command::Astar { mix } => finish(&options, astar::run(&options, mix)),
    }
}

/// Prints the result of a run, and ends with exit code 1 if anything went wrong.
fn finish<S>(options: &Options, run: Result<Run<S>, String>) {
    let run = run.unwrap_or_else(|message| fail(1, &message));
    match report::print(options, &run) {
        Ok(true) => {}
        Ok(false) => std::process::exit(1),
        Err(error) => fail(1, &format!("cannot print the result: {error}")),
    }
}
