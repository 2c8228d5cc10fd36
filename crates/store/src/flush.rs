//! From delta to segment: the generation switch, and the flush of a frozen delta.
//!
//! The switch, and what a crash after each step leaves to the next open:
//!
//! | step | done | a crash after it leaves |
//! | --- | --- | --- |
//! | 1 | generation N+1 is created and fsynced, with its parent, ahead of need | a directory that no manifest names, removed |
//! | 2 | N is fsynced; the manifest names N, which ends before seq S+1, and N+1, which begins with it | N+1 empty |
//! | 3 | commits go to N+1; N is frozen | both are recovered |
//! | 4 | the segment of N is written, fsynced, renamed | a segment that no manifest names, removed |
//! | 5 | the manifest names the segment and no longer N | a directory that no manifest names, removed |
//! | 6 | N is deleted | nothing |

use std::path::Path;
use std::sync::Arc;

use headcount_block::Progress;

use crate::commit::Writer;
use crate::delta;
use crate::error::Result;
use crate::manifest::SegmentEntry;
use crate::rewrite::flush;
use crate::segment::{Finished, Segment};
use crate::state::Inner;
use crate::sync::{MutexGuard, lock};
use crate::version::{Frozen, Version};
use crate::{fault, files};

impl Inner {
    /// Freezes the active delta and routes commits to a new generation. Waits while the one before is not written yet.
    pub(crate) fn switch(&self, writer: &mut MutexGuard<'_, Writer>) -> Result<()> {
        // Before the wait: as long as that takes nobody else can.
        self.sync_log(writer)?;
        if self.version.load().frozen.is_some() {
            Self::count(&self.counters.waits, 1);
            // Waits for the thread that is at it, or does it.
            self.flush_frozen()?;
        }
        let log = self.take_log(writer)?;
        fault::point("switch 1: created")?;
        let (number, first_seq) = (log.number(), self.version.load().origin.seq + 1);
        self.commit_manifest(|m| m.add_generation(number, first_seq))?;
        fault::point("switch 2: named")?;
        let old = writer.log.replace(log);
        // What it held is in memory and on disk: sled's own memory goes. Not later, for a flush removes its directory.
        old.map_or(Ok(()), |old| old.close().map_err(|e| self.poison(e)))?;
        self.update(freeze);
        self.signals.notify();
        fault::point("switch 3: routed")
    }

    /// Writes the frozen delta, if there is one, as the newest segment: nearly always one.
    pub(crate) fn flush_frozen(&self) -> Result<()> {
        let _one = lock(&self.flush);
        let Some(frozen) = self.version.load().frozen.clone() else { return Ok(()) };
        self.check_writable()?;
        self.write_frozen(&frozen).map_err(|e| self.poison(e))
    }

    fn write_frozen(&self, frozen: &Frozen) -> Result<()> {
        let finished = flush(&self.tmp(), &frozen.delta, &Progress::default())?;
        fault::point("flush 4: written")?;
        let segments = finished.into_iter().map(|finished| self.place(finished)).collect::<Result<Vec<_>>>()?;
        fault::point("flush 4: renamed")?;
        let last = frozen.delta.last_seq;
        let mut gone = Vec::new();
        self.commit_manifest(|m| {
            m.segments.splice(0..0, segments.iter().map(|segment| entry(segment)));
            gone = m.generations.iter().filter(|g| g.first_seq <= last).map(|g| g.number).collect();
            m.generations.retain(|g| g.first_seq > last);
            m.advance(&frozen.origin, &frozen.totals);
        })?;
        fault::point("flush 5: published")?;
        self.update(|version| {
            version.frozen = None;
            version.segments.splice(0..0, segments);
        });
        Self::count(&self.counters.flushes, 1);
        // They name users that an erasure is about to promise to be gone: a failure is no trifle.
        gone.into_iter().try_for_each(|number| files::remove_tree(&delta::path_of(&self.dir, number)))?;
        fault::point("flush 6: deleted")
    }

    /// Gives a finished segment its place beside the others; no manifest names it yet.
    pub(crate) fn place(&self, finished: Finished) -> Result<Arc<Segment>> {
        finished.sync()?;
        let (id, base) = (finished.id(), finished.footer.base_seq);
        let path = finished.publish(base, &self.dir, &self.names)?;
        self.adopt(&path, id)
    }

    /// Opens a segment that has its place. One that cannot be opened does not stay there: users that no manifest names
    /// would be in it.
    pub(crate) fn adopt(&self, path: &Path, id: u128) -> Result<Arc<Segment>> {
        let opened = Segment::open(path, id, self.options.backend);
        if opened.is_err() {
            // The error that counts is the first one.
            let _ = files::remove_if_there(path);
        }
        opened.map(Arc::new)
    }

    /// Writes everything out as segments: afterwards there is no delta and no generation.
    pub(crate) fn flush_all(&self, writer: &mut MutexGuard<'_, Writer>) -> Result<()> {
        self.sync_log(writer)?;
        self.flush_frozen()?;
        if let Some(log) = writer.log.take() {
            log.close().map_err(|e| self.poison(e))?;
        }
        if !self.version.load().active.is_empty() {
            self.update(freeze);
            self.flush_frozen()?;
        }
        if lock(&self.manifest).generations.is_empty() {
            return Ok(());
        }
        // A generation without a commit: its first batch was refused.
        let mut gone = Vec::new();
        self.commit_manifest(|m| gone = m.generations.drain(..).map(|g| g.number).collect())?;
        gone.into_iter().try_for_each(|number| files::remove_tree(&delta::path_of(&self.dir, number)))
    }
}

fn freeze(version: &mut Version) {
    let empty = version.active.empty();
    let delta = std::mem::replace(&mut version.active, empty);
    version.frozen = Some(Frozen { delta, origin: version.origin, totals: version.totals });
}

/// A segment as the manifest names it.
pub(crate) fn entry(segment: &Segment) -> SegmentEntry {
    SegmentEntry { id: segment.footer().file_id, base_seq: segment.footer().base_seq, bytes: segment.bytes() }
}
