//! What there is to do after a disk that took no more: a limit on the length of files stands for one that is full.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::process::Command;

use common::{Run, Scratch};

/// Users of 20 KB, of which 50 are a batch: the log of a few batches is longer than the limit.
const USERS: usize = 600;
const BATCH: usize = 50;

/// Runs the command with files of at most so many blocks, of 512 bytes or of 1024.
fn limited(scratch: &Scratch, blocks: u32, args: &[&str]) -> Run {
    let command = scratch.command(args);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args()).current_dir(scratch.path(""));
    shell.output().unwrap().into()
}

/// A line of a user of 20 KB.
fn user(i: usize) -> String {
    let long = "x".repeat(4000);
    let identities: Vec<_> =
        (0..5).map(|n| format!("{{\"provider\":\"p\",\"providerUID\":\"{i}-{n}-{long}\"}}")).collect();
    format!("{{\"UID\":\"u{i}\",\"identities\":[{}]}}\n", identities.join(","))
}

fn seq(scratch: &Scratch) -> u64 {
    scratch.run(&["stats", "s", "--json"]).exits(0).json()["seq"].as_u64().unwrap()
}

/// The number after the last `word` in `text`.
fn number_after(text: &str, word: &str) -> u64 {
    let (_, rest) = text.rsplit_once(word).unwrap_or_else(|| panic!("{word:?} is not in {text}"));
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// It said to run the command again, which carries out what was applied a second time, and showed the inside of an error.
#[test]
fn what_the_disk_did_not_take_is_gone_on_with_from_where_it_came_to() {
    let scratch = Scratch::new();
    scratch.write("users", (0..USERS).map(user).collect::<String>());
    scratch.run(&["import", "s", "users"]).exits(0);
    let lines: Vec<String> =
        (0..USERS).map(|i| format!("{{\"op\":\"rename\",\"UID\":\"u{i}\",\"newUID\":\"v{i}\"}}\n")).collect();
    scratch.write("ops", lines.concat());

    let run = limited(&scratch, 8192, &["apply", "s", "ops", "--batch", &BATCH.to_string()]).exits(1);
    let run = run.says(&["File too large (os error 27)", "what follows was not acknowledged", "headcount stats STORE"]);
    assert!(!run.err.contains("Os {") && !run.err.contains("run the command again"), "{}", run.err);
    let (applied, at) = (number_after(&run.err, "lines 1 to "), number_after(&run.err, "up to seq "));
    assert_eq!(at, 1 + applied / BATCH as u64);
    let hint = format!(
        "at seq {at} run the command with the lines from {} on, beyond that with the lines from {} on",
        applied + 1,
        applied + 1 + BATCH as u64
    );
    run.says(&[&hint]);
    let from = if seq(&scratch) == at { applied } else { applied + BATCH as u64 };
    let rest: String = lines.iter().skip(usize::try_from(from).unwrap()).map(String::as_str).collect();
    scratch.run_with(&["apply", "s"], &rest).exits(0);
    scratch.run(&["verify", "s"]).exits(0);
    scratch.run(&["get", "s", "v0", &format!("v{applied}"), "v599"]).exits(0);
    scratch.run(&["get", "s", "u0", "u599"]).exits(4);
}

#[test]
fn a_change_that_the_disk_did_not_take_is_looked_for_before_it_is_made_again() {
    let scratch = Scratch::new();
    let uids: Vec<String> = (0..100).map(|i| format!("a-rather-long-uid-{i:03}")).collect();
    let bare: String = uids.iter().map(|uid| format!("{{\"UID\":\"{uid}\",\"identities\":[]}}\n")).collect();
    scratch.write("users", [user(0), bare].concat());
    scratch.run(&["import", "s", "users"]).exits(0);
    let run = limited(&scratch, 8, &["rename", "s", "u0", "new"]).exits(1);
    run.says(&["File too large", "hint: look at the disk, then look whether the change was made", "headcount get"]);
    let delete: Vec<&str> = ["delete", "s"].into_iter().chain(uids.iter().map(String::as_str)).collect();
    let run = limited(&scratch, 1, &delete).exits(1);
    run.says(&["File too large", "hint: look at the disk and run the command again", "not there"]);
    scratch.run(&["rename", "s", "u0", "new"]).exits(0);
    scratch.run(&delete).exits(0).says(&["deleted 100 users"]);
}
