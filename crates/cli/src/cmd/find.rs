//! `headcount find`

use std::path::PathBuf;

use crate::failure::{Failure, Outcome};
use crate::store;
use crate::ui::{self, Ui};
use crate::wire::UserObject;

const EXAMPLES: &str = "\
Prints the user object as `get` does. Exit code 4 when no user has the identity.

Examples:
  headcount find site.hc facebook 622098199";

/// Options of `headcount find`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// Name of the provider
    provider: String,
    /// What the provider calls the account
    provider_uid: String,
}

/// Prints the user that an identity belongs to.
///
/// # Errors
/// When the store cannot be read or standard output not be written.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let store = store::open_or_ask(&args.store, "format=ndjson")?;
    let snapshot = store.snapshot();
    let Some(user) = snapshot.find_user(&args.provider, &args.provider_uid)? else {
        ui.error(&format!("no user has the identity {:?} of {:?}", args.provider_uid, args.provider));
        return Ok(Outcome::NotFound);
    };
    ui::print_json(&UserObject::from(&user))?;
    Ok(Outcome::Done)
}
