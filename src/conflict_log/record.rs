//! The records as plain data. The codes are part of the file format: they are never given anew.

/// A text defined by [`Log::define_name`](super::Log::define_name): a handler, a cell, a type.
/// The caller chooses the number; 0 means unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct NameId(pub(crate) u32);

/// A place in the source, defined by [`Log::define_place`](super::Log::define_place).
/// The caller chooses the number; 0 means unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct PlaceId(pub(crate) u32);

/// How an attempt ended. All but `Aborted` end their transaction; only `Aborted` is wasted time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Outcome {
    /// Its writes took a version.
    Committed,
    /// It wrote nothing: its snapshot is its place in the order.
    ReadOnly,
    /// The handler returned an error, which stands; its writes were discarded.
    RolledBack,
    /// The handler panicked, and the panic stands; its writes were discarded.
    Panicked,
    /// Thrown away because of a conflict: the handler runs again.
    Aborted,
}

impl Outcome {
    /// Every outcome with its name in the event table, by code.
    pub(crate) const ALL: [(Self, &'static str); 5] = [
        (Self::Committed, "committed"),
        (Self::ReadOnly, "read-only"),
        (Self::RolledBack, "rolled back"),
        (Self::Panicked, "panicked"),
        (Self::Aborted, "aborted"),
    ];

    /// The code in a file.
    #[inline]
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Committed => 1,
            Self::ReadOnly => 2,
            Self::RolledBack => 3,
            Self::Panicked => 4,
            Self::Aborted => 5,
        }
    }

    /// The outcome of a code, if this version knows it.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().map(|(outcome, _)| outcome).find(|outcome| outcome.code() == code)
    }
}

/// Why time was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ConflictKind {
    /// The winner wrote a cell that the loser had read: the loser's attempt was thrown away.
    WriteRead,
    /// The loser waited for an irrevocable handler.
    IrrevocableWait,
    /// The loser waited for its turn in the order of arrival.
    TurnWait,
    /// The handler asked to wait until something that it has read changes.
    UserRetry,
    /// The attempt was cancelled before its end, because it could no longer commit.
    Cancelled,
}

impl ConflictKind {
    /// Every kind with its name in the event table, by code.
    pub(crate) const ALL: [(Self, &'static str); 5] = [
        (Self::WriteRead, "write-read"),
        (Self::IrrevocableWait, "irrevocable wait"),
        (Self::TurnWait, "turn wait"),
        (Self::UserRetry, "user retry"),
        (Self::Cancelled, "cancelled"),
    ];

    /// The code in a file.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::WriteRead => 1,
            Self::IrrevocableWait => 2,
            Self::TurnWait => 3,
            Self::UserRetry => 4,
            Self::Cancelled => 5,
        }
    }

    /// The kind of a code, if this version knows it.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().map(|(kind, _)| kind).find(|kind| kind.code() == code)
    }

    /// The name in the event table, also used in reports.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// Whether the time was spent waiting, not in an attempt that was thrown away.
    pub(crate) const fn is_wait(self) -> bool {
        match self {
            Self::IrrevocableWait | Self::TurnWait => true,
            Self::WriteRead | Self::UserRetry | Self::Cancelled => false,
        }
    }
}

/// One run of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AttemptRecord {
    /// The handler's name.
    pub(crate) handler: NameId,
    /// The number of arrival.
    pub(crate) ticket: u64,
    /// The number in the serial order; for an attempt without one, its snapshot.
    pub(crate) version: u64,
    /// Which run of this ticket, from 1.
    pub(crate) attempt: u32,
    /// Monotonic clock, ns.
    pub(crate) start_ns: u64,
    /// Monotonic clock, ns.
    pub(crate) end_ns: u64,
    /// How it ended.
    pub(crate) outcome: Outcome,
}

/// One party of a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Side {
    /// The handler's name.
    pub(crate) handler: NameId,
    /// Where it touched the cell.
    pub(crate) place: PlaceId,
}

/// Why an attempt was thrown away, or what it waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConflictRecord {
    /// What happened.
    pub(crate) kind: ConflictKind,
    /// The loser's number of arrival.
    pub(crate) ticket: u64,
    /// Which run of the loser, from 1.
    pub(crate) attempt: u32,
    /// When it was noticed: monotonic clock, ns.
    pub(crate) at_ns: u64,
    /// The time thrown away or waited, ns.
    pub(crate) lost_ns: u64,
    /// The label of the cell.
    pub(crate) cell_name: NameId,
    /// The type of its value.
    pub(crate) cell_type: NameId,
    /// Tells cells of one label apart.
    pub(crate) cell_id: u64,
    /// Who lost time, and where it read.
    pub(crate) loser: Side,
    /// Who did not, and where it wrote.
    pub(crate) winner: Side,
}

/// Anything that a block can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// The text of a [`NameId`].
    Name { id: NameId, text: String },
    /// The source position of a [`PlaceId`].
    Place { id: PlaceId, file: String, line: u32, column: u32 },
    /// An attempt, with the worker that ran it.
    Attempt(u16, AttemptRecord),
    /// A conflict, with the worker that lost.
    Conflict(u16, ConflictRecord),
    /// So many records were lost before this point: queue full, failed write or file full.
    Dropped { count: u64 },
    /// The log was closed in order at this time (monotonic, ns), after so many attempts and
    /// conflicts had been written.
    End { at_ns: u64, records: u64 },
}
