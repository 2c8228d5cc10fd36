//! The commands that change users: what they do, what they report, and what bad input gets.

#![expect(clippy::unwrap_used, reason = "functions of tests, which clippy cannot see in a program of tests")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdout, Stdio};

use common::{Run, Scratch, content};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::SIGINT;

/// Users as `get` prints them: `a` with two identities, `b` pending, `c` bare.
const A: &str = "{\"UID\":\"a\",\"identities\":[{\"provider\":\"site\",\"providerUID\":\"1\"},\
                 {\"provider\":\"google\",\"providerUID\":\"2\"}]}\n";
const B: &str =
    "{\"UID\":\"b\",\"status\":\"pending\",\"identities\":[{\"provider\":\"site\",\"providerUID\":\"3\"}]}\n";
const C: &str = "{\"UID\":\"c\",\"identities\":[]}\n";

/// A store `s` with the three users, at seq 1.
fn small() -> Scratch {
    let scratch = Scratch::new();
    scratch.run_with(&["import", "s", "-"], &[A, B, C].concat()).exits(0);
    scratch
}

/// Everything in a store, as one line for each identity.
fn all(scratch: &Scratch, store: &str) -> String {
    let fields = "uid,status,provider,providerUID";
    scratch.run(&["export", store, "--format", "csv", "--include-pending", "--fields", fields]).exits(0).out
}

fn get(scratch: &Scratch, uid: &str) -> String {
    scratch.run(&["get", "s", uid]).exits(0).out
}

fn seq(scratch: &Scratch) -> u64 {
    scratch.run(&["stats", "s", "--json"]).exits(0).json().get("seq").unwrap().as_u64().unwrap()
}

fn object(uid: &str, provider: &str, provider_uid: &str) -> String {
    format!(
        "{{\"UID\":\"{uid}\",\"identities\":[{{\"provider\":\"{provider}\",\"providerUID\":\"{provider_uid}\"}}]}}\n"
    )
}

#[test]
fn an_export_since_a_seq_holds_what_changed() {
    let scratch = small();
    scratch.run(&["delete", "s", "c"]).exits(0);
    scratch.run_with(&["put", "s"], &object("d", "p", "1")).exits(0);
    let run = scratch.run(&["export", "s", "--since", "1", "--json", "-o", "changes.json"]).exits(0);
    let summary = run.json();
    assert_eq!(
        (summary["users"].as_u64(), summary["deleted"].as_u64(), summary["seq"].as_u64()),
        (Some(1), Some(1), Some(3))
    );
    let changes: serde_json::Value = serde_json::from_str(&scratch.read("changes.json")).unwrap();
    assert_eq!(changes["users"][0]["UID"], "d");
    assert_eq!(changes["deletedUIDs"], serde_json::json!(["c"]));
    assert_eq!((changes["usersCount"].as_u64(), changes["seq"].as_u64()), (Some(1), Some(3)));
    let run = scratch.run(&["export", "s", "--since", "1", "--format", "csv"]).exits(0);
    assert_eq!(run.out, "change,uid,provider,providerUID\r\ndelete,c,,\r\nupsert,d,p,1\r\n");
    assert!(run.err.contains("exported 1 users, 1 deleted"), "{}", run.err);
    // Pending users are not in the selection, and are gone from it as long as nothing else is asked for.
    scratch.run(&["status", "s", "d", "pending"]).exits(0);
    let run = scratch.run(&["export", "s", "--since", "3", "--format", "ndjson"]).exits(0);
    assert_eq!(run.out, "{\"UID\":\"d\",\"deleted\":true}\n");
    scratch.run(&["export", "s", "--since", "99"]).exits(1).says(&["seq 99 lies ahead", "hint:"]);
    scratch.run(&["export", "s", "--since", "1", "--limit", "1"]).exits(2);
    scratch.run(&["export", "s", "--since", "1", "--fields", "provider"]).exits(2).says(&["needs the field uid"]);
}

