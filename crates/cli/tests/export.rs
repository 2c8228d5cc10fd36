//! `headcount export`: formats, options, destinations, and the way there and back.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use common::{Run, Scratch, names};

const CALL: &str = "0123456789abcdef0123456789abcdef";
const TIME: &str = "2015-03-22T11:42:25.943Z";

#[test]
fn import_export_import_export_gives_the_same_bytes() {
    let scratch = Scratch::new();
    let mix = ["--pending-percent", "30", "--bare-percent", "30", "--escape-percent", "10", "--unicode-percent", "10"];
    scratch.run(&[&["generate", "--users", "20000", "-o", "u.ndjson"], &mix[..]].concat()).exits(0);
    scratch.run(&["import", "s", "u.ndjson"]).exits(0);
    let whole = ["--include-pending", "--fields", "uid,provider,providerUID,status", "--call-id", CALL, "--time", TIME];
    for name in ["json", "csv", "ndjson"] {
        let (first, second, store) = (format!("1.{name}"), format!("2.{name}"), format!("again-{name}"));
        scratch.run(&[&["export", "s", "-o", &first], &whole[..]].concat()).exits(0);
        scratch.run(&["import", &store, &first]).exits(0).says(&["imported 20,000 users"]);
        scratch.run(&[&["export", &store, "-o", &second], &whole[..]].concat()).exits(0);
        assert!(scratch.read(&first) == scratch.read(&second), "{name} differs");
        let to_stdout = scratch.run(&[&["export", "s", "--format", name], &whole[..]].concat()).exits(0);
        assert!(to_stdout.out == scratch.read(&first), "{name} differs on standard output");
        assert_eq!(scratch.read(&first).contains(CALL), name == "json");
    }
}

#[test]
fn counts_agree_with_stats() {
    let scratch = Scratch::new();
    scratch.store("5000");
    let stats = scratch.run(&["stats", "s", "--json"]).exits(0).json();
    let run = scratch.run(&["export", "s", "-o", "all.json", "--include-pending", "--json"]).exits(0);
    let summary = run.json();
    let json: serde_json::Value = serde_json::from_str(&scratch.read("all.json")).unwrap();
    assert_eq!(stats["users"], 5000);
    for (a, b) in [("users", "usersCount"), ("identities", "identitiesCount")] {
        assert_eq!(summary[a], json[b]);
        assert_eq!(summary[a], stats[a]);
    }
    assert_eq!(summary["bytes"], scratch.read("all.json").len());
    let registered = scratch.run(&["export", "s", "--json"]).exits(0);
    let summary: serde_json::Value = serde_json::from_str(&registered.err).unwrap();
    assert_eq!(summary["users"], stats["registered"]);
    assert_eq!(registered.json()["usersCount"], stats["registered"]);
}

#[test]
fn pending_users_that_are_left_out_are_counted() {
    const TEXT: &str = " pending users were left out: --include-pending writes them too";
    let scratch = Scratch::new();
    let mix = ["--pending-percent", "30", "--bare-percent", "100"];
    scratch.run(&[&["generate", "--users", "2000", "-o", "u.ndjson"], &mix[..]].concat()).exits(0);
    scratch.run(&["import", "s", "u.ndjson"]).exits(0);
    let pending = scratch.run(&["stats", "s", "--json"]).exits(0).json()["pending"].clone();
    for more in [&["-o", "f"][..], &[], &["--format", "keycloak"], &["--format", "firebase", "-o", "f"]] {
        scratch.run(&[&["export", "s"], more].concat()).exits(0).says(&[&format!("  {pending}{TEXT}")]);
        let run = scratch.run(&[&["export", "s", "--include-pending"], more].concat());
        assert!(!run.err.contains(TEXT), "{}", run.err);
    }
    for format in ["json", "keycloak"] {
        let summary = scratch.run(&["export", "s", "--format", format, "-o", "f", "--json"]).exits(0).json();
        assert_eq!(summary["pendingLeftOut"], pending);
    }
    // How many a page leaves out nobody has counted, and changes list them.
    for more in [&["--limit", "5"][..], &["--after", "a"], &["--since", "0"], &["--quiet"]] {
        let run = scratch.run(&[&["export", "s", "-o", "f"], more].concat()).exits(0);
        assert!(!run.err.contains(TEXT), "{}", run.err);
        let run = scratch.run(&[&["export", "s", "-o", "f", "--json"], more].concat()).exits(0);
        assert_eq!(run.json().get("pendingLeftOut").is_some(), more == ["--quiet"]);
    }
}

