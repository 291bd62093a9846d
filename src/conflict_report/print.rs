//! A summary as text, for people.

use std::fmt::{self, Write};

use super::group::{Conflict, Party, Summary, TIME_LINE};
use crate::conflict_log::ConflictKind;

/// The longest source line shown, in characters.
const MAX_LINE: usize = 100;
/// Threads that are listed one by one at most.
const MAX_THREADS: usize = 8;

/// Answers a line of a source file, by file and number.
pub(super) type Lines<'a> = dyn FnMut(&str, u32) -> Option<String> + 'a;

/// The default screen.
pub(super) fn screen(name: &str, summary: &Summary, lines: &mut Lines<'_>) -> String {
    let mut out = String::new();
    // A `String` takes everything.
    let _ = write_screen(&mut out, name, summary, lines);
    out
}

fn write_screen(out: &mut String, name: &str, s: &Summary, lines: &mut Lines<'_>) -> fmt::Result {
    write_account(out, name, s)?;
    write_transactions(out, s)?;
    match (s.conflict_groups, s.conflicts.len()) {
        (0, _) => writeln!(out, "no conflicts")?,
        (1, _) => writeln!(out, "1 conflict:")?,
        (all, shown) if all == shown => writeln!(out, "{all} conflicts, by time lost:")?,
        (all, shown) => {
            writeln!(out, "top {shown} of {} conflicts, by time lost:", grouped(all as u64))?;
        }
    }
    let unit = Unit::of(s.conflicts.first().map_or(0, |conflict| conflict.lost_ns));
    for (index, conflict) in s.conflicts.iter().enumerate() {
        write!(out, "\n{}. ", index + 1)?;
        write_conflict(out, conflict, unit, lines)?;
    }
    if !s.notes.is_empty() {
        writeln!(out)?;
    }
    s.notes.iter().try_for_each(|note| writeln!(out, "note: {}", clean(note)))
}

/// Where the time of all threads went. The three lines add up to it.
fn write_account(out: &mut String, name: &str, s: &Summary) -> fmt::Result {
    let all_ns = s.thread_ns();
    let threads = if s.threads == 1 { "thread" } else { "threads" };
    writeln!(
        out,
        "log of {}: {} real time, {} {threads}, {} of thread time",
        clean(name),
        Unit::of(s.wall_ns).show(s.wall_ns),
        s.threads,
        Unit::of(all_ns).show(all_ns),
    )?;
    let idle_ns = all_ns.saturating_sub(s.kept_ns).saturating_sub(s.aborted_ns);
    let unit = Unit::of(all_ns);
    let times = [s.kept_ns, s.aborted_ns, idle_ns];
    let shown = times.map(|ns| unit.show(ns));
    let width = shown.iter().map(String::len).max().unwrap_or(0);
    let attempts = [s.counts.kept(), s.counts.aborted].map(grouped);
    let count_width = attempts.iter().map(String::len).max().unwrap_or(0);
    let labels = ["committed", "aborted", "idle or waiting"];
    for (index, label) in labels.iter().enumerate() {
        let percent = percent(times[index], all_ns);
        write!(out, "  {label:<15} {:>width$} ({percent:>6})", shown[index])?;
        match attempts.get(index) {
            Some(count) if count == "1" => writeln!(out, "   {count:>count_width$} attempt")?,
            Some(count) => writeln!(out, "   {count:>count_width$} attempts")?,
            None => writeln!(out)?,
        }
    }
    if s.unexplained_ns > s.aborted_ns / 100 {
        let unexplained = unit.show(s.unexplained_ns);
        writeln!(out, "  {unexplained} of the aborted time belong to no recorded conflict")?;
    }
    if s.kept_ns.saturating_add(s.aborted_ns) > all_ns {
        writeln!(out, "  the attempts add up to more than the thread time: others ran some too")?;
    }
    write_threads(out, s)
}

