//! Recordings that are cut off or changed: an error, or the part before, and never a panic.

use super::{Scratch, Shop, Twist, listen};
use crate::running::Running;
use crate::wire::client::Client;
use txloop::{ErrorKind, Replayed};

/// A small recording.
fn small() -> Vec<u8> {
    let file = Scratch::new();
    let running = Running::start(listen(Shop::new().app(Twist::None), 1, file.path()));
    let mut client = Client::connect(running.address);
    for target in ["/add/1/2", "/roll", "/later/1", "/put/4", "/take", "/panic/1", "/echo"] {
        client.ask("POST", target, "");
    }
    running.stop();
    std::fs::read(file.path()).expect("a recording")
}

fn replay(bytes: &[u8], file: &Scratch) -> txloop::Result<Replayed> {
    std::fs::write(file.path(), bytes).expect("a temporary file");
    Shop::new().app(Twist::None).replay(file.path())?.run()
}

#[test]
fn cut_at_every_byte() {
    let (whole, file) = (small(), Scratch::new());
    let replayed = replay(&whole, &file).expect("it is whole");
    assert_eq!((replayed.requests, replayed.answers_compared), (7, 7), "{replayed}");
    assert_eq!(replayed.incomplete, None);
    let (mut errors, mut parts, mut most) = (0, 0, 0);
    for len in 0..whole.len() {
        match replay(&whole[..len], &file) {
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Recording, "{len}: {e}");
                errors += 1;
                assert_eq!(errors, len + 1, "an error behind the header");
            }
            Ok(part) => {
                assert!(part.is_same() && part.incomplete.is_some(), "{len}: {part}");
                assert!(part.requests >= most, "less than of a shorter part");
                most = part.requests;
                parts += 1;
            }
        }
    }
    assert!(errors > 50 && parts > 50 && most == 7, "{errors} {parts} {most}");
}

#[test]
fn flipped_bytes() {
    let (whole, file) = (small(), Scratch::new());
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        match replay(&bytes, &file) {
            Err(e) => assert_eq!(e.kind(), ErrorKind::Recording, "{at}: {e}"),
            Ok(part) => assert!(part.is_same() && part.incomplete.is_some(), "{at}: {part}"),
        }
    }
}

#[test]
fn another_format_version() {
    let (mut bytes, file) = (small(), Scratch::new());
    bytes[8] = 77;
    let e = replay(&bytes, &file).expect_err("another version");
    assert!(e.to_string().ends_with("format version 77, but only version 1 can be read here"));
}
