//! The examples of `docs/API.md`, run by a shell against a real server.
//!
//! `UPDATE_EXAMPLES=1` writes what they print into the page.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that fails panics")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::Scratch;

/// A server, until this is dropped.
struct Server {
    process: Child,
    urls: Vec<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.process.wait().unwrap();
    }
}

fn serve(scratch: &Scratch) -> Server {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(scratch.path("cert.pem"), made.cert.pem()).unwrap();
    fs::write(scratch.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let config = scratch.path("headcount.toml");
    scratch.run(&["quickstart", "site.hc"]).exits(0);
    let site = ["site", "create", "--config", "headcount.toml", "--store", "site.hc", "--api-key", "3_example"];
    scratch.run(&site).exits(0);
    let listeners = "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n\
                     [[listen]]\naddress = \"127.0.0.1:0\"\nplain_http = true\n";
    let text = fs::read_to_string(&config).unwrap();
    let (_, sites) = text.split_at(text.find("[[site]]").unwrap());
    fs::write(&config, format!("{listeners}\n{sites}")).unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_headcount"))
        .args(["serve", "--log-level", "error", "--config"])
        .arg(&config)
        .arg("--audit-log")
        .arg(scratch.path("audit.log"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut urls = Vec::new();
    for line in BufReader::new(process.stderr.take().unwrap()).lines().map(Result::unwrap) {
        urls.extend(line.strip_prefix("serving ").map(|url| url.replace("127.0.0.1", "localhost")));
        if urls.len() == 2 {
            break;
        }
    }
    assert_eq!(urls.len(), 2, "it does not serve");
    Server { process, urls }
}

/// What stands between the quotes after `key` is left out.
fn elide(text: &str, key: &str) -> String {
    let marker = format!("\"{key}\":\"");
    let mut parts = text.split(&marker);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, rest) = part.split_once('"').unwrap_or(("", part));
        out.push_str(&marker);
        out.push('…');
        out.push('"');
        out.push_str(rest);
    }
    out
}

fn run(server: &Server, scratch: &Scratch, script: &str) -> String {
    let secret = fs::read_dir(scratch.path("")).unwrap().map(|entry| entry.unwrap().path());
    let secret: PathBuf = secret.into_iter().find(|path| path.extension().is_some_and(|e| e == "secret")).unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_headcount")).parent().unwrap().to_path_buf();
    let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())));
    let auth = format!("--data-urlencode apiKey=3_example --data-urlencode secret@{}", secret.display());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(scratch.path(""))
        .env("PATH", path.unwrap())
        .env("CURL_CA_BUNDLE", scratch.path("cert.pem"))
        .env("no_proxy", "*")
        .env("URL", &server.urls[0])
        .env("HTTP", &server.urls[1])
        .env("API_KEY", "3_example")
        .env("SECRET_FILE", &secret)
        .env("AUTH", auth)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{script}\n{said}{}", String::from_utf8_lossy(&output.stderr));
    let said = ["callId", "time"].iter().fold(said.replace('\r', ""), |text, key| elide(&text, key));
    if said.ends_with('\n') { said } else { format!("{said}\n") }
}

#[test]
fn every_example_prints_what_the_page_says() {
    if let Err(error) = Command::new("curl").arg("--version").output() {
        eprintln!("SKIPPED: curl cannot be run ({error}), so the examples of docs/API.md were not tried");
        return;
    }
    let page_path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/API.md");
    let page = fs::read_to_string(&page_path).unwrap();
    let (before, examples) = page.split_at(page.find("## 6. Examples").unwrap());
    let scratch = Scratch::new();
    let server = serve(&scratch);
    let mut pieces = examples.split("```sh\n");
    let mut new = pieces.next().unwrap().to_owned();
    let mut count = 0;
    for piece in pieces {
        let (script, rest) = piece.split_once("```\n\n```text\n").expect("each example is followed by what it prints");
        let (expected, rest) = rest.split_once("```\n").unwrap();
        let said = run(&server, &scratch, script);
        if std::env::var_os("UPDATE_EXAMPLES").is_none() {
            assert_eq!(said, expected, "{script}");
        }
        new.push_str(&format!("```sh\n{script}```\n\n```text\n{said}```\n{rest}"));
        count += 1;
    }
    assert!(count >= 20, "{count} examples");
    if std::env::var_os("UPDATE_EXAMPLES").is_some() {
        fs::write(&page_path, format!("{before}{new}")).unwrap();
    }
}
