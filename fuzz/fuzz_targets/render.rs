//! Arbitrary users rendered by the kernel, against serde_json and csv: the same bytes, in every format.
#![no_main]

use headcount_export::{Export, Format};
use headcount_fuzz::oracle::{self, Query, Users};
use headcount_fuzz::{AnyUser, in_order};
use headcount_store::{LoadOptions, OnConflict, Store};
use libfuzzer_sys::fuzz_target;

const CALL_ID: &str = "00112233445566778899aabbccddeeff";
const TIME: &str = "2015-03-22T11:42:25.943Z";
const FIELDS: &[&str] = &["uid", "provider", "providerUID", "status"];

fuzz_target!(|input: (Vec<AnyUser>, bool, u8, u8)| {
    let (users, include_pending, fields, limit) = input;
    let users = in_order(users);
    let store = Store::temporary().expect("a temporary store");
    // Identities that two users claim are left out: what the store then holds is what has to be exported.
    let options = LoadOptions { on_conflict: OnConflict::Ignore, threads: 1, ..LoadOptions::default() };
    headcount_fuzz::load(&store, &users, options).expect("valid users");
    let snapshot = store.snapshot();
    let everything = headcount_block::UidRange::all();
    let held: Users = snapshot.users(everything).map(|u| u.expect("whole")).map(|u| (u.uid.clone(), u)).collect();
    assert_eq!(held.len(), users.len());
    let fields: Vec<&str> = FIELDS.iter().enumerate().filter(|(i, _)| fields >> i & 1 == 1).map(|(_, f)| *f).collect();
    let fields = if fields.is_empty() { FIELDS } else { &fields };
    let limit = (limit < 8).then_some(usize::from(limit));
    let query = Query { fields, after: None, limit, include_pending };
    for format in [Format::Json, Format::Csv, Format::Ndjson] {
        let expected = match format {
            Format::Json => oracle::json(&held, &query, CALL_ID, TIME),
            Format::Csv => oracle::csv(&held, &query),
            _ => oracle::ndjson(&held, &query),
        };
        let export = Export::new(&snapshot)
            .format(format)
            .fields(fields.join(",").parse().expect("known fields"))
            .include_pending(include_pending)
            .limit(limit.map(|l| l as u64))
            .threads(1)
            .call_id(CALL_ID)
            .time(TIME);
        let mut out = Vec::new();
        export.write_to(&mut out).expect("a whole store");
        assert_eq!(export.len().expect("known").exact(), Some(out.len() as u64));
        assert!(out == expected.expect("memory"), "{format:?} differs from the slow way");
    }
});
