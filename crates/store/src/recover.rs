//! What an open finds that was not closed: deltas that never became segments, and histories that must not be continued.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use headcount_block::{ClassSums, Totals};

use crate::delta;
use crate::error::{Error, Result};
use crate::files;
use crate::layer::Delta;
use crate::manifest::{GenerationEntry, Manifest};
use crate::random;
use crate::state::Inner;
use crate::version::{Frozen, Version};

/// Seqs that a new incarnation leaves out: more than any lost history can have used.
const GAP: u64 = 1 << 32;

/// What had to be done to open a store that was not closed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Whether the store was not closed: there was a log of a delta.
    pub unclosed: bool,
    /// Commits that were in it.
    pub commits: u64,
    /// Users that they changed or deleted.
    pub changes: u64,
    /// The seq that the store stands at.
    pub seq: u64,
    /// Leftovers of interrupted work that were removed.
    pub removed: usize,
    /// Whether seqs now count in a new incarnation, since another history may have used those that came next.
    pub new_incarnation: bool,
    /// Users whose erasure was completed: no file names them any more.
    pub erased: usize,
    /// UIDs, in order, of users who are in the store though their erasure had begun: it ended before they were deleted, or
    /// they were put in again since. No later open tells of them.
    pub not_erased: Vec<String>,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let mut done = Vec::new();
        if self.unclosed {
            let (commits, changes) = (counted(self.commits, "commit"), counted(self.changes, "change"));
            let to = if self.new_incarnation { String::new() } else { format!(" up to seq {}", self.seq) };
            done.push(format!("the store was not closed: recovered {commits} ({changes}){to}"));
        }
        if self.removed > 0 {
            done.push(format!("removed {}", counted(self.removed as u64, "leftover")));
        }
        if self.erased > 0 {
            done.push(format!("completed the erasure of {}", counted(self.erased as u64, "user")));
        }
        if !self.not_erased.is_empty() {
            let users = counted(self.not_erased.len() as u64, "user");
            let there = "whose erasure had begun, there still or again (erase again who is to go)";
            done.push(format!("not erased: {users} {there}"));
        }
        if self.new_incarnation {
            done.push(format!("seqs go on in a new incarnation, from {}", self.seq));
        }
        f.write_str(&done.join(", "))
    }
}

impl Recovery {
    fn is_nothing(&self) -> bool {
        let erasure = self.erased > 0 || !self.not_erased.is_empty();
        self.commits == 0 && self.removed == 0 && !self.new_incarnation && !erasure
    }
}

/// Adds what the generations of `manifest`, in `dir`, hold to `version`.
pub(crate) fn replay(dir: &Path, manifest: &Manifest, version: &mut Version, into: &mut Delta) -> Result<Recovery> {
    let mut recovery = Recovery { unclosed: true, ..Recovery::default() };
    let mut generations: Vec<GenerationEntry> = manifest.generations.clone();
    generations.reverse();
    for (i, generation) in generations.iter().enumerate() {
        let path = delta::path_of(dir, generation.number);
        if generation.first_seq != version.origin.seq + 1 {
            return Err(gap(&path, version.origin.seq + 1, generation.first_seq));
        }
        let last = delta::read(&path, generation.first_seq, !manifest.unsynced, &mut |record| {
            let [registered, pending] = record.sums.map(ClassSums::from_words);
            version.totals += Totals { registered, pending };
            (version.origin.seq, version.origin.time_ms) = (record.seq, record.time_ms);
            recovery.commits += 1;
            for change in &record.changes {
                let (uid, row) = change.parts();
                into.insert(uid, row, record.seq, record.time_ms);
                recovery.changes += 1;
            }
            Ok(())
        })?;
        if let Some(next) = generations.get(i + 1)
            && next.first_seq != last + 1
        {
            return Err(gap(&path, next.first_seq, last + 1));
        }
    }
    recovery.seq = version.origin.seq;
    Ok(recovery)
}

/// Commits are missing between two generations.
fn gap(path: &Path, expected: u64, found: u64) -> Error {
    let fault = headcount_block::Fault::new("seq that the log of the delta begins or ends with", 0, expected, found);
    Error::fault(fault, path, 0)
}

