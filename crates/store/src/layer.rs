//! A delta in memory: the changes of one generation as persistent maps, cloned in O(1).
//!
//! Two maps: the newest change of each user, in UID order, and identity to the users whose row in this delta carries it or
//! once did. Whoever follows the second one compares the full bytes with the user's newest row: entries are never taken
//! back.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::hint::black_box;
use std::ops::Bound;
use std::sync::Arc;

use headcount_block::limits::PROVIDERS_MAX;
use headcount_block::{RowRef, UidRange, uid_prefix};
use imbl::{OrdMap, OrdSet};

use crate::segment::hash_index::{hash_identity, hash_uid};

/// Bytes of a UID's length.
const LEN: usize = 2;

/// A user as a delta holds it: UID and row in one piece of memory, for whoever compares the UID mostly wants the row.
///
/// It is ordered by UID. The first bytes of that are beside the pointer: a search through the map nearly always does without
/// the memory behind it, which is not in the cache.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    prefix: u64,
    bytes: Arc<[u8]>,
}

impl Record {
    fn new(uid: &[u8], row: Option<&[u8]>) -> Self {
        let len = u16::try_from(uid.len()).unwrap_or(u16::MAX).to_le_bytes();
        Self { prefix: uid_prefix(uid), bytes: [&len, uid, row.unwrap_or_default()].concat().into() }
    }

    fn split(&self) -> (&[u8], &[u8]) {
        let (len, rest) = self.bytes.split_first_chunk::<LEN>().unwrap_or((&[0; LEN], &[]));
        rest.split_at_checked(usize::from(u16::from_le_bytes(*len))).unwrap_or_default()
    }

    pub(crate) fn uid(&self) -> &[u8] {
        self.split().0
    }

    /// The user as a self-contained row; `None` when it was deleted.
    pub(crate) fn row(&self) -> Option<RowRef<'_>> {
        // The bytes were encoded or checked by this process before they came here.
        Some(self.split().1).filter(|row| !row.is_empty()).and_then(|row| RowRef::parse(row).ok())
    }

    /// Reads a byte of each of its first cache lines, so that they are on their way.
    fn touch(&self) {
        let byte = |at: usize| self.bytes.get(at).copied().unwrap_or_default();
        black_box(byte(0) ^ byte(64) ^ byte(128) ^ self.bytes.last().copied().unwrap_or_default());
    }
}

/// What records are ordered and found by: the number first, and the UID only when that does not tell.
trait Key {
    fn number(&self) -> u64;
    fn text(&self) -> &[u8];
}

impl Key for Record {
    fn number(&self) -> u64 {
        self.prefix
    }

    fn text(&self) -> &[u8] {
        self.uid()
    }
}

/// A UID to look for.
struct Wanted<'u>(u64, &'u [u8]);

impl<'u> Wanted<'u> {
    fn new(uid: &'u [u8]) -> Self {
        Self(uid_prefix(uid), uid)
    }
}

impl Key for Wanted<'_> {
    fn number(&self) -> u64 {
        self.0
    }

    fn text(&self) -> &[u8] {
        self.1
    }
}

impl<'k> Borrow<dyn Key + 'k> for Record {
    fn borrow(&self) -> &(dyn Key + 'k) {
        self
    }
}

impl Ord for dyn Key + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number().cmp(&other.number()).then_with(|| self.text().cmp(other.text()))
    }
}

impl PartialOrd for dyn Key + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Key + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for dyn Key + '_ {}

impl Ord for Record {
    fn cmp(&self, other: &Self) -> Ordering {
        self.prefix.cmp(&other.prefix).then_with(|| self.uid().cmp(other.uid()))
    }
}

impl PartialOrd for Record {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Record {}

/// When a user was changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    /// The commit that did it.
    pub(crate) seq: u64,
    /// When that was, in milliseconds since 1970-01-01 UTC.
    pub(crate) time_ms: u64,
}

/// The newest change of one user in a delta.
pub(crate) type Change<'d> = (&'d Record, Stamp);

/// Users of one identity hash: nearly always one.
#[derive(Debug, Clone)]
enum Owners {
    One(Record),
    Many(OrdSet<Record>),
}

/// Places for names of providers that are known without a look at all of them.
const FREQUENT: usize = 8;

/// Changes since the last segment, or the part of them that is being written to one.
#[derive(Debug, Clone)]
pub(crate) struct Delta {
    changes: OrdMap<Record, Stamp>,
    owners: OrdMap<u64, Owners>,
    /// Names of providers in rows that were added, also those that later ones replaced.
    providers: OrdSet<Arc<[u8]>>,
    /// Some of them: most identities are of few providers, which need not be looked for in all.
    frequent: [Option<Arc<[u8]>>; FREQUENT],
    key: [u64; 2],
    /// Whether identities can be looked up.
    indexed: bool,
    /// Least and greatest seq in it; `first_seq` is 0 while it is empty.
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    /// Changes and bytes of rows that were added, also those that later ones replaced: what the log holds.
    pub(crate) logged: usize,
    pub(crate) bytes: usize,
}

