//! What an executor knows of the closures that it is given, by their names: it outlives the call
//! and the batch. (A route knows its own handler.)

use super::job::Handled;
use crate::cell::labels::Label;
use crate::sync::{Arc, Table};
use std::collections::HashMap;

/// One handler for each name, kept as long as names are: see [`Label`] for their bound.
#[derive(Debug, Default)]
pub(crate) struct Handlers(Table<HashMap<&'static str, Arc<Handled>>>);

impl Handlers {
    pub(crate) fn named(&self, name: &str) -> Arc<Handled> {
        let mut known = self.0.lock();
        if let Some(handled) = known.get(name) {
            return Arc::clone(handled);
        }
        // Where there are too many names, all further ones are the same.
        let name = Label::of(name).text();
        Arc::clone(known.entry(name).or_insert_with(|| Handled::new(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_one_handler() {
        let handlers = Handlers::default();
        let first = handlers.named("a handler");
        first.ran(7_000);
        assert!(Arc::ptr_eq(&first, &handlers.named("a handler")));
        assert!(!Arc::ptr_eq(&first, &handlers.named("another")));
        assert!(!Arc::ptr_eq(&first, &Handlers::default().named("a handler")));
    }
}
