//! `headcount export` for Auth0, Firebase, Keycloak and Kratos: one command each way, and what has no place there.

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use common::{Run, Scratch, content};

const FORMATS: [&str; 4] = ["auth0", "firebase", "keycloak", "kratos"];

const THREE: &str = "{\"UID\":\"a\",\"identities\":[{\"provider\":\"google\",\"providerUID\":\"1\"}]}\n\
                     {\"UID\":\"b\",\"identities\":[{\"provider\":\"apple\",\"providerUID\":\"2\"},{\"provider\":\"github\",\"providerUID\":\"3\"}]}\n\
                     {\"UID\":\"c\",\"status\":\"pending\",\"identities\":[]}\n";

fn three() -> Scratch {
    let scratch = Scratch::new();
    scratch.run_with(&["import", "s", "-"], THREE).exits(0);
    scratch
}

#[test]
fn the_same_name_writes_and_reads() {
    let scratch = Scratch::new();
    let mix = ["--bare-percent", "30", "--escape-percent", "10", "--unicode-percent", "10"];
    scratch.run(&[&["generate", "--users", "3000", "-o", "u.ndjson"], &mix[..]].concat()).exits(0);
    scratch.run(&["import", "s", "u.ndjson"]).exits(0);
    for format in FORMATS {
        let (file, packed) = (format!("{format}.json"), format!("{format}.json.zst"));
        let partial = ["--allow-partial", "--rejects", "left.ndjson", "--json"];
        let run = scratch
            .run(&[&["export", "s", "--format", format, "--include-pending", "-o", &file], &partial[..]].concat());
        let summary = run.json();
        let whole = summary["usersLeftOut"] == 0 && summary["identitiesLeftOut"] == 0;
        let run = run.exits(if whole { 0 } else { 3 });
        assert_eq!(run.err, "");
        assert_eq!((&summary["format"], &summary["complete"]), (&format.into(), &true.into()));
        let bytes = scratch.read(&file).len();
        assert_eq!((&summary["bytes"], &summary["contentBytes"]), (&bytes.into(), &bytes.into()));
        let gone = scratch.run(&["import", &format!("{format}-1"), &file, "--json"]).exits(0).json();
        assert_eq!((&gone["users"], &gone["identities"]), (&summary["users"], &summary["identities"]), "{format}");
        assert_eq!(gone["files"][0]["format"], format);
        // Together with what was left out, it is the store, but for names of providers.
        let both = ["import", &format!("{format}-1"), "left.ndjson", "--format", "ndjson", "--existing", "merge"];
        scratch.run(&both).exits(0);
        let stats = |store: &str| scratch.run(&["stats", store, "--json"]).exits(0).json();
        let (before, after) = (stats("s"), stats(&format!("{format}-1")));
        assert_eq!((&after["users"], &after["identities"]), (&before["users"], &before["identities"]), "{format}");
        // The same on standard output, and compressed.
        let out = scratch.run(&["export", "s", "--format", format, "--include-pending", "--allow-partial"]);
        assert!(out.out == scratch.read(&file), "{format} differs on standard output");
        scratch.run(&["export", "s", "--format", format, "--include-pending", "-o", &packed, "--allow-partial"]);
        scratch.run(&["import", &format!("{format}-2"), &packed, "--format", format]).exits(0);
        assert_eq!(stats(&format!("{format}-2"))["users"], summary["users"], "{format}");
    }
}

#[test]
fn what_has_no_place_ends_the_export_unless_that_is_allowed() {
    let scratch = three();
    scratch.write("out.json", "as it was");
    let export = ["export", "s", "--format", "firebase", "-o", "out.json"];
    let run = scratch.run(&export).exits(1);
    let run = run.says(&[
        "warning: no place in Firebase: user \"b\", identity \"apple\" \"2\": Firebase takes google.com, facebook.com",
        "1 identities of apple were left out: provider",
        "error: 0 users and 1 identities have no place in Firebase",
        "hint: nothing was put in place; --allow-partial",
    ]);
    assert!(!run.err.contains("wrote"), "{}", run.err);
    assert_eq!(scratch.read("out.json"), "as it was");
    let json = scratch.run(&[&export[..], &["--json"]].concat()).exits(1).json();
    assert_eq!(
        (&json["complete"], &json["bytes"], &json["users"]),
        (&false.into(), &serde_json::Value::Null, &2.into())
    );
    assert_eq!(json["identitiesLeftOutByProvider"][0]["reason"], "provider");
    assert_eq!(json["examples"][0]["uid"], "b");
    assert_eq!(scratch.names(), ["out.json", "s"]);
    scratch.run(&[&export[..], &["--rejects", "left"]].concat()).exits(2).says(&["--allow-partial"]);

    let allowed = [&export[..], &["--allow-partial", "--rejects", "left"]].concat();
    scratch.run(&allowed).exits(3).says(&[
        "wrote 2 users, 2 identities for Firebase",
        "1 identities of google are written as google.com",
        "`firebase auth:import` takes files whose names end in .json",
    ]);
    let left = "{\"UID\":\"b\",\"identities\":[{\"provider\":\"apple\",\"providerUID\":\"2\"}]}\n";
    assert_eq!(scratch.read("left"), left);
    assert!(scratch.read("out.json").starts_with("{\"users\":["), "{}", scratch.read("out.json"));
    // On standard output nothing can be taken back: the document is not closed.
    let cut = scratch.run(&["export", "s", "--format", "firebase"]).exits(1);
    assert!(serde_json::from_str::<serde_json::Value>(&cut.out).is_err(), "{}", cut.out);
}

