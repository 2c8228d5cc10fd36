//! Bulk load against a sorted map, with every policy.

#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at the first surprise and count small things"
)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use headcount_block::{Identity, Progress, RowBuf, Scan, Select, Source, Status, Totals, UidRange, User};
use headcount_store::{
    Error, Existing, LoadOptions, LoadReport, OnConflict, OnDuplicate, Place, RejectReason, Rejection, RowKind, Store,
};
use proptest::prelude::*;

type Model = BTreeMap<String, User>;

fn load(store: &Store, users: &[User], options: LoadOptions) -> Result<(LoadReport, Vec<Rejection>), Error> {
    load_kind(store, users, options, RowKind::User)
}

fn load_kind(
    store: &Store,
    users: &[User],
    options: LoadOptions,
    kind: RowKind,
) -> Result<(LoadReport, Vec<Rejection>), Error> {
    let threads = options.threads;
    let load = store.bulk_load(options, &Arc::new(Progress::default()))?;
    let mut shards: Vec<_> = (0..threads).map(|_| load.shard()).collect();
    let mut row = RowBuf::new();
    for (i, user) in users.iter().enumerate() {
        let at = Place { file: 0, line: i as u64 + 1, offset: i as u64 * 10 };
        shards[i % threads].push(row.encode(user).unwrap(), at, kind).unwrap();
    }
    let mut rejected = Vec::new();
    let report = load.finish(shards, &mut |r| {
        rejected.push(r.clone());
        Ok(())
    })?;
    Ok((report, rejected))
}

fn options() -> LoadOptions {
    LoadOptions { memory: 1 << 22, threads: 2, ..LoadOptions::default() }
}

fn assert_equal(store: &Store, model: &Model) {
    let snapshot = store.snapshot();
    let users: Vec<User> = snapshot.users(UidRange::all()).map(Result::unwrap).collect();
    assert!(users.iter().eq(model.values()), "{users:?}\n{model:?}");
    let mut totals = Totals::default();
    for user in model.values() {
        totals.add_user(&RowBuf::new().encode(user).unwrap().into());
        assert_eq!(snapshot.get_user(&user.uid).unwrap().as_ref(), Some(user));
        for i in &user.identities {
            let found = snapshot.find_user(&i.provider, &i.provider_uid).unwrap();
            assert_eq!(found.map(|u| u.uid).as_ref(), Some(&user.uid), "{i:?}");
        }
        assert_eq!(snapshot.get_user(&format!("{}~", user.uid)).unwrap(), None);
    }
    assert_eq!(snapshot.totals(), totals);
    let mut damages = Vec::new();
    let report = snapshot.verify(&Progress::default(), &mut |d| damages.push(d.clone())).unwrap();
    assert_eq!((damages, report.damages), (vec![], 0));
    let uids: Vec<&str> = model.keys().map(String::as_str).chain(["absent", "", "\u{10ffff}"]).collect();
    let mut many = Vec::new();
    snapshot.get_many(&uids, |i, user| many.push((i, user.map(|u| u.to_user().unwrap())))).unwrap();
    let expected: Vec<_> = uids.iter().map(|u| model.get(*u).cloned()).enumerate().collect();
    assert_eq!(many, expected);
}

fn user(uid: &str, identities: &[(&str, &str)]) -> User {
    let mut user = User::new(uid);
    user.identities = identities.iter().map(|(p, u)| Identity::new(*p, *u)).collect();
    user
}

