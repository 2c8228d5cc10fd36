//! Commands over a store that is served: the hint does what was asked for, or says that no call does.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that fails panics")]

mod common;
#[path = "common/served.rs"]
mod served;

use std::path::Path;
use std::process::Command;

use common::{Run, Scratch};
use rustix::process::Signal;
use served::Served;

const USERS: &str = "{\"UID\":\"a\",\"identities\":[{\"provider\":\"google\",\"providerUID\":\"1\"}]}\n\
                     {\"UID\":\"b b\",\"identities\":[{\"provider\":\"apple\",\"providerUID\":\"it's \\\"2\\\"\"},{\"provider\":\"github\",\"providerUID\":\"1\"}]}\n\
                     {\"UID\":\"c\",\"status\":\"pending\",\"identities\":[{\"provider\":\"github\",\"providerUID\":\"3\"}]}\n";

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.run_with(&["import", "s", "-"], "{\"UID\":\"gone\",\"identities\":[]}\n").exits(0);
    scratch.run_with(&["put", "s"], USERS).exits(0);
    scratch.run(&["delete", "s", "gone"]).exits(0);
    scratch
}

const LISTEN: [&str; 3] = ["s", "--listen", "127.0.0.1:0"];

/// The hint of a command that the server keeps from the store.
#[track_caller]
fn hint(scratch: &Scratch, served: &Served, args: &[&str]) -> String {
    let run = scratch.run(args).exits(1);
    let hint = run.err.lines().find_map(|line| line.strip_prefix("hint: ")).map(str::to_owned);
    let hint = hint.unwrap_or_else(|| panic!("no hint: {}", run.err));
    let begin = format!("process {} serves it at {}", served.pid(), served.url);
    assert!(hint.starts_with(&begin), "{hint}");
    hint
}

/// Runs the command of a hint, in the scratch directory.
#[track_caller]
fn follow(scratch: &Scratch, hint: &str) -> Run {
    let (_, line) = hint.split_once(": ").unwrap();
    let line = line.split_once(" (").map_or(line, |(line, _)| line);
    let bin = Path::new(env!("CARGO_BIN_EXE_headcount")).parent().unwrap().to_path_buf();
    let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())));
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", line]).current_dir(scratch.path("")).env("PATH", path.unwrap());
    Run::from(bash.output().unwrap())
}

fn lines(text: &str) -> Vec<serde_json::Value> {
    let line = |line: &str| {
        let mut object: serde_json::Value = serde_json::from_str(line).unwrap();
        // A command that prints users leaves out that one is registered.
        if object["status"] == "registered" {
            object.as_object_mut().unwrap().remove("status");
        }
        object
    };
    text.lines().filter(|line| !line.is_empty()).map(line).collect()
}

#[test]
fn the_call_of_a_hint_gives_what_the_command_would() {
    let scratch = scratch();
    let direct = |args: &[&str]| scratch.run(args).exits(0).out;
    let changes = direct(&["changes", "s", "--since", "1"]);
    let changed_csv = direct(&["changes", "s", "--since", "1", "--format", "csv"]);
    let found = direct(&["find", "s", "apple", "it's \"2\""]);
    let found_pending = direct(&["find", "s", "github", "3"]);
    let exports: [&[&str]; 4] = [
        &["export", "s", "--format", "ndjson", "--include-pending", "--fields", "uid,status"],
        &["export", "s", "--format", "csv", "--limit", "1", "--after", "a"],
        &["export", "s", "--format", "csv", "--since", "0", "--include-pending"],
        &["export", "s", "--format", "ndjson", "-o", "-"],
    ];
    let exported: Vec<_> = exports.iter().map(|args| direct(args)).collect();
    direct(&["export", "s", "-o", "direct.csv", "--fields", "provider,uid"]);
    let served = Served::start(&scratch, &LISTEN);
    let hint = |args: &[&str]| hint(&scratch, &served, args);

    for (args, expected) in exports.iter().zip(exported) {
        let hint = hint(args);
        assert_eq!(follow(&scratch, &hint).exits(0).out, expected, "{hint}");
    }
    follow(&scratch, &hint(&["export", "s", "-o", "asked.csv", "--fields", "provider,uid"])).exits(0);
    assert_eq!(scratch.read("asked.csv"), scratch.read("direct.csv"));

    // Pending users too, and as such; what `changes` says at its end, a call with a file does.
    let run = follow(&scratch, &hint(&["changes", "s", "--since", "1"])).exits(0);
    let mut expected = lines(&changes);
    let seq = expected.pop().unwrap()["seq"].clone();
    assert_eq!(lines(&scratch.read("FILE")), expected, "{changes}");
    assert!(run.err.contains(&format!("seq {seq}")), "{}", run.err);
    follow(&scratch, &hint(&["changes", "s", "--since", "1", "--format", "csv"])).exits(0);
    let asked = scratch.read("FILE");
    let deleted = |text: &str, mark: &str| text.lines().filter(|line| line.contains(mark)).count();
    assert_eq!((deleted(&changed_csv, ",true"), deleted(&asked, "delete")), (1, 1), "{asked}");
    assert_eq!(asked.lines().count(), changed_csv.lines().count(), "{asked}");

    let find = hint(&["find", "s", "apple", "it's \"2\""]);
    assert!(find.contains("no call finds a user by an identity"), "{find}");
    assert_eq!(lines(&follow(&scratch, &find).exits(0).out), lines(&found));
    assert_eq!(lines(&follow(&scratch, &hint(&["find", "s", "github", "3"])).exits(0).out), lines(&found_pending));

    let one = lines(&follow(&scratch, &hint(&["get", "s", "b b"])).exits(0).out);
    assert_eq!((one.len(), one[0]["UID"].as_str()), (1, Some("b b")));
    let uids = |objects: &[serde_json::Value]| -> Vec<_> { objects.iter().map(|o| o["UID"].clone()).collect() };
    let all = follow(&scratch, &hint(&["get", "s", "c", "a", "b b"])).exits(0);
    assert_eq!(uids(&lines(&all.out)), ["c", "a", "b b"]);
}

