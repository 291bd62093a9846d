//! An example server as a child process, and an HTTP client that takes nothing for granted.

use serde_json::Value;
use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

/// After this a silent server counts as hung. It only turns a hang into a failure with a message:
/// no check passes because of it.
const HUNG: Duration = Duration::from_secs(60);

/// The executable of an example, beside this test's own.
pub(super) fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the path of this test");
    let profile = own.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps/it-…");
    let path = profile.join("examples").join(name);
    assert!(path.is_file(), "{} is missing: cargo build --examples", path.display());
    path
}

fn command(name: &str, flags: &[&str]) -> Command {
    let mut command = Command::new(example(name));
    command.args(flags).env_remove("TXLOOP_LOG").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs an example that is expected to end by itself, and fails if it listens instead.
#[track_caller]
pub(super) fn ends(name: &str, flags: &[&str]) -> Output {
    let mut child = command(name, flags).spawn().expect("the example starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut first = String::new();
    lines.read_line(&mut first).expect("its output is UTF-8");
    if first.starts_with("listening") {
        child.kill().expect("the example can be killed");
        child.wait().expect("a killed example ends");
        panic!("{name} {flags:?} was expected to end, but says {first:?}");
    }
    let mut stdout = first.into_bytes();
    lines.read_to_end(&mut stdout).expect("the rest of its output");
    let output = child.wait_with_output().expect("the example ends");
    Output { stdout, ..output }
}

/// A running example. Dropped without [`Server::stop`] it is killed.
pub(super) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// All of its standard error, sent when that ends.
    stderr: Receiver<String>,
    address: SocketAddr,
    shown: String,
}

impl Server {
    /// Starts an example on a free port and waits until it listens.
    #[track_caller]
    pub(super) fn start(name: &str, flags: &[&str]) -> Self {
        let mut all = vec!["--listen", "127.0.0.1:0"];
        all.extend(flags);
        let mut child = command(name, &all).spawn().expect("the example starts");
        let shown = format!("{name} {}", all.join(" "));
        let mut pipe = child.stderr.take().expect("a pipe");
        let (sender, stderr) = channel();
        let read = move || {
            let mut text = String::new();
            let end = pipe.read_to_string(&mut text);
            // Nobody listens any more when the test has failed already.
            let _ = sender.send(end.map_or_else(|e| format!("unreadable: {e}"), |_| text));
        };
        thread::Builder::new().spawn(read).expect("a thread that reads standard error");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("its output is UTF-8");
        let address = line.strip_prefix("listening on http://").and_then(|l| l.strip_suffix('\n'));
        let Some(address) = address.and_then(|text| text.parse().ok()) else {
            let errors = stderr.recv_timeout(HUNG).unwrap_or_default();
            panic!("{shown} says {line:?} instead of where it listens; {errors}");
        };
        Self { child, stdout, stderr, address, shown }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends SIGTERM.
    #[track_caller]
    pub(super) fn terminate(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success(), "kill -TERM {pid}: {sent}");
    }

    /// Waits for the end after [`Server::terminate`]: exit code 0 and nothing unexpected said.
    #[track_caller]
    pub(super) fn ended(mut self) {
        let errors = self.stderr.recv_timeout(HUNG).ok();
        let errors = errors.unwrap_or_else(|| panic!("{} does not end", self.shown));
        let status = self.child.wait().expect("an ended example can be waited for");
        assert_eq!(status.code(), Some(0), "{}: {status}; it said {errors}", self.shown);
        for line in errors.lines() {
            assert!(line.starts_with("curl http://"), "{} said {line:?}", self.shown);
        }
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("its output is UTF-8");
        assert_eq!(rest, "", "{} prints one line only", self.shown);
    }

    /// SIGTERM, then [`Server::ended`].
    #[track_caller]
    pub(super) fn stop(self) {
        self.terminate();
        self.ended();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request in the usual form.
pub(crate) fn request(method: &str, target: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let length = if length > 0 { format!("Content-Length: {length}\r\n") } else { String::new() };
    format!("{method} {target} HTTP/1.1\r\nHost: wire\r\n{length}\r\n{body}").into_bytes()
}

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    /// What has been received beyond the last answer.
    input: Vec<u8>,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(HUNG)).expect("a read timeout");
        stream.set_write_timeout(Some(HUNG)).expect("a write timeout");
        Self { stream, input: Vec::new() }
    }

    /// Sends bytes; whether the server still took them.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        match self.stream.write_all(bytes) {
            Ok(()) => true,
            Err(e) if is_closed(e.kind()) => false,
            Err(e) => panic!("cannot send {}: {e}", shown(bytes)),
        }
    }

    /// The next answer; `None` when the server closed between answers. `head_only` is for HEAD.
    /// Anything else than a whole, well-formed answer is an error.
    pub(crate) fn receive(&mut self, head_only: bool) -> Result<Option<Answer>, String> {
        let mut piece = [0; 16 * 1024];
        loop {
            if let Some((answer, length)) = Answer::parse(&self.input, head_only)? {
                self.input.drain(..length);
                return Ok(Some(answer));
            }
            let got = match self.stream.read(&mut piece) {
                Err(e) if is_closed(e.kind()) => 0,
                // A process that was stopped and continued.
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                got => got.map_err(|e| format!("no answer: {e}"))?,
            };
            if got == 0 && self.input.is_empty() {
                return Ok(None);
            }
            if got == 0 {
                return Err(format!("closed within an answer: {}", shown(&self.input)));
            }
            self.input.extend_from_slice(&piece[..got]);
        }
    }

    /// Sends one request and waits for its answer, which must come.
    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, target: &str, body: &str) -> Answer {
        let sent = request(method, target, body);
        self.send(&sent);
        self.answer(method == "HEAD", &sent)
    }

    /// The answer to bytes that were sent.
    #[track_caller]
    pub(crate) fn answer(&mut self, head_only: bool, sent: &[u8]) -> Answer {
        match self.receive(head_only) {
            Ok(Some(answer)) => answer,
            Ok(None) => panic!("closed instead of an answer to {}", shown(sent)),
            Err(e) => panic!("{e}\nafter {}", shown(sent)),
        }
    }

    /// Fails unless the server has closed and sends nothing more.
    #[track_caller]
    pub(super) fn is_closed(&mut self, sent: &[u8]) {
        match self.receive(false) {
            Ok(None) => {}
            other => panic!("{other:?} instead of a closed connection after {}", shown(sent)),
        }
    }
}

