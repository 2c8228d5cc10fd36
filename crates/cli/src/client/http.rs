//! HTTP: one POST and its answer in pieces. Everything of ureq is here.

use std::fmt;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use headcount::Progress;
use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// Longest piece of a body, in bytes.
const PIECE: usize = 64 << 10;
/// Pieces that wait between the socket and the disk.
const PIECES: usize = 8;
/// How long Ctrl-C may go unnoticed.
const LOOK: Duration = Duration::from_millis(100);

/// Why there is no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// No connection, or no response that is one.
    #[error("cannot reach {authority}")]
    Unreached {
        authority: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
        /// Whether it may be better in a while.
        passing: bool,
    },
    /// The other side is silent.
    #[error("nothing came from the server for {} seconds", wait.as_secs())]
    Silent { wait: Duration },
    /// The body ended too early.
    #[error("the answer broke off")]
    Broken {
        #[source]
        source: io::Error,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl HttpError {
    /// Whether trying again in a while makes sense.
    pub(crate) const fn is_passing(&self) -> bool {
        match self {
            Self::Unreached { passing, .. } => *passing,
            Self::Silent { .. } | Self::Broken { .. } => true,
            Self::Cancelled => false,
        }
    }
}

/// A server's address: scheme, host, port, and a path before the method's.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    uri: Uri,
}

impl Base {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        const FORM: &str = "write scheme and host, as in https://users.example.com or http://127.0.0.1:8080";
        let uri: Uri = url.parse().map_err(|_| format!("{url:?} is no URL; {FORM}"))?;
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        let host = uri.host().unwrap_or_default();
        if !is_web || host.is_empty() {
            return Err(format!("{url:?} does not begin with http:// or https:// and a host; {FORM}"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(format!("{url:?} names a user; credentials are given by --secret-file or --token-file"));
        }
        if uri.query().is_some() || url.contains('#') {
            return Err("the URL has a query or fragment; give parameters as words, name=value".to_owned());
        }
        Ok(Self { uri })
    }

    /// The URL without what stands behind its last slash, and what stands there.
    pub(crate) fn split(&self) -> (String, &str) {
        let path = self.uri.path();
        let (dir, last) = path.rsplit_once('/').unwrap_or_default();
        let scheme = self.uri.scheme_str().unwrap_or("http");
        (format!("{scheme}://{}{dir}", self.authority()), last)
    }

    pub(crate) fn authority(&self) -> &str {
        self.uri.authority().map(|authority| authority.as_str()).unwrap_or_default()
    }

    /// Whether what is sent there can be read by others on the way.
    pub(crate) fn is_open(&self) -> bool {
        let host = self.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let is_here =
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        self.uri.scheme_str() != Some("https") && !is_here
    }
}

/// A POST request with a form.
pub(crate) struct Post {
    pub(crate) url: String,
    /// What the URL is of, for messages.
    pub(crate) authority: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) form: String,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers and form hold tokens and signatures.
        f.debug_struct("Post").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Sends requests.
#[derive(Debug)]
pub(crate) struct Http {
    agent: Agent,
    wait: Duration,
    progress: Arc<Progress>,
}

impl Http {
    /// A client that gives up after `wait` without a byte, and when `progress` is cancelled. It trusts the certificates in
    /// `roots`, which is PEM, or else those that the public trusts.
    ///
    /// # Errors
    /// When `roots` holds no certificate.
    pub(crate) fn new(wait: Duration, roots: Option<&[u8]>, progress: Arc<Progress>) -> Result<Self, String> {
        let roots = match roots {
            None => RootCerts::WebPki,
            Some(pem) => {
                let items: Vec<_> = parse_pem(pem).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
                let certificates: Vec<_> = items
                    .into_iter()
                    .filter_map(|item| match item {
                        PemItem::Certificate(certificate) => Some(certificate),
                        _ => None,
                    })
                    .collect();
                if certificates.is_empty() {
                    return Err("there is no certificate in it; expected PEM, -----BEGIN CERTIFICATE-----".to_owned());
                }
                RootCerts::new_with_certs(&certificates)
            }
        };
        // Behind ours, which says so better.
        let last = wait + Duration::from_secs(5);
        let config = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .http_status_as_error(false)
            // A signature is of one URL.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("headcount/", env!("CARGO_PKG_VERSION")))
            // Ranges are of the plain bytes.
            .accept_encoding("identity")
            .timeout_connect(Some(last))
            .timeout_per_read(Some(last))
            .timeout_per_write(Some(last))
            .build();
        Ok(Self { agent: config.into(), wait, progress })
    }

    /// Sends `post` and waits for the head of the answer.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn post(&self, post: Post) -> Result<Reply, HttpError> {
        let (sender, receiver) = mpsc::sync_channel(PIECES);
        let agent = self.agent.clone();
        let authority = post.authority.clone();
        // A thread, so that Ctrl-C is noticed while it waits; it ends with the answer, or when nobody wants it any more.
        let started = thread::Builder::new().name("http".to_owned()).spawn(move || fetch(&agent, post, &sender));
        started.map_err(|source| HttpError::Unreached { authority, source: source.into(), passing: false })?;
        let mut pieces = Pieces { receiver, wait: self.wait, progress: Arc::clone(&self.progress) };
        match pieces.event()? {
            Event::Head { status, headers } => Ok(Reply { status, headers, pieces }),
            Event::Data(_) | Event::End => Err(ended()),
        }
    }
}