#[test]
fn put_and_apply_make_a_store_that_is_not_there() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("t")).unwrap();
    for (name, command, line) in [("s", "put", A.to_owned()), ("t", "apply", A.replacen('{', "{\"op\":\"put\",", 1))] {
        // What cannot be applied leaves no store behind.
        let before = scratch.names();
        scratch.run_with(&[command, name], "{}\n").exits(1);
        assert_eq!(scratch.names(), before, "{command}");
        scratch.run_with(&[command, name], &line).exits(0).says(&["seq 1", "made the store"]);
        assert_eq!(scratch.run(&["get", name, "a"]).exits(0).out, A);
        let again = scratch.run_with(&[command, name], &line).exits(0);
        assert!(!again.err.contains("made"), "{}", again.err);
        // One that something was written to stays, whatever comes after.
        fs::remove_dir_all(scratch.path(name)).unwrap();
    }
    let lines = A.replacen('{', "{\"op\":\"put\",", 1) + "{\"op\":\"no such\"}\n";
    scratch.run_with(&["apply", "s", "--batch", "1"], &lines).exits(1);
    assert_eq!(scratch.run(&["get", "s", "a"]).exits(0).out, A);
}

#[test]
fn put_takes_the_place_of_users_and_adds_others() {
    let scratch = small();
    let new_a = object("a", "twitter", "9");
    let d = "{\"UID\":\"d\",\"status\":\"pending\",\"identities\":[]}\n";
    let run = scratch.run_with(&["put", "s"], &format!("{new_a}\n{d}")).exits(0);
    run.says(&["put 2 users (1 pending), 1 identities", "seq 2"]);
    assert_eq!((get(&scratch, "a"), get(&scratch, "d")), (new_a, d.to_owned()));
    assert_eq!(get(&scratch, "b"), B, "others stay");
    scratch.run(&["find", "s", "site", "1"]).exits(4);
    assert_eq!(scratch.run(&["find", "s", "twitter", "9"]).exits(0).out, get(&scratch, "a"));

    scratch.write("users", [C, A].concat());
    let json = scratch.run(&["put", "s", "users", "--json"]).exits(0).json();
    assert_eq!((&json["users"], &json["pending"], &json["identities"]), (&2.into(), &0.into(), &2.into()), "{json}");
    assert_eq!((&json["changed"], &json["batches"], &json["seq"]), (&1.into(), &1.into(), &3.into()), "{json}");
    assert_eq!(get(&scratch, "a"), A);
    scratch.run(&["verify", "s"]).exits(0);
}

#[test]
fn put_takes_a_dash_for_standard_input_whatever_files_there_are() {
    let scratch = Scratch::new();
    scratch.write("-", "no user\n");
    scratch.run_with(&["put", "s", "-"], A).exits(0);
    scratch.run(&["put", "s", "./-"]).exits(1).says(&["nothing was applied"]);
}

#[test]
fn put_reads_compressed_files_and_nothing_at_all() {
    let scratch = small();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(object("z", "site", "7").as_bytes()).unwrap();
    scratch.write("z.gz", gz.finish().unwrap());
    scratch.run(&["put", "s", "z.gz"]).exits(0).says(&["put 1 users"]);
    assert_eq!(get(&scratch, "z"), object("z", "site", "7"));
    scratch.run_with(&["put", "s", "-"], "").exits(0).says(&["put 0 users", "seq 2"]);
    scratch.run(&["put", "s", "nothing"]).exits(1).says(&["nothing"]);
    scratch.run(&["put", "s", "."]).exits(1).says(&["directory"]);
    assert_eq!(seq(&scratch), 2);
}

#[test]
fn a_bad_line_keeps_the_lines_before_it_out() {
    let scratch = small();
    let before = all(&scratch, "s");
    let good = object("n", "site", "70");
    for (bad, says) in [
        ("{\"UID\":7}", &["line 2", "byte 73", "\"UID\""][..]),
        ("{\"UID\":\"\"}", &["line 2", "empty"]),
        ("{\"UID\":\"x\"", &["line 2", "invalid JSON"]),
        ("{\"UID\":\"x\",\"status\":\"gone\"}", &["line 2", "\"gone\"", "\"registered\" or \"pending\""]),
        ("uid,provider,providerUID", &["line 2", "byte 66"]),
        (object("x", "site", "1").trim(), &["line 2", "byte 66", "\"x\"", "\"site\" \"1\" belongs to user \"a\""]),
    ] {
        let text = format!("{good}{bad}\n");
        scratch.write("bad", &text);
        let says = [says, &["nothing was applied", "hint: mend"]].concat();
        scratch.run(&["put", "s", "bad"]).exits(1).says(&says).says(&["error: bad: "]);
        scratch.run_with(&["put", "s"], &text).exits(1).says(&says).says(&["error: standard input: "]);
        assert_eq!(all(&scratch, "s"), before, "{bad}");
    }
    assert_eq!(seq(&scratch), 1);
}

