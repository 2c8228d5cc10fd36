//! Exports of stores in other states than one clean segment, interleaved in one run. Prints a table.
//!
//! Users changed in the delta or in a segment on top, against the clean store; unusual users, against usual ones, a byte.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use headcount_benches::measure::{Outcome, load, seconds, spread};
use headcount_benches::{Mix, Synth, env_or, users};
use headcount_block::{Status, User};
use headcount_export::{Export, Format};
use headcount_store::{Batch, Durability, Options, Snapshot, Store};

const FORMATS: [Format; 2] = [Format::Json, Format::Csv];

/// For changes that are made fast: on disk with the next [`Store::sync`].
const BUFFERED: Durability = Durability::Buffered { flush_within: Duration::from_secs(1) };

/// A state of a store.
struct State {
    name: String,
    store: Store,
    include_pending: bool,
    /// Seconds a byte of each round, a list a format: to nowhere with one thread, to a file with two.
    costs: Vec<[Vec<f64>; 2]>,
    /// Bytes, a format.
    bytes: Vec<u64>,
}

impl State {
    fn new(name: &str, store: Store) -> Self {
        let costs = FORMATS.iter().map(|_| Default::default()).collect();
        Self { name: name.to_owned(), store, include_pending: false, costs, bytes: vec![0; FORMATS.len()] }
    }

    fn round(&mut self, file: &Path, counted: bool) -> Outcome {
        let snapshot = self.store.snapshot();
        for ((format, costs), bytes) in FORMATS.into_iter().zip(&mut self.costs).zip(&mut self.bytes) {
            let export = Export::new(&snapshot).format(format).include_pending(self.include_pending);
            let nowhere = seconds(|| {
                *bytes =
                    checked(&snapshot, self.include_pending, export.clone().threads(1).write_to(&mut io::sink())?)?;
                Ok(())
            })?;
            let to_file = seconds(|| Ok(export.threads(2).write_file(file).map(|_| ())?))?;
            std::fs::remove_file(file)?;
            if counted {
                costs.iter_mut().zip([nowhere, to_file]).for_each(|(list, cost)| list.push(cost / *bytes as f64));
            }
        }
        Ok(())
    }
}

/// The bytes of an export, which must hold every user asked for.
fn checked(snapshot: &Snapshot, pending: bool, summary: headcount_export::Summary) -> Outcome<u64> {
    let totals = snapshot.stats().totals;
    let expected = totals.registered.users + if pending { totals.pending.users } else { 0 };
    if summary.users == expected { Ok(summary.bytes) } else { Err("an export that lacks users".into()) }
}

/// A number that has nothing to do with the order of `n`.
const fn scattered(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    n ^ (n >> 29)
}

/// User number `n` as it is after a change.
fn changed(n: u64) -> User {
    let mut user = Synth::new(1, Mix::USUAL).user(n);
    match user.identities.first_mut() {
        Some(identity) => identity.provider_uid.push_str("-9"),
        None => user.status = Status::Pending,
    }
    user
}

/// The clean store with so many of a thousand users changed by commits, which stay in the delta.
fn in_delta(dir: &Path, users: u64, permille: u64) -> Outcome<Store> {
    let options = Options {
        maintenance: false,
        delta_changes: usize::try_from(users)?,
        delta_bytes: usize::MAX >> 1,
        ..Options::default()
    };
    let store = clean(dir, users, &options)?;
    let mut batch = Batch::new();
    for n in (0..users).filter(|n| scattered(*n) % 1000 < permille) {
        batch.put(changed(n));
        if batch.len() >= 1000 {
            store.commit_with(std::mem::take(&mut batch), BUFFERED)?;
        }
    }
    store.commit_with(batch, BUFFERED)?;
    store.sync()?;
    Ok(store)
}

fn clean(dir: &Path, users: u64, options: &Options) -> Outcome<Store> {
    let store = Store::create(dir, options)?;
    let synth = Synth::new(1, Mix::USUAL);
    load(&store, (0..users).map(|n| synth.user(n)))?;
    Ok(store)
}

fn prepare(dir: &Path, users: u64) -> Outcome<Vec<State>> {
    let options = Options { maintenance: false, ..Options::default() };
    let mut states = vec![
        State::new("one clean segment", clean(&dir.join("clean"), users, &options)?),
        State::new("0.1 % changed, in the delta", in_delta(&dir.join("d1"), users, 1)?),
        State::new("4 % changed, in the delta", in_delta(&dir.join("d40"), users, 40)?),
    ];
    for (name, permille) in [("4 % changed, in a segment on top", 40), ("50 % changed, in a segment on top", 500)] {
        let store = clean(&dir.join(permille.to_string()), users, &options)?;
        load(&store, (0..users).filter(|n| scattered(*n) % 1000 < permille).map(changed))?;
        states.push(State::new(name, store));
    }
    for (name, include_pending) in
        [("unusual users, without the pending ones", false), ("unusual users, with the pending ones", true)]
    {
        let store = Store::create(dir.join(format!("hard{include_pending}")), &options)?;
        let synth = Synth::new(1, Mix::HARD);
        load(&store, (0..users).map(|n| synth.user(n)))?;
        states.push(State { include_pending, ..State::new(name, store) });
    }
    Ok(states)
}

fn run() -> Outcome {
    let dir = match std::env::var_os("HEADCOUNT_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let rounds = env_or("HEADCOUNT_BENCH_ROUNDS", 9);
    let mut states = prepare(dir.path(), users())?;
    let file = dir.path().join("out");
    // What the preparation wrote must not be on its way to the disk any more.
    std::process::Command::new("sync").status()?;
    for round in 0..=rounds {
        // Another order every time: what an export leaves to be written is paid by the next one.
        let count = states.len();
        for i in 0..count {
            if let Some(state) = states.get_mut((i + round) % count) {
                state.round(&file, round > 0)?;
            }
        }
    }
    println!("{} users, cost of an export as a multiple of one clean segment's, per byte of output;", users());
    println!("medians of {rounds} interleaved rounds (least to greatest)\n");
    println!("| store | format | MB | to nowhere, one thread | to a file, two threads | GB/s to nowhere |");
    println!("| --- | --- | --: | --: | --: | --: |");
    let base: Vec<[Vec<f64>; 2]> = states.first().map(|state| state.costs.clone()).unwrap_or_default();
    for state in &states {
        for (((format, costs), base), bytes) in FORMATS.into_iter().zip(&state.costs).zip(&base).zip(&state.bytes) {
            let [nowhere, to_file] = [0, 1].map(|i| {
                let pairs = costs.iter().zip(base).nth(i).into_iter().flat_map(|(own, base)| own.iter().zip(base));
                spread(&pairs.map(|(own, base)| own / base).collect::<Vec<_>>(), 2)
            });
            let rates: Vec<f64> = costs.iter().take(1).flatten().map(|cost| 1e-9 / cost).collect();
            let megabytes = bytes / 1_000_000;
            println!(
                "| {} | {} | {megabytes} | {nowhere} | {to_file} | {} |",
                state.name,
                format.as_str(),
                spread(&rates, 2)
            );
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("states: {error}");
            ExitCode::FAILURE
        }
    }
}
