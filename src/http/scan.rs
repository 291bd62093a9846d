//! Byte classes, and the one pass over a head's bytes that finds its line ends.

use super::refusal::Refusal;

/// Letters, digits and `extra`.
const fn class(extra: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < extra.len() {
        table[extra[at] as usize] = true;
        at += 1;
    }
    table
}

static TOKEN: [bool; 256] = class(b"!#$%&'*+-.^_`|~");

/// Without the comma that RFC 3986 also allows: no name has one, and `a,b` is what a proxy that
/// joined two Host lines sends.
static HOST_NAME: [bool; 256] = class(b"-._~!$&'()*+;=");

/// Whether `byte` may stand in a token (RFC 9110, 5.6.2): methods, field names.
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Whether `byte` may stand in a host's name, `%` aside.
pub(super) fn is_host_name(byte: u8) -> bool {
    HOST_NAME[usize::from(byte)]
}

/// The length of the token that `bytes` start with.
pub(super) fn token_len(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !is_token(byte)).unwrap_or(bytes.len())
}

/// Looks for the end of the line that `bytes[*scanned..]` is a part of, and answers where its CR
/// is, with `*scanned` behind its LF. `None` if there is no end yet; `*scanned` is then where the
/// next call, with more bytes, goes on, so no byte is looked at twice (a CR at the end aside).
///
/// # Errors
///
/// A control character other than the tab. CR and LF are allowed as the pair only: what is one
/// line here must not be two in a server behind or in front of this one.
pub(super) fn line_end(bytes: &[u8], scanned: &mut usize) -> Result<Option<usize>, Refusal> {
    loop {
        let at = *scanned + plain_len(&bytes[*scanned..]);
        *scanned = at;
        match bytes[at..] {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] => {
                *scanned = at + 2;
                return Ok(Some(at));
            }
            [b'\t', ..] => *scanned = at + 1,
            [b'\r', ..] => return Err(Refusal::bad("CR without LF in the head")),
            [b'\n', ..] => return Err(Refusal::bad("LF without CR in the head")),
            _ => return Err(Refusal::bad("control character in the head")),
        }
    }
}

/// How many bytes come before the first control character (below 0x20, or 0x7f).
fn plain_len(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marks = control_marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return index * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let tail = rest.iter().position(|&byte| byte < b' ' || byte == 0x7f);
    words.len() * 8 + tail.unwrap_or(rest.len())
}

/// The top bit of each byte that is a control character. The lowest mark is exact; those above it
/// may be wrong, since the subtraction borrows from a byte's upper neighbour, only after a hit.
fn control_marks(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let delete = word ^ (ONES * 0x7f);
    let is_delete = delete.wrapping_sub(ONES) & !delete;
    (below_space | is_delete) & (ONES * 0x80)
}
