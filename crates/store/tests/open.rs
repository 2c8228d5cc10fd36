//! Opening, locking and damage.

#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at the first surprise and count small things"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use headcount_block::{Progress, UidRange, User};
use headcount_store::{Backend, Error, Options, Store};
use rustix::io::Errno;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn users(n: usize) -> Vec<User> {
    (0..n).map(|i| User::new(format!("user-{i:06}")).with_identity(["fb", "tw"][i % 2], format!("{i}"))).collect()
}

fn filled(path: &Path, n: usize) -> PathBuf {
    let store = Store::create(path, &Options::default()).unwrap();
    store.load(users(n)).unwrap();
    store.close().unwrap();
    segments(path).remove(0)
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(path).unwrap().map(|e| e.unwrap().path());
    paths.filter(|p| p.extension().is_some_and(|e| e == "seg")).collect()
}

fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_store_survives_closing_and_is_private() {
    let dir = dir();
    let path = dir.path().join("s");
    let segment = filled(&path, 1000);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&segment), mode(&path), mode(&path.join("tmp"))), (0o400, 0o700, 0o700));
    assert_eq!(["MANIFEST", "LOCK"].map(|name| mode(&path.join(name))), [0o600; 2]);
    for backend in [Backend::Auto, Backend::Mmap, Backend::Pread] {
        let store = Store::open(&path, &Options { backend, ..Options::default() }).unwrap();
        let snapshot = store.snapshot();
        store.close().unwrap();
        assert_eq!(snapshot.get_user("user-000007").unwrap().unwrap(), users(8)[7]);
        assert_eq!(snapshot.find_user("fb", "8").unwrap().unwrap().uid, "user-000008");
        assert_eq!(snapshot.find_user("tw", "8").unwrap(), None);
        let read: Vec<User> = snapshot.users(UidRange::all()).map(Result::unwrap).collect();
        assert_eq!(read, users(1000));
        let mut many = 0;
        snapshot.get_many(&["user-000001", "x"], |i, u| many += usize::from(u.is_some() == (i == 0))).unwrap();
        assert_eq!(many, 2);
    }
}

