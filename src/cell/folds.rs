//! Folds: writes whose value is made at commit, from whatever the cell holds then.
//!
//! A fold reads nothing while the handler runs, so handlers that fold into one cell do not
//! conflict. The holder of the baton runs it in phase a of the commit (C4), into a box that the
//! worker has prepared. A *merge* combines a `Copy` operand, which lies in the box already, by a
//! function of this library, which may compare values by users' `Ord`; a *later* applies steps of
//! users.

use super::{
    boxes::{Seen, Version},
    deferred, kept,
    labels::Origin,
};
use crate::sync::fault;
use std::{any::Any, marker::PhantomData, sync::Arc};

/// A way to combine a value with an operand: associative, and commutative for whoever wants
/// handlers to commute.
///
/// A cell that is merged into is private to one collection, which uses one kind of merge on it.
pub(crate) trait Merge: 'static {
    /// What cell and operand hold.
    type Value: Copy + Send + Sync + 'static;
    /// The value after `operand` came behind `old`.
    fn merge(old: Self::Value, operand: Self::Value) -> Self::Value;
}

/// One step of a later write.
pub(crate) trait Step<T>: Send + Sync {
    /// The value after it.
    fn take(&self, old: &T) -> T;

    /// What of users it brings, as far as there is a text of that.
    fn text(&self) -> Option<String> {
        None
    }
}

impl<T, F: Fn(&T) -> T + Send + Sync> Step<T> for F {
    fn take(&self, old: &T) -> T {
        self(old)
    }
}

/// How the value of a box is made.
pub(super) enum Fold {
    Merge(&'static MergeOps),
    Later(Box<dyn Later>),
}

impl Fold {
    /// Makes the value of `own`, the box that was made for this fold, from `old`, the cell's value;
    /// what lies between goes to `spill`. Runs the steps of users.
    pub(super) fn run(&self, old: Seen<'_>, own: &mut Version, spill: &mut Vec<Version>) {
        match self {
            Fold::Merge(ops) => {
                (ops.merge)(old, own);
                if fault!("fold-twice") {
                    (ops.merge)(old, own);
                }
            }
            Fold::Later(later) => later.run(old, own, spill),
        }
    }
}

/// A [`Merge`] without its type.
pub(super) struct MergeOps {
    /// Combines the operand in the box with the old value, in place.
    merge: fn(Seen<'_>, &mut Version),
    /// A second box with the same operand.
    pub(super) copy: fn(&mut Version) -> Version,
}

pub(super) struct MergeOf<M>(PhantomData<M>);

impl<M: Merge> MergeOf<M> {
    pub(super) const OPS: MergeOps = MergeOps { merge: merge::<M>, copy: copy::<M> };
}

fn merge<M: Merge>(old: Seen<'_>, own: &mut Version) {
    match (old.downcast::<M::Value>(), own.value_mut::<M::Value>()) {
        (Some(old), Some(own)) => *own = M::merge(*old, *own),
        _ => unreachable!("{ONE_TYPE}"),
    }
}

fn copy<M: Merge>(own: &mut Version) -> Version {
    let origin = own.origin();
    match own.value_mut::<M::Value>() {
        Some(operand) => Version::new(*operand, origin),
        None => unreachable!("{ONE_TYPE}"),
    }
}

const ONE_TYPE: &str = "a cell has values of one type, and so have the boxes meant for it";

/// The steps of one attempt for one cell, without the cell's type.
pub(super) trait Later: Send {
    /// See [`Fold::run`].
    fn run(&self, old: Seen<'_>, own: &mut Version, spill: &mut Vec<Version>);
    /// The same steps again.
    fn share(&self) -> Box<dyn Later>;
    /// An empty box for the value.
    fn reserve(&self, origin: Origin) -> Version;
    /// Takes the last step back.
    fn pop(&mut self);
    /// What of users the steps bring, if there is a text of any.
    fn text(&self) -> Option<String>;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

pub(super) struct Steps<T: 'static>(Vec<Arc<dyn Step<T>>>);

impl<T: Send + Sync + 'static> Steps<T> {
    /// A fold of one step.
    pub(super) fn fold(step: Arc<dyn Step<T>>) -> Fold {
        Fold::Later(Box::new(Self(vec![step])))
    }

    /// Adds a step to a fold of the same cell.
    pub(super) fn add(fold: &mut Fold, step: Arc<dyn Step<T>>) {
        let steps = match fold {
            Fold::Later(later) => later.as_any_mut().downcast_mut::<Self>(),
            Fold::Merge(_) => None,
        };
        match steps {
            Some(steps) => steps.0.push(step),
            None => unreachable!("{ONE_TYPE}"),
        }
    }
}

impl<T: Send + Sync + 'static> Later for Steps<T> {
    fn run(&self, old: Seen<'_>, own: &mut Version, spill: &mut Vec<Version>) {
        let (Some(old), Some((last, first))) = (old.downcast::<T>(), self.0.split_last()) else {
            // No step is left when all were undone: then nothing names this fold.
            unreachable!("{ONE_TYPE}")
        };
        let mut between: Option<Version> = None;
        for step in first {
            let value = match &mut between {
                None => step.take(old),
                Some(version) => step.take(version.value_mut().map_or(old, |value| value)),
            };
            // In a box, so that a destructor runs where destructors may.
            spill.extend(between.replace(Version::new(value, Origin::default())));
        }
        let value = match &mut between {
            None => last.take(old),
            Some(version) => last.take(version.value_mut().map_or(old, |value| value)),
        };
        spill.extend(between);
        if own.fill(value).is_err() {
            unreachable!("{ONE_TYPE}")
        }
    }

    fn share(&self) -> Box<dyn Later> {
        Box::new(Self(self.0.clone()))
    }

    fn reserve(&self, origin: Origin) -> Version {
        Version::reserved::<T>(origin)
    }

    fn pop(&mut self) {
        // Its destructor may want to use the log that is being changed.
        deferred::drop_later(self.0.pop());
    }

    fn text(&self) -> Option<String> {
        kept::list(&self.0, |step| step.text())
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl<T: 'static> Drop for Steps<T> {
    /// What the steps captured is dropped where destructors may run.
    fn drop(&mut self) {
        let steps = std::mem::take(&mut self.0);
        deferred::drop_later(steps);
    }
}
