//! More provider names than one segment takes: in a batch, a delta, a log that is there already, and in segments together.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use headcount_block::limits::PROVIDERS_MAX;
use headcount_block::{Identity, LimitError, Progress, RowBuf, Totals, User};

use crate::delta::{Logged, Record};
use crate::sync::lock;
use crate::{Batch, Compaction, Error, Existing, LoadOptions, Options, Place, RefuseReason, RowKind, Store};

/// Names of one user, and users of one group: 4096 names, of which sixteen groups have one too many.
const NAMES: usize = 256;
const GROUP: usize = 16;

/// A user with providers of which no other has any.
fn user(number: usize) -> User {
    let names = number * NAMES..(number + 1) * NAMES;
    names.fold(User::new(format!("u{number:04}")), |user, i| user.with_identity(format!("p{i}"), "1"))
}

fn users(groups: Range<usize>) -> impl Iterator<Item = User> {
    (groups.start * GROUP..groups.end * GROUP).map(user)
}

fn batch(groups: Range<usize>) -> Batch {
    let mut batch = Batch::new();
    users(groups).for_each(|user| {
        batch.put(user);
    });
    batch
}

fn create(dir: &Path, maintenance: bool) -> Store {
    Store::create(dir, &Options { maintenance, ..Options::default() }).unwrap()
}

fn expect_users(store: &Store, groups: usize) {
    for number in 0..groups * GROUP {
        assert_eq!(store.get(&format!("u{number:04}")).unwrap(), Some(user(number)));
        let found = store.find(&format!("p{}", number * NAMES + 7), "1").unwrap().unwrap();
        assert_eq!(found.uid, format!("u{number:04}"));
    }
    expect_whole(store);
}

fn expect_whole(store: &Store) {
    let damages = &mut |damage: &headcount_block::Damage| panic!("{damage}");
    assert_eq!(store.verify(&Progress::default(), damages).unwrap().damages, 0);
}

/// The identity that users hand on to each other.
fn shared() -> Identity {
    Identity::new("site", "x")
}

fn expect_owner(store: &Store, uid: &str) {
    assert_eq!(store.find("site", "x").unwrap().map(|user| user.uid).as_deref(), Some(uid));
    let Err(Error::Refused(refusal)) = store.commit(Batch::new().link("u0641", shared()).clone()) else {
        panic!("it has two owners")
    };
    assert!(matches!(refusal.reason, RefuseReason::IdentityTaken { owner, .. } if owner == uid));
    expect_whole(store);
}

/// It was acknowledged, and the store never opened for writing again.
#[test]
fn a_batch_that_names_more_providers_than_a_segment_takes_is_refused_before_it_is_logged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = create(&path, true);
    let Err(Error::Refused(refusal)) = store.commit(batch(0..17)) else { panic!("it was committed") };
    assert_eq!((refusal.operation, refusal.uid.as_str()), (255, "u0255"));
    assert_eq!(refusal.reason, RefuseReason::Limit(LimitError::TooManyProviders { max: PROVIDERS_MAX }));
    // What fits goes on, each in a delta that takes it.
    assert_eq!(store.commit(batch(0..15)).unwrap().seq, 1);
    assert_eq!(store.commit(batch(15..17)).unwrap().seq, 2);
    assert_eq!(store.commit(batch(15..20)).unwrap().changed, 3 * GROUP as u64);
    store.close().unwrap();
    let store = Store::open(&path, &Options::default()).unwrap();
    expect_users(&store, 20);
    store.commit(batch(20..21)).unwrap();
    drop(store);
    expect_users(&Store::open(&path, &Options::default()).unwrap(), 21);
}

