//! cargo run --release --example astar -- --threads 2
//!
//! Players walk on a map by A-star while others build and erase walls. With `--naive` the whole
//! search is part of the transaction, which is the version whose conflict log is worth reading; by
//! default it runs on a snapshot, and only the step is a transaction.

mod flags;
mod serving;

use serde::{Deserialize, Serialize};
use std::{cmp::Reverse, collections::BTreeMap, collections::BinaryHeap, sync::Arc};
use txloop::{
    App, Json, Read, Request, Response, Snapshot, StatusCode, TVar, Transaction, search_then, write,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Columns and rows of a tile.
const TILE: usize = 16;
/// The cost of a straight step.
const STRAIGHT: u32 = 10;
/// The cost of a diagonal step.
const DIAGONAL: u32 = 14;

/// A square: column and row.
type Square = (usize, usize);
type Answer<T> = Result<T, Response>;

/// What one cell of walls holds.
#[derive(Clone, Copy)]
enum Cells {
    Map,
    Row,
    Tile,
}

/// The shared state.
struct World {
    size: usize,
    cells: Cells,
    /// Blocks of squares, each a cell; what a block is depends on `cells`.
    walls: Vec<TVar<Vec<bool>>>,
    /// Whether a player stands there, a cell for each square.
    occupied: Vec<TVar<bool>>,
    /// Written only when players come and go.
    players: TVar<BTreeMap<String, TVar<Square>>>,
    /// How often walls were erased: unchanged, no path can have become shorter.
    erasures: TVar<u64>,
}

#[derive(Clone)]
struct Path {
    cost: u32,
    squares: Vec<Square>,
}

/// What the search of a move found, and what it rests on.
struct Plan {
    at: Square,
    erasures: u64,
    path: Option<Path>,
}

fn refuse(status: StatusCode, text: &str) -> Response {
    Response::error(status, text)
}

impl World {
    fn new(size: usize, cells: Cells) -> Self {
        let tiles = size.div_ceil(TILE);
        let (name, blocks, squares) = match cells {
            Cells::Map => ("map", 1, size * size),
            Cells::Row => ("row", size, size),
            Cells::Tile => ("tile", tiles * tiles, TILE * TILE),
        };
        let mut walls = vec![vec![false; squares]; blocks];
        let mut world = Self {
            size,
            cells,
            walls: Vec::new(),
            occupied: (0..size * size).map(|_| TVar::named("square", false)).collect(),
            players: TVar::named("players", BTreeMap::new()),
            erasures: TVar::named("erasures", 0),
        };
        for i in size / 8..7 * size / 8 {
            for square in [(i, size / 2), (size / 2, i)] {
                let (block, at) = world.place(square);
                walls[block][at] = true;
            }
        }
        world.walls = walls.into_iter().map(|block| TVar::named(name, block)).collect();
        world
    }

    /// The block that a square is in, and where.
    fn place(&self, (x, y): Square) -> (usize, usize) {
        match self.cells {
            Cells::Map => (0, y * self.size + x),
            Cells::Row => (y, x),
            Cells::Tile => {
                let tiles = self.size.div_ceil(TILE);
                (y / TILE * tiles + x / TILE, y % TILE * TILE + x % TILE)
            }
        }
    }

    fn is_wall(&self, view: &impl Read, square: Square) -> bool {
        let (block, at) = self.place(square);
        view.get(&self.walls[block])[at]
    }

    fn occupied(&self, (x, y): Square) -> &TVar<bool> {
        &self.occupied[y * self.size + x]
    }

    /// A square given by a client.
    fn square(&self, [x, y]: [usize; 2]) -> Answer<Square> {
        if x < self.size && y < self.size {
            Ok((x, y))
        } else {
            Err(refuse(StatusCode::BAD_REQUEST, "square outside the map"))
        }
    }

    /// A shortest path by A-star; `None` when there is none, or an end is a wall.
    fn search(&self, view: &impl Read, from: Square, to: Square) -> Option<Path> {
        let size = self.size;
        // Each block is read once: a read of a cell is cheap, but a search makes many.
        let mut seen: Vec<Option<&[bool]>> = vec![None; self.walls.len()];
        let mut is_wall = |square| {
            let (block, at) = self.place(square);
            seen[block].get_or_insert_with(|| view.get(&self.walls[block]).as_slice())[at]
        };
        if is_wall(from) || is_wall(to) {
            return None;
        }
        let index = |(x, y): Square| y * size + x;
        let mut best = vec![u32::MAX; size * size];
        let mut came = vec![u8::MAX; size * size];
        let mut open = BinaryHeap::from([Reverse((estimate(from, to), 0, from))]);
        best[index(from)] = 0;
        while let Some(Reverse((_, cost, square))) = open.pop() {
            if square == to {
                return Some(Path { cost, squares: walk_back(&came, size, from, to) });
            }
            if cost > best[index(square)] {
                continue;
            }
            for (direction, next, step) in neighbours(square, size) {
                let cost = cost + step;
                if cost < best[index(next)] && !is_wall(next) {
                    best[index(next)] = cost;
                    came[index(next)] = direction;
                    open.push(Reverse((cost + estimate(next, to), cost, next)));
                }
            }
        }
        None
    }

    fn plan(&self, view: &impl Read, at: Square, to: Square) -> Plan {
        Plan { at, erasures: *view.get(&self.erasures), path: self.search(view, at, to) }
    }

    /// Whether the plan's path is a shortest one in this state, too.
    fn stands(&self, tx: &Transaction, plan: &Plan, at: Square) -> bool {
        let open = |path: &Path| path.squares.iter().all(|&square| !self.is_wall(tx, square));
        plan.at == at
            && plan.erasures == *tx.get(&self.erasures)
            && plan.path.as_ref().is_none_or(open)
    }

    /// The first step of a path, unless somebody stands there.
    fn step(&self, tx: &Transaction, player: &TVar<Square>, path: &Path) -> Answer<Json<Moved>> {
        let at = path.squares[0];
        let Some(&next) = path.squares.get(1) else {
            return Ok(Json(Moved { at: at.into(), cost: 0 }));
        };
        if *tx.get(self.occupied(next)) {
            return Err(refuse(StatusCode::CONFLICT, "occupied"));
        }
        tx.set(self.occupied(at), false);
        tx.set(self.occupied(next), true);
        tx.set(player, next);
        Ok(Json(Moved { at: next.into(), cost: path.cost }))
    }
}

/// The least cost between two squares without walls.
fn estimate(a: Square, b: Square) -> u32 {
    let (dx, dy) = (a.0.abs_diff(b.0) as u32, a.1.abs_diff(b.1) as u32);
    STRAIGHT * dx.abs_diff(dy) + DIAGONAL * dx.min(dy)
}

const DIRECTIONS: [(isize, isize); 8] =
    [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)];

