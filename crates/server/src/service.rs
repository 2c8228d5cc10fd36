//! One request: from hyper's types to [`headcount::method::Request`], and the answer back.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use headcount::method::{Admission, Admitted, Api, Body as Answer, Code, Failure, Request, Response, Verb, Work};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode, Version};
use tokio::task::JoinError;

use crate::audit::{Audit, End};
use crate::bodies::NoBody;
use crate::body::{Busy, Held, ResponseBody, Stream};
use crate::clock;
use crate::connection::{HEADER, MOST_HEADERS};
use crate::forwarded::{self, Client};
use crate::shared::Shared;
use crate::watch::Watch;

/// A connection, as its requests see it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    pub(crate) api: Arc<Api>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) peer: IpAddr,
    pub(crate) local: IpAddr,
    pub(crate) secure: bool,
    /// Whether this machine's own requests count as secure without TLS.
    pub(crate) insecure_loopback: bool,
}

/// What an answer depends on besides the request.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// Who asks, behind trusted proxies.
    client: IpAddr,
    is_head: bool,
    began: Instant,
}

type HttpResponse = hyper::Response<ResponseBody>;

/// All values of a header, joined by commas.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<String> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// A random number for `callId`.
fn call_id() -> u128 {
    let mut bytes = [0; 16];
    // It only has to differ from call to call, and is no secret: without randomness it is 0.
    let _: Result<(), getrandom::Error> = getrandom::fill(&mut bytes);
    u128::from_le_bytes(bytes)
}

/// Bytes that a request takes before its body.
fn head(parts: &Parts) -> usize {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    parts.headers.iter().fold(target, |sum, (name, value)| sum + HEADER + name.as_str().len() + value.len())
}

impl Connection {
    /// Answers a request.
    pub(crate) async fn serve(self, request: hyper::Request<Incoming>) -> Result<HttpResponse, Infallible> {
        let busy = Busy::new(Arc::clone(&self.watch));
        let began = Instant::now();
        if request.headers().len() > MOST_HEADERS {
            self.shared.metrics.refused("headers");
            tracing::debug!(peer = %self.peer, headers = request.headers().len(), "a request was refused: it has too many headers");
            return Ok(bare(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, busy));
        }
        if let Some(response) = self.probe(&request) {
            return Ok(self.send(response, request.method() == Method::HEAD, busy));
        }
        let is_head = request.method() == Method::HEAD;
        let (parts, body) = request.into_parts();
        let header = |name: &str| joined(&parts.headers, name);
        let client = forwarded::client(self.peer, header, |address| self.shared.is_trusted(address));
        let asked = Asked { client: client.address, is_head, began };
        let mut ours = self.translate(&parts, client);
        let head = head(&parts);
        // What is known of it is there a second time.
        drop(parts);
        let collected = self.shared.bodies.collect(body, head).await;
        // A request is as old as its last byte: whoever sends that late could use a signature for longer than it is good.
        ours.now = clock::now();
        let response = match collected {
            Ok(mut received) => {
                ours.body = std::mem::take(&mut received.bytes);
                let response = self.answer(ours, asked, busy).await;
                // Until now somebody may have had it.
                drop(received);
                return Ok(response);
            }
            Err(NoBody::TooLong) => {
                let details = format!("the body is longer than {} bytes", self.shared.limits.body_bytes);
                self.api.refuse(&ours, &Failure::new(Code::EntityTooLarge, details))
            }
            Err(NoBody::TooSlow) => {
                self.api.refuse(&ours, &Failure::new(Code::RequestTimeout, "the body did not come in time"))
            }
            Err(NoBody::NoRoom) => {
                let failure = Failure::new(Code::RateLimit, "too many long requests are on their way").retry_after(2);
                self.api.refuse(&ours, &failure)
            }
            Err(NoBody::Gone) => {
                self.api.refuse(&ours, &Failure::new(Code::InvalidRequestFormat, "the body cannot be read"))
            }
        };
        self.count(&response);
        let mut response = self.send(response, is_head, busy);
        // What is left of the body would be taken for the next request.
        response.headers_mut().insert(hyper::header::CONNECTION, HeaderValue::from_static("close"));
        Ok(response)
    }

