//! What others do at the worst moment: what was promised as durable is, and nobody writes who must not.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use headcount_block::{Identity, Progress, RowBuf, UidRange, User};

use crate::fault::tests::{meanwhile, plan, seen};
use crate::sync::lock;
use crate::{
    Batch, BulkLoad, Compaction, Durability, Error, LoadOptions, Options, Place, RowKind, Shard, Store, files,
};

const LATER: Durability = Durability::Buffered { flush_within: Duration::from_secs(3600) };
const NEVER: Durability = Durability::Buffered { flush_within: Duration::MAX };

/// Everything on this thread: steps are counted by thread.
fn create(dir: &Path) -> Store {
    plan(None);
    let mut store = Store::create(dir, &Options { maintenance: false, ..Options::default() }).unwrap();
    store.threads = None;
    store
}

fn batch(uid: &str) -> Batch {
    let mut batch = Batch::new();
    batch.put(User::new(uid).with_identity("p", uid));
    batch
}

fn put(store: &Store, uid: &str, durability: Durability) {
    store.commit_with(batch(uid), durability).unwrap();
}

/// With a segment of each of two users.
fn two_segments(dir: &Path) -> Store {
    let store = create(dir);
    for uid in ["a", "b"] {
        put(&store, uid, Durability::Sync);
        store.flush().unwrap();
    }
    store
}

fn uids(store: &Store) -> Vec<String> {
    store.snapshot().users(UidRange::all()).map(|user| user.unwrap().uid).collect()
}

fn begin_load(store: &Store, options: LoadOptions, uids: &[&str]) -> (BulkLoad, Shard) {
    let load = store.bulk_load(LoadOptions { threads: 1, ..options }, &Arc::default()).unwrap();
    let (mut shard, mut row) = (load.shard(), RowBuf::new());
    for (line, uid) in (1..).zip(uids) {
        let user = User::new(*uid).with_identity("p", *uid);
        shard.push(row.encode(&user).unwrap(), Place { file: 0, line, offset: line }, RowKind::User).unwrap();
    }
    (load, shard)
}

/// It found nothing left to do: what the failed fsync had covered was acknowledged.
#[test]
fn a_sync_that_waited_for_a_failed_fsync_fails_too() {
    for of_a_commit in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(create(&dir.path().join("s")));
        put(&store, "a", LATER);
        let mut writer = lock(&store.inner.writer);
        let waits = Arc::clone(&store);
        let waits = thread::spawn(move || waits.sync());
        // Should it come too late, it finds out at once.
        thread::sleep(Duration::from_millis(200));
        plan(Some(0));
        let failed = if of_a_commit {
            store.inner.commit_locked(&mut writer, batch("b"), LATER).map(drop)
        } else {
            store.inner.sync_log(&mut writer)
        };
        plan(None);
        assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
        drop(writer);
        let waited = waits.join().unwrap();
        assert!(matches!(waited, Err(Error::Poisoned { .. })), "of a commit: {of_a_commit}: {waited:?}");
    }
}

/// A time that no clock reaches was taken for none: nothing was left to make durable.
#[test]
fn what_is_never_due_is_made_durable_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(&dir.path().join("s"));
    put(&store, "a", NEVER);
    assert!(!seen().contains(&"log: fsync"));
    store.sync().unwrap();
    assert_eq!(seen().last(), Some(&"log: fsync"));
    plan(None);
    store.sync().unwrap();
    assert_eq!(seen(), [""; 0], "all is durable");
    // A commit that changes nothing answers for what it saw.
    put(&store, "b", NEVER);
    plan(None);
    put(&store, "b", Durability::Sync);
    assert!(seen().contains(&"log: fsync"), "{:?}", seen());
}

/// It wrote its manifest over that of whoever had opened the store since; what they had committed was gone.
#[test]
fn a_load_that_outlives_its_store_ends_with_an_error() {
    for closed in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let first = create(&path);
        put(&first, "before", Durability::Sync);
        let (load, shard) = begin_load(&first, LoadOptions::default(), &["late"]);
        if closed {
            first.close().unwrap()
        } else {
            drop(first)
        }
        let second = Store::open(&path, &Options::default()).unwrap();
        put(&second, "between", Durability::Sync);
        let outcome = load.finish(vec![shard], &mut |_| Ok(()));
        assert!(matches!(outcome, Err(Error::Closed { .. })), "closed: {closed}: {outcome:?}");
        put(&second, "after", Durability::Sync);
        drop(second);
        assert_eq!(uids(&Store::open(&path, &Options::default()).unwrap()), ["after", "before", "between"]);
    }
}

