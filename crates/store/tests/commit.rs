//! Commits, snapshots, changes, compaction, erasure, backup and recovery through the public API.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use headcount_store::block::{Identity, Progress, Status, UidRange, User};
use headcount_store::{
    Batch, Changed, Compaction, Durability, Error, Options, Precondition, RefuseReason, Snapshot, Store, Work,
};

fn user(uid: &str, identities: &[(&str, &str)]) -> User {
    let identities = identities.iter().map(|(p, u)| Identity::new(*p, *u)).collect();
    User { uid: uid.into(), status: Status::Registered, identities }
}

fn put(store: &Store, user: User) -> u64 {
    let mut batch = Batch::new();
    batch.put(user);
    store.commit(batch).unwrap().seq
}

fn delete(store: &Store, uid: &str) -> u64 {
    let mut batch = Batch::new();
    batch.delete(uid);
    store.commit(batch).unwrap().seq
}

fn refused(outcome: headcount_store::Result<headcount_store::Commit>) -> (usize, RefuseReason) {
    match outcome {
        Err(Error::Refused(refusal)) => (refusal.operation, refusal.reason),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn uids(snapshot: &Snapshot) -> Vec<String> {
    snapshot.users(UidRange::all()).map(|u| u.unwrap().uid).collect()
}

fn changes(snapshot: &Snapshot, since: u64) -> Vec<String> {
    let mut all = Vec::new();
    let each = &mut |changed: Changed<'_>| {
        all.push(match changed {
            Changed::User { user, seq } => format!("{}@{seq}", user.uid_str().unwrap()),
            Changed::Deleted { uid, seq } => format!("-{uid}@{seq}"),
        });
        ControlFlow::Continue(())
    };
    snapshot.changes_since(since, each).unwrap();
    all
}

fn whole(store: &Store) {
    let report = store.verify(&Progress::default(), &mut |damage| panic!("{damage}")).unwrap();
    assert_eq!(report.damages, 0);
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn operations_are_carried_out_in_order_and_together() {
    let store = Store::temporary().unwrap();
    let mut batch = Batch::new();
    batch.put(user("a", &[("p", "1")])).put(user("b", &[])).link("b", Identity::new("p", "2"));
    let commit = store.commit(batch).unwrap();
    assert_eq!((commit.seq, commit.changed), (1, 2));
    assert_eq!(store.find("p", "2").unwrap().unwrap().uid, "b");

    // An identity moves within one batch, in the right order only.
    let mut batch = Batch::new();
    batch.unlink("a", Identity::new("p", "1")).link("b", Identity::new("p", "1"));
    assert_eq!(store.commit(batch).unwrap().seq, 2);
    let mut batch = Batch::new();
    batch.link("a", Identity::new("p", "2")).unlink("b", Identity::new("p", "2"));
    let taken = RefuseReason::IdentityTaken { provider: "p".into(), provider_uid: "2".into(), owner: "b".into() };
    assert_eq!(refused(store.commit(batch)), (0, taken));
    assert_eq!(store.get("b").unwrap().unwrap(), user("b", &[("p", "2"), ("p", "1")]));

    let mut batch = Batch::new();
    batch.rename("b", "c").set_status("c", Status::Pending).put(user("b", &[("q", "2")])).delete("a");
    assert_eq!(store.commit(batch).unwrap().changed, 3);
    assert_eq!(uids(&store.snapshot()), ["b", "c"]);
    assert_eq!(store.get("c").unwrap().unwrap().status, Status::Pending);
    assert_eq!(store.find("p", "1").unwrap().unwrap().uid, "c");
    assert!(store.find("p", "3").unwrap().is_none());
    whole(&store);
    store.close().unwrap();
}

#[test]
fn what_changes_nothing_takes_no_seq() {
    let store = Store::temporary().unwrap();
    assert_eq!(put(&store, user("a", &[("p", "1")])), 1);
    let mut batch = Batch::new();
    batch.put(user("a", &[("p", "1"), ("p", "1")])).link("a", Identity::new("p", "1")).delete("nobody");
    batch.unlink("a", Identity::new("p", "9")).put(user("x", &[])).delete("x").rename("a", "a");
    let commit = store.commit(batch).unwrap();
    assert_eq!((commit.seq, commit.changed), (1, 0));
    store.close().unwrap();
}

#[test]
fn what_cannot_be_done_is_refused_and_named() {
    let store = Store::temporary().unwrap();
    put(&store, user("a", &[]));
    put(&store, user("b", &[]));
    let one = |change: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::new();
        batch.put(user("other", &[]));
        change(&mut batch);
        refused(store.commit(batch))
    };
    assert_eq!(
        one(&|b| {
            b.link("no", Identity::new("p", "1"));
        }),
        (1, RefuseReason::NoSuchUser)
    );
    assert_eq!(
        one(&|b| {
            b.set_status("no", Status::Pending);
        }),
        (1, RefuseReason::NoSuchUser)
    );
    assert_eq!(
        one(&|b| {
            b.rename("a", "b");
        }),
        (1, RefuseReason::UidTaken)
    );
    assert_eq!(
        one(&|b| {
            b.require("a", Precondition::Absent);
        }),
        (1, RefuseReason::UidTaken)
    );
    assert_eq!(
        one(&|b| {
            b.require("no", Precondition::Exists);
        }),
        (1, RefuseReason::NoSuchUser)
    );
    let changed = RefuseReason::Changed { since: 1, found: 2 };
    assert_eq!(
        one(&|b| {
            b.require("b", Precondition::UnchangedSince(1));
        }),
        (1, changed)
    );
    assert!(matches!(
        one(&|b| {
            b.put(user("", &[]));
        }),
        (1, RefuseReason::Limit(_))
    ));
    assert!(matches!(
        one(&|b| {
            b.rename("a", "\0");
        }),
        (1, RefuseReason::Limit(_))
    ));
    assert!(store.get("other").unwrap().is_none());
    assert_eq!(store.stats().origin.seq, 2);
    store.close().unwrap();
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let store = Store::temporary().unwrap();
    store.load((0..1000).map(|i| user(&format!("u{i:04}"), &[("p", &i.to_string())]))).unwrap();
    let before = store.snapshot();
    put(&store, user("u0500", &[("q", "1")]));
    delete(&store, "u0001");
    assert_eq!(before.get_user("u0500").unwrap().unwrap().identities[0].provider, "p");
    assert_eq!(uids(&before).len(), 1000);
    store.flush().unwrap();
    store.compact(Compaction::Full, &Progress::default()).unwrap();
    assert_eq!(uids(&before).len(), 1000);
    assert!(before.get_user("u0001").unwrap().is_some());
    assert_eq!(uids(&store.snapshot()).len(), 999);
    assert!(store.get("u0001").unwrap().is_none() && store.find("p", "1").unwrap().is_none());
    let stats = store.stats();
    assert_eq!(stats.oldest_snapshot, Some(1));
    assert!(stats.pinned_bytes > 0);
    assert_eq!(changes(&store.snapshot(), 1), ["-u0001@3", "u0500@2"]);
    assert_eq!(names(store.path()).iter().filter(|n| n.ends_with(".seg")).count(), 2);
    drop(before);
    assert_eq!(names(store.path()).iter().filter(|n| n.ends_with(".seg")).count(), 1);
    assert_eq!((store.stats().oldest_snapshot, store.stats().pinned_bytes), (None, 0));
    whole(&store);
    store.close().unwrap();
}

#[test]
fn a_store_that_was_dropped_is_recovered_and_a_closed_one_has_nothing_to_recover() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = Store::create(&path, &Options::default()).unwrap();
    store.load([user("a", &[("p", "1")])]).unwrap();
    put(&store, user("b", &[("p", "2")]));
    delete(&store, "a");
    drop(store);
    for _ in 0..2 {
        let read = Store::open_read_only(&path, &Options::default()).unwrap();
        assert_eq!(uids(&read.snapshot()), ["b"]);
        assert_eq!(changes(&read.snapshot(), 0), ["-a@3", "b@2"]);
        read.close().unwrap();
    }
    let store = Store::open(&path, &Options::default()).unwrap();
    let recovery = store.recovery().unwrap();
    assert_eq!((recovery.commits, recovery.changes, recovery.seq), (2, 2, 3));
    assert_eq!(uids(&store.snapshot()), ["b"]);
    assert_eq!(changes(&store.snapshot(), 0), ["-a@3", "b@2"]);
    whole(&store);
    assert_eq!(put(&store, user("c", &[])), 4);
    store.close().unwrap();
    assert!(names(&path).iter().all(|name| !name.starts_with("delta-")), "{:?}", names(&path));
    let store = Store::open(&path, &Options::default()).unwrap();
    assert_eq!(store.recovery(), None);
    assert_eq!(uids(&store.snapshot()), ["b", "c"]);
    store.close().unwrap();
}

