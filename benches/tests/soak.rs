//! A soak: writers, loads, exports, compactions, backups and clients of a server at one store at once, for as long as
//! `SOAK_SECONDS` says, 8 unless told. In every round it is opened again; every other round it was not closed.
//!
//! Every export, response and backup is a state that the store had: what a writer's users look like follows from the number of
//! its steps, which one of its users counts, and no step that was acknowledged before is missing. When a round has ended
//! and nothing is at work, private memory, open files, threads and the store's files are looked at: in the second half
//! of the rounds they may not be more than in the first one, but for a slack that does not grow with the time.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that fails panics"
)]

#[path = "../../crates/server/tests/support/mod.rs"]
mod serving;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

use headcount_benches::oracle::{self, Query, Users};
use headcount_benches::{Mix, Synth, env_or};
use headcount_block::{Progress, Status, User};
use headcount_export::{Export, Format, Length};
use headcount_store::{Batch, Compaction, Durability, Options, Snapshot, Store};
use serving::{Running, serve_with};

/// Users that are there and stay as they are.
const STILL: usize = 4_000;
/// Users of each writer, over which it goes again and again.
const RING: usize = 400;
/// Threads that commit; one more loads.
const COMMITTERS: usize = 3;
const LOADER: usize = COMMITTERS;
const WRITERS: usize = COMMITTERS + 1;
/// Users of a page.
const PAGE: &str = "500";
const FIELDS: &[&str] = &["uid", "provider", "providerUID"];
/// What the second half of the rounds may have over the first one, on top of a tenth: KiB of memory, then numbers.
const SLACK_KIB: u64 = 16 << 10;
const SLACK: u64 = 4;

fn counter(writer: usize) -> String {
    format!("counter {writer}")
}

fn user(writer: usize, step: usize, slot: usize) -> User {
    let status = if step % 7 == 3 { Status::Pending } else { Status::Registered };
    User::new(format!("{writer} \"{slot}\""))
        .with_status(status)
        .with_identity("site", format!("{writer}.{slot}"))
        .with_identity("step", format!("{writer}.{step}.{slot}"))
}

/// What a committer's step leaves in its slot: every fifth one nobody.
fn left(writer: usize, step: usize) -> Option<User> {
    (step % 5 != 4).then(|| user(writer, step, step % RING))
}

/// Users of a writer that has done so many steps.
fn after(writer: usize, steps: usize, users: &mut Users) {
    let Some(last) = steps.checked_sub(1) else { return };
    let counts = User::new(counter(writer)).with_identity("counter", format!("{writer}.{last}"));
    users.insert(counts.uid.clone(), counts);
    for slot in 0..RING {
        let user = match writer {
            LOADER => Some(user(writer, last, slot)),
            _ => last.checked_sub((last + RING - slot) % RING).and_then(|step| left(writer, step)),
        };
        users.extend(user.map(|user| (user.uid.clone(), user)));
    }
}

/// One step of a writer.
fn step(store: &Store, writer: usize, step: usize) {
    let counts = User::new(counter(writer)).with_identity("counter", format!("{writer}.{step}"));
    if writer == LOADER {
        store.load((0..RING).map(|slot| user(writer, step, slot)).chain([counts])).unwrap();
        return;
    }
    let mut batch = Batch::new();
    match left(writer, step) {
        Some(user) => batch.put(user),
        None => batch.delete(user(writer, step, step % RING).uid),
    };
    batch.put(counts);
    let durability = match writer {
        0 => Durability::Buffered { flush_within: Duration::from_millis(20) },
        _ => Durability::Sync,
    };
    store.commit_with(batch, durability).unwrap();
}

/// Counts over the whole soak.
#[derive(Default)]
struct Counts {
    exports: AtomicU64,
    responses: AtomicU64,
    broken_off: AtomicU64,
    walks: AtomicU64,
    backups: AtomicU64,
    compactions: AtomicU64,
}

/// What is known of the store from outside.
struct Known {
    still: Users,
    /// Steps of each writer that were acknowledged.
    steps: [AtomicU64; WRITERS],
    counts: Counts,
}

impl Known {
    fn acknowledged(&self) -> [u64; WRITERS] {
        self.steps.each_ref().map(|steps| steps.load(SeqCst))
    }