/// The lock was gone while the load was still at it.
#[test]
fn a_load_that_its_store_is_dropped_beneath_publishes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = create(&path);
    let (load, shard) = begin_load(&store, LoadOptions::default(), &["late"]);
    meanwhile("load: written", move || drop(store));
    let outcome = load.finish(vec![shard], &mut |_| Ok(()));
    assert!(matches!(outcome, Err(Error::Closed { .. })), "{outcome:?}");
    assert_eq!(uids(&Store::open(&path, &Options::default()).unwrap()), [""; 0]);
}

/// An fsync of the directory that failed elsewhere covered the name of the new segment: the manifest must not name it.
#[test]
fn a_compaction_ends_where_another_thread_has_stopped_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = two_segments(&path);
    let manifest = std::fs::read(path.join(files::MANIFEST)).unwrap();
    let old = files::segments(&path).unwrap();
    let inner = Arc::clone(&store.inner);
    meanwhile("compaction 1: renamed", move || drop(inner.poison(Error::Panicked("commit"))));
    let outcome = store.compact(Compaction::Full, &Progress::default());
    assert!(matches!(outcome, Err(Error::Poisoned { .. })), "{outcome:?}");
    assert!(std::fs::read(path.join(files::MANIFEST)).unwrap() == manifest);
    let left = files::segments(&path).unwrap();
    assert!(old.iter().all(|id| left.contains(id)), "{old:x?} {left:x?}");
}

/// The manifest that was renamed and not fsynced may be lost again; then the one before it counts, and its files.
#[test]
fn an_open_makes_durable_what_it_goes_by_before_it_removes_anything() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = two_segments(&path);
    meanwhile("manifest: before", || plan(Some(0)));
    let error = store.compact(Compaction::Full, &Progress::default()).unwrap_err();
    assert_eq!(seen(), ["names: fsync", "names: failed"], "{error}");
    plan(None);
    drop(store);
    assert_eq!(files::segments(&path).unwrap().len(), 3);
    meanwhile("lock: opened", || plan(Some(0)));
    let opened = Store::open(&path, &Options::default());
    assert!(opened.is_err(), "{:?} are left", files::segments(&path).unwrap());
    assert_eq!(files::segments(&path).unwrap().len(), 3);
    plan(None);
    let store = Store::open(&path, &Options::default()).unwrap();
    assert_eq!(files::segments(&path).unwrap().len(), 1);
    assert_eq!(uids(&store), ["a", "b"]);
}

/// The directory that a path without a `/` lies in was never fsynced.
#[test]
fn the_name_of_a_store_in_the_working_directory_is_durable() {
    let count = |path: &Path| {
        plan(None);
        Store::create(path, &Options::default()).unwrap().close().unwrap();
        seen().into_iter().filter(|step| *step == "names: fsync").count()
    };
    let elsewhere = tempfile::tempdir().unwrap();
    let here = tempfile::tempdir_in(".").unwrap();
    assert_eq!(count(Path::new(here.path().file_name().unwrap())), count(elsewhere.path()));
}

/// Whoever found the place empty before they had the lock wrote an empty store over the one of somebody faster.
#[test]
fn a_store_that_came_before_the_lock_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let there = path.clone();
    meanwhile("create: looked", move || {
        let faster = create(&there);
        put(&faster, "a", Durability::Sync);
        faster.close().unwrap();
    });
    let outcome = Store::create(&path, &Options::default()).map(drop);
    let found = uids(&Store::open(&path, &Options::default()).unwrap());
    assert_eq!((outcome.is_ok(), found), (false, vec!["a".to_owned()]));
    assert!(matches!(outcome, Err(Error::Exists { .. })), "{outcome:?}");
}

/// And a backup that came second failed, and took the finished one away with it.
#[test]
fn a_backup_that_came_before_the_lock_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(&dir.path().join("s"));
    put(&store, "a", Durability::Sync);
    store.flush().unwrap();
    let there = dir.path().join("backup");
    std::fs::create_dir(&there).unwrap();
    let (faster, to) = (store.snapshot(), there.clone());
    meanwhile("backup: looked", move || {
        faster.backup(&to, &Progress::default()).unwrap();
    });
    let outcome = store.backup(&there, &Progress::default()).map(drop);
    let left = Store::open(&there, &Options::default()).map(|copy| uids(&copy));
    assert!(matches!(outcome, Err(Error::Exists { .. })), "{outcome:?}, and there is {left:?}");
    assert_eq!(left.unwrap(), ["a"]);
}

