//! Changing a configuration: sites and keys are added and removed, and everything else in the file stays as it is written.
//!
//! A [`ConfigEdit`] is the file, locked and read; [`ConfigEdit::save`] checks the new text as a server would, and replaces
//! the file. A new secret is on the disk before the configuration names it; one that is no longer named goes after.

use std::io;
use std::path::{Path, PathBuf, absolute};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use headcount::method::Permission;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, Value};

use crate::config::check::name_problem;
use crate::config::error::{ConfigError, printable, shell_quoted};
use crate::config::file::{Locked, remove_if_there};
use crate::config::permissions::permission_name;
use crate::config::tables::{AnyTable, push_value, remove_value};
use crate::config::{Config, SecretSource, SiteConfig, UserKeyConfig};

/// A new configuration.
const TEMPLATE: &str = "\
# The configuration of `headcount serve`. Paths are relative to this file; secrets are in files of their own.
# `headcount site` adds sites and keys. A running server takes changes over on SIGHUP.

# Where to listen. For others than this machine's own clients add TLS:
#   address = \"[::]:443\"
#   tls = { cert = \"fullchain.pem\", key = \"privkey.pem\" }
[[listen]]
address = \"127.0.0.1:8080\"
";

/// Why a configuration was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// It is wrong as it is, or would be: see there.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What was asked for cannot be: do what the message says.
    #[error("{problem}")]
    Refused {
        /// What cannot be, and what to do.
        problem: String,
    },
    /// A file cannot be read or written: look at its permissions, and at the disk.
    #[error("cannot {what} {}", printable(&path.to_string_lossy()))]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl EditError {
    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.to_path_buf(), source }
    }

    fn refused(problem: String) -> Self {
        Self::Refused { problem }
    }
}

/// A configuration that is being changed. Others who want to change it wait until this is dropped or saved.
#[derive(Debug)]
pub struct ConfigEdit {
    file: Locked,
    document: DocumentMut,
    /// What the file says before the change.
    config: Config,
    /// Files of secrets that were made and are not named yet.
    made: Vec<PathBuf>,
    is_new: bool,
}

impl ConfigEdit {
    /// The configuration at `path`, to be changed.
    ///
    /// # Errors
    /// When it is not there, or wrong.
    pub fn open(path: &Path) -> Result<Self, EditError> {
        Self::open_with(path, None)
    }

    /// The same; where nothing is at `path`, a new one with a listener at 127.0.0.1:8080.
    ///
    /// # Errors
    /// When it is wrong, or cannot be read.
    pub fn open_or_new(path: &Path) -> Result<Self, EditError> {
        Self::open_with(path, Some(TEMPLATE))
    }

    fn open_with(path: &Path, template: Option<&str>) -> Result<Self, EditError> {
        let (file, bytes) = Locked::open(path)?;
        let is_new = bytes.is_none();
        let text = match (bytes, template) {
            (Some(bytes), _) => String::from_utf8(bytes).map_err(|error| {
                EditError::io("read", path, io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
            })?,
            (None, Some(template)) => template.to_owned(),
            (None, None) => return Err(EditError::io("read", path, io::ErrorKind::NotFound.into())),
        };
        let config = Config::parse(&text, path)?;
        let document = text.parse().map_err(|_| EditError::io("parse", path, io::ErrorKind::InvalidData.into()))?;
        Ok(Self { file, document, config, made: Vec::new(), is_new })
    }

    /// What the file says before the change, with absolute paths.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Whether there was no file.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// Adds a site with a new secret. Returns the path of the secret.
    ///
    /// # Errors
    /// When there is a key of that name, or the secret cannot be written.
    pub fn add_site(&mut self, api_key: &str, store: &Path) -> Result<PathBuf, EditError> {
        self.add_site_as(api_key, store, &stem(api_key))
    }

    /// The same, with a secret whose file is named after the store: `site.hc.secret`.
    ///
    /// # Errors
    /// As [`add_site`](Self::add_site).
    pub fn add_site_of_store(&mut self, api_key: &str, store: &Path) -> Result<PathBuf, EditError> {
        let name = store.components().next_back().map(|name| name.as_os_str().to_string_lossy().into_owned());
        self.add_site_as(api_key, store, &name.unwrap_or_else(|| stem(api_key)))
    }

    fn add_site_as(&mut self, api_key: &str, store: &Path, stem: &str) -> Result<PathBuf, EditError> {
        self.check_free("apiKey", api_key)?;
        let store = absolute(store).map_err(|e| EditError::io("find", store, e))?;
        let secret = self.new_secret(stem)?;
        let mut site = Table::new();
        site.insert("api_key", text(api_key));
        site.insert("store", text(self.relative(&store)?));
        site.insert("secrets", Item::Value(secret_list(secret_entry(&secret)?)));
        AnyTable::Section(self.document.as_table_mut()).push("site", site);
        Ok(self.file.base().join(secret))
    }

    /// Adds a user key with a new secret to a site. Returns the path of the secret.
    ///
    /// # Errors
    /// When there is no such site, or a key of that name already, or the secret cannot be written.
    pub fn add_user_key(&mut self, api_key: &str, key: &str, permissions: &[Permission]) -> Result<PathBuf, EditError> {
        self.site(api_key)?;
        self.check_free("user key", key)?;
        let secret = self.new_secret(&format!("{}.{}", stem(api_key), stem(key)))?;
        let mut table = Table::new();
        table.insert("key", text(key));
        let names: Array = permissions.iter().map(|permission| permission_name(*permission)).collect();
        table.insert("permissions", Item::Value(names.into()));
        table.insert("secrets", Item::Value(secret_list(secret_entry(&secret)?)));
        self.table(api_key, None)?.push("user_key", table);
        Ok(self.file.base().join(secret))
    }

    /// Adds a second secret to a site or one of its user keys. Returns its path.
    ///
    /// # Errors
    /// When there is no such key, or it has two secrets already, or the secret cannot be written.
    pub fn add_secret(&mut self, api_key: &str, user_key: Option<&str>) -> Result<PathBuf, EditError> {
        let secrets = self.secrets(api_key, user_key)?;
        if secrets.len() >= 2 {
            let which = which(api_key, user_key);
            return Err(EditError::refused(format!(
                "{which} has two secrets already, {}; when no client uses one of them any more, take it away with \
                 `headcount site key-revoke --secret`, and try again",
                secrets.iter().map(shown).collect::<Vec<_>>().join(" and ")
            )));
        }
        let stem = user_key.map_or_else(|| stem(api_key), |key| format!("{}.{}", stem(api_key), stem(key)));
        let secret = self.new_secret(&stem)?;
        let entry = secret_entry(&secret)?;
        if let Some(list) = self.table(api_key, user_key)?.array("secrets") {
            push_value(list, entry);
        }
        Ok(self.file.base().join(secret))
    }

    /// Takes a user key away. Returns its secrets.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn remove_user_key(&mut self, api_key: &str, key: &str) -> Result<Vec<SecretSource>, EditError> {
        let secrets = self.secrets(api_key, Some(key))?.to_vec();
        self.table(api_key, None)?.remove("user_key", "key", key);
        Ok(secrets)
    }

