//! What the libraries' errors mean to who typed the command: the kind of failure, and a hint.

use std::io;
use std::path::Path;

use headcount::{CheckError, Error, ExportError, ManifestError};
use headcount_import::{ErrorKind, HandoverError, ImportError};
use headcount_server::{ConfigError, EditError};

use crate::failure::{Failure, Kind};
use crate::serving::Serving;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (kind, hint) = match &error {
            Error::Cancelled => (Kind::Cancelled, None),
            Error::Unfinished => {
                (Kind::Cancelled, Some("the next command that writes removes what is left of them".to_owned()))
            }
            Error::Damage(_) => (Kind::Damage, Some(DAMAGE.to_owned())),
            Error::NotFound { path } => (
                Kind::Failed,
                Some(format!("`headcount import {} FILE` makes a store of a file of users", path.display())),
            ),
            Error::NotAStore { path, .. } if path.is_file() => {
                (Kind::Failed, Some("the store comes first: a directory that `headcount import` made".to_owned()))
            }
            Error::Locked { path, pid } => (Kind::Failed, Some(lock_hint(path, *pid))),
            Error::Io { source, .. } => (Kind::Failed, io_hint(source)),
            error => (Kind::Failed, write_hint(error).map(str::to_owned)),
        };
        Self { kind, error: Box::new(error), hint }
    }
}

/// What to do about a store that another process has: one that serves it does not end by itself.
fn lock_hint(store: &Path, pid: Option<u32>) -> String {
    match Serving::find(store, pid) {
        Some(serving) => serving.hint(&format!(" (docs/API.md has its methods); {}", serving.stop())),
        None => "wait for the other process to end, then try again".to_owned(),
    }
}

/// What to do about failures of writing, and of asking for changes.
fn write_hint(error: &Error) -> Option<&'static str> {
    let hint = match error {
        Error::Poisoned { .. } => {
            "nothing is written after such a failure; look at the disk and run the command again: all that was \
             acknowledged is recovered then"
        }
        Error::Pinned { .. } => "the users are deleted; the next command that writes removes what is left of them",
        Error::NoSpace { .. } => NO_SPACE,
        Error::Memory { .. } => "give it less with --memory, or the process more (ulimit -v, the container's limit)",
        Error::TooOld { .. } => {
            "take a whole `headcount export`, and go on with --since and the seq that its --json summary names"
        }
        Error::FutureSeq { .. } => {
            "is it of another store, or of this one before it was restored from a backup? Take a whole \
             `headcount export` then, and go on with --since and the seq that its --json summary names"
        }
        _ => return None,
    };
    Some(hint)
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        let error = match error {
            // What to do about changes that are not known, say, is the same wherever they are asked for.
            ExportError::Source(source) if !source.is_damage() => return Self::from(Error::from(source)),
            error => error,
        };
        let (kind, hint) = match &error {
            ExportError::Cancelled => (Kind::Cancelled, None),
            ExportError::Settings(_) => (Kind::Usage, None),
            error if error.is_damage() => (Kind::Damage, Some(DAMAGE.to_owned())),
            // What is written in place stays as far as it came.
            ExportError::Write { source, .. } => (Kind::Failed, stays_hint(source)),
            ExportError::File { source, .. } | ExportError::NoSpace { source, .. } => (Kind::Failed, io_hint(source)),
            _ => (Kind::Failed, None),
        };
        Self { kind, error: Box::new(error), hint }
    }
}

impl From<HandoverError> for Failure {
    fn from(error: HandoverError) -> Self {
        let error = match error {
            HandoverError::Source(source) if !source.is_damage() => return Self::from(Error::from(source)),
            error => error,
        };
        let (kind, hint) = match &error {
            HandoverError::Cancelled => (Kind::Cancelled, None),
            HandoverError::Format(_) | HandoverError::Document(_) => (Kind::Usage, None),
            HandoverError::Misfits { .. } => (Kind::Failed, Some(PARTIAL.to_owned())),
            HandoverError::Write(source) | HandoverError::Rejects(source) => (Kind::Failed, stays_hint(source)),
            error if error.is_damage() => (Kind::Damage, Some(DAMAGE.to_owned())),
            _ => (Kind::Failed, None),
        };
        Self { kind, error: Box::new(error), hint }
    }
}