/// The directory was made anew: what it had been permitted or mounted as was gone.
#[test]
fn a_backup_that_fails_leaves_the_directory_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(&dir.path().join("s"));
    put(&store, "a", Durability::Sync);
    store.flush().unwrap();
    let there = dir.path().join("backup");
    std::fs::create_dir(&there).unwrap();
    let mode = || std::fs::metadata(&there).unwrap().permissions().mode() & 0o777;
    std::fs::set_permissions(&there, std::fs::Permissions::from_mode(0o750)).unwrap();
    let cancelled = Progress::default();
    cancelled.cancel();
    assert!(matches!(store.backup(&there, &cancelled), Err(Error::Cancelled)));
    assert_eq!(mode(), 0o750);
    assert_eq!(std::fs::read_dir(&there).unwrap().count(), 0);
}

/// Nobody else can, as long as the load has the commit lock: what was due waited for all of its passes.
#[test]
fn a_load_makes_buffered_commits_durable_before_it_holds_others_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(&dir.path().join("s"));
    let options = LoadOptions { skip_rejected: true, ..LoadOptions::default() };
    let (load, shard) = begin_load(&store, options, &["twice", "twice"]);
    put(&store, "a", LATER);
    plan(None);
    let mut before = Vec::new();
    let mut rejects = |_: &_| {
        before = seen();
        Ok(())
    };
    assert_eq!(load.finish(vec![shard], &mut rejects).unwrap().rejected, 1);
    assert_eq!(before, ["log: fsync"]);
    // One that has nothing to leave out is at its longest where its segment is fsynced.
    let (load, shard) = begin_load(&store, LoadOptions::default(), &["b"]);
    put(&store, "c", LATER);
    plan(None);
    load.finish(vec![shard], &mut |_| Ok(())).unwrap();
    let steps = seen();
    let at = |name: &str| steps.iter().position(|step| *step == name);
    assert!(at("log: fsync") < at("load 1: synced") && at("log: fsync").is_some(), "{steps:?}");
}

/// "All was there already" rests on commits that a crash could still take away.
#[test]
fn a_load_of_users_that_are_there_already_makes_them_durable() {
    for skip_rejected in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = create(&dir.path().join("s"));
        put(&store, "a", LATER);
        let options = || LoadOptions { skip_rejected, ..LoadOptions::default() };
        let (load, shard) = begin_load(&store, options(), &["a"]);
        plan(None);
        assert_eq!(load.finish(vec![shard], &mut |_| Ok(())).unwrap().unchanged, 1);
        assert!(seen().contains(&"log: fsync"), "{:?}", seen());
        let (load, shard) = begin_load(&store, options(), &["a"]);
        let _ = store.inner.poison(Error::Panicked("commit"));
        let outcome = load.finish(vec![shard], &mut |_| Ok(()));
        assert!(matches!(outcome, Err(Error::Poisoned { .. })), "{outcome:?}");
    }
}

/// The last reader had let go of the file and had not removed it yet, or could not: nobody waited for that.
#[test]
fn an_erasure_removes_what_the_last_reader_has_not_removed_yet() {
    for known in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let options = Options { maintenance: false, tombstone_retention: Duration::ZERO, ..Options::default() };
        let mut store = Store::create(&path, &options).unwrap();
        store.threads = None;
        put(&store, "victim", Durability::Sync);
        store.flush().unwrap();
        let snapshot = store.snapshot();
        let file = snapshot.0.segments[0].path().to_path_buf();
        let bytes = std::fs::read(&file).unwrap();
        put(&store, "other", Durability::Sync);
        if !known {
            let mut batch = Batch::new();
            batch.delete("victim");
            store.commit(batch).unwrap();
            thread::sleep(Duration::from_millis(2));
        }
        store.compact(Compaction::Full, &Progress::default()).unwrap();
        drop(snapshot);
        // As if it were still about to.
        std::fs::write(&file, bytes).unwrap();
        plan(None);
        let report = store.erase(&["victim"], Duration::ZERO, &Progress::default()).unwrap();
        assert_eq!((report.erased, report.not_found.len()), if known { (1, 0) } else { (0, 1) });
        assert!(!file.exists(), "known: {known}");
        let steps = seen();
        let last = steps.iter().rfind(|step| **step != "manifest: after");
        assert_eq!(last.copied(), Some("names: fsync"));
    }
}

