//! Opens stores for the commands that read them.

use std::path::Path;

use headcount::{Options, Store};

use crate::failure::Failure;

/// Opens the store at `path` for reading: any number of processes may. Creates nothing.
///
/// # Errors
/// When there is no store, it is locked, damaged or of another version.
pub(crate) fn open(path: &Path) -> Result<Store, Failure> {
    Ok(Store::open_read_only(path, &Options::default())?)
}
