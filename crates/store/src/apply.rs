//! Carries out the operations of a batch against a version, without changing it.

use std::collections::{BTreeMap, HashMap, HashSet};

use headcount_block::{Identity, LimitError, RowBuf, RowRef, Status, Totals, User, UserRef, limits};

use crate::batch::{Batch, Operation, Precondition, Refusal, RefuseReason};
use crate::error::{Error, Result};
use crate::snapshot::owned;
use crate::version::Version;

/// Most bytes of the users that a batch touches, as they were before: they are written anew, however little changes. What
/// the operations themselves may add is limited by [`Batch::check`].
pub(crate) const TOUCHED_MAX: usize = 64 << 20;

/// What a batch would change.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// UID and encoded row, `None` for a deletion; in UID order, each UID once.
    pub(crate) changes: Vec<(String, Option<Vec<u8>>)>,
    /// Sums of the rows that come and of those that go.
    pub(crate) added: Totals,
    pub(crate) removed: Totals,
}

impl Applied {
    /// The rows that come.
    pub(crate) fn rows(&self) -> impl Iterator<Item = RowRef<'_>> {
        self.changes.iter().filter_map(|(_, row)| RowRef::parse(row.as_deref()?).ok())
    }

    /// The first user whose rows, with those before it, name more providers than one segment does: such a batch could be
    /// logged, but never be written out.
    fn beyond_providers(&self) -> Option<RowRef<'_>> {
        if self.added.identities() <= limits::PROVIDERS_MAX as u64 {
            return None;
        }
        let mut names = HashSet::new();
        self.rows().find(|row| {
            names.extend(row.identities().map(|i| i.provider));
            names.len() > limits::PROVIDERS_MAX
        })
    }
}

/// Why an operation cannot be carried out: the batch's own fault, or the store's.
enum Stop {
    Refused(RefuseReason),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<LimitError> for Stop {
    fn from(error: LimitError) -> Self {
        Self::Refused(RefuseReason::Limit(error))
    }
}

/// A user that the batch touches: as it was, and as it is now.
struct Touched {
    before: Option<User>,
    removed: Totals,
    now: Option<User>,
}

/// A batch in work.
struct Work<'v> {
    version: &'v Version,
    users: BTreeMap<String, Touched>,
    /// Bytes of the users as they were before.
    bytes: usize,
    /// Owners of identities that the batch moved; `None` for one that nobody has any more.
    owners: HashMap<Identity, Option<String>>,
    row: RowBuf,
}

/// Carries out `batch`: all of it, or nothing and [`Error::Refused`].
pub(crate) fn apply(version: &Version, batch: &Batch) -> Result<Applied> {
    let mut work = Work { version, users: BTreeMap::new(), bytes: 0, owners: HashMap::new(), row: RowBuf::new() };
    for (number, operation) in batch.operations.iter().enumerate() {
        match work.operate(operation) {
            Ok(()) => {}
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Refused(reason)) => {
                let uid = operation.uid().to_owned();
                return Err(Error::Refused(Box::new(Refusal { operation: number, uid, reason })));
            }
        }
    }
    let applied = work.finish()?;
    match applied.beyond_providers() {
        Some(row) => Err(Error::Refused(Box::new(too_many_providers(batch, row)))),
        None => Ok(applied),
    }
}

/// Names the last operation on the user whose row is one too many.
fn too_many_providers(batch: &Batch, row: RowRef<'_>) -> Refusal {
    let uid = String::from_utf8_lossy(row.uid()).into_owned();
    let concerns = |operation: &Operation| match operation {
        Operation::Rename(_, new_uid) => *new_uid == uid,
        other => other.uid() == uid,
    };
    let operation = batch.operations.iter().rposition(concerns).unwrap_or_default();
    let reason = RefuseReason::Limit(LimitError::TooManyProviders { max: limits::PROVIDERS_MAX });
    Refusal { operation, uid, reason }
}

