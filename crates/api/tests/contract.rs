//! The tables of docs/API.md, row by row: parameters, codes with their statuses and details, headers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod support;

use headcount::method::{Body, Code, Request, Response, Settings, percent_encode};
use headcount::{Batch, Status, User};
use support::*;

const FORM: &str = "application/x-www-form-urlencoded";
const CREDENTIALS: [(&str, &str); 2] = [("apiKey", KEY), ("secret", SECRET)];

fn with<'p>(params: &[(&'p str, &'p str)]) -> Vec<(&'p str, &'p str)> {
    [&CREDENTIALS[..], params].concat()
}

/// The request, asked for with and without `httpStatusCodes`, as a parameter in its query.
fn asked(request: &Request, statuses: Option<&str>) -> Request {
    let mut request = request.clone();
    if let Some(value) = statuses {
        request.query = format!("{}&httpStatusCodes={value}", request.query);
    }
    request
}

/// Codes and messages of the contract.
const MESSAGES: [(u64, &str); 23] = [
    (400_001, "Invalid request format"),
    (400_002, "Missing required parameter"),
    (400_003, "Unique identifier exists"),
    (400_004, "Invalid parameter format"),
    (400_006, "Invalid parameter value"),
    (400_008, "Invalid authentication header"),
    (400_013, "Unsupported grant type"),
    (400_093, "Invalid ApiKey parameter"),
    (403_002, "Request has expired"),
    (403_003, "Invalid request signature"),
    (403_004, "Duplicate nonce"),
    (403_006, "Secret Sent Over HTTP"),
    (403_007, "Permission denied"),
    (403_010, "Invalid secret"),
    (403_025, "Invalid token"),
    (403_048, "Api rate limit exceeded"),
    (404_000, "Not found"),
    (404_003, "UID not found"),
    (405_001, "Invalid API method"),
    (413_001, "Request entity too large"),
    (500_001, "General server error"),
    (500_028, "Database error"),
    (504_002, "Request Timeout"),
];

/// A request that is refused, the code, and what its details say.
type Refusal = (Request, u64, &'static [&'static str]);

/// Refused for what they are, or for a value.
fn refused_requests() -> Vec<Refusal> {
    let body = |body: &[u8], kind: &str| {
        let mut request = post("exportUsers", &[]);
        request.headers = vec![("content-type".to_owned(), kind.to_owned())];
        request.body = body.to_vec();
        request
    };
    let long = vec![b'a'; (1 << 20) + 1];
    let export = |params: &[(&str, &str)]| get("exportUsers", &with(params));
    let verb = |name: &str, params: &[(&str, &str)]| post(name, &with(params));
    let json = [("UID", "AABCWA"), ("identities", "[")];
    let taken = [("UID", "AABCWA"), ("siteUID", "AAKODB")];
    vec![
        (body(b"{}", "application/json"), 400_001, &["Content-Type", "application/json", FORM]),
        (body(b"a=b", "text/plain"), 400_001, &["text/plain"]),
        (body(b"a=%4", FORM), 400_001, &["a: ", "percent-encoded"]),
        (body(b"a=%FF", FORM), 400_001, &["a: ", "UTF-8"]),
        (Request { body: b"a".to_vec(), ..get("exportUsers", &[]) }, 400_001, &["GET", "only POST"]),
        (export(&[("format", "jsonp")]), 400_002, &["callback"]),
        (verb("setUID", &[("siteUID", "x")]), 400_002, &["UID"]),
        (verb("setUID", &taken), 400_003, &["siteUID"]),
        (export(&[("limit", "ten")]), 400_004, &["limit", "\"ten\"", "number"]),
        (verb("importIdentities", &json), 400_004, &["identities", "\"[\"", "JSON array"]),
        (export(&[("fields", "uid,mail")]), 400_006, &["fields", "\"uid,mail\"", "provider"]),
        (export(&[("format", "xml")]), 400_006, &["format", "\"xml\"", "ndjson"]),
        (export(&[("limit", "1"), ("limit", "2")]), 400_006, &["limit", "more than once"]),
        (export(&[("limit", "-1")]), 400_006, &["limit", "\"-1\"", "0 to 18446744073709551615"]),
        (export(&[("includPendingUsers", "yes")]), 400_006, &["includPendingUsers", "\"yes\"", "true, false, 1, 0"]),
        (export(&[("atSeq", "9")]), 400_006, &["atSeq", "\"9\"", "first page"]),
        (export(&[("since", "9")]), 400_006, &["since", "\"9\"", "stands at 1"]),
        (verb("getToken", &[("grant_type", "pass")]), 400_013, &["grant_type", "\"pass\"", "client_credentials"]),
        (export(&[("checkParams", "true"), ("x", "1")]), 403_007, &["x: ", "no such parameter", "checkParams"]),
        (get("exportuser", &CREDENTIALS), 404_000, &["socialize.exportUsers"]),
        (get("getUserInfo", &with(&[("UID", "nobody")])), 404_003, &["UID"]),
        (get("deleteAccount", &with(&[("UID", "AABCWA")])), 405_001, &["POST", "GET"]),
        (body(&long, FORM), 413_001, &["1048577", "1048576"]),
    ]
}

