//! The file of a recording: a header, then blocks of entries. Any bytes back into entries, up to
//! the first byte that is not a recording.

use super::entry::{Base, Entry};
use crate::error::{Error, ErrorKind, Result};
use crate::varint::{Cursor, put_text};
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

/// The first bytes of every recording.
pub(super) const MAGIC: [u8; 8] = *b"TXLOOPRC";
/// The version of the format that is written and read here.
pub(super) const FORMAT_VERSION: u16 = 1;
/// Bytes before the header's own contents: magic, version, length, checksum.
const PREFIX_LEN: usize = 18;
/// The longest header contents that a reader accepts, in bytes.
const MAX_HEADER: usize = 65_536;
/// Bytes of a block before its payload: length and checksum.
pub(super) const FRAME_LEN: usize = 8;
/// The longest payload of a block that a reader accepts, in bytes: one entry may be a long request.
const MAX_PAYLOAD: usize = 1 << 30;
/// The longest text of a header, in bytes; longer ones are cut.
const MAX_TEXT: usize = 4096;

/// What a recording says about the program that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// The version of this library.
    pub(crate) written_by: String,
    /// Name and version of the program, as it gives them.
    pub(crate) program: String,
    /// What `rng` and `unique_id` follow from.
    pub(crate) seed: [u8; 32],
    /// When it began, ns since 1970 (UTC).
    pub(crate) wall_ns: u64,
    /// How many threads ran handlers.
    pub(crate) threads: u32,
}

impl Header {
    /// The bytes for the file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut contents = Vec::new();
        put_text(&mut contents, cut(&self.written_by));
        put_text(&mut contents, cut(&self.program));
        contents.extend_from_slice(&self.seed);
        contents.extend_from_slice(&self.wall_ns.to_le_bytes());
        contents.extend_from_slice(&self.threads.to_le_bytes());
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&(contents.len() as u32).to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&contents).to_le_bytes());
        out.append(&mut contents);
        out
    }

    fn decode(contents: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(contents);
        Some(Self {
            written_by: cursor.text()?,
            program: cursor.text()?,
            seed: cursor.array()?,
            wall_ns: u64::from_le_bytes(cursor.array()?),
            threads: u32::from_le_bytes(cursor.array()?),
        })
    }
}

