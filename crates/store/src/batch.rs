//! What a commit is asked to do, and what it answers.

use std::fmt;
use std::sync::Arc;

use headcount_block::{Identity, LimitError, Status, User};

use crate::error::{Error, Result};

/// Most operations of one batch: beyond that a load is the better way.
pub(crate) const OPERATIONS_MAX: usize = 50_000;
/// Most bytes of text in one batch.
pub(crate) const BYTES_MAX: usize = 8 << 20;

/// Changes that are made together or not at all.
///
/// Operations are carried out in the order in which they were added, and see the effect of those before them. At most
/// 50,000 operations and 8 MiB of text, on users of 64 MiB together: more than that is a
/// [load](crate::Store::bulk_load). A clone is cheap: it shares the operations until either is changed. Keep one to have
/// the operations again after a commit that failed.
///
/// ```
/// # use headcount_store::{Batch, Precondition, Store};
/// # use headcount_store::block::{Identity, Status, User};
/// let store = Store::temporary()?;
/// let mut batch = Batch::new();
/// batch.require("u1", Precondition::Absent);
/// batch.put(User { uid: "u1".into(), status: Status::Registered, identities: Vec::new() });
/// batch.link("u1", Identity::new("facebook", "123"));
/// let commit = store.commit(batch)?;
/// assert_eq!((commit.seq, commit.changed), (1, 1));
/// # store.close()?;
/// # Ok::<(), headcount_store::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    pub(crate) operations: Arc<Vec<Operation>>,
    bytes: usize,
}

/// One step of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    Put(User),
    Link(String, Identity),
    Unlink(String, Identity),
    SetStatus(String, Status),
    Rename(String, String),
    Delete(String),
    Require(String, Precondition),
}

impl Operation {
    /// The user that it concerns.
    pub(crate) fn uid(&self) -> &str {
        match self {
            Self::Put(user) => &user.uid,
            Self::Link(uid, _)
            | Self::Unlink(uid, _)
            | Self::SetStatus(uid, _)
            | Self::Rename(uid, _)
            | Self::Delete(uid)
            | Self::Require(uid, _) => uid,
        }
    }

    fn bytes(&self) -> usize {
        let of = |identity: &Identity| identity.provider.len() + identity.provider_uid.len();
        self.uid().len()
            + match self {
                Self::Put(user) => user.identities.iter().map(of).sum(),
                Self::Link(_, identity) | Self::Unlink(_, identity) => of(identity),
                Self::Rename(_, new) => new.len(),
                Self::SetStatus(..) | Self::Delete(_) | Self::Require(..) => 0,
            }
    }
}

/// What has to hold for a batch to be carried out, looked at when its turn among the operations comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// The user is there.
    Exists,
    /// The user is not there.
    Absent,
    /// Neither the user nor its absence changed after this seq. That is known only from
    /// [`Stats::changes_floor`](crate::Stats::changes_floor) on: of an earlier seq, also one of another incarnation, the
    /// answer is that it changed. Look at the user again then.
    UnchangedSince(u64),
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there is no operation.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    fn push(&mut self, operation: Operation) -> &mut Self {
        self.bytes += operation.bytes();
        Arc::make_mut(&mut self.operations).push(operation);
        self
    }

    /// Makes this the user with its UID, whatever was there before. Repeated identities count once.
    pub fn put(&mut self, user: User) -> &mut Self {
        self.push(Operation::Put(user))
    }

    /// Links an identity to a user, which must exist. One that the user has already changes nothing.
    pub fn link(&mut self, uid: impl Into<String>, identity: Identity) -> &mut Self {
        self.push(Operation::Link(uid.into(), identity))
    }

    /// Takes an identity from a user, which must exist. One that the user does not have changes nothing.
    pub fn unlink(&mut self, uid: impl Into<String>, identity: Identity) -> &mut Self {
        self.push(Operation::Unlink(uid.into(), identity))
    }

    /// Sets the status of a user, which must exist.
    pub fn set_status(&mut self, uid: impl Into<String>, status: Status) -> &mut Self {
        self.push(Operation::SetStatus(uid.into(), status))
    }

    /// Gives a user, which must exist, a UID that nobody has.
    pub fn rename(&mut self, uid: impl Into<String>, new_uid: impl Into<String>) -> &mut Self {
        self.push(Operation::Rename(uid.into(), new_uid.into()))
    }

    /// Deletes a user. That there is none changes nothing.
    pub fn delete(&mut self, uid: impl Into<String>) -> &mut Self {
        self.push(Operation::Delete(uid.into()))
    }

    /// States what has to hold at this point; otherwise the whole batch is refused.
    pub fn require(&mut self, uid: impl Into<String>, precondition: Precondition) -> &mut Self {
        self.push(Operation::Require(uid.into(), precondition))
    }

    /// Takes the operations from number `at` on out, from 0, into a batch of their own; beyond the last one that is none.
    /// What is too large for one commit goes into two so.
    #[must_use = "the operations from `at` on are in what is returned"]
    pub fn split_off(&mut self, at: usize) -> Self {
        let operations = Arc::make_mut(&mut self.operations);
        let taken = operations.split_off(at.min(operations.len()));
        let bytes = taken.iter().map(Operation::bytes).sum();
        self.bytes -= bytes;
        Self { operations: Arc::new(taken), bytes }
    }

    /// Checks the limits of a batch.
    pub(crate) fn check(&self) -> Result<()> {
        let too_large =
            |what, max: usize, found: usize| Err(Error::TooLarge { what, max: max as u64, found: found as u64 });
        if self.operations.len() > OPERATIONS_MAX {
            return too_large(
                "operations of one batch (load that many instead)",
                OPERATIONS_MAX,
                self.operations.len(),
            );
        }
        if self.bytes > BYTES_MAX {
            return too_large("bytes of one batch (load that many instead)", BYTES_MAX, self.bytes);
        }
        Ok(())
    }
}

/// What a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// The seq that the store stands at with it: the batch's own, or the last one when nothing changed.
    pub seq: u64,
    /// When that seq was committed, in milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
    /// Users written or deleted. With 0, everything was as asked for already and no seq was taken.
    pub changed: u64,
}

/// Why a batch was not carried out. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Number of the operation in the batch, from 0.
    pub operation: usize,
    /// The user that the operation concerns.
    pub uid: String,
    /// What is wrong with it.
    pub reason: RefuseReason,
}

/// What is wrong with an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefuseReason {
    /// An identity belongs to another user.
    IdentityTaken {
        /// The identity's provider.
        provider: String,
        /// The identity's providerUID.
        provider_uid: String,
        /// UID of its owner.
        owner: String,
    },
    /// There is no such user.
    NoSuchUser,
    /// There is a user with this UID already.
    UidTaken,
    /// The user was changed after the seq that was asked for.
    Changed {
        /// The seq that was asked for.
        since: u64,
        /// The seq of the last change.
        found: u64,
    },
    /// A value is outside the limits.
    Limit(LimitError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {} of the batch, user {:?}: {}", self.operation + 1, self.uid, self.reason)
    }
}

impl fmt::Display for RefuseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdentityTaken { provider, provider_uid, owner } => {
                write!(f, "the identity {provider:?} {provider_uid:?} belongs to user {owner:?}")
            }
            Self::NoSuchUser => write!(f, "there is no such user"),
            Self::UidTaken => write!(f, "there is a user with this UID already"),
            Self::Changed { since, found } => {
                write!(
                    f,
                    "expected no change after seq {since}, found one at seq {found}: read it again and decide anew"
                )
            }
            Self::Limit(limit) => write!(f, "{limit}"),
        }
    }
}
