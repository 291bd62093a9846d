//! What an attempt did: the cells that it read and wants to write, and what else it asked for.
//!
//! A handler may be run several times, so two attempts on one snapshot with the same inputs must do
//! the same: see [`difference`].

use super::attempt::Attempt;
use crate::cell::{labels::Label, logs::THIN_READS, made::Made, node::CellRef};
use std::{borrow::Cow, collections::HashSet, fmt};

/// A cell that an attempt used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Touched {
    /// The cell's name, or the name of the collection that it belongs to; empty if it has none.
    pub cell: &'static str,
    /// The type of its value.
    pub type_name: &'static str,
    /// What is to be written, as text: for numbers, strings, times and the like. Of a counter, what
    /// is to be added.
    pub value: Option<String>,
}

impl fmt::Display for Touched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let type_name = match of_collection(self.type_name) {
            Some(collection) => Cow::Owned(format!("part of a {collection}")),
            None => Cow::Borrowed(self.type_name),
        };
        match self.cell {
            "" => write!(f, "a cell without a name ({type_name})"),
            name => write!(f, "`{name}` ({type_name})"),
        }
    }
}

/// What the cells of collections hold, up to the parameters that are those of the collection.
const PARTS: [(&str, &str); 7] = [
    ("txloop::collections::map::tree::Root<", "TMap"),
    ("txloop::collections::map::tree::Kind<", "TMap"),
    ("txloop::collections::ord_map::tree::Node<", "TOrdMap"),
    ("txloop::collections::append_log::List<", "TLog or TQueue"),
    ("txloop::collections::grid::Tile<", "TGrid"),
    ("txloop::cell::boxes::Tailed<txloop::collections::grid::Plain, ", "TGrid"),
    ("txloop::cell::block::Cells<core::option::Option<", "TVec"),
];

/// The collection that the cells with values of a type belong to, as users know it.
pub(crate) fn of_collection(type_name: &str) -> Option<String> {
    let found = |&(inner, collection): &(&str, _)| {
        type_name.split_once(inner).map(|(_, rest)| (collection, rest))
    };
    let (collection, rest): (&str, _) = PARTS.iter().find_map(found)?;
    let mut open = 1;
    let mut before = ' ';
    let end = rest.find(|c| {
        // The `>` of an arrow closes nothing.
        let closes = c == '>' && std::mem::replace(&mut before, c) != '-';
        before = c;
        open += i32::from(c == '<') - i32::from(closes);
        open == 0
    });
    Some(format!("{collection}<{}>", rest.get(..end?)?))
}

/// One entry of a log, with what it takes to say whether another one is the same.
struct Entry {
    cell: CellRef,
    label: Label,
    /// Whether the attempt has made it.
    is_new: bool,
    touched: Touched,
}

impl Entry {
    fn new(attempt: &Attempt, made: &Made, cell: CellRef, value: Option<String>) -> Self {
        let (label, type_name) = (cell.label(), cell.type_name(&attempt.view));
        let touched = Touched { cell: label.text(), type_name, value };
        Self { cell, label, is_new: made.has(cell), touched }
    }

    /// Whether it belongs to a collection that the attempt made. Such a map hashes with its own
    /// secret: where its keys are says nothing.
    fn is_inside_of_new(&self) -> bool {
        self.is_new && self.touched.type_name.starts_with("txloop::")
    }

    /// Whether two attempts mean the same cell. Each has its own of those that it made.
    fn is(&self, other: &Self) -> bool {
        let alike = self.label == other.label && self.touched.type_name == other.touched.type_name;
        self.cell == other.cell || self.is_new && other.is_new && alike
    }
}

fn entries_read(attempt: &Attempt, made: &Made) -> Vec<Entry> {
    let cells = attempt.logs.reads.cells();
    cells.into_iter().map(|cell| Entry::new(attempt, made, cell, None)).collect()
}

