//! What a load is told, and what it reports.

use std::fmt;

use headcount_block::{LimitError, User};

/// What becomes of a UID that several records of a load have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDuplicate {
    /// The later record is an error.
    #[default]
    Error,
    /// The records become one user: identities united in order, the status of the last.
    Merge,
    /// The last record counts.
    Last,
}

/// What becomes of an identity that already belongs to another user: to one of the store, unless the load replaces that by
/// a user without it, or else to the user whose record came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// The later user is an error.
    #[default]
    Error,
    /// The later user is loaded without that identity.
    Ignore,
}

/// What becomes of a user that is in the store already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// It is replaced.
    #[default]
    Replace,
    /// It keeps its identities, new ones are added; the status is the loaded one.
    Merge,
    /// It is an error.
    Error,
}

/// Settings of a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// Bytes that rows and index entries may take up together. Buffers come on top: about 32 MiB.
    pub memory: u64,
    /// Threads that parse and sort; also the number of shards that share the memory.
    pub threads: usize,
    /// See [`OnDuplicate`].
    pub on_duplicate: OnDuplicate,
    /// See [`OnConflict`].
    pub on_conflict: OnConflict,
    /// See [`Existing`].
    pub existing: Existing,
    /// Leave out what is rejected and load the rest, instead of failing at the first. Commits wait for as long as the load
    /// is checked and written then, and while it shows what it rejects.
    pub skip_rejected: bool,
    /// Check everything and change nothing: the store may be open for reading.
    pub dry_run: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            memory: 1 << 30,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            on_duplicate: OnDuplicate::default(),
            on_conflict: OnConflict::default(),
            existing: Existing::default(),
            skip_rejected: false,
            dry_run: false,
        }
    }
}

/// Where a record came from. Records are ordered by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Number of the input file.
    pub file: u16,
    /// Line or record, from 1. Up to 2^40.
    pub line: u64,
    /// Byte offset in the decompressed input. Up to 2^48.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "input {}, line {}, byte {}", u32::from(self.file) + 1, self.line, self.offset)
    }
}

/// What a row stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// A whole user: a second one of the same UID is a duplicate.
    User,
    /// Part of a user, as a CSV row is: all fragments of a UID are one user.
    Fragment,
}

/// A record that was not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The user.
    pub user: User,
    /// Where it came from.
    pub at: Place,
    /// Why.
    pub reason: RejectReason,
}

/// Why a record was not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectReason {
    /// Another record has this UID.
    DuplicateUid {
        /// Where the first one is.
        first: Place,
    },
    /// An identity belongs to another user.
    IdentityTaken {
        /// The identity's provider.
        provider: String,
        /// The identity's providerUID.
        provider_uid: String,
        /// UID of its owner.
        owner: String,
        /// Where the owner's record is; `None` when the owner is in the store already.
        owner_at: Option<Place>,
    },
    /// The user is in the store already.
    AlreadyExists,
    /// Rows of one user state different statuses.
    StatusDiffers {
        /// Where the first row is.
        first: Place,
    },
    /// The united user passes a limit.
    Limit(LimitError),
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {:?} ({}): {}", self.user.uid, self.at, self.reason)
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateUid { first } => write!(f, "its UID is that of an earlier record ({first})"),
            Self::IdentityTaken { provider, provider_uid, owner, owner_at } => {
                write!(f, "its identity {provider:?} {provider_uid:?} belongs to user {owner:?} ")?;
                match owner_at {
                    Some(at) => write!(f, "({at})"),
                    None => write!(f, "of the store"),
                }
            }
            Self::AlreadyExists => write!(f, "it is in the store already"),
            Self::StatusDiffers { first } => write!(f, "its status differs from that of an earlier row ({first})"),
            Self::Limit(limit) => write!(f, "{limit}"),
        }
    }
}

/// What a load did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// The store's seq afterwards.
    pub seq: u64,
    /// Users written: new ones and changed ones.
    pub users: u64,
    /// Identities of the users written.
    pub identities: u64,
    /// Pending users among those written.
    pub pending: u64,
    /// Users written that were in the store before.
    pub replaced: u64,
    /// Records that were united with an earlier one of the same UID.
    pub merged: u64,
    /// Records that an later one of the same UID replaced.
    pub superseded: u64,
    /// Users that were in the store in the same form and were not written again.
    pub unchanged: u64,
    /// Records rejected.
    pub rejected: u64,
    /// Identities left out because they belong to another user.
    pub identities_ignored: u64,
    /// Repeated identities of one user, dropped when its records were united.
    pub identities_repeated: u64,
    /// Provider names with the number of identities in the records, most frequent first.
    pub providers: Vec<(String, u64)>,
    /// Bytes of the segment.
    pub bytes_written: u64,
}
