//! `headcount check`: by a manifest, without one, and what it says and ends with.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;

use common::Scratch;

#[test]
fn by_its_manifest_a_file_is_whole_and_unchanged_or_not() {
    let scratch = Scratch::new();
    scratch.store("3000");
    for name in ["a.json", "a.csv", "a.ndjson"] {
        let summary = scratch.run(&["export", "s", "-o", name, "--manifest", "--json"]).exits(0).json();
        let run = scratch.run(&["check", name]).exits(0);
        assert!(run.out.starts_with("whole and unchanged: "), "{}", run.out);
        assert!(
            run.out.contains(summary["digest"].as_str().unwrap()) && !run.out.contains("not checked"),
            "{}",
            run.out
        );
        let report = scratch.run(&["check", name, "--json"]).exits(0).json();
        for key in ["users", "identities", "bytes", "firstUid", "lastUid", "digest", "digestAlgorithm"] {
            assert_eq!(report[key], summary[key], "{name} {key}");
        }
        assert_eq!((&report["ok"], &report["unchecked"]), (&true.into(), &serde_json::json!([])));

        let whole = fs::read(scratch.path(name)).unwrap();
        scratch.write(name, &whole[..whole.len() - 1]);
        let (expected, found) = (whole.len(), whole.len() - 1);
        scratch.run(&["check", name]).exits(5).says(&[name, &format!("expected {expected} bytes, found {found}")]);
        let mut changed = whole.clone();
        changed[whole.len() / 2] ^= 1;
        scratch.write(name, &changed);
        let report = scratch.run(&["check", name, "--json"]).exits(5).json();
        assert_eq!(report["ok"], false);
        assert!(report["problem"].as_str().unwrap().contains("expected"), "{report}");
        // Elsewhere, under another name, by the manifest that is named.
        scratch.write("moved", &whole);
        symlink("moved", scratch.path("link")).unwrap();
        let manifest = format!("{name}.manifest.json");
        for moved in ["moved", "link"] {
            scratch.run(&["check", moved, "--manifest", &manifest]).exits(0);
        }
        fs::remove_file(scratch.path("link")).unwrap();
    }
}

#[test]
fn without_a_manifest_it_says_what_it_could_not_tell() {
    let scratch = Scratch::new();
    scratch.store("3000");
    for (name, notes) in [("a.json", 1), ("a.csv", 2), ("a.ndjson", 2)] {
        scratch.run(&["export", "s", "-o", name]).exits(0);
        let run = scratch.run(&["check", name]).exits(0);
        assert!(run.out.starts_with("nothing wrong was found: "), "{}", run.out);
        assert_eq!(run.out.matches("\nnot checked: ").count(), notes, "{}", run.out);
        assert_eq!(run.out.contains("cut at the end of a line"), notes == 2);
        let mut whole = fs::read(scratch.path(name)).unwrap();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&whole).unwrap();
        let packed = packed.finish().unwrap();
        scratch.write("a.gz", &packed);
        let report = scratch.run(&["check", "a.gz", "--json"]).exits(0).json();
        assert_eq!(report["compression"], "gzip");
        scratch.write("a.gz", &packed[..packed.len() / 2]);
        scratch.run(&["check", "a.gz"]).exits(5).says(&["cannot decompress"]);
        whole.truncate(whole.len() - 3);
        scratch.write(name, &whole);
        scratch.run(&["check", name]).exits(5).says(&["cut short"]);
    }
    scratch.run(&["export", "s", "-o", "p.csv", "--fields", "provider"]).exits(0);
    let run = scratch.run(&["check", "p.csv"]).exits(0);
    assert!(run.out.contains("users not counted") && run.out.contains("it has no UIDs"), "{}", run.out);
    scratch.run(&["export", "s", "-o", "c.ndjson", "--since", "0", "--manifest"]).exits(0);
    scratch.run(&["check", "c.ndjson"]).exits(0);
}

#[test]
fn files_and_manifests_that_cannot_be_used() {
    let scratch = Scratch::new();
    scratch.store("100");
    scratch.run(&["check", "none.json"]).exits(1).says(&["none.json"]);
    scratch.run(&["check", "s"]).exits(1).says(&["directory"]);
    scratch.run(&["check", "users.ndjson", "--manifest", "none"]).exits(1).says(&["none"]);
    scratch.write("m", "{");
    scratch.run(&["check", "users.ndjson", "--manifest", "m"]).exits(5).says(&["is no manifest"]);
    scratch.write("m", "{\"formatVersion\":7}");
    scratch.run(&["check", "users.ndjson", "--manifest", "m"]).exits(1).says(&["version 7", "version 1"]);
    // One that is there, and that nobody can look at: the file was said to be whole without a word about it.
    scratch.run(&["export", "s", "-o", "e.json"]).exits(0);
    symlink("e.json.manifest.json", scratch.path("e.json.manifest.json")).unwrap();
    scratch.run(&["check", "e.json"]).exits(1).says(&["e.json.manifest.json"]);
    // There is none of a name that is too long.
    let long = "n".repeat(250);
    fs::rename(scratch.path("e.json"), scratch.path(&long)).unwrap();
    scratch.run(&["check", &long]).exits(0);
}

/// Killed after the manifest took its name and before the file did: the old file does not fit, and it is said how to go on.
#[test]
fn a_manifest_whose_file_has_not_taken_its_name_yet() {
    let scratch = Scratch::new();
    scratch.store("3000");
    scratch.run(&["export", "s", "-o", "u.csv", "--manifest"]).exits(0);
    let old = fs::read(scratch.path("u.csv")).unwrap();
    scratch.run(&["delete", "s", &first_uid(&scratch)]).exits(0);
    // The state that a kill leaves there, by hand.
    scratch.run(&["export", "s", "-o", "new/u.csv", "--manifest"]).exits(1);
    fs::create_dir(scratch.path("new")).unwrap();
    scratch.run(&["export", "s", "-o", "new/u.csv", "--manifest"]).exits(0);
    fs::rename(scratch.path("new/u.csv"), scratch.path("u.csv.partial")).unwrap();
    fs::rename(scratch.path("new/u.csv.manifest.json"), scratch.path("u.csv.manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&scratch.read("u.csv.manifest.json")).unwrap();
    let mut record = serde_json::json!({"version": 1, "manifest": "blake3", "fsync": false, "nextAfter": false});
    for name in ["writer", "storeId", "incarnation", "seq", "format", "fields", "includePending", "formulaGuard"] {
        record[name] = manifest[name].clone();
    }
    record["callId"] = manifest["callId"].clone();
    record["time"] = manifest["time"].clone();
    scratch.write("u.csv.partial.json", record.to_string());
    scratch.run(&["check", "u.csv"]).exits(5).says(&["expected", "--resume u.csv"]);
    assert_eq!(fs::read(scratch.path("u.csv")).unwrap(), old, "it is as it was");
    scratch.run(&["export", "s", "--resume", "u.csv"]).exits(0);
    let run = scratch.run(&["check", "u.csv"]).exits(0);
    assert!(run.out.starts_with("whole and unchanged"), "{}", run.out);
    assert_eq!(scratch.names(), ["new", "s", "u.csv", "u.csv.manifest.json", "users.ndjson"]);
}

fn first_uid(scratch: &Scratch) -> String {
    let json = scratch.run(&["export", "s", "--limit", "1"]).exits(0).json();
    json["users"][0]["UID"].as_str().unwrap().to_owned()
}
