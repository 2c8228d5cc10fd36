//! Errors of a store. A variant answers "what should the caller do"; the message says what happened and where.

use std::io;
use std::path::{Path, PathBuf};

use headcount_block as block;
use headcount_block::{Damage, Fault, LimitError};

use crate::batch::Refusal;
use crate::load::Rejection;

/// Result of a store's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation on a store failed. Nothing was changed unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is something at the path already.
    #[error("{} exists already: expected a path where a store can be created", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// There is nothing at the path.
    #[error("no store at {}: there is no such directory", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// There is something else at the path.
    #[error("{} is not a Headcount store: {why}", path.display())]
    NotAStore {
        /// The path.
        path: PathBuf,
        /// What is missing.
        why: &'static str,
    },
    /// Another process has the store open.
    #[error("the store {} is locked{}", path.display(), holder_note(*pid))]
    Locked {
        /// The store.
        path: PathBuf,
        /// The process that holds it, where it could be found out.
        pid: Option<u32>,
    },
    /// The store was opened for reading only.
    #[error("the store {} was opened for reading only", path.display())]
    ReadOnly {
        /// The store.
        path: PathBuf,
    },
    /// Written by a version that this one cannot read.
    #[error("{} has format version {found}, this program reads up to {supported}: use a newer Headcount", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// Greatest version that is read.
        supported: u32,
    },
    /// Uses a feature that this version does not know.
    #[error("{} uses features {unknown:#x} that this program does not know ({kind}): use a newer Headcount", path.display())]
    Feature {
        /// The file.
        path: PathBuf,
        /// The unknown bits.
        unknown: u64,
        /// `incompatible`, or `read-only compatible` when it could still be opened for reading.
        kind: &'static str,
    },
    /// Bytes that are not what was written: restore a backup.
    #[error(transparent)]
    Damage(Box<Damage>),
    /// The operating system refused.
    #[error("cannot {op} {}: {source}", path.display())]
    Io {
        /// What was attempted, such as `create`.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// Its error.
        source: io::Error,
    },
    /// The first record that could not be loaded; nothing was loaded.
    #[error("{0}")]
    Rejected(Box<Rejection>),
    /// A batch that cannot be carried out; nothing of it was.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// Writing has stopped for good after a failed write or fsync: nobody knows what of it is on disk. Reads go on.
    /// Open the store again to recover all that was acknowledged.
    #[error("the store {} no longer takes writes: {cause}; open it again to recover", path.display())]
    Poisoned {
        /// The store.
        path: PathBuf,
        /// The first failure.
        cause: String,
    },
    /// The store was closed, or dropped, while a load into it was under way. Nothing of the load was written: begin it
    /// anew in a store that is open.
    #[error("the store {} was closed before the load into it ended: open it and load again", path.display())]
    Closed {
        /// The store.
        path: PathBuf,
    },
    /// Snapshots hold files that name erased users. The users are deleted, and the next open completes the erasure.
    #[error("a snapshot at seq {oldest} holds files that name the erased users: drop it and erase again")]
    Pinned {
        /// Seq of the oldest such snapshot.
        oldest: u64,
    },
    /// An erasure was cancelled after its users were deleted. Files name them still: the next open for writing completes it,
    /// or an erasure of the same users.
    #[error("cancelled: the users are deleted, but files of the store name them still: erase them again")]
    Unfinished,
    /// Deletions after that seq have been forgotten.
    #[error("changes since seq {since} are not known any more, those since {floor} are: do a full export")]
    TooOld {
        /// The seq that was asked for.
        since: u64,
        /// The least one that can be asked for.
        floor: u64,
    },
    /// A seq that the store has not reached.
    #[error("seq {since} lies ahead of the store, which stands at {seq}: it belongs to another store or history")]
    FutureSeq {
        /// The seq that was asked for.
        since: u64,
        /// The seq of the store.
        seq: u64,
    },
    /// Not enough room for what would be written.
    #[error("{} has {available} bytes free, {needed} are needed: nothing was changed", path.display())]
    NoSpace {
        /// The store.
        path: PathBuf,
        /// Bytes that may be written.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// The operating system gives no more memory, not even to go on in smaller pieces: give the load less of it, or the
    /// process more. Nothing was changed.
    #[error("cannot get {bytes} bytes of memory for {what}: nothing was changed")]
    Memory {
        /// What it was wanted for.
        what: &'static str,
        /// How much.
        bytes: u64,
    },
    /// A load is running already.
    #[error("a load into this store is running already: wait for it to end")]
    Busy,
    /// A load was given other shards than its own, or not all of them: what they hold would be missing. Nothing was loaded.
    #[error("the load ended with {found} of its {expected} shards: hand back all that it gave out, and no others")]
    Shards {
        /// Shards that the load gave out.
        expected: usize,
        /// Those of them that came back.
        found: usize,
    },
    /// A value outside the limits.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// Cancelled by the caller.
    #[error("cancelled: nothing was changed")]
    Cancelled,
    /// A limit of the format was reached.
    #[error("{what}: at most {max} are possible, {found} were needed")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        max: u64,
        /// What was needed.
        found: u64,
    },
    /// A thread of the operation panicked: a bug.
    #[error("internal error: a {0} thread panicked; nothing was changed")]
    Panicked(&'static str),
}

fn holder_note(pid: Option<u32>) -> String {
    pid.map_or_else(|| " by another process".to_owned(), |pid| format!(" by process {pid}"))
}

impl Error {
    pub(crate) fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { op, path: path.to_path_buf(), source }
    }

    /// `fault`, found in the structure at byte `base` of `file`.
    pub(crate) fn fault(fault: Fault, file: &Path, base: u64) -> Self {
        Self::from(fault.at(file, base))
    }

    /// Whether this is damage, as opposed to a passing fault or misuse.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damage(_))
    }
}

impl From<block::Error> for Error {
    fn from(error: block::Error) -> Self {
        match error {
            block::Error::Damage(damage) => Self::Damage(damage),
            block::Error::Io { op, path, source } => Self::Io { op, path, source },
            block::Error::Limit(limit) => Self::Limit(limit),
            block::Error::TooOld { since, floor } => Self::TooOld { since, floor },
            block::Error::FutureSeq { since, seq } => Self::FutureSeq { since, seq },
            _ => Self::Cancelled,
        }
    }
}

impl From<block::Cancelled> for Error {
    fn from(_: block::Cancelled) -> Self {
        Self::Cancelled
    }
}

impl From<Error> for block::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Damage(damage) => Self::Damage(damage),
            Error::Io { op, path, source } => Self::Io { op, path, source },
            Error::Limit(limit) => Self::Limit(limit),
            Error::Cancelled => Self::Cancelled(block::Cancelled),
            Error::TooOld { since, floor } => Self::TooOld { since, floor },
            Error::FutureSeq { since, seq } => Self::FutureSeq { since, seq },
            other => Self::Io { op: "read", path: PathBuf::new(), source: io::Error::other(other) },
        }
    }
}
