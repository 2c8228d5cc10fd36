//! HTTP(S) around `socialize.exportUsers`: sockets, TLS, streaming, limits, metrics. What a request means is decided by
//! [`headcount::method`], without a socket; this crate carries bytes.

mod config;

pub use config::{Config, Limits, Listen, SecretSource, SiteConfig, Tls, UserKeyConfig};
