//! Exports while four threads commit as fast as they can: each equals the model at the seq of its snapshot, byte for byte,
//! and a second export of the same snapshot equals the first.
//!
//! `CONCURRENT_SNAPSHOTS` says how many snapshots are taken, 24 unless told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

#[path = "model/dice.rs"]
#[allow(dead_code, reason = "the model test uses the rest")]
mod dice;
#[path = "model/state.rs"]
#[allow(dead_code, reason = "the model test uses the rest")]
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use dice::Dice;
use headcount_benches::oracle::{self, Query};
use headcount_benches::{Mix, Synth};
use headcount_block::{Identity, Progress, Status, User};
use headcount_export::{Export, Format, Length};
use headcount_store::{Compaction, Durability, Error, Options, Snapshot, Store};
use state::{Op, State, batch_of};

/// Users that are there when the commits begin.
const USERS: usize = 20_000;
/// Users that commits are about: those, and some that come and go.
const KNOWN: usize = 20_500;
const WRITERS: u64 = 4;
const CALL_ID: &str = "00112233445566778899aabbccddeeff";
const TIME: &str = "2015-03-22T11:42:25.943Z";
/// Commits from one snapshot to the next, at least.
const BETWEEN: u64 = 250;
/// Snapshots that stay open until the end.
const KEPT: usize = 6;

/// One way to export.
#[derive(Debug, Clone, Copy)]
struct Way {
    format: Format,
    fields: &'static [&'static str],
    include_pending: bool,
}

impl Way {
    fn number(n: usize) -> Self {
        Self {
            format: [Format::Json, Format::Csv, Format::Ndjson][n % 3],
            fields: [&["uid", "provider", "providerUID"][..], &["status", "uid"][..]][n / 3 % 2],
            include_pending: n % 2 == 1,
        }
    }

    fn export(&self, snapshot: &Snapshot, threads: usize) -> Vec<u8> {
        let export = Export::new(snapshot)
            .format(self.format)
            .fields(self.fields.join(",").parse().unwrap())
            .include_pending(self.include_pending)
            .threads(threads)
            .call_id(CALL_ID)
            .time(TIME);
        let mut out = Vec::new();
        let summary = export.write_to(&mut out).unwrap();
        assert_eq!(summary.seq, snapshot.seq());
        assert_eq!(export.len().unwrap(), Length::Exact(out.len() as u64));
        out
    }

    fn expected(&self, state: &State) -> Vec<u8> {
        let query = Query { fields: self.fields, after: None, limit: None, include_pending: self.include_pending };
        match self.format {
            Format::Json => oracle::json(&state.users, &query, CALL_ID, TIME),
            Format::Csv => oracle::csv(&state.users, &query),
            _ => oracle::ndjson(&state.users, &query),
        }
        .unwrap()
    }
}

/// What an export of a snapshot was.
struct Seen {
    seq: u64,
    way: Way,
    bytes: Vec<u8>,
}

fn uid(n: usize) -> String {
    if n < USERS { Synth::new(5, Mix::HARD).user(n as u64).uid } else { format!("z{n}\"") }
}

/// A batch about a few users, among them what the store has to refuse.
fn ops(dice: &mut Dice<'_>, writer: u64, number: u64) -> Vec<Op> {
    let one = |i: u64| {
        let uid = uid(dice.below(KNOWN));
        // Sometimes one that other threads want, too.
        let own = Identity::new("own", format!("{writer},{number}\n{i}"));
        let identity = if dice.one_in(8) { Identity::new("shared", format!("{}", dice.below(50))) } else { own };
        match dice.below(8) {
            0..3 => {
                let status = if dice.one_in(3) { Status::Pending } else { Status::Registered };
                Op::Put(User::new(uid).with_status(status).with_identity(identity.provider, identity.provider_uid))
            }
            3 => Op::Link(uid, identity),
            4 => Op::Status(uid, Status::Registered),
            5 => Op::Rename(uid, format!("r{writer} {number} {i}")),
            6 => Op::Delete(uid),
            _ => Op::Unlink(uid, identity),
        }
    };
    (0..1 + number % 3).map(one).collect()
}

