//! `load bank`: transfers move money, and no audit ever finds more or less of it.

use serde_json::json;

use crate::{
    answer::Answer,
    client::Client,
    drive::{Run, Script, Session, drive},
    options::Options,
    random::Random,
    wrong::Wrong,
};

/// What every account holds at the start.
const OPENING: u64 = 1000;

/// The largest amount of a transfer.
const MAX_AMOUNT: u64 = 100;

/// One connection's share.
struct Teller {
    /// Picks the requests.
    random: Random,
    /// Accounts of the server.
    accounts: u64,
    /// Audits in percent of the requests.
    audits: u64,
    /// Rounds of each audit.
    rounds: u64,
}

impl Script for Teller {
    fn step(&mut self, session: &mut Session) -> Result<(), Wrong> {
        let total = self.accounts * OPENING;
        if self.random.below(100) < self.audits {
            let answer = session.ask("GET", &format!("/audit/{}", self.rounds), None)?;
            check_audit(answer, total, self.rounds)?;
            session.tally.outcome("audits");
            return Ok(());
        }
        let from = self.random.below(self.accounts);
        let to = (from + 1 + self.random.below(self.accounts - 1)) % self.accounts;
        let amount = 1 + self.random.below(MAX_AMOUNT);
        let body = json!({ "from": from, "to": to, "amount": amount }).to_string();
        let answer = session.ask("POST", "/transfer", Some(&body))?;
        let outcome = check_transfer(answer, total, amount)?;
        session.tally.outcome(outcome);
        Ok(())
    }
}

/// Runs the command.
pub(crate) fn run(
    options: &Options,
    accounts: u64,
    audits: u64,
    rounds: u64,
) -> Result<Run<impl Script>, String> {
    let mut client = Client::connect(&options.url).map_err(|wrong| wrong.example)?;
    let total = accounts * OPENING;
    let mut audit = || {
        let answer = client.ask("GET", "/audit/1", None);
        answer.and_then(|answer| check_audit(answer, total, 1))
    };
    audit().map_err(|wrong| {
        format!("{} (are there {accounts} accounts?)", wrong.after("GET /audit/1").example)
    })?;
    let teller = |i| Teller { random: Random::new(options.seed, i), accounts, audits, rounds };
    let scripts = (0..options.connections as u64).map(teller).collect();
    let mut run = drive(options, scripts)?;
    if let Err(wrong) = audit() {
        run.tally.wrong(wrong.after("last GET /audit/1"));
    }
    Ok(run)
}

/// Checks an audit.
fn check_audit(answer: &Answer, total: u64, rounds: u64) -> Result<(), Wrong> {
    let [found_total, found_rounds] = answer.numbers(["total", "rounds"])?;
    if found_total != total {
        return Err(answer.wrong("wrong total"));
    }
    if found_rounds != rounds {
        return Err(answer.wrong("wrong rounds"));
    }
    Ok(())
}

/// Checks a transfer as far as one answer tells; says what became of it.
fn check_transfer(answer: &Answer, total: u64, amount: u64) -> Result<&'static str, Wrong> {
    if answer.status == 409 {
        return match answer.refusal()?.as_str() {
            "insufficient" => Ok("insufficient"),
            _ => Err(answer.wrong("unknown reason")),
        };
    }
    let [from, to] = answer.numbers(["from", "to"])?;
    // The receiver has the amount now, and two accounts never hold more than all do.
    if to < amount || from.checked_add(to).is_none_or(|sum| sum > total) {
        return Err(answer.wrong("impossible balance"));
    }
    Ok("transfers")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what an answer to a transfer of 10 among 2,000 in all is taken for.
    #[track_caller]
    fn check(status: u16, body: &str, expected: Result<&str, &str>) {
        let answer = Answer { status, body: body.as_bytes().to_vec(), ..Answer::default() };
        let found = check_transfer(&answer, 2000, 10).map_err(|wrong| wrong.kind);
        assert_eq!(found, expected.map_err(str::to_owned), "{body}");
    }

    #[test]
    fn transfers() {
        check(200, r#"{"from":990,"to":1010}"#, Ok("transfers"));
        check(200, r#"{"from":0,"to":2000}"#, Ok("transfers"));
        check(200, r#"{"from":1,"to":2000}"#, Err("impossible balance"));
        check(200, r#"{"from":990,"to":9}"#, Err("impossible balance"));
        check(200, r#"{"from":-1,"to":1010}"#, Err("unexpected fields"));
        check(200, r#"{"from":990.0,"to":1010}"#, Err("unexpected fields"));
        check(200, r#"{"from":990}"#, Err("unexpected fields"));
        check(200, "oops", Err("not json"));
        check(409, r#"{"error":"insufficient"}"#, Ok("insufficient"));
        check(409, r#"{"error":"busy"}"#, Err("unknown reason"));
        check(409, "{}", Err("409 without its reason"));
        check(500, "{}", Err("status 500"));
    }
}
