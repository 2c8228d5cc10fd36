//! Identities that two users claim: who keeps them, and who is left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use headcount_block::{Identity, RowRef, User};

use super::combine::Candidate;
use super::options::{OnConflict, Place, RejectReason, Rejection};
use crate::error::{Error, Result};
use crate::segment::hash_index::{Kind, hash_identity};
use crate::segment::{Entry, Finished};
use crate::snapshot::owned;

/// Claims that are held in memory; more of them is not data but swapped columns.
const CLAIMS_MAX: usize = 4_000_000;

/// Refuses more claims than are held in memory.
fn expect_few(claims: usize) -> Result<()> {
    if claims <= CLAIMS_MAX {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: "users that claim an identity of another (are the columns swapped?)",
        max: CLAIMS_MAX as u64,
        found: claims as u64,
    })
}

/// What the next pass leaves out, by candidate.
#[derive(Debug, Clone, Default)]
pub(super) struct Drops(HashMap<u64, Drop>);

#[derive(Debug, Clone)]
enum Drop {
    User,
    Identities(Vec<usize>),
}

impl Drops {
    /// Whether the whole candidate is left out.
    pub(super) fn user(&self, ordinal: u64) -> bool {
        matches!(self.0.get(&ordinal), Some(Drop::User))
    }

    /// Numbers of the candidate's identities that are left out.
    pub(super) fn identities(&self, ordinal: u64) -> &[usize] {
        match self.0.get(&ordinal) {
            Some(Drop::Identities(numbers)) => numbers,
            _ => &[],
        }
    }

    fn add_identity(&mut self, ordinal: u64, number: usize) {
        if let Drop::Identities(numbers) = self.0.entry(ordinal).or_insert_with(|| Drop::Identities(Vec::new())) {
            numbers.push(number);
        }
    }
}

/// A user of the load that takes part in a conflict.
#[derive(Debug)]
struct Claimant {
    user: User,
    at: Place,
    ordinal: u64,
}

/// How much a resolution leaves out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LeftOut {
    pub(super) users: u64,
    pub(super) identities: u64,
}

impl LeftOut {
    pub(super) const fn is_nothing(self) -> bool {
        self.users == 0 && self.identities == 0
    }
}

/// Provider and providerUID.
type Key = (String, String);

fn key(identity: &Identity) -> Key {
    (identity.provider.clone(), identity.provider_uid.clone())
}

/// Identities with more than one claimant.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// UIDs that claim an identity. One of them may be an owner in the store that the load does not touch.
    by_identity: BTreeMap<Key, BTreeSet<String>>,
    /// Who has such an identity in the store.
    owners: HashMap<Key, String>,
    claimants: HashMap<String, Option<Claimant>>,
}

impl Claims {
    pub(super) fn is_empty(&self) -> bool {
        self.by_identity.is_empty()
    }

    /// Notes that all of `uids` claim `identity`.
    pub(super) fn add(&mut self, identity: Identity, uids: impl IntoIterator<Item = String>) -> Result<()> {
        let claims = self.by_identity.entry((identity.provider, identity.provider_uid)).or_default();
        for uid in uids {
            if claims.insert(uid.clone()) {
                self.claimants.entry(uid).or_default();
            }
        }
        expect_few(self.claimants.len())
    }

    /// Notes that `uid` claims `identity`, which `owner` has in the store.
    pub(super) fn add_owned(&mut self, identity: Identity, owner: String, uid: String) -> Result<()> {
        self.owners.insert(key(&identity), owner.clone());
        self.add(identity, [owner, uid])
    }

    /// Finds the claims among index entries with equal hashes.
    pub(super) fn add_equal_hashes(&mut self, finished: &Finished) -> Result<()> {
        for run in finished.same.chunk_by(|a, b| a.hash == b.hash) {
            let mut claims: BTreeMap<Identity, BTreeSet<String>> = BTreeMap::new();
            expect_few(run.len())?;
            for entry in run {
                let (user, numbers) = claimed(finished, entry)?;
                for number in numbers {
                    if let Some(identity) = user.identities.get(number) {
                        claims.entry(identity.clone()).or_default().insert(user.uid.clone());
                    }
                }
            }
            for (identity, uids) in claims.into_iter().filter(|(_, uids)| uids.len() > 1) {
                self.add(identity, uids)?;
            }
        }
        Ok(())
    }