fn entries_written(attempt: &Attempt, made: &Made) -> Vec<Entry> {
    let entries = attempt.logs.writes.texts().into_iter();
    entries.map(|(cell, value)| Entry::new(attempt, made, cell, value)).collect()
}

/// The cells that an attempt read, in order, some more than once.
pub(crate) fn read(attempt: &Attempt) -> Vec<Touched> {
    entries_read(attempt, &Made::default()).into_iter().map(|entry| entry.touched).collect()
}

/// The cells that an attempt wants to write, in the order of the first writes.
pub(crate) fn written(attempt: &Attempt) -> Vec<Touched> {
    entries_written(attempt, &Made::default()).into_iter().map(|entry| entry.touched).collect()
}

/// In what the second of two attempts differs from the first, if it does; each with the cells that
/// it made. Both ran on one snapshot with the same inputs and have no outcome yet.
pub(crate) fn difference(
    (first, first_made): (&Attempt, &Made),
    (second, second_made): (&Attempt, &Made),
) -> Option<String> {
    let long = first.logs.reads.len().max(second.logs.reads.len()) >= THIN_READS;
    // What both used, neither has made.
    let [in_first, in_second] = [first, second].map(|attempt| {
        let written = attempt.logs.writes.texts().into_iter().map(|(cell, _)| cell);
        attempt.logs.reads.cells().into_iter().chain(written).collect::<HashSet<_>>()
    });
    let compared = |mut entries: Vec<Entry>| {
        entries.retain(|entry| {
            let in_both = in_first.contains(&entry.cell) && in_second.contains(&entry.cell);
            in_both || !entry.is_inside_of_new()
        });
        entries
    };
    // A long log is thinned, which changes its order.
    let reads = match long {
        true => None,
        false => {
            let (one, two) = (entries_read(first, first_made), entries_read(second, second_made));
            other_cell("read", &compared(one), &compared(two))
        }
    };
    let one = compared(entries_written(first, first_made));
    let two = compared(entries_written(second, second_made));
    let values = || {
        one.iter().zip(&two).find_map(|(one, two)| {
            let Touched { value: Some(before), .. } = &one.touched else { return None };
            let Touched { value: Some(then), .. } = &two.touched else { return None };
            let (cell, same) = (&one.touched, before == then);
            let [before, then] = around(before, then);
            (!same).then(|| format!("wrote {before} to {cell}, then {then}"))
        })
    };
    let effects = || {
        let (before, then) = (first.logs.outbox.mark(), second.logs.outbox.mark());
        (before != then).then(|| format!("asked for {before} effects, then for {then}"))
    };
    let records = || {
        let same = *first.logs.record.borrow() == *second.logs.record.borrow();
        (!same).then(|| "persisted other bytes the second time".to_owned())
    };
    reads
        .or_else(|| other_cell("wrote", &one, &two))
        .or_else(values)
        .or_else(effects)
        .or_else(records)
}

fn other_cell(did: &str, one: &[Entry], two: &[Entry]) -> Option<String> {
    let other = one.iter().zip(two).find(|(one, two)| !one.is(two));
    if let Some((one, two)) = other {
        return Some(format!("{did} {}, then {} in its place", one.touched, two.touched));
    }
    let (before, then) = (one.len(), two.len());
    (before != then).then(|| format!("{did} {before} cells, then {then}"))
}

/// So much of two texts as shows in what they differ.
fn around(one: &str, two: &str) -> [String; 2] {
    let alike = one.chars().zip(two.chars()).take_while(|(one, two)| one == two).count();
    let from = if alike < 60 { 0 } else { alike - 20 };
    [one, two].map(|text| {
        let start = text.char_indices().nth(from).map_or(text.len(), |(at, _)| at);
        format!("{}{}", if from == 0 { "" } else { ".." }, clip(&text[start..]))
    })
}

/// So much of a text as helps.
pub(crate) fn clip(text: &str) -> &str {
    text.char_indices().nth(120).map_or(text, |(at, _)| &text[..at])
}
