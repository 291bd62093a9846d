//! `load primes`: every answer is the list of primes up to the number in the path.

use std::sync::Arc;

use serde_json::json;

use crate::{
    drive::{Run, Script, Session, drive},
    flags::fail,
    options::Options,
    wrong::Wrong,
};

/// The largest number that the server accepts.
const MAX: usize = 1_000_000;

/// One connection's share.
struct Primes {
    /// The answer that is right, as the server writes it.
    expected: Arc<str>,
}

impl Script for Primes {
    fn step(&mut self, session: &mut Session) -> Result<(), Wrong> {
        let answer = session.ask("GET", "", None)?;
        if answer.status == 200 && answer.body == self.expected.as_bytes() {
            return Ok(());
        }
        // Other spacing is still the right list, so the slow comparison decides.
        let expected: serde_json::Value = serde_json::from_str(&self.expected).unwrap_or_default();
        if answer.json(200)? == expected { Ok(()) } else { Err(answer.wrong("wrong primes")) }
    }
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<Run<impl Script>, String> {
    let digits = options.url.path.rsplit('/').next().unwrap_or_default();
    let n = digits.parse().ok().filter(|n| *n <= MAX && !digits.starts_with('+'));
    let n = n.unwrap_or_else(|| {
        fail(2, &format!("url of primes ends in {digits:?}, not in a number up to {MAX}"))
    });
    let expected: Arc<str> = json!({ "primes": primes(n) }).to_string().into();
    let script = || Primes { expected: Arc::clone(&expected) };
    drive(options, (0..options.connections).map(|_| script()).collect())
}

/// The primes up to `n`, by the sieve of Eratosthenes.
fn primes(n: usize) -> Vec<usize> {
    let mut composite = vec![false; n + 1];
    for factor in 2..=n.isqrt() {
        if !composite[factor] {
            (factor * factor..=n).step_by(factor).for_each(|multiple| composite[multiple] = true);
        }
    }
    (2..=n).filter(|n| !composite[*n]).collect()
}

#[cfg(test)]
mod tests {
    use super::primes;

    #[test]
    fn small_lists() {
        assert!(primes(0).is_empty());
        assert!(primes(1).is_empty());
        assert_eq!(primes(2), [2]);
        assert_eq!(primes(30), [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert_eq!(primes(10_000).len(), 1229);
    }
}
