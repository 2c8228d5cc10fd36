//! Runs a server: its configuration, its stores, its signals, its end.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use headcount::method::Sites;
use headcount::{Options, Store};
use headcount_server::{
    Config, ConfigEdit, ConfigError, Handle, Listen, SecretSource, Server, ServerError, Tls, random_api_key,
    shell_quoted,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cmd::serve::{Args, Listener};
use crate::failure::Failure;
use crate::logging::{self, AuditFile};
use crate::output::expect_outside_stores;
use crate::serving::{Record, Records, Serving, beside};
use crate::ui::Ui;

/// Files that a process needs besides those of connections.
const OTHER_FILES: u64 = 256;
/// Until a store is looked at again that a request has.
const PAUSE: Duration = Duration::from_millis(100);

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        Self::failed(error)
    }
}

/// Where the configuration comes from, so that it can be read again.
#[derive(Debug, Clone)]
struct Origin {
    file: PathBuf,
    listener: Listener,
    metrics: Option<SocketAddr>,
}

impl Origin {
    /// Reads it. What the command line says goes before what the file says.
    fn read(&self) -> Result<Config, Failure> {
        let mut config = Config::load(&self.file)?;
        let Listener { listen, tls_cert, tls_key, plain_http, insecure_loopback, public_urls, trusted_proxies } =
            &self.listener;
        if listen.is_some() || tls_cert.is_some() || *plain_http || *insecure_loopback {
            let default = config.listen.first().map(|listen| listen.address);
            let address = listen.or(default).unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
            let tls = tls_cert.clone().zip(tls_key.clone()).map(|(cert, key)| Tls { cert, key });
            refuse_eavesdroppers(&self.listener, address)?;
            config.listen =
                vec![Listen { address, tls, plain_http: *plain_http, insecure_loopback: *insecure_loopback }];
        }
        if !public_urls.is_empty() {
            config.public_urls.clone_from(public_urls);
        }
        if !trusted_proxies.is_empty() {
            config.trusted_proxies.clone_from(trusted_proxies);
        }
        config.metrics = self.metrics.or(config.metrics);
        Ok(config)
    }
}

/// Refuses an address that others can reach without TLS, unless that is meant.
fn refuse_eavesdroppers(listener: &Listener, address: SocketAddr) -> Result<(), Failure> {
    if listener.tls_cert.is_some() || listener.plain_http || address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let problem = format!("others can reach {address}, and could read along");
    let hint = "give --tls-cert and --tls-key, or --plain-http if that is meant, as behind a proxy with TLS";
    Err(Failure::usage(problem).hint(hint))
}

type Open = HashMap<PathBuf, Arc<Store>>;

/// The stores that are open, by canonical path.
#[derive(Debug, Default)]
struct Stores {
    open: Mutex<Open>,
    /// How often it was said which of them are used: what could not be closed then, the next one sees to.
    turn: AtomicU64,
}

/// Closes a store unless somebody has it; whether it is closed.
fn close(open: &mut Open, path: &Path) -> bool {
    let Some(store) = open.remove(path) else { return true };
    match Arc::try_unwrap(store).map(Store::close) {
        Ok(Ok(())) => tracing::info!(store = %path.display(), "a store was closed"),
        Ok(Err(error)) => {
            tracing::error!(store = %path.display(), %error, "a store was not closed; the next open recovers it");
        }
        Err(store) => {
            open.insert(path.to_path_buf(), store);
            return false;
        }
    }
    true
}

impl Stores {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sites(&self, config: &Config) -> Result<Sites, ConfigError> {
        config.sites(|path| self.open(path))
    }

    /// The store at a canonical path.
    fn open(&self, path: &Path) -> Result<Arc<Store>, headcount::Error> {
        let mut open = self.lock();
        if let Some(store) = open.get(path) {
            return Ok(Arc::clone(store));
        }
        let store = Store::open(path, &Options::default())?;
        match store.recovery() {
            Some(recovery) if !recovery.not_erased.is_empty() => {
                tracing::warn!(store = %path.display(), "{recovery}");
            }
            Some(recovery) => tracing::info!(store = %path.display(), "{recovery}"),
            None => {}
        }
        Ok(Arc::clone(open.entry(path.to_path_buf()).or_insert(Arc::new(store))))
    }

