//! Errors of blocks and sources. A variant answers "what should the caller do"; the message "what happened".

use std::io;
use std::path::{Path, PathBuf};

/// A value outside the limits of [`crate::limits`], or not representable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// An empty UID, provider or providerUID.
    #[error("{what} is empty: expected 1 to {max} bytes")]
    Empty {
        /// `UID`, `provider` or `providerUID`.
        what: &'static str,
        /// Greatest length in bytes.
        max: usize,
    },
    /// A value that is too long.
    #[error("{what} has {found} bytes: expected 1 to {max}")]
    TooLong {
        /// `UID`, `provider` or `providerUID`.
        what: &'static str,
        /// Greatest length in bytes.
        max: usize,
        /// The length found.
        found: usize,
    },
    /// A NUL byte inside a value.
    #[error("{what} holds a NUL at byte {at}: text without NUL is expected")]
    Nul {
        /// `UID`, `provider` or `providerUID`.
        what: &'static str,
        /// Byte offset inside the value.
        at: usize,
    },
    /// More identities than a user may have.
    #[error("the user has more than {max} identities")]
    TooManyIdentities {
        /// Greatest number of identities.
        max: usize,
    },
    /// An encoded user above the limit.
    #[error("the user is {found} bytes long when encoded: at most {max} are allowed")]
    UserTooLong {
        /// Greatest length in bytes.
        max: usize,
        /// The length found.
        found: usize,
    },
    /// More different providers than a dictionary holds.
    #[error(
        "more than {max} different provider names: are the columns swapped, so that providerUIDs are read as providers?"
    )]
    TooManyProviders {
        /// Greatest number of providers.
        max: usize,
    },
}

/// What is wrong with some bytes, before it is known which file they came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {expected:#x}, found {found:#x} (byte {offset} of it)")]
pub struct Fault {
    /// What was being read.
    pub what: &'static str,
    /// Byte offset inside the structure that was being read.
    pub offset: usize,
    /// The value, or bound, that was expected.
    pub expected: u64,
    /// The value that was found.
    pub found: u64,
}

impl Fault {
    /// A fault of `what` at `offset`.
    #[must_use]
    pub const fn new(what: &'static str, offset: usize, expected: u64, found: u64) -> Self {
        Self { what, offset, expected, found }
    }

    /// This fault as damage of `file`, in the structure that begins at `base`.
    #[must_use]
    pub fn at(self, file: &Path, base: u64) -> Error {
        Error::Damage(Box::new(Damage {
            file: file.to_path_buf(),
            offset: base.saturating_add(self.offset as u64),
            what: self.what.to_owned(),
            expected: format!("{:#x}", self.expected),
            found: format!("{:#x}", self.found),
            uids: None,
        }))
    }
}

/// Damaged bytes: where they are and what is wrong with them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("damage in {} at byte {offset}: {what}: expected {expected}, found {found}{}", file.display(), uid_note(uids.as_ref()))]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Byte offset in the file.
    pub offset: u64,
    /// Which structure is damaged and how.
    pub what: String,
    /// What was expected there.
    pub expected: String,
    /// What was found.
    pub found: String,
    /// First UID of the damaged stretch and first UID after it (empty: to the end), where known.
    pub uids: Option<(String, String)>,
}

fn uid_note(uids: Option<&(String, String)>) -> String {
    match uids {
        None => String::new(),
        Some((first, next)) if next.is_empty() => format!(" (users from UID {first:?} to the end)"),
        Some((first, next)) => format!(" (users from UID {first:?} up to {next:?})"),
    }
}

/// Why a [`crate::Source`] could not hand out users.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that are not what was written: restore a backup, or salvage what is whole.
    #[error(transparent)]
    Damage(Box<Damage>),
    /// Reading failed.
    #[error("cannot {op} {}: {source}", path.display())]
    Io {
        /// What was attempted, such as `read`.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A value outside the limits.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// Cancelled by the caller.
    #[error(transparent)]
    Cancelled(#[from] crate::Cancelled),
    /// The receiver of a visit stopped it; it knows why.
    #[error("stopped by the receiver")]
    Stopped,
    /// Deletions after this seq have been forgotten: do a full export.
    #[error("changes since seq {since} are not known any more, those since {floor} are: do a full export")]
    TooOld {
        /// What was asked for.
        since: u64,
        /// The least seq that can be asked for.
        floor: u64,
    },
    /// The source has not reached this seq: it is of another store or history.
    #[error("seq {since} lies ahead of the store, which stands at {seq}: it belongs to another store or history")]
    FutureSeq {
        /// What was asked for.
        since: u64,
        /// Where the source stands.
        seq: u64,
    },
}

impl Error {
    /// Whether this is damage, as opposed to a passing fault.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damage(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_with_its_place_and_its_users() {
        let error = Fault::new("length of a block", 32, 64, 63).at(Path::new("a.seg"), 4096);
        assert!(error.is_damage());
        let text = "damage in a.seg at byte 4128: length of a block: expected 0x40, found 0x3f";
        assert_eq!(error.to_string(), text);
        let Error::Damage(damage) = error else { panic!("{error}") };
        let with = |next: &str| Damage { uids: Some(("a".into(), next.into())), ..*damage.clone() }.to_string();
        assert_eq!(with("b"), format!("{text} (users from UID \"a\" up to \"b\")"));
        assert_eq!(with(""), format!("{text} (users from UID \"a\" to the end)"));
        assert!(!Error::FutureSeq { since: 2, seq: 1 }.is_damage());
    }
}
