//! Opening, creating and closing stores.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::AcqRel;
use std::time::Duration;

use headcount_block::{Damage, Origin, Progress, RowBuf, Totals, User};

use crate::backing::Backend;
use crate::backup::BackupReport;
use crate::batch::{Batch, Commit};
use crate::compact::{CompactReport, Compaction};
use crate::erase::EraseReport;
use crate::error::{Error, Result};
use crate::files::Names;
use crate::load::{BulkLoad, LoadOptions, LoadReport, Place, RowKind};
use crate::lock::Lock;
use crate::maintain::Threads;
use crate::manifest::{Manifest, SegmentEntry};
use crate::options::{Durability, Options};
use crate::recover::{self, Recovery};
use crate::segment::Segment;
use crate::snapshot::Snapshot;
use crate::state::Inner;
use crate::sync::lock;
use crate::{clock, fault, files, random};

/// A store of users, open.
///
/// It is `Send` and `Sync`; share it in an `Arc`. Everything that reads goes through a [`Snapshot`].
#[derive(Debug)]
pub struct Store {
    /// Ends before the rest goes.
    pub(crate) threads: Option<Threads>,
    pub(crate) inner: Arc<Inner>,
    recovery: Option<Recovery>,
    lock: Option<Lock>,
    temporary: Option<tempfile::TempDir>,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.threads = None;
        self.inner.end();
    }
}

/// What a store is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    /// It was made just now, and all of it is durable.
    New,
}

impl Store {
    /// Creates an empty store at `path`, where there is nothing or an empty directory, and opens it for writing.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Locked`] while another process makes one there, [`Error::Io`].
    pub fn create(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let dir = path.as_ref();
        let there = fs::symlink_metadata(dir).is_ok();
        if !there {
            files::create_dir(dir)?;
        } else if !is_blank(dir)? {
            return Err(Error::Exists { path: dir.to_path_buf() });
        }
        fault::point("create: looked")?;
        let lock = Lock::exclusive(dir)?;
        // Whoever was faster may have made a store here, and closed it.
        if !is_blank(dir)? {
            return Err(Error::Exists { path: dir.to_path_buf() });
        }
        files::ensure_tmp(dir)?;
        Manifest::new(random::id()?, random::id()?, clock::now_ms()).write(dir, &Names::default())?;
        files::sync_name_of(dir, there)?;
        Self::with(dir, lock, Access::New, options)
    }

