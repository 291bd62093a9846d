//! The map of `astar` as its answers show it, and what must hold for it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{answer::Answer, wrong::Wrong};

/// A square: x to the right, y down, from 0.
pub(crate) type Square = (u64, u64);

/// One state of the map.
#[derive(Debug)]
pub(crate) struct Map {
    /// Columns, and rows.
    pub(crate) size: u64,
    /// Rows from top to bottom: `.` free, `#` wall.
    rows: Vec<String>,
    /// Where each player stands.
    pub(crate) players: BTreeMap<String, Square>,
}

impl Map {
    /// Reads an answer to `GET /map`, and checks all that must hold in every state.
    pub(crate) fn read(answer: &Answer) -> Result<Map, Wrong> {
        let value = answer.json(200)?;
        let wrong = |kind: &str| answer.wrong(format!("map: {kind}"));
        let size = value.get("size").and_then(Value::as_u64).ok_or_else(|| wrong("no size"))?;
        let rows = value.get("rows").and_then(Value::as_array).ok_or_else(|| wrong("no rows"))?;
        let rows: Option<Vec<String>> =
            rows.iter().map(|row| row.as_str().map(str::to_owned)).collect();
        let rows = rows.ok_or_else(|| wrong("row that is no text"))?;
        let square = |row: &String| {
            row.len() as u64 == size && row.bytes().all(|byte| matches!(byte, b'.' | b'#'))
        };
        if rows.len() as u64 != size || !rows.iter().all(square) {
            return Err(wrong("rows that are not size x size of . and #"));
        }
        let listed = value.get("players").and_then(Value::as_object);
        let listed = listed.ok_or_else(|| wrong("no players"))?;
        let sorted: BTreeMap<&str, &Value> =
            listed.iter().map(|(name, at)| (name.as_str(), at)).collect();
        // A parsed object has lost its order and its repetitions; the text still has them.
        let text = serde_json::to_string(&sorted).unwrap_or_default();
        if !String::from_utf8_lossy(&answer.body).contains(&format!("\"players\":{text}")) {
            return Err(wrong("players not sorted"));
        }
        let mut map = Map { size, rows, players: BTreeMap::new() };
        let mut taken = BTreeMap::new();
        for (name, at) in sorted {
            let at = map.square(at).ok_or_else(|| wrong("player outside"))?;
            if map.is_wall(at) {
                return Err(answer.wrong("map: player on a wall").named(name));
            }
            if let Some(other) = taken.insert(at, name) {
                let both = format!("{other} and {name}");
                return Err(answer.wrong("map: two players on a square").named(&both));
            }
            map.players.insert(name.to_owned(), at);
        }
        Ok(map)
    }

    /// Reads `[x,y]` as a square of this map.
    fn square(&self, value: &Value) -> Option<Square> {
        square(value).filter(|(x, y)| *x < self.size && *y < self.size)
    }

    /// Whether a square of this map is a wall.
    fn is_wall(&self, (x, y): Square) -> bool {
        self.rows[y as usize].as_bytes()[x as usize] == b'#'
    }

    /// The squares without wall and player.
    pub(crate) fn free(&self) -> Vec<Square> {
        let taken: std::collections::BTreeSet<_> = self.players.values().copied().collect();
        let squares = (0..self.size).flat_map(|y| (0..self.size).map(move |x| (x, y)));
        squares.filter(|at| !self.is_wall(*at) && !taken.contains(at)).collect()
    }

    /// Checks that a player stands where its last answer said.
    pub(crate) fn check_player(&self, name: &str, at: Square) -> Result<(), Wrong> {
        let found = self.players.get(name);
        if found == Some(&at) {
            return Ok(());
        }
        let text = format!("{name} is at {at:?} by its last answer, the map has {found:?}");
        Err(Wrong::answered("map: player elsewhere", text))
    }
}

/// Reads `[x,y]`.
pub(crate) fn square(value: &Value) -> Option<Square> {
    match value.as_array()?.as_slice() {
        [x, y] => Some((x.as_u64()?, y.as_u64()?)),
        _ => None,
    }
}

/// The least cost between two squares when nothing is in the way: 10 straight and 14 diagonal.
pub(crate) fn open_cost(a: Square, b: Square) -> u64 {
    let (x, y) = (a.0.abs_diff(b.0), a.1.abs_diff(b.1));
    14 * x.min(y) + 10 * (x.max(y) - x.min(y))
}

/// Checks a move from `from` towards `goal` that was answered with a place and a cost.
pub(crate) fn check_move(from: Square, goal: Square, at: Square, cost: u64) -> Result<(), String> {
    let step = open_cost(from, at);
    if !matches!(step, 0 | 10 | 14) {
        return Err(format!("jump from {from:?} to {at:?}"));
    }
    if (cost == 0) != (step == 0) || (cost == 0) != (from == goal) {
        return Err(format!("cost {cost} with a step from {from:?} to {at:?} for {goal:?}"));
    }
    // What is left after the step is a path too, so it costs what the open way does, or more.
    if cost < step + open_cost(at, goal) {
        return Err(format!("cost {cost} from {from:?} by {at:?} to {goal:?} is too low"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what a map of 2 x 2 is taken for.
    #[track_caller]
    fn check(rest: &str, expected: Result<usize, &str>) {
        let body = format!(r#"{{"size":2,{rest}}}"#).into_bytes();
        let found = Map::read(&Answer { status: 200, body, ..Answer::default() });
        let found = found.map(|map| map.free().len()).map_err(|wrong| wrong.kind);
        assert_eq!(found, expected.map_err(|kind| format!("map: {kind}")), "{rest}");
    }

    #[test]
    fn maps() {
        check(r##""rows":["..","#."],"players":{"a":[0,0],"b":[1,1]}"##, Ok(1));
        check(r##""rows":["..","#."],"players":{}"##, Ok(3));
        let rows = r##""rows":["..","#."],"players":"##;
        check(&format!(r#"{rows}{{"b":[0,0],"a":[1,1]}}"#), Err("players not sorted"));
        check(&format!(r#"{rows}{{"a":[0,0],"a":[1,1]}}"#), Err("players not sorted"));
        check(&format!(r#"{rows}{{"a":[0,0],"b":[0,0]}}"#), Err("two players on a square"));
        check(&format!(r#"{rows}{{"a":[0,1]}}"#), Err("player on a wall"));
        check(&format!(r#"{rows}{{"a":[2,1]}}"#), Err("player outside"));
        check(r#""rows":["..","."],"players":{}"#, Err("rows that are not size x size of . and #"));
        check(r#""rows":[".."],"players":{}"#, Err("rows that are not size x size of . and #"));
        check(r#""players":{}"#, Err("no rows"));
    }

    #[test]
    fn moves() {
        assert!(check_move((5, 5), (5, 9), (5, 6), 40).is_ok());
        assert!(check_move((5, 5), (5, 9), (4, 4), 14 + 54).is_ok());
        assert!(check_move((5, 5), (5, 5), (5, 5), 0).is_ok());
        assert!(check_move((5, 5), (5, 9), (5, 7), 40).is_err());
        assert!(check_move((5, 5), (5, 9), (5, 5), 0).is_err());
        assert!(check_move((5, 5), (5, 9), (5, 5), 40).is_err());
        assert!(check_move((5, 5), (5, 5), (5, 6), 20).is_err());
        assert!(check_move((5, 5), (5, 9), (5, 6), 39).is_err());
        assert!(check_move((5, 5), (5, 9), (5, 4), 40).is_err());
    }
}
