//! Who may ask: signatures, secrets and tokens, over HTTP and HTTPS, and the order in which they are checked.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use headcount::method::{Api, FileTokens, Limiter, Permission, Request, Settings, Site, Sites, sign};
use support::*;

type Pairs = &'static [(&'static str, &'static str)];

/// The vectors of the contract: URL, other parameters, signature.
const VECTORS: [(&str, Pairs, &str); 4] = [
    (
        "http://socialize.us1.gigya.com/socialize.exportUsers",
        &[
            ("format", "json"),
            ("httpStatusCodes", "false"),
            ("sdk", "python_3.6.0"),
            ("timestamp", "1416000000"),
            ("nonce", "1416000000123456"),
        ],
        "N8QdFeaRHNCc0ZzJe6Jo4TLrx4A=",
    ),
    (
        "http://socialize.gigya.com/socialize.exportUsers",
        &[
            ("format", "csv"),
            ("fields", "uid,provider,providerUID"),
            ("limit", "100"),
            ("includPendingUsers", "true"),
            ("httpStatusCodes", "false"),
            ("sdk", "python_3.6.0"),
            ("timestamp", "1416000001"),
            ("nonce", "1416000001123_42"),
        ],
        "WdM3ExUD5iw/JehN9Z8sY9eTL5o=",
    ),
    (
        "http://SOCIALIZE.gigya.com/socialize.exportUsers",
        &[("format", "json"), ("context", "a b+c&d=e/~*!'()%é€"), ("timestamp", "1416000002"), ("nonce", "n-3")],
        "z8zNdS+lwgZFA58py18qJkr89i0=",
    ),
    (
        "http://localhost:18080/socialize.exportUsers",
        &[("format", "json"), ("timestamp", "1416000004"), ("nonce", "n-5")],
        "G56DCZYLlreQ6tizQnoPgoRSFB4=",
    ),
];

#[test]
fn the_vectors_of_the_contract() {
    for (url, others, sig) in VECTORS {
        let mut params = vec![("apiKey", KEY)];
        params.extend_from_slice(others);
        assert_eq!(sign("POST", url, &params, &secret(SECRET)), sig, "{url}");
        params.push(("sig", sig));
        // As it comes by Host, and as an absolute-form target; over HTTP, and behind something that took TLS off.
        for (absolute, secure) in [(false, false), (false, true), (true, false), (true, true)] {
            let f = fixture();
            let mut request = post("exportUsers", &params);
            let authority = url.split('/').nth(2).unwrap().to_owned();
            request.secure = secure;
            if absolute {
                (request.authority, request.host) = (Some(authority), Some("wrong.example".to_owned()));
            } else {
                request.host = Some(authority);
            }
            let response = f.api.handle(&request);
            assert_eq!(response.outcome.error, None, "{url}");
            // Once is enough.
            assert_eq!(code(f.api.handle(&request)), 403_004);
        }
    }
}

#[test]
fn signatures_by_either_scheme_and_public_urls() {
    let params = [("apiKey", KEY), ("timestamp", "1416000000"), ("nonce", "n")];
    let request = |url: &str, host: &str| {
        let sig = sign("POST", url, &params, &secret(SECRET));
        let mut request = post("exportUsers", &[&params[..], &[("sig", &sig)]].concat());
        request.host = Some(host.to_owned());
        request
    };
    for (url, host, right) in [
        ("https://a.example/socialize.exportUsers", "A.Example", true),
        ("https://a.example/socialize.exportUsers", "a.example:443", true),
        ("https://a.example:8443/socialize.exportUsers", "a.example:8443", true),
        ("http://a.example/socialize.exportUsers", "a.example:80", true),
        ("http://a.example:80/socialize.exportUsers", "a.example", true),
        ("http://a.example:8080/socialize.exportUsers", "a.example", false),
        ("http://b.example/socialize.exportUsers", "a.example", false),
        ("http://a.example/socialize.getToken", "a.example", false),
    ] {
        let response = fixture().api.handle(&request(url, host));
        assert_eq!(response.outcome.error.is_none(), right, "{url} {host}");
    }
    let settings = Settings { public_urls: vec!["https://p.example/api".to_owned()], ..Settings::default() };
    let f = fixture_with(seven(), settings);
    let own = request("https://a.example/socialize.exportUsers", "a.example");
    assert_eq!(code(f.api.handle(&own)), 403_003, "only what is configured");
    assert_eq!(code(f.api.handle(&request("http://p.example/api/socialize.exportUsers", "a.example"))), 0);
}

