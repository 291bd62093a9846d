//! What the example servers have in common: their flags, and how they start.

use crate::flags::{Flags, fail};
use std::io::Write;
use txloop::{App, ErrorKind, MAX_THREADS, Order};

/// The flags of every example server.
pub(crate) const FLAGS: [(&str, &str); 4] =
    [("listen", "127.0.0.1:8888"), ("threads", ""), ("order", "commit"), ("log", "")];

/// The part of the help text about [`FLAGS`].
pub(crate) const USAGE: &str =
    "  --listen ADDR   where to listen (127.0.0.1:8888; port 0 picks a free one)
  --threads N     how many handlers can run at once (all cores)
  --order ORDER   commit, or arrival: as one thread would have answered (commit)
  --log FILE      write a conflict log, for stm-log (or set TXLOOP_LOG)
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

/// Serves until SIGTERM or SIGINT. `try_these` are the paths, with curl's options, to be shown.
pub(crate) fn serve(app: App, flags: &Flags, try_these: &[&str]) {
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
