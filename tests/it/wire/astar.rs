//! The map and its players against a plain one, with paths judged by Dijkstra's algorithm.

use super::history::{Message, Model, Random, Told, check, check_recorded};
use serde_json::{Value, json};
use std::collections::BTreeMap;

mod asks;

use asks::{Ask, NAMES, SIZE};

type Square = (usize, usize);

/// The cost of a square that no path reaches.
const FAR: usize = usize::MAX;

#[derive(Clone)]
struct World {
    /// By [`place`].
    walls: Vec<bool>,
    players: BTreeMap<&'static str, Square>,
}

fn place((x, y): Square) -> usize {
    y * SIZE + x
}

/// The squares around, and what a step there costs.
fn around((x, y): Square) -> impl Iterator<Item = (Square, usize)> {
    let near = |at: usize| at.saturating_sub(1)..(at + 2).min(SIZE);
    let all = near(y).flat_map(move |b| near(x).map(move |a| (a, b)));
    all.filter(move |&to| to != (x, y))
        .map(move |(a, b)| ((a, b), if a != x && b != y { 14 } else { 10 }))
}

fn point(value: &Value) -> Option<Square> {
    let [x, y] = value.as_array()?.as_slice() else { return None };
    Some((x.as_u64()? as usize, y.as_u64()? as usize))
}

impl World {
    fn new() -> Self {
        let mut walls = vec![false; SIZE * SIZE];
        for i in SIZE / 8..7 * SIZE / 8 {
            walls[place((i, SIZE / 2))] = true;
            walls[place((SIZE / 2, i))] = true;
        }
        Self { walls, players: BTreeMap::new() }
    }

    fn is_wall(&self, square: Square) -> bool {
        self.walls[place(square)]
    }

    fn is_occupied(&self, square: Square) -> bool {
        self.players.values().any(|&at| at == square)
    }

    /// The least cost from every square to the goal. Squares wait in a list for each cost.
    fn costs(&self, goal: Square) -> Vec<usize> {
        let mut least = vec![FAR; SIZE * SIZE];
        if self.is_wall(goal) {
            return least;
        }
        least[place(goal)] = 0;
        let mut waiting = vec![vec![goal]];
        let mut cost = 0;
        while cost < waiting.len() {
            for square in std::mem::take(&mut waiting[cost]) {
                if least[place(square)] < cost {
                    continue;
                }
                for (next, step) in around(square) {
                    let far = cost + step;
                    if !self.is_wall(next) && far < least[place(next)] {
                        least[place(next)] = far;
                        waiting.resize(waiting.len().max(far + 1), Vec::new());
                        waiting[far].push(next);
                    }
                }
            }
            cost += 1;
        }
        least
    }

    /// The first steps of all shortest paths.
    fn first_steps(&self, costs: &[usize], from: Square) -> Vec<Square> {
        let whole = costs[place(from)];
        let open = around(from).filter(|&(next, _)| !self.is_wall(next));
        let best = open.filter(|&(next, step)| costs[place(next)] + step == whole);
        best.map(|(next, _)| next).collect()
    }

    fn judge_move(&mut self, name: &'static str, to: Square, told: &Told) -> Result<(), String> {
        let Some(&at) = self.players.get(name) else { return told.must_fail(404) };
        assert!(!self.is_wall(at), "the model keeps players off walls");
        let costs = self.costs(to);
        let cost = costs[place(at)];
        if cost == FAR {
            return told.must_be(409, &json!({ "error": "no path" }));
        }
        if at == to {
            return told.must_be(200, &json!({ "at": at, "cost": 0 }));
        }
        let steps = self.first_steps(&costs, at);
        let (free, taken): (Vec<_>, Vec<_>) = steps.iter().partition(|&&s| !self.is_occupied(s));
        let right = || format!("from {at:?} cost {cost}, a step to {free:?}, occupied {taken:?}");
        match told.status {
            200 => {
                let next = point(&told.body["at"]).filter(|next| free.contains(&next));
                let Some(next) = next else { return Err(right()) };
                told.must_be(200, &json!({ "at": next, "cost": cost })).map_err(|_| right())?;
                self.players.insert(name, next);
                Ok(())
            }
            _ if taken.is_empty() => Err(right()),
            _ => told.must_be(409, &json!({ "error": "occupied" })).map_err(|_| right()),
        }
    }

    fn judge_path(&self, from: Square, to: Square, told: &Told) -> Result<(), String> {
        let costs = self.costs(to);
        let cost = costs[place(from)];
        if cost == FAR {
            return told.must_be(404, &json!({ "error": "no path" }));
        }
        let wrong = |what: &str| Err(format!("200 with a path of cost {cost}; {what}"));
        let points = told.body["path"].as_array().map_or(&[][..], Vec::as_slice);
        let Some(path) = points.iter().map(point).collect::<Option<Vec<_>>>() else {
            return wrong("not a list of squares");
        };
        told.must_be(200, &json!({ "cost": cost, "path": path }))?;
        if path.first() != Some(&from) || path.last() != Some(&to) {
            return wrong("it has other ends");
        }
        let mut sum = 0;
        for pair in path.windows(2) {
            match around(pair[0]).find(|&(next, _)| next == pair[1]) {
                Some((next, step)) if !self.is_wall(next) => sum += step,
                _ => return wrong(&format!("no step {:?} to {:?}", pair[0], pair[1])),
            }
        }
        if sum == cost { Ok(()) } else { wrong(&format!("its steps sum up to {sum}")) }
    }