#[test]
fn every_part_is_signed() {
    let f = fixture();
    let params = [("apiKey", KEY), ("timestamp", "1416000000"), ("nonce", "n"), ("context", "x"), ("empty", "")];
    let good = post_signed(&params, SECRET);
    let mut moved = good.clone();
    let body = String::from_utf8(moved.body.clone()).unwrap();
    let (first, rest) = body.split_once('&').unwrap();
    (moved.query, moved.body) = (first.to_owned(), rest.as_bytes().to_vec());
    assert_eq!(code(f.api.handle(&moved)), 0, "query and body together");
    for change in ["context=y", "empty=1", "nonce=m", "more=1"] {
        let name = change.split('=').next().unwrap();
        let mut pairs: Vec<&str> = body.split('&').filter(|pair| !pair.starts_with(&format!("{name}="))).collect();
        pairs.push(change);
        let mut request = good.clone();
        request.body = pairs.join("&").into_bytes();
        assert_eq!(code(f.api.handle(&request)), 403_003, "{change}");
    }
    for (from, to, expected) in [("sig=", "sig=%2A", 403_003), ("sig=", "sig=AAAA&x=", 403_003)] {
        let mut request = good.clone();
        request.body = body.replace(from, to).into_bytes();
        assert_eq!(code(f.api.handle(&request)), expected, "{to}");
    }
    let wrong = post_signed(&[("apiKey", KEY), ("timestamp", "1416000000"), ("nonce", "o")], READER);
    assert_eq!(code(f.api.handle(&wrong)), 403_003);
    // HEAD is signed as HEAD.
    let params = [("apiKey", KEY), ("timestamp", "1416000000"), ("nonce", "h")];
    let sig = sign("HEAD", "http://localhost/socialize.exportUsers", &params, &secret(SECRET));
    let mut head = get("exportUsers", &[&params[..], &[("sig", &sig)]].concat());
    assert_eq!(code(f.api.handle(&head)), 403_003);
    head.method = "HEAD".to_owned();
    let response = f.api.handle(&head);
    assert_eq!((response.outcome.error, response.length.is_some()), (None, true));
    assert!(response.body.read().unwrap().is_empty());
}

#[test]
fn timestamps() {
    for (timestamp, expected) in [
        ("1416000000", 0),
        ("1415999880", 0),
        ("1415999879", 403_002),
        ("1416000120", 0),
        ("1416000121", 403_002),
        ("1416000000000", 0),
        ("1415999880000", 0),
        ("1415999879999", 403_002),
        ("1416000120000", 0),
        ("1416000120001", 403_002),
        ("100000000000", 403_002),
        ("99999999999999999999999", 403_002),
        ("yesterday", 400_004),
        ("-1", 400_004),
        ("1416000000.5", 400_004),
        ("", 400_002),
    ] {
        let params = [("apiKey", KEY), ("timestamp", timestamp), ("nonce", "n")];
        assert_eq!(code(fixture().api.handle(&post_signed(&params, SECRET))), expected, "{timestamp}");
    }
    // Nothing that was signed before the process began.
    let f = fixture();
    let api = Api::new(sites(&f.store), Settings::default(), at(NOW));
    let before = [("apiKey", KEY), ("timestamp", "1415999999"), ("nonce", "n")];
    assert_eq!(code(api.handle(&post_signed(&before, SECRET))), 403_002);
}

#[test]
fn nonces() {
    let f = fixture();
    let ask = |timestamp: &str, now: u64, key: &str| {
        let mut request = post_signed(&[("apiKey", KEY), ("timestamp", timestamp), ("nonce", "n")], key);
        request.now = at(now);
        code(f.api.handle(&request))
    };
    assert_eq!(ask("1416000000", NOW, OTHER), 403_003);
    assert_eq!(ask("1416000000", NOW, SECRET), 0, "a wrong signature does not use a nonce up");
    assert_eq!(ask("1416000000", NOW + 120, SECRET), 403_004);
    assert_eq!(ask("1416000000", NOW + 121, SECRET), 403_002);
    assert_eq!(ask("1416000300", NOW + 121, SECRET), 403_002, "the future");
    assert_eq!(ask("1416000300", NOW + 300, SECRET), 403_002, "remembered");
    assert_eq!(ask("1416000421", NOW + 421, SECRET), 0, "forgotten");
    assert_eq!(ask("1416000421", NOW + 1000, SECRET), 403_002, "the past");
    assert_eq!(ask("1416001000", NOW + 1000, SECRET), 0, "the same nonce with the clock put right");
    let settings = Settings { max_nonces: 2, ..Settings::default() };
    let f = fixture_with(seven(), settings);
    let ask =
        |nonce| f.api.handle(&post_signed(&[("apiKey", KEY), ("timestamp", "1416000000"), ("nonce", nonce)], SECRET));
    assert_eq!(code(ask("1")), 0);
    let full = ask("2");
    assert!(full.header("retry-after").is_some());
    assert_eq!(code(full), 403_048);
}

