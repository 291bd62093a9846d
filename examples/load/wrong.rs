//! What can go wrong with one request.

/// What became of a request, as far as the client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It never left.
    Unsent,
    /// It left, and nobody knows whether the server acted on it.
    Lost,
    /// It was answered, but not as it should have been.
    Answered,
}

/// Longest example kept, in characters.
const MAX_EXAMPLE: usize = 200;

/// An error: the kind it is counted under, and an example for the reader.
#[derive(Debug)]
pub(crate) struct Wrong {
    /// What it is counted under.
    pub(crate) kind: String,
    /// The particular case, one short line.
    pub(crate) example: String,
    /// What became of the request.
    pub(crate) fate: Fate,
}

impl Wrong {
    /// An error of a request.
    pub(crate) fn new(fate: Fate, kind: impl Into<String>, example: impl AsRef<str>) -> Wrong {
        Wrong { kind: kind.into(), example: one_line(example.as_ref()), fate }
    }

    /// An answer that is not as it should be.
    pub(crate) fn answered(kind: impl Into<String>, example: impl AsRef<str>) -> Wrong {
        Wrong::new(Fate::Answered, kind, example)
    }

    /// The same error, with those it concerns named before its example.
    pub(crate) fn named(mut self, names: &str) -> Wrong {
        self.example = one_line(&format!("{names}: {}", self.example));
        self
    }

    /// The same error, with the request named before its example.
    pub(crate) fn after(mut self, request: &str) -> Wrong {
        self.example = one_line(&format!("{} -> {}", one_line(request), self.example));
        self
    }
}

/// A text without line ends, cut to a readable length.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_EXAMPLE) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}
