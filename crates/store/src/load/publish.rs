//! Publication of a load: the one moment at which it becomes visible.
//!
//! Commits wait meanwhile. The delta is written out first, so that the layers stay ordered by seq.
//!
//! | step | after a crash here |
//! | --- | --- |
//! | 1 the segment's bytes are fsynced under a temporary name | leftover in `tmp/`, removed at the next open |
//! | 2 the delta becomes a segment | the store is as before |
//! | 3 footer with the seq, fsync, read-only, rename, fsync of the directory | a segment that no manifest names, removed |
//! | 4 the manifest is replaced | the load is there, whole |
//! | 5 the version is swapped | as 4 |

use std::ops::ControlFlow;
use std::sync::Arc;

use headcount_block::Totals;

use super::options::Existing;
use crate::changes::Changed;
use crate::commit::Writer;
use crate::error::{Error, Result};
use crate::flush::entry;
use crate::segment::{Finished, Segment};
use crate::snapshot::Snapshot;
use crate::state::Inner;
use crate::sync::MutexGuard;
use crate::version::Version;
use crate::{clock, fault};

/// What a load was checked against, and what it replaces there.
pub(super) struct Basis<'a> {
    pub(super) version: &'a Arc<Version>,
    pub(super) existing: Existing,
    /// Sums of the rows of `version` that the load replaces.
    pub(super) hidden: Totals,
    /// Users of `version` that the load found as it would have written them, and left out.
    pub(super) unchanged: u64,
    /// Identities that the load left to users of `version`, or of its own.
    pub(super) ignored: u64,
}

/// Makes `finished` part of the store and returns its seq; `None` when commits since the basis stand against it, and it
/// has to be checked again.
pub(super) fn publish(
    store: &Inner,
    writer: &mut MutexGuard<'_, Writer>,
    finished: Finished,
    basis: &Basis<'_>,
) -> Result<Option<u64>> {
    // What follows takes time, and nobody else can meanwhile.
    store.sync_log(writer)?;
    finished.sync().map_err(|e| store.fatal(e))?;
    fault::point("load 1: synced")?;
    store.flush_all(writer)?;
    fault::point("load 2: flushed")?;
    let current = store.version.load_full();
    let seq = current.origin.seq + 1;
    let (id, totals) = (finished.id(), finished.totals());
    let path = finished.publish(seq, &store.dir, &store.names).map_err(|e| store.fatal(e))?;
    let segment = store.adopt(&path, id)?;
    fault::point("load 3: renamed")?;
    let hidden = match hidden_now(&current, basis, &segment) {
        Ok(Some(hidden)) => hidden,
        other => {
            // An erasure finds it there, should it not go.
            store.retire(&[segment]);
            return other.map(|_| None);
        }
    };
    let mut origin = current.origin;
    origin.seq = seq;
    origin.time_ms = clock::now_ms().max(origin.time_ms);
    let mut sums = current.totals;
    sums += totals;
    sums -= hidden;
    store.commit_manifest(|m| {
        m.segments.insert(0, entry(&segment));
        m.advance(&origin, &sums);
    })?;
    fault::point("load 4: published")?;
    store.update(|version| {
        version.segments.insert(0, segment);
        (version.origin, version.totals) = (origin, sums);
    });
    store.signals.notify();
    Ok(Some(seq))
}

/// Sums of the rows that the load replaces as things stand now; `None` when what was committed since the basis could
/// have made the load another one.
fn hidden_now(current: &Arc<Version>, basis: &Basis<'_>, segment: &Segment) -> Result<Option<Totals>> {
    let mut hidden = basis.hidden;
    if current.origin.seq == basis.version.origin.seq {
        return Ok(Some(hidden));
    }
    let mut failed = None;
    let mut stands = true;
    let changes = Snapshot(Arc::clone(current));
    let compared = changes.changes_since(basis.version.origin.seq, &mut |changed| match agrees(
        current,
        basis,
        segment,
        &changed,
        &mut hidden,
    ) {
        Ok(true) => ControlFlow::Continue(()),
        Ok(false) => {
            stands = false;
            ControlFlow::Break(())
        }
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    });
    match (failed, compared) {
        (Some(error), _) => Err(error),
        // What was deleted since may be forgotten already, by an erasure or a full compaction.
        (None, Err(Error::TooOld { .. })) => Ok(None),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => Ok(stands.then_some(hidden)),
    }
}

fn agrees(
    current: &Version,
    basis: &Basis<'_>,
    segment: &Segment,
    changed: &Changed<'_>,
    hidden: &mut Totals,
) -> Result<bool> {
    if basis.ignored > 0 {
        // It may be the one that an identity was left to, and may not have it any more.
        return Ok(false);
    }
    let uid = match changed {
        Changed::User { user, .. } => user.uid(),
        Changed::Deleted { uid, .. } => uid.as_bytes(),
    };
    if segment.find_uid(uid)?.is_some() {
        // The load replaces what was committed, as it replaces what was there before.
        let mut sums = Totals::default();
        if let Some(before) = basis.version.get(uid)? {
            sums.add_user(&before.user());
        }
        *hidden -= sums;
        if let Some(now) = current.get(uid)? {
            hidden.add_user(&now.user());
        }
        return Ok(basis.existing == Existing::Replace);
    }
    if basis.unchanged > 0 {
        // It may be one of those that the load found unchanged.
        return Ok(false);
    }
    if let Changed::User { user, .. } = changed {
        for identity in user.identities() {
            if segment.find_identity(identity.provider, identity.provider_uid)?.is_some() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
