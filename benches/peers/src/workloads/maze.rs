//! The maze of w7: a square with walls, and the search for a shortest way through it (A*).

use super::claims::FREE;
use crate::{access::Access, random::Random};
use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

/// Columns, and rows.
pub(crate) const SIDE: usize = 256;
/// One square in so many is a wall.
const WALLS: usize = 4;
/// What the cell of a wall holds.
const WALL: i64 = -1;

/// The walls, and the squares that can be reached from each other.
pub(crate) struct Maze {
    /// What the cells hold at first.
    pub(crate) values: Vec<i64>,
    /// The largest part without walls between its squares.
    pub(crate) open: Vec<u32>,
}

impl Maze {
    /// Always the same one.
    pub(crate) fn new() -> Self {
        let mut random = Random::seeded(0);
        let wall = |_| if random.below(WALLS) == 0 { WALL } else { FREE };
        let values: Vec<i64> = (0..SIDE * SIDE).map(wall).collect();
        let mut seen = vec![false; values.len()];
        let mut open = Vec::new();
        for start in 0..values.len() {
            let part = part_of(&values, &mut seen, start);
            if part.len() > open.len() {
                open = part;
            }
        }
        Self { values, open }
    }

    /// Whether it is a way from one square to another.
    pub(crate) fn is_way(&self, way: &[u32], from: u32, to: u32) -> bool {
        let is_step =
            |pair: &[u32]| neighbours(pair[0]).into_iter().flatten().any(|next| next == pair[1]);
        way.first() == Some(&from)
            && way.last() == Some(&to)
            && way.iter().all(|&square| self.values[square as usize] != WALL)
            && way.windows(2).all(is_step)
    }
}

/// The squares that can be reached from one and have not been seen.
fn part_of(values: &[i64], seen: &mut [bool], start: usize) -> Vec<u32> {
    let (mut queue, mut part) = (VecDeque::from([start as u32]), Vec::new());
    while let Some(square) = queue.pop_front() {
        let at = square as usize;
        if !seen[at] && values[at] != WALL {
            seen[at] = true;
            part.push(square);
            queue.extend(neighbours(square).into_iter().flatten());
        }
    }
    part
}

/// The squares beside one.
#[inline]
fn neighbours(square: u32) -> [Option<u32>; 4] {
    let side = SIDE as u32;
    let (x, y) = (square % side, square / side);
    [
        (x > 0).then(|| square - 1),
        (x + 1 < side).then(|| square + 1),
        (y > 0).then(|| square - side),
        (y + 1 < side).then(|| square + side),
    ]
}

/// Steps from one square to another if there were no walls.
#[inline]
pub(super) fn distance(a: u32, b: u32) -> u32 {
    let side = SIDE as u32;
    (a % side).abs_diff(b % side) + (a / side).abs_diff(b / side)
}

/// What a search knows of a square.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    /// The search that it is from; else nothing is known.
    search: u32,
    /// Whether somebody or a wall is there.
    taken: bool,
    /// Steps from the beginning, and the square before.
    steps: u32,
    before: u32,
}

/// The memory of a thread's searches.
#[derive(Default)]
struct Searches {
    count: u32,
    marks: Vec<Mark>,
    /// The squares to go on from: by the least steps in all, then by the most so far.
    next: BinaryHeap<Reverse<(u32, Reverse<u32>, u32)>>,
}

thread_local! {
    static SEARCHES: RefCell<Searches> = RefCell::default();
}

/// A shortest way over free squares, both ends included, if there is one. Each square is read once.
pub(crate) fn search<A: Access>(
    cells: &mut A,
    from: u32,
    to: u32,
) -> Result<Option<Vec<u32>>, A::Stop> {
    SEARCHES.with_borrow_mut(|searches| searches.run(cells, from, to))
}

impl Searches {
    fn run<A: Access>(
        &mut self,
        cells: &mut A,
        from: u32,
        to: u32,
    ) -> Result<Option<Vec<u32>>, A::Stop> {
        self.marks.resize(SIDE * SIDE, Mark::default());
        self.count += 1;
        self.next.clear();
        if cells.get(from as usize)? != FREE {
            return Ok(None);
        }
        self.marks[from as usize] =
            Mark { search: self.count, taken: false, steps: 0, before: from };
        self.next.push(Reverse((distance(from, to), Reverse(0), from)));
        while let Some(Reverse((_, Reverse(steps), square))) = self.next.pop() {
            if square == to {
                return Ok(Some(self.way(from, to)));
            }
            if self.marks[square as usize].steps < steps {
                continue;
            }
            for next in neighbours(square).into_iter().flatten() {
                let mark = &mut self.marks[next as usize];
                if mark.search != self.count {
                    let taken = cells.get(next as usize)? != FREE;
                    *mark = Mark { search: self.count, taken, steps: u32::MAX, before: square };
                }
                if !mark.taken && steps + 1 < mark.steps {
                    (mark.steps, mark.before) = (steps + 1, square);
                    let all = steps + 1 + distance(next, to);
                    self.next.push(Reverse((all, Reverse(steps + 1), next)));
                }
            }
        }
        Ok(None)
    }

    /// The way that was found.
    fn way(&self, from: u32, to: u32) -> Vec<u32> {
        let mut way = vec![to];
        let mut square = to;
        while square != from {
            square = self.marks[square as usize].before;
            way.push(square);
        }
        way.reverse();
        way
    }
}
