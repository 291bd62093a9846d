//! What was measured, as tables and as JSON.

use crate::{
    contest::{Sample, Scan, Series, spread},
    workloads::Group,
};
use serde::Serialize;
use std::{fs, path::Path};

/// The backend that the others are compared with, on one thread.
const PLAIN: &str = "plain";

/// A figure: the median of the rounds. What cannot be said, since nothing ended, is null.
#[derive(Debug, Serialize)]
struct Row {
    workload: &'static str,
    backend: &'static str,
    threads: usize,
    /// Time of a thread for an operation, with least and greatest.
    ns_per_op: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    /// Of all threads.
    ops_per_s: f64,
    /// Runs that came to nothing.
    aborts_per_op: Option<f64>,
    rounds: usize,
    /// A wrong result is a panic, so a row that exists was checked.
    checked: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    scans: Option<ScanRow>,
}

/// What more there is to say of scans beside a writer. Counts are of all rounds.
#[derive(Debug, Serialize)]
struct ScanRow {
    finished: u64,
    attempts: u64,
    attempts_per_scan: Option<f64>,
    torn: u64,
    writes_per_s: f64,
    /// The writer's rate beside scans, over its rate without them.
    writer_share: f64,
}

impl Row {
    /// The row of a series.
    fn of(series: &Series) -> Self {
        let samples = &series.samples;
        let spread_of = |value: fn(&Sample) -> f64| spread(samples.iter().map(value).collect());
        let [ns, min, max] = spread_of(|sample| sample.ns_per_op).map(finite);
        let finished = samples.iter().map(|sample| sample.ops).sum();
        let scans: Option<Vec<Scan>> = samples.iter().map(|sample| sample.scan).collect();
        Self {
            workload: series.workload,
            backend: series.backend,
            threads: series.threads,
            ns_per_op: ns,
            min,
            max,
            ops_per_s: rounded(spread_of(|sample| sample.per_s)[0]),
            aborts_per_op: finite(spread_of(|sample| sample.aborts_per_op)[0]),
            rounds: samples.len(),
            checked: true,
            scans: scans.map(|scans| ScanRow::of(&scans, finished)),
        }
    }
}

impl ScanRow {
    fn of(scans: &[Scan], finished: u64) -> Self {
        let attempts = scans.iter().map(|scan| scan.attempts).sum();
        let median =
            |value: fn(&Scan) -> f64| rounded(spread(scans.iter().map(value).collect())[0]);
        Self {
            finished,
            attempts,
            attempts_per_scan: finite(attempts as f64 / finished as f64),
            torn: scans.iter().map(|scan| scan.torn).sum(),
            writes_per_s: median(|scan| scan.writes_per_s),
            writer_share: median(|scan| scan.writes_per_s / scan.alone_per_s),
        }
    }
}

/// Prints the tables of a group.
pub(crate) fn print(group: &Group, all: &[Series]) {
    for name in group.workloads {
        let of_it: Vec<&Series> = all.iter().filter(|series| series.workload == *name).collect();
        let Some(first) = of_it.first() else { continue };
        let of_scans = first.samples.iter().any(|sample| sample.scan.is_some());
        println!();
        if of_scans {
            let [attempts, share] = ["attempts/scan", "of its own rate"];
            scans(["workload", "backend", "scans/s", attempts, "torn", "writes/s", share]);
        } else {
            let [threads, aborts, plain] = ["threads", "aborts/op", "x plain"];
            operations([
                "workload", "backend", threads, "ns/op", "min", "max", "op/s", aborts, plain,
            ]);
        }
        for series in &of_it {
            let row = Row::of(series);
            match &row.scans {
                Some(scans) => print_scans(&row, scans),
                None => print_operations(&row, over_plain(series, &of_it)),
            }
        }
    }
    (group.notes)(all).iter().for_each(|line| println!("{line}"));
}

/// A line of a table of operations.
fn operations(fields: [&str; 9]) {
    let [workload, backend, threads, ns, min, max, rate, aborts, plain] = fields;
    println!(
        "{workload:<16} {backend:<18} {threads:>7} {ns:>10} {min:>10} {max:>10} {rate:>10} \
         {aborts:>10} {plain:>8}"
    );
}

/// A line of a table of scans.
fn scans(fields: [&str; 7]) {
    let [workload, backend, rate, attempts, torn, writes, share] = fields;
    println!(
        "{workload:<16} {backend:<18} {rate:>10} {attempts:>14} {torn:>8} {writes:>10} {share:>16}"
    );
}

fn print_operations(row: &Row, over_plain: Option<f64>) {
    operations([
        row.workload,
        row.backend,
        &row.threads.to_string(),
        &shown(row.ns_per_op, 1),
        &shown(row.min, 1),
        &shown(row.max, 1),
        &si(row.ops_per_s),
        &shown(row.aborts_per_op, 4),
        &shown(over_plain, 3),
    ]);
}

fn print_scans(row: &Row, found: &ScanRow) {
    let attempts = match found.attempts_per_scan {
        Some(attempts) => format!("{attempts:.2}"),
        None => format!("0 of {}", found.attempts),
    };
    scans([
        row.workload,
        row.backend,
        &si(row.ops_per_s),
        &attempts,
        &found.torn.to_string(),
        &si(found.writes_per_s),
        &format!("{:.3}", found.writer_share),
    ]);
}

/// How many times as many operations as the plain loop on one thread, round by round.
fn over_plain(series: &Series, all: &[&Series]) -> Option<f64> {
    let plain = all.iter().find(|series| series.backend == PLAIN)?;
    let pairs = series.samples.iter().zip(&plain.samples);
    Some(spread(pairs.map(|(own, plain)| own.per_s / plain.per_s).collect())[0])
}

/// A rate, with a letter for thousands and millions.
fn si(rate: f64) -> String {
    match rate {
        1e6.. => format!("{:.3}M", rate / 1e6),
        1e3.. => format!("{:.2}k", rate / 1e3),
        _ => format!("{rate:.1}"),
    }
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// To four decimals.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then(|| rounded(value))
}

/// A series as a line of JSON.
pub(crate) fn row(series: &Series) -> String {
    serde_json::to_string(&Row::of(series)).expect("numbers and names")
}

/// Replaces the file by these rows.
pub(crate) fn write(file: &Path, rows: &[String]) -> Result<(), String> {
    let failed = |e| format!("cannot write {}: {e}", file.display());
    file.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
    fs::write(file, format!("[\n{}\n]\n", rows.join(",\n"))).map_err(failed)
}

/// The rows of a file that [`write`] wrote.
pub(crate) fn read(file: &Path) -> Result<Vec<String>, String> {
    let failed = |e| format!("cannot read {}: {e}", file.display());
    let text = fs::read_to_string(file).map_err(failed)?;
    let rows = text.lines().filter(|line| line.starts_with('{'));
    Ok(rows.map(|line| line.trim_end_matches(',').to_owned()).collect())
}
