//! `headcount import`: options, exit codes, and what bad input gets at the command line.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use common::{Run, Scratch, Small, content};
use headcount::{Batch, Options, Store, User};
use rustix::process::{Pid, Signal, kill_process};

const TWO: &str = "{\"UID\":\"a\",\"identities\":[{\"provider\":\"site\",\"providerUID\":\"1\"}]}\n\
                   {\"UID\":\"b\",\"status\":\"pending\",\"identities\":[]}\n";

#[test]
fn files_of_all_formats_are_one_load() {
    let scratch = Scratch::new();
    scratch.write("a.ndjson", TWO);
    scratch.write("b.csv", "Provider,UID,ProviderUID\r\ngoogle,c,2\r\n,d,\r\ngoogle,e,3\r\ntwitter,c,4\r\n");
    scratch.write("c.json", include_str!("../data/seven-users.json"));
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(b"{\"UID\":\"z\",\"identities\":[]}").unwrap();
    scratch.write("d", gz.finish().unwrap());
    let run = scratch.run(&["import", "s", "a.ndjson", "b.csv", "c.json", "d", "--json"]).exits(0);
    let summary = run.json();
    assert_eq!((summary["users"].as_u64(), summary["identities"].as_u64()), (Some(13), Some(13)), "{summary}");
    assert_eq!((summary["pending"].as_u64(), summary["rejected"].as_u64()), (Some(1), Some(0)));
    assert_eq!(run.err, "");
    let c = "{\"UID\":\"c\",\"identities\":[{\"provider\":\"google\",\"providerUID\":\"2\"},\
             {\"provider\":\"twitter\",\"providerUID\":\"4\"}]}\n";
    assert_eq!(scratch.run(&["get", "s", "c"]).exits(0).out, c);
}

#[test]
fn standard_input_is_read_without_a_file_and_as_a_dash() {
    let scratch = Scratch::new();
    scratch.run_with(&["import", "s"], TWO).exits(0).says(&["imported 2 users (1 pending), 1 identities"]);
    scratch.run_with(&["import", "t", "-"], TWO).exits(0);
    scratch.run_with(&["import", "u", "-", "-"], TWO).exits(2).says(&["once"]);
    assert_eq!(scratch.names(), ["s", "t"]);
}

#[test]
fn a_dry_run_changes_nothing_and_creates_nothing() {
    let scratch = Scratch::new();
    scratch.write("two", TWO);
    scratch.run(&["import", "s", "two", "--dry-run"]).exits(0).says(&["would import 2 users"]);
    assert_eq!(scratch.names(), ["two"]);
    scratch.run(&["import", "s", "two"]).exits(0);
    // A store that was not closed is not recovered by it either.
    let store = Store::open(scratch.path("s"), &Options::default()).unwrap();
    let mut batch = Batch::new();
    batch.put(User::new("d").with_identity("site", "4"));
    store.commit(batch).unwrap();
    drop(store);
    let before = content(&scratch.path("s"));
    scratch.write("more", "{\"UID\":\"c\",\"identities\":[]}\n{\"UID\":5}\n");
    scratch.run(&["import", "s", "more", "--dry-run"]).exits(1).says(&["more: line 2"]);
    let rejects = ["--skip-invalid", "--rejects", "r"];
    let dry = [&["import", "s", "more", "--dry-run"], &rejects[..]].concat();
    scratch.run(&dry).exits(3).says(&["would import 1 users", "more: line 2"]);
    assert!(content(&scratch.path("s")) == before, "a dry run changed the store");
    scratch.write("taken", "{\"UID\":\"e\",\"identities\":[{\"provider\":\"site\",\"providerUID\":\"4\"}]}\n");
    scratch.run(&["import", "s", "taken", "--dry-run"]).exits(1).says(&["site", "d"]);
    assert!(content(&scratch.path("s")) == before, "a dry run changed the store");
    assert_eq!(scratch.read("r"), "{\"UID\":5}\n");
}