impl Work<'_> {
    fn operate(&mut self, operation: &Operation) -> Result<(), Stop> {
        match operation {
            Operation::Put(user) => self.put(user),
            Operation::Link(uid, identity) => self.link(uid, identity),
            Operation::Unlink(uid, identity) => {
                let user = self.existing(uid)?;
                let before = user.identities.len();
                user.identities.retain(|i| i != identity);
                if user.identities.len() < before {
                    self.owners.insert(identity.clone(), None);
                }
                Ok(())
            }
            Operation::SetStatus(uid, status) => {
                let status: Status = *status;
                self.existing(uid)?.status = status;
                Ok(())
            }
            Operation::Rename(uid, new_uid) => self.rename(uid, new_uid),
            Operation::Delete(uid) => {
                if let Some(user) = self.touch(uid)?.now.take() {
                    self.owners.extend(user.identities.into_iter().map(|i| (i, None)));
                }
                Ok(())
            }
            Operation::Require(uid, precondition) => self.require(uid, *precondition),
        }
    }

    /// The user as the operations so far left it.
    fn touch(&mut self, uid: &str) -> Result<&mut Touched> {
        if !self.users.contains_key(uid) {
            let mut removed = Totals::default();
            let before = match self.version.get(uid.as_bytes())? {
                Some(found) => {
                    removed.add_user(&found.user());
                    self.bytes += size(&found.user());
                    Some(owned(&found.user())?)
                }
                None => None,
            };
            if self.bytes > TOUCHED_MAX {
                let (max, found) = (TOUCHED_MAX as u64, self.bytes as u64);
                return Err(Error::TooLarge { what: "bytes of the users that a batch touches", max, found });
            }
            self.users.insert(uid.to_owned(), Touched { now: before.clone(), before, removed });
        }
        self.users.get_mut(uid).ok_or(Error::Panicked("commit"))
    }

    fn existing(&mut self, uid: &str) -> Result<&mut User, Stop> {
        self.touch(uid)?.now.as_mut().ok_or(Stop::Refused(RefuseReason::NoSuchUser))
    }

    /// Refuses an identity that somebody other than `uid` has.
    fn check_owner(&self, uid: &str, identity: &Identity) -> Result<(), Stop> {
        let owner = match self.owners.get(identity) {
            Some(owner) => owner.clone(),
            None => match self.version.find(identity.provider.as_bytes(), identity.provider_uid.as_bytes())? {
                Some(found) if found.user().uid() == uid.as_bytes() => None,
                Some(found) => Some(owned(&found.user())?.uid),
                None => None,
            },
        };
        match owner {
            Some(owner) if owner != uid => Err(Stop::Refused(RefuseReason::IdentityTaken {
                provider: identity.provider.clone(),
                provider_uid: identity.provider_uid.clone(),
                owner,
            })),
            _ => Ok(()),
        }
    }

    fn put(&mut self, user: &User) -> Result<(), Stop> {
        // Checks the limits, and drops identities that repeat.
        let user = self.row.encode(user)?.to_user().map_err(|f| Error::fault(f, std::path::Path::new("a batch"), 0))?;
        for identity in &user.identities {
            self.check_owner(&user.uid, identity)?;
        }
        let uid = user.uid.clone();
        let came: Vec<Identity> = user.identities.clone();
        if let Some(gone) = self.touch(&uid)?.now.replace(user) {
            self.owners.extend(gone.identities.into_iter().map(|i| (i, None)));
        }
        self.owners.extend(came.into_iter().map(|i| (i, Some(uid.clone()))));
        Ok(())
    }

    fn link(&mut self, uid: &str, identity: &Identity) -> Result<(), Stop> {
        let user = self.existing(uid)?;
        if user.identities.contains(identity) {
            return Ok(());
        }
        self.row.clear();
        self.row.push_identity(&identity.provider, &identity.provider_uid)?;
        let user = self.existing(uid)?;
        if user.identities.len() >= limits::IDENTITIES_MAX {
            return Err(LimitError::TooManyIdentities { max: limits::IDENTITIES_MAX }.into());
        }
        let found = encoded_len(user) + encoded_len_of(identity);
        if found > limits::USER_MAX {
            return Err(LimitError::UserTooLong { max: limits::USER_MAX, found }.into());
        }
        self.check_owner(uid, identity)?;
        self.existing(uid)?.identities.push(identity.clone());
        self.owners.insert(identity.clone(), Some(uid.to_owned()));
        Ok(())
    }

    fn rename(&mut self, uid: &str, new_uid: &str) -> Result<(), Stop> {
        self.existing(uid)?;
        if uid == new_uid {
            return Ok(());
        }
        self.row.clear();
        self.row.set_uid(new_uid)?;
        if self.touch(new_uid)?.now.is_some() {
            return Err(Stop::Refused(RefuseReason::UidTaken));
        }
        let Some(mut user) = self.touch(uid)?.now.take() else { return Ok(()) };
        new_uid.clone_into(&mut user.uid);
        let found = encoded_len(&user);
        if found > limits::USER_MAX {
            return Err(LimitError::UserTooLong { max: limits::USER_MAX, found }.into());
        }
        self.owners.extend(user.identities.iter().map(|i| (i.clone(), Some(new_uid.to_owned()))));
        self.touch(new_uid)?.now = Some(user);
        Ok(())
    }

    fn require(&mut self, uid: &str, precondition: Precondition) -> Result<(), Stop> {
        let there = self.touch(uid)?.now.is_some();
        let refused = match precondition {
            Precondition::Exists => (!there).then_some(RefuseReason::NoSuchUser),
            Precondition::Absent => there.then_some(RefuseReason::UidTaken),
            Precondition::UnchangedSince(since) => {
                let mut found = self.version.last_change(uid.as_bytes())?;
                // Deletions up to the floor may be forgotten, and seqs below it may be of a history that was lost.
                if since < self.version.changes_floor {
                    found = found.max(self.version.changes_floor);
                }
                (found > since).then_some(RefuseReason::Changed { since, found })
            }
        };
        refused.map_or(Ok(()), |reason| Err(Stop::Refused(reason)))
    }

    /// What is different now.
    fn finish(mut self) -> Result<Applied> {
        let mut applied = Applied::default();
        for (uid, touched) in self.users {
            if touched.now == touched.before {
                continue;
            }
            applied.removed += touched.removed;
            let row = match &touched.now {
                Some(user) => {
                    let row = self.row.encode(user)?;
                    applied.added.add_user(&row.into());
                    Some(row.as_bytes().to_vec())
                }
                None => None,
            };
            applied.changes.push((uid, row));
        }
        Ok(applied)
    }
}

/// Length of the user's encoded row.
fn encoded_len(user: &User) -> usize {
    5 + user.uid.len() + user.identities.iter().map(encoded_len_of).sum::<usize>()
}

const fn encoded_len_of(identity: &Identity) -> usize {
    3 + identity.provider.len() + identity.provider_uid.len()
}

/// About how long the user's encoded row is.
pub(crate) fn size(user: &UserRef<'_>) -> usize {
    user.uid().len() + user.identities().map(|i| i.provider.len() + i.provider_uid.len() + 3).sum::<usize>()
}
