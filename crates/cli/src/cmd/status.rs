//! `headcount status`

use std::path::PathBuf;

use clap::ValueEnum;
use headcount::{Batch, Status};

use crate::change::{self, Change};
use crate::failure::{Failure, Outcome};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Exports leave pending users out unless asked for them. Exit code 4 when the user is not there.

Examples:
  headcount status site.hc 6625ID pending";

/// Options of `headcount status`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// UID of the user
    uid: String,
    /// Whether its registration is finalized
    #[arg(value_enum)]
    status: StatusArg,
    /// Write the report as one line of JSON to standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StatusArg {
    Registered,
    Pending,
}

/// Sets the status of a user.
///
/// # Errors
/// When the store cannot be written.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let Args { store, uid, status, json } = args;
    let status = match status {
        StatusArg::Registered => Status::Registered,
        StatusArg::Pending => Status::Pending,
    };
    let mut batch = Batch::new();
    batch.set_status(uid, status);
    let change = Change {
        batch,
        made: format!("user {uid:?} is {status}"),
        unchanged: format!("user {uid:?} is {status} already"),
        unchanged_is: Outcome::Done,
        new_uid: None,
    };
    change::run(store, *json, ui, change)
}
