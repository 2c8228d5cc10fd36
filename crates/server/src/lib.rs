//! HTTP(S) around `socialize.exportUsers`: sockets, TLS, streaming, limits, metrics. What a request means is decided by
//! [`headcount::method`], without a socket; this crate carries bytes.

mod config;

pub use config::{
    Config, ConfigError, Limits, Listen, Network, NetworkError, SecretSource, SiteConfig, Tls, UserKeyConfig,
    permission_name, permission_named, printable, private_text, shell_quoted,
};
