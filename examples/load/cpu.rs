//! What the kernel tells about processes, from `/proc`.

use std::{fs, time::Duration};

/// A tick of the times in `/proc/PID/stat`: 1/100 s on every Linux this runs on.
const TICK: Duration = Duration::from_millis(10);

/// Files that this program has open beside its connections.
const OTHER_FILES: usize = 16;

/// CPU time that a process has used, user and system together.
pub(crate) fn used(pid: u64) -> Result<Duration, String> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("cannot read the cpu time of process {pid}: {path}: {error}"))?;
    let ticks = ticks(&text).ok_or_else(|| format!("{path} has no cpu times: {text:?}"))?;
    Ok(TICK * ticks)
}

/// Sums the fields `utime` and `stime`.
fn ticks(stat: &str) -> Option<u32> {
    // The second field is the name in parentheses; it may hold spaces and parentheses itself.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(|field| field.parse::<u32>().ok());
    times.next()??.checked_add(times.next()??)
}

/// Refuses more connections than this process may have open files.
pub(crate) fn check_open_files(connections: usize) -> Result<(), String> {
    // Where the limit cannot be read, connecting will tell.
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let limit = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    match limit {
        Some(limit) if connections + OTHER_FILES > limit => Err(format!(
            "{connections} connections need {} open files, the limit is {limit} (see ulimit -n)",
            connections + OTHER_FILES
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_a_process() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 9 9 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (a) S 1 2"), None);
        assert_eq!(ticks(""), None);
        assert!(used(u64::from(std::process::id())).is_ok());
        assert!(used(u64::MAX).is_err());
    }
}
