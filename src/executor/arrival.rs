//! Arrival order: tickets are committed one after another, whoever ran them.
//!
//! | field | written by | read by |
//! |---|---|---|
//! | `arrivals` | whoever admits, ticket and place in one step | workers take from the front |
//! | `ring[ticket]` | the worker that has the ticket puts it; the server takes it | the server |
//! | `serving` | the server | workers, for room in the ring |
//! | `front`, `worth_help` | whoever has the lock of `arrivals` | workers |
//! | `server` | whoever serves | - |
//! | `woken` | whoever commits, under the baton | the server |
//!
//! S1: a worker that has run a ticket, or a few that follow one another, serves them if the first
//! is the one to be served and nobody serves. Else it keeps them while it runs further ones, as
//! long as those are brief, and looks again after each group: what they left is in its core's
//! cache. Before it runs anything else, and before it rests, it puts what it kept into the ring,
//! each group into the slot of its first ticket, and serves, unless somebody does. So nobody waits
//! longer for what a worker has kept than for what it is running. S2: the server takes
//! `ring[serving]`, or what it kept itself; it commits each ticket, or runs it again while it
//! holds the baton, where nothing can fail; then it moves `serving`. S3: whoever was woken by a
//! commit is served before the next ticket. S4: before it lets `server` go it puts back what it
//! has not served; after it, it fences and looks once more: a ticket put meanwhile has found it
//! busy. A ticket is taken only if it is less than a ring's length ahead of `serving`, and the
//! slot that it begins at was emptied when its predecessor there was served: so a slot never holds
//! two. Tickets are taken from the front, so the one that is served next has been taken, or can be
//! by anybody.

use super::{
    core::{Queued, Work},
    job::{Kind, Task},
};
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering, fault, fence, point};
use crossbeam_queue::SegQueue;
use crossbeam_utils::CachePadded;
use std::collections::VecDeque;

/// How far tickets are run ahead.
#[cfg(not(any(test, txloop_check)))]
pub(crate) const RING: usize = 128;
#[cfg(any(test, txloop_check))]
pub(crate) const RING: usize = 4;
/// The most read-only handlers that have their snapshot and have not ended; then all turns wait.
const MAX_VIEWING: usize = 512;

/// No ticket.
const NONE: u64 = u64::MAX;

/// Tickets whose turn has not come and that follow one another, lowest first.
pub(crate) type Group = VecDeque<Box<Task>>;

/// See the module.
pub(crate) struct Arrival {
    arrivals: Mutex<VecDeque<Queued>>,
    /// The lowest ticket that nobody has taken; [`NONE`] if all are taken.
    front: AtomicU64,
    /// Whether it is worth the help of those who only help.
    worth_help: AtomicBool,
    ring: Box<[Slot]>,
    serving: CachePadded<AtomicU64>,
    server: CachePadded<AtomicBool>,
    woken: SegQueue<Box<Task>>,
    viewing: AtomicUsize,
    /// Whether somebody is in the serial lane, where the ticket at the front belongs: then the
    /// others take nothing.
    lane_busy: AtomicBool,
    /// The wall clock of the ticket served last: what a woken handler gets.
    now_ns: AtomicU64,
}

/// A place in the ring.
#[derive(Default)]
struct Slot {
    group: Mutex<Group>,
    /// Whether there is a group: most looks at a slot are in vain and need no lock. Written under
    /// the lock.
    filled: AtomicBool,
}

impl Slot {
    fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Acquire)
    }

    /// Puts a group in, in exchange for an empty one.
    fn fill(&self, group: &mut Group) {
        let mut kept = self.group.lock();
        std::mem::swap(&mut *kept, group);
        assert!(group.is_empty(), "two tickets in one slot of the ring");
        self.filled.store(true, Ordering::Release);
    }

    /// Takes the group out, in exchange for an empty one; does nothing if there is none.
    fn empty(&self, group: &mut Group) {
        if self.is_filled() {
            let mut kept = self.group.lock();
            std::mem::swap(&mut *kept, group);
            self.filled.store(false, Ordering::Relaxed);
        }
    }
}

/// Whose turn it is.
pub(crate) enum Turn {
    /// One that was woken by the last commit.
    Woken(Box<Task>),
    /// The ticket that `serving` names.
    Ticket(Box<Task>),
}

impl Arrival {
    pub(crate) fn new() -> Self {
        Self {
            arrivals: Mutex::new(VecDeque::new()),
            front: AtomicU64::new(NONE),
            worth_help: AtomicBool::new(false),
            ring: (0..RING).map(|_| Slot::default()).collect(),
            serving: CachePadded::new(AtomicU64::new(1)),
            server: CachePadded::new(AtomicBool::new(false)),
            woken: SegQueue::new(),
            viewing: AtomicUsize::new(0),
            lane_busy: AtomicBool::new(false),
            now_ns: AtomicU64::new(0),
        }
    }

