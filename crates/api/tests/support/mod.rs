//! A site with the seven documented users, and requests to it.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headcount::method::{Api, Permission, Request, Response, Secret, Settings, Site, Sites, percent_encode, sign};
use headcount::{Store, User};
use serde_json::Value;

pub(crate) const KEY: &str = "3_TestApiKey-abc_DEF";
pub(crate) const SECRET: &str = "c2VjcmV0LWtleS1mb3ItdGVzdGluZy1vbmx5ISE=";
pub(crate) const READER: &str = "cmVhZGVyLXNlY3JldA==";
pub(crate) const WRITER: &str = "d3JpdGVyLXNlY3JldA==";
pub(crate) const OTHER: &str = "b3RoZXItc2VjcmV0";
pub(crate) const NOW: u64 = 1_416_000_000;

pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(crate) fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

/// The seven users of the documented example.
pub(crate) fn seven() -> Vec<User> {
    vec![
        User::new("_gid_t+0P1vgAjhVTw8fPs1DSJnjAr3E=")
            .with_identity("twitter", "262710724")
            .with_identity("facebook", "100002136853114"),
        User::new("_gid_UnXMjySuZJwyz654w==").with_identity("facebook", "622098199"),
        User::new("_gid_kcugodwRh72tw==").with_identity("twitter", "14047511"),
        User::new("6625ID").with_identity("site", "6625ID").with_identity("google", "115480002607925776950"),
        User::new("AABCWA").with_identity("site", "AABCWA"),
        User::new("AAKODB").with_identity("site", "AAKODB"),
        User::new("AJDPHN").with_identity("site", "AJDPHN"),
    ]
}

/// The documented response to the default export, in UID order.
pub(crate) fn documented(tail: &str) -> String {
    let users = concat!(
        r#"{"UID":"6625ID","identities":[{"provider":"site","providerUID":"6625ID"},"#,
        r#"{"provider":"google","providerUID":"115480002607925776950"}]},"#,
        r#"{"UID":"AABCWA","identities":[{"provider":"site","providerUID":"AABCWA"}]},"#,
        r#"{"UID":"AAKODB","identities":[{"provider":"site","providerUID":"AAKODB"}]},"#,
        r#"{"UID":"AJDPHN","identities":[{"provider":"site","providerUID":"AJDPHN"}]},"#,
        r#"{"UID":"_gid_UnXMjySuZJwyz654w==","identities":[{"provider":"facebook","providerUID":"622098199"}]},"#,
        r#"{"UID":"_gid_kcugodwRh72tw==","identities":[{"provider":"twitter","providerUID":"14047511"}]},"#,
        r#"{"UID":"_gid_t+0P1vgAjhVTw8fPs1DSJnjAr3E=","identities":["#,
        r#"{"provider":"twitter","providerUID":"262710724"},{"provider":"facebook","providerUID":"100002136853114"}]}"#
    );
    format!(
        "{{\"users\":[{users}],\"usersCount\":7,\"identitiesCount\":9,\"statusCode\":200,\"errorCode\":0,\
         \"statusReason\":\"OK\",\"callId\":\"0000000000000000000000000000002a\",\
         \"time\":\"2014-11-14T21:20:00.000Z\"{tail}}}"
    )
}

pub(crate) struct Fixture {
    pub(crate) api: Api,
    pub(crate) store: Arc<Store>,
}

pub(crate) fn fixture() -> Fixture {
    fixture_with(seven(), Settings::default())
}

pub(crate) fn fixture_with(users: Vec<User>, settings: Settings) -> Fixture {
    let store = Arc::new(Store::temporary().unwrap());
    store.load(users).unwrap();
    let api = Api::new(sites(&store), settings, at(NOW - 10_000));
    Fixture { api, store }
}

pub(crate) fn sites(store: &Arc<Store>) -> Sites {
    let site = Site::new(KEY, Arc::clone(store), secret(SECRET))
        .with_user_key("reader", secret(READER), [Permission::Export])
        .with_user_key("writer", secret(WRITER), [Permission::Write]);
    let other = Site::new("3_other", Arc::new(Store::temporary().unwrap()), secret(OTHER)).with_user_key(
        "stranger",
        secret(READER),
        [Permission::Export],
    );
    Sites::new([site, other]).unwrap()
}

pub(crate) fn query(params: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        params.iter().map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value))).collect();
    pairs.join("&")
}

/// A GET of a method over HTTPS.
pub(crate) fn get(method: &str, params: &[(&str, &str)]) -> Request {
    let mut request = Request::new("GET", &format!("/socialize.{method}?{}", query(params)), at(NOW));
    request.host = Some("localhost".to_owned());
    request.secure = true;
    request.call_id = 42;
    request
}

/// A POST of a form over HTTPS.
pub(crate) fn post(method: &str, params: &[(&str, &str)]) -> Request {
    let mut request = get(method, &[]);
    request.method = "POST".to_owned();
    request.query = String::new();
    request.headers.push(("Content-Type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
    request.body = query(params).into_bytes();
    request
}

/// The parameters with a signature for a POST to exportUsers at localhost.
pub(crate) fn signed<'p>(params: &[(&'p str, &'p str)], key: &str) -> Vec<(&'p str, String)> {
    let url = "http://localhost/socialize.exportUsers";
    let sig = sign("POST", url, params, &secret(key));
    let mut all: Vec<_> = params.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    all.push(("sig", sig));
    all
}

pub(crate) fn post_signed(params: &[(&str, &str)], key: &str) -> Request {
    let all = signed(params, key);
    let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut request = post("exportUsers", &all);
    request.secure = false;
    request
}

impl Fixture {
    /// An export with the site's secret and these parameters.
    pub(crate) fn export(&self, params: &[(&str, &str)]) -> Response {
        self.api.handle(&self.asked(params))
    }

    pub(crate) fn asked(&self, params: &[(&str, &str)]) -> Request {
        let mut all = vec![("apiKey", KEY), ("secret", SECRET)];
        all.extend_from_slice(params);
        get("exportUsers", &all)
    }

    /// A verb by POST with the site's secret.
    pub(crate) fn verb(&self, method: &str, params: &[(&str, &str)]) -> Value {
        let mut all = vec![("apiKey", KEY), ("secret", SECRET)];
        all.extend_from_slice(params);
        json(self.api.handle(&post(method, &all)))
    }
}

pub(crate) fn text(response: Response) -> String {
    String::from_utf8(response.body.read().unwrap()).unwrap()
}

pub(crate) fn json(response: Response) -> Value {
    serde_json::from_str(&text(response)).unwrap()
}

pub(crate) fn code(response: Response) -> u64 {
    json(response)["errorCode"].as_u64().unwrap()
}