/// Refused for who asks.
fn refused_callers() -> Vec<Refusal> {
    let plain = |request: Request| Request { secure: false, ..request };
    let header = |value: &str| {
        let mut request = get("exportUsers", &[]);
        request.headers.push(("Authorization".to_owned(), value.to_owned()));
        request
    };
    let export = |params: &[(&str, &str)]| get("exportUsers", params);
    let sig = [("apiKey", KEY), ("timestamp", "1416000000"), ("nonce", "n"), ("sig", "AAAA")];
    let no_base64 = [("apiKey", KEY), ("timestamp", "1"), ("nonce", "n"), ("sig", "*")];
    let late = [("apiKey", KEY), ("timestamp", "1415999000"), ("nonce", "n")];
    let reader = [("apiKey", KEY), ("userKey", "reader"), ("secret", READER), ("UID", "AABCWA")];
    vec![
        (export(&[&sig[..], &CREDENTIALS].concat()), 400_001, &["more than one"]),
        (plain(export(&[("oauth_token", "t")])), 400_001, &["HTTPS"]),
        (header("Digest x"), 400_008, &["Authorization", "OAuth", "Bearer"]),
        (export(&[]), 400_002, &["apiKey", "sig", "secret", "oauth_token"]),
        (export(&[("secret", SECRET)]), 400_002, &["apiKey"]),
        (export(&[("apiKey", KEY)]), 400_002, &["sig", "secret", "oauth_token"]),
        (export(&sig[..3]), 400_002, &["sig", "secret", "oauth_token"]),
        (export(&[("apiKey", KEY), ("sig", "AAAA"), ("nonce", "n")]), 400_002, &["timestamp"]),
        (export(&[("apiKey", KEY), ("sig", "AAAA"), ("timestamp", "1")]), 400_002, &["nonce"]),
        (export(&[("apiKey", "3_no"), ("secret", SECRET)]), 400_093, &["apiKey"]),
        (post_signed(&late, SECRET), 403_002, &["1415999000", "1416000000", "120"]),
        (export(&sig), 403_003, &["sig", "GET http://localhost/"]),
        (export(&no_base64), 403_003, &["sig", "base64"]),
        (plain(export(&CREDENTIALS)), 403_006, &["HTTPS"]),
        (export(&with(&[("userKey", "nobody")])), 403_007, &["userKey"]),
        (post("deleteAccount", &reader), 403_007, &["userKey"]),
        (export(&[("apiKey", KEY), ("secret", OTHER)]), 403_010, &["secret"]),
        (export(&[("oauth_token", "t")]), 403_025, &["token"]),
    ]
}

fn refusals() -> Vec<Refusal> {
    [refused_requests(), refused_callers()].concat()
}

