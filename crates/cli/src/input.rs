//! Standard input, a pipe or a file, for the commands that read users.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headcount::Progress;
use headcount_import::Input;

use crate::failure::Failure;
use crate::interrupt::Cancellable;

/// What stands for standard input.
pub(crate) const STDIN: &str = "-";
/// What it is called in messages, and in names of files that are named after inputs.
pub(crate) const STDIN_NAME: &str = "standard input";

/// Standard input, given up when `progress` is cancelled.
///
/// # Errors
/// When it is closed.
pub(crate) fn stdin(progress: &Arc<Progress>) -> Result<Input, Failure> {
    let reader = Cancellable::stdin(progress).map_err(Failure::failed)?;
    Ok(Input::reader(STDIN_NAME, Box::new(reader)))
}

/// The file at `path`. A pipe, of which nobody knows when something comes, is given up when `progress` is cancelled.
///
/// # Errors
/// When a pipe cannot be opened; a file is opened by who reads it.
pub(crate) fn at(path: &Path, progress: &Arc<Progress>) -> Result<Input, Failure> {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot open {}", path.display())]
    struct OpenError {
        path: PathBuf,
        source: io::Error,
    }
    if !fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Ok(Input::path(path));
    }
    match Cancellable::open(path, progress) {
        Ok(reader) => Ok(Input::reader(path.display().to_string(), Box::new(reader))),
        Err(source) => Err(Failure::failed(OpenError { path: path.to_path_buf(), source })),
    }
}

/// `file`, or standard input for `-` and for none.
///
/// # Errors
/// When none is given and standard input is a terminal: nobody types users.
pub(crate) fn open(file: Option<&Path>, progress: &Arc<Progress>) -> Result<Input, Failure> {
    match file {
        None if io::stdin().is_terminal() => {
            Err(Failure::usage("no FILE is given, and standard input is a terminal").hint(WHAT_TO_GIVE))
        }
        Some(path) if path != Path::new(STDIN) => at(path, progress),
        _ => stdin(progress),
    }
}

const WHAT_TO_GIVE: &str = "name a file of lines, or give them on standard input; - reads them from the terminal";
