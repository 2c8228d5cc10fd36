//! Files as destinations: written beside their place, and put there only when they are whole.
//!
//! An export to `F` is in `F.partial` until it is whole; `F.partial.json`, written before its first byte, says what it
//! is of. Both stay when the export breaks off after that byte, so that it can be resumed; a failure before it leaves
//! neither. At the end, when all is written and synced, and `F.partial` still is that file, in this order: the manifest
//! `F.manifest.json` takes its name, then `F.partial` becomes `F`, then the record goes. So there is never a new file
//! without the manifest that was asked for, nor beside an old one: broken off in between, the old file does not fit the
//! new manifest, and resuming completes the export.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::error::Error;
use crate::follow::follow_links;
use crate::manifest::Manifest;
use crate::resume::{ResumeError, ResumeRecord, json_file};
use crate::sink::enlarge_pipe;

/// What is added to the name of an export for the file in work, its resume record, and its manifest.
pub(crate) const PARTIAL: &str = ".partial";
pub(crate) const RECORD: &str = ".partial.json";
pub(crate) const MANIFEST: &str = ".manifest.json";

/// Exports are personal data: for the owner alone.
const MODE: u32 = 0o600;
/// Records and manifests are shorter.
const SMALL_MAX: u64 = 1 << 20;

pub(crate) fn failed<'p>(op: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> Error + use<'p> {
    move |source| Error::File { op, path: path.to_path_buf(), source }
}

/// Where an export to a path goes.
pub(crate) enum Target {
    /// A pipe, a device or a terminal, written in place.
    InPlace(File),
    /// A regular file, new or to be replaced.
    Replace(Partial),
}

/// Opens `path` for an export. A symbolic link is followed: what it points at is replaced, not the link.
///
/// # Errors
/// When it is a directory, or cannot be written.
pub(crate) fn open(path: &Path) -> Result<Target, Error> {
    let path = resolve(path)?;
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => Err(failed("write", &path)(io::ErrorKind::IsADirectory.into())),
        Ok(found) if !found.is_file() => {
            let file = OpenOptions::new().write(true).open(&path).map_err(failed("open", &path))?;
            if found.file_type().is_fifo() {
                enlarge_pipe(&file);
            }
            Ok(Target::InPlace(file))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("open", &path)(error)),
        Ok(_) | Err(_) => Partial::create(path).map(Target::Replace),
    }
}

/// Opens what is left of a broken export to `path`, and reads its record.
///
/// # Errors
/// [`ResumeError`], [`Error::Busy`] while it is being written, and when it cannot be opened.
pub(crate) fn reopen(path: &Path) -> Result<(Partial, ResumeRecord), Error> {
    let target = resolve(path)?;
    if is_special(&target) {
        return Err(ResumeError::NoFile { path: target }.into());
    }
    let partial = beside(&target, PARTIAL)?;
    let Some(file) = claim(&partial, false)? else { return Err(ResumeError::Nothing { path: partial }.into()) };
    let partial = Partial { file, path: partial, target, ours: false };
    let record = ResumeRecord::load(&beside(&partial.target, RECORD)?)?;
    Ok((partial, record))
}

/// Where `path` leads.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, Error> {
    follow_links(path).map_err(failed("open", path))
}

/// Whether `path` is something else than a regular file.
pub(crate) fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file())
}

/// The path of `target` with `ending` added to its name.
pub(crate) fn beside(target: &Path, ending: &str) -> Result<PathBuf, Error> {
    let Some(name) = target.file_name() else {
        return Err(failed("write", target)(io::ErrorKind::InvalidFilename.into()));
    };
    let mut name = name.to_os_string();
    name.push(ending);
    Ok(target.with_file_name(name))
}

/// What the short file `path` holds; `None` when it is not there.
pub(crate) fn read_small(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("open", path))?,
    };
    let mut text = Vec::new();
    file.take(SMALL_MAX).read_to_end(&mut text).map_err(failed("read", path))?;
    Ok(Some(text))
}

/// What syncs a file.
type SyncFile<'a> = &'a dyn Fn(&File) -> io::Result<()>;

