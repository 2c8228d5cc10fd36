//! The server: its listeners, its tasks, its end.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use headcount::method::{Api, NoncesInUse, Settings, Sites};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch as stage;

use crate::admin;
use crate::clock;
use crate::config::Config;
use crate::connection::{self, Context, Stage};
use crate::limiter::KeyLimiter;
use crate::notify;
use crate::registry::Full;
use crate::shared::Shared;
use crate::tls::{self, Certificate, TlsError};
use crate::tokens::Tokens;

/// How often the rules of time are looked at.
const TICK: Duration = Duration::from_millis(200);
/// How often what is remembered of requests is swept.
const SWEEP: Duration = Duration::from_secs(10);
/// What follows where nonces cannot be written down.
const UNKEPT: &str = "nonces are not kept in a file: after a restart a signed request may pass again until 120 seconds after \
                      its timestamp";
/// How long to wait when there is no room for another connection in the process.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file of tokens cannot be read.
    #[error("cannot read the tokens in {}: {source}; move the file away to begin without tokens", path.display())]
    Tokens {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another server keeps its tokens and nonces there.
    #[error(
        "another server keeps its tokens in {}: expected one server for a file, since a signed request would be good once \
         for each; stop the other, or give this one a file of its own with tokens = \"FILE\"",
        path.display()
    )]
    TokensInUse {
        /// The file.
        path: PathBuf,
    },
    /// The threads of the server cannot be started.
    #[error("cannot start the server's threads: {0}")]
    Runtime(io::Error),
    /// A reload asks for what needs a restart.
    #[error("{0} cannot be changed while the server runs: restart it")]
    NeedsRestart(&'static str),
}

/// One address, bound.
#[derive(Debug)]
struct Bound {
    address: SocketAddr,
    socket: StdListener,
    certificate: Option<Arc<Certificate>>,
    insecure_loopback: bool,
}

/// A server that listens, and serves once it [runs](Self::run).
#[derive(Debug)]
pub struct Server {
    bound: Vec<Bound>,
    admin: Option<StdListener>,
    shared: Arc<Shared>,
    drain: Duration,
    handle: Handle,
}

/// Stops a server and changes what it serves, from any thread.
#[derive(Debug, Clone)]
pub struct Handle {
    stage: Arc<stage::Sender<Stage>>,
    shared: Arc<Shared>,
    api: Arc<Api>,
    certificates: Arc<Mutex<Vec<Reloadable>>>,
    fixed: Arc<Fixed>,
}

/// What of a configuration holds until the server ends.
#[derive(Debug)]
struct Fixed {
    /// Address, whether with TLS, and whether this machine needs none; sorted.
    listeners: Vec<(SocketAddr, bool, bool)>,
    public_urls: Vec<String>,
    metrics: Option<SocketAddr>,
    tokens: Option<PathBuf>,
    token_lifetime: u64,
}

impl Fixed {
    fn of(config: &Config) -> Self {
        let mut listeners: Vec<_> =
            config.listen.iter().map(|l| (l.address, l.tls.is_some(), l.insecure_loopback)).collect();
        listeners.sort_unstable();
        Self {
            listeners,
            public_urls: config.public_urls.clone(),
            metrics: config.metrics,
            tokens: config.tokens.clone(),
            token_lifetime: config.token_lifetime,
        }
    }

    /// The first setting in which `other` differs. All are named here: what is passed over would be taken for applied.
    fn differs(&self, other: &Self) -> Option<&'static str> {
        let Self { listeners, public_urls, metrics, tokens, token_lifetime } = other;
        let addresses = |of: &[(SocketAddr, bool, bool)]| -> Vec<_> { of.iter().map(|l| (l.0, l.1)).collect() };
        let differ = [
            ("listeners", addresses(&self.listeners) != addresses(listeners)),
            ("insecure_loopback", self.listeners != *listeners),
            ("public_urls", self.public_urls != *public_urls),
            ("metrics", self.metrics != *metrics),
            ("tokens", self.tokens != *tokens),
            ("token_lifetime", self.token_lifetime != *token_lifetime),
        ];
        differ.into_iter().find(|(_, differs)| *differs).map(|(name, _)| name)
    }
}

#[derive(Debug)]
struct Reloadable {
    address: SocketAddr,
    certificate: Arc<Certificate>,
}

fn bind(address: SocketAddr) -> Result<(StdListener, SocketAddr), ServerError> {
    let failed = |source| ServerError::Listen { address, source };
    let socket = StdListener::bind(address).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    let bound = socket.local_addr().map_err(failed)?;
    Ok((socket, bound))
}