    fn judge_arrival(&mut self, name: &'static str, at: Square, told: &Told) -> Result<(), String> {
        let refusal = if self.players.contains_key(name) {
            "exists"
        } else if self.is_wall(at) {
            "wall"
        } else if self.is_occupied(at) {
            "occupied"
        } else {
            self.players.insert(name, at);
            return told.must_be(201, &json!({ "at": at }));
        };
        told.must_be(409, &json!({ "error": refusal }))
    }

    fn judge_leaving(&mut self, name: &str, told: &Told) -> Result<(), String> {
        match self.players.remove(name) {
            Some(_) => told.must_be(204, &Value::Null),
            None => told.must_fail(404),
        }
    }

    fn judge_walls(
        &mut self,
        wall: bool,
        (from, to): (Square, Square),
        told: &Told,
    ) -> Result<(), String> {
        let ys = from.1.min(to.1)..=from.1.max(to.1);
        let xs = |y| (from.0.min(to.0)..=from.0.max(to.0)).map(move |x| (x, y));
        let squares: Vec<Square> = ys.flat_map(xs).collect();
        if wall && squares.iter().any(|&square| self.is_occupied(square)) {
            return told.must_be(409, &json!({ "error": "occupied" }));
        }
        let changed = squares.iter().filter(|&&square| self.is_wall(square) != wall).count();
        for square in squares {
            self.walls[place(square)] = wall;
        }
        told.must_be(200, &json!({ "changed": changed }))
    }

    /// Byte for byte: the order of the players is promised, too.
    fn judge_map(&self, told: &Told) -> Result<(), String> {
        let row = |row: &[bool]| row.iter().map(|&wall| if wall { '#' } else { '.' }).collect();
        let rows: Vec<String> = self.walls.chunks(SIZE).map(row).collect();
        let (rows, players) = (json!(rows), json!(self.players));
        let right = format!(r#"{{"size":{SIZE},"rows":{rows},"players":{players}}}"#);
        if told.status == 200 && told.text == right { Ok(()) } else { Err(format!("200 {right}")) }
    }
}

impl Model for World {
    type Ask = Ask;
    const EXAMPLE: &'static str = "astar";
    const OUTCOMES: &'static [&'static str] = &[
        "map 200",
        "path 200",
        "path 404",
        "arrival 201",
        "arrival 409 exists",
        "arrival 409 wall",
        "arrival 409 occupied",
        "move 200",
        "move 404",
        "move 409 no path",
        "move 409 occupied",
        "leaving 204",
        "leaving 404",
        "build 200",
        "build 409 occupied",
        "erase 200",
        "bad 400",
    ];

    fn choose(random: &mut Random) -> Ask {
        asks::choose(random)
    }

    fn at_the_end() -> Vec<Ask> {
        let leaving = (0..NAMES.len()).map(|name| Ask::Leave { name, encoded: false });
        [Ask::Map].into_iter().chain(leaving).chain([Ask::Map]).collect()
    }

    fn kind(ask: &Ask) -> &'static str {
        match ask {
            Ask::Map => "map",
            Ask::Path { .. } => "path",
            Ask::Arrive { .. } => "arrival",
            Ask::Move { .. } => "move",
            Ask::Leave { .. } => "leaving",
            Ask::Walls { wall: true, .. } => "build",
            Ask::Walls { wall: false, .. } => "erase",
            Ask::Bad(_) => "bad",
        }
    }

    fn message(ask: &Ask) -> Message {
        asks::message(ask)
    }

    fn changes(ask: &Ask, told: &Told) -> bool {
        match ask {
            Ask::Arrive { .. } => told.status == 201,
            Ask::Leave { .. } => told.status == 204,
            Ask::Move { .. } => told.status == 200 && told.body["cost"] != 0,
            Ask::Walls { .. } => told.status == 200 && told.body["changed"] != 0,
            Ask::Map | Ask::Path { .. } | Ask::Bad(_) => false,
        }
    }

    fn judge(&mut self, ask: &Ask, told: &Told) -> Result<(), String> {
        match *ask {
            Ask::Map => self.judge_map(told),
            Ask::Path { from, to, .. } => self.judge_path(from, to, told),
            Ask::Arrive { name, at, .. } => self.judge_arrival(NAMES[name], at, told),
            Ask::Move { name, to, .. } => self.judge_move(NAMES[name], to, told),
            Ask::Leave { name, .. } => self.judge_leaving(NAMES[name], told),
            Ask::Walls { wall, from, to } => self.judge_walls(wall, (from, to), told),
            Ask::Bad(_) => told.must_fail(400),
        }
    }
}

#[track_caller]
fn check_cells(flags: &[&str], seed: u64) {
    for (threads, seed) in [("1", seed), ("2", seed + 1), ("4", seed + 2)] {
        let size = SIZE.to_string();
        let all = [&["--map", &size, "--threads", threads], flags].concat();
        check(&all, &World::new(), seed);
    }
}

#[test]
fn astar_with_one_cell_for_the_map() {
    check_cells(&["--cells", "map"], 31);
}

#[test]
fn astar_with_a_cell_for_each_row() {
    check_cells(&["--cells=row"], 34);
}

#[test]
fn astar_with_a_cell_for_each_tile() {
    check_cells(&["--cells", "tile"], 40);
}

#[test]
fn astar_that_searches_inside_the_transaction() {
    check_cells(&["--naive"], 40);
}

#[test]
fn astar_in_arrival_order_is_recorded_and_replayed() {
    check_recorded(&["--map", &SIZE.to_string()], World::new(), 43);
}
