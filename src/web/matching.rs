//! Recorded answers and those of a replay, brought together by ticket, whichever comes first.

use super::replay::Difference;
use crate::recording::Answer;
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::Arc,
};

/// The most differences that are kept: those of the lowest tickets.
pub(super) const MAX_DIFFERENCES: usize = 100;
/// Of a body so many bytes are shown, and so many of them before the first that differs.
const SHOWN: usize = 60;
const BEFORE: usize = 20;

struct Expected {
    answer: Answer,
    waited: bool,
    /// Whether no later ticket than those of the replay may have brought it about.
    own: bool,
}

struct Found {
    what: Arc<str>,
    answer: Answer,
    waited: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Matching {
    expected: HashMap<u64, Expected>,
    found: HashMap<u64, Found>,
    pub(super) compared: u64,
    /// Answers of read-only handlers that waited.
    pub(super) not_compared: u64,
    /// Those that a later ticket may have brought about.
    pub(super) unanswered: u64,
    pub(super) different: u64,
    pub(super) differences: BTreeMap<u64, Difference>,
}

impl Matching {
    /// The recording says so. `own`: it said so before the first ticket that is not replayed.
    pub(super) fn expect(&mut self, ticket: u64, answer: Answer, waited: bool, own: bool) {
        match self.found.remove(&ticket) {
            Some(found) => self.compare(ticket, &answer, waited, &found),
            None => {
                self.expected.insert(ticket, Expected { answer, waited, own });
            }
        }
    }

    /// The replay says so.
    pub(super) fn found(&mut self, ticket: u64, what: Arc<str>, answer: Answer, waited: bool) {
        let found = Found { what, answer: answer.cut(), waited };
        match self.expected.remove(&ticket) {
            Some(Expected { answer, waited, .. }) => {
                self.compare(ticket, &answer, waited, &found);
            }
            None => {
                self.found.insert(ticket, found);
            }
        }
    }

    /// The replay is over; `what` names those that it has not answered.
    pub(super) fn end(&mut self, what: impl Fn(u64) -> Option<Arc<str>>) {
        for (ticket, Expected { answer, waited, own }) in std::mem::take(&mut self.expected) {
            if !own {
                self.unanswered += 1;
            } else if waited {
                self.not_compared += 1;
            } else if let Some(what) = what(ticket) {
                self.compared += 1;
                self.differ(
                    ticket,
                    Difference {
                        ticket,
                        what: what.to_string(),
                        expected: shown(&answer, None, true),
                        found: "no answer: it called retry and still waits".to_owned(),
                        at: None,
                    },
                );
            }
        }
    }

    fn compare(&mut self, ticket: u64, answer: &Answer, waited: bool, found: &Found) {
        if waited && found.waited {
            self.not_compared += 1;
            return;
        }
        self.compared += 1;
        if *answer == found.answer && waited == found.waited {
            return;
        }
        let at = answer.body.iter().zip(&found.answer.body).position(|(a, b)| a != b);
        let shorter = answer.body.len().min(found.answer.body.len());
        let at = at.or_else(|| (answer.body.len() != found.answer.body.len()).then_some(shorter));
        let headers = answer.headers != found.answer.headers;
        let mut difference = Difference {
            ticket,
            what: found.what.to_string(),
            expected: shown(answer, at, headers),
            found: shown(&found.answer, at, headers),
            at: at.map(|at| at as u64),
        };
        let waits = " (after waiting in retry)";
        difference.expected += if waited { waits } else { "" };
        difference.found += if found.waited { waits } else { "" };
        self.differ(ticket, difference);
    }

    pub(super) fn differ(&mut self, ticket: u64, difference: Difference) {
        self.different += 1;
        self.differences.insert(ticket, difference);
        if self.differences.len() > MAX_DIFFERENCES {
            self.differences.pop_last();
        }
    }
}

/// An answer in one line: of its body what is around byte `at`.
fn shown(answer: &Answer, at: Option<usize>, headers: bool) -> String {
    let length = answer.whole.map_or(answer.body.len() as u64, |whole| whole.length);
    let mut text = format!("{}, {length} bytes", answer.status);
    // Writing to a string cannot fail.
    if headers {
        for (name, value) in &answer.headers {
            let _ = write!(text, ", {name}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
    }
    let from = at.unwrap_or(0).saturating_sub(BEFORE).min(answer.body.len());
    let to = (from + SHOWN).min(answer.body.len());
    let part = String::from_utf8_lossy(&answer.body[from..to]);
    let _ = match from {
        _ if part.is_empty() => Ok(()),
        0 => write!(text, ": {part:?}"),
        _ => write!(text, ", from byte {from}: {part:?}"),
    };
    if let Some(whole) = answer.whole {
        let _ = write!(text, ", CRC-32 {:08x}", whole.crc32);
    }
    text
}
