//! labyrinth, after STAMP: routes on the layers of a board (Lee's algorithm). An operation copies
//! the board, searches on the copy, and then claims the route; another thread may have been there.
//!
//! A thread keeps its last routes and gives back the oldest for a new one, so that the board stays
//! as full as it is, however long a turn is.

use super::{
    Group,
    claims::{Claim, FREE, GiveBack, Route},
};
use crate::{
    access::{Backend, Dump, Runs},
    backends::Plain,
    cells::{Named, Workload},
    contest::{Bench, Series, take_turns},
    random::Random,
};
use std::collections::VecDeque;

/// The name of the workload.
pub(crate) const GROUP: Group = Group {
    title: "labyrinth: routes on a board of 32 by 32 by 3, searched on a copy",
    workloads: &["labyrinth"],
    measure,
    notes: |_| Vec::new(),
};

/// Width, height and layers.
const BOARD: [usize; 3] = [32, 32, 3];
/// Cells of the board.
const CELLS: usize = BOARD[0] * BOARD[1] * BOARD[2];
/// Routes that a thread keeps.
const KEPT: usize = 8;
/// On the copy: how far a cell is from the beginning, counted down from here.
const BEGINNING: i64 = -1;

/// Routes between random cells.
struct Board;

/// A thread: what it is going to connect, and its routes.
struct Router {
    random: Random,
    /// Of its last route.
    number: i64,
    kept: VecDeque<Route>,
    lost: usize,
    steps: u64,
    /// How many routes it found, and the cells of all.
    found: (u64, usize),
}

/// The cells beside one, on its layer and the ones above and below.
fn neighbours(cell: usize) -> impl Iterator<Item = usize> {
    let [width, height, layers] = BOARD;
    let (x, y, z) = (cell % width, cell / width % height, cell / (width * height));
    let beside = [
        (x > 0).then(|| cell - 1),
        (x + 1 < width).then(|| cell + 1),
        (y > 0).then(|| cell - width),
        (y + 1 < height).then(|| cell + width),
        (z > 0).then(|| cell - width * height),
        (z + 1 < layers).then(|| cell + width * height),
    ];
    beside.into_iter().flatten()
}

/// A shortest route over free cells of a copy of the board, which it marks up: waves from the
/// beginning until one reaches the end, then back along them.
fn connect(board: &mut [i64], from: usize, to: usize) -> Option<Vec<u32>> {
    if board[from] != FREE || board[to] != FREE {
        return None;
    }
    let mut queue = VecDeque::from([from]);
    board[from] = BEGINNING;
    while board[to] == FREE {
        let cell = queue.pop_front()?;
        for next in neighbours(cell) {
            if board[next] == FREE {
                board[next] = board[cell] - 1;
                queue.push_back(next);
            }
        }
    }
    let (mut route, mut cell) = (vec![to as u32], to);
    while cell != from {
        cell = neighbours(cell).find(|&before| board[before] == board[cell] + 1)?;
        route.push(cell as u32);
    }
    Some(route)
}

impl Workload for Board {
    type State = Router;

    fn values(&self) -> Vec<i64> {
        vec![FREE; CELLS]
    }

    fn begin(&self, thread: usize) -> Router {
        // Numbers of threads are far apart, and above those that mark a copy.
        let number = FREE + 1 + ((thread as i64) << 32);
        let random = Random::of_thread(thread);
        Router { random, number, kept: VecDeque::new(), lost: 0, steps: 0, found: (0, 0) }
    }

    fn step<B: Backend>(&self, cells: &B, router: &mut Router) {
        let [from, to] = [(); 2].map(|()| router.random.below(CELLS));
        if router.kept.len() == KEPT
            && let Some(oldest) = router.kept.pop_front()
        {
            router.lost += cells.run(&GiveBack(oldest));
        }
        router.number += 1;
        router.steps += 1;
        let runs = Runs::default();
        loop {
            runs.begin();
            let mut copy = cells.look(&Dump { cells: CELLS });
            let Some(route) = connect(&mut copy, from, to) else { return };
            let claim = Claim(Route { cells: route.into(), number: router.number });
            if cells.run(&claim) {
                router.found.0 += 1;
                router.found.1 += claim.0.cells.len();
                router.kept.push_back(claim.0);
                return;
            }
        }
    }

    /// Gives all back. If routes shared a cell, one of them has lost it.
    fn end<B: Backend>(&self, cells: &B, router: &mut Router) {
        for route in router.kept.drain(..) {
            router.lost += cells.run(&GiveBack(route));
        }
    }

    /// What one thread found is found once more. Of two, nobody knows which came first.
    fn check(&self, before: &[i64], after: &[i64], routers: &[Router]) {
        if let [router] = routers {
            let (cells, mut again) = (Plain::new(before), self.begin(0));
            while again.steps < router.steps {
                self.step(&cells, &mut again);
            }
            assert_eq!(router.found, again.found, "routes, and their cells");
        }
        assert!(routers.iter().all(|router| router.lost == 0), "routes shared a cell");
        assert!(after.iter().all(|&cell| cell == FREE), "a cell was not given back");
    }
}

fn measure(bench: &Bench) -> Vec<Series> {
    take_turns(bench.plan, Named::new("labyrinth", Board).entries(bench))
}