#[test]
fn rejects_of_two_tables_stand_in_two_files_that_can_be_imported() {
    let scratch = Scratch::new();
    scratch.write("users.csv", "id,aud\nu1,x\n,x\nu2,x\n");
    scratch.write("links.csv", "provider_id,user_id,identity_data,provider\n1,u1,{},google\n,u2,{},google\n");
    scratch.write("r.links.csv", "of an earlier run");
    let import = ["import", "s", "users.csv", "links.csv", "--skip-invalid", "--rejects", "r.csv"];
    scratch.run(&import).exits(2).says(&["r.links.csv", "is there already"]);
    assert_eq!((scratch.read("r.links.csv").as_str(), scratch.path("r.csv").exists()), ("of an earlier run", false));
    fs::remove_file(scratch.path("r.links.csv")).unwrap();
    scratch.run(&import).exits(3).says(&["2 records were rejected", "users.csv: line 3", "links.csv: line 3"]);
    assert_eq!(scratch.names(), ["links.csv", "r.csv", "r.links.csv", "s", "users.csv"]);
    assert_eq!(scratch.read("r.csv"), "id,aud\r\n,x\r\n");
    let kept = "provider_id,user_id,identity_data,provider\r\n,u2,{},google\r\n";
    assert_eq!(scratch.read("r.links.csv"), kept);
    scratch.write("r.csv", "id,aud\r\nu3,x\r\n");
    scratch.write("r.links.csv", kept.replace("\n,u2", "\n2,u2"));
    scratch.run(&["import", "s", "r.csv", "r.links.csv", "--existing", "merge"]).exits(0);
    let u2 = "{\"UID\":\"u2\",\"identities\":[{\"provider\":\"google\",\"providerUID\":\"2\"}]}\n";
    assert_eq!(scratch.run(&["get", "s", "u2"]).exits(0).out, u2);
}

/// Rejects overwrite nothing that was not named for them: no input, and no file beside the one that was named.
#[test]
fn rejects_overwrite_no_input_and_no_file_beside_theirs() {
    let scratch = Scratch::new();
    let bad = format!("{TWO}{{\"UID\":5}}\n");
    scratch.write("u.ndjson", &bad);
    scratch.write("u.csv", "uid,provider,providerUID\nc,google,\n");
    std::os::unix::fs::symlink("u.ndjson", scratch.path("link")).unwrap();
    for rejects in ["u.ndjson", "./u.ndjson", "link"] {
        let run = scratch.run(&["import", "s", "u.ndjson", "--skip-invalid", "--rejects", rejects]);
        run.exits(2).says(&["--rejects", "u.ndjson", "hint:"]);
        assert_eq!(scratch.read("u.ndjson"), bad);
    }
    // What was rejected from the second file would stand beside the one that was named.
    scratch.write("r.u.ndjson", "unrelated");
    let two = ["import", "s", "u.ndjson", "u.csv", "--skip-invalid", "--rejects"];
    scratch.run(&[&two[..], &["r.ndjson"]].concat()).exits(2).says(&["r.u.ndjson", "is there already"]);
    assert_eq!(scratch.read("r.u.ndjson"), "unrelated");
    // A stream cannot take two layouts, and has no file beside it.
    for stream in ["-", "/dev/null"] {
        let refused = scratch.run(&[&two[..], &[stream]].concat()).exits(2);
        assert!(refused.err.contains("cannot share one file"), "{}", refused.err);
    }
    assert_eq!(scratch.names(), ["link", "r.u.ndjson", "u.csv", "u.ndjson"]);
    assert_eq!(
        scratch.run(&["import", "s", "u.ndjson", "--skip-invalid", "--rejects", "-"]).exits(3).out,
        "{\"UID\":5}\n"
    );
    // The file that was named is this run's, also when nothing was rejected: nothing old looks like it.
    scratch.write("r.ndjson", "{\"UID\":\"old\"}\n");
    scratch.write("good", TWO);
    scratch.run(&["import", "s", "good", "--skip-invalid", "--rejects", "r.ndjson"]).exits(0);
    assert_eq!(scratch.read("r.ndjson"), "");
    // Files of a directory are inputs too.
    fs::create_dir(scratch.path("out")).unwrap();
    scratch.write("out/demo-realm.json", "{\"realm\":\"demo\",\"users\":[]}");
    let run = scratch.run(&["import", "s", "out", "--skip-invalid", "--rejects", "out/demo-realm.json"]);
    run.exits(2).says(&["--rejects", "demo-realm.json"]);
}

