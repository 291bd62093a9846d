//! A reference: TL2 (Dice, Shalev, Shavit 2006) for numbers only, with one version of each cell,
//! and nothing that costs more than the algorithm itself.
//!
//! A cell is a word and a value. The *word* is the version of the value, times two, and odd while a
//! committing thread holds the cell. A run reads the clock first (*bound*): a cell whose version is
//! not above it belongs to the state that the run sees. A higher one makes the run read the clock
//! again, which is in order if nothing that was read has changed since (*extension*). A commit
//! holds the cells that it writes, ticks the clock, checks what it read, and publishes its values
//! with the new version.

use crate::access::{Access, Backend, Job, Runs};
use crossbeam_utils::{Backoff, CachePadded};
use std::{
    cell::RefCell,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

/// The bit of a word that says that the cell is held.
const HELD: u64 = 1;
/// Up to so many writes are searched one by one; more have an index.
const FEW: usize = 8;

/// Cells and their clock.
pub(crate) struct Tl2 {
    /// The newest version, times two.
    clock: CachePadded<AtomicU64>,
    cells: Vec<Cell>,
}

struct Cell {
    word: AtomicU64,
    value: AtomicI64,
}

/// The run has seen something that another thread changes.
struct Conflict;

impl Cell {
    /// Value and version, if both belong together.
    #[inline]
    fn read(&self) -> Result<(i64, u64), Conflict> {
        // Acquire, all three: a value is newer than the word before it, and the word after it is
        // newer than the value, whose writer held the cell before storing it.
        let word = self.word.load(Ordering::Acquire);
        let value = self.value.load(Ordering::Acquire);
        let again = self.word.load(Ordering::Acquire);
        if word == again && word & HELD == 0 { Ok((value, word)) } else { Err(Conflict) }
    }
}

/// What a run has read and written. Each thread has one and uses it again.
#[derive(Default)]
struct Log {
    reads: Vec<u32>,
    writes: Vec<(u32, i64)>,
    /// Where in `writes` a cell is, plus one; zero is free. Open addressing; used with more than
    /// [`FEW`] writes, and then at least twice as long as they are.
    index: Vec<u32>,
}

thread_local! {
    static LOG: RefCell<Log> = RefCell::default();
}

impl Log {
    fn clear(&mut self) {
        self.reads.clear();
        if self.writes.len() > FEW {
            self.index.fill(0);
        }
        self.writes.clear();
    }

    /// Where in `writes` a cell is.
    #[inline]
    fn position(&self, cell: u32) -> Option<usize> {
        if self.writes.len() <= FEW {
            return self.writes.iter().position(|&(written, _)| written == cell);
        }
        self.slot(cell).ok()
    }

    /// Where in `writes` the index has a cell, or the free place of the index for it.
    fn slot(&self, cell: u32) -> Result<usize, usize> {
        let mask = self.index.len() - 1;
        let mut at = (cell as usize).wrapping_mul(0x9E37_79B1) & mask;
        loop {
            match self.index[at] {
                0 => return Err(at),
                entry if self.writes[entry as usize - 1].0 == cell => return Ok(entry as usize - 1),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Adds a cell that has not been written yet.
    fn push(&mut self, cell: u32, value: i64) {
        self.writes.push((cell, value));
        let count = self.writes.len();
        if count <= FEW {
            return;
        }
        let first_new = if 2 * count > self.index.len() {
            let longer = (4 * count).next_power_of_two();
            self.index.clear();
            self.index.resize(longer, 0);
            0
        } else if count == FEW + 1 {
            0
        } else {
            count - 1
        };
        for entry in first_new..count {
            if let Err(free) = self.slot(self.writes[entry].0) {
                self.index[free] = entry as u32 + 1;
            }
        }
    }
}

impl Backend for Tl2 {
    const NAME: &'static str = "tl2";
    const LOOKS: bool = true;

    fn new(values: &[i64]) -> Self {
        let cell = |&value| Cell { word: AtomicU64::new(0), value: AtomicI64::new(value) };
        Self { clock: CachePadded::default(), cells: values.iter().map(cell).collect() }
    }

    #[inline]
    fn run<J: Job>(&self, job: &J) -> J::Answer {
        self.until_committed(|| {
            LOG.with_borrow_mut(|log| {
                log.clear();
                let bound = self.clock.load(Ordering::Acquire);
                let mut writing = Writing { shared: self, log, bound };
                let answer = job.run(&mut writing)?;
                writing.commit()?;
                Ok(answer)
            })
        })
    }

    /// Without a log, and so without extension.
    #[inline]
    fn look<J: Job>(&self, job: &J) -> J::Answer {
        self.until_committed(|| {
            let bound = self.clock.load(Ordering::Acquire);
            job.run(&mut Reading { shared: self, bound })
        })
    }
}

/// The same with a log of what is read in every step, as in the note that the workloads are from.
pub(crate) struct Logged(Tl2);

impl Backend for Logged {
    const NAME: &'static str = "tl2-logged";

    fn new(values: &[i64]) -> Self {
        Self(Tl2::new(values))
    }

    #[inline]
    fn run<J: Job>(&self, job: &J) -> J::Answer {
        self.0.run(job)
    }
}

impl Tl2 {
    /// Calls `run` again for as long as it meets others.
    #[inline]
    fn until_committed<T>(&self, run: impl Fn() -> Result<T, Conflict>) -> T {
        let (runs, backoff) = (Runs::default(), Backoff::new());
        loop {
            runs.begin();
            match run() {
                Ok(answer) => return answer,
                Err(Conflict) => backoff.snooze(),
            }
        }
    }
}

struct Writing<'a> {
    shared: &'a Tl2,
    log: &'a mut Log,
    bound: u64,
}

impl Access for Writing<'_> {
    type Stop = Conflict;

    #[inline]
    fn get(&mut self, cell: usize) -> Result<i64, Conflict> {
        if !self.log.writes.is_empty()
            && let Some(own) = self.log.position(cell as u32)
        {
            return Ok(self.log.writes[own].1);
        }
        let (mut value, mut version) = self.shared.cells[cell].read()?;
        while version > self.bound {
            self.extend()?;
            (value, version) = self.shared.cells[cell].read()?;
        }
        self.log.reads.push(cell as u32);
        Ok(value)
    }

    #[inline]
    fn set(&mut self, cell: usize, value: i64) -> Result<(), Conflict> {
        match self.log.position(cell as u32) {
            Some(own) => self.log.writes[own].1 = value,
            None => self.log.push(cell as u32, value),
        }
        Ok(())
    }
}

impl Writing<'_> {
    /// Moves the bound to now, if all that was read is still as it was.
    #[cold]
    fn extend(&mut self) -> Result<(), Conflict> {
        let now = self.shared.clock.load(Ordering::Acquire);
        self.check()?;
        self.bound = now;
        Ok(())
    }

    /// Whether all that was read is still as it was.
    fn check(&self) -> Result<(), Conflict> {
        for &cell in &self.log.reads {
            let word = self.shared.cells[cell as usize].word.load(Ordering::Acquire);
            let own = word & HELD == 0 || self.log.position(cell).is_some();
            if word & !HELD > self.bound || !own {
                return Err(Conflict);
            }
        }
        Ok(())
    }

    #[inline]
    fn commit(&mut self) -> Result<(), Conflict> {
        if self.log.writes.is_empty() {
            return Ok(());
        }
        let (cells, writes) = (&self.shared.cells, &self.log.writes);
        for (count, &(cell, _)) in writes.iter().enumerate() {
            if !hold(&cells[cell as usize]) {
                self.release(count);
                return Err(Conflict);
            }
        }
        // The clock is ticked after holding and before checking: of two commits that each read what
        // the other writes, the one with the later tick sees that the other holds its cell.
        let version = self.shared.clock.fetch_add(2, Ordering::AcqRel) + 2;
        if version != self.bound + 2 && self.check().is_err() {
            self.release(writes.len());
            return Err(Conflict);
        }
        for &(cell, value) in writes {
            let cell = &cells[cell as usize];
            cell.value.store(value, Ordering::Release);
            cell.word.store(version, Ordering::Release);
        }
        Ok(())
    }

    /// Gives up the first `count` cells that were held.
    #[cold]
    fn release(&self, count: usize) {
        for &(cell, _) in &self.log.writes[..count] {
            // Release: nothing was stored, and only the holder changes a word that is held.
            self.shared.cells[cell as usize].word.fetch_and(!HELD, Ordering::Release);
        }
    }
}

/// Holds a cell, unless another thread does: no thread waits while it holds some.
#[inline]
fn hold(cell: &Cell) -> bool {
    let word = cell.word.load(Ordering::Relaxed);
    word & HELD == 0
        && cell
            .word
            .compare_exchange(word, word | HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
}

struct Reading<'a> {
    shared: &'a Tl2,
    bound: u64,
}

impl Access for Reading<'_> {
    type Stop = Conflict;

    #[inline]
    fn get(&mut self, cell: usize) -> Result<i64, Conflict> {
        match self.shared.cells[cell].read()? {
            (value, version) if version <= self.bound => Ok(value),
            _ => Err(Conflict),
        }
    }

    fn set(&mut self, cell: usize, _: i64) -> Result<(), Conflict> {
        unreachable!("a job that only reads writes cell {cell}")
    }
}
