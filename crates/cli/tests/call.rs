//! `headcount call`: requests as they go out, answers that are whole, errors, broken off, and gone on from.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "functions of tests, which clippy cannot see in a program of tests"
)]

mod common;
#[path = "common/scripted.rs"]
mod scripted;

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Run, Scratch, Small};
use headcount::method::{Secret, sign};
use scripted::{Script, Seen, Server, answer, cut, raw};

const SECRET: &str = "c2VjcmV0LWtleS1mb3ItdGVzdGluZy1vbmx5ISE=";
const JSON: &str = "Content-Type: application/json; charset=utf-8";
const CSV: &str = "Content-Type: text/csv; charset=utf-8; header=present";
const NDJSON: &str = "Content-Type: application/x-ndjson; charset=utf-8";
const TAG: &str = "ETag: \"7-abc\"";
const WHOLE: &str = "{\"users\":[{\"UID\":\"a\",\"identities\":[]}],\"usersCount\":1,\"identitiesCount\":0,\"statusCode\":200,\
                     \"errorCode\":0,\"statusReason\":\"OK\",\"callId\":\"0\",\"time\":\"2015-03-22T11:42:25.943Z\"}";

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    for (name, text) in [("k.secret", SECRET), ("token", "tok-en\n")] {
        let path = scratch.write(name, text);
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }
    scratch
}

/// `headcount call URL --api-key 3_a --secret-file k.secret ARGS`
fn call(scratch: &Scratch, server: &Server, args: &[&str]) -> Run {
    scratch.run(&[&["call", &server.url, "--api-key", "3_a", "--secret-file", "k.secret"], args].concat())
}

fn error(code: u32, message: &str, details: &str) -> String {
    format!(
        "{{\"errorMessage\":\"{message}\",\"errorDetails\":\"{details}\",\"statusCode\":{},\"errorCode\":{code}}}",
        code / 1000
    )
}

/// Names in the scratch directory but the credentials.
fn names(scratch: &Scratch) -> Vec<String> {
    scratch.names().into_iter().filter(|name| name != "k.secret" && name != "token").collect()
}

#[track_caller]
fn assert_signed(seen: &Seen, url: &str) {
    let params = seen.params();
    let unsigned: Vec<_> =
        params.iter().filter(|(name, _)| name != "sig").map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let sig = sign("POST", url, &unsigned, &Secret::new(SECRET).unwrap());
    assert_eq!(seen.param("sig").as_deref(), Some(sig.as_str()));
}

#[test]
fn a_request_is_signed_and_its_answer_printed() {
    let (scratch, server) = (scratch(), Server::new([answer(200, &[JSON], WHOLE), answer(200, &[JSON], WHOLE)]));
    let run = call(&scratch, &server, &["limit=1", "context=a b&c=é"]).exits(0);
    assert_eq!((run.out.as_str(), run.err.as_str()), (WHOLE, ""));
    let user = ["--user-key", "crm", "getUserInfo", "UID=a"];
    call(&scratch, &server, &user).exits(0);
    let [first, second] = &server.seen()[..] else { panic!("two requests") };
    assert_eq!(first.line, "POST /socialize.exportUsers HTTP/1.1");
    assert_eq!(first.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(first.header("accept-encoding"), Some("identity"));
    assert_eq!((first.header("range"), first.header("authorization")), (None, None));
    assert_eq!(first.param("context").unwrap(), "a b&c=é");
    assert_eq!((first.param("apiKey").unwrap(), first.param("limit").unwrap()), ("3_a".to_owned(), "1".to_owned()));
    assert_signed(first, &format!("{}/socialize.exportUsers", server.url));
    assert_eq!(second.line, "POST /socialize.getUserInfo HTTP/1.1");
    assert_eq!(second.param("userKey").as_deref(), Some("crm"));
    assert_signed(second, &format!("{}/socialize.getUserInfo", server.url));
    assert_ne!(first.param("nonce"), second.param("nonce"));
}

#[test]
fn keys_come_from_the_environment_and_methods_from_the_url() {
    let (scratch, server) = (scratch(), Server::new([answer(200, &[JSON], WHOLE)]));
    let url = format!("{}/base/socialize.setUID", server.url);
    let mut command = scratch.command(&["call", &url, "--secret-file", "k.secret", "UID=a"]);
    command.env("HEADCOUNT_API_KEY", "3_env").env("HEADCOUNT_USER_KEY", "u_env");
    Run::from(command.output().unwrap()).exits(0);
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "POST /base/socialize.setUID HTTP/1.1");
    assert_eq!(
        (seen.param("apiKey").unwrap(), seen.param("userKey").unwrap()),
        ("3_env".to_owned(), "u_env".to_owned())
    );
    assert_signed(seen, &url);
}

