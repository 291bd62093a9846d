//! w7: routes through a maze. An operation searches one, claims its squares, and gives them back.

use super::{
    Group,
    claims::{Claim, FREE, GiveBack, Route},
    maze::{Maze, distance, search},
};
use crate::{
    access::{Access, Backend, Job, Paper, Runs},
    backends::TxloopGrid,
    cells::{Named, Workload},
    contest::{Bench, Series, take_turns},
    random::Random,
};
use std::{array, iter};

/// The names of w7.
pub(crate) const GROUP: Group = Group {
    title: "w7: search and claim a route (A*), as one transaction, or first one and then the other",
    workloads: &["w7", "w7-search"],
    measure,
    notes: |_| Vec::new(),
};

/// Different routes. Threads begin with different ones of them.
const ROUTES: usize = 32;
/// How far their ends are apart at most. With the size of the maze this says how often threads are
/// in each other's way: chosen so that of tl2's attempts as many fail as in the note that these
/// workloads are from, 0.15 for each route.
const FAR: u32 = 150;

/// Routes between random squares.
struct Routes {
    maze: Maze,
    searches: [Search; ROUTES],
    /// How many squares the shortest ways have while nothing is claimed.
    shortest: [usize; ROUTES],
    /// Whether search and claim are one transaction. Otherwise the search is one that only reads,
    /// and the claim is tried afterwards: what txloop's `search_then` does for a web handler.
    as_one: bool,
}

/// Searches a way.
#[derive(Clone, Copy)]
struct Search {
    from: u32,
    to: u32,
}

impl Job for Search {
    type Answer = Option<Vec<u32>>;

    fn run<A: Access>(&self, cells: &mut A) -> Result<Option<Vec<u32>>, A::Stop> {
        search(cells, self.from, self.to)
    }
}

/// Searches a way and claims it under a number.
#[derive(Clone, Copy)]
struct SearchAndClaim(Search, i64);

impl Job for SearchAndClaim {
    type Answer = Option<Vec<u32>>;

    fn run<A: Access>(&self, cells: &mut A) -> Result<Option<Vec<u32>>, A::Stop> {
        let way = self.0.run(cells)?;
        for &square in way.iter().flatten() {
            cells.set(square as usize, self.1)?;
        }
        Ok(way)
    }
}

/// A thread: where it begins, what it claims squares with, and how often it found no way.
struct Traveller {
    first: usize,
    number: i64,
    in_vain: u64,
    /// How often a way was longer than it would be if nobody else had claimed squares.
    detours: u64,
}

impl Routes {
    fn new(as_one: bool) -> Self {
        let (maze, mut random) = (Maze::new(), Random::seeded(1));
        let mut square = || maze.open[random.below(maze.open.len())];
        let mut pairs = iter::repeat_with(|| Search { from: square(), to: square() })
            .filter(|search| distance(search.from, search.to) <= FAR);
        let searches: [Search; ROUTES] =
            array::from_fn(|_| pairs.next().expect("there is always another one"));
        let mut paper = Paper(maze.values.clone());
        let way = |search: &Search| paper.run(search).expect("ends that are connected").len();
        let shortest = searches.each_ref().map(way);
        Self { maze, searches, shortest, as_one }
    }

    /// A route that is claimed, if there is a way.
    fn claimed<B: Backend>(&self, cells: &B, search: Search, number: i64) -> Option<Route> {
        if self.as_one {
            let way = cells.run(&SearchAndClaim(search, number))?;
            return Some(Route { cells: way.into(), number });
        }
        let runs = Runs::default();
        loop {
            runs.begin();
            let route = Route { cells: cells.look(&search)?.into(), number };
            let claim = Claim(route);
            if cells.run(&claim) {
                return Some(claim.0);
            }
        }
    }
}

impl Workload for Routes {
    type State = Traveller;

    fn values(&self) -> Vec<i64> {
        self.maze.values.clone()
    }

    fn begin(&self, thread: usize) -> Traveller {
        let number = FREE + 1 + thread as i64;
        Traveller { first: thread * ROUTES / 2, number, in_vain: 0, detours: 0 }
    }

    fn ops(&self) -> u64 {
        ROUTES as u64
    }

    fn step<B: Backend>(&self, cells: &B, traveller: &mut Traveller) {
        for at in (traveller.first..ROUTES).chain(0..traveller.first) {
            let (search, shortest) = (self.searches[at], self.shortest[at]);
            let Search { from, to } = search;
            let Some(route) = self.claimed(cells, search, traveller.number) else {
                traveller.in_vain += 1;
                continue;
            };
            assert!(self.maze.is_way(&route.cells, from, to), "not a way from {from} to {to}");
            assert!(route.cells.len() >= shortest, "a way that is too short");
            traveller.detours += u64::from(route.cells.len() > shortest);
            assert_eq!(cells.run(&GiveBack(route)), 0, "squares were claimed by two");
        }
    }

    fn check(&self, _: &[i64], after: &[i64], travellers: &[Traveller]) {
        assert!(after == self.maze.values, "a square that is still claimed, or a lost wall");
        if let [traveller] = travellers {
            // Nobody was in its way.
            assert_eq!(
                (traveller.in_vain, traveller.detours),
                (0, 0),
                "not found, or not shortest"
            );
        }
    }
}

fn measure(bench: &Bench) -> Vec<Series> {
    let mut series = Vec::new();
    for (name, as_one) in [("w7", true), ("w7-search", false)] {
        let named = Named::new(name, Routes::new(as_one));
        let mut entries = named.entries(bench);
        entries.extend(named.entries_of::<TxloopGrid>(bench));
        series.extend(take_turns(bench.plan, entries));
    }
    series
}
