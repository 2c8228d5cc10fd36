//! `headcount site create`

use std::path::{Path, PathBuf, absolute};

use headcount::{Error, Options, Store};
use headcount_server::{ConfigEdit, random_api_key, shell_quoted};

use super::{done, shown};
use crate::failure::{Failure, Outcome};
use crate::ui::{self, Ui};

const EXAMPLES: &str = "\
Prints the apiKey and the path of the new secret file. A new configuration listens on
127.0.0.1:8080, without TLS; edit it for more.

Examples:
  headcount site create --config hc.toml --store site.hc
  headcount site create --config hc.toml --store new.hc --create-store --api-key 3_key --json";

/// Options of `headcount site create`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The configuration; made where it is not there
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The store of the site's users; sites may share one
    #[arg(long, value_name = "STORE")]
    store: PathBuf,
    /// The site's public name in requests [default: a random one]
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Make an empty store where there is none
    #[arg(long)]
    create_store: bool,
    /// Write what was made as one line of JSON to standard output
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_key: String,
    secret_file: PathBuf,
    store: PathBuf,
    config: PathBuf,
}

/// Adds a site.
///
/// # Errors
/// When there is no store, or the configuration cannot be changed: it is as it was then.
pub(super) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let mut edit = ConfigEdit::open_or_new(&args.config)?;
    let is_new = edit.is_new();
    let api_key = match &args.api_key {
        Some(key) => key.clone(),
        None => random_api_key()?,
    };
    let made = look_at(&args.store, args.create_store)?;
    let added = edit.add_site(&api_key, &args.store).and_then(|secret| edit.save().map(|_| secret));
    let secret_file = match (added, made) {
        (Ok(secret), made) => {
            made.map_or(Ok(()), Store::close)?;
            secret
        }
        (Err(error), made) => {
            // The error is what counts: an empty store that cannot be removed does no harm.
            drop(made.map(Store::discard));
            return Err(error.into());
        }
    };
    let (store, config) = (absolute(&args.store)?, absolute(&args.config)?);
    let verb = if is_new { "made" } else { "added the site to" };
    let what = format!("{verb} {}", shown(&config));
    let report = Report { api_key, secret_file, store, config };
    let told = if args.json {
        ui::print_json(&report)
    } else {
        ui::print_line(&format!("apiKey  {}\nsecret  {}", report.api_key, shown(&report.secret_file)))
    };
    told.map_err(|failure| failure.after(&what))?;
    done(ui, &what);
    Ok(Outcome::Done)
}

/// Looks whether there is a store at `path`; makes one, and returns it, if that is wanted and there is none.
fn look_at(path: &Path, create: bool) -> Result<Option<Store>, Failure> {
    match Store::open_read_only(path, &Options::default()) {
        // One that is held by a server is there.
        Ok(_) | Err(Error::Locked { .. }) => Ok(None),
        Err(Error::NotFound { .. }) if create => Ok(Some(Store::create(path, &Options::default())?)),
        Err(error @ Error::NotFound { .. }) => Err(Failure::from(error).hint(format!(
            "`headcount import {} FILE` makes a store of a file of users; --create-store makes an empty one",
            shell_quoted(path)
        ))),
        Err(error) => Err(error.into()),
    }
}