/// What to do about users that have no place in another system.
const PARTIAL: &str = "nothing was put in place; --allow-partial writes the others (exit code 3), and --rejects FILE keeps \
     what is left out";

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        let kind = if matches!(error, ManifestError::Invalid { .. }) { Kind::Damage } else { Kind::Failed };
        let hint = match &error {
            ManifestError::Invalid { .. } => Some("export again, or check the file without its manifest".to_owned()),
            ManifestError::Io { source, .. } => io_hint(source),
            _ => None,
        };
        Self { kind, error: Box::new(error), hint }
    }
}

impl From<CheckError> for Failure {
    fn from(error: CheckError) -> Self {
        let (kind, hint) = match &error {
            CheckError::Cancelled => (Kind::Cancelled, None),
            CheckError::Io { source, .. } => (Kind::Failed, io_hint(source)),
            error if error.is_damage() => (Kind::Damage, None),
            _ => (Kind::Failed, None),
        };
        Self { kind, error: Box::new(error), hint }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        if let ImportError::Store(error) = error {
            return Self::from(error);
        }
        let (kind, hint) = match error.kind() {
            // The content is what no format or several fit.
            ErrorKind::Usage if matches!(error, ImportError::UnknownFormat { .. }) => (Kind::Failed, None),
            ErrorKind::Usage => (Kind::Usage, None),
            ErrorKind::Cancelled => (Kind::Cancelled, None),
            ErrorKind::Input => (Kind::Failed, input_hint(&error)),
            ErrorKind::Store | ErrorKind::Io => (Kind::Failed, None),
        };
        Self { kind, error: Box::new(error), hint }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let error = match error {
            // It names the store, and what to do is the same as for every other command.
            ConfigError::Store { source, .. } => return Self::from(*source),
            error => error,
        };
        let hint = match &error {
            ConfigError::Read { source, .. } => config_hint(source),
            _ => None,
        };
        Self { kind: Kind::Failed, error: Box::new(error), hint }
    }
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        let hint = match error {
            EditError::Config(error) => return Self::from(error),
            EditError::Io { ref source, .. } => config_hint(source),
            _ => None,
        };
        Self { kind: Kind::Failed, error: Box::new(error), hint }
    }
}

fn config_hint(error: &io::Error) -> Option<String> {
    match error.kind() {
        io::ErrorKind::NotFound => {
            Some("`headcount site create --config FILE --store STORE` makes a configuration".to_owned())
        }
        _ => io_hint(error),
    }
}

/// What to do first about a change that may be on disk or not, since writing it failed; `None` for errors that leave no doubt.
pub(crate) fn doubtful_hint(error: &Error) -> Option<&'static str> {
    match error {
        Error::Io { source, .. } if is_full(source) => Some("make room on that file system"),
        Error::Io { .. } | Error::Poisoned { .. } => Some("look at the disk"),
        _ => None,
    }
}

/// What to do about damage that is listed already.
pub(crate) const LISTED: &str = "restore the store from a backup, import its users again, or take what is intact with `headcount salvage STORE NEW`";

/// What to do about damage.
pub(crate) const DAMAGE: &str = "`headcount verify STORE` lists all damage; restore the store from a backup, import its users again, or take what \
     is intact with `headcount salvage STORE NEW`";

const ROOM: &str = "make room on that file system and run the command again";
const NO_SPACE: &str = "make room on that file system and run the command again: nothing is left half done";

/// What to do about a record that cannot be loaded.
fn input_hint(error: &ImportError) -> Option<String> {
    let hint = match error {
        ImportError::Record { .. } => {
            "nothing was loaded; mend the record, or load the others with --skip-invalid (--rejects FILE keeps these)"
        }
        ImportError::Rejected { .. } => {
            "nothing was loaded; --on-duplicate, --on-conflict and --existing say what to do in such cases, and \
             --skip-invalid loads the others"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// What to do about an error of the system.
pub(crate) fn io_hint(error: &io::Error) -> Option<String> {
    let hint = match error.kind() {
        _ if is_full(error) => NO_SPACE,
        io::ErrorKind::PermissionDenied => "look at the owner and the permissions of that path",
        io::ErrorKind::ReadOnlyFilesystem => "choose a path on a file system that can be written",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// As [`io_hint`], where something may stay of what was written.
pub(crate) fn stays_hint(error: &io::Error) -> Option<String> {
    if is_full(error) { Some(ROOM.to_owned()) } else { io_hint(error) }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
