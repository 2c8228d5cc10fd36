//! The model: users in a sorted map, with the rules of batches and loads taken from their documentation.

use std::collections::BTreeMap;

use headcount_block::{Identity, Status, User, limits};
use headcount_store::{Batch, Existing, OnConflict, OnDuplicate, Precondition};

use crate::oracle::Users;

/// What a store holds, as plain maps.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) users: Users,
    /// Last change of every UID that is there or is known to have been deleted.
    pub(crate) seqs: BTreeMap<String, u64>,
    pub(crate) owners: BTreeMap<Identity, String>,
    pub(crate) seq: u64,
    pub(crate) floor: u64,
}

/// One operation of a batch.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Put(User),
    Link(String, Identity),
    Unlink(String, Identity),
    Status(String, Status),
    Rename(String, String),
    Delete(String),
    Require(String, Precondition),
}

/// Why a batch is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    Taken { identity: Identity, owner: String },
    NoSuchUser,
    UidTaken,
    Changed { since: u64, found: u64 },
    Limit,
}

/// UIDs with the users that they become, or nobody.
pub(crate) type Changes = BTreeMap<String, Option<User>>;

/// How to take a step back: what the UIDs were, with their seqs.
#[derive(Debug, Clone)]
pub(crate) struct Undo {
    before: Vec<(String, Option<User>, Option<u64>)>,
    seq: u64,
}

pub(crate) fn batch_of(ops: &[Op]) -> Batch {
    let mut batch = Batch::new();
    for op in ops.iter().cloned() {
        match op {
            Op::Put(user) => batch.put(user),
            Op::Link(uid, identity) => batch.link(uid, identity),
            Op::Unlink(uid, identity) => batch.unlink(uid, identity),
            Op::Status(uid, status) => batch.set_status(uid, status),
            Op::Rename(uid, new_uid) => batch.rename(uid, new_uid),
            Op::Delete(uid) => batch.delete(uid),
            Op::Require(uid, precondition) => batch.require(uid, precondition),
        };
    }
    batch
}

fn text_fits(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && !text.contains('\0')
}

fn identity_fits(identity: &Identity) -> bool {
    text_fits(&identity.provider, limits::PROVIDER_MAX) && text_fits(&identity.provider_uid, limits::PROVIDER_UID_MAX)
}

/// Whether a user is within the limits: as `docs/FORMAT.md` counts the bytes of a wide row.
pub(crate) fn user_fits(user: &User) -> bool {
    let bytes = user.identities.iter().map(|i| 3 + i.provider.len() + i.provider_uid.len());
    text_fits(&user.uid, limits::UID_MAX)
        && user.identities.iter().all(identity_fits)
        && user.identities.len() <= limits::IDENTITIES_MAX
        && 5 + user.uid.len() + bytes.sum::<usize>() <= limits::USER_MAX
}

/// The user with repeated identities counted once.
pub(crate) fn distinct(mut user: User) -> User {
    let mut seen = std::collections::HashSet::new();
    user.identities.retain(|i| seen.insert(i.clone()));
    user
}

/// A batch in work: the users that it touched, over the state that it began with.
struct Work<'s> {
    state: &'s State,
    touched: Changes,
}

