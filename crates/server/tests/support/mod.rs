//! A server of the seven documented users on this machine, and a strict client that sees every break.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, UNIX_EPOCH};

use headcount::method::{Permission, Secret, Site, Sites, percent_encode, sign};
use headcount::{Options, Store, User};
use headcount_server::{Config, Handle, Server, ServerError};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

pub(crate) const KEY: &str = "3_TestApiKey-abc_DEF";
pub(crate) const SECRET: &str = "c2VjcmV0LWtleS1mb3ItdGVzdGluZy1vbmx5ISE=";

/// The seven users of the documented example.
pub(crate) fn seven() -> Vec<User> {
    vec![
        User::new("_gid_t+0P1vgAjhVTw8fPs1DSJnjAr3E=")
            .with_identity("twitter", "262710724")
            .with_identity("facebook", "100002136853114"),
        User::new("_gid_UnXMjySuZJwyz654w==").with_identity("facebook", "622098199"),
        User::new("_gid_kcugodwRh72tw==").with_identity("twitter", "14047511"),
        User::new("6625ID").with_identity("site", "6625ID").with_identity("google", "115480002607925776950"),
        User::new("AABCWA").with_identity("site", "AABCWA"),
        User::new("AAKODB").with_identity("site", "AAKODB"),
        User::new("AJDPHN").with_identity("site", "AJDPHN"),
    ]
}

/// The documented response's users, in UID order.
pub(crate) const SEVEN_USERS: &str = concat!(
    r#"{"users":[{"UID":"6625ID","identities":[{"provider":"site","providerUID":"6625ID"},"#,
    r#"{"provider":"google","providerUID":"115480002607925776950"}]},"#,
    r#"{"UID":"AABCWA","identities":[{"provider":"site","providerUID":"AABCWA"}]},"#,
    r#"{"UID":"AAKODB","identities":[{"provider":"site","providerUID":"AAKODB"}]},"#,
    r#"{"UID":"AJDPHN","identities":[{"provider":"site","providerUID":"AJDPHN"}]},"#,
    r#"{"UID":"_gid_UnXMjySuZJwyz654w==","identities":[{"provider":"facebook","providerUID":"622098199"}]},"#,
    r#"{"UID":"_gid_kcugodwRh72tw==","identities":[{"provider":"twitter","providerUID":"14047511"}]},"#,
    r#"{"UID":"_gid_t+0P1vgAjhVTw8fPs1DSJnjAr3E=","identities":["#,
    r#"{"provider":"twitter","providerUID":"262710724"},{"provider":"facebook","providerUID":"100002136853114"}]}],"#,
    r#""usersCount":7,"identitiesCount":9,"statusCode":200,"errorCode":0,"statusReason":"OK","callId":""#
);

/// `n` users, about 60 bytes of CSV each.
pub(crate) fn many(n: usize) -> impl Iterator<Item = User> {
    (0..n).map(|i| User::new(format!("user-{i:012}")).with_identity("facebook", format!("{:020}", i * 7)))
}

/// A certificate for localhost, in files.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) der: CertificateDer<'static>,
}

pub(crate) fn certificate(dir: &Path, name: &str) -> Certificate {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    Certificate { cert, key, der: made.cert.der().clone() }
}

/// A server that runs until it is dropped.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) metrics: SocketAddr,
    pub(crate) store: Arc<Store>,
    pub(crate) certificate: Certificate,
    pub(crate) config: Config,
    pub(crate) dir: tempfile::TempDir,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
}

pub(crate) fn sites(store: &Arc<Store>) -> Sites {
    let secret = |text| Secret::new(text).unwrap();
    let site = Site::new(KEY, Arc::clone(store), secret(SECRET))
        .with_user_key("reader", secret("cmVhZGVyLXNlY3JldA=="), [Permission::Export])
        .with_user_key("writer", secret("d3JpdGVyLXNlY3JldA=="), [Permission::Write]);
    Sites::new([site]).unwrap()
}

