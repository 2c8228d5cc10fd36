//! `headcount site list`

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use headcount_server::{Config, SecretSource, SiteConfig, permission_name, printable};

use super::shown;
use crate::failure::{Failure, Outcome};
use crate::ui;

const EXAMPLES: &str = "\
Secrets are looked at as this process and its environment see them: run it as the server's user.

Examples:
  headcount site list --config hc.toml
  headcount site list --config hc.toml --json";

/// Options of `headcount site list`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Write one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report {
    sites: Vec<Site>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Site {
    api_key: String,
    store: PathBuf,
    /// Whether there is a directory.
    store_found: bool,
    secrets: Vec<Secret>,
    user_keys: Vec<UserKey>,
}

#[derive(serde::Serialize)]
struct UserKey {
    key: String,
    permissions: Vec<&'static str>,
    secrets: Vec<Secret>,
}

/// Where a secret is and whether it can be had.
#[derive(serde::Serialize)]
struct Secret {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<String>,
    /// Of the file, in octal.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    readable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Lists the sites.
///
/// # Errors
/// When the configuration cannot be read, or is wrong.
pub(super) fn run(args: &Args) -> Result<Outcome, Failure> {
    let config = Config::load(&args.config)?;
    let report = Report { sites: config.sites.iter().map(Site::new).collect() };
    if args.json {
        ui::print_json(&report)?;
    } else {
        let text: String = report.sites.iter().map(Site::text).collect();
        ui::print_bytes(text.as_bytes())?;
    }
    Ok(Outcome::Done)
}

impl Site {
    fn new(site: &SiteConfig) -> Self {
        let user_keys = site.user_keys.iter().map(|key| UserKey {
            key: key.key.clone(),
            permissions: key.permissions.iter().map(|permission| permission_name(*permission)).collect(),
            secrets: key.secrets.iter().map(Secret::new).collect(),
        });
        Self {
            api_key: site.api_key.clone(),
            store: site.store.clone(),
            store_found: site.store.is_dir(),
            secrets: site.secrets.iter().map(Secret::new).collect(),
            user_keys: user_keys.collect(),
        }
    }

    fn text(&self) -> String {
        let found = if self.store_found { "" } else { ": not there" };
        let mut text = format!("site {}\n  store  {}{found}\n", printable(&self.api_key), shown(&self.store));
        text.extend(self.secrets.iter().map(|secret| format!("  secret {}\n", secret.text())));
        for key in &self.user_keys {
            text.push_str(&format!("  user key {}: {}\n", printable(&key.key), key.permissions.join(", ")));
            text.extend(key.secrets.iter().map(|secret| format!("    secret {}\n", secret.text())));
        }
        text
    }
}

impl Secret {
    fn new(source: &SecretSource) -> Self {
        let problem = source.read().err().map(|error| Failure::from(error).to_string());
        let (file, env, mode) = match source {
            SecretSource::File(path) => {
                let mode = fs::metadata(path).ok().map(|found| format!("{:04o}", found.mode() & 0o7777));
                (Some(path.clone()), None, mode)
            }
            SecretSource::Env(name) => (None, Some(name.clone()), None),
        };
        Self { file, env, mode, readable: problem.is_none(), problem }
    }

    fn text(&self) -> String {
        let place = match (&self.file, &self.env) {
            (Some(path), _) => shown(path),
            (None, name) => format!("env:{}", printable(name.as_deref().unwrap_or_default())),
        };
        let mode = self.mode.as_ref().map_or_else(String::new, |mode| format!(", mode {mode}"));
        match &self.problem {
            Some(problem) => format!("{place}{mode}: {problem}"),
            None => format!("{place}{mode}"),
        }
    }
}
