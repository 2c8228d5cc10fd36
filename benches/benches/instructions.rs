//! Hot paths for `benches/instructions.sh`, which counts their instructions: the same number on every run of a program.
//!
//! Without arguments it goes through all paths once and checks what they do; with the name of one, only that path is
//! taken. Counting is on inside [`measured`] alone.

use std::hint::black_box;
use std::io;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use headcount_benches::measure::{Outcome, load};
use headcount_benches::{Mix, Synth};
use headcount_block::{UidRange, User};
use headcount_export::{Export, Format};
use headcount_store::{Batch, Durability, Snapshot, Store};

const USERS: u64 = 20_000;

/// The counter counts while this runs.
#[inline(never)]
fn measured<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

fn store(mix: Mix) -> Outcome<Store> {
    let store = Store::temporary()?;
    let synth = Synth::new(1, mix);
    load(&store, (0..USERS).map(|n| synth.user(n)))?;
    Ok(store)
}

fn user(n: u64) -> User {
    Synth::new(1, Mix::USUAL).user(n)
}

/// The clean store with one user in so many changed in the delta.
fn dirty(one_in: usize) -> Outcome<Store> {
    let store = store(Mix::USUAL)?;
    let mut batch = Batch::new();
    for n in (0..USERS).step_by(one_in) {
        let mut user = user(n);
        user.identities.clear();
        batch.put(user);
    }
    store.commit_with(batch, Durability::Buffered { flush_within: Duration::from_secs(60) })?;
    Ok(store)
}

fn export(snapshot: &Snapshot, format: Format) -> Outcome {
    let export = Export::new(snapshot).format(format).threads(1);
    let summary = measured(|| export.write_to(&mut io::sink()))?;
    let expected = snapshot.stats().totals.registered.users;
    if summary.users == expected { Ok(()) } else { Err(format!("{} of {expected} users", summary.users).into()) }
}

fn get() -> Outcome {
    let store = store(Mix::USUAL)?;
    let snapshot = store.snapshot();
    let uids: Vec<String> = (0..USERS).step_by(4).map(|n| user(n).uid).collect();
    let found = measured(|| uids.iter().filter(|uid| matches!(snapshot.get(uid), Ok(Some(_)))).count());
    if found == uids.len() { Ok(()) } else { Err("users are missing".into()) }
}

fn get_many() -> Outcome {
    let store = store(Mix::USUAL)?;
    let snapshot = store.snapshot();
    let uids: Vec<String> = (0..USERS).step_by(4).map(|n| user(n).uid).collect();
    let uids: Vec<&str> = uids.iter().map(String::as_str).collect();
    let mut found = 0;
    measured(|| snapshot.get_many(&uids, |_, user| found += usize::from(user.is_some())))?;
    if found == uids.len() { Ok(()) } else { Err("users are missing".into()) }
}

fn find() -> Outcome {
    let store = store(Mix::USUAL)?;
    let snapshot = store.snapshot();
    let users: Vec<User> = (0..USERS).step_by(4).map(user).collect();
    let all: Vec<_> = users.iter().filter_map(|user| user.identities.first()).collect();
    let found =
        measured(|| all.iter().filter(|i| matches!(snapshot.find(&i.provider, &i.provider_uid), Ok(Some(_)))).count());
    if found == all.len() { Ok(()) } else { Err("identities are missing".into()) }
}

fn scan() -> Outcome {
    let store = dirty(50)?;
    let snapshot = store.snapshot();
    let mut found = 0;
    measured(|| {
        snapshot.scan(&UidRange::all(), |user| {
            found += user.identities().count();
            ControlFlow::Continue(())
        })
    })?;
    if found > 0 { Ok(()) } else { Err("no identities".into()) }
}

/// Loads in the calling thread: what other threads do is not counted.
fn bulk_load() -> Outcome {
    let users: Vec<User> = (0..USERS).map(user).collect();
    let store = Store::temporary()?;
    measured(|| load(&store, users.into_iter()))
}

fn commit() -> Outcome {
    let store = Store::temporary()?;
    let mut batch = Batch::new();
    for n in 0..1000 {
        batch.put(user(n));
    }
    measured(|| store.commit_with(batch, Durability::Buffered { flush_within: Duration::from_secs(60) }))?;
    Ok(())
}

type Path = (&'static str, fn() -> Outcome);

const PATHS: [Path; 12] = [
    ("render JSON", || export(&store(Mix::USUAL)?.snapshot(), Format::Json)),
    ("render CSV", || export(&store(Mix::USUAL)?.snapshot(), Format::Csv)),
    ("render NDJSON", || export(&store(Mix::USUAL)?.snapshot(), Format::Ndjson)),
    ("render JSON, unusual users", || export(&store(Mix::HARD)?.snapshot(), Format::Json)),
    ("render JSON, 0.1 % in the delta", || export(&dirty(1000)?.snapshot(), Format::Json)),
    ("render JSON, 4 % in the delta", || export(&dirty(25)?.snapshot(), Format::Json)),
    ("get", get),
    ("get_many", get_many),
    ("find", find),
    ("scan, 2 % in the delta", scan),
    ("bulk load", bulk_load),
    ("commit of 1,000 users", commit),
];

fn main() -> ExitCode {
    // Cargo adds an argument of its own.
    let wanted = std::env::args().skip(1).find(|argument| argument != "--bench");
    if wanted.as_deref() == Some("list") {
        PATHS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let taken: Vec<&Path> =
        PATHS.iter().filter(|(name, _)| wanted.as_deref().is_none_or(|wanted| wanted == *name)).collect();
    if taken.is_empty() {
        eprintln!("instructions: no such path; `list` names them");
        return ExitCode::FAILURE;
    }
    for (name, path) in taken {
        if let Err(error) = path() {
            eprintln!("instructions: {name}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
