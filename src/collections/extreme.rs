//! [`TMax`] and [`TMin`]: the largest and the smallest of what many handlers offer.

use crate::cell::{TVar, folds::Merge};
use crate::transaction::{Read, Transaction};
use std::marker::PhantomData;

struct Largest<T>(PhantomData<T>);
struct Smallest<T>(PhantomData<T>);

impl<T: Ord + Copy + Send + Sync + 'static> Merge for Largest<T> {
    type Value = T;

    fn merge(old: T, operand: T) -> T {
        old.max(operand)
    }
}

impl<T: Ord + Copy + Send + Sync + 'static> Merge for Smallest<T> {
    type Value = T;

    fn merge(old: T, operand: T) -> T {
        old.min(operand)
    }
}

macro_rules! extreme {
    ($name:ident, $merge:ident, $what:literal, $offered:literal, $kept:literal) => {
        #[doc = concat!("The ", $what, " value that was offered.")]
        ///
        /// Offers do not read, so handlers that only offer do not conflict.
        ///
        /// The comparison runs at commit, while other commits wait: it must neither panic nor look
        /// at cells, and is meant for numbers, times and small tuples of them.
        ///
        /// # Conflict unit
        /// The value. Offers do not conflict with each other.
        ///
        /// # Cost
        /// O(1) each; an offer is a write of a cell, also when it changes nothing.
        ///
        /// # Examples
        /// ```
        #[doc = concat!("use txloop::{", stringify!($name), ", atomically};")]
        ///
        #[doc = concat!("let seen = ", stringify!($name), "::new(5);")]
        #[doc = concat!("atomically(|tx| seen.offer(tx, ", $offered, "));")]
        #[doc = concat!("assert_eq!(atomically(|tx| *seen.get(tx)), ", $kept, ");")]
        /// ```
        #[derive(Debug, Clone)]
        pub struct $name<T: Ord + Copy + Send + Sync + 'static>(TVar<T>);

        impl<T: Ord + Copy + Send + Sync + 'static> $name<T> {
            /// One that begins with `value`.
            #[must_use]
            pub fn new(value: T) -> Self {
                Self(TVar::new(value))
            }

            /// The same, with a name for the conflict log.
            #[must_use]
            pub fn named(name: &'static str, value: T) -> Self {
                Self(TVar::named(name, value))
            }

            #[doc = concat!("Offers a value: it is kept if it is the ", $what, " one.")]
            ///
            /// # Panics
            /// Inside a [`Snapshot`](crate::Snapshot).
            ///
            /// # Re-run
            /// Never the cause of one, unless the same handler reads the value.
            #[inline]
            #[track_caller]
            pub fn offer(&self, tx: &Transaction, value: T) {
                tx.merge::<$merge<T>>(&self.0, value);
            }

            /// The value, this transaction's own offers included.
            ///
            /// # Re-run
            /// In a transaction it is remembered as read, and every offer of others is a conflict.
            #[track_caller]
            pub fn get<'a>(&self, view: &'a impl Read) -> &'a T {
                view.get(&self.0)
            }

            /// Starts again from `value`.
            ///
            /// # Panics
            /// As an offer.
            ///
            /// # Re-run
            /// As a write of a cell: it does not read.
            #[track_caller]
            pub fn set(&self, tx: &Transaction, value: T) {
                tx.set(&self.0, value);
            }
        }
    };
}

extreme!(TMax, Largest, "largest", 9, 9);
extreme!(TMin, Smallest, "smallest", 3, 3);