/// Writes a file that must not be there; with `sync`, its bytes survive a power cut.
fn write_new(path: &Path, text: &[u8], sync: Option<SyncFile<'_>>) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(MODE).open(path).map_err(failed("create", path))?;
    file.write_all(text).and_then(|()| sync.map_or(Ok(()), |sync| sync(&file))).map_err(failed("write", path))?;
    Ok(file)
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Puts `text` at `path` in one step, through a file beside it; with `sync`, both it and its name survive a power cut.
pub(crate) fn replace(path: &Path, text: &[u8], sync: bool) -> Result<(), Error> {
    Sidecar::write(path, text, sync.then_some(&File::sync_all))?.place()?;
    if sync { sync_dir(path) } else { Ok(()) }
}

/// A short file, written whole beside its place.
struct Sidecar<'p> {
    file: File,
    new: PathBuf,
    place: &'p Path,
}

impl<'p> Sidecar<'p> {
    fn write(place: &'p Path, text: &[u8], sync: Option<SyncFile<'_>>) -> Result<Self, Error> {
        let new = beside(place, PARTIAL)?;
        // Left behind by a dead export.
        remove(&new)?;
        Ok(Self { file: write_new(&new, text, sync)?, new, place })
    }

    fn place(&self) -> Result<(), Error> {
        fs::rename(&self.new, self.place).map_err(failed("rename", &self.new))
    }

    /// Removes it, unless somebody else has taken its name.
    fn discard(&self) {
        if has_name(&self.file, &self.new) {
            // Nobody is left to tell; the next one overwrites it.
            let _: io::Result<()> = fs::remove_file(&self.new);
        }
    }
}

/// Whether `path` names `file`.
fn has_name(file: &File, path: &Path) -> bool {
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    let named = fs::symlink_metadata(path);
    named.is_ok_and(|named| file.metadata().is_ok_and(|own| same(&named, &own)))
}

/// Syncs the directory that `path` lies in.
fn sync_dir(path: &Path) -> Result<(), Error> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(dir).and_then(|d| d.sync_all()).map_err(failed("sync", dir))
}

/// A file in work, `NAME.partial` beside its place, locked.
#[derive(Debug)]
pub(crate) struct Partial {
    file: File,
    path: PathBuf,
    target: PathBuf,
    /// Whether it goes, while it is empty, when it is not put in place.
    ours: bool,
}

impl Partial {
    fn create(target: PathBuf) -> Result<Self, Error> {
        let path = beside(&target, PARTIAL)?;
        let Some(file) = claim(&path, true)? else {
            return Err(failed("create", &path)(io::ErrorKind::NotFound.into()));
        };
        let this = Self { file, path, target, ours: true };
        // What a dead export left behind may be longer, and readable for others.
        this.file.set_permissions(Permissions::from_mode(MODE)).map_err(failed("create", &this.path))?;
        this.file.set_len(0).map_err(failed("create", &this.path))?;
        Ok(this)
    }

