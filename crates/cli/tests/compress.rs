//! `headcount export --compress`: names, levels, what reads it again, what is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;

use common::Scratch;

fn magic(scratch: &Scratch, name: &str) -> Vec<u8> {
    fs::read(scratch.path(name)).unwrap().get(..4).unwrap().to_vec()
}

const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

#[test]
fn names_say_how_and_what_was_packed_is_checked_and_imported() {
    let scratch = Scratch::new();
    scratch.store("20000");
    let all = ["--fields", "uid,provider,providerUID,status", "--include-pending"];
    let export = |more: &[&str]| scratch.run(&[&["export", "s"], more, &all].concat()).exits(0);
    for (name, format) in [("a.ndjson.gz", "ndjson"), ("a.csv.ZST", "csv"), ("a.json.zst", "json")] {
        let run = export(&["-o", name, "--manifest"]);
        assert!(run.err.contains(" (from "), "{}", run.err);
        let packed = magic(&scratch, name);
        assert!(packed.starts_with(&GZIP) || packed == ZSTD, "{name}");
        let manifest = scratch.read(&format!("{name}.manifest.json"));
        assert!(manifest.contains(&format!("\"format\": \"{format}\"")) && manifest.contains("\"contentBytes\""));
        scratch.run(&["check", name]).exits(0);
        let store = format!("{format}.hc");
        scratch.run(&["import", &store, name]).exits(0);
        export(&["-o", "plain.ndjson"]);
        let again = [&["export", &store, "-o", "again.ndjson"], &all[..]].concat();
        scratch.run(&again).exits(0);
        assert!(scratch.read("again.ndjson") == scratch.read("plain.ndjson"), "{name}");
    }
    export(&["-o", "b.json.gz", "--compress", "none"]);
    assert!(scratch.read("b.json.gz").starts_with("{\"users\""));
    export(&["-o", "b.json", "--compress", "zstd:3", "--json"]);
    assert_eq!(magic(&scratch, "b.json"), ZSTD);
    let piped = scratch.command(&["export", "s", "--compress", "gzip", "-q"]).output().unwrap();
    assert!(piped.status.success() && piped.stdout.starts_with(&GZIP));
}

#[test]
fn what_is_no_compression_is_refused_with_what_is_one() {
    let scratch = Scratch::new();
    scratch.store("10");
    for level in ["gzip:10", "zstd:20", "brotli"] {
        scratch.run(&["export", "s", "--compress", level]).exits(2).says(&["expected gzip", "zstd:1 to zstd:19"]);
    }
}

#[test]
fn another_compression_than_that_of_the_broken_export_is_refused() {
    let scratch = Scratch::new();
    scratch.store("400000");
    let partial = scratch.path("out.ndjson.gz.partial");
    let whole = ["export", "s", "-o", "whole.ndjson.gz", "--compress", "gzip:6"];
    scratch.run(&whole).exits(0);
    let caught = (0..20).any(|_| {
        let args = ["export", "s", "-o", "out.ndjson.gz", "--compress", "gzip:6", "-q"];
        let mut child = scratch.command(&args).spawn().unwrap();
        while fs::metadata(&partial).map_or(0, |m| m.len()) == 0 && child.try_wait().unwrap().is_none() {}
        // It may have ended by itself.
        let _: std::io::Result<()> = child.kill();
        child.wait().unwrap();
        partial.exists()
    });
    assert!(caught, "no export could be killed in the middle");
    let resume = ["export", "s", "--resume", "out.ndjson.gz"];
    scratch.run(&[&resume[..], &["--compress", "zstd"]].concat()).exits(2).says(&["--compress zstd:1 (was gzip:6)"]);
    scratch.run(&[&resume[..], &["--compress", "none"]].concat()).exits(2).says(&["was gzip:6"]);
    scratch.run(&resume).exits(0).says(&[" (from "]);
    let [whole, resumed] = ["whole.ndjson.gz", "out.ndjson.gz"].map(|name| fs::read(scratch.path(name)).unwrap());
    assert!(whole == resumed);
}