#[test]
fn an_identity_may_move_within_one_put() {
    let scratch = small();
    let moved = format!("{{\"UID\":\"a\"}}\n{}", object("x", "site", "1"));
    scratch.run_with(&["put", "s"], &moved).exits(0);
    assert_eq!(scratch.run(&["find", "s", "site", "1"]).exits(0).out, object("x", "site", "1"));
    assert_eq!(get(&scratch, "a"), "{\"UID\":\"a\",\"identities\":[]}\n");
}

/// Lines `first..=last` of bare users.
fn bare(first: usize, last: usize) -> String {
    (first..=last).map(|i| format!("{{\"UID\":\"u{i:06}\"}}\n")).collect()
}

#[test]
fn more_than_a_batch_is_put_in_several() {
    let scratch = small();
    let many = format!("{}{{\"UID\":7}}\n", bare(1, 50_000));
    scratch.write("many", &many);
    scratch.run(&["put", "s", "many"]).exits(1).says(&["many: line 50001, byte", "nothing was applied"]);
    assert_eq!(seq(&scratch), 1, "the lines of a file are checked first");
    let note = "lines 1 to 50000 were applied, up to seq 2; nothing after that was";
    scratch.run_with(&["put", "s"], &many).exits(1).says(&["line 50001", note, "the lines from 50001 on"]);
    assert_eq!(seq(&scratch), 2);
    scratch.run(&["get", "s", "u050000"]).exits(0);

    scratch.write("more", bare(50_001, 100_002));
    let run = scratch.run(&["put", "s", "more", "--json"]).exits(0);
    assert_eq!((&run.json()["batches"], &run.json()["seq"]), (&2.into(), &4.into()), "{}", run.out);
    // Of long lines, fewer make a batch.
    let long = "x".repeat(1000);
    let long: String = (0..9000).map(|i| object(&format!("l{i}"), "site", &format!("{long}{i}"))).collect();
    scratch.write("long", long);
    assert_eq!(scratch.run(&["put", "s", "long", "--json"]).exits(0).json()["batches"], 2);
    assert_eq!(scratch.run(&["stats", "s", "--json"]).exits(0).json()["users"], 3 + 100_002 + 9000);
    scratch.run(&["verify", "s"]).exits(0);
}

#[test]
fn single_changes_are_made_and_reported() {
    let scratch = small();
    let steps: &[(&[&str], &str, u64)] = &[
        (&["link", "s", "c", "site", "5"], "linked \"site\" \"5\" to user \"c\": seq 2", 2),
        (&["link", "s", "c", "site", "5"], "user \"c\" has the identity \"site\" \"5\" already: seq 2", 2),
        (&["unlink", "s", "a", "site", "1"], "unlinked \"site\" \"1\" from user \"a\": seq 3", 3),
        (&["link", "s", "c", "site", "1"], "linked", 4),
        (&["rename", "s", "c", "d"], "renamed user \"c\" to \"d\": seq 5", 5),
        (&["rename", "s", "d", "d"], "user \"d\" has this UID already: seq 5", 5),
        (&["status", "s", "d", "pending"], "user \"d\" is pending: seq 6", 6),
        (&["status", "s", "d", "pending"], "user \"d\" is pending already: seq 6", 6),
        (&["status", "s", "b", "registered"], "user \"b\" is registered: seq 7", 7),
    ];
    for (args, says, at) in steps {
        let run = scratch.run(args).exits(0).says(&[says]);
        assert_eq!(run.out, "", "{args:?}");
        assert_eq!(seq(&scratch), *at, "{args:?}");
    }
    let expected = "uid,status,provider,providerUID\r\na,registered,google,2\r\nb,registered,site,3\r\n\
                    d,pending,site,5\r\nd,pending,site,1\r\n";
    assert_eq!(all(&scratch, "s"), expected);
    scratch.run(&["get", "s", "c"]).exits(4);
    let json = scratch.run(&["link", "s", "a", "site", "8", "--json"]).exits(0);
    assert_eq!(json.out, "{\"seq\":8,\"changed\":1}\n");
    assert_eq!(json.err, "");
    assert_eq!(scratch.run(&["-q", "status", "s", "a", "pending"]).exits(0).err, "");
    scratch.run(&["verify", "s"]).exits(0);
}

