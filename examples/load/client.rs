//! One keep-alive connection to the server: a request out, its answer in.

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use crate::{
    answer::{Answer, Parser},
    url::Url,
    wrong::{Fate, Wrong},
};

/// Longest silence before an answer is given up; a request for many primes takes its time.
const SILENCE: Duration = Duration::from_secs(120);

/// Longest time to connect.
const CONNECT: Duration = Duration::from_secs(30);

/// Bytes read at once.
const PORTION: usize = 16 * 1024;

/// A connection that is made anew when the server closes it.
#[derive(Debug)]
pub(crate) struct Client {
    /// Where requests go.
    url: Url,
    /// The connection, while there is one.
    stream: Option<TcpStream>,
    /// The request under way, or the last one.
    request: Vec<u8>,
    /// Reads the answer.
    parser: Parser,
    /// Room for what arrives.
    portion: Vec<u8>,
}

impl Client {
    /// A client that is connected already.
    pub(crate) fn connect(url: &Url) -> Result<Client, Wrong> {
        let stream = Some(open(url)?);
        let parser = Parser::default();
        let portion = vec![0; PORTION];
        Ok(Client { url: url.clone(), stream, request: Vec::new(), parser, portion })
    }

    /// Sends a request and waits for its answer. `path` follows the path of the URL.
    ///
    /// A request is never sent twice: one that got no answer may have been acted on.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> Result<&Answer, Wrong> {
        self.request.clear();
        let fields = match (body, method) {
            (Some(body), _) => {
                format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
            }
            (None, "POST" | "PUT") => "content-length: 0\r\n".to_owned(),
            (None, _) => String::new(),
        };
        for part in [
            method,
            " ",
            &self.url.path,
            path,
            " HTTP/1.1\r\nhost: ",
            &self.url.authority,
            "\r\n",
            &fields,
            "\r\n",
            body.unwrap_or_default(),
        ] {
            self.request.extend_from_slice(part.as_bytes());
        }
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => open(&self.url)?,
        };
        stream
            .write_all(&self.request)
            .map_err(|error| Wrong::new(Fate::Lost, "connection: sending", error.to_string()))?;
        self.parser.restart();
        while self.parser.complete().is_none() {
            let outcome = match stream.read(&mut self.portion) {
                Ok(0) => self.parser.end(),
                Ok(length) => self.parser.push(&self.portion[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    Err(format!("no answer within {} s", SILENCE.as_secs()))
                }
                Err(error) => Err(error.to_string()),
            };
            outcome.map_err(|text| Wrong::new(Fate::Lost, "connection: receiving", text))?;
        }
        match self.parser.complete() {
            Some(answer) => {
                // Dropping the stream closes it; the next request connects anew.
                self.stream = (!answer.closes).then_some(stream);
                Ok(answer)
            }
            None => unreachable!("the loop above ends with an answer"),
        }
    }

    /// The last request, as a line for the reader.
    pub(crate) fn asked(&self) -> String {
        let text = String::from_utf8_lossy(&self.request);
        let line = text.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1");
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        format!("{line} {body}").trim_end().to_owned()
    }
}

/// Connects to the first address of the server that listens.
fn open(url: &Url) -> Result<TcpStream, Wrong> {
    let failed = |text: String| {
        let target = &url.authority;
        Wrong::new(
            Fate::Unsent,
            "connection: connecting",
            format!("cannot connect to {target}: {text}"),
        )
    };
    let addresses = (url.host.as_str(), url.port)
        .to_socket_addrs()
        .map_err(|error| failed(error.to_string()))?;
    let mut last = "the name has no address".to_owned();
    for address in addresses {
        let stream = TcpStream::connect_timeout(&address, CONNECT).and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(SILENCE))?;
            stream.set_write_timeout(Some(SILENCE))?;
            Ok(stream)
        });
        match stream {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.to_string().to_lowercase(),
        }
    }
    Err(failed(last))
}
