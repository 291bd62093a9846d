//! What collections keep in their cells.

use super::boxes::{Seen, Tailed};
use std::{any::Any, mem::needs_drop};

/// Of more entries there is no text: it would take long.
const MOST_ENTRIES: usize = 4_096;

/// A value that a collection keeps in a cell.
pub(crate) trait Kept: Send + Sync + Sized + 'static {
    /// Whether to drop this value is to free memory and no more. Then it need not be put off.
    fn is_plain(&self) -> bool {
        !needs_drop::<Self>()
    }

    /// What of users is in it, as far as there is a text of that.
    fn text(&self) -> Option<String> {
        None
    }

    /// The same of an entry that lies behind it.
    fn text_of_entry(entry: &dyn Any) -> Option<String> {
        of_user(entry)
    }
}

impl<H: Kept, E: Send + Sync + 'static> Kept for Tailed<H, E> {
    fn is_plain(&self) -> bool {
        self.head().is_plain() && !needs_drop::<E>()
    }

    fn text(&self) -> Option<String> {
        list(self.entries(), |entry| H::text_of_entry(entry))
    }
}

/// What of a user's is in a value of this type, if the version has one.
pub(super) fn text_of<T: Kept>(seen: Seen<'_>) -> Option<String> {
    seen.downcast::<T>()?.text()
}

/// A value of a user's.
pub(crate) fn of_user(value: &dyn Any) -> Option<String> {
    #[cfg(not(loom))]
    return super::text::of(value);
    #[cfg(loom)]
    return None;
}

/// A key and its value, as far as there is a text of either.
pub(crate) fn pair<K: 'static, V: 'static>((key, value): &(K, V)) -> Option<String> {
    match (of_user(key), of_user(value)) {
        (None, None) => None,
        (key, value) => {
            let known = |text: Option<String>| text.unwrap_or_else(|| "?".to_owned());
            Some(format!("{}: {}", known(key), known(value)))
        }
    }
}

/// All of them, if there is a text of any; those of which there is none as `?`.
pub(crate) fn list<E>(entries: &[E], text: impl Fn(&E) -> Option<String>) -> Option<String> {
    if entries.len() > MOST_ENTRIES {
        return None;
    }
    let texts: Vec<_> = entries.iter().map(text).collect();
    if !texts.is_empty() && texts.iter().all(Option::is_none) {
        return None;
    }
    let known: Vec<_> = texts.iter().map(|text| text.as_deref().unwrap_or("?")).collect();
    Some(format!("[{}]", known.join(", ")))
}
