//! Arbitrary bytes as a request to the method: an answer, never a panic; with a JSON envelope wherever it is JSON.
//!
//! The first byte chooses the circumstances; the rest is lines: HTTP method and target, headers until an empty line, body.
#![no_main]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use headcount::method::{Api, Permission, Request, Secret, Settings, Site, Sites};
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

fn request(data: &[u8]) -> Option<Request> {
    let (circumstances, rest) = data.split_first()?;
    let at = rest.windows(2).position(|pair| pair == b"\n\n").unwrap_or(rest.len());
    let (head, body) = rest.split_at(at);
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split('\n');
    let (method, target) = lines.next()?.split_once(' ')?;
    let mut request = Request::new(method, target, UNIX_EPOCH + Duration::from_secs(1_416_000_000));
    request.secure = circumstances & 1 != 0;
    request.http_1_0 = circumstances & 2 != 0;
    request.host = Some("localhost".to_owned());
    let headers = lines.filter_map(|line| line.split_once(':'));
    request.headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    request.body = body.get(2..).unwrap_or_default().to_vec();
    Some(request)
}

fuzz_target!(|data: &[u8]| {
    let Some(request) = request(data) else { return };
    let response = api().handle(&request);
    let is_json = response.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    let (length, status) = (response.length, response.status);
    let is_plain = response.header("content-encoding").is_none();
    let body = response.body.read().expect("a whole store");
    if request.method == "HEAD" || status == 304 || status == 416 {
        assert!(body.is_empty());
        return;
    }
    assert!(length.is_none_or(|length| length == body.len() as u64));
    if is_json && is_plain {
        let json: serde_json::Value = serde_json::from_slice(&body).expect("an envelope is JSON");
        assert!(json["errorCode"].is_u64() && json["time"].is_string());
    }
});
