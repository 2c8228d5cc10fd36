//! Starting, stopping, reloading, and what those who run a server see.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use headcount::method::{Secret, Site, Sites, sign};
use headcount_server::{Config, Server, ServerError};
use support::*;

fn asked(server: &Running) -> std::net::TcpStream {
    let form = server.signed_form(&[]);
    let mut client = connect(server.http);
    write!(
        client,
        "POST /socialize.exportUsers HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        server.http,
        form.len()
    )
    .unwrap();
    client.read_exact(&mut [0; 9]).unwrap();
    client
}

#[test]
fn requests_under_way_are_answered_before_the_end() {
    let mut server = serve(many(400_000));
    let mut client = asked(&server);
    let mut idle = server.plain();
    assert_eq!(idle.get(server.http, "/readyz", "").status, 200);
    server.handle.stop();
    eventually("nobody is let in", || std::net::TcpStream::connect(server.http).is_err());
    assert!(idle.closed());
    let mut all = String::new();
    client.read_to_string(&mut all).unwrap();
    assert!(all.contains("\"usersCount\":400000,") && all.ends_with("Z\"}"));
    server.stop();
}

#[test]
fn what_does_not_end_in_time_is_broken_off() {
    let mut server = serve_with(temporary(many(400_000)), "limits = { drain_seconds = 1 }");
    let mut client = asked(&server);
    server.stop();
    let mut all = Vec::new();
    let ended = client.read_to_end(&mut all);
    assert!(ended.is_err() || !all.ends_with(b"Z\"}"), "it looks whole");
    assert_eq!(
        Arc::strong_count(&server.store),
        1 + 1,
        "the store is held by the server that is still there, and here"
    );
}

#[test]
fn certificates_and_keys_are_replaced() {
    let server = serve(seven());
    let mut old = server.tls();
    let form = Running::secret_form(&[("format", "csv")]);
    assert_eq!(old.post(server.https, "exportUsers", &form, "").status, 200);
    let new = certificate(server.dir.path(), "two");
    fs::copy(&new.cert, &server.certificate.cert).unwrap();
    fs::copy(&new.key, &server.certificate.key).unwrap();
    let secret = "bmV3LXNlY3JldA==";
    let site = Site::new(KEY, Arc::clone(&server.store), Secret::new(secret).unwrap());
    server.handle.reload(&server.config, &Sites::new([site]).unwrap()).unwrap();
    assert_eq!(old.post(server.https, "exportUsers", &form, "").code(), 403_010, "the old secret is gone");
    let mut stream = Connection { stream: Box::new(tls(server.https, &new.der)) };
    let form = support::form(&[("apiKey", KEY), ("secret", secret), ("format", "csv")]);
    assert_eq!(stream.post(server.https, "exportUsers", &form, "").status, 200);
    // What cannot be read changes nothing.
    fs::write(&server.certificate.key, "nonsense").unwrap();
    let refused = server.handle.reload(&server.config, &sites(&server.store));
    assert!(matches!(refused, Err(ServerError::Tls(_))), "{refused:?}");
    let mut stream = Connection { stream: Box::new(tls(server.https, &new.der)) };
    assert_eq!(stream.post(server.https, "exportUsers", &form, "").status, 200);
    let mut other = server.config.clone();
    other.limits.exports += 1;
    let refused = server.handle.reload(&other, &sites(&server.store)).unwrap_err();
    assert_eq!(refused.to_string(), "limits cannot be changed while the server runs: restart it");
}

#[test]
fn what_needs_a_restart_is_said() {
    type Change = fn(&mut Config);
    let server = serve(seven());
    let changes: [(&str, Change); 9] = [
        ("listeners", |config| config.listen[0].address.set_port(1)),
        ("listeners", |config| config.listen[1].tls = None),
        ("listeners", |config| drop(config.listen.remove(0))),
        ("insecure_loopback", |config| config.listen[0].insecure_loopback = true),
        ("public_urls", |config| config.public_urls = vec!["https://users.example".to_owned()]),
        ("metrics", |config| config.metrics = None),
        ("tokens", |config| config.tokens = Some("other.tokens".into())),
        ("token_lifetime", |config| config.token_lifetime = 60),
        ("limits", |config| config.limits.queue += 1),
    ];
    for (what, change) in changes {
        let mut config = server.config.clone();
        change(&mut config);
        let refused = server.handle.reload(&config, &sites(&server.store)).unwrap_err();
        assert_eq!(refused.to_string(), format!("{what} cannot be changed while the server runs: restart it"));
    }
    let mut config = server.config.clone();
    config.listen.reverse();
    config.listen[0].plain_http = true;
    config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    server.handle.reload(&config, &sites(&server.store)).unwrap();
}

