//! Opening, creating and closing stores.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use headcount_block::{Origin, Progress, RowBuf, Totals, User};

use crate::backing::Backend;
use crate::error::{Error, Result};
use crate::load::{BulkLoad, LoadOptions, LoadReport, Place, RowKind};
use crate::lock::Lock;
use crate::manifest::{Manifest, SegmentEntry};
use crate::segment::Segment;
use crate::snapshot::Snapshot;
use crate::version::Version;
use crate::{clock, files, random};

/// Settings of an open store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// How segments are read.
    pub backend: Backend,
}

/// A store of users, open.
///
/// It is `Send` and `Sync`; share it in an `Arc`. Everything that reads goes through a [`Snapshot`].
#[derive(Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
    lock: Option<Lock>,
    temporary: Option<tempfile::TempDir>,
}

/// What loads share with the store.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) dir: PathBuf,
    pub(crate) backend: Backend,
    pub(crate) read_only: bool,
    pub(crate) version: ArcSwap<Version>,
    pub(crate) manifest: Mutex<Manifest>,
    pub(crate) loading: AtomicBool,
}

impl Inner {
    /// Where unfinished files are.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.dir.join(files::TMP)
    }

    pub(crate) const fn origin(&self, manifest: &Manifest) -> Origin {
        Origin {
            store_id: manifest.store_id,
            incarnation: manifest.incarnation,
            seq: manifest.seq,
            time_ms: manifest.time_ms,
        }
    }
}