pub(crate) fn temporary(users: impl IntoIterator<Item = User>) -> Arc<Store> {
    let store = Arc::new(Store::temporary().unwrap());
    store.load(users).unwrap();
    store
}

/// Serves `store` with what `more` adds to the configuration: before the listeners, so keys of its own come first.
pub(crate) fn serve_with(store: Arc<Store>, more: &str) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let certificate = certificate(dir.path(), "one");
    let text = format!(
        "metrics = \"127.0.0.1:0\"\n{more}\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
         [[listen]]\naddress = \"127.0.0.2:0\"\ntls = {{ cert = \"one.pem\", key = \"one.key\" }}\n"
    );
    let config = Config::parse(&text, dir.path().join("headcount.toml")).unwrap();
    let server = Server::bind(&config, &sites(&store)).unwrap();
    let addresses = server.addresses();
    let (handle, metrics) = (server.handle(), server.metrics_address().unwrap());
    let thread = std::thread::spawn(move || server.run());
    Running {
        handle,
        http: addresses[0].0,
        https: addresses[1].0,
        metrics,
        store,
        certificate,
        config,
        dir,
        thread: Some(thread),
    }
}

pub(crate) fn serve(users: impl IntoIterator<Item = User>) -> Running {
    serve_with(temporary(users), "")
}

impl Running {
    /// Stops it and waits for its end.
    pub(crate) fn stop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }

    pub(crate) fn plain(&self) -> Connection {
        Connection { stream: Box::new(connect(self.http)) }
    }

    pub(crate) fn tls(&self) -> Connection {
        Connection { stream: Box::new(tls(self.https, &self.certificate.der)) }
    }

    /// The form of a request with the site's secret.
    pub(crate) fn secret_form(params: &[(&str, &str)]) -> String {
        form(&[&[("apiKey", KEY), ("secret", SECRET)], params].concat())
    }

    /// The form of a POST to exportUsers over plain HTTP, signed now.
    pub(crate) fn signed_form(&self, params: &[(&str, &str)]) -> String {
        signed_form("POST", &format!("http://{}/socialize.exportUsers", self.http), params)
    }

    /// An export over plain HTTP.
    pub(crate) fn export(&self, params: &[(&str, &str)]) -> Reply {
        let form = self.signed_form(params);
        self.plain().post(self.http, "exportUsers", &form, "")
    }

    /// The value of a metric, by the beginning of its line.
    pub(crate) fn metric(&self, line: &str) -> f64 {
        self.counted(line).unwrap_or_else(|| panic!("no {line}"))
    }

    /// The value of one that may not be there yet.
    pub(crate) fn counted(&self, line: &str) -> Option<f64> {
        let reply = Connection { stream: Box::new(connect(self.metrics)) }
            .send(b"GET /metrics HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n", false);
        assert_eq!(reply.status, 200);
        let text = reply.text();
        text.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap().unwrap();
            }
        }
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

pub(crate) fn tls(address: SocketAddr, trusted: &CertificateDer<'static>) -> StreamOwned<ClientConnection, TcpStream> {
    tls_for(address, trusted, None)
}

/// Over which `protocol` is spoken.
pub(crate) fn tls_for(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocol: Option<&str>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols.extend(protocol.map(|protocol| protocol.as_bytes().to_vec()));
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), connect(address))
}

pub(crate) fn form(params: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        params.iter().map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value))).collect();
    pairs.join("&")
}

pub(crate) fn now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap().as_secs()
}

