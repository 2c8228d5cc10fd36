//! `headcount link`

use std::path::PathBuf;

use headcount::{Batch, Identity};

use crate::change::{self, Change};
use crate::failure::{Failure, Outcome};
use crate::ui::Ui;

const EXAMPLES: &str = "\
The identity becomes the last one of the user. Exit code 4 when the user is not there; exit code 1
when the identity belongs to another user, whom the message names. One that the user has already
changes nothing.

Examples:
  headcount link site.hc 6625ID facebook 622098199";

/// Options of `headcount link`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// UID of the user
    uid: String,
    /// Name of the provider
    provider: String,
    /// What the provider calls the account
    provider_uid: String,
    /// Write the report as one line of JSON to standard output
    #[arg(long)]
    json: bool,
}

/// Links an identity to a user.
///
/// # Errors
/// When it belongs to another user, or the store cannot be written.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let Args { store, uid, provider, provider_uid, json } = args;
    let mut batch = Batch::new();
    batch.link(uid, Identity::new(provider, provider_uid));
    let change = Change {
        batch,
        made: format!("linked {provider:?} {provider_uid:?} to user {uid:?}"),
        unchanged: format!("user {uid:?} has the identity {provider:?} {provider_uid:?} already"),
        unchanged_is: Outcome::Done,
        new_uid: None,
    };
    change::run(store, *json, ui, change)
}