#[test]
fn a_batch_that_touches_too_much_is_refused_and_harms_nothing() {
    let store = Store::temporary().unwrap();
    let wide = |n: usize| {
        let identities = (0..230).map(|i| Identity::new("p", format!("{n}/{i}/{}", "x".repeat(4000))));
        User { identities: identities.collect(), ..User::new(format!("u{n:03}")) }
    };
    store.load((0..80).map(wide)).unwrap();
    let mut batch = Batch::new();
    for n in 0..80 {
        batch.set_status(format!("u{n:03}"), Status::Pending);
    }
    match store.commit(batch) {
        Err(Error::TooLarge { max, found, .. }) => assert!(found > max, "{found} {max}"),
        other => panic!("{other:?}"),
    }
    // Half of it can be done, and several at once, which are more than the log takes in one piece.
    std::thread::scope(|scope| {
        for from in [0, 20, 40, 60] {
            let store = &store;
            scope.spawn(move || {
                let mut batch = Batch::new();
                for n in from..from + 20 {
                    batch.set_status(format!("u{n:03}"), Status::Pending);
                }
                store.commit(batch).unwrap();
            });
        }
    });
    assert_eq!(store.stats().totals.pending.users, 80);
    whole(&store);
}

#[test]
fn the_oldest_snapshot_is_known_also_when_it_is_the_only_one() {
    let store = Store::temporary().unwrap();
    let first = put(&store, user("a", &[]));
    assert_eq!(store.stats().oldest_snapshot, None);
    let snapshot = store.snapshot();
    assert_eq!(store.stats().oldest_snapshot, Some(first));
    put(&store, user("b", &[]));
    assert_eq!(store.stats().oldest_snapshot, Some(first));
    drop(snapshot);
    assert_eq!(store.stats().oldest_snapshot, None);
}

