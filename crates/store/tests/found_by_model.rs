//! Faults that the model test found, each as the shortest history that shows it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::time::Duration;

use headcount_store::block::{Identity, Progress, User};
use headcount_store::{Batch, Compaction, Error, Options, Precondition, RefuseReason, Store};

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