#[test]
fn a_token_goes_along_over_https_or_to_this_machine() {
    let (scratch, server) = (scratch(), Server::new([answer(200, &[JSON], WHOLE)]));
    scratch.run(&["call", &server.url, "--token-file", "token"]).exits(0);
    let seen = &server.seen()[0];
    assert_eq!((seen.header("authorization"), seen.form.as_str()), (Some("OAuth tok-en"), ""));
    let open = scratch.run(&["call", "http://192.0.2.1", "--token-file", "token"]).exits(2);
    open.says(&["a token is sent over https only", "hint: "]);
    scratch.write("token", "two words");
    scratch.run(&["call", &server.url, "--token-file", "token"]).exits(1).says(&["token holds no token"]);
    fs::set_permissions(scratch.path("token"), Permissions::from_mode(0o644)).unwrap();
    scratch.run(&["call", &server.url, "--token-file", "token"]).exits(1).says(&["has mode 0644", "chmod 600 token"]);
}

#[test]
fn what_cannot_be_asked_is_told_before_anything_is_sent() {
    let scratch = scratch();
    let url = "http://127.0.0.1:9";
    for (args, code, said) in [
        (&[url][..], 2, "--secret-file"),
        (&[url, "--secret-file", "k.secret"], 2, "HEADCOUNT_API_KEY"),
        (&[url, "--secret-file", "k.secret", "--token-file", "token"], 2, "--token-file"),
        (&["127.0.0.1:9", "--api-key", "k", "--secret-file", "k.secret"], 2, "http:// or https://"),
        (&["http://127.0.0.1:9/else", "--api-key", "k", "--secret-file", "k.secret"], 2, "ends in \"else\""),
        (&[url, "--api-key", "k", "--secret-file", "k.secret", "a", "b"], 2, "\"b\" is neither the method"),
        (&[url, "--api-key", "k", "--secret-file", "k.secret", "a/b"], 2, "\"a/b\" is neither a method"),
        (&[url, "--api-key", "k", "--secret-file", "k.secret", "=b"], 2, "no name"),
        (&[url, "--api-key", "k", "--secret-file", "k.secret", "secret=b"], 2, "not for the command line"),
        (&[url, "--api-key", "k", "--secret-file", "k.secret", "sig=b"], 2, "made anew"),
        (&[url, "--api-key", "k", "--secret-file", "k.secret", "apikey=b"], 2, "--api-key"),
        (&[url, "--api-key", "k", "--secret-file", "k.secret", "userKey=b"], 2, "--user-key"),
        (&[url, "--api-key", "k", "--secret-file", "k.secret", "-o", "u.csv.gz"], 2, "compress it afterwards"),
        (&[url, "--api-key", "k", "--secret-file", "k.secret", "--timeout", "0"], 2, "--timeout"),
        (
            &[url, "--api-key", "k", "--secret-file", "k.secret", "--ca-file", "no.pem"],
            1,
            "cannot read certificates from no.pem",
        ),
        (&[url, "--api-key", "k", "--secret-file", "k.secret", "--ca-file", "k.secret"], 1, "there is no certificate"),
        (&[url, "--api-key", "k", "--secret-file", "no.secret"], 1, "cannot read the secret file no.secret"),
    ] {
        let run = scratch.run(&[&["call"], args].concat()).exits(code).says(&[said]);
        assert!(run.out.is_empty() && !run.err.contains(SECRET), "{}", run.err);
    }
    let run = scratch.run(&[&["call", url, "--api-key", "k", "--secret-file", "k.secret"][..], &["-o", "f"]].concat());
    run.exits(1).says(&["cannot reach 127.0.0.1:9: ", "refused"]);
    assert_eq!(names(&scratch), [""; 0]);
}