/// The longest start of `text` within [`MAX_TEXT`] bytes that ends between two characters.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Wraps a payload into a block.
pub(super) fn put_block(out: &mut Vec<u8>, payload: &[u8]) {
    let length = (payload.len() as u32).to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum(length, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

/// Reads a recording entry by entry.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    /// What messages call the recording.
    name: String,
    input: R,
    header: Header,
    /// Bytes read so far.
    offset: u64,
    blocks: u64,
    entries: VecDeque<Entry>,
    done: bool,
    /// Why it is not whole, if it is not.
    note: Option<String>,
}

impl Reader<BufReader<File>> {
    /// Opens a file and reads its header.
    pub(crate) fn open_file(path: &Path) -> Result<Self> {
        let name = format!("recording {}", path.display());
        let file = File::open(path).map_err(|e| unreadable(&name, e))?;
        Reader::open(&name, BufReader::with_capacity(1 << 17, file))
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header. An error begins with `name` and says why this is no recording, or none
    /// that can be read here.
    pub(crate) fn open(name: &str, mut input: R) -> Result<Self> {
        let bad = |what: String| Error::new(ErrorKind::Recording, format!("{name}: {what}"));
        let prefix = read_up_to(name, &mut input, PREFIX_LEN)?;
        if !MAGIC.starts_with(&prefix[..prefix.len().min(MAGIC.len())]) || prefix.is_empty() {
            return Err(bad("not a recording: it does not start with TXLOOPRC".to_owned()));
        }
        let cut_off = |at: usize| bad(format!("the header is cut off at byte {at}"));
        let mut cursor = Cursor::new(&prefix[MAGIC.len().min(prefix.len())..]);
        let version = cursor.array().map(u16::from_le_bytes);
        if let Some(version) = version.filter(|version| *version != FORMAT_VERSION) {
            return Err(bad(format!(
                "format version {version}, but only version {FORMAT_VERSION} can be read here"
            )));
        }
        let length = cursor.array().map(u32::from_le_bytes);
        let sum = cursor.array().map(u32::from_le_bytes);
        let (Some(length), Some(sum)) = (length, sum) else { return Err(cut_off(prefix.len())) };
        let length = length as usize;
        if length > MAX_HEADER {
            return Err(bad(format!(
                "a header of {length} bytes exceeds the maximum of {MAX_HEADER}"
            )));
        }
        let contents = read_up_to(name, &mut input, length)?;
        if contents.len() < length {
            return Err(cut_off(PREFIX_LEN + contents.len()));
        }
        if crc32fast::hash(&contents) != sum {
            return Err(bad("the checksum of the header is wrong".to_owned()));
        }
        let header = Header::decode(&contents)
            .ok_or_else(|| bad("the contents of the header are malformed".to_owned()))?;
        let (name, offset) = (name.to_owned(), (PREFIX_LEN + length) as u64);
        let (entries, note) = (VecDeque::new(), None);
        Ok(Self { name, input, header, offset, blocks: 0, entries, done: false, note })
    }

    /// The header.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// After the last entry: why the recording is not whole; `None` if it was closed in order.
    pub(crate) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The next entry; `None` at the end, or where the recording is torn. Only the input fails.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        loop {
            match self.entries.pop_front() {
                Some(Entry::End { .. }) => {
                    self.done = true;
                    self.entries.clear();
                }
                Some(Entry::Stopped { why }) => {
                    self.entries.clear();
                    self.end(why);
                }
                Some(entry) => return Ok(Some(entry)),
                None if self.done => return Ok(None),
                None => self.read_block()?,
            }
        }
    }

    /// Reads a block, or finds out why there is none.
    fn read_block(&mut self) -> Result<()> {
        let start = self.offset;
        let what = match self.read_payload()? {
            Payload::End => {
                self.end("no end: the program was killed, or still runs".to_owned());
                return Ok(());
            }
            Payload::Torn(what) => Some(what),
            Payload::Whole(payload) => self.take_entries(&payload),
        };
        self.blocks += 1;
        if let Some(what) = what {
            let number = self.blocks;
            self.end(format!("block {number} at byte {start}: {what}; reading stopped there"));
        }
        Ok(())
    }

    fn read_payload(&mut self) -> Result<Payload> {
        let frame = read_up_to(&self.name, &mut self.input, FRAME_LEN)?;
        self.offset += frame.len() as u64;
        if frame.is_empty() {
            return Ok(Payload::End);
        }
        let mut cursor = Cursor::new(&frame);
        let (Some(length), Some(sum)) = (cursor.array(), cursor.array()) else {
            return Ok(Payload::Torn("cut off in its frame".to_owned()));
        };
        let expected = u32::from_le_bytes(length) as usize;
        if expected > MAX_PAYLOAD {
            let what = format!("length {expected} exceeds the maximum of {MAX_PAYLOAD}");
            return Ok(Payload::Torn(what));
        }
        let payload = read_up_to(&self.name, &mut self.input, expected)?;
        self.offset += payload.len() as u64;
        if payload.len() < expected {
            let what = format!("cut off after {} of {expected} bytes", payload.len());
            return Ok(Payload::Torn(what));
        }
        if checksum(length, &payload) != u32::from_le_bytes(sum) {
            return Ok(Payload::Torn("the checksum is wrong".to_owned()));
        }
        Ok(Payload::Whole(payload))
    }

    /// Takes the entries of a block, those before a malformed one included.
    fn take_entries(&mut self, payload: &[u8]) -> Option<String> {
        let (mut cursor, mut base) = (Cursor::new(payload), Base::default());
        while cursor.left() > 0 {
            let at = payload.len() - cursor.left();
            match Entry::take(&mut cursor, &mut base) {
                Some(entry) => self.entries.push_back(entry),
                None => return Some(format!("the entry at its byte {at} is malformed")),
            }
        }
        None
    }

    fn end(&mut self, note: String) {
        self.done = true;
        self.note = Some(format!("{}: {note}", self.name));
    }
}

/// What the next bytes are.
enum Payload {
    Whole(Vec<u8>),
    End,
    Torn(String),
}

fn unreadable(name: &str, error: io::Error) -> Error {
    Error::io(format!("{name} cannot be read"), error)
}

/// So many bytes, or what there is: memory is taken for bytes that are there, not for a length that
/// may be wrong.
fn read_up_to(name: &str, input: &mut impl Read, count: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = input.take(count as u64).read_to_end(&mut bytes);
    read.map_err(|e| unreadable(name, e))?;
    Ok(bytes)
}
