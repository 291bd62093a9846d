//! The counter against a number: the answers are 1, 2, 3 ... without a gap or a repeat.

use super::history::{Message, Model, Random, Told, check, check_recorded};
use serde_json::json;

#[derive(Debug, Clone, Copy)]
enum Ask {
    Hit,
    Read,
    Head,
}

#[derive(Clone, Default)]
struct Counter {
    count: u64,
}

impl Model for Counter {
    type Ask = Ask;
    const EXAMPLE: &'static str = "counter";
    const OUTCOMES: &'static [&'static str] = &["hit 200", "read 200", "head 200"];

    fn choose(random: &mut Random) -> Ask {
        random.pick(&[Ask::Hit, Ask::Hit, Ask::Hit, Ask::Read, Ask::Read, Ask::Head])
    }

    fn at_the_end() -> Vec<Ask> {
        vec![Ask::Read, Ask::Hit, Ask::Head]
    }

    fn kind(ask: &Ask) -> &'static str {
        match ask {
            Ask::Hit => "hit",
            Ask::Read => "read",
            Ask::Head => "head",
        }
    }

    fn message(ask: &Ask) -> Message {
        match ask {
            Ask::Hit => Message::new("POST", "/hit", String::new()),
            Ask::Read => Message::new("GET", "/", String::new()),
            Ask::Head => Message::new("HEAD", "/?x=1", String::new()),
        }
    }

    fn changes(ask: &Ask, _: &Told) -> bool {
        matches!(ask, Ask::Hit)
    }

    fn judge(&mut self, ask: &Ask, told: &Told) -> Result<(), String> {
        self.count += u64::from(matches!(ask, Ask::Hit));
        let right = json!({ "count": self.count });
        if !matches!(ask, Ask::Head) {
            return told.must_be(200, &right);
        }
        let length = right.to_string().len();
        let good = told.status == 200 && told.text.is_empty() && told.length == length;
        if good { Ok(()) } else { Err(format!("200, no body, Content-Length {length} of {right}")) }
    }
}

#[test]
fn counter_counts_without_a_gap() {
    for (threads, seed) in [("1", 11), ("2", 12), ("4", 13)] {
        check(&["--threads", threads], &Counter::default(), seed);
    }
}

#[test]
fn counter_in_arrival_order_is_recorded_and_replayed() {
    check_recorded(&[], Counter::default(), 14);
}
