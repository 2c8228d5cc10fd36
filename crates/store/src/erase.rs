//! Erasure: afterwards no linked file of the store names the user.
//!
//! The UIDs are noted in the manifest: from then on the purge is resumed by the next open for writing, should anything be
//! interrupted. The users are deleted by commits, and the delta is written out. Every segment that has a row or tombstone of
//! one of them is written anew without it; blocks that name none of them are copied as they are. Whoever was not deleted
//! yet, or was put into the store again since, stays: of a user whose newest trace is a row, that row is kept.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use headcount_block::Progress;

use crate::apply::{TOUCHED_MAX, size};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::files;
use crate::options::Durability;
use crate::rewrite::purge;
use crate::segment::Segment;
use crate::state::Inner;
use crate::sync::{lock, thread};

/// Most users in one deleting commit.
const BATCH: usize = 10_000;

/// What an erasure did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EraseReport {
    /// Users that no file names any more.
    pub erased: u64,
    /// UIDs that the store did not know, not even as deleted.
    pub not_found: Vec<String>,
    /// The store's seq afterwards.
    pub seq: u64,
    /// Segments that were written anew.
    pub segments_rewritten: u64,
}

impl Inner {
    /// See [`crate::Store::erase`].
    pub(crate) fn erase(&self, uids: &[&str], wait: Duration, progress: &Progress) -> Result<EraseReport> {
        self.check_writable()?;
        let _one = lock(&self.structure);
        progress.check()?;
        progress.set_phase("erasing");
        let mut report = EraseReport::default();
        let mut known: BTreeSet<String> = lock(&self.manifest).erasing.iter().cloned().collect();
        {
            let mut writer = lock(&self.writer);
            self.sync_log(&mut writer)?;
            self.check_space(uids)?;
            let live: Vec<(&str, usize)> = {
                let version = self.version.load_full();
                let retired = self.retired_segments();
                let mut live = Vec::new();
                for uid in uids {
                    if let Some(found) = version.get(uid.as_bytes())? {
                        live.push((*uid, size(&found.user())));
                    }
                    // Who is forgotten here may stand in a file that a snapshot holds.
                    if version.last_change(uid.as_bytes())? > 0 || names(&retired, uid)? {
                        known.insert((*uid).to_owned());
                    } else if !known.contains(*uid) {
                        report.not_found.push((*uid).to_owned());
                    }
                }
                live
            };
            if !known.is_empty() {
                // Before the first of them is deleted: wherever it breaks off, somebody knows whom to look for.
                self.commit_manifest(|m| m.erasing = known.iter().cloned().collect())?;
            }
            for batch in batches(&live) {
                self.commit_locked(&mut writer, batch, Durability::Sync)?;
            }
            self.flush_all(&mut writer)?;
        }
        report.segments_rewritten = self.purge(&known, wait, progress).map_err(|e| match e {
            // That would say that nothing was changed.
            Error::Cancelled => Error::Unfinished,
            other => other,
        })?;
        let asked: BTreeSet<&str> = uids.iter().copied().collect();
        report.erased = asked.into_iter().filter(|uid| known.contains(*uid)).count() as u64;
        report.seq = self.version.load().origin.seq;
        Ok(report)
    }

    /// Completes what the manifest says was begun: at an open, where no snapshot can hold anything. Returns of how many users,
    /// and who of the others is there.
    pub(crate) fn resume_erasure(&self) -> Result<(usize, Vec<String>)> {
        let uids: BTreeSet<String> = lock(&self.manifest).erasing.iter().cloned().collect();
        let mut there = Vec::new();
        {
            // Before the manifest forgets whom it was about, so that an error leaves all of it to the next open.
            let version = self.version.load_full();
            for uid in &uids {
                if version.get(uid.as_bytes())?.is_some() {
                    there.push(uid.clone());
                }
            }
        }
        self.purge(&uids, Duration::ZERO, &Progress::default())?;
        Ok((uids.len().saturating_sub(there.len()), there))
    }

