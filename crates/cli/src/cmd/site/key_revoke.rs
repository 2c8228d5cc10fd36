//! `headcount site key-revoke`

use std::path::PathBuf;

use headcount_server::{ConfigEdit, SecretSource, printable, remove_secret_files};

use super::{done, shown, whose};
use crate::failure::{Failure, Outcome};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Without --secret the user key goes, with all its secrets. With --secret one of two secrets goes, of
the user key, or without --user-key of the site. A site keeps at least one secret. The file of a
secret is removed after the configuration was replaced, unless the configuration names it elsewhere.
Tokens that clients got by what was revoked end when the server takes the change over.

Examples:
  headcount site key-revoke --config hc.toml --site 3_key --user-key crm
  headcount site key-revoke --config hc.toml --site 3_key --user-key crm --secret 3_key.crm.secret
  headcount site key-revoke --config hc.toml --site 3_key --secret env:OLD_SECRET --keep-file";

/// Options of `headcount site key-revoke`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The apiKey of the site
    #[arg(long, value_name = "KEY")]
    site: String,
    /// Name of the user key
    #[arg(long, value_name = "NAME", required_unless_present = "secret")]
    user_key: Option<String>,
    /// The one secret to take away: its file as the configuration names it or from here, or env:NAME
    #[arg(long, value_name = "PATH")]
    secret: Option<String>,
    /// Leave the files of the secrets where they are
    #[arg(long)]
    keep_file: bool,
    /// Write what was taken away as one line of JSON to standard output
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    api_key: &'a str,
    user_key: Option<&'a str>,
    /// Of the secrets: those that are not there any more.
    removed_files: Vec<PathBuf>,
    /// Those that are.
    kept_files: Vec<PathBuf>,
}

/// Takes a key or a secret away.
///
/// # Errors
/// When there is no such key or secret, it is a site's last, or the configuration cannot be changed: it is as it was then.
pub(super) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let mut edit = ConfigEdit::open(&args.config)?;
    let user_key = args.user_key.as_deref();
    let (secrets, what) = match (&args.secret, user_key) {
        (Some(name), user_key) => {
            let secret = edit.secret_named(&args.site, user_key, name)?;
            edit.remove_secret(&args.site, user_key, &secret)?;
            (vec![secret], format!("took a secret from {}", whose(&args.site, user_key)))
        }
        (None, Some(key)) => {
            (edit.remove_user_key(&args.site, key)?, format!("took {} away", whose(&args.site, user_key)))
        }
        (None, None) => return Err(Failure::usage("give --user-key, or --secret for a secret of the site itself")),
    };
    let config = edit.save()?;
    let left = if args.keep_file { Vec::new() } else { remove_secret_files(&config, &secrets) };
    for (path, error) in &left {
        ui.warning(&format!("cannot remove {}: {error}; remove it yourself", shown(path)));
    }
    for secret in &secrets {
        if let SecretSource::Env(name) = secret {
            ui.note(&format!("the variable {} is still set where the server is started", printable(name)));
        }
    }
    let files = secrets.into_iter().filter_map(|secret| match secret {
        SecretSource::File(path) => Some(path),
        SecretSource::Env(_) => None,
    });
    let (kept_files, removed_files) = files.partition(|path| path.symlink_metadata().is_ok());
    let report = Report { api_key: &args.site, user_key, removed_files, kept_files };
    if args.json {
        crate::ui::print_json(&report).map_err(|failure| failure.after(&what))?;
    }
    done(ui, &what);
    Ok(Outcome::Done)
}
