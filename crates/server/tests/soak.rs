//! Everything at once, for as long as it is told: writers, exports, compactions, backups, and clients over HTTP. What they see
//! is right at every moment, and memory, files and threads stay flat.
//!
//! `SOAK_SECONDS` says for how long: 8 unless told. Memory is compared from a minute on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use headcount::{
    Batch, Compaction, Durability, Export, Fields, Format, Identity, Options, Progress, Status, Store, User,
};
use support::*;

/// Users that stay as they are.
const STILL: usize = 30_000;
const WRITERS: usize = 3;
/// UIDs of each writer that come and go.
const OWN: u64 = 400;

/// What all threads share.
struct Soak {
    store: Arc<Store>,
    server: Running,
    stop: AtomicBool,
    /// Of each writer, the number of its last acknowledged commit.
    acknowledged: [AtomicU64; WRITERS],
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Soak {
    fn until_stopped(&self, what: &'static str, mut each: impl FnMut(u64)) {
        for n in 0.. {
            if self.stop.load(SeqCst) {
                break;
            }
            each(n);
            *self.counts.lock().unwrap().entry(what).or_default() += 1;
        }
    }

    /// Commits two users with the same number, and changes of users that come and go. Returns what there is of the latter.
    fn write(&self, writer: usize) -> BTreeMap<String, User> {
        let mut own = BTreeMap::new();
        self.until_stopped("commits", |n| {
            let n = n + 1;
            let mut batch = Batch::new();
            for half in ["a", "b"] {
                let number = Identity::new(format!("number-{half}"), format!("{writer}:{n}"));
                let user =
                    User { uid: format!("pair-{writer}-{half}"), status: Status::Registered, identities: vec![number] };
                batch.put(user);
            }
            let uid = format!("own-{writer}-{}", n * 7919 % OWN);
            if n.is_multiple_of(3) && own.remove(&uid).is_some() {
                batch.delete(uid);
            } else {
                let user = User::new(uid.clone()).with_identity("own", format!("{writer}-{n}"));
                own.insert(uid, user.clone());
                batch.put(user);
            }
            self.store.commit(batch).unwrap();
            self.acknowledged[writer].store(n, SeqCst);
        });
        own
    }

    /// The last acknowledged numbers: what is exported from now on shows at least these.
    fn least(&self) -> Vec<u64> {
        self.acknowledged.iter().map(|n| n.load(SeqCst)).collect()
    }

    /// Looks at an NDJSON or JSON export: halves of a pair agree, and are no older than what was acknowledged before it.
    fn check(&self, text: &str, least: &[u64]) {
        for (writer, least) in least.iter().enumerate() {
            let number = |half: &str| {
                let (_, rest) = text.split_once(&format!("number-{half}\",\"providerUID\":\"{writer}:"))?;
                rest.split_once('"')?.0.parse::<u64>().ok()
            };
            let (a, b) = (number("a"), number("b"));
            assert_eq!(a, b, "half a commit of writer {writer}");
            assert!(a.unwrap_or_default() >= *least, "{a:?} of writer {writer}, but {least} was acknowledged before");
        }
    }

    fn export_over_http(&self) {
        self.until_stopped("exports over HTTP", |_| {
            let least = self.least();
            let reply = self.server.export(&[]);
            let text = reply.text();
            let users = text.matches("{\"UID\":\"").count();
            assert_eq!((reply.status, reply.code()), (200, 0));
            assert!(
                text.contains(&format!("],\"usersCount\":{users},")),
                "{users} users, but {}",
                &text[text.len() - 300..]
            );
            assert!(users >= STILL);
            self.check(&text, &least);
        });
    }

    fn ask_for_pages(&self) {
        self.until_stopped("pages", |n| {
            // No page begins so near the end that it cannot be full.
            let after = format!("user-{:012}", n * 31 % (STILL as u64 - 50));
            let reply = self.server.export(&[("limit", "50"), ("after", &after)]);
            assert_eq!((reply.status, reply.code()), (200, 0));
            assert!(reply.text().contains("\"usersCount\":50,"), "a page after {after}: {}", reply.text());
        });
    }

    fn export(&self) {
        self.until_stopped("exports", |n| {
            let least = self.least();
            let snapshot = self.store.snapshot();
            let mut out = Vec::new();
            let export = Export::new(&snapshot).format(Format::Ndjson).threads(if n % 2 == 0 { 1 } else { 2 });
            let summary = export.write_to(&mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert_eq!(summary.users, text.lines().count() as u64);
            self.check(&text, &least);
            let stats = snapshot.stats();
            let fields: Fields = "uid".parse().unwrap();
            let mut uids = Vec::new();
            Export::new(&snapshot)
                .format(Format::Csv)
                .fields(fields)
                .include_pending(true)
                .write_to(&mut uids)
                .unwrap();
            let lines = uids.iter().filter(|byte| **byte == b'\n').count() as u64;
            assert_eq!(lines, stats.totals.users() + 1, "rows and the header");
        });
    }

    fn compact(&self) {
        self.until_stopped("compactions", |_| {
            self.store.compact(Compaction::Full, &Progress::default()).unwrap();
            sleep(Duration::from_millis(300));
        });
    }

    fn back_up(&self) {
        let dir = tempfile::tempdir().unwrap();
        self.until_stopped("backups", |n| {
            let (copy, least) = (dir.path().join(format!("{n}")), self.least());
            self.store.backup(&copy, &Progress::default()).unwrap();
            let copied = Store::open(&copy, &Options::default()).unwrap();
            assert_eq!(copied.verify(&Progress::default(), &mut |damage| panic!("{damage}")).unwrap().damages, 0);
            let mut out = Vec::new();
            Export::new(&copied.snapshot()).format(Format::Ndjson).write_to(&mut out).unwrap();
            self.check(&String::from_utf8(out).unwrap(), &least);
            copied.close().unwrap();
            std::fs::remove_dir_all(copy).unwrap();
            sleep(Duration::from_millis(200));
        });
    }
}

/// Private memory in MiB, open files, threads.
#[derive(Debug, Clone, Copy)]
struct Load([u64; 3]);

impl Load {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        let files = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        Self([field("RssAnon:") / 1024, files, field("Threads:")])
    }

    fn greatest(of: &[Self]) -> Self {
        Self([0, 1, 2].map(|i| of.iter().map(|load| load.0[i]).max().unwrap_or_default()))
    }
}

#[test]
fn everything_at_once_stays_right_and_flat() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(8, |text| text.parse().expect("a number"));
    let dir = tempfile::tempdir().unwrap();
    let options = Options { durability: Durability::Sync, delta_changes: 1_000, ..Options::default() };
    let store = Arc::new(Store::create(dir.path().join("store"), &options).unwrap());
    store.load(many(STILL)).unwrap();
    let server = serve_with(Arc::clone(&store), "");
    let soak = Soak {
        store: Arc::clone(&store),
        server,
        stop: AtomicBool::new(false),
        acknowledged: Default::default(),
        counts: Mutex::default(),
    };
    assert_eq!(soak.server.export(&[("limit", "1")]).status, 200);
    let before = Load::now();
    let mut loads = Vec::new();
    let own: Vec<BTreeMap<String, User>> = thread::scope(|scope| {
        let soak = &soak;
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || soak.write(writer))).collect();
        let others: [fn(&Soak); 6] = [
            Soak::export_over_http,
            Soak::export_over_http,
            Soak::ask_for_pages,
            Soak::export,
            Soak::compact,
            Soak::back_up,
        ];
        let others: Vec<_> = others.map(|other| scope.spawn(move || other(soak))).into();
        let (began, length) = (Instant::now(), Duration::from_secs(seconds));
        while began.elapsed() < length && !others.iter().any(thread::ScopedJoinHandle::is_finished) {
            sleep(Duration::from_millis(100));
            loads.push(Load::now());
        }
        // One that failed must not leave the others at work.
        soak.stop.store(true, SeqCst);
        let failed = others.into_iter().map(thread::ScopedJoinHandle::join).filter(Result::is_err).count();
        assert_eq!(failed, 0, "threads that failed, as said above");
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });

    let snapshot = store.snapshot();
    for (writer, own) in own.iter().enumerate() {
        for n in 0..OWN {
            let uid = format!("own-{writer}-{n}");
            assert_eq!(snapshot.get_user(&uid).unwrap().as_ref(), own.get(&uid), "{uid}");
        }
    }
    drop(snapshot);
    let counts = soak.counts.lock().unwrap().clone();
    assert!(counts.len() == 6 && counts.values().all(|n| *n > 0), "somebody did nothing: {counts:?}");

    let (first, last) = loads.split_at(loads.len() / 2);
    let (first, last) = (Load::greatest(first), Load::greatest(last));
    println!("{seconds} s: {counts:?}; MiB, files, threads: {before:?}, at most {first:?} and then {last:?}");
    if seconds >= 60 {
        assert!(last.0[0] <= first.0[0] + first.0[0] / 5 + 16, "memory grows: {first:?}, then {last:?}");
    }
    assert!(last.0[1] <= first.0[1] + 16 && last.0[2] <= first.0[2] + 8, "{first:?}, then {last:?}");
    // Only what is the store's and the server's own is left.
    eventually("files and threads are as before", || {
        let now = Load::now();
        now.0[1] <= before.0[1] + 16 && now.0[2] <= before.0[2] + 8
    });
}
