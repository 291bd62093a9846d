//! The command line of the load generator.

use std::time::Duration;

use crate::{
    flags::{Flags, fail},
    url::Url,
};

/// What `--help` prints.
const USAGE: &str = "\
usage: load primes|counter|bank|astar --url URL [flags]

Asks a server of the examples as fast as it answers, and checks every answer.

  --url URL              where the server listens; for primes with its path: http://HOST:PORT/10000
  -c, --connections N    connections, each with one request at a time (50)
  -t, --seconds N        how long to go on (20); the first second counts like any other
  --seed N               fixes the requests of each connection (1)
  --json                 the result as one JSON object on standard output
  --pid N                process of the server: shows its cpu time per request
  --help                 this text

bank:
  --accounts N           what the server was started with (1000)
  --audits PERCENT       share of audits among the requests (0)
  --rounds N             rounds of each audit (1)
astar:
  --players N            players, each with a connection of its own (50); instead of -c
  --mix classic|writes   classic: move 85 %, wall 10.5 %, erase 0.45 %, show 4.05 % (default)
                         writes: move 50 %, wall 25 %, erase 25 %

Nobody else may use the counter or the bank meanwhile, or hold players named load-SEED-*.
Exit code 0: all answers were right; 1: some were not, or there were none; 2: wrong command line.";

/// Flags with a value. Every default is empty, which tells a given flag from one left out.
const KNOWN: [(&str, &str); 10] = [
    ("url", ""),
    ("connections", ""),
    ("seconds", ""),
    ("seed", ""),
    ("pid", ""),
    ("accounts", ""),
    ("audits", ""),
    ("rounds", ""),
    ("players", ""),
    ("mix", ""),
];

/// Which server is asked, with the flags of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// The primes below the number in the URL.
    Primes,
    /// The counter without gaps.
    Counter,
    /// Transfers and audits.
    Bank {
        /// Accounts of the server.
        accounts: u64,
        /// Audits in percent of the requests.
        audits: u64,
        /// Rounds of each audit.
        rounds: u64,
    },
    /// Players on a map.
    Astar {
        /// Shares of the requests.
        mix: Mix,
    },
}

/// Shares of the requests to `astar`, in 1/10,000; the rest shows the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mix {
    /// Moves of the own player.
    pub(crate) moves: u64,
    /// Walls built.
    pub(crate) walls: u64,
    /// Walls erased.
    pub(crate) erasures: u64,
}

/// The command line.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The subcommand as given.
    pub(crate) name: &'static str,
    /// The subcommand with its own flags.
    pub(crate) command: Command,
    /// Where the server listens.
    pub(crate) url: Url,
    /// Connections, and for `astar` players.
    pub(crate) connections: usize,
    /// How long requests are sent.
    pub(crate) length: Duration,
    /// Seed of all random numbers.
    pub(crate) seed: u64,
    /// Whether the result is JSON.
    pub(crate) json: bool,
    /// Process of the server.
    pub(crate) pid: Option<u64>,
}

impl Options {
    /// Reads the command line of this process; a wrong one ends it with exit code 2.
    pub(crate) fn parse() -> Options {
        let short = [('c', "connections"), ('t', "seconds")];
        let flags = Flags::parse(USAGE, &KNOWN, &short, &["json"], 1);
        let name = match flags.positional(0) {
            Some("primes") => "primes",
            Some("counter") => "counter",
            Some("bank") => "bank",
            Some("astar") => "astar",
            Some(other) => {
                fail(2, &format!("unknown command {other:?}: primes, counter, bank or astar"))
            }
            None => fail(2, "a command is missing: primes, counter, bank or astar"),
        };
        refuse_foreign_flags(&flags, name);
        let url = flags.optional("url").unwrap_or_else(|| fail(2, "flag --url is missing"));
        let url = Url::parse(url).unwrap_or_else(|message| fail(2, &message));
        let number = |flag, range, default| match flags.optional(flag) {
            Some(_) => flags.number(flag, range),
            None => default,
        };
        let players = if flags.optional("players").is_some() { "players" } else { "connections" };
        let command = match name {
            "primes" => Command::Primes,
            "counter" => Command::Counter,
            "bank" => Command::Bank {
                accounts: number("accounts", 2..=1_000_000, 1000),
                audits: number("audits", 0..=100, 0),
                rounds: number("rounds", 1..=1_000_000, 1),
            },
            _ => Command::Astar { mix: mix(&flags) },
        };
        Options {
            name,
            command,
            url,
            connections: number(players, 1..=10_000, 50) as usize,
            length: Duration::from_secs(number("seconds", 1..=86_400, 20)),
            seed: number("seed", 0..=u64::MAX, 1),
            json: flags.switch("json"),
            pid: flags.optional("pid").map(|_| flags.number("pid", 1..=u64::from(u32::MAX))),
        }
    }
}

/// Refuses flags that the command would ignore.
fn refuse_foreign_flags(flags: &Flags, name: &str) {
    let owned = [
        ("bank", "accounts"),
        ("bank", "audits"),
        ("bank", "rounds"),
        ("astar", "players"),
        ("astar", "mix"),
    ];
    for (owner, flag) in owned {
        if owner != name && flags.optional(flag).is_some() {
            fail(2, &format!("flag --{flag} is for {owner}, not for {name}"));
        }
    }
    if flags.optional("players").is_some() && flags.optional("connections").is_some() {
        fail(2, "flags --players and --connections mean the same here: give one of them");
    }
}

/// The shares that `--mix` names.
fn mix(flags: &Flags) -> Mix {
    let chosen = flags.optional("mix").map(|_| flags.one_of("mix", &["classic", "writes"]));
    match chosen {
        Some("writes") => Mix { moves: 5000, walls: 2500, erasures: 2500 },
        _ => Mix { moves: 8500, walls: 1050, erasures: 45 },
    }
}