    /// Takes note of a candidate as it would be written; call it for all of them before [`resolve`](Self::resolve).
    pub(super) fn see(&mut self, candidate: &Candidate<'_>, row: RowRef<'_>) -> Result<()> {
        let uid = std::str::from_utf8(row.uid()).unwrap_or_default();
        if let Some(claimant) = self.claimants.get_mut(uid) {
            let user = owned(&row.into())?;
            *claimant = Some(Claimant { user, at: candidate.at, ordinal: candidate.ordinal });
        }
        Ok(())
    }

    /// Decides who keeps what: an owner in the store that the load leaves alone, or whose record still has the identity,
    /// before all; then the first in input order. What has to be left out is added to `drops`. Unless `skip` is set, the
    /// first user that is left out ends it.
    pub(super) fn resolve(
        self,
        policy: OnConflict,
        skip: bool,
        drops: &mut Drops,
        reject: &mut dyn FnMut(Rejection) -> Result<()>,
    ) -> Result<LeftOut> {
        let mut contest = Contest::new(self);
        let mut left_out = LeftOut::default();
        if policy == OnConflict::Ignore {
            for claimant in &contest.claimants {
                // Numbers count the identities that earlier rounds left: they are dropped one round after the other.
                let before = drops.identities(claimant.ordinal).to_vec();
                for (number, identity) in claimant.user.identities.iter().enumerate() {
                    if contest.claims.contains_key(&key(identity)) && !take(&mut contest.taken, claimant, identity) {
                        drops.add_identity(claimant.ordinal, original_number(&before, number));
                        left_out.identities += 1;
                    }
                }
            }
            return Ok(left_out);
        }
        if skip {
            contest.leave_out_losers_to_the_store();
        }
        for number in 0..contest.claimants.len() {
            if contest.take_all(number) {
                continue;
            }
            if !skip {
                contest.rejections.extend(contest.rejection(number));
                break;
            }
            contest.leave_out(vec![number]);
        }
        contest.rejections.sort_by_key(|(ordinal, rejection)| (rejection.at, *ordinal));
        for (ordinal, rejection) in contest.rejections {
            drops.0.insert(ordinal, Drop::User);
            left_out.users += 1;
            reject(rejection)?;
        }
        Ok(left_out)
    }
}

/// Who has an identity: a UID, and the place of its record unless it has it in the store.
type Taken = HashMap<Key, (String, Option<Place>)>;

/// Gives an identity to a claimant; `false` when somebody else has it.
fn take(taken: &mut Taken, claimant: &Claimant, identity: &Identity) -> bool {
    let holder = taken.entry(key(identity)).or_insert_with(|| (claimant.user.uid.clone(), Some(claimant.at)));
    holder.0 == claimant.user.uid
}

/// Conflicts in work.
struct Contest {
    /// Users of the load, in input order, and their numbers by UID.
    claimants: Vec<Claimant>,
    numbers: HashMap<String, usize>,
    claims: BTreeMap<Key, BTreeSet<String>>,
    /// Contested identities that a user has in the store.
    stored: HashMap<String, Vec<Key>>,
    taken: Taken,
    left_out: Vec<bool>,
    rejections: Vec<(u64, Rejection)>,
}

impl Contest {
    fn new(claims: Claims) -> Self {
        let mut claimants: Vec<Claimant> = claims.claimants.into_values().flatten().collect();
        claimants.sort_by_key(|c| (c.at, c.ordinal));
        let numbers: HashMap<String, usize> = claimants.iter().map(|c| c.user.uid.clone()).zip(0..).collect();
        let (mut taken, mut stored) = (Taken::new(), HashMap::<String, Vec<Key>>::new());
        for (key, owner) in claims.owners {
            let record = numbers.get(&owner).and_then(|number| claimants.get(*number));
            let has = |i: &Identity| i.provider == key.0 && i.provider_uid == key.1;
            if record.is_none_or(|record| record.user.identities.iter().any(has)) {
                taken.insert(key.clone(), (owner.clone(), None));
            }
            stored.entry(owner).or_default().push(key);
        }
        let left_out = vec![false; claimants.len()];
        Self { claimants, numbers, claims: claims.by_identity, stored, taken, left_out, rejections: Vec::new() }
    }

