//! Tests of the whole path: recorders, writer, file, reader.

use std::{io::Read, path::PathBuf};

use proptest::{collection::vec, prelude::*};

use super::{
    format::{self, NO_WORKER},
    *,
};
use crate::sync::{AtomicU64, Ordering};

/// A name for a file of one test, never used twice.
pub(crate) fn temporary_path() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("txloop-test-{}-{number}.stmlog", std::process::id()))
}

/// Everything in a log: records in file order, notes, and whether it has an end record.
pub(super) fn read_all(bytes: impl Read) -> (Vec<Record>, Vec<String>, bool) {
    let mut reader = LogReader::open("a log", bytes).expect("a log");
    let (mut records, mut notes) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block().expect("readable") {
        let read = decode_block(block.kind, block.worker, &block.payload, |r| records.push(r));
        assert_eq!(read, BlockRead::default());
    }
    notes.extend(reader.tear().map(str::to_owned));
    (records, notes, reader.ended())
}

fn outcome() -> impl Strategy<Value = Outcome> {
    (0..Outcome::ALL.len()).prop_map(|index| Outcome::ALL[index].0)
}

fn kind() -> impl Strategy<Value = ConflictKind> {
    (0..ConflictKind::ALL.len()).prop_map(|index| ConflictKind::ALL[index].0)
}

fn side() -> impl Strategy<Value = Side> {
    (any::<u32>(), any::<u32>())
        .prop_map(|(handler, place)| Side { handler: NameId(handler), place: PlaceId(place) })
}

fn record(worker: u16) -> impl Strategy<Value = Record> {
    let attempt = (any::<[u64; 4]>(), any::<[u32; 2]>(), outcome()).prop_map(
        move |(long, short, outcome)| {
            let [ticket, version, start_ns, end_ns] = long;
            let [handler, attempt] = short;
            let handler = NameId(handler);
            let record =
                AttemptRecord { handler, ticket, version, attempt, start_ns, end_ns, outcome };
            Record::Attempt(worker, record)
        },
    );
    let conflict = (any::<[u64; 4]>(), any::<[u32; 3]>(), kind(), side(), side()).prop_map(
        move |(long, short, kind, loser, winner)| {
            let [ticket, at_ns, lost_ns, cell_id] = long;
            let [attempt, name, of_type] = short;
            let (cell_name, cell_type) = (NameId(name), NameId(of_type));
            let record = ConflictRecord {
                kind,
                ticket,
                attempt,
                at_ns,
                lost_ns,
                cell_name,
                cell_type,
                cell_id,
                loser,
                winner,
            };
            Record::Conflict(worker, record)
        },
    );
    prop_oneof![3 => attempt, 1 => conflict]
}

fn give(recorder: &mut Recorder, record: &Record) {
    match record {
        Record::Attempt(_, attempt) => recorder.attempt(attempt),
        Record::Conflict(_, conflict) => recorder.conflict(conflict),
        other => panic!("{other:?} is not recorded by a worker"),
    }
}

