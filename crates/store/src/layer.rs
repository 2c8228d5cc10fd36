//! A delta in memory: the changes of one generation as persistent maps, cloned in O(1).
//!
//! Two maps: UID to row or tombstone, and identity to the users whose row in this delta carries it or once did. Whoever
//! follows the second one compares the full bytes with the user's newest row: entries are never taken back.

use std::ops::Bound;
use std::sync::Arc;

use headcount_block::{RowRef, UidRange};
use imbl::OrdMap;

use crate::segment::hash_index::{hash_identity, hash_uid};

/// The newest change of one user in a delta.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The commit that made it.
    pub(crate) seq: u64,
    /// When that was, in milliseconds since 1970-01-01 UTC.
    pub(crate) time_ms: u64,
    /// The user, or `None` for one that was deleted.
    row: Option<Arc<[u8]>>,
}

impl Change {
    /// The user as a self-contained row; `None` when it was deleted.
    pub(crate) fn row(&self) -> Option<RowRef<'_>> {
        // The bytes were encoded or checked by this process before they came here.
        self.row.as_deref().and_then(|bytes| RowRef::parse(bytes).ok())
    }
}

/// Users of one identity hash: nearly always one.
#[derive(Debug, Clone)]
enum Owners {
    One(Arc<[u8]>),
    Many(Arc<[Arc<[u8]>]>),
}

/// Changes since the last segment, or the part of them that is being written to one.
#[derive(Debug, Clone)]
pub(crate) struct Delta {
    changes: OrdMap<Arc<[u8]>, Change>,
    owners: OrdMap<u64, Owners>,
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
        let (changes, owners) = (OrdMap::new(), OrdMap::new());
        Self { changes, owners, key, indexed: true, first_seq: 0, last_seq: 0, logged: 0, bytes: 0 }
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
        // The key that is there already is kept: one copy of the UID, however often the user changes.
        let uid: Arc<[u8]> = match self.changes.get_key_value(uid) {
            Some((key, _)) => Arc::clone(key),
            None => Arc::from(uid),
        };
        if self.first_seq == 0 {
            self.first_seq = seq;
        }
        self.last_seq = self.last_seq.max(seq);
        self.logged += 1;
        self.bytes += uid.len() + row.map_or(0, <[u8]>::len);
        if let Some(row) = row.filter(|_| self.indexed).and_then(|bytes| RowRef::parse(bytes).ok()) {
            for identity in row.identities() {
                self.own(hash_pair(self.key, identity.provider, identity.provider_uid), &uid);
            }
        }
        self.changes.insert(uid, Change { seq, time_ms, row: row.map(Arc::from) });
    }

    fn own(&mut self, hash: u64, uid: &Arc<[u8]>) {
        let owners = match self.owners.get(&hash) {
            None => Owners::One(Arc::clone(uid)),
            Some(Owners::One(owner)) if owner == uid => return,
            Some(Owners::Many(all)) if all.contains(uid) => return,
            Some(Owners::One(owner)) => Owners::Many(Arc::from([Arc::clone(owner), Arc::clone(uid)])),
            Some(Owners::Many(all)) => Owners::Many(all.iter().chain([uid]).cloned().collect()),
        };
        self.owners.insert(hash, owners);
    }

    /// The change of this user, if it changed.
    pub(crate) fn get(&self, uid: &[u8]) -> Option<&Change> {
        self.changes.get(uid)
    }

    /// The user whose row in this delta carries the identity.
    pub(crate) fn find(&self, provider: &[u8], provider_uid: &[u8]) -> Option<RowRef<'_>> {
        let carries = |uid: &Arc<[u8]>| {
            let row = self.get(uid)?.row()?;
            row.identities().any(|i| i.provider_uid == provider_uid && i.provider == provider).then_some(row)
        };
        match self.owners.get(&hash_pair(self.key, provider, provider_uid))? {
            Owners::One(uid) => carries(uid),
            Owners::Many(all) => all.iter().find_map(carries),
        }
    }

    /// Changes of users in `range`, in UID order.
    pub(crate) fn range<'d>(&'d self, range: &UidRange) -> impl Iterator<Item = (&'d [u8], &'d Change)> + use<'d> {
        let bound = |bound: &Bound<Vec<u8>>| match bound {
            Bound::Included(uid) => Bound::Included(Arc::<[u8]>::from(uid.as_slice())),
            Bound::Excluded(uid) => Bound::Excluded(Arc::<[u8]>::from(uid.as_slice())),
            Bound::Unbounded => Bound::Unbounded,
        };
        self.changes.range((bound(&range.start), bound(&range.end))).map(|(uid, change)| (&**uid, change))
    }
}

/// Hash of an identity without a dictionary: the provider's own hash, cut to the width of a dictionary id, takes its place.
fn hash_pair(key: [u64; 2], provider: &[u8], provider_uid: &[u8]) -> u64 {
    let [low, high, ..] = hash_uid(key, provider).to_le_bytes();
    hash_identity(key, u16::from_le_bytes([low, high]), provider_uid)
}