impl Work<'_> {
    fn get(&self, uid: &str) -> Option<&User> {
        self.touched.get(uid).map_or_else(|| self.state.users.get(uid), Option::as_ref)
    }

    fn existing(&self, uid: &str) -> Result<User, Why> {
        self.get(uid).cloned().ok_or(Why::NoSuchUser)
    }

    fn set(&mut self, uid: &str, user: Option<User>) {
        self.touched.insert(uid.to_owned(), user);
    }

    fn check_owner(&self, uid: &str, identity: &Identity) -> Result<(), Why> {
        let here = self.touched.values().flatten().find(|u| u.identities.contains(identity)).map(|u| &u.uid);
        let there = self.state.owners.get(identity).filter(|owner| !self.touched.contains_key(*owner));
        match here.or(there) {
            Some(owner) if owner != uid => Err(Why::Taken { identity: identity.clone(), owner: owner.clone() }),
            _ => Ok(()),
        }
    }

    fn operate(&mut self, op: &Op) -> Result<(), Why> {
        match op {
            Op::Put(user) => {
                let user = distinct(user.clone());
                user_fits(&user).then_some(()).ok_or(Why::Limit)?;
                user.identities.iter().try_for_each(|i| self.check_owner(&user.uid, i))?;
                self.set(&user.uid.clone(), Some(user));
            }
            Op::Link(uid, identity) => {
                let mut user = self.existing(uid)?;
                if !user.identities.contains(identity) {
                    user.identities.push(identity.clone());
                    user_fits(&user).then_some(()).ok_or(Why::Limit)?;
                    self.check_owner(uid, identity)?;
                    self.set(uid, Some(user));
                }
            }
            Op::Unlink(uid, identity) => {
                let mut user = self.existing(uid)?;
                user.identities.retain(|i| i != identity);
                self.set(uid, Some(user));
            }
            Op::Status(uid, status) => {
                let user = self.existing(uid)?.with_status(*status);
                self.set(uid, Some(user));
            }
            Op::Rename(uid, new_uid) => {
                let mut user = self.existing(uid)?;
                if uid != new_uid {
                    text_fits(new_uid, limits::UID_MAX).then_some(()).ok_or(Why::Limit)?;
                    self.get(new_uid).map_or(Ok(()), |_| Err(Why::UidTaken))?;
                    user.uid.clone_from(new_uid);
                    user_fits(&user).then_some(()).ok_or(Why::Limit)?;
                    self.set(uid, None);
                    self.set(new_uid, Some(user));
                }
            }
            Op::Delete(uid) => self.set(uid, None),
            Op::Require(uid, precondition) => self.require(uid, *precondition)?,
        }
        Ok(())
    }

    fn require(&self, uid: &str, precondition: Precondition) -> Result<(), Why> {
        match precondition {
            Precondition::Exists if self.get(uid).is_none() => Err(Why::NoSuchUser),
            Precondition::Absent if self.get(uid).is_some() => Err(Why::UidTaken),
            Precondition::UnchangedSince(since) => match self.state.last_change(uid, since) {
                found if found > since => Err(Why::Changed { since, found }),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// Settings and users of a load.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) users: Vec<User>,
    pub(crate) existing: Existing,
    pub(crate) on_duplicate: OnDuplicate,
    pub(crate) on_conflict: OnConflict,
}

/// What a load does.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) written: Changes,
    pub(crate) replaced: u64,
    pub(crate) unchanged: u64,
    pub(crate) ignored: u64,
}

/// Why a load fails, and which user it names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LoadRefused {
    Duplicate(String),
    Exists(String),
    /// What several became passes a limit.
    TooLarge(String),
    Taken {
        uid: String,
        identity: Identity,
        owner: String,
    },
}

fn unite(first: &User, second: &User) -> User {
    let mut both = first.clone().with_status(second.status);
    both.identities.extend(second.identities.iter().cloned());
    distinct(both)
}

impl State {
    /// Seq of the last change of `uid` as far as a caller can know who last looked at `since`: nothing is as old as that
    /// below the floor.
    pub(crate) fn last_change(&self, uid: &str, since: u64) -> u64 {
        let seq = self.seqs.get(uid).copied().unwrap_or_default();
        if since < self.floor { seq.max(self.floor) } else { seq }
    }

    /// What a batch changes, or the number of the operation that is refused, and why.
    pub(crate) fn apply(&self, ops: &[Op]) -> Result<Changes, (usize, Why)> {
        let mut work = Work { state: self, touched: Changes::new() };
        for (number, op) in ops.iter().enumerate() {
            work.operate(op).map_err(|why| (number, why))?;
        }
        let mut changes = work.touched;
        changes.retain(|uid, user| self.users.get(uid) != user.as_ref());
        Ok(changes)
    }

    /// Makes the changes at the next seq.
    pub(crate) fn commit(&mut self, changes: Changes) -> Undo {
        let mut undo = Undo { before: Vec::new(), seq: self.seq };
        self.seq += 1;
        for (uid, user) in changes {
            undo.before.push((uid.clone(), self.users.get(&uid).cloned(), self.seqs.insert(uid.clone(), self.seq)));
            self.set(uid, user);
        }
        self.index(&undo);
        undo
    }

    fn set(&mut self, uid: String, user: Option<User>) {
        if let Some(before) = self.users.remove(&uid) {
            for identity in &before.identities {
                if self.owners.get(identity) == Some(&uid) {
                    self.owners.remove(identity);
                }
            }
        }
        self.users.extend(user.map(|user| (uid, user)));
    }