/// Users without room in a row of their table stand beside the rejects of the first input too: what is there is found
/// before all is read.
#[test]
fn rejects_beside_those_of_the_first_input_are_not_overwritten() {
    let scratch = Scratch::new();
    let taken = "{\"UID\":\"z\",\"identities\":[{\"provider\":\"q\",\"providerUID\":\"2\"}]}\n";
    scratch.run_with(&["import", "s", "-"], taken).exits(0);
    let header = "user_id,identities[0].provider,identities[0].user_id\n";
    scratch.write("users.csv", format!("{header}a,p,1\na,q,2\n"));
    let import = ["import", "s", "users.csv", "--on-duplicate", "merge", "--skip-invalid", "--rejects", "r.csv"];
    scratch.run(&import).exits(3);
    let left = scratch.read("r.users.csv");
    assert!(left.contains("\"UID\":\"a\""), "{left}");
    scratch.run(&import).exits(2).says(&["r.users.csv", "is there already", "hint: move it away"]);
    assert_eq!((scratch.read("r.users.csv"), scratch.names().len()), (left, 4));
    // Of standard input too, which has no other name than that.
    let stdin = [&import[..2], &["-"], &import[3..]].concat();
    let text = scratch.read("users.csv");
    scratch.run_with(&stdin, &text).exits(3);
    scratch.run_with(&stdin, &text).exits(2).says(&["is there already", "hint: move it away"]);
    scratch.run_with(&[&import[..2], &import[3..]].concat(), &text).exits(2).says(&["is there already"]);
}

/// Names from files may hold anything: they must not reach the terminal as they are.
#[test]
fn what_files_hold_is_escaped_on_the_terminal() {
    let scratch = Scratch::new();
    let evil = "evil\u{1b}]0;pwn\u{7}\u{9b}2J\u{202e}";
    scratch.write("a.csv", format!("user_id,provider,uid,{evil}\na,{evil},1,x\n"));
    scratch.write("b.csv", format!("uid,provider,providerUID,{evil}\nb,{evil},2,x\nb,{evil},,x\n"));
    scratch.write(evil, "{}");
    for files in [&["a.csv"][..], &["b.csv", "--skip-invalid"], &[evil]] {
        let run = scratch.run(&[&["import", "s"], files].concat());
        assert!(run.err.contains("evil"), "{}", run.err);
        let raw = run.err.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(raw, None, "{:?}", run.err);
    }
    let left = scratch.run(&["export", "s", "--format", "firebase", "-o", "o", "--allow-partial"]);
    assert!(left.err.contains("evil") && !left.err.contains(['\u{1b}', '\u{7}', '\u{9b}']), "{:?}", left.err);
}

#[test]
fn invalid_records_stop_the_load_or_are_left_out() {
    let scratch = Scratch::new();
    let bad = format!("{TWO}{{\"UID\":7}}\n{{\"UID\":\"a\",\"identities\":[]}}\n");
    scratch.write("bad", bad);
    scratch.run(&["import", "s", "bad"]).exits(1).says(&["bad: line 3, byte", "hint:", "--skip-invalid"]);
    assert_eq!(scratch.names(), ["bad"]);
    let run = scratch.run(&["import", "s", "bad", "--skip-invalid", "--rejects", "rejects"]);
    run.exits(3).says(&["2 records were rejected", "bad: line 3", "bad: line 4"]);
    assert_eq!(scratch.names(), ["bad", "rejects", "s"]);
    let mut rejects: Vec<_> = scratch.read("rejects").lines().map(str::to_owned).collect();
    rejects.sort();
    assert_eq!(rejects, ["{\"UID\":\"a\",\"identities\":[]}", "{\"UID\":7}"]);
    scratch.run(&["get", "s", "a", "b"]).exits(0);
    let json = scratch.run(&["import", "t", "bad", "--skip-invalid", "--json"]).exits(3).json();
    assert_eq!(json["rejected"], 2);
}