pub(super) fn worker_of(record: &Record) -> Option<u16> {
    match record {
        Record::Attempt(worker, _) | Record::Conflict(worker, _) => Some(*worker),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_recorded_is_read_back(
        lists in (vec(record(0), 0..600), vec(record(1), 0..600), vec(record(7), 0..9)),
        name: String,
    ) {
        let path = temporary_path();
        let log = Log::create(&path, 3).expect("created");
        let lists = [(0, lists.0), (1, lists.1), (7, lists.2)];
        std::thread::scope(|scope| {
            for (worker, list) in &lists {
                let (log, name) = (log.clone(), &name);
                scope.spawn(move || {
                    log.define_name(u32::from(*worker) + 1, name);
                    log.define_place(9, "src/a.rs", 10, 3);
                    let mut recorder = log.recorder(*worker);
                    list.iter().for_each(|record| give(&mut recorder, record));
                });
            }
        });
        log.finish();
        log.finish();
        let bytes = std::fs::read(&path).expect("written");
        std::fs::remove_file(&path).expect("removed");
        let (records, notes, ended) = read_all(&bytes[..]);
        prop_assert!(ended && notes.is_empty(), "{:?}", notes);
        for (worker, list) in &lists {
            let read = records.iter().filter(|record| worker_of(record) == Some(*worker));
            prop_assert!(read.eq(list));
            let named = Record::Name { id: NameId(u32::from(*worker) + 1), text: name.clone() };
            let place =
                records.iter().position(|record| *record == named).expect("the name is there");
            let first = records.iter().position(|record| worker_of(record) == Some(*worker));
            prop_assert!(first.is_none_or(|first| place < first));
        }
        let total = lists.iter().map(|(_, list)| list.len() as u64).sum::<u64>();
        let last = records.last();
        let ended = matches!(last, Some(Record::End { records, .. }) if *records == total);
        prop_assert!(ended);
    }

    #[test]
    fn any_bytes_are_safe(bytes in vec(any::<u8>(), 0..400), kind in 0..5u8) {
        let _ = LogReader::open("a log", &bytes[..]);
        let mut log = Header::new(1, 2, 3).encode();
        log.extend_from_slice(&bytes);
        let mut reader = LogReader::open("a log", &log[..]).expect("the header is right");
        while reader.next_block().expect("memory is readable").is_some() {}
        decode_block(kind, 0, &bytes, |_| ());
    }
}

pub(super) fn attempt(number: u64) -> AttemptRecord {
    AttemptRecord {
        handler: NameId(1),
        ticket: 1000 + 2 * number,
        version: 900 + 2 * number,
        attempt: 1,
        start_ns: 1_000_000_000 + number * 10_700,
        end_ns: 1_000_000_000 + number * 10_700 + 10_000 + number % 300,
        outcome: Outcome::Committed,
    }
}

pub(super) fn conflict(number: u64) -> ConflictRecord {
    ConflictRecord {
        kind: ConflictKind::WriteRead,
        ticket: 1000 + number,
        attempt: 1,
        at_ns: 1_000_005_000 + number * 10_700,
        lost_ns: 5_000,
        cell_name: NameId(2),
        cell_type: NameId(3),
        cell_id: 77,
        loser: Side { handler: NameId(1), place: PlaceId(1) },
        winner: Side { handler: NameId(4), place: PlaceId(2) },
    }
}

/// A log of some blocks of every kind.
fn small_log() -> Vec<u8> {
    let name = Record::Name { id: NameId(1), text: "move".to_owned() };
    let file = "src/a.rs".to_owned();
    let place = Record::Place { id: PlaceId(1), file, line: 3, column: 9 };
    let events: Vec<_> = (0..6)
        .flat_map(|n| [Record::Attempt(0, attempt(n)), Record::Conflict(0, conflict(n))])
        .collect();
    let dropped = [Record::Dropped { count: 3 }];
    let blocks: [(u16, &[Record]); 4] =
        [(NO_WORKER, &[name, place]), (0, &events), (1, &events[..3]), (NO_WORKER, &dropped)];
    test_log(&Header::new(1_800_000_000_000_000_000, 500, 2), &blocks, Some((2_000_000_000, 15)))
}

#[test]
fn a_log_cut_anywhere_is_read_up_to_the_cut() {
    let log = small_log();
    let (whole, notes, ended) = read_all(&log[..]);
    assert!(ended && notes.is_empty() && whole.len() == 19, "{notes:?}");
    let header = Header::new(1_800_000_000_000_000_000, 500, 2).encode().len();
    for cut in 0..log.len() {
        if cut < header {
            LogReader::open("a log", &log[..cut]).expect_err("no header, no log");
            continue;
        }
        let (records, notes, ended) = read_all(&log[..cut]);
        assert!(whole.starts_with(&records) && !ended && notes.len() <= 1);
        if let [note] = &notes[..] {
            assert!(note.contains("cut off") && note.contains("ignored"), "{note}");
        }
    }
}

#[test]
fn a_flipped_byte_is_noticed_wherever_it_is() {
    let log = small_log();
    let header = Header::new(1_800_000_000_000_000_000, 500, 2).encode().len();
    let (whole, ..) = read_all(&log[..]);
    for at in 0..log.len() {
        for bit in 0..8 {
            let mut bytes = log.clone();
            bytes[at] ^= 1 << bit;
            if at < header {
                LogReader::open("a log", &bytes[..]).expect_err("the header is checked");
                continue;
            }
            let (records, notes, ended) = read_all(&bytes[..]);
            assert!(!ended && notes.len() == 1 && records.len() < whole.len());
            assert!(whole.starts_with(&records));
        }
    }
}

#[test]
fn a_tear_says_where_and_what() {
    let mut log = Header::new(0, 0, 1).encode();
    let start = log.len();
    log.extend_from_slice(&90_000u32.to_le_bytes());
    log.extend_from_slice(&[0; 20]);
    assert_eq!(
        read_all(&log[..]).1,
        [format!(
            "log block 1 at byte {start}: length 90000 exceeds the maximum of 65536; reading \
             stopped there, 24 bytes ignored"
        )]
    );
}

#[test]
fn unknown_codes_are_stepped_over() {
    let (mut payload, mut base) = (vec![0xf3, 1, 2, 3, 0x80], format::Base::default());
    format::put_attempt(&mut payload, &mut base, &attempt(1));
    let shape = payload.len();
    format::put_attempt(&mut payload, &mut base, &attempt(2));
    payload[shape + 1] |= 0x0f;
    format::put_attempt(&mut payload, &mut base, &attempt(3));
    payload[5] += 1;
    payload.insert(5 + 1 + usize::from(payload[5] & 15) - 1, 0x2a);
    let mut seen = Vec::new();
    let read = decode_block(1, 4, &payload, |record| seen.push(record));
    let unknown =
        vec![(EventTable::Record, 15), (EventTable::Record, 8), (EventTable::Outcome, 15)];
    assert_eq!(read, BlockRead { unknown, malformed_at: None });
    assert_eq!(seen, [Record::Attempt(4, attempt(1)), Record::Attempt(4, attempt(3))]);
    let unknown = vec![(EventTable::Block, 9)];
    let read = decode_block(9, 4, &payload, |_| panic!("an unknown block has no records"));
    assert_eq!(read, BlockRead { unknown, malformed_at: None });
}

#[test]
fn a_committed_attempt_takes_at_most_twelve_bytes() {
    for (step_ns, workers) in [(1_000, 1), (10_700, 8), (10_700, 64), (1_000_000, 64)] {
        let (mut bytes, mut base) = (Vec::new(), format::Base::default());
        for number in 0..1000 {
            let mut record = attempt(number * workers);
            record.start_ns = number * step_ns;
            record.end_ns = record.start_ns + step_ns * 9 / 10;
            format::put_attempt(&mut bytes, &mut base, &record);
        }
        let each = bytes.len() as f64 / 1000.0;
        println!("{step_ns} ns apart, {workers} workers: {each} bytes an attempt");
        assert!(each <= 12.0, "{each} bytes");
    }
}

/// The example of docs/log-format.md, to the byte: what was written once stays readable.
#[test]
fn the_bytes_are_those_of_the_documentation() {
    let name = Record::Name { id: NameId(1), text: "move".to_owned() };
    let first = AttemptRecord {
        handler: NameId(1),
        ticket: 7,
        version: 5,
        attempt: 1,
        start_ns: 1000,
        end_ns: 1300,
        outcome: Outcome::Committed,
    };
    let second = AttemptRecord { ticket: 8, version: 6, start_ns: 1350, end_ns: 1650, ..first };
    let lost = ConflictRecord { ticket: 9, at_ns: 1700, lost_ns: 40, ..conflict(0) };
    let records =
        [Record::Attempt(0, first), Record::Attempt(0, second), Record::Conflict(0, lost)];
    let header = Header::new(0, 0, 1);
    let blocks: [(u16, &[Record]); 2] = [(NO_WORKER, &[name]), (0, &records)];
    let log = test_log(&header, &blocks, Some((2000, 3)));
    let hex: Vec<_> = log[header.encode().len()..].iter().map(|b| format!("{b:02x}")).collect();
    let expected = "07 00 00 00 fe 04 92 e4 02 ff ff 36 01 04 6d 6f 76 65 1e 00 00 00 8c dd \
        99 96 01 00 00 18 11 01 0e 03 d0 0f ac 02 17 11 01 02 00 64 ac 02 2c 01 \
        01 02 64 28 02 03 4d 01 01 04 02 04 00 00 00 1b 94 9d 7e 03 ff ff 63 d0 \
        0f 03";
    assert_eq!(hex.join(" "), expected);
}
