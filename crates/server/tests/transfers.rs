//! Whole transfers, and every way in which one breaks off.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::process::Command;

use headcount::{Batch, User};
use support::*;

/// The documented response: every key, in its order.
fn assert_documented(reply: &Reply) {
    let text = reply.text();
    let rest = text.strip_prefix(SEVEN_USERS).unwrap_or_else(|| panic!("{text}"));
    let (call_id, rest) = rest.split_at(32);
    assert!(call_id.bytes().all(|b| b.is_ascii_hexdigit()), "{call_id}");
    let time = rest.strip_prefix("\",\"time\":\"").unwrap().strip_suffix("Z\"}").unwrap();
    assert_eq!(time.len(), "2015-03-22T11:42:25.943".len());
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(reply.header("cache-control"), Some("private, no-store"));
    assert_eq!(reply.header("x-headcount-seq"), Some("1"));
    assert!(reply.header("date").unwrap().ends_with(" GMT"));
}

#[test]
fn the_documented_response_by_each_credential() {
    let server = serve(seven());
    let secret = Running::secret_form(&[("format", "json")]);
    assert_documented(&server.tls().post(server.https, "exportUsers", &secret, ""));
    assert_documented(&server.export(&[("format", "json"), ("sdk", "python_3.6.0")]));

    let form = form(&[("apiKey", KEY), ("secret", SECRET), ("grant_type", "none")]);
    let answer = server.tls().post(server.https, "getToken", &form, "").text();
    let token = answer.strip_prefix("{\"access_token\":\"").unwrap().split('"').next().unwrap();
    for scheme in ["OAuth", "Bearer"] {
        let header = format!("Authorization: {scheme} {token}\r\n");
        assert_documented(&server.tls().get(server.https, "/socialize.exportUsers", &header));
    }
    let path = format!("/socialize.exportUsers?oauth_token={token}");
    assert_documented(&server.tls().get(server.https, &path, ""));
    assert_eq!(server.plain().get(server.http, &path, "").code(), 400_001, "a token over HTTP");
    let secret = server.plain().post(server.http, "exportUsers", &Running::secret_form(&[]), "");
    assert_eq!((secret.code(), secret.status), (403_006, 200));
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let server = serve(seven());
    let mut connection = server.plain();
    for _ in 0..3 {
        assert_documented(&connection.post(server.http, "exportUsers", &server.signed_form(&[]), ""));
        let missing = connection.post(server.http, "nonsense", "", "");
        assert_eq!((missing.status, missing.code()), (200, 404_000));
        let csv = connection.post(server.http, "exportUsers", &form(&[("format", "csv")]), "");
        assert_eq!((csv.status, csv.code()), (400, 400_002));
    }
    assert_eq!(connection.get(server.http, "/healthz", "").text(), "ok\n");
    assert_eq!(connection.get(server.http, "/readyz", "").text(), "ready\n");
}

