//! Arbitrary bytes as the record of a broken export and as the manifest of a whole one: read or refused, and what was read
//! is written and read again as the same.
#![no_main]

use std::fs;

use headcount_export::{Manifest, ResumeRecord};
use headcount_fuzz::scratch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let path = scratch("sidecars");
    let beside = |more: &str| path.with_file_name(format!("sidecars{more}"));
    let record = beside(".partial.json");
    fs::write(beside(".partial"), b"").expect("the scratch directory can be written");
    fs::write(&record, data).expect("the scratch directory can be written");
    if let Ok(read) = ResumeRecord::read(&path) {
        fs::write(&record, serde_json::to_vec(&read).expect("a record is JSON")).expect("it can be written");
        assert_eq!(ResumeRecord::read(&path).expect("what was written is read"), read);
    }
    fs::write(&path, data).expect("the scratch directory can be written");
    if let Ok(read) = Manifest::read(&path) {
        read.write(&path, false).expect("it can be written");
        assert_eq!(Manifest::read(&path).expect("what was written is read"), read);
    }
});
