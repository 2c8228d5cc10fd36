//! `headcount completions`

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::failure::{Failure, Outcome};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  headcount completions bash > /etc/bash_completion.d/headcount
  headcount completions fish > ~/.config/fish/completions/headcount.fish";

/// Options of `headcount completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

/// Prints a shell's completion script.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "headcount", &mut script);
    ui::print_bytes(&script)?;
    Ok(Outcome::Done)
}
