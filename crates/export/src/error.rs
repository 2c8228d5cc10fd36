//! Why an export failed.

use std::io;
use std::path::PathBuf;

use crate::resume::ResumeError;

/// Why an export failed. Whatever was written before it is not a whole export.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The users could not be read: damage, or a failing disk.
    #[error(transparent)]
    Source(headcount_block::Error),
    /// What was rendered is not what the snapshot states: damage that no checksum showed.
    #[error("damage: the snapshot states {expected} {what}, {found} were rendered")]
    Mismatch {
        /// `users`, `identities` or `bytes`.
        what: &'static str,
        /// What the snapshot's sums state.
        expected: u64,
        /// What was rendered.
        found: u64,
    },
    /// The destination took no more.
    #[error("cannot write to {destination}: {source}")]
    Write {
        /// The file, `standard output`, or `the destination`.
        destination: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file of the destination could not be opened, synced or renamed.
    #[error("cannot {op} {}: {source}", path.display())]
    File {
        /// What was attempted, such as `create`.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The destination's file system does not hold the export; nothing was written.
    #[error("not enough space for {}: the export needs {needed} bytes: {source}", path.display())]
    NoSpace {
        /// The file that was to be written.
        path: PathBuf,
        /// Length of the export in bytes.
        needed: u64,
        /// The operating system's error.
        source: io::Error,
    },
    /// Another export writes to the same destination.
    #[error("{} is being written by another export", path.display())]
    Busy {
        /// The file that the other export has locked.
        path: PathBuf,
    },
    /// The file in work was removed, or another one has its name: somebody gave this export up. What was to be replaced is
    /// as it was.
    #[error(
        "expected {} to be what this export wrote, found another file or none; nothing was put in place: export again, \
         and let nobody remove or replace that file meanwhile",
        path.display()
    )]
    Taken {
        /// The file in work.
        path: PathBuf,
    },
    /// A broken export that cannot be continued.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// Settings that do not go together.
    #[error("{0}")]
    Settings(&'static str),
    /// The export was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A thread of the export could not be started, or panicked: a defect of this program.
    #[error("a thread of the export failed: {0}")]
    Thread(String),
}

impl Error {
    /// Whether the stored users are damaged, as opposed to a passing fault.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Source(e) => e.is_damage(),
            Self::Mismatch { .. } => true,
            _ => false,
        }
    }

    /// Whether the destination refused the bytes, so that there is no use in writing to it any more.
    #[must_use]
    pub(crate) const fn is_destination(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::File { .. } | Self::NoSpace { .. })
    }
}

impl From<headcount_block::Error> for Error {
    fn from(error: headcount_block::Error) -> Self {
        match error {
            headcount_block::Error::Cancelled(_) => Self::Cancelled,
            other => Self::Source(other),
        }
    }
}

impl From<headcount_block::Cancelled> for Error {
    fn from(_: headcount_block::Cancelled) -> Self {
        Self::Cancelled
    }
}
