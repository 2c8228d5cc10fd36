//! What an open store shares with its loads and its background threads: the version, the manifest, the locks.
//!
//! Locks are taken in this order: `structure`, `writer`, `flush`, `manifest`, `swap`. Nobody waits for I/O with `swap` in hand.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, OnceLock, Weak};

use headcount_block::Origin;

use crate::commit::{Commits, Writer};
use crate::error::{Error, Result};
use crate::files::Names;
use crate::maintain::Signals;
use crate::manifest::Manifest;
use crate::options::Options;
use crate::segment::{Segment, Tenure};
use crate::store::Work;
use crate::sync::{AtomicBool, Mutex, Swap, lock};
use crate::version::Version;
use crate::{fault, files};

/// The shared part of an open store.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) read_only: bool,
    pub(crate) version: Swap<Version>,
    pub(crate) manifest: Mutex<Manifest>,
    pub(crate) loading: AtomicBool,
    /// Held by whoever rewrites segments: one compaction or erasure at a time.
    pub(crate) structure: Mutex<()>,
    /// The commit lock: whoever holds it is the only one that takes seqs.
    pub(crate) writer: Mutex<Writer>,
    /// Held while a frozen delta becomes a segment.
    pub(crate) flush: Mutex<()>,
    pub(crate) queue: Commits,
    pub(crate) signals: Signals,
    pub(crate) names: Names,
    pub(crate) counters: Counters,
    swap: Mutex<()>,
    poison: OnceLock<String>,
    /// Set with `writer` in hand, before the lock of the store is let go.
    closed: AtomicBool,
    tenure: Arc<Tenure>,
    retired: Mutex<Retired>,
}

/// Counts since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) groups: AtomicU64,
    /// Commits that waited for a full delta to be written out.
    pub(crate) waits: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    /// Compactions of the background that failed.
    pub(crate) failures: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> Work {
        Work {
            commits: self.commits.load(Relaxed),
            groups: self.groups.load(Relaxed),
            waits: self.waits.load(Relaxed),
            flushes: self.flushes.load(Relaxed),
            compactions: self.compactions.load(Relaxed),
            failed_compactions: self.failures.load(Relaxed),
        }
    }
}

/// Versions that are no longer current, for as long as a snapshot holds them, and segments until their files are gone.
#[derive(Debug, Default)]
struct Retired {
    versions: Vec<Weak<Version>>,
    segments: Vec<(Weak<Segment>, PathBuf)>,
}

impl Retired {
    /// Notes a version that was replaced. Those that nobody holds any more go when there is no room: each of them costs
    /// memory, and a snapshot that stays is no reason to keep what came after it.
    fn note(&mut self, version: &Arc<Version>) {
        if self.versions.len() == self.versions.capacity() {
            self.versions.retain(|version| version.strong_count() > 0);
            self.versions.reserve(self.versions.len() + NOTED);
        }
        self.versions.push(Arc::downgrade(version));
    }
}

/// Versions that are noted, at least, before the list is looked through again.
const NOTED: usize = 16;

impl Inner {
    pub(crate) fn new(dir: PathBuf, options: Options, read_only: bool, version: Version, manifest: Manifest) -> Self {
        Self {
            dir,
            options,
            read_only,
            version: Swap::from_pointee(version),
            manifest: Mutex::new(manifest),
            loading: AtomicBool::new(false),
            structure: Mutex::new(()),
            writer: Mutex::new(Writer::default()),
            flush: Mutex::new(()),
            queue: Commits::new(),
            signals: Signals::default(),
            names: Names::default(),
            counters: Counters::default(),
            swap: Mutex::new(()),
            poison: OnceLock::new(),
            closed: AtomicBool::new(false),
            tenure: Arc::default(),
            retired: Mutex::new(Retired::default()),
        }
    }

