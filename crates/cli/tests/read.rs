//! `headcount get`, `find`, `stats` and `verify`, and stores that cannot be read.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "functions of tests, which clippy cannot see in a program of tests"
)]

mod common;

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::PathBuf;

use common::{Scratch, content};

const USERS: &str = "{\"UID\":\"a\",\"identities\":[{\"provider\":\"site\",\"providerUID\":\"1\"}]}\n\
                     {\"UID\":\"é\\n\",\"status\":\"pending\",\"identities\":[]}\n";

fn small() -> Scratch {
    let scratch = Scratch::new();
    scratch.run_with(&["import", "s", "-"], USERS).exits(0);
    scratch
}

#[test]
fn get_and_find_print_user_objects() {
    let scratch = small();
    assert_eq!(scratch.run(&["get", "s", "é\n", "a"]).exits(0).out, {
        let mut lines: Vec<_> = USERS.lines().collect();
        lines.reverse();
        lines.join("\n") + "\n"
    });
    assert_eq!(scratch.run(&["find", "s", "site", "1"]).exits(0).out, format!("{}\n", USERS.lines().next().unwrap()));
}

#[test]
fn what_is_not_found_is_4() {
    let scratch = small();
    let run = scratch.run(&["get", "s", "b", "a"]).exits(4).says(&["no user \"b\""]);
    assert_eq!(run.out.lines().count(), 1, "the other one is printed");
    scratch.run(&["get", "s", ""]).exits(4);
    scratch.run(&["get", "s", &"x".repeat(5000)]).exits(4);
    for (provider, uid) in [("site", "2"), ("Site", "1"), ("", ""), ("facebook", "1")] {
        let run = scratch.run(&["find", "s", provider, uid]).exits(4).says(&["no user has"]);
        assert_eq!(run.out, "");
    }
}

