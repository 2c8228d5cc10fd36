//! `headcount export --resume` and `--manifest`: killed exports go on, and what was written can be proved.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::process::{Command, Stdio};

use common::Scratch;

const FILE_LEFT: [&str; 2] = ["out.partial", "out.partial.json"];

/// Starts an export to `out` and kills it once it has written something; false when it was faster.
fn kill_in_the_middle(scratch: &Scratch, args: &[&str]) -> bool {
    // What an attempt that was faster left stays beside what the next one leaves.
    for name in ["out", "out.manifest.json"] {
        let _ = fs::remove_file(scratch.path(name));
    }
    let mut child = scratch.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let partial = scratch.path("out.partial");
    loop {
        let written = fs::metadata(&partial).is_ok_and(|m| m.len() > 0);
        let ended = child.try_wait().unwrap().is_some();
        if ended {
            return false;
        }
        if written {
            child.kill().unwrap();
            child.wait().unwrap();
            return partial.exists();
        }
    }
}

#[test]
fn a_killed_export_is_resumed_with_the_same_bytes() {
    let scratch = Scratch::new();
    scratch.store("100000");
    for format in ["json", "csv", "ndjson"] {
        let begin = ["export", "s", "-o", "out", "--format", format, "--manifest", "--threads", "1"];
        scratch.run(&[&begin[..3], &["whole"], &begin[4..]].concat()).exits(0);
        let caught = (0..50).find(|_| kill_in_the_middle(&scratch, &begin));
        assert!(caught.is_some(), "no export could be killed in the middle");
        for left in FILE_LEFT {
            assert!(scratch.path(left).exists(), "{left} stays");
        }
        assert!(!scratch.path("out.manifest.json").exists());
        let run = scratch.run(&["export", "s", "--resume", "out"]).exits(0).says(&["exported 9", "blake3 "]);
        assert!(!run.err.contains("deleted"), "{}", run.err);
        assert!(scratch.read("out") == scratch.read("whole"), "{format}");
        let manifest = scratch.read("out.manifest.json");
        assert_eq!(manifest.replace("\"out\"", "\"whole\""), scratch.read("whole.manifest.json"));
        assert!(FILE_LEFT.iter().all(|left| !scratch.path(left).exists()));
        for name in ["out", "out.manifest.json"] {
            fs::remove_file(scratch.path(name)).unwrap();
        }
    }
}

#[test]
fn a_store_that_went_on_and_other_options_are_refused() {
    let scratch = Scratch::new();
    scratch.store("20000");
    // A limit on file sizes breaks the export off.
    let limited = |args: &str| {
        let script = format!("trap '' XFSZ; ulimit -f 600; exec \"$0\" {args}");
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_headcount"));
        let output = command.current_dir(scratch.path(".")).output().unwrap();
        common::Run::from(output)
    };
    limited("export s -o out --format csv --limit 19000").exits(1).says(&[
        "out.partial",
        "--resume out",
        "what was written stays",
    ]);
    let left = fs::read(scratch.path("out.partial")).unwrap();
    assert!(!left.is_empty());
    let refused = |args: &[&str]| scratch.run(&[&["export", "s", "--resume", "out"], args].concat()).exits(2);
    refused(&["--format", "json"]).says(&["--format json (was csv)", "needs no other options"]);
    refused(&["--limit", "3", "--include-pending", "--since", "2"]).says(&["--include-pending"]);
    refused(&["--limit", "3", "--include-pending", "-o", "in"]).says(&[
        "--limit 3 (was 19000)",
        "--include-pending (was not given)",
        "--output in (was out)",
    ]);
    refused(&["--manifest", "--digest", "sha256"]).says(&["--digest sha256 (was not given)"]);
    scratch.run(&["export", "s", "--resume", "other"]).exits(1).says(&["nothing to resume", "other.partial"]);
    scratch.run(&["export", "s", "--resume", "/dev/null"]).exits(1).says(&["no regular file"]);
    scratch.run(&["export", "s", "--manifest"]).exits(2).says(&["-o FILE"]);
    scratch.run(&["export", "s", "-o", "/dev/null", "--manifest"]).exits(2).says(&["regular file"]);

    scratch.run_with(&["put", "s", "-"], "{\"UID\":\"new\",\"identities\":[]}\n").exits(0);
    let went_on = scratch.run(&["export", "s", "--resume", "out"]).exits(1);
    went_on.says(&["the store went on", "seq 1", "seq 2", "start anew"]);
    scratch.run(&["import", "t", "users.ndjson"]).exits(0);
    scratch.run(&["export", "t", "--resume", "out"]).exits(1).says(&["is of store"]);
    assert_eq!(fs::read(scratch.path("out.partial")).unwrap(), left, "refusals change nothing");
    // The same options, said again, contradict nothing; a new export starts anew.
    scratch.run(&["export", "s", "-o", "out", "--format", "ndjson"]).exits(0);
    assert!(FILE_LEFT.iter().all(|left| !scratch.path(left).exists()));
    assert!(scratch.read("out").starts_with("{\"UID\""));
}

#[test]
fn what_was_asked_for_before_may_be_said_again() {
    let scratch = Scratch::new();
    scratch.store("20000");
    let begin = ["export", "s", "-o", "out", "--format", "csv", "--manifest", "--digest", "sha256", "--threads", "1"];
    let caught = (0..50).find(|_| kill_in_the_middle(&scratch, &begin));
    assert!(caught.is_some(), "no export could be killed in the middle");
    let run = scratch.run(&[&begin[..], &["--resume", "out", "--json"]].concat()).exits(0).json();
    assert_eq!(run["digestAlgorithm"], "sha256");
    let manifest: serde_json::Value = serde_json::from_str(&scratch.read("out.manifest.json")).unwrap();
    for name in ["users", "identities", "bytes", "seq", "firstUid", "lastUid", "digestAlgorithm"] {
        assert_eq!(manifest[name], run[name], "{name}");
    }
    assert_eq!(manifest["files"][0]["digest"], run["digest"]);
    // As the standard tool has it.
    if let Ok(output) = Command::new("sha256sum").arg(scratch.path("out")).output() {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(run["digest"].as_str().unwrap()), "{text}");
    }
    // A file that replaces another without a manifest voids that one's; what is none of ours stays.
    scratch.run(&["export", "s", "-o", "out"]).exits(0);
    assert!(!scratch.path("out.manifest.json").exists());
    scratch.write("out.manifest.json", "{\"manifest_version\":3,\"name\":\"a web app\"}");
    scratch.run(&["export", "s", "-o", "out"]).exits(0);
    assert!(scratch.path("out.manifest.json").exists());
}
