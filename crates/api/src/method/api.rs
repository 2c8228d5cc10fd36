//! The front of the method: settings and what is remembered between requests.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use crate::method::admission::{self, Admission};
use crate::method::call::Call;
use crate::method::error::Failure;
use crate::method::nonce::Nonces;
use crate::method::pins::Pins;
use crate::method::request::{Request, millis};
use crate::method::response::Response;
use crate::method::site::Sites;
use crate::method::token::{MemoryTokens, TokenStore};

/// Settings of the method.
#[derive(Debug, Clone)]
pub struct Settings {
    /// URLs by which clients know this server: scheme, host, port, and a path before the method's where there is one. With
    /// any, signatures are of one of them, and not of what the request says.
    pub public_urls: Vec<String>,
    /// Whether secrets and tokens are taken without TLS from this machine itself.
    pub insecure_loopback: bool,
    /// Longest lifetime of a token.
    pub token_lifetime: Duration,
    /// Longest body.
    pub max_body: usize,
    /// Nonces that are remembered at most, at some 120 bytes each; and a quarter of that again of requests that were too
    /// far in the future.
    pub max_nonces: usize,
    /// How long the snapshot of a page or a broken transfer stays.
    pub pin_lifetime: Duration,
    /// Such snapshots of one site at most.
    pub max_pins: usize,
    /// Threads of one export; by default as [`Export::threads`](crate::Export::threads).
    pub export_threads: Option<usize>,
    /// Whether exports are compressed for clients that accept it.
    pub compress: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            public_urls: Vec::new(),
            insecure_loopback: false,
            token_lifetime: Duration::from_secs(3600),
            max_body: 1 << 20,
            max_nonces: 1 << 20,
            pin_lifetime: Duration::from_secs(300),
            max_pins: 8,
            export_threads: None,
            compress: true,
        }
    }
}

/// Limits what one key may ask for.
pub trait Limiter: fmt::Debug + Send + Sync {
    /// Lets a request of a key pass whose credentials are right.
    ///
    /// # Errors
    /// With how long to wait, when there were too many.
    fn admit(&self, api_key: &str, user_key: Option<&str>, now: SystemTime) -> Result<(), Duration>;
}

/// The method: sites, settings, and what is remembered between requests. Share it in an `Arc`.
///
/// ```
/// use std::sync::Arc;
/// use std::time::SystemTime;
/// use headcount::method::{Api, Request, Secret, Settings, Site, Sites};
/// use headcount::{Store, User};
///
/// # let now = SystemTime::UNIX_EPOCH;
/// let store = Arc::new(Store::temporary()?);
/// store.load([User::new("6625ID").with_identity("site", "6625ID")])?;
/// let site = Site::new("3_key", store, Secret::new("c2VjcmV0")?);
/// let api = Api::new(Sites::new([site])?, Settings::default(), now);
///
/// let mut request = Request::new("GET", "/socialize.exportUsers?apiKey=3_key&secret=c2VjcmV0&format=csv", now);
/// request.secure = true;
/// let response = api.handle(&request);
/// assert_eq!((response.status, response.length), (200, Some(46)));
/// assert_eq!(response.body.read()?, b"uid,provider,providerUID\r\n6625ID,site,6625ID\r\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Api {
    sites: RwLock<Arc<Sites>>,
    pub(crate) settings: Settings,
    pub(crate) nonces: Nonces,
    pub(crate) pins: Arc<Pins>,
    pub(crate) tokens: Arc<dyn TokenStore>,
    pub(crate) limiter: Option<Arc<dyn Limiter>>,
}

impl Api {
    /// The method for `sites`, in a process that began at `started`: requests signed before that are refused, since
    /// nobody knows any more which nonces were used. What was signed with a timestamp after it may have passed in a process
    /// before, and passes again unless [`keep_nonces`](Self::keep_nonces) is called.
    #[must_use]
    pub fn new(sites: Sites, settings: Settings, started: SystemTime) -> Self {
        Self {
            sites: RwLock::new(Arc::new(sites)),
            nonces: Nonces::new(settings.max_nonces, millis(started)),
            pins: Arc::new(Pins::new(settings.max_pins, settings.pin_lifetime)),
            tokens: Arc::new(MemoryTokens::default()),
            limiter: None,
            settings,
        }
    }

    /// Keeps tokens in `tokens`; in memory by default.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Arc<dyn TokenStore>) -> Self {
        self.tokens = tokens;
        self
    }

    /// Remembers nonces in the file at `path` (and files beside it whose names begin with its), too, so that a request that
    /// passed does not pass again after a restart, also with a clock that is behind then. It is replaced now and then, and
    /// written without an fsync: it is of use after any end of the process, and may miss the last ones after a power cut.
    ///
    /// # Errors
    /// When it cannot be read or made, and with [`NoncesInUse`](crate::method::NoncesInUse) in it, and the kind
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy), when another process, or another [`Api`], keeps its nonces there; nonces
    /// are then remembered in memory alone.
    pub fn keep_nonces(&mut self, path: &Path) -> io::Result<()> {
        self.nonces.keep(path)
    }

    /// Why a nonce was not written to the file of [`keep_nonces`](Self::keep_nonces), if that was so since the last call. The
    /// request passed all the same.
    #[must_use]
    pub fn nonces_fault(&self) -> Option<io::Error> {
        self.nonces.fault()
    }

    /// Asks `limiter` about every request whose credentials are right.
    #[must_use]
    pub fn with_limiter(mut self, limiter: Arc<dyn Limiter>) -> Self {
        self.limiter = Some(limiter);
        self
    }

    /// Serves other sites from now on. Nonces and tokens stay, and so do pinned snapshots of stores that are not closed.
    pub fn set_sites(&self, sites: Sites) {
        *self.sites.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(sites);
    }

    /// The sites that are served.
    #[must_use]
    pub fn sites(&self) -> Arc<Sites> {
        Arc::clone(&self.sites.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets go of what has had its time: nonces, and snapshots of pages. To be called now and then, since a site that
    /// nobody asks holds them otherwise.
    pub fn sweep(&self, now: SystemTime) {
        self.nonces.sweep(millis(now));
        self.pins.sweep(millis(now));
    }

    /// Lets go of the pinned snapshots of a site, so that [`Store::erase`](crate::Store::erase) need not wait for them.
    pub fn release(&self, api_key: &str) {
        self.pins.release(api_key);
    }

    /// Decides about a request by what it says: HTTP method, body, credentials, permission, and the values of its
    /// parameters. It takes no more than some CPU time, and waits for nothing but an append to the file of nonces where
    /// there is one; what it admits is answered by
    /// [`Admitted::answer`](crate::method::Admitted::answer).
    pub fn admit(&self, request: Request) -> Admission {
        admission::admit(self, request)
    }

    /// Answers a request: [`admit`](Self::admit) and [`answer`](crate::method::Admitted::answer) in one.
    ///
    /// An export has begun to be rendered when it returns; a verb that writes has been committed.
    #[must_use]
    pub fn handle(&self, request: &Request) -> Response {
        match self.admit(request.clone()) {
            Admission::Refused(response) => response,
            Admission::Admitted(admitted) => admitted.answer(),
        }
    }

    /// The answer to a request that a server refuses by itself before it is admitted: a body that is too long, too many
    /// connections.
    #[must_use]
    pub fn refuse(&self, request: &Request, failure: &Failure) -> Response {
        Call::new(request.clone(), self.settings.max_body).refuse(failure)
    }
}
