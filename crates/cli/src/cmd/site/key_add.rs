//! `headcount site key-add`

use std::path::PathBuf;

use headcount::method::Permission;
use headcount_server::{ConfigEdit, permission_name, permission_named, random_user_key};

use super::{done, shown, whose};
use crate::failure::{Failure, Outcome};
use crate::ui::{self, Ui};

const EXAMPLES: &str = "\
A user key opens a site for one application or person: export lets it read, write lets it change
users. With --rotate the site, or the user key, gets a second secret; both are good until one is
taken away with `headcount site key-revoke --secret`. There are at most two.

Examples:
  headcount site key-add --config hc.toml --site 3_key --user-key crm --permissions export,write
  headcount site key-add --config hc.toml --site 3_key --user-key crm --rotate
  headcount site key-add --config hc.toml --site 3_key --rotate --json";

/// Options of `headcount site key-add`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The apiKey of the site
    #[arg(long, value_name = "KEY")]
    site: String,
    /// Name of the user key [default: a random one; with --rotate the site itself]
    #[arg(long, value_name = "NAME")]
    user_key: Option<String>,
    /// What it may do: export, write
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        value_parser = permission_named,
        required_unless_present = "rotate",
        conflicts_with = "rotate"
    )]
    permissions: Vec<Permission>,
    /// Add a second secret to what is there, instead of a key
    #[arg(long)]
    rotate: bool,
    /// Write what was made as one line of JSON to standard output
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    api_key: &'a str,
    user_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    permissions: Vec<&'static str>,
    secret_file: PathBuf,
}

/// Adds a user key or a secret.
///
/// # Errors
/// When there is no such site or key, or the configuration cannot be changed: it is as it was then.
pub(super) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let mut edit = ConfigEdit::open(&args.config)?;
    let user_key = match &args.user_key {
        Some(name) => Some(name.clone()),
        None if args.rotate => None,
        None => Some(random_user_key()?),
    };
    let mut permissions = args.permissions.clone();
    permissions.sort_by_key(|permission| permission_name(*permission));
    permissions.dedup();
    let secret_file = match &user_key {
        Some(name) if !args.rotate => edit.add_user_key(&args.site, name, &permissions)?,
        user_key => edit.add_secret(&args.site, user_key.as_deref())?,
    };
    edit.save()?;
    let permissions = permissions.into_iter().map(permission_name).collect();
    let report = Report { api_key: &args.site, user_key: user_key.as_deref(), permissions, secret_file };
    let whose = whose(&args.site, user_key.as_deref());
    let what = if args.rotate { format!("added a second secret to {whose}") } else { format!("added {whose}") };
    let told = if args.json {
        ui::print_json(&report)
    } else {
        let key = report.user_key.map_or_else(String::new, |key| format!("userKey {key}\n"));
        ui::print_line(&format!("{key}secret  {}", shown(&report.secret_file)))
    };
    told.map_err(|failure| failure.after(&what))?;
    done(ui, &what);
    Ok(Outcome::Done)
}