    /// Writes the resume record; with `sync`, it survives a power cut. There is none before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn record(&self, text: &[u8], sync: bool) -> Result<(), Error> {
        let path = beside(&self.target, RECORD)?;
        remove(&path)?;
        write_new(&path, text, sync.then_some(&File::sync_all))?;
        if sync { sync_dir(&path) } else { Ok(()) }
    }

    /// Removes the record of an earlier export to the same place: what is written now cannot be resumed.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn unrecord(&self) -> Result<(), Error> {
        remove(&beside(&self.target, RECORD)?)
    }

    /// Removes the file in work, unless somebody else has taken its name.
    pub(crate) fn discard(&self) {
        if self.is_named() {
            self.remove_both();
        }
    }

    /// Sets aside room for `len` bytes, so that a full disk is found before the work. The file's length stays as it is:
    /// an export that is killed never looks whole.
    ///
    /// # Errors
    /// [`Error::NoSpace`].
    pub(crate) fn reserve(&self, len: u64) -> Result<(), Error> {
        if len == 0 {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, len) {
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => {
                Err(Error::NoSpace { path: self.target.clone(), needed: len, source: error.into() })
            }
            // Not every file system can; it only helps.
            _ => Ok(()),
        }
    }

    /// Cuts the file to `len` bytes; what was set aside after them is given back.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn cut(&self, len: u64) -> Result<(), Error> {
        self.file.set_len(len).map_err(failed("cut", &self.path))
    }

    /// The file.
    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    /// Its path, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the file that it becomes, without a directory.
    pub(crate) fn name(&self) -> String {
        self.target.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// How long the file is.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn len(&self) -> Result<u64, Error> {
        self.file.metadata().map(|m| m.len()).map_err(failed("open", &self.path))
    }

    /// Puts the whole file in its place, its manifest first; with `sync`, they and their names survive a power cut.
    /// Without a manifest, that of the file that is replaced goes.
    ///
    /// # Errors
    /// [`Error::Taken`] when the name is another file's, and when writing, syncing or renaming fails. The file in work and its
    /// record stay then, but for a file that cannot be synced.
    pub(crate) fn place(&self, manifest: Option<&Manifest>, sync: bool) -> Result<(), Error> {
        self.place_by(manifest, sync.then_some(&File::sync_all))
    }

    /// As [`place`](Self::place), with what syncs a file.
    fn place_by(&self, manifest: Option<&Manifest>, sync: Option<SyncFile<'_>>) -> Result<(), Error> {
        self.check_name()?;
        if let Some(Err(error)) = sync.map(|sync| sync(&self.file)) {
            // What did not reach the disk counts as written from now on: resuming would find it in memory, and sync nothing.
            self.discard();
            return Err(failed("sync", &self.path)(error));
        }
        // Syncing takes its time, and that is when somebody gives the export up: what lies beside the name is another's then.
        self.check_name()?;
        let sidecar = beside(&self.target, MANIFEST)?;
        let new = match manifest {
            Some(manifest) => Some(Sidecar::write(&sidecar, &json_file(manifest)?, sync)?),
            None => None,
        };
        let replaced = new.is_none() && Manifest::is_one(&sidecar);
        // A rename is of whatever has the name, so nothing waits for the disk between this look and the last one. That the
        // directory is synced at the end is enough: its changes get to the disk in their order.
        if let Err(error) = self.check_name() {
            new.inspect(Sidecar::discard);
            return Err(error);
        }
        match &new {
            Some(new) => new.place()?,
            None if replaced => remove(&sidecar)?,
            None => {}
        }
        fs::rename(&self.path, &self.target).map_err(failed("rename", &self.path))?;
        if sync.is_some() {
            sync_dir(&self.target)?;
        }
        self.forget();
        Ok(())
    }

    /// Removes the record of the file that was put in place. The lock went with its name: whoever has begun another
    /// export to this place has the new one, and the record is theirs.
    fn forget(&self) {
        if let Ok(Some(_lock)) = claim(&self.path, true) {
            self.remove_both();
        }
    }

    fn remove_both(&self) {
        // Nobody is left to tell; the next export to this place overwrites them.
        let _: Result<(), Error> = beside(&self.target, RECORD).and_then(|record| remove(&record));
        let _: io::Result<()> = fs::remove_file(&self.path);
    }

    fn check_name(&self) -> Result<(), Error> {
        if self.is_named() { Ok(()) } else { Err(Error::Taken { path: self.path.clone() }) }
    }

    /// Whether the name still is this file's.
    fn is_named(&self) -> bool {
        has_name(&self.file, &self.path)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // It has become the export, or somebody took it away.
        if !self.is_named() {
            return;
        }
        match self.len() {
            Ok(0) if self.ours => self.remove_both(),
            // Room that was set aside for the rest; if it stays, it goes with the file.
            Ok(len) => drop(self.cut(len)),
            Err(_) => {}
        }
    }
}

/// Opens `path` and locks it, so that two exports to one place do not mix. `None` when it is not there and not to be
/// created.
fn claim(path: &Path, create: bool) -> Result<Option<File>, Error> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create).truncate(false).mode(MODE);
        // A link or a pipe of that name was not made by an export.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
        let file = match options.open(path) {
            Err(error) if !create && error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed(if create { "create" } else { "open" }, path))?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Busy { path: path.to_path_buf() }),
            Err(TryLockError::Error(error)) => return Err(failed("lock", path)(error)),
        }
        let opened = file.metadata().map_err(failed("create", path))?;
        if !opened.is_file() {
            return Err(failed("create", path)(io::ErrorKind::AlreadyExists.into()));
        }
        // Between opening and locking, the export before may have put the file in its place.
        let named = fs::symlink_metadata(path);
        if named.is_ok_and(|named| (named.dev(), named.ino()) == (opened.dev(), opened.ino())) {
            return Ok(Some(file));
        }
    }
}

#[cfg(test)]
mod tests;