    /// Opens the store at `path` for writing. One process can; others that try get [`Error::Locked`].
    ///
    /// Files are mapped into memory where they lie on a local file system. That rests on three things: the lock is
    /// held while the store is open; segment files are written once and never modified; and a disk that fails while a
    /// mapped page is read ends the process by SIGBUS. [`Backend::Pread`](crate::Backend::Pread) reads instead of mapping.
    ///
    /// A store that was not closed is recovered: [`recovery`](Self::recovery) says what that took.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotAStore`], [`Error::Locked`], [`Error::Version`], [`Error::Feature`],
    /// [`Error::Damage`], [`Error::Io`].
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let dir = path.as_ref();
        expect_store(dir)?;
        let lock = Lock::exclusive(dir)?;
        Self::with(dir, lock, Access::Write, options)
    }

    /// Opens the store at `path` for reading, beside any number of other readers; needs no permission to write. What the
    /// log of a store holds that was not closed is read into memory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_read_only(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let dir = path.as_ref();
        expect_store(dir)?;
        let lock = Lock::shared(dir)?;
        Self::with(dir, lock, Access::Read, options)
    }

    /// A new store in a temporary directory, which goes when the store is closed or dropped.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn temporary() -> Result<Self> {
        let holder = files::temporary_dir()?;
        let mut store = Self::create(holder.path().join("store"), &Options::default())?;
        store.temporary = Some(holder);
        Ok(store)
    }

    fn with(dir: &Path, lock: Lock, access: Access, options: &Options) -> Result<Self> {
        let read_only = access == Access::Read;
        let manifest = Manifest::read(dir, !read_only)?;
        let segments = manifest.segments.iter().map(|entry| open_segment(dir, entry, options.backend));
        let mut version = recover::version_of(&manifest, segments.collect::<Result<Vec<_>>>()?)?;
        if read_only {
            recover::settle(dir, &manifest)?;
            version = recover::replayed(dir, &manifest, version)?;
        }
        let inner = Arc::new(Inner::new(dir.to_path_buf(), *options, read_only, version, manifest));
        let (mut recovery, mut threads) = (None, None);
        if !read_only {
            if access == Access::Write {
                recover::settle_names(&inner)?;
            }
            recovery = recover::recover(&inner)?;
            threads = Some(Threads::start(&inner)?);
        }
        Ok(Self { threads, inner, recovery, lock: Some(lock), temporary: None })
    }

    /// The store's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.dir
    }

    /// The current version, pinned. O(1); takes no lock.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.inner.version.load_full())
    }

    /// The user with this UID, now.
    ///
    /// # Errors
    /// [`Error::Damage`] and [`Error::Io`].
    pub fn get(&self, uid: &str) -> Result<Option<User>> {
        self.snapshot().get_user(uid)
    }

    /// The user that carries this identity, now.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn find(&self, provider: &str, provider_uid: &str) -> Result<Option<User>> {
        self.snapshot().find_user(provider, provider_uid)
    }

    /// What opening a store that was not closed took; `None` when it was closed.
    #[must_use]
    pub const fn recovery(&self) -> Option<&Recovery> {
        self.recovery.as_ref()
    }

    /// Carries out a batch, all of it or nothing, with the durability of [`Options::durability`].
    ///
    /// Any number of threads may commit: those that wait share one fsync.
    ///
    /// # Errors
    /// [`Error::Refused`] for an operation that cannot be carried out, [`Error::TooLarge`] for more than a batch may
    /// hold, [`Error::ReadOnly`], [`Error::Poisoned`]. After [`Error::Io`] the batch may or may not be on disk, and the
    /// store takes no more writes.
    pub fn commit(&self, batch: Batch) -> Result<Commit> {
        self.inner.commit(batch, self.inner.options.durability)
    }

    /// As [`commit`](Self::commit), with another durability.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_with(&self, batch: Batch, durability: Durability) -> Result<Commit> {
        self.inner.commit(batch, durability)
    }

    /// Makes every commit durable that was made with [`Durability::Buffered`].
    ///
    /// # Errors
    /// [`Error::Io`], after which the store takes no more writes; [`Error::Poisoned`].
    pub fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    /// Writes the delta out as a segment. It happens by itself when the delta is full, and at [`close`](Self::close).
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    pub fn flush(&self) -> Result<()> {
        self.inner.flush_all(&mut lock(&self.inner.writer))
    }

    /// Brings segments together. Reads and commits go on.
    ///
    /// # Errors
    /// [`Error::Cancelled`], damage of what is read; [`Error::Io`], after which the store takes no more writes.
    pub fn compact(&self, how: Compaction, progress: &Progress) -> Result<CompactReport> {
        self.inner.compact(how, progress)
    }

    /// Deletes users and removes every trace of these UIDs from the store's files: rows, tombstones, and what older segments
    /// hold. Other names of those files (backups, copies, what a file system keeps) are out of its reach.
    ///
    /// What a user was called before a rename is another UID, under which older segments hold its earlier rows, identities
    /// and all: name it as well. That nobody has it any more is no hindrance.
    ///
    /// It waits up to `wait` for snapshots, and loads under way, that hold such files. Changes since a seq before the
    /// removed tombstones are no longer known afterwards: delete first, let readers of changes catch up, and erasing
    /// costs them nothing.
    ///
    /// # Errors
    /// [`Error::NoSpace`] before anything is changed; [`Error::Pinned`] when snapshots outlast `wait`: the users are
    /// deleted then, and the next open for writing completes the erasure. [`Error::Cancelled`] before anything is changed,
    /// [`Error::Unfinished`] afterwards, also in the middle of the wait: as with snapshots that outlast it. Otherwise as
    /// [`commit`](Self::commit), of batches one after another: after a failure some users may be deleted, and the next open
    /// for writing completes the erasure of those; [`Recovery::not_erased`] names the others.
    pub fn erase(&self, uids: &[&str], wait: Duration, progress: &Progress) -> Result<EraseReport> {
        self.inner.erase(uids, wait, progress)
    }

    /// Copies the current version to `dest`: see [`Snapshot::backup`].
    ///
    /// # Errors
    /// As [`Snapshot::backup`].
    pub fn backup(&self, dest: impl AsRef<Path>, progress: &Progress) -> Result<BackupReport> {
        self.snapshot().backup(dest, progress)
    }

    /// Begins a load. One at a time; reads go on, and so do commits until its publication. They wait for that, and for as long as
    /// the load is written where it is checked a second time, against commits that came meanwhile, or leaves records out.
    /// It has to end before the store is closed or dropped: later, its end is [`Error::Closed`].
    ///
    /// A [dry run](LoadOptions::dry_run) needs no more than a store that is open for reading; what does not fit into
    /// memory is then written to a temporary directory (`TMPDIR`) instead of the store's.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Busy`]; [`Error::Io`] of the temporary directory.
    pub fn bulk_load(&self, options: LoadOptions, progress: &Arc<Progress>) -> Result<BulkLoad> {
        let elsewhere = self.inner.read_only && options.dry_run;
        if !elsewhere {
            self.inner.check_writable()?;
        }
        let scratch = elsewhere.then(files::temporary_dir).transpose()?;
        if self.inner.loading.swap(true, AcqRel) {
            return Err(Error::Busy);
        }
        let base = self.inner.version.load_full();
        Ok(BulkLoad::new(Arc::clone(&self.inner), base, options, Arc::clone(progress), scratch))
    }

    /// Loads `users`, all or none: the convenient form of [`bulk_load`](Self::bulk_load) for one thread. Users that
    /// are in the store already are replaced.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a UID that comes twice or an identity of another user, [`Error::Limit`] for a value
    /// outside the limits, and the others of [`BulkLoad::finish`].
    pub fn load(&self, users: impl IntoIterator<Item = User>) -> Result<LoadReport> {
        let options = LoadOptions { threads: 1, ..LoadOptions::default() };
        let load = self.bulk_load(options, &Arc::new(Progress::default()))?;
        let mut shard = load.shard();
        let mut row = RowBuf::new();
        for (i, user) in users.into_iter().enumerate() {
            let at = Place { file: 0, line: i as u64 + 1, offset: 0 };
            shard.push(row.encode(&user)?, at, RowKind::User)?;
        }
        load.finish(vec![shard], &mut |_| Ok(()))
    }

    /// Counts and sizes. O(1) but for the number of segments.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (pinned_bytes, oldest_snapshot) = self.inner.pinned();
        let work = self.inner.counters.read();
        Stats { pinned_bytes, oldest_snapshot, work, ..self.snapshot().stats() }
    }

    /// Writes the delta out, so that the next open has nothing to recover, brings small segments together, and lets go
    /// of the store. Snapshots of it stay readable; files that they alone hold go at the next open for writing. A store that
    /// is dropped instead loses nothing that was acknowledged as durable.
    ///
    /// # Errors
    /// [`Error::Io`] when something could not be written: what was acknowledged is recovered by the next open.
    /// [`Error::Poisoned`] when that happened before.
    pub fn close(mut self) -> Result<()> {
        self.threads = None;
        let written = if self.inner.read_only { Ok(()) } else { self.settle() };
        let stays = !self.inner.read_only && self.temporary.is_none();
        if written.is_ok() && stays && self.inner.options.maintenance {
            // All is on disk; should this fail, there are only more segments than there could be.
            let _ = self.inner.tidy();
        }
        self.inner.end();
        self.lock = None;
        let removed = match self.temporary.take() {
            Some(dir) => dir.close().map_err(|e| Error::io("remove", &self.inner.dir, e)),
            None => Ok(()),
        };
        written.and(removed)
    }

    pub(crate) fn settle(&self) -> Result<()> {
        let mut writer = lock(&self.inner.writer);
        self.inner.flush_all(&mut writer)?;
        if let Some(spare) = writer.spare.take() {
            spare.remove()?;
        }
        if lock(&self.inner.manifest).unsynced {
            self.inner.commit_manifest(|m| m.unsynced = false)?;
        }
        Ok(())
    }

    /// Closes the store and removes its files: for a store whose first load failed. Other files in the directory stay,
    /// and make this an error.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::ReadOnly`].
    pub fn discard(mut self) -> Result<()> {
        self.threads = None;
        if self.inner.read_only {
            return Err(Error::ReadOnly { path: self.inner.dir.clone() });
        }
        // Its directory goes too.
        self.inner.end();
        files::remove_store(&self.inner.dir)
    }
}