/// How busy each thread was, so that one that did nothing does not hide in the sum.
fn write_threads(out: &mut String, s: &Summary) -> fmt::Result {
    if s.threads < 2 || s.busy_ns.is_empty() {
        return Ok(());
    }
    let unseen = s.threads - s.busy_ns.len() as u64;
    write!(out, "  busy:")?;
    if s.busy_ns.len() <= MAX_THREADS {
        for (index, (worker, ns)) in s.busy_ns.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(out, "{comma} thread {worker} {}", percent(*ns, s.wall_ns))?;
        }
    } else {
        let times = s.busy_ns.iter().map(|(_, ns)| *ns);
        let (least, most) = (times.clone().min().unwrap_or(0), times.max().unwrap_or(0));
        write!(out, " {} threads, ", s.busy_ns.len())?;
        write!(out, "from {} to {}", percent(least, s.wall_ns), percent(most, s.wall_ns))?;
    }
    if unseen > 0 {
        write!(out, "; {unseen} without an attempt")?;
    }
    writeln!(out)
}

fn write_transactions(out: &mut String, s: &Summary) -> fmt::Result {
    let kept = s.counts.kept();
    if kept == 0 {
        return writeln!(out, "transactions: none");
    }
    write!(out, "transactions: {}", grouped(kept))?;
    if s.wall_ns > 0 {
        let rate = u128::from(kept) * 1_000_000_000 / u128::from(s.wall_ns);
        write!(out, ", {} per second", grouped(u64::try_from(rate).unwrap_or(u64::MAX)))?;
    }
    let [one, two, more] = s.tries.map(|count| percent(count, kept));
    writeln!(out, "; attempts each: 1: {one}  2: {two}  3+: {more}")?;
    let special = [
        (s.counts.read_only, "read-only"),
        (s.counts.rolled_back, "rolled back"),
        (s.counts.panicked, "panicked"),
    ];
    let special: Vec<_> = special
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", grouped(*count)))
        .collect();
    if special.is_empty() {
        return Ok(());
    }
    writeln!(out, "  of these {}", special.join(", "))
}

fn write_conflict(
    out: &mut String,
    c: &Conflict,
    unit: Unit,
    lines: &mut Lines<'_>,
) -> fmt::Result {
    let (loser, winner) = match c.kind {
        ConflictKind::WriteRead => ("read", "write"),
        ConflictKind::IrrevocableWait | ConflictKind::TurnWait => ("waits", "holds"),
        ConflictKind::UserRetry => ("retry", "wakes"),
        ConflictKind::Cancelled => ("lost", "won"),
    };
    let how = if c.kind.is_wait() { "lost waiting" } else { "lost in aborts" };
    let lost = unit.show(c.lost_ns);
    write!(out, "{lost} {how}, {} x {}", grouped(c.count), c.kind.name())?;
    let of_type = c.cell_type.as_deref().map(|text| clean(&short_type(text)));
    match (c.cell_name.as_deref().map(clean), of_type) {
        (Some(name), Some(of_type)) => writeln!(out, " on cell `{name}` ({of_type})")?,
        (Some(name), None) => writeln!(out, " on cell `{name}`")?,
        (None, Some(of_type)) => writeln!(out, " on a cell of type {of_type}")?,
        (None, None) if c.kind.is_wait() => writeln!(out)?,
        (None, None) => writeln!(out, " on a cell without a name")?,
    }
    for (role, party) in [(loser, &c.loser), (winner, &c.winner)] {
        if c.kind == ConflictKind::WriteRead || *party != Party::default() {
            write_party(out, role, party, lines)?;
        }
    }
    writeln!(out, "   time line: |{}|", time_line(&c.time_line))
}