impl Delta {
    /// An empty delta, whose identity hashes are keyed: identities are chosen by strangers.
    pub(crate) fn new(key: [u64; 2]) -> Self {
        let (changes, owners, providers) = (OrdMap::new(), OrdMap::new(), OrdSet::new());
        let frequent = Default::default();
        Self {
            changes,
            owners,
            providers,
            frequent,
            key,
            indexed: true,
            first_seq: 0,
            last_seq: 0,
            logged: 0,
            bytes: 0,
        }
    }

    /// An empty one with the same key.
    pub(crate) fn empty(&self) -> Self {
        Self::new(self.key)
    }

    /// An empty one that is only ever written out: without a map of identities.
    pub(crate) fn unindexed(&self) -> Self {
        Self { indexed: false, ..self.empty() }
    }

    /// Users that changed.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Adds the change of one user: `row` is an encoded row, or `None` when it was deleted.
    pub(crate) fn insert(&mut self, uid: &[u8], row: Option<&[u8]>, seq: u64, time_ms: u64) {
        let record = Record::new(uid, row);
        if self.first_seq == 0 {
            self.first_seq = seq;
        }
        self.last_seq = self.last_seq.max(seq);
        self.logged += 1;
        self.bytes += record.bytes.len();
        for identity in record.row().iter().flat_map(|row| row.identities()) {
            self.note_provider(identity.provider);
            if self.indexed {
                self.own(hash_pair(self.key, identity.provider, identity.provider_uid), &record);
            }
        }
        // The map would keep the record that is there already. Most often there is none, and looking costs less.
        let wanted: &dyn Key = &Wanted::new(uid);
        if self.changes.contains_key(wanted) {
            self.changes.remove(wanted);
        }
        self.changes.insert(record, Stamp { seq, time_ms });
    }

    fn own(&mut self, hash: u64, user: &Record) {
        let owners = match self.owners.get(&hash) {
            None => Owners::One(user.clone()),
            Some(Owners::One(owner)) if owner == user => return,
            Some(Owners::Many(all)) if all.contains(user) => return,
            Some(Owners::One(owner)) => Owners::Many([owner.clone(), user.clone()].into_iter().collect()),
            Some(Owners::Many(all)) => Owners::Many(all.update(user.clone())),
        };
        self.owners.insert(hash, owners);
    }

    /// The change of this user, if it changed.
    pub(crate) fn get(&self, uid: &[u8]) -> Option<Change<'_>> {
        self.changes.get_key_value(&Wanted::new(uid) as &dyn Key).map(|(record, stamp)| (record, *stamp))
    }

    /// The user whose row in this delta carries the identity.
    pub(crate) fn find(&self, provider: &[u8], provider_uid: &[u8]) -> Option<(RowRef<'_>, Stamp)> {
        let carries = |user: &Record| {
            let (record, stamp) = self.get(user.uid())?;
            let row = record.row()?;
            let found = row.identities().any(|i| i.provider_uid == provider_uid && i.provider == provider);
            found.then_some((row, stamp))
        };
        match self.owners.get(&hash_pair(self.key, provider, provider_uid))? {
            Owners::One(user) => carries(user),
            Owners::Many(all) => all.iter().find_map(carries),
        }
    }

    /// Changes of users in `range`, in UID order.
    pub(crate) fn range(&self, range: &UidRange) -> Changes<'_> {
        let bound = |bound: &Bound<Vec<u8>>| match bound {
            Bound::Included(uid) => Bound::Included(Record::new(uid, None)),
            Bound::Excluded(uid) => Bound::Excluded(Record::new(uid, None)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let rest = self.changes.range((bound(&range.start), bound(&range.end)));
        Changes { rest, ahead: [None; AHEAD], next: AHEAD }
    }

    #[inline]
    fn note_provider(&mut self, name: &[u8]) {
        let last = name.last().copied().unwrap_or_default();
        let Some(place) = self.frequent.get_mut((name.len() ^ usize::from(last)) % FREQUENT) else { return };
        if place.as_deref() != Some(name) {
            if let Some(known) = self.providers.get(name) {
                *place = Some(Arc::clone(known));
            } else {
                let new: Arc<[u8]> = Arc::from(name);
                self.providers.insert(Arc::clone(&new));
                *place = Some(new);
            }
        }
    }

    /// Whether it names no more providers than one segment does when `rows` with so many identities come to it.
    pub(crate) fn has_room<'r>(&self, identities: u64, rows: impl Iterator<Item = RowRef<'r>>) -> bool {
        let taken = self.providers.len();
        // Nearly always: nothing is counted.
        if identities <= PROVIDERS_MAX.saturating_sub(taken) as u64 {
            return true;
        }
        let mut new = HashSet::new();
        for row in rows {
            new.extend(row.identities().map(|i| i.provider).filter(|name| !self.providers.contains(*name)));
        }
        taken + new.len() <= PROVIDERS_MAX
    }

    /// Ranges of UIDs that are all of them together, in each of which rows name no more providers than one segment does:
    /// one, unless the log is of a version that committed more of them.
    pub(crate) fn parts(&self) -> Vec<UidRange> {
        let (mut parts, mut start, mut names) = (Vec::new(), Bound::Unbounded, HashSet::new());
        if self.providers.len() > PROVIDERS_MAX {
            for (record, _) in self.range(&UidRange::all()) {
                let Some(row) = record.row() else { continue };
                names.extend(row.identities().map(|i| i.provider));
                if names.len() > PROVIDERS_MAX {
                    names = row.identities().map(|i| i.provider).collect();
                    let uid = record.uid().to_vec();
                    let start = std::mem::replace(&mut start, Bound::Included(uid.clone()));
                    parts.push(UidRange { start, end: Bound::Excluded(uid) });
                }
            }
        }
        parts.push(UidRange { start, end: Bound::Unbounded });
        parts
    }

    /// Mean bytes of a change, at least 1.
    pub(crate) fn mean_bytes(&self) -> u64 {
        (self.bytes / self.logged.max(1)).max(1) as u64
    }
}

