//! w1: transactions that read ten random cells of 1,024.

use super::Group;
use crate::{
    access::{Access, Backend, Job},
    backends::Tl2Logged,
    cells::{Named, Workload},
    contest::{Bench, Series, take_turns},
    random::Random,
};
use std::array;

/// The names of w1.
pub(crate) const GROUP: Group = Group {
    title: "w1: read 10 random cells of 1,024",
    workloads: &["w1"],
    measure,
    notes: |_| Vec::new(),
};

/// Cells to choose from.
const CELLS: usize = 1_024;
/// Cells that a job reads.
const READS: usize = 10;

/// Reads the cells at random.
struct Reads;

/// Adds up some cells.
#[derive(Clone, Copy)]
struct SumOf([u16; READS]);

impl Job for SumOf {
    type Answer = i64;

    #[inline]
    fn run<A: Access>(&self, cells: &mut A) -> Result<i64, A::Stop> {
        let mut sum = 0;
        for cell in self.0 {
            sum += cells.get(usize::from(cell))?;
        }
        Ok(sum)
    }
}

/// A thread: what it is going to do, and what it found.
struct Reader {
    random: Random,
    jobs: u64,
    total: i64,
}

impl Reader {
    #[inline]
    fn next(&mut self) -> SumOf {
        self.jobs += 1;
        SumOf(array::from_fn(|_| self.random.below(CELLS) as u16))
    }
}

impl Workload for Reads {
    type State = Reader;

    /// Cell n holds n.
    fn values(&self) -> Vec<i64> {
        (0..CELLS as i64).collect()
    }

    fn begin(&self, thread: usize) -> Reader {
        Reader { random: Random::of_thread(thread), jobs: 0, total: 0 }
    }

    #[inline]
    fn step<B: Backend>(&self, cells: &B, reader: &mut Reader) {
        let job = reader.next();
        reader.total += cells.look(&job);
    }

    /// Does the same work once more, on paper.
    fn check(&self, before: &[i64], after: &[i64], readers: &[Reader]) {
        assert_eq!(before, after, "a cell changed that nobody wrote");
        for (thread, reader) in readers.iter().enumerate() {
            let mut again = self.begin(thread);
            let sum = |job: SumOf| job.0.iter().map(|&n| i64::from(n)).sum::<i64>();
            let total: i64 = (0..reader.jobs).map(|_| sum(again.next())).sum();
            assert_eq!(reader.total, total, "thread {thread}: the total of all sums");
        }
    }
}

fn measure(bench: &Bench) -> Vec<Series> {
    let reads = Named::new("w1", Reads);
    let mut entries = reads.entries(bench);
    entries.extend(reads.entries_of::<Tl2Logged>(bench));
    take_turns(bench.plan, entries)
}
