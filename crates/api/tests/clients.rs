//! What client libraries send, byte for byte as they do it, and what they need in the answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod support;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use headcount::method::{Request, Response, percent_encode, sign};
use support::*;

/// One more nonce, of a kind that libraries make: with spaces, underscores, and numbers longer than 64 bits.
fn nonce() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Relaxed);
    match n % 4 {
        0 => format!("1416000000123_-{n}"),
        1 => format!("0.12345600 14160000001{n}"),
        2 => format!("14160000001416000000141600000{n}"),
        _ => format!("6F9619FF-8B86-D011-B42D-00C04FC964F{n}"),
    }
}

/// As `URLEncoder` and its like have it: a space is a plus sign, and `~` and `*` are what their library makes of them.
fn java_encode(text: &str) -> String {
    percent_encode(text).replace("%20", "+").replace('~', "%7E").replace("%2A", "*")
}

struct Wire {
    method: &'static str,
    host: &'static str,
    secure: bool,
    /// What the library signs, where it signs.
    signs: Option<&'static str>,
    encode: fn(&str) -> String,
    content_type: Option<&'static str>,
    headers: &'static [(&'static str, &'static str)],
}

type Pairs = &'static [(&'static str, &'static str)];

const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

impl Wire {
    fn ask(&self, f: &Fixture, verb: &str, params: &[(&str, &str)], key: &str) -> Response {
        let mut params: Vec<(&str, String)> = params.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
        if let Some(base) = self.signs {
            let pairs: Vec<(&str, &str)> = params.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let sig = sign(self.method, &format!("{base}/socialize.{verb}"), &pairs, &secret(key));
            params.push(("sig", sig));
        }
        let pairs = params.iter().map(|(n, v)| format!("{}={}", (self.encode)(n), (self.encode)(v)));
        let pairs = pairs.collect::<Vec<_>>().join("&");
        let target = match self.method {
            "POST" => format!("/socialize.{verb}"),
            _ => format!("/socialize.{verb}?{pairs}"),
        };
        let mut request = Request::new(self.method, &target, at(NOW));
        request.host = Some(self.host.to_owned());
        request.secure = self.secure;
        if self.method == "POST" {
            request.body = pairs.into_bytes();
        }
        let headers = self.headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        request.headers = headers.collect();
        request.headers.extend(self.content_type.map(|value| ("Content-Type".to_owned(), value.to_owned())));
        f.api.handle(&request)
    }
}

const PLAIN: Wire = Wire {
    method: "POST",
    host: "socialize.us1.example",
    secure: false,
    signs: Some("http://socialize.us1.example"),
    encode: percent_encode,
    content_type: FORM,
    headers: &[("User-Agent", "x"), ("Accept-Encoding", "gzip")],
};

/// The members that clients read, and those without which one or the other throws.
fn check(response: Response, what: &str) {
    let json = json(response);
    assert_eq!((&json["errorCode"], &json["statusCode"]), (&0.into(), &200.into()), "{what}: {json}");
    assert!(json["time"].is_string() && json["callId"].as_str().unwrap().len() == 32, "{what}");
    assert_eq!(json["usersCount"], 7, "{what}");
    assert!(json["users"][6]["UID"].is_string(), "{what}");
    assert_eq!(json["users"][0]["identities"][0]["provider"], "site", "{what}");
}

#[test]
fn signed_requests_of_libraries() {
    let f = fixture();
    let clients: [(&str, Wire, Pairs); 9] = [
        ("php", PLAIN, &[("apiKey", KEY), ("format", "json"), ("sdk", "php_2.15.6"), ("httpStatusCodes", "false")]),
        (
            "java",
            Wire {
                encode: java_encode,
                content_type: Some("application/x-www-form-urlencoded; charset=UTF-8"),
                ..PLAIN
            },
            &[
                ("apiKey", KEY),
                ("format", "json"),
                ("sdk", "java_3.2.2"),
                ("context", "a b*~"),
                ("httpStatusCodes", "false"),
            ],
        ),
        (
            "python",
            Wire { host: "localhost:18080", signs: Some("http://localhost:18080"), ..PLAIN },
            &[("apiKey", KEY), ("format", "json"), ("sdk", "python_3.6.0"), ("httpStatusCodes", "false"), ("ctag", "")],
        ),
        (
            "capitals in the domain",
            Wire { host: "SOCIALIZE.us1.example", signs: Some("http://socialize.us1.example"), ..PLAIN },
            &[("apiKey", KEY), ("sdk", ".NET_2.16.2")],
        ),
        (
            "https, and a signature all the same",
            Wire { secure: true, signs: Some("https://socialize.us1.example"), ..PLAIN },
            &[("apiKey", KEY), ("sdk", "node_2.0")],
        ),
        (
            "signs https whatever the transport",
            Wire { host: "localhost:8080", signs: Some("https://localhost:8080"), ..PLAIN },
            &[("apiKey", KEY), ("format", "json")],
        ),
        (
            "a port that is the scheme's own is not signed",
            Wire { host: "localhost:443", secure: true, signs: Some("https://localhost"), ..PLAIN },
            &[("apiKey", KEY)],
        ),
        (
            "all by GET",
            Wire { method: "GET", content_type: None, ..PLAIN },
            &[("apiKey", KEY), ("format", "json"), ("limit", "100")],
        ),
        ("another spelling", PLAIN, &[("APIKey", KEY), ("includePendingUsers", "false"), ("lang", "")]),
    ];
    for (name, wire, params) in clients {
        for (timestamp, by) in [("1416000000", None), ("1416000000123", None), ("1416000000", Some("reader"))] {
            let nonce = nonce();
            let mut all = params.to_vec();
            all.extend([("timestamp", timestamp), ("nonce", &nonce)]);
            all.extend(by.map(|key| ("userKey", key)));
            let key = if by.is_some() { READER } else { SECRET };
            let what = format!("{name} {timestamp} {by:?}");
            check(wire.ask(&f, "exportUsers", &all, key), &what);
            assert_eq!(code(wire.ask(&f, "exportUsers", &all, key)), 403_004, "{what}");
            assert_eq!(code(wire.ask(&f, "exportUsers", &all, OTHER)), 403_003, "{what}");
        }
    }
}