#[test]
fn the_url_that_is_signed_is_that_of_the_target_or_the_host() {
    let server = serve(seven());
    for (target, host, signed) in [
        ("/socialize.exportUsers", "users.example", "http://users.example/socialize.exportUsers"),
        ("/socialize.exportUsers", "Users.Example:80", "http://users.example/socialize.exportUsers"),
        ("/socialize.exportUsers", "users.example:443", "https://users.example/socialize.exportUsers"),
        ("/socialize.exportUsers", "users.example:8443", "https://users.example:8443/socialize.exportUsers"),
        ("http://a.example/socialize.exportUsers", "b.example", "http://a.example/socialize.exportUsers"),
        ("https://a.example:99/socialize.exportUsers", "b.example", "https://a.example:99/socialize.exportUsers"),
    ] {
        let query = signed_form("GET", signed, &[]);
        let request = format!("GET {target}?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_documented(&server.plain().send(request.as_bytes(), false));
    }
}

#[test]
fn http_1_0_gets_a_length() {
    let server = serve(many(40_000));
    let form = server.signed_form(&[("format", "csv")]);
    let request = format!(
        "POST /socialize.exportUsers HTTP/1.0\r\nHost: {}\r\nAccept-Encoding: gzip\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        server.http,
        form.len()
    );
    let reply = server.plain().send(request.as_bytes(), false);
    assert_eq!(reply.header("content-length"), Some(reply.body.len().to_string().as_str()));
    assert_eq!((reply.header("content-encoding"), reply.text().lines().count()), (None, 40_001));
}

#[test]
fn head_has_the_length_and_nothing_else() {
    let server = serve(seven());
    let query = signed_form("HEAD", &format!("http://{}/socialize.exportUsers", server.http), &[("format", "csv")]);
    let request = format!("HEAD /socialize.exportUsers?{query} HTTP/1.1\r\nHost: {}\r\n\r\n", server.http);
    let mut connection = server.plain();
    let head = connection.send(request.as_bytes(), true);
    let whole = connection.post(server.http, "exportUsers", &server.signed_form(&[("format", "csv")]), "");
    assert_eq!(head.header("content-length").unwrap(), whole.body.len().to_string());
    assert_eq!(head.header("etag"), whole.header("etag"));
}

#[test]
fn large_exports_are_equal_whole_compressed_and_in_ranges() {
    let server = serve(many(100_000));
    let whole = server.export(&[("format", "ndjson")]);
    let text = whole.text();
    assert_eq!(text.lines().count(), 100_000);
    let tag = whole.header("etag").unwrap().to_owned();
    for (coding, tool) in [("gzip", "gzip"), ("zstd", "zstd")] {
        let form = server.signed_form(&[("format", "ndjson")]);
        let headers = format!("Accept-Encoding: {coding}\r\n");
        let packed = server.plain().post(server.http, "exportUsers", &form, &headers);
        assert_eq!((packed.header("content-encoding"), packed.whole), (Some(coding), true));
        assert_ne!(packed.header("etag").unwrap(), tag, "another coding is another representation");
        let file = server.dir.path().join(coding);
        std::fs::write(&file, &packed.body).unwrap();
        match Command::new(tool).args(["-dc", "-q"]).stdin(std::fs::File::open(&file).unwrap()).output() {
            Ok(output) => assert!(output.stdout == text.as_bytes(), "{coding}: other bytes"),
            Err(error) => eprintln!("SKIPPED: {tool} cannot be run ({error}), so its output was not compared"),
        }
    }
    // Writes go on, and the broken download is resumed from the snapshot that it began with.
    let mut batch = Batch::new();
    batch.put(User::new("aaa").with_identity("site", "aaa"));
    server.store.commit(batch).unwrap();
    let cut = text.len() / 3;
    let form = server.signed_form(&[("format", "ndjson")]);
    let mut broken = connect(server.http);
    write!(broken, "POST /socialize.exportUsers HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}", server.http, form.len()).unwrap();
    let mut begin = vec![0; cut];
    broken.read_exact(&mut begin).unwrap();
    drop(broken);
    let current = server.export(&[("format", "ndjson")]);
    let current_tag = current.header("etag").unwrap().to_owned();
    server
        .store
        .commit({
            let mut batch = Batch::new();
            batch.delete("aaa");
            batch
        })
        .unwrap();
    let headers = format!("Range: bytes={cut}-\r\nIf-Range: {current_tag}\r\n");
    let form = server.signed_form(&[("format", "ndjson")]);
    let rest = server.plain().post(server.http, "exportUsers", &form, &headers);
    assert_eq!((rest.status, rest.text() == current.text()[cut..]), (206, true));
    let range = format!("bytes {cut}-{}/{}", current.body.len() - 1, current.body.len());
    assert_eq!(rest.header("content-range"), Some(range.as_str()));
}

/// What a client sees of a store that is damaged in the middle.
fn assert_broken_json(reply: &Reply) {
    assert!(!reply.whole, "it ended as if it were whole");
    let text = String::from_utf8(reply.body.clone()).unwrap();
    let users = text.matches("{\"UID\":").count();
    assert!(users > 1000, "{users}");
    let tail = format!("],\"usersCount\":{users},\"identitiesCount\":{users},\"statusCode\":500,\"errorCode\":500028,");
    assert!(text.contains(&tail), "{}", &text[text.len().saturating_sub(300)..]);
    assert!(text.ends_with("Z\"}"));
}

#[test]
fn damage_breaks_every_transfer_off() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve_with(damaged(&dir.path().join("store"), 300_000, 30), "");
    // With a promised length.
    let json = server.export(&[]);
    assert!(json.header("content-length").is_some());
    assert_broken_json(&json);
    // Without: chunks that have no end.
    let changes = server.export(&[("since", "0")]);
    assert_eq!(changes.header("transfer-encoding"), Some("chunked"));
    assert!(!changes.whole && changes.body.len() > 100_000);
    let over_tls = server.tls().post(server.https, "exportUsers", &Running::secret_form(&[]), "");
    assert_broken_json(&over_tls);
    for format in ["csv", "ndjson"] {
        let reply = server.export(&[("format", format)]);
        assert!(!reply.whole && reply.body.len() > 100_000, "{format}");
        let form = server.signed_form(&[("format", format)]);
        let packed = server.plain().post(server.http, "exportUsers", &form, "Accept-Encoding: gzip\r\n");
        assert!(!packed.whole, "{format}");
    }
    eventually("the failed exports are counted", || {
        server.metric(&format!("headcount_exports_total{{site=\"{KEY}\",outcome=\"failed\"}}")) >= 7.0
    });
}