/// Changes that are fetched at a time: their cache misses overlap.
const AHEAD: usize = 16;

/// Iterator over the changes of a range.
#[derive(Debug)]
pub(crate) struct Changes<'d> {
    rest: imbl::ordmap::RangedIter<'d, Record, Stamp, imbl::shared_ptr::DefaultSharedPtr>,
    ahead: [Option<Change<'d>>; AHEAD],
    next: usize,
}

impl<'d> Iterator for Changes<'d> {
    type Item = Change<'d>;

    fn next(&mut self) -> Option<Change<'d>> {
        if self.next >= AHEAD {
            self.next = 0;
            for slot in &mut self.ahead {
                *slot = self.rest.next().map(|(record, stamp)| (record, *stamp));
                if let Some((record, _)) = slot {
                    record.touch();
                }
            }
        }
        let change = self.ahead.get(self.next).copied().flatten()?;
        self.next += 1;
        Some(change)
    }
}

/// Changes that are passed at a time by [`Steps`].
pub(crate) const STEP: usize = 64;

/// Every 64th UID of a range, without a look at those between.
#[derive(Debug)]
pub(crate) struct Steps<'d>(imbl::ordmap::RangedIter<'d, Record, Stamp, imbl::shared_ptr::DefaultSharedPtr>);

impl<'d> Iterator for Steps<'d> {
    type Item = &'d [u8];

    fn next(&mut self) -> Option<&'d [u8]> {
        self.0.nth(STEP - 1).map(|(record, _)| record.uid())
    }
}

impl<'d> Changes<'d> {
    /// The same range in steps.
    pub(crate) fn steps(self) -> Steps<'d> {
        Steps(self.rest)
    }
}

/// Hash of an identity without a dictionary: the provider's own hash, cut to the width of a dictionary id, takes its place.
fn hash_pair(key: [u64; 2], provider: &[u8], provider_uid: &[u8]) -> u64 {
    let [low, high, ..] = hash_uid(key, provider).to_le_bytes();
    hash_identity(key, u16::from_le_bytes([low, high]), provider_uid)
}

#[cfg(test)]
mod tests {
    use headcount_block::{Identity, RowBuf, User};

    use super::*;

    /// A log in which every user has the same identity took hours to open.
    #[test]
    fn owners_of_one_identity_are_added_without_a_look_at_all_others() {
        let (mut delta, mut row) = (Delta::new([1, 2]), RowBuf::new());
        for i in 0..100_000_u64 {
            let mut user = User::new(format!("{i}"));
            user.identities = vec![Identity::new("p", "1")];
            delta.insert(user.uid.as_bytes(), Some(row.encode(&user).unwrap().as_bytes()), i, 0);
        }
        delta.insert(b"0", None, 100_000, 0);
        let before = delta.clone();
        assert_eq!(delta.find(b"p", b"1").unwrap().0.uid(), b"1");
        (1..100_000).for_each(|i| delta.insert(format!("{i}").as_bytes(), None, i, 0));
        assert!(delta.find(b"p", b"1").is_none());
        assert!(before.find(b"p", b"1").is_some());
    }
}
