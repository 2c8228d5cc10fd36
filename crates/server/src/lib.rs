//! HTTP(S) around `socialize.exportUsers`: sockets, TLS, streaming, limits, metrics. What a request means is decided by
//! [`headcount::method`], without a socket; this crate carries bytes.

mod admin;
mod audit;
mod bodies;
mod body;
mod clock;
mod config;
mod connection;
mod forwarded;
mod limiter;
mod metrics;
mod notify;
mod registry;
mod server;
mod service;
mod shared;
mod slots;
mod tls;
mod tokens;
mod transfer;
mod watch;
mod watched;

pub use config::{
    Config, ConfigEdit, ConfigError, EditError, Limits, Listen, Network, NetworkError, SecretSource, SiteConfig, Tls,
    UserKeyConfig, permission_name, permission_named, printable, private_text, random_api_key, random_user_key,
    remove_secret_files, shell_quoted,
};
pub use notify::{ready, reloading};
pub use server::{Handle, Server, ServerError};
pub use tls::TlsError;
