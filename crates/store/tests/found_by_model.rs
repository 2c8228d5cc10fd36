//! Faults that the model test found, each as the shortest history that shows it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headcount_store::block::{Identity, Progress, RowBuf, User};
use headcount_store::{
    Backend, Batch, BulkLoad, Compaction, Error, Existing, LoadOptions, OnConflict, Options, Place, Precondition,
    RefuseReason, RowKind, Shard, Store,
};

fn put(store: &Store, uid: &str) -> u64 {
    let mut batch = Batch::new();
    batch.put(User::new(uid).with_identity("p", uid));
    store.commit(batch).unwrap().seq
}

fn delete(store: &Store, uid: &str) -> u64 {
    let mut batch = Batch::new();
    batch.delete(uid);
    store.commit(batch).unwrap().seq
}

#[test]
fn an_absence_that_may_have_been_forgotten_is_no_unchanged_absence() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { tombstone_retention: Duration::ZERO, maintenance: false, ..Options::default() };
    let store = Store::create(dir.path().join("s"), &options).unwrap();
    let seen = put(&store, "a");
    let deleted = delete(&store, "a");
    let only_if_unchanged = |since| {
        let mut batch = Batch::new();
        batch.require("a", Precondition::UnchangedSince(since)).link("b", Identity::new("q", "1"));
        match store.commit(batch) {
            Err(Error::Refused(refusal)) => (refusal.operation, refusal.reason),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(only_if_unchanged(seen), (0, RefuseReason::Changed { since: seen, found: deleted }));
    std::thread::sleep(Duration::from_millis(2));
    store.compact(Compaction::Full, &Progress::default()).unwrap();
    assert_eq!(store.stats().changes_floor, deleted);
    assert_eq!(only_if_unchanged(seen), (0, RefuseReason::Changed { since: seen, found: deleted }));
    assert_eq!(only_if_unchanged(deleted), (1, RefuseReason::NoSuchUser));
    store.close().unwrap();
}

fn erase(store: &Store, uid: &str) -> Result<u64, Error> {
    store.erase(&[uid], Duration::ZERO, &Progress::default()).map(|report| report.erased)
}

/// Files of a store, in whichever directory, that hold this text.
fn named(dir: &Path, text: &str) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let count = |path: std::path::PathBuf| {
        if path.is_dir() {
            return named(&path, text);
        }
        usize::from(std::fs::read(&path).unwrap().windows(text.len()).any(|w| w == text.as_bytes()))
    };
    entries.map(count).sum()
}

#[test]
fn an_erasure_knows_of_files_that_an_earlier_compaction_left_to_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let options = Options { tombstone_retention: Duration::ZERO, maintenance: false, ..Options::default() };
    let store = Store::create(&path, &options).unwrap();
    for forgotten in [false, true] {
        let seq = put(&store, "victim");
        store.flush().unwrap();
        let pin = store.snapshot();
        if forgotten {
            delete(&store, "victim");
            std::thread::sleep(Duration::from_millis(2));
        } else {
            put(&store, "other");
        }
        store.compact(Compaction::Full, &Progress::default()).unwrap();
        match erase(&store, "victim") {
            Err(Error::Pinned { oldest }) => assert_eq!(oldest, seq),
            other => panic!("{other:?}"),
        }
        assert!(named(&path, "victim") > 0);
        drop(pin);
        erase(&store, "victim").unwrap();
        assert_eq!(named(&path, "victim"), 0);
    }
    store.close().unwrap();
}

#[test]
fn a_user_who_came_back_after_an_unfinished_erasure_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = Store::create(&path, &Options::default()).unwrap();
    for uid in ["a", "b", "c"] {
        put(&store, uid);
    }
    store.flush().unwrap();
    let pin = store.snapshot();
    assert!(matches!(erase(&store, "a"), Err(Error::Pinned { .. })));
    assert!(matches!(erase(&store, "b"), Err(Error::Pinned { .. })));
    let mut batch = Batch::new();
    batch.put(User::new("a").with_identity("q", "again"));
    store.commit(batch).unwrap();
    store.flush().unwrap();
    // Neither another erasure nor the next open takes those for unfinished business.
    assert!(matches!(erase(&store, "b"), Err(Error::Pinned { .. })));
    drop(pin);
    store.close().unwrap();
    let store = Store::open(&path, &Options::default()).unwrap();
    let recovery = store.recovery().unwrap();
    assert_eq!((recovery.erased, &recovery.not_erased), (1, &vec!["a".to_owned()]));
    let not = "not erased: 1 user whose erasure had begun, there still or again (erase again who is to go)";
    assert!(recovery.to_string().ends_with(&format!("completed the erasure of 1 user, {not}")), "{recovery}");
    assert_eq!(store.get("a").unwrap(), Some(User::new("a").with_identity("q", "again")));
    assert_eq!(store.get("b").unwrap(), None);
    assert_eq!(store.stats().totals.users(), 2);
    let report = store.verify(&Progress::default(), &mut |damage| panic!("{damage}")).unwrap();
    assert_eq!(report.damages, 0);
    store.close().unwrap();
}