/// What the receiving thread sees.
enum Event {
    Head { status: u16, headers: Vec<(String, String)> },
    Data(Vec<u8>),
    End,
}

fn fetch(agent: &Agent, post: Post, sender: &SyncSender<Result<Event, HttpError>>) {
    // Nobody listens any more when sending fails: then there is nothing to do.
    let mut request = agent.post(&post.url).content_type("application/x-www-form-urlencoded");
    for (name, value) in post.headers {
        request = request.header(name, value);
    }
    let response = match request.send(post.form) {
        Ok(response) => response,
        Err(error) => return drop(sender.send(Err(unreached(post.authority, error)))),
    };
    let (head, body) = response.into_parts();
    let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    if sender.send(Ok(Event::Head { status: head.status.as_u16(), headers })).is_err() {
        return;
    }
    let mut reader = body.into_reader();
    loop {
        let mut piece = vec![0; PIECE];
        let event = match reader.read(&mut piece) {
            Ok(0) => Ok(Event::End),
            Ok(length) => {
                piece.truncate(length);
                Ok(Event::Data(piece))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => Err(HttpError::Broken { source }),
        };
        let goes_on = matches!(event, Ok(Event::Data(_)));
        if sender.send(event).is_err() || !goes_on {
            return;
        }
    }
}

fn unreached(authority: String, error: ureq::Error) -> HttpError {
    let (source, passing): (Box<dyn std::error::Error + Send + Sync>, bool) = match error {
        // A certificate that is not trusted comes as invalid data; it stays so.
        ureq::Error::Io(error) => {
            let passing = error.kind() != io::ErrorKind::InvalidData;
            (error.into(), passing)
        }
        error => {
            use ureq::Error::{ConnectionFailed, HostNotFound, Timeout};
            let passing = matches!(error, Timeout(_) | HostNotFound | ConnectionFailed);
            (error.into(), passing)
        }
    };
    HttpError::Unreached { authority, source, passing }
}

fn ended() -> HttpError {
    HttpError::Broken { source: io::ErrorKind::UnexpectedEof.into() }
}

/// An answer: its head, and the pieces of its body.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pieces: Pieces,
}

impl Reply {
    /// The first header of that name, which is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.trim())
    }

    /// `Content-Length`.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// The next piece of the body; none at its end.
    ///
    /// # Errors
    /// When it breaks off.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        match self.pieces.event()? {
            Event::Data(piece) => Ok(Some(piece)),
            Event::End => Ok(None),
            Event::Head { .. } => Err(ended()),
        }
    }
}

#[derive(Debug)]
struct Pieces {
    receiver: Receiver<Result<Event, HttpError>>,
    wait: Duration,
    progress: Arc<Progress>,
}

impl Pieces {
    fn event(&mut self) -> Result<Event, HttpError> {
        let since = Instant::now();
        loop {
            if self.progress.is_cancelled() {
                return Err(HttpError::Cancelled);
            }
            match self.receiver.recv_timeout(LOOK) {
                Ok(event) => return event,
                Err(RecvTimeoutError::Disconnected) => return Err(ended()),
                Err(RecvTimeoutError::Timeout) if since.elapsed() >= self.wait => {
                    return Err(HttpError::Silent { wait: self.wait });
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_servers() {
        for (url, dir, last) in [
            ("http://Host:8080", "http://Host:8080", ""),
            ("https://host/", "https://host", ""),
            ("https://host/base/", "https://host/base", ""),
            ("https://host/base/socialize.exportUsers", "https://host/base", "socialize.exportUsers"),
        ] {
            assert_eq!(Base::parse(url).unwrap().split(), (dir.to_owned(), last), "{url}");
        }
        for (url, problem) in [
            ("host:8080", "http:// or https://"),
            ("ftp://host", "http:// or https://"),
            ("http://", "is no URL"),
            ("http://a b", "is no URL"),
            ("http://me:secret@host", "--secret-file"),
            ("http://host/?a=b", "as words"),
            ("http://host/#a", "as words"),
        ] {
            let text = Base::parse(url).unwrap_err();
            assert!(text.contains(problem), "{url}: {text}");
        }
    }

    #[test]
    fn what_others_can_read() {
        for (url, is_open) in [
            ("https://users.example", false),
            ("http://localhost:1", false),
            ("http://127.0.0.2", false),
            ("http://[::1]:8080", false),
            ("http://users.example", true),
            ("http://10.0.0.1", true),
            ("http://localhost.example", true),
        ] {
            assert_eq!(Base::parse(url).unwrap().is_open(), is_open, "{url}");
        }
    }
}