fn population(tag: &'static str) -> impl Strategy<Value = Model> {
    let identities = prop::collection::vec(0u8..4, 0..4);
    let user = ("[a-d]{1,3}", any::<bool>(), identities);
    prop::collection::vec(user, 0..80).prop_map(move |users| {
        let users = users.into_iter().map(|(uid, pending, ids)| {
            let mut user = User::new(uid.clone());
            user.status = if pending { Status::Pending } else { Status::Registered };
            for (n, id) in ids.into_iter().enumerate() {
                user.identities.push(Identity::new(format!("p{id}"), format!("{uid}/{n}/{tag}")));
            }
            (uid, user)
        });
        users.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn loads_over_loads_show_each_user_once(a in population("a"), b in population("b"), c in population("c"), after in "[a-d]{1,3}", limit in 0u64..90, pending in any::<bool>()) {
        let store = Store::temporary().unwrap();
        let mut model = Model::new();
        for loaded in [&a, &b, &c] {
            let users: Vec<User> = loaded.values().cloned().collect();
            load(&store, &users, options()).unwrap();
            model.extend(loaded.clone());
        }
        assert_equal(&store, &model);
        let snapshot = store.snapshot();
        let mut prefixed = Vec::new();
        snapshot.scan(&UidRange::prefix(&after), |u| { prefixed.push(u.uid_str().unwrap().to_owned()); ControlFlow::Continue(()) }).unwrap();
        prop_assert!(prefixed.iter().eq(model.keys().filter(|u| u.starts_with(&after))));
        // What an export of a page would hold.
        let select = Select { after: Some(after.clone().into_bytes()), limit: Some(limit), include_pending: pending };
        let wanted: Vec<&User> = model.values()
            .filter(|u| u.uid > after && (pending || u.status == Status::Registered)).collect();
        let mut totals = Totals::default();
        wanted.iter().take(limit as usize).for_each(|u| totals.add_user(&RowBuf::new().encode(u).unwrap().into()));
        let measured = snapshot.measure(&select, Scan::Allowed).unwrap().unwrap();
        prop_assert_eq!(measured.totals, totals);
        // A limit of 0 is an empty range, whoever comes after `after`.
        let anybody = model.values().any(|u| pending || u.status == Status::Registered);
        let cut = (limit as usize) < wanted.len() || (limit == 0 && anybody);
        prop_assert_eq!(measured.end.is_some(), cut);
        if cut {
            let last = wanted.iter().take(limit as usize).next_back().map(|u| u.uid.clone()).unwrap_or_default();
            prop_assert_eq!(measured.end, Some(last.into_bytes()));
        }
        // Loading the same again changes nothing.
        let users: Vec<User> = model.values().cloned().collect();
        let (report, _) = load(&store, &users, options()).unwrap();
        prop_assert_eq!((report.users, report.unchanged, report.seq), (0, users.len() as u64, snapshot.seq()));
    }
}

#[test]
fn many_blocks_with_spilled_runs_equal_the_model() {
    let store = Store::temporary().unwrap();
    let mut model = Model::new();
    for round in 0..2 {
        let users: Vec<User> = (0..30_000)
            .map(|i| i * 7919 % 30_011 * (round + 1))
            .map(|i| {
                let uid = format!("_gid_{:016x}{i}", (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let mut user = user(&uid, &[("facebook", &format!("{i}{round}")), ("x", &format!("\"{i},{round}"))]);
                user.identities.truncate(i as usize % 3);
                user.status = if i % 5 == 0 { Status::Pending } else { Status::Registered };
                user
            })
            .collect();
        // A budget that holds a few thousand rows.
        let options = LoadOptions { memory: 1 << 20, ..options() };
        let (report, _) = load(&store, &users, options).unwrap();
        assert_eq!(report.users + report.unchanged, 30_000);
        model.extend(users.into_iter().map(|u| (u.uid.clone(), u)));
    }
    assert_equal(&store, &model);
    let snapshot = store.snapshot();
    let parts: Vec<_> = snapshot.parts(&UidRange::all()).unwrap().map(Result::unwrap).collect();
    assert!(parts.len() > 5, "{}", parts.len());
    let mut seen = Vec::new();
    for part in &parts {
        seen.extend(snapshot.users(part.range.clone()).map(|u| u.unwrap().uid));
    }
    assert!(seen.iter().eq(model.keys()));
    for limit in [1, 2, 999, 29_999, 50_000] {
        for include_pending in [false, true] {
            let select = Select { after: None, limit: Some(limit), include_pending };
            let measured = snapshot.measure(&select, Scan::Allowed).unwrap().unwrap();
            let wanted = model.values().filter(|u| include_pending || u.status == Status::Registered);
            let last = wanted.clone().take(limit as usize).last().unwrap();
            assert_eq!(measured.totals.users(), limit.min(wanted.count() as u64));
            assert!(measured.end.is_none_or(|end| end == last.uid.as_bytes()));
        }
    }
}

#[test]
fn one_segment_measures_without_a_scan() {
    let store = Store::temporary().unwrap();
    let users: Vec<User> = (0..150_000)
        .map(|i| {
            user(&format!("{i:07}"), &[("p", &format!("{i}"))])
                .with_status([Status::Registered, Status::Pending][i % 3 / 2])
        })
        .collect();
    store.load(users.clone()).unwrap();
    let snapshot = store.snapshot();
    for (after, limit) in [(None, 1), (None, 99_999), (Some(77_777), 5), (Some(149_998), 9), (Some(5), 100_000)] {
        for include_pending in [false, true] {
            let select = Select {
                after: after.map(|a: usize| format!("{a:07}").into_bytes()),
                limit: Some(limit),
                include_pending,
            };
            let measured = snapshot.measure(&select, Scan::Never).unwrap().unwrap();
            let wanted = users.iter().skip(after.map_or(0, |a| a + 1));
            let wanted: Vec<&User> = wanted.filter(|u| include_pending || u.status == Status::Registered).collect();
            let taken = &wanted[..wanted.len().min(limit as usize)];
            let mut totals = Totals::default();
            taken.iter().for_each(|u| totals.add_user(&RowBuf::new().encode(u).unwrap().into()));
            assert_eq!(measured.totals, totals, "{select:?}");
            let cut = (taken.len() < wanted.len()).then(|| taken.last().unwrap().uid.clone().into_bytes());
            assert_eq!(measured.end, cut);
        }
    }
}

#[test]
fn duplicates_by_policy() {
    let users = [
        user("a", &[("p", "1")]),
        user("b", &[("p", "2")]),
        user("a", &[("p", "3"), ("p", "1")]).with_status(Status::Pending),
    ];
    let store = Store::temporary().unwrap();
    let error = load(&store, &users, options()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("\"a\"") && text.contains("line 3") && text.contains("line 1"), "{text}");
    assert_equal(&store, &Model::new());

    let (report, rejected) = load(&store, &users, LoadOptions { skip_rejected: true, ..options() }).unwrap();
    assert_eq!((report.users, report.rejected), (2, 1));
    assert_eq!(rejected[0].at.line, 3);
    assert_eq!(rejected[0].reason, RejectReason::DuplicateUid { first: Place { file: 0, line: 1, offset: 0 } });

    let store = Store::temporary().unwrap();
    let (report, _) = load(&store, &users, LoadOptions { on_duplicate: OnDuplicate::Last, ..options() }).unwrap();
    assert_eq!((report.users, report.superseded), (2, 1));
    assert_eq!(store.get("a").unwrap().unwrap(), users[2]);

    let store = Store::temporary().unwrap();
    let (report, _) = load(&store, &users, LoadOptions { on_duplicate: OnDuplicate::Merge, ..options() }).unwrap();
    assert_eq!((report.merged, report.identities_repeated), (1, 1));
    let merged = user("a", &[("p", "1"), ("p", "3")]).with_status(Status::Pending);
    assert_eq!(store.get("a").unwrap().unwrap(), merged);
}

#[test]
fn fragments_unite_and_must_agree_on_status() {
    let rows = [user("a", &[("p", "1")]), user("b", &[]), user("a", &[("q", "2")]), user("a", &[("p", "1")])];
    let store = Store::temporary().unwrap();
    load_kind(&store, &rows, options(), RowKind::Fragment).unwrap();
    assert_eq!(store.get("a").unwrap().unwrap(), user("a", &[("p", "1"), ("q", "2")]));
    let rows = [user("c", &[("p", "9")]), user("c", &[("q", "9")]).with_status(Status::Pending)];
    let error = load_kind(&store, &rows, options(), RowKind::Fragment).unwrap_err();
    assert!(matches!(&error, Error::Rejected(r) if matches!(r.reason, RejectReason::StatusDiffers { .. })), "{error}");
    assert_eq!(store.get("c").unwrap(), None);
}

#[test]
fn an_identity_has_one_owner() {
    let users = [user("c", &[("p", "1"), ("p", "2")]), user("a", &[("p", "1"), ("q", "7")]), user("b", &[("q", "7")])];
    let store = Store::temporary().unwrap();
    let error = load(&store, &users, options()).unwrap_err().to_string();
    for part in ["\"a\"", "line 2", "\"p\" \"1\"", "\"c\"", "line 1"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_equal(&store, &Model::new());
    // The second in input order is left out; then the third no longer conflicts.
    let (report, rejected) = load(&store, &users, LoadOptions { skip_rejected: true, ..options() }).unwrap();
    assert_eq!((report.users, report.rejected), (2, 1));
    assert_eq!(rejected[0].user.uid, "a");
    assert_equal(&store, &[users[0].clone(), users[2].clone()].map(|u| (u.uid.clone(), u)).into());

    let store = Store::temporary().unwrap();
    let ignore = LoadOptions { on_conflict: OnConflict::Ignore, ..options() };
    let (report, _) = load(&store, &users, ignore.clone()).unwrap();
    assert_eq!(report.identities_ignored, 2);
    let kept = [users[0].clone(), user("a", &[("q", "7")]), user("b", &[])];
    assert_equal(&store, &kept.clone().map(|u| (u.uid.clone(), u)).into());

    // An owner in the store keeps its identity, unless the load takes it from the owner.
    let error = load(&store, &[user("z", &[("p", "2")])], options()).unwrap_err().to_string();
    assert!(error.contains("\"c\" of the store"), "{error}");
    load(&store, &[user("z", &[("p", "2")]), user("c", &[("p", "1")])], options()).unwrap();
    let model: Model = [user("a", &[("q", "7")]), user("b", &[]), user("c", &[("p", "1")]), user("z", &[("p", "2")])]
        .map(|u| (u.uid.clone(), u))
        .into();
    assert_equal(&store, &model);
    // Also against an owner that the load repeats unchanged.
    let again = [user("c", &[("p", "1")]), user("y", &[("p", "1")])];
    let error = load(&store, &again, options()).unwrap_err().to_string();
    assert!(error.contains("\"y\"") && error.contains("\"c\""), "{error}");
    let (report, _) = load(&store, &again, ignore).unwrap();
    assert_eq!((report.identities_ignored, report.unchanged), (1, 1));
    assert_eq!(store.find("p", "1").unwrap().unwrap().uid, "c");
}

/// An index page has room for 630 entries of one hash: with more of them the layout of the index had no end.
#[test]
fn thousands_of_users_that_claim_one_identity_conflict_like_two() {
    for n in [2, 700, 5_000] {
        let users: Vec<User> =
            (0..n).map(|i| user(&format!("u{i:05}"), &[("p", "1"), ("q", &i.to_string())])).collect();
        let first: Model = [(users[0].uid.clone(), users[0].clone())].into();
        let dry = LoadOptions { dry_run: true, ..options() };
        for options in [options(), dry] {
            let store = Store::temporary().unwrap();
            let error = load(&store, &users, options).unwrap_err().to_string();
            assert!(error.contains("\"u00001\"") && error.contains("\"u00000\""), "{error}");
        }
        let store = Store::temporary().unwrap();
        let skip = LoadOptions { skip_rejected: true, ..options() };
        let (report, rejected) = load(&store, &users, skip).unwrap();
        assert_eq!((report.users, report.rejected, rejected.len()), (1, n - 1, n as usize - 1));
        assert_equal(&store, &first);
        let ignore = LoadOptions { on_conflict: OnConflict::Ignore, ..options() };
        // The owner in the store keeps it.
        let (report, _) = load(&store, &users[1..], ignore.clone()).unwrap();
        assert_eq!((report.users, report.identities_ignored), (n - 1, n - 1));
        let store = Store::temporary().unwrap();
        let (report, _) = load(&store, &users, ignore).unwrap();
        assert_eq!((report.users, report.identities_ignored), (n, n - 1));
        assert_eq!(store.find("p", "1").unwrap().unwrap().uid, "u00000");
        assert_eq!(store.snapshot().verify(&Progress::default(), &mut |_| {}).unwrap().damages, 0);
    }
}

#[test]
fn existing_users_by_policy() {
    let store = Store::temporary().unwrap();
    store.load([user("a", &[("p", "1")]), user("b", &[])]).unwrap();
    let next = [user("a", &[("q", "2")]).with_status(Status::Pending), user("c", &[])];
    let error = load(&store, &next, LoadOptions { existing: Existing::Error, ..options() }).unwrap_err();
    assert!(error.to_string().contains("in the store already"), "{error}");
    assert_eq!(store.stats().totals.users(), 2);
    load(&store, &next, LoadOptions { existing: Existing::Merge, ..options() }).unwrap();
    let merged = user("a", &[("p", "1"), ("q", "2")]).with_status(Status::Pending);
    assert_eq!(store.get("a").unwrap().unwrap(), merged);
    assert_eq!(store.find("p", "1").unwrap().unwrap().uid, "a");
    let (report, _) = load(&store, &next, options()).unwrap();
    assert_eq!((report.replaced, report.unchanged), (1, 1));
    assert_eq!(store.get("a").unwrap().unwrap(), next[0]);
    assert_eq!(store.find("p", "1").unwrap(), None, "replaced away");
    assert_eq!(store.snapshot().providers().unwrap(), [("q".to_owned(), 0, 1)]);
}

#[test]
fn a_dry_run_and_a_cancelled_load_change_nothing() {
    let store = Store::temporary().unwrap();
    let (report, _) = load(&store, &[user("a", &[])], LoadOptions { dry_run: true, ..options() }).unwrap();
    assert_eq!((report.users, report.seq), (1, 0));
    let progress = Arc::new(Progress::default());
    let load = store.bulk_load(options(), &progress).unwrap();
    assert!(matches!(store.bulk_load(options(), &progress), Err(Error::Busy)));
    let mut shard = load.shard();
    shard.push(RowBuf::new().encode(&user("a", &[])).unwrap(), Place::default(), RowKind::User).unwrap();
    progress.cancel();
    assert!(matches!(load.finish(vec![shard], &mut |_| Ok(())), Err(Error::Cancelled)));
    assert_equal(&store, &Model::new());
    assert_eq!(std::fs::read_dir(store.path().join("tmp")).unwrap().count(), 0);
    let names: Vec<_> = std::fs::read_dir(store.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|n| !n.to_string_lossy().ends_with(".seg")), "{names:?}");
    store.load([user("a", &[])]).unwrap();
}

/// The owner was taken for somebody whom the load takes the identity from, since its record came later in the file.
#[test]
fn an_owner_in_the_store_that_keeps_its_identity_keeps_it_from_an_earlier_record() {
    for existing in [Existing::Merge, Existing::Replace] {
        let made = || {
            let store = Store::temporary().unwrap();
            store.load([user("w", &[("g", "x")])]).unwrap();
            store
        };
        let mut of_w = vec![("f", "y")];
        if existing == Existing::Replace {
            of_w.push(("g", "x"));
        }
        let records = [user("v", &[("g", "x")]), user("w", &of_w)];
        let kept = if existing == Existing::Merge { user("w", &[("g", "x"), ("f", "y")]) } else { records[1].clone() };

        let store = made();
        let ignore = LoadOptions { existing, on_conflict: OnConflict::Ignore, ..options() };
        let (report, _) = load(&store, &records, ignore).unwrap();
        assert_eq!(report.identities_ignored, 1);
        assert_equal(&store, &[user("v", &[]), kept.clone()].map(|u| (u.uid.clone(), u)).into());

        let store = made();
        let error = load(&store, &records, LoadOptions { existing, ..options() }).unwrap_err();
        let Error::Rejected(rejection) = error else { panic!("{error}") };
        assert_eq!(rejection.user.uid, "v");
        let taken = |owner_at| RejectReason::IdentityTaken {
            provider: "g".into(),
            provider_uid: "x".into(),
            owner: "w".into(),
            owner_at,
        };
        assert_eq!(rejection.reason, taken(None));

        let store = made();
        let skip = LoadOptions { existing, skip_rejected: true, ..options() };
        let (report, rejected) = load(&store, &records, skip).unwrap();
        assert_eq!((report.users, report.rejected, rejected.len()), (1, 1, 1));
        assert_eq!(rejected[0].user.uid, "v");
        assert_equal(&store, &[kept].map(|u| (u.uid.clone(), u)).into());
    }
}

/// The users of a shard that was forgotten were not loaded, and nobody was told.
#[test]
fn a_load_ends_with_all_of_its_shards_and_no_others() {
    let store = Store::temporary().unwrap();
    let other = Store::temporary().unwrap();
    let begin = |store: &Store| store.bulk_load(options(), &Arc::default()).unwrap();
    let load = begin(&store);
    let (mut forgotten, kept) = (load.shard(), load.shard());
    forgotten.push(RowBuf::new().encode(&user("a", &[])).unwrap(), Place::default(), RowKind::User).unwrap();
    let error = load.finish(vec![kept], &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, Error::Shards { expected: 2, found: 1 }), "{error}");
    let (load, of_another) = (begin(&store), begin(&other));
    let _ = load.shard();
    let error = load.finish(vec![of_another.shard()], &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, Error::Shards { expected: 1, found: 0 }), "{error}");
    drop(forgotten);
    assert_equal(&store, &Model::new());
}

/// Each of them lost its identity in a round of its own, and there were eight.
#[test]
fn a_long_chain_of_conflicts_is_followed_to_its_end() {
    const USERS: u64 = 40;
    for on_conflict in [OnConflict::Error, OnConflict::Ignore] {
        let store = Store::temporary().unwrap();
        let number = |i: u64| user(&format!("u{i:02}"), &[("p", &i.to_string())]);
        let before: Vec<User> = (0..=USERS).map(number).collect();
        store.load(before.clone()).unwrap();
        // Each takes over the identity of the next, who is in the file; that of the last one is not given up.
        let shifted: Vec<User> =
            (0..USERS).map(|i| user(&format!("u{i:02}"), &[("p", &(i + 1).to_string())])).collect();
        let mut file = shifted.clone();
        file.push(user("new", &[("q", "1")]));
        let (report, rejected) =
            load(&store, &file, LoadOptions { on_conflict, skip_rejected: true, ..options() }).unwrap();
        let mut model: Model = before.into_iter().map(|u| (u.uid.clone(), u)).collect();
        model.insert("new".into(), user("new", &[("q", "1")]));
        if on_conflict == OnConflict::Error {
            assert_eq!((report.users, report.rejected, rejected.len() as u64), (1, USERS, USERS));
        } else {
            // Without the identity of the one outside, the last one gives up its own all the same.
            model.extend(shifted[..USERS as usize - 1].iter().map(|u| (u.uid.clone(), u.clone())));
            let last = user(&format!("u{:02}", USERS - 1), &[]);
            model.insert(last.uid.clone(), last);
            assert_eq!((report.users, report.identities_ignored), (USERS + 1, 1));
        }
        assert_equal(&store, &model);
    }
}
