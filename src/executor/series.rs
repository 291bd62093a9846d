//! A batch of closures as one entry of a queue: workers take members of it, each with the next
//! ticket, and use their tasks again and again.

use super::{
    job::{Ended, Handled, How, Job, Kind, Verdict},
    transact::Panicked,
};
use crate::cell::text;
use crate::sync::{
    Arc, AtomicUsize, Ordering, Table,
    thread::{self, Thread},
};
use crate::transaction::Transaction;
use crossbeam_utils::CachePadded;
use std::{any::Any, ops::Range};

/// A series of jobs that differ only by their number: writes that nobody takes back, and whose
/// callbacks go to no loop of their own.
pub(crate) trait Series: Send + Sync {
    fn handled(&self) -> &Arc<Handled>;
    /// Takes up to `most` members that nobody has; none are left if it is empty.
    fn claim(&self, most: usize) -> Range<usize>;
    /// Whether members are left.
    fn has_more(&self) -> bool;
    /// The lowest ticket of the members that nobody has.
    fn next_ticket(&self) -> u64;
    /// The ticket of a member.
    fn ticket(&self, member: usize) -> u64;
    /// The wall clock at its admission.
    fn now_ns(&self) -> u64;
    /// A job that can become any member.
    fn job(self: Arc<Self>) -> Box<dyn Job>;
    /// An empty sheet for its members.
    fn sheet(self: Arc<Self>) -> Box<dyn Sheet>;
}

/// What members that ended on one thread answered, until the thread hands it in: for a few members
/// at once, because each time costs locks, which wait for all that the thread wrote before.
pub(crate) trait Sheet: Any + Send {
    /// Gives what is on it to the series.
    fn hand_in(&mut self);
    /// Whether the series has members that nobody has.
    fn has_others(&self) -> bool;
}

/// Closures that an executor runs together.
pub(crate) struct Batch<F, R> {
    closures: Vec<F>,
    handled: Arc<Handled>,
    first_ticket: u64,
    now_ns: u64,
    next: CachePadded<AtomicUsize>,
    /// By number, in pages. Padded: those of neighbours are written by different threads.
    pages: Box<[CachePadded<Table<Page<R>>>]>,
    /// How many pages are not full.
    open_pages: CachePadded<AtomicUsize>,
    caller: Thread,
}

/// The number of a member, and its answer.
type Answer<R> = (usize, Result<R, Panicked>);

/// Some answers.
struct Page<R> {
    /// Made by whoever has the first one.
    answers: Vec<Option<Result<R, Panicked>>>,
    count: usize,
}

/// How many answers are on a page: as many as a worker mostly ends together.
#[cfg(not(any(test, txloop_check)))]
const PAGE: usize = 16;
#[cfg(any(test, txloop_check))]
const PAGE: usize = 2;

impl<F, R> Batch<F, R>
where
    F: Fn(&Transaction) -> R + Send + Sync + 'static,
    R: Send + 'static,
{
    pub(crate) fn new(
        closures: Vec<F>,
        handled: Arc<Handled>,
        first_ticket: u64,
        now_ns: u64,
    ) -> Self {
        let pages = closures.len().div_ceil(PAGE);
        let empty = |_| CachePadded::new(Table::new(Page { answers: Vec::new(), count: 0 }));
        Self {
            pages: (0..pages).map(empty).collect(),
            open_pages: CachePadded::new(AtomicUsize::new(pages)),
            closures,
            handled,
            first_ticket,
            now_ns,
            next: CachePadded::new(AtomicUsize::new(0)),
            caller: thread::current(),
        }
    }

    /// Takes answers of members, together where they come on the same page.
    fn answer(&self, answers: impl IntoIterator<Item = Answer<R>>) {
        let mut answers = answers.into_iter().peekable();
        while let Some((member, _)) = answers.peek() {
            let page = member / PAGE;
            let members = PAGE.min(self.closures.len() - page * PAGE);
            let full = {
                let mut taken = self.pages[page].lock();
                if taken.answers.is_empty() {
                    taken.answers.resize_with(members, || None);
                }
                while let Some((member, answer)) = answers.next_if(|(n, _)| n / PAGE == page) {
                    taken.answers[member % PAGE] = Some(answer);
                    taken.count += 1;
                }
                taken.count == members
            };
            // Relaxed: the locks order the answers.
            if full && self.open_pages.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.caller.unpark();
            }
        }
    }

    /// Waits on the thread that made the batch, and takes the answers.
    pub(crate) fn wait(&self) -> Vec<Result<R, Panicked>> {
        while self.open_pages.load(Ordering::Relaxed) != 0 {
            thread::park();
        }
        let mut sorted = Vec::with_capacity(self.closures.len());
        for page in &self.pages {
            let answers = std::mem::take(&mut page.lock().answers);
            sorted.extend(answers.into_iter().map(|answer| answer.expect("all have ended")));
        }
        sorted
    }
}

