//! Where `generate` and `--rejects` write: standard output, or a file that takes its name only when it is whole.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::NamedTempFile;

use crate::failure::Failure;
use crate::ui;

/// An open destination; dropped before [`finish`](Self::finish), a regular file is as it was before.
#[derive(Debug)]
pub(crate) struct Target {
    kind: TargetKind,
    /// For messages.
    name: PathBuf,
}

#[derive(Debug)]
enum TargetKind {
    /// Standard output, or a device or pipe, which is written in place.
    Stream(File),
    /// A file under a temporary name beside its place.
    Replacing(NamedTempFile, PathBuf),
}

#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
struct WriteError {
    path: PathBuf,
    source: io::Error,
}

impl Target {
    /// Opens `path`; standard output for `-` or none.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Self { kind: TargetKind::Stream(ui::stdout_file()?), name: "standard output".into() });
        };
        let name = path.to_path_buf();
        let kind = open_named(path).map_err(|source| Failure::failed(WriteError { path: name.clone(), source }))?;
        Ok(Self { kind, name })
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// When that fails; the file that stood there is as it was.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self.kind {
            TargetKind::Stream(_) => Ok(()),
            TargetKind::Replacing(file, path) => {
                file.persist(&path)
                    .map_err(|error| Failure::failed(WriteError { path: self.name, source: error.error }))?;
                Ok(())
            }
        }
    }
}

fn open_named(path: &Path) -> io::Result<TargetKind> {
    // A link is followed: the file it names is replaced, not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => {
            return Ok(TargetKind::Stream(OpenOptions::new().write(true).open(&path)?));
        }
        _ => {}
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let file = tempfile::Builder::new()
        .prefix(".headcount-")
        .suffix(".partial")
        // Cut by the umask, as of any file that a command writes.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(dir)?;
    Ok(TargetKind::Replacing(file, path))
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = match &mut self.kind {
            TargetKind::Stream(file) => file.write(bytes),
            TargetKind::Replacing(file, _) => file.write(bytes),
        };
        // Keeps the kind, so that a broken pipe is still known as one.
        result.map_err(|source| io::Error::new(source.kind(), WriteError { path: self.name.clone(), source }))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A destination that someone else writes and this command finishes.
#[derive(Debug, Clone)]
pub(crate) struct SharedTarget(Arc<Mutex<Option<Target>>>);

impl SharedTarget {
    /// Shares `target`.
    #[must_use]
    pub(crate) fn new(target: Target) -> Self {
        Self(Arc::new(Mutex::new(Some(target))))
    }

    /// Gives the file its name; nothing can be written any more.
    ///
    /// # Errors
    /// As [`Target::finish`].
    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Target::finish)
    }
}

impl Write for SharedTarget {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(target) => target.write(bytes),
            None => Err(io::Error::other("the file was finished already")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
