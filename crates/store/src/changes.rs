//! What changed since a seq: users in their newest form, and UIDs that were deleted.

use std::ops::ControlFlow;

use headcount_block::{Error as BlockError, Fault, RowRef, Span, UidRange, UserRef};

use crate::error::{Error, Result};
use crate::layer::Stamp;
use crate::merge::{Receiver, walk};
use crate::segment::Segment;
use crate::snapshot::Snapshot;
use crate::version::LayerRef;

/// One user that changed.
#[derive(Debug, Clone, Copy)]
pub enum Changed<'a> {
    /// The user as it is now.
    User {
        /// The user.
        user: UserRef<'a>,
        /// Seq of its last change.
        seq: u64,
    },
    /// The user was deleted, or renamed to another UID. It may be one that was new as well.
    Deleted {
        /// Its UID.
        uid: &'a str,
        /// Seq of the deletion.
        seq: u64,
    },
}

impl Snapshot {
    /// Shows every user that changed after seq `since`, in UID order, once and in its newest form, until `each` breaks off.
    ///
    /// The cost is that of the layers with something newer than `since`: their blocks are read and verified, and those
    /// without a newer row not looked into. After a full compaction these are all blocks.
    ///
    /// # Errors
    /// [`Error::TooOld`] when deletions after `since` have been forgotten, [`Error::FutureSeq`] for a seq that the store
    /// has not reached, and errors of reading.
    pub fn changes_since(&self, since: u64, each: &mut dyn FnMut(Changed<'_>) -> ControlFlow<()>) -> Result<()> {
        let mut each = |changed: Changed<'_>| match each(changed) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(BlockError::Stopped),
        };
        match self.walk_changes(since, &|| Ok(()), &mut each) {
            Err(BlockError::Stopped) => Ok(()),
            other => Ok(other?),
        }
    }

    /// As above; asks `go_on` at each block, and ends with the first error of either.
    pub(crate) fn walk_changes(
        &self,
        since: u64,
        go_on: &dyn Fn() -> Result<(), BlockError>,
        each: &mut dyn FnMut(Changed<'_>) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        let version = &self.0;
        if since > version.origin.seq {
            return Err(BlockError::FutureSeq { since, seq: version.origin.seq });
        }
        if since < version.changes_floor {
            return Err(BlockError::TooOld { since, floor: version.changes_floor });
        }
        let newer = |layer: &LayerRef<'_>| match layer {
            LayerRef::Delta(delta) => delta.last_seq > since,
            LayerRef::Segment(segment) => segment.seq_range().1 > since,
        };
        let layers: Vec<LayerRef<'_>> = version.layers().into_iter().filter(newer).collect();
        walk(&layers, &UidRange::all(), &mut Since { since, go_on, each })
    }
}

struct Since<'a> {
    since: u64,
    go_on: &'a dyn Fn() -> Result<(), BlockError>,
    each: &'a mut dyn FnMut(Changed<'_>) -> Result<(), BlockError>,
}

impl Since<'_> {
    fn show(&mut self, seq: u64, changed: Changed<'_>) -> Result<(), BlockError> {
        if seq > self.since { (self.each)(changed) } else { Ok(()) }
    }
}

impl Receiver for Since<'_> {
    fn rows(&mut self, segment: &Segment, span: &Span<'_>, at: u64) -> Result<(), BlockError> {
        (self.go_on)()?;
        let block = span.block();
        let base = segment.footer().base_seq;
        if base.saturating_add(block.seq_range().1) <= self.since {
            return Ok(());
        }
        for (ordinal, user) in (span.ordinals().start..).zip(span.rows()?) {
            let seq = segment.seq_at(block, at, ordinal)?;
            self.show(seq, Changed::User { user: user?, seq })?;
        }
        Ok(())
    }

    fn row(&mut self, row: RowRef<'_>, stamp: Stamp) -> Result<(), BlockError> {
        self.show(stamp.seq, Changed::User { user: row.into(), seq: stamp.seq })
    }

    fn tombstone(&mut self, uid: &[u8], seq: u64, _: u64) -> Result<(), BlockError> {
        let uid = std::str::from_utf8(uid).map_err(|e| {
            let fault = Fault::new("UID of a tombstone", e.valid_up_to(), 0, uid.len() as u64);
            BlockError::from(Error::fault(fault, std::path::Path::new("a tombstone of the store"), 0))
        })?;
        self.show(seq, Changed::Deleted { uid, seq })
    }
}
