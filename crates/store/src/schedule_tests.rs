//! Schedules: threads meet in the queue, at the signals and in a whole store, in every order that shuttle comes to.
//!
//! What runs is the store's own code, that of `sync.rs` aside, and files in a temporary directory. Waits have no
//! timeout here, so that a lost wake-up is a deadlock, which shuttle reports. A failure prints its schedule, for
//! `shuttle::replay`. `SCHEDULES` says how many schedules of a store are tried; of the queue and the signals, which touch
//! no disk, it is a hundred times as many.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headcount_block::{Progress, UidRange, User};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
use shuttle::sync::atomic::{AtomicU64, Ordering::SeqCst};
use shuttle::{Config, Runner};

use crate::batch::Batch;
use crate::compact::Compaction;
use crate::error::Error;
use crate::fault::tests as fault;
use crate::files;
use crate::maintain::Signals;
use crate::manifest::Manifest;
use crate::options::{Durability, Options};
use crate::queue::Queue;
use crate::recover::version_of;
use crate::snapshot::Snapshot;
use crate::state::Inner;
use crate::store::Store;
use crate::sync::{Mutex, MutexGuard, lock, thread};
use crate::version::Version;

/// Schedules of a store that are tried unless told.
const SCHEDULES: usize = 200;
/// Switches of threads that are forced in half of the schedules, by probabilistic concurrency testing; the other half
/// switches at random.
const SWITCHES: usize = 4;
/// Stack of each thread, in bytes.
const STACK: usize = 1 << 20;

fn schedules() -> usize {
    std::env::var("SCHEDULES").map_or(SCHEDULES, |text| text.parse().expect("SCHEDULES is a number"))
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK;
    // Weaker orderings are not modelled: what they guard is handed over under a lock as well.
    config.silence_warnings = true;
    config
}

fn explore(count: usize, body: impl Fn() + Clone + Send + Sync + 'static) {
    let tried = Runner::new(RandomScheduler::new(count.div_ceil(2)), config()).run(body.clone())
        + Runner::new(PctScheduler::new(SWITCHES, count / 2), config()).run(body);
    assert_eq!(tried, count);
    println!("{count} schedules");
}

/// Every thread hands in jobs, one after another; each is carried out once and answered with its own answer.
fn meet(threads: u32, jobs: u32) {
    let queue = Arc::new(Queue::<u32, u32>::new());
    let done = Arc::new(Mutex::new(Vec::new()));
    let submit = |thread: u32| {
        let (queue, done) = (Arc::clone(&queue), Arc::clone(&done));
        move || {
            for job in (0..jobs).map(|n| thread * 100 + n) {
                let work = |done: &mut MutexGuard<'_, Vec<u32>>, group: &[u32]| {
                    done.extend(group);
                    group.iter().map(|job| job + 1).collect()
                };
                assert_eq!(queue.run(job, &done, work, || u32::MAX), job + 1);
            }
        }
    };
    // One of them is this one: each thread more multiplies the schedules.
    let handles: Vec<_> = (1..threads).map(|n| thread::spawn(submit(n))).collect();
    submit(0)();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    let done = lock(&done);
    for thread in 0..threads {
        let own = done.iter().copied().filter(|job| job / 100 == thread);
        assert!(own.eq((0..jobs).map(|n| thread * 100 + n)), "each job once, in its thread's order: {done:?}");
    }
}

#[test]
fn every_job_is_carried_out_once_and_answered() {
    explore(schedules() * 100, || meet(3, 3));
}

/// One schedule after another instead of some that are drawn: all there are, from `SCHEDULES=5000` on.
#[test]
fn every_schedule_of_two_jobs() {
    let most = schedules() * 1000;
    let tried = Runner::new(DfsScheduler::new(Some(most), false), config()).run(|| meet(2, 1));
    println!("{tried} schedules, {}", if tried < most { "all there are" } else { "the first ones" });
    assert!(tried > 100, "{tried}");
}

const LOST: u32 = u32::MAX;