fn shifted((x, y): Square, (dx, dy): (isize, isize), size: usize) -> Option<Square> {
    let (x, y) = (x.checked_add_signed(dx)?, y.checked_add_signed(dy)?);
    (x < size && y < size).then_some((x, y))
}

/// The squares around, with the number of the direction and the cost of the step.
fn neighbours(square: Square, size: usize) -> impl Iterator<Item = (u8, Square, u32)> {
    DIRECTIONS.iter().enumerate().filter_map(move |(i, &(dx, dy))| {
        let cost = if dx != 0 && dy != 0 { DIAGONAL } else { STRAIGHT };
        Some((i as u8, shifted(square, (dx, dy), size)?, cost))
    })
}

fn walk_back(came: &[u8], size: usize, from: Square, to: Square) -> Vec<Square> {
    let (mut square, mut path) = (to, vec![to]);
    while square != from {
        let (dx, dy) = DIRECTIONS[came[square.1 * size + square.0] as usize];
        square = shifted(square, (-dx, -dy), size).expect("a step comes from inside the map");
        path.push(square);
    }
    path.reverse();
    path
}

#[derive(Serialize)]
struct Map<'a> {
    size: usize,
    rows: Vec<String>,
    players: BTreeMap<&'a str, Square>,
}

fn map(world: &World, view: &Snapshot, _: &Request) -> Response {
    let row = |y| {
        let mark = |x| if world.is_wall(view, (x, y)) { '#' } else { '.' };
        (0..world.size).map(mark).collect()
    };
    let players = view.get(&world.players);
    Response::json(&Map {
        size: world.size,
        rows: (0..world.size).map(row).collect(),
        players: players.iter().map(|(name, at)| (name.as_str(), *view.get(at))).collect(),
    })
}