struct Member<F, R> {
    batch: Arc<Batch<F, R>>,
    number: usize,
    /// The answer of the last attempt.
    answer: Option<R>,
    /// Answers of attempts that did not stand, dropped with the job.
    stale: Vec<R>,
}

struct Answers<F, R> {
    batch: Arc<Batch<F, R>>,
    answers: Vec<Answer<R>>,
}

impl<F, R> Sheet for Answers<F, R>
where
    F: Fn(&Transaction) -> R + Send + Sync + 'static,
    R: Send + 'static,
{
    fn hand_in(&mut self) {
        self.batch.answer(self.answers.drain(..));
    }

    fn has_others(&self) -> bool {
        self.batch.has_more()
    }
}

impl<F, R> Member<F, R> {
    /// What it answers in the end.
    fn answer(&mut self, how: How) -> Answer<R> {
        let answer = match (how, self.answer.take()) {
            (How::Done, Some(answer)) => Ok(answer),
            (How::Panicked(panicked), last) => {
                self.stale.extend(last);
                Err(panicked)
            }
            _ => unreachable!("a member is not cancelled, and has an answer when it is done"),
        };
        (self.number, answer)
    }
}

impl<F, R> Series for Batch<F, R>
where
    F: Fn(&Transaction) -> R + Send + Sync + 'static,
    R: Send + 'static,
{
    fn handled(&self) -> &Arc<Handled> {
        &self.handled
    }

    fn claim(&self, most: usize) -> Range<usize> {
        // Relaxed: the closures were there before the batch was queued.
        let from = self.next.fetch_add(most, Ordering::Relaxed).min(self.closures.len());
        from..(from + most).min(self.closures.len())
    }

    fn has_more(&self) -> bool {
        self.next.load(Ordering::Relaxed) < self.closures.len()
    }

    fn next_ticket(&self) -> u64 {
        self.ticket(self.next.load(Ordering::Relaxed))
    }

    fn ticket(&self, member: usize) -> u64 {
        self.first_ticket + member as u64
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn job(self: Arc<Self>) -> Box<dyn Job> {
        Box::new(Member { batch: self, number: 0, answer: None, stale: Vec::new() })
    }

    fn sheet(self: Arc<Self>) -> Box<dyn Sheet> {
        Box::new(Answers { batch: self, answers: Vec::new() })
    }
}

impl<F, R> Job for Member<F, R>
where
    F: Fn(&Transaction) -> R + Send + Sync + 'static,
    R: Send + 'static,
{
    fn handled(&self) -> &Arc<Handled> {
        &self.batch.handled
    }

    fn kind(&self) -> Kind {
        Kind::Write
    }

    fn answer_text(&self) -> Option<String> {
        self.answer.as_ref().and_then(|answer| text::of(answer))
    }

    fn attempt(&mut self, tx: &Transaction) -> Verdict {
        self.stale.extend(self.answer.take());
        self.answer = Some((self.batch.closures[self.number])(tx));
        Verdict::Commit
    }

    fn ended(&mut self, ended: Ended) {
        let answer = self.answer(ended.how);
        self.batch.answer([answer]);
    }

    fn ended_on(&mut self, ended: Ended, sheet: &mut dyn Sheet) {
        let sheet: &mut dyn Any = sheet;
        let sheet = sheet.downcast_mut::<Answers<F, R>>();
        let sheet = sheet.expect("a sheet is of the series that its thread works on");
        sheet.answers.push(self.answer(ended.how));
    }

    fn assign(&mut self, member: usize) {
        self.number = member;
    }
}
