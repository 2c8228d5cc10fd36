//! `headcount generate`

mod common;

use common::Scratch;

#[test]
fn the_same_seed_gives_the_same_users_in_every_format() {
    let scratch = Scratch::new();
    let of = |args: &[&str]| scratch.run(&[&["generate", "--users", "500"], args].concat()).exits(0).out;
    assert_eq!(of(&[]), of(&["--seed", "1", "--format", "ndjson"]));
    assert_ne!(of(&[]), of(&["--seed", "2"]));
    assert_eq!(of(&[]).lines().count(), 500);
    assert!(of(&["--format", "csv"]).starts_with("uid,provider,providerUID,status\r\n"));
    let json: serde_json::Value = serde_json::from_str(&of(&["--format", "gigya-json"])).unwrap();
    assert_eq!(json["usersCount"], 500);
}

#[test]
fn a_file_has_the_format_of_its_extension() {
    let scratch = Scratch::new();
    for (name, format) in [("u.csv", "csv"), ("u.json", "gigya-json"), ("u.ndjson", "ndjson"), ("u", "ndjson")] {
        scratch.run(&["generate", "--users", "50", "-o", name]).exits(0).says(&["generated 50 users"]);
        assert_eq!(scratch.read(name), scratch.run(&["generate", "--users", "50", "--format", format]).out);
    }
    assert_eq!(scratch.names(), ["u", "u.csv", "u.json", "u.ndjson"]);
}

#[test]
fn awkward_mixes_are_as_asked() {
    let scratch = Scratch::new();
    let args = ["generate", "--users", "5000", "--pending-percent", "100", "--bare-percent", "100"];
    let run = scratch.run(&args).exits(0).says(&["(5,000 pending), 0 identities"]);
    assert!(run.out.lines().all(|line| line.ends_with(r#","status":"pending","identities":[]}"#)));
}

#[test]
fn what_cannot_be_written_is_named() {
    let scratch = Scratch::new();
    scratch.run(&["generate", "--users", "1", "-o", "no/file"]).exits(1).says(&["cannot write no/file"]);
    scratch.run(&["generate", "--users", "1", "-o", "."]).exits(1).says(&["directory"]);
    scratch.run(&["generate", "--users", "9", "-o", "/dev/full"]).exits(1).says(&["/dev/full", "space"]);
    scratch.run(&["generate", "--users", "many"]).exits(2);
    scratch.run(&["generate", "--users", "1", "--bare-percent", "101"]).exits(2).says(&["0 to 100"]);
    assert!(scratch.names().is_empty());
}