#[test]
fn changes_of_what_is_not_there_are_4_and_change_nothing() {
    let scratch = small();
    let before = all(&scratch, "s");
    for (args, says) in [
        (&["link", "s", "x", "site", "9"][..], "no user \"x\""),
        (&["link", "s", "x", "site", "1"], "no user \"x\""),
        (&["unlink", "s", "x", "site", "1"], "no user \"x\""),
        (&["unlink", "s", "a", "site", "3"], "user \"a\" does not have the identity \"site\" \"3\""),
        (&["unlink", "s", "a", "Site", "1"], "user \"a\" does not have the identity \"Site\" \"1\""),
        (&["rename", "s", "x", "y"], "no user \"x\""),
        (&["rename", "s", "x", "a"], "no user \"x\""),
        (&["status", "s", "x", "pending"], "no user \"x\""),
        (&["delete", "s", "x"], "no user \"x\""),
        (&["erase", "s", "x"], "\"x\""),
    ] {
        let run = scratch.run(args).exits(4).says(&["error: ", says]);
        assert!(!run.err.contains("hint"), "{args:?}: {}", run.err);
        assert_eq!((all(&scratch, "s"), seq(&scratch)), (before.clone(), 1), "{args:?}");
    }
}

#[test]
fn what_is_taken_is_1_and_names_the_owner() {
    let scratch = small();
    let before = all(&scratch, "s");
    let long = "x".repeat(1025);
    for (args, says) in [
        (&["link", "s", "c", "site", "1"][..], &["\"c\"", "\"site\" \"1\" belongs to user \"a\""][..]),
        (&["rename", "s", "a", "b"], &["user \"a\" cannot be renamed", "a user \"b\" already"]),
        (&["rename", "s", "a", ""], &["UID is empty"]),
        (&["rename", "s", "a", &long], &["1025", "1024"]),
        (&["link", "s", "a", "", "1"], &["provider is empty"]),
    ] {
        scratch.run(args).exits(1).says(says);
        assert_eq!((all(&scratch, "s"), seq(&scratch)), (before.clone(), 1), "{args:?}");
    }
}

#[test]
fn delete_takes_those_that_are_there() {
    let scratch = small();
    let run = scratch.run(&["delete", "s", "c", "x", "a", "c", "", "--json"]).exits(4);
    let run = run.says(&["no user \"x\"", "no user \"\""]);
    assert_eq!(run.out, "{\"deleted\":2,\"notFound\":[\"x\",\"\"],\"seq\":2}\n", "in one batch");
    scratch.run(&["get", "s", "a"]).exits(4);
    scratch.run(&["find", "s", "site", "1"]).exits(4);
    assert_eq!(
        scratch.run(&["export", "s", "--format", "ndjson", "--include-pending"]).exits(0).out.lines().count(),
        1
    );
    scratch.run(&["delete", "s", "b"]).exits(0).says(&["deleted 1 user: seq 3"]);
    let stats = scratch.run(&["stats", "s", "--json"]).exits(0).json();
    assert_eq!((&stats["users"], &stats["segments"][0]["tombstones"]), (&0.into(), &1.into()), "{stats}");
    assert_eq!((&stats["deltaChanges"], &stats["changesFloor"]), (&0.into(), &0.into()), "{stats}");
    // The identity of a deleted user is free.
    scratch.run_with(&["put", "s"], &object("n", "site", "1")).exits(0);
    scratch.run(&["verify", "s"]).exits(0);
}

/// Whether any file below the store holds `text`.
fn on_disk(scratch: &Scratch, text: &str) -> bool {
    content(&scratch.path("s")).iter().any(|(_, bytes)| bytes.windows(text.len()).any(|found| found == text.as_bytes()))
}

