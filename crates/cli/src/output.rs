//! Where commands write: never into a store; and for `generate` and `--rejects`, standard output, or a file that takes its
//! name only when it is whole.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use headcount::{follow_links, store_around};
use tempfile::NamedTempFile;

use crate::failure::Failure;
use crate::input::{STDIN, STDIN_NAME};
use crate::ui;

/// Files that hold users are for their owner alone, as exports are.
const MODE: u32 = 0o600;

/// An open destination; dropped before [`finish`](Self::finish), a regular file is as it was before.
#[derive(Debug)]
pub(crate) struct Target {
    kind: TargetKind,
    /// For messages.
    name: PathBuf,
    /// Whether anything was written.
    begun: bool,
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
    /// When it lies in a store, or cannot be written.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = named(path) else {
            return Ok(Self {
                kind: TargetKind::Stream(ui::stdout_file()?),
                name: "standard output".into(),
                begun: false,
            });
        };
        expect_outside_stores(path)?;
        let name = path.to_path_buf();
        let kind = open_named(path).map_err(|source| Failure::failed(WriteError { path: name.clone(), source }))?;
        Ok(Self { kind, name, begun: false })
    }

    /// The file, when it is one and something was written to it.
    fn written(&self) -> Option<PathBuf> {
        (self.begun && matches!(self.kind, TargetKind::Replacing(..))).then(|| self.name.clone())
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

/// Refuses a file in a store, whose files are its own: one that takes the name of its manifest is the end of it.
///
/// # Errors
/// When the file, or what it is a link to, would lie in a store.
pub(crate) fn expect_outside_stores(path: &Path) -> Result<(), Failure> {
    // Who opens it says that links lead in a circle.
    let place = follow_links(path).unwrap_or_else(|_| path.to_path_buf());
    let Some(store) = store_around(place) else { return Ok(()) };
    let text = format!("{} lies in the store {}, whose files are its own", path.display(), store.display());
    Err(Failure::usage(text).hint("name a file outside of stores"))
}

/// The file that is named; none for standard output.
fn named(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| *path != Path::new("-"))
}

/// Whether what is written to both comes to one place, where one would replace the other or stand in its midst; `-` and
/// none are standard output. Devices keep nothing.
pub(crate) fn is_same_place(one: Option<&Path>, other: Option<&Path>) -> bool {
    let (one, other) = (named(one), named(other));
    let found = |path: Option<&Path>| match path {
        Some(path) => fs::metadata(path).ok(),
        None => ui::stdout_file().ok().and_then(|stdout| stdout.metadata().ok()),
    };
    match (one, other, found(one), found(other)) {
        (None, None, ..) => true,
        (_, _, Some(one), Some(other)) => {
            !one.file_type().is_char_device() && (one.dev(), one.ino()) == (other.dev(), other.ino())
        }
        (Some(one), Some(other), None, None) => place(one).is_some_and(|one| place(other) == Some(one)),
        _ => false,
    }
}

/// The place of a file that is not there: the directory that it would be in, and its name.
fn place(path: &Path) -> Option<PathBuf> {
    let path = follow_links(path).ok()?;
    Some(fs::canonicalize(dir_of(&path)).ok()?.join(path.file_name()?))
}

fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn open_named(path: &Path) -> io::Result<TargetKind> {
    // The file that a link names is replaced, not the link.
    let path = follow_links(path)?;
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => {
            return Ok(TargetKind::Stream(OpenOptions::new().write(true).open(&path)?));
        }
        _ => {}
    }
    let file = tempfile::Builder::new()
        .prefix(".headcount-")
        .suffix(".partial")
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(dir_of(&path))?;
    Ok(TargetKind::Replacing(file, path))
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun |= !bytes.is_empty();
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

    /// Gives the file its name; nothing can be written any more. The file, when it is one and not empty.
    ///
    /// # Errors
    /// As [`Target::finish`].
    pub(crate) fn finish(self) -> Result<Option<PathBuf>, Failure> {
        let target = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let written = target.as_ref().and_then(Target::written);
        target.map_or(Ok(()), Target::finish)?;
        Ok(written)
    }

    /// As [`finish`](Self::finish), before what is of no use without it; with `sync`, it survives a power cut.
    ///
    /// # Errors
    /// As there, and when it cannot be synced.
    pub(crate) fn finish_first(self, sync: bool) -> Result<(), Failure> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            |source| Failure::failed(WriteError { path, source })
        };
        let path = match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|target| &target.kind) {
            Some(TargetKind::Replacing(file, path)) if sync => {
                file.as_file().sync_all().map_err(failed(path))?;
                Some(path.clone())
            }
            _ => None,
        };
        self.finish()?;
        let Some(path) = path else { return Ok(()) };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))
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

/// The files of `import --rejects`: the one that was named, and beside it one for each other layout of the inputs.
///
/// The one that was named is replaced, as other commands replace theirs: what stands there afterwards is of this run. One
/// beside it was not named, so that a file that is there already is not replaced, nor is any input.
#[derive(Debug, Clone)]
pub(crate) struct RejectFiles {
    path: PathBuf,
    open: Arc<Mutex<Vec<(PathBuf, SharedTarget)>>>,
    /// Whether it is standard output, a device or a pipe, which has no others beside it.
    stream: bool,
}

