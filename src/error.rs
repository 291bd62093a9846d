//! The one public error: what kind of thing went wrong, a message, and the cause below it.

use std::{error, fmt, io};

/// What kind of failure an [`Error`] reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused: a port in use, a file that cannot be opened, no more threads.
    Io,
    /// A value given by the caller is outside its documented range.
    Config,
    /// The bytes of a conflict log are not what docs/log-format.md describes.
    Log,
    /// The bytes of a recording are not what docs/replay.md describes.
    Recording,
}

/// An error of this library. Its text is a lower-case fragment that says where, what and the limit.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

/// The result of a fallible call into this library; with a second type that of the standard
/// library, so that `use txloop::*` hides nothing.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn io(message: impl Into<String>, source: io::Error) -> Self {
        Self { kind: ErrorKind::Io, message: message.into(), source: Some(Box::new(source)) }
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn error::Error + 'static))
    }
}
