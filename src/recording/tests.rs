//! Tests of the format and of the writer without its thread: damage, a slow disk, a full one.

use super::{
    entry::{Base, KEPT_BYTES, Whole},
    file::{FORMAT_VERSION, MAGIC, put_block},
    recorder::{PENDING_BYTES, Round, Shared, Writer},
    *,
};
use crate::sync::{Arc, Table};
use ::http::{HeaderName, HeaderValue};
use bytes::Bytes;
use crossbeam_utils::sync::Parker;
use proptest::prelude::*;
use std::io::{self, Write};

fn header() -> Header {
    let (written_by, program) = ("0.1".to_owned(), "shop 7".to_owned());
    Header { written_by, program, seed: [7; 32], wall_ns: 1_000, threads: 2 }
}

fn request(ticket: u64, body: &'static str) -> Entry {
    let head = Bytes::from_static(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    Entry::Request {
        ticket,
        now_ns: 5_000 + ticket,
        head,
        body: Bytes::from_static(body.as_bytes()),
    }
}

fn answer(ticket: u64, body: impl Into<Bytes>) -> Entry {
    let headers = vec![(HeaderName::from_static("x-a"), HeaderValue::from_static("b"))];
    let answer = Answer { status: 200, headers, body: body.into(), whole: None };
    Entry::Answer { ticket, version: ticket * 3, waited: ticket % 2 == 1, answer: answer.cut() }
}

fn all_kinds() -> Vec<Entry> {
    vec![
        request(1, "one"),
        Entry::Foreign { ticket: 2, now_ns: 3 },
        answer(1, "yes"),
        request(3, ""),
        Entry::TakenBack { ticket: 3 },
        Entry::Callback { ticket: 4, now_ns: u64::MAX, parent: 1, index: 9 },
        Entry::Done { ticket: 4, version: u64::MAX },
        answer(5, vec![b'x'; KEPT_BYTES + 1]),
    ]
}

/// What a recording of these entries is, each list in a block of its own.
fn file(blocks: &[Vec<Entry>]) -> Vec<u8> {
    let mut out = header().encode();
    for entries in blocks {
        let (mut payload, mut base) = (Vec::new(), Base::default());
        entries.iter().for_each(|entry| entry.clone().put(&mut payload, &mut base));
        put_block(&mut out, &payload);
    }
    out
}

/// The entries of a recording, and the note at its end.
fn read(bytes: &[u8]) -> Result<(Vec<Entry>, Option<String>), String> {
    let mut reader = Reader::open("rec", bytes).map_err(|e| e.to_string())?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next().map_err(|e| e.to_string())? {
        entries.push(entry);
    }
    Ok((entries, reader.note().map(str::to_owned)))
}

#[test]
fn every_kind_survives() {
    let end = vec![Entry::End { at_ns: 9 }, request(7, "after the end")];
    let bytes = file(&[all_kinds(), all_kinds(), end]);
    let (entries, note) = read(&bytes).expect("a recording");
    assert_eq!((entries, note), ([all_kinds(), all_kinds()].concat(), None));
    assert_eq!(Reader::open("rec", &bytes[..]).expect("a header").header(), &header());
}

#[test]
fn a_long_answer_is_cut_and_told_from_another() {
    let long = |last| {
        let mut body = vec![b'x'; 3 * KEPT_BYTES];
        body.push(last);
        Answer { status: 200, headers: Vec::new(), body: body.into(), whole: None }.cut()
    };
    assert_eq!(long(b'a'), long(b'a'));
    assert_ne!(long(b'a'), long(b'b'));
    let Answer { body, whole, .. } = long(b'a');
    assert_eq!(body.len(), KEPT_BYTES);
    assert!(matches!(whole, Some(Whole { length, .. }) if length == 3 * KEPT_BYTES as u64 + 1));
}

/// Whether `entries` are whole blocks of `blocks`, from the first one on.
fn is_prefix(entries: &[Entry], blocks: &[Vec<Entry>]) -> bool {
    (0..=blocks.len()).any(|count| entries == blocks[..count].concat())
}

#[test]
fn cut_anywhere_it_is_an_error_or_what_came_before() {
    let blocks = [all_kinds(), vec![request(6, "six")], vec![answer(6, "six")]];
    let bytes = file(&blocks);
    let header_len = header().encode().len();
    for len in 0..=bytes.len() {
        match read(&bytes[..len]) {
            Err(e) => assert!(len < header_len && e.starts_with("rec: "), "{len}: {e}"),
            Ok((entries, note)) => {
                assert!(len >= header_len && is_prefix(&entries, &blocks), "{len}");
                assert!(note.is_some(), "{len} of {}", bytes.len());
            }
        }
    }
}

#[test]
fn a_flipped_bit_is_an_error_or_ends_the_recording_before_it() {
    let blocks = [all_kinds(), vec![request(6, "six")], vec![Entry::End { at_ns: 1 }]];
    let bytes = file(&blocks);
    let header_len = header().encode().len();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            match read(&bytes) {
                Err(e) => assert!(at < header_len && e.starts_with("rec: "), "{at}: {e}"),
                Ok((entries, note)) => {
                    assert!(at >= header_len && is_prefix(&entries, &blocks[..2]), "{at}.{bit}");
                    assert!(note.is_some(), "{at}.{bit}");
                }
            }
        }
    }
}

