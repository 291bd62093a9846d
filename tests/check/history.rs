//! The check of a record: a replay in version order on plain data that explains every answer, every
//! attempt, also those that were thrown away, every effect, and real time.
//!
//! One commit for each version that is not empty and one version for each commit; whoever wrote
//! nothing has its place at its snapshot. All reads of an attempt are mixed into its answer, so one
//! comparison of answers compares every read.

use super::{
    case::{Case, Role, expected},
    model::{self, Outcome, Told, Value},
    stage::{Event, Recorded, is_determined},
};
use std::collections::BTreeMap;

/// What a program asked for, each with what it had seen.
type Effects = Vec<(usize, u64)>;
/// The state behind a program, whether it is another one, and its effects.
type Explained = (Vec<Value>, bool, Effects);

/// The states of a run, by version.
struct States {
    all: Vec<Vec<Value>>,
    /// Whose the version is.
    writers: Vec<Option<usize>>,
    /// What each program that committed has asked for.
    effects: BTreeMap<usize, Effects>,
}

/// A program that ended.
struct End<'a> {
    /// Its place among the events.
    at: usize,
    number: usize,
    began: u64,
    ended: u64,
    version: Option<u64>,
    answer: &'a Result<u64, String>,
}

/// One run of a program.
struct Attempt<'a> {
    /// Its place among the events.
    at: usize,
    number: usize,
    snapshot: u64,
    told: &'a Told,
}

type Checked = Result<(), String>;

/// Whether a serial order explains the record.
pub(super) fn check(case: &Case, record: &Recorded) -> Checked {
    let (ends, attempts) = (ends(record), attempts(record));
    each_once(case, &ends)?;
    let states = replay(case, record, &ends)?;
    opaque(case, &states, &attempts, &ends)?;
    again_for_a_reason(case, &states, &attempts)?;
    panics_stand(case, &states, &ends, &attempts)?;
    real_time(case, &states, &ends)?;
    effects_in_order(&states, &ends, record)?;
    for (at, event) in record.events.iter().enumerate() {
        if let Event::Quiet { version } = event {
            nobody_sleeps_too_long(case, &states, (&attempts, &ends), (at, *version))?;
        }
    }
    let last = states.all.last().map(|memory| model::state(memory));
    same("the last state", Some(&record.state), last.as_ref())?;
    same("old versions", record.old_versions, 0)?;
    same("the longest chain", record.longest_chain, 1)?;
    if is_determined(case) {
        let seen = super::Seen {
            answers: ends_in_order(&ends),
            effects: record.effects.clone(),
            state: record.state.clone(),
        };
        same("in arrival order", Some(seen), expected(case))?;
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: T, expected: T) -> Checked {
    if seen == expected { Ok(()) } else { Err(format!("{what}: {seen:?}, not {expected:?}")) }
}

fn ends(record: &Recorded) -> Vec<End<'_>> {
    let end = |(at, event)| match event {
        &Event::Ended { number, began, ended, version, ref answer } => {
            Some(End { at, number, began, ended, version, answer })
        }
        _ => None,
    };
    record.events.iter().enumerate().filter_map(end).collect()
}

fn ends_in_order(ends: &[End<'_>]) -> Vec<Result<u64, String>> {
    let by_number: BTreeMap<usize, _> = ends.iter().map(|end| (end.number, end.answer)).collect();
    by_number.into_values().cloned().collect()
}

fn attempts(record: &Recorded) -> Vec<Attempt<'_>> {
    let attempt = |(at, event)| match event {
        &Event::Attempt { number, snapshot, ref told } => {
            Some(Attempt { at, number, snapshot, told })
        }
        _ => None,
    };
    record.events.iter().enumerate().filter_map(attempt).collect()
}

