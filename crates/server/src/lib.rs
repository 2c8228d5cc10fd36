//! HTTP(S) around `socialize.exportUsers`: sockets, TLS, streaming, limits, metrics. What a request means is decided by
//! [`headcount::method`], without a socket; this crate carries bytes.

mod config;

pub use config::{
    Config, ConfigEdit, ConfigError, EditError, Limits, Listen, Network, NetworkError, SecretSource, SiteConfig, Tls,
    UserKeyConfig, permission_name, permission_named, printable, private_text, random_api_key, random_user_key,
    remove_secret_files, shell_quoted,
};