fn is_closed(kind: ErrorKind) -> bool {
    [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::ConnectionAborted]
        .contains(&kind)
}

/// Bytes as text for a message, not all of them if they are many.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
    format!("{text:?} ({} bytes)", bytes.len())
}

/// One whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    /// What Content-Length says; 0 without it.
    pub(super) length: usize,
    pub(crate) body: Vec<u8>,
    pub(super) version: Option<u64>,
}

impl Answer {
    /// The value of a field, given in lower case.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The answer at the front of the input, and how long it is, once it is whole.
    fn parse(input: &[u8], head_only: bool) -> Result<Option<(Self, usize)>, String> {
        let Some(end) = input.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
        let wrong = |what: &str| format!("{what} in {}", shown(input));
        let head = str::from_utf8(&input[..end]).map_err(|_| wrong("no UTF-8"))?;
        let mut lines = head.split("\r\n");
        let line = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
        let status = line.filter(|line| line.as_bytes().get(3) == Some(&b' '));
        let status = status.and_then(|line| number(&line[..3])).ok_or(wrong("no status line"))?;
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(": ").ok_or(wrong("a field without ': '"))?;
            let name = name.to_ascii_lowercase();
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(wrong("a field twice"));
            }
            fields.push((name, value.to_owned()));
        }
        let mut answer =
            Self { status: status as u16, fields, length: 0, body: Vec::new(), version: None };
        let digits = |name| {
            let text = answer.field(name);
            text.map(|text| number(text).ok_or(wrong("no plain number"))).transpose()
        };
        let (length, version) = (digits("content-length")?, digits("txloop-version")?);
        if length.is_some() == (status == 204) {
            return Err(wrong("Content-Length: one if there can be a body"));
        }
        if answer.field("date").is_none() || answer.field("transfer-encoding").is_some() {
            return Err(wrong("no Date, or an unexpected Transfer-Encoding"));
        }
        answer.version = version;
        answer.length = length.unwrap_or(0) as usize;
        let whole = end + 4 + if head_only { 0 } else { answer.length };
        let body = input.get(end + 4..whole).map(<[u8]>::to_vec);
        Ok(body.map(|body| (Self { body, ..answer }, whole)))
    }

    /// The body as JSON, `Null` when empty. It must be compact, and of the promised type; an error
    /// must be `{"error":"text"}`.
    pub(super) fn json(&self) -> Result<Value, String> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        let value: Value =
            serde_json::from_slice(&self.body).map_err(|e| format!("no JSON: {e}"))?;
        // Keys may come in another order, but the length tells about space between them.
        if value.to_string().len() != self.body.len() {
            return Err("the JSON is not compact".to_owned());
        }
        if self.field("content-type") != Some("application/json") {
            return Err("JSON of another Content-Type".to_owned());
        }
        let text = value["error"].as_str().filter(|text| !text.is_empty());
        let lone = value.as_object().is_some_and(|object| object.len() == 1);
        if self.status >= 400 && !(lone && text.is_some()) {
            return Err("an error that is not {\"error\":\"text\"}".to_owned());
        }
        Ok(value)
    }
}

/// A number in plain digits.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}