/// Every program has ended once.
fn each_once(case: &Case, ends: &[End<'_>]) -> Checked {
    for (number, (role, _)) in case.programs.iter().enumerate() {
        let times = ends.iter().filter(|end| end.number == number).count();
        let good = times == 1 || times == 0 && *role == Role::Closer;
        if !good {
            return Err(format!("program {number} has ended {times} times"));
        }
    }
    Ok(())
}

impl States {
    fn at(&self, version: u64) -> Result<&Vec<Value>, String> {
        let state = self.all.get(version as usize);
        state.ok_or_else(|| format!("version {version} is none of this run's"))
    }

    fn is_writer(&self, end: &End<'_>) -> bool {
        let writer = |version| self.writers.get(version as usize).copied().flatten();
        end.version.and_then(writer) == Some(end.number)
    }
}

/// Whether the program, run on this state, gives its answer; and the state and effects then.
fn explained(case: &Case, state: &[Value], end: &End<'_>) -> Option<Explained> {
    let (role, program) = &case.programs[end.number];
    let mut memory = state.to_vec();
    match model::run(&mut memory, end.number, program) {
        Outcome::Committed(acc, _, _) if matches!(role, Role::Failing(_)) => {
            (*end.answer == Ok(acc)).then(|| (state.to_vec(), false, Vec::new()))
        }
        Outcome::Committed(acc, written, effects) => {
            let writes = !written.is_empty() || *role == Role::Member;
            (*end.answer == Ok(acc)).then_some((memory, writes, effects))
        }
        // It fails before the steps of its folds would be run.
        Outcome::Panicked(_) if matches!(role, Role::Failing(_)) => {
            let told = model::told(state, end.number, program).0;
            let answer = end.answer.as_ref().ok().map(|acc| Told::Returned(*acc));
            (Some(told) == answer).then(|| (state.to_vec(), false, Vec::new()))
        }
        _ => None,
    }
}

/// Runs the programs in the order of their versions, each on the state that the one before left.
fn replay(case: &Case, record: &Recorded, ends: &[End<'_>]) -> Result<States, String> {
    let placed = |end: &&End<'_>| end.answer.is_ok() && end.version.is_none_or(|v| v > record.last);
    if let Some(end) = ends.iter().find(placed) {
        return Err(format!("program {} has no place: {:?}", end.number, end.version));
    }
    let (all, effects) = (vec![model::memory()], BTreeMap::new());
    let mut states = States { all, writers: vec![None], effects };
    if !readers_of(case, &mut states, ends, 0) {
        return Err("nothing explains what was read before the first version".to_owned());
    }
    let mut furthest = 0;
    if go_on(case, &mut states, ends, record, &mut furthest) {
        return Ok(states);
    }
    let version = furthest + 1;
    let here = ends.iter().filter(|end| end.version == Some(version));
    let who: Vec<_> = here.map(|end| (end.number, end.answer)).collect();
    Err(format!("nothing explains version {version}: {who:?}"))
}

/// Explains the versions after those of `states`, whoever wrote them: of several programs at one
/// version it may at first seem to be any.
fn go_on(
    case: &Case,
    states: &mut States,
    ends: &[End<'_>],
    record: &Recorded,
    furthest: &mut u64,
) -> bool {
    let (done, version) = (states.all.len() as u64 - 1, states.all.len() as u64);
    *furthest = done.max(*furthest);
    if done == record.last {
        return true;
    }
    if record.empty.contains(&version) {
        states.all.push(states.all[done as usize].clone());
        states.writers.push(None);
        if readers_of(case, states, ends, version) && go_on(case, states, ends, record, furthest) {
            return true;
        }
        states.all.truncate(version as usize);
        states.writers.truncate(version as usize);
        return false;
    }
    let here = ends.iter().filter(|end| end.version == Some(version) && end.answer.is_ok());
    for end in here {
        let Some((memory, true, effects)) = explained(case, &states.all[done as usize], end) else {
            continue;
        };
        let before = states.effects.clone();
        states.all.push(memory);
        states.writers.push(Some(end.number));
        states.effects.insert(end.number, effects);
        if readers_of(case, states, ends, version) && go_on(case, states, ends, record, furthest) {
            return true;
        }
        states.all.truncate(version as usize);
        states.writers.truncate(version as usize);
        states.effects = before;
    }
    false
}

/// Explains those that have their place at a version and did not write it.
fn readers_of(case: &Case, states: &mut States, ends: &[End<'_>], version: u64) -> bool {
    let here = ends.iter().filter(|end| end.version == Some(version) && end.answer.is_ok());
    for end in here {
        if states.writers[version as usize] == Some(end.number) {
            continue;
        }
        match explained(case, &states.all[version as usize], end) {
            Some((_, false, effects)) => drop(states.effects.insert(end.number, effects)),
            _ => return false,
        }
    }
    true
}

/// All that an attempt has seen was there at its snapshot, and nothing is missing that had ended
/// before the program, or its last attempt, could begin.
fn opaque(case: &Case, states: &States, attempts: &[Attempt<'_>], ends: &[End<'_>]) -> Checked {
    for (i, attempt) in attempts.iter().enumerate() {
        let Attempt { number, snapshot, .. } = *attempt;
        let (told, _) = model::told(states.at(snapshot)?, number, &case.programs[number].1);
        same(&format!("an attempt of program {number} at {snapshot}"), attempt.told, &told)?;
        let before = attempts[..i].iter().rfind(|before| before.number == number);
        let own = ends.iter().find(|end| end.number == number);
        let missed = |end: &&End<'_>| {
            let had_ended = match (before, own) {
                (Some(before), _) => end.at < before.at,
                (None, Some(own)) => end.ended < own.began,
                (None, None) => false,
            };
            had_ended && end.answer.is_ok() && end.version > Some(snapshot)
        };
        if let Some(end) = ends.iter().find(missed) {
            return Err(format!("program {number} at {snapshot} misses {:?}", end.version));
        }
    }
    Ok(())
}

/// Whoever is run again and did not wait had lost to a commit.
fn again_for_a_reason(case: &Case, states: &States, attempts: &[Attempt<'_>]) -> Checked {
    for (i, attempt) in attempts.iter().enumerate() {
        let number = attempt.number;
        let Some(next) = attempts[i + 1..].iter().find(|next| next.number == number) else {
            continue;
        };
        let (_, left) = model::told(states.at(attempt.snapshot)?, number, &case.programs[number].1);
        if !left && next.snapshot <= attempt.snapshot {
            let at = attempt.snapshot;
            return Err(format!("program {number} at {at} was run again though nothing changed"));
        }
    }
    Ok(())
}

/// Who ended with a panic did so in its last attempt, or in a step that was run when it committed.
fn panics_stand(
    case: &Case,
    states: &States,
    ends: &[End<'_>],
    attempts: &[Attempt<'_>],
) -> Checked {
    for end in ends {
        let Err(message) = end.answer else { continue };
        let number = end.number;
        let last = attempts.iter().rfind(|attempt| attempt.number == number);
        let last = last.ok_or_else(|| format!("program {number} panicked without a run"))?;
        let program = &case.programs[number].1;
        let outcome = |state: &Vec<Value>| model::run(&mut state.clone(), number, program);
        let from = last.snapshot as usize;
        // A step sees the state of the commit; anything else that of the snapshot.
        let until =
            if matches!(last.told, Told::Returned(_)) { states.all.len() } else { from + 1 };
        let panics = |state| matches!(outcome(state), Outcome::Panicked(text) if text == *message);
        if !states.all[from..until].iter().any(panics) {
            return Err(format!("program {number}: the panic {message:?} is not explained"));
        }
    }
    Ok(())
}

/// Whoever began after another had ended comes behind it.
fn real_time(case: &Case, states: &States, ends: &[End<'_>]) -> Checked {
    let placed = || ends.iter().filter_map(|end| Some((end, end.version?)));
    for (a, before) in placed().filter(|(end, _)| end.answer.is_ok()) {
        for (b, behind) in placed().filter(|(end, _)| end.answer.is_ok()) {
            let wrong = behind < before || behind == before && states.is_writer(b);
            if a.ended < b.began && wrong {
                let (a, b) = (a.number, b.number);
                let order = case.order;
                return Err(format!("program {a} at {before}, later {b} at {behind}: {order:?}"));
            }
        }
    }
    Ok(())
}

/// Effects open once, and behind those of every version that their program saw.
fn effects_in_order(states: &States, ends: &[End<'_>], record: &Recorded) -> Checked {
    let opened = |number| {
        let all = record.effects.iter().enumerate();
        all.filter(move |(_, effect)| effect.0 == number)
    };
    for end in ends {
        let expected = states.effects.get(&end.number).cloned().unwrap_or_default();
        let seen: Vec<_> = opened(end.number).map(|(_, effect)| *effect).collect();
        same(&format!("effects of program {}", end.number), seen, expected)?;
        let Some((first, _)) = opened(end.number).next() else { continue };
        let saw = |other: &&End<'_>| {
            let behind = other.version < end.version
                || other.version == end.version && !states.is_writer(end);
            states.is_writer(other) && other.number != end.number && behind
        };
        for other in ends.iter().filter(saw) {
            if let Some((at, _)) = opened(other.number).next_back().filter(|(at, _)| *at > first) {
                let (a, b) = (other.number, end.number);
                return Err(format!("an effect of program {a} opened at {at}, behind {b}'s"));
            }
        }
    }
    let known: usize = ends.iter().map(|end| opened(end.number).count()).sum();
    same("effects of nobody", record.effects.len() - known, 0)
}

/// When nobody could go on, everybody who had not ended had to wait for a write.
fn nobody_sleeps_too_long(
    case: &Case,
    states: &States,
    (attempts, ends): (&[Attempt<'_>], &[End<'_>]),
    (at, version): (usize, u64),
) -> Checked {
    for (number, (role, program)) in case.programs.iter().enumerate() {
        let end = ends.iter().find(|end| end.number == number);
        if *role == Role::Closer || end.is_some_and(|end| end.at < at) {
            continue;
        }
        let last = attempts.iter().rfind(|attempt| attempt.at < at && attempt.number == number);
        // The end of a member is told when all of them have ended.
        let has_ended = *role == Role::Member
            && end.is_some_and(|end| end.answer.is_err() || end.version <= Some(version));
        let waits = match (last, role) {
            // The thread waits in an earlier program of its own.
            (None, Role::Thread(_) | Role::Failing(_) | Role::Snapshot(_)) => true,
            (None, _) => false,
            (Some(_), _) => model::told(states.at(version)?, number, program).1,
        };
        if !waits && !has_ended {
            return Err(format!("program {number} sleeps at version {version} for no reason"));
        }
    }
    Ok(())
}