    /// The claimants of an identity but for the one that has it.
    fn losers(&self, key: &Key) -> Vec<usize> {
        let owner = self.taken.get(key).map(|(owner, _)| owner);
        let others = self.claims.get(key).into_iter().flatten().filter(|uid| Some(*uid) != owner);
        others.filter_map(|uid| self.numbers.get(uid).copied()).collect()
    }

    /// Leaves out everybody who claims what the store keeps, whatever the others do.
    fn leave_out_losers_to_the_store(&mut self) {
        let mut all: Vec<usize> = self.taken.keys().flat_map(|key| self.losers(key)).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        self.leave_out(all);
    }

    /// Gives a user all contested identities of its record; `false`, and none, when one of them is another's.
    fn take_all(&mut self, number: usize) -> bool {
        let Some(claimant) = self.claimants.get(number).filter(|_| self.left_out.get(number) == Some(&false)) else {
            return true;
        };
        let contested = || claimant.user.identities.iter().filter(|i| self.claims.contains_key(&key(i)));
        let lost = contested().any(|i| self.taken.get(&key(i)).is_some_and(|(owner, _)| *owner != claimant.user.uid));
        if !lost {
            contested().for_each(|identity| _ = take(&mut self.taken, claimant, identity));
        }
        !lost
    }

    /// Leaves these users out, and those who lose by it: what somebody has in the store stays there, and so do the
    /// identities that the record would have given up.
    fn leave_out(&mut self, mut numbers: Vec<usize>) {
        while let Some(number) = numbers.pop() {
            if self.left_out.get(number) != Some(&false) {
                continue;
            }
            self.rejections.extend(self.rejection(number));
            if let Some(left_out) = self.left_out.get_mut(number) {
                *left_out = true;
            }
            let Some(Claimant { user, .. }) = self.claimants.get(number) else { continue };
            for identity in &user.identities {
                let key = key(identity);
                if self.taken.get(&key).is_some_and(|(owner, at)| *owner == user.uid && at.is_some()) {
                    self.taken.remove(&key);
                }
            }
            for key in self.stored.remove(&user.uid).unwrap_or_default() {
                self.taken.insert(key.clone(), (user.uid.clone(), None));
                numbers.extend(self.losers(&key));
            }
        }
    }

    /// Why a user is left out: the first of its identities that another has.
    fn rejection(&self, number: usize) -> Option<(u64, Rejection)> {
        let Claimant { user, at, ordinal } = self.claimants.get(number)?;
        let (key, (owner, owner_at)) = user.identities.iter().map(key).find_map(|key| {
            let holder = self.taken.get(&key).filter(|(owner, _)| *owner != user.uid)?;
            Some((key, holder.clone()))
        })?;
        let (provider, provider_uid) = key;
        let reason = RejectReason::IdentityTaken { provider, provider_uid, owner, owner_at };
        Some((*ordinal, Rejection { user: user.clone(), at: *at, reason }))
    }
}

/// The number in the whole row of the identity that is number `left` among those not dropped yet.
fn original_number(dropped: &[usize], left: usize) -> usize {
    (0..).filter(|n| !dropped.contains(n)).nth(left).unwrap_or(left)
}

/// The user that an index entry stands for, and which of its identities have the entry's hash.
fn claimed(finished: &Finished, entry: &Entry) -> Result<(User, Vec<usize>)> {
    let user = finished.row(entry.place, owned)??;
    let key = finished.key(Kind::Identity);
    let hash = |i: &Identity| {
        let id = finished.dictionary().id_of(i.provider.as_bytes()).unwrap_or_default();
        hash_identity(key, id, i.provider_uid.as_bytes())
    };
    let numbers = user.identities.iter().enumerate().filter(|(_, i)| hash(i) == entry.hash).map(|(n, _)| n).collect();
    Ok((user, numbers))
}

#[cfg(test)]
mod tests {
    use super::original_number;

    #[test]
    fn numbers_count_past_what_was_dropped() {
        assert_eq!(original_number(&[], 2), 2);
        assert_eq!(original_number(&[0, 2], 0), 1);
        assert_eq!(original_number(&[0, 2], 1), 3);
    }
}
