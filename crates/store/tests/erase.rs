//! Erasures of many users, of renamed ones, and with long waits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use headcount_store::block::{Identity, Progress, User};
use headcount_store::{Batch, Error, Options, Store};

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

fn create(path: &Path) -> Store {
    Store::create(path, &Options { maintenance: false, ..Options::default() }).unwrap()
}

/// Users of a megabyte each: one batch touches 64 MiB of them at most, and the error came after others were deleted.
#[test]
fn many_users_are_erased_in_one_call_however_large_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(&dir.path().join("s"));
    let large = |n: usize| {
        let identities = (0..250).map(|i| Identity::new("p", format!("{n}/{i}/{}", "x".repeat(4000))));
        User { identities: identities.collect(), ..User::new(format!("large-{n:02}")) }
    };
    let small = |n: usize| User::new(format!("small-{n:05}")).with_identity("q", n.to_string());
    store.load((0..80).map(large).chain((0..10_000).map(small))).unwrap();
    store.load([User::new("stays")]).unwrap();
    let uids: Vec<String> = (0..10_000).map(|n| small(n).uid).chain((0..80).map(|n| format!("large-{n:02}"))).collect();
    let uids: Vec<&str> = uids.iter().map(String::as_str).collect();
    let report = store.erase(&uids, Duration::ZERO, &Progress::default()).unwrap();
    assert_eq!((report.erased, report.not_found.len()), (10_080, 0));
    assert_eq!(store.stats().totals.users(), 1);
    assert_eq!((named(store.path(), "large-"), named(store.path(), "small-")), (0, 0));
    let report = store.verify(&Progress::default(), &mut |damage| panic!("{damage}")).unwrap();
    assert_eq!(report.damages, 0);
    store.close().unwrap();
}

/// What the user was called before is no trace of the new name: it has to be named as well.
#[test]
fn a_uid_that_was_renamed_is_erased_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = create(&path);
    let victim = User::new("victim-user").with_identity("p", "first-secret");
    store.load([User::new("a").with_identity("p", "1"), victim]).unwrap();
    let mut batch = Batch::new();
    batch.rename("victim-user", "newname").link("newname", Identity::new("q", "late-secret"));
    store.commit(batch).unwrap();
    let erase = |uid| store.erase(&[uid], Duration::ZERO, &Progress::default()).unwrap();
    assert_eq!(erase("newname").erased, 1);
    assert_eq!((named(&path, "newname"), named(&path, "late-secret")), (0, 0));
    let report = erase("victim-user");
    assert_eq!((report.erased, report.not_found.len()), (1, 0));
    for text in ["victim-user", "first-secret", "newname", "late-secret"] {
        assert_eq!(named(&path, text), 0, "{text}");
    }
    assert_eq!(store.stats().totals.users(), 1);
    store.close().unwrap();
}

/// A time that no clock reaches ended in a panic, after the users were deleted.
#[test]
fn a_wait_may_be_as_long_as_it_likes() {
    let store = Store::temporary().unwrap();
    store.load([User::new("a"), User::new("b")]).unwrap();
    let snapshot = store.snapshot();
    thread::scope(|scope| {
        let erasure = scope.spawn(|| store.erase(&["a"], Duration::MAX, &Progress::default()));
        thread::sleep(Duration::from_millis(100));
        drop(snapshot);
        assert_eq!(erasure.join().unwrap().unwrap().erased, 1);
    });
    assert_eq!(store.stats().totals.users(), 1);
}

/// Nobody looked, as long as it waited.
#[test]
fn a_wait_can_be_cancelled_and_the_next_open_completes_the_erasure() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = create(&path);
    store.load([User::new("victim"), User::new("b")]).unwrap();
    let snapshot = store.snapshot();
    let progress = Arc::new(Progress::default());
    let error = thread::scope(|scope| {
        let erasure = scope.spawn(|| store.erase(&["victim"], Duration::from_secs(30), &progress));
        thread::sleep(Duration::from_millis(200));
        progress.cancel();
        erasure.join().unwrap().unwrap_err()
    });
    assert!(matches!(error, Error::Unfinished), "{error}");
    assert!(store.get("victim").unwrap().is_none());
    assert!(named(&path, "victim") > 0);
    drop(snapshot);
    store.close().unwrap();
    let store = Store::open(&path, &Options::default()).unwrap();
    assert_eq!(store.recovery().map(|r| r.erased), Some(1));
    assert_eq!(named(&path, "victim"), 0);
    store.close().unwrap();
}

#[test]
fn what_is_cancelled_before_it_begins_changes_nothing() {
    let store = Store::temporary().unwrap();
    store.load([User::new("a")]).unwrap();
    let progress = Progress::default();
    progress.cancel();
    let error = store.erase(&["a"], Duration::ZERO, &progress).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert!(store.get("a").unwrap().is_some());
}
