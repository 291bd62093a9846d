//! `load astar`: players walk, build and erase, one connection each.

use serde_json::json;

use crate::{
    answer::Answer,
    client::Client,
    drive::{Run, Script, Session, drive},
    map::{Map, Square, check_move, square},
    options::{Mix, Options},
    random::Random,
    wrong::Wrong,
};

/// The longest wall that is built or erased at once.
const MAX_WALL: u64 = 8;

/// Attempts to place one player, for a map where others walk and build at the same time.
const MAX_PLACINGS: usize = 1000;

/// One player with its connection.
#[derive(Debug)]
struct Player {
    /// Its name.
    name: String,
    /// Where it stands; `None` after a move that got no usable answer.
    at: Option<Square>,
    /// Columns and rows of the map.
    size: u64,
    /// Shares of the requests.
    mix: Mix,
    /// Picks the requests.
    random: Random,
    /// Whether the request under way moves the player.
    moving: bool,
}

impl Script for Player {
    fn step(&mut self, session: &mut Session) -> Result<(), Wrong> {
        let choice = self.random.below(10_000);
        let Mix { moves, walls, erasures } = self.mix;
        self.moving = choice < moves;
        let outcome = if self.moving {
            self.walk(session)?
        } else if choice < moves + walls {
            self.build(session, "PUT")?
        } else if choice < moves + walls + erasures {
            self.build(session, "DELETE")?
        } else {
            let map = Map::read(session.ask("GET", "/map", None)?)?;
            match self.at {
                Some(at) => map.check_player(&self.name, at)?,
                // The map is as good as the answer that never came.
                None => self.at = map.players.get(&self.name).copied(),
            }
            "maps"
        };
        session.tally.outcome(outcome);
        Ok(())
    }

    fn lost(&mut self) {
        if self.moving {
            self.at = None;
        }
    }
}

impl Player {
    /// Asks for a step towards a random square.
    fn walk(&mut self, session: &mut Session) -> Result<&'static str, Wrong> {
        let goal = (self.random.below(self.size), self.random.below(self.size));
        let path = format!("/players/{}/move", self.name);
        let body = json!({ "to": [goal.0, goal.1] }).to_string();
        let answer = session.ask("POST", &path, Some(&body))?;
        if answer.status == 409 {
            return match answer.refusal()?.as_str() {
                "no path" => Ok("moves without a path"),
                "occupied" => Ok("moves onto a player"),
                _ => Err(answer.wrong("unknown reason")),
            };
        }
        // Until the answer proves good, nobody knows where the player is.
        let before = if answer.status == 200 { self.at.take() } else { self.at };
        let (at, cost) = place(answer, self.size)?;
        self.at = Some(at);
        let cost = cost.ok_or_else(|| answer.wrong("move without a cost"))?;
        if let Some(before) = before {
            check_move(before, goal, at, cost).map_err(|text| answer.wrong("move").named(&text))?;
        }
        Ok(if cost == 0 { "moves already there" } else { "moves" })
    }

    /// Builds (PUT) or erases (DELETE) a random wall.
    fn build(&mut self, session: &mut Session, method: &str) -> Result<&'static str, Wrong> {
        let length = 1 + self.random.below(MAX_WALL);
        let first = self.random.below(self.size - length + 1);
        let line = self.random.below(self.size);
        let (mut from, mut to) = ((first, line), (first + length - 1, line));
        if self.random.below(2) == 0 {
            (from, to) = ((from.1, from.0), (to.1, to.0));
        }
        if self.random.below(2) == 0 {
            (from, to) = (to, from);
        }
        let body = json!({ "from": [from.0, from.1], "to": [to.0, to.1] }).to_string();
        let answer = session.ask(method, "/walls", Some(&body))?;
        if answer.status == 409 && method == "PUT" {
            return match answer.refusal()?.as_str() {
                "occupied" => Ok("walls onto a player"),
                _ => Err(answer.wrong("unknown reason")),
            };
        }
        let [changed] = answer.numbers(["changed"])?;
        if changed > length {
            return Err(answer.wrong("more squares changed than named"));
        }
        Ok(if method == "PUT" { "walls" } else { "erasures" })
    }
}