    /// Takes one of two secrets from a site or a user key.
    ///
    /// # Errors
    /// When there is no such key, the secret is not one of its, or its last.
    pub fn remove_secret(
        &mut self,
        api_key: &str,
        user_key: Option<&str>,
        secret: &SecretSource,
    ) -> Result<(), EditError> {
        let secrets = self.secrets(api_key, user_key)?;
        let which = which(api_key, user_key);
        let Some(index) = secrets.iter().position(|known| known == secret) else {
            let known = secrets.iter().map(shown).collect::<Vec<_>>().join(" and ");
            return Err(EditError::refused(format!("{} is no secret of {which}; there is {known}", shown(secret))));
        };
        if secrets.len() == 1 {
            let remedy = match user_key {
                Some(_) => "leave --secret out to revoke the key itself",
                None => "give the site another with `headcount site key-add --rotate` first",
            };
            return Err(EditError::refused(format!("{} is the last secret of {which}; {remedy}", shown(secret))));
        }
        if let Some(list) = self.table(api_key, user_key)?.array("secrets") {
            remove_value(list, index);
        }
        Ok(())
    }

    /// The secret that `name` means: `env:NAME`, or a path as the configuration has it, or from the current directory.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn secret_named(&self, api_key: &str, user_key: Option<&str>, name: &str) -> Result<SecretSource, EditError> {
        if let Some(variable) = name.strip_prefix("env:") {
            return Ok(SecretSource::Env(variable.to_owned()));
        }
        let here = absolute(name).map_err(|e| EditError::io("find", Path::new(name), e))?;
        let candidates = [SecretSource::File(self.file.base().join(name)), SecretSource::File(here.clone())];
        let secrets = self.secrets(api_key, user_key)?;
        let found = candidates.into_iter().find(|candidate| secrets.contains(candidate));
        Ok(found.unwrap_or(SecretSource::File(here)))
    }

    /// Checks the new text and puts it in the place of the old, durably.
    ///
    /// # Errors
    /// When the text would be wrong, or cannot be written: everything is as it was then, unless it is the last step that
    /// fails, which waits for the disk.
    pub fn save(mut self) -> Result<Config, EditError> {
        let text = self.document.to_string();
        let config = Config::parse(&text, &self.file.path)?;
        self.file.replace(&text)?;
        self.made.clear();
        self.file.sync()?;
        Ok(config)
    }

    fn new_secret(&mut self, stem: &str) -> Result<PathBuf, EditError> {
        let name = self.file.new_secret(stem)?;
        self.made.push(self.file.base().join(&name));
        Ok(name)
    }

    fn check_free(&self, what: &str, name: &str) -> Result<(), EditError> {
        if let Some(problem) = name_problem(name) {
            return Err(EditError::refused(format!("the {what} {name:?} {problem}")));
        }
        let user_keys = self.config.sites.iter().flat_map(|site| &site.user_keys).map(|key| key.key.as_str());
        let mut all = self.config.sites.iter().map(|site| site.api_key.as_str()).chain(user_keys);
        if !all.any(|known| known == name) {
            return Ok(());
        }
        Err(EditError::refused(format!(
            "there is a site or user key {name:?} already; give another name, or a second secret with `headcount site \
             key-add --rotate`"
        )))
    }

    fn site(&self, api_key: &str) -> Result<&SiteConfig, EditError> {
        let known = &self.config.sites;
        known.iter().find(|site| site.api_key == api_key).ok_or_else(|| {
            let file = shell_quoted(&self.file.path);
            EditError::refused(format!("there is no site {api_key:?}; `headcount site list --config {file}` names all"))
        })
    }

    /// The secrets of a site or one of its user keys.
    fn secrets(&self, api_key: &str, user_key: Option<&str>) -> Result<&[SecretSource], EditError> {
        let site = self.site(api_key)?;
        let Some(name) = user_key else { return Ok(&site.secrets) };
        let key: Option<&UserKeyConfig> = site.user_keys.iter().find(|key| key.key == name);
        key.map(|key| key.secrets.as_slice()).ok_or_else(|| {
            let file = shell_quoted(&self.file.path);
            EditError::refused(format!(
                "the site {api_key:?} has no user key {name:?}; `headcount site list --config {file}` names all"
            ))
        })
    }

    /// The table of a site or one of its user keys.
    fn table(&mut self, api_key: &str, user_key: Option<&str>) -> Result<AnyTable<'_>, EditError> {
        let site = AnyTable::Section(self.document.as_table_mut()).find("site", "api_key", api_key);
        let found = match user_key {
            Some(key) => site.and_then(|site| site.find("user_key", "key", key)),
            None => site,
        };
        found.ok_or_else(|| EditError::refused(format!("there is no {}", which(api_key, user_key))))
    }

    /// An absolute path as the configuration names it: relative to its own directory where it lies below that.
    fn relative<'p>(&self, path: &'p Path) -> Result<&'p str, EditError> {
        utf8(path.strip_prefix(self.file.base()).ok().filter(|rest| !rest.as_os_str().is_empty()).unwrap_or(path))
    }
}