#[test]
fn paths_that_are_no_store() {
    let dir = dir();
    let missing = dir.path().join("missing");
    assert!(matches!(Store::open(&missing, &Options::default()), Err(Error::NotFound { .. })));
    assert!(matches!(Store::open_read_only(&missing, &Options::default()), Err(Error::NotFound { .. })));
    assert!(!missing.exists());
    assert!(matches!(Store::open(dir.path(), &Options::default()), Err(Error::NotAStore { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "opening creates nothing");
    fs::write(dir.path().join("f"), "x").unwrap();
    assert!(matches!(Store::create(dir.path(), &Options::default()), Err(Error::Exists { .. })));
    assert!(matches!(Store::open(dir.path().join("f"), &Options::default()), Err(Error::NotAStore { .. })));
    let path = dir.path().join("s");
    Store::create(&path, &Options::default()).unwrap().close().unwrap();
    assert!(matches!(Store::create(&path, &Options::default()), Err(Error::Exists { .. })));
    let store = Store::open(&path, &Options::default()).unwrap();
    store.discard().unwrap();
    assert!(!path.exists());
}

/// A link that leads to itself stands for what its owner alone may look at: tests may run as root, who may look at all.
#[test]
fn what_cannot_be_looked_at_is_not_taken_for_missing() {
    let dir = dir();
    let path = dir.path().join("s");
    filled(&path, 10);
    let manifest = path.join("MANIFEST");
    fs::remove_file(&manifest).unwrap();
    symlink("MANIFEST", &manifest).unwrap();
    for attempt in [Store::open(&path, &Options::default()), Store::open_read_only(&path, &Options::default())] {
        let error = attempt.unwrap_err();
        let Error::Io { path: named, source, .. } = &error else { panic!("{error}") };
        assert_eq!((named, Errno::from_io_error(source)), (&manifest, Some(Errno::LOOP)), "{error}");
    }
    let circle = dir.path().join("circle");
    symlink("circle", &circle).unwrap();
    let store = Store::temporary().unwrap();
    let made = Store::create(&circle, &Options::default()).map(drop);
    for error in [made, store.snapshot().backup(&circle, &Progress::default()).map(drop)].map(Result::unwrap_err) {
        assert!(matches!(&error, Error::Io { path, .. } if *path == circle), "{error}");
    }
}

/// The log's file was damage when it was not there, and a segment's an error of the system: without a word about salvage.
#[test]
fn a_segment_that_is_not_there_is_damage() {
    let dir = dir();
    let path = dir.path().join("s");
    let segment = filled(&path, 10);
    fs::remove_file(&segment).unwrap();
    for as_a_directory in [false, true] {
        if as_a_directory {
            fs::create_dir(&segment).unwrap();
        }
        for attempt in [Store::open(&path, &Options::default()), Store::open_read_only(&path, &Options::default())] {
            let error = attempt.unwrap_err();
            assert!(matches!(&error, Error::Damage(damage) if damage.file == segment), "{error}");
        }
    }
}

#[test]
fn one_writer_or_many_readers() {
    let dir = dir();
    let path = dir.path().join("s");
    let writer = Store::create(&path, &Options::default()).unwrap();
    let me = Some(std::process::id());
    for attempt in [Store::open(&path, &Options::default()), Store::open_read_only(&path, &Options::default())] {
        let error = attempt.unwrap_err();
        assert!(matches!(&error, Error::Locked { pid, .. } if *pid == me), "{error}");
    }
    writer.close().unwrap();
    let reader = Store::open_read_only(&path, &Options::default()).unwrap();
    let second = Store::open_read_only(&path, &Options::default()).unwrap();
    assert!(matches!(Store::open(&path, &Options::default()), Err(Error::Locked { .. })));
    assert!(matches!(reader.load(users(1)), Err(Error::ReadOnly { .. })));
    drop((reader, second));
    Store::open(&path, &Options::default()).unwrap();
}

#[test]
fn leftovers_of_a_crash_go_and_foreign_files_stay() {
    let dir = dir();
    let path = dir.path().join("s");
    filled(&path, 10);
    let orphan = path.join(format!("{:032x}.seg", 5));
    for leftover in [&orphan, &path.join("tmp/x"), &path.join("MANIFEST.new"), &path.join("notes.txt")] {
        fs::write(leftover, "x").unwrap();
    }
    Store::open_read_only(&path, &Options::default()).unwrap();
    assert!(orphan.exists(), "a reader removes nothing");
    let store = Store::open(&path, &Options::default()).unwrap();
    assert!(!orphan.exists() && !path.join("tmp/x").exists() && !path.join("MANIFEST.new").exists());
    assert!(path.join("notes.txt").exists());
    assert_eq!(store.stats().totals.users(), 10);
}

#[test]
fn versions_and_features_that_are_not_known() {
    let dir = dir();
    let path = dir.path().join("s");
    filled(&path, 10);
    let manifest = path.join("MANIFEST");
    let whole = fs::read(&manifest).unwrap();
    let with = |at: usize, value: u8| {
        let mut bytes = whole.clone();
        bytes[at] = value;
        let sum = headcount_block::checksum(&bytes[..56]);
        bytes[56..64].copy_from_slice(&sum.to_le_bytes());
        fs::remove_file(&manifest).unwrap();
        fs::write(&manifest, bytes).unwrap();
    };
    with(8, 2);
    let error = Store::open(&path, &Options::default()).unwrap_err();
    assert!(matches!(error, Error::Version { found: 2, supported: 1, .. }), "{error}");
    with(16, 1);
    Store::open(&path, &Options::default()).unwrap();
    with(24, 1);
    let error = Store::open(&path, &Options::default()).unwrap_err();
    assert!(matches!(error, Error::Feature { unknown: 1, kind: "read-only compatible", .. }), "{error}");
    Store::open_read_only(&path, &Options::default()).unwrap();
    with(32, 4);
    let error = Store::open_read_only(&path, &Options::default()).unwrap_err();
    assert!(matches!(error, Error::Feature { unknown: 4, kind: "incompatible", .. }), "{error}");
}

/// Opens, reads everything and verifies; returns whether damage was found anywhere.
fn damage_is_found(path: &Path, n: usize) -> bool {
    let store = match Store::open_read_only(path, &Options::default()) {
        Ok(store) => store,
        Err(error) => {
            assert!(error.is_damage() || matches!(error, Error::Version { .. } | Error::Feature { .. }), "{error}");
            return true;
        }
    };
    let snapshot = store.snapshot();
    for (i, user) in users(n).iter().enumerate().step_by(37) {
        match snapshot.get_user(&user.uid) {
            Ok(found) => assert_eq!(found.as_ref(), Some(user), "never absent, never wrong"),
            Err(error) => assert!(error.is_damage(), "{error}"),
        }
        match snapshot.find_user(["fb", "tw"][i % 2], &i.to_string()) {
            Ok(found) => assert_eq!(found.as_ref(), Some(user)),
            Err(error) => assert!(error.is_damage(), "{error}"),
        }
    }
    let mut found = 0;
    store.verify(&Progress::default(), &mut |_| found += 1).unwrap();
    found > 0
}

#[test]
fn every_flipped_byte_of_a_segment_and_manifest_is_found() {
    let dir = dir();
    let path = dir.path().join("s");
    let n = 3000;
    let segment = filled(&path, n);
    let len = fs::metadata(&segment).unwrap().len() as usize;
    // Every byte of the footer, a sample of the rest.
    let places: Vec<usize> = (0..len).step_by(397).chain(len - 512..len).collect();
    let mut harmless = Vec::new();
    for at in places {
        rewrite(&segment, |bytes| bytes[at] ^= 0x10);
        if !damage_is_found(&path, n) {
            harmless.push(at);
        }
        rewrite(&segment, |bytes| bytes[at] ^= 0x10);
    }
    assert!(!damage_is_found(&path, n));
    // The file header and the gaps between sections are not read.
    let sections = fs::read(&segment).unwrap();
    harmless.retain(|at| *at >= 64 && sections[*at] != 0);
    assert_eq!(harmless, Vec::<usize>::new());
    let manifest = path.join("MANIFEST");
    for at in 0..fs::metadata(&manifest).unwrap().len() as usize {
        rewrite(&manifest, |bytes| bytes[at] ^= 1);
        assert!(damage_is_found(&path, n), "manifest byte {at}");
        rewrite(&manifest, |bytes| bytes[at] ^= 1);
    }
}

#[test]
fn every_truncation_of_a_segment_is_found() {
    let dir = dir();
    let path = dir.path().join("s");
    let segment = filled(&path, 500);
    let whole = fs::read(&segment).unwrap();
    for cut in (0..whole.len()).step_by(1001).chain([whole.len() - 1]) {
        rewrite(&segment, |bytes| bytes.truncate(cut));
        let error = Store::open(&path, &Options::default()).unwrap_err();
        assert!(error.is_damage(), "{cut}: {error}");
        assert!(error.to_string().contains("cut short"), "{cut}: {error}");
        rewrite(&segment, |bytes| bytes.clone_from(&whole));
    }
    fs::remove_file(&segment).unwrap();
    let error = Store::open(&path, &Options::default()).unwrap_err();
    assert!(matches!(&error, Error::Damage(damage) if damage.file == segment), "{error}");
}

#[test]
fn a_flipped_bit_in_an_index_page_is_an_error_and_never_absent() {
    let dir = dir();
    let path = dir.path().join("s");
    let segment = filled(&path, 3000);
    let stats = Store::open(&path, &Options::default()).unwrap().stats().segments.remove(0);
    let index = stats.block_bytes as usize;
    let all = (stats.uid_index_bytes + stats.identity_index_bytes) as usize;
    for at in (index..index + all).step_by(911) {
        rewrite(&segment, |bytes| bytes[at] ^= 0x40);
        let store = Store::open_read_only(&path, &Options::default()).unwrap();
        let snapshot = store.snapshot();
        let mut errors = 0;
        for (i, user) in users(3000).iter().enumerate() {
            match (snapshot.get_user(&user.uid), snapshot.find_user(["fb", "tw"][i % 2], &i.to_string())) {
                (Ok(a), Ok(b)) => assert!(a.is_some() && b.is_some()),
                (a, b) => {
                    errors += 1;
                    let error = a.err().or(b.err()).unwrap();
                    let page = (at - index) / 4096 * 4096 + index;
                    assert!(error.to_string().contains(&format!("byte {page}")), "{error}");
                }
            }
        }
        assert!(errors > 100, "a page serves hundreds of users");
        let absent = (0..5000).filter(|i| snapshot.get(&format!("user-00{i}x")).is_err()).count();
        let other = (0..5000).filter(|i| snapshot.find("fb", &format!("a{i}")).is_err()).count();
        assert!(absent + other > 0, "an absent key on that page is an error too");
        rewrite(&segment, |bytes| bytes[at] ^= 0x40);
    }
}