/// Nobody removed it before the next open: an erasure would have returned beside it.
#[test]
fn a_load_that_damage_ends_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = create(&path);
    let (load, shard) = begin_load(&store, LoadOptions::default(), &["late"]);
    put(&store, "a", Durability::Sync);
    let there = path.clone();
    meanwhile("load 2: flushed", move || {
        let segment = there.join(files::segment_name(files::segments(&there).unwrap()[0]));
        let mut bytes = std::fs::read(&segment).unwrap();
        bytes[64..128].fill(0xff);
        let writable = PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&segment, writable).unwrap();
        std::fs::write(&segment, bytes).unwrap();
    });
    let outcome = load.finish(vec![shard], &mut |_| Ok(()));
    assert!(matches!(outcome, Err(Error::Damage(_))), "{outcome:?}");
    assert_eq!(files::segments(&path).unwrap().len(), 1);
}

/// It removed what lay under the names that its files had had, whosesoever that was by then.
#[test]
fn a_snapshot_that_outlives_its_store_removes_nothing() {
    for closed in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("s"), dir.path().join("backup"));
        let store = two_segments(&path);
        let snapshot = store.snapshot();
        store.backup(&copy, &Progress::default()).unwrap();
        store.compact(Compaction::Full, &Progress::default()).unwrap();
        if closed {
            store.close().unwrap()
        } else {
            drop(store)
        }
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        std::fs::rename(&copy, &path).unwrap();
        let there = files::segments(&path).unwrap();
        drop(snapshot);
        assert_eq!(files::segments(&path).unwrap(), there, "closed: {closed}");
        assert_eq!(uids(&Store::open(&path, &Options::default()).unwrap()), ["a", "b"]);
        // What it leaves goes at the next open.
        let old = dir.path().join("old");
        assert_eq!(files::segments(&old).unwrap().len(), 3);
        drop(Store::open(&old, &Options::default()).unwrap());
        assert_eq!(files::segments(&old).unwrap().len(), 1);
    }
}

fn names_of(dir: &Path, text: &str) -> usize {
    let files = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file());
    files.filter(|f| std::fs::read(f).unwrap().windows(text.len()).any(|w| w == text.as_bytes())).count()
}

/// The manifest before the current one goes on to name them where the process that erased them ended at that moment.
#[test]
fn a_manifest_that_an_erasure_left_behind_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = two_segments(&path);
    let leave = || {
        let mut previous = crate::manifest::Manifest::read(&path, true).unwrap();
        previous.erasing.push("victim".into());
        let file = path.join(files::MANIFEST_PREVIOUS);
        std::fs::write(&file, previous.encode(&file).unwrap()).unwrap();
        assert_eq!(names_of(&path, "victim"), 1);
    };
    let _ = std::fs::remove_file(path.join(files::MANIFEST_PREVIOUS));
    leave();
    let report = store.erase(&["victim"], Duration::ZERO, &Progress::default()).unwrap();
    assert_eq!((report.erased, names_of(&path, "victim")), (0, 0), "by the next erasure");
    store.close().unwrap();
    let _ = std::fs::remove_file(path.join(files::MANIFEST_PREVIOUS));
    leave();
    drop(Store::open_read_only(&path, &Options::default()).unwrap());
    let store = Store::open(&path, &Options::default()).unwrap();
    assert_eq!(names_of(&path, "victim"), 0, "by the next open");
    store.close().unwrap();
}