#[test]
fn a_failed_import_leaves_no_file_of_rejects() {
    let scratch = Scratch::new();
    scratch.write("cut.json", "{\"users\":[{\"UID\":\"a\"");
    scratch.run(&["import", "s", "cut.json", "--skip-invalid", "--rejects", "rejects"]).exits(1);
    assert_eq!(scratch.names(), ["cut.json"]);
}

/// Every row of bad input: an error with the place, nothing loaded, nothing left behind.
#[test]
fn bad_input_is_named_with_its_place_and_loads_nothing() {
    let scratch = Scratch::new();
    scratch.run_with(&["import", "s", "-"], TWO).exits(0);
    let export = || scratch.run(&["export", "s", "--include-pending", "--format", "csv"]).exits(0).out;
    let before = export();
    let deep = format!("{{\"UID\":\"x\",\"x\":{}", "[".repeat(100_000));
    let long = format!("{{\"UID\":\"{}\",\"identities\":[]}}", "x".repeat(1025));
    let identity = |provider: &str, uid: &str| {
        format!("{{\"UID\":\"x\",\"identities\":[{{\"provider\":\"{provider}\",\"providerUID\":\"{uid}\"}}]}}")
    };
    let (no_provider, no_value) = (identity("", "1"), identity("p", ""));
    let long_provider = identity(&"p".repeat(129), "1");
    let long_value = identity("p", &"1".repeat(4097));
    let counts = "{\"users\":[],\"usersCount\":1,\"identitiesCount\":0,\"statusCode\":200,\"errorCode\":0}";
    let failed = "{\"errorMessage\":\"Invalid ApiKey parameter\",\"statusCode\":400,\"errorCode\":400093}";
    let cases: &[(&str, &[u8], &[&str])] = &[
        ("truncated JSON", b"{\"users\":[{\"UID\":\"x\",\"identities\":[", &["truncated"]),
        ("truncated line", b"{\"UID\":\"x\",\"identities\":[]}\n{\"UID\":\"y", &["line 2"]),
        ("invalid JSON", b"{\"UID\":\"x\",\"identities\":[]}\n{\"UID\" \"y\"}\n", &["line 2", "byte"]),
        ("wrong type", b"{\"UID\":7,\"identities\":[]}", &["line 1", "UID"]),
        ("empty UID", b"{\"UID\":\"\",\"identities\":[]}", &["line 1", "UID", "empty"]),
        ("long UID", long.as_bytes(), &["1025", "1024"]),
        ("long provider", long_provider.as_bytes(), &["129", "128"]),
        ("long providerUID", long_value.as_bytes(), &["4097", "4096"]),
        ("empty provider", no_provider.as_bytes(), &["provider", "empty"]),
        ("empty providerUID", no_value.as_bytes(), &["providerUID", "empty"]),
        ("bad UTF-8", b"{\"UID\":\"x\xff\",\"identities\":[]}", &["line 1", "UTF-8"]),
        ("surrogate", b"{\"UID\":\"x\\ud800\",\"identities\":[]}", &["line 1"]),
        ("NUL", b"{\"UID\":\"x\\u0000\",\"identities\":[]}", &["line 1", "NUL"]),
        ("deep nesting", deep.as_bytes(), &["line 1"]),
        (
            "duplicate UID",
            b"{\"UID\":\"x\",\"identities\":[]}\n{\"UID\":\"x\",\"identities\":[]}\n",
            &["line 2", "line 1", "\"x\""],
        ),
        (
            "identity claimed twice",
            b"uid,provider,providerUID\nx,p,1\ny,p,1\n",
            &["line 3", "line 2", "\"x\"", "\"y\""],
        ),
        ("identity of the store", b"uid,provider,providerUID\nx,site,1\n", &["line 2", "\"a\"", "store"]),
        ("missing column", b"uid,provider\nx,p\n", &["providerUID"]),
        ("half an identity", b"uid,provider,providerUID\nx,p,\n", &["line 2", "providerUID is empty"]),
        ("a field too many", b"uid,provider,providerUID\nx,p,1,2\n", &["line 2", "fields"]),
        ("open quote", b"uid,provider,providerUID\nx,p,\"1\n", &["byte 25", "quoted CSV field", "truncated"]),
        ("wrong count", counts.as_bytes(), &["usersCount 1", "0 were read"]),
        ("failed export", failed.as_bytes(), &["Invalid ApiKey parameter"]),
        ("neither", b"hello", &["--format"]),
    ];
    for (name, input, says) in cases {
        scratch.write("in", input);
        let run = scratch.run(&["import", "s", "in"]);
        assert!(matches!(run.code, Some(1 | 2)), "{name}: {:?} {}", run.code, run.err);
        assert!(run.err.starts_with("error: in"), "{name}: {}", run.err);
        for part in *says {
            assert!(run.err.contains(part), "{name}: {part:?} is not in: {}", run.err);
        }
        assert_eq!(export(), before, "{name}");
        // The same into a new store leaves none.
        if *name != "identity of the store" {
            let run = scratch.run(&["import", "new", "in"]);
            assert!(matches!(run.code, Some(1 | 2)), "{name}");
        }
        assert_eq!(scratch.names(), ["in", "s"], "{name}");
    }
    scratch.run(&["verify", "s"]).exits(0);
}