    /// Closes every store but those of `sites`: what a request still has, once that has ended, where the server goes on.
    fn retain(self: &Arc<Self>, sites: Option<&Sites>) {
        let mut open = self.lock();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) + 1;
        let is_used =
            |store: &Arc<Store>| sites.is_some_and(|sites| sites.iter().any(|site| Arc::ptr_eq(&site.store, store)));
        let mut left: Vec<PathBuf> =
            open.iter().filter(|(_, store)| !is_used(store)).map(|(path, _)| path.clone()).collect();
        left.retain(|path| !close(&mut open, path));
        drop(open);
        if sites.is_none() || left.is_empty() {
            return;
        }
        for path in &left {
            tracing::info!(store = %path.display(), "a store that no site names is closed once its last request has ended");
        }
        self.close_later(left, turn);
    }

    /// Tries again to close these stores until all are closed, or it is said anew which are used.
    fn close_later(self: &Arc<Self>, mut left: Vec<PathBuf>, turn: u64) {
        let stores = Arc::downgrade(self);
        let spawned = thread::Builder::new().name("stores".to_owned()).spawn(move || {
            while !left.is_empty() {
                thread::sleep(PAUSE);
                let Some(stores) = stores.upgrade() else { return };
                let mut open = stores.lock();
                if stores.turn.load(Ordering::Relaxed) != turn {
                    return;
                }
                left.retain(|path| !close(&mut open, path));
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread can be started that closes stores; the next SIGHUP does");
        }
    }
}

/// Serves until a signal says otherwise.
///
/// # Errors
/// When the configuration or a store cannot be read, or an address not be listened on.
pub(crate) fn serve(args: &Args, ui: &Ui) -> Result<(), Failure> {
    // Before anything is made.
    args.listener.listen.map_or(Ok(()), |address| refuse_eavesdroppers(&args.listener, address))?;
    args.audit_log.as_deref().map_or(Ok(()), expect_outside_stores)?;
    let audit = args.audit_log.as_deref().map(|path| AuditFile::open(path).map_err(|e| at(path, e))).transpose()?;
    logging::start(args.log_format, args.log_level, ui.is_colored(), audit.clone());
    let stores = Arc::new(Stores::default());
    let (file, made) = match (&args.config, &args.store) {
        (Some(file), _) => (file.clone(), None),
        (None, Some(store)) => first_start(store, &stores)?,
        (None, None) => return Err(Failure::usage("there is neither a store nor a configuration")),
    };
    let origin = Origin { file, listener: args.listener.clone(), metrics: args.metrics };
    let config = origin.read()?;
    raise_limit(&config);
    let sites = stores.sites(&config)?;
    let server = Server::bind(&config, &sites)?;
    if let Some(made) = made {
        made.keep(ui);
    }
    let (records, address) = (Arc::<Records>::default(), server.addresses().first().copied());
    records.replace(publish(&config, &sites, address));
    greet(&config, &sites, &server, ui);
    drop(sites);
    let reload = Reload { origin, stores: Arc::clone(&stores), audit, records: Arc::clone(&records), address };
    let (signals, thread) = watch_signals(server.handle(), reload)?;
    let ran = server.run();
    signals.close();
    // It has nothing left to wait for.
    let _joined: thread::Result<()> = thread.join();
    // Before anybody else can have the stores, and say so.
    records.replace(Vec::new());
    stores.retain(None);
    ui.note("stopped");
    Ok(ran?)
}

fn at(path: &Path, error: io::Error) -> Failure {
    Failure::failed(format!("cannot open {}: {error}", path.display()))
}

/// As many files as the system allows: every connection is one.
fn raise_limit(config: &Config) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let allowed = if raised.is_ok() { maximum } else { current };
    let wanted = config.limits.connections as u64 + OTHER_FILES;
    if let Some(allowed) = allowed.filter(|allowed| *allowed < wanted) {
        let most = config.limits.connections;
        tracing::warn!("only {allowed} files may be open at once (ulimit -n), too few for {most} connections");
    }
}