    /// The users of a store in which the writers' counters show this.
    fn users(&self, from: [u64; WRITERS], shown: impl Fn(&str) -> Option<String>) -> Users {
        let mut users = self.still.clone();
        for (writer, from) in from.into_iter().enumerate() {
            let done =
                shown(&counter(writer)).map_or(0, |text| text.split('.').nth(1).unwrap().parse::<u64>().unwrap() + 1);
            assert!(done >= from, "{from} steps of writer {writer} were acknowledged, and {done} are visible");
            after(writer, done as usize, &mut users);
        }
        users
    }

    /// Exports a snapshot that was taken when `from` had been acknowledged, and compares.
    fn check(&self, snapshot: &Snapshot, from: [u64; WRITERS], way: usize) -> Vec<u8> {
        let pending = way % 2 == 1;
        let format = [Format::Ndjson, Format::Csv][way / 2 % 2];
        let mut out = Vec::new();
        let fields = FIELDS.join(",").parse().unwrap();
        let export = Export::new(snapshot).format(format).fields(fields).include_pending(pending).threads(1 + way % 3);
        export.write_to(&mut out).unwrap();
        assert_eq!(export.len().unwrap(), Length::Exact(out.len() as u64));
        let users = self.users(from, |uid| Some(snapshot.get_user(uid).unwrap()?.identities[0].provider_uid.clone()));
        let query = Query { fields: FIELDS, include_pending: pending, ..Query::default() };
        let expected = if format == Format::Csv { oracle::csv(&users, &query) } else { oracle::ndjson(&users, &query) };
        assert!(out == expected.unwrap(), "an export at seq {} is no state of the store", snapshot.seq());
        self.counts.exports.fetch_add(1, SeqCst);
        out
    }

    /// Asks a server for all users, and compares.
    fn ask(&self, server: &Running) {
        let from = self.acknowledged();
        let text = server.export(&[("format", "json"), ("fields", &FIELDS.join(","))]).text();
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        let counters: BTreeMap<String, String> = answer["users"]
            .as_array()
            .unwrap_or_else(|| panic!("{text}"))
            .iter()
            .filter(|user| user["UID"].as_str().unwrap().starts_with("counter "))
            .map(|user| (user["UID"].as_str().unwrap(), user["identities"][0]["providerUID"].as_str().unwrap()))
            .map(|(uid, shown)| (uid.to_owned(), shown.to_owned()))
            .collect();
        let users = self.users(from, |uid| counters.get(uid).cloned());
        let query = Query { fields: FIELDS, ..Query::default() };
        let said = |name: &str| answer[name].as_str().unwrap().to_owned();
        let expected = oracle::json(&users, &query, &said("callId"), &said("time")).unwrap();
        assert!(text.as_bytes() == expected, "a response is no state of the store");
        self.counts.responses.fetch_add(1, SeqCst);
    }

    /// Goes through all users page by page, while they change: those that stay as they are come once each, in order.
    fn page(&self, server: &Running) {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let reply = server.export(&[("format", "json"), ("limit", PAGE), ("after", &after)]);
            let text = reply.text();
            let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
            let users = answer["users"].as_array().unwrap_or_else(|| panic!("{text}"));
            assert_eq!(answer["usersCount"].as_u64(), Some(users.len() as u64));
            for user in users {
                let uid = user["UID"].as_str().unwrap();
                assert!(uid > after.as_str(), "{uid:?} comes after {after:?}");
                uid.clone_into(&mut after);
                seen.extend(self.still.contains_key(uid).then(|| uid.to_owned()));
            }
            if users.len() < PAGE.parse().unwrap() {
                break;
            }
        }
        assert!(seen.iter().eq(self.still.values().filter(|u| u.status == Status::Registered).map(|u| &u.uid)));
        self.counts.walks.fetch_add(1, SeqCst);
    }

    /// Asks, and goes away in the middle of the answer.
    fn break_off(&self, server: &Running) {
        let form = server.signed_form(&[("format", "json")]);
        let head = "POST /socialize.exportUsers HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n";
        let mut stream = serving::connect(server.http);
        write!(stream, "{head}Host: {}\r\nContent-Length: {}\r\n\r\n{form}", server.http, form.len()).unwrap();
        let mut first = [0; 1000];
        stream.read_exact(&mut first).unwrap();
        assert!(first.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&first));
        self.counts.broken_off.fetch_add(1, SeqCst);
    }
}

