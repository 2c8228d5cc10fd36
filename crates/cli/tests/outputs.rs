//! Where a command writes to: files that hold users are for their owner alone, no two outputs share a place, and an output
//! that fails does not hide what was done.

#![expect(clippy::unwrap_used, reason = "functions of tests, which clippy cannot see in a program of tests")]

mod common;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use common::{Run, Scratch, content};

const GOOD: &str = "{\"UID\":\"a\",\"identities\":[{\"provider\":\"google\",\"providerUID\":\"1\"}]}\n";
const BAD: &str = "{\"UID\":5}\n";
/// Firebase takes no identities of apple.
const APPLE: &str = "{\"UID\":\"b\",\"identities\":[{\"provider\":\"apple\",\"providerUID\":\"2\"}]}\n";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Rejects are users of somebody's site, as exports are.
#[test]
fn rejects_are_for_their_owner_alone_and_go_where_a_link_points() {
    let scratch = Scratch::new();
    scratch.write("u.ndjson", [GOOD, APPLE, BAD].concat());
    fs::create_dir(scratch.path("out")).unwrap();
    let import = |rejects: &str| {
        scratch.run(&["import", "s", "u.ndjson", "--skip-invalid", "--rejects", rejects]).exits(3);
        assert_eq!((scratch.read(rejects).as_str(), mode(&scratch.path(rejects))), (BAD, 0o600), "{rejects}");
    };
    import("new");
    for (name, before) in [("private", 0o600), ("public", 0o644)] {
        let path = scratch.write(name, "old");
        fs::set_permissions(path, Permissions::from_mode(before)).unwrap();
        import(name);
    }
    // A link is followed, whether or not there is something where it points.
    symlink("out/file", scratch.path("link")).unwrap();
    for _ in 0..2 {
        import("link");
        assert!(scratch.path("link").is_symlink());
        assert_eq!(scratch.read("out/file"), BAD);
    }
    symlink("loop", scratch.path("loop")).unwrap();
    scratch.run(&["import", "s", "u.ndjson", "--skip-invalid", "--rejects", "loop"]).exits(1).says(&["loop"]);
    let left = ["export", "s", "--format", "firebase", "-o", "f.json", "--allow-partial", "--rejects", "left"];
    scratch.run(&left).exits(3);
    assert_eq!((mode(&scratch.path("left")), mode(&scratch.path("f.json"))), (0o600, 0o600));
}

/// `/dev/stdout` leads to the text `pipe:[N]` where standard output is a pipe, and no file is there.
#[test]
fn links_to_pipes_are_written_as_pipes() {
    let scratch = Scratch::new();
    scratch.write("u.ndjson", [GOOD, BAD].concat());
    let import = ["import", "s", "u.ndjson", "--skip-invalid", "--rejects"];
    assert_eq!(scratch.run(&[&import[..], &["/dev/stdout"]].concat()).exits(3).out, BAD);
    // As the shell hands over a process: `--rejects >(cat)`.
    let rejects = ["import", "t", "u.ndjson", "--skip-invalid", "--rejects", "/dev/fd/1"];
    assert_eq!(scratch.run(&rejects).exits(3).out, BAD);
    assert_eq!(scratch.run(&["export", "s", "--format", "ndjson", "-o", "/dev/stdout"]).exits(0).out, GOOD);
    symlink("/dev/stdout", scratch.path("link")).unwrap();
    assert_eq!(scratch.run(&["generate", "--users", "1", "-o", "link"]).exits(0).out.lines().count(), 1);
    assert!(scratch.path("link").is_symlink());
    let resumed = scratch.run(&["export", "s", "--resume", "/dev/stdout"]);
    resumed.exits(1).says(&["/dev/stdout is no regular file"]);
    assert_eq!(scratch.names(), ["link", "s", "t", "u.ndjson"]);
}

/// Runs the command with standard output sent to the file `out`.
fn run_into(scratch: &Scratch, args: &[&str], out: &Path) -> Run {
    scratch.command(args).stdout(File::create(out).unwrap()).output().unwrap().into()
}

#[test]
fn rejects_have_a_place_of_their_own() {
    let scratch = Scratch::new();
    scratch.run_with(&["import", "s", "-"], &[GOOD, APPLE].concat()).exits(0);
    fs::create_dir(scratch.path("d")).unwrap();
    symlink("f.json", scratch.path("link")).unwrap();
    let export = ["export", "s", "--format", "firebase", "--allow-partial"];
    let refused = |more: &[&str]| {
        scratch.run(&[&export[..], more].concat()).exits(2).says(&["--rejects", "hint: name another file"]);
    };
    for there in [false, true] {
        if there {
            scratch.write("f.json", "as it was");
        }
        for rejects in ["f.json", "./f.json", "d/../f.json", "link"] {
            refused(&["-o", "f.json", "--rejects", rejects]);
        }
        refused(&["-o", "link", "--rejects", "f.json"]);
    }
    assert_eq!(scratch.read("f.json"), "as it was");
    refused(&["--rejects", "-"]);
    refused(&["-o", "-", "--rejects", "-"]);
    // Standard output may be the file that is named.
    let into = run_into(&scratch, &[&export[..], &["--rejects", "o"]].concat(), &scratch.path("o"));
    into.exits(2).says(&["--rejects"]);
    let null = ["-o", "/dev/null", "--rejects", "/dev/null"];
    scratch.run(&[&export[..], &null].concat()).exits(3);
    let apart = scratch.run(&[&export[..], &["-o", "f.json", "--rejects", "-"]].concat()).exits(3);
    assert_eq!(apart.out, APPLE);
    assert!(scratch.read("f.json").starts_with("{\"users\":["));

    scratch.write("u.ndjson", [GOOD, BAD].concat());
    let import = ["import", "t", "u.ndjson", "--skip-invalid", "--json", "--rejects"];
    let hint = &["--rejects", "summary", "hint: name another file"];
    scratch.run(&[&import[..], &["-"]].concat()).exits(2).says(hint);
    run_into(&scratch, &[&import[..], &["o"]].concat(), &scratch.path("o")).exits(2).says(hint);
    assert!(!scratch.path("t").exists());
    scratch.run(&["import", "t", "u.ndjson", "--skip-invalid", "--rejects", "-"]).exits(3);
}

