//! Standard input or a file, for the commands that read lines.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::sync::Arc;

use headcount::Progress;
use headcount_import::Input;

use crate::failure::Failure;
use crate::interrupt::CancellableStdin;

/// What stands for standard input.
pub(crate) const STDIN: &str = "-";

/// Standard input, given up when `progress` is cancelled.
///
/// # Errors
/// When it is closed.
pub(crate) fn stdin(progress: &Arc<Progress>) -> Result<Input, Failure> {
    let reader = CancellableStdin::new(progress).map_err(Failure::failed)?;
    Ok(Input::reader("standard input", Box::new(reader)))
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
        Some(path) if path != Path::new(STDIN) => Ok(Input::path(path)),
        _ => stdin(progress),
    }
}

const WHAT_TO_GIVE: &str = "name a file of lines, or give them on standard input; - reads them from the terminal";