/// Sizes of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentStats {
    /// Name of its file.
    pub name: String,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Bytes of its blocks; indexes are the rest.
    pub block_bytes: u64,
    /// Bytes of the UID index.
    pub uid_index_bytes: u64,
    /// Bytes of the identity index.
    pub identity_index_bytes: u64,
    /// Number of blocks.
    pub blocks: u64,
    /// Rows in it, including those that newer segments hide.
    pub users: u64,
    /// Greatest seq in it.
    pub seq: u64,
    /// Deletions that it remembers.
    pub tombstones: u64,
}

/// Counts and sizes of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Which state this is.
    pub origin: Origin,
    /// Counts and length sums of registered and pending users.
    pub totals: Totals,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Segments, newest first.
    pub segments: Vec<SegmentStats>,
    /// Users changed by commits that are not in a segment yet.
    pub delta_changes: u64,
    /// Bytes of their UIDs and rows.
    pub delta_bytes: u64,
    /// Least seq from which changes can be asked for.
    pub changes_floor: u64,
    /// Bytes of files that only snapshots hold. Of an open store: 0 in the statistics of a snapshot.
    pub pinned_bytes: u64,
    /// Seq of the oldest snapshot, where there is one. Of an open store.
    pub oldest_snapshot: Option<u64>,
    /// What was done since the store was opened. Of an open store.
    pub work: Work,
}