#[test]
fn what_no_call_does_is_said() {
    let scratch = scratch();
    let served = Served::start(&scratch, &LISTEN);
    let stop = format!("stop it: kill {}", served.pid());
    let says = |args: &[&str], parts: &[&str]| {
        let hint = hint(&scratch, &served, args);
        for part in parts {
            assert!(hint.contains(part), "{part:?} is not in: {hint}");
        }
        assert!(!hint.contains("wait for"), "{hint}");
    };
    scratch.write("new.ndjson", USERS);
    for args in [
        &["verify", "s"][..],
        &["salvage", "s", "t"],
        &["backup", "s", "t"],
        &["stats", "s"],
        &["compact", "s"],
        &["import", "s", "new.ndjson"],
        &["delete", "s", "a"],
        &["export", "s", "--format", "auth0", "-o", "a.json"],
        &["serve", "s", "--listen", "127.0.0.1:0"],
        &["serve", "--config", "s.keys.toml"],
    ] {
        says(args, &[&stop]);
    }
    let options = ["--manifest", "--time", "2015-03-22T11:42:25.943Z"];
    says(
        &[&["export", "s", "-o", "u.csv"], &options[..]].concat(),
        &["-o u.csv", "(without --time, --manifest", &stop],
    );
    says(&["export", "s", "-o", "u.csv", "--csv-formula-guard"], &["(without --csv-formula-guard", &stop]);
    says(&["export", "s", "-o", "u.csv.gz"], &["format=csv", "-o u.csv ", "(without --compress", &stop]);
    let many: Vec<String> = (0..100).map(|n| format!("u{n}")).collect();
    let many: Vec<&str> = ["get", "s"].into_iter().chain(many.iter().map(String::as_str)).collect();
    says(&many, &["for uid in UID…; do headcount call ", "UID=\"$uid\""]);
}

#[test]
fn an_export_is_resumed_in_the_store_alone() {
    let scratch = Scratch::new();
    scratch.store("20000");
    // A limit on file sizes breaks the export off.
    let script = "trap '' XFSZ; ulimit -f 600; exec \"$0\" export s -o u.csv 2> broken";
    let mut sh = Command::new("sh");
    sh.args(["-c", script, env!("CARGO_BIN_EXE_headcount")]).current_dir(scratch.path(""));
    assert_eq!(sh.status().unwrap().code(), Some(1), "{}", scratch.read("broken"));
    let served = Served::start(&scratch, &LISTEN);
    let hint = hint(&scratch, &served, &["export", "s", "--resume", "u.csv"]);
    assert!(!hint.contains("headcount call"), "{hint}");
    assert!(hint.ends_with(&format!("stop it: kill {}", served.pid())), "{hint}");
}

#[test]
fn hints_name_the_secret_that_there_is_after_a_reload() {
    let scratch = scratch();
    let served = Served::start(&scratch, &LISTEN);
    let key = |args: &[&str]| {
        scratch.run(&[&["site"], args, &["--config", "s.keys.toml", "--json"]].concat()).exits(0).json()
    };
    let site = key(&["list"])["sites"][0].clone();
    let (api_key, old) = (site["apiKey"].as_str().unwrap(), site["secrets"][0]["file"].as_str().unwrap());
    let reload = |times: usize| {
        served.signal(Signal::HUP);
        for _ in 0..6000 {
            if served.said().matches("the configuration was read anew").count() == times {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{}", served.said());
    };
    let rotated = key(&["key-add", "--site", api_key, "--rotate"]);
    let new = rotated["secretFile"].as_str().unwrap();
    reload(1);
    key(&["key-revoke", "--site", api_key, "--secret", old]);
    reload(2);
    let hint = hint(&scratch, &served, &["get", "s", "a"]);
    assert!(hint.contains(&format!("--secret-file {new} ")), "{hint}");
    follow(&scratch, &hint).exits(0);
    assert!(scratch.names().contains(&"s.serving".to_owned()));
    drop(served);
    assert!(!scratch.names().contains(&"s.serving".to_owned()));
}