impl Drop for ConfigEdit {
    fn drop(&mut self) {
        for path in &self.made {
            // Nobody knows of it: left behind, it does no harm.
            drop(remove_if_there(path));
        }
    }
}

/// Removes files of secrets that `config` does not name any more. Returns those that are still there, with why.
#[must_use]
pub fn remove_secret_files(config: &Config, secrets: &[SecretSource]) -> Vec<(PathBuf, io::Error)> {
    let files = secrets.iter().filter(|secret| !config.all_secrets().any(|named| named == *secret));
    let paths = files.filter_map(|secret| match secret {
        SecretSource::File(path) => Some(path),
        SecretSource::Env(_) => None,
    });
    paths.filter_map(|path| remove_if_there(path).err().map(|error| (path.clone(), error))).collect()
}

/// A new apiKey, as the vendor's look: `3_` and 64 characters that need no escaping in URLs.
///
/// # Errors
/// When the system has no random bytes.
pub fn random_api_key() -> io::Result<String> {
    random_name::<48>("3_")
}

/// A new name of a user key.
///
/// # Errors
/// When the system has no random bytes.
pub fn random_user_key() -> io::Result<String> {
    random_name::<12>("u_")
}

fn random_name<const N: usize>(start: &str) -> io::Result<String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(format!("{start}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// The beginning of a name for files: what no shell acts on.
fn stem(key: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let stem: String = key.chars().take(12).map(plain).collect();
    if stem.starts_with('-') { format!("_{stem}") } else { stem }
}

fn which(api_key: &str, user_key: Option<&str>) -> String {
    match user_key {
        Some(key) => format!("user key {key:?} of the site {api_key:?}"),
        None => format!("site {api_key:?}"),
    }
}

fn shown(secret: &SecretSource) -> String {
    match secret {
        SecretSource::File(path) => shell_quoted(path),
        SecretSource::Env(name) => format!("env:{}", printable(name)),
    }
}

fn text(text: &str) -> Item {
    Item::Value(text.into())
}

fn utf8(path: &Path) -> Result<&str, EditError> {
    path.to_str().ok_or_else(|| {
        let shown = printable(&path.to_string_lossy());
        EditError::refused(format!("{shown} is not UTF-8, which a configuration cannot hold; give it another name"))
    })
}

/// `{ file = "…" }`
fn secret_entry(file: &Path) -> Result<InlineTable, EditError> {
    let mut entry = InlineTable::new();
    entry.insert("file", utf8(file)?.into());
    Ok(entry)
}

fn secret_list(entry: InlineTable) -> Value {
    let mut list = Array::new();
    list.push(entry);
    list.into()
}

#[cfg(test)]
mod tests;
