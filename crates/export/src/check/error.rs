//! Why a file is no whole, unchanged export, or could not be checked.

use std::io;
use std::path::PathBuf;

use crate::digest::DigestAlgorithm;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It is shorter or longer than its manifest states.
    #[error("expected {expected} bytes, found {found}")]
    Length {
        /// The manifest's.
        expected: u64,
        /// The file's.
        found: u64,
    },
    /// Its bytes are others than those that were written.
    #[error("expected {algorithm} digest {expected}, found {found}: the file was changed")]
    Digest {
        /// How it was computed.
        algorithm: DigestAlgorithm,
        /// The manifest's.
        expected: String,
        /// The file's.
        found: String,
    },
    /// A count is another one than is stated.
    #[error("expected {expected} {what} as {by} states, found {found}")]
    Count {
        /// `users`, `deleted UIDs` or `identities`.
        what: &'static str,
        /// Who states it: `the manifest`, `usersCount` or `identitiesCount`.
        by: &'static str,
        /// What is stated.
        expected: u64,
        /// What is in the file.
        found: u64,
    },
    /// Something is not what the manifest states.
    #[error("expected {what} {expected} as the manifest states, found {found}")]
    Differs {
        /// Such as `the first UID`.
        what: &'static str,
        /// The manifest's.
        expected: String,
        /// The file's.
        found: String,
    },
    /// Bytes that no export has at their place.
    #[error("byte {offset}: expected {expected}, found {found}")]
    Content {
        /// Offset in the decompressed content.
        offset: u64,
        /// What an export has there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The file ends too early.
    #[error("the file is cut short: it ends after {offset} bytes, inside {inside}")]
    CutShort {
        /// What it ends inside of.
        inside: &'static str,
        /// Length of the decompressed content.
        offset: u64,
    },
    /// UIDs that do not ascend.
    #[error("byte {offset}: expected a UID after {before:?}, found {found:?}")]
    Order {
        /// Offset in the decompressed content, of the record.
        offset: u64,
        /// The UID before.
        before: String,
        /// The UID that does not sort after it.
        found: String,
    },
    /// The export itself reported that it failed.
    #[error(
        "the export broke off after {users} users: expected statusCode 200 and errorCode 0, found {status} and {code}"
    )]
    BrokenOff {
        /// Its `statusCode`.
        status: i64,
        /// Its `errorCode`.
        code: i64,
        /// Users in it.
        users: u64,
    },
    /// Compressed bytes that cannot be decompressed.
    #[error("cannot decompress after {offset} bytes: {source}; the file is damaged, or cut short")]
    Compressed {
        /// Decompressed bytes until there.
        offset: u64,
        /// What the decoder says.
        source: io::Error,
    },
}

/// Why a file is no whole, unchanged export, or could not be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// It is not whole, or was changed.
    #[error("{}: {problem}", path.display())]
    Problem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Box<Problem>,
    },
    /// It could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A thread could not be started, or panicked: a defect of this program.
    #[error("a thread of the check failed: {0}")]
    Thread(String),
    /// The check was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl CheckError {
    /// Whether the file is not whole, or was changed.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Problem { .. })
    }
}

/// Why a parser stopped; the file is named by who called it.
#[derive(Debug)]
pub(crate) enum Halt {
    /// What is wrong with the file.
    Found(Problem),
    /// It could not be read, or decompressed, after `offset` decompressed bytes.
    Unread { offset: u64, source: io::Error },
}

impl From<Problem> for Halt {
    fn from(problem: Problem) -> Self {
        Self::Found(problem)
    }
}
