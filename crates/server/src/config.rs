//! The configuration of a server: a file in TOML, read, checked, and turned into listeners, limits and sites.
//!
//! [`Config::load`] goes through `load.rs` (read, parse, paths) and `check.rs` (what types cannot say). Secrets stand in
//! files of their own or in the environment, and are read by `secret.rs` when [`Config::sites`] is called. `edit.rs` changes
//! the file for `headcount site`.

mod check;
mod edit;
mod error;
mod file;
mod load;
mod network;
mod permissions;
mod secret;
mod sites;
mod tables;

use std::net::SocketAddr;
use std::path::PathBuf;

use headcount::method::Permission;
use serde::Deserialize;

pub use edit::{ConfigEdit, EditError, random_api_key, random_user_key, remove_secret_files};
pub use error::{ConfigError, printable, shell_quoted};
pub use network::{Network, NetworkError};
pub use permissions::{permission_name, permission_named};
pub use secret::{SecretSource, private_text};

/// What the file says. Paths in it are relative to the file's directory; [`Config::load`] makes them absolute.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen: at least one.
    pub listen: Vec<Listen>,
    /// URLs by which clients know this server; with any, signatures are of one of them.
    pub public_urls: Vec<String>,
    /// Networks (`10.0.0.0/8`, `::1`) whose `Forwarded` and `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<Network>,
    /// Address of `/metrics`, `/healthz` and `/readyz`.
    #[serde(deserialize_with = "load::some_address")]
    pub metrics: Option<SocketAddr>,
    /// Where tokens are kept. [`Config::load`] puts the file's own name with the extension `tokens` where none is given.
    pub tokens: Option<PathBuf>,
    /// Longest lifetime of a token, in seconds.
    pub token_lifetime: u64,
    /// Bounds of what clients may take.
    pub limits: Limits,
    /// The sites.
    #[serde(rename = "site")]
    pub sites: Vec<SiteConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            public_urls: Vec::new(),
            trusted_proxies: Vec::new(),
            metrics: None,
            tokens: None,
            token_lifetime: 3600,
            limits: Limits::default(),
            sites: Vec::new(),
        }
    }
}

/// One address.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// The address.
    #[serde(deserialize_with = "load::address")]
    pub address: SocketAddr,
    /// Certificate chain and key; plain HTTP without.
    pub tls: Option<Tls>,
    /// Whether plain HTTP is meant on an address that others can reach.
    #[serde(default)]
    pub plain_http: bool,
    /// Whether secrets and tokens are taken from this machine without TLS.
    #[serde(default)]
    pub insecure_loopback: bool,
}

/// Files of PEM.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain, the server's own first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Bounds of what clients may take.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: usize,
    /// Of them from one address (of IPv6 one /64); this machine and trusted proxies are exempt.
    pub connections_per_address: usize,
    /// Seconds for a TLS handshake.
    pub handshake_seconds: u64,
    /// Seconds from the first byte of a request to the end of its headers, and again to the end of its body.
    pub request_seconds: u64,
    /// Seconds that a connection may wait for its next request.
    pub idle_seconds: u64,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Exports that are rendered at the same time; others wait their turn.
    pub exports: usize,
    /// Exports that are under way at the same time, however slow their clients are.
    pub transfers: usize,
    /// Of them of one key.
    pub transfers_per_key: usize,
    /// Exports that wait to begin; with 0 none waits.
    pub queue: usize,
    /// Seconds that they wait before they are told to come again.
    pub queue_seconds: u64,
    /// Seconds over which a client has to take `slow_bytes`; else it is dropped.
    pub slow_seconds: u64,
    /// Bytes that a client has to take in `slow_seconds`.
    pub slow_bytes: u64,
    /// Requests of one key in a second, on average over ten; 0 for any number.
    pub requests_per_second: u64,
    /// Seconds that requests under way get when the server is stopped.
    pub drain_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8192,
            connections_per_address: 256,
            handshake_seconds: 10,
            request_seconds: 10,
            idle_seconds: 60,
            body_bytes: 1 << 20,
            exports: 8,
            transfers: 256,
            transfers_per_key: 256,
            queue: 256,
            queue_seconds: 30,
            slow_seconds: 30,
            slow_bytes: 64 << 10,
            requests_per_second: 0,
            drain_seconds: 30,
        }
    }
}

/// A site.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// Its public name in requests.
    pub api_key: String,
    /// Its store. Several sites may have the same.
    pub store: PathBuf,
    /// Where its active secrets are: one, or two while they are exchanged.
    #[serde(deserialize_with = "secret::list")]
    pub secrets: Vec<SecretSource>,
    /// Keys with less than all permissions.
    #[serde(default, rename = "user_key")]
    pub user_keys: Vec<UserKeyConfig>,
}

/// A user key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserKeyConfig {
    /// Its name in requests.
    pub key: String,
    /// What it may do: `export`, `write`.
    #[serde(deserialize_with = "permissions::deserialize")]
    pub permissions: Vec<Permission>,
    /// Where its active secrets are.
    #[serde(deserialize_with = "secret::list")]
    pub secrets: Vec<SecretSource>,
}

#[cfg(test)]
mod tests;
