//! A version: the whole state of a store as one immutable value.

use std::sync::Arc;

use headcount_block::{Origin, Totals};

use crate::error::Result;
use crate::segment::{Segment, UserGuard};

/// What a store holds at one seq. It is swapped as a whole; a snapshot is a clone of the pointer to it.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) origin: Origin,
    /// Newest first: a row hides those of the same UID behind it.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Counts and length sums of the users that are visible.
    pub(crate) totals: Totals,
}

impl Version {
    /// The newest row with this UID.
    pub(crate) fn get(&self, uid: &[u8]) -> Result<Option<UserGuard<'_>>> {
        for segment in &self.segments {
            if let Some(found) = segment.find_uid(uid)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The user that carries this identity now. A hit counts only if no newer segment has another row of that user.
    pub(crate) fn find(&self, provider: &[u8], provider_uid: &[u8]) -> Result<Option<UserGuard<'_>>> {
        for (i, segment) in self.segments.iter().enumerate() {
            let Some(found) = segment.find_identity(provider, provider_uid)? else { continue };
            let newer = self.segments.get(..i).unwrap_or_default();
            let mut hidden = false;
            for segment in newer {
                hidden |= segment.find_uid(found.user().uid())?.is_some();
            }
            if !hidden {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}