#[test]
fn swapped_arguments_are_suggested() {
    let scratch = Scratch::new();
    scratch.write("users.json", TWO);
    let hint = "are the arguments swapped? headcount import site.hc users.json";
    scratch.run(&["import", "users.json", "site.hc"]).exits(2).says(&["users.json is a file", hint]);
    scratch.run(&["import", "users.json"]).exits(2).says(&["headcount import STORE users.json"]);
    assert_eq!(scratch.names(), ["users.json"]);
    scratch.run(&["export", "users.json"]).exits(1).says(&["not a Headcount store", "the store comes first"]);
}

#[test]
fn a_missing_file_creates_no_store() {
    let scratch = Scratch::new();
    scratch.run(&["import", "s", "nothing.json"]).exits(1).says(&["nothing.json"]);
    scratch.run(&["import", "s", "."]).exits(1).says(&["directory"]);
    assert!(scratch.names().is_empty());
}

#[test]
fn an_empty_directory_becomes_a_store_or_stays_empty() {
    let scratch = Scratch::new();
    scratch.write("bad", "{\"UID\":7}\n");
    scratch.write("two", TWO);
    fs::create_dir(scratch.path("s")).unwrap();
    scratch.run(&["import", "s", "bad"]).exits(1);
    assert!(common::names(&scratch.path("s")).is_empty());
    scratch.run(&["import", "s", "two"]).exits(0);
    scratch.run(&["get", "s", "a"]).exits(0);
    fs::create_dir(scratch.path("letters")).unwrap();
    scratch.write("letters/one", "dear");
    scratch.run(&["import", "letters", "two"]).exits(1).says(&["letters"]);
    assert_eq!(common::names(&scratch.path("letters")), ["one"]);
}

