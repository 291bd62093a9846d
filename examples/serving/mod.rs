//! What the example servers have in common: their flags, and how they start.

use crate::flags::{Flags, fail};
use std::io::Write;
use txloop::{App, ErrorKind, MAX_THREADS, Order};

/// The flags of every example server.
pub(crate) const FLAGS: [(&str, &str); 7] = [
    ("listen", "127.0.0.1:8888"),
    ("threads", ""),
    ("order", "commit"),
    ("log", ""),
    ("record", ""),
    ("replay", ""),
    ("until", ""),
];

/// The part of the help text about [`FLAGS`].
pub(crate) const USAGE: &str =
    "  --listen ADDR   where to listen (127.0.0.1:8888; port 0 picks a free one)
  --threads N     how many handlers can run at once (all cores)
  --order ORDER   commit, or arrival: as one thread would have answered (commit)
  --log FILE      write a conflict log, for stm-log (or set TXLOOP_LOG)
  --record FILE   record every ticket; only with --order arrival
  --replay FILE   serve nothing, run a recording again: exit 0 if all is as it was, 1 if not; on
                  one thread without --threads
  --until TICKET  replay no further
  --help          this text";

/// Reads the command line: [`FLAGS`], and those of one server.
pub(crate) fn flags(
    about: &str,
    own: &[(&'static str, &'static str)],
    own_usage: &str,
    switches: &[&'static str],
) -> Flags {
    let known: Vec<_> = FLAGS.iter().chain(own).copied().collect();
    Flags::parse(&format!("{about}\n\n{own_usage}{USAGE}"), &known, &[], switches, 0)
}

/// Replays the recording of --replay, and ends the program.
fn replay(app: App, flags: &Flags, file: &str) -> ! {
    let mut replay = app.replay(file).unwrap_or_else(|e| fail(2, &e.to_string()));
    if flags.optional("threads").is_some() {
        replay = replay.threads(flags.number("threads", 1..=MAX_THREADS as u64) as usize);
    }
    if flags.optional("until").is_some() {
        replay = replay.until(flags.number("until", 1..=u64::MAX));
    }
    match replay.run() {
        Ok(replayed) => {
            // A reader that went away has seen all it wanted; the exit code still tells.
            let _ = write!(std::io::stdout(), "{replayed}");
            std::process::exit(if replayed.is_same() { 0 } else { 1 })
        }
        Err(e) => fail(2, &e.to_string()),
    }
}

/// Serves until SIGTERM or SIGINT, or replays. `try_these` are the paths, with curl's options, to
/// be shown.
pub(crate) fn serve(app: App, flags: &Flags, try_these: &[&str]) {
    if let Some(file) = flags.optional("replay") {
        replay(app, flags, file);
    }
    let mut app = app;
    if flags.optional("threads").is_some() {
        app = app.threads(flags.number("threads", 1..=MAX_THREADS as u64) as usize);
    }
    app = app.order(match flags.one_of("order", &["commit", "arrival"]) {
        "arrival" => Order::Arrival,
        _ => Order::Commit,
    });
    if let Some(file) = flags.optional("log") {
        app = app.log(file);
    }
    if let Some(file) = flags.optional("record") {
        app = app.record(file);
    }
    let result = app.listen(flags.text("listen")).and_then(|server| {
        let address = server.local_addr();
        // Whoever started the server waits for this line, so it must not stay in a buffer.
        let mut out = std::io::stdout().lock();
        let shown = writeln!(out, "listening on http://{address}").and_then(|()| out.flush());
        drop(out);
        if shown.is_ok() {
            for path in try_these {
                eprintln!("curl http://{address}{path}");
            }
        }
        server.run()
    });
    if let Err(e) = result {
        fail(if e.kind() == ErrorKind::Config { 2 } else { 1 }, &e.to_string());
    }
}
