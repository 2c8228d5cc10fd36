//! Opens stores for the commands.

use std::path::Path;

use headcount::{Error, Options, Store};

use crate::failure::Failure;
use crate::ui::Ui;

/// Opens the store at `path` for reading: any number of processes may. Creates nothing.
///
/// # Errors
/// When there is no store, it is locked, damaged or of another version.
pub(crate) fn open(path: &Path) -> Result<Store, Failure> {
    Ok(Store::open_read_only(path, &Options::default())?)
}

/// Opens the store at `path` for writing, and tells what was recovered.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_to_write(path: &Path, ui: &Ui) -> Result<Store, Error> {
    let store = Store::open(path, &Options::default())?;
    if let Some(recovery) = store.recovery() {
        ui.note(&recovery.to_string());
    }
    Ok(store)
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
