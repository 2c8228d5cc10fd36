//! The fragile file operations, in one place: names, permissions, and what has to be fsynced before what.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::fault;
use crate::sync::{Mutex, lock};

/// The current manifest.
pub(crate) const MANIFEST: &str = "MANIFEST";
/// The manifest before the current one, for salvage only.
pub(crate) const MANIFEST_PREVIOUS: &str = "MANIFEST.prev";
/// The lock file, which holds the writer's process id.
pub(crate) const LOCK: &str = "LOCK";
/// Directory of unfinished files; whatever is in it when a store is opened for writing is removed.
pub(crate) const TMP: &str = "tmp";
/// Suffix of segment files.
pub(crate) const SEGMENT_SUFFIX: &str = ".seg";

/// Prefix of the directories of delta generations.
pub(crate) const GENERATION_PREFIX: &str = "delta-";

/// Name of the directory of this delta generation.
pub(crate) fn generation_name(number: u64) -> String {
    format!("{GENERATION_PREFIX}{number:016x}")
}

/// Whether a name is one that [`generation_name`] makes.
fn is_generation_name(name: &str) -> bool {
    let number = name.strip_prefix(GENERATION_PREFIX);
    number.is_some_and(|n| n.len() == 16 && n.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Numbers of the generations whose directories are in `dir`, ascending.
pub(crate) fn generations(dir: &Path) -> Result<Vec<u64>> {
    numbers(dir, |name| {
        let number = name.strip_prefix(GENERATION_PREFIX).filter(|_| is_generation_name(name));
        number.and_then(|number| u64::from_str_radix(number, 16).ok())
    })
}

/// Ids of the segments whose files are in `dir`, ascending.
pub(crate) fn segments(dir: &Path) -> Result<Vec<u128>> {
    numbers(dir, |name| {
        let id = name.strip_suffix(SEGMENT_SUFFIX).filter(|_| is_segment_name(name));
        id.and_then(|id| u128::from_str_radix(id, 16).ok())
    })
}

fn numbers<N: Ord>(dir: &Path, number: impl Fn(&str) -> Option<N>) -> Result<Vec<N>> {
    let paths = entries(dir)?;
    let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
    let mut numbers: Vec<N> = names.filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Name of the segment with this id.
pub(crate) fn segment_name(id: u128) -> String {
    format!("{id:032x}{SEGMENT_SUFFIX}")
}

/// Creates a directory that only its owner can look into: it will hold personal data.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).create(path).map_err(|e| Error::io("create directory", path, e))
}

/// Creates the directory of unfinished files, which a copy of a store may lack.
pub(crate) fn ensure_tmp(dir: &Path) -> Result<()> {
    let tmp = dir.join(TMP);
    if tmp.is_dir() { Ok(()) } else { create_dir(&tmp) }
}

/// Makes a temporary directory, for its owner alone, that goes when it is dropped: `TMPDIR` says where.
pub(crate) fn temporary_dir() -> Result<TempDir> {
    let base = std::env::temp_dir();
    let made = tempfile::Builder::new().prefix("headcount-").tempdir_in(&base);
    made.map_err(|e| Error::io("create a temporary directory in", &base, e))
}

/// Creates a new file for its owner alone.
pub(crate) fn create_new(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| Error::io("create", path, e))
}

/// A file without a name: it is gone when it is closed, also by a crash.
pub(crate) fn scratch(dir: &Path) -> Result<File> {
    tempfile::tempfile_in(dir).map_err(|e| Error::io("create a temporary file in", dir, e))
}

/// The error for bytes of a temporary file below `dir` that are not those that were written.
pub(crate) fn misread(dir: &Path, at: u64) -> Error {
    let found =
        format!("at byte {at} the disk returned other bytes than were written: nothing was changed, run it again");
    Error::io("read back a temporary file in", dir, io::Error::new(io::ErrorKind::InvalidData, found))
}

/// Opens a file for reading. Anything else under its name is an error: a pipe would be waited for.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
}

/// Length of a file and what it holds: nothing of that when it is longer than `most`.
pub(crate) fn read_up_to(path: &Path, most: u64) -> io::Result<(Vec<u8>, u64)> {
    let file = open_file(path)?;
    let (mut bytes, len) = (Vec::new(), file.metadata()?.len());
    if len <= most {
        file.take(len).read_to_end(&mut bytes)?;
    }
    Ok((bytes, len))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    fault::point("names: fsync")?;
    File::open(path).and_then(|d| d.sync_all()).map_err(|e| Error::io("fsync directory", path, e))
}

/// The fsyncs of a store's directory, one after another: after one that failed there is none. The kernel tells of a failure
/// once, and a second fsync would seem to cover what the first one lost. Nothing is locked with it in hand.
#[derive(Debug, Default)]
pub(crate) struct Names {
    failed: Mutex<Option<String>>,
}

impl Names {
    /// Makes the names in `dir`, which is always the same one, durable.
    pub(crate) fn sync(&self, dir: &Path) -> Result<()> {
        let mut failed = lock(&self.failed);
        if let Some(cause) = &*failed {
            let before = io::Error::other(format!("it failed before: {cause}"));
            return Err(Error::io("fsync directory", dir, before));
        }
        sync_dir(dir).inspect_err(|error| {
            *failed = Some(error.to_string());
            // The step is over already.
            let _ = fault::point("names: failed");
        })
    }
}

