//! Opens stores for the commands.

use std::fs::{self, Permissions};
use std::path::Path;

use headcount::{Error, Options, Store};

use crate::failure::Failure;
use crate::serving::Serving;
use crate::ui::Ui;

/// Opens the store at `path` for reading: any number of processes may. Creates nothing.
///
/// # Errors
/// When there is no store, it is locked, damaged or of another version.
pub(crate) fn open(path: &Path) -> Result<Store, Failure> {
    Ok(Store::open_read_only(path, &Options::default())?)
}

/// As [`open`]; when a server has the store, the error says what does the same there, in the words of `instead`.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_or_ask(path: &Path, instead: impl FnOnce(&Serving) -> String) -> Result<Store, Failure> {
    Store::open_read_only(path, &Options::default()).map_err(|error| {
        let serving = match &error {
            Error::Locked { path, pid } => Serving::find(path, *pid),
            _ => None,
        };
        let failure = Failure::from(error);
        match serving {
            Some(serving) => failure.hint(serving.hint(&format!("; {}", instead(&serving)))),
            None => failure,
        }
    })
}

/// Opens the store at `path` for writing, and tells what was recovered.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_to_write(path: &Path, ui: &Ui) -> Result<Store, Error> {
    let store = Store::open(path, &Options::default())?;
    if let Some(recovery) = store.recovery() {
        // No later command tells of those: also with `--quiet`.
        let tell = if recovery.not_erased.is_empty() { Ui::note } else { Ui::error };
        tell(ui, &recovery.to_string());
    }
    Ok(store)
}

/// A store to write to, and whether this command made it.
pub(crate) struct Destination {
    pub(crate) store: Store,
    made: Option<Made>,
}

/// What a command that failed takes away again.
enum Made {
    /// The directory and what is in it.
    Directory,
    /// What is in a directory that was there with these permissions, and was empty.
    Content(Permissions),
}

impl Destination {
    /// Opens the store at `path`, or makes one where there is nothing or an empty directory. For a `rehearsal` it is opened
    /// for reading, and in place of a new one a temporary one is made: nothing at `path` changes.
    ///
    /// # Errors
    /// As [`open`].
    pub(crate) fn open(path: &Path, rehearsal: bool, ui: &Ui) -> Result<Self, Failure> {
        let opened = if rehearsal { Store::open_read_only(path, &Options::default()) } else { open_to_write(path, ui) };
        let made = match opened {
            Ok(store) => return Ok(Self { store, made: None }),
            Err(Error::NotFound { .. }) => Made::Directory,
            Err(Error::NotAStore { .. }) if is_empty_dir(path) => Made::Content(fs::metadata(path)?.permissions()),
            Err(error) => return Err(error.into()),
        };
        if rehearsal {
            return Ok(Self { store: Store::temporary()?, made: None });
        }
        Ok(Self { store: Store::create(path, &Options::default())?, made: Some(made) })
    }

    /// Takes a store away that this command made. The lock is held meanwhile, so that no other process can have put
    /// users into it; should something have been written to it nevertheless, it is closed and stays.
    pub(crate) fn undo(self) {
        let Some(made) = self.made.filter(|_| self.store.snapshot().seq() == 0) else {
            // The command's error is what counts; what was written is recovered at the next open.
            drop(self.store.close());
            return;
        };
        let path = self.store.path().to_path_buf();
        let undone = self.store.discard().map_err(Failure::from).and_then(|()| match made {
            Made::Directory => Ok(()),
            Made::Content(permissions) => {
                Ok(fs::create_dir(&path).and_then(|()| fs::set_permissions(&path, permissions))?)
            }
        });
        // The command's error is what counts: an empty store that cannot be removed does no harm.
        drop(undone);
    }
}

fn is_empty_dir(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// As [`write()`], and makes the store where there is none; one that was made goes again when the work fails before anything
/// is written.
///
/// # Errors
/// As [`write()`].
pub(crate) fn write_or_make<T>(
    path: &Path,
    ui: &Ui,
    work: impl FnOnce(&Store) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let destination = Destination::open(path, false, ui)?;
    match work(&destination.store) {
        Ok(done) => {
            destination.store.close().map_err(|error| Failure::from(error).hint(NOT_CLOSED))?;
            if destination.made.is_some() {
                ui.note(&format!("made the store {}", path.display()));
            }
            Ok(done)
        }
        Err(failure) => {
            destination.undo();
            Err(failure)
        }
    }
}

/// Opens the store at `path` for writing, does `work`, and closes it.
///
/// # Errors
/// That of the work, or else that of opening or closing.
pub(crate) fn write<T>(path: &Path, ui: &Ui, work: impl FnOnce(&Store) -> Result<T, Failure>) -> Result<T, Failure> {
    let store = open_to_write(path, ui)?;
    let done = work(&store);
    let closed = store.close();
    let done = done?;
    closed.map_err(|error| Failure::from(error).hint(NOT_CLOSED))?;
    Ok(done)
}

const NOT_CLOSED: &str = "what was reported as done is durable all the same: the next command that writes recovers it";
