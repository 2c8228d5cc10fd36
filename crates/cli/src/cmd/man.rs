//! `headcount man`

use std::path::PathBuf;

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::failure::{Failure, Outcome};
use crate::ui::{self, Ui};

const EXAMPLES: &str = "\
Examples:
  headcount man | man -l -
  headcount man /usr/local/share/man/man1";

/// Options of `headcount man`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// An existing directory that the pages of all subcommands are written into [default: print headcount(1)]
    dir: Option<PathBuf>,
}

/// Prints the manual page, or writes all of them.
///
/// # Errors
/// When the output cannot be written.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let command = Cli::command();
    if let Some(dir) = &args.dir {
        clap_mangen::generate_to(command, dir)
            .map_err(|error| Failure::failed(error).hint(format!("is {} a directory you may write?", dir.display())))?;
        ui.note(&format!("wrote the manual pages into {}", dir.display()));
        return Ok(Outcome::Done);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    ui::print_bytes(&page)?;
    Ok(Outcome::Done)
}