/// Commits until it is told to stop; returns what was acknowledged, by seq.
fn write(store: &Store, writer: u64, stop: &AtomicBool, acknowledged: &AtomicU64) -> Vec<(u64, Vec<Op>)> {
    let mut dice = Dice::Seed(writer);
    let mut done = Vec::new();
    for number in 0.. {
        if stop.load(SeqCst) {
            break;
        }
        let ops = ops(&mut dice, writer, number);
        match store.commit(batch_of(&ops)) {
            Ok(commit) if commit.changed > 0 => {
                acknowledged.fetch_max(commit.seq, SeqCst);
                done.push((commit.seq, ops));
            }
            Ok(_) | Err(Error::Refused(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    done
}

/// Exports snapshots while the writers write; those that are kept are exported again when they have stopped.
fn look(store: &Store, count: usize, stop: &AtomicBool, acknowledged: &AtomicU64) -> (Vec<Seen>, Vec<Snapshot>) {
    let (mut seen, mut kept) = (Vec::new(), Vec::new());
    for n in 0..count {
        // Some commits lie between two snapshots; should the writers be stuck, it is found out elsewhere.
        let began = Instant::now();
        while acknowledged.load(SeqCst) < n as u64 * BETWEEN && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let before = acknowledged.load(SeqCst);
        let snapshot = store.snapshot();
        assert!(snapshot.seq() >= before, "a commit was acknowledged and is not visible");
        let way = Way::number(n);
        let bytes = way.export(&snapshot, 1 + n % 3);
        let again = way.export(&snapshot, 3 - n % 3);
        assert!(bytes == again, "the second export of seq {} differs from the first: {way:?}", snapshot.seq());
        seen.push(Seen { seq: snapshot.seq(), way, bytes });
        if n % (count / KEPT).max(1) == 0 {
            kept.push(snapshot);
        }
    }
    stop.store(true, SeqCst);
    (seen, kept)
}

/// Names of the store's segments, full compactions again and again.
fn compact(store: &Store, stop: &AtomicBool) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    while !stop.load(SeqCst) {
        for _ in 0..40 {
            names.extend(store.stats().segments.into_iter().map(|s| s.name));
            std::thread::sleep(Duration::from_millis(5));
        }
        store.compact(Compaction::Full, &Progress::default()).unwrap();
    }
    names
}

fn exports_are_points_in_time(durability: Durability) {
    let count = std::env::var("CONCURRENT_SNAPSHOTS").map_or(24, |text| text.parse().expect("a number"));
    let dir = tempfile::tempdir().unwrap();
    let options = Options { durability, delta_changes: 500, ..Options::default() };
    let store = Store::create(dir.path().join("store"), &options).unwrap();
    let users: Vec<User> = Synth::new(5, Mix::HARD).take(USERS).collect();
    let mut state = State::default();
    state.commit(users.iter().map(|user| (user.uid.clone(), Some(user.clone()))).collect());
    assert_eq!(store.load(users).unwrap().seq, state.seq);

    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut history, mut seen, kept, segments) = std::thread::scope(|scope| {
        let (store, stop, acknowledged) = (&store, &stop, &acknowledged);
        let writers: Vec<_> = (0..WRITERS).map(|w| scope.spawn(move || write(store, w, stop, acknowledged))).collect();
        let compactor = scope.spawn(move || compact(store, stop));
        let looker = scope.spawn(move || look(store, count, stop, acknowledged));
        // A failure of one must not leave the others at work.
        let looked = looker.join();
        stop.store(true, SeqCst);
        let history: BTreeMap<u64, Vec<Op>> = writers.into_iter().flat_map(|w| w.join().unwrap()).collect();
        let (seen, kept) = looked.unwrap();
        (history, seen, kept, compactor.join().unwrap())
    });
    assert!(segments.len() > 8, "segments came and went: {}", segments.len());
    for (n, snapshot) in kept.iter().enumerate() {
        let way = Way::number(n + 1);
        seen.push(Seen { seq: snapshot.seq(), way, bytes: way.export(snapshot, 2) });
    }
    let last = Way::number(0);
    seen.push(Seen { seq: store.snapshot().seq(), way: last, bytes: last.export(&store.snapshot(), 2) });

    // Each acknowledged batch can be carried out on what those before it left, and seqs are unbroken.
    assert!(seen.iter().any(|s| s.seq > 100), "few commits: {}", history.len());
    let commits = history.len();
    seen.sort_by_key(|s| s.seq);
    for Seen { seq, way, bytes } in &seen {
        while state.seq < *seq {
            let ops = history.remove(&(state.seq + 1)).expect("every visible commit is acknowledged");
            let changes = state.apply(&ops).unwrap_or_else(|why| panic!("seq {}: {why:?}", state.seq + 1));
            state.commit(changes);
        }
        assert!(*bytes == way.expected(&state), "an export at seq {seq} differs from the model: {way:?}");
    }
    assert!(history.is_empty(), "acknowledged and not visible: {:?}", history.keys());
    println!("{commits} commits, {} exports, {} segments", seen.len() + seen.len() - kept.len() - 1, segments.len());
    drop(kept);
    let report = store.verify(&Progress::default(), &mut |damage| panic!("{damage}")).unwrap();
    assert_eq!(report.damages, 0);
    store.close().unwrap();
}

#[test]
fn exports_beside_durable_commits_are_points_in_time() {
    exports_are_points_in_time(Durability::Sync);
}

#[test]
fn exports_beside_buffered_commits_are_points_in_time() {
    exports_are_points_in_time(Durability::Buffered { flush_within: Duration::from_millis(20) });
}