#[derive(Serialize)]
struct PathFound {
    cost: u32,
    path: Vec<Square>,
}

/// A square written as `x,y`, which a query must name exactly once.
fn query_square(world: &World, request: &Request, name: &str) -> Answer<Square> {
    let bad = || refuse(StatusCode::BAD_REQUEST, &format!("{name} must be given once, as x,y"));
    let mut given = request.query_pairs().filter(|(other, _)| other == name);
    let (Some((_, value)), None) = (given.next(), given.next()) else { return Err(bad()) };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if digits { text.parse::<usize>().map_err(|_| bad()) } else { Err(bad()) }
    };
    let (x, y) = value.split_once(',').ok_or_else(bad)?;
    world.square([number(x)?, number(y)?])
}

fn path(world: &World, view: &Snapshot, request: &Request) -> Answer<Json<PathFound>> {
    let from = query_square(world, request, "from")?;
    let to = query_square(world, request, "to")?;
    match world.search(view, from, to) {
        Some(Path { cost, squares }) => Ok(Json(PathFound { cost, path: squares })),
        None => Err(refuse(StatusCode::NOT_FOUND, "no path")),
    }
}

#[derive(Deserialize)]
struct Place {
    at: [usize; 2],
}

#[derive(Serialize)]
struct Placed {
    at: Square,
}

fn name(request: &Request) -> Answer<&str> {
    let name = request.param("name");
    let good = (1..=64).contains(&name.len()) && !name.contains('/');
    if good && !name.chars().any(char::is_control) {
        Ok(name)
    } else {
        Err(refuse(StatusCode::BAD_REQUEST, "a name is 1 to 64 bytes, without / and controls"))
    }
}

fn put_player(
    world: &World,
    tx: &Transaction,
    request: &Request,
) -> Answer<(StatusCode, Json<Placed>)> {
    let name = name(request)?;
    let at = world.square(request.json_object::<Place>()?.at)?;
    let refusal = if tx.get(&world.players).contains_key(name) {
        Some("exists")
    } else if world.is_wall(tx, at) {
        Some("wall")
    } else if *tx.get(world.occupied(at)) {
        Some("occupied")
    } else {
        None
    };
    if let Some(text) = refusal {
        return Err(refuse(StatusCode::CONFLICT, text));
    }
    tx.set(world.occupied(at), true);
    tx.modify(&world.players, |players| {
        players.insert(name.to_owned(), TVar::named("player", at));
    });
    Ok((StatusCode::CREATED, Json(Placed { at })))
}

fn delete_player(world: &World, tx: &Transaction, request: &Request) -> Answer<()> {
    let name = name(request)?;
    let Some(player) = tx.get(&world.players).get(name) else {
        return Err(refuse(StatusCode::NOT_FOUND, "unknown player"));
    };
    tx.set(world.occupied(*tx.get(player)), false);
    tx.modify(&world.players, |players| players.remove(name));
    Ok(())
}

#[derive(Deserialize)]
struct Goal {
    to: [usize; 2],
}

#[derive(Serialize)]
struct Moved {
    at: [usize; 2],
    cost: u32,
}

fn goal<'a>(world: &World, request: &'a Request) -> Answer<(&'a str, Square)> {
    Ok((name(request)?, world.square(request.json_object::<Goal>()?.to)?))
}

/// The search of a move: nothing when the request is bad or the player unknown, which the act says.
fn plan_move(world: &World, view: &Snapshot, request: &Request) -> Option<Plan> {
    let (name, to) = goal(world, request).ok()?;
    let player = view.get(&world.players).get(name)?;
    Some(world.plan(view, *view.get(player), to))
}

/// The act of a move: uses the plan if it stands, else searches here, inside the transaction.
fn act_move(
    world: &World,
    tx: &Transaction,
    request: &Request,
    plan: Option<&Plan>,
) -> Answer<Json<Moved>> {
    let (name, to) = goal(world, request)?;
    let Some(player) = tx.get(&world.players).get(name) else {
        return Err(refuse(StatusCode::NOT_FOUND, "unknown player"));
    };
    let at = *tx.get(player);
    let path = match plan {
        Some(plan) if world.stands(tx, plan, at) => plan.path.clone(),
        _ => world.search(tx, at, to),
    };
    match path {
        Some(path) => world.step(tx, player, &path),
        None => Err(refuse(StatusCode::CONFLICT, "no path")),
    }
}