/// Panics over job 0, and forgets to answer where job 1 is among them.
fn work_badly(_: &mut MutexGuard<'_, ()>, group: &[u32]) -> Vec<u32> {
    if group.contains(&0) {
        // Without the hook, which would take it for a failure of the test.
        resume_unwind(Box::new("a worker gives up"));
    }
    if group.contains(&1) { Vec::new() } else { group.to_vec() }
}

#[test]
fn nobody_waits_for_a_worker_that_panicked() {
    explore(schedules() * 100, || {
        let queue = Arc::new(Queue::<u32, u32>::new());
        let tools = Arc::new(Mutex::new(()));
        let submit = |job: u32| {
            let (queue, tools) = (Arc::clone(&queue), Arc::clone(&tools));
            move || {
                let first = queue.run(job, &tools, work_badly, || LOST);
                assert!(first == LOST || first == job && job > 1, "{job}: {first}");
                let again = queue.run(job + 10, &tools, work_badly, || LOST);
                assert!(again == LOST || again == job + 10, "{job}: {again}");
            }
        };
        let handles: Vec<_> = (0..4).map(|n| thread::spawn(submit(n))).collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        assert_eq!(queue.run(20, &tools, work_badly, || LOST), 20, "the queue goes on");
    });
}

/// Whoever is told to work between two looks finds it: without a timeout it would sleep for ever.
#[test]
fn no_signal_is_lost() {
    explore(schedules() * 100, || {
        let (signals, work) = (Arc::new(Signals::default()), Arc::new(AtomicU64::new(0)));
        let notify = || {
            let (signals, work) = (Arc::clone(&signals), Arc::clone(&work));
            move || {
                for _ in 0..2 {
                    work.fetch_add(1, SeqCst);
                    signals.notify();
                }
            }
        };
        let handles = [thread::spawn(notify()), thread::spawn(notify())];
        let mut seen = 0;
        while seen < 4 {
            assert!(signals.sleep(Duration::MAX));
            seen += work.swap(0, SeqCst);
        }
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        let stopper = Arc::clone(&signals);
        let handle = thread::spawn(move || stopper.stop());
        while signals.sleep(Duration::MAX) {}
        handle.join().unwrap();
    });
}

/// Whoever changes the version changes what is there by then, and a version that a reader has stays as it is.
#[test]
fn no_change_of_a_version_is_lost() {
    explore(schedules() * 100, || {
        let manifest = Manifest::new(1, 2, 3);
        let version = version_of(&manifest, Vec::new()).unwrap();
        let inner = Arc::new(Inner::new("nowhere".into(), Options::default(), false, version, manifest));
        let change = |change: fn(&mut Version)| {
            let inner = Arc::clone(&inner);
            thread::spawn(move || (0..3).for_each(|_| inner.update(change)))
        };
        let handles = [change(|version| version.origin.seq += 1), change(|version| version.changes_floor += 1)];
        let mut kept = Vec::new();
        for _ in 0..3 {
            let version = inner.version.load_full();
            let (seq, floor) = (version.origin.seq, version.changes_floor);
            kept.push((version, seq, floor));
            let (_, oldest) = inner.pinned();
            assert!(oldest.is_some_and(|oldest| oldest <= kept[0].1), "{oldest:?} is not the oldest");
        }
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        for (version, seq, floor) in kept {
            assert_eq!((version.origin.seq, version.changes_floor), (seq, floor));
        }
        let last = inner.version.load_full();
        assert_eq!((last.origin.seq, last.changes_floor), (3, 3));
        drop(last);
        assert_eq!(inner.pinned().1, None, "nobody holds a version any more");
    });
}

/// How a thread writes: each step is a change of one seq.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Commits,
    Loads,
}

/// A thread's user that counts its steps: an upsert in each of them.
fn counter(thread: usize) -> String {
    format!("counter {thread}")
}

fn user(thread: usize, step: usize) -> User {
    User::new(format!("user {thread} {step}")).with_identity("site", format!("{thread}.{step}"))
}

fn counted(thread: usize, step: usize) -> User {
    User::new(counter(thread)).with_identity("counter", format!("{thread}.{step}"))
}