fn write_party(out: &mut String, role: &str, party: &Party, lines: &mut Lines<'_>) -> fmt::Result {
    write!(out, "     {role:<5}  ")?;
    let handler = party.handler.as_deref().map(clean);
    let Some((file, number)) = &party.place else {
        return match handler {
            Some(handler) => writeln!(out, "in {handler}, place unknown"),
            None => writeln!(out, "handler and place unknown"),
        };
    };
    write!(out, "File \"{}\", line {number}", clean(file))?;
    match handler {
        Some(handler) => writeln!(out, ", in {handler}")?,
        None => writeln!(out)?,
    }
    match lines(file, *number).map(|line| clean(line.trim())) {
        Some(line) if line.chars().count() > MAX_LINE => {
            let start: String = line.chars().take(MAX_LINE - 3).collect();
            writeln!(out, "              {start}...")
        }
        Some(line) if !line.is_empty() => writeln!(out, "              {line}"),
        _ => Ok(()),
    }
}

/// Nothing, `_`, `x`, `X`: by thirds of the busiest cell.
fn time_line(cells: &[u64; TIME_LINE]) -> String {
    let most = u128::from(cells.iter().copied().max().unwrap_or(0));
    let level = |cell: u128| match cell * 3 {
        0 => ' ',
        triple if triple <= most => '_',
        triple if triple <= most * 2 => 'x',
        _ => 'X',
    };
    cells.iter().map(|cell| level(u128::from(*cell))).collect()
}

/// A unit of time, the same for all figures that are to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
}

impl Unit {
    /// The largest in which this time (ns) is at least one; no time is no seconds.
    const fn of(ns: u64) -> Self {
        match ns {
            1..1_000_000 => Self::Microseconds,
            1_000_000..1_000_000_000 => Self::Milliseconds,
            _ => Self::Seconds,
        }
    }

    fn show(self, ns: u64) -> String {
        let (size, name) = match self {
            Self::Seconds => (1e9, "s"),
            Self::Milliseconds => (1e6, "ms"),
            Self::Microseconds => (1e3, "us"),
        };
        format!("{:.3} {name}", ns as f64 / size)
    }
}

/// One decimal; a part of nothing is nothing.
fn percent(part: u64, whole: u64) -> String {
    let share = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    format!("{share:.1}%")
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A type without the paths of its parts: `alloc::vec::Vec<app::Row>` as `Vec<Row>`.
fn short_type(name: &str) -> String {
    let mut out = String::new();
    let mut word = 0;
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("::").filter(|_| out.len() > word) {
            out.truncate(word);
            rest = after;
            continue;
        }
        out.push(first);
        if !first.is_alphanumeric() && first != '_' {
            word = out.len();
        }
        rest = &rest[first.len_utf8()..];
    }
    out
}

/// Text from a log or a file, without what could steer a terminal.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_lose_their_paths() {
        let cases = [
            ("alloc::vec::Vec<app::Row>", "Vec<Row>"),
            ("u64", "u64"),
            ("(a::B, &[core::option::Option<c::D>])", "(B, &[Option<D>])"),
            ("<a::T as b::U>::Out", "<T as U>::Out"),
            ("", ""),
        ];
        for (long, short) in cases {
            assert_eq!(short_type(long), short);
        }
    }

    #[test]
    fn numbers_are_grouped_and_parts_of_nothing_are_nothing() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(percent(1, 0), "0.0%");
        assert_eq!(percent(u64::MAX, 1).len(), 25);
        assert_eq!(Unit::of(999_999).show(999_999), "999.999 us");
    }

    #[test]
    fn a_time_line_goes_by_thirds_of_its_busiest_cell() {
        let mut cells = [0; TIME_LINE];
        cells[..6].copy_from_slice(&[1, 3, 4, 6, 7, 9]);
        assert_eq!(time_line(&cells).trim_end(), "__xxXX");
        assert_eq!(time_line(&[u64::MAX; TIME_LINE]), "X".repeat(TIME_LINE));
        assert_eq!(time_line(&[0; TIME_LINE]), " ".repeat(TIME_LINE));
    }

    #[test]
    fn a_terminal_is_not_steered() {
        assert_eq!(clean("a\x1b[31m\tb\u{9b}c"), "a\u{fffd}[31m b\u{fffd}c");
    }
}
