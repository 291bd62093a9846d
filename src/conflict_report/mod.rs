//! The text of `stm-log`: reads a conflict log, groups what was lost, prints it.
//!
//! `group` turns records into a summary, `print` turns a summary into text; both are functions of
//! values. Only this file and `source` touch files.

mod group;
mod print;
mod source;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, IsTerminal, Read, Write},
    path::Path,
};

use rayon::prelude::*;

use self::group::{Summary, Tally};
use crate::{
    conflict_log::{Block, LogReader},
    error::{Error, Result},
};

/// Blocks that are decoded together, by all cores: some 4 MiB of a log.
const BATCH_BLOCKS: usize = 256;
/// The size from which a log is worth progress on a terminal, in bytes.
const PROGRESS_FROM: u64 = 64 << 20;

/// Reads the log at `path` (`-` is standard input) and writes the default screen of `stm-log` to
/// `out`, with the `top` conflicts that lost the most time.
///
/// # Errors
///
/// The log cannot be read, is no log, or has a format that this version does not know; or `out`
/// failed, with its error as the source. A damaged log is no error: the text says what is missing.
pub fn run(path: &Path, top: usize, out: &mut dyn Write) -> Result<()> {
    let name = path.display().to_string();
    let text = if name == "-" {
        report("standard input", io::stdin().lock(), None, top)
    } else {
        let unreadable = |error| Error::io(format!("{name} cannot be opened"), error);
        let file = File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let input = io::BufReader::with_capacity(1 << 20, file);
        let progress = size > PROGRESS_FROM && io::stderr().is_terminal();
        report(&name, input, progress.then_some(size), top)
    }?;
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Error::io("the report cannot be written", error))
}

/// The default screen for a log; with the size of the input, progress goes to standard error.
fn report(name: &str, input: impl Read, size: Option<u64>, top: usize) -> Result<String> {
    let summary = account(name, input, size, top)?;
    Ok(print::screen(name, &summary, &mut source::line))
}

/// Reads a log to its end.
fn account(name: &str, input: impl Read, size: Option<u64>, top: usize) -> Result<Summary> {
    let mut reader = LogReader::open(name, input)?;
    let mut tally = Tally::default();
    let mut shown = 0;
    loop {
        let batch = next_batch(&mut reader)?;
        if batch.is_empty() {
            break;
        }
        let part = batch.par_iter().fold(Tally::default, Tally::with_block);
        tally = tally.merge(part.reduce(Tally::default, Tally::merge));
        if let Some(size) = size {
            show_progress(reader.offset(), size, &mut shown);
        }
    }
    if size.is_some() {
        // Progress is only for the eye: that it cannot be shown changes nothing.
        let _ = write!(io::stderr(), "\r          \r");
    }
    Ok(Summary::new(tally, &reader, top))
}

fn next_batch(reader: &mut LogReader<impl Read>) -> Result<Vec<Block>> {
    let mut batch = Vec::with_capacity(BATCH_BLOCKS);
    while batch.len() < BATCH_BLOCKS {
        match reader.next_block()? {
            Some(block) => batch.push(block),
            None => break,
        }
    }
    Ok(batch)
}

/// Shows each per cent once. A log that still grows ends at 100.
fn show_progress(done: u64, size: u64, shown: &mut u64) {
    let percent = (done.saturating_mul(100) / size.max(1)).min(100);
    if percent > *shown {
        *shown = percent;
        let _ = write!(io::stderr(), "\r{percent:3}% read");
    }
}