/// Users of a thread after its first `steps` steps: every third one takes away the one before.
fn after(by: By, thread: usize, steps: usize) -> Vec<User> {
    let mut users: BTreeMap<String, User> = BTreeMap::new();
    for step in 0..steps {
        let put = user(thread, step);
        users.insert(put.uid.clone(), put);
        users.insert(counter(thread), counted(thread, step));
        if by == By::Commits && step % 3 == 2 {
            users.remove(&user(thread, step - 1).uid);
        }
    }
    users.into_values().collect()
}

fn write(store: &Store, by: By, thread: usize, step: usize) -> Result<u64, Error> {
    let users = [counted(thread, step), user(thread, step)];
    if by == By::Loads {
        return store.load(users).map(|report| report.seq);
    }
    let mut batch = Batch::new();
    users.into_iter().for_each(|user| {
        batch.put(user);
    });
    if step % 3 == 2 {
        batch.delete(user(thread, step - 1).uid);
    }
    store.commit(batch).map(|commit| commit.seq)
}

/// Threads that write, what of it was acknowledged, and the seq before them.
struct Writers {
    by: Vec<By>,
    acknowledged: Vec<AtomicU64>,
    base: u64,
}

impl Writers {
    fn new(by: &[By], store: &Store) -> Self {
        let acknowledged = by.iter().map(|_| AtomicU64::new(0)).collect();
        Self { by: by.to_vec(), acknowledged, base: store.snapshot().seq() }
    }

    fn acknowledged(&self) -> Vec<usize> {
        self.acknowledged.iter().map(|n| n.load(SeqCst) as usize).collect()
    }

    /// Checks that a snapshot is a state that the store had: of each thread all steps up to one, which is not before `from`.
    fn check(&self, snapshot: &Snapshot, from: &[usize]) -> Vec<usize> {
        let found: Vec<User> = snapshot.users(UidRange::all()).map(|user| user.unwrap()).collect();
        let mut expected = Vec::new();
        let mut steps = Vec::new();
        for (thread, by) in self.by.iter().enumerate() {
            let last = found.iter().find(|u| u.uid == counter(thread)).map(|u| u.identities[0].provider_uid.clone());
            let done = last.map_or(0, |last| last.split('.').nth(1).unwrap().parse::<usize>().unwrap() + 1);
            assert!(done >= from[thread], "acknowledged and not visible: {done} steps of {thread}, {from:?}");
            expected.extend(after(*by, thread, done));
            steps.push(done);
        }
        expected.sort_by(|a, b| a.uid.cmp(&b.uid));
        assert_eq!(found, expected, "seq {}", snapshot.seq());
        for user in &found {
            let identity = &user.identities[0];
            let owner = snapshot.find_user(&identity.provider, &identity.provider_uid).unwrap();
            assert_eq!(owner.as_ref(), Some(user));
        }
        for segment in &snapshot.0.segments {
            assert!(segment.path().exists(), "a file went while a snapshot held it: {}", segment.path().display());
        }
        steps
    }
}

fn options(durability: Durability) -> Options {
    // Every third change fills a delta, so that there are switches, flushes and compactions in these few steps.
    Options { durability, delta_changes: 3, ..Options::default() }
}

fn some_durability() -> Durability {
    if thread_rng().gen_bool(0.5) { Durability::Sync } else { Durability::Buffered { flush_within: Duration::MAX } }
}

