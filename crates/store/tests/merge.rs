//! Few and many changes over a segment of several blocks: every range reads as a map of the same users does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use headcount_store::block::{
    Cancelled, Error, Identity, Progress, RowBuf, Scan, Select, Source as _, Status, UidRange, User,
};
use headcount_store::{Batch, Compaction, LoadOptions, Place, RowKind, Snapshot, Store};

const USERS: u64 = 6_000;

/// UIDs that begin alike, some shorter than what they have in common with others, some longer than a compact row takes.
fn user(n: u64, edition: u64) -> User {
    let uid = match n % 40 {
        0 => format!("_gid_{n}"),
        1 => format!("_gid_000000{n:06}{}", "x".repeat(200)),
        _ => format!("_gid_000000{n:06}=="),
    };
    let identity = |i| Identity::new("site", format!("{n}-{i}-{edition}{}", if n % 70 == 3 { "\"" } else { "" }));
    User { uid, status: Status::Registered, identities: (0..n % 4).map(identity).collect() }
}

fn number(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

fn load(store: &Store) {
    let load = store.bulk_load(LoadOptions::default(), &Arc::new(Progress::default())).unwrap();
    let (mut shard, mut row) = (load.shard(), RowBuf::new());
    for n in 0..USERS {
        shard.push(row.encode(&user(n, 0)).unwrap(), Place { file: 0, line: n + 1, offset: n }, RowKind::User).unwrap();
    }
    load.finish(vec![shard], &mut |_| Ok(())).unwrap();
}

fn same(snapshot: &Snapshot, model: &BTreeMap<Vec<u8>, User>, range: (Bound<Vec<u8>>, Bound<Vec<u8>>)) {
    let mut found = Vec::new();
    let taken = UidRange { start: range.0.clone(), end: range.1.clone() };
    let each = |user: headcount_store::block::UserRef<'_>| {
        found.push(user.to_user().unwrap());
        ControlFlow::Continue(())
    };
    snapshot.scan(&taken, each).unwrap();
    let expected: Vec<&User> = model.range(range).map(|(_, user)| user).collect();
    assert!(found.iter().eq(expected), "{taken:?}: {} users", found.len());
}

#[test]
fn any_number_of_changes_merges_as_in_a_map() {
    let mut random = 7;
    for changes in [1, 2, 5, 12, 60, 300, 1_500] {
        let store = Store::temporary().unwrap();
        load(&store);
        let mut model: BTreeMap<Vec<u8>, User> =
            (0..USERS).map(|n| user(n, 0)).map(|user| (user.uid.clone().into_bytes(), user)).collect();
        for edition in 1..=changes {
            let mut batch = Batch::new();
            // Among those that are there, and some that are new.
            let user = user(number(&mut random) % (USERS + 500), edition);
            if edition % 5 == 0 {
                model.remove(user.uid.as_bytes());
                batch.delete(user.uid);
            } else {
                model.insert(user.uid.clone().into_bytes(), user.clone());
                batch.put(user);
            }
            store.commit(batch).unwrap();
        }
        for flushed in [false, true] {
            if flushed {
                store.flush().unwrap();
            }
            let snapshot = store.snapshot();
            same(&snapshot, &model, (Bound::Unbounded, Bound::Unbounded));
            for _ in 0..60 {
                let mut ends = [(); 2].map(|()| user(number(&mut random) % (USERS + 500), 0).uid.into_bytes());
                ends.sort();
                let [start, end] = ends;
                same(&snapshot, &model, (Bound::Included(start.clone()), Bound::Excluded(end.clone())));
                if start != end {
                    same(&snapshot, &model, (Bound::Excluded(start), Bound::Included(end)));
                }
            }
        }
        store.close().unwrap();
    }
}

/// A pass over blocks that asks whether to go on.
type Pass<'p> = &'p dyn Fn(&dyn Fn() -> Result<(), Error>) -> Result<(), Error>;

/// Blocks in which nothing changed, and blocks that are only summed up, do not keep from ending whoever cancels.
#[test]
fn whoever_passes_over_many_blocks_is_asked_at_each() {
    let store = Store::temporary().unwrap();
    load(&store);
    let since = store.snapshot().seq();
    let put = |edition| {
        let mut batch = Batch::new();
        batch.put(user(USERS / 2 + 1, edition));
        store.commit(batch).unwrap();
    };
    put(1);
    store.compact(Compaction::Full, &Progress::default()).unwrap();
    put(2);
    let snapshot = store.snapshot();
    let whole = Select { after: Some(b"_".to_vec()), limit: None, include_pending: true };
    let passes: [(&str, Pass<'_>); 3] = [
        ("changes", &|go_on| snapshot.changes_while(since, go_on, &mut |_| Ok(()))),
        ("all", &|go_on| snapshot.changes_while(0, go_on, &mut |_| Ok(()))),
        ("sums", &|go_on| snapshot.measure_while(&whole, Scan::Allowed, go_on).map(drop)),
    ];
    for (name, pass) in passes {
        let asked = Cell::new(0);
        let counted = || {
            asked.set(asked.get() + 1);
            Ok(())
        };
        pass(&counted).unwrap();
        assert!(asked.get() >= 3, "{name}: asked {} times", asked.get());
        let left = Cell::new(2);
        let two = || match left.replace(left.get() - 1) {
            0 => Err(Cancelled.into()),
            _ => Ok(()),
        };
        assert!(matches!(pass(&two), Err(Error::Cancelled(_))), "{name}");
        assert_eq!(left.get(), -1, "{name} went on");
    }
}
