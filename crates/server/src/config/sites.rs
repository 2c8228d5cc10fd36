//! The sites of a configuration: stores opened, secrets read.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headcount::Store;
use headcount::method::{Secret, Site, Sites, UserKey};

use crate::config::{Config, ConfigError, SecretSource, SiteConfig, UserKeyConfig};

impl Config {
    /// The sites, with their secrets read and their stores from `open`, which is asked once for each store, by its
    /// canonical path, however many sites have it and however they name it. Secrets are read first, so that nothing is
    /// opened in vain.
    ///
    /// # Errors
    /// When a secret cannot be had or a store not be opened.
    pub fn sites(
        &self,
        mut open: impl FnMut(&Path) -> Result<Arc<Store>, headcount::Error>,
    ) -> Result<Sites, ConfigError> {
        let keys = self.sites.iter().map(Keys::read).collect::<Result<Vec<_>, _>>()?;
        let mut stores: HashMap<PathBuf, Arc<Store>> = HashMap::new();
        let mut sites = Vec::with_capacity(self.sites.len());
        for (site, Keys { secrets, user_keys }) in self.sites.iter().zip(keys) {
            // One that is not there has no canonical path; opening it then says so.
            let path = fs::canonicalize(&site.store).unwrap_or_else(|_| site.store.clone());
            let store = match stores.get(&path) {
                Some(store) => Arc::clone(store),
                None => {
                    let store = open(&path).map_err(|source| ConfigError::Store {
                        api_key: site.api_key.clone(),
                        path: path.clone(),
                        source: Box::new(source),
                    })?;
                    stores.entry(path).or_insert(store).clone()
                }
            };
            sites.push(Site { api_key: site.api_key.clone(), store, secrets, user_keys });
        }
        Ok(Sites::new(sites)?)
    }

    /// Where the secrets of all keys are.
    pub(super) fn all_secrets(&self) -> impl Iterator<Item = &SecretSource> {
        self.sites.iter().flat_map(|site| {
            let of_user_keys = site.user_keys.iter().flat_map(|key| &key.secrets);
            site.secrets.iter().chain(of_user_keys)
        })
    }
}

/// The secrets of a site and its user keys.
struct Keys {
    secrets: Vec<Secret>,
    user_keys: Vec<UserKey>,
}

impl Keys {
    fn read(site: &SiteConfig) -> Result<Self, ConfigError> {
        let secrets = secrets(&site.secrets, || format!("site {:?}", site.api_key))?;
        let user_keys = site.user_keys.iter().map(|key| user_key(site, key)).collect::<Result<_, _>>()?;
        Ok(Self { secrets, user_keys })
    }
}

fn user_key(site: &SiteConfig, key: &UserKeyConfig) -> Result<UserKey, ConfigError> {
    let secrets = secrets(&key.secrets, || format!("user key {:?} of the site {:?}", key.key, site.api_key))?;
    Ok(UserKey { key: key.key.clone(), secrets, permissions: key.permissions.clone() })
}

fn secrets(sources: &[SecretSource], key: impl Fn() -> String) -> Result<Vec<Secret>, ConfigError> {
    let read = |source: &SecretSource| source.read().map_err(|e| ConfigError::Key { key: key(), source: Box::new(e) });
    sources.iter().map(read).collect()
}