/// What was done is done, whether or not the report of it can be written.
#[test]
fn a_report_that_cannot_be_written_does_not_hide_what_was_done() {
    let scratch = Scratch::new();
    scratch.write("u.ndjson", GOOD);
    let full = |args: &[&str]| -> Run {
        scratch.command(args).stdout(File::options().write(true).open("/dev/full").unwrap()).output().unwrap().into()
    };
    for (args, done) in [
        (&["import", "s", "u.ndjson", "--json"][..], "imported 1 users"),
        (&["put", "s", "u.ndjson", "--json"], "put 1 users"),
        (&["link", "s", "a", "site", "9", "--json"], "linked \"site\" \"9\" to user \"a\""),
        (&["delete", "s", "a", "--json"], "deleted 1 user"),
    ] {
        full(args).exits(1).says(&["cannot write standard output", "space", "this is done all the same: ", done]);
    }
    scratch.run(&["get", "s", "a"]).exits(4);
    let dry = full(&["import", "s", "u.ndjson", "--json", "--dry-run"]).exits(1);
    assert!(!dry.err.contains("done all the same"), "{}", dry.err);
    scratch.write("ops", "{\"op\":\"put\",\"UID\":\"x\"}\n{\"op\":\"put\",\"UID\":\"y\"}\n");
    full(&["apply", "s", "ops", "--batch", "1", "--acks"]).exits(1).says(&["cannot write", "line 1 was applied"]);
    scratch.run(&["get", "s", "x"]).exits(0);
}

/// A file that takes the name of a store's manifest is the end of that store, and others are removed as leftovers.
#[test]
fn no_output_lands_in_a_store() {
    let scratch = Scratch::new();
    scratch.write("u.ndjson", [GOOD, BAD].concat());
    scratch.write("secret", "c2VjcmV0");
    fs::set_permissions(scratch.path("secret"), Permissions::from_mode(0o600)).unwrap();
    scratch.run(&["import", "s", "u.ndjson", "--skip-invalid"]).exits(3);
    scratch.run(&["import", "t", "u.ndjson", "--skip-invalid"]).exits(3);
    symlink("s/MANIFEST", scratch.path("to-manifest")).unwrap();
    symlink("s/none.json", scratch.path("to-none")).unwrap();
    symlink("s", scratch.path("to-store")).unwrap();
    let before = content(&scratch.path("s"));
    let import: &[&str] = &["import", "t", "u.ndjson", "--skip-invalid", "--rejects"];
    let call: &[&str] = &["call", "http://127.0.0.1:9", "--api-key", "k", "--secret-file", "secret", "-o"];
    let left: &[&str] = &["export", "t", "--format", "firebase", "-o", "f", "--allow-partial", "--rejects"];
    for command in [
        &["export", "s", "-o"][..],
        &["export", "t", "--resume"],
        &["export", "t", "--format", "auth0", "-o"],
        left,
        import,
        call,
        &["generate", "--users", "10", "-o"],
        &["serve", "s", "--audit-log"],
    ] {
        for place in ["s/MANIFEST", "s/users.json", "s/tmp/users.json", "to-manifest", "to-none", "to-store/LOCK"] {
            scratch.run(&[command, &[place]].concat()).exits(2).says(&[place, "lies in the store", "hint: "]);
        }
        assert_eq!(content(&scratch.path("s")), before, "{command:?}");
    }
    scratch.run(&["verify", "s"]).exits(0);
    // Of a damaged store there is still something to rescue.
    fs::write(scratch.path("s/MANIFEST"), "").unwrap();
    fs::write(scratch.path("s/MANIFEST.prev"), &fs::read(scratch.path("t/MANIFEST")).unwrap()[..20]).unwrap();
    scratch.run(&["export", "t", "-o", "s/users.json"]).exits(2);
    // A directory that has a file of that name is no store.
    fs::create_dir(scratch.path("d")).unwrap();
    scratch.write("d/MANIFEST", "Manifest-Version: 1.0\n");
    scratch.run(&["export", "t", "-o", "d/MANIFEST"]).exits(0);
}

/// The kernel takes no path of more than 4,096 bytes, and needs none for what is named from where one stands.
#[test]
fn stores_are_made_where_no_absolute_path_leads() {
    let scratch = Scratch::new();
    let chain = |n: usize| vec!["d".repeat(250); n].join("/");
    fs::create_dir_all(scratch.path(&chain(8))).unwrap();
    symlink(chain(8), scratch.path("half")).unwrap();
    let deep = scratch.path(&format!("half/{}", chain(10)));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("u"), "{\"UID\":\"a\",\"identities\":[]}\n").unwrap();
    for args in [&["import", "s", "u"][..], &["backup", "s", "b"], &["verify", "b"]] {
        let output = scratch.command(args).current_dir(&deep).output().unwrap();
        Run::from(output).exits(0);
    }
}
