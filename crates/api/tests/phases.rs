//! The two phases of an answer, and bodies that are polled.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod support;

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use headcount::method::{
    Admission, Admitted, Api, Body, Code, ExportBody, Failure, FileTokens, Request, Response, Settings, Verb, Work,
};
use headcount::{ExportError, User};
use support::*;

/// Enough for a body that is streamed.
fn many() -> Vec<User> {
    (0..20_000).map(|n| User::new(format!("user-{n:05}")).with_identity("site", format!("{n}"))).collect()
}

fn admitted(api: &Api, request: Request) -> Admitted {
    match api.admit(request) {
        Admission::Admitted(admitted) => admitted,
        Admission::Refused(response) => panic!("{}", text(response)),
    }
}

#[test]
fn what_may_go_to_an_async_server() {
    fn is<T: Send + 'static>() {}
    is::<Admission>();
    is::<Response>();
    is::<ExportBody>();
}

#[test]
fn work_is_what_the_answer_takes() {
    let small = fixture();
    let large = fixture_with(many(), Settings::default());
    let credentials = [("apiKey", KEY), ("secret", SECRET)];
    let whole = large.export(&[("format", "csv")]);
    let tag = whole.header("etag").unwrap().to_owned();
    for (f, method, verb, params, headers, expected) in [
        (&small, "GET", "exportUsers", &[][..], &[][..], Work::Light),
        (&small, "GET", "exportUsers", &[("format", "jsonp"), ("callback", "f")], &[], Work::Light),
        (&small, "GET", "exportUsers", &[], &[("accept-encoding", "gzip")], Work::Light),
        (&small, "GET", "exportUsers", &[("since", "0")], &[], Work::Export),
        (&large, "GET", "exportUsers", &[], &[], Work::Export),
        (&large, "HEAD", "exportUsers", &[], &[], Work::Light),
        (&large, "GET", "exportUsers", &[("limit", "100")], &[], Work::Light),
        (&large, "GET", "exportUsers", &[("limit", "1000")], &[], Work::Page),
        (&large, "GET", "exportUsers", &[("limit", "10000")], &[], Work::Export),
        (&large, "GET", "exportUsers", &[("after", "user-19990")], &[], Work::Light),
        (&large, "GET", "exportUsers", &[("format", "csv")], &[("if-none-match", &*tag)], Work::Light),
        (&large, "GET", "exportUsers", &[("format", "csv")], &[("range", "bytes=99999999-")], Work::Light),
        (&small, "GET", "getUserInfo", &[("UID", "AABCWA")], &[], Work::Light),
        (&small, "POST", "setUID", &[("UID", "AJDPHN"), ("siteUID", "x")], &[], Work::Write),
        (&small, "POST", "notifyRegistration", &[("UID", "AABCWA")], &[], Work::Write),
        (&small, "POST", "deleteAccount", &[("UID", "AAKODB")], &[], Work::Write),
        (&small, "POST", "importIdentities", &[("UID", "AABCWA"), ("identities", "[]")], &[], Work::Write),
        (&small, "POST", "getToken", &[("grant_type", "none")], &[], Work::Light),
    ] {
        let mut request = get(verb, &[&credentials[..], params].concat());
        request.method = method.to_owned();
        request.headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let admitted = admitted(&f.api, request);
        let what = format!("{method} {verb} {params:?} {headers:?}");
        assert_eq!((admitted.work(), admitted.verb().as_str()), (expected, &*format!("socialize.{verb}")), "{what}");
        let outcome = admitted.outcome();
        assert_eq!((outcome.verb, outcome.api_key.as_deref()), (Some(admitted.verb()), Some(KEY)), "{what}");
        let response = admitted.answer();
        assert_eq!(response.outcome.error, None, "{what}");
        let streamed = matches!(expected, Work::Page | Work::Export);
        assert_eq!(matches!(response.body, Body::Export(_)), streamed, "{what}");
    }
    let dir = tempfile::tempdir().unwrap();
    let tokens = FileTokens::open(dir.path().join("tokens")).unwrap();
    let f = fixture();
    let api = f.api.with_tokens(Arc::new(tokens));
    let request = post("getToken", &[("apiKey", KEY), ("secret", SECRET), ("grant_type", "none")]);
    assert_eq!(admitted(&api, request).work(), Work::Write);
}

