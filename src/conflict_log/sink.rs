//! The file itself: whole pieces only, and never past a limit.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
};

/// What a log is written to; a test puts a disk that fills up in its place.
pub(super) trait Medium: Write + Seek {
    /// Cuts the contents to `len` bytes.
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

impl Medium for File {
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// Appends pieces so that each is in the file either whole or not at all.
///
/// A write that fails half way (a full disk) would leave half a block, and a reader stops there.
/// So the file is cut back to `len` before anything else is written.
#[derive(Debug)]
pub(super) struct Sink<M> {
    medium: M,
    /// Bytes of whole pieces.
    len: u64,
    torn: bool,
}

impl<M: Medium> Sink<M> {
    pub(super) const fn new(medium: M) -> Self {
        Self { medium, len: 0, torn: false }
    }

    /// Bytes written so far.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Appends one piece.
    pub(super) fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        self.mend()?;
        if let Err(error) = self.medium.write_all(piece) {
            self.torn = true;
            return Err(error);
        }
        self.len += piece.len() as u64;
        Ok(())
    }

    /// Cuts off half a piece, if a failed write left one.
    pub(super) fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            self.medium.cut(self.len)?;
            self.medium.seek(SeekFrom::Start(self.len))?;
            self.torn = false;
        }
        Ok(())
    }
}