/// Makes the name of the directory `path` durable, in the directory that it lies in. That is not the one that a path by way of a
/// symbolic link, or of `.`, names, and may be where no absolute path leads.
pub(crate) fn sync_name(path: &Path) -> Result<()> {
    sync_dir(&path.join(".."))
}

/// As above, for a directory that a store has just been made in. Where the directory was `there` before, whoever made it saw to
/// its name, and the one around it need not be open to us.
pub(crate) fn sync_name_of(path: &Path, there: bool) -> Result<()> {
    match sync_name(path) {
        Err(Error::Io { source, .. }) if there && source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

/// Makes a file durable that somebody else wrote.
pub(crate) fn sync_file(path: &Path) -> Result<()> {
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| Error::io("fsync", path, e))
}

/// Removes a directory with all that is in it; that there is none is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove directory", path, e)),
        _ => Ok(()),
    }
}

/// Makes a finished file durable and read-only, and gives it its name. `from` and `to` lie below one store, whose names those
/// of `to` are.
pub(crate) fn publish(file: &File, from: &Path, to: &Path, names: &Names) -> Result<()> {
    file.set_permissions(fs::Permissions::from_mode(0o400)).map_err(|e| Error::io("make read-only", from, e))?;
    file.sync_all().map_err(|e| Error::io("fsync", from, e))?;
    fs::rename(from, to).map_err(|e| Error::io("rename into place", to, e))?;
    names.sync(to.parent().unwrap_or(to))
}

/// Replaces `dir/name` by `bytes`, atomically and durably; the old content, if any, stays as `dir/previous`, where that is
/// asked for.
pub(crate) fn replace(dir: &Path, name: &str, previous: Option<&str>, bytes: &[u8], names: &Names) -> Result<()> {
    let (new, current) = (dir.join(format!("{name}.new")), dir.join(name));
    remove_if_there(&new)?;
    let written = write_new(&new, bytes).and_then(|()| {
        previous.map_or(Ok(()), |previous| keep_previous(&current, &dir.join(previous)))?;
        fs::rename(&new, &current).map_err(|e| Error::io("rename into place", &current, e))
    });
    if written.is_err() {
        // The error that counts is the first one; a leftover is removed at the next open.
        let _ = fs::remove_file(&new);
    }
    written?;
    names.sync(dir)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = create_new(path)?;
    file.write_all(bytes).map_err(|e| Error::io("write", path, e))?;
    file.sync_all().map_err(|e| Error::io("fsync", path, e))
}

/// A second name for the current file, by hard link, where there is one.
fn keep_previous(current: &Path, previous: &Path) -> Result<()> {
    remove_if_there(previous)?;
    match fs::hard_link(current, previous) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        // A file system without hard links keeps a copy.
        Err(_) => fs::copy(current, previous).map(|_| ()).map_err(|e| Error::io("copy", current, e)),
        Ok(()) => Ok(()),
    }
}

/// Removes a file; that there is none is fine.
pub(crate) fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => Ok(()),
    }
}

/// What a crash left beside the files that a manifest names: segments, generations, and an unfinished manifest.
fn unnamed(dir: &Path, segments: &[u128], generations: &[u64]) -> Result<Vec<PathBuf>> {
    let live: Vec<String> = segments.iter().map(|id| segment_name(*id)).collect();
    let generations: Vec<String> = generations.iter().map(|number| generation_name(*number)).collect();
    let is_unnamed = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        is_generation_name(&name) && !generations.contains(&name)
            || is_segment_name(&name) && !live.contains(&name)
            || name == format!("{MANIFEST}.new")
    };
    Ok(entries(dir)?.into_iter().filter(is_unnamed).collect())
}

/// Removes what a crash left: unfinished files, segments and generations that no manifest names. Returns how many.
pub(crate) fn clean(dir: &Path, segments: &[u128], generations: &[u64]) -> Result<usize> {
    let mut left = unnamed(dir, segments, generations)?;
    let tmp = dir.join(TMP);
    if tmp.is_dir() {
        left.extend(entries(&tmp)?);
    }
    for path in &left {
        if path.is_dir() { remove_tree(path)? } else { remove_if_there(path)? }
    }
    Ok(left.len())
}

/// Whether a name is one that [`segment_name`] makes.
fn is_segment_name(name: &str) -> bool {
    name.strip_suffix(SEGMENT_SUFFIX).is_some_and(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Removes a store's own files and then its directory, if nothing else is in it. The caller holds its lock.
pub(crate) fn remove_store(dir: &Path) -> Result<()> {
    empty_store(dir)?;
    fs::remove_dir(dir).map_err(|e| Error::io("remove directory", dir, e))
}

/// Removes a store's own files. The caller holds its lock, whose file goes last.
pub(crate) fn empty_store(dir: &Path) -> Result<()> {
    clean(dir, &[], &[])?;
    let tmp = dir.join(TMP);
    if tmp.is_dir() {
        fs::remove_dir(&tmp).map_err(|e| Error::io("remove directory", &tmp, e))?;
    }
    [MANIFEST, MANIFEST_PREVIOUS, LOCK].iter().try_for_each(|name| remove_if_there(&dir.join(name)))
}

/// Bytes that are free for the owner of a directory.
pub(crate) fn available(dir: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(dir).map_err(|e| Error::io("look at the free space of", dir, e.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Paths of what a directory holds.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let list = fs::read_dir(dir).and_then(|d| d.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>());
    list.map_err(|e| Error::io("list", dir, e))
}