#[test]
fn the_clock_is_corrected_once() {
    let expired = || error(403_002, "Request has expired", "timestamp");
    let late = "Date: Sun, 22 Mar 2015 11:42:25 GMT";
    let scratch = scratch();
    let server = Server::new([answer(200, &[JSON, late], expired()), answer(200, &[JSON], WHOLE)]);
    let run = call(&scratch, &server, &[]).exits(0).says(&["the server's clock differs by "]);
    assert_eq!(run.out, WHOLE);
    let [first, second] = &server.seen()[..] else { panic!("two requests") };
    let time = |seen: &Seen| seen.param("timestamp").unwrap().parse::<u64>().unwrap();
    assert!(time(first) > 1_700_000_000 && time(second).abs_diff(1_427_024_545) < 5, "{first:?} {second:?}");
    assert_ne!(first.param("nonce"), second.param("nonce"));
    assert_signed(second, &format!("{}/socialize.exportUsers", server.url));

    let server = Server::new([answer(200, &[JSON, late], expired()), answer(403, &[JSON, late], expired())]);
    call(&scratch, &server, &[])
        .exits(1)
        .says(&["error: 403002 Request has expired: timestamp\n", "hint: the clocks differ"]);
    assert_eq!(server.seen().len(), 2);
    for date in ["X: y", "Date: today"] {
        let server = Server::new([answer(200, &[JSON, date], expired())]);
        call(&scratch, &server, &[]).exits(1).says(&["403002"]);
    }
}

#[test]
fn a_busy_server_is_asked_again_after_the_time_that_it_names() {
    let busy = |after: &str| answer(200, &[JSON, after], error(403_048, "Api rate limit exceeded", "too many"));
    let scratch = scratch();
    let server = Server::new([busy("Retry-After: 1"), busy("Retry-After: 0"), answer(200, &[CSV], "uid\r\n")]);
    let started = Instant::now();
    let run =
        call(&scratch, &server, &["format=csv"]).exits(0).says(&["the server is busy; asking again in 1 s", "in 0 s"]);
    assert_eq!(run.out, "uid\r\n");
    assert!(started.elapsed() >= Duration::from_secs(1));
    let server = Server::new((0..7).map(|_| busy("Retry-After: 0")));
    call(&scratch, &server, &[])
        .exits(1)
        .says(&["403048 Api rate limit exceeded: too many", "hint: the server is busy"]);
    assert_eq!(server.seen().len(), 6, "one, and five more");
}

#[test]
fn errors_are_told_and_leave_files_as_they_were() {
    let scratch = scratch();
    let text = error(400_006, "Invalid parameter value", "limit: \\u001b[2J");
    let refused = || answer(400, &[JSON], &text);
    let said = ["error: 400006 Invalid parameter value: limit: \\u{1b}[2J\n"];
    let run = call(&scratch, &Server::new([refused()]), &[]).exits(1).says(&said);
    assert_eq!(run.out, text, "for scripts");
    let run = call(&scratch, &Server::new([refused()]), &["format=CSV"]).exits(1).says(&said);
    assert_eq!(run.out, "", "no users, and nothing else among them");
    scratch.write("f.json", "old");
    call(&scratch, &Server::new([refused()]), &["-o", "f.json"]).exits(1).says(&said);
    call(&scratch, &Server::new([refused()]), &["-o", "/dev/null"]).exits(1).says(&said);
    assert_eq!((scratch.read("f.json"), names(&scratch)), ("old".to_owned(), vec!["f.json".to_owned()]));
    let signature = answer(200, &[JSON], error(403_003, "Invalid request signature", "sig"));
    call(&scratch, &Server::new([signature]), &[]).exits(1).says(&["hint: is it the secret of this apiKey"]);
    // Where both are read together, the message has a line of its own.
    let (server, both) = (Server::new([refused()]), fs::File::create(scratch.path("both")).unwrap());
    let mut command = scratch.command(&["call", &server.url, "--api-key", "3_a", "--secret-file", "k.secret"]);
    command.stdout(both.try_clone().unwrap()).stderr(both).status().unwrap();
    assert!(scratch.read("both").starts_with(&format!("{text}\nerror: 400006")), "{}", scratch.read("both"));
}

