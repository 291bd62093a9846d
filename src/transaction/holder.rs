//! Who runs while holding the baton now, for whoever asks.
//!
//! | field | written by | read by |
//! |---|---|---|
//! | `handler`, then `since_ns` | the holder, before it runs a handler | anyone who asks |
//! | `since_ns` = 0 | the holder, after it | the same |

use crate::cell::labels::Label;
use crate::sync::{AtomicU32, AtomicU64, Ordering, global, now_ns};
use crossbeam_utils::CachePadded;
use std::{fmt, time::Duration};

struct Running {
    handler: AtomicU32,
    /// 0: nobody.
    since_ns: AtomicU64,
}

global! {
    static RUNNING: CachePadded<Running> =
        CachePadded::new(Running { handler: AtomicU32::new(0), since_ns: AtomicU64::new(0) });
}

/// Says that a handler runs from now on. Called by the holder.
#[inline]
pub(crate) fn runs(handler: Label, began_ns: u64) {
    // Relaxed: whoever asks looks at the time before and after it looks at the name.
    RUNNING.handler.store(handler.0, Ordering::Relaxed);
    RUNNING.since_ns.store(began_ns.max(1), Ordering::Release);
}

/// Says that it runs no longer. Called by the holder.
#[inline]
pub(crate) fn ran() {
    RUNNING.since_ns.store(0, Ordering::Release);
}

/// A handler that runs while nobody else can commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The name of the handler; empty for a transaction outside any executor.
    pub handler: &'static str,
    /// For how long.
    pub since: Duration,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handler = if self.handler.is_empty() { "a transaction" } else { self.handler };
        let ms = self.since.as_secs_f64() * 1e3;
        write!(f, "{handler} has kept everybody from committing for {ms:.1} ms")
    }
}

/// The handler that has run for at least `age` while nobody else could commit, if there is one: it
/// lost too often, or its turn in arrival order came before it could be run ahead, or it runs in
/// [`irrevocably`](crate::irrevocably), or on the only thread of its executor. The steps of
/// [`Transaction::update_later`](crate::Transaction::update_later), which are run by whoever
/// commits, are not told of.
///
/// For an operator or a watchdog that asks now and then: a server that answers nothing may be
/// waiting for exactly one handler, and this names it while it runs. What has ended is in
/// [`Stats::long_holds`](crate::Stats::long_holds).
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use txloop::{holding_for, irrevocably};
///
/// irrevocably(|_| assert!(holding_for(Duration::ZERO).is_some()));
/// assert_eq!(holding_for(Duration::from_secs(3600)), None);
/// ```
#[must_use]
pub fn holding_for(age: Duration) -> Option<Holder> {
    let since_ns = RUNNING.since_ns.load(Ordering::Acquire);
    let handler = Label(RUNNING.handler.load(Ordering::Relaxed));
    // The name of another one: the one that was asked about has ended meanwhile.
    let same = RUNNING.since_ns.load(Ordering::Acquire) == since_ns;
    let since = Duration::from_nanos(now_ns().saturating_sub(since_ns));
    (same && since_ns != 0 && since >= age).then(|| Holder { handler: handler.text(), since })
}
