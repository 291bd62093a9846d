//! `load counter`: no count is missing or repeated.

use crate::{
    answer::Answer,
    client::Client,
    drive::{Run, Script, Session, drive},
    options::Options,
    wrong::Wrong,
};

/// One connection's share.
#[derive(Debug, Default)]
struct Hits {
    /// The counts it was given, in order.
    counts: Vec<u64>,
    /// Hits answered without a count, as a commuting cell does.
    uncounted: u64,
    /// Hits that got no answer and may have counted.
    lost: u64,
}

impl Script for Hits {
    fn step(&mut self, session: &mut Session) -> Result<(), Wrong> {
        let answer = session.ask("POST", "/hit", None)?;
        if answer.status == 204 {
            self.uncounted += 1;
            return Ok(());
        }
        let [count] = answer.numbers(["count"])?;
        let before = self.counts.last().copied();
        self.counts.push(count);
        match before {
            Some(before) if count <= before => {
                let text = format!("{count} after {before} on one connection");
                Err(Wrong::answered("count not increasing", text))
            }
            _ => Ok(()),
        }
    }

    fn lost(&mut self) {
        self.lost += 1;
    }
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<Run<impl Script>, String> {
    let mut client = Client::connect(&options.url).map_err(|wrong| wrong.example)?;
    let start = count(&mut client).map_err(|wrong| wrong.after("GET /").example)?;
    let scripts = (0..options.connections).map(|_| Hits::default()).collect();
    let mut run = drive(options, scripts)?;
    let lost: u64 = run.scripts.iter().map(|hits| hits.lost).sum();
    let uncounted: u64 = run.scripts.iter().map(|hits| hits.uncounted).sum();
    let counts: Vec<u64> = run.scripts.iter().flat_map(|hits| &hits.counts).copied().collect();
    let hits = counts.len() as u64 + uncounted;
    for wrong in check(start, counts, lost + uncounted) {
        run.tally.wrong(wrong);
    }
    match count(&mut client) {
        Ok(end) if (start + hits..=start + hits + lost).contains(&end) => {}
        Ok(end) => {
            let text = format!("{start} before, {hits} hits answered, {end} after");
            run.tally.wrong(Wrong::answered("wrong final count", text));
        }
        Err(wrong) => run.tally.wrong(wrong.after("GET /")),
    }
    Ok(run)
}

/// The count that the server shows.
fn count(client: &mut Client) -> Result<u64, Wrong> {
    let [count] =
        client.ask("GET", "/", None).and_then(|answer: &Answer| answer.numbers(["count"]))?;
    Ok(count)
}

/// Checks that the counts are those that follow `start`, each once.
///
/// As many as `unseen` may be missing: their hits got no answer, or one without a count.
fn check(start: u64, mut counts: Vec<u64>, unseen: u64) -> Vec<Wrong> {
    counts.sort_unstable();
    let mut found = Vec::new();
    let (mut last, mut missing, mut gap) = (start, 0, None);
    for count in counts {
        if count <= last {
            let kind = if count <= start { "count from before the run" } else { "count repeated" };
            found.push(Wrong::answered(kind, count.to_string()));
            continue;
        }
        if count > last + 1 {
            missing += count - last - 1;
            gap.get_or_insert(format!("{} follows {last}", count));
        }
        last = count;
    }
    if let Some(gap) = gap.filter(|_| missing > unseen) {
        found.push(Wrong::answered("count missing", format!("{missing} in all, first: {gap}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which kinds of errors a list of counts has.
    #[track_caller]
    fn kinds(start: u64, counts: &[u64], unseen: u64, expected: &[&str]) {
        let found = check(start, counts.to_vec(), unseen);
        let found: Vec<_> = found.iter().map(|wrong| wrong.kind.as_str()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn counts() {
        kinds(0, &[], 0, &[]);
        kinds(4, &[6, 5, 7], 0, &[]);
        kinds(4, &[6, 5, 6], 0, &["count repeated"]);
        kinds(4, &[6, 8], 0, &["count missing"]);
        kinds(4, &[6, 8], 2, &[]);
        kinds(4, &[4, 5], 0, &["count from before the run"]);
    }
}
