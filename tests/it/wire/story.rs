//! The story of the README: a log of the naive A-star server names the map, with both sides, and
//! readers are never among the losers.

use super::client::{Client, Server, example};
use std::{path::PathBuf, process::Command};

/// Drives an A-star server with the load generator, and paths beside it, and returns what
/// `stm-log` prints of it.
fn story(name: &str, flags: &[&str]) -> String {
    let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.stmlog"));
    let log = log.to_str().expect("a UTF-8 path");
    let server = Server::start("astar", &[flags, &["--threads", "2", "--log", log]].concat());
    let address = server.address();
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            Command::new(example("load"))
                .args(["astar", "--url", &format!("http://{address}"), "--players", "20"])
                .args(["-t", "3", "--mix", "writes", "--json"])
                .output()
                .expect("load runs")
        });
        let mut client = Client::connect(address);
        while !load.is_finished() {
            let path = client.ask("GET", "/path?from=0,0&to=99,99", "");
            assert!([200, 404].contains(&path.status), "{path:?}");
            assert_eq!(client.ask("GET", "/map", "").status, 200);
        }
        let load = load.join().expect("no panic");
        assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
    });
    server.stop();
    let shown = Command::new(env!("CARGO_BIN_EXE_stm-log")).args([log, "1000"]).output();
    let shown = shown.expect("stm-log runs");
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    String::from_utf8(shown.stdout).expect("UTF-8")
}

/// The handlers that lost, in order of the time they lost.
fn losers(shown: &str) -> Vec<&str> {
    let reads = shown.lines().filter(|line| line.trim_start().starts_with("read "));
    reads.map(|line| line.rsplit_once(" in ").expect("a handler").1).collect()
}

#[test]
fn the_naive_search_loses_on_the_map() {
    let shown = story("naive", &["--naive", "--cells", "map"]);
    let first = shown.split("\n1. ").nth(1).expect("a conflict");
    let first = first.split("\n2. ").next().expect("text");
    for part in [
        "write-read on cell `map`",
        "read   File \"examples/astar.rs\"",
        "in POST /players/{name}/move",
        "write  File \"examples/astar.rs\"",
        " /walls",
        "seen[block].get_or_insert_with",
        "tx.set(&world.walls[block], squares);",
    ] {
        assert!(first.contains(part), "no {part:?} in\n{shown}");
    }
    assert!(losers(&shown).iter().all(|loser| !loser.starts_with("GET ")), "{shown}");
}

#[test]
fn readers_never_lose() {
    for cells in ["map", "row", "tile"] {
        let shown = story(cells, &["--cells", cells]);
        assert!(!losers(&shown).is_empty(), "nothing conflicted:\n{shown}");
        assert!(losers(&shown).iter().all(|loser| !loser.starts_with("GET ")), "{shown}");
    }
}

#[test]
fn an_unreadable_log_is_one_line_and_exit_2() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let garbage = folder.join("garbage.stmlog");
    std::fs::write(&garbage, b"not a log at all, whatever its name says").expect("a file");
    let garbage = garbage.to_str().expect("a UTF-8 path");
    let missing = folder.join("missing.stmlog");
    let missing = missing.to_str().expect("a UTF-8 path");
    let folder = folder.to_str().expect("a UTF-8 path");
    for arguments in
        [&[garbage][..], &[missing], &[folder], &[], &["--bogus"], &[garbage, "0"], &[garbage, "x"]]
    {
        let shown = Command::new(env!("CARGO_BIN_EXE_stm-log")).args(arguments).output();
        let shown = shown.expect("stm-log runs");
        let text = String::from_utf8_lossy(&shown.stderr);
        assert_eq!(shown.status.code(), Some(2), "{arguments:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
        assert!(shown.stdout.is_empty(), "{arguments:?}");
    }
}
