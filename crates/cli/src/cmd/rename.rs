//! `headcount rename`

use std::path::PathBuf;

use headcount::Batch;

use crate::change::{self, Change};
use crate::failure::{Failure, Outcome};
use crate::ui::Ui;

const EXAMPLES: &str = "\
The user keeps its status and its identities; an identity that holds the old UID is not touched.
Exit code 4 when the user is not there; exit code 1 when there is a user with the new UID.

Examples:
  headcount rename site.hc 6625ID 6626ID";

/// Options of `headcount rename`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// UID of the user
    uid: String,
    /// Its new UID
    new_uid: String,
    /// Write the report as one line of JSON to standard output
    #[arg(long)]
    json: bool,
}

/// Gives a user another UID.
///
/// # Errors
/// When there is a user with that UID, or the store cannot be written.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let Args { store, uid, new_uid, json } = args;
    let mut batch = Batch::new();
    batch.rename(uid, new_uid);
    let change = Change {
        batch,
        made: format!("renamed user {uid:?} to {new_uid:?}"),
        unchanged: format!("user {uid:?} has this UID already"),
        unchanged_is: Outcome::Done,
        new_uid: Some(new_uid.clone()),
    };
    change::run(store, *json, ui, change)
}
