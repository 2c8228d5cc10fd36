//! Files of a configuration, written so that a crash leaves the old or the new one: the lock of editors, replacement, and
//! new files of secrets.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf, absolute};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::edit::EditError;

/// Mode of a new configuration: it holds no secrets.
const NEW_MODE: u32 = 0o644;
/// Bytes of a new secret.
const SECRET_LENGTH: usize = 32;

/// A configuration file that one process edits.
#[derive(Debug)]
pub(super) struct Locked {
    /// The file as it was named, absolute: paths in it are relative to this one's directory.
    pub(super) path: PathBuf,
    /// What is replaced: where `path` is a link, what it leads to.
    target: PathBuf,
    /// The directory of `target`. Its lock goes with it; the file itself could not hold one, since it is replaced.
    dir: File,
    /// Of the file that was there: owner, group and mode.
    found: Option<fs::Metadata>,
}

impl Locked {
    /// Waits until nobody else edits a configuration in the directory of `path`, and reads what is there.
    pub(super) fn open(path: &Path) -> Result<(Self, Option<Vec<u8>>), EditError> {
        let path = absolute(path).map_err(|e| EditError::io("find", path, e))?;
        let target = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        let dir_path = parent(&target);
        let dir = File::open(dir_path).map_err(|e| EditError::io("open the directory", dir_path, e))?;
        dir.lock().map_err(|e| EditError::io("lock the directory", dir_path, e))?;
        let text = match fs::read(&target) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(EditError::io("read", &path, error)),
        };
        let found = match &text {
            Some(_) => Some(fs::metadata(&target).map_err(|e| EditError::io("read", &path, e))?),
            None => None,
        };
        Ok((Self { path, target, dir, found }, text))
    }

    /// The directory that paths in the file are relative to.
    pub(super) fn base(&self) -> &Path {
        parent(&self.path)
    }

    /// Puts `text` in the place of what is there, with the same owner, group and mode. When it fails, the file is as it
    /// was; when not, [`sync`](Self::sync) makes it durable.
    pub(super) fn replace(&self, text: &str) -> Result<(), EditError> {
        let mut name = self.target.clone().into_os_string();
        name.push(".new");
        let new = PathBuf::from(name);
        // What a crash left is nobody's: editors hold the lock.
        remove_if_there(&new).map_err(|e| EditError::io("remove", &new, e))?;
        let written = self.write_new(&new, text).and_then(|()| fs::rename(&new, &self.target));
        written.map_err(|source| {
            drop(fs::remove_file(&new));
            EditError::io("replace", &self.path, source)
        })
    }

    fn write_new(&self, new: &Path, text: &str) -> io::Result<()> {
        let mode = self.found.as_ref().map_or(NEW_MODE, |found| found.mode() & 0o7777);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(new)?;
        if self.found.is_some() {
            self.give(&file)?;
            // Past the umask.
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    /// Gives `file` the owner and group of the configuration, so that who reads the one can read the other.
    fn give(&self, file: &File) -> io::Result<()> {
        let Some(found) = &self.found else { return Ok(()) };
        let own = file.metadata()?;
        let uid = (own.uid() != found.uid()).then(|| found.uid());
        let gid = (own.gid() != found.gid()).then(|| found.gid());
        if uid.is_none() && gid.is_none() { Ok(()) } else { fchown(file, uid, gid) }
    }

    /// Waits until the disk has the replaced file.
    pub(super) fn sync(&self) -> Result<(), EditError> {
        self.dir.sync_all().map_err(|e| EditError::io("sync the directory of", &self.path, e))
    }

    /// Makes a file with a new random secret beside the configuration, mode 0600, and durable before this returns. Its
    /// name begins with `stem`. Returns the name.
    pub(super) fn new_secret(&self, stem: &str) -> Result<PathBuf, EditError> {
        let mut bytes = [0; SECRET_LENGTH];
        getrandom::fill(&mut bytes)
            .map_err(|e| EditError::io("draw random bytes for", &self.path, io::Error::other(e)))?;
        let text = STANDARD.encode(bytes);
        for number in 1..1000 {
            let name =
                PathBuf::from(if number == 1 { format!("{stem}.secret") } else { format!("{stem}-{number}.secret") });
            let path = self.base().join(&name);
            let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(EditError::io("make", &path, error)),
            };
            return match self.write_secret(file, &text) {
                Ok(()) => Ok(name),
                Err(error) => {
                    drop(fs::remove_file(&path));
                    Err(EditError::io("write", &path, error))
                }
            };
        }
        let problem = format!("there are 999 files {stem}-N.secret already; remove those that no configuration names");
        Err(EditError::Refused { problem })
    }

    fn write_secret(&self, mut file: File, text: &str) -> io::Result<()> {
        self.give(&file)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // The name, too: it may stand in another directory than the one that is locked, when the configuration is a link.
        File::open(self.base())?.sync_all()
    }
}

/// The directory of an absolute path.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