    /// Enters the owners of identities of users that changed.
    fn index(&mut self, undo: &Undo) {
        for (uid, _, _) in &undo.before {
            if let Some(user) = self.users.get(uid) {
                self.owners.extend(user.identities.iter().map(|i| (i.clone(), uid.clone())));
            }
        }
    }

    /// Takes the last step back.
    pub(crate) fn undo(&mut self, undo: Undo) {
        for (uid, user, seq) in undo.before.clone() {
            self.seqs.remove(&uid);
            self.seqs.extend(seq.map(|seq| (uid.clone(), seq)));
            self.set(uid, user);
        }
        self.index(&undo);
        self.seq = undo.seq;
    }

    /// Forgets deleted users, as if they had never been.
    pub(crate) fn erase(&mut self, uid: &str) {
        assert!(!self.users.contains_key(uid));
        if let Some(seq) = self.seqs.remove(uid) {
            self.floor = self.floor.max(seq);
        }
    }

    /// What a load changes.
    pub(crate) fn load(&self, load: &Load) -> Result<Loaded, LoadRefused> {
        // Each user once, with its place among the records.
        let mut records: BTreeMap<&str, (usize, User)> = BTreeMap::new();
        let mut duplicate: Option<&str> = None;
        for (place, user) in load.users.iter().enumerate() {
            let next = match (records.get(user.uid.as_str()), load.on_duplicate) {
                (None, _) => (place, distinct(user.clone())),
                (Some(first), OnDuplicate::Error) => {
                    duplicate = Some(duplicate.map_or(user.uid.as_str(), |d| d.min(&user.uid)));
                    first.clone()
                }
                (Some(_), OnDuplicate::Last) => (place, distinct(user.clone())),
                (Some((first, before)), OnDuplicate::Merge) => (*first, unite(before, user)),
            };
            records.insert(&user.uid, next);
        }
        for (uid, (_, user)) in &mut records {
            if duplicate == Some(uid) {
                return Err(LoadRefused::Duplicate((*uid).to_owned()));
            }
            let too_large = || Err(LoadRefused::TooLarge((*uid).to_owned()));
            if !user_fits(user) {
                return too_large();
            }
            match (self.users.get(*uid), load.existing) {
                (Some(_), Existing::Error) => return Err(LoadRefused::Exists((*uid).to_owned())),
                (Some(before), Existing::Merge) => *user = unite(before, user),
                _ => {}
            }
            if !user_fits(user) {
                return too_large();
            }
        }
        self.settle(&records, load.on_conflict)
    }

    /// Who keeps an identity that several want: an owner that the load does not name or whose record still has it, else
    /// the first record.
    fn settle(&self, records: &BTreeMap<&str, (usize, User)>, policy: OnConflict) -> Result<Loaded, LoadRefused> {
        let mut by_place: Vec<&(usize, User)> = records.values().collect();
        by_place.sort_by_key(|(place, _)| *place);
        let mut taken: BTreeMap<&Identity, &str> = BTreeMap::new();
        let mut loaded = Loaded::default();
        for (_, user) in by_place {
            let mut user: User = user.clone();
            let source = &records[user.uid.as_str()].1;
            for identity in &source.identities {
                let keeps = |owner: &&str| {
                    *owner != source.uid && records.get(owner).is_none_or(|(_, u)| u.identities.contains(identity))
                };
                let owner = self.owners.get(identity).map(String::as_str).filter(keeps);
                match owner.or_else(|| taken.get(identity).copied()) {
                    Some(owner) if policy == OnConflict::Error => {
                        let (uid, owner) = (user.uid, owner.to_owned());
                        return Err(LoadRefused::Taken { uid, identity: identity.clone(), owner });
                    }
                    Some(_) => {
                        user.identities.retain(|i| i != identity);
                        loaded.ignored += 1;
                    }
                    None => _ = taken.insert(identity, &source.uid),
                }
            }
            match self.users.get(&user.uid) {
                Some(before) if *before == user => loaded.unchanged += 1,
                before => {
                    loaded.replaced += u64::from(before.is_some());
                    loaded.written.insert(user.uid.clone(), Some(user));
                }
            }
        }
        Ok(loaded)
    }
}
