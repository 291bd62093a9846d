//! Any bytes back into a header, blocks and notes: up to the first byte that is not a log.

use std::io::{self, ErrorKind as IoKind, Read};

use super::{
    format::{BLOCK_END, FRAME_LEN, MAX_PAYLOAD, checksum},
    header::{FORMAT_VERSION, Header, MAGIC, MAX_HEADER, PREFIX_LEN},
};
use crate::error::{Error, ErrorKind, Result};

/// One block, with a checksum that is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// Which block of the file, from 1.
    pub(crate) number: u64,
    /// Where it starts in the file, in bytes.
    pub(crate) offset: u64,
    /// What it holds.
    pub(crate) kind: u8,
    /// The worker that recorded it.
    pub(crate) worker: u16,
    /// Its records.
    pub(crate) payload: Vec<u8>,
}

/// Reads a log block by block.
#[derive(Debug)]
pub(crate) struct LogReader<R> {
    /// What messages call the log.
    name: String,
    input: R,
    header: Header,
    /// Bytes read so far.
    offset: u64,
    blocks: u64,
    ended: bool,
    done: bool,
    tear: Option<String>,
}

impl<R: Read> LogReader<R> {
    /// Reads the header. An error begins with `name` and says why this is no log, or none that can
    /// be read here.
    pub(crate) fn open(name: &str, mut input: R) -> Result<Self> {
        let bad = |what: String| Error::new(ErrorKind::Log, format!("{name}: {what}"));
        let (prefix, read) = read_array::<PREFIX_LEN>(name, &mut input)?;
        if read == 0 {
            return Err(bad("empty, not a conflict log".to_owned()));
        }
        if !MAGIC.starts_with(&prefix[..read.min(MAGIC.len())]) {
            return Err(bad("not a conflict log: it does not start with TXLOOPLG".to_owned()));
        }
        if read < PREFIX_LEN {
            return Err(bad(format!("log header: cut off at byte {read}")));
        }
        let version = u16::from_le_bytes([prefix[8], prefix[9]]);
        if version != FORMAT_VERSION {
            return Err(bad(format!(
                "log header: format version {version}, but only version {FORMAT_VERSION} can be \
                 read here"
            )));
        }
        let length = u32_at(&prefix, 10) as usize;
        if length > MAX_HEADER {
            return Err(bad(format!(
                "log header: length {length} exceeds the maximum of {MAX_HEADER}"
            )));
        }
        let mut body = vec![0; length];
        let read = read_full(name, &mut input, &mut body)?;
        if read < length {
            return Err(bad(format!("log header: cut off at byte {}", PREFIX_LEN + read)));
        }
        if crc32fast::hash(&body) != u32_at(&prefix, 14) {
            return Err(bad("log header: the checksum is wrong".to_owned()));
        }
        let header = Header::decode(&body)
            .ok_or_else(|| bad("log header: its contents are malformed".to_owned()))?;
        let offset = (PREFIX_LEN + length) as u64;
        let name = name.to_owned();
        Ok(Self { name, input, header, offset, blocks: 0, ended: false, done: false, tear: None })
    }

    /// The header.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes read so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the log was closed in order.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Why reading stopped before the last byte, if it did.
    pub(crate) fn tear(&self) -> Option<&str> {
        self.tear.as_deref()
    }

    /// The next block; `None` at the end, or where the log is torn. Only the input itself fails.
    pub(crate) fn next_block(&mut self) -> Result<Option<Block>> {
        if self.done {
            return Ok(None);
        }
        let start = self.offset;
        match self.read_block()? {
            Step::Block(block) => {
                if block.kind == BLOCK_END {
                    self.ended = true;
                    self.done = true;
                    let ignored = self.drain()?;
                    if ignored > 0 {
                        self.tear =
                            Some(format!("{} after the end record ignored", bytes(ignored)));
                    }
                }
                return Ok(Some(block));
            }
            Step::End => {}
            Step::Torn(what) => {
                self.drain()?;
                let ignored = bytes(self.offset - start);
                self.tear = Some(format!(
                    "log block {} at byte {start}: {what}; reading stopped there, {ignored} \
                     ignored",
                    self.blocks + 1,
                ));
            }
        }
        self.done = true;
        Ok(None)
    }

    fn read_block(&mut self) -> Result<Step> {
        let offset = self.offset;
        let (frame, read) = read_array::<FRAME_LEN>(&self.name, &mut self.input)?;
        self.offset += read as u64;
        if read == 0 {
            return Ok(Step::End);
        }
        if read < FRAME_LEN {
            return Ok(Step::Torn("cut off in its frame".to_owned()));
        }
        let length = u32_at(&frame, 0) as usize;
        if length > MAX_PAYLOAD {
            return Ok(Step::Torn(format!("length {length} exceeds the maximum of {MAX_PAYLOAD}")));
        }
        let mut payload = vec![0; length];
        let read = read_full(&self.name, &mut self.input, &mut payload)?;
        self.offset += read as u64;
        if read < length {
            return Ok(Step::Torn(format!("cut off after {read} of {length} bytes")));
        }
        if checksum(&frame, &payload) != u32_at(&frame, 4) {
            return Ok(Step::Torn("the checksum is wrong".to_owned()));
        }
        self.blocks += 1;
        let worker = u16::from_le_bytes([frame[9], frame[10]]);
        Ok(Step::Block(Block { number: self.blocks, offset, kind: frame[8], worker, payload }))
    }

    /// Reads to the end of the input; answers how many bytes that were.
    fn drain(&mut self) -> Result<u64> {
        let drained = io::copy(&mut self.input, &mut io::sink())
            .map_err(|error| unreadable(&self.name, error))?;
        self.offset += drained;
        Ok(drained)
    }
}

/// What the next bytes are.
enum Step {
    Block(Block),
    End,
    Torn(String),
}

fn unreadable(name: &str, error: io::Error) -> Error {
    Error::io(format!("{name} cannot be read"), error)
}

fn bytes(count: u64) -> String {
    if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") }
}

/// The little-endian number at `at`, which the caller knows to be inside.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn read_array<const N: usize>(name: &str, input: &mut impl Read) -> Result<([u8; N], usize)> {
    let mut buffer = [0; N];
    let read = read_full(name, input, &mut buffer)?;
    Ok((buffer, read))
}

/// Fills `buffer` as far as the input goes.
fn read_full(name: &str, input: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == IoKind::Interrupted => {}
            Err(error) => return Err(unreadable(name, error)),
        }
    }
    Ok(filled)
}
