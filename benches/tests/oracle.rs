//! 100,000 synthetic users end to end: what the store answers and what the exporter writes, against a sorted map and
//! the serde_json and csv crates.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headcount_benches::oracle::{self, Query, Users};
use headcount_benches::{Mix, Synth};
use headcount_block::{Progress, RowBuf, User, UserRef};
use headcount_export::{Export, Fields, Format, Length};
use headcount_store::{LoadOptions, Options, Place, RowKind, Snapshot, Store};

const CALL_ID: &str = "00112233445566778899aabbccddeeff";
const TIME: &str = "2015-03-22T11:42:25.943Z";
const ALL: &[&str] = &["uid", "provider", "providerUID"];

/// Loads users in their own order through two shards, with little memory so that the sort has to use files.
fn load(store: &Store, users: impl Iterator<Item = User>) -> Users {
    let options = LoadOptions { memory: 16 << 20, threads: 2, ..LoadOptions::default() };
    let load = store.bulk_load(options, &Arc::new(Progress::default())).unwrap();
    let mut shards = [load.shard(), load.shard()];
    let mut row = RowBuf::new();
    let mut map = Users::new();
    for (line, user) in (1..).zip(users) {
        let place = Place { file: 0, line, offset: line * 100 };
        let shard = &mut shards[usize::from(line % 3 == 0)];
        shard.push(row.encode(&user).unwrap(), place, RowKind::User).unwrap();
        assert!(map.insert(user.uid.clone(), user).is_none(), "synthetic UIDs are distinct");
    }
    let report = load.finish(shards.into(), &mut |rejection| panic!("{rejection}")).unwrap();
    assert_eq!(report.users, map.len() as u64);
    assert_eq!(report.identities, map.values().map(|u| u.identities.len() as u64).sum::<u64>());
    map
}

fn expected(users: &Users, query: &Query<'_>, format: Format) -> Vec<u8> {
    match format {
        Format::Json => oracle::json(users, query, CALL_ID, TIME).unwrap(),
        Format::Csv => oracle::csv(users, query).unwrap(),
        _ => oracle::ndjson(users, query).unwrap(),
    }
}

fn compare(snapshot: &Snapshot, users: &Users, query: &Query<'_>, format: Format, threads: &[usize]) {
    let expected = expected(users, query, format);
    let fields: Fields = query.fields.join(",").parse().unwrap();
    for &threads in threads {
        let what = format!("{format:?} {query:?} on {threads} threads");
        let mut export = Export::new(snapshot)
            .format(format)
            .fields(fields)
            .include_pending(query.include_pending)
            .threads(threads)
            .call_id(CALL_ID)
            .time(TIME);
        if let Some(after) = query.after {
            export = export.after(after);
        }
        if let Some(limit) = query.limit {
            export = export.limit(limit as u64);
        }
        assert_eq!(export.len().unwrap(), Length::Exact(expected.len() as u64), "length of {what}");
        let mut out = Vec::new();
        let summary = export.write_to(&mut out).unwrap();
        assert_same(&out, &expected, &what);
        assert_eq!(summary.bytes, expected.len() as u64, "{what}");
        let chunks = export.chunks().unwrap().map(|chunk| chunk.unwrap().to_vec()).collect::<Vec<_>>().concat();
        assert_same(&chunks, &expected, &what);
    }
}

/// Equality that shows where the first difference is, and not megabytes.
fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    if found != expected {
        let at = found.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(found.len().min(expected.len()));
        let show = |bytes: &[u8]| {
            String::from_utf8_lossy(&bytes[at.saturating_sub(60).min(bytes.len())..bytes.len().min(at + 60)])
                .into_owned()
        };
        panic!("{what}: difference at byte {at}:\n found    {:?}\n expected {:?}", show(found), show(expected));
    }
}

/// The subset of the fields in which the bits of `n` are set, in documented order.
fn subset(n: usize) -> Vec<&'static str> {
    let all = ["uid", "provider", "providerUID", "status"];
    all.into_iter().enumerate().filter(|(i, _)| n >> i & 1 == 1).map(|(_, field)| field).collect()
}

#[test]
fn every_format_and_fields_subset_of_100_000_users() {
    let store = Store::temporary().unwrap();
    let users = load(&store, Synth::new(11, Mix::USUAL).take(100_000));
    let snapshot = store.snapshot();
    for fields in (1..16).map(subset) {
        for format in [Format::Json, Format::Csv, Format::Ndjson] {
            let query = Query { fields: &fields, ..Query::default() };
            compare(&snapshot, &users, &query, format, &[1, 2]);
        }
    }
    store.close().unwrap();
}

#[test]
fn limit_after_and_pending_of_100_000_awkward_users() {
    let store = Store::temporary().unwrap();
    let users = load(&store, Synth::new(12, Mix::HARD).take(100_000));
    let snapshot = store.snapshot();
    let uids: Vec<&str> = users.keys().map(String::as_str).collect();
    let between = format!("{}!", uids[20_000]);
    let afters = [None, Some(""), Some(uids[0]), Some(uids[50_000]), Some(&between), Some(uids[99_999])];
    let limits = [None, Some(0), Some(1), Some(1_000), Some(33_333), Some(1 << 40)];
    let with_status: &[&str] = &["uid", "provider", "providerUID", "status"];
    for include_pending in [false, true] {
        for (i, after) in afters.into_iter().enumerate() {
            for (j, limit) in limits.into_iter().enumerate() {
                // Each pair in one format and another field set; the pairs without a cut in all formats.
                let fields = if (i + j) % 2 == 0 { ALL } else { with_status };
                let query = Query { fields, after, limit, include_pending };
                let formats = [Format::Json, Format::Csv, Format::Ndjson];
                let cut = after.is_some() || limit.is_some();
                for (k, format) in formats.into_iter().enumerate() {
                    if !cut || k == (i + j) % 3 || limit.is_some_and(|limit| limit <= 1_000) {
                        compare(&snapshot, &users, &query, format, &[2]);
                    }
                }
            }
        }
    }
    store.close().unwrap();
}

