//! `headcount site`

mod create;
mod key_add;
mod key_revoke;
mod list;

use std::path::Path;

use headcount_server::printable;

use crate::failure::{Failure, Outcome};
use crate::ui::Ui;

const EXAMPLES: &str = "\
FILE is the configuration of `headcount serve`. It is changed in place, with its comments and order,
and replaced as a whole; who edits at the same time waits. Secrets are made at random and stand in
files of their own beside FILE, for the owner alone; they are never printed.

To exchange a secret: key-add --rotate adds a second one; give it to the clients; key-revoke
--secret takes the old one away when no client uses it any more. The server takes both meanwhile.

Examples:
  headcount site create --config hc.toml --store site.hc
  headcount site list --config hc.toml
  headcount site key-add --config hc.toml --site 3_key --user-key crm --permissions export
  headcount site key-add --config hc.toml --site 3_key --rotate
  headcount site key-revoke --config hc.toml --site 3_key --secret 3_key.secret
  headcount site key-revoke --config hc.toml --site 3_key --user-key crm";

/// Options of `headcount site`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Add a site to a configuration, which is made where there is none
    Create(create::Args),
    /// Print sites, stores and keys, and whether their secrets can be read
    List(list::Args),
    /// Add a user key to a site, or a second secret to a site or a user key
    KeyAdd(key_add::Args),
    /// Take a user key away, or one of two secrets of a site or a user key
    KeyRevoke(key_revoke::Args),
}

/// Manages the sites of a configuration.
///
/// # Errors
/// When it cannot be read or changed: it is as it was then.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    match &args.command {
        Command::Create(args) => create::run(args, ui),
        Command::List(args) => list::run(args),
        Command::KeyAdd(args) => key_add::run(args, ui),
        Command::KeyRevoke(args) => key_revoke::run(args, ui),
    }
}

/// Says what was done, and how a running server learns of it.
fn done(ui: &Ui, what: &str) {
    ui.note(&format!(
        "{what}; a running server takes it over on SIGHUP: `kill -HUP PID` or `systemctl reload headcount`"
    ));
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// A user key for messages, or the site itself.
fn whose(site: &str, user_key: Option<&str>) -> String {
    match user_key {
        Some(key) => format!("the user key {} of the site {}", printable(key), printable(site)),
        None => format!("the site {}", printable(site)),
    }
}