#[test]
fn secrets_and_tokens_of_libraries() {
    let f = fixture();
    let https = Wire { secure: true, signs: None, ..PLAIN };
    let http = Wire { secure: false, signs: None, ..PLAIN };
    let get = Wire { method: "GET", content_type: None, ..https };
    let key = ("apiKey", KEY);
    for (params, expected) in [
        (&[key, ("secret", SECRET), ("sdk", "java_3.2.2"), ("httpStatusCodes", "false")][..], 0),
        // A library that puts the same into both, and one that makes a timestamp and a nonce before it looks at the transport.
        (&[key, ("oauth_token", KEY), ("secret", SECRET), ("sdk", "java_3.2.2")], 0),
        (&[key, ("secret", SECRET), ("timestamp", "1416000000"), ("nonce", "1_1"), ("sdk", "php_2.15.6")], 0),
        (&[key, ("userKey", "reader"), ("secret", READER)], 0),
        // curl --data-urlencode secret@FILE
        (&[key, ("secret", "c2VjcmV0LWtleS1mb3ItdGVzdGluZy1vbmx5ISE=\n")], 0),
        (&[key, ("secret", "\tc2VjcmV0LWtleS1mb3ItdGVzdGluZy1vbmx5ISE=\r\n")], 0),
        (&[key, ("secret", "c2VjcmV0LWtleS1mb3ItdGVzdGluZy1vbmx 5ISE=")], 403_010),
        (&[key, ("secret", " ")], 403_010),
    ] {
        for wire in [&https, &get] {
            let response = wire.ask(&f, "exportUsers", params, "");
            assert_eq!(response.outcome.error.map_or(0, |code| code.number()), expected, "{params:?}");
        }
        assert_eq!(code(http.ask(&f, "exportUsers", params, "")), 403_006, "{params:?}");
    }
    let grant = [("grant_type", "none"), ("client_id", KEY), ("client_secret", SECRET)];
    let token = json(https.ask(&f, "getToken", &grant, ""))["access_token"].as_str().unwrap().to_owned();
    check(https.ask(&f, "exportUsers", &[("oauth_token", &token), ("sdk", "x")], ""), "oauth_token");
    check(https.ask(&f, "exportUsers", &[("oauth_token", &token), key, ("format", "json")], ""), "and an apiKey");
    check(get.ask(&f, "exportUsers", &[("oauth_token", &format!("{token}\n"))], ""), "out of a file");
    assert_eq!(code(http.ask(&f, "exportUsers", &[("oauth_token", &token)], "")), 400_001, "over HTTP");
    // The client that renews its token on HTTP 401, and on nothing else.
    let with = |value: String| {
        let mut request = support::get("exportUsers", &[("format", "json")]);
        request.headers.push(("authorization".to_owned(), value));
        f.api.handle(&request)
    };
    for scheme in ["OAuth", "Bearer", "oauth", "BEARER", "OAuth "] {
        check(with(format!("{scheme} {token}")), scheme);
        let ended = with(format!("{scheme} {token}x"));
        let shown = if scheme.to_ascii_lowercase().starts_with("oauth") { "OAuth" } else { "Bearer" };
        let challenge = format!("{shown} realm=\"headcount\", error=\"invalid_token\"");
        assert_eq!((ended.status, ended.header("www-authenticate")), (401, Some(&*challenge)), "{scheme}");
        let body = json(ended);
        assert_eq!((&body["statusCode"], &body["errorCode"]), (&403.into(), &403_025.into()), "{scheme}");
        assert_eq!(body["statusReason"], "Forbidden");
    }
}

#[test]
fn a_clock_that_is_wrong_is_put_right_by_the_date_header() {
    let f = fixture();
    let ask = |timestamp: &str, nonce: &str| {
        PLAIN.ask(&f, "exportUsers", &[("apiKey", KEY), ("timestamp", timestamp), ("nonce", nonce)], SECRET)
    };
    // Behind: the same nonce with another timestamp passes.
    let refused = ask("1415990000", "behind");
    assert_eq!(refused.header("date"), Some("Fri, 14 Nov 2014 21:20:00 GMT"));
    let body = json(refused);
    assert_eq!(body["errorCode"], 403_002);
    let details = body["errorDetails"].as_str().unwrap();
    assert!(details.contains("1415990000") && details.contains("1416000000"), "both clocks: {details}");
    check(ask("1416000000", "behind"), "put right");
    // Ahead: the very same request is refused again, and a new one passes.
    for _ in 0..3 {
        assert_eq!(code(ask("1416009000", "ahead")), 403_002);
    }
    check(ask("1416000000", "ahead-2"), "put right");
}

#[test]
fn a_refused_signature_is_explained_without_its_values() {
    let f = fixture();
    let params = [("apiKey", KEY), ("timestamp", "1416000000"), ("nonce", "secretnonce"), ("context", "c")];
    let details = json(PLAIN.ask(&f, "exportUsers", &params, OTHER))["errorDetails"].as_str().unwrap().to_owned();
    assert_eq!(
        details,
        "sig: not this key's signature of POST http://socialize.us1.example/socialize.exportUsers, by http or https, with \
         the parameters apiKey, context, nonce, timestamp"
    );
}