#[test]
fn what_is_no_answer_of_the_method_is_not_taken_for_one() {
    let scratch = scratch();
    for (script, said) in [
        (
            answer(502, &["Content-Type: text/html"], "<h1>"),
            "HTTP 502 with text/html; expected an answer of the method",
        ),
        (answer(200, &["Content-Type: text/html"], "<h1>"), "HTTP 200 with text/html"),
        (answer(500, &[], ""), "HTTP 500 with nothing that is named"),
        (
            answer(302, &["Location: https://else.example/"], ""),
            "HTTP 302: the server sends us on to https://else.example/",
        ),
        (
            answer(200, &[JSON, "Content-Encoding: gzip"], WHOLE),
            "the answer is compressed (gzip), though that was not asked for",
        ),
        (
            answer(200, &[JSON], "{\"users\":[]}"),
            "the answer is not whole: after 12 bytes there is no end with an errorCode",
        ),
        (answer(206, &[CSV], "x"), "HTTP 206 to a request for all of it"),
        (raw("nonsense\r\n\r\n"), "cannot reach 127.0.0.1:"),
    ] {
        call(&scratch, &Server::new([script]), &["-o", "f"]).exits(1).says(&[said]);
        assert_eq!(names(&scratch), [""; 0], "{said}");
    }
}

#[test]
fn a_json_that_breaks_off_is_an_error_wherever_it_breaks() {
    let scratch = scratch();
    let long = WHOLE.replace("\"identities\":[]", &format!("\"identities\":[],\"x\":\"{}\"", "y".repeat(300_000)));
    let chunked = |text: &str, end: &str| {
        let head = format!("HTTP/1.1 200 OK\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n");
        raw(format!("{head}{:x}\r\n{text}\r\n{end}", text.len()))
    };
    // Without a length and without chunks, only the JSON itself tells.
    let old = |text: &str| raw(format!("HTTP/1.0 200 OK\r\n{JSON}\r\n\r\n{text}"));
    for text in [WHOLE, &long] {
        call(&scratch, &Server::new([chunked(text, "0\r\n\r\n")]), &["-o", "f"])
            .exits(0)
            .says(&["received 1 users, 0 identities"]);
        assert!(scratch.read("f") == *text);
        fs::remove_file(scratch.path("f")).unwrap();
        call(&scratch, &Server::new([old(text)]), &[]).exits(0);
        let short = &text[..text.len() - 1];
        for (script, said) in [
            (cut(200, &[JSON], text, text.len() + 1), "the answer broke off"),
            (cut(200, &[JSON], short, text.len()), "the answer broke off"),
            (chunked(text, ""), "the answer broke off"),
            (old(short), "the answer is not whole"),
            (old(&text[..10]), "the answer is not whole: after 10 bytes"),
        ] {
            let server = Server::new([script]);
            call(&scratch, &server, &["-o", "f"]).exits(1).says(&[said]);
            assert_eq!(names(&scratch), [""; 0]);
            assert_eq!(server.seen().len(), 1, "JSON is not gone on from");
        }
    }
    // Why it broke off stands at its end.
    let damage = WHOLE.replace("\"statusCode\":200,\"errorCode\":0", "\"statusCode\":500,\"errorCode\":500028");
    for text in
        [damage.clone(), long.replace("\"statusCode\":200,\"errorCode\":0", "\"statusCode\":500,\"errorCode\":500028")]
    {
        let run = call(&scratch, &Server::new([cut(200, &[JSON], &text, text.len() + 9)]), &[]).exits(1);
        run.says(&["error: 500028", "hint: the server's store is damaged"]);
    }
}

