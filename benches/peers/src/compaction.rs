//! Durable commits while the whole store is compacted.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use headcount_block::Progress;
use headcount_store::{Batch, Compaction, Durability, Options, Store};

use crate::Outcome;
use crate::engines::{Engine, KINDS, Kind};
use crate::figures::{micros, percentile};
use crate::settings::Settings;
use crate::stores::{load, load_tier, rewrite, user};
use crate::work;

/// How long commits are measured with nothing beside them.
const ALONE: Duration = Duration::from_secs(5);

/// Latencies in microseconds, of commits and of the floor's appends between them.
#[derive(Default)]
struct Latencies {
    commits: Vec<f64>,
    floor: Vec<f64>,
    seconds: f64,
}

/// Commits one user after another, an append of the floor after each, until `enough`.
fn commit_until(
    enough: impl Fn() -> bool,
    store: &Store,
    floor: &dyn Engine,
    next: &mut u64,
    latencies: &mut Latencies,
) -> Outcome {
    let began = Instant::now();
    while !enough() {
        let mut batch = Batch::new();
        batch.put(fresh(*next));
        *next += 1;
        let start = Instant::now();
        store.commit_with(batch, Durability::Sync)?;
        let done = Instant::now();
        floor.commit(&[])?;
        latencies.commits.push(micros(done - start));
        latencies.floor.push(micros(done.elapsed()));
    }
    latencies.seconds += began.elapsed().as_secs_f64();
    Ok(())
}

/// A user that no load has: of the same numbers, but with a UID and identities of its own.
fn fresh(n: u64) -> headcount_block::User {
    let mut user = work::user(n);
    user.uid.insert_str(0, "new-");
    for identity in &mut user.identities {
        identity.provider_uid.insert_str(0, "new-");
    }
    user
}

fn row(name: &str, latencies: &Latencies) {
    for (who, values) in [("durable commit", &latencies.commits), ("4 KiB append + fdatasync", &latencies.floor)] {
        let [middle, late, later, latest] = [50.0, 99.0, 99.9, 100.0].map(|percent| percentile(values, percent) / 1e3);
        let count = values.len();
        println!("| {name}: {who} | {count} | {middle:.2} | {late:.2} | {later:.2} | {latest:.2} |");
    }
}

/// Measures alone, then during full compactions, each of which has a new tier and half a delta to merge.
pub(crate) fn run(dir: &Path) -> Outcome {
    let settings = Settings::or(5_000_000, 3);
    // Compaction when it is asked for, and at no other time.
    let options = Options { maintenance: false, ..Options::default() };
    let store = Store::create(dir.join("store"), &options)?;
    load(&store, (0..settings.users).map(user))?;
    let [Kind { open, .. }, ..] = KINDS;
    let floor = open(dir)?;
    let mut next = 0;
    let (mut alone, mut beside) = (Latencies::default(), Latencies::default());
    let began = Instant::now();
    commit_until(|| began.elapsed() > ALONE, &store, &*floor, &mut next, &mut alone)?;
    for round in 0..settings.rounds {
        let edition = 2 * round as u64 + 1;
        load_tier(&store, settings.users, edition)?;
        rewrite(&store, settings.users, options.delta_changes as u64 / 2, edition + 1)?;
        let done = AtomicBool::new(false);
        thread::scope(|scope| -> Outcome {
            let compaction = scope.spawn(|| {
                let report = store.compact(Compaction::Full, &Progress::default());
                done.store(true, Ordering::Relaxed);
                report
            });
            commit_until(|| done.load(Ordering::Relaxed), &store, &*floor, &mut next, &mut beside)?;
            let report = compaction.join().map_err(|_| "the compaction panicked")??;
            if report.segments_before < 2 {
                return Err("there was nothing to compact".into());
            }
            Ok(())
        })?;
    }
    println!("{} users; {} full compactions, {:.1} s\n", settings.users, settings.rounds, beside.seconds);
    println!("| what | commits | median ms | p99 ms | p99.9 ms | longest ms |\n| --- | --: | --: | --: | --: | --: |");
    row("alone", &alone);
    row("during a full compaction", &beside);
    let snapshot = store.snapshot();
    for n in 0..next {
        let user = fresh(n);
        if snapshot.get_user(&user.uid)?.as_ref() != Some(&user) {
            return Err(format!("lost or changed: user {:?}", user.uid).into());
        }
    }
    println!("\nAll {next} committed users are there.");
    drop(snapshot);
    Ok(store.close()?)
}
