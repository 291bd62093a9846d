//! Tests of the report: whole screens as literals, and logs that nobody wrote in good faith.

use proptest::{collection::vec, prelude::*};

use super::{account, print, report, run, source};
use crate::{
    conflict_log::{
        AttemptRecord, ConflictKind, ConflictRecord, Header, Log, NameId, Outcome, PlaceId, Record,
        Side, temporary_path, test_block, test_log,
    },
    error::ErrorKind,
};

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
/// The worker of the writer's own blocks.
const TABLES: u16 = u16::MAX;

fn name(id: u32, text: &str) -> Record {
    Record::Name { id: NameId(id), text: text.to_owned() }
}

fn place(id: u32, file: &str, line: u32) -> Record {
    Record::Place { id: PlaceId(id), file: file.to_owned(), line, column: 5 }
}

fn attempt(start_ns: u64, took_ns: u64, attempt: u32, outcome: Outcome) -> Record {
    let (ticket, version) = (start_ns / MS, start_ns / MS);
    let end_ns = start_ns + took_ns;
    let handler = NameId(1);
    Record::Attempt(
        0,
        AttemptRecord { handler, ticket, version, attempt, start_ns, end_ns, outcome },
    )
}

fn conflict(kind: ConflictKind, at_ns: u64, lost_ns: u64, cell: (u32, u32)) -> ConflictRecord {
    ConflictRecord {
        kind,
        ticket: 1,
        attempt: 1,
        at_ns,
        lost_ns,
        cell_name: NameId(cell.0),
        cell_type: NameId(cell.1),
        cell_id: 4,
        loser: Side::default(),
        winner: Side::default(),
    }
}

fn side(handler: u32, place: u32) -> Side {
    Side { handler: NameId(handler), place: PlaceId(place) }
}

/// The report of some bytes, without source files.
fn screen(log: &[u8], top: usize) -> String {
    report("a.stmlog", log, None, top).expect("a log")
}

/// The report of some bytes, with source lines from `lines`.
fn screen_with(log: &[u8], lines: &mut print::Lines<'_>) -> String {
    print::screen("a.stmlog", &account("a.stmlog", log, None, 5).expect("a log"), lines)
}

fn opened_at(mono_ns: u64, threads: u32) -> Header {
    Header::new(1_800_000_000 * SECOND, mono_ns, threads)
}

/// Ten seconds of two threads: conflicts of several kinds, the last at the very end.
fn busy_log() -> Vec<u8> {
    let tables = [
        name(1, "move"),
        name(2, "put_walls"),
        name(3, "map"),
        name(4, "alloc::vec::Vec<astar::Row>"),
        name(5, "total\x1b[2J"),
        place(1, "examples/nowhere/astar.rs", 210),
        place(2, "examples/nowhere/astar.rs", 255),
    ];
    let mut first = Vec::new();
    for number in 0..1200 {
        let start = SECOND + number * 7 * MS;
        first.push(attempt(start, 5 * MS, 1 + u32::from(number % 10 == 0), Outcome::Committed));
        if number % 10 == 0 {
            first.push(attempt(start + 5 * MS, 2 * MS, 1, Outcome::Aborted));
            let at = start + 7 * MS;
            let mut record = conflict(ConflictKind::WriteRead, at, 2 * MS, (3, 4));
            (record.loser, record.winner) = (side(1, 1), side(2, 2));
            first.push(Record::Conflict(0, record));
        }
    }
    let waits = [
        attempt(2 * SECOND, MS, 3, Outcome::ReadOnly),
        attempt(3 * SECOND, MS, 1, Outcome::RolledBack),
        attempt(4 * SECOND, MS, 1, Outcome::Panicked),
        Record::Conflict(1, conflict(ConflictKind::TurnWait, 5 * SECOND, 90 * MS, (0, 0))),
        Record::Conflict(1, conflict(ConflictKind::UserRetry, 11 * SECOND, MS, (0, 4))),
        Record::Conflict(1, conflict(ConflictKind::Cancelled, 11 * SECOND, 0, (5, 0))),
    ];
    let dropped = [Record::Dropped { count: 12 }];
    let blocks: [(u16, &[Record]); 4] =
        [(TABLES, &tables), (0, &first), (1, &waits), (TABLES, &dropped)];
    test_log(&opened_at(SECOND, 2), &blocks, Some((11 * SECOND, 1446)))
}