/// An answer of five million users is no different from one of five.
#[test]
fn memory_does_not_grow_with_the_answer() {
    const PIECES: usize = 4000;
    let piece =
        "{\"UID\":\"some user or other\",\"identities\":[{\"provider\":\"site\",\"providerUID\":\"1\"}]},".repeat(800);
    let end = WHOLE.strip_prefix("{\"users\":[").unwrap();
    let length = "{\"users\":[".len() + PIECES * piece.len() + end.len();
    let stream: Script = Box::new(move |_, stream| {
        let head =
            format!("HTTP/1.1 200 OK\r\n{JSON}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{{\"users\":[");
        stream.write_all(head.as_bytes()).unwrap();
        for _ in 0..PIECES {
            stream.write_all(piece.as_bytes()).unwrap();
        }
        stream.write_all(end.as_bytes()).unwrap();
    });
    let (scratch, server) = (scratch(), Server::new([stream]));
    let args = ["call", &server.url, "--api-key", "k", "--secret-file", "k.secret", "-o", "f"];
    let mut child = scratch.command(&args).stderr(Stdio::piped()).spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        // Linux counts it; elsewhere the length alone is checked.
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.and_then(|kb| kb.trim().strip_suffix(" kB")).map_or(peak, |kb| kb.parse::<u64>().unwrap());
        std::thread::sleep(Duration::from_millis(5));
    }
    Run::from(child.wait_with_output().unwrap()).exits(0).says(&["received 1 users, 0 identities, "]);
    assert!(peak < 60_000, "{peak} kB");
    assert!(length > 200_000_000);
    assert_eq!(fs::metadata(scratch.path("f")).unwrap().len(), length as u64);
}

/// A CSV of many rows.
fn users() -> String {
    (0..20_000).map(|n| format!("user{n},site,{n}\r\n")).collect()
}

/// The rest of `text` from what the request asks for, after a check that it asks right.
fn part(text: &str, promised: Option<usize>) -> Script {
    let text = text.to_owned();
    Box::new(move |seen, stream| {
        let from: usize =
            seen.header("range").unwrap().strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
        assert_eq!(seen.header("if-range"), Some("\"7-abc\""));
        let range = format!("Content-Range: bytes {from}-{}/{}", text.len() - 1, text.len());
        let end = promised.map_or(text.len(), |length| from + length);
        cut(206, &[CSV, TAG, &range], &text[from..end], text.len() - from)(seen, stream);
    })
}

