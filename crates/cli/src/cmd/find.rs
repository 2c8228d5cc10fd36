//! `headcount find`

use std::path::{Path, PathBuf};

use headcount_server::shell_quoted;

use crate::failure::{Failure, Outcome};
use crate::serving::Serving;
use crate::store;
use crate::ui::{self, Ui};
use crate::wire::{UserObject, identity_json};

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
    let store = store::open_or_ask(&args.store, |serving| instead(args, serving))?;
    let snapshot = store.snapshot();
    let Some(user) = snapshot.find_user(&args.provider, &args.provider_uid)? else {
        ui.error(&format!("no user has the identity {:?} of {:?}", args.provider_uid, args.provider));
        return Ok(Outcome::NotFound);
    };
    ui::print_json(&UserObject::from(&user))?;
    Ok(Outcome::Done)
}

/// What finds the user when a server has the store: all users are looked through, since no method knows identities.
fn instead(args: &Args, serving: &Serving) -> String {
    let call = serving.call("format=ndjson fields=uid,provider,providerUID,status includePendingUsers=true");
    let identity = identity_json(&args.provider, &args.provider_uid);
    let identity = shell_quoted(Path::new(&identity));
    format!(
        "no call finds a user by an identity; this looks through an export of all: {call} | grep -F {identity} (or, {})",
        serving.stop()
    )
}
