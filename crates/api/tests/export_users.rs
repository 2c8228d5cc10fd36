//! exportUsers: every parameter, every format, pages, conditions and ranges.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod support;

use headcount::method::{Code, Failure, Request, Settings};
use headcount::{Batch, Status, User};
use support::*;

#[test]
fn the_documented_response_with_each_credential() {
    let f = fixture();
    let expected = documented("");
    assert_eq!(text(f.export(&[])), expected);
    let params = [("apiKey", KEY), ("timestamp", "1416000000"), ("nonce", "n")];
    let response = f.api.handle(&post_signed(&params, SECRET));
    assert_eq!(response.length, Some(expected.len() as u64));
    for (name, value) in [
        ("date", "Fri, 14 Nov 2014 21:20:00 GMT"),
        ("content-type", "application/json; charset=utf-8"),
        ("cache-control", "private, no-store"),
        ("vary", "Authorization, Accept-Encoding"),
        ("x-content-type-options", "nosniff"),
        ("x-headcount-seq", "1"),
    ] {
        assert_eq!(response.header(name), Some(value));
    }
    assert_eq!(response.header("etag"), None);
    assert_eq!(text(response), expected);
    let client = [("grant_type", "none"), ("client_id", KEY), ("client_secret", SECRET)];
    let answer = json(f.api.handle(&post("getToken", &client)));
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(text(f.api.handle(&get("exportUsers", &[("oauth_token", token)]))), expected);
}

#[test]
fn parameters() {
    let f = fixture();
    for (name, value, expected) in [
        ("format", "JSON", 0),
        ("format", "", 0),
        ("format", "xml", 400_006),
        ("format", "jsonp", 400_002),
        ("fields", "UID, provider,,uid", 0),
        ("fields", "uid,email", 400_006),
        ("fields", ",", 400_006),
        ("limit", "0", 0),
        ("limit", "18446744073709551615", 0),
        ("limit", "ten", 400_004),
        ("limit", "1.5", 400_004),
        ("limit", "-1", 400_006),
        ("limit", "18446744073709551616", 400_006),
        ("limit", "", 0),
        ("includPendingUsers", "TRUE", 0),
        ("includePendingUsers", "0", 0),
        ("includPendingUsers", "yes", 400_006),
        ("after", "zzz", 0),
        ("atSeq", "1", 0),
        ("atSeq", "7", 400_006),
        ("atSeq", "x", 400_004),
        ("since", "0", 0),
        ("since", "1", 0),
        ("since", "2", 400_006),
        ("since", "x", 400_004),
        ("httpStatusCodes", "maybe", 400_006),
        ("checkParams", "maybe", 400_006),
        ("checkParams", "true", 0),
        ("sdk", "python_3.6.0", 0),
        ("cid", "x", 0),
        ("lang", "en", 0),
        ("pageURL", "x", 0),
        ("authMode", "cookie", 0),
        ("ctag", "x", 0),
        ("unknown", "x", 0),
    ] {
        let answer = json(f.export(&[(name, value)]));
        assert_eq!(answer["errorCode"], expected, "{name}={value}: {answer}");
        let named = answer["errorDetails"].as_str().is_none_or(|d| d.contains(name) || value == "jsonp");
        assert!(named, "{answer}");
        assert!(answer["time"].is_string() && answer["callId"].is_string());
    }
    let long = "é".repeat(100);
    let details = json(f.export(&[("fields", &long)]))["errorDetails"].as_str().unwrap().to_owned();
    assert!(details.contains(&"é".repeat(64)) && !details.contains(&"é".repeat(65)), "{details}");
    for (a, b) in [("limit", "after"), ("after", "limit")] {
        let params = [("since", "1"), (a, "1")];
        assert_eq!(code(f.export(&params)), 400_006, "{a} {b}");
    }
    assert_eq!(code(f.export(&[("since", "1"), ("fields", "provider")])), 400_006);
}