#[test]
fn nothing_is_done_before_it_is_answered() {
    let f = fixture();
    let request = || post("deleteAccount", &[("apiKey", KEY), ("secret", SECRET), ("UID", "AABCWA")]);
    let refused = admitted(&f.api, request()).refuse(&Failure::new(Code::RateLimit, "busy").retry_after(2));
    assert_eq!((refused.outcome.error, refused.outcome.verb), (Some(Code::RateLimit), Some(Verb::DeleteAccount)));
    assert_eq!((refused.header("retry-after"), refused.outcome.api_key.as_deref()), (Some("2"), Some(KEY)));
    drop(admitted(&f.api, request()));
    let waiting = admitted(&f.api, request());
    assert!(f.store.get("AABCWA").unwrap().is_some());
    assert_eq!(waiting.answer().outcome.error, None);
    assert!(f.store.get("AABCWA").unwrap().is_none());
}

#[test]
fn values_are_refused_before_anything_is_done() {
    let f = fixture();
    for (verb, params, expected) in [
        ("exportUsers", &[("limit", "x")][..], 400_004),
        ("exportUsers", &[("atSeq", "77")], 400_006),
        ("exportUsers", &[("since", "77")], 400_006),
        ("setUID", &[("UID", "AABCWA")], 400_002),
        ("setUID", &[("UID", "AABCWA"), ("siteUID", "é")], 400_006),
        ("importIdentities", &[("UID", "AABCWA"), ("identities", "x")], 400_004),
        ("getToken", &[("grant_type", "x")], 400_013),
    ] {
        let request = post(verb, &[&[("apiKey", KEY), ("secret", SECRET)], params].concat());
        let Admission::Refused(response) = f.api.admit(request) else { panic!("{verb} {params:?}") };
        assert_eq!(response.outcome.api_key.as_deref(), Some(KEY), "{params:?}");
        assert_eq!(code(response), expected, "{params:?}");
    }
}

#[test]
fn outcomes_count() {
    let f = fixture();
    let outcome = |params: &[(&str, &str)]| f.export(params).outcome;
    let all = outcome(&[]);
    assert_eq!((all.users, all.identities, all.seq), (Some(7), Some(9), Some(1)));
    let two = outcome(&[("limit", "2"), ("fields", "uid"), ("format", "csv")]);
    assert_eq!((two.users, two.identities), (Some(2), Some(0)));
    let f = fixture_with(many(), Settings::default());
    let response = f.export(&[]);
    assert_eq!(response.outcome.users, None);
    let Body::Export(mut body) = response.body else { panic!("not streamed") };
    assert!(body.summary().is_none());
    let bytes: usize = body.by_ref().map(|piece| piece.unwrap().len()).sum();
    let summary = body.summary().unwrap();
    assert_eq!((summary.users, summary.identities, summary.bytes), (20_000, 20_000, bytes as u64));
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// All of a body, polled.
fn polled(mut body: ExportBody) -> Result<Vec<u8>, ExportError> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut all = Vec::new();
    loop {
        match body.poll_next(&mut Context::from_waker(&waker)) {
            Poll::Pending => std::thread::park(),
            Poll::Ready(Some(piece)) => all.extend_from_slice(&piece?),
            Poll::Ready(None) => return Ok(all),
        }
    }
}

#[test]
fn bodies_are_polled_as_they_are_waited_for() {
    let f = fixture_with(many(), Settings::default());
    for (params, headers) in [
        (&[][..], &[][..]),
        (&[("format", "csv")], &[]),
        (&[("format", "csv")], &[("range", "bytes=300000-")]),
        (&[("format", "ndjson")], &[("range", "bytes=17-600000")]),
        (&[("format", "jsonp"), ("callback", "f")], &[]),
        (&[("since", "0"), ("format", "ndjson")], &[]),
        (&[("format", "csv")], &[("accept-encoding", "zstd")]),
    ] {
        let ask = || {
            let mut request = f.asked(params);
            request.headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            f.api.handle(&request)
        };
        let (waited, response) = (ask().body.read().unwrap(), ask());
        let length = response.length;
        let Body::Export(body) = response.body else { panic!("not streamed") };
        let polled = polled(*body).unwrap();
        assert!(polled == waited && !polled.is_empty(), "{params:?} {headers:?}");
        assert!(length.is_none_or(|length| length == polled.len() as u64), "{params:?}");
    }
}
