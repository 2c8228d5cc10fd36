//! A call: parameters and credentials made into a request, sent, and sent again where the protocol says so.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use headcount::Progress;
use headcount::method::{Secret, percent_encode, sign};
use headcount_server::printable;
use serde::{Deserialize, Serialize};

use crate::client::clock::Clock;
use crate::client::envelope::{Envelope, Tail};
use crate::client::http::{Base, Http, HttpError, Post, Reply};
use crate::failure::{Failure, Kind as FailureKind};
use crate::ui::Ui;

/// What of an answer is looked at before anything is done with it: longer ones are no errors.
const HEAD: usize = 64 << 10;
/// How often a busy server is asked again.
const BUSY_TRIES: u32 = 5;
/// Longest wait that a busy server is believed.
const BUSY_WAIT: Duration = Duration::from_secs(600);

const EXPIRED: i64 = 403_002;
const BUSY: i64 = 403_048;

/// Who asks.
pub(crate) enum Credential {
    /// Signs every request.
    Secret(Secret),
    /// Goes along as it is.
    Token(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret(…)",
            Self::Token(_) => "Token(…)",
        })
    }
}

/// What is asked for: all that the answer depends on, but for the state of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    /// With the method.
    pub(crate) url: String,
    pub(crate) api_key: Option<String>,
    pub(crate) user_key: Option<String>,
    /// Names and values.
    pub(crate) parameters: Vec<(String, String)>,
}

impl Request {
    /// The request as it is sent now; from byte `from` on, if the answer is still the one with that entity tag.
    fn post(
        &self,
        base: &Base,
        credential: &Credential,
        clock: &Clock,
        range: Option<(u64, &str)>,
    ) -> Result<Post, Failure> {
        let mut params: Vec<(&str, &str)> = self.parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        params.extend(self.api_key.as_deref().map(|key| ("apiKey", key)));
        params.extend(self.user_key.as_deref().map(|key| ("userKey", key)));
        let (timestamp, nonce) = (clock.seconds().to_string(), nonce()?);
        let mut headers = Vec::new();
        let sig;
        match credential {
            Credential::Secret(secret) => {
                params.extend([("timestamp", timestamp.as_str()), ("nonce", nonce.as_str())]);
                sig = sign("POST", &self.url, &params, secret);
                params.push(("sig", &sig));
            }
            Credential::Token(token) => headers.push(("authorization", format!("OAuth {token}"))),
        }
        if let Some((from, tag)) = range {
            headers.extend([("range", format!("bytes={from}-")), ("if-range", tag.to_owned())]);
        }
        let pairs = params.iter().map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)));
        let form = pairs.collect::<Vec<_>>().join("&");
        Ok(Post { url: self.url.clone(), authority: base.authority().to_owned(), headers, form })
    }

    /// Whether anything but users is an error that does not belong among them.
    pub(crate) fn asks_for_users_alone(&self) -> bool {
        let users = |value: &str| ["csv", "ndjson"].iter().any(|format| value.trim().eq_ignore_ascii_case(format));
        self.parameters.iter().any(|(name, value)| name == "format" && users(value))
    }

    /// Bytes at the end of an answer that hold what it says of itself: as much as it repeats of the request, and more.
    pub(crate) fn tail_length(&self) -> usize {
        let escaped = |(name, value): &(String, String)| 6 * (name.len() + value.len());
        HEAD + self.parameters.iter().map(escaped).sum::<usize>()
    }
}

fn nonce() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Failure::failed(std::io::Error::other(error)))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// JSON, or JSONP.
    Json,
    /// CSV or NDJSON: users and nothing else.
    Users,
}

/// An answer that has begun to come.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) kind: Kind,
    pub(crate) reply: Reply,
    /// What is wrong, when it is a short answer that says so: the whole body is that then.
    pub(crate) refusal: Option<Failure>,
    /// What came of it, to be taken before more is received.
    begun: Vec<u8>,
    /// What ended it already.
    end: Option<Result<(), HttpError>>,
}

