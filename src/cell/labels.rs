//! Names of handlers and cells, and places in the source, as small numbers.
//!
//! Tables only grow, up to [`MAX_LABELS`] entries each; past that every new name reads "other". A
//! number is for display and statistics, never an identity. Protected by one mutex each: names are
//! made when routes and cells are made, places when a conflict or a logged write is first seen.

use crate::sync::{Table, global};
use std::{collections::HashMap, panic::Location};

/// The most entries of each table.
pub(crate) const MAX_LABELS: usize = 65_535;

/// The interned name of a handler or a cell. 0 means none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Label(pub(crate) u32);

/// Who wrote a version: the label of the handler and the place of the write, 0 when not recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The handler's label.
    pub(crate) handler: Label,
    /// The number of the place, see [`place`].
    pub(crate) place: u32,
}

#[derive(Debug)]
struct Names {
    numbers: Option<HashMap<&'static str, u32>>,
    texts: Vec<&'static str>,
}

#[derive(Debug)]
struct Places {
    numbers: Option<HashMap<&'static Location<'static>, u32>>,
    all: Vec<&'static Location<'static>>,
}

global! {
    static NAMES: Table<Names> = Table::new(Names { numbers: None, texts: Vec::new() });
}
global! {
    static PLACES: Table<Places> = Table::new(Places { numbers: None, all: Vec::new() });
}

impl Label {
    /// No name.
    pub(crate) const NONE: Label = Label(0);

    /// The label of a name, made on first use.
    pub(crate) fn of(name: &str) -> Label {
        let mut names = NAMES.lock();
        if let Some(&number) = names.numbers.get_or_insert_default().get(name) {
            return Label(number);
        }
        let full = names.texts.len() >= MAX_LABELS - 1;
        // Leaked on purpose: a bounded number of names that live as long as the process.
        let text: &'static str =
            if full { "other" } else { Box::leak(name.to_owned().into_boxed_str()) };
        if full && names.texts.len() == MAX_LABELS {
            return Label(MAX_LABELS as u32);
        }
        names.texts.push(text);
        let number = names.texts.len() as u32;
        names.numbers.get_or_insert_default().insert(text, number);
        Label(number)
    }

    /// The name, empty for none.
    pub(crate) fn text(self) -> &'static str {
        let names = NAMES.lock();
        match self.0 {
            0 => "",
            n => names.texts.get(n as usize - 1).copied().unwrap_or("other"),
        }
    }
}

/// The number of a place, made on first use; 0 when the table is full.
pub(crate) fn place(location: &'static Location<'static>) -> u32 {
    let mut places = PLACES.lock();
    if let Some(&number) = places.numbers.get_or_insert_default().get(location) {
        return number;
    }
    if places.all.len() >= MAX_LABELS {
        return 0;
    }
    places.all.push(location);
    let number = places.all.len() as u32;
    places.numbers.get_or_insert_default().insert(location, number);
    number
}

/// The place with this number.
#[cfg(not(loom))]
pub(crate) fn location(place: u32) -> Option<&'static Location<'static>> {
    PLACES.lock().all.get((place as usize).checked_sub(1)?).copied()
}