#[test]
fn a_broken_download_is_gone_on_from() {
    let (scratch, text) = (scratch(), users());
    let begin = cut(200, &[CSV, TAG, "X-Headcount-Seq: 7"], &text[..100_000], text.len());
    let away = answer(503, &["Content-Type: text/plain"], "");
    let fault = answer(500, &[JSON], error(500_001, "General server error", ""));
    let server = Server::new([begin, away, part(&text, Some(70_000)), fault, part(&text, Some(0)), part(&text, None)]);
    let run = call(&scratch, &server, &["-o", "users.csv"]).exits(0);
    run.says(&[
        "the answer broke off",
        "; going on from byte 100000 in 0.2 s",
        "from byte 170000",
        "HTTP 503",
        "500001",
        "received ",
    ]);
    assert!(scratch.read("users.csv") == text);
    assert_eq!(names(&scratch), ["users.csv"]);
    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.param("format").as_deref() == Some("csv")), "by the name of the file");
    let ranges: Vec<_> = seen.iter().map(|seen| seen.header("range")).collect();
    let (a, b) = (Some("bytes=100000-"), Some("bytes=170000-"));
    assert_eq!(ranges, [None, a, a, b, b, b]);
    assert_eq!(fs::metadata(scratch.path("users.csv")).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Whole as HTTP has it, and not all that there is.
#[test]
fn a_part_that_is_too_short_is_gone_on_from() {
    let (scratch, text) = (scratch(), users());
    let range = format!("Content-Range: bytes 50000-59999/{}", text.len());
    let server = Server::new([
        cut(200, &[CSV, TAG], &text[..50_000], text.len()),
        answer(206, &[CSV, TAG, &range], &text[50_000..60_000]),
        part(&text, None),
    ]);
    call(&scratch, &server, &["-o", "u.csv"]).exits(0).says(&["60000 bytes came, and ", "going on from byte 60000"]);
    assert!(scratch.read("u.csv") == text);
}

#[test]
fn a_later_call_goes_on() {
    let (scratch, text) = (scratch(), users());
    let begin = || cut(200, &[CSV, TAG], &text[..50_000], text.len());
    let output = ["-o", "u.csv", "--retries", "0"];
    call(&scratch, &Server::new([begin()]), &output)
        .exits(1)
        .says(&["the answer broke off", "hint: what came is in FILE.partial"]);
    assert_eq!(names(&scratch), ["u.csv.partial", "u.csv.partial.json"]);
    assert!(!scratch.read("u.csv.partial.json").contains(SECRET));
    // Another server is another request, and leaves it alone as long as it has nothing better.
    call(&scratch, &Server::new([answer(500, &[], "")]), &output).exits(1);
    assert_eq!(scratch.read("u.csv.partial").len(), 50_000);

    // The same server: its port is in the record.
    fs::remove_file(scratch.path("u.csv.partial")).unwrap();
    fs::remove_file(scratch.path("u.csv.partial.json")).unwrap();
    let server = Server::new([begin(), part(&text, Some(1)), part(&text, None)]);
    call(&scratch, &server, &output).exits(1);
    call(&scratch, &server, &output).exits(1).says(&["going on from byte 50000 of u.csv.partial"]);
    call(&scratch, &server, &output).exits(0).says(&["going on from byte 50001 of u.csv.partial"]);
    assert!(scratch.read("u.csv") == text);
    assert_eq!(names(&scratch), ["u.csv"]);
}

/// What came stays, and is not called clean.
#[test]
fn a_download_is_gone_on_from_when_there_is_room() {
    let (scratch, text) = (scratch(), users());
    let Some(small) = Small::mount(scratch.path("small"), "128k") else {
        eprintln!("SKIPPED: mounting a small file system needs root");
        return;
    };
    let server = Server::new([answer(200, &[CSV, TAG], &text), part(&text, None)]);
    let run = call(&scratch, &server, &["-o", "small/u.csv"]).exits(1);
    assert!(!run.err.contains("half done"), "{}", run.err);
    run.says(&[
        "small/u.csv.partial",
        "hint: make room",
        "what came is in FILE.partial: the same command goes on from",
    ]);
    let came = fs::metadata(scratch.path("small/u.csv.partial")).unwrap().len();
    small.resize("4m");
    call(&scratch, &server, &["-o", "small/u.csv"]).exits(0).says(&[&format!("going on from byte {came} of")]);
    assert!(scratch.read("small/u.csv") == text);
}

#[test]
fn what_came_whole_needs_no_server() {
    let (scratch, text) = (scratch(), users());
    let server = Server::new([cut(200, &[CSV, TAG], &text[..50_000], text.len())]);
    let output = ["-o", "u.csv", "--retries", "0"];
    call(&scratch, &server, &output).exits(1);
    // As a kill just before the file took its name would leave it.
    scratch.write("u.csv.partial", &text);
    call(&scratch, &server, &output).exits(0);
    assert!(scratch.read("u.csv") == text);
    assert_eq!((names(&scratch), server.seen().len()), (vec!["u.csv".to_owned()], 1));
}

#[test]
fn another_snapshot_begins_anew() {
    let text = users();
    let new = text.replace("user1", "USER1");
    let begin = || cut(200, &[NDJSON, TAG], &text[..50_000], text.len());
    let whole = || answer(200, &[NDJSON, "ETag: \"8-abc\""], &new);
    let other = |header: &str| answer(206, &[NDJSON, TAG, header], &text[50_000..]);
    let right = format!("Content-Range: bytes 50000-{}/{}", text.len() - 1, text.len());
    let wrong_place = format!("Content-Range: bytes 49999-{}/{}", text.len() - 1, text.len());
    let wrong_length = format!("Content-Range: bytes 50000-{}/{}", text.len(), text.len() + 1);
    for scripts in [
        vec![begin(), whole()],
        vec![begin(), answer(416, &["Content-Range: bytes */7"], ""), whole()],
        vec![begin(), other(&wrong_place), whole()],
        vec![begin(), other(&wrong_length), whole()],
        vec![begin(), other("X: no range at all"), whole()],
        vec![begin(), answer(206, &[NDJSON, "ETag: \"8-abc\"", &right], &new[50_000..]), whole()],
        // It breaks off, too, and is gone on from by its own tag.
        vec![
            begin(),
            cut(200, &[NDJSON, "ETag: \"8-abc\""], &new[..9], new.len()),
            Box::new({
                let new = new.clone();
                move |seen: &Seen, stream: &mut dyn std::io::Write| {
                    assert_eq!((seen.header("range"), seen.header("if-range")), (Some("bytes=9-"), Some("\"8-abc\"")));
                    let range = format!("Content-Range: bytes 9-{}/{}", new.len() - 1, new.len());
                    answer(206, &[NDJSON, &range], &new[9..])(seen, stream);
                }
            }),
        ],
    ] {
        let (scratch, count) = (scratch(), scripts.len());
        let server = Server::new(scripts);
        call(&scratch, &server, &["-o", "u.ndjson"]).exits(0);
        assert!(scratch.read("u.ndjson") == new);
        assert_eq!((names(&scratch), server.seen().len()), (vec!["u.ndjson".to_owned()], count));
    }
}

#[test]
fn without_an_entity_tag_nothing_is_gone_on_from() {
    let (scratch, text) = (scratch(), users());
    for tag in ["X: no tag", "ETag: W/\"weak\""] {
        let server = Server::new([cut(200, &[CSV, tag], &text[..50_000], text.len())]);
        call(&scratch, &server, &["-o", "u.csv"]).exits(1).says(&["the answer broke off"]);
        assert_eq!((names(&scratch), server.seen().len()), (vec![], 1));
    }
    let server = Server::new([cut(200, &[CSV, TAG], &text[..50_000], text.len())]);
    let run = call(&scratch, &server, &["format=csv"]).exits(1).says(&["the answer broke off"]);
    assert!(run.out == text[..50_000], "standard output has what came");
}

#[test]
fn ctrl_c_leaves_what_came() {
    let (scratch, text) = (scratch(), users());
    let (begun, rest) = (text.clone(), text.clone());
    // The other side of the first connection stays silent until the end of the test.
    let silent: Script = Box::new(move |_, stream| {
        cut(200, &[CSV, TAG], &begun[..50_000], begun.len())(&Seen::default(), stream);
        stream.flush().unwrap();
        std::thread::sleep(Duration::from_secs(3));
    });
    let server = Server::new([silent, part(&rest, None)]);
    let args = ["call", &server.url, "--api-key", "3_a", "--secret-file", "k.secret", "-o", "u.csv"];
    let child = scratch.command(&args).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while fs::metadata(scratch.path("u.csv.partial")).map_or(0, |found| found.len()) < 50_000 {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing came");
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(ended.elapsed() < Duration::from_secs(2), "it waits for no byte of the server");
    assert_eq!(output.status.signal(), Some(signal_hook::consts::SIGINT), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("the same command goes on from there"), "{output:?}");
    scratch.run(&args).exits(0).says(&["going on from byte 50000"]);
    assert!(scratch.read("u.csv") == text);
}

#[test]
fn a_silent_server_is_given_up() {
    let silent = || -> Script { Box::new(|_, _| std::thread::sleep(Duration::from_secs(4))) };
    let scratch = scratch();
    let run = call(&scratch, &Server::new([silent()]), &["--timeout", "1"]).exits(1);
    run.says(&["nothing came from the server for 1 seconds", "hint: --timeout SECONDS waits longer"]);
}

/// A broken pipe is that of standard output: one of the connection is an error like others, and says so.
#[test]
fn a_server_that_closes_the_connection_is_named() {
    let tries = 12;
    let scripts = (0..2 * tries).map(|_| raw(""));
    let (scratch, server) = (scratch(), Server::with(scripts, |stream, _, _| drop(stream)));
    for args in [&["limit=10"][..], &["-o", "u.csv"]] {
        for _ in 0..tries {
            let run = call(&scratch, &server, args).exits(1).says(&["error: "]);
            assert_eq!((run.out.as_str(), names(&scratch)), ("", Vec::new()), "{}", run.err);
        }
    }
}

#[test]
fn a_link_is_followed_whether_or_not_there_is_something() {
    let csv = || answer(200, &[CSV, TAG], "uid,provider,providerUID\r\n");
    let (scratch, server) = (scratch(), Server::new([csv(), csv()]));
    std::os::unix::fs::symlink("u.csv", scratch.path("link")).unwrap();
    for _ in 0..2 {
        call(&scratch, &server, &["-o", "link", "format=csv"]).exits(0);
        assert!(scratch.path("link").is_symlink());
        assert_eq!((scratch.read("u.csv").lines().count(), names(&scratch).len()), (1, 2));
    }
}

#[test]
fn a_manifest_of_the_file_before_goes() {
    let scratch = scratch();
    scratch.store("10");
    scratch.run(&["export", "s", "-o", "u.csv", "--manifest"]).exits(0);
    let server = Server::new([answer(200, &[CSV, TAG], "uid,provider,providerUID\r\n")]);
    call(&scratch, &server, &["-o", "u.csv"]).exits(0);
    assert_eq!(scratch.read("u.csv"), "uid,provider,providerUID\r\n");
    assert!(!scratch.path("u.csv.manifest.json").exists());
}

#[test]
fn https_by_a_private_authority() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![certified.cert.der().clone()], key).unwrap());
    let serve = move |stream: std::net::TcpStream, script: Script, seen: &Mutex<Vec<Seen>>| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = rustls::StreamOwned::new(connection, stream);
        if let Some(request) = Seen::read(&mut tls) {
            seen.lock().unwrap().push(request.clone());
            script(&request, &mut tls);
            tls.conn.send_close_notify();
            let _gone = tls.flush();
            let _rest = tls.sock.read(&mut [0]);
        }
    };
    let server = Server::with([answer(200, &[JSON], WHOLE), answer(200, &[JSON], WHOLE)], serve);
    let scratch = scratch();
    scratch.write("ca.pem", certified.cert.pem());
    let url = server.url.replace("http://", "https://");
    let args = ["call", &url, "--api-key", "3_a", "--secret-file", "k.secret", "--ca-file", "ca.pem"];
    assert_eq!(scratch.run(&args).exits(0).out, WHOLE);
    assert_signed(&server.seen()[0], &format!("{url}/socialize.exportUsers"));
    // What the public does not trust is not trusted, and there is no way round it.
    let run = scratch.run(&args[..6]).exits(1).says(&["cannot reach 127.0.0.1:", "certificate", "hint: --ca-file"]);
    assert_eq!((run.out.as_str(), server.seen().len()), ("", 1));
    scratch.run(&["call", &url, "--insecure"]).exits(2);
}