#[test]
fn the_format_follows_the_extension_unless_given() {
    let scratch = Scratch::new();
    scratch.store("10");
    for (name, start) in [
        ("a.json", "{\"users\":["),
        ("a.csv", "uid,provider,providerUID\r\n"),
        ("a.ndjson", "{\"UID\":"),
        ("a.JSONL", "{\"UID\":"),
        ("a.txt", "{\"users\":["),
        ("a", "{\"users\":["),
    ] {
        scratch.run(&["export", "s", "-o", name]).exits(0).says(&[
            "exported ",
            " users, ",
            " identities, ",
            " users/s",
        ]);
        assert!(scratch.read(name).starts_with(start), "{name}");
    }
    scratch.run(&["export", "s", "-o", "a.json", "--format", "csv"]).exits(0);
    assert!(scratch.read("a.json").starts_with("uid,"));
    let dash = scratch.run(&["export", "s", "-o", "-", "--format", "csv"]).exits(0);
    assert_eq!(dash.out, scratch.read("a.json"));
}

#[test]
fn pages_put_together_are_the_whole() {
    let scratch = Scratch::new();
    scratch.store("100");
    let all = scratch.run(&["export", "s", "--format", "ndjson", "--include-pending"]).exits(0).out;
    let mut paged = String::new();
    let mut after = String::new();
    loop {
        let args =
            ["export", "s", "--format", "ndjson", "--include-pending", "--limit", "7", "--after", &after, "--json"];
        let run = scratch.run(if after.is_empty() { &args[..7] } else { &args }).exits(0);
        assert!(run.out.lines().count() <= 7);
        let Some(last) = run.out.lines().last() else { break };
        after = serde_json::from_str::<serde_json::Value>(last).unwrap()["UID"].as_str().unwrap().to_owned();
        paged.push_str(&run.out);
    }
    assert_eq!(paged, all);
    assert_eq!(scratch.run(&["export", "s", "--limit", "0"]).exits(0).json()["usersCount"], 0);
}

#[test]
fn fields_and_the_formula_guard() {
    let scratch = Scratch::new();
    let user = "{\"UID\":\"=1+1\",\"identities\":[{\"provider\":\"site\",\"providerUID\":\"@x\"}]}";
    scratch.run_with(&["import", "s", "-"], user).exits(0);
    let csv = |args: &[&str]| scratch.run(&[&["export", "s", "--format", "csv"], args].concat()).exits(0).out;
    assert_eq!(csv(&[]), "uid,provider,providerUID\r\n=1+1,site,@x\r\n");
    assert_eq!(csv(&["--fields", "Status, UID"]), "status,uid\r\nregistered,=1+1\r\n");
    assert_eq!(csv(&["--csv-formula-guard"]), "uid,provider,providerUID\r\n'=1+1,site,'@x\r\n");
    scratch.run(&["export", "s", "--csv-formula-guard"]).exits(2).says(&["--format csv"]);
}

#[test]
fn a_file_is_replaced_only_by_a_whole_export() {
    let scratch = Scratch::new();
    scratch.store("1000");
    fs::create_dir(scratch.path("out")).unwrap();
    scratch.write("out/users.json", "old");
    symlink("users.json", scratch.path("out/link.json")).unwrap();
    scratch.run(&["export", "s", "-o", "out/link.json", "--fsync", "--threads", "1"]).exits(0);
    assert!(scratch.path("out/link.json").is_symlink());
    assert!(scratch.read("out/users.json").ends_with('}'));
    assert_eq!(names(&scratch.path("out")), ["link.json", "users.json"]);
    scratch.run(&["export", "s", "-o", "nowhere/users.json"]).exits(1).says(&["nowhere/users.json"]);
    scratch.run(&["export", "s", "-o", "out"]).exits(1).says(&["out"]);
    scratch.run(&["export", "s", "-o", "/dev/full"]).exits(1).says(&["/dev/full"]);
    scratch.run(&["export", "s", "-o", "/dev/null"]).exits(0);
    assert_eq!(names(&scratch.path("out")), ["link.json", "users.json"]);
}

/// What is written in place is half done then.
#[test]
fn a_full_disk_behind_standard_output_is_not_called_clean() {
    let scratch = Scratch::new();
    scratch.store("1000");
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = Run::from(scratch.command(&["export", "s"]).stdout(full()).stderr(Stdio::piped()).output().unwrap());
    let run = run.exits(1).says(&["standard output", "make room"]);
    assert!(!run.err.contains("half done"), "{}", run.err);
    let run = scratch.run(&["export", "s", "-o", "/dev/full"]).exits(1).says(&["/dev/full", "make room"]);
    assert!(!run.err.contains("half done"), "{}", run.err);
}

#[test]
fn the_same_store_gives_the_same_bytes() {
    let scratch = Scratch::new();
    scratch.store("3000");
    let one = scratch.run(&["export", "s", "--threads", "1"]).exits(0).out;
    let four = scratch.run(&["export", "s", "--threads", "4"]).exits(0).out;
    assert!(one == four);
    let limited = scratch.run(&["export", "s", "--limit", "10"]).exits(0).json();
    let whole: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert_ne!(limited["callId"], whole["callId"]);
    assert_eq!(limited["time"], whole["time"]);
}