/// What `curl` says of a transfer: its exit code and what it wrote.
fn curl(server: &Running, args: &[&str], form: &str, https: bool) -> Option<(i32, Vec<u8>)> {
    let url = if https {
        format!("https://localhost:{}/socialize.exportUsers", server.https.port())
    } else {
        format!("http://{}/socialize.exportUsers", server.http)
    };
    let mut command = Command::new("curl");
    command.args(["-sS", "--noproxy", "*", "--cacert"]).arg(&server.certificate.cert).args(args);
    command.arg("--resolve").arg(format!("localhost:{}:127.0.0.2", server.https.port()));
    match command.args(["-d", form, &url]).output() {
        Ok(output) => Some((output.status.code().unwrap(), output.stdout)),
        Err(error) => {
            eprintln!("SKIPPED: curl cannot be run ({error}), so what it sees was not tried");
            None
        }
    }
}

#[test]
fn curl_sees_whole_transfers_and_broken_ones() {
    let sound = serve(seven());
    for version in ["--http1.1", "--http2"] {
        let Some((code, body)) = curl(&sound, &[version], &Running::secret_form(&[]), true) else { return };
        assert_eq!((code, body.starts_with(SEVEN_USERS.as_bytes())), (0, true), "{version}");
    }
    let dir = tempfile::tempdir().unwrap();
    let server = serve_with(damaged(&dir.path().join("store"), 300_000, 30), "");
    for (args, params, https) in [
        (&["--http1.1"][..], &[][..], true),
        (&["--http2"], &[], true),
        (&["--http1.1"], &[], false),
        (&["--http1.1"], &[("since", "0")], true),
        (&["--http2"], &[("since", "0")], true),
        (&["--http2"], &[("format", "csv")], true),
        (&["--http2", "--compressed"], &[("format", "csv")], true),
    ] {
        let form = if https { Running::secret_form(params) } else { server.signed_form(params) };
        let Some((code, body)) = curl(&server, args, &form, https) else { return };
        // 18: short of the promised length; 56: receiving failed; 92: a stream of HTTP/2 was reset.
        assert!([18, 56, 92].contains(&code), "{args:?} {params:?}: exit code {code}");
        if params.is_empty() {
            let text = String::from_utf8(body).unwrap();
            assert!(text.contains("\"statusCode\":500,\"errorCode\":500028"), "{args:?}");
        }
    }
}

