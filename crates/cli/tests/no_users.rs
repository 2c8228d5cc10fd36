//! Changes and operations are no lists of users: who is gone is not brought back by an import, nor by `put`.

mod common;

use common::Scratch;

const A: &str = "{\"UID\":\"a\",\"identities\":[{\"provider\":\"p\",\"providerUID\":\"1\"}]}\n";
const PENDING: &str =
    "{\"UID\":\"b\",\"status\":\"pending\",\"identities\":[{\"provider\":\"p\",\"providerUID\":\"2\"}]}\n";
const GONE: &str = "{\"UID\":\"c\",\"identities\":[{\"provider\":\"p\",\"providerUID\":\"3\"}]}\n";

/// A store `s` with `a`, with `b` who is pending, and without `c` who was deleted.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    for users in [GONE, A, PENDING] {
        scratch.run_with(&["put", "s"], users).exits(0);
    }
    scratch.run(&["delete", "s", "c"]).exits(0);
    scratch
}

/// Every form that changes have, as a file of that name.
fn changes(scratch: &Scratch) -> [&'static str; 5] {
    for name in ["since.ndjson", "since.csv", "since.json"] {
        scratch.run(&["export", "s", "--since", "1", "-o", name]).exits(0);
    }
    for name in ["changes.ndjson", "changes.csv"] {
        let format = name.rsplit('.').next().unwrap_or_default();
        let run = scratch.run(&["changes", "s", "--since", "1", "--format", format]).exits(0);
        scratch.write(name, run.out);
    }
    ["since.ndjson", "since.csv", "since.json", "changes.ndjson", "changes.csv"]
}

#[test]
fn an_import_of_changes_brings_nobody_back() {
    let scratch = scratch();
    scratch.run_with(&["put", "old"], &[A, PENDING, GONE].concat()).exits(0);
    let before = scratch.run(&["changes", "old", "--since", "0"]).exits(0).out;
    let expected = [
        ("line 2, byte ", "\"deleted\":true says"),
        ("line 3, byte ", "change is \"delete\", which says"),
        ("since.json: ", "\"deletedUIDs\" names 2 users"),
        ("line 3, byte ", "\"deleted\":true says"),
        ("line 4, byte ", "deleted is \"true\", which says"),
    ];
    for (name, (at, said)) in changes(&scratch).into_iter().zip(expected) {
        for more in [&[][..], &["--existing", "merge"], &["--dry-run"]] {
            let import = [&["import", "old", name], more].concat();
            scratch.run(&import).exits(1).says(&[name, at, said, "--since"]);
        }
        assert_eq!(scratch.run(&["changes", "old", "--since", "0"]).exits(0).out, before, "{name}");
    }
}

/// Accounts of Gigya have the members of our changes and operations.
#[test]
fn changes_are_no_accounts_of_gigya_either() {
    let scratch = scratch();
    changes(&scratch);
    scratch.write("ops", "{\"op\":\"delete\",\"UID\":\"c\"}\n");
    scratch.write("page", "{\"results\":[{\"UID\":\"c\",\"deleted\":true}]}");
    scratch.write("accounts", "{\"settings\":{},\"accounts\":[{\"UID\":\"c\",\"op\":\"put\"}]}");
    scratch.run_with(&["put", "old"], &[A, PENDING, GONE].concat()).exits(0);
    let before = scratch.run(&["changes", "old", "--since", "0"]).exits(0).out;
    for (name, said, formats) in [
        ("since.ndjson", "\"deleted\":true says", &["gigya-search", "gigya-import"][..]),
        ("changes.ndjson", "\"deleted\":true says", &["gigya-search", "gigya-import"]),
        ("ops", "\"op\"", &["gigya-search", "gigya-import"]),
        ("page", "\"deleted\":true says", &["gigya-search"]),
        ("accounts", "\"op\"", &["gigya-import"]),
    ] {
        for format in formats {
            scratch.run(&["import", "old", name, "--format", format]).exits(1).says(&[name, said]);
            assert_eq!(scratch.run(&["changes", "old", "--since", "0"]).exits(0).out, before, "{name} as {format}");
        }
    }
}

#[test]
fn who_is_not_gone_can_be_loaded_without_the_others() {
    let scratch = scratch();
    let names = changes(&scratch);
    for (name, rejected) in names.into_iter().zip([2, 2, 0, 2, 1]).filter(|(_, rejected)| *rejected > 0) {
        let store = format!("of-{name}");
        let import = ["import", &store, name, "--skip-invalid", "--rejects", "left", "--json"];
        let report = scratch.run(&import).exits(3).json();
        assert_eq!(report["rejected"], rejected, "{name}");
        assert!(report["rejectedByReason"]["deleted"].as_u64() > Some(0), "{name}: {report}");
        assert!(scratch.run(&["get", &store, "c"]).exits(4).out.is_empty(), "{name}");
        assert_eq!(scratch.run(&["get", &store, "a"]).exits(0).out, A, "{name}");
    }
    // Of a document nothing is left out.
    scratch.run(&["import", "of-json", "since.json", "--skip-invalid"]).exits(1).says(&["deletedUIDs"]);
    // Changes without anybody who is gone are users as they were then.
    scratch.run_with(&["put", "young"], &[A, PENDING].concat()).exits(0);
    for name in ["young.ndjson", "young.csv", "young.json"] {
        scratch.run(&["export", "young", "--since", "0", "--include-pending", "-o", name]).exits(0);
        scratch.run(&["import", "again", name]).exits(0);
    }
}

#[test]
fn put_takes_no_operations() {
    let scratch = scratch();
    for line in ["{\"op\":\"delete\",\"UID\":\"a\"}\n", "{\"UID\":\"a\",\"op\":\"put\"}\n"] {
        scratch.write("ops", line);
        for command in [&["put", "s", "ops"][..], &["import", "s", "ops"], &["put", "s", "-"]] {
            scratch.run_with(command, line).exits(1).says(&["line 1, byte ", "\"op\"", "headcount apply"]);
        }
    }
    scratch.run_with(&["put", "s"], "{\"UID\":\"a\",\"deleted\":true}\n").exits(1).says(&["\"deleted\":true says"]);
    assert_eq!(scratch.run(&["get", "s", "a"]).exits(0).out, A);
}
