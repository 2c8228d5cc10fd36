//! `headcount get`

use std::path::{Path, PathBuf};

use headcount_server::shell_quoted;

use crate::failure::{Failure, Outcome};
use crate::serving::Serving;
use crate::store;
use crate::ui::{self, Ui};
use crate::wire::UserObject;

const EXAMPLES: &str = "\
Prints one user object a line, in the order asked for; with \"status\" when the user is pending.
Exit code 4 when one is not there; the others are printed all the same.

Examples:
  headcount get site.hc 6625ID
  headcount get site.hc AABCWA AAKODB";

/// UIDs that a hint repeats.
const LISTED: usize = 20;

/// Options of `headcount get`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// UIDs of the users
    #[arg(required = true, value_name = "UID")]
    uids: Vec<String>,
}

/// Prints users by UID.
///
/// # Errors
/// When the store cannot be read or standard output not be written.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let store = store::open_or_ask(&args.store, |serving| instead(&args.uids, serving))?;
    let snapshot = store.snapshot();
    let mut outcome = Outcome::Done;
    for uid in &args.uids {
        if let Some(user) = snapshot.get_user(uid)? {
            ui::print_json(&UserObject::from(&user))?;
        } else {
            ui.error(&format!("no user {uid:?}"));
            outcome = Outcome::NotFound;
        }
    }
    Ok(outcome)
}

/// What a server that has the store is asked: it answers about one user at a time.
fn instead(uids: &[String], serving: &Serving) -> String {
    let quoted = |text: &str| shell_quoted(Path::new(text));
    if let [uid] = uids {
        return format!("ask that: {}", serving.call(&format!("getUserInfo {}", quoted(&format!("UID={uid}")))));
    }
    let listed: Vec<_> = uids.iter().map(|uid| quoted(uid)).collect();
    let listed = if listed.len() <= LISTED { listed.join(" ") } else { "UID…".to_owned() };
    let call = serving.call("getUserInfo UID=\"$uid\"");
    format!("ask that, which answers about one user at a time: for uid in {listed}; do {call}; echo; done")
}