#[test]
fn erase_leaves_nothing_of_a_user() {
    let scratch = small();
    scratch.run_with(&["put", "s"], &object("forget-me", "site", "forget-this")).exits(0);
    scratch.run_with(&["put", "s"], &object("forget-me", "site", "forget-that")).exits(0);
    scratch.run_with(&["put", "s"], &object("keep-me", "site", "keep-this")).exits(0);
    scratch.run(&["delete", "s", "keep-me"]).exits(0);
    assert!(on_disk(&scratch, "forget-me") && on_disk(&scratch, "forget-that"), "or else this proves nothing");
    let run = scratch.run(&["erase", "s", "forget-me", "never-there", "--json"]).exits(4).says(&["never-there"]);
    let json = run.json();
    assert_eq!((&json["erased"], &json["notFound"][0]), (&1.into(), &"never-there".into()), "{json}");
    for text in ["forget-me", "forget-this", "forget-that"] {
        assert!(!on_disk(&scratch, text), "{text}");
    }
    scratch.run(&["get", "s", "forget-me"]).exits(4);
    assert_eq!(get(&scratch, "a"), A);
    // A wait that no clock reaches the end of: it was a panic, after the users were deleted.
    scratch.run(&["erase", "s", "a", "b", "--wait", "18446744073709551615"]).exits(0).says(&["erased 2 users: seq "]);
    scratch.run(&["verify", "s"]).exits(0);
    assert_eq!(all(&scratch, "s"), "uid,status,provider,providerUID\r\nc,registered,,\r\n");
}