#[test]
fn stats_count_by_status_and_provider() {
    let scratch = small();
    let text = scratch.run(&["stats", "s"]).exits(0).out;
    for part in ["users", "pending", "identities", "site", "segments", "seq"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = scratch.run(&["stats", "s", "--json"]).exits(0).json();
    assert_eq!((&json["users"], &json["registered"], &json["pending"]), (&2.into(), &1.into(), &1.into()), "{json}");
    assert_eq!((&json["identities"], &json["seq"]), (&1.into(), &1.into()));
    assert_eq!(json["providers"][0]["provider"], "site");
    assert!(json["bytes"].as_u64().unwrap() > 0);
}

#[test]
fn a_missing_store_is_named_and_not_created() {
    let scratch = Scratch::new();
    for args in [
        &["export", "s"][..],
        &["export", "s", "-o", "users.json"],
        &["get", "s", "a"],
        &["find", "s", "site", "1"],
        &["stats", "s"],
        &["verify", "s"],
        &["changes", "s", "--since", "0"],
        &["backup", "s", "copy"],
        &["link", "s", "a", "site", "1"],
        &["unlink", "s", "a", "site", "1"],
        &["rename", "s", "a", "b"],
        &["status", "s", "a", "pending"],
        &["delete", "s", "a"],
        &["erase", "s", "a"],
        &["compact", "s"],
    ] {
        scratch.run(args).exits(1).says(&["error: no store at s", "hint: `headcount import s FILE`"]);
        assert!(scratch.names().is_empty(), "{args:?}");
    }
}

#[test]
fn reading_needs_no_permission_to_write_and_changes_nothing() {
    let scratch = small();
    let before = content(&scratch.path("s"));
    for args in [
        &["export", "s"][..],
        &["get", "s", "a"],
        &["find", "s", "site", "1"],
        &["stats", "s"],
        &["verify", "s"],
        &["changes", "s", "--since", "0"],
    ] {
        scratch.run(args).exits(0);
    }
    assert_eq!(content(&scratch.path("s")), before);
}

/// The largest file below the store: the segment.
fn segment(scratch: &Scratch) -> (PathBuf, Vec<u8>) {
    content(&scratch.path("s")).into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap()
}

fn damage(path: &PathBuf, change: impl FnOnce(&fs::File)) {
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    change(&OpenOptions::new().write(true).open(path).unwrap());
}

#[test]
fn a_whole_store_verifies() {
    let scratch = Scratch::new();
    scratch.store("3000");
    let run = scratch.run(&["verify", "s"]).exits(0);
    assert!(run.out.contains("3,000 users"), "{}", run.out);
    let json = scratch.run(&["verify", "s", "--json"]).exits(0).json();
    assert_eq!((json["rows"].as_u64(), json["damages"].as_array().map(Vec::len)), (Some(3000), Some(0)), "{json}");
}

#[test]
fn damage_is_5_and_named_by_file_offset_and_uids() {
    let scratch = Scratch::new();
    scratch.store("3000");
    let (path, bytes) = segment(&scratch);
    // In the middle of the first block, which is of users.
    let at = 8192;
    damage(&path, |file| file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap());
    let name = path.file_name().unwrap().to_str().unwrap();
    let run = scratch.run(&["verify", "s"]).exits(5).says(&["1 damage"]);
    assert!(run.out.contains(name) && run.out.contains("byte ") && run.out.contains("UID"), "{}", run.out);
    let json = scratch.run(&["verify", "s", "--json"]).exits(5).json();
    let damages = json["damages"].as_array().unwrap();
    assert_eq!(damages.len(), 1, "{json}");
    assert!(damages[0]["file"].as_str().unwrap().ends_with(name));
    assert!(damages[0]["offset"].is_u64() && damages[0]["firstUid"].is_string(), "{json}");
    scratch.run(&["export", "s", "-o", "users.json"]).exits(5).says(&[name, "headcount verify"]);
    assert_eq!(scratch.names(), ["s", "users.ndjson"]);
}

#[test]
fn a_truncated_segment_is_damage() {
    let scratch = Scratch::new();
    scratch.store("3000");
    let (path, bytes) = segment(&scratch);
    damage(&path, |file| file.set_len(bytes.len() as u64 / 2).unwrap());
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    for args in [&["stats", "s"][..], &["get", "s", "a"], &["export", "s"], &["import", "s", "users.ndjson"]] {
        let run = scratch.run(args).exits(5).says(&["error: damage", &name]);
        assert_eq!(run.out, "");
    }
    scratch.run(&["verify", "s"]).exits(5);
}

#[test]
fn a_missing_segment_is_damage() {
    let scratch = Scratch::new();
    scratch.store("100");
    fs::remove_file(segment(&scratch).0).unwrap();
    for command in ["stats", "verify"] {
        scratch.run(&[command, "s"]).exits(5).says(&["hint:", "headcount salvage"]);
    }
}

/// Writes `value` at `at` of the manifest's preamble and makes its checksum right again.
fn patch_manifest(scratch: &Scratch, at: usize, value: u8) {
    let path = scratch.path("s/MANIFEST");
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] = value;
    let sum = headcount_block::checksum(&bytes[..56]);
    bytes[56..64].copy_from_slice(&sum.to_le_bytes());
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, bytes).unwrap();
}

#[test]
fn an_unknown_version_or_feature_is_named() {
    // Offsets as in docs/FORMAT.md: format version at 8; masks from 16: compatible, read-only compatible, incompatible.
    let scratch = small();
    patch_manifest(&scratch, 16, 1);
    scratch.run(&["stats", "s"]).exits(0);
    scratch.run_with(&["import", "s", "-"], USERS).exits(0);
    let scratch = small();
    patch_manifest(&scratch, 24, 1);
    scratch.run(&["stats", "s"]).exits(0);
    scratch.run_with(&["import", "s", "-"], USERS).exits(1).says(&["features", "newer"]);
    let scratch = small();
    patch_manifest(&scratch, 32, 1);
    scratch.run(&["stats", "s"]).exits(1).says(&["features", "newer"]);
    let scratch = small();
    patch_manifest(&scratch, 8, 99);
    scratch.run(&["stats", "s"]).exits(1).says(&["MANIFEST", "version 99", "newer"]);
    scratch.run_with(&["import", "s", "-"], USERS).exits(1).says(&["version 99"]);
}