#[test]
fn what_cannot_be_served_is_said_before() {
    let store = temporary(seven());
    let dir = tempfile::tempdir().unwrap();
    let made = certificate(dir.path(), "one");
    let bind = |text: &str| {
        let config = Config::parse(text, dir.path().join("headcount.toml")).unwrap();
        Server::bind(&config, &sites(&store)).map(|_| ()).unwrap_err().to_string()
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let said = bind(&format!("[[listen]]\naddress = \"{address}\"\n"));
    assert!(said.starts_with(&format!("cannot listen on {address}: Address already in use")), "{said}");
    let with = |cert: &str, key: &str| {
        bind(&format!("[[listen]]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = \"{cert}\", key = \"{key}\" }}\n"))
    };
    let missing = with("none.pem", "one.key");
    assert!(missing.contains("cannot read the certificate chain from") && missing.contains("none.pem"), "{missing}");
    assert!(with("one.key", "one.key").contains("no certificate in"), "{}", with("one.key", "one.key"));
    assert!(with("one.pem", "one.pem").contains("cannot read the private key from"));
    let other = certificate(dir.path(), "two");
    fs::copy(&other.key, &made.key).unwrap();
    assert!(with("one.pem", "one.key").contains("cannot use the certificate"));
}

#[test]
fn proxies_are_believed_when_they_are_trusted() {
    let forwarded = "X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.1\r\n";
    let form = Running::secret_form(&[]);
    let server = serve(seven());
    assert_eq!(server.plain().post(server.http, "exportUsers", &form, forwarded).code(), 403_006);
    let server = serve_with(temporary(seven()), "trusted_proxies = [\"127.0.0.1\"]");
    assert_eq!(server.plain().post(server.http, "exportUsers", &form, forwarded).code(), 0);
    let http = "X-Forwarded-Proto: http\r\nX-Forwarded-For: 192.0.2.1\r\n";
    assert_eq!(server.plain().post(server.http, "exportUsers", &form, http).code(), 403_006);
    // The host that the client asked for is the one that it signed.
    let signed = signed_form("POST", "https://users.example/socialize.exportUsers", &[]);
    let host = "X-Forwarded-Host: users.example\r\nX-Forwarded-For: 192.0.2.1\r\n";
    assert_eq!(server.plain().post(server.http, "exportUsers", &signed, host).code(), 0);
    assert_eq!(serve(seven()).plain().post(server.http, "exportUsers", &signed, host).code(), 403_003);
}

#[test]
fn insecure_loopback_lets_this_machine_in() {
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\ninsecure_loopback = true\n";
    let config = Config::parse(text, "/nowhere/headcount.toml").unwrap();
    let mut config = config;
    config.tokens = None;
    let store = temporary(seven());
    let server = Server::bind(&config, &sites(&store)).unwrap();
    let (address, handle) = (server.addresses()[0].0, server.handle());
    let thread = std::thread::spawn(move || server.run());
    let ask = |headers: &str| {
        let mut connection = Connection { stream: Box::new(connect(address)) };
        connection.post(address, "exportUsers", &Running::secret_form(&[]), headers).code()
    };
    assert_eq!(ask(""), 0);
    for header in
        ["Via: 1.1 proxy", "Forwarded: for=192.0.2.1", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Anything: x"]
    {
        assert_eq!(ask(&format!("{header}\r\n")), 403_006, "{header}");
    }
    handle.stop();
    thread.join().unwrap().unwrap();
}

#[test]
fn what_happens_is_counted() {
    let server = serve(seven());
    assert_eq!(server.export(&[]).status, 200);
    assert_eq!(server.plain().post(server.http, "exportUsers", &Running::secret_form(&[]), "").code(), 403_006);
    let put = [("UID", "new"), ("allowNewUser", "true"), ("identities", r#"[{"provider":"site","providerUID":"n"}]"#)];
    let answer = server.tls().post(server.https, "importIdentities", &Running::secret_form(&put), "");
    assert_eq!(answer.code(), 0, "{answer:?}");
    for (line, value) in [
        ("headcount_requests_total{method=\"socialize.exportUsers\",code=\"0\"}", 1.0),
        ("headcount_requests_total{method=\"socialize.exportUsers\",code=\"403006\"}", 1.0),
        ("headcount_auth_failures_total{code=\"403006\"}", 1.0),
        ("headcount_commit_seconds_count", 1.0),
        ("headcount_first_byte_seconds_count", 1.0),
        (&format!("headcount_exports_total{{site=\"{KEY}\",outcome=\"whole\"}}"), 1.0),
        (&format!("headcount_export_users_total{{site=\"{KEY}\"}}"), 7.0),
        (&format!("headcount_export_identities_total{{site=\"{KEY}\"}}"), 9.0),
        (&format!("headcount_store_users{{site=\"{KEY}\"}}"), 8.0),
        (&format!("headcount_store_delta_changes{{site=\"{KEY}\"}}"), 1.0),
        (&format!("headcount_store_segments{{site=\"{KEY}\"}}"), 1.0),
    ] {
        assert_eq!(server.metric(line), value, "{line}");
    }
    let mut admin = Connection { stream: Box::new(connect(server.metrics)) };
    assert_eq!(admin.get(server.metrics, "/healthz", "").text(), "ok\n");
    assert_eq!(admin.get(server.metrics, "/socialize.exportUsers", "").status, 404);
    assert_eq!(admin.post(server.metrics, "exportUsers", "", "").status, 405);
}

#[test]
fn a_signed_request_passes_once_whatever_is_restarted() {
    let dir = tempfile::tempdir().unwrap();
    let more = format!("public_urls = [\"http://users.example\"]\ntokens = {:?}", dir.path().join("tokens"));
    let store = temporary(seven());
    let ahead = (now() + 100).to_string();
    let params = [("apiKey", KEY), ("timestamp", ahead.as_str()), ("nonce", "n")];
    let url = "http://users.example/socialize.exportUsers";
    let sig = sign("POST", url, &params, &Secret::new(SECRET).unwrap());
    let form = form(&[&params[..], &[("sig", &sig)]].concat());
    for expected in [0, 403_004, 403_004] {
        let mut server = serve_with(Arc::clone(&store), &more);
        assert_eq!(server.plain().post(server.http, "exportUsers", &form, "").code(), expected);
        // One at a time.
        let second = Server::bind(&server.config, &sites(&store)).map(|_| ());
        assert!(matches!(second, Err(ServerError::TokensInUse { .. })), "{second:?}");
        server.stop();
    }
    let mut files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["tokens.nonces", "tokens.nonces.lock"]);
    // Without a place for the file there is a server all the same.
    let server = serve_with(store, "tokens = \"/proc/none/tokens\"");
    assert_eq!(server.export(&[]).code(), 0);
}

#[test]
fn no_tunnel_is_made() {
    let server = serve(seven());
    for target in ["example.com:443", "/healthz", "/socialize.exportUsers"] {
        let mut connection = server.plain();
        let asked = format!("CONNECT {target} HTTP/1.1\r\nHost: example.com\r\n\r\n");
        let reply = connection.send(asked.as_bytes(), false);
        assert_eq!((reply.status, reply.code()), (405, 405_001), "{target}: a 200 would say that it was made");
        assert_eq!(reply.header("allow"), Some("GET, HEAD, POST"), "{target}");
    }
}

#[test]
fn a_reload_takes_all_certificates_over_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (certificate(dir.path(), "one"), certificate(dir.path(), "two"));
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = { cert = \"one.pem\", key = \"one.key\" }\n\
                [[listen]]\naddress = \"127.0.0.2:0\"\ntls = { cert = \"two.pem\", key = \"two.key\" }\n";
    let config = Config::parse(text, dir.path().join("headcount.toml")).unwrap();
    let store = temporary(seven());
    let server = Server::bind(&config, &sites(&store)).unwrap();
    let (address, handle) = (server.addresses()[0].0, server.handle());
    let thread = std::thread::spawn(move || server.run());
    let other = certificate(dir.path(), "other");
    fs::copy(&other.cert, &one.cert).unwrap();
    fs::copy(&other.key, &one.key).unwrap();
    fs::write(&two.key, "nonsense").unwrap();
    let refused = handle.reload(&config, &sites(&store));
    assert!(matches!(refused, Err(ServerError::Tls(_))), "{refused:?}");
    let mut connection = Connection { stream: Box::new(tls(address, &one.der)) };
    assert_eq!(connection.get(address, "/healthz", "").status, 200);
    handle.stop();
    drop(connection);
    thread.join().unwrap().unwrap();
}
