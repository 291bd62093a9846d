//! The load generator: wrk, driven by scripts and read back as JSON.

use crate::catalog::Test;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    env, fs,
    io::ErrorKind,
    path::PathBuf,
    process::{self, Command, Stdio},
    thread,
    time::Duration,
};

/// Threads of wrk. It needs more processor time for a request than the servers do: with one thread
/// it would be the slower side.
pub(crate) const THREADS: u32 = 2;
/// How much later wrk would end by itself. It knows only whole seconds, so it is told to stop.
const SPARE_SECONDS: u64 = 10;

/// What wrk found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Failed connects, reads and writes, timeouts, and answers with a status above 399.
    pub(crate) errors: u64,
}

/// wrk with its script, one for every depth of pipelining.
#[derive(Debug)]
pub(crate) struct Wrk {
    /// Holds the scripts, and is removed at the end.
    folder: PathBuf,
}

impl Wrk {
    /// Looks for wrk, and makes a place for its scripts.
    pub(crate) fn find() -> Result<Self, String> {
        let started = Command::new("wrk").arg("-v").stdout(Stdio::null()).status();
        started.map_err(|e| match e.kind() {
            ErrorKind::NotFound => "wrk is not installed: apt-get install wrk".to_owned(),
            _ => format!("wrk does not start: {e}"),
        })?;
        let folder = env::temp_dir().join(format!("txloop-bench-http-{}", process::id()));
        fs::create_dir(&folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
        Ok(Self { folder })
    }

    /// The first line of what wrk says about itself.
    pub(crate) fn version() -> String {
        let said = Command::new("wrk").arg("-v").output().map(|output| output.stdout);
        let said = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
        said.lines().next().unwrap_or_default().split(" Copyright").next().unwrap_or("").to_owned()
    }

    /// Drives a server for some time.
    pub(crate) fn run(&self, address: &str, test: &Test, time: Duration) -> Result<Found, String> {
        let failed = |text: String| format!("wrk on {address}: {text}");
        let script = self.script(test.pipeline)?;
        let child = Command::new("wrk")
            .arg(format!("-t{THREADS}"))
            .arg(format!("-c{}", test.connections))
            .arg(format!("-d{}", time.as_secs() + SPARE_SECONDS))
            .arg("-s")
            .arg(script)
            .arg(format!("http://{address}{}", test.path))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        thread::sleep(time);
        // On an interrupt wrk stops asking and tells its results.
        kill_process(Pid::from_child(&child), Signal::INT).map_err(|e| failed(e.to_string()))?;
        let output = child.wait_with_output().map_err(|e| failed(e.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        read(&text).ok_or_else(|| {
            let errors = String::from_utf8_lossy(&output.stderr);
            failed(format!("{}, no result: {:?}", output.status, errors.trim()))
        })
    }

    /// Writes the script for a depth of pipelining. Where it is.
    fn script(&self, pipeline: u32) -> Result<PathBuf, String> {
        let mut text = include_str!("result.lua").to_owned();
        // Without this part wrk calls no script for a request, and is faster.
        if pipeline > 1 {
            text.push_str(&include_str!("pipeline.lua").replace("DEPTH", &pipeline.to_string()));
        }
        let path = self.folder.join(format!("{pipeline}.lua"));
        fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        // Left-over scripts in the folder for temporary files do no harm.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Finds and reads the line of `result.lua`.
fn read(text: &str) -> Option<Found> {
    let line = text.lines().find(|line| line.starts_with("{\"requests\""))?;
    let value: Value = serde_json::from_str(line).ok()?;
    let kinds = ["connect", "read", "write", "timeout", "status"];
    let errors: Option<u64> = kinds.iter().map(|kind| value[*kind].as_u64()).sum();
    Some(Found {
        requests: value["requests"].as_f64()?,
        seconds: value["duration_us"].as_f64()? / 1e6,
        p50_us: value["p50_us"].as_f64()?,
        p99_us: value["p99_us"].as_f64()?,
        errors: errors?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results() {
        let line = "{\"requests\":200,\"duration_us\":2000000,\"p50_us\":3,\"p99_us\":4,\
                    \"connect\":1,\"read\":2,\"write\":0,\"timeout\":4,\"status\":8}";
        let found = read(&format!("Running\n{line}\n")).unwrap();
        assert_eq!((found.requests, found.seconds, found.errors), (200.0, 2.0, 15));
        assert!(read("Running\n").is_none());
        assert!(read("{\"requests\":200}\n").is_none());
    }
}