#[track_caller]
fn check(actual: &str, expected: &str) {
    let expected = expected.trim_start_matches('\n');
    assert!(actual == expected, "--- actual\n{actual}\n--- expected\n{expected}");
}

#[test]
fn the_screen_of_a_busy_log() {
    check(
        &screen(&busy_log(), 3),
        r#"
log of a.stmlog: 10.000 s real time, 2 threads, 20.000 s of thread time
  committed        6.003 s ( 30.0%)   1,203 attempts
  aborted          0.240 s (  1.2%)     120 attempts
  idle or waiting 13.757 s ( 68.8%)
  busy: thread 0 62.4%, thread 1 0.0%
transactions: 1,203, 120 per second; attempts each: 1: 89.9%  2: 10.0%  3+: 0.1%
  of these 1 read-only, 1 rolled back, 1 panicked
top 3 of 4 conflicts, by time lost:

1. 240.000 ms lost in aborts, 120 x write-read on cell `map` (Vec<Row>)
     read   File "examples/nowhere/astar.rs", line 210, in move
     write  File "examples/nowhere/astar.rs", line 255, in put_walls
   time line: |XxXxxXxxXxXxxXxxXxXxxXxXxxXxxXxXxxXxxXxXxxXxXxxXxx_         |

2. 90.000 ms lost waiting, 1 x turn wait
   time line: |                        X                                   |

3. 1.000 ms lost in aborts, 1 x user retry on a cell of type Vec<Row>
   time line: |                                                           X|

note: 12 records were dropped while recording: attempts and conflicts are missing above
"#,
    );
}

#[test]
fn source_lines_are_shown_where_there_are_some() {
    let log = busy_log();
    let text = screen_with(&log, &mut |file, line| {
        assert_eq!(file, "examples/nowhere/astar.rs");
        Some(if line == 210 {
            "\tlet row = view.get(&map[y]);  ".to_owned()
        } else {
            "w".repeat(101)
        })
    });
    let long = "w".repeat(97);
    for line in ["let row = view.get(&map[y]);".to_owned(), format!("{long}...")] {
        let line = format!("\n              {line}\n");
        assert!(text.contains(&line), "{line} in\n{text}");
    }
}

#[test]
fn a_source_line_is_read_from_a_regular_file_only() {
    let path = temporary_path();
    std::fs::write(&path, b"one\n  two\t\n\xff").expect("written");
    let file = path.to_str().expect("a plain name");
    let lines = [0, 1, 2, 3, 4].map(|number| source::line(file, number));
    std::fs::remove_file(&path).expect("removed");
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(lines, [None, text("one"), text("two"), text("\u{fffd}"), None]);
    assert_eq!(source::line(file, 1), None);
    assert_eq!(source::line("/", 1), None);
}

#[test]
fn an_empty_log_is_fine() {
    let text = screen(&test_log(&opened_at(5, 4), &[], None), 5);
    check(
        &text,
        r#"
log of a.stmlog: 0.000 s real time, 4 threads, 0.000 s of thread time
  committed       0.000 s (  0.0%)   0 attempts
  aborted         0.000 s (  0.0%)   0 attempts
  idle or waiting 0.000 s (  0.0%)
transactions: none
no conflicts

note: the log has no end record: the program was killed or still runs
"#,
    );
}

#[test]
fn a_log_of_one_moment_is_fine() {
    let records = [
        Record::Conflict(0, conflict(ConflictKind::WriteRead, 5, 0, (0, 0))),
        attempt(5, 0, 1, Outcome::Aborted),
    ];
    let text = screen(&test_log(&opened_at(5, 0), &[(0, &records)], Some((5, 2))), 5);
    check(
        &text,
        r#"
log of a.stmlog: 0.000 s real time, 1 thread, 0.000 s of thread time
  committed       0.000 s (  0.0%)   0 attempts
  aborted         0.000 s (  0.0%)   1 attempt
  idle or waiting 0.000 s (  0.0%)
transactions: none
1 conflict:

1. 0.000 s lost in aborts, 1 x write-read on a cell without a name
     read   handler and place unknown
     write  handler and place unknown
   time line: |X                                                           |
"#,
    );
}