#[test]
fn credentials_and_their_contradictions() {
    let good = ("secret", SECRET);
    let key = ("apiKey", KEY);
    for (params, header, expected) in [
        (&[key, good][..], None, 0),
        (&[("APIKEY", KEY), good], None, 0),
        (&[key, ("secret", OTHER)], None, 403_010),
        (&[key, ("secret", "*")], None, 403_010),
        (&[("apiKey", "3_unknown"), good], None, 400_093),
        (&[good], None, 400_002),
        (&[key], None, 400_002),
        (&[], None, 400_002),
        (&[key, ("secret", "")], None, 400_002),
        (&[key, ("sig", "AAAA"), ("nonce", "n")], None, 400_002),
        (&[key, ("sig", "AAAA"), ("timestamp", "1416000000")], None, 400_002),
        (&[key, ("timestamp", "1416000000"), ("nonce", "n")], None, 400_002),
        (&[key, good, ("timestamp", "1"), ("nonce", "n")], None, 0),
        (&[key, good, ("oauth_token", KEY)], None, 0),
        (&[key, good, ("oauth_token", "x")], None, 400_001),
        (&[key, good, ("sig", "AAAA")], None, 400_001),
        (&[key, ("sig", "AAAA"), ("timestamp", "1"), ("nonce", "n"), ("oauth_token", "x")], None, 400_001),
        (&[key, good], Some("OAuth x"), 400_001),
        (&[("oauth_token", "x")], Some("OAuth x"), 400_001),
        (&[key], Some("OAuth x"), 403_025),
        (&[], Some("bearer x"), 403_025),
        (&[("oauth_token", "x")], None, 403_025),
        (&[key], Some("OAuth"), 400_008),
        (&[key], Some("OAuth a b"), 400_008),
        (&[key], Some("Digest x"), 400_008),
        (&[key], Some("Basic eDp5"), 400_008),
        (&[key], Some(""), 400_008),
        (&[key, ("userKey", "reader"), ("secret", READER)], None, 0),
        (&[key, ("userKey", "reader"), good], None, 403_010),
        (&[key, ("userKey", "nobody"), good], None, 403_007),
        (&[key, ("userKey", "stranger"), ("secret", READER)], None, 403_007),
        (&[key, ("userKey", "writer"), ("secret", WRITER)], None, 403_007),
        (&[key, ("userKey", ""), good], None, 0),
    ] {
        let mut request = get("exportUsers", params);
        request.headers.extend(header.map(|value| ("authorization".to_owned(), value.to_owned())));
        assert_eq!(code(fixture().api.handle(&request)), expected, "{params:?} {header:?}");
    }
}

#[test]
fn plain_http_is_for_signatures() {
    let f = fixture();
    let plain = |mut request: Request| {
        request.secure = false;
        request
    };
    for secret in [SECRET, "wrong"] {
        let request = plain(get("exportUsers", &[("apiKey", KEY), ("secret", secret)]));
        assert_eq!(code(f.api.handle(&request)), 403_006, "decided before it is looked at");
    }
    assert_eq!(code(f.api.handle(&plain(get("exportUsers", &[("oauth_token", "x")])))), 400_001);
    let settings = Settings { insecure_loopback: true, ..Settings::default() };
    let f = fixture_with(seven(), settings);
    let request = plain(get("exportUsers", &[("apiKey", KEY), ("secret", SECRET)]));
    assert_eq!(code(f.api.handle(&request)), 0);
    for header in ["Forwarded", "X-Forwarded-For", "x-forwarded-proto", "Via"] {
        let mut request = request.clone();
        request.headers.push((header.to_owned(), "x".to_owned()));
        assert_eq!(code(f.api.handle(&request)), 403_006, "{header}");
    }
    for remote in ["192.0.2.1", "::ffff:192.0.2.1"] {
        let mut request = request.clone();
        request.peer = remote.parse().unwrap();
        assert_eq!(code(f.api.handle(&request)), 403_006, "{remote}");
        (request.peer, request.local) = ("::ffff:127.0.0.1".parse().unwrap(), remote.parse().unwrap());
        assert_eq!(code(f.api.handle(&request)), 403_006, "{remote}");
    }
}

fn token(f: &Fixture, params: &[(&str, &str)]) -> String {
    let answer = json(f.api.handle(&post("getToken", params)));
    assert_eq!(answer["errorCode"], 0, "{answer}");
    answer["access_token"].as_str().unwrap().to_owned()
}

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