    /// Writes every segment anew that names one of `uids`, and waits until the old ones are gone, and those that an earlier
    /// compaction or erasure left to snapshots.
    fn purge(&self, uids: &BTreeSet<String>, wait: Duration, progress: &Progress) -> Result<u64> {
        if uids.is_empty() {
            // Whom the store no longer knows may stand in a file that the last reader has just let go of.
            self.forget_erased()?;
            return self.remove_retired().map(|()| 0);
        }
        let mut old: Vec<Weak<Segment>> = Vec::new();
        let mut rewritten = 0;
        let segments = self.version.load_full().segments.clone();
        for (segment, uids) in plan(&segments, uids)? {
            let written = purge(&self.tmp(), &segment, &uids, progress).map_err(|e| self.fatal(e))?;
            crate::fault::point("erase 1: written")?;
            self.replace(&[segment], written)?;
            rewritten += 1;
        }
        drop(segments);
        for segment in self.retired_segments() {
            if names_any(&segment, uids)? {
                old.push(Arc::downgrade(&segment));
            }
        }
        // Of a wait that no clock reaches the end, there is none.
        let deadline = Instant::now().checked_add(wait);
        loop {
            let held: Vec<Arc<Segment>> = old.iter().filter_map(Weak::upgrade).collect();
            if held.is_empty() {
                break;
            }
            let oldest = self.oldest_holding(&held).unwrap_or(self.version.load().origin.seq);
            drop(held);
            let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if over && old.iter().any(|segment| segment.strong_count() > 0) {
                return Err(Error::Pinned { oldest });
            }
            progress.check()?;
            thread::sleep(Duration::from_millis(5));
        }
        self.remove_retired()?;
        crate::fault::point("erase 2: purged")?;
        self.end_erasure()?;
        Ok(rewritten)
    }

    /// Checks that there is room for what is written anew, before anything is changed.
    fn check_space(&self, uids: &[&str]) -> Result<()> {
        let uids: BTreeSet<String> = uids.iter().map(|uid| (*uid).to_owned()).collect();
        let version = self.version.load_full();
        let mut needed = u64::try_from(self.options.delta_bytes).unwrap_or_default();
        for segment in &version.segments {
            if names_any(segment, &uids)? {
                needed += segment.bytes();
            }
        }
        let available = files::available(&self.dir)?;
        if available < needed {
            return Err(Error::NoSpace { path: self.dir.clone(), needed, available });
        }
        Ok(())
    }
}

/// Deletions of users, whose sizes are given, in as many batches as it takes for each to touch no more than one may.
fn batches(users: &[(&str, usize)]) -> Vec<Batch> {
    let mut batches = Vec::new();
    let (mut batch, mut bytes) = (Batch::new(), 0_usize);
    for (uid, size) in users {
        if batch.len() == BATCH || bytes.saturating_add(*size) > TOUCHED_MAX {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes = bytes.saturating_add(*size);
        batch.delete(*uid);
    }
    batches.extend(Some(batch).filter(|batch| !batch.is_empty()));
    batches
}

/// Which users to take out of which segments, given newest first. The oldest segment comes first: until its last row is
/// gone, a newer tombstone hides the user.
fn plan(segments: &[Arc<Segment>], uids: &BTreeSet<String>) -> Result<Vec<(Arc<Segment>, BTreeSet<String>)>> {
    let mut seen = BTreeSet::new();
    let mut plan = Vec::new();
    for segment in segments {
        let mut named = BTreeSet::new();
        for uid in uids {
            let row = segment.find_uid(uid.as_bytes())?.is_some();
            if !row && segment.tombstones().get(uid.as_bytes()).is_none() {
                continue;
            }
            // Every erasure begins with a tombstone: a row that is newer is of a user who came later, or was not its turn yet.
            if !seen.insert(uid) || !row {
                named.insert(uid.clone());
            }
        }
        if !named.is_empty() {
            plan.push((Arc::clone(segment), named));
        }
    }
    plan.reverse();
    Ok(plan)
}

/// Whether one of these segments has a row or tombstone of this user.
fn names(segments: &[Arc<Segment>], uid: &str) -> Result<bool> {
    for segment in segments {
        if segment.tombstones().get(uid.as_bytes()).is_some() || segment.find_uid(uid.as_bytes())?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a segment has a row or tombstone of one of these users.
fn names_any(segment: &Arc<Segment>, uids: &BTreeSet<String>) -> Result<bool> {
    for uid in uids {
        if names(std::slice::from_ref(segment), uid)? {
            return Ok(true);
        }
    }
    Ok(false)
}