    /// `/healthz` and `/readyz`.
    fn probe(&self, request: &hyper::Request<Incoming>) -> Option<Response> {
        // What CONNECT asks for is no path.
        let path = (request.method() != Method::CONNECT).then(|| request.uri().path())?;
        let probe = self.shared.probe(path)?;
        Some(Response {
            status: probe.0,
            headers: vec![
                ("content-type", "text/plain; charset=utf-8".to_owned()),
                ("cache-control", "no-store".to_owned()),
            ],
            length: Some(probe.1.len() as u64),
            body: Answer::Bytes(probe.1.as_bytes().to_vec()),
            outcome: headcount::method::Outcome::default(),
        })
    }

    /// All that is known of a request but its body.
    fn translate(&self, parts: &Parts, client: Client) -> Request {
        let uri = &parts.uri;
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let header = |(name, value): (&HeaderName, &HeaderValue)| (name.as_str().to_owned(), text(value));
        let mut request = Request::new(parts.method.as_str(), uri.path(), clock::now());
        request.query = uri.query().unwrap_or_default().to_owned();
        request.secure = client.secure.unwrap_or(self.secure);
        request.authority = client.host.or_else(|| uri.authority().map(|authority| authority.as_str().to_owned()));
        request.host = parts.headers.get(hyper::header::HOST).map(text);
        // Of headers with the same name the iterator does not say how many there are.
        request.headers = Vec::with_capacity(parts.headers.len());
        request.headers.extend(parts.headers.iter().map(header));
        request.peer = self.peer;
        request.local = self.local;
        request.secure |= self.insecure_loopback && request.is_local();
        request.http_1_0 = parts.version == Version::HTTP_10;
        request.call_id = call_id();
        request
    }

    async fn answer(self, request: Request, asked: Asked, busy: Busy) -> HttpResponse {
        let Asked { client, is_head, began } = asked;
        let admitted = match self.api.admit(request) {
            Admission::Refused(response) => {
                self.count(&response);
                return self.send(response, is_head, busy);
            }
            Admission::Admitted(admitted) => admitted,
        };
        let verb = admitted.verb();
        match admitted.work() {
            Work::Light => {
                let response = admitted.answer();
                self.count(&response);
                self.audit_short(&response, client, began, verb);
                self.send(response, is_head, busy)
            }
            Work::Write => {
                let (response, _) = blocking(admitted, ()).await;
                self.shared.metrics.commit(began.elapsed());
                self.count(&response);
                self.send(response, is_head, busy)
            }
            Work::Page | Work::Export => self.export(admitted, asked, busy).await,
        }
    }

    /// An export that was rendered into memory has ended before it is sent, and so has one that failed before its first byte.
    fn audit_short(&self, response: &Response, client: IpAddr, began: Instant, verb: Verb) {
        let outcome = &response.outcome;
        if verb != Verb::ExportUsers {
            return;
        }
        let audit = || Audit { outcome: outcome.clone(), client, began, status: response.status };
        let site = outcome.api_key.as_deref().unwrap_or_default();
        if let Some(fault) = outcome.error.filter(|code| code.status() >= 500) {
            self.shared.metrics.export(site, End::Failed.as_str(), 0, 0, 0);
            return audit().write(End::Failed, None, 0, Some(fault.message()));
        }
        if outcome.seq.is_none() || outcome.users.is_none() {
            return;
        }
        self.shared.metrics.first_byte(began.elapsed());
        let audit = audit();
        let bytes = response.length.unwrap_or_default();
        let counts = audit.counts(None);
        let (users, identities) = counts.unwrap_or_default();
        self.shared.metrics.export(site, End::Whole.as_str(), users, identities, bytes);
        audit.write(End::Whole, counts, bytes, None);
    }