/// Ends the round also when a thread of it fails.
struct Ends<'s>(&'s AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, SeqCst);
        }
    }
}

/// All at once for a while.
fn round(store: &Arc<Store>, known: &Known, dir: &Path, time: Duration) {
    let stop = AtomicBool::new(false);
    let server = serve_with(Arc::clone(store), "");
    let until = |pause: u64, act: &mut dyn FnMut(usize)| {
        let _ends = Ends(&stop);
        for n in 0.. {
            if stop.load(SeqCst) {
                break;
            }
            act(n);
            sleep(Duration::from_millis(pause));
        }
    };
    std::thread::scope(|scope| {
        let (until, server) = (&until, &server);
        for writer in 0..WRITERS {
            let steps = &known.steps[writer];
            scope.spawn(move || {
                until(if writer == LOADER { 80 } else { 0 }, &mut |_| {
                    step(store, writer, steps.load(SeqCst) as usize);
                    steps.fetch_add(1, SeqCst);
                });
            });
        }
        scope.spawn(move || {
            let mut kept = None;
            until(0, &mut |n| {
                let from = known.acknowledged();
                let snapshot = store.snapshot();
                let bytes = known.check(&snapshot, from, n);
                // One is kept for a while, over flushes and compactions.
                if n % 8 == 0
                    && let Some((old, from, n, bytes)) = kept.replace((snapshot, from, n, bytes))
                {
                    assert!(known.check(&old, from, n) == bytes, "a snapshot changed");
                }
            });
        });
        scope.spawn(move || {
            until(150, &mut |_| {
                store.compact(Compaction::Full, &Progress::default()).unwrap();
                known.counts.compactions.fetch_add(1, SeqCst);
            });
        });
        scope.spawn(move || {
            let copy = dir.join("copy");
            until(200, &mut |n| {
                let from = known.acknowledged();
                store.backup(&copy, &Progress::default()).unwrap();
                let opened = Store::open_read_only(&copy, &Options::default()).unwrap();
                known.check(&opened.snapshot(), from, n);
                opened.close().unwrap();
                fs::remove_dir_all(&copy).unwrap();
                known.counts.backups.fetch_add(1, SeqCst);
            });
        });
        scope.spawn(move || until(5, &mut |_| known.ask(server)));
        scope.spawn(move || until(50, &mut |_| known.break_off(server)));
        scope.spawn(move || until(50, &mut |_| known.page(server)));
        let began = Instant::now();
        while began.elapsed() < time && !stop.load(SeqCst) {
            sleep(Duration::from_millis(20));
        }
        stop.store(true, SeqCst);
    });
}

/// What this process and a store take: private memory in KiB, open files, threads, names in the store's directory.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    kib: u64,
    files: u64,
    threads: u64,
    names: u64,
}

impl Taken {
    fn now(store: &Path) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let value = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let names = |path: &Path| fs::read_dir(path).map_or(0, |entries| entries.count() as u64);
        Self {
            kib: value("RssAnon:"),
            files: names(Path::new("/proc/self/fd")),
            threads: value("Threads:"),
            names: names(store) + names(&store.join("tmp")),
        }
    }

    /// When those threads that end by themselves have done so, and nothing changes any more.
    fn at_rest(store: &Path) -> Self {
        let mut last = Self::now(store);
        for _ in 0..40 {
            sleep(Duration::from_millis(250));
            let now = Self::now(store);
            if (now.threads, now.files) == (last.threads, last.files) {
                break;
            }
            last = now;
        }
        Self::now(store)
    }

    fn max(self, other: Self) -> Self {
        Self {
            kib: self.kib.max(other.kib),
            files: self.files.max(other.files),
            threads: self.threads.max(other.threads),
            names: self.names.max(other.names),
        }
    }
}

/// Compares the second half of the rounds, a quarter to warm up aside, with the first one.
fn check_flat(rounds: &[Taken]) -> Result<String, String> {
    let (first, second) = rounds[rounds.len() / 4..].split_at((rounds.len() - rounds.len() / 4) / 2);
    let most = |rounds: &[Taken]| rounds.iter().copied().fold(Taken::default(), Taken::max);
    let (first, second) = (most(first), most(second));
    let said = format!("at rest, at most: {first:?} in the first half, {second:?} in the second");
    let flat = second.kib <= first.kib + first.kib / 10 + SLACK_KIB
        && second.files <= first.files
        && second.threads <= first.threads
        && second.names <= first.names + SLACK;
    if flat { Ok(said) } else { Err(said) }
}