/// One of each operation, on the three users.
const OPERATIONS: &str = "\
{\"op\":\"put\",\"UID\":\"d\",\"identities\":[{\"provider\":\"p\",\"providerUID\":\"1\"}],\"status\":\"pending\"}
{\"op\":\"link\",\"UID\":\"c\",\"provider\":\"p\",\"providerUID\":\"2\"}
{\"op\":\"unlink\",\"UID\":\"a\",\"provider\":\"site\",\"providerUID\":\"1\"}
{\"op\":\"rename\",\"UID\":\"a\",\"newUID\":\"e\"}
{\"op\":\"status\",\"UID\":\"d\",\"status\":\"registered\"}
{\"op\":\"delete\",\"UID\":\"b\"}
{\"op\":\"delete\",\"UID\":\"nobody\"}
";
const AFTER: &str =
    "uid,status,provider,providerUID\r\nc,registered,p,2\r\nd,registered,p,1\r\ne,registered,google,2\r\n";

#[test]
fn apply_carries_out_every_operation() {
    let scratch = small();
    scratch.write("ops", OPERATIONS);
    let run = scratch.run(&["apply", "s", "ops"]).exits(0);
    let run = run.says(&["applied 7 operations in 1 batch, 5 users changed", "seq 2"]);
    assert_eq!(run.out, "");
    assert_eq!(all(&scratch, "s"), AFTER);
    let scratch = small();
    let json = scratch.run_with(&["apply", "s", "--batch", "1", "--json"], OPERATIONS).exits(0).json();
    // The deletion of nobody takes no seq.
    assert_eq!((&json["lines"], &json["batches"], &json["seq"]), (&7.into(), &7.into(), &7.into()), "{json}");
    assert_eq!(all(&scratch, "s"), AFTER);
    scratch.run_with(&["apply", "s"], "").exits(0).says(&["applied 0 operations"]);
    scratch.run(&["verify", "s"]).exits(0);
}

#[test]
fn a_failing_line_is_named_and_its_batch_not_applied() {
    let scratch = small();
    let good = |uid: &str| format!("{{\"op\":\"put\",\"UID\":\"{uid}\"}}\n");
    let bad = "{\"op\":\"link\",\"UID\":\"n3\",\"provider\":\"site\",\"providerUID\":\"1\"}\n";
    let text = [&good("n1"), "\n", &good("n2"), &good("n3"), bad, &good("n4")].concat();
    let run = scratch.run_with(&["apply", "s", "--batch", "2", "--acks"], &text).exits(1);
    let at = "error: standard input: line 5, byte 73: user \"n3\": ";
    let applied = "lines 1 to 3 were applied, up to seq 2; nothing after that was";
    let run = run.says(&[at, "belongs to user \"a\"", applied, "hint: mend line 5", "the lines from 4 on"]);
    assert_eq!(run.out, "{\"seq\":2,\"lines\":3}\n");
    scratch.run(&["get", "s", "n1", "n2"]).exits(0);
    scratch.run(&["get", "s", "n3"]).exits(4);
    scratch.write("ops", text);
    let run = scratch.run(&["apply", "s", "ops"]).exits(1);
    run.says(&["error: ops: line 5, byte 73", "nothing was applied", "run the command again"]);
    assert_eq!(seq(&scratch), 2);
}

#[test]
fn what_is_no_operation_is_named_with_line_and_byte() {
    let scratch = small();
    let before = all(&scratch, "s");
    let good = "{\"op\":\"delete\",\"UID\":\"a\"}\n";
    for (bad, says) in [
        (&b"{\"op\":\"putt\",\"UID\":\"n\"}"[..], &["unknown op \"putt\"", "expected put, link, unlink"][..]),
        (b"{\"UID\":\"n\"}", &["\"op\" is missing"]),
        (b"{\"op\":\"link\",\"UID\":\"a\",\"provider\":\"p\"}", &["\"providerUID\" is missing"]),
        (b"{\"op\":\"put\",\"uid\":\"n\"}", &["unknown member \"uid\"", "expected op, UID"]),
        (
            b"{\"op\":\"delete\",\"UID\":\"a\",\"status\":\"pending\"}",
            &["unexpected \"status\"", "\"delete\" expects UID"],
        ),
        (b"{\"op\":\"rename\",\"UID\":\"a\",\"newUID\":7}", &["byte", "integer `7`", "\"newUID\""]),
        (b"{\"op\":\"status\",\"UID\":\"a\",\"status\":\"gone\"}", &["\"gone\"", "\"pending\""]),
        (b"{\"op\":\"delete\",\"UID\":\"a\xff\"}", &["byte 49", "UTF-8"]),
        (b"{\"op\":\"delete\",\"UID\":\"a", &["invalid JSON"]),
        (b"7", &["expected an operation"]),
        (
            b"{\"op\":\"link\",\"UID\":\"x\",\"provider\":\"p\",\"providerUID\":\"1\"}",
            &["byte 26", "user \"x\"", "no such user"],
        ),
        (b"{\"op\":\"rename\",\"UID\":\"b\",\"newUID\":\"c\"}", &["byte 26", "a user \"c\" already"]),
    ] {
        scratch.write("ops", [good.as_bytes(), bad, b"\n"].concat());
        let run = scratch.run(&["apply", "s", "ops"]).exits(1);
        run.says(says).says(&["error: ops: line 2, byte ", "nothing was applied"]);
        assert_eq!(all(&scratch, "s"), before, "{}", String::from_utf8_lossy(bad));
    }
    // A batch of more than 8 MiB of text.
    let put =
        |i: usize| object(&format!("u{i}"), "p", &format!("{i:04096}")).replace("{\"UID", "{\"op\":\"put\",\"UID");
    scratch.write("ops", (0..2100).map(put).collect::<String>());
    let run = scratch.run(&["apply", "s", "ops", "--batch", "2100"]).exits(1);
    run.says(&["lines 1 to 2100", "8388608", "nothing was applied"]);
    scratch.run(&["apply", "s", "ops"]).exits(0).says(&["in 3 batches"]);
}

/// A command whose standard input stays open.
fn start(scratch: &Scratch, args: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut command = scratch.command(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

/// Gives a running `apply` one operation and waits for its acknowledgement.
fn acknowledged(child: &mut Child, out: &mut BufReader<ChildStdout>, uid: &str) -> String {
    let line = format!("{{\"op\":\"put\",\"UID\":\"{uid}\"}}\n");
    child.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    let mut ack = String::new();
    out.read_line(&mut ack).unwrap();
    ack
}

#[test]
fn batches_are_acknowledged_while_the_input_is_open_and_survive_a_kill() {
    let scratch = small();
    let (mut child, mut out) = start(&scratch, &["apply", "s", "--batch", "1", "--acks"]);
    assert_eq!(acknowledged(&mut child, &mut out, "n1"), "{\"seq\":2,\"lines\":1}\n");
    assert_eq!(acknowledged(&mut child, &mut out, "n2"), "{\"seq\":3,\"lines\":2}\n");
    let other = scratch.run_with(&["put", "s"], A).exits(1);
    other.says(&["locked", &format!("process {}", child.id()), "hint:"]);
    child.kill().unwrap();
    child.wait().unwrap();
    // Readers see all of it without recovering anything on disk.
    let before = content(&scratch.path("s"));
    scratch.run(&["get", "s", "n1", "n2", "a"]).exits(0);
    assert!(scratch.run(&["stats", "s"]).exits(0).out.contains("not in a segment yet"));
    let stats = scratch.run(&["stats", "s", "--json"]).exits(0).json();
    assert_eq!((&stats["deltaChanges"], &stats["users"], &stats["seq"]), (&2.into(), &5.into(), &3.into()), "{stats}");
    assert_eq!(content(&scratch.path("s")), before);
    let run = scratch.run(&["delete", "s", "c"]).exits(0).says(&["recovered", "seq 4"]);
    assert_eq!(run.out, "");
    let again = scratch.run(&["delete", "s", "b"]).exits(0);
    assert!(!again.err.contains("recovered"), "{}", again.err);
    scratch.run(&["get", "s", "n1", "n2", "a"]).exits(0);
    scratch.run(&["verify", "s"]).exits(0);
}

#[test]
fn an_import_tells_of_a_recovery_too() {
    let scratch = small();
    let (mut child, mut out) = start(&scratch, &["apply", "s", "--batch", "1", "--acks"]);
    acknowledged(&mut child, &mut out, "n1");
    child.kill().unwrap();
    child.wait().unwrap();
    scratch.run_with(&["import", "s", "-"], &object("n2", "p", "1")).exits(0).says(&["recovered", "imported 1 users"]);
    scratch.run(&["get", "s", "n1", "n2", "a"]).exits(0);
}

#[test]
fn ctrl_c_ends_an_apply_between_batches() {
    let scratch = small();
    let (mut child, mut out) = start(&scratch, &["apply", "s", "--batch", "1", "--acks"]);
    acknowledged(&mut child, &mut out, "n1");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.signal(), Some(SIGINT));
    let run = Run::from(output).says(&["error: cancelled; line 1 was applied, up to seq 2; nothing after that was"]);
    assert!(!run.err.contains("hint"), "{}", run.err);
    // It was closed: there is nothing to recover.
    let next = scratch.run(&["status", "s", "n1", "pending"]).exits(0);
    assert!(!next.err.contains("recovered"), "{}", next.err);
}

#[test]
fn changes_are_what_is_different_since_a_seq() {
    let scratch = small();
    let changes = |since: &str| scratch.run(&["changes", "s", "--since", since]).exits(0).out;
    assert_eq!(changes("1"), "{\"seq\":1}\n");
    scratch.run_with(&["apply", "s", "--batch", "1"], OPERATIONS).exits(0);
    let deleted = |uid: &str| format!("{{\"UID\":\"{uid}\",\"deleted\":true}}\n");
    let (c, d, e) = (object("c", "p", "2"), object("d", "p", "1"), object("e", "google", "2"));
    let all = [&deleted("a"), &deleted("b"), &c, &d, &e, "{\"seq\":7}\n"].concat();
    assert_eq!(changes("1"), all);
    assert_eq!(changes("3"), all.replace(&c, ""));
    assert_eq!(changes("6"), [&deleted("b"), "{\"seq\":7}\n"].concat());
    assert_eq!(changes("7"), "{\"seq\":7}\n");
    scratch.run(&["changes", "s", "--since", "8"]).exits(1).says(&["8", "7", "hint:"]);

    scratch.run_with(&["put", "s"], "{\"UID\":\"q\\\"\\n\",\"status\":\"pending\"}\n").exits(0);
    assert_eq!(changes("7").lines().next().unwrap(), "{\"UID\":\"q\\\"\\n\",\"status\":\"pending\",\"identities\":[]}");
    let run = scratch.run(&["changes", "s", "--since", "1", "--format", "csv"]).exits(0);
    let rows = "uid,provider,providerUID,status,deleted\r\na,,,,true\r\nb,,,,true\r\nc,p,2,registered,false\r\n\
                d,p,1,registered,false\r\ne,google,2,registered,false\r\n\"q\"\"\n\",,,pending,false\r\n";
    assert_eq!((run.out.as_str(), run.err.as_str()), (rows, "{\"seq\":8}\n"));
}

#[test]
fn changes_since_0_are_all_users() {
    let scratch = small();
    assert_eq!(scratch.run(&["changes", "s", "--since", "0"]).exits(0).out, [A, B, C, "{\"seq\":1}\n"].concat());
}

#[test]
fn compact_merges_segments_and_changes_nothing_else() {
    let scratch = small();
    for i in 0..6 {
        scratch.run_with(&["put", "s"], &bare(i, i + 3)).exits(0);
    }
    scratch.run(&["delete", "s", "u000002", "b"]).exits(0);
    let before = (all(&scratch, "s"), seq(&scratch));
    scratch.run(&["compact", "s"]).exits(0).says(&["compacted "]);
    assert_eq!((all(&scratch, "s"), seq(&scratch)), before);
    let json = scratch.run(&["compact", "s", "--full", "--json"]).exits(0).json();
    assert_eq!(json["segmentsAfter"], 1, "{json}");
    assert_eq!((all(&scratch, "s"), seq(&scratch)), before);
    let stats = scratch.run(&["stats", "s", "--json"]).exits(0).json();
    assert_eq!(stats["segments"].as_array().unwrap().len(), 1, "{stats}");
    assert_eq!(scratch.run(&["compact", "s", "--json"]).exits(0).json()["segmentsBefore"], 1);
    scratch.run(&["verify", "s"]).exits(0);
}

#[test]
fn many_short_commands_do_not_pile_up_segments() {
    let scratch = small();
    for i in 0..40 {
        scratch.run(&["link", "s", "c", "p", &i.to_string()]).exits(0);
    }
    let segments = scratch.run(&["stats", "s", "--json"]).exits(0).json()["segments"].as_array().unwrap().len();
    assert!(segments <= 4, "{segments} segments");
    scratch.run(&["verify", "s"]).exits(0);
}

#[test]
fn a_backup_is_a_store_of_its_own() {
    let scratch = small();
    scratch.run(&["delete", "s", "c"]).exits(0);
    let before = all(&scratch, "s");
    let json = scratch.run(&["backup", "s", "copy", "--json"]).exits(0).json();
    assert_eq!((&json["users"], &json["seq"]), (&2.into(), &2.into()), "{json}");
    assert_eq!(all(&scratch, "copy"), before);
    scratch.run(&["verify", "copy"]).exits(0);
    scratch.run(&["link", "copy", "a", "p", "1"]).exits(0);
    assert_eq!(all(&scratch, "s"), before);
    assert_ne!(all(&scratch, "copy"), before);
    let ids = |store: &str| scratch.run(&["stats", store, "--json"]).exits(0).json();
    assert_eq!(ids("copy")["storeId"], ids("s")["storeId"]);
    assert_ne!(ids("copy")["incarnation"], ids("s")["incarnation"]);

    scratch.run(&["backup", "s", "copy"]).exits(1).says(&["copy"]);
    scratch.run(&["backup", "s", "s/tmp/x"]).exits(1).says(&["s/tmp/x", "it lies in the store"]);
    scratch.run(&["backup", "s", "no/where"]).exits(1).says(&["no/where"]);
    scratch.run(&["backup", "s", "again"]).exits(0).says(&["copied 2 users as of seq 2"]);
    assert_eq!(scratch.names(), ["again", "copy", "s"]);
}

#[test]
fn a_backup_of_a_killed_store_has_what_was_acknowledged() {
    let scratch = small();
    let (mut child, mut out) = start(&scratch, &["apply", "s", "--batch", "1", "--acks"]);
    acknowledged(&mut child, &mut out, "n1");
    child.kill().unwrap();
    child.wait().unwrap();
    scratch.run(&["backup", "s", "copy"]).exits(0);
    assert_eq!(all(&scratch, "copy"), all(&scratch, "s"));
    scratch.run(&["get", "copy", "n1"]).exits(0);
    scratch.run(&["verify", "copy"]).exits(0);
}

#[test]
fn a_store_that_cannot_be_written_is_named() {
    let scratch = small();
    fs::remove_file(scratch.path("s/MANIFEST")).unwrap();
    for args in [&["put", "s", "-"][..], &["apply", "s", "-"], &["link", "s", "a", "p", "1"], &["compact", "s"]] {
        scratch.run(args).exits(1).says(&["s is not a Headcount store"]);
    }
    scratch.write("users", A);
    scratch.run(&["put", "users", "s"]).exits(1).says(&["users is not a Headcount store", "the store comes first"]);
}
