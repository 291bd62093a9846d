//! Random batches as data: what each closure does, and how the batch is handed to the executor.

/// Plain cells. One of them is the phase that closures wait for.
pub(super) const PLAIN: usize = 4;
/// The plain cell that is the phase.
pub(super) const PHASE: usize = 0;
/// The phase at which nobody waits any more.
pub(super) const LAST: u64 = 4;
/// Cells that hold cells.
pub(super) const NESTED: usize = 2;
/// The most closures of a batch.
const MOST: u64 = 12;

/// A cell with a number in it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Plain(usize),
    /// The cell inside a cell, if there is one.
    Inner(usize),
    /// The cell that the closure has taken out of another one, if it has.
    Kept,
}

/// One step of a closure. `acc` is what the closure has seen so far; it is also its answer.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Get(Place),
    /// Writes `acc`, or `acc` modulo the number if that is not 0.
    Set(Place, u64),
    Modify(Place),
    /// Writes `acc` modulo the number, if that is another value.
    SetIfChanged(Place, u64),
    /// Has a step applied at commit, which panics for every third value if the flag says so.
    Later(Place, bool),
    /// Sets the phase, whatever it was.
    Phase(u64),
    Add,
    Count,
    Offer,
    Extremes,
    Push,
    Entries,
    Clear,
    /// Makes a new cell inside a cell; what was there is dropped.
    Make(usize),
    Drop(usize),
    /// Puts the cell inside one cell into another one too.
    Share(usize, usize),
    /// Takes a handle of the cell inside a cell.
    Keep(usize),
    /// A nested transaction, which is undone if the flag says so.
    Nested(Vec<Op>, bool),
    /// A savepoint, in the same way.
    Savepoint(Vec<Op>, bool),
    OrElse(Vec<Op>, Vec<Op>),
    /// Contains whatever unwinds out of the steps.
    Catch(Vec<Op>),
    /// Leaves the closure unless the value is a multiple of the number or the phase is the last.
    Wait(Place, u64),
    /// The same inside a snapshot.
    LookWait(Place, u64),
    /// Leaves the closure before this phase.
    WaitPhase(u64),
    /// A nested snapshot of two cells.
    Look(Place, Place),
    /// Panics if the value is a multiple of the number.
    Panic(Place, u64),
    /// Ends the present block if `acc` is a multiple of the number.
    Leave(u64),
    Effect,
    /// Draws a random number.
    Chance,
    /// Asks for a fresh name.
    Name,
    /// Lets other threads run.
    Yield,
    /// Takes a little time.
    Spin(u32),
}

/// What one closure does.
pub(super) type Program = Vec<Op>;

/// How the closures come to the executor.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// So many with `transact`, without waiting for them, then the others with `run`.
    Transacts(usize),
    /// With `run` by two threads at the same time: so many by the first.
    Callers(usize),
}

/// The closures of one run, in order.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) programs: Vec<Program>,
    pub(super) way: Way,
}

/// Mixes a value into what was seen.
pub(super) fn mix(acc: u64, seen: u64) -> u64 {
    (acc ^ seen).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17)
}

/// `acc`, or its remainder if the number is not 0.
pub(super) fn remainder(acc: u64, number: u64) -> u64 {
    acc.checked_rem(number).unwrap_or(acc)
}

/// A xorshift generator.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(mix(seed, 0x5eed) | 1)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    pub(super) fn index(&mut self, limit: usize) -> usize {
        self.below(limit as u64) as usize
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A batch of 2 to 12 closures, the last of which sets the last phase.
    pub(super) fn batch(&mut self) -> Batch {
        let count = 1 + self.below(MOST - 1);
        let mut programs: Vec<Program> = (0..count).map(|_| self.program()).collect();
        programs.push(vec![Op::Phase(LAST)]);
        let way = match self.below(8) {
            0 => Way::Callers(self.index(programs.len() + 1)),
            1 => Way::Transacts(self.index(programs.len() + 1)),
            _ => Way::Transacts(0),
        };
        Batch { programs, way }
    }

    pub(super) fn program(&mut self) -> Program {
        if self.one_in(6) {
            let phase = self.below(LAST);
            return [vec![Op::Phase(phase)], self.block(1, 2)].concat();
        }
        let program = self.block(2, 6);
        match self.below(12) {
            0 => vec![Op::Nested(program, true)],
            1 => [program, vec![Op::Panic(Place::Plain(1), 1)]].concat(),
            2 => [vec![Op::WaitPhase(1 + self.below(LAST))], program].concat(),
            3 => [program, vec![Op::Spin(4_000)]].concat(),
            _ => program,
        }
    }

    fn block(&mut self, depth: u32, most: u64) -> Vec<Op> {
        let count = 1 + self.below(most);
        (0..count).map(|_| self.op(depth)).collect()
    }

    fn place(&mut self) -> Place {
        match self.below(8) {
            0..=4 => Place::Plain(1 + self.index(PLAIN - 1)),
            5..=6 => Place::Inner(self.index(NESTED)),
            _ => Place::Kept,
        }
    }

    fn op(&mut self, depth: u32) -> Op {
        if depth > 0 && self.one_in(5) {
            let block = self.block(depth - 1, 3);
            return match self.below(8) {
                0..=1 => Op::Nested(block, self.one_in(2)),
                2..=3 => Op::Savepoint(block, self.one_in(2)),
                4 => Op::Catch(block),
                _ => Op::OrElse(block, self.block(depth - 1, 3)),
            };
        }
        let place = self.place();
        match self.below(64) {
            0..=7 => Op::Get(place),
            8..=13 => Op::Set(place, 0),
            14..=15 => Op::Set(place, 2),
            16..=19 => Op::Modify(place),
            20..=22 => Op::SetIfChanged(place, 2),
            23..=25 => Op::Later(place, self.one_in(6)),
            26..=28 => Op::Add,
            29 => Op::Count,
            30..=31 => Op::Offer,
            32 => Op::Extremes,
            33..=34 => Op::Push,
            35 => Op::Entries,
            36 => Op::Clear,
            37..=38 => Op::Make(self.index(NESTED)),
            39 => Op::Drop(self.index(NESTED)),
            40 => Op::Share(self.index(NESTED), self.index(NESTED)),
            41..=42 => Op::Keep(self.index(NESTED)),
            43..=44 => Op::Wait(place, 2),
            45 => Op::LookWait(place, 2),
            46 => Op::WaitPhase(1 + self.below(LAST)),
            47..=48 => Op::Look(place, self.place()),
            49 => Op::Panic(place, 3),
            50 => Op::Leave(3),
            51..=55 => Op::Effect,
            56..=57 => Op::Chance,
            58 => Op::Name,
            59..=61 => Op::Yield,
            _ => Op::Spin(200),
        }
    }
}