    /// Gives a task its ticket and its place, in one step.
    pub(crate) fn admit(&self, mut task: Box<Task>, ticket: impl FnOnce() -> u64) {
        let mut arrivals = self.arrivals.lock();
        task.ticket = ticket();
        task.job.admitted(task.ticket, task.now_ns);
        arrivals.push_back(Queued::Task(task));
        self.note_front(&arrivals);
    }

    /// The same for a series, which is made with its first ticket.
    pub(crate) fn admit_series(&self, series: impl FnOnce() -> Queued) {
        let mut arrivals = self.arrivals.lock();
        arrivals.push_back(series());
        self.note_front(&arrivals);
    }

    /// Relaxed, as everywhere: whoever pushes also fences before it looks for sleepers.
    fn note_front(&self, arrivals: &VecDeque<Queued>) {
        let (front, handled) = match arrivals.front() {
            None => (NONE, None),
            Some(Queued::Task(task)) => (task.ticket, Some(task.job.handled())),
            Some(Queued::Series(series)) => (series.next_ticket(), Some(series.handled())),
        };
        let worth_help = handled.is_some_and(|it| it.heat.is_worth_help(it.cost()));
        self.front.store(front, Ordering::Relaxed);
        self.worth_help.store(worth_help, Ordering::Relaxed);
    }

    /// How many of the tickets at the front may be run ahead: those less than a ring's length from
    /// their turn. Whoever takes more would keep them from whoever could run them in time.
    fn room(&self) -> usize {
        // Acquire: the slots of the ring are free.
        let end = self.serving.load(Ordering::Acquire) + RING as u64;
        let end = end + u64::from(fault!("ring-one-too-far"));
        end.saturating_sub(self.front.load(Ordering::Relaxed)) as usize
    }

    /// The lowest tickets that nobody has taken.
    pub(crate) fn next(&self, now_ns: u64) -> Option<Work> {
        point!(Turn);
        if self.room() == 0 {
            return None;
        }
        let mut arrivals = self.arrivals.lock();
        if !Self::front_is_laned(&arrivals, now_ns) {
            return self.take_from(&mut arrivals, false);
        }
        drop(arrivals);
        (!self.lane_busy.swap(true, Ordering::Acquire)).then_some(Work::InLane)
    }

    /// The same for those who only help.
    pub(crate) fn next_to_help(&self, now_ns: u64) -> Option<Work> {
        self.has_work_to_help().then(|| self.next(now_ns)).flatten()
    }

    /// Whether there is something for [`Arrival::next_to_help`], as far as this thread can see.
    pub(crate) fn has_work_to_help(&self) -> bool {
        self.worth_help.load(Ordering::Relaxed)
            && self.room() != 0
            && !self.lane_busy.load(Ordering::Relaxed)
    }

    /// Whether the ticket at the front belongs in the serial lane.
    fn front_is_laned(arrivals: &VecDeque<Queued>, now_ns: u64) -> bool {
        let heat = match arrivals.front() {
            Some(Queued::Task(task)) if task.job.kind() != Kind::Read => &task.job.handled().heat,
            Some(Queued::Series(series)) => &series.handled().heat,
            _ => return false,
        };
        heat.in_lane(now_ns)
    }

    /// Goes on in the serial lane; false when it is left.
    pub(crate) fn stays_in_lane(&self, now_ns: u64) -> bool {
        let laned = self.room() != 0 && Self::front_is_laned(&self.arrivals.lock(), now_ns);
        if !laned {
            self.lane_busy.store(false, Ordering::Release);
            fence(Ordering::SeqCst);
        }
        laned
    }

    /// Takes the lowest tickets for the serial lane.
    pub(crate) fn take_in_lane(&self) -> Option<Work> {
        point!(Turn);
        self.take_from(&mut self.arrivals.lock(), true)
    }

    /// Takes the lowest tickets, for the serial lane or to be run ahead.
    fn take_from(&self, arrivals: &mut VecDeque<Queued>, in_lane: bool) -> Option<Work> {
        loop {
            let room = self.room();
            if room == 0 {
                return None;
            }
            let work = match arrivals.pop_front()? {
                Queued::Task(task) => Some(Work::Task(task)),
                Queued::Series(series) => {
                    let handled = series.handled();
                    let most = match in_lane {
                        true => handled.cost().together(),
                        false => handled.heat.group_ahead(handled.cost()),
                    };
                    let members = series.claim(most.min(room));
                    if series.has_more() {
                        arrivals.push_front(Queued::Series(std::sync::Arc::clone(&series)));
                    }
                    (!members.is_empty()).then_some(Work::Members(series, members))
                }
            };
            self.note_front(arrivals);
            if work.is_some() {
                return work;
            }
        }
    }

