//! Which of the dropped cells a hold frees, and when (D3 to D5).

use super::Held;
use crate::cell::{memory::Dropped, node::DeadCell};
use crate::sync::fault;

/// How many dropped cells one hold looks at.
const FREED: usize = 256;
/// The same for a collection by an idle thread.
pub(super) const FREED_IDLE: usize = 4096;

impl Held {
    /// How many dropped cells a hold looks at: more where there are many, so that they do not
    /// outrun it.
    fn looks(&self) -> usize {
        (self.memory.dropped_cells / 8).clamp(FREED, FREED_IDLE)
    }

    /// (D5) Whether what was dropped at this watermark is seen by views that began at it, and
    /// nothing is written: views that begin one after another would keep it for good. Then an empty
    /// version follows, for the next ones to begin at.
    pub(super) fn awaits_version(&self, watermark: u64) -> bool {
        let at_it = |(stamp, _): &(u64, Vec<Dropped>)| *stamp == watermark;
        self.dropped.front().is_some_and(at_it) && self.active.oldest() == watermark
    }

    /// (D3, D4) Frees cells dropped before every active snapshot, unless a queue still has them.
    /// How many may be left for which there was no time.
    pub(super) fn free_dropped(&mut self, dead: &mut Vec<DeadCell>, idle: bool) -> usize {
        let oldest = self.active.oldest();
        let oldest = if fault!("drop-unannounced") { u64::MAX } else { oldest };
        let mut looks = if idle { FREED_IDLE } else { self.looks() };
        for _ in 0..self.dropped.len() {
            if self.dropped.front().is_none_or(|(stamp, _)| *stamp >= oldest) {
                return 0;
            }
            let Some((stamp, mut cells)) = self.dropped.pop_front() else { break };
            let mut looked_at = cells.split_off(cells.len().saturating_sub(looks));
            looks -= looked_at.len();
            if !cells.is_empty() {
                self.dropped.push_front((stamp, cells));
            }
            looked_at.retain(|&dropped| {
                let keep = dropped.is_kept();
                if !keep {
                    dead.push(self.memory.bury(dropped));
                }
                keep
            });
            if !looked_at.is_empty() {
                self.dropped.push_back((stamp, looked_at));
            }
            if looks == 0 {
                return self.memory.dropped_cells - self.owned.len();
            }
        }
        0
    }

    /// (D3', D4) Frees cells of blocks that a version owned, however old the active snapshots are.
    /// How many are left for which there was no time.
    pub(super) fn free_owned(&mut self, dead: &mut Vec<DeadCell>, idle: bool) -> usize {
        let (all, looks) = (self.owned.len(), if idle { FREED_IDLE } else { self.looks() });
        for _ in 0..looks.min(all) {
            let Some(dropped) = self.owned.pop_front() else { break };
            if dropped.is_kept() {
                self.owned.push_back(dropped);
            } else {
                dead.push(self.memory.bury(dropped));
            }
        }
        if self.owned.is_empty() {
            // A map that was dropped leaves no room for all of its cells behind.
            self.owned.shrink_to(FREED);
        }
        all.saturating_sub(looks)
    }
}
