//! A snapshot against the model: everything that can be asked of it.

use std::ops::{Bound, ControlFlow};

use headcount_block::{Measured, RowBuf, Scan, Select, Source, Status, Totals, UidRange, User};
use headcount_export::{Export, Fields, Format, Length};
use headcount_store::{Changed, Error, Snapshot};

use super::dice::Dice;
use super::state::State;
use crate::oracle::{self, Query};

const CALL_ID: &str = "00112233445566778899aabbccddeeff";
const TIME: &str = "2015-03-22T11:42:25.943Z";
const FIELDS: [&str; 4] = ["uid", "provider", "providerUID", "status"];

/// Counts and length sums of these users.
pub(crate) fn totals<'u>(users: impl IntoIterator<Item = &'u User>) -> Totals {
    let (mut totals, mut row) = (Totals::default(), RowBuf::new());
    users.into_iter().for_each(|user| totals.add_user(&row.encode(user).unwrap().into()));
    totals
}

/// Compares everything; `uids` are some that may not be there. `dice` chooses pages, sinces and ways to export.
pub(crate) fn everything(snapshot: &Snapshot, state: &State, uids: &[String], dice: &mut Dice<'_>) {
    let stats = snapshot.stats();
    assert_eq!((snapshot.seq(), stats.origin.seq), (state.seq, state.seq), "seq");
    assert_eq!(stats.changes_floor, state.floor, "least seq that changes can be asked from");
    assert_eq!(stats.totals, totals(state.users.values()), "totals");
    lookups(snapshot, state, uids);
    scans(snapshot, state, uids, dice);
    for _ in 0..3 {
        let since = match dice.below(4) {
            0 => state.floor,
            1 => state.seq,
            2 => (state.floor.saturating_sub(1)) + dice.below(6) as u64,
            _ => state.seq.saturating_sub(dice.below(40) as u64),
        };
        changes(snapshot, state, since);
    }
    for _ in 0..2 {
        measure(snapshot, state, &any_select(state, dice));
    }
    for format in [Format::Json, Format::Csv, Format::Ndjson] {
        export(snapshot, state, format, dice);
    }
}

/// Identities of one user that the fuzzer looks up, about: each of thousands brings out thousands, which takes it minutes.
const MOST: usize = 64;

fn lookups(snapshot: &Snapshot, state: &State, uids: &[String]) {
    let keys: Vec<&str> = state.users.keys().chain(uids).map(String::as_str).chain(["", "\u{10ffff}"]).collect();
    let mut many = Vec::with_capacity(keys.len());
    snapshot.get_many(&keys, |i, user| many.push((i, user.map(|u| u.to_user().unwrap())))).unwrap();
    assert_eq!(many.len(), keys.len(), "get_many answers each key once");
    for ((i, uid), (number, found)) in keys.iter().enumerate().zip(many) {
        let expected = state.users.get(*uid);
        assert_eq!((number, found.as_ref()), (i, expected), "get_many of {uid:?}");
        let guard = snapshot.get(uid).unwrap();
        assert_eq!(guard.as_ref().map(|g| g.user().to_user().unwrap()).as_ref(), expected, "get {uid:?}");
        let seq = guard.map(|g| g.seq().unwrap());
        assert_eq!(seq, expected.and_then(|u| state.seqs.get(&u.uid)).copied(), "seq of {uid:?}");
    }
    for (n, (identity, owner)) in state.owners.iter().enumerate() {
        let expected = state.users.get(owner);
        if cfg!(fuzzing) && !n.is_multiple_of(1 + expected.map_or(0, |user| user.identities.len() / MOST)) {
            continue;
        }
        let found = snapshot.find(&identity.provider, &identity.provider_uid).unwrap();
        let found = found.map(|g| g.user().to_user().unwrap());
        assert_eq!(found.as_ref(), expected, "owner of {identity:?}");
    }
}

/// Identities that nobody has are not found.
pub(crate) fn nobody_has(snapshot: &Snapshot, state: &State, identity: &headcount_block::Identity) {
    if !state.owners.contains_key(identity) {
        let found = snapshot.find_user(&identity.provider, &identity.provider_uid).unwrap();
        assert_eq!(found, None, "an identity that nobody has: {identity:?}");
    }
}

fn scan(snapshot: &Snapshot, range: &UidRange) -> Vec<User> {
    let mut found = Vec::new();
    let each = |user: headcount_block::UserRef<'_>| {
        found.push(user.to_user().unwrap());
        ControlFlow::Continue(())
    };
    snapshot.scan(range, each).unwrap();
    found
}

fn scans(snapshot: &Snapshot, state: &State, uids: &[String], dice: &mut Dice<'_>) {
    assert!(scan(snapshot, &UidRange::all()).iter().eq(state.users.values()), "scan");
    let any = |dice: &mut Dice<'_>| uids[dice.below(uids.len())].clone();
    let (a, b) = (any(dice), any(dice));
    let bound = |dice: &mut Dice<'_>, uid: &str| {
        let uid = uid.as_bytes().to_vec();
        match dice.below(5) {
            0 => Bound::Unbounded,
            1 | 2 => Bound::Included(uid),
            _ => Bound::Excluded(uid),
        }
    };
    let range = UidRange { start: bound(dice, (&a).min(&b)), end: bound(dice, (&a).max(&b)) };
    let prefix: String = a.chars().take(dice.below(4)).collect();
    for range in [range, UidRange::prefix(&prefix)] {
        let expected = state.users.values().filter(|u| range.contains(u.uid.as_bytes()));
        assert!(scan(snapshot, &range).iter().eq(expected), "scan of {range:?}");
    }
    let expected = state.users.keys().filter(|uid| uid.starts_with(&prefix));
    let found: Vec<String> = snapshot.users(UidRange::prefix(&prefix)).map(|u| u.unwrap().uid).collect();
    assert!(found.iter().eq(expected), "users with the prefix {prefix:?}");
}