    async fn export(self, admitted: Admitted, asked: Asked, busy: Busy) -> HttpResponse {
        let Asked { client, is_head, began } = asked;
        let outcome = admitted.outcome();
        let key = [outcome.api_key.as_deref(), outcome.user_key.as_deref()].map(Option::unwrap_or_default).join("\0");
        let slots = &self.shared.slots;
        let begun = match admitted.work() {
            Work::Page => slots.page(&key).map(|ticket| (ticket, None)),
            _ => slots.begin(&key).await.map(|(ticket, slot)| (ticket, Some(slot))),
        };
        let (ticket, slot) = match begun {
            Ok(both) => both,
            Err(full) => {
                let failure = Failure::new(Code::RateLimit, full.details()).retry_after(2);
                let response = admitted.refuse(&failure);
                self.count(&response);
                return self.send(response, is_head, busy);
            }
        };
        let entry = self.shared.transfers.enter(slot, Arc::clone(&self.watch), Instant::now());
        let (mut response, held) = blocking(admitted, (entry, ticket)).await;
        self.count(&response);
        let body = std::mem::replace(&mut response.body, Answer::Bytes(Vec::new()));
        match (body, held) {
            (Answer::Export(body), Some((entry, ticket))) => {
                let audit = Audit { outcome: response.outcome.clone(), client, began, status: response.status };
                let (watch, metrics) = (Arc::clone(&self.watch), Arc::clone(&self.shared.metrics));
                let held = Held { entry, ticket, watch, metrics, audit };
                let stream = Stream::new(*body, response.length, held);
                with_headers(&response, ResponseBody::export(stream, busy))
            }
            (body, _) => {
                response.body = body;
                self.audit_short(&response, client, began, Verb::ExportUsers);
                self.send(response, is_head, busy)
            }
        }
    }

    fn send(&self, mut response: Response, is_head: bool, busy: Busy) -> HttpResponse {
        let bytes = match std::mem::replace(&mut response.body, Answer::Bytes(Vec::new())) {
            Answer::Bytes(bytes) => bytes,
            // Exports go another way.
            Answer::Export(_) => Vec::new(),
        };
        let mut bytes = if is_head { Vec::new() } else { bytes };
        // Of HTTP/1.1 the connection's own watch sees whether they are taken.
        let watched = !bytes.is_empty() && self.watch.is_multiplexed();
        let unknown = watched && response.outcome.api_key.is_none();
        if unknown {
            // What is not counted is as short as it seems.
            bytes.shrink_to_fit();
        }
        let Ok(share) = (if unknown { self.shared.bodies.answer(bytes.len()) } else { Ok(None) }) else {
            // Too much is said already to those who may never take it.
            self.shared.metrics.refused("answers");
            tracing::debug!(peer = %self.peer, status = response.status, "an answer was not sent: too many are on their way");
            let mut response = bare(StatusCode::SERVICE_UNAVAILABLE, busy);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
            return response;
        };
        let entry = watched.then(|| self.shared.transfers.offer(Arc::clone(&self.watch), Instant::now()));
        let mut sent = with_headers(&response, ResponseBody::bytes(bytes, entry, share, busy));
        if let Some(length) = response.length.filter(|_| is_head) {
            sent.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        sent
    }

    fn count(&self, response: &Response) {
        let outcome = &response.outcome;
        let method = outcome.verb.map_or("unknown", Verb::as_str);
        let code = outcome.error.map_or(0, Code::number);
        let is_auth = outcome.error.is_some_and(is_authorization);
        self.shared.metrics.request(method, code, is_auth);
        let message = if outcome.error.is_some() { "refused" } else { "answered" };
        tracing::info!(
            callId = %outcome.call_id,
            method,
            errorCode = code,
            status = response.status,
            apiKey = outcome.api_key.as_deref(),
            peer = %self.peer,
            "{message}"
        );
    }
}

/// Has a request answered by a thread that may wait for a disk, and gives back what it `held` meanwhile; without an answer
/// nothing is held.
async fn blocking<H: Send + 'static>(admitted: Admitted, held: H) -> (Response, Option<H>) {
    // As this call wants its errors, with its callId.
    let refusal = admitted.refusal(&Failure::new(Code::ServerError, "the request failed; try again"));
    answered(refusal, held, move || admitted.answer()).await
}

