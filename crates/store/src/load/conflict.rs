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

/// Identities with more than one claimant.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// UIDs that claim an identity. One of them may be an owner in the store that the load does not touch.
    by_identity: BTreeMap<(String, String), BTreeSet<String>>,
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

    /// Goes through the claimants in input order: the first keeps an identity, an owner in the store keeps it before
    /// all. What has to be left out is added to `drops`.
    pub(super) fn resolve(
        mut self,
        policy: OnConflict,
        drops: &mut Drops,
        reject: &mut dyn FnMut(Rejection) -> Result<()>,
    ) -> Result<LeftOut> {
        let mut taken: HashMap<(String, String), (String, Option<Place>)> = HashMap::new();
        for (identity, uids) in &self.by_identity {
            for uid in uids.iter().filter(|uid| self.claimants.get(*uid).is_none_or(Option::is_none)) {
                taken.insert(identity.clone(), (uid.clone(), None));
            }
        }
        let mut claimants: Vec<Claimant> = self.claimants.drain().filter_map(|(_, claimant)| claimant).collect();
        claimants.sort_by_key(|c| (c.at, c.ordinal));
        let mut left_out = LeftOut::default();
        for Claimant { user, at, ordinal } in claimants {
            let key = |i: &Identity| (i.provider.clone(), i.provider_uid.clone());
            let contested: Vec<(usize, (String, String))> = user.identities.iter().map(key).enumerate().collect();
            let contested = contested.into_iter().filter(|(_, key)| self.by_identity.contains_key(key));
            let (lost, won): (Vec<_>, Vec<_>) =
                contested.partition(|(_, key)| taken.get(key).is_some_and(|(owner, _)| *owner != user.uid));
            if let (OnConflict::Error, Some((_, key))) = (policy, lost.first()) {
                let (owner, owner_at) = taken.get(key).cloned().unwrap_or_default();
                let (provider, provider_uid) = key.clone();
                let reason = RejectReason::IdentityTaken { provider, provider_uid, owner, owner_at };
                left_out.users += 1;
                drops.0.insert(ordinal, Drop::User);
                reject(Rejection { user, at, reason })?;
                continue;
            }
            // Numbers count the identities that earlier rounds left: they are dropped one round after the other.
            let before = drops.identities(ordinal).to_vec();
            for (number, _) in lost {
                drops.add_identity(ordinal, original_number(&before, number));
                left_out.identities += 1;
            }
            taken.extend(won.into_iter().map(|(_, key)| (key, (user.uid.clone(), Some(at)))));
        }
        Ok(left_out)
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