fn changes(snapshot: &Snapshot, state: &State, since: u64) {
    let mut found = Vec::new();
    let outcome = snapshot.changes_since(since, &mut |changed| {
        found.push(match changed {
            Changed::User { user, seq } => (user.uid_str().unwrap().to_owned(), seq, Some(user.to_user().unwrap())),
            Changed::Deleted { uid, seq } => (uid.to_owned(), seq, None),
        });
        ControlFlow::Continue(())
    });
    match outcome {
        Err(Error::FutureSeq { since: asked, seq }) => {
            assert!((asked, seq) == (since, state.seq) && since > seq, "changes since {since}");
        }
        Err(Error::TooOld { since: asked, floor }) => {
            assert!((asked, floor) == (since, state.floor) && since < floor, "changes since {since}");
        }
        other => {
            other.unwrap();
            assert!((state.floor..=state.seq).contains(&since), "changes since {since} should be refused");
            let expected: Vec<_> = state
                .seqs
                .iter()
                .filter(|(_, seq)| **seq > since)
                .map(|(uid, seq)| (uid.clone(), *seq, state.users.get(uid).cloned()))
                .collect();
            assert_eq!(found, expected, "changes since {since}");
        }
    }
}

fn any_select(state: &State, dice: &mut Dice<'_>) -> Select {
    let after = match dice.below(3) {
        0 => None,
        1 => state.users.keys().nth(dice.below(state.users.len().max(1))).cloned(),
        _ => Some(format!("{}{}", ["L", "q", "u"][dice.below(3)], dice.below(100))),
    };
    let limit = match dice.below(3) {
        0 => None,
        1 => Some(dice.below(8) as u64),
        _ => Some(dice.below(state.users.len() + 3) as u64),
    };
    Select { after: after.map(String::into_bytes), limit, include_pending: dice.one_in(2) }
}

fn measure(snapshot: &Snapshot, state: &State, select: &Select) {
    let wanted: Vec<&User> = state
        .users
        .values()
        .filter(|u| select.after.as_ref().is_none_or(|after| u.uid.as_bytes() > after.as_slice()))
        .filter(|u| select.include_pending || u.status == Status::Registered)
        .collect();
    let limit = select.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap());
    let taken = &wanted[..limit.min(wanted.len())];
    let cut = taken.len() < wanted.len();
    let end = cut.then(|| taken.last().map_or(Vec::new(), |u| u.uid.clone().into_bytes()));
    let expected = Measured { totals: totals(taken.iter().copied()), end };
    for scan in [Scan::Never, Scan::Allowed] {
        match snapshot.measure(select, scan).unwrap() {
            Some(found) => {
                assert_eq!(found.totals, expected.totals, "sums of {select:?}");
                // Of nothing, what is behind it need not be known.
                let nothing = select.limit == Some(0) && found.end.as_ref().is_some_and(Vec::is_empty);
                assert!(nothing || found.end == expected.end, "end of {select:?}: {:?}", found.end);
            }
            None => assert_eq!(scan, Scan::Never, "{select:?}"),
        }
    }
}

fn export(snapshot: &Snapshot, state: &State, format: Format, dice: &mut Dice<'_>) {
    let select = if dice.one_in(2) { any_select(state, dice) } else { Select::default() };
    let after = select.after.map(|after| String::from_utf8(after).unwrap());
    let mut fields: Vec<&str> = FIELDS.iter().copied().filter(|_| !dice.one_in(4)).collect();
    if fields.is_empty() {
        fields.push("uid");
    }
    if dice.one_in(4) {
        fields.reverse();
    }
    let limit = select.limit;
    let query = Query {
        fields: &fields,
        after: after.as_deref(),
        limit: limit.map(|l| usize::try_from(l).unwrap()),
        include_pending: select.include_pending,
    };
    let expected = match format {
        Format::Json => oracle::json(&state.users, &query, CALL_ID, TIME),
        Format::Csv => oracle::csv(&state.users, &query),
        _ => oracle::ndjson(&state.users, &query),
    };
    let expected = expected.unwrap();
    let fields: Fields = fields.join(",").parse().unwrap();
    let export = Export::new(snapshot)
        .format(format)
        .fields(fields)
        .after(query.after)
        .limit(limit)
        .include_pending(query.include_pending)
        .threads(1 + dice.below(2))
        .call_id(CALL_ID)
        .time(TIME);
    if let Length::Exact(len) = export.len().unwrap() {
        assert_eq!(len, expected.len() as u64, "length of {format:?} {query:?}");
    }
    let mut out = Vec::new();
    export.write_to(&mut out).unwrap();
    let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out == expected, "{format:?} {query:?}\n found    {}\n expected {}", show(&out), show(&expected));
}
