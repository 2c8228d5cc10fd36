//! A store that is damaged in the middle: every format breaks off, and says what it can say.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use headcount::method::{Api, Body, Settings, Site, Sites};
use headcount::{Options, Store, User};
use support::*;

/// A store of `n` users with one byte of its blocks changed, at so many percent of the segment's length.
fn damaged(path: &Path, n: usize, percent: usize) -> Fixture {
    let store = Store::create(path, &Options::default()).unwrap();
    store.load((0..n).map(|i| User::new(format!("user-{i:08}")).with_identity("site", format!("{i}")))).unwrap();
    store.close().unwrap();
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let segment = files.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.len() * percent / 100;
    bytes[at] ^= 1;
    fs::set_permissions(&segment, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&segment, bytes).unwrap();
    let store = Arc::new(Store::open(path, &Options::default()).unwrap());
    let site = Site::new(KEY, Arc::clone(&store), secret(SECRET));
    Fixture { api: Api::new(Sites::new([site]).unwrap(), Settings::default(), at_start()), store }
}

fn at_start() -> std::time::SystemTime {
    at(NOW - 10_000)
}

/// The bytes of a body that breaks off.
fn broken(body: Body) -> String {
    let Body::Export(body) = body else { panic!("not an export") };
    let (mut all, mut failed) = (Vec::new(), false);
    for piece in *body {
        assert!(!failed, "an error is the last item");
        match piece {
            Ok(piece) => all.extend_from_slice(&piece),
            Err(_) => failed = true,
        }
    }
    assert!(failed);
    String::from_utf8(all).unwrap()
}

#[test]
fn every_format_breaks_off() {
    let dir = tempfile::tempdir().unwrap();
    let f = damaged(&dir.path().join("store"), 300_000, 30);
    for (params, accept) in [
        (&[][..], "identity"),
        (&[("format", "csv")], "identity"),
        (&[("format", "ndjson")], "identity"),
        (&[("format", "jsonp"), ("callback", "f")], "identity"),
        (&[("format", "csv"), ("since", "0")], "identity"),
    ] {
        let mut request = f.asked(params);
        request.headers.push(("accept-encoding".to_owned(), accept.to_owned()));
        let response = f.api.handle(&request);
        assert_eq!(response.status, 200);
        let length = response.length;
        let text = broken(response.body);
        assert!(length.is_none_or(|length| (text.len() as u64) < length), "{params:?}");
        assert!(text.len() > 100_000, "some of it came");
        if params.is_empty() {
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            let users = json["users"].as_array().unwrap().len();
            assert_eq!((&json["usersCount"], &json["statusCode"]), (&users.into(), &500.into()));
            assert_eq!((&json["errorCode"], &json["identitiesCount"]), (&500_028.into(), &users.into()));
        }
        assert!(!text.ends_with(");"));
    }
    // What lies before the damage can be had.
    let mut request = f.asked(&[("format", "csv")]);
    request.headers.push(("range".to_owned(), "bytes=0-999".to_owned()));
    assert_eq!(text(f.api.handle(&request)).len(), 1000);
}

#[test]
fn before_the_first_byte_it_is_an_envelope() {
    let dir = tempfile::tempdir().unwrap();
    let f = damaged(&dir.path().join("store"), 1000, 10);
    let answer = json(f.export(&[]));
    assert_eq!(answer["errorCode"], 500_028);
    assert!(!answer.to_string().contains("/"), "no file of this machine is named: {answer}");
    assert_eq!(f.export(&[("format", "csv")]).status, 500);
    assert_eq!(f.export(&[("httpStatusCodes", "true")]).status, 500);
}
