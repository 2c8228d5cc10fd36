//! `headcount unlink`

use std::path::PathBuf;

use headcount::{Batch, Identity};

use crate::change::{self, Change};
use crate::failure::{Failure, Outcome};
use crate::ui::Ui;

const EXAMPLES: &str = "\
The user stays, also without identities. Exit code 4, and nothing changed, when the user is not
there or does not have the identity.

Examples:
  headcount unlink site.hc 6625ID facebook 622098199";

/// Options of `headcount unlink`.
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

/// Takes an identity from a user.
///
/// # Errors
/// When the store cannot be written.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let Args { store, uid, provider, provider_uid, json } = args;
    let mut batch = Batch::new();
    batch.unlink(uid, Identity::new(provider, provider_uid));
    let change = Change {
        batch,
        made: format!("unlinked {provider:?} {provider_uid:?} from user {uid:?}"),
        unchanged: format!("user {uid:?} does not have the identity {provider:?} {provider_uid:?}"),
        unchanged_is: Outcome::NotFound,
        new_uid: None,
    };
    change::run(store, *json, ui, change)
}