/// Such a log was written by the versions before: no open could flush it. What it becomes lost owners of identities when it
/// was compacted: with the older segments came a part of it, and the old row of a user whose new one another part has.
#[test]
fn a_log_that_names_more_providers_than_a_segment_takes_opens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = create(&path, false);
    let mut first = batch(40..41);
    first.put(User::new("u0000").with_identity("site", "x"));
    for older in [first, batch(41..42), batch(42..43)] {
        store.commit(older).unwrap();
        store.flush().unwrap();
    }
    store.commit(batch(0..1)).unwrap();
    let (mut sums, mut changes, mut row) = (Totals::default(), Vec::new(), RowBuf::new());
    // The last one, in another part, gets the identity that the first one had.
    for user in users(1..20).chain([User::new("z").with_identity("site", "x")]) {
        let row = row.encode(&user).unwrap();
        sums.add_user(&row.into());
        changes.push(Logged::Row(row.as_bytes().to_vec()));
    }
    let record = Record { seq: 5, time_ms: 1, sums: [sums.registered.to_words(), sums.pending.to_words()], changes };
    {
        let writer = lock(&store.inner.writer);
        let log = writer.log.as_ref().unwrap();
        log.append(&[record]).unwrap();
        log.sync().unwrap();
    }
    drop(store);
    expect_users(&Store::open_read_only(&path, &Options::default()).unwrap(), 20);
    let backup = dir.path().join("b");
    Store::open_read_only(&path, &Options::default()).unwrap().backup(&backup, &Progress::default()).unwrap();
    for (path, how, left) in [(&path, Compaction::Tiered, 5), (&backup, Compaction::Full, 3)] {
        let store = Store::open(path, &Options { maintenance: false, ..Options::default() }).unwrap();
        assert_eq!((store.stats().segments.len(), store.stats().totals.users()), (5, 23 * GROUP as u64 + 1));
        expect_owner(&store, "z");
        // The oldest four are of one size, but the newest of them is a part.
        assert_eq!(store.compact(how, &Progress::default()).unwrap().segments_after, left);
        expect_users(&store, 20);
        expect_owner(&store, "z");
        // What is newer may join one part alone.
        store
            .commit(Batch::new().unlink("z", shared()).put(User::new("y").with_identity("site", "x")).clone())
            .unwrap();
        assert_eq!(store.compact(Compaction::Full, &Progress::default()).unwrap().segments_after, 3);
        expect_owner(&store, "y");
        store.commit(batch(20..21)).unwrap();
        store.close().unwrap();
        let store = Store::open(path, &Options::default()).unwrap();
        store.compact(Compaction::Full, &Progress::default()).unwrap();
        expect_users(&store, 21);
        expect_owner(&store, "y");
        // Parts that fit become one, and nothing keeps that from the rest.
        let mut gone = Batch::new();
        (0..21 * GROUP).for_each(|number| {
            gone.delete(format!("u{number:04}"));
        });
        store.commit(gone).unwrap();
        assert_eq!(store.compact(Compaction::Full, &Progress::default()).unwrap().segments_after, 1);
        expect_owner(&store, "y");
    }
}

/// A compaction of them failed each time.
#[test]
fn segments_that_name_too_many_providers_together_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(&dir.path().join("s"), false);
    for number in 0..5 {
        store.load(users(number * 10..(number + 1) * 10)).unwrap();
    }
    for how in [Compaction::Tiered, Compaction::Full] {
        let report = store.compact(how, &Progress::default()).unwrap();
        assert_eq!((report.segments_before, report.segments_after), (5, 5));
    }
    // Those that fit become one, beside the others.
    for number in 50..54 {
        store.load(users(number..number + 1)).unwrap();
    }
    assert_eq!(store.compact(Compaction::Tiered, &Progress::default()).unwrap().segments_after, 6);
    assert_eq!(store.compact(Compaction::Full, &Progress::default()).unwrap().segments_after, 5);
    expect_users(&store, 54);
    // Names that nobody has any more are in no one's way.
    let mut gone = Batch::new();
    (0..50 * GROUP).for_each(|number| {
        gone.delete(format!("u{number:04}"));
    });
    store.commit(gone).unwrap();
    assert_eq!(store.compact(Compaction::Full, &Progress::default()).unwrap().segments_after, 1);
}

/// It was written by one load.
#[test]
fn a_store_of_many_providers_is_salvaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = create(&path, false);
    store.load(users(10..20)).unwrap();
    store.load(users(0..10)).unwrap();
    store.close().unwrap();
    let to = dir.path().join("new");
    let report = crate::salvage(&path, &to, &Arc::default()).unwrap();
    assert!(report.is_whole(), "{:?}", report.losses);
    let (users, identities) = (20 * GROUP as u64, (20 * GROUP * NAMES) as u64);
    assert_eq!((report.users, report.identities, report.expected_users), (users, identities, Some(users)));
    expect_users(&Store::open(&to, &Options::default()).unwrap(), 20);
}

/// The names of the whole store had to fit beside those of the load.
#[test]
fn a_load_is_merged_with_users_of_a_store_of_many_providers() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(&dir.path().join("s"), false);
    store.load(users(0..10)).unwrap();
    store.load(users(10..20)).unwrap();
    let merge = |users: &[User]| {
        let options = LoadOptions { threads: 1, existing: Existing::Merge, ..LoadOptions::default() };
        let load = store.bulk_load(options, &Arc::default()).unwrap();
        let (mut shard, mut row) = (load.shard(), RowBuf::new());
        for (line, user) in (1..).zip(users) {
            let at = Place { file: 0, line, offset: 0 };
            shard.push(row.encode(user).unwrap(), at, RowKind::User).unwrap();
        }
        load.finish(vec![shard], &mut |_| Ok(()))
    };
    let more = |number: usize| {
        let mut user = user(number);
        user.identities.truncate(0);
        user.with_status(headcount_block::Status::Pending)
    };
    assert_eq!(merge(&[more(3), more(11 * GROUP)]).unwrap().replaced, 2);
    assert_eq!(store.get("u0003").unwrap().unwrap().identities.len(), NAMES);
    let error = merge(&(0..20 * GROUP).map(more).collect::<Vec<_>>()).unwrap_err();
    assert!(matches!(error, Error::Limit(LimitError::TooManyProviders { .. })), "{error}");
    assert_eq!(store.stats().totals.pending.users, 2);
}