/// How to read everything again.
struct Reload {
    origin: Origin,
    stores: Arc<Stores>,
    audit: Option<AuditFile>,
    records: Arc<Records>,
    /// What is listened on first, and whether with TLS.
    address: Option<(SocketAddr, bool)>,
}

impl Reload {
    fn run(&self, server: &Handle) {
        headcount_server::reloading();
        if let Some(audit) = &self.audit
            && let Err(error) = audit.reopen()
        {
            tracing::error!(path = %audit.path().display(), %error, "the audit log cannot be opened anew");
        }
        let done = self.origin.read().and_then(|config| {
            let sites = self.stores.sites(&config)?;
            server.reload(&config, &sites)?;
            Ok((config, sites))
        });
        match done {
            Ok((config, sites)) => {
                // The files of secrets may have other names now. Of stores that are let go of nobody is told to ask here.
                self.records.replace(publish(&config, &sites, self.address));
                self.stores.retain(Some(&sites));
                tracing::info!(sites = sites.iter().count(), "the configuration was read anew");
            }
            Err(failure) => {
                tracing::error!(error = %failure, "the configuration was not taken over; all stays as it was");
                // Stores that it names were opened before it was refused.
                self.stores.retain(Some(&server.sites()));
            }
        }
        headcount_server::ready();
    }
}

type SignalHandle = signal_hook::iterator::Handle;

fn watch_signals(server: Handle, reload: Reload) -> Result<(SignalHandle, JoinHandle<()>), Failure> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let handle = signals.handle();
    let thread = thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                reload.run(&server);
            } else {
                server.stop();
            }
        }
    })?;
    Ok((handle, thread))
}

/// The URL by which this machine reaches a listener.
fn url_of(config: &Config, address: SocketAddr, secure: bool) -> String {
    if let Some(public) = config.public_urls.first() {
        return public.trim_end_matches('/').to_owned();
    }
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("{}://{}", if secure { "https" } else { "http" }, SocketAddr::new(ip, address.port()))
}

fn secret_file(config: &Config, api_key: &str) -> Option<PathBuf> {
    let site = config.sites.iter().find(|site| site.api_key == api_key)?;
    site.secrets.iter().find_map(|secret| match secret {
        SecretSource::File(path) => Some(path.clone()),
        SecretSource::Env(_) => None,
    })
}

/// Says beside every store who has it.
fn publish(config: &Config, sites: &Sites, address: Option<(SocketAddr, bool)>) -> Vec<Record> {
    let Some((address, secure)) = address else { return Vec::new() };
    let record = |site: &headcount::method::Site| {
        let serving = Serving {
            pid: std::process::id(),
            url: url_of(config, address, secure),
            api_key: site.api_key.clone(),
            secret_file: secret_file(config, &site.api_key),
        };
        let published = serving.publish(site.store.path());
        published.inspect_err(|error| tracing::warn!(%error, "cannot write who serves the store beside it")).ok()
    };
    sites.iter().filter_map(|site| record(site)).collect()
}

/// Says where the server is, and a line that works.
fn greet(config: &Config, sites: &Sites, server: &Server, ui: &Ui) {
    for (address, secure) in server.addresses() {
        ui.note(&format!("serving {}", url_of(config, address, secure)));
    }
    if let Some(address) = server.metrics_address() {
        ui.note(&format!("metrics at http://{address}/metrics"));
    }
    let (Some((address, secure)), Some(site)) = (server.addresses().first().copied(), sites.iter().next()) else {
        return;
    };
    if sites.iter().count() > 1 {
        return;
    }
    let (url, api_key) = (url_of(config, address, secure), site.api_key.clone());
    let secret_file = secret_file(config, &api_key);
    let private = url.starts_with("https:") || config.listen.first().is_some_and(|listen| listen.insecure_loopback);
    let line = match &secret_file {
        Some(file) if private => format!(
            "curl --data-urlencode apiKey={api_key} --data-urlencode secret@{} {url}/socialize.exportUsers",
            shell_quoted(file)
        ),
        _ => Serving { pid: 0, url, api_key, secret_file }.call(""),
    };
    ui.note(&format!("try: {line}"));
}