/// Runs this test again in a process of its own whose threads share one arena, and says whether that was done. Unless
/// told otherwise glibc gives threads that come and go an arena each and keeps what was freed in them: 260 MiB after a quarter of an
/// hour where 40 are in use, and nobody could tell a small leak from that.
fn in_one_arena(test: &str) -> bool {
    const ARENAS: &str = "MALLOC_ARENA_MAX";
    if std::env::var_os(ARENAS).is_some() {
        return false;
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    let output = again.args(["--exact", test, "--nocapture"]).env(ARENAS, "1").output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

#[test]
fn everything_at_once_again_and_again() {
    if in_one_arena("everything_at_once_again_and_again") {
        return;
    }
    let seconds = env_or("SOAK_SECONDS", 8);
    let count = (seconds / 5).max(8);
    let time = Duration::from_secs(seconds) / count as u32;
    let holder = tempfile::tempdir().unwrap();
    let dir = holder.path().join("store");
    let options = Options { delta_changes: 1_000, ..Options::default() };
    let still: Vec<User> = Synth::new(11, Mix::HARD).take(STILL).collect();
    let known = Known {
        still: still.iter().map(|user| (user.uid.clone(), user.clone())).collect(),
        steps: Default::default(),
        counts: Counts::default(),
    };
    let store = Store::create(&dir, &options).unwrap();
    store.load(still).unwrap();
    store.close().unwrap();
    let mut rounds = Vec::new();
    for number in 0..count {
        let store = Arc::new(Store::open(&dir, &options).unwrap());
        let from = known.acknowledged();
        known.check(&store.snapshot(), from, number as usize);
        round(&store, &known, holder.path(), time);
        let all = known.acknowledged();
        known.check(&store.snapshot(), all, number as usize);
        let report = store.verify(&Progress::default(), &mut |damage| panic!("{damage}")).unwrap();
        assert_eq!(report.damages, 0);
        // Who had it has let go of it: a server that has stopped, too.
        let store = Arc::into_inner(store).expect("the store is nobody else's");
        if number % 2 == 0 {
            store.close().unwrap();
        } else {
            store.sync().unwrap();
            drop(store);
        }
        rounds.push(Taken::at_rest(&dir));
    }
    let n = |count: &AtomicU64| count.load(SeqCst);
    let (steps, counts) = (known.acknowledged(), &known.counts);
    println!(
        "{count} rounds in {seconds} s: {} commits, {} loads, {} exports, {} responses, {} walks through pages, {} broken off, {} backups, {} compactions",
        steps[..COMMITTERS].iter().sum::<u64>(),
        steps[LOADER],
        n(&counts.exports),
        n(&counts.responses),
        n(&counts.walks),
        n(&counts.broken_off),
        n(&counts.backups),
        n(&counts.compactions),
    );
    let kib: Vec<u64> = rounds.iter().map(|taken| taken.kib).collect();
    println!("KiB at rest, round by round: {kib:?}");
    println!("{}", check_flat(&rounds).unwrap_or_else(|said| panic!("something grows: {said}\n{rounds:#?}")));
    assert!(steps.iter().all(|steps| *steps > count), "hardly anything was done: {steps:?}");
}

#[test]
fn what_grows_is_found() {
    let level = Taken { kib: 50 << 10, files: 9, threads: 2, names: 8 };
    let rounds = |grow: &dyn Fn(u64) -> Taken| check_flat(&(0..40).map(grow).collect::<Vec<_>>());
    rounds(&|_| level).unwrap();
    rounds(&|n| Taken { kib: level.kib + 900 * (n % 9), ..level }).unwrap();
    rounds(&|n| Taken { kib: level.kib + 2000 * n, ..level }).unwrap_err();
    rounds(&|n| Taken { files: level.files + n / 10, ..level }).unwrap_err();
    rounds(&|n| Taken { threads: level.threads + n / 10, ..level }).unwrap_err();
    rounds(&|n| Taken { names: level.names + n / 2, ..level }).unwrap_err();
}