#[test]
fn another_version_and_other_files_are_said_to_be_that() {
    let mut bytes = file(&[]);
    bytes[MAGIC.len()] = FORMAT_VERSION as u8 + 1;
    let expected = "rec: format version 2, but only version 1 can be read here";
    assert_eq!(read(&bytes), Err(expected.to_owned()));
    let expected = "rec: not a recording: it does not start with TXLOOPRC";
    assert_eq!(read(b"TXLOOPLG and more"), Err(expected.to_owned()));
    assert_eq!(read(b""), Err(expected.to_owned()));
    let mut unknown = header().encode();
    put_block(&mut unknown, &[99, 0, 0]);
    let (entries, note) = read(&unknown).expect("a header");
    assert!(entries.is_empty() && note.is_some_and(|note| note.contains("malformed")));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(payload: Vec<u8>, kind in 0_u8..10) {
        let mut bytes = header().encode();
        put_block(&mut bytes, &[&[kind], &payload[..]].concat());
        put_block(&mut bytes, &payload);
        prop_assert!(read(&bytes).is_ok());
        let _ = read(&payload);
    }

    #[test]
    fn any_request_survives(ticket: u64, now_ns: u64, head: Vec<u8>, body: Vec<u8>) {
        let entry = Entry::Request { ticket, now_ns, head: head.into(), body: body.into() };
        let (entries, _) = read(&file(&[vec![entry.clone(), entry.clone()]])).expect("a recording");
        prop_assert_eq!(entries, [entry.clone(), entry]);
    }
}

/// A disk with room for so many bytes.
#[derive(Debug, Clone)]
struct Disk(Arc<Table<(Vec<u8>, usize)>>);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (file, room) = &mut *self.0.lock();
        let left = room.saturating_sub(file.len()).min(bytes.len());
        if left == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.extend_from_slice(&bytes[..left]);
        Ok(left)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer without a thread, its queue and its disk.
fn writer(room: usize, limit: u64) -> (Writer<Disk>, Arc<Shared>, Disk) {
    let shared = Arc::new(Shared::new(Parker::new().unparker().clone()));
    let disk = Disk(Arc::new(Table::new((header().encode(), room))));
    let name = "rec".to_owned();
    let length = header().encode().len() as u64;
    (Writer::new(Arc::clone(&shared), disk.clone(), name, limit, length), shared, disk)
}

