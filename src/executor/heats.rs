//! How often closures fail, kept by their names: it outlives the call and the batch. (A route knows
//! its own handler.)

use super::{heat::Heat, job::Handled};
use crate::cell::labels::Label;
use crate::sync::{Arc, Table};
use crossbeam_utils::CachePadded;
use std::collections::HashMap;

/// The heat of all handlers of one name. Padded: its counter of owners changes with each call.
pub(crate) type Shared = Arc<CachePadded<Heat>>;

/// One heat and label for each name, kept as long as names are: see [`Label`] for their bound.
#[derive(Debug, Default)]
pub(crate) struct Heats(Table<HashMap<&'static str, (Label, Shared)>>);

impl Heats {
    /// A handler of this name. What its runs cost is not kept: that cancels and classes go by.
    pub(crate) fn handled(&self, name: &str) -> Arc<Handled> {
        let mut known = self.0.lock();
        if let Some((label, heat)) = known.get(name) {
            return Handled::sharing(*label, Arc::clone(heat));
        }
        let label = Label::of(name);
        // Where there are too many names, all further ones are the same.
        let (_, heat) = known.entry(label.text()).or_insert_with(|| (label, Shared::default()));
        Handled::sharing(label, Arc::clone(heat))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_of_one_name_have_one_heat() {
        let (heats, others) = (Heats::default(), Heats::default());
        let [first, second] = ["a handler"; 2].map(|name| heats.handled(name));
        (0..100).for_each(|_| first.heat.failed(7));
        first.ran(7_000);
        assert!(second.heat.in_lane(7) && second.cost().0 == 0);
        for other in [heats.handled("another"), others.handled("a handler")] {
            assert!(!other.heat.in_lane(7));
        }
    }
}
