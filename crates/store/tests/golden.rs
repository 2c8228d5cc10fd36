//! A store that version 1 wrote is read by every later version.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::fs;
use std::path::Path;

use headcount_block::{Progress, Source, Status, UidRange, User};
use headcount_store::{Backend, Options, Store};

fn expected() -> Vec<User> {
    vec![
        User::new("a").with_identity("facebook", "1").with_identity("twitter", "2"),
        User::new("b").with_identity("facebook", "9"),
        User::new("c").with_identity("a,b", "x\"y\n").with_status(Status::Pending),
        User::new("d"),
        User::new("é😀").with_identity("facebook", "3"),
    ]
}

#[test]
fn a_store_of_version_1_is_read_and_written() {
    // Two segments; in the newer one user b replaces the older row and user z is deleted. Copied: opening for writing
    // takes a lock file.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    fs::create_dir(&path).unwrap();
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/store-v1")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), path.join(file.file_name())).unwrap();
    }
    for backend in [Backend::Mmap, Backend::Pread] {
        let store = Store::open_read_only(&path, &Options { backend, ..Options::default() }).unwrap();
        let snapshot = store.snapshot();
        let users: Vec<User> = snapshot.users(UidRange::all()).map(Result::unwrap).collect();
        assert_eq!(users, expected());
        assert_eq!((snapshot.seq(), snapshot.totals().users(), snapshot.totals().identities()), (2, 5, 5));
        assert_eq!(snapshot.find_user("facebook", "9").unwrap().unwrap().uid, "b");
        let report = store.verify(&Progress::default(), &mut |_| {}).unwrap();
        assert_eq!((report.segments, report.rows, report.damages), (2, 7, 0));
        assert!(snapshot.get_user("z").unwrap().is_none());
        assert!(snapshot.find_user("facebook", "z").unwrap().is_none());
    }
    let store = Store::open(&path, &Options::default()).unwrap();
    store.load([User::new("e")]).unwrap();
    assert_eq!(store.stats().totals.users(), 6);
}