#[test]
fn every_code_by_a_request_that_gets_it() {
    let f = fixture();
    for (request, number, details) in refusals() {
        let message = MESSAGES.iter().find(|(n, _)| *n == number).unwrap().1;
        for (statuses, shown) in
            [(None, false), (Some("false"), false), (Some("0"), false), (Some("true"), true), (Some("1"), true)]
        {
            // A signature is of the parameter too.
            if request.body.starts_with(b"apiKey")
                && String::from_utf8_lossy(&request.body).contains("sig=")
                && statuses.is_some()
            {
                continue;
            }
            let response = f.api.handle(&asked(&request, statuses));
            let what = format!("{request:?} {number} {statuses:?}");
            let status = u16::try_from(number / 1000).unwrap();
            let http = if number == 403_025 { 401 } else { status };
            assert_eq!(response.status, if shown { http } else { 200 }, "{what}");
            assert_eq!(response.header("content-type"), Some("application/json; charset=utf-8"), "{what}");
            assert_eq!(response.header("www-authenticate").is_some(), response.status == 401, "{what}");
            assert_eq!(response.header("allow").is_some(), number == 405_001, "{what}");
            let outcome = response.outcome.error.unwrap();
            assert_eq!(u64::from(outcome.number()), number, "{what}");
            let text = text(response);
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (&json["errorCode"], &json["errorMessage"]),
                (&number.into(), &message.into()),
                "{what}: {json}"
            );
            assert_eq!(json["statusCode"], status, "{what}: {json}");
            let found = json["errorDetails"].as_str().unwrap();
            assert!(details.iter().all(|part| found.contains(part)), "{what}: {found:?}");
            let names = ["errorMessage", "errorDetails", "statusCode", "errorCode", "statusReason", "callId", "time"];
            let order = names.map(|name| text.find(&format!("\"{name}\":")));
            assert!(order.is_sorted() && order[0] == Some(1), "{what}: {text}");
            for hidden in [SECRET, OTHER, READER] {
                assert!(!text.contains(hidden), "{what}");
            }
        }
    }
    // What only a server refuses, or what needs more than one request, is in errors_have_their_envelope_and_status.
    let made: std::collections::BTreeSet<u64> = refusals().iter().map(|(_, number, _)| *number).collect();
    let rest: Vec<u64> = Code::ALL.iter().map(|code| u64::from(code.number())).filter(|n| !made.contains(n)).collect();
    assert_eq!(rest, [403_004, 403_048, 500_001, 500_028, 504_002]);
    for (code, (number, message)) in Code::ALL.iter().zip(MESSAGES) {
        assert_eq!((u64::from(code.number()), code.message()), (number, message));
    }
}

#[test]
fn csv_and_ndjson_errors_have_their_true_status() {
    let f = fixture();
    for (request, number, ..) in refusals() {
        if !request.path.ends_with("exportUsers") || request.query.contains("format=") {
            continue;
        }
        for (format, statuses) in [("csv", None), ("CSV", Some("false")), ("ndjson", Some("0")), (" csv ", None)] {
            let mut request = asked(&request, statuses);
            request.query = format!("{}&format={}", request.query, query(&[("", format)]).trim_start_matches('='));
            let response = f.api.handle(&request);
            let http = if number == 403_025 { 401 } else { u16::try_from(number / 1000).unwrap() };
            // With another parameter the signature is another one.
            let http = if number == 403_002 { 403 } else { http };
            assert_eq!(response.status, http, "{request:?} {number} {format}");
            assert_eq!(response.header("content-type"), Some("application/json; charset=utf-8"));
            assert_eq!(response.header("cache-control"), Some("private, no-store"));
        }
    }
}

#[test]
fn an_empty_value_means_not_given() {
    let f = fixture();
    let names = [
        "format",
        "fields",
        "limit",
        "includPendingUsers",
        "includePendingUsers",
        "after",
        "atSeq",
        "since",
        "userKey",
        "timestamp",
        "nonce",
        "sig",
        "oauth_token",
        "httpStatusCodes",
        "context",
        "callback",
        "checkParams",
        "sdk",
        "cid",
        "lang",
        "pageURL",
        "authMode",
        "ctag",
    ];
    for name in names {
        assert_eq!(text(f.export(&[(name, "")])), documented(""), "{name}");
    }
    for name in ["apiKey", "secret"] {
        let params: Vec<_> = CREDENTIALS.map(|(n, v)| (n, if n == name { "" } else { v })).to_vec();
        let answer = json(f.api.handle(&get("exportUsers", &params)));
        assert_eq!(answer["errorCode"], 400_002, "{name}");
        assert!(answer["errorDetails"].as_str().unwrap().contains(name), "{answer}");
    }
    // In a signature it is there, as `k=`.
    let params = [("apiKey", KEY), ("timestamp", "1416000000"), ("nonce", "n"), ("limit", ""), ("fields", "")];
    assert_eq!(code(f.api.handle(&post_signed(&params, SECRET))), 0);
}