/// Counts since a store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Commits that changed something.
    pub commits: u64,
    /// Groups of commits: each cost one write to the log, and one fsync unless it was buffered.
    pub groups: u64,
    /// Commits that had to wait for a full delta to be written out.
    pub waits: u64,
    /// Deltas that were written out as segments.
    pub flushes: u64,
    /// Compactions.
    pub compactions: u64,
    /// Compactions of the background that failed: [`Store::compact`] says why, and [`Store::verify`] finds damage.
    pub failed_compactions: u64,
}

impl Snapshot {
    /// Counts and sizes. O(1) but for the number of segments.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let segments: Vec<SegmentStats> = self.0.segments.iter().map(|s| s.stats()).collect();
        let bytes = segments.iter().map(|s| s.bytes).sum();
        Stats {
            origin: self.0.origin,
            totals: self.0.totals,
            bytes,
            segments,
            delta_changes: self.0.deltas().map(|d| d.len() as u64).sum(),
            delta_bytes: self.0.deltas().map(|d| d.bytes as u64).sum(),
            changes_floor: self.0.changes_floor,
            pinned_bytes: 0,
            oldest_snapshot: None,
            work: Work::default(),
        }
    }
}

impl Segment {
    fn stats(&self) -> SegmentStats {
        let footer = self.footer();
        SegmentStats {
            name: self.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: self.bytes(),
            block_bytes: footer.uids.section.offset,
            uid_index_bytes: footer.uids.section.len,
            identity_index_bytes: footer.identities.section.len,
            blocks: u64::from(footer.blocks),
            users: footer.totals.users(),
            seq: footer.max_seq,
            tombstones: self.tombstones().len() as u64,
        }
    }
}

fn open_segment(dir: &Path, entry: &SegmentEntry, backend: Backend) -> Result<Arc<Segment>> {
    let path = dir.join(files::segment_name(entry.id));
    let opened = Segment::open(&path, entry.id, backend).map_err(|error| match error {
        // The manifest says that it is there.
        Error::Io { source, .. } if [ErrorKind::NotFound, ErrorKind::InvalidInput].contains(&source.kind()) => {
            let (what, expected) = ("segment".to_owned(), "the file of a segment".to_owned());
            Error::Damage(Box::new(Damage {
                file: path,
                offset: 0,
                what,
                expected,
                found: source.to_string(),
                uids: None,
            }))
        }
        error => error,
    });
    opened.map(Arc::new)
}

/// Whether this is a directory that holds nothing but what an interrupted `create` leaves.
fn is_blank(dir: &Path) -> Result<bool> {
    let ours = [files::LOCK, files::TMP, "MANIFEST.new"].map(Some);
    match files::entries(dir) {
        Ok(entries) => Ok(entries.iter().all(|path| ours.contains(&path.file_name().and_then(OsStr::to_str)))),
        // A file, or a link to nothing.
        Err(Error::Io { source, .. }) if [ErrorKind::NotADirectory, ErrorKind::NotFound].contains(&source.kind()) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn expect_store(dir: &Path) -> Result<()> {
    match fs::metadata(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Err(Error::NotFound { path: dir.to_path_buf() }),
        Err(e) => return Err(Error::io("look at", dir, e)),
        Ok(meta) if !meta.is_dir() => {
            return Err(Error::NotAStore { path: dir.to_path_buf(), why: "it is not a directory" });
        }
        Ok(_) => {}
    }
    let manifest = dir.join(files::MANIFEST);
    match fs::metadata(&manifest) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            Err(Error::NotAStore { path: dir.to_path_buf(), why: "it holds no MANIFEST" })
        }
        // It may well be a store, of somebody who lets nobody else look into it.
        Err(e) => Err(Error::io("look at", &manifest, e)),
    }
}
