//! Files as destinations: written beside their place, and put there only when they are whole.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::error::Error;
use crate::sink::{AlignedSink, enlarge_pipe};

/// Exports are personal data: for the owner alone.
const MODE: u32 = 0o600;
/// Symbolic links followed before it is called a loop, as Linux does.
const LINKS_MAX: usize = 40;

fn failed<'p>(op: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> Error + use<'p> {
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

/// Follows symbolic links to a path that is none, whether or not it exists.
fn resolve(path: &Path) -> Result<PathBuf, Error> {
    let mut at = path.to_path_buf();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&at) {
            Ok(to) => at = at.parent().unwrap_or_else(|| Path::new("")).join(to),
            // Not a link, or not there: opening it says the rest.
            Err(_) => return Ok(at),
        }
    }
    Err(failed("open", path)(io::Error::from(Errno::LOOP)))
}

/// A file in work, `NAME.partial` beside its place. It is removed unless it is put in place.
#[derive(Debug)]
pub(crate) struct Partial {
    file: File,
    path: PathBuf,
    target: PathBuf,
    placed: bool,
}

impl Partial {
    fn create(target: PathBuf) -> Result<Self, Error> {
        let Some(name) = target.file_name() else {
            return Err(failed("write", &target)(io::ErrorKind::InvalidFilename.into()));
        };
        let mut partial = name.to_os_string();
        partial.push(".partial");
        let path = target.with_file_name(partial);
        let file = claim(&path)?;
        let this = Self { file, path, target, placed: false };
        // What a dead export left behind may be longer, and readable for others.
        this.file.set_permissions(Permissions::from_mode(MODE)).map_err(failed("create", &this.path))?;
        this.file.set_len(0).map_err(failed("create", &this.path))?;
        Ok(this)
    }

    /// Sets aside room for `len` bytes, so that a full disk is found before the work. The file's length stays 0: an
    /// export that is killed never looks whole.
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

    /// A sink that writes the file.
    pub(crate) fn sink(&self) -> AlignedSink<'_> {
        AlignedSink::new(&self.file, self.path.display().to_string())
    }

    /// Puts the whole file in its place; with `sync`, it and its name survive a power cut.
    ///
    /// # Errors
    /// When syncing or renaming fails.
    pub(crate) fn place(mut self, sync: bool) -> Result<(), Error> {
        if sync {
            self.file.sync_all().map_err(failed("sync", &self.path))?;
        }
        fs::rename(&self.path, &self.target).map_err(failed("rename", &self.path))?;
        self.placed = true;
        if sync {
            let dir = self.target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
            File::open(dir).and_then(|d| d.sync_all()).map_err(failed("sync", dir))?;
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.placed {
            // Nobody is left to tell; the next export to this place overwrites it.
            let _: io::Result<()> = fs::remove_file(&self.path);
        }
    }
}

/// Opens `path` and locks it, so that two exports to one place do not mix.
fn claim(path: &Path) -> Result<File, Error> {
    loop {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(MODE);
        // A link or a pipe of that name was not made by an export.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
        let file = options.open(path).map_err(failed("create", path))?;
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
            return Ok(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_room_is_found_before_the_work() {
        let dir = tempfile::tempdir().unwrap();
        let partial = Partial::create(dir.path().join("out")).unwrap();
        partial.reserve(4096).unwrap();
        assert_eq!(partial.file.metadata().unwrap().len(), 0, "a killed export must not look whole");
        let error = partial.reserve(1 << 62).unwrap_err();
        assert!(matches!(error, Error::NoSpace { needed, .. } if needed == 1 << 62), "{error}");
        drop(partial);
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }
}
