//! Arbitrary bytes as an exported file: the check never panics, and a JSON or NDJSON that it accepts says what it counted.
#![no_main]

use std::fs;

use headcount_export::{Format, check_file};
use headcount_fuzz::scratch;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Identities of a user, which need not be exported.
fn identities(user: &Value) -> u64 {
    user["identities"].as_array().map_or(0, |all| all.len() as u64)
}

fuzz_target!(|data: &[u8]| {
    let path = scratch("check");
    fs::write(&path, data).expect("the scratch directory can be written");
    let Ok(report) = check_file(&path, None, None) else { return };
    if report.compression.is_some() {
        return;
    }
    assert_eq!(report.bytes, data.len() as u64);
    let users: Vec<Value> = match report.format {
        Format::Json => {
            let json: Value = serde_json::from_slice(data).expect("an accepted JSON is one");
            let users = json["users"].as_array().expect("users are a list").clone();
            assert_eq!(json["usersCount"], users.len());
            users
        }
        Format::Ndjson => {
            let lines = data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            lines.map(|line| serde_json::from_slice(line).expect("an accepted line is JSON")).collect()
        }
        _ => return,
    };
    let gone = users.iter().filter(|user| user["deleted"] == true).count() as u64;
    assert_eq!(report.users, Some(users.len() as u64 - gone));
    assert_eq!(report.identities, users.iter().map(identities).sum::<u64>());
});
