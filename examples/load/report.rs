//! The result of a run: a table or a JSON object, and the errors by kind.

use std::{
    io::{self, Write},
    time::Duration,
};

use serde_json::json;

use crate::{drive::Run, options::Options};

/// Prints the result; says whether all went well.
pub(crate) fn print<S>(options: &Options, run: &Run<S>) -> io::Result<bool> {
    let tally = &run.tally;
    let errors = tally.error_count();
    let text = if options.json { json_object(run) } else { table(options, run) };
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    let mut err = io::stderr().lock();
    for (kind, (count, example)) in &tally.errors {
        writeln!(err, "{count} x {kind}, the first: {example}")?;
    }
    if tally.requests == 0 {
        writeln!(err, "no request got an answer")?;
    }
    Ok(errors == 0 && tally.requests > 0)
}

/// Requests per second.
fn rate<S>(run: &Run<S>) -> f64 {
    let seconds = run.elapsed.as_secs_f64();
    if seconds > 0.0 { tenth(run.tally.requests as f64 / seconds) } else { 0.0 }
}

/// Server CPU per request in microseconds.
fn cpu_per_request<S>(run: &Run<S>) -> Option<f64> {
    let cpu = run.cpu.filter(|_| run.tally.requests > 0)?;
    Some(tenth(micros(cpu) / run.tally.requests as f64))
}

/// The result for programs.
fn json_object<S>(run: &Run<S>) -> String {
    let latencies = &run.tally.latencies;
    let shown = |per_mille| tenth(micros(latencies.percentile(per_mille)));
    json!({
        "requests": run.tally.requests,
        "rps": rate(run),
        "p50_us": shown(500),
        "p90_us": shown(900),
        "p99_us": shown(990),
        "p999_us": shown(999),
        "max_us": tenth(micros(latencies.max())),
        "errors": run.tally.error_count(),
        "cpu_us_per_request": cpu_per_request(run),
    })
    .to_string()
}

/// The result for people.
fn table<S>(options: &Options, run: &Run<S>) -> String {
    let (tally, url) = (&run.tally, &options.url);
    let mut rows =
        vec![("requests", tally.requests.to_string()), ("requests/s", format!("{:.1}", rate(run)))];
    let latencies = &tally.latencies;
    for (name, per_mille) in [("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999)] {
        rows.push((name, shown(latencies.percentile(per_mille))));
    }
    rows.push(("max", shown(latencies.max())));
    rows.push(("errors", tally.error_count().to_string()));
    if let Some(cpu) = cpu_per_request(run) {
        rows.push(("server cpu", format!("{cpu:.1} us per request")));
    }
    for (name, count) in &tally.outcomes {
        rows.push((name, count.to_string()));
    }
    let (name, count) = (options.name, options.connections);
    let mut text = format!(
        "{name} at http://{}{}, {count} connections, {:.1} s from the first request on",
        url.authority,
        url.path,
        run.elapsed.as_secs_f64()
    );
    for (name, value) in rows {
        text.push_str(&format!("\n  {name:<22}{value}"));
    }
    text
}

/// A latency in the unit that suits it.
fn shown(latency: Duration) -> String {
    match micros(latency) {
        micros if micros < 1e3 => format!("{micros:.0} us"),
        micros if micros < 1e6 => format!("{:.2} ms", micros / 1e3),
        micros => format!("{:.2} s", micros / 1e6),
    }
}

/// A duration in microseconds.
fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// A number without the digits that nobody believes.
fn tenth(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