impl Store {
    /// Creates an empty store at `path`, where there is nothing or an empty directory, and opens it for writing.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Io`].
    pub fn create(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let dir = path.as_ref();
        match fs::symlink_metadata(dir) {
            Ok(_) if !is_blank(dir) => return Err(Error::Exists { path: dir.to_path_buf() }),
            Ok(_) => {}
            Err(_) => files::create_dir(dir)?,
        }
        let lock = Lock::exclusive(dir)?;
        files::ensure_tmp(dir)?;
        Manifest::new(random::id()?, random::id()?, clock::now_ms()).write(dir)?;
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            files::sync_dir(parent)?;
        }
        Self::with(dir, lock, false, options)
    }

    /// Opens the store at `path` for writing. One process can; others that try get [`Error::Locked`].
    ///
    /// Files are mapped into memory where they lie on a local file system. That rests on three things: the lock is
    /// held while the store is open; segment files are written once and never modified; and a disk that fails while a
    /// mapped page is read ends the process by SIGBUS. [`Backend::Pread`] reads instead of mapping.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotAStore`], [`Error::Locked`], [`Error::Version`], [`Error::Feature`],
    /// [`Error::Damage`], [`Error::Io`].
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let dir = path.as_ref();
        expect_store(dir)?;
        let lock = Lock::exclusive(dir)?;
        let store = Self::with(dir, lock, false, options)?;
        let live: Vec<u128> = store.manifest()?.segments.iter().map(|s| s.id).collect();
        files::clean(dir, &live)?;
        files::ensure_tmp(dir)?;
        Ok(store)
    }

    /// Opens the store at `path` for reading, beside any number of other readers; needs no permission to write.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_read_only(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let dir = path.as_ref();
        expect_store(dir)?;
        let lock = Lock::shared(dir)?;
        Self::with(dir, lock, true, options)
    }

    /// A new store in a temporary directory, which goes when the store is closed or dropped.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn temporary() -> Result<Self> {
        let base = std::env::temp_dir();
        let holder = tempfile::Builder::new()
            .prefix("headcount-")
            .tempdir_in(&base)
            .map_err(|e| Error::io("create a temporary directory in", &base, e))?;
        let mut store = Self::create(holder.path().join("store"), &Options::default())?;
        store.temporary = Some(holder);
        Ok(store)
    }

    fn with(dir: &Path, lock: Lock, read_only: bool, options: &Options) -> Result<Self> {
        let manifest = Manifest::read(dir, !read_only)?;
        let segments = manifest.segments.iter().map(|entry| open_segment(dir, entry, options.backend));
        let segments = segments.collect::<Result<Vec<_>>>()?;
        let totals = manifest.totals();
        let origin = Origin {
            store_id: manifest.store_id,
            incarnation: manifest.incarnation,
            seq: manifest.seq,
            time_ms: manifest.time_ms,
        };
        let inner = Inner {
            dir: dir.to_path_buf(),
            backend: options.backend,
            read_only,
            version: ArcSwap::from_pointee(Version { origin, segments, totals }),
            manifest: Mutex::new(manifest),
            loading: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner), lock: Some(lock), temporary: None })
    }

    fn manifest(&self) -> Result<Manifest> {
        self.inner.manifest.lock().map(|m| m.clone()).map_err(|_| Error::Panicked("publishing"))
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

    /// Begins a load. One at a time; reads go on.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Busy`].
    pub fn bulk_load(&self, options: LoadOptions, progress: &Arc<Progress>) -> Result<BulkLoad> {
        if self.inner.read_only {
            return Err(Error::ReadOnly { path: self.inner.dir.clone() });
        }
        if self.inner.loading.swap(true, AcqRel) {
            return Err(Error::Busy);
        }
        let base = self.inner.version.load_full();
        Ok(BulkLoad::new(Arc::clone(&self.inner), base, options, Arc::clone(progress)))
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
        self.snapshot().stats()
    }

    /// Lets go of the store. Snapshots of it stay readable.
    ///
    /// # Errors
    /// [`Error::Io`] when a temporary store's directory could not be removed.
    pub fn close(mut self) -> Result<()> {
        self.lock = None;
        match self.temporary.take() {
            Some(dir) => dir.close().map_err(|e| Error::io("remove", &self.inner.dir, e)),
            None => Ok(()),
        }
    }

    /// Closes the store and removes its files: for a store whose first load failed. Other files in the directory stay,
    /// and make this an error.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::ReadOnly`].
    pub fn discard(self) -> Result<()> {
        if self.inner.read_only {
            return Err(Error::ReadOnly { path: self.inner.dir.clone() });
        }
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
    /// Seq of its publication.
    pub seq: u64,
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
}

impl Snapshot {
    /// Counts and sizes. O(1) but for the number of segments.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let segments: Vec<SegmentStats> = self.0.segments.iter().map(|s| s.stats()).collect();
        let bytes = segments.iter().map(|s| s.bytes).sum();
        Stats { origin: self.0.origin, totals: self.0.totals, bytes, segments }
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
            seq: footer.base_seq,
        }
    }
}

fn open_segment(dir: &Path, entry: &SegmentEntry, backend: Backend) -> Result<Arc<Segment>> {
    let path = dir.join(files::segment_name(entry.id));
    Segment::open(&path, entry.id, backend).map(Arc::new)
}

/// Whether a directory holds nothing but what an interrupted `create` leaves.
fn is_blank(dir: &Path) -> bool {
    let ours = [files::LOCK, files::TMP, "MANIFEST.new"];
    fs::read_dir(dir)
        .is_ok_and(|mut entries| entries.all(|e| e.is_ok_and(|e| ours.iter().any(|name| e.file_name() == *name))))
}

fn expect_store(dir: &Path) -> Result<()> {
    match fs::metadata(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Error::NotFound { path: dir.to_path_buf() }),
        Err(e) => Err(Error::io("look at", dir, e)),
        Ok(meta) if !meta.is_dir() => Err(Error::NotAStore { path: dir.to_path_buf(), why: "it is not a directory" }),
        Ok(_) if !dir.join(files::MANIFEST).exists() => {
            Err(Error::NotAStore { path: dir.to_path_buf(), why: "it holds no MANIFEST" })
        }
        Ok(_) => Ok(()),
    }
}