impl Server {
    /// Listens on every address of `config` for requests to `sites`. Nothing is answered before [`run`](Self::run).
    ///
    /// # Errors
    /// When an address is taken, a certificate cannot be read, or the file of tokens cannot or is another server's.
    pub fn bind(config: &Config, sites: &Sites) -> Result<Self, ServerError> {
        let shared = Arc::new(Shared::new(config.limits.clone(), config.trusted_proxies.clone()));
        let started = clock::now();
        let settings = Settings {
            public_urls: config.public_urls.clone(),
            token_lifetime: Duration::from_secs(config.token_lifetime),
            max_body: config.limits.body_bytes,
            // One thread renders faster than a socket takes; more would only take turns.
            export_threads: Some(1),
            ..Settings::default()
        };
        let mut api = Api::new(sites.clone(), settings, started);
        if let Some(path) = &config.tokens {
            let tokens = Tokens::open(path).map_err(|source| ServerError::Tokens { path: path.clone(), source })?;
            let tokens = Arc::new(tokens);
            api = api.with_tokens(Arc::<Tokens>::clone(&tokens));
            let nonces = Tokens::nonces(path);
            // A directory in which nothing can be written was always good enough for signed requests.
            match api.keep_nonces(&nonces) {
                Ok(()) => {}
                Err(error) if error.get_ref().is_some_and(|error| error.is::<NoncesInUse>()) => {
                    return Err(ServerError::TokensInUse { path: path.clone() });
                }
                Err(error) => tracing::warn!(path = %nonces.display(), %error, "{UNKEPT}"),
            }
            tokens.probe();
        }
        if let Ok(per_second @ 1..) = u32::try_from(config.limits.requests_per_second) {
            api = api.with_limiter(Arc::new(KeyLimiter::new(per_second)));
        }
        let api = Arc::new(api);
        let (mut bound, mut certificates) = (Vec::new(), Vec::new());
        for listen in &config.listen {
            let certificate = match &listen.tls {
                Some(tls) => Some(Arc::new(Certificate::open(&tls.cert, &tls.key)?)),
                None => None,
            };
            let (socket, address) = bind(listen.address)?;
            certificates
                .extend(certificate.clone().map(|certificate| Reloadable { address: listen.address, certificate }));
            bound.push(Bound { address, socket, certificate, insecure_loopback: listen.insecure_loopback });
        }
        let admin = config.metrics.map(bind).transpose()?.map(|(socket, _)| socket);
        let handle = Handle {
            stage: Arc::new(stage::Sender::new(Stage::Running)),
            shared: Arc::clone(&shared),
            api,
            certificates: Arc::new(Mutex::new(certificates)),
            fixed: Arc::new(Fixed::of(config)),
        };
        Ok(Self { bound, admin, shared, drain: Duration::from_secs(config.limits.drain_seconds), handle })
    }

    /// The addresses that are listened on, in the order of the configuration, with the ports that were chosen where it says 0;
    /// and whether each speaks TLS.
    #[must_use]
    pub fn addresses(&self) -> Vec<(SocketAddr, bool)> {
        self.bound.iter().map(|bound| (bound.address, bound.certificate.is_some())).collect()
    }

    /// The address of `/metrics`.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|socket| socket.local_addr().ok())
    }

    /// What stops this server and changes what it serves.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until it is stopped. Requests under way get the time of `drain_seconds` then; what has not ended by that time is
    /// broken off. When it returns no request is under way.
    ///
    /// # Errors
    /// When its threads cannot be started.
    pub fn run(self) -> Result<(), ServerError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("headcount-http")
            .max_blocking_threads(64)
            .build()
            .map_err(ServerError::Runtime)?;
        runtime.block_on(self.serve())?;
        // Only threads that wait for a disk can be left.
        runtime.shutdown_timeout(Duration::from_secs(10));
        Ok(())
    }

    async fn serve(self) -> Result<(), ServerError> {
        let Self { bound, admin, shared, drain, handle } = self;
        let mut tasks = Vec::new();
        for Bound { address, socket, certificate, insecure_loopback } in bound {
            let listener = TcpListener::from_std(socket).map_err(|source| ServerError::Listen { address, source })?;
            let stage = handle.stage.subscribe();
            let (shared, api) = (Arc::clone(&shared), Arc::clone(&handle.api));
            let context = Context { shared, api, certificate, insecure_loopback, stage };
            tasks.push(tokio::spawn(accept(listener, context)));
        }
        if let Some(socket) = admin {
            let listener = TcpListener::from_std(socket).map_err(ServerError::Runtime)?;
            tasks.push(tokio::spawn(admin::serve(listener, Arc::clone(&shared), Arc::clone(&handle.api))));
        }
        tasks.push(tokio::spawn(tick(Arc::clone(&shared))));
        let nonces = handle.fixed.tokens.as_deref().map(Tokens::nonces).unwrap_or_default();
        tasks.push(tokio::spawn(sweep(Arc::clone(&handle.api), nonces)));
        notify::ready();
        let mut stage = handle.stage.subscribe();
        // The sender is in `handle`: it cannot be gone.
        let _stopped = stage.wait_for(|stage| *stage > Stage::Running).await.is_ok();
        drop(stage);
        shared.drain();
        notify::stopping();
        tracing::info!(connections = shared.registry.len(), "stopping: requests under way are answered");
        // Connections and acceptors hold receivers; those who accept let go at once.
        let all_gone = handle.stage.closed();
        tokio::pin!(all_gone);
        if tokio::time::timeout(drain, all_gone.as_mut()).await.is_err() {
            tracing::warn!(connections = shared.registry.len(), "requests under way are broken off");
            handle.stage.send_replace(Stage::Aborting);
            // Each ends at its next step; none waits for anything but the processor.
            let _ended = tokio::time::timeout(Duration::from_secs(5), all_gone).await.is_ok();
        }
        for task in tasks {
            task.abort();
        }
        Ok(())
    }
}

