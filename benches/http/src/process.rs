//! Servers as processes: built, started, asked for their processor time, ended.

use crate::catalog::{Program, Server};
use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

/// A tick of the times in `/proc/PID/stat`, in ns: 1/100 s on every Linux this runs on.
const TICK_NS: u64 = 10_000_000;

/// Builds a program in release mode. Where it is, whatever the target directory.
pub(crate) fn build(root: &Path, program: &Program) -> Result<PathBuf, String> {
    let Program { package, kind, name } = *program;
    let failed = |text: String| format!("cannot build {name} of {package}: {text}");
    let output = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["build", "--release", "--quiet", kind, name])
        .arg("--message-format=json-render-diagnostics")
        .arg("--manifest-path")
        .arg(root.join(package).join("Cargo.toml"))
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| failed(format!("cargo does not start: {e}")))?;
    if !output.status.success() {
        return Err(failed("see the messages of cargo above".to_owned()));
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| failed("cargo names no executable".to_owned()))
}

/// A server that runs. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    /// Which one.
    pub(crate) name: &'static str,
    /// Where it listens, as `IP:PORT`.
    pub(crate) address: String,
    child: Child,
    /// Kept open, since a server may write there at any time.
    _output: BufReader<ChildStdout>,
}

impl Running {
    /// Starts a server on a free port and waits until it listens.
    pub(crate) fn start(server: &Server, program: &Path, threads: u32) -> Result<Self, String> {
        let name = server.name;
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0", "--threads", &threads.to_string()]);
        command.args(server.flags).env_remove("TXLOOP_LOG").stdin(Stdio::null());
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|e| format!("cannot start {name}: {e}"))?;
        let output = child.stdout.take().ok_or_else(|| format!("{name} has no output"))?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        let read = output.read_line(&mut line);
        let listens = line.trim_end().strip_prefix("listening on http://").map(str::to_owned);
        let mut running = Self { name, address: String::new(), child, _output: output };
        match (read, listens) {
            (Ok(_), Some(address)) => {
                running.address = address;
                Ok(running)
            }
            (Err(e), _) => Err(format!("cannot read what {name} says: {e}")),
            (Ok(_), None) => Err(format!("{name} does not listen: {}", running.last_words(&line))),
        }
    }

    /// What a server that failed to start has said.
    fn last_words(&mut self, line: &str) -> String {
        let mut text = String::new();
        if line.is_empty()
            && let Some(mut errors) = self.child.stderr.take()
        {
            // Whatever could be read is all there is to tell.
            let _ = errors.read_to_string(&mut text);
        }
        format!("{line}{text}").trim().to_owned()
    }

    /// Processor time in ns that all its threads have used, user and system.
    pub(crate) fn cpu_ns(&self) -> Result<u64, String> {
        let process = format!("/proc/{}", self.child.id());
        schedstat(&process).or_else(|| stat(&process)).ok_or_else(|| {
            format!("cannot read the processor time of {} from {process}", self.name)
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to be done.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The exact time of all threads there are; none of the servers ends threads under load.
fn schedstat(process: &str) -> Option<u64> {
    fs::read_dir(format!("{process}/task")).ok()?.try_fold(0, |sum, thread| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        Some(sum + text.split_whitespace().next()?.parse::<u64>().ok()?)
    })
}

/// The time in ticks, for kernels without `schedstat`.
fn stat(process: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("{process}/stat")).ok()?;
    // The second field is a name in parentheses, and may hold some itself.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) * TICK_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_times_agree() {
        let busy = (0..50_000_000_u64).fold(0, |a: u64, b| std::hint::black_box(a ^ b));
        assert!(std::hint::black_box(busy) < u64::MAX);
        let (exact, ticks) = (schedstat("/proc/self").unwrap(), stat("/proc/self").unwrap());
        assert!(exact.abs_diff(ticks) < 20 * TICK_NS, "{exact} and {ticks}");
        assert_eq!(schedstat("/proc/none"), None);
        assert_eq!(stat("/proc/none"), None);
    }
}