#[derive(Deserialize)]
struct Segment {
    from: [usize; 2],
    to: [usize; 2],
}

#[derive(Serialize)]
struct Changed {
    changed: usize,
}

/// The squares of a horizontal or vertical segment, both ends included.
fn segment(world: &World, request: &Request) -> Answer<Vec<Square>> {
    let Segment { from, to } = request.json_object()?;
    let ((x1, y1), (x2, y2)) = (world.square(from)?, world.square(to)?);
    if x1 != x2 && y1 != y2 {
        return Err(refuse(StatusCode::BAD_REQUEST, "neither horizontal nor vertical"));
    }
    let rows = y1.min(y2)..=y1.max(y2);
    Ok(rows.flat_map(|y| (x1.min(x2)..=x1.max(x2)).map(move |x| (x, y))).collect())
}

/// Makes the squares walls, or free; writes only the blocks that change.
fn set_walls(world: &World, tx: &Transaction, squares: &[Square], wall: bool) -> usize {
    let mut changes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &square in squares {
        if world.is_wall(tx, square) != wall {
            let (block, at) = world.place(square);
            changes.entry(block).or_default().push(at);
        }
    }
    for (&block, places) in &changes {
        let mut squares = tx.get(&world.walls[block]).clone();
        for &at in places {
            squares[at] = wall;
        }
        tx.set(&world.walls[block], squares);
    }
    changes.values().map(Vec::len).sum()
}

fn put_walls(world: &World, tx: &Transaction, request: &Request) -> Answer<Json<Changed>> {
    let squares = segment(world, request)?;
    if squares.iter().any(|&square| *tx.get(world.occupied(square))) {
        return Err(refuse(StatusCode::CONFLICT, "occupied"));
    }
    Ok(Json(Changed { changed: set_walls(world, tx, &squares, true) }))
}

fn delete_walls(world: &World, tx: &Transaction, request: &Request) -> Answer<Json<Changed>> {
    let squares = segment(world, request)?;
    let changed = set_walls(world, tx, &squares, false);
    if changed > 0 {
        tx.set(&world.erasures, tx.get(&world.erasures) + 1);
    }
    Ok(Json(Changed { changed }))
}

fn app(world: World, naive: bool) -> App {
    let world = Arc::new(world);
    let shared = || Arc::clone(&world);
    let (w1, w2, w3, w4, w5, w6) = (shared(), shared(), shared(), shared(), shared(), shared());
    let (search, act) = (shared(), shared());
    let step = if naive {
        write(move |tx, req| act_move(&act, tx, req, None))
    } else {
        search_then(
            move |s, req| plan_move(&search, s, req),
            move |tx, req, plan: &Option<Plan>| act_move(&act, tx, req, plan.as_ref()),
        )
    };
    App::new()
        .version_header(true)
        .get("/map", move |s: &Snapshot, req: &Request| map(&w1, s, req))
        .get("/path", move |s: &Snapshot, req: &Request| path(&w2, s, req))
        .put("/players/{name}", write(move |tx, req| put_player(&w3, tx, req)))
        .delete("/players/{name}", write(move |tx, req| delete_player(&w4, tx, req)))
        .post("/players/{name}/move", step)
        .put("/walls", write(move |tx, req| put_walls(&w5, tx, req)))
        .delete("/walls", write(move |tx, req| delete_walls(&w6, tx, req)))
}

fn main() {
    let flags = serving::flags(
        "astar: players on a map that others change",
        &[("map", "100"), ("cells", "row")],
        "  --map N         columns and rows, 8 to 2000 (100)
  --cells KIND    what one cell of walls holds: map, row or tile (row)
  --naive         search inside the transaction\n",
        &["naive"],
    );
    let cells = match flags.one_of("cells", &["map", "row", "tile"]) {
        "map" => Cells::Map,
        "tile" => Cells::Tile,
        _ => Cells::Row,
    };
    let world = World::new(flags.number("map", 8..=2000) as usize, cells);
    let try_these = [
        "'/path?from=0,0&to=99,99'",
        r#"/players/ann -X PUT -d '{"at":[1,1]}'"#,
        r#"/players/ann/move -d '{"to":[90,90]}'"#,
        "/map",
    ];
    serving::serve(app(world, flags.switch("naive")), &flags, &try_these);
}
