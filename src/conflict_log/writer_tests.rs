//! Tests of the writer without its thread: a full queue, a full disk, a full log.

use std::io::{self, Cursor, Seek, SeekFrom, Write};

use super::{
    recorder::{BLOCK_BYTES, DUE_NS},
    sink::Medium,
    tests::{attempt, conflict, read_all, worker_of},
    writer::{FILE_LIMIT, MAX_DEFINITIONS, QUEUE_BLOCKS, Shared, Writer},
    *,
};
use crate::sync::{Arc, Parker, Table};

/// A writer without a thread, and a recorder for it.
fn writer_on<M: Medium>(medium: M, limit: u64) -> (Writer<M>, Arc<Shared>) {
    let shared = Arc::new(Shared::new(Parker::new().unparker().clone()));
    let mut writer = Writer::new(Arc::clone(&shared), medium, limit, "a log".to_owned());
    writer.sink.append(&Header::new(0, 0, 1).encode()).expect("room for a header");
    (writer, shared)
}

/// A disk with room for so many bytes, which writes the half of a piece that still fits.
#[derive(Debug, Clone)]
struct Disk(Arc<Table<(Cursor<Vec<u8>>, usize)>>);

impl Disk {
    fn new(room: usize) -> Self {
        Self(Arc::new(Table::new((Cursor::default(), room))))
    }

    fn contents(&self) -> Vec<u8> {
        self.0.lock().0.get_ref().clone()
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (file, room) = &mut *self.0.lock();
        let left = room.saturating_sub(file.position() as usize).min(bytes.len());
        if left == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write(&bytes[..left])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Disk {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.lock().0.seek(to)
    }
}

impl Medium for Disk {
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.0.lock().0.get_mut().truncate(len as usize);
        Ok(())
    }
}

fn recorded(records: &[Record]) -> (u64, u64) {
    let dropped = records.iter().map(|record| match record {
        Record::Dropped { count } => *count,
        _ => 0,
    });
    let written = records.iter().filter(|record| worker_of(record).is_some()).count() as u64;
    (written, dropped.sum())
}

#[test]
fn what_a_full_queue_refuses_is_counted() {
    let disk = Disk::new(usize::MAX);
    let (mut writer, shared) = writer_on(disk.clone(), FILE_LIMIT);
    let mut recorder = Recorder::new(shared, 0);
    for number in 0..QUEUE_BLOCKS as u64 + 5 {
        recorder.attempt(&attempt(number));
        recorder.flush();
    }
    while !writer.round() {}
    recorder.attempt(&attempt(900));
    drop(recorder);
    while !writer.round() {}
    writer.end(7);
    let (records, notes, ended) = read_all(&disk.contents()[..]);
    assert!(notes.is_empty() && ended);
    assert_eq!(recorded(&records), (QUEUE_BLOCKS as u64 + 1, 5));
    assert_eq!(records.last(), Some(&Record::End { at_ns: 7, records: QUEUE_BLOCKS as u64 + 1 }));
}

#[test]
fn a_full_disk_loses_records_but_neither_names_nor_the_log() {
    let header = Header::new(0, 0, 1).encode().len();
    let disk = Disk::new(header + 30);
    let (mut writer, shared) = writer_on(disk.clone(), FILE_LIMIT);
    let log_name = "a name that is too long for what is left".to_owned();
    let mut recorder = Recorder::new(Arc::clone(&shared), 0);
    shared.define_name(5, &log_name);
    for round in 0..4 {
        recorder.attempt(&attempt(round));
        recorder.conflict(&conflict(round));
        recorder.flush();
        assert!(writer.round());
        if round == 1 {
            disk.0.lock().1 = usize::MAX;
        }
    }
    writer.end(7);
    let (records, notes, ended) = read_all(&disk.contents()[..]);
    assert!(notes.is_empty() && ended);
    assert_eq!(recorded(&records), (4, 4));
    let name = Record::Name { id: NameId(5), text: log_name };
    let named = records.iter().position(|record| *record == name).expect("kept");
    assert!(records[..named].iter().all(|record| worker_of(record).is_none()));
}

#[test]
fn a_full_log_ends_in_order() {
    let disk = Disk::new(usize::MAX);
    let limit = 3 * BLOCK_BYTES as u64;
    let (mut writer, shared) = writer_on(disk.clone(), limit);
    let mut recorder = Recorder::new(shared, 0);
    for number in 0..20_000 {
        recorder.attempt(&attempt(number));
        writer.round();
    }
    recorder.flush();
    writer.round();
    writer.end(7);
    let bytes = disk.contents();
    assert!(bytes.len() as u64 <= limit && bytes.len() as u64 > limit / 2);
    let (records, notes, ended) = read_all(&bytes[..]);
    let (written, dropped) = recorded(&records);
    assert!(notes.is_empty() && ended && dropped > 0);
    assert_eq!(written + dropped, 20_000);
}

#[test]
fn a_due_block_is_handed_over_and_no_earlier() {
    let disk = Disk::new(usize::MAX);
    let (mut writer, shared) = writer_on(disk.clone(), FILE_LIMIT);
    let mut recorder = Recorder::new(shared, 0);
    let mut written = |now_ns, recorder: &mut Recorder| {
        recorder.attempt(&attempt(1));
        recorder.flush_if_due(now_ns);
        writer.round();
        recorded(&read_all(&disk.contents()[..]).0).0
    };
    assert_eq!(written(DUE_NS, &mut recorder), 1);
    assert_eq!(written(2 * DUE_NS - 1, &mut recorder), 1);
    assert_eq!(written(2 * DUE_NS, &mut recorder), 3);
    assert_eq!(written(0, &mut recorder), 3);
}

#[test]
fn definitions_beyond_the_limit_are_ignored() {
    let disk = Disk::new(usize::MAX);
    let (mut writer, shared) = writer_on(disk.clone(), FILE_LIMIT);
    let long = "\u{e4}".repeat(5000);
    shared.define_name(0, &long);
    for id in 1..MAX_DEFINITIONS + 9 {
        shared.define_name(id, "name");
    }
    shared.define_place(1, "src/a.rs", 1, 1);
    writer.round();
    let (records, notes, _) = read_all(&disk.contents()[..]);
    assert!(notes.is_empty());
    assert_eq!(records.len(), MAX_DEFINITIONS as usize + 1);
    let text = "\u{e4}".repeat(2048);
    assert_eq!(records[0], Record::Name { id: NameId(0), text });
}
