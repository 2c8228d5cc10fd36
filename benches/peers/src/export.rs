//! Exports over a full delta and over seven tiers, against the export of the same users from one segment.

use std::io;
use std::path::Path;
use std::time::Instant;

use headcount_export::{Export, Format};
use headcount_store::{Snapshot, Store};

use crate::Outcome;
use crate::figures::{median, ratios, spread};
use crate::settings::Settings;
use crate::stores::{change, copy, load, load_tier, still, user};
use crate::work::turns;

const CHANGES: u64 = 200_000;
const TIERS: u64 = 7;

/// A state of the store.
struct Case {
    name: String,
    store: Store,
    /// Seconds of each round: to a file, to nowhere.
    times: [Vec<f64>; 2],
}

impl Case {
    fn new(name: String, store: Store) -> Self {
        Self { name, store, times: Default::default() }
    }
}

/// Seconds of one export, which must hold every registered user.
fn timed(snapshot: &Snapshot, file: Option<&Path>) -> Outcome<f64> {
    let export = Export::new(snapshot).format(Format::Json);
    let began = Instant::now();
    let summary = match file {
        Some(path) => export.write_file(path)?,
        None => export.write_to(&mut io::sink())?,
    };
    let took = began.elapsed().as_secs_f64();
    let expected = snapshot.stats().totals.registered.users;
    if summary.users != expected {
        return Err(format!("an export of {} users where there are {expected}", summary.users).into());
    }
    if let Some(path) = file {
        std::fs::remove_file(path)?;
    }
    Ok(took)
}

/// The clean store and its copies with changes over it.
fn prepare(dir: &Path, users: u64) -> Outcome<Vec<Case>> {
    let options = still(usize::try_from(CHANGES * 2)?);
    let [clean, dirty, tiers] = ["clean", "dirty", "tiers"].map(|name| dir.join(name));
    let store = Store::create(&clean, &options)?;
    load(&store, (0..users).map(user))?;
    store.close()?;
    copy(&clean, &dirty)?;
    copy(&clean, &tiers)?;
    let clean = Store::open(&clean, &options)?;
    let dirty = Store::open(&dirty, &options)?;
    change(&dirty, users, CHANGES)?;
    let tiers = Store::open(&tiers, &options)?;
    for tier in 1..=TIERS {
        load_tier(&tiers, users, tier)?;
    }
    let segments = [&clean, &dirty, &tiers].map(|store| store.stats().segments.len() as u64);
    if segments != [1, 1, 1 + TIERS] {
        return Err(format!("{segments:?} segments where one, one and {} were meant", 1 + TIERS).into());
    }
    Ok(vec![
        Case::new("one segment".to_owned(), clean),
        Case::new(format!("{CHANGES} random changes in the delta"), dirty),
        Case::new(format!("{TIERS} tiers with 4 % of the users each"), tiers),
    ])
}

/// Exports in turns, and their ratios.
pub(crate) fn run(dir: &Path) -> Outcome {
    let settings = Settings::or(5_000_000, 15);
    let mut cases = prepare(dir, settings.users)?;
    let file = dir.join("export.json");
    // What the preparation wrote must not be on its way to the disk any more.
    std::process::Command::new("sync").status()?;
    for round in 0..=settings.rounds {
        // Another order every time: what an export leaves to be written is paid by the next one.
        for number in turns(cases.len(), round) {
            let Some(case) = cases.get_mut(number) else { continue };
            let snapshot = case.store.snapshot();
            for (times, file) in case.times.iter_mut().zip([Some(&*file), None]) {
                let took = timed(&snapshot, file)?;
                if round > 0 {
                    times.push(took);
                }
            }
        }
    }
    println!("{} users, JSON, {} rounds\n", settings.users, settings.rounds);
    println!("| store | MB | to a file, ms | × one segment (quartiles) | to nowhere, ms | × one segment (quartiles) |");
    println!("| --- | --: | --: | --: | --: | --: |");
    let base = cases.first().map(|case| case.times.clone()).unwrap_or_default();
    for Case { name, store, times: [to_file, to_nowhere] } in &cases {
        let [base_file, base_nowhere] = &base;
        let megabytes =
            Export::new(&store.snapshot()).format(Format::Json).len()?.exact().unwrap_or_default() / 1_000_000;
        let (file_ratio, nowhere_ratio) =
            (spread(&ratios(to_file, base_file)), spread(&ratios(to_nowhere, base_nowhere)));
        let (file_ms, nowhere_ms) = (median(to_file) * 1e3, median(to_nowhere) * 1e3);
        println!("| {name} | {megabytes} | {file_ms:.0} | {file_ratio} | {nowhere_ms:.0} | {nowhere_ratio} |");
    }
    println!();
    cases.into_iter().try_for_each(|case| Ok(case.store.close()?))
}
