//! What the clients of the map ask: often about the same few squares, and sometimes nonsense.

use super::{
    super::history::{Message, Random},
    Square,
};
use std::fmt::Write;

/// Columns and rows of the map.
pub(super) const SIZE: usize = 48;

/// The players: as they are called, which is seldom as they are written in a path.
pub(super) const NAMES: [&str; 16] = [
    "ann",
    "Ann",
    "bob",
    "José",
    "a b",
    "100%",
    "x?y#z",
    "Ωmega",
    "\"quoted\"",
    "back\\slash",
    "move",
    "+",
    "..",
    "🚶",
    "walls",
    "0123456789012345678901234567890123456789012345678901234567890123",
];

/// Squares where many want to go, some of them walls at the start.
const BUSY: [Square; 5] = [(0, 0), (47, 47), (6, 24), (24, 24), (14, 32)];

/// Columns and rows with long walls: a gap that opens there makes many paths shorter.
const LINES: [usize; 4] = [8, 20, 31, 42];

/// Bad input: all of it is 400, whether the player exists or not.
const BAD: [(&str, &str, &str); 42] = [
    ("PUT", "/players/ann", r#"{"at":[48,0]}"#),
    ("PUT", "/players/ann", r#"{"at":[0,48]}"#),
    ("PUT", "/players/ann", r#"{"at":[1.0,2]}"#),
    ("PUT", "/players/ann", r#"{"at":[-1,2]}"#),
    ("PUT", "/players/ann", r#"{"at":[1]}"#),
    ("PUT", "/players/ann", r#"{"at":[1,2,3]}"#),
    ("PUT", "/players/ann", r#"{"at":"1,2"}"#),
    ("PUT", "/players/ann", r#"{"at":[1,2],"at":[1,2]}"#),
    ("PUT", "/players/ann", r#"{"at":[1,2]},"#),
    ("PUT", "/players/ann", "{}"),
    ("PUT", "/players/ann", ""),
    ("PUT", "/players/a%00", r#"{"at":[1,2]}"#),
    ("PUT", "/players/a%2Fb", r#"{"at":[1,2]}"#),
    ("PUT", "/players/%C2%80", r#"{"at":[1,2]}"#),
    (
        "PUT",
        "/players/01234567890123456789012345678901234567890123456789012345678901234",
        r#"{"at":[1,2]}"#,
    ),
    ("DELETE", "/players/%7f", ""),
    ("DELETE", "/players/%0A", ""),
    ("DELETE", "/players/a%2fb", ""),
    ("POST", "/players/nobody/move", r#"{"to":[48,0]}"#),
    ("POST", "/players/nobody/move", r#"{"at":[1,0]}"#),
    ("POST", "/players/nobody/move", ""),
    ("POST", "/players/ann/move", r#"{"to":[1e0,0]}"#),
    ("POST", "/players/%1F/move", r#"{"to":[1,0]}"#),
    ("PUT", "/walls", r#"{"from":[1,1],"to":[2,2]}"#),
    ("PUT", "/walls", r#"{"from":[1,1],"to":[1,48]}"#),
    ("PUT", "/walls", r#"{"from":[1,1]}"#),
    ("DELETE", "/walls", r#"{"from":[1,1],"to":[0,2]}"#),
    ("DELETE", "/walls", r#"{"from":[99,1],"to":[99,1]}"#),
    ("DELETE", "/walls", ""),
    ("GET", "/path", ""),
    ("GET", "/path?from=0,0", ""),
    ("GET", "/path?to=0,0", ""),
    ("GET", "/path?from=0,0&to=1,1&to=1,1", ""),
    ("GET", "/path?from=0,0&from=0,1&to=1,1", ""),
    ("GET", "/path?from=0,%200&to=1,1", ""),
    ("GET", "/path?from=0,0+&to=1,1", ""),
    ("GET", "/path?from=%2B1,0&to=1,1", ""),
    ("GET", "/path?from=1.0,0&to=1,1", ""),
    ("GET", "/path?from=,0&to=1,1", ""),
    ("GET", "/path?from=0,0,0&to=1,1", ""),
    ("GET", "/path?from=0&to=1,1", ""),
    ("GET", "/path?from=0,0&to=48,1", ""),
];

/// `name` is an index of [`NAMES`].
#[derive(Debug)]
pub(super) enum Ask {
    Map,
    /// `style`: in which of several ways the same is written.
    Path {
        from: Square,
        to: Square,
        style: usize,
    },
    /// `encoded`: percent signs also where they are not needed.
    Arrive {
        name: usize,
        at: Square,
        encoded: bool,
    },
    Move {
        name: usize,
        to: Square,
        encoded: bool,
    },
    Leave {
        name: usize,
        encoded: bool,
    },
    Walls {
        wall: bool,
        from: Square,
        to: Square,
    },
    Bad((&'static str, &'static str, &'static str)),
}

fn square(random: &mut Random) -> Square {
    match random.below(3) {
        0 => random.pick(&BUSY),
        _ => (random.below(SIZE), random.below(SIZE)),
    }
}

/// A horizontal or vertical segment, in either direction, often on one of the [`LINES`].
fn segment(random: &mut Random) -> (Square, Square) {
    let (line, longest) = match random.below(2) {
        0 => (random.pick(&LINES), SIZE / 2),
        _ => (random.below(SIZE), 6),
    };
    let start = random.below(SIZE);
    let end = (start + random.below(longest)).min(SIZE - 1);
    let (from, to) = if random.below(2) == 0 { (start, end) } else { (end, start) };
    match random.below(2) {
        0 => ((from, line), (to, line)),
        _ => ((line, from), (line, to)),
    }
}

/// A random request.
pub(super) fn choose(random: &mut Random) -> Ask {
    let kind = random.below(100);
    // The first few are asked for more often, so that requests for one player overlap.
    let among = random.pick(&[3, NAMES.len()]);
    let (name, encoded) = (random.below(among), random.below(4) == 0);
    match kind {
        0..4 => Ask::Map,
        4..16 => Ask::Path { from: square(random), to: square(random), style: random.below(5) },
        16..26 => Ask::Arrive { name, at: square(random), encoded },
        26..66 => Ask::Move { name, to: square(random), encoded },
        66..71 => Ask::Leave { name, encoded },
        71..95 => {
            let wall = kind < 84;
            let (from, to) = segment(random);
            Ask::Walls { wall, from, to }
        }
        _ => Ask::Bad(random.pick(&BAD)),
    }
}

fn player(name: usize, encoded: bool) -> String {
    let mut path = "/players/".to_owned();
    for byte in NAMES[name].bytes() {
        if byte.is_ascii_alphanumeric() && !encoded {
            path.push(char::from(byte));
        } else {
            write!(path, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    path
}

/// The request as it is sent.
pub(super) fn message(ask: &Ask) -> Message {
    match *ask {
        Ask::Map => Message::new("GET", "/map", String::new()),
        Ask::Path { from: (a, b), to: (x, y), style } => {
            let target = match style {
                0 => format!("/path?from={a}%2C{b}&to={x}%2c{y}"),
                1 => format!("/path?to={x},{y}&from={a},{b}"),
                2 => format!("/path?from=00{a},0{b}&to={x},{y}"),
                3 => format!("/path?z&from={a},{b}&From=7&to={x},{y}&=&to%20=1"),
                _ => format!("/path?from={a},{b}&to={x},{y}"),
            };
            Message::new("GET", target, String::new())
        }
        Ask::Arrive { name, at: (x, y), encoded } => {
            let body = format!(r#" {{"note":1e3, "at":[{x}, {y}]}} "#);
            Message::new("PUT", player(name, encoded), body)
        }
        Ask::Move { name, to: (x, y), encoded } => {
            let target = format!("{}/move", player(name, encoded));
            Message::new("POST", target, format!(r#"{{"to":[{x},{y}]}}"#))
        }
        Ask::Leave { name, encoded } => {
            Message::new("DELETE", player(name, encoded), String::new())
        }
        Ask::Walls { wall, from: (a, b), to: (x, y) } => {
            let body = format!(r#"{{"from":[{a},{b}],"to":[{x},{y}]}}"#);
            Message::new(if wall { "PUT" } else { "DELETE" }, "/walls", body)
        }
        Ask::Bad((method, target, body)) => Message::new(method, target, body.to_owned()),
    }
}
