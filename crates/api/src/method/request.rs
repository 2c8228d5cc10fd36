//! What a client asked for, as an HTTP server saw it: plain values, so that every rule is a test without a socket.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{SystemTime, UNIX_EPOCH};

/// A request. Nothing in it is trusted.
#[derive(Clone)]
pub struct Request {
    /// The method: `GET`, `POST`, `HEAD`, or what else was sent.
    pub method: String,
    /// Whether it came over TLS, to this process or to a proxy that is trusted to say so.
    pub secure: bool,
    /// The authority of an absolute-form target, or HTTP/2's `:authority`.
    pub authority: Option<String>,
    /// The `Host` header.
    pub host: Option<String>,
    /// The path, as sent.
    pub path: String,
    /// The query, as sent, without its question mark.
    pub query: String,
    /// The other headers, in the order in which they came; names in any case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Address of the connection's other end.
    pub peer: IpAddr,
    /// Address of the listener that took it.
    pub local: IpAddr,
    /// Whether the client speaks HTTP/1.0: it gets neither compressed bodies nor ones of unknown length.
    pub http_1_0: bool,
    /// When it came.
    pub now: SystemTime,
    /// A random number, drawn for this call: `callId`.
    pub call_id: u128,
}

impl Request {
    /// A request for `target`, in origin form (`/path?query`) or absolute form, that came at `now`: over plain HTTP, by
    /// HTTP/1.1, from and to 127.0.0.1, without headers and body.
    #[must_use]
    pub fn new(method: impl Into<String>, target: &str, now: SystemTime) -> Self {
        let (authority, rest) = match target.split_once("://") {
            Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                let (authority, rest) = rest.split_at_checked(end).unwrap_or((rest, ""));
                (Some(authority.to_owned()), rest)
            }
            _ => (None, target),
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Self {
            method: method.into(),
            secure: false,
            authority,
            host: None,
            path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
            query: query.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            peer: Ipv4Addr::LOCALHOST.into(),
            local: Ipv4Addr::LOCALHOST.into(),
            http_1_0: false,
            now,
            call_id: 0,
        }
    }

    /// The first header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Every header of that name.
    pub(crate) fn all<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r str> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Whether nobody but this machine is known to have seen it: both ends are loopback addresses, and no header says
    /// that a proxy passed it on.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let forwarded = |name: &str| {
            let known = ["forwarded", "via"].iter().any(|known| name.eq_ignore_ascii_case(known));
            known || name.get(..12).is_some_and(|start| start.eq_ignore_ascii_case("x-forwarded-"))
        };
        let loopback = |address: IpAddr| address.to_canonical().is_loopback();
        loopback(self.peer) && loopback(self.local) && !self.headers.iter().any(|(name, _)| forwarded(name))
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) fn now_ms(&self) -> u64 {
        millis(self.now)
    }
}

/// `time` in milliseconds since 1970-01-01 UTC; 0 for what lies before.
pub(crate) fn millis(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Query, body and headers may hold secrets.
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("secure", &self.secure)
            .field("path", &self.path)
            .field("body", &self.body.len())
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
