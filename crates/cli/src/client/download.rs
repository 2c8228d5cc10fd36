//! A file that is being downloaded: what came stays in `FILE.partial` until it is whole, and `FILE.partial.json` says what it
//! is of, so that a later call can go on.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use headcount::{Manifest, follow_links};
use serde::{Deserialize, Serialize};

use crate::client::ask::Request;
use crate::errors::stays_hint;
use crate::failure::Failure;

/// Version of the record.
const VERSION: u32 = 1;
/// For the owner alone: users are personal data.
const MODE: u32 = 0o600;

/// What `FILE.partial` is of.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Record {
    /// Tells it from the records of `headcount export`.
    headcount_call: u32,
    request: Request,
    /// The entity tag: the same tag, the same bytes.
    etag: String,
    /// Bytes of the whole, where the server knew.
    length: Option<u64>,
    /// Which run of this machine wrote it: after a power cut the end of the file may be anything.
    boot: Option<String>,
}

/// A file on its way.
#[derive(Debug)]
pub(crate) struct Download<'r> {
    request: &'r Request,
    place: PathBuf,
    partial: PathBuf,
    record_path: PathBuf,
    file: File,
    have: u64,
    record: Option<Record>,
    /// Whether the content of the partial file is of this request, or there is none.
    is_own: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}", path.display())]
struct FileError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_path_buf();
    move |source| {
        let hint = stays_hint(&source);
        let failure = Failure::failed(FileError { what, path, source });
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl<'r> Download<'r> {
    /// Begins to download what `request` asks for to `path`, or goes on where an earlier call ended; `None` when `path` is
    /// a device or a pipe.
    ///
    /// # Errors
    /// When it cannot be written, or another process is downloading to it.
    pub(crate) fn open(path: &Path, request: &'r Request) -> Result<Option<Self>, Failure> {
        // A link is followed: the file it names is replaced, not the link.
        let place = follow_links(path).map_err(failed("write", path))?;
        match fs::metadata(&place) {
            Ok(found) if found.is_dir() => return Err(failed("write", path)(ErrorKind::IsADirectory.into())),
            Ok(found) if !found.is_file() => return Ok(None),
            _ => {}
        }
        let with = |suffix: &str| {
            let mut name = place.file_name().unwrap_or(OsStr::new("")).to_os_string();
            name.push(suffix);
            place.with_file_name(name)
        };
        let (partial, record_path) = (with(".partial"), with(".partial.json"));
        let file = lock(&partial)?;
        let length = file.metadata().map_err(failed("read", &partial))?.len();
        let record = read_record(&record_path).filter(|record| record.fits(request, length));
        let is_own = record.is_some() || length == 0;
        let mut this = Self { request, place, partial, record_path, file, have: 0, record, is_own };
        if this.record.is_some() {
            this.have = this.file.seek(SeekFrom::End(0)).map_err(failed("read", &this.partial))?;
        }
        Ok(Some(this))
    }

    /// Bytes that are here, and the entity tag that they are of, when there is something to go on from.
    pub(crate) fn resume_point(&self) -> Option<(u64, &str)> {
        self.record.as_ref().filter(|_| self.have > 0).map(|record| (self.have, record.etag.as_str()))
    }

    /// Bytes that are here.
    pub(crate) const fn have(&self) -> u64 {
        self.have
    }

    /// Bytes of the whole, where they are known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.record.as_ref()?.length
    }

    /// Begins anew, with bytes that have this entity tag, if it is one to go on by.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub(crate) fn restart(&mut self, etag: Option<&str>, length: Option<u64>) -> Result<(), Failure> {
        // The record goes first: it is never beside bytes that it is not of.
        self.forget()?;
        self.file.set_len(0).map_err(failed("write", &self.partial))?;
        self.have = self.file.seek(SeekFrom::Start(0)).map_err(failed("write", &self.partial))?;
        self.is_own = true;
        // A weak tag is of the same users, and perhaps of other bytes.
        if let Some(etag) = etag.filter(|etag| etag.starts_with('"')) {
            let (request, etag) = (self.request.clone(), etag.to_owned());
            let record = Record { headcount_call: VERSION, request, etag, length, boot: boot() };
            write_record(&self.record_path, &record).map_err(failed("write", &self.record_path))?;
            self.record = Some(record);
        }
        Ok(())
    }

    /// What is here is of no use: the next request is for all.
    ///
    /// # Errors
    /// When the record cannot be removed.
    pub(crate) fn forget(&mut self) -> Result<(), Failure> {
        self.record = None;
        remove(&self.record_path).map_err(failed("remove", &self.record_path))
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(failed("write", &self.partial))?;
        self.have += bytes.len() as u64;
        Ok(())
    }

    /// Gives the file its name: it is whole.
    ///
    /// # Errors
    /// When that fails; what stood there is as it was.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        // A rename is of whatever has the name.
        if !self.is_named() {
            let partial = self.partial.display();
            let text = format!("expected {partial} to be what was downloaded, found another file or none");
            return Err(Failure::failed(text).hint("call again, and let nobody remove or replace that file meanwhile"));
        }
        // A manifest is of the file that is replaced.
        if let Ok(manifest) = Manifest::path_of(&self.place)
            && Manifest::read(&manifest).is_ok()
        {
            remove(&manifest).map_err(failed("remove", &manifest))?;
        }
        fs::rename(&self.partial, &self.place).map_err(failed("replace", &self.place))?;
        remove(&self.record_path).map_err(failed("remove", &self.record_path))
    }

    /// Leaves what can be gone on from, and removes what cannot. Returns whether something is left.
    pub(crate) fn give_up(self) -> bool {
        if self.resume_point().is_some() {
            return true;
        }
        if self.is_own && self.is_named() {
            // The failure that made us give up is what counts.
            drop(remove(&self.record_path));
            drop(remove(&self.partial));
        }
        false
    }

    /// Whether the partial file still has its name.
    fn is_named(&self) -> bool {
        is_at(&self.file, &self.partial)
    }
}

impl Record {
    /// Whether `length` bytes can be gone on from to get what `request` asks for.
    fn fits(&self, request: &Request, length: u64) -> bool {
        self.headcount_call == VERSION
            && self.request == *request
            && self.boot == boot()
            && length > 0
            && self.length.is_none_or(|whole| length <= whole)
    }
}

/// Opens the partial file, for this process alone.
fn lock(partial: &Path) -> Result<File, Failure> {
    let taken = || {
        let text = format!("another process is writing {}", partial.display());
        Err(Failure::failed(text).hint("wait for it, or choose another FILE"))
    };
    for _ in 0..10 {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(partial)
            .map_err(failed("write", partial))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return taken(),
            Err(fs::TryLockError::Error(error)) => return Err(failed("lock", partial)(error)),
        }
        // Whoever had it before may have given it its name meanwhile: then it is FILE, and no partial file any more.
        if is_at(&file, partial) {
            return Ok(file);
        }
    }
    taken()
}

/// Whether `path` is the name of `file`.
fn is_at(file: &File, path: &Path) -> bool {
    let inode = |found: io::Result<fs::Metadata>| found.map(|found| (found.dev(), found.ino())).ok();
    inode(file.metadata()).is_some_and(|own| inode(fs::symlink_metadata(path)) == Some(own))
}

/// The record, when there is one of ours.
fn read_record(path: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write_record(path: &Path, record: &Record) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(&serde_json::to_vec(record)?)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Which run of the machine this is, where the system says.
fn boot() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

#[cfg(test)]
mod tests;