#[test]
fn what_is_pushed_is_written_in_order() {
    let (mut writer, shared, disk) = writer(usize::MAX, u64::MAX);
    assert_eq!(writer.round(), Round::Empty);
    all_kinds().into_iter().for_each(|entry| shared.push(entry));
    assert_eq!(writer.round(), Round::Wrote);
    shared.push(request(8, "later"));
    assert_eq!(writer.round(), Round::Wrote);
    let (entries, note) = read(&disk.0.lock().0).expect("a recording");
    assert_eq!(entries, [all_kinds(), vec![request(8, "later")]].concat());
    assert!(note.expect("no end").contains("still runs"));
}

/// Checks that a recording which had to stop holds a prefix of the requests, and says why.
#[track_caller]
fn stopped(bytes: &[u8], pushed: usize, why: &str) {
    let (entries, note) = read(bytes).expect("a recording");
    let tickets: Vec<u64> = (1..=entries.len() as u64).collect();
    let seen = entries.iter().map(|entry| match entry {
        Entry::Request { ticket, .. } => *ticket,
        other => panic!("{other:?}"),
    });
    assert_eq!(seen.collect::<Vec<u64>>(), tickets);
    assert!(entries.len() < pushed, "all were written");
    let note = note.expect("a note");
    assert!(note.contains(why), "{note}");
}

#[test]
fn a_slow_disk_stops_the_recording_where_it_was() {
    let (mut writer, shared, disk) = writer(usize::MAX, u64::MAX);
    let body = Bytes::from(vec![b'x'; 1 << 20]);
    let mut pushed = 0;
    while shared.stopped().is_none() {
        pushed += 1;
        assert!(pushed as usize <= (PENDING_BYTES >> 20) + 1, "the queue has a limit");
        let (head, body) = (Bytes::from_static(b"h"), body.clone());
        shared.push(Entry::Request { ticket: pushed, now_ns: 0, head, body });
    }
    shared.push(request(pushed + 1, "small, but too late"));
    assert_eq!(writer.round(), Round::Over);
    stopped(&disk.0.lock().0, pushed as usize, "waited for the disk");
}

#[test]
fn an_answer_longer_than_the_queue_is_cut_before_it() {
    let (mut writer, shared, disk) = writer(usize::MAX, u64::MAX);
    let body = Bytes::from(vec![b'x'; PENDING_BYTES + 1]);
    let whole = Whole { length: body.len() as u64, crc32: crc32fast::hash(&body) };
    for ticket in 1..=3 {
        let answer = Answer { status: 200, headers: Vec::new(), body: body.clone(), whole: None };
        shared.push(Entry::Answer { ticket, version: ticket, waited: false, answer });
    }
    assert!(body.is_unique(), "nothing of it is kept");
    assert_eq!((writer.round(), shared.stopped()), (Round::Wrote, None));
    let (written, _) = read(&disk.0.lock().0).expect("a recording");
    assert_eq!(written.len(), 3);
    for entry in written {
        let Entry::Answer { answer, .. } = entry else { panic!("{entry:?}") };
        assert_eq!((answer.body.len(), answer.whole), (KEPT_BYTES, Some(whole)));
    }
}

#[test]
fn a_file_that_is_full_says_so() {
    let (mut writer, shared, disk) = writer(usize::MAX, 200_000);
    let mut round = Round::Wrote;
    for ticket in 1..10_000 {
        shared.push(request(ticket, "a body"));
        if ticket % 100 == 0 && round == Round::Wrote {
            round = writer.round();
        }
    }
    assert_eq!(round, Round::Over);
    let length = disk.0.lock().0.len();
    assert!(length <= 200_000 && length > 198_000, "{length}");
    stopped(&disk.0.lock().0, 9_999, "the limit of 200000 bytes");
    assert!(shared.stopped().is_some());
}

#[test]
fn a_full_disk_leaves_what_was_written() {
    let (mut writer, shared, disk) = writer(3_000, u64::MAX);
    for ticket in 1..100 {
        shared.push(request(ticket, "a body"));
        if ticket % 10 == 0 && shared.stopped().is_none() {
            writer.round();
        }
    }
    assert!(shared.stopped().expect("stopped").contains("cannot be written"));
    stopped(&disk.0.lock().0, 99, "block");
}