/// Runs writers beside a thread that reads and one that compacts; `write` is told who writes and what.
fn together(
    store: &Arc<Store>,
    writers: &Arc<Writers>,
    steps: usize,
    write: impl Fn(&Store, &Writers, usize, usize) + Copy + Send + 'static,
) {
    let mut handles = Vec::new();
    for thread in 0..writers.by.len() {
        let (store, writers) = (Arc::clone(store), Arc::clone(writers));
        handles.push(thread::spawn(move || (0..steps).for_each(|step| write(&store, &writers, thread, step))));
    }
    let (of_reader, known) = (Arc::clone(store), Arc::clone(writers));
    handles.push(thread::spawn(move || {
        let mut kept: Option<(Snapshot, Vec<usize>)> = None;
        for _ in 0..3 {
            let from = known.acknowledged();
            let snapshot = of_reader.snapshot();
            let seen = known.check(&snapshot, &from);
            if let Some((old, before)) = kept.replace((snapshot, seen)) {
                assert_eq!(known.check(&old, &before), before, "a snapshot changed");
            }
            let _ = of_reader.stats();
        }
    }));
    let of_compactor = Arc::clone(store);
    handles.push(thread::spawn(move || match of_compactor.compact(Compaction::Full, &Progress::default()) {
        Ok(_) | Err(Error::Io { .. } | Error::Poisoned { .. }) => {}
        Err(other) => panic!("{other}"),
    }));
    handles.into_iter().for_each(|handle| handle.join().unwrap());
}

/// The files of segments that are there are those that the manifest names.
fn check_files(store: &Store, dir: &Path) {
    let mut named: Vec<u128> = lock(&store.inner.manifest).segments.iter().map(|s| s.id).collect();
    named.sort_unstable();
    assert_eq!(files::segments(dir).unwrap(), named, "files that nobody needs stay");
}

fn a_store_beside_itself(by: &'static [By], steps: usize) {
    let holder = tempfile::tempdir().unwrap();
    let dir = holder.path().join("store");
    let store = Arc::new(Store::create(&dir, &options(some_durability())).unwrap());
    let writers = Arc::new(Writers::new(by, &store));
    together(&store, &writers, steps, |store, writers, thread, step| {
        write(store, writers.by[thread], thread, step).unwrap();
        writers.acknowledged[thread].fetch_add(1, SeqCst);
    });
    let all = vec![steps; by.len()];
    assert_eq!(writers.check(&store.snapshot(), &all), all);
    assert_eq!(store.snapshot().seq() - writers.base, (steps * by.len()) as u64, "one seq a step");
    let mut store = Arc::try_unwrap(store).unwrap();
    if thread_rng().gen_bool(0.5) {
        // Background threads end first: they hold versions while they work.
        store.threads = None;
        check_files(&store, &dir);
        store.close().unwrap();
    } else {
        drop(store);
    }
    let store = Store::open_read_only(&dir, &Options::default()).unwrap();
    writers.check(&store.snapshot(), &all);
}

#[test]
fn commits_flushes_compactions_and_readers() {
    explore(schedules(), || a_store_beside_itself(&[By::Commits, By::Commits], 4));
}

#[test]
fn commits_beside_loads() {
    explore(schedules(), || a_store_beside_itself(&[By::Commits, By::Loads], 3));
}

/// From a step on that is drawn, nothing reaches the disk: nobody hangs, nothing is acknowledged from then on, and what was is
/// there at the next open.
#[test]
fn a_disk_that_fails_in_the_middle() {
    explore(schedules(), || {
        let holder = tempfile::tempdir().unwrap();
        let dir = holder.path().join("store");
        let store = Arc::new(Store::create(&dir, &options(Durability::Sync)).unwrap());
        let writers = Arc::new(Writers::new(&[By::Commits, By::Commits], &store));
        // All threads of a schedule are one to the operating system, and so share the plan.
        fault::plan(Some(thread_rng().gen_range(0..90)));
        together(&store, &writers, 4, |store, writers, thread, step| {
            let acknowledged = writers.acknowledged[thread].load(SeqCst) as usize;
            match write(store, By::Commits, thread, step) {
                Ok(_) => {
                    assert_eq!(acknowledged, step, "acknowledged after one that was not");
                    writers.acknowledged[thread].fetch_add(1, SeqCst);
                }
                Err(Error::Io { .. } | Error::Poisoned { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        });
        drop(store);
        fault::plan(None);
        let store = Store::open(&dir, &Options::default()).unwrap();
        let acknowledged = writers.acknowledged();
        let there = writers.check(&store.snapshot(), &acknowledged);
        for (there, acknowledged) in there.iter().zip(&acknowledged) {
            assert!(*there <= acknowledged + 1, "{there} of {acknowledged}: more than the one that met the error");
        }
    });
}