#[test]
fn tokens_are_given_to_clients() {
    let f = fixture();
    for (params, basic, expected) in [
        (&[GRANT, ("client_id", KEY), ("client_secret", SECRET)][..], None, 0),
        (&[("grant_type", "none"), ("client_id", KEY), ("client_secret", SECRET)], None, 0),
        (&[GRANT, ("client_id", "reader"), ("client_secret", READER)], None, 0),
        (&[GRANT, ("client_id", KEY), ("secret", SECRET)], None, 0),
        (&[GRANT, ("apiKey", KEY), ("secret", SECRET)], None, 0),
        (&[GRANT, ("apiKey", KEY), ("userKey", "reader"), ("secret", READER)], None, 0),
        (&[GRANT], Some((KEY, SECRET)), 0),
        (&[GRANT], Some(("reader", READER)), 0),
        // As RFC 6749 has it, and as most do not.
        (&[GRANT], Some((KEY, "c2VjcmV0LWtleS1mb3ItdGVzdGluZy1vbmx5ISE%3D")), 0),
        (&[GRANT], Some((KEY, "c2VjcmV0LWtleS1mb3ItdGVzdGluZy1vbmx5ISE%3")), 400_008),
        (&[GRANT], Some((KEY, OTHER)), 403_010),
        (&[GRANT, ("secret", SECRET)], Some((KEY, SECRET)), 400_001),
        (&[GRANT, ("apiKey", "3_other"), ("client_id", "reader"), ("client_secret", READER)], None, 403_007),
        (&[GRANT, ("client_id", "nobody"), ("client_secret", SECRET)], None, 400_093),
        (&[GRANT, ("client_id", KEY)], None, 400_002),
        (&[GRANT, ("client_secret", SECRET)], None, 400_002),
        (&[("client_id", KEY), ("client_secret", SECRET)], None, 400_002),
        (&[("grant_type", "password"), ("client_id", KEY), ("client_secret", SECRET)], None, 400_013),
    ] {
        use base64::Engine as _;
        let mut request = post("getToken", params);
        if let Some((id, secret)) = basic {
            let value = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
            request.headers.push(("Authorization".to_owned(), format!("Basic {value}")));
        }
        let answer = json(f.api.handle(&request));
        assert_eq!(answer["errorCode"], expected, "{params:?} {answer}");
        let error = answer.get("error_description").map(|d| d.as_str().unwrap().starts_with(&format!("{expected} - ")));
        assert_eq!(error, (expected != 0).then_some(true), "{answer}");
        assert!(!answer.to_string().contains(SECRET));
    }
    let response = f.api.handle(&post("getToken", &[GRANT, ("client_id", KEY), ("client_secret", SECRET)]));
    let text = text(response);
    let rest = text.strip_prefix("{\"access_token\":\"").unwrap();
    assert_eq!(
        &rest[43..],
        concat!(
            "\",\"expires_in\":3600,\"callId\":\"0000000000000000000000000000002a\",\"errorCode\":0,",
            "\"statusCode\":200,\"statusReason\":\"OK\",\"time\":\"2014-11-14T21:20:00.000Z\"}"
        )
    );
    let params = [GRANT, ("apiKey", KEY), ("timestamp", "1416000000"), ("nonce", "t")];
    let sig = sign("POST", "https://localhost/socialize.getToken", &params, &secret(SECRET));
    let signed = post("getToken", &[&params[..], &[("sig", &sig)]].concat());
    assert_eq!(code(f.api.handle(&Request { secure: false, ..signed.clone() })), 400_001);
    assert_eq!(code(f.api.handle(&signed)), 0);
    let plain = Request { secure: false, ..post("getToken", &[GRANT, ("client_id", KEY), ("client_secret", SECRET)]) };
    assert_eq!(code(f.api.handle(&plain)), 403_006);
}

