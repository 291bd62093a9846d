//! `stm-log`: shows where the time of a transactional server went, from its conflict log.

use std::{
    env,
    error::Error as _,
    ffi::OsString,
    io::{self, ErrorKind, Write},
    path::PathBuf,
    process::ExitCode,
};

use txloop::conflict_report;

const HELP: &str = "\
Shows where the time of a txloop program went: what was committed, what was thrown away, and which
conflicts cost the most, each with the handlers and source lines of both sides.

usage: stm-log FILE [N]

  FILE         a conflict log; - reads standard input
  N            how many conflicts to show, 1 to 1000 (default 5)
  --help       this text
  --version    the version

A log is recorded by setting TXLOOP_LOG. Source lines are shown when stm-log runs in the directory
that the program was built in.

example:
  TXLOOP_LOG=astar.stmlog cargo run --release --example astar
  stm-log astar.stmlog 10

exit codes: 0 fine, 2 the log cannot be read or the arguments are wrong
";

/// Conflicts shown without N.
const DEFAULT_TOP: usize = 5;
/// The largest N.
const MAX_TOP: usize = 1000;
/// The exit code for everything that is not fine.
const FAILED: u8 = 2;

/// What the arguments ask for.
enum Request {
    Help,
    Version,
    Report { file: PathBuf, top: usize },
}

fn main() -> ExitCode {
    let request = match parse(env::args_os().skip(1)) {
        Ok(request) => request,
        Err(what) => return fail(&format!("{what}; see stm-log --help")),
    };
    let mut out = io::stdout().lock();
    let done = match request {
        Request::Help => print(&mut out, HELP),
        Request::Version => print(&mut out, &format!("stm-log {}\n", env!("CARGO_PKG_VERSION"))),
        Request::Report { file, top } => match conflict_report::run(&file, top, &mut out) {
            Ok(()) => Ok(()),
            Err(error) => {
                let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
                let kind = cause.map_or(ErrorKind::Other, io::Error::kind);
                Err((kind, error.to_string()))
            }
        },
    };
    match done {
        // A pager that was closed has shown enough.
        Ok(()) | Err((ErrorKind::BrokenPipe, _)) => ExitCode::SUCCESS,
        Err((_, message)) => fail(&message),
    }
}

fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let mut plain = Vec::new();
    for argument in arguments {
        match argument.to_str() {
            Some("--help" | "-h") => return Ok(Request::Help),
            Some("--version" | "-V") => return Ok(Request::Version),
            Some(option) if option.starts_with('-') && option != "-" => {
                return Err(format!("unknown option {option}"));
            }
            _ => plain.push(argument),
        }
    }
    let mut plain = plain.into_iter();
    let file = PathBuf::from(plain.next().ok_or("no log file given")?);
    let top = match plain.next() {
        None => DEFAULT_TOP,
        Some(text) => parse_top(&text)?,
    };
    match plain.next() {
        None => Ok(Request::Report { file, top }),
        Some(text) => Err(format!("unexpected argument {}", text.display())),
    }
}

fn parse_top(text: &OsString) -> Result<usize, String> {
    let number = text.to_str().and_then(|text| text.parse().ok());
    number
        .filter(|number| (1..=MAX_TOP).contains(number))
        .ok_or_else(|| format!("N is {}, but must be from 1 to {MAX_TOP}", text.display()))
}

fn print(out: &mut impl Write, text: &str) -> Result<(), (ErrorKind, String)> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| (error.kind(), error.to_string()))
}

/// One line on standard error. Not `eprintln!`, which panics where standard error is closed.
fn fail(message: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "stm-log: {message}");
    ExitCode::from(FAILED)
}
