//! `put` and `delete` of users that are too large together for one batch.

mod common;

use common::Scratch;

/// Users of 64 KiB each: more than the 64 MiB that one batch may touch.
const USERS: usize = 1100;

fn uid(i: usize) -> String {
    format!("u{i:04}")
}

#[test]
fn users_that_are_too_large_for_one_batch_are_changed_in_several() {
    let scratch = Scratch::new();
    let long = "x".repeat(4000);
    let user = |i: usize| {
        let identities: Vec<_> =
            (0..16).map(|n| format!("{{\"provider\":\"p\",\"providerUID\":\"{i}-{n}-{long}\"}}")).collect();
        format!("{{\"UID\":\"{}\",\"identities\":[{}]}}\n", uid(i), identities.join(","))
    };
    scratch.write("large", (0..USERS).map(user).collect::<String>());
    scratch.run(&["import", "s", "large"]).exits(0);
    scratch.run(&["backup", "s", "t"]).exits(0);
    let short: String = (0..USERS).map(|i| format!("{{\"UID\":\"{}\",\"status\":\"pending\"}}\n", uid(i))).collect();
    scratch.write("short", &short);

    // A line that is refused names its number, and what was put before.
    let taken = format!("{short}{{\"UID\":\"n\",\"identities\":[{{\"provider\":\"p\",\"providerUID\":\"k\"}}]}}\n");
    scratch
        .run_with(&["put", "s"], "{\"UID\":\"m\",\"identities\":[{\"provider\":\"p\",\"providerUID\":\"k\"}]}\n")
        .exits(0);
    let run = scratch.run_with(&["put", "s"], &taken).exits(1);
    let (bad, from) = (USERS + 1, USERS / 2 + 1);
    run.says(&[
        &format!("line {bad}, byte "),
        "belongs to user \"m\"",
        &format!("lines 1 to {} were applied, up to seq 3; nothing after that was", from - 1),
        &format!("the lines from {from} on"),
    ]);
    let json = scratch.run(&["put", "s", "short", "--json"]).exits(0).json();
    assert_eq!((&json["users"], &json["batches"]), (&USERS.into(), &1.into()), "half of them are short by now: {json}");

    for copy in ["v", "w"] {
        scratch.run(&["backup", "t", copy]).exits(0);
    }
    let json = scratch.run(&["put", "t", "short", "--json"]).exits(0).json();
    assert_eq!((&json["users"], &json["changed"]), (&USERS.into(), &USERS.into()), "{json}");
    assert_eq!((&json["batches"], &json["pending"]), (&2.into(), &USERS.into()), "{json}");
    let stats = scratch.run(&["stats", "t", "--json"]).exits(0).json();
    assert_eq!((&stats["pending"], &stats["identities"]), (&USERS.into(), &0.into()), "{stats}");

    let uids: Vec<_> = (0..USERS).map(uid).collect();
    let delete: Vec<_> = ["delete", "v", "--json"].into_iter().chain(uids.iter().map(String::as_str)).collect();
    let json = scratch.run(&delete).exits(0).json();
    assert_eq!((&json["deleted"], &json["notFound"].as_array().map(Vec::len)), (&USERS.into(), &Some(0)), "{json}");
    assert_eq!(scratch.run(&["stats", "v", "--json"]).exits(0).json()["users"], 0);

    // Operations are in the batches that were asked for: what is too large for one is refused, and how many fit is said.
    let ops: String = (0..USERS).map(|i| format!("{{\"op\":\"delete\",\"UID\":\"{}\"}}\n", uid(i))).collect();
    let run = scratch.run_with(&["apply", "w", "--batch", "1100"], &ops).exits(1);
    run.says(&["lines 1 to 1100", "nothing was applied", "hint:", "--batch"]);
    scratch.run_with(&["apply", "w", "--batch", "500"], &ops).exits(0).says(&["in 3 batches"]);
}