#[test]
fn tokens_open_their_site_until_they_or_their_key_end() {
    let f = fixture();
    let reader = token(&f, &[GRANT, ("client_id", "reader"), ("client_secret", READER), ("x_sessionExpiration", "60")]);
    let site = token(&f, &[GRANT, ("client_id", KEY), ("client_secret", SECRET), ("x_sessionExpiration", "999999")]);
    let with = |token: &str, params: &[(&str, &str)], now: u64| {
        let mut request = get("exportUsers", params);
        request.headers.push(("Authorization".to_owned(), format!("Bearer {token}")));
        request.now = at(now);
        f.api.handle(&request)
    };
    assert_eq!(code(with(&reader, &[], NOW + 59)), 0);
    assert_eq!(code(f.api.handle(&get("exportUsers", &[("oauth_token", &site), ("apiKey", KEY)]))), 0);
    assert_eq!(code(with(&site, &[("apiKey", "3_other")], NOW)), 403_007);
    assert_eq!(code(with(&site, &[("apiKey", "3_unknown")], NOW)), 400_093);
    assert_eq!(code(with(&reader, &[("userKey", "writer")], NOW)), 403_007);
    let ended = with(&reader, &[], NOW + 60);
    assert_eq!((ended.status, ended.header("www-authenticate").is_some()), (401, true));
    let body = json(ended);
    assert_eq!((&body["errorCode"], &body["statusCode"]), (&403_025.into(), &403.into()));
    assert_eq!(code(with(&site, &[], NOW + 3600)), 403_025, "no longer than is configured");
    // As a parameter only with httpStatusCodes.
    assert_eq!(f.api.handle(&get("exportUsers", &[("oauth_token", "x")])).status, 200);
    let params = [("oauth_token", "x"), ("httpStatusCodes", "true")];
    assert_eq!(f.api.handle(&get("exportUsers", &params)).status, 401);
    // Another secret: tokens of the old one end with it.
    let rotated = Site::new(KEY, Arc::clone(&f.store), secret(OTHER)).with_user_key(
        "reader",
        secret(READER),
        [Permission::Export],
    );
    f.api.set_sites(Sites::new([rotated]).unwrap());
    assert_eq!((code(with(&site, &[], NOW)), code(with(&reader, &[], NOW))), (403_025, 0));
}

#[test]
fn tokens_survive_a_restart() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens.json");
    let f = fixture();
    let start = || {
        let api = Api::new(sites(&f.store), Settings::default(), at(NOW));
        Fixture { api: api.with_tokens(Arc::new(FileTokens::open(&path).unwrap())), store: Arc::clone(&f.store) }
    };
    let token = token(&start(), &[GRANT, ("client_id", KEY), ("client_secret", SECRET)]);
    assert_eq!(code(start().api.handle(&get("exportUsers", &[("oauth_token", &token)]))), 0);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // Another server may be about to put that in the place of the file.
    let new = dir.path().join("tokens.json.new");
    std::fs::write(&new, "[]").unwrap();
    FileTokens::open(&path).unwrap().probe().unwrap();
    assert_eq!(std::fs::read_to_string(&new).unwrap(), "[]");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "the probe leaves nothing");
    let stored = std::fs::read_to_string(&path).unwrap();
    assert!(!stored.contains(&token) && !stored.contains(SECRET));
    std::fs::write(&path, "not tokens").unwrap();
    assert!(FileTokens::open(&path).is_err());
}

#[derive(Debug)]
struct Nobody;

impl Limiter for Nobody {
    fn admit(&self, api_key: &str, _: Option<&str>, _: std::time::SystemTime) -> Result<(), Duration> {
        assert_eq!(api_key, KEY);
        Err(Duration::from_millis(1500))
    }
}

#[test]
fn limits_come_after_credentials_and_before_permissions() {
    let f = fixture();
    let api = f.api.with_limiter(Arc::new(Nobody));
    let wrong = get("exportUsers", &[("apiKey", KEY), ("secret", OTHER)]);
    assert_eq!(code(api.handle(&wrong)), 403_010);
    let writer = get("exportUsers", &[("apiKey", KEY), ("userKey", "writer"), ("secret", WRITER), ("limit", "x")]);
    let limited = api.handle(&writer);
    assert_eq!(limited.header("retry-after"), Some("2"));
    assert_eq!(code(limited), 403_048);
}

#[test]
fn secrets_are_not_echoed() {
    let f = fixture();
    let hidden = "hiddenvalue";
    for params in [
        &[("apiKey", KEY), ("secret", hidden)][..],
        &[("secret", hidden), ("secret", "b")],
        &[("apiKey", KEY), ("sig", hidden), ("timestamp", "1416000000"), ("nonce", hidden)],
        &[("nonce", hidden), ("nonce", "b")],
        &[("oauth_token", hidden)],
        &[("client_secret", hidden), ("apiKey", KEY), ("secret", SECRET)],
    ] {
        for method in ["exportUsers", "getToken"] {
            let response = f.api.handle(&get(method, params));
            assert!(!format!("{response:?}").contains(hidden), "{params:?}");
            assert!(!text(response).contains(hidden), "{params:?}");
        }
    }
    assert!(!format!("{:?} {:?}", f.api, get("x", &[("secret", hidden)])).contains(hidden));
}
