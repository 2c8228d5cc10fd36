//! `headcount salvage`: what it writes, what it says, and how it ends.

#![expect(clippy::unwrap_used, reason = "functions of tests, which clippy cannot see in a program of tests")]

mod common;

use std::fs;
use std::path::PathBuf;

use common::{Scratch, content};

fn segment(scratch: &Scratch) -> PathBuf {
    let names = scratch.run(&["stats", "s", "--json"]).exits(0).json();
    scratch.path("s").join(names.pointer("/segments/0/name").unwrap().as_str().unwrap())
}

fn flip(path: &PathBuf, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.get_mut(at).unwrap() ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_whole_store_comes_out_whole() {
    let scratch = Scratch::new();
    scratch.store("5000");
    let before = content(&scratch.path("s"));
    scratch
        .run(&["salvage", "s", "new"])
        .exits(0)
        .says(&["wrote 5,000 users to new of the 5,000 in s", "nothing was lost"]);
    assert!(before == content(&scratch.path("s")), "the store was touched");
    let export = |store| {
        scratch.run(&[
            "export",
            store,
            "--format",
            "ndjson",
            "--include-pending",
            "--fields",
            "uid,status,provider,providerUID",
        ])
    };
    assert_eq!(export("s").exits(0).out, export("new").exits(0).out);
    // Nothing is written over, and nothing is made inside of what is salvaged.
    scratch.run(&["salvage", "s", "new"]).exits(1).says(&["new"]);
    scratch.run(&["salvage", "s", "s/new"]).exits(1).says(&["it lies in the store that is salvaged"]);
    scratch.run(&["salvage", "missing", "other"]).exits(1).says(&["missing"]);
    assert_eq!(scratch.names(), ["new", "s", "users.ndjson"]);
}

#[test]
fn what_is_lost_is_named_and_ends_with_5() {
    let scratch = Scratch::new();
    scratch.store("5000");
    let segment = segment(&scratch);
    flip(&segment, 64 + 1000);
    scratch.run(&["export", "s"]).exits(5);
    let run = scratch.run(&["salvage", "s", "new"]).exits(5).says(&["of the 5,000 in s", "1 thing could not be read"]);
    assert!(run.out.contains("block body checksum") && run.out.contains("; block 0; "), "{}", run.out);
    assert!(run.out.contains(segment.to_str().unwrap()) || run.out.contains("s/"), "{}", run.out);
    let report = scratch.run(&["salvage", "s", "again", "--json"]).exits(5).json();
    let number = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(number("users") + number("lostUsers"), 5000, "{report}");
    assert_eq!(number("expectedUsers"), 5000);
    assert_eq!((report["by"].as_str(), number("olderUsers"), number("returnedUsers")), (Some("manifest"), 0, 0));
    let loss = &report["losses"][0];
    assert_eq!((loss["firstBlock"].as_u64(), loss["users"].as_u64()), (Some(0), Some(number("lostUsers"))));
    assert!(loss["firstUid"].is_string() && loss["nextUid"].is_string(), "{loss}");
    scratch.run(&["verify", "new"]).exits(0);
    let rest = scratch.run(&["stats", "new", "--json"]).exits(0).json();
    assert_eq!(rest["users"].as_u64(), Some(number("users")));
}

#[test]
fn a_store_that_does_not_open_is_salvaged_too() {
    let scratch = Scratch::new();
    scratch.store("3000");
    flip(&scratch.path("s/MANIFEST"), 90);
    let end = fs::metadata(segment_of_files(&scratch)).unwrap().len();
    scratch.run(&["stats", "s"]).exits(5);
    let run = scratch.run(&["salvage", "s", "new"]).exits(5).says(&["wrote 3,000 users to new:"]);
    assert!(run.out.contains("MANIFEST") && run.out.contains("deleted users may be back"), "{}", run.out);
    // A whole footer lost besides: users come out whose rows do not need the dictionary.
    let path = segment_of_files(&scratch);
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes.get(..usize::try_from(end).unwrap() - 512).unwrap()).unwrap();
    let report = scratch.run(&["salvage", "s", "again", "--json"]).exits(5).json();
    assert_eq!(report["users"].as_u64().unwrap() + report["lostUsers"].as_u64().unwrap(), 3000, "{report}");
    assert!(report["users"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn a_segment_that_is_not_there_is_damage_with_a_way_out() {
    let scratch = Scratch::new();
    scratch.store("100");
    fs::remove_file(segment(&scratch)).unwrap();
    let run = scratch.run(&["verify", "s"]).exits(5).says(&["1 damage found in s", "hint:", "headcount salvage"]);
    assert!(run.out.contains(".seg"), "{}", run.out);
    scratch.run(&["salvage", "s", "new"]).exits(5);
}

fn segment_of_files(scratch: &Scratch) -> PathBuf {
    let files = content(&scratch.path("s"));
    files.into_iter().map(|(path, _)| path).find(|path| path.extension().is_some_and(|e| e == "seg")).unwrap()
}