#[test]
fn what_is_unknown_is_ignored_and_named() {
    let f = fixture();
    let long = "n".repeat(70);
    let tail = format!(
        ",\"context\":\"a\\\"b\",\"ignoredParams\":[{{\"paramName\":\"{}\",\"warningCode\":403007,\
         \"message\":\"Unknown parameter, ignored\"}}]",
        &long[..64]
    );
    assert_eq!(text(f.export(&[("context", "a\"b"), (&long, "x")])), documented(&tail));
    let names: Vec<String> = (0..30).map(|n| format!("n{n}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    assert_eq!(json(f.export(&many))["ignoredParams"].as_array().unwrap().len(), 16);
    let refused = json(f.export(&[("checkParams", "true"), ("limits", "5")]));
    assert_eq!(refused["errorCode"], 403_007);
    assert!(refused["errorDetails"].as_str().unwrap().contains("limits"));
}

#[test]
fn errors_have_their_envelope_and_status() {
    let f = fixture();
    let expected = concat!(
        r#"{"errorMessage":"Invalid parameter format","errorDetails":"limit: \"x\" is not a number","statusCode":400,"#,
        r#""errorCode":400004,"statusReason":"Bad Request","callId":"0000000000000000000000000000002a","#,
        r#""time":"2014-11-14T21:20:00.000Z","context":"c"}"#
    );
    let response = f.export(&[("limit", "x"), ("context", "c")]);
    assert_eq!((response.status, response.length), (200, Some(expected.len() as u64)));
    assert_eq!(text(response), expected);
    let request = |forced: bool| if forced { f.asked(&[("httpStatusCodes", "true")]) } else { f.asked(&[]) };
    for code in Code::ALL {
        for forced in [false, true] {
            let response = f.api.refuse(&request(forced), &Failure::new(code, "d"));
            let status = if code == Code::InvalidToken { 401 } else { code.status() };
            assert_eq!(response.status, if forced { status } else { 200 }, "{code:?}");
            let body = json(response);
            assert_eq!(body["errorCode"], code.number());
            assert_eq!((&body["errorMessage"], &body["statusCode"]), (&code.message().into(), &code.status().into()));
        }
    }
    // Csv and ndjson cannot say in their body that they failed: the status does, whatever else is asked for.
    for format in ["csv", "NDJSON"] {
        let params = [("format", format), ("httpStatusCodes", "false"), ("limit", "x")];
        let response = f.export(&params);
        assert_eq!(
            (response.status, response.header("content-type").unwrap()),
            (400, "application/json; charset=utf-8")
        );
        let wrong = f.api.handle(&get("exportUsers", &[("apiKey", KEY), ("secret", OTHER), ("format", format)]));
        assert_eq!(wrong.status, 403);
    }
}

#[test]
fn requests_that_are_none() {
    let f = fixture();
    let asked = f.asked(&[]);
    let bare = Request { query: String::new(), ..asked.clone() };
    for (request, expected) in [
        (Request { path: "/".to_owned(), ..asked.clone() }, 404_000),
        (Request { path: "/socialize.exportUsers/".to_owned(), ..asked.clone() }, 404_000),
        (Request { method: "DELETE".to_owned(), ..asked.clone() }, 405_001),
        (Request { body: b"a=b".to_vec(), ..asked.clone() }, 400_001),
        (Request { query: format!("{}&x=%zz", asked.query), ..asked.clone() }, 400_001),
        (Request { query: format!("{}&x=%ff", asked.query), ..asked.clone() }, 400_001),
        (Request { query: format!("{}&limit=1&limit=2", asked.query), ..asked.clone() }, 400_006),
        (Request { query: format!("{}&limit=1&limit=1", asked.query), ..asked.clone() }, 0),
        (Request { method: "POST".to_owned(), body: vec![b'a'; (1 << 20) + 1], ..bare.clone() }, 413_001),
        (Request { method: "POST".to_owned(), body: b"a=b".to_vec(), ..bare.clone() }, 400_001),
        (Request { method: "POST".to_owned(), ..asked.clone() }, 0),
    ] {
        assert_eq!(code(f.api.handle(&request)), expected, "{request:?}");
    }
    for (content_type, right) in [
        ("application/x-www-form-urlencoded", true),
        ("Application/X-WWW-Form-Urlencoded; charset=UTF-8", true),
        ("application/x-www-form-urlencoded; charset=latin1", false),
        ("application/json", false),
        ("multipart/form-data; boundary=x", false),
    ] {
        let mut request = post("exportUsers", &[("apiKey", KEY), ("secret", SECRET)]);
        request.headers = vec![("content-type".to_owned(), content_type.to_owned())];
        assert_eq!(code(f.api.handle(&request)), if right { 0 } else { 400_001 }, "{content_type}");
    }
    let refused = f.api.handle(&get("setUID", &[]));
    assert_eq!(refused.header("allow"), Some("POST"));
}

#[test]
fn formats_and_fields() {
    let f = fixture_with(
        vec![
            User::new("a").with_identity("x", "1").with_identity("y", "2"),
            User::new("b").with_status(Status::Pending),
            User::new("c,d"),
        ],
        Settings::default(),
    );
    let csv = f.export(&[("format", "csv")]);
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    assert_eq!(csv.header("cache-control"), Some("private, no-cache"));
    assert_eq!(text(csv), "uid,provider,providerUID\r\na,x,1\r\na,y,2\r\n\"c,d\",,\r\n");
    let params = [("format", "csv"), ("fields", "status,UID"), ("includePendingUsers", "1")];
    assert_eq!(text(f.export(&params)), "status,uid\r\nregistered,a\r\npending,b\r\nregistered,\"c,d\"\r\n");
    let lines = "{\"UID\":\"a\",\"identities\":[{\"provider\":\"x\"},{\"provider\":\"y\"}]}\n\
                 {\"UID\":\"c,d\",\"identities\":[]}\n";
    assert_eq!(text(f.export(&[("format", "ndjson"), ("fields", "uid,provider")])), lines);
    let plain = json(f.export(&[("fields", "uid,status")]));
    assert_eq!(
        plain["users"].to_string(),
        r#"[{"UID":"a","status":"registered"},{"UID":"c,d","status":"registered"}]"#
    );
    assert_eq!((&plain["usersCount"], &plain["identitiesCount"]), (&2.into(), &0.into()));
    assert_eq!(json(f.export(&[("includPendingUsers", "true")]))["usersCount"], 3);
}

#[test]
fn jsonp() {
    let f = fixture_with(vec![User::new("a\u{2028}b")], Settings::default());
    let response = f.export(&[("format", "jsonp"), ("callback", "my.f[0]")]);
    assert!(response.header("content-type").unwrap().starts_with("application/javascript"));
    let script = text(response);
    assert!(script.starts_with("my.f[0]({\"users\":[{\"UID\":\"a\\u2028b\"") && script.ends_with("});"), "{script}");
    for (callback, expected) in [("", 400_002), ("a b", 400_006), ("alert(1)", 400_006), (&"a".repeat(129), 400_006)] {
        let response = f.export(&[("format", "jsonp"), ("callback", callback)]);
        assert!(response.header("content-type").unwrap().starts_with("application/json"));
        assert_eq!(code(response), expected, "{callback}");
    }
    let wrong = [("format", "jsonp"), ("callback", "f"), ("limit", "x"), ("context", "\u{2029}")];
    let script = text(f.export(&wrong));
    assert!(script.starts_with("f({\"errorMessage\"") && script.ends_with("\"context\":\"\\u2029\"});"), "{script}");
    assert_eq!(f.verb("getUserInfo", &[("UID", "x"), ("format", "jsonp"), ("callback", "f")])["errorCode"], 400_006);
    let mut old = f.asked(&[("format", "jsonp"), ("callback", "f")]);
    old.http_1_0 = true;
    let response = f.api.handle(&old);
    let length = response.length.unwrap();
    assert_eq!(text(response).len() as u64, length, "HTTP/1.0 is told the length");
}

fn put(f: &Fixture, uid: &str) {
    let mut batch = Batch::new();
    batch.put(User::new(uid));
    f.store.commit(batch).unwrap();
}

#[test]
fn pages_are_of_one_snapshot() {
    let f = fixture();
    let first = json(f.export(&[("limit", "3")]));
    assert_eq!((&first["nextAfter"], &first["seq"], &first["usersCount"]), (&"AAKODB".into(), &1.into(), &3.into()));
    put(&f, "AB-new");
    let next = [("limit", "3"), ("after", "AAKODB"), ("atSeq", "1")];
    let second = json(f.export(&next));
    assert_eq!(second["users"][0]["UID"], "AJDPHN");
    assert_eq!(json(f.export(&[("limit", "3"), ("after", "AAKODB")]))["users"][0]["UID"], "AB-new");
    let last = json(f.export(&[("limit", "9"), ("after", "AJDPHN"), ("atSeq", "1")]));
    assert_eq!((last.get("nextAfter"), &last["usersCount"]), (None, &3.into()));
    let mut late = f.asked(&next);
    late.now = at(NOW + 301);
    assert_eq!(code(f.api.handle(&late)), 400_006, "it is gone");
    assert_eq!(json(f.export(&[("limit", "0")]))["users"].to_string(), "[]");
    let tail = text(f.export(&[("limit", "1"), ("context", "c"), ("x", "")]));
    let keys = ["\"time\"", "\"context\"", "\"ignoredParams\"", "\"seq\"", "\"nextAfter\""].map(|key| tail.find(key));
    assert!(keys.is_sorted() && keys[0].is_some(), "{tail}");
}

#[test]
fn changes() {
    let f = fixture();
    f.verb("deleteAccount", &[("UID", "AABCWA")]);
    put(&f, "new");
    let all = text(f.export(&[("since", "1"), ("context", "c")]));
    assert!(all.starts_with(r#"{"users":[{"UID":"new","identities":[]}],"deletedUIDs":["AABCWA"],"usersCount":1,"#));
    assert!(all.ends_with(r#","context":"c","seq":3}"#), "{all}");
    assert_eq!(
        text(f.export(&[("since", "1"), ("format", "csv")])),
        "change,uid,provider,providerUID\r\ndelete,AABCWA,,\r\nupsert,new,,\r\n"
    );
    assert_eq!(
        text(f.export(&[("since", "1"), ("format", "ndjson")])),
        "{\"UID\":\"AABCWA\",\"deleted\":true}\n{\"UID\":\"new\",\"identities\":[]}\n"
    );
}

#[test]
fn conditions_and_ranges() {
    let f = fixture();
    let ask = |method: &str, headers: &[(&str, &str)]| {
        let mut request = f.asked(&[("format", "csv")]);
        request.method = method.to_owned();
        request.headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        f.api.handle(&request)
    };
    let whole = ask("GET", &[]);
    let tag = whole.header("etag").unwrap().to_owned();
    assert!(tag.starts_with("\"1-") && whole.header("accept-ranges") == Some("bytes"));
    let whole = text(whole);
    let same = ask("GET", &[("if-none-match", &tag)]);
    assert_eq!((same.status, same.header("etag")), (304, Some(tag.as_str())));
    assert_ne!(f.export(&[("format", "ndjson")]).header("etag"), Some(tag.as_str()));
    let head = ask("HEAD", &[("range", "bytes=3-")]);
    assert_eq!((head.status, head.length), (200, Some(whole.len() as u64)));
    assert!(head.body.read().unwrap().is_empty());
    for (range, expected) in
        [("bytes=3-9", &whole[3..10]), ("bytes=30-", &whole[30..]), ("bytes=-5", &whole[whole.len() - 5..])]
    {
        let part = ask("GET", &[("Range", range), ("If-Range", &tag)]);
        assert_eq!((part.status, part.length), (206, Some(expected.len() as u64)));
        assert!(part.header("content-range").unwrap().ends_with(&format!("/{}", whole.len())));
        assert_eq!(text(part), expected);
    }
    let beyond = ask("GET", &[("range", "bytes=9999-")]);
    assert_eq!((beyond.status, beyond.header("content-range").unwrap()), (416, &*format!("bytes */{}", whole.len())));
    put(&f, "0-new");
    assert_ne!(ask("GET", &[("if-none-match", &tag)]).status, 304);
    let denied = Request { query: "format=csv".to_owned(), ..f.asked(&[]) };
    let mut denied = Request { now: at(NOW), ..denied };
    denied.headers.push(("if-none-match".to_owned(), "*".to_owned()));
    assert_eq!(f.api.handle(&denied).status, 400, "after authorization only");
}

#[test]
fn a_transfer_that_breaks_off_is_resumed_in_its_snapshot() {
    let users = (0..5000).map(|n| User::new(format!("user-{n:04}")).with_identity("site", format!("{n}")));
    let f = fixture_with(users.collect(), Settings::default());
    let ask = |headers: &[(&str, &str)]| {
        let mut request = f.asked(&[("format", "csv")]);
        request.headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        f.api.handle(&request)
    };
    let whole = ask(&[]);
    let tag = whole.header("etag").unwrap().to_owned();
    let whole = text(whole);
    drop(ask(&[]));
    put(&f, "0-new");
    let rest = ask(&[("range", "bytes=30-"), ("if-range", &tag)]);
    assert_eq!((rest.status, rest.header("x-headcount-seq")), (206, Some("1")));
    assert_eq!(text(rest), &whole[30..]);
    f.api.release(KEY);
    let anew = ask(&[("range", "bytes=30-"), ("if-range", &tag)]);
    assert_eq!((anew.status, anew.header("x-headcount-seq")), (200, Some("2")), "the snapshot is gone");
}

#[test]
fn compression_by_what_is_accepted() {
    let users = (0..200).map(|n| User::new(format!("user-{n:04}")).with_identity("site", format!("{n}")));
    let f = fixture_with(users.collect(), Settings::default());
    let ask = |accept: &str, old: bool| {
        let mut request = f.asked(&[("format", "csv")]);
        request.headers.push(("Accept-Encoding".to_owned(), accept.to_owned()));
        request.http_1_0 = old;
        f.api.handle(&request)
    };
    let plain = ask("identity", false);
    let gzip = ask("gzip", false);
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    assert_ne!(gzip.header("etag"), plain.header("etag"));
    let length = gzip.length;
    let bytes = gzip.body.read().unwrap();
    assert_eq!((&bytes[..2], length), (&[0x1f, 0x8b][..], Some(bytes.len() as u64)), "short, so that it is known");
    assert_eq!(ask("gzip, zstd", false).header("content-encoding"), Some("zstd"));
    assert_eq!((ask("gzip", true).header("content-encoding"), ask("gzip", true).length), (None, plain.length));
}