#[test]
fn an_erasure_that_had_to_wait_counts_its_users_when_it_is_done() {
    let store = Store::temporary().unwrap();
    store.load([user("a", &[]), user("b", &[])]).unwrap();
    let snapshot = store.snapshot();
    let erase = || store.erase(&["a", "a"], Duration::ZERO, &Progress::default());
    assert!(matches!(erase(), Err(Error::Pinned { .. })));
    drop(snapshot);
    let report = erase().unwrap();
    assert_eq!((report.erased, report.not_found.len()), (1, 0));
    // Known no more.
    let report = erase().unwrap();
    assert_eq!((report.erased, report.not_found), (0, vec!["a".to_owned(), "a".to_owned()]));
}

#[test]
fn what_an_open_did_is_said_in_words_that_fit() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("s"), dir.path().join("c"));
    let store = Store::create(&path, &Options::default()).unwrap();
    put(&store, user("a", &[]));
    store.backup(&copy, &Progress::default()).unwrap();
    drop(store);
    let said = |path: &Path| {
        let store = Store::open(path, &Options::default()).unwrap();
        let said = store.recovery().map(ToString::to_string);
        store.close().unwrap();
        said
    };
    assert_eq!(said(&path).unwrap(), "the store was not closed: recovered 1 commit (1 change) up to seq 1");
    assert_eq!(said(&path), None);
    assert_eq!(said(&copy).unwrap(), format!("seqs go on in a new incarnation, from {}", 1 + (1_u64 << 32)));
}

#[test]
fn statistics_count_what_was_done() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { delta_changes: 3, maintenance: false, ..Options::default() };
    let store = Store::create(dir.path().join("s"), &options).unwrap();
    for i in 0..8 {
        put(&store, user(&format!("u{i}"), &[]));
    }
    // Changes nothing, and is no commit.
    put(&store, user("u7", &[]));
    store.compact(Compaction::Full, &Progress::default()).unwrap();
    let work = store.stats().work;
    assert_eq!((work.commits, work.compactions), (8, 1), "{work:?}");
    assert!(work.groups >= 8 && work.flushes == 3, "{work:?}");
    assert_eq!(store.snapshot().stats().work, Work::default());
}

#[test]
fn full_deltas_become_segments_and_segments_are_brought_together() {
    let options = Options { delta_changes: 10, ..Options::default() };
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("s"), &options).unwrap();
    for i in 0..500_u32 {
        assert_eq!(put(&store, user(&format!("u{:03}", i * 7 % 250), &[("p", &i.to_string())])), u64::from(i) + 1);
    }
    whole(&store);
    assert_eq!(store.stats().totals.users(), 250);
    assert_eq!(changes(&store.snapshot(), 499).len(), 1);
    store.close().unwrap();
    let store = Store::open(dir.path().join("s"), &options).unwrap();
    assert!(store.stats().segments.len() < 12, "{}", store.stats().segments.len());
    whole(&store);
    store.close().unwrap();
}

