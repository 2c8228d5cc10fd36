//! Backup: a consistent copy of one version, which opens as a store.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use headcount_block::Progress;

use crate::clock;
use crate::error::{Error, Result};
use crate::fault;
use crate::files::{self, Names};
use crate::flush::entry;
use crate::lock::Lock;
use crate::manifest::{Manifest, SegmentEntry, is_store};
use crate::rewrite::flush;
use crate::segment::Segment;
use crate::snapshot::Snapshot;

/// What a backup holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// The seq that it stands at.
    pub seq: u64,
    /// Its users, registered and pending.
    pub users: u64,
    /// Segments that share their file with the store, by hard link: they take no space until the store drops them.
    pub segments_linked: u64,
    /// Segments that were copied, since `dest` lies on another file system, or written out of the delta.
    pub segments_copied: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl Snapshot {
    /// Makes a store of this version at `dest`, where there is nothing or an empty directory. Writers go on.
    ///
    /// The manifest comes last: what was broken off is no store. The first open for writing gives the copy a new
    /// incarnation, so that its seqs are not taken for those of the original. An erasure does not reach backups.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Locked`] while another process makes a store there, [`Error::Io`], which is also that of a
    /// `dest` that lies in a store, [`Error::Cancelled`], damage of what is read. Nothing of this backup is left at `dest`
    /// then.
    pub fn backup(&self, dest: impl AsRef<Path>, progress: &Progress) -> Result<BackupReport> {
        let dest = dest.as_ref();
        expect_outside(dest)?;
        let created = match fs::read_dir(dest).map(|mut entries| entries.next().is_none()) {
            Ok(true) => false,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                files::create_dir(dest)?;
                true
            }
            Err(e) if e.kind() != std::io::ErrorKind::NotADirectory => return Err(Error::io("list", dest, e)),
            _ => return Err(Error::Exists { path: dest.to_path_buf() }),
        };
        fault::point("backup: looked")?;
        let lock = Lock::exclusive(dest)?;
        // Whoever was faster may have made a store here: from now on nobody does, and what is here is of this backup.
        if files::entries(dest)?.iter().any(|path| path.file_name() != Some(files::LOCK.as_ref())) {
            return Err(Error::Exists { path: dest.to_path_buf() });
        }
        let outcome = self.write_backup(dest, !created, progress);
        if outcome.is_err() {
            // The error that counts is the first one.
            let _ = if created { files::remove_store(dest) } else { files::empty_store(dest) };
        }
        drop(lock);
        outcome
    }

    fn write_backup(&self, dest: &Path, there: bool, progress: &Progress) -> Result<BackupReport> {
        let (version, names) = (&self.0, Names::default());
        progress.set_phase("copying");
        progress.set_total_bytes(version.segments.iter().map(|s| s.bytes()).sum());
        let mut report =
            BackupReport { seq: version.origin.seq, users: version.totals.users(), ..BackupReport::default() };
        files::ensure_tmp(dest)?;
        let mut manifest = Manifest::new(version.origin.store_id, version.origin.incarnation, clock::now_ms());
        manifest.advance(&version.origin, &version.totals);
        manifest.changes_floor = version.changes_floor;
        manifest.restored = true;
        for delta in version.deltas() {
            for finished in flush(&dest.join(files::TMP), delta, progress)? {
                finished.sync()?;
                let (id, base_seq, bytes) = (finished.id(), finished.footer.base_seq, finished.len());
                finished.publish(base_seq, dest, &names)?;
                manifest.segments.push(SegmentEntry { id, base_seq, bytes });
                report.segments_copied += 1;
            }
        }
        for segment in &version.segments {
            progress.check()?;
            if link(segment, dest)? {
                report.segments_linked += 1
            } else {
                report.segments_copied += 1
            }
            manifest.segments.push(entry(segment));
            progress.add_bytes(segment.bytes());
        }
        report.bytes = manifest.segments.iter().map(|s| s.bytes).sum();
        names.sync(dest)?;
        manifest.write(dest, &names)?;
        files::sync_name_of(dest, there)?;
        Ok(report)
    }
}

/// The store that a file or directory at `path` lies in, or would lie in: the nearest directory above it that holds a
/// store's manifest, be it damaged.
///
/// What lies in a store is its own: the next writer takes other files for leftovers, and removes them, and a file that takes
/// the name of one of the store's is the end of the store.
#[must_use]
pub fn store_around(path: impl AsRef<Path>) -> Option<PathBuf> {
    let path = path.as_ref();
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // What is there already may be a link. Where there is no directory for it, making it says so.
    let dir = match fs::canonicalize(path) {
        Ok(at) => at.parent().map(Path::to_path_buf),
        Err(_) => fs::canonicalize(parent).ok(),
    };
    dir?.ancestors().find(|dir| is_store(dir)).map(Path::to_path_buf)
}

fn expect_outside(dest: &Path) -> Result<()> {
    let Some(store) = store_around(dest) else { return Ok(()) };
    let reason = format!("it lies in the store {}: name a place outside of stores", store.display());
    let reason = std::io::Error::new(std::io::ErrorKind::InvalidInput, reason);
    Err(Error::io("make a backup at", dest, reason))
}

/// Gives a segment's file a second name below `dest`; `false` when that took a copy.
fn link(segment: &Segment, dest: &Path) -> Result<bool> {
    let to = dest.join(segment.path().file_name().unwrap_or_default());
    if fs::hard_link(segment.path(), &to).is_ok() {
        return Ok(true);
    }
    // Another file system, or a snapshot that outlived its store: then only the open file is left.
    let mut file = files::create_new(&to)?;
    segment.copy_to(&mut file)?;
    file.set_permissions(fs::Permissions::from_mode(0o400)).map_err(|e| Error::io("make read-only", &to, e))?;
    file.sync_all().map_err(|e| Error::io("fsync", &to, e))?;
    Ok(false)
}
