//! Lines of source files, for the places in a report.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
};

/// The largest source file that is looked into, in bytes.
const MAX_SOURCE: u64 = 4 << 20;

/// Line `number` (from 1) of a file, relative to the current directory; `None` if it is not there.
///
/// The name comes from a log, which may come from anywhere: only regular files that have a size
/// (those of /proc have none) are opened, and no more is read than that.
pub(super) fn line(file: &str, number: u32) -> Option<String> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    let about = std::fs::metadata(file).ok()?;
    if !about.is_file() || about.len() == 0 || about.len() > MAX_SOURCE {
        return None;
    }
    let contents = File::open(file).ok()?.take(about.len());
    let line = BufReader::new(contents).split(b'\n').nth(index)?.ok()?;
    Some(String::from_utf8_lossy(&line).trim().to_owned())
}