#[test]
fn many_threads_are_not_listed_one_by_one() {
    let record = [attempt(SECOND, SECOND, 1, Outcome::Committed)];
    let blocks: Vec<(u16, &[Record])> = (0..12).map(|worker| (worker, &record[..])).collect();
    let text = screen(&test_log(&opened_at(SECOND, 16), &blocks, Some((3 * SECOND, 12))), 5);
    let line = "\n  busy: 12 threads, from 50.0% to 50.0%; 4 without an attempt\n";
    assert!(text.contains(line), "{text}");
}

#[test]
fn what_is_missing_is_said() {
    let mut log = busy_log();
    log.truncate(log.len() - 40);
    let text = screen(&log, 1);
    assert!(text.contains("cut off after") && text.contains("no end record"), "{text}");
    let mut payload = vec![0xf1, 0];
    payload.extend_from_slice(&[0x12, 0x11, 0]);
    let text = screen(&test_block(&opened_at(0, 1), 1, 0, &payload), 5);
    let unknown = "note: 1 records skipped, unknown to this version: record kind 15 (no name)\n";
    assert!(text.contains(unknown), "{text}");
    assert!(text.contains("the record at byte 2 of its payload is malformed"), "{text}");
    let text = screen(&test_log(&opened_at(0, 1), &[], Some((1, 9))), 5);
    assert!(text.contains("note: 9 attempts and conflicts were written, 0 were read\n"), "{text}");
}

#[test]
fn a_recorded_log_is_reported_from_its_file() {
    let path = temporary_path();
    let log = Log::create(&path, 1).expect("created");
    log.define_name(1, "move");
    let mut recorder = log.recorder(0);
    let Record::Attempt(_, record) = attempt(SECOND, SECOND, 1, Outcome::Committed) else {
        unreachable!("an attempt");
    };
    recorder.attempt(&record);
    drop(recorder);
    drop(log);
    let mut out = Vec::new();
    run(&path, 5, &mut out).expect("readable");
    let text = String::from_utf8(out).expect("text");
    assert!(text.contains("\ntransactions: 1, ") && text.ends_with("no conflicts\n"), "{text}");
    std::fs::remove_file(&path).expect("removed");
    let error = run(&path, 5, &mut Vec::new()).expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::Io);
}

#[test]
fn what_is_no_log_is_refused() {
    let header = opened_at(0, 1);
    let mut newer = test_log(&header, &[], None);
    newer[8] = 2;
    let cases: [(&[u8], &str); 4] = [
        (b"", "a.stmlog: empty, not a conflict log"),
        (b"PK\x03\x04", "a.stmlog: not a conflict log: it does not start with TXLOOPLG"),
        (b"TXLO", "a.stmlog: log header: cut off at byte 4"),
        (&newer, "a.stmlog: log header: format version 2, but only version 1 can be read here"),
    ];
    for (bytes, message) in cases {
        let error = report("a.stmlog", bytes, None, 5).expect_err("no log");
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Log, message.to_owned()));
    }
}

proptest! {
    #[test]
    fn any_records_can_be_reported(
        bytes in vec(prop_oneof![any::<u8>(), Just(0xff), Just(0x1f), Just(0x2f), 0..4u8], 0..300),
        kind in 0..5u8,
        worker: u16,
        opened: u64,
        threads: u32,
    ) {
        screen(&test_block(&opened_at(opened, threads), kind, worker, &bytes), 5);
    }

    #[test]
    fn absurd_times_can_be_reported(times in vec(any::<[u64; 4]>(), 1..20), opened: u64) {
        let mut records = Vec::new();
        for [start_ns, end_ns, at_ns, lost_ns] in times {
            let Record::Attempt(_, record) = attempt(0, 0, 1, Outcome::Aborted) else {
                unreachable!("an attempt");
            };
            records.push(Record::Attempt(0, AttemptRecord { start_ns, end_ns, ..record }));
            let record = conflict(ConflictKind::WriteRead, at_ns, lost_ns, (1, 2));
            records.push(Record::Conflict(0, record));
        }
        screen(&test_log(&opened_at(opened, u32::MAX), &[(0, &records)], Some((opened, 2))), 5);
    }
}