#[test]
fn names_that_come_twice() {
    let f = fixture();
    for (params, expected) in [
        (&[("limit", "1"), ("limit", "1")][..], 0),
        (&[("limit", "1"), ("limit", "01")], 400_006),
        (&[("includPendingUsers", "1"), ("includePendingUsers", "1")], 0),
        (&[("includPendingUsers", "1"), ("includePendingUsers", "true")], 400_006),
        (&[("apikey", KEY)], 0),
        (&[("APIKEY", "3_other")], 400_006),
        (&[("secret", SECRET)], 0),
        (&[("secret", OTHER)], 400_006),
        (&[("unknown", "1"), ("unknown", "2")], 400_006),
        (&[("uid", "1"), ("UID", "2")], 0),
    ] {
        let answer = json(f.export(params));
        assert_eq!(answer["errorCode"], expected, "{params:?} {answer}");
    }
    // In query and form alike; and once in the signature.
    let params = [("apiKey", KEY), ("timestamp", "1416000000"), ("nonce", "n"), ("context", "c")];
    let mut request = post_signed(&params, SECRET);
    request.query = "context=c&nonce=n".to_owned();
    assert_eq!(code(f.api.handle(&request)), 0);
    // Spellings are signed as sent.
    let sent = [("APIkey", KEY), ("includePendingUsers", "true"), ("timestamp", "1416000000"), ("nonce", "m")];
    assert_eq!(code(f.api.handle(&post_signed(&sent, SECRET))), 0);
    let mut other = post_signed(&[("APIkey", KEY), ("timestamp", "1416000000"), ("nonce", "o")], SECRET);
    other.body = String::from_utf8(other.body).unwrap().replace("APIkey", "apiKey").into_bytes();
    assert_eq!(code(f.api.handle(&other)), 403_003);
}

#[test]
fn a_long_context_comes_back_to_those_who_are_known() {
    let f = fixture();
    let long = "\0".repeat(8193);
    for (context, secret, back) in [(&long[1..], OTHER, true), (&long, OTHER, false), (&long, SECRET, true)] {
        let query = [("context", context), ("apiKey", KEY), ("secret", secret)];
        let query = query.map(|(name, value)| format!("{name}={}", percent_encode(value))).join("&");
        let mut request = Request::new("GET", &format!("/socialize.exportUsers?{query}"), at(NOW));
        request.secure = true;
        let answer = json(f.api.handle(&request));
        assert_eq!(answer["context"] == context, back, "{} bytes, {}", context.len(), answer["errorCode"]);
        assert_eq!(answer["context"].is_null(), !back);
    }
}

/// Every kind of answer.
fn answers(f: &Fixture) -> Vec<(&'static str, Response)> {
    let asked = |params: &[(&str, &str)], headers: &[(&str, &str)], method: &str| {
        let mut request = f.asked(params);
        request.method = method.to_owned();
        request.headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        f.api.handle(&request)
    };
    let csv = &[("format", "csv")][..];
    let tag = asked(csv, &[], "GET").header("etag").unwrap().to_owned();
    let refused = Request { query: String::new(), ..f.asked(&[]) };
    vec![
        ("json", asked(&[], &[], "GET")),
        ("jsonp", asked(&[("format", "jsonp"), ("callback", "f")], &[], "GET")),
        ("csv", asked(csv, &[], "GET")),
        ("ndjson", asked(&[("format", "ndjson")], &[], "GET")),
        ("csv changes", asked(&[("format", "csv"), ("since", "0")], &[], "GET")),
        ("csv head", asked(csv, &[], "HEAD")),
        ("csv 206", asked(csv, &[("range", "bytes=1-2")], "GET")),
        ("csv 304", asked(csv, &[("if-none-match", &tag)], "GET")),
        ("csv 416", asked(csv, &[("range", "bytes=9999-")], "GET")),
        ("error", asked(&[("limit", "x")], &[], "GET")),
        ("csv-error", asked(&[("format", "csv"), ("limit", "x")], &[], "GET")),
        ("refused", f.api.handle(&refused)),
        ("verb", f.api.handle(&get("getUserInfo", &with(&[("UID", "AABCWA")])))),
        ("token", f.api.handle(&post("getToken", &with(&[("grant_type", "none")])))),
        ("no such method", f.api.handle(&get("x", &[]))),
    ]
}