impl Answer {
    /// Receives the beginning of `reply`: enough to tell an error.
    fn begin(mut reply: Reply) -> Result<Self, Failure> {
        let kind = kind(&reply)?;
        let (mut begun, mut end) = (Vec::new(), None);
        while kind == Kind::Json && begun.len() < HEAD && end.is_none() {
            match reply.next() {
                Ok(Some(piece)) => begun.extend_from_slice(&piece),
                Ok(None) => end = Some(Ok(())),
                Err(HttpError::Cancelled) => return Err(HttpError::Cancelled.into()),
                Err(error) => end = Some(Err(error)),
            }
        }
        Ok(Self { kind, reply, refusal: None, begun, end })
    }

    /// What the answer says of itself, when it is a short one.
    fn envelope(&self) -> Option<Envelope> {
        let is_whole = matches!(self.end, Some(Ok(())));
        let mut tail = Tail::new(self.begun.len());
        tail.push(&self.begun);
        if is_whole { tail.envelope() } else { None }
    }

    /// The next piece of the body; none at its end.
    ///
    /// # Errors
    /// When it breaks off.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        if !self.begun.is_empty() {
            return Ok(Some(std::mem::take(&mut self.begun)));
        }
        match self.end.take() {
            Some(end) => end.map(|()| None),
            None => self.reply.next(),
        }
    }
}

/// # Errors
/// When it is no answer of the method at all.
fn kind(reply: &Reply) -> Result<Kind, Failure> {
    let whole = reply.header("content-type").unwrap_or_default();
    let name = whole.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let coding = reply.header("content-encoding").filter(|coding| !coding.eq_ignore_ascii_case("identity"));
    if let Some(coding) = coding {
        let text = format!("the answer is compressed ({}), though that was not asked for", printable(coding));
        return Err(Failure::failed(text).hint("does something between here and the server compress?"));
    }
    let kind = match name.as_str() {
        "application/json" | "text/json" | "application/javascript" | "text/javascript" => Some(Kind::Json),
        "text/csv" | "application/x-ndjson" | "application/ndjson" => Some(Kind::Users),
        _ => None,
    };
    match (kind, reply.status) {
        (_, 300..400) => {
            let place = reply.header("location").map_or_else(String::new, |place| format!(" to {}", printable(place)));
            Err(Failure::failed(format!("HTTP {}: the server sends us on{place}", reply.status))
                .hint("a signature is of one URL: give the right one"))
        }
        // There is no such range; the body is nobody's.
        (_, 416) => Ok(Kind::Users),
        (Some(Kind::Users), 200 | 206) => Ok(Kind::Users),
        (Some(Kind::Json), _) => Ok(Kind::Json),
        (_, status) => {
            let found = if name.is_empty() { "nothing that is named".to_owned() } else { printable(&name) };
            let text = format!("HTTP {status} with {found}; expected an answer of the method: JSON, CSV or NDJSON");
            Err(Failure::failed(HttpStatus { text, passing: matches!(status, 502..=504) })
                .hint("is the URL that of a Headcount server, and of nothing in front of it?"))
        }
    }
}

/// An answer of something else than the method.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct HttpStatus {
    text: String,
    /// Whether it comes of something in front of a server that is away.
    passing: bool,
}

/// A refusal of the method.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Refused {
    code: i64,
    text: String,
}

/// The failure that `envelope` tells of.
pub(crate) fn refusal(code: i64, envelope: &Envelope) -> Failure {
    let text = printable(&envelope.text());
    let hint = match code {
        EXPIRED => "the clocks differ, even after ours was corrected: look at the server's",
        403_003 => {
            "is it the secret of this apiKey, and of this userKey if there is one? Behind a proxy the server has to know \
             its URL (public_urls)"
        }
        BUSY => "the server is busy: try again later",
        500_028 => "the server's store is damaged: `headcount verify` says where",
        _ => "",
    };
    let failure = Failure::failed(Refused { code, text });
    if hint.is_empty() { failure } else { failure.hint(hint) }
}