/// What was left out is on its place before what was written: no end of the command leaves the one without the other.
#[test]
fn what_was_left_out_takes_its_name_first() {
    let scratch = three();
    assert!(Command::new("mkfifo").arg(scratch.path("out.json")).status().unwrap().success());
    let partial = ["--allow-partial", "--rejects", "left", "--fsync"];
    let args = [&["export", "s", "--format", "firebase", "-o", "out.json"], &partial[..]].concat();
    let child = scratch.command(&args).stderr(Stdio::piped()).spawn().unwrap();
    // It waits for a reader of the pipe, with the other file begun.
    while !scratch.names().iter().any(|name| name.ends_with(".partial")) {
        sleep(Duration::from_millis(5));
    }
    fs::create_dir_all(scratch.path("left/there")).unwrap();
    let out = scratch.read("out.json");
    Run::from(child.wait_with_output().unwrap()).exits(1).says(&["left"]);
    assert_eq!(out, "", "it was written without what was left out");
    fs::remove_dir_all(scratch.path("left")).unwrap();
    fs::remove_file(scratch.path("out.json")).unwrap();
    scratch.run(&args).exits(3);
    assert_eq!(scratch.names(), ["left", "out.json", "s"]);
}

/// The last bytes find no room when what was left out has its name already.
#[cfg(target_os = "linux")]
#[test]
fn what_was_left_out_of_an_export_that_is_not_there_is_said() {
    let scratch = three();
    let export = ["export", "s", "--format", "firebase", "-o", "/dev/full", "--allow-partial", "--rejects", "left"];
    let run = scratch.run(&export).exits(1);
    run.says(&[
        "/dev/full",
        "hint: ",
        "left is of this export already, which is not there: export again, or remove it",
    ]);
    assert_eq!(scratch.names(), ["left", "s"]);
}

/// The users came to standard output meanwhile.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_of_what_has_no_place_is_not_called_clean() {
    let export = ["export", "s", "--format", "firebase", "--allow-partial", "--rejects", "/dev/full"];
    let run = three().run(&export).exits(1).says(&["what has no place", "make room"]);
    assert!(!run.err.contains("half done"), "{}", run.err);
}

#[test]
fn pending_users_are_disabled_or_have_no_place() {
    let scratch = three();
    let run = scratch.run(&["export", "s", "--format", "kratos", "--include-pending", "-o", "k.ndjson"]).exits(0);
    run.says(&["wrote 3 users", "1 pending users are written as disabled, and come back as registered ones"]);
    assert_eq!(scratch.read("k.ndjson").lines().count(), 3);
    assert!(scratch.read("k.ndjson").contains("\"external_id\":\"c\",\"traits\":{},\"state\":\"inactive\""));
    for (format, said) in [("kratos", "--include-pending writes them too"), ("auth0", "Auth0 knows no pending users")] {
        let run = scratch.run(&["export", "s", "--format", format, "-o", "r.ndjson"]).exits(0);
        run.says(&["1 pending users were left out: ", said]);
    }
    let run = scratch.run(&["export", "s", "--format", "auth0", "--include-pending", "-o", "a.json"]).exits(1);
    run.says(&["no place in Auth0: user \"c\": Auth0 knows no pending users", "1 users were left out: pending"]);
    scratch.run(&["export", "s", "--format", "auth0", "-o", "a.json"]).exits(0);
    let page = ["export", "s", "--format", "auth0", "--limit", "1", "--after", "a", "-o", "page.jsonl"];
    scratch.run(&page).exits(0);
    let line = "{\"user_id\":\"b\",\"identities\":[{\"provider\":\"apple\",\"user_id\":\"2\"},{\"provider\":\"github\",\"user_id\":\"3\"}]}\n";
    assert_eq!(scratch.read("page.jsonl"), line);
}

#[test]
fn options_that_mean_nothing_there_are_refused() {
    let scratch = three();
    let before = content(&scratch.path("s"));
    for (options, parts) in [
        (&["--since", "0"][..], &["--since cannot be used with --format keycloak", "no deletions"][..]),
        (&["--fields", "uid"], &["--fields cannot be used"]),
        (&["--manifest"], &["--manifest cannot be used"]),
        (&["--csv-formula-guard"], &["--csv-formula-guard cannot be used"]),
        (&["--time", "2015-03-22T11:42:25.943Z"], &["--time cannot be used"]),
        (&["--call-id", "0123456789abcdef0123456789abcdef"], &["--call-id cannot be used"]),
    ] {
        let run = scratch.run(&[&["export", "s", "--format", "keycloak", "-o", "x.json"], options].concat());
        run.exits(2).says(parts);
    }
    let lines = scratch.run(&["export", "s", "--format", "keycloak", "-o", "x.ndjson"]).exits(2);
    lines.says(&["keycloak is one document, not one object a line"]);
    scratch.run(&["export", "s", "--allow-partial"]).exits(2).says(&["--allow-partial is for other systems"]);
    assert_eq!(scratch.names(), ["s"]);
    assert!(content(&scratch.path("s")) == before, "an export changed the store");
    scratch.run(&["export", "nobody", "--format", "auth0"]).exits(1).says(&["nobody"]);
}

/// An export that broke off is not taken for one that can be resumed.
#[test]
fn a_broken_export_to_the_same_place_is_given_up() {
    let scratch = three();
    scratch.write("x.json.partial", "half");
    scratch.write("x.json.partial.json", "{}");
    scratch.run(&["export", "s", "--format", "keycloak", "-o", "x.json"]).exits(0);
    assert_eq!(scratch.names(), ["s", "x.json"]);
    let resumed = scratch.run(&["export", "s", "--resume", "x.json", "--format", "keycloak"]).exits(1);
    resumed.says(&["x.json.partial"]);
}
