//! What was measured, as a table, as ratios and as JSON.

use crate::{catalog::Test, wrk::Found};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// One server under one test, in every round.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) server: &'static str,
    /// What wrk found, and the server's processor time in ns.
    pub(crate) rounds: Vec<(Found, u64)>,
}

impl Series {
    /// Processor time of the server in us for one request, in every round.
    fn cpu_us(&self) -> Vec<f64> {
        self.rounds.iter().map(|(found, ns)| *ns as f64 / 1e3 / found.requests).collect()
    }

    /// The median of something that wrk found.
    fn median(&self, of: impl Fn(&Found) -> f64) -> f64 {
        spread(self.rounds.iter().map(|(found, _)| of(found)).collect())[0]
    }

    /// Errors of all rounds together.
    pub(crate) fn errors(&self) -> u64 {
        self.rounds.iter().map(|(found, _)| found.errors).sum()
    }

    /// The row of the results. wrk times a whole batch when it pipelines, so then there are no
    /// latencies.
    pub(crate) fn row(&self, test: &Test) -> Value {
        let [us, min, max] = spread(self.cpu_us()).map(|us| rounded(us, 1e3));
        let latency = |us: f64| (test.pipeline == 1).then(|| rounded(us, 1.0));
        json!({
            "server": self.server,
            "test": test.name,
            "connections": test.connections,
            "threads": test.threads,
            "pipeline": test.pipeline,
            "us_per_request": us,
            "us_per_request_min": min,
            "us_per_request_max": max,
            "rps": rounded(self.median(|found| found.requests / found.seconds), 1.0),
            "p50_us": latency(self.median(|found| found.p50_us)),
            "p99_us": latency(self.median(|found| found.p99_us)),
            "errors": self.errors(),
            "rounds": self.rounds.len(),
        })
    }
}

/// Prints one test: a line for each server, then the ratios of the first to the others.
pub(crate) fn print(test: &Test, all: &[Series]) {
    println!(
        "\n{}, {} connections, pipeline {}, {} server thread(s)",
        test.name, test.connections, test.pipeline, test.threads
    );
    println!("server       cpu us/request    min    max      req/s   p50 us   p99 us   errors");
    for series in all {
        let [us, min, max] = spread(series.cpu_us());
        let row = series.row(test);
        let shown = |key: &str| row[key].as_f64().map_or("-".to_owned(), |n| format!("{n:.0}"));
        println!(
            "{:<12}{us:>15.3}{min:>7.2}{max:>7.2}{:>11}{:>9}{:>9}{:>9}",
            series.server,
            shown("rps"),
            shown("p50_us"),
            shown("p99_us"),
            series.errors()
        );
    }
    let [first, others @ ..] = all else { return };
    for other in others {
        let pairs = first.cpu_us().into_iter().zip(other.cpu_us());
        let [ratio, min, max] = spread(pairs.map(|(a, b)| a / b).collect());
        let names = format!("{}/{}", first.server, other.server);
        println!("{names}: {ratio:.3} of the cpu for a request ({min:.3} to {max:.3} in a round)");
    }
}

/// Writes all rows as one JSON array, a row a line.
pub(crate) fn write(path: &Path, rows: &[Value]) -> Result<(), String> {
    let failed = |e| format!("cannot write {}: {e}", path.display());
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
    fs::write(path, format!("[\n{}\n]\n", lines.join(",\n"))).map_err(failed)
}

/// Median, least and greatest.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    };
    [median, values[0], values[values.len() - 1]]
}

/// A number with as many digits as are worth writing down.
fn rounded(number: f64, scale: f64) -> f64 {
    (number * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::TESTS;

    #[test]
    fn rows() {
        let round = |requests| {
            let found = Found { requests, seconds: 2.0, p50_us: 9.0, p99_us: 10.0, errors: 1 };
            (found, 2_000_000)
        };
        let series = Series { server: "s", rounds: vec![round(100.0), round(400.0), round(200.0)] };
        let row = series.row(&TESTS[0]).to_string();
        assert_eq!(
            row,
            "{\"connections\":50,\"errors\":3,\"p50_us\":9.0,\"p99_us\":10.0,\"pipeline\":1,\
             \"rounds\":3,\"rps\":100.0,\"server\":\"s\",\"test\":\"plain\",\"threads\":1,\
             \"us_per_request\":10.0,\"us_per_request_max\":20.0,\"us_per_request_min\":5.0}"
        );
        assert_eq!(series.row(&TESTS[1])["p50_us"], Value::Null);
        assert_eq!(spread(vec![4.0, 1.0, 2.0, 3.0]), [2.5, 1.0, 4.0]);
    }
}
