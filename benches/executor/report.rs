//! What was found: rows of a table, and of the JSON file.

use serde::Serialize;
use std::{fs, io, path::Path};

/// Relative to the root of the repository, wherever the program was started.
const FILE: &str = "target/bench/executor.json";

/// The question of a row.
#[derive(Clone, Copy, Default, Serialize)]
pub(crate) struct Case {
    pub(crate) test: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) conflict: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) read_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) accounts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) call: Option<&'static str>,
}

impl Case {
    /// The question in words, without the name of the test.
    pub(crate) fn text(&self) -> String {
        let parts = [
            self.call.map(str::to_owned),
            self.body_ns.map(|ns| format!("{ns} ns")),
            self.conflict.map(|share| format!("conflict {share}")),
            self.read_share.map(|share| format!("reads {share}")),
            self.accounts.map(|count| format!("accounts {count}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Who was measured.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Who {
    pub(crate) backend: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) order: Option<&'static str>,
    pub(crate) threads: usize,
}

/// What a figure is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// How many times as fast as the plain loop.
    Speedup,
    NsPerCall,
    /// The 99th percentile of the rounds, in microseconds.
    P99Us,
}

/// A figure: the median of the rounds, with least and greatest.
#[derive(Serialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    case: Case,
    #[serde(flatten)]
    who: Who,
    #[serde(skip_serializing_if = "Option::is_none")]
    speedup_over_plain: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ns_per_call: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_us: Option<f64>,
    min: f64,
    max: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aborts_per_handler: Option<f64>,
    rounds: usize,
    /// A wrong result is a panic, so a row that exists was checked.
    checked: bool,
}

impl Row {
    /// From the values of all rounds, of which there is at least one.
    pub(crate) fn new(
        case: Case,
        who: Who,
        unit: Unit,
        values: Vec<f64>,
        aborts_per_handler: Option<f64>,
    ) -> Row {
        let rounds = values.len();
        let [median, min, max] = spread(values).map(rounded);
        Row {
            case,
            who,
            speedup_over_plain: (unit == Unit::Speedup).then_some(median),
            ns_per_call: (unit == Unit::NsPerCall).then_some(median),
            p99_us: (unit == Unit::P99Us).then_some(median),
            min,
            max,
            aborts_per_handler: aborts_per_handler.map(rounded),
            rounds,
            checked: true,
        }
    }

    /// One line of the table.
    pub(crate) fn print(&self) {
        let digits = if self.speedup_over_plain.is_some() { 3 } else { 0 };
        let median = self.speedup_over_plain.or(self.ns_per_call).or(self.p99_us);
        let figures = [median, Some(self.min), Some(self.max)];
        let [median, min, max] =
            figures.map(|figure| figure.map_or_else(dash, |n| format!("{n:.digits$}")));
        let aborts = self.aborts_per_handler.map_or_else(dash, |aborts| format!("{aborts:.4}"));
        let Who { backend, order, threads } = self.who;
        line([
            self.case.test,
            &self.case.text(),
            backend,
            order.unwrap_or("-"),
            &threads.to_string(),
            &median,
            &min,
            &max,
            &aborts,
        ]);
    }
}

/// The line above the rows of a test.
pub(crate) fn heading(unit: Unit) {
    let median = match unit {
        Unit::Speedup => "x plain",
        Unit::NsPerCall => "ns/call",
        Unit::P99Us => "p99 us",
    };
    println!();
    let [aborts, threads] = ["aborts/handler", "threads"];
    line(["test", "case", "backend", "order", threads, median, "min", "max", aborts]);
}

fn line([test, case, backend, order, threads, median, min, max, aborts]: [&str; 9]) {
    println!(
        "{test:<10} {case:<24} {backend:<9} {order:<7} {threads:>7} \
         {median:>8} {min:>8} {max:>8} {aborts:>14}"
    );
}

fn dash() -> String {
    "-".to_owned()
}

/// Median, least and greatest.
pub(crate) fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    };
    [median, values[0], values[values.len() - 1]]
}

/// To four decimals.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// Replaces the file by these rows, one on a line.
pub(crate) fn write(rows: &[Row]) -> io::Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let lines: Vec<String> = rows.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    fs::write(&file, format!("[\n{}\n]\n", lines.join(",\n")))?;
    println!("{} rows in {FILE}", rows.len());
    Ok(())
}