#[test]
fn a_client_that_goes_away_frees_its_worker() {
    let server = serve_with(temporary(many(400_000)), "limits = { exports = 1, transfers = 1, queue_seconds = 5 }");
    for format in ["json", "csv"] {
        let form = server.signed_form(&[("format", format)]);
        let mut client = connect(server.http);
        write!(client, "POST /socialize.exportUsers HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}", server.http, form.len()).unwrap();
        client.read_exact(&mut [0; 1000]).unwrap();
        assert_eq!(server.metric("headcount_exports_in_flight"), 1.0);
        drop(client);
        eventually("the worker is free", || server.metric("headcount_exports_in_flight") == 0.0);
        assert_eq!(server.export(&[("format", format), ("limit", "5")]).status, 200);
    }
    let gone = format!("headcount_exports_total{{site=\"{KEY}\",outcome=\"client_gone\"}}");
    eventually("it is counted", || server.metric(&gone) == 2.0);
}

/// Reads some of a csv export, loses the connection, and asks for the rest after a commit: the status.
fn resumed(server: &Running, users: usize, lose: impl FnOnce(std::net::TcpStream)) -> u16 {
    let whole = server.export(&[("format", "csv")]);
    let tag = whole.header("etag").unwrap().to_owned();
    let form = server.signed_form(&[("format", "csv")]);
    let mut client = connect(server.http);
    write!(client, "POST /socialize.exportUsers HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}", server.http, form.len()).unwrap();
    client.read_exact(&mut [0; 10_240]).unwrap();
    eventually("all is handed over", || server.metric("headcount_exports_in_flight") == 0.0);
    lose(client);
    let mut batch = Batch::new();
    batch.put(User::new("aaa").with_identity("site", format!("aaa-{users}")));
    server.store.commit(batch).unwrap();
    let headers = format!("Range: bytes=10240-\r\nIf-Range: {tag}\r\n");
    let rest = server.plain().post(server.http, "exportUsers", &server.signed_form(&[("format", "csv")]), &headers);
    assert!(rest.status == 200 || rest.text().as_bytes() == &whole.body[10_240..]);
    rest.status
}

#[test]
fn what_was_handed_over_and_not_taken_can_be_resumed() {
    let server = serve(many(6000));
    assert_eq!(resumed(&server, 1, drop), 206, "the connection was lost");
    eventually("that is noticed", || server.metric("headcount_connections") <= 1.0);
    let mut left = None;
    let status = resumed(&server, 2, |client| left = Some(client));
    assert_eq!(status, 206, "it has not ended yet");
    let status = resumed(&server, 3, |mut client| {
        client.shutdown(std::net::Shutdown::Write).unwrap();
        client.read_to_end(&mut Vec::new()).unwrap();
    });
    assert_eq!(status, 200, "it was whole, and nothing is kept");
}

#[test]
fn a_client_of_tls_that_closes_without_a_word_has_all_that_it_read() {
    let server = serve(many(6000));
    let form = Running::secret_form(&[("format", "csv")]);
    // No close_notify is sent when it is dropped.
    let whole = server.tls().post(server.https, "exportUsers", &form, "");
    let tag = whole.header("etag").unwrap().to_owned();
    eventually("it is gone", || server.metric("headcount_connections") == 0.0);
    let mut batch = Batch::new();
    batch.put(User::new("aaa").with_identity("site", "aaa"));
    server.store.commit(batch).unwrap();
    let headers = format!("Range: bytes=10240-\r\nIf-Range: {tag}\r\n");
    let rest = server.tls().post(server.https, "exportUsers", &form, &headers);
    assert_eq!((whole.whole, rest.status), (true, 200), "nothing is kept");
}

#[test]
fn an_export_that_fails_before_its_first_byte_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve_with(damaged(&dir.path().join("store"), 2000, 10), "");
    for (failed, format) in [(1.0, "json"), (2.0, "csv")] {
        assert_eq!(server.export(&[("format", format)]).code(), 500_028);
        let line = format!("headcount_exports_total{{site=\"{KEY}\",outcome=\"failed\"}}");
        assert_eq!(server.counted(&line), Some(failed), "{format}");
    }
    assert_eq!(server.export(&[("format", "nonsense")]).code(), 400_006);
    assert_eq!(server.metric(&format!("headcount_exports_total{{site=\"{KEY}\",outcome=\"failed\"}}")), 2.0);
}