impl Handle {
    /// Stops the server: see [`Server::run`]. A second call breaks off what is still under way.
    pub fn stop(&self) {
        let next = if *self.stage.borrow() == Stage::Running { Stage::Draining } else { Stage::Aborting };
        self.stage.send_replace(next);
    }

    /// The sites that are served.
    #[must_use]
    pub fn sites(&self) -> Arc<Sites> {
        self.api.sites()
    }

    /// Takes over sites, certificates and trusted proxies: all of them, or none where something cannot be read. Requests
    /// under way end as they began.
    ///
    /// # Errors
    /// When a certificate cannot be read, or the configuration asks for what needs a restart.
    pub fn reload(&self, config: &Config, sites: &Sites) -> Result<(), ServerError> {
        if config.limits != self.shared.limits {
            return Err(ServerError::NeedsRestart("limits"));
        }
        if let Some(what) = self.fixed.differs(&Fixed::of(config)) {
            return Err(ServerError::NeedsRestart(what));
        }
        let certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        let with_tls = config.listen.iter().filter_map(|listen| Some((listen.address, listen.tls.as_ref()?)));
        let with_tls: Vec<_> = with_tls.collect();
        let known = certificates.iter().map(|known| known.address);
        if !known.eq(with_tls.iter().map(|(address, _)| *address)) {
            return Err(ServerError::NeedsRestart("listeners"));
        }
        // All of them are read before one is shown.
        let new: Result<Vec<_>, TlsError> = with_tls.iter().map(|(_, tls)| tls::read(&tls.cert, &tls.key)).collect();
        for (known, new) in certificates.iter().zip(new?) {
            known.certificate.replace(new);
        }
        self.shared.trust(config.trusted_proxies.clone());
        self.api.set_sites(sites.clone());
        Ok(())
    }
}

/// Takes connections until the server is stopped.
async fn accept(listener: TcpListener, context: Context) {
    let mut stage = context.stage.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stage.wait_for(|stage| *stage > Stage::Running) => return,
        };
        match accepted {
            Ok((stream, peer)) => admit(stream, peer, &context),
            // The connection was gone again.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn admit(stream: TcpStream, peer: SocketAddr, context: &Context) {
    let shared = &context.shared;
    let address = peer.ip().to_canonical();
    let exempt = address.is_loopback() || shared.is_trusted(address);
    match shared.registry.enter(address, exempt, Instant::now()) {
        Ok(place) => {
            tokio::spawn(connection::serve(stream, peer, place, context.clone()));
        }
        Err(full) => {
            let why = match full {
                Full::All => "all",
                Full::Address => "address",
            };
            shared.metrics.refused(why);
            tracing::debug!(%peer, why, "a connection was refused: there are too many");
        }
    }
}

/// Looks at the rules of time.
async fn tick(shared: Arc<Shared>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let patience = shared.patience();
    loop {
        interval.tick().await;
        let now = Instant::now();
        let broken = shared.registry.check(now, &patience).into_iter().chain(shared.transfers.check(now, &patience));
        for verdict in broken {
            shared.metrics.given_up(verdict.as_str());
        }
        notify::alive();
    }
}

/// Lets go of nonces and snapshots that have had their time. `nonces` is where the former are kept.
async fn sweep(api: Arc<Api>, nonces: PathBuf) {
    let mut interval = tokio::time::interval(SWEEP);
    loop {
        interval.tick().await;
        api.sweep(clock::now());
        if let Some(error) = api.nonces_fault() {
            tracing::error!(path = %nonces.display(), %error, "{UNKEPT}");
        }
    }
}