/// Whether trying again in a while may help.
pub(crate) fn is_passing(failure: &Failure) -> bool {
    let error = &failure.error;
    if let Some(error) = error.downcast_ref::<HttpError>() {
        return error.is_passing();
    }
    let of_server = |refused: &Refused| matches!(refused.code, 500_001 | 504_001 | 504_002);
    error.downcast_ref::<HttpStatus>().is_some_and(|status| status.passing)
        || error.downcast_ref::<Refused>().is_some_and(of_server)
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        let (kind, hint) = match &error {
            HttpError::Cancelled => (FailureKind::Cancelled, None),
            HttpError::Unreached { passing: false, .. } => {
                (FailureKind::Failed, Some("--ca-file FILE names the certificate of a private authority"))
            }
            HttpError::Silent { .. } => (FailureKind::Failed, Some("--timeout SECONDS waits longer")),
            _ => (FailureKind::Failed, None),
        };
        Self { kind, error: Box::new(error), hint: hint.map(str::to_owned) }
    }
}

/// Asks a server.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) request: Request,
    pub(crate) progress: &'a Arc<Progress>,
    pub(crate) ui: &'a Ui,
    http: Http,
    base: Base,
    credential: Credential,
    clock: Clock,
}

impl<'a> Ask<'a> {
    /// A request to be sent by `http`.
    pub(crate) fn new(
        http: Http,
        base: Base,
        request: Request,
        credential: Credential,
        progress: &'a Arc<Progress>,
        ui: &'a Ui,
    ) -> Self {
        Self { request, progress, ui, http, base, credential, clock: Clock::default() }
    }

    /// Sends the request, from byte `from` on where a range is given. An expired one is sent again once by the server's
    /// clock, one that came to a busy server up to five times.
    ///
    /// # Errors
    /// When there is no answer. One that is a refusal is an answer.
    pub(crate) fn ask(&mut self, range: Option<(u64, &str)>) -> Result<Answer, Failure> {
        let mut busy = 0;
        loop {
            let post = self.request.post(&self.base, &self.credential, &self.clock, range)?;
            let mut answer = Answer::begin(self.http.post(post)?)?;
            let envelope = answer.envelope();
            let Some((code, envelope)) = envelope.as_ref().and_then(|e| Some((e.error()?, e))) else {
                return Ok(answer);
            };
            match code {
                EXPIRED if self.corrects_clock(&answer.reply) => {}
                BUSY if busy < BUSY_TRIES => {
                    busy += 1;
                    let seconds = answer.reply.header("retry-after").and_then(|text| text.parse().ok()).unwrap_or(2);
                    let wait = Duration::from_secs(seconds).min(BUSY_WAIT);
                    self.ui.note(&format!("the server is busy; asking again in {} s", wait.as_secs()));
                    self.sleep(wait)?;
                }
                _ => {
                    answer.refusal = Some(refusal(code, envelope));
                    return Ok(answer);
                }
            }
        }
    }

    fn corrects_clock(&mut self, reply: &Reply) -> bool {
        if self.clock.is_set() || !matches!(self.credential, Credential::Secret(_)) {
            return false;
        }
        let Some(seconds) = reply.header("date").and_then(|date| self.clock.set(date)) else { return false };
        self.ui.note(&format!("the server's clock differs by {seconds} s; asking again by it"));
        true
    }

    /// Waits, unless cancelled meanwhile.
    pub(crate) fn sleep(&self, wait: Duration) -> Result<(), HttpError> {
        let until = Instant::now() + wait;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if self.progress.is_cancelled() {
                return Err(HttpError::Cancelled);
            }
            thread::sleep(left.min(Duration::from_millis(100)));
        }
        Ok(())
    }
}