pub(crate) fn signed_form(method: &str, url: &str, params: &[(&str, &str)]) -> String {
    static NONCE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let (timestamp, nonce) = (now().to_string(), NONCE.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string());
    let mut all = vec![("apiKey", KEY), ("timestamp", timestamp.as_str()), ("nonce", nonce.as_str())];
    all.extend_from_slice(params);
    let sig = sign(method, url, &all, &Secret::new(SECRET).unwrap());
    all.push(("sig", &sig));
    form(&all)
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether the body was whole, by its length or its last chunk.
    pub(crate) whole: bool,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        assert!(self.whole, "the transfer broke off: {}", self.head);
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (n, value) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The `errorCode` of an envelope.
    pub(crate) fn code(&self) -> u64 {
        let text = self.text();
        let (_, rest) = text.split_once("\"errorCode\":").unwrap_or_else(|| panic!("{text}"));
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    }
}

pub(crate) trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// A connection.
pub(crate) struct Connection {
    pub(crate) stream: Box<dyn Stream>,
}

impl Connection {
    pub(crate) fn post(&mut self, address: SocketAddr, method: &str, form: &str, headers: &str) -> Reply {
        let request = format!(
            "POST /socialize.{method} HTTP/1.1\r\nHost: {address}\r\n{headers}\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        self.send(request.as_bytes(), false)
    }

    pub(crate) fn get(&mut self, address: SocketAddr, path: &str, headers: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n").as_bytes(), false)
    }

    pub(crate) fn send(&mut self, request: &[u8], is_head: bool) -> Reply {
        self.stream.write_all(request).unwrap();
        self.stream.flush().unwrap();
        self.receive(is_head)
    }

    /// Reads one response.
    pub(crate) fn receive(&mut self, is_head: bool) -> Reply {
        let mut seen = Vec::new();
        let end = loop {
            if let Some(at) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.more(&mut seen), "no response: {:?}", String::from_utf8_lossy(&seen));
        };
        let body = seen.split_off(end);
        let head = String::from_utf8(seen).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head, body, whole: true };
        if is_head || status == 304 {
            return reply;
        }
        if reply.header("transfer-encoding").is_some() {
            self.chunks(&mut reply);
        } else {
            let length: usize = reply.header("content-length").expect("a length or chunks").parse().unwrap();
            while reply.body.len() < length {
                if !self.more(&mut reply.body) {
                    reply.whole = false;
                    break;
                }
            }
        }
        reply
    }

    fn chunks(&mut self, reply: &mut Reply) {
        let mut raw = std::mem::take(&mut reply.body);
        let mut at = 0;
        loop {
            let Some(end) = raw[at..].windows(2).position(|two| two == b"\r\n") else {
                if !self.more(&mut raw) {
                    reply.whole = false;
                    return;
                }
                continue;
            };
            let size = usize::from_str_radix(std::str::from_utf8(&raw[at..at + end]).unwrap(), 16).unwrap();
            let from = at + end + 2;
            while raw.len() < from + size + 2 {
                if !self.more(&mut raw) {
                    reply.body.extend_from_slice(&raw[from.min(raw.len())..(from + size).min(raw.len())]);
                    reply.whole = false;
                    return;
                }
            }
            reply.body.extend_from_slice(&raw[from..from + size]);
            at = from + size + 2;
            if size == 0 {
                return;
            }
        }
    }

    /// Reads some bytes; `false` at the end, however it came.
    fn more(&mut self, into: &mut Vec<u8>) -> bool {
        let mut piece = vec![0; 64 << 10];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(n) => {
                into.extend_from_slice(&piece[..n]);
                true
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => {
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until the other end has closed.
    pub(crate) fn closed(&mut self) -> bool {
        !self.more(&mut Vec::new())
    }
}

/// Waits for something to become true.
pub(crate) fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A store of `n` users with one byte of its blocks changed, at so many percent of the segment's length.
pub(crate) fn damaged(path: &Path, n: usize, percent: usize) -> Arc<Store> {
    let store = Store::create(path, &Options::default()).unwrap();
    store.load(many(n)).unwrap();
    store.close().unwrap();
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let segment = files.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.len() * percent / 100;
    bytes[at] ^= 1;
    fs::set_permissions(&segment, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&segment, bytes).unwrap();
    Arc::new(Store::open(path, &Options::default()).unwrap())
}