/// The place that an answer names, and the cost if it has one.
fn place(answer: &Answer, size: u64) -> Result<(Square, Option<u64>), Wrong> {
    let value = answer.json(if answer.status == 201 { 201 } else { 200 })?;
    let at = value.get("at").and_then(square).filter(|(x, y)| *x < size && *y < size);
    let at = at.ok_or_else(|| answer.wrong("no place on the map"))?;
    Ok((at, value.get("cost").and_then(serde_json::Value::as_u64)))
}

/// Runs the command.
pub(crate) fn run(options: &Options, mix: Mix) -> Result<Run<impl Script>, String> {
    let mut client = Client::connect(&options.url).map_err(|wrong| wrong.example)?;
    let players = place_all(&mut client, options, mix);
    let players = players.map_err(|wrong| wrong.after(&client.asked()).example)?;
    let mut run = drive(options, players)?;
    for wrong in leave_all(&mut client, &run.scripts) {
        run.tally.wrong(wrong);
    }
    Ok(run)
}

/// Puts all players on random free squares; removes those of an earlier run first.
fn place_all(client: &mut Client, options: &Options, mix: Mix) -> Result<Vec<Player>, Wrong> {
    let name = |i| format!("load-{}-{i}", options.seed);
    for i in 0..options.connections {
        let answer = client.ask("DELETE", &format!("/players/{}", name(i)), None)?;
        if !matches!(answer.status, 204 | 404) {
            return Err(answer.wrong("player not deleted"));
        }
    }
    let map = Map::read(client.ask("GET", "/map", None)?)?;
    if map.size < MAX_WALL {
        return Err(Wrong::answered("map", format!("size {} is under {MAX_WALL}", map.size)));
    }
    let mut free = map.free();
    // One more stream than there are players.
    let mut random = Random::new(options.seed, options.connections as u64);
    let mut players = Vec::new();
    for i in 0..options.connections {
        let mut tries = 0;
        let at = loop {
            tries += 1;
            if free.is_empty() || tries > MAX_PLACINGS {
                let text =
                    format!("no free square for player {} of {}", i + 1, options.connections);
                return Err(Wrong::answered("map", text));
            }
            let at = free.swap_remove(random.below(free.len() as u64) as usize);
            let body = json!({ "at": [at.0, at.1] }).to_string();
            let answer = client.ask("PUT", &format!("/players/{}", name(i)), Some(&body))?;
            match answer.status {
                201 if place(answer, map.size)?.0 == at => break at,
                201 => return Err(answer.wrong("placed elsewhere")),
                // Someone else came or built there since the map was shown.
                409 if matches!(answer.refusal()?.as_str(), "wall" | "occupied") => {}
                _ => return Err(answer.wrong("player not placed")),
            }
        };
        let random = Random::new(options.seed, i as u64);
        let at = Some(at);
        players.push(Player { name: name(i), at, size: map.size, mix, random, moving: false });
    }
    Ok(players)
}

/// Checks the last map, on which nobody moves any more, and removes all players.
fn leave_all(client: &mut Client, players: &[Player]) -> Vec<Wrong> {
    let mut found = Vec::new();
    match client.ask("GET", "/map", None).and_then(Map::read) {
        Ok(map) => {
            for player in players {
                let check = player.at.map_or(Ok(()), |at| map.check_player(&player.name, at));
                found.extend(check.err().map(|wrong| wrong.after("last GET /map")));
            }
        }
        Err(wrong) => found.push(wrong.after("last GET /map")),
    }
    for player in players {
        match client.ask("DELETE", &format!("/players/{}", player.name), None) {
            Ok(answer) if answer.status == 204 => {}
            Ok(answer) => found.push(answer.wrong("player not deleted").named(&player.name)),
            // Nobody answers any more: one complaint says it for all players.
            Err(wrong) => {
                found.push(wrong.after("DELETE /players"));
                break;
            }
        }
    }
    found
}
