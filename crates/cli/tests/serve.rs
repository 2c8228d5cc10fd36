//! `headcount serve`: what it says when something that it writes cannot be written, and what it leaves.

#![expect(clippy::unwrap_used, reason = "functions of tests, which clippy cannot see in a program of tests")]

mod common;
#[path = "common/served.rs"]
mod served;

use std::fs;
use std::net::TcpListener;

use common::{Run, Scratch};
use served::Served;

const TWO: &str = "{\"UID\":\"a\",\"identities\":[]}\n{\"UID\":\"b\",\"identities\":[]}\n";

/// A store of two users, and the configuration `hc.toml` with one site `3_a`.
fn scratch(more: &str) -> Scratch {
    let scratch = Scratch::new();
    scratch.run_with(&["import", "s", "-"], TWO).exits(0);
    scratch.run(&["site", "create", "--config", "hc.toml", "--store", "s", "--api-key", "3_a"]).exits(0);
    let text = scratch.read("hc.toml");
    let (_, sites) = text.split_at(text.find("[[site]]").unwrap());
    let listen = "[[listen]]\naddress = \"127.0.0.1:0\"\ninsecure_loopback = true\n";
    scratch.write("hc.toml", format!("{more}\n{listen}\n{sites}"));
    scratch
}

fn call(scratch: &Scratch, served: &Served, args: &[&str]) -> Run {
    scratch.run(&[&["call", &served.url, "--api-key", "3_a", "--secret-file", "3_a.secret"], args].concat())
}

/// As with a directory that the service may not write to: root may write to all of them, but not to one that is not there.
#[test]
fn a_token_that_cannot_be_kept_is_said_with_its_file_and_the_cause() {
    let scratch = scratch("tokens = \"none/hc.tokens\"");
    let served = Served::start(&scratch, &["--config", "hc.toml", "--log-level", "error"]);
    let file = fs::canonicalize(scratch.path(".")).unwrap().join("none/hc.tokens").display().to_string();
    served.wait_for("getToken will fail");
    let said = served.said();
    assert!(said.contains(&file) && said.contains("No such file or directory"), "{said}");
    call(&scratch, &served, &["getToken", "grant_type=none"]).exits(1).says(&["500001", "no token could be kept"]);
    served.wait_for("a token cannot be kept");
    let line = served.said().lines().find(|line| line.contains("a token cannot be kept")).unwrap().to_owned();
    assert!(line.contains(&file) && line.contains("No such file or directory"), "{line}");
    // Nobody else is concerned.
    assert_eq!(call(&scratch, &served, &["format=csv", "fields=uid"]).exits(0).out, "uid\r\na\r\nb\r\n");
}

#[test]
fn a_file_of_tokens_that_can_be_written_is_not_made_before_there_is_one() {
    let scratch = scratch("");
    let served = Served::start(&scratch, &["--config", "hc.toml"]);
    assert!(!served.said().contains("ERROR"), "{}", served.said());
    assert!(scratch.names().iter().all(|name| !name.starts_with("hc.tokens") || name.contains(".nonces")));
    call(&scratch, &served, &["getToken", "grant_type=none"]).exits(0);
    assert!(scratch.path("hc.tokens").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn an_audit_line_that_cannot_be_written_is_in_the_log() {
    let scratch = scratch("");
    let served = Served::start(
        &scratch,
        &["--config", "hc.toml", "--log-level", "error", "--log-format", "json", "--audit-log", "/dev/full"],
    );
    for _ in 0..3 {
        assert_eq!(call(&scratch, &served, &["format=csv", "fields=uid"]).exits(0).out, "uid\r\na\r\nb\r\n");
    }
    let lines = || -> Vec<serde_json::Value> {
        let said = served.said();
        said.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    served.wait_for("cannot be written");
    let audits = || lines().iter().filter(|line| line["outcome"] == "whole" && line["apiKey"] == "3_a").count();
    for _ in 0..1000 {
        if audits() == 3 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(audits(), 3, "{}", served.said());
    // That the file is full is said once.
    let errors: Vec<_> = lines().into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0]["path"], "/dev/full");
    assert!(errors[0]["error"].as_str().unwrap().contains("No space left"), "{errors:?}");
}

#[test]
fn a_first_start_that_fails_leaves_no_keys() {
    let scratch = Scratch::new();
    scratch.run_with(&["import", "s", "-"], TWO).exits(0);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let keys = || scratch.names().into_iter().filter(|name| name.ends_with(".secret") || name.ends_with(".toml"));
    scratch.run(&["serve", "s", "--listen", &address]).exits(1).says(&["cannot listen on ", &address]);
    assert_eq!(keys().count(), 0, "{:?}", scratch.names());
    drop(taken);
    let served = Served::start(&scratch, &["s", "--listen", &address]);
    served.wait_for("s.keys.toml, which names the key, and ");
    assert_eq!(keys().count(), 2, "{:?}", scratch.names());
    drop(served);
    // What an earlier start made stays.
    let _taken = TcpListener::bind(&address).unwrap();
    scratch.run(&["serve", "s", "--listen", &address]).exits(1).says(&["cannot listen on "]);
    assert_eq!(keys().count(), 2, "{:?}", scratch.names());
}
