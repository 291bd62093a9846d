//! The smallest case that still fails, found by leaving things out.

use super::{
    case::{Case, Role, expected},
    program::Program,
    stage::is_determined,
};

/// How many schedules a smaller case is tried in.
const TRIES: u64 = 20;

/// The smallest case that was found, with its seed and what is wrong with it.
pub(super) fn smallest(case: &Case, seed: u64) -> String {
    let (mut best, mut said) = (case.clone(), "none is smaller".to_owned());
    let mut smaller = true;
    while std::mem::take(&mut smaller) {
        for candidate in candidates(&best) {
            let found = (0..TRIES).map(|i| seed + i).find_map(|seed| {
                let why = candidate.check(seed).err()?;
                Some(format!("seed={seed}: {why}"))
            });
            match found {
                // After that nothing can be tried any more.
                Some(why) if why.contains("an earlier run") => return said,
                Some(why) => {
                    said = format!("{}{why}", shown(&candidate));
                    (best, smaller) = (candidate, true);
                    break;
                }
                None => {}
            }
        }
    }
    said
}

/// A case in a few lines.
pub(super) fn shown(case: &Case) -> String {
    let steps = case.programs.iter().enumerate().filter(|(_, (_, program))| !program.is_empty());
    let steps: String = steps.map(|(i, step)| format!("  {i}: {step:?}\n")).collect();
    let Case { order, workers, reaps, .. } = case;
    format!("{order:?} workers={workers} reaps={reaps}\n{steps}")
}

/// The case with less of it.
fn candidates(case: &Case) -> Vec<Case> {
    let with = |number: usize, program: Program| {
        let mut case = case.clone();
        case.programs[number].1 = program;
        case
    };
    let mut all = Vec::new();
    let programs = case.programs.iter().enumerate();
    // Without the closers a program may wait for ever.
    let programs = programs.filter(|(_, (role, _))| *role != Role::Closer);
    for (number, (_, program)) in programs.clone() {
        if !program.is_empty() {
            all.push(with(number, Program::new()));
        }
    }
    for (number, (_, program)) in programs {
        if program.len() > 1 {
            for left_out in 0..program.len() {
                let mut program = program.clone();
                program.remove(left_out);
                all.push(with(number, program));
            }
        }
    }
    all.retain(|case| !is_determined(case) || expected(case).is_some());
    all
}