impl RejectFiles {
    /// Opens the one that was named, for the rejects of these inputs; `-` and none are standard input. Beside it may come
    /// those of the other inputs, and users of the first one that have no room in its table.
    ///
    /// # Errors
    /// When it is one of them, when one beside it is there already, or when it cannot be written.
    pub(crate) fn open(path: &Path, inputs: &[PathBuf]) -> Result<Self, Failure> {
        if let Some(input) = input_at(path, inputs) {
            let message = format!("--rejects would replace {}, which is read from {input}", path.display());
            return Err(Failure::usage(message).hint("name another file for the rejected records"));
        }
        let target = Target::open(Some(path))?;
        let stream = matches!(target.kind, TargetKind::Stream(_));
        let names = inputs.iter().map(|input| match input.to_string_lossy() {
            name if name == STDIN => STDIN_NAME.into(),
            name => name,
        });
        let implied = inputs.is_empty().then_some(STDIN_NAME.into());
        let mut beside = names.chain(implied).map(|name| named_apart(path, &name, 1));
        if let Some(there) = beside.find(|beside| !stream && beside.symlink_metadata().is_ok()) {
            return Err(Failure::usage(AlreadyThere(there)).hint("move it away, or name another file with --rejects"));
        }
        let open = Arc::new(Mutex::new(vec![(path.to_path_buf(), SharedTarget::new(target))]));
        Ok(Self { path: path.to_path_buf(), open, stream })
    }

    /// Whether other files can stand beside it.
    pub(crate) const fn has_others(&self) -> bool {
        !self.stream
    }

    /// The one that was named.
    pub(crate) fn first(&self) -> Box<dyn Write + Send> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.first() {
            Some((_, first)) => Box::new(first.clone()),
            None => Box::new(io::sink()),
        }
    }

    /// Opens one for the layout of `input`, whose name stands in its own: `r.csv` becomes `r.links.csv` for `links.csv`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn apart(&self, input: &str) -> io::Result<Box<dyn Write + Send>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let named = |n: usize| named_apart(&self.path, input, n);
        let path = (1..).map(named).find(|path| open.iter().all(|(other, _)| other != path)).unwrap_or_default();
        if path.symlink_metadata().is_ok() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, AlreadyThere(path)));
        }
        let target = Target::open(Some(&path)).map_err(|failure| io::Error::other(failure.error))?;
        let shared = SharedTarget::new(target);
        open.push((path, shared.clone()));
        Ok(Box::new(shared))
    }

    /// Gives all of them their names: those among them that are not empty.
    ///
    /// # Errors
    /// As [`Target::finish`].
    pub(crate) fn finish(&self) -> Result<Vec<PathBuf>, Failure> {
        let open = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        open.into_iter().filter_map(|(_, shared)| shared.finish().transpose()).collect()
    }
}

/// A file that would hold rejected records, and that nobody named.
#[derive(Debug, thiserror::Error)]
#[error("{} is there already, and would be replaced by rejected records", .0.display())]
struct AlreadyThere(PathBuf);

/// Which of the inputs the file at `path` is, or the directory that is read and holds it.
fn input_at(path: &Path, inputs: &[PathBuf]) -> Option<String> {
    let file = |found: fs::Metadata| found.is_file().then(|| (found.dev(), found.ino()));
    let at = |path: &Path| fs::metadata(path).ok();
    let rejects = at(path).and_then(file)?;
    let stdin = || {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map(File::from).and_then(|stdin| stdin.metadata());
        stdin.ok().and_then(file)
    };
    let parent = fs::canonicalize(path).ok()?.parent().map(Path::to_path_buf);
    let is = |input: &&PathBuf| match input.as_path() == Path::new(STDIN) {
        true => stdin() == Some(rejects),
        false => {
            at(input).and_then(file) == Some(rejects) || (parent.is_some() && fs::canonicalize(input).ok() == parent)
        }
    };
    let shown = |input: &PathBuf| {
        if input.as_path() == Path::new(STDIN) { STDIN_NAME.to_owned() } else { input.display().to_string() }
    };
    let implied = || (inputs.is_empty() && stdin() == Some(rejects)).then(|| STDIN_NAME.to_owned());
    inputs.iter().find(is).map(shown).or_else(implied)
}

/// `path` with the name of `input` before its extension, and with a number from the second such name on.
fn named_apart(path: &Path, input: &str, n: usize) -> PathBuf {
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let number = if n > 1 { format!("-{n}") } else { String::new() };
    let extension = path.extension().map_or_else(String::new, |e| format!(".{}", e.to_string_lossy()));
    path.with_file_name(format!("{}.{}{number}{extension}", stem(path), stem(Path::new(input))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_layouts_are_named_after_their_inputs() {
        let named = |path: &str, input: &str, n| named_apart(Path::new(path), input, n).display().to_string();
        assert_eq!(named("out/r.csv", "in/links.csv", 1), "out/r.links.csv");
        assert_eq!(named("r", "links.csv.gz", 2), "r.links.csv-2");
    }
}
