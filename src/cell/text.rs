//! Values of common types as text, for reports and comparisons.
//!
//! What a cell holds need not be printable nor comparable. Numbers, strings, times and a few more
//! are recognised by their type; of the rest only the type is known.

use super::boxes::Seen;
use std::{
    any::Any,
    time::{Duration, Instant, SystemTime},
};

macro_rules! common {
    ($($ty:ty),* $(,)?) => {
        /// A value without its type.
        pub(super) fn of_seen(seen: Seen<'_>) -> Option<String> {
            seen.text()$(.or_else(|| seen.downcast::<$ty>().map(|value| format!("{value:?}"))))*
        }

        /// A value of any type.
        pub(crate) fn of(value: &dyn Any) -> Option<String> {
            None$(.or_else(|| value.downcast_ref::<$ty>().map(|value| format!("{value:?}"))))*
        }
    };
}

common!(
    (),
    bool,
    char,
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    f32,
    f64,
    String,
    &'static str,
    Box<str>,
    Vec<u8>,
    Vec<u32>,
    Vec<u64>,
    Vec<i32>,
    Vec<i64>,
    Vec<String>,
    Option<u32>,
    Option<u64>,
    Option<i32>,
    Option<i64>,
    Option<usize>,
    Option<String>,
    (u32, u32),
    (u64, u64),
    (i32, i32),
    (i64, i64),
    (usize, usize),
    Duration,
    Instant,
    SystemTime,
    Option<Duration>,
    Option<Instant>,
    Option<SystemTime>,
);