/// Makes the names durable that an open for writing goes by. The process before may have ended between the rename of the manifest
/// and the fsync. Lost, the one before it counts again: the files that it names are among those that go next, and the seqs after it
/// are issued a second time. It may also have ended while it made the store, before the store's own name was durable.
pub(crate) fn settle_names(inner: &Inner) -> Result<()> {
    inner.names.sync(&inner.dir)?;
    or_unwritable(files::sync_name(&inner.dir))
}

/// Brings a store that was not closed into order: leftovers go, the delta becomes a segment. `None` when it was closed.
pub(crate) fn recover(inner: &Inner) -> Result<Option<Recovery>> {
    let manifest = crate::sync::lock(&inner.manifest).clone();
    let live: Vec<u128> = manifest.segments.iter().map(|s| s.id).collect();
    let generations: Vec<u64> = manifest.generations.iter().map(|g| g.number).collect();
    let removed = files::clean(&inner.dir, &live, &generations)?;
    files::ensure_tmp(&inner.dir)?;
    let mut recovery = Recovery { seq: manifest.seq, ..Recovery::default() };
    if !manifest.generations.is_empty() {
        let mut version = Version::clone(&inner.version.load());
        let mut delta = version.active.unindexed();
        recovery = replay(&inner.dir, &manifest, &mut version, &mut delta)?;
        // A generation without a commit is frozen too: its flush takes it out of the manifest.
        delta.last_seq = delta.last_seq.max(version.origin.seq + 1);
        let frozen = Frozen { delta, origin: version.origin, totals: version.totals };
        inner.update(|v| {
            (v.origin, v.totals) = (version.origin, version.totals);
            v.frozen = Some(frozen);
        });
        inner.flush_frozen()?;
    }
    recovery.removed = removed;
    if manifest.unsynced || manifest.restored {
        renew(inner)?;
        recovery.new_incarnation = true;
        recovery.seq = inner.version.load().origin.seq;
    }
    if !manifest.erasing.is_empty() {
        (recovery.erased, recovery.not_erased) = inner.resume_erasure()?;
    }
    recovery.removed += usize::from(inner.forget_erased()?);
    Ok(Some(recovery).filter(|r| !r.is_nothing()))
}

/// Takes a new incarnation: seqs that another history may have issued are left out, and changes since them unknown.
fn renew(inner: &Inner) -> Result<()> {
    let incarnation = random::id()?;
    let mut state = None;
    inner.commit_manifest(|m| {
        m.incarnation = incarnation;
        m.seq += GAP;
        m.changes_floor = m.seq;
        (m.unsynced, m.restored) = (false, false);
        state = Some((Inner::origin(m), m.changes_floor));
    })?;
    inner.update(|version| {
        if let Some((origin, floor)) = state {
            (version.origin, version.changes_floor) = (origin, floor);
        }
    });
    Ok(())
}

/// Makes durable what a reader is about to be shown. A medium that takes no writes loses none; any other error is told, since the
/// kernel tells it once, and whoever opens the store next would take the names for durable.
pub(crate) fn settle(dir: &Path, manifest: &Manifest) -> Result<()> {
    or_unwritable(files::sync_dir(dir))?;
    or_unwritable(files::sync_name(dir))?;
    manifest.generations.iter().try_for_each(|generation| {
        let path = delta::path_of(dir, generation.number);
        or_unwritable(delta::sync(&path))
    })
}

fn or_unwritable(synced: Result<()>) -> Result<()> {
    use std::io::ErrorKind::{InvalidInput, NotFound, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    match synced {
        // What is missing or no file is found when it is read, and told better.
        Err(Error::Io { source, .. })
            if [ReadOnlyFilesystem, PermissionDenied, Unsupported, InvalidInput, NotFound].contains(&source.kind()) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// A version with the generations of a store that is not written to.
pub(crate) fn replayed(dir: &Path, manifest: &Manifest, mut version: Version) -> Result<Version> {
    if !manifest.generations.is_empty() {
        let mut delta = version.active.empty();
        replay(dir, manifest, &mut version, &mut delta)?;
        version.active = delta;
    }
    Ok(version)
}

/// The version that a manifest's segments make.
pub(crate) fn version_of(manifest: &Manifest, segments: Vec<Arc<crate::segment::Segment>>) -> Result<Version> {
    Ok(Version {
        origin: Inner::origin(manifest),
        active: Delta::new(random::key()?),
        frozen: None,
        segments,
        totals: manifest.totals(),
        changes_floor: manifest.changes_floor,
    })
}