/// The answer of `work`, or `refusal` where it panics.
async fn answered<H>(
    refusal: Response,
    held: H,
    work: impl FnOnce() -> Response + Send + 'static,
) -> (Response, Option<H>)
where
    H: Send + 'static,
{
    match holding(held, work).await {
        Ok((response, held)) => (response, Some(held)),
        Err(error) => {
            tracing::error!(callId = %refusal.outcome.call_id, %error, "a request ended by a panic");
            (refusal, None)
        }
    }
}

/// Does `work` on a thread that may wait, which has `held` until it is done: who asked may be gone before, by a reset of its
/// stream, and then nobody polls this any more.
async fn holding<T, H>(held: H, work: impl FnOnce() -> T + Send + 'static) -> Result<(T, H), JoinError>
where
    T: Send + 'static,
    H: Send + 'static,
{
    tokio::task::spawn_blocking(move || (work(), held)).await
}

/// A status, and nothing else.
fn bare(status: StatusCode, busy: Busy) -> HttpResponse {
    let mut sent = hyper::Response::new(ResponseBody::bytes(Vec::new(), None, None, busy));
    *sent.status_mut() = status;
    sent
}

fn with_headers(response: &Response, body: ResponseBody) -> HttpResponse {
    let mut sent = hyper::Response::new(body);
    *sent.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &response.headers {
        // Header values are ours, but for what was echoed of a request: that goes into bodies alone.
        if let Ok(value) = HeaderValue::from_str(value) {
            sent.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    sent
}

/// Whether a code is about credentials.
const fn is_authorization(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidAuthenticationHeader
            | Code::InvalidApiKey
            | Code::RequestExpired
            | Code::InvalidSignature
            | Code::DuplicateNonce
            | Code::SecretOverHttp
            | Code::PermissionDenied
            | Code::InvalidSecret
            | Code::InvalidToken
    )
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use http_body_util::BodyExt as _;
    use hyper::body::Body as _;

    use super::*;

    #[tokio::test]
    async fn a_place_is_held_while_the_work_goes_on() {
        let place = Arc::new(());
        let ((begun, has_begun), (go, may_go)) = (mpsc::channel(), mpsc::channel());
        let work = holding(Arc::clone(&place), move || {
            begun.send(()).unwrap();
            may_go.recv().unwrap();
        });
        // Polled until the work has begun, and then dropped, as by a reset of its stream.
        assert!(tokio::time::timeout(Duration::from_millis(10), work).await.is_err());
        has_begun.recv().unwrap();
        assert_eq!(Arc::strong_count(&place), 2, "the work goes on");
        go.send(()).unwrap();
        while Arc::strong_count(&place) > 1 {
            tokio::task::yield_now().await;
        }
        let (done, held) = holding(place, || 7).await.unwrap();
        assert_eq!((done, Arc::strong_count(&held)), (7, 1));
    }

    fn api() -> Api {
        let store = Arc::new(headcount::Store::temporary().unwrap());
        let secret = headcount::method::Secret::new("c2VjcmV0").unwrap();
        let sites = headcount::method::Sites::new([headcount::method::Site::new("3_key", store, secret)]).unwrap();
        Api::new(sites, headcount::method::Settings::default(), clock::now())
    }

    #[test]
    fn headers_count_with_what_they_take_in_memory() {
        let mut request = hyper::Request::new(());
        *request.uri_mut() = "/1234567".parse().unwrap();
        for _ in 0..100 {
            request.headers_mut().append("a", HeaderValue::from_static("b"));
        }
        assert!(head(&request.into_parts().0) >= 100 * (size_of::<(String, String)>() + 2 * 16 + 2) + 8);
    }

    #[tokio::test]
    async fn what_is_said_to_nobody_known_has_a_bounded_room() {
        let now = Instant::now();
        let (shared, watch) = (Shared::new(crate::config::Limits::default(), Vec::new()), Watch::new(now));
        watch.expect_requests(true, now);
        let ip = IpAddr::from([127, 0, 0, 1]);
        let connection = Connection {
            shared: Arc::new(shared),
            api: Arc::new(api()),
            watch: Arc::new(watch),
            peer: ip,
            local: ip,
            secure: true,
            insecure_loopback: false,
        };
        let answer = |bytes: usize, api_key: Option<&str>| {
            let (outcome, body) = (Default::default(), Answer::Bytes(vec![b' '; bytes]));
            let outcome = headcount::method::Outcome { api_key: api_key.map(str::to_owned), ..outcome };
            let response = Response { status: 200, headers: Vec::new(), length: None, body, outcome };
            connection.send(response, false, Busy::new(Arc::clone(&connection.watch)))
        };
        let held: Vec<HttpResponse> = (0..4).map(|_| answer(15 << 20, None)).collect();
        assert!(held.iter().all(|response| response.status() == 200));
        let refused = answer(15 << 20, None);
        assert_eq!((refused.status(), refused.body().size_hint().exact()), (StatusCode::SERVICE_UNAVAILABLE, Some(0)));
        let text = connection.shared.metrics_text(&headcount::method::Sites::default());
        assert!(text.contains("connections_refused_total{reason=\"answers\"} 1"), "{text}");
        assert_eq!(answer(4 << 10, None).status(), 200, "what is short needs none");
        assert_eq!(answer(15 << 20, Some("3_key")).status(), 200, "nor who is known");
        drop(held);
        // As hyper takes it whose client has large windows, and reads nothing: whole, and without the body.
        let mut frames: Vec<Vec<bytes::Bytes>> = Vec::new();
        for _ in 0..4 {
            let mut body = answer((15 << 20) + 1, None).into_body();
            assert_eq!(body.size_hint().exact(), Some((15 << 20) + 1));
            let mut taken = Vec::new();
            while let Some(frame) = body.frame().await {
                taken.push(frame.unwrap().into_data().unwrap());
            }
            assert!(body.is_end_stream() && taken.concat() == vec![b' '; (15 << 20) + 1]);
            frames.push(taken);
        }
        assert_eq!(answer(15 << 20, None).status(), 503, "hyper has them still");
        // What is on its way when a stream's window ends is the last piece alone, which holds no room.
        let mut last = frames.swap_remove(0);
        last.drain(..last.len() - 1);
        assert!(last[0].len() <= crate::bodies::FREE);
        assert_eq!(answer(15 << 20, None).status(), 200);
    }

    #[tokio::test]
    async fn a_panic_is_told_as_the_call_wants_it() {
        let api = api();
        let target = "/socialize.exportUsers?apiKey=3_key&secret=c2VjcmV0&format=csv";
        let request = Request { secure: true, call_id: 7, ..Request::new("GET", target, clock::now()) };
        let Admission::Admitted(admitted) = api.admit(request) else { panic!("it is refused") };
        let refusal = admitted.refusal(&Failure::new(Code::ServerError, "why"));
        let (response, held) = answered(refusal, (), || panic!("on purpose")).await;
        assert_eq!((response.status, held), (500, None));
        assert_eq!(response.outcome.verb, Some(Verb::ExportUsers));
        let text = String::from_utf8(response.body.read().unwrap()).unwrap();
        assert!(text.contains("\"errorCode\":500001,") && text.contains(&format!("{:032x}", 7)), "{text}");
    }
}