    /// Where unfinished files are.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.dir.join(files::TMP)
    }

    /// Refuses to write where that is not possible.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.read_only {
            return Err(Error::ReadOnly { path: self.dir.clone() });
        }
        match self.poison.get() {
            Some(cause) => Err(Error::Poisoned { path: self.dir.clone(), cause: cause.clone() }),
            None if self.closed.load(Acquire) => Err(Error::Closed { path: self.dir.clone() }),
            None => Ok(()),
        }
    }

    /// Ends all writing before the lock of the store goes: a load or a snapshot may be left that others hold, and the next
    /// store at this path is not its own. Waits for a load that is publishing, and lets go of the logs.
    pub(crate) fn end(&self) {
        let mut writer = lock(&self.writer);
        self.closed.store(true, Release);
        *writer = Writer::default();
        drop(writer);
        self.tenure.end();
    }

    /// Stops all writing for good: after `error` nobody knows what is on disk. Returns it.
    pub(crate) fn poison(&self, error: Error) -> Error {
        // The first cause is the one that counts.
        let _ = self.poison.set(error.to_string());
        self.signals.notify();
        error
    }

    /// Replaces the version by what `change` makes of a copy of it.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Version)) {
        let swap = lock(&self.swap);
        let mut next = Version::clone(&self.version.load());
        change(&mut next);
        let next = Arc::new(next);
        // Whoever looks for the oldest snapshot finds each version either here or there.
        let mut retired = lock(&self.retired);
        let gone = self.version.swap(next);
        // One is ours.
        if Arc::strong_count(&gone) > 1 {
            retired.note(&gone);
        }
        drop(retired);
        drop(swap);
    }

    /// Makes a changed manifest the current one, durably. A failure poisons the store: either one may be on disk.
    ///
    /// Whoever has stopped the store meanwhile may have been told of the fsync that a name in this manifest rests on:
    /// none is written any more.
    pub(crate) fn commit_manifest(&self, change: impl FnOnce(&mut Manifest)) -> Result<()> {
        self.write_manifest(change, |next| next.write(&self.dir, &self.names))
    }

    /// Takes the users whose erasure is complete out of the manifest, and out of the one before it.
    pub(crate) fn end_erasure(&self) -> Result<()> {
        self.write_manifest(|m| m.erasing.clear(), |next| next.write_alone(&self.dir, &self.names))
    }

    fn write_manifest(
        &self,
        change: impl FnOnce(&mut Manifest),
        write: impl FnOnce(&Manifest) -> Result<()>,
    ) -> Result<()> {
        let mut current = lock(&self.manifest);
        self.check_writable()?;
        let mut next = current.clone();
        change(&mut next);
        fault::point("manifest: before")?;
        write(&next).map_err(|e| self.poison(e))?;
        *current = next;
        fault::point("manifest: after").map_err(|e| self.poison(e))
    }

    /// Removes the manifest before the current one when that alone names users who were erased: earlier versions left it so
    /// where they were broken off. Returns whether it did.
    pub(crate) fn forget_erased(&self) -> Result<bool> {
        let current = lock(&self.manifest);
        let path = self.dir.join(files::MANIFEST_PREVIOUS);
        // What cannot be read is left to salvage.
        if !current.erasing.is_empty() || !Manifest::read_file(&path, false).is_ok_and(|m| !m.erasing.is_empty()) {
            return Ok(false);
        }
        files::remove_if_there(&path).and_then(|()| self.names.sync(&self.dir)).map_err(|e| self.poison(e))?;
        Ok(true)
    }

    /// Segments that the manifest does not name, or not any more: their files go when the last snapshot lets go of them,
    /// or at the next open, should that outlive the store.
    pub(crate) fn retire(&self, segments: &[Arc<Segment>]) {
        // Whoever lets go of a segment removes its file a moment later, or cannot. What cannot be looked at may be there.
        let gone: Vec<PathBuf> =
            self.unheld().into_iter().filter(|path| matches!(path.try_exists(), Ok(false))).collect();
        let mut retired = lock(&self.retired);
        retired.segments.retain(|(_, path)| !gone.contains(path));
        for segment in segments {
            segment.doom(&self.tenure);
            retired.segments.push((Arc::downgrade(segment), segment.path().to_path_buf()));
        }
    }

    /// Segments that only snapshots hold.
    pub(crate) fn retired_segments(&self) -> Vec<Arc<Segment>> {
        lock(&self.retired).segments.iter().filter_map(|(segment, _)| segment.upgrade()).collect()
    }

    /// Files of retired segments that nobody holds any more.
    fn unheld(&self) -> Vec<PathBuf> {
        let unheld = |(segment, path): &(Weak<Segment>, PathBuf)| (segment.strong_count() == 0).then(|| path.clone());
        lock(&self.retired).segments.iter().filter_map(unheld).collect()
    }

    /// Removes the files of retired segments that nobody holds any more, durably, also those that their last reader has
    /// removed or is about to remove.
    pub(crate) fn remove_retired(&self) -> Result<()> {
        let gone = self.unheld();
        for path in &gone {
            files::remove_if_there(path).map_err(|e| self.poison(e))?;
        }
        self.names.sync(&self.dir).map_err(|e| self.poison(e))?;
        lock(&self.retired).segments.retain(|(_, path)| !gone.contains(path));
        Ok(())
    }

    /// Bytes of segments that only snapshots hold, and the least seq of a snapshot.
    pub(crate) fn pinned(&self) -> (u64, Option<u64>) {
        let retired = lock(&self.retired);
        let bytes = retired.segments.iter().filter_map(|(segment, _)| segment.upgrade()).map(|s| s.bytes()).sum();
        let current = self.version.load_full();
        // Two are the store's own: the one it keeps and the one just loaded.
        let held = Arc::strong_count(&current) > 2;
        let older = retired.versions.iter().filter_map(|v| v.upgrade().map(|v| v.origin.seq));
        (bytes, older.chain(held.then_some(current.origin.seq)).min())
    }

    /// Seq of the oldest snapshot that holds one of these segments.
    pub(crate) fn oldest_holding(&self, segments: &[Arc<Segment>]) -> Option<u64> {
        let holds = |v: &Version| v.segments.iter().any(|s| segments.iter().any(|t| Arc::ptr_eq(s, t)));
        let retired = lock(&self.retired);
        let versions = retired.versions.iter().filter_map(Weak::upgrade);
        versions.filter(|v| holds(v)).map(|v| v.origin.seq).min()
    }

    /// The state that the manifest describes, without what deltas add.
    pub(crate) const fn origin(manifest: &Manifest) -> Origin {
        Origin {
            store_id: manifest.store_id,
            incarnation: manifest.incarnation,
            seq: manifest.seq,
            time_ms: manifest.time_ms,
        }
    }

    pub(crate) fn count(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recover::version_of;

    /// The list was emptied from the front alone: as long as the first was held, it grew with every commit beside a reader.
    #[test]
    fn a_snapshot_that_stays_keeps_no_list_of_those_after_it() {
        let manifest = Manifest::new(1, 2, 3);
        let version = version_of(&manifest, Vec::new()).unwrap();
        let inner = Inner::new("nowhere".into(), Options::default(), true, version, manifest);
        let stays = inner.version.load_full();
        for seq in 1..=10_000 {
            let passing = inner.version.load_full();
            inner.update(|version| version.origin.seq = seq);
            drop(passing);
        }
        let noted = lock(&inner.retired).versions.len();
        assert!(noted <= 2 * NOTED + 2, "{noted} versions are noted");
        assert_eq!(inner.pinned().1, Some(stays.origin.seq));
    }

    /// An erasure removes what is noted here, and says that it is gone.
    #[test]
    fn a_retired_file_that_cannot_be_looked_at_stays_noted() {
        let manifest = Manifest::new(1, 2, 3);
        let version = version_of(&manifest, Vec::new()).unwrap();
        let inner = Inner::new("nowhere".into(), Options::default(), true, version, manifest);
        for name in ["gone".to_owned(), "n".repeat(300)] {
            lock(&inner.retired).segments.push((Weak::new(), PathBuf::from(name)));
        }
        inner.retire(&[]);
        assert_eq!(inner.unheld(), [PathBuf::from("n".repeat(300))]);
    }
}
