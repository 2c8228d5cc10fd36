//! `headcount serve`

use std::net::SocketAddr;
use std::path::PathBuf;

use headcount_server::Network;

use crate::failure::{Failure, Outcome};
use crate::logging::{LogFormat, LogLevel};
use crate::server;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Serves socialize.exportUsers and its neighbours (docs/API.md). With a STORE no configuration is
needed: the first start writes STORE.keys.toml, which names the site and its keys, and STORE.secret.
They are for the owner alone. Options in place of the file's listener: --listen, --tls-cert and
--tls-key, --plain-http, --insecure-loopback.
SIGHUP reads keys and certificates anew, SIGTERM and Ctrl-C stop: requests under way are answered,
a second one breaks them off.

Examples:
  headcount serve site.hc
  headcount serve site.hc --insecure-loopback
  headcount serve site.hc --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem
  headcount serve --config headcount.toml --log-format json --audit-log exports.log";

/// Options of `headcount serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store, to serve as one site
    #[arg(required_unless_present = "config", conflicts_with = "config")]
    pub(crate) store: Option<PathBuf>,
    /// Serve the sites of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How to listen, in place of what the file says.
    #[command(flatten)]
    pub(crate) listener: Listener,
    /// Address of /metrics, /healthz and /readyz
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Write a line for each export into this file instead of to standard error
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_log: Option<PathBuf>,
    /// Form of log lines
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// What is logged
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub(crate) log_level: LogLevel,
}

/// How to listen.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[group(id = "listener", multiple = true, conflicts_with = "config")]
pub(crate) struct Listener {
    /// Address to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Certificate chain in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key of the certificate in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Serve others without TLS, as behind a proxy that has it
    #[arg(long, conflicts_with = "tls_cert")]
    pub(crate) plain_http: bool,
    /// Take secrets and tokens from this machine without TLS
    #[arg(long)]
    pub(crate) insecure_loopback: bool,
    /// URL by which clients know the server; signatures are of one of them
    #[arg(long = "public-url", value_name = "URL")]
    pub(crate) public_urls: Vec<String>,
    /// Network whose Forwarded and X-Forwarded-* headers are believed
    #[arg(long = "trusted-proxy", value_name = "NETWORK")]
    pub(crate) trusted_proxies: Vec<Network>,
}

/// Serves until it is told to stop.
///
/// # Errors
/// When the configuration or a store cannot be read, or an address not be listened on.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    server::serve(args, ui)?;
    Ok(Outcome::Done)
}
