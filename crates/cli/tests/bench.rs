//! `headcount bench`: what it prints, that it leaves nothing, and what it refuses.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::time::Duration;

use common::Scratch;

fn is_empty(scratch: &Scratch, dir: &str) -> bool {
    fs::read_dir(scratch.path(dir)).unwrap().next().is_none()
}

#[test]
fn figures_as_a_table_and_as_json_and_nothing_is_left() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("d")).unwrap();
    let small = ["bench", "--users", "3000", "--rounds", "2", "--dir", "d"];
    let run = scratch.run(&small).exits(0);
    for row in [
        "3,000 synthetic users",
        "| load from NDJSON",
        "| export JSON to a file / c",
        "| durable commit of one user | ",
    ] {
        assert!(run.out.contains(row), "{row}: {}", run.out);
    }
    assert!(is_empty(&scratch, "d"));
    let run = scratch.run(&[&small[..], &["--json", "-q"]].concat()).exits(0);
    assert_eq!(run.err, "");
    let json: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((&json["users"], &json["rounds"]), (&3000.into(), &2.into()));
    assert!(json["machine"]["cores"].as_u64() > Some(0));
    let figures = json["figures"].as_array().unwrap();
    assert_eq!(figures.len(), 14);
    for figure in figures {
        let [least, median, greatest] = ["least", "median", "greatest"].map(|key| figure[key].as_f64().unwrap());
        assert!(0.0 < least && least <= median && median <= greatest, "{figure}");
    }
    assert!(is_empty(&scratch, "d"));
}

#[test]
fn a_place_without_room_and_no_place_are_refused() {
    let scratch = Scratch::new();
    scratch.run(&["bench", "--dir", "nowhere"]).exits(1).says(&["cannot use nowhere", "--dir DIR"]);
    let much = ["bench", "--users", "1000000000", "--dir", "."];
    scratch.run(&much).exits(1).says(&["free, the benchmark needs up to", "--users N"]);
    scratch.run(&["bench", "--users", "0"]).exits(2);
}

#[test]
fn interrupted_it_leaves_nothing() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("d")).unwrap();
    let mut child = scratch.command(&["bench", "--users", "300000", "--dir", "d", "-q"]).spawn().unwrap();
    while is_empty(&scratch, "d") {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(50));
    let process = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(is_empty(&scratch, "d"));
}
