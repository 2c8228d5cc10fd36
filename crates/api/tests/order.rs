//! The order of the checks: a request with every fault is mended one fault after the other, and each is found in its turn.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod support;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use headcount::method::{Limiter, Request, sign};
use support::*;

/// Refuses one key.
#[derive(Debug)]
struct Busy;

impl Limiter for Busy {
    fn admit(&self, _: &str, user_key: Option<&str>, _: SystemTime) -> Result<(), Duration> {
        if user_key == Some("writer") { Err(Duration::from_secs(1)) } else { Ok(()) }
    }
}

/// What is wrong with a request, from the first check to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Method,
    Body,
    Duplicates,
    Credentials,
    ApiKey,
    Transport,
    Proof,
    Time,
    Nonce,
    Limit,
    Permission,
    Unknown,
    Value,
    None,
}
use Fault::{
    ApiKey, Credentials, Duplicates, Limit, Method, Nonce, Permission, Proof, Time, Transport, Unknown, Value,
};

/// A verb that writes, asked for with every fault from `first` on.
fn signed_with(first: Fault) -> Request {
    let has = |fault| first <= fault;
    let fresh = format!("{first:?}");
    let mut params = vec![("limit", "1")];
    let user_key = if has(Limit) { "writer" } else { "reader" };
    params.push(("apiKey", if has(ApiKey) { "3_unknown" } else { KEY }));
    if has(Permission) {
        params.push(("userKey", user_key));
    }
    params.push(("timestamp", if has(Time) { "1415990000" } else { "1416000000" }));
    params.push(("nonce", if has(Nonce) { "used" } else { &*fresh }));
    if has(Unknown) {
        params.push(("checkParams", "true"));
    }
    if has(Value) {
        params.push(("siteUID", "é"));
    }
    params.push(("UID", "AABCWA"));
    if has(Duplicates) {
        params.push(("limit", "2"));
    }
    let key = match has(Permission) {
        _ if has(Proof) => OTHER,
        true if has(Limit) => WRITER,
        true => READER,
        false => SECRET,
    };
    let sig = sign("POST", "http://localhost/socialize.notifyRegistration", &params, &secret(key));
    if !has(Credentials) {
        params.push(("sig", &sig));
    }
    let mut request = post("notifyRegistration", &params);
    request.secure = false;
    if has(Fault::Body) {
        request.headers = vec![("content-type".to_owned(), "text/plain".to_owned())];
    }
    if has(Method) {
        request.method = "PUT".to_owned();
    }
    request
}

#[test]
fn of_signed_requests() {
    let f = fixture();
    // A nonce of each key that is used already.
    for (key, user_key) in [(WRITER, Some("writer")), (READER, Some("reader")), (SECRET, None)] {
        let mut params = vec![("apiKey", KEY), ("timestamp", "1416000000"), ("nonce", "used")];
        params.extend(user_key.map(|user_key| ("userKey", user_key)));
        let _ = f.api.handle(&post_signed(&params, key));
    }
    let api = f.api.with_limiter(Arc::new(Busy));
    for (first, expected) in [
        (Method, 405_001),
        (Fault::Body, 400_001),
        (Duplicates, 400_006),
        (Credentials, 400_002),
        (ApiKey, 400_093),
        (Proof, 403_003),
        (Time, 403_002),
        (Nonce, 403_004),
        (Limit, 403_048),
        (Permission, 403_007),
        (Unknown, 403_007),
        (Value, 400_006),
        (Fault::None, 0),
    ] {
        let answer = json(api.handle(&signed_with(first)));
        assert_eq!(answer["errorCode"], expected, "{first:?}: {answer}");
        if first == Unknown {
            assert!(answer["errorDetails"].as_str().unwrap().starts_with("limit: "), "{answer}");
        }
    }
}

#[test]
fn of_requests_with_a_secret() {
    let f = fixture();
    let api = f.api.with_limiter(Arc::new(Busy));
    for (first, expected) in [
        (Method, 405_001),
        (Fault::Body, 400_001),
        (Duplicates, 400_006),
        (Credentials, 400_002),
        (ApiKey, 400_093),
        (Transport, 403_006),
        (Proof, 403_010),
        (Limit, 403_048),
        (Permission, 403_007),
        (Unknown, 403_007),
        (Value, 400_006),
        (Fault::None, 0),
    ] {
        let mut request = signed_with(if first == Transport { Proof } else { first });
        let body = String::from_utf8(request.body).unwrap();
        let key = match first {
            _ if first <= Proof => OTHER,
            Limit => WRITER,
            Permission => READER,
            _ => SECRET,
        };
        let pairs =
            body.split('&').filter(|pair| !["sig", "timestamp", "nonce"].contains(&pair.split('=').next().unwrap()));
        let mut pairs: Vec<String> = pairs.map(str::to_owned).collect();
        if first > Credentials {
            pairs.push(query(&[("secret", key)]));
        }
        request.body = pairs.join("&").into_bytes();
        request.secure = first > Transport;
        let answer = json(api.handle(&request));
        assert_eq!(answer["errorCode"], expected, "{first:?}: {answer}");
    }
}

#[test]
fn of_requests_with_a_token() {
    let f = fixture();
    let ask = |params: &[(&str, &str)], secure: bool| {
        let mut request = get("exportUsers", params);
        request.secure = secure;
        code(f.api.handle(&request))
    };
    let client = [("grant_type", "none"), ("client_id", "writer"), ("client_secret", WRITER)];
    let token = json(f.api.handle(&post("getToken", &client)))["access_token"].as_str().unwrap().to_owned();
    let token = ("oauth_token", &*token);
    assert_eq!(ask(&[("oauth_token", "x"), ("apiKey", "3_unknown"), ("limit", "x")], false), 400_093);
    assert_eq!(ask(&[("oauth_token", "x"), ("apiKey", "3_other"), ("limit", "x")], false), 400_001);
    assert_eq!(ask(&[("oauth_token", "x"), ("apiKey", "3_other"), ("limit", "x")], true), 403_025);
    assert_eq!(ask(&[token, ("apiKey", "3_other"), ("limit", "x")], true), 403_007);
    assert_eq!(ask(&[token, ("apiKey", KEY), ("limit", "x")], true), 403_007, "it writes, and does not export");
}