/// The files that a first start made. Until they are kept they go again with this: a server that cannot start leaves no keys.
#[derive(Debug)]
struct Made {
    config: PathBuf,
    secret: PathBuf,
    kept: bool,
}

impl Made {
    fn keep(mut self, ui: &Ui) {
        self.kept = true;
        let (config, secret) = (self.config.display(), self.secret.display());
        ui.note(&format!("made {config}, which names the key, and {secret}, for this user alone"));
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.kept {
            // The start's error is what counts. Should they stay, the next start takes them.
            let _: [io::Result<()>; 2] = [&self.config, &self.secret].map(fs::remove_file);
        }
    }
}

/// The configuration beside a store; it and a secret are made where they are not there.
fn first_start(store: &Path, stores: &Stores) -> Result<(PathBuf, Option<Made>), Failure> {
    let file = beside(store, ".keys.toml");
    if fs::exists(&file)? {
        return Ok((file, None));
    }
    // What is no store gets no keys, and who has it keeps others from making or using some meanwhile.
    drop(stores.open(&fs::canonicalize(store).unwrap_or_else(|_| store.to_path_buf()))?);
    let mut edit = ConfigEdit::open_or_new(&file)?;
    if !edit.is_new() {
        return Ok((file, None));
    }
    let secret = edit.add_site_of_store(&random_api_key()?, store)?;
    edit.save()?;
    let made = Made { config: file.clone(), secret, kept: false };
    // Nobody else needs it, though it holds no secret.
    fs::set_permissions(&file, Permissions::from_mode(0o600))?;
    Ok((file, Some(made)))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn urls_are_reachable_from_here() {
        let config = Config::default();
        let url = |address: &str, secure| url_of(&config, address.parse().unwrap(), secure);
        assert_eq!(url("0.0.0.0:80", false), "http://127.0.0.1:80");
        assert_eq!(url("[::]:443", true), "https://[::1]:443");
        assert_eq!(url("10.0.0.1:1", true), "https://10.0.0.1:1");
        let public = Config { public_urls: vec!["https://users.example/".to_owned()], ..Config::default() };
        assert_eq!(url_of(&public, "10.0.0.1:1".parse().unwrap(), false), "https://users.example");
    }

    const LISTEN: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n";

    /// The table of a site in `dir`, whose store and secret are made where they are not there.
    fn site(dir: &Path, name: &str) -> String {
        let (store, secret) = (dir.join(name), dir.join(format!("{name}.secret")));
        if !store.exists() {
            Store::create(&store, &Options::default()).unwrap().close().unwrap();
            fs::write(&secret, "c2VjcmV0").unwrap();
            fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        }
        format!("[[site]]\napi_key = \"{name}\"\nstore = {store:?}\nsecrets = [{{ file = {secret:?} }}]\n")
    }

    /// A server of what `file` says, and what reads it again.
    fn server_of(file: &Path) -> (Server, Reload) {
        let listener = Listener {
            listen: None,
            tls_cert: None,
            tls_key: None,
            plain_http: false,
            insecure_loopback: false,
            public_urls: Vec::new(),
            trusted_proxies: Vec::new(),
        };
        let origin = Origin { file: file.to_path_buf(), listener, metrics: None };
        let config = origin.read().unwrap();
        let stores = Arc::new(Stores::default());
        let server = Server::bind(&config, &stores.sites(&config).unwrap()).unwrap();
        (server, Reload { origin, stores, audit: None, records: Arc::default(), address: None })
    }

    #[test]
    fn a_reload_that_is_refused_leaves_no_store_open() {
        let dir = tempfile::tempdir().unwrap();
        let (file, site) = (dir.path().join("headcount.toml"), |name: &str| site(dir.path(), name));
        fs::write(&file, format!("{LISTEN}{}", site("one"))).unwrap();
        let (server, reload) = server_of(&file);
        // Limits need a restart.
        fs::write(&file, format!("limits = {{ queue = 7 }}\n{LISTEN}{}{}", site("one"), site("two"))).unwrap();
        reload.run(&server.handle());
        Store::open(dir.path().join("two"), &Options::default()).unwrap().close().unwrap();
        assert!(Store::open(dir.path().join("one"), &Options::default()).is_err(), "it is served");
        fs::write(&file, format!("{LISTEN}{}{}", site("one"), site("two"))).unwrap();
        reload.run(&server.handle());
        assert_eq!(server.handle().sites().iter().count(), 2);
        assert!(Store::open(dir.path().join("two"), &Options::default()).is_err(), "it is served");
    }

    #[test]
    fn a_store_that_is_not_served_any_more_is_closed_after_its_last_request() {
        let dir = tempfile::tempdir().unwrap();
        let (file, site) = (dir.path().join("headcount.toml"), |name: &str| site(dir.path(), name));
        let open = |name: &str| Store::open(dir.path().join(name), &Options::default());
        let both = format!("{LISTEN}{}{}", site("one"), site("two"));
        fs::write(&file, &both).unwrap();
        let (server, reload) = server_of(&file);
        // As a request has them.
        let request = server.handle().sites();
        fs::write(&file, format!("{LISTEN}{}", site("one"))).unwrap();
        reload.run(&server.handle());
        assert!(open("two").is_err(), "a request has it");
        // It is named again meanwhile, and is the same.
        fs::write(&file, &both).unwrap();
        reload.run(&server.handle());
        let again = server.handle().sites();
        let store_of =
            |sites: &Sites| sites.iter().find(|site| site.api_key == "two").map(|site| Arc::clone(&site.store));
        assert!(Arc::ptr_eq(&store_of(&again).unwrap(), &store_of(&request).unwrap()));
        drop(again);
        fs::write(&file, format!("{LISTEN}{}", site("one"))).unwrap();
        reload.run(&server.handle());
        drop(request);
        let began = std::time::Instant::now();
        while let Err(error) = open("two") {
            assert!(began.elapsed().as_secs() < 30, "{error}");
            thread::sleep(Duration::from_millis(20));
        }
        assert!(open("one").is_err(), "it is served");
    }

    #[test]
    fn a_store_that_is_not_served_any_more_is_open_until_its_exports_have_ended() {
        let dir = tempfile::tempdir().unwrap();
        let (file, site) = (dir.path().join("headcount.toml"), |name: &str| site(dir.path(), name));
        let open = |name: &str| Store::open(dir.path().join(name), &Options::default());
        let listen = format!("{LISTEN}insecure_loopback = true\n");
        fs::write(&file, format!("{listen}{}{}", site("one"), site("two"))).unwrap();
        // More than any buffer on the way takes.
        let users = (0..200_000).map(|n| headcount::User::new(format!("u{n:06}")).with_identity("site", n.to_string()));
        let two = open("two").unwrap();
        two.load(users).unwrap();
        two.close().unwrap();
        let (server, reload) = server_of(&file);
        let (handle, (address, _)) = (server.handle(), server.addresses()[0]);
        let served = thread::spawn(move || server.run().unwrap());
        // The rest of an export that has begun.
        let begin = |query: &str| {
            let mut client = std::net::TcpStream::connect(address).unwrap();
            let target = format!("/socialize.exportUsers?apiKey=two&secret=c2VjcmV0&format=csv{query}");
            write!(client, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
            let mut begun = [0; 15];
            client.read_exact(&mut begun).unwrap();
            assert_eq!(&begun, b"HTTP/1.1 200 OK");
            client
        };
        // Of a tag, which can be resumed, and of none.
        for query in ["", "&since=0"] {
            let mut client = begin(query);
            fs::write(&file, format!("{listen}{}", site("one"))).unwrap();
            reload.run(&handle);
            assert!(open("two").is_err(), "it is being exported: {query}");
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).unwrap();
            assert!(rest.windows(7).any(|part| part == b"u199999"));
            let began = std::time::Instant::now();
            while let Err(error) = open("two") {
                assert!(began.elapsed().as_secs() < 30, "{error}");
                thread::sleep(Duration::from_millis(20));
            }
            fs::write(&file, format!("{listen}{}{}", site("one"), site("two"))).unwrap();
            reload.run(&handle);
        }
        let client = begin("");
        // What is broken off has no store any more at the end.
        handle.stop();
        handle.stop();
        served.join().unwrap();
        drop((handle, client));
        reload.stores.retain(None);
        assert!(reload.stores.lock().is_empty());
    }
}
