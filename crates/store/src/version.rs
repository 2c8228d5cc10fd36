//! A version: the whole state of a store as one immutable value.

use std::sync::Arc;

use headcount_block::{Origin, Totals, UidRange};

use crate::error::Result;
use crate::layer::Delta;
use crate::segment::{Segment, UserGuard};

/// What a store holds at one seq. It is swapped as a whole; a snapshot is a clone of the pointer to it.
///
/// The layers are ordered by disjoint ranges of seqs, newest first: `active`, `frozen`, `segments`. A row or tombstone
/// hides whatever the layers behind it have of the same UID. Segments that were one delta, of more provider names than one
/// segment takes, have its range of seqs in common and no UID. Each segment shows its users as they were at one seq, so that
/// no two of them carry one identity.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) origin: Origin,
    /// Where commits go.
    pub(crate) active: Delta,
    /// A full delta on its way into a segment.
    pub(crate) frozen: Option<Frozen>,
    /// Newest first.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Counts and length sums of the users that are visible.
    pub(crate) totals: Totals,
    /// Changes since a seq below this one are no longer known.
    pub(crate) changes_floor: u64,
}

/// A delta that takes no more changes, with the state at its end.
#[derive(Debug, Clone)]
pub(crate) struct Frozen {
    pub(crate) delta: Delta,
    pub(crate) origin: Origin,
    pub(crate) totals: Totals,
}

/// A layer of a version, for those who go through them in order.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LayerRef<'v> {
    Delta(&'v Delta),
    Segment(&'v Segment),
}

impl Version {
    /// The deltas that hold something, newest first.
    pub(crate) fn deltas(&self) -> impl Iterator<Item = &Delta> {
        [Some(&self.active), self.frozen.as_ref().map(|f| &f.delta)]
            .into_iter()
            .flatten()
            .filter(|delta| !delta.is_empty())
    }

    /// All layers that hold something, newest first.
    pub(crate) fn layers(&self) -> Vec<LayerRef<'_>> {
        let deltas = self.deltas().map(LayerRef::Delta);
        deltas.chain(self.segments.iter().map(|s| LayerRef::Segment(s))).collect()
    }

    /// Whether there is nothing but one segment of live rows: what is asked of it can be answered out of its sums.
    pub(crate) fn only_segment(&self) -> Option<&Arc<Segment>> {
        match self.segments.as_slice() {
            [segment] if self.deltas().next().is_none() => Some(segment),
            _ => None,
        }
    }

    /// Whether no layer holds anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.deltas().next().is_none()
    }

    /// Shows the name of every provider that a row may name; some more than once.
    pub(crate) fn each_provider(&self, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        for delta in self.deltas() {
            for (record, _) in delta.range(&UidRange::all()) {
                record.row().iter().flat_map(|row| row.identities()).try_for_each(|i| each(i.provider))?;
            }
        }
        self.segments.iter().flat_map(|s| s.dictionary().names()).try_for_each(each)
    }

    /// The newest row with this UID.
    pub(crate) fn get(&self, uid: &[u8]) -> Result<Option<UserGuard<'_>>> {
        for delta in self.deltas() {
            if let Some((record, stamp)) = delta.get(uid) {
                return Ok(record.row().map(|row| UserGuard::of_row(row, stamp.seq)));
            }
        }
        for segment in &self.segments {
            if let Some(found) = segment.find_uid(uid)? {
                return Ok(Some(found));
            }
            if segment.tombstones().get(uid).is_some() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Seq of the last change of this UID that is known; 0 when there is none.
    pub(crate) fn last_change(&self, uid: &[u8]) -> Result<u64> {
        if let Some((_, stamp)) = self.deltas().find_map(|delta| delta.get(uid)) {
            return Ok(stamp.seq);
        }
        for segment in &self.segments {
            if let Some(found) = segment.find_uid(uid)? {
                return found.seq();
            }
            if let Some(tombstone) = segment.tombstones().get(uid) {
                return Ok(tombstone.seq);
            }
        }
        Ok(0)
    }

    /// The user that carries this identity now. A hit counts only if no newer layer has the user in another form.
    pub(crate) fn find(&self, provider: &[u8], provider_uid: &[u8]) -> Result<Option<UserGuard<'_>>> {
        for (i, delta) in self.deltas().enumerate() {
            let Some((row, stamp)) = delta.find(provider, provider_uid) else { continue };
            if self.deltas().take(i).all(|newer| newer.get(row.uid()).is_none()) {
                return Ok(Some(UserGuard::of_row(row, stamp.seq)));
            }
        }
        for (i, segment) in self.segments.iter().enumerate() {
            let Some(found) = segment.find_identity(provider, provider_uid)? else { continue };
            if !self.hides(i, found.user().uid())? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Whether a layer in front of segment number `before` has a row or tombstone of this UID.
    fn hides(&self, before: usize, uid: &[u8]) -> Result<bool> {
        if self.deltas().any(|delta| delta.get(uid).is_some()) {
            return Ok(true);
        }
        for segment in self.segments.get(..before).unwrap_or_default() {
            if segment.tombstones().get(uid).is_some() || segment.find_uid(uid)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