#[test]
fn duplicates_conflicts_and_existing_users_follow_the_options() {
    let scratch = Scratch::new();
    let user = |uid: &str, identities: &[(&str, &str)]| {
        let identities: Vec<_> =
            identities.iter().map(|(p, u)| format!("{{\"provider\":\"{p}\",\"providerUID\":\"{u}\"}}")).collect();
        format!("{{\"UID\":\"{uid}\",\"identities\":[{}]}}\n", identities.join(","))
    };
    let get = |store: &str, uid: &str| scratch.run(&["get", store, uid]).exits(0).out;
    scratch.write("dup", user("a", &[("p", "1")]) + &user("a", &[("p", "2"), ("p", "1")]));
    scratch.run(&["import", "m", "dup", "--on-duplicate", "merge"]).exits(0);
    assert_eq!(get("m", "a"), user("a", &[("p", "1"), ("p", "2")]));
    scratch.run(&["import", "l", "dup", "--on-duplicate", "last"]).exits(0);
    assert_eq!(get("l", "a"), user("a", &[("p", "2"), ("p", "1")]));

    scratch.write("conflict", user("a", &[("p", "1")]) + &user("b", &[("p", "1"), ("p", "3")]));
    scratch.run(&["import", "c", "conflict"]).exits(1).says(&["\"a\""]);
    scratch.run(&["import", "c", "conflict", "--on-conflict", "ignore"]).exits(0);
    assert_eq!(get("c", "b"), user("b", &[("p", "3")]));

    scratch.write("new", user("a", &[("p", "9")]));
    scratch
        .run(&["import", "m", "new", "--existing", "error"])
        .exits(1)
        .says(&["the store has this UID", "--existing"]);
    scratch.run(&["import", "m", "new", "--existing", "merge"]).exits(0);
    assert_eq!(get("m", "a"), user("a", &[("p", "1"), ("p", "2"), ("p", "9")]));
    scratch.run(&["import", "m", "new"]).exits(0);
    assert_eq!(get("m", "a"), user("a", &[("p", "9")]));
    scratch.run(&["find", "m", "p", "1"]).exits(4);
}