#[test]
fn erased_users_are_named_by_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = Store::create(&path, &Options::default()).unwrap();
    store.load((0..2000).map(|i| user(&format!("victim-{i:04}"), &[("p", &format!("secret-{i:04}"))]))).unwrap();
    put(&store, user("victim-0007", &[("p", "secret-0007"), ("q", "secret-0007")]));
    delete(&store, "victim-0008");
    let seq = store.stats().origin.seq;
    let pin = store.snapshot();
    let uids = ["victim-0007", "victim-0008", "nobody"];
    match store.erase(&uids, Duration::from_millis(20), &Progress::default()) {
        Err(Error::Pinned { oldest }) => assert_eq!(oldest, seq),
        other => panic!("{other:?}"),
    }
    assert!(store.get("victim-0007").unwrap().is_none());
    assert!(pin.get_user("victim-0007").unwrap().is_some());
    drop(pin);
    let report = store.erase(&uids, Duration::from_secs(5), &Progress::default()).unwrap();
    assert_eq!(report.not_found, ["nobody"]);
    let named = |needle: &str| {
        let files = names(&path).into_iter().map(|name| path.join(name)).filter(|file| file.is_file());
        files.filter(|f| std::fs::read(f).unwrap().windows(needle.len()).any(|w| w == needle.as_bytes())).count()
    };
    assert_eq!((named("victim-0007"), named("secret-0007"), named("victim-0008")), (0, 0, 0));
    assert!(named("victim-0009") > 0);
    assert_eq!(store.stats().totals.users(), 1998);
    whole(&store);
    let floor = store.stats().changes_floor;
    assert!(matches!(
        store.snapshot().changes_since(floor - 1, &mut |_| ControlFlow::Continue(())),
        Err(Error::TooOld { .. })
    ));
    assert_eq!(changes(&store.snapshot(), floor), [""; 0]);
    store.close().unwrap();
}

/// There the next writer would take it for a leftover of its own, and remove it.
#[test]
fn a_backup_does_not_come_to_lie_in_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = Store::create(&path, &Options::default()).unwrap();
    put(&store, user("a", &[]));
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    std::fs::create_dir_all(path.join("tmp/there")).unwrap();
    std::os::unix::fs::symlink(path.join("tmp"), dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink(path.join("tmp/there"), dir.path().join("to-there")).unwrap();
    for inside in ["s/tmp/x", "s/inner", "empty/../s/inner", "link/x", "s/tmp/there", "to-there"] {
        let refused = store.backup(dir.path().join(inside), &Progress::default()).unwrap_err();
        assert!(matches!(&refused, Error::Io { op: "make a backup at", .. }), "{inside}: {refused:?}");
        assert!(refused.to_string().contains("it lies in the store"), "{refused}");
    }
    for left in ["tmp/x", "inner", "tmp/there/MANIFEST"] {
        assert!(!path.join(left).exists(), "{left}");
    }
    store.backup(dir.path().join("empty"), &Progress::default()).unwrap();
    store.close().unwrap();
}

#[test]
fn a_backup_is_a_store_with_a_history_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("s"), dir.path().join("copy"));
    let store = Store::create(&path, &Options::default()).unwrap();
    store.load((0..100).map(|i| user(&format!("u{i}"), &[]))).unwrap();
    put(&store, user("late", &[("p", "1")]));
    let report = store.backup(&copy, &Progress::default()).unwrap();
    assert_eq!((report.seq, report.users), (2, 101));
    put(&store, user("later", &[]));
    let origin = store.stats().origin;
    let backup = Store::open_read_only(&copy, &Options::default()).unwrap();
    assert_eq!(backup.stats().totals.users(), 101);
    whole(&backup);
    backup.close().unwrap();
    let backup = Store::open(&copy, &Options::default()).unwrap();
    let other = backup.stats().origin;
    assert_eq!(other.store_id, origin.store_id);
    assert_ne!(other.incarnation, origin.incarnation);
    assert!(other.seq >= 2 + (1 << 32));
    assert!(put(&backup, user("elsewhere", &[])) > 1 << 32);
    assert!(store.get("elsewhere").unwrap().is_none());
    whole(&backup);
    assert!(matches!(store.backup(&copy, &Progress::default()), Err(Error::Exists { .. })));
    backup.close().unwrap();
    store.close().unwrap();
}