#[test]
fn headers_of_every_answer() {
    let f = fixture();
    for (name, response) in answers(&f) {
        let kept = name.starts_with("csv ") || name == "csv" || name == "ndjson";
        for (header, value) in [
            ("date", "Fri, 14 Nov 2014 21:20:00 GMT"),
            ("vary", "Authorization, Accept-Encoding"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", if kept { "private, no-cache" } else { "private, no-store" }),
        ] {
            assert_eq!(response.header(header), Some(value), "{name}");
        }
        assert_eq!(response.header("etag").is_some(), kept, "{name}");
        let ranges = kept.then_some(if name == "csv changes" { "none" } else { "bytes" });
        assert_eq!(response.header("accept-ranges"), ranges, "{name}");
        let exported = kept || name == "json" || name == "jsonp";
        assert_eq!(response.header("x-headcount-seq").is_some(), exported, "{name}");
        assert_eq!(response.outcome.seq.is_some(), exported, "{name}");
        let mut names: Vec<&str> = response.headers.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{name}: {names:?}");
    }
}

#[test]
fn head_is_the_length_of_get() {
    let f = fixture();
    for format in ["json", "csv", "ndjson"] {
        for more in [("fields", "uid"), ("limit", "3"), ("after", "AA"), ("limit", "x")] {
            let ask = |method: &str| {
                let mut request = f.asked(&[("format", format), more]);
                request.method = method.to_owned();
                f.api.handle(&request)
            };
            let (whole, head) = (ask("GET"), ask("HEAD"));
            assert_eq!((head.status, head.length), (whole.status, whole.length), "{format} {more:?}");
            let kept = |response: &Response| {
                let mut headers = response.headers.clone();
                headers.sort_unstable();
                headers
            };
            assert_eq!(kept(&head), kept(&whole), "{format} {more:?}");
            assert!(head.length.is_some() && head.body.read().unwrap().is_empty(), "{format} {more:?}");
        }
    }
    // Signed as HEAD; a method in other letters is another method.
    let mut odd = f.asked(&[]);
    odd.method = "get".to_owned();
    assert_eq!(code(f.api.handle(&odd)), 405_001);
}

fn two_hundred() -> Fixture {
    let users = (0..200).map(|n| User::new(format!("user-{n:04}")).with_identity("site", format!("{n}")));
    fixture_with(users.collect(), Settings::default())
}

fn ask(f: &Fixture, params: &[(&str, &str)], headers: &[(&str, &str)]) -> Response {
    let mut request = f.asked(params);
    request.headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    f.api.handle(&request)
}

#[test]
fn entity_tags() {
    let f = two_hundred();
    let tag = |params: &[(&str, &str)], accept: &str| {
        let response = ask(&f, params, &[("accept-encoding", accept)]);
        response.header("etag").map(str::to_owned)
    };
    // Whatever the bytes depend on.
    let different: Vec<(&[(&str, &str)], &str)> = vec![
        (&[("format", "csv")], "identity"),
        (&[("format", "csv")], "gzip"),
        (&[("format", "csv")], "zstd"),
        (&[("format", "ndjson")], "identity"),
        (&[("format", "csv"), ("fields", "uid")], "identity"),
        (&[("format", "csv"), ("fields", "provider,uid,providerUID")], "identity"),
        (&[("format", "csv"), ("limit", "5")], "identity"),
        (&[("format", "csv"), ("after", "a")], "identity"),
        (&[("format", "csv"), ("includPendingUsers", "true")], "identity"),
        (&[("format", "csv"), ("since", "0")], "identity"),
    ];
    let tags: std::collections::BTreeSet<String> =
        different.iter().map(|(params, accept)| tag(params, accept).unwrap()).collect();
    assert_eq!(tags.len(), different.len());
    assert_eq!(tag(&[], "identity"), None, "callId and time of JSON are per call");
    // And nothing else.
    let csv = [("format", "csv")];
    let own = tag(&csv, "identity").unwrap();
    for same in [("context", "c"), ("sdk", "x"), ("fields", "UID, provider,providerUID"), ("limit", "")] {
        assert_eq!(tag(&[("format", "CSV"), same], "identity"), Some(own.clone()), "{same:?}");
    }
    // Another commit is another tag, though the bytes were the same.
    let mut batch = Batch::new();
    batch.put(User::new("pending").with_status(Status::Pending));
    f.store.commit(batch).unwrap();
    assert_ne!(tag(&csv, "identity"), Some(own));
}

#[test]
fn conditions() {
    let f = two_hundred();
    let csv = [("format", "csv")];
    let own = ask(&f, &csv, &[]).header("etag").unwrap().to_owned();
    for (condition, status) in [
        (own.clone(), 304),
        (format!("W/{own}"), 304),
        (format!("\"x\", {own}"), 304),
        ("*".to_owned(), 304),
        ("\"x\"".to_owned(), 200),
        (own.trim_matches('"').to_owned(), 200),
        (String::new(), 200),
    ] {
        let response = ask(&f, &csv, &[("if-none-match", &condition)]);
        assert_eq!(response.status, status, "{condition}");
        if status == 304 {
            assert_eq!((response.header("etag"), response.length), (Some(&*own), None));
            assert!(response.body.read().unwrap().is_empty());
        }
    }
    // A range counts if the condition on it is met: by the same tag, strong.
    for (condition, status) in [
        (Some(own.clone()), 206),
        (Some(format!("W/{own}")), 200),
        (Some("\"1-0\"".to_owned()), 200),
        (Some("Fri, 14 Nov 2014 21:20:00 GMT".to_owned()), 200),
        (None, 206),
    ] {
        let mut headers = vec![("range", "bytes=3-6")];
        headers.extend(condition.as_deref().map(|condition| ("if-range", condition)));
        assert_eq!(ask(&f, &csv, &headers).status, status, "{condition:?}");
    }
    for (params, accept) in [(&[][..], "identity"), (&[("format", "csv"), ("since", "0")], "identity"), (&csv, "gzip")]
    {
        let response = ask(&f, params, &[("range", "bytes=3-6"), ("accept-encoding", accept)]);
        assert_eq!(response.status, 200, "{params:?} {accept}: it has no ranges");
    }
    for range in ["bytes=0-1,3-4", "lines=1-2", "bytes=5-3", "bytes"] {
        assert_eq!(ask(&f, &csv, &[("range", range)]).status, 200, "{range}");
    }
}

#[test]
fn snapshots_of_pages_are_pinned_and_few() {
    let f = fixture();
    let page = |seq: u64, now: u64| {
        let mut request = f.asked(&[("limit", "2"), ("after", "AABCWA"), ("atSeq", &seq.to_string())]);
        request.now = at(now);
        code(f.api.handle(&request))
    };
    for n in 0..9 {
        let first = json(f.export(&[("limit", "1")]));
        assert_eq!(first["seq"], n + 1);
        let mut batch = Batch::new();
        batch.put(User::new(format!("z{n}")));
        f.store.commit(batch).unwrap();
    }
    assert_eq!(page(1, NOW), 400_006, "more than eight: the oldest is gone");
    for seq in 2..=10 {
        assert_eq!(page(seq, NOW), 0, "{seq}");
    }
    assert_eq!(page(11, NOW), 400_006, "a seq that never was");
    // Asking again keeps it.
    assert_eq!((page(5, NOW + 299), page(5, NOW + 598), page(5, NOW + 898)), (0, 0, 400_006));
}

#[test]
fn changes_that_are_forgotten_are_refused_with_the_floor() {
    let f = fixture();
    for uid in ["AABCWA", "AAKODB"] {
        assert_eq!(f.verb("deleteAccount", &[("UID", uid)])["errorCode"], 0);
    }
    assert_eq!(json(f.export(&[("since", "1")]))["deletedUIDs"].to_string(), r#"["AABCWA","AAKODB"]"#);
    let progress = headcount::Progress::default();
    f.store.erase(&["AJDPHN"], std::time::Duration::from_secs(10), &progress).unwrap();
    let answer = json(f.export(&[("since", "1")]));
    assert_eq!(answer["errorCode"], 400_006, "{answer}");
    let details = answer["errorDetails"].as_str().unwrap();
    assert!(details.contains("since: \"1\"") && details.contains("known is 4"), "{details}");
    assert_eq!(json(f.export(&[("since", "4")]))["errorCode"], 0);
    assert_eq!(json(f.export(&[("since", "0")]))["usersCount"], 4, "since=0 is a full export");
    for format in ["csv", "ndjson"] {
        assert_eq!(f.export(&[("since", "1"), ("format", format)]).status, 400);
    }
}

#[test]
fn changes_of_users_who_leave_the_selection() {
    let f = fixture();
    let seq = f.store.snapshot().seq().to_string();
    let mut batch = Batch::new();
    batch.set_status("AABCWA", Status::Pending).put(User::new("p").with_status(Status::Pending));
    f.store.commit(batch).unwrap();
    assert_eq!(f.verb("setUID", &[("UID", "AAKODB"), ("siteUID", "renamed")])["errorCode"], 0);
    let changes = json(f.export(&[("since", &seq), ("fields", "uid")]));
    assert_eq!(changes["users"].to_string(), r#"[{"UID":"renamed"}]"#);
    assert_eq!(changes["deletedUIDs"].to_string(), r#"["AABCWA","AAKODB","p"]"#);
    let all = json(f.export(&[("since", &seq), ("fields", "uid"), ("includePendingUsers", "true")]));
    assert_eq!(all["users"].to_string(), r#"[{"UID":"AABCWA"},{"UID":"p"},{"UID":"renamed"}]"#);
    assert_eq!(all["deletedUIDs"].to_string(), r#"["AAKODB"]"#);
}

#[test]
fn only_exports_have_other_formats_than_json() {
    let f = fixture();
    for format in ["csv", "ndjson", "jsonp", "xml"] {
        let params = with(&[("UID", "AABCWA"), ("format", format), ("callback", "f")]);
        let response = f.api.handle(&get("getUserInfo", &params));
        assert_eq!((response.status, response.header("content-type")), (200, Some("application/json; charset=utf-8")));
        assert_eq!(code(response), 400_006, "{format}");
    }
    assert_eq!(code(f.api.handle(&get("getUserInfo", &with(&[("UID", "AABCWA"), ("format", "JSON")])))), 0);
}

#[test]
fn old_clients_get_a_length_and_no_coding() {
    let f = fixture_with(
        (0..5000).map(|n| User::new(format!("user-{n:04}")).with_identity("site", format!("{n}"))).collect(),
        Settings::default(),
    );
    let mut batch = Batch::new();
    batch.put(User::new("user-0000x"));
    f.store.commit(batch).unwrap();
    for params in [
        &[][..],
        &[("format", "csv")],
        &[("format", "csv"), ("after", "user-0100")],
        &[("limit", "4000")],
        &[("since", "1")],
        &[("since", "0"), ("format", "ndjson")],
        &[("format", "jsonp"), ("callback", "f")],
    ] {
        let mut request = f.asked(params);
        request.headers.push(("accept-encoding".to_owned(), "gzip, zstd".to_owned()));
        request.http_1_0 = true;
        let response = f.api.handle(&request);
        assert_eq!(response.header("content-encoding"), None, "{params:?}");
        let length = response.length.unwrap();
        assert!(params.contains(&("since", "1")) || matches!(response.body, Body::Export(_)), "{params:?}");
        assert_eq!(response.body.read().unwrap().len() as u64, length, "{params:?}");
    }
}