#[test]
fn a_locked_store_names_the_process() {
    let scratch = Scratch::new();
    scratch.run_with(&["import", "s", "-"], TWO).exits(0);
    // This import holds the lock for as long as its standard input is open.
    let mut holder = scratch.command(&["import", "s", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let pid = format!("process {}", holder.id());
    // Watched, not tried: a reader that tries the lock could be the one that keeps the import from taking it.
    let lock = scratch.path("s/LOCK");
    while fs::read_to_string(&lock).unwrap().trim() != holder.id().to_string() {
        assert!(holder.try_wait().unwrap().is_none(), "the import ended without its input");
        thread::sleep(Duration::from_millis(5));
    }
    scratch.run(&["stats", "s"]).exits(1).says(&["locked", &pid, "hint:"]);
    scratch.run_with(&["import", "s", "-"], TWO).exits(1).says(&["locked", &pid]);
    holder.stdin.take().unwrap().write_all(b"{\"UID\":\"h\",\"identities\":[]}\n").unwrap();
    assert!(holder.wait().unwrap().success());
    scratch.run(&["get", "s", "h"]).exits(0);
}

#[test]
fn an_unwritable_place_is_named() {
    let scratch = Scratch::new();
    scratch.write("two", TWO);
    scratch.run(&["import", "no/where", "two"]).exits(1).says(&["no/where"]);
    scratch.run(&["import", "/proc/s", "two"]).exits(1).says(&["/proc/s"]);
    fs::create_dir(scratch.path("closed")).unwrap();
    fs::set_permissions(scratch.path("closed"), Permissions::from_mode(0o500)).unwrap();
    if rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED in part: root may write everywhere");
    } else {
        scratch.run(&["import", "closed/s", "two"]).exits(1).says(&["closed/s", "hint:"]);
    }
    assert_eq!(scratch.names(), ["closed", "two"]);
}

/// A directory that somebody else made for us, in one that we may pass through, and not read.
#[test]
fn a_directory_in_one_that_is_closed_takes_a_store_and_a_backup() {
    let scratch = Scratch::new();
    scratch.write("two", TWO);
    for dir in ["vault", "vault/store", "vault/copy"] {
        fs::create_dir(scratch.path(dir)).unwrap();
    }
    // Root may read everywhere: there somebody else does it, with a program that they may run.
    let (is_root, nobody, program) = (rustix::process::geteuid().is_root(), 65_534, scratch.path("headcount"));
    if is_root {
        fs::copy(env!("CARGO_BIN_EXE_headcount"), &program).unwrap();
        for dir in ["vault/store", "vault/copy"] {
            std::os::unix::fs::chown(scratch.path(dir), Some(nobody), Some(nobody)).unwrap();
        }
        fs::set_permissions(scratch.path("."), Permissions::from_mode(0o755)).unwrap();
    }
    let vault = scratch.path("vault");
    let run = |dir: &str, args: &[&str]| {
        let mut command = if is_root { Command::new(&program) } else { Command::new(env!("CARGO_BIN_EXE_headcount")) };
        command.args(args).current_dir(vault.join(dir)).stdin(Stdio::null());
        if is_root {
            command.uid(nobody).gid(nobody);
        }
        Run::from(command.output().unwrap())
    };
    fs::set_permissions(&vault, Permissions::from_mode(0o311)).unwrap();
    run("store", &["import", ".", "../../two"]).exits(0);
    run("copy", &["backup", "../store", "."]).exits(0);
    run("copy", &["get", ".", "a"]).exits(0);
    fs::set_permissions(&vault, Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_full_disk_leaves_store_and_files_as_they_were() {
    let scratch = Scratch::new();
    let Some(small) = Small::mount(scratch.path("small"), "4m") else {
        eprintln!("SKIPPED: mounting a small file system needs root");
        return;
    };
    scratch.write("two", TWO);
    scratch.run(&["generate", "--users", "60000", "-o", "many"]).exits(0);
    scratch.run(&["import", "small/s", "two"]).exits(0);
    scratch.run(&["import", "big", "many"]).exits(0);
    fs::write(scratch.path("small/old.json"), "old").unwrap();
    let before = content(&small.0);

    let full = &["space", "hint:"];
    scratch.run(&["import", "small/s", "many"]).exits(1).says(full);
    scratch.run(&["import", "small/new", "many"]).exits(1).says(full);
    scratch.run(&["import", "small/sorted", "many", "--memory", "1MiB"]).exits(1).says(full);
    scratch.run(&["export", "big", "-o", "small/old.json"]).exits(1).says(full);
    scratch.run(&["export", "big", "-o", "small/new.csv"]).exits(1).says(full);
    scratch.run(&["generate", "--users", "60000", "-o", "small/users"]).exits(1).says(&["small/users", "space"]);

    let after = content(&small.0);
    let names = |content: &[(std::path::PathBuf, Vec<u8>)]| content.iter().map(|(p, _)| p.clone()).collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before));
    assert_eq!(fs::read_to_string(scratch.path("small/old.json")).unwrap(), "old");
    scratch.run(&["get", "small/s", "a"]).exits(0);
    scratch.run(&["verify", "small/s"]).exits(0);
    assert!(File::open(scratch.path("small/new")).is_err());
}

const AUTH0: &str = "{\"user_id\":\"auth0|1\",\"identities\":[{\"provider\":\"google-oauth2\",\"user_id\":\"7\"}]}\n\
                     {\"user_id\":\"auth0|2\",\"identities\":[],\"blocked\":true}\n";

#[test]
fn files_of_other_systems_are_told_by_content() {
    let scratch = Scratch::new();
    scratch.write("export", AUTH0);
    let gigya = ["import", "s", "export", "--provider-names", "gigya", "--local-identity", "site"];
    scratch.run(&gigya).exits(0).says(&[
        "imported 2 users (0 pending), 2 identities",
        "1 users came without identities",
        "1 of these got a local identity",
        "1 users are disabled at the source",
        "export: 2 records of auth0",
        "provider google: 1 identities",
    ]);
    let first = "{\"UID\":\"auth0|1\",\"identities\":[{\"provider\":\"google\",\"providerUID\":\"7\"}]}\n";
    assert_eq!(scratch.run(&["get", "s", "auth0|1"]).exits(0).out, first);
    let json = scratch.run(&["import", "s", "export", "--json"]).exits(0).json();
    assert_eq!((&json["files"][0]["format"], &json["withoutIdentities"]), (&"auth0".into(), &1.into()));
    scratch.write("unknown.json", "[{\"name\":\"red\"}]");
    scratch.run(&["import", "t", "unknown.json"]).exits(1).says(&["a JSON array", "--format", "--map"]);
    scratch.run(&["import", "t", "export", "--format", "okta"]).exits(1).says(&["is this file of the format okta?"]);
    scratch.run(&["import", "t", "export", "--format", "oktar"]).exits(2).says(&["fusionauth"]);
    assert_eq!(scratch.names(), ["export", "s", "unknown.json"]);
}

#[test]
fn partial_sources_and_mappings_have_their_options() {
    let scratch = Scratch::new();
    scratch.write("page", "{\"Users\":[{\"Username\":\"a\",\"Attributes\":[]}],\"PaginationToken\":\"x\"}");
    scratch.run(&["import", "s", "page", "--uid", "Username"]).exits(1).says(&["not complete", "--allow-partial"]);
    scratch.run(&["import", "s", "page", "--uid", "Username", "--allow-partial"]).exits(0).says(&["not complete"]);
    scratch.run(&["import", "s", "page", "--uid", "mail"]).exits(2).says(&["expected sub or Username"]);
    scratch.write("rows.csv", "who,what\na,1\n");
    let map = ["import", "t", "rows.csv", "--map", "uid=who", "--map", "provider==site", "--map", "providerUID=what"];
    scratch.run(&map).exits(0).says(&["imported 1 users (0 pending), 1 identities"]);
    scratch.run(&["import", "u", "rows.csv", "--map", "who=uid"]).exits(2).says(&["there is no \"who\" to map"]);
    scratch.run(&["import", "u", "rows.csv", "--map", "uid=nobody"]).exits(1).says(&["has no column nobody"]);
    assert_eq!(scratch.names(), ["page", "rows.csv", "s", "t"]);
}

/// The command that an import ends with reads rejects as they stand in their file: one a line.
#[test]
fn rejects_of_a_mapped_document_are_read_by_the_command_that_is_shown() {
    let scratch = Scratch::new();
    scratch.write("all.json", r#"{"data":[{"UID":"a","sub":"1"},{"UID":"b","sub":"1"},{"UID":"","sub":"2"}]}"#);
    let map = ["--map", "records=/data", "--map", "uid=/UID", "--map", "provider==p", "--map", "providerUID=/sub"];
    let rejects = ["--skip-invalid", "--rejects", "left.ndjson"];
    let shown = "import s left.ndjson --map uid=/UID --map provider==p --map providerUID=/sub --existing merge";
    scratch.run(&[&["import", "s", "all.json"][..], &map, &rejects].concat()).exits(3).says(&[shown]);
    let left = scratch.read("left.ndjson").replace("\"1\"", "\"3\"").replace("\"\"", "\"c\"");
    scratch.write("left.ndjson", &left);
    let again: Vec<_> = shown.split(' ').collect();
    scratch.run(&again).exits(0).says(&["imported 2 users (0 pending), 2 identities"]);
}

/// A signal ends an import that waits for a pipe with a name, too; what comes through one is read to its end.
#[test]
fn a_named_pipe_is_read_and_given_up_at_a_signal() {
    let scratch = Scratch::new();
    let pipe = scratch.path("f");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for command in ["import", "put"] {
        // Somebody holds it open and writes nothing.
        let held = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        let mut child = scratch.command(&[command, "n", "f"]).stderr(Stdio::null()).spawn().unwrap();
        let wait = |done: &mut dyn FnMut() -> bool| {
            (0..500).any(|_| done() || (thread::sleep(Duration::from_millis(10)), false).1)
        };
        assert!(wait(&mut || scratch.path("n").exists()));
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let ended = wait(&mut || child.try_wait().unwrap().is_some());
        child.kill().unwrap();
        assert!(ended, "{command} still waits");
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        assert!(!scratch.path("n").exists());
        drop(held);
    }
    let writer = thread::spawn(move || {
        let mut writer = File::create(pipe).unwrap();
        let (first, rest) = TWO.split_at(20);
        writer.write_all(first.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(300));
        writer.write_all(rest.as_bytes()).unwrap();
    });
    scratch.run(&["import", "s", "f"]).exits(0).says(&["imported 2 users"]);
    writer.join().unwrap();
    scratch.write("two", TWO);
    let script = format!("{} import t <(cat two; sleep 0.2)", env!("CARGO_BIN_EXE_headcount"));
    let substituted = Command::new("bash").args(["-c", &script]).current_dir(scratch.path("")).status();
    assert!(substituted.is_err() || substituted.is_ok_and(|status| status.success()));
}