#[test]
fn a_seq_of_a_lost_history_is_no_unchanged_state() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let buffered = Durability::Buffered { flush_within: Duration::from_secs(60) };
    let store = Store::create(&path, &Options { durability: buffered, ..Options::default() }).unwrap();
    let seen = put(&store, user("a", &[]));
    drop(store);
    // As after a power cut that took commits between `seen` and the new incarnation with it.
    let store = Store::open(&path, &Options::default()).unwrap();
    assert!(store.get("a").unwrap().is_some());
    for since in [seen, seen + 1] {
        let mut batch = Batch::new();
        batch.require("a", Precondition::UnchangedSince(since)).set_status("a", Status::Pending);
        let (_, reason) = refused(store.commit(batch));
        assert_eq!(reason, RefuseReason::Changed { since, found: store.stats().changes_floor });
    }
    let mut batch = Batch::new();
    batch.require("a", Precondition::UnchangedSince(store.snapshot().seq())).set_status("a", Status::Pending);
    store.commit(batch).unwrap();
    store.close().unwrap();
}

#[test]
fn buffered_commits_that_may_be_lost_begin_a_new_incarnation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let buffered = Durability::Buffered { flush_within: Duration::from_millis(5) };
    let store = Store::create(&path, &Options { durability: buffered, ..Options::default() }).unwrap();
    put(&store, user("a", &[]));
    store.sync().unwrap();
    let origin = store.stats().origin;
    drop(store);
    let store = Store::open(&path, &Options::default()).unwrap();
    assert!(store.recovery().unwrap().new_incarnation);
    assert_ne!(store.stats().origin.incarnation, origin.incarnation);
    assert!(store.get("a").unwrap().is_some());
    put(&store, user("b", &[]));
    let origin = store.stats().origin;
    drop(store);
    let store = Store::open(&path, &Options::default()).unwrap();
    assert_eq!(store.stats().origin.incarnation, origin.incarnation);
    store.close().unwrap();
}

#[test]
fn a_load_meets_commits_that_came_while_it_ran() {
    let store = Store::temporary().unwrap();
    store.load([user("a", &[("p", "1")]), user("b", &[("p", "2")])]).unwrap();
    let load = |users: &[User], between: &dyn Fn()| {
        let options = headcount_store::LoadOptions { threads: 1, ..headcount_store::LoadOptions::default() };
        let load = store.bulk_load(options, &std::sync::Arc::new(Progress::default())).unwrap();
        let mut shard = load.shard();
        let mut row = headcount_store::block::RowBuf::new();
        for (i, user) in users.iter().enumerate() {
            let at = headcount_store::Place { file: 0, line: i as u64 + 1, offset: 0 };
            shard.push(row.encode(user).unwrap(), at, headcount_store::RowKind::User).unwrap();
        }
        between();
        load.finish(vec![shard], &mut |_| Ok(()))
    };
    // The load replaces what was committed meanwhile.
    load(&[user("a", &[("p", "7")])], &|| {
        put(&store, user("a", &[("p", "8")]));
    })
    .unwrap();
    assert_eq!(store.get("a").unwrap().unwrap(), user("a", &[("p", "7")]));
    assert!(store.find("p", "8").unwrap().is_none());
    whole(&store);
    // It would take what somebody else has by now.
    let outcome = load(&[user("c", &[("p", "9")])], &|| {
        put(&store, user("d", &[("p", "9")]));
    });
    assert!(matches!(outcome, Err(Error::Rejected(_))), "{outcome:?}");
    // What it found unchanged is changed by now: the load is newer.
    load(&[user("b", &[("p", "2")]), user("e", &[])], &|| {
        delete(&store, "b");
    })
    .unwrap();
    assert_eq!(uids(&store.snapshot()), ["a", "b", "d", "e"]);
    whole(&store);
    store.close().unwrap();
}

#[test]
fn a_batch_is_split_and_its_clone_stays_whole() {
    let mut batch = Batch::new();
    for uid in ["a", "b", "c"] {
        batch.put(user(uid, &[]));
    }
    let whole = batch.clone();
    let rest = batch.split_off(1);
    assert_eq!((batch.len(), rest.len(), whole.len()), (1, 2, 3));
    let mut one = Batch::new();
    one.put(user("a", &[]));
    assert_eq!(batch, one);
    assert!(batch.split_off(9).is_empty());

    // Text counts where the operations are: each half is within the limit that the whole passes.
    let long = |uid: &str| User { uid: format!("{uid}{}", "x".repeat(200)), ..user(uid, &[]) };
    let mut large = Batch::new();
    for i in 0..50_000 {
        large.put(long(&format!("{i}")));
    }
    let store = Store::temporary().unwrap();
    assert!(matches!(store.commit(large.clone()), Err(Error::TooLarge { .. })));
    let rest = large.split_off(25_000);
    assert_eq!((store.commit(large).unwrap().changed, store.commit(rest).unwrap().changed), (25_000, 25_000));
    assert_eq!(store.commit(whole).unwrap().changed, 3);
}
