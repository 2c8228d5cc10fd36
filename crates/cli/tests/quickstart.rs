//! `headcount quickstart`

#![expect(clippy::unwrap_used, reason = "functions of tests, which clippy cannot see in a program of tests")]

mod common;

use std::fs;

use common::Scratch;
use serde_json::Value;

/// The sample without `callId` and `time`, its users in UID order.
fn sample() -> Value {
    comparable(include_str!("../data/seven-users.json"))
}

fn comparable(json: &str) -> Value {
    let mut json: Value = serde_json::from_str(json).unwrap();
    let object = json.as_object_mut().unwrap();
    object.remove("callId");
    object.remove("time");
    let users = object["users"].as_array_mut().unwrap();
    users.sort_by(|a, b| a["UID"].as_str().cmp(&b["UID"].as_str()));
    json
}

#[test]
fn prints_the_documented_example_in_uid_order() {
    let scratch = Scratch::new();
    let run = scratch.run(&["quickstart"]).exits(0).says(&["headcount get ./headcount-quickstart 6625ID"]);
    assert_eq!(comparable(&run.out), sample());
    let uids: Vec<String> =
        run.json()["users"].as_array().unwrap().iter().map(|u| u["UID"].as_str().unwrap().to_owned()).collect();
    assert!(uids.is_sorted(), "{uids:?}");
    assert!(
        run.out.starts_with(r#"{"users":[{"UID":"6625ID","identities":[{"provider":"site","providerUID":"6625ID"},"#)
    );
    assert!(run.out.ends_with('}'), "no line end when standard output is no terminal");
    assert_eq!(run.json()["callId"].as_str().unwrap().len(), 32);
    assert_eq!(run.json()["time"].as_str().unwrap().len(), "2015-03-22T11:42:25.943Z".len());
    assert_eq!(scratch.names(), ["headcount-quickstart"]);
}

#[test]
fn what_it_suggests_works() {
    let scratch = Scratch::new();
    let run = scratch.run(&["quickstart", "demo"]).exits(0);
    let steps: Vec<_> = run.err.lines().filter(|line| line.trim().starts_with("headcount ")).collect();
    assert_eq!(steps.len(), 3, "{}", run.err);
    for step in steps {
        let words: Vec<_> = step.split_whitespace().skip(1).collect();
        scratch.run(&words).exits(0);
    }
}

#[test]
fn runs_again_with_the_same_output() {
    let scratch = Scratch::new();
    let first = scratch.run(&["quickstart", "demo"]).exits(0);
    let again = scratch.run(&["quickstart", "demo"]).exits(0);
    assert_eq!(first.out, again.out);
    let quiet = scratch.run(&["quickstart", "demo", "--json", "-q"]).exits(0);
    assert_eq!(quiet.out, first.out);
    let summary: Value = serde_json::from_str(&quiet.err).unwrap();
    assert_eq!((summary["users"].as_u64(), summary["identities"].as_u64()), (Some(7), Some(9)));
}

#[test]
fn refuses_what_it_did_not_make() {
    let scratch = Scratch::new();
    scratch.write("users.ndjson", r#"{"UID":"a","identities":[]}"#);
    scratch.run(&["import", "site.hc", "users.ndjson"]).exits(0);
    fs::create_dir(scratch.path("empty")).unwrap();
    fs::create_dir(scratch.path("full")).unwrap();
    scratch.write("full/letter.txt", "dear");
    let before = common::content(&scratch.path("."));
    for dir in ["site.hc", "empty", "full", "users.ndjson"] {
        let run = scratch.run(&["quickstart", dir]).exits(1).says(&["was not made by quickstart", "hint:"]);
        assert_eq!(run.out, "");
    }
    assert_eq!(common::content(&scratch.path(".")), before);
    // A copied marker is not enough.
    scratch.run(&["quickstart", "demo"]).exits(0);
    fs::copy(scratch.path("demo/QUICKSTART"), scratch.path("site.hc/QUICKSTART")).unwrap();
    scratch.run(&["quickstart", "site.hc"]).exits(1).says(&["is another store"]);
}

#[test]
fn refuses_its_own_store_when_its_users_were_changed() {
    let scratch = Scratch::new();
    scratch.run(&["quickstart", "demo"]).exits(0);
    scratch.write("users.ndjson", r#"{"UID":"a","identities":[]}"#);
    scratch.run(&["import", "demo", "users.ndjson"]).exits(0);
    scratch.run(&["quickstart", "demo"]).exits(1).says(&["changed"]);
}

#[test]
fn a_parent_that_is_missing_or_closed_is_named() {
    let scratch = Scratch::new();
    scratch.run(&["quickstart", "no/where"]).exits(1).says(&["cannot make no/where"]);
    assert!(scratch.names().is_empty());
}
