//! Arbitrary bytes as a request to the method, in its two phases: an answer, never a panic; with a JSON envelope wherever it is
//! JSON, and no more work than was said.
//!
//! The first byte chooses the circumstances; the rest is lines: HTTP method and target, headers until an empty line, body.
#![no_main]

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, UNIX_EPOCH};

use headcount::method::{
    Admission, Admitted, Api, Body, Code, ExportBody, Failure, Permission, Request, Response, Secret, Settings, Site,
    Sites, Work,
};
use headcount::{Store, User};
use libfuzzer_sys::fuzz_target;

fn api() -> &'static Api {
    static API: OnceLock<Api> = OnceLock::new();
    API.get_or_init(|| {
        let store = Arc::new(Store::temporary().expect("a temporary store"));
        let users = ["a", "b", "c"].map(|uid| User::new(uid).with_identity("site", uid));
        store.load(users).expect("three users");
        let secret = || Secret::new("c2VjcmV0").expect("base64");
        let site = Site::new("k", store, secret()).with_user_key("u", secret(), [Permission::Export]);
        let sites = Sites::new([site]).expect("one site");
        let settings = Settings { insecure_loopback: true, export_threads: Some(1), ..Settings::default() };
        Api::new(sites, settings, UNIX_EPOCH)
    })
}

/// Over TLS.
const SECURE: u8 = 1;
/// By HTTP/1.0.
const OLD: u8 = 2;
/// The server changes its mind between the phases.
const REFUSE: u8 = 4;
/// The body is polled, and not waited for.
const POLL: u8 = 8;

fn request(data: &[u8]) -> Option<(u8, Request)> {
    let (circumstances, rest) = data.split_first()?;
    let at = rest.windows(2).position(|pair| pair == b"\n\n").unwrap_or(rest.len());
    let (head, body) = rest.split_at(at);
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split('\n');
    let (method, target) = lines.next()?.split_once(' ')?;
    let mut request = Request::new(method, target, UNIX_EPOCH + Duration::from_secs(1_416_000_000));
    request.secure = circumstances & SECURE != 0;
    request.http_1_0 = circumstances & OLD != 0;
    request.host = Some("localhost".to_owned());
    let headers = lines.filter_map(|line| line.split_once(':'));
    request.headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    request.body = body.get(2..).unwrap_or_default().to_vec();
    Some((*circumstances, request))
}

/// The answer of a request that was admitted takes what was said.
fn answer(admitted: Admitted) -> Response {
    let (work, verb) = (admitted.work(), admitted.verb());
    assert_eq!(admitted.outcome().verb, Some(verb));
    assert!(admitted.outcome().api_key.is_some(), "nobody is admitted whom nobody knows");
    let response = admitted.answer();
    let streamed = matches!(response.body, Body::Export(_));
    assert!(!streamed || !matches!(work, Work::Light | Work::Write), "{work:?} does not stream");
    response
}

fn polled(mut body: ExportBody) -> Vec<u8> {
    let (mut all, mut cx) = (Vec::new(), Context::from_waker(Waker::noop()));
    loop {
        match body.poll_next(&mut cx) {
            Poll::Pending => std::thread::yield_now(),
            Poll::Ready(Some(piece)) => all.extend_from_slice(&piece.expect("a whole store")),
            Poll::Ready(None) => break,
        }
    }
    assert!(matches!(body.poll_next(&mut cx), Poll::Ready(None)), "the end is the end");
    all
}

fuzz_target!(|data: &[u8]| {
    let Some((circumstances, request)) = request(data) else { return };
    let (method, old) = (request.method.clone(), request.http_1_0);
    let response = match api().admit(request) {
        Admission::Refused(response) => {
            assert!(response.outcome.error.is_some());
            response
        }
        Admission::Admitted(admitted) if circumstances & REFUSE != 0 => {
            let response = admitted.refuse(&Failure::new(Code::RateLimit, "busy").retry_after(1));
            assert_eq!(response.outcome.error, Some(Code::RateLimit));
            response
        }
        Admission::Admitted(admitted) => answer(admitted),
    };
    let is_json = response.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    let (length, status) = (response.length, response.status);
    let is_plain = response.header("content-encoding").is_none();
    let body = match response.body {
        Body::Export(body) if circumstances & POLL != 0 => polled(*body),
        body => body.read().expect("a whole store"),
    };
    if method == "HEAD" || status == 304 || status == 416 {
        assert!(body.is_empty());
        return;
    }
    assert!(length.is_some() || !old, "a client of HTTP/1.0 is told the length");
    assert!(length.is_none_or(|length| length == body.len() as u64));
    if is_json && is_plain {
        let json: serde_json::Value = serde_json::from_slice(&body).expect("an envelope is JSON");
        assert!(json["errorCode"].is_u64() && json["time"].is_string());
    }
});
