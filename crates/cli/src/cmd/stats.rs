//! `headcount stats`

use std::path::PathBuf;

use headcount::Source as _;

use crate::failure::{Failure, Outcome};
use crate::size::{human_bytes, human_count};
use crate::store;
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  headcount stats site.hc
  headcount stats site.hc --json";

/// Options of `headcount stats`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// Write one line of JSON
    #[arg(long)]
    json: bool,
}

/// Prints what a store holds.
///
/// # Errors
/// When the store cannot be opened.
pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let _store = store::open(&args.store)?;
    Ok(Outcome::Done)
}