fn shard_of(load: &BulkLoad, users: &[User]) -> Shard {
    let (mut shard, mut row) = (load.shard(), RowBuf::new());
    for (line, user) in (1..).zip(users) {
        shard.push(row.encode(user).unwrap(), Place { file: 0, line, offset: line }, RowKind::User).unwrap();
    }
    shard
}

#[test]
fn a_load_beside_which_deletions_are_forgotten_is_checked_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("s"), &Options::default()).unwrap();
    for uid in ["gone", "there"] {
        put(&store, uid);
    }
    let load = store.bulk_load(LoadOptions { threads: 1, ..LoadOptions::default() }, &Arc::default()).unwrap();
    let shard = shard_of(&load, &["loaded", "there"].map(|uid| User::new(uid).with_identity("q", uid)));
    // The base of the load holds the file.
    assert!(matches!(erase(&store, "there"), Err(Error::Pinned { .. }) | Ok(_)));
    delete(&store, "gone");
    let report = load.finish(vec![shard], &mut |_| Ok(())).unwrap();
    assert_eq!((report.users, report.replaced), (2, 0));
    assert_eq!(store.get("there").unwrap(), Some(User::new("there").with_identity("q", "there")));
    assert_eq!(store.stats().totals.users(), 2);
    store.close().unwrap();
}

#[test]
fn a_load_beside_commits_unites_with_providers_that_came_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("s"), &Options::default()).unwrap();
    put(&store, "a");
    let options = LoadOptions { threads: 1, existing: Existing::Merge, ..LoadOptions::default() };
    let load = store.bulk_load(options, &Arc::default()).unwrap();
    let shard = shard_of(&load, &[User::new("a").with_identity("q", "1")]);
    let mut batch = Batch::new();
    batch.link("a", Identity::new("new", "1"));
    store.commit(batch).unwrap();
    load.finish(vec![shard], &mut |_| Ok(())).unwrap();
    let united = User::new("a").with_identity("p", "a").with_identity("new", "1").with_identity("q", "1");
    assert_eq!(store.get("a").unwrap(), Some(united));
    store.close().unwrap();
}

#[test]
fn what_a_load_found_unchanged_is_looked_at_again_after_commits() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("s"), &Options::default()).unwrap();
    put(&store, "a");
    let load = store.bulk_load(LoadOptions { threads: 1, ..LoadOptions::default() }, &Arc::default()).unwrap();
    let shard = shard_of(&load, &[User::new("a").with_identity("p", "a")]);
    let deleted = delete(&store, "a");
    let report = load.finish(vec![shard], &mut |_| Ok(())).unwrap();
    assert_eq!((report.seq, report.users, report.unchanged), (deleted + 1, 1, 0));
    assert_eq!(store.get("a").unwrap(), Some(User::new("a").with_identity("p", "a")));
    store.close().unwrap();
}

/// The identity had left its owner for the user whom the load writes without it: nobody had it afterwards.
#[test]
fn what_a_load_ignored_is_looked_at_again_after_commits() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("s"), &Options::default()).unwrap();
    put(&store, "w");
    put(&store, "v");
    let options = LoadOptions { threads: 1, on_conflict: OnConflict::Ignore, ..LoadOptions::default() };
    let load = store.bulk_load(options, &Arc::default()).unwrap();
    let loaded = User::new("v").with_identity("p", "w");
    let shard = shard_of(&load, std::slice::from_ref(&loaded));
    let mut batch = Batch::new();
    batch.unlink("w", Identity::new("p", "w")).link("v", Identity::new("p", "w"));
    let seq = store.commit(batch).unwrap().seq;
    let report = load.finish(vec![shard], &mut |_| Ok(())).unwrap();
    assert_eq!((report.seq, report.identities_ignored), (seq + 1, 0));
    assert_eq!(store.get("v").unwrap(), Some(loaded));
    assert_eq!(store.find("p", "w").unwrap().unwrap().uid, "v");
    store.close().unwrap();
}

#[test]
fn a_snapshot_that_outlived_its_store_can_be_backed_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    for (backend, name) in [(Backend::Mmap, "one"), (Backend::Pread, "two")] {
        let options = Options { backend, ..Options::default() };
        let store = if path.exists() { Store::open(&path, &options) } else { Store::create(&path, &options) }.unwrap();
        put(&store, "a");
        store.flush().unwrap();
        put(&store, "b");
        let snapshot = store.snapshot();
        delete(&store, "a");
        store.compact(Compaction::Full, &Progress::default()).unwrap();
        store.close().unwrap();
        // It removes what no manifest names.
        Store::open(&path, &options).unwrap().close().unwrap();
        let copy = dir.path().join(name);
        snapshot.backup(&copy, &Progress::default()).unwrap();
        let copy = Store::open(&copy, &options).unwrap();
        assert_eq!(copy.get("a").unwrap(), Some(User::new("a").with_identity("p", "a")));
        assert_eq!(copy.stats().totals.users(), 2);
        copy.close().unwrap();
    }
}
