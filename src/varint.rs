//! Integers of variable length: seven bits a byte, the lowest first, the high bit says "more". The
//! alphabet of the conflict log and of recordings.

/// The longest encoding of a `u64`, in bytes.
pub(crate) const MAX_LEN: usize = 10;

/// Appends `value`.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the difference from `base` to `value`, small either way; any pair of values works.
#[inline]
pub(crate) fn put_delta(out: &mut Vec<u8>, base: u64, value: u64) {
    let delta = value.wrapping_sub(base) as i64;
    put(out, ((delta << 1) ^ (delta >> 63)) as u64);
}

/// Appends a text: its length in bytes, then the bytes.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

/// Appends bytes: how many, then the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads bytes that anybody may have written. Every method answers `None` past the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub(crate) const fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A `u64`; `None` also for an encoding that does not fit.
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for position in 0..MAX_LEN {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if position == MAX_LEN - 1 && byte > 1 {
                return None;
            }
            value |= bits << (7 * position);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A `u32`; `None` also for a larger number.
    pub(crate) fn varint_u32(&mut self) -> Option<u32> {
        u32::try_from(self.varint()?).ok()
    }

    /// The value whose difference from `base` was written by [`put_delta`].
    pub(crate) fn delta(&mut self, base: u64) -> Option<u64> {
        let folded = self.varint()?;
        let delta = (folded >> 1) ^ (folded & 1).wrapping_neg();
        Some(base.wrapping_add(delta))
    }

    /// A text; bytes that are not UTF-8 become replacement characters.
    pub(crate) fn text(&mut self) -> Option<String> {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// What was written by [`put_bytes`].
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_pair_survives(base: u64, value: u64, text: String) {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            put_delta(&mut bytes, base, value);
            put_text(&mut bytes, &text);
            let mut cursor = Cursor::new(&bytes);
            prop_assert_eq!(cursor.varint(), Some(value));
            prop_assert_eq!(cursor.delta(base), Some(value));
            prop_assert_eq!(cursor.text(), Some(text));
            prop_assert_eq!(cursor.left(), 0);
            prop_assert_eq!(cursor.byte(), None);
        }
    }

    #[test]
    fn a_number_beyond_64_bits_is_refused() {
        assert_eq!(Cursor::new(&[0xff; 10]).varint(), None);
        let mut bytes = Vec::new();
        put(&mut bytes, u64::MAX);
        assert_eq!(bytes.len(), MAX_LEN);
        bytes[MAX_LEN - 1] = 2;
        assert_eq!(Cursor::new(&bytes).varint(), None);
    }
}
