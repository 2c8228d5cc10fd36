//! Opening a store whose process was killed with a full delta.

use std::path::Path;
use std::time::Instant;

use headcount_store::{Options, Store};

use crate::Outcome;
use crate::figures::{median, percentile};
use crate::fill;
use crate::settings::Settings;
use crate::stores::copy;
use crate::work::user;

/// Milliseconds until a store is open, and the store.
fn timed(open: impl FnOnce() -> headcount_store::Result<Store>) -> Outcome<(f64, Store)> {
    let began = Instant::now();
    let store = open()?;
    Ok((began.elapsed().as_secs_f64() * 1e3, store))
}

/// Every acknowledged and synced change is there.
fn check(store: &Store, users: u64) -> Outcome {
    let snapshot = store.snapshot();
    let totals = snapshot.stats().totals;
    let found = totals.registered.users + totals.pending.users;
    let first_lost =
        (0..users).map(user).find(|user| !matches!(snapshot.get_user(&user.uid), Ok(Some(u)) if u == *user));
    match first_lost {
        Some(user) => Err(format!("lost or changed: user {:?}", user.uid).into()),
        None if found != users => Err(format!("{found} users where {users} were written").into()),
        None => Ok(()),
    }
}

/// Times opens after a kill: for writing, which recovers the delta; for reading; and of the cleanly closed store.
pub(crate) fn run(dir: &Path) -> Outcome {
    let rounds = Settings::or(0, 9).rounds;
    let options = Options::default();
    // One change before the delta would be written out.
    let users = options.delta_changes as u64 - 1;
    let killed = dir.join("killed");
    drop(fill::start(&killed, users, None)?);
    let mut times: [Vec<f64>; 3] = Default::default();
    let mut recovered = String::new();
    for round in 0..=rounds {
        let again = dir.join("again");
        copy(&killed, &again)?;
        let (reading, store) = timed(|| Store::open_read_only(&again, &options))?;
        check(&store, users)?;
        store.close()?;
        let (writing, store) = timed(|| Store::open(&again, &options))?;
        check(&store, users)?;
        if let Some(recovery) = store.recovery() {
            recovered = recovery.to_string();
        }
        store.close()?;
        let (clean, store) = timed(|| Store::open(&again, &options))?;
        check(&store, users)?;
        store.close()?;
        std::fs::remove_dir_all(&again)?;
        if round > 0 {
            for (times, took) in times.iter_mut().zip([writing, reading, clean]) {
                times.push(took);
            }
        }
    }
    println!(
        "Killed with {users} changes in the delta, {rounds} rounds, files in the page cache. Recovery: {recovered}\n"
    );
    println!("| open | ms: median | at the most |\n| --- | --: | --: |");
    for (name, times) in ["after a kill", "after a kill, read-only", "after a close"].iter().zip(&times) {
        println!("| {name} | {:.1} | {:.1} |", median(times), percentile(times, 100.0));
    }
    Ok(())
}
