//! The bank against a vector of balances.

use super::history::{Message, Model, Random, Told, check, check_recorded};
use serde_json::json;

/// Few accounts, so that transfers meet.
const ACCOUNTS: usize = 6;
const START: i64 = 1_000;

/// Bad input: all of it is 400, whatever else could be said about it.
const BAD: [(&str, &str, &str); 32] = [
    ("POST", "/transfer", r#"{"from":2,"to":2,"amount":1}"#),
    ("POST", "/transfer", r#"{"from":6,"to":2,"amount":1}"#),
    ("POST", "/transfer", r#"{"from":0,"to":6,"amount":1}"#),
    ("POST", "/transfer", r#"{"from":-1,"to":2,"amount":1}"#),
    ("POST", "/transfer", r#"{"from":18446744073709551616,"to":2,"amount":1}"#),
    ("POST", "/transfer", r#"{"from":0,"to":1,"amount":0}"#),
    ("POST", "/transfer", r#"{"from":0,"to":1,"amount":-5}"#),
    ("POST", "/transfer", r#"{"from":0,"to":1,"amount":9223372036854775808}"#),
    ("POST", "/transfer", r#"{"from":0,"to":1,"amount":1.0}"#),
    ("POST", "/transfer", r#"{"from":0,"to":1,"amount":1e3}"#),
    ("POST", "/transfer", r#"{"from":0.0,"to":1,"amount":1}"#),
    ("POST", "/transfer", r#"{"from":0,"to":1,"amount":"1"}"#),
    ("POST", "/transfer", r#"{"from":0,"to":1,"amount":null}"#),
    ("POST", "/transfer", r#"{"from":0,"to":1}"#),
    ("POST", "/transfer", r#"{"from":0,"to":1,"amount":1,"amount":1}"#),
    ("POST", "/transfer", r#"{"from":0,"from":0,"to":1,"amount":1}"#),
    ("POST", "/transfer", r#"{"from":0,"to":1,"amount":1}x"#),
    ("POST", "/transfer", r#"{"from":0,"to":1,"amount":1}{}"#),
    ("POST", "/transfer", r#"{"from":0,"to":1,"amount":01}"#),
    ("POST", "/transfer", r#"{"from":0,"to":1,"amount":+1}"#),
    ("POST", "/transfer", r#"{"from":0,"to":1,"amount":1"#),
    ("POST", "/transfer", "7"),
    ("POST", "/transfer", ""),
    ("GET", "/balance/+1", ""),
    ("GET", "/balance/-1", ""),
    ("GET", "/balance/1.0", ""),
    ("GET", "/balance/x", ""),
    ("GET", "/balance/%20", ""),
    ("GET", "/audit/0", ""),
    ("GET", "/audit/1000001", ""),
    ("GET", "/audit/18446744073709551617", ""),
    ("GET", "/audit/1e1", ""),
];

#[derive(Debug)]
enum Ask {
    /// `note`: the length of a field that the bank reads over. It makes the handler slow, so that
    /// it runs on a worker, beside others.
    Transfer {
        from: usize,
        to: usize,
        amount: i64,
        note: usize,
    },
    Balance {
        id: usize,
        zeros: &'static str,
    },
    Audit {
        rounds: u64,
    },
    Bad((&'static str, &'static str, &'static str)),
}

#[derive(Clone)]
struct Bank {
    balances: Vec<i64>,
}

impl Model for Bank {
    type Ask = Ask;
    const EXAMPLE: &'static str = "bank";
    const OUTCOMES: &'static [&'static str] = &[
        "transfer 200",
        "transfer 409 insufficient",
        "balance 200",
        "balance 404",
        "audit 200",
        "bad 400",
    ];

    fn choose(random: &mut Random) -> Ask {
        match random.below(100) {
            0..50 => {
                let from = random.below(ACCOUNTS);
                let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
                let amount = match random.below(20) {
                    0 => i64::MAX,
                    1..5 => 1 + random.below(2_000) as i64,
                    _ => 1 + random.below(200) as i64,
                };
                let note = random.pick(&[0, 0, 10, 20_000, 40_000]);
                Ask::Transfer { from, to, amount, note }
            }
            50..70 => {
                let id = random.below(ACCOUNTS + 1);
                Ask::Balance { id, zeros: random.pick(&["", "", "00"]) }
            }
            70..85 => Ask::Audit { rounds: random.pick(&[1, 1, 2, 7, 500]) },
            _ => Ask::Bad(random.pick(&BAD)),
        }
    }

    fn at_the_end() -> Vec<Ask> {
        let balances = (0..ACCOUNTS).map(|id| Ask::Balance { id, zeros: "" });
        balances.chain([Ask::Audit { rounds: 1_000 }]).collect()
    }

    fn kind(ask: &Ask) -> &'static str {
        match ask {
            Ask::Transfer { .. } => "transfer",
            Ask::Balance { .. } => "balance",
            Ask::Audit { .. } => "audit",
            Ask::Bad(_) => "bad",
        }
    }

    fn message(ask: &Ask) -> Message {
        match ask {
            Ask::Transfer { from, to, amount, note } => {
                let note = if *note > 0 {
                    format!(r#","note":[{:?}]"#, "\\n".repeat(*note))
                } else {
                    String::new()
                };
                let body = format!(r#"{{"from":{from},"to":{to},"amount":{amount}{note}}}"#);
                Message::new("POST", "/transfer", body)
            }
            Ask::Balance { id, zeros } => {
                Message::new("GET", format!("/balance/{zeros}{id}"), String::new())
            }
            Ask::Audit { rounds } => Message::new("GET", format!("/audit/{rounds}"), String::new()),
            Ask::Bad((method, target, body)) => Message::new(method, *target, (*body).to_owned()),
        }
    }

    fn changes(ask: &Ask, told: &Told) -> bool {
        matches!(ask, Ask::Transfer { .. }) && told.status == 200
    }

    fn judge(&mut self, ask: &Ask, told: &Told) -> Result<(), String> {
        match *ask {
            Ask::Transfer { from, amount, .. } if self.balances[from] < amount => {
                told.must_be(409, &json!({ "error": "insufficient" }))
            }
            Ask::Transfer { from, to, amount, .. } => {
                self.balances[from] -= amount;
                self.balances[to] += amount;
                let (from, to) = (self.balances[from], self.balances[to]);
                told.must_be(200, &json!({ "from": from, "to": to }))
            }
            Ask::Balance { id, .. } => match self.balances.get(id) {
                Some(balance) => told.must_be(200, &json!({ "balance": balance })),
                None => told.must_fail(404),
            },
            Ask::Audit { rounds } => {
                let total: i64 = self.balances.iter().sum();
                assert_eq!(total, START * ACCOUNTS as i64, "the model keeps the sum");
                told.must_be(200, &json!({ "total": total, "rounds": rounds }))
            }
            Ask::Bad(_) => told.must_fail(400),
        }
    }
}

#[test]
fn bank_answers_as_if_one_by_one() {
    for (threads, seed) in [("1", 21), ("2", 22), ("4", 23)] {
        let model = Bank { balances: vec![START; ACCOUNTS] };
        check(&["--accounts", &ACCOUNTS.to_string(), "--threads", threads], &model, seed);
    }
}

#[test]
fn bank_in_arrival_order_is_recorded_and_replayed() {
    let model = Bank { balances: vec![START; ACCOUNTS] };
    check_recorded(&["--accounts", &ACCOUNTS.to_string()], model, 24);
}