    /// Whether a worker would find something, as far as this thread can see.
    pub(crate) fn has_work(&self) -> bool {
        self.room() != 0 && !self.lane_busy.load(Ordering::Relaxed) || self.is_unserved()
    }

    fn slot(&self, ticket: u64) -> &Slot {
        &self.ring[ticket as usize % RING]
    }

    /// Puts the tickets from `first` on into the ring (S1), in exchange for an empty group.
    pub(crate) fn put(&self, first: u64, group: &mut Group) {
        point!(Put);
        self.slot(first).fill(group);
        fence(Ordering::SeqCst);
        point!(Put);
    }

    /// Whether this ticket is the one to be served. Stays so while whoever has it keeps it.
    pub(crate) fn is_next(&self, ticket: u64) -> bool {
        self.serving.load(Ordering::Acquire) == ticket
    }

    /// Whether somebody could be served, and nobody serves: who does looks again when it ends.
    pub(crate) fn is_unserved(&self) -> bool {
        !self.server.load(Ordering::Relaxed) && self.has_turn() && !fault!("turn-unseen")
    }

    /// Whether somebody could be served.
    fn has_turn(&self) -> bool {
        let full = self.viewing.load(Ordering::Relaxed) >= MAX_VIEWING;
        let ticket = self.serving.load(Ordering::Acquire);
        !full && (!self.woken.is_empty() || self.slot(ticket).is_filled())
    }

    /// Becomes the server, unless there is one.
    pub(crate) fn try_serve(&self) -> bool {
        point!(Serve);
        !self.server.load(Ordering::Relaxed) && !self.server.swap(true, Ordering::Acquire)
    }

    /// Whose turn it is (S2, S3). For the server, which keeps the rest of the `group` it serves.
    pub(crate) fn turn(&self, group: &mut Group) -> Option<Turn> {
        if self.viewing.load(Ordering::Relaxed) >= MAX_VIEWING {
            return None;
        }
        point!(Turn);
        // Relaxed: the server stored it, or its predecessor.
        let serving = self.serving.load(Ordering::Relaxed);
        let ticket_first =
            fault!("woken-behind-ticket") && (!group.is_empty() || self.slot(serving).is_filled());
        // Looked at first: a `pop` in vain fences.
        if !ticket_first
            && !self.woken.is_empty()
            && let Some(mut task) = self.woken.pop()
        {
            task.now_ns = self.now_ns.load(Ordering::Relaxed);
            return Some(Turn::Woken(task));
        }
        if group.is_empty() {
            self.slot(serving).empty(group);
            #[cfg(txloop_check)]
            if fault!("next-ticket-first") && group.len() > 1 {
                group.swap(0, 1);
            }
        }
        let task = group.pop_front()?;
        self.now_ns.store(task.now_ns, Ordering::Relaxed);
        Some(Turn::Ticket(task))
    }

    /// Puts back what the server has not served (S4).
    pub(crate) fn put_back(&self, group: &mut Group) {
        if !group.is_empty() {
            self.slot(self.serving.load(Ordering::Relaxed)).fill(group);
        }
    }

    /// The ticket that was served has its place. For the server.
    pub(crate) fn next_ticket(&self) {
        let next = self.serving.load(Ordering::Relaxed) + 1;
        point!(Serve);
        self.serving.store(next, Ordering::Release);
        point!(Serve);
    }

    /// Ends serving; true if there may be somebody to be served whom nobody else sees (S4).
    pub(crate) fn end_serving(&self) -> bool {
        point!(Serve);
        self.server.store(false, Ordering::Release);
        fence(Ordering::SeqCst);
        self.has_turn()
    }

    /// Whether the tickets up to `last` have been served, and nobody waits who was woken. For the
    /// server.
    pub(crate) fn all_served(&self, last: u64) -> bool {
        self.serving.load(Ordering::Relaxed) > last && self.woken.is_empty()
    }

    /// A parked task has been woken.
    pub(crate) fn woken(&self, task: Box<Task>) {
        self.woken.push(task);
    }

    /// A read-only task has its snapshot.
    pub(crate) fn view_begins(&self) {
        self.viewing.fetch_add(1, Ordering::Relaxed);
    }

    /// A read-only task has ended; true if turns may have waited for it.
    pub(crate) fn view_ended(&self) -> bool {
        self.viewing.fetch_sub(1, Ordering::Relaxed) >= MAX_VIEWING
    }
}
