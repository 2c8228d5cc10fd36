//! Sites: an apiKey, a store, and the keys that open it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use headcount_store::Store;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Base64 as it is written by hand: with padding or without.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A shared secret: text in base64, whose bytes are the key of signatures. It shows itself to nobody.
#[derive(Clone)]
pub struct Secret {
    bytes: Vec<u8>,
    digest: [u8; 32],
}

/// A text that is no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a secret is base64 of at least one byte")]
pub struct SecretError;

impl Secret {
    /// The secret of this text; white space around it is left out.
    ///
    /// # Errors
    /// When it is not base64, or empty.
    pub fn new(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        let bytes = BASE64.decode(text).ok().filter(|bytes| !bytes.is_empty()).ok_or(SecretError)?;
        Ok(Self { bytes, digest: digest(text) })
    }

    /// What stands in for the secret of a key that does not exist, so that looking for it takes as long.
    pub(crate) fn decoy() -> Self {
        Self { bytes: vec![0; 32], digest: [0; 32] }
    }

    /// The key of signatures.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether this is the secret's text; the time that it takes says nothing.
    pub(crate) fn is(&self, text: &str) -> bool {
        self.digest.ct_eq(&digest(text)).into()
    }

    /// What tells it from others and gives nothing of it away.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"headcount fingerprint of a secret\0");
        hash.update(self.digest);
        hex(hash.finalize().get(..16).unwrap_or_default())
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Read: exportUsers, getUserInfo.
    Export,
    /// Change users.
    Write,
}

/// A key of a site for one application or person, with its own secrets.
#[derive(Debug, Clone)]
pub struct UserKey {
    /// Its name in requests: `userKey`.
    pub key: String,
    /// Its active secrets: one, or two while they are exchanged.
    pub secrets: Vec<Secret>,
    /// What it may do.
    pub permissions: Vec<Permission>,
}

/// A site: a store and who may ask for what is in it.
#[derive(Debug, Clone)]
pub struct Site {
    /// Its public name in requests.
    pub api_key: String,
    /// Its users.
    pub store: Arc<Store>,
    /// Its active secrets: one, or two while they are exchanged. They may do everything.
    pub secrets: Vec<Secret>,
    /// Keys with less than all permissions.
    pub user_keys: Vec<UserKey>,
}

impl Site {
    /// A site with one secret and no user keys.
    #[must_use]
    pub fn new(api_key: impl Into<String>, store: Arc<Store>, secret: Secret) -> Self {
        Self { api_key: api_key.into(), store, secrets: vec![secret], user_keys: Vec::new() }
    }

    /// The same site with one more user key.
    #[must_use]
    pub fn with_user_key(
        mut self,
        key: impl Into<String>,
        secret: Secret,
        permissions: impl IntoIterator<Item = Permission>,
    ) -> Self {
        let permissions = permissions.into_iter().collect();
        self.user_keys.push(UserKey { key: key.into(), secrets: vec![secret], permissions });
        self
    }

    pub(crate) fn user_key(&self, key: &str) -> Option<&UserKey> {
        self.user_keys.iter().find(|known| known.key == key)
    }

    /// The secrets of the site, or of one of its user keys.
    pub(crate) fn secrets(&self, user_key: Option<&str>) -> Option<&[Secret]> {
        match user_key {
            None => Some(&self.secrets),
            Some(key) => self.user_key(key).map(|key| key.secrets.as_slice()),
        }
    }
}

/// The sites that are served.
#[derive(Debug, Clone, Default)]
pub struct Sites {
    by_key: HashMap<String, Arc<Site>>,
    /// User key to apiKey: getToken takes a user key alone.
    owners: HashMap<String, String>,
}

/// A name that is used twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} is used twice, or is empty")]
pub struct SitesError {
    what: &'static str,
    name: String,
}

impl Sites {
    /// These sites.
    ///
    /// # Errors
    /// When an apiKey or a user key is empty, or is used twice.
    pub fn new(sites: impl IntoIterator<Item = Site>) -> Result<Self, SitesError> {
        let mut this = Self::default();
        for site in sites {
            for key in &site.user_keys {
                let name = key.key.clone();
                if name.is_empty() || this.owners.insert(name.clone(), site.api_key.clone()).is_some() {
                    return Err(SitesError { what: "the user key", name });
                }
            }
            let name = site.api_key.clone();
            if name.is_empty() || this.by_key.insert(name.clone(), Arc::new(site)).is_some() {
                return Err(SitesError { what: "the apiKey", name });
            }
        }
        Ok(this)
    }

    /// The site of that apiKey.
    #[must_use]
    pub fn get(&self, api_key: &str) -> Option<&Arc<Site>> {
        self.by_key.get(api_key)
    }

    /// Every site, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Site>> {
        self.by_key.values()
    }

    /// The site that has this user key.
    pub(crate) fn of_user_key(&self, key: &str) -> Option<&Arc<Site>> {
        self.by_key.get(self.owners.get(key)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_compared_and_not_shown() {
        let secret = Secret::new(" c2VjcmV0LWtleS1mb3ItdGVzdGluZy1vbmx5ISE=\n").unwrap();
        assert_eq!(secret.bytes(), b"secret-key-for-testing-only!!");
        assert!(secret.is("c2VjcmV0LWtleS1mb3ItdGVzdGluZy1vbmx5ISE="));
        assert!(!secret.is("c2VjcmV0LWtleS1mb3ItdGVzdGluZy1vbmx5ISE"));
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(secret.fingerprint().len(), 32);
        for bad in ["", "  ", "not base64", "===="] {
            assert_eq!(Secret::new(bad).unwrap_err(), SecretError);
        }
    }

    #[test]
    fn names_are_used_once() {
        let secret = || Secret::new("AAAA").unwrap();
        let store = Arc::new(Store::temporary().unwrap());
        let site = |key: &str| Site::new(key, Arc::clone(&store), secret());
        assert!(Sites::new([site("a"), site("b")]).is_ok());
        for twice in [vec![site("a"), site("a")], vec![site("")]] {
            assert_eq!(Sites::new(twice).unwrap_err().what, "the apiKey");
        }
        let keyed = |key: &str| site(key).with_user_key("u", secret(), [Permission::Export]);
        assert_eq!(Sites::new([keyed("a"), keyed("b")]).unwrap_err().what, "the user key");
        assert_eq!(Sites::new([keyed("a")]).unwrap().of_user_key("u").unwrap().api_key, "a");
    }
}