#[test]
fn csv_columns_in_any_order() {
    let store = Store::temporary().unwrap();
    let users = load(&store, Synth::new(13, Mix::HARD).take(5_000));
    let snapshot = store.snapshot();
    let all = ["uid", "provider", "providerUID", "status"];
    let mut orders: Vec<Vec<&str>> = vec![Vec::new()];
    let mut next = 0;
    while let Some(order) = orders.get(next).cloned() {
        next += 1;
        orders.extend(all.into_iter().filter(|f| !order.contains(f)).map(|f| [order.as_slice(), &[f]].concat()));
    }
    assert_eq!(orders.len(), 65, "all ordered selections, the empty one included");
    for fields in &orders[1..] {
        let query = Query { fields, include_pending: true, ..Query::default() };
        compare(&snapshot, &users, &query, Format::Csv, &[1, 2]);
        compare(&snapshot, &users, &query, Format::Json, &[1]);
    }
    store.close().unwrap();
}

#[test]
fn lookups_agree_for_every_user_and_for_absent_keys() {
    let store = Store::temporary().unwrap();
    let users = load(&store, Synth::new(14, Mix::HARD).take(100_000));
    let snapshot = store.snapshot();
    for (uid, user) in &users {
        assert_eq!(snapshot.get_user(uid).unwrap().as_ref(), Some(user));
        assert!(snapshot.get_user(&format!("{uid}!")).unwrap().is_none());
        for identity in &user.identities {
            let found = snapshot.find_user(&identity.provider, &identity.provider_uid).unwrap();
            assert_eq!(found.as_ref(), Some(user));
            assert!(snapshot.find_user(&identity.provider, &format!("{}!", identity.provider_uid)).unwrap().is_none());
            assert!(snapshot.find_user("no such", &identity.provider_uid).unwrap().is_none());
        }
    }
    // Present and absent keys in turns, in an order that has nothing to do with that of the blocks.
    let synth = Synth::new(14, Mix::HARD);
    let keys: Vec<String> = (0..100_000).flat_map(|n| [synth.user(n).uid, format!("absent{n}")]).collect();
    for batch in keys.chunks(1_000) {
        let mut answers: Vec<Option<Option<User>>> = vec![None; batch.len()];
        let each = |i: usize, user: Option<UserRef<'_>>| {
            assert!(answers[i].replace(user.map(|u| u.to_user().unwrap())).is_none(), "one answer a key");
        };
        snapshot.get_many(batch, each).unwrap();
        for (key, answer) in batch.iter().zip(answers) {
            assert_eq!(answer.unwrap().as_ref(), users.get(key), "{key}");
        }
    }
    store.close().unwrap();
}

/// The only segment of a store.
fn segment(store: &Path) -> PathBuf {
    let mut found = Vec::new();
    let mut dirs = vec![store.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "seg") {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Lookups of a damaged store: right answers or errors, never "absent" and never a wrong user. Returns the errors.
fn lookups(path: &Path, users: &Users) -> usize {
    let Ok(store) = Store::open_read_only(path, &Options::default()) else { return usize::MAX };
    let snapshot = store.snapshot();
    let mut errors = 0;
    for (uid, user) in users {
        match snapshot.get_user(uid) {
            Ok(found) => assert_eq!(found.as_ref(), Some(user), "a wrong answer instead of an error"),
            Err(_) => errors += 1,
        }
        for identity in &user.identities {
            match snapshot.find_user(&identity.provider, &identity.provider_uid) {
                Ok(found) => assert_eq!(found.as_ref(), Some(user), "a wrong owner instead of an error"),
                Err(_) => errors += 1,
            }
        }
    }
    errors
}

#[test]
fn a_flipped_bit_is_an_error_and_never_absent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Store::create(&path, &Options::default()).unwrap();
    let users = load(&store, Synth::new(15, Mix::HARD).take(4_000));
    store.close().unwrap();
    let file = segment(&path);
    let whole = fs::read(&file).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(lookups(&path, &users), 0);
    // Offsets and lengths of both hash indexes, from the footer (docs/FORMAT.md): the last 512 bytes of the file.
    let word = |at: usize| {
        let footer = &whole[whole.len() - 512..];
        usize::try_from(u64::from_le_bytes(footer[at..at + 8].try_into().unwrap())).unwrap()
    };
    let mut state = 99_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for (name, offset, len) in [("UID index", word(168), word(176)), ("identity index", word(192), word(200))] {
        assert!(len >= 4096 && len % 4096 == 0 && offset + len <= whole.len(), "{name} is pages: {offset}+{len}");
        for _ in 0..12 {
            let mut bytes = whole.clone();
            bytes[offset + random(len)] ^= 1 << random(8);
            fs::write(&file, &bytes).unwrap();
            assert!(lookups(&path, &users) > 0, "a flipped bit in the {name} went unnoticed");
        }
    }
    // Anywhere else: found when the bytes are used, and never a wrong answer.
    for _ in 0..12 {
        let mut bytes = whole.clone();
        bytes[random(whole.len())] ^= 1 << random(8);
        fs::write(&file, &bytes).unwrap();
        lookups(&path, &users);
    }
}