/// Those of the batches before were deleted, and nobody went on with them.
#[test]
fn an_erasure_that_ends_between_its_batches_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = create(&path);
    let large = |n: usize| {
        let identities = (0..250).map(|i| Identity::new("p", format!("{n}/{i}/{}", "x".repeat(4000))));
        User { identities: identities.collect(), ..User::new(format!("large-{n:02}")) }
    };
    store.load((0..70).map(large)).unwrap();
    let all: Vec<String> = (0..70).map(|n| format!("large-{n:02}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let inner = Arc::clone(&store.inner);
    meanwhile("commit: synced", move || drop(inner.poison(Error::Panicked("compaction"))));
    let error = store.erase(&all, Duration::ZERO, &Progress::default()).unwrap_err();
    assert!(matches!(error, Error::Poisoned { .. }), "{error}");
    drop(store);
    let store = Store::open(&path, &Options::default()).unwrap();
    let left = uids(&store);
    assert!((1..70).contains(&left.len()), "{left:?}");
    let recovery = store.recovery().unwrap();
    assert_eq!((recovery.erased, &recovery.not_erased), (70 - left.len(), &left));
    for uid in all {
        assert_eq!(names_of(&path, uid) > 0, left.iter().any(|l| l == uid), "{uid} of {left:?}");
    }
}

/// The kernel tells of a failed fsync once: a second one of the same directory seemed to cover what the first one lost.
#[test]
fn nobody_is_told_of_a_name_once_an_fsync_of_the_directory_has_failed() {
    let dir = tempfile::tempdir().unwrap();
    let store = two_segments(&dir.path().join("s"));
    let (told, hears) = mpsc::channel();
    let (inner, before) = (Arc::clone(&store.inner), Arc::new(OnceLock::new()));
    let (hears, heard) = (Arc::new(std::sync::Mutex::new(hears)), Arc::clone(&before));
    let of_the_step = Arc::clone(&hears);
    meanwhile("compaction 1: written", move || {
        plan(Some(0));
        meanwhile("names: failed", move || {
            thread::spawn(move || told.send(inner.commit(batch("late"), Durability::Sync)).unwrap());
            // Should it wait for this very thread, it answers later.
            if let Ok(outcome) = of_the_step.lock().unwrap().recv_timeout(Duration::from_secs(1)) {
                heard.set(outcome).unwrap();
            }
        });
    });
    let failed = store.compact(Compaction::Full, &Progress::default());
    assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
    plan(None);
    let commit = match Arc::into_inner(before).and_then(OnceLock::into_inner) {
        Some(outcome) => outcome,
        None => hears.lock().unwrap().recv().unwrap(),
    };
    assert!(commit.is_err(), "{commit:?}");
}

/// A manifest that the process before renamed and did not fsync could be read, exported, and lost again.
#[test]
fn an_open_makes_durable_what_it_shows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    two_segments(&path).close().unwrap();
    meanwhile("lock: opened", || plan(Some(0)));
    let opened = Store::open(&path, &Options::default());
    assert!(opened.is_err(), "{:?}", seen());
    plan(None);
    drop(Store::open(&path, &Options::default()).unwrap());
    meanwhile("lock: opened", || plan(Some(0)));
    let read = Store::open_read_only(&path, &Options::default());
    assert!(read.is_err(), "{:?}", seen());
    plan(None);
    let store = Store::open_read_only(&path, &Options::default()).unwrap();
    assert_eq!(uids(&store), ["a", "b"]);
}

/// Who makes a store, or a backup, and ends before the last fsync leaves one that opens, of which the next power failure would have
/// taken all, with what had been acknowledged since.
#[test]
fn an_open_makes_the_name_of_the_store_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (path, link) = (dir.path().join("s"), dir.path().join("link"));
    let last = |seen: &[&str]| seen.iter().rposition(|step| *step == "names: fsync").unwrap();
    create(&dir.path().join("other"));
    plan(Some(last(&seen())));
    Store::create(&path, &Options::default()).unwrap_err();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [&path, &link] {
        meanwhile("lock: opened", || plan(Some(1)));
        let opened = Store::open(path, &Options::default());
        assert!(opened.is_err(), "{:?}", seen());
        meanwhile("lock: opened", || plan(Some(1)));
        let read = Store::open_read_only(path, &Options::default());
        assert!(read.is_err(), "{:?}", seen());
        plan(None);
    }
    let store = Store::open(&path, &Options::default()).unwrap();
    put(&store, "a", Durability::Sync);
    assert_eq!(uids(&store), ["a"]);
}

/// Its manifest could outlast a power failure that its segments did not.
#[test]
fn the_segments_of_a_backup_have_their_names_before_its_manifest_has() {
    let dir = tempfile::tempdir().unwrap();
    let store = two_segments(&dir.path().join("s"));
    let there = dir.path().join("backup");
    let (at, found) = (there.clone(), Arc::new(OnceLock::new()));
    let seen = Arc::clone(&found);
    meanwhile("names: fsync", move || {
        seen.set((files::segments(&at).unwrap().len(), at.join(files::MANIFEST).exists())).unwrap();
    });
    store.backup(&there, &Progress::default()).unwrap();
    assert_eq!(found.get(), Some(&(2, false)), "segments and a manifest at the first fsync");
}
