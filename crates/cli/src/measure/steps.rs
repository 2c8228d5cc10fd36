//! The steps of a run: what is made, timed, and compared with what it should be.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use headcount::{Export, Identity, Options, Progress, Snapshot, Store, User};
use headcount_import::{Import, Input};

use super::Figure;
use crate::failure::{Failure, Kind};
use crate::synthetic::{Draft, Format, Shape, Users, Writer};

/// What to measure, and where.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// An empty directory of the run's own.
    pub(crate) dir: &'a Path,
    pub(crate) users: u64,
    pub(crate) rounds: usize,
    pub(crate) progress: &'a Arc<Progress>,
}

/// Users that are looked up, at most.
const LOOKUPS: u64 = 200_000;
/// Durable commits that are timed, each beside its floor.
const COMMITS: u64 = 30;
const PIECE: usize = 1 << 20;

impl Plan<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn step(&self, phase: &'static str) -> Result<(), Failure> {
        self.progress.set_phase(phase);
        self.progress.check().map_err(|cancelled| Failure::new(Kind::Cancelled, cancelled))
    }
}

fn seconds<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<(f64, T), Failure> {
    let began = Instant::now();
    let done = work()?;
    Ok((began.elapsed().as_secs_f64(), done))
}

fn wrong(what: &str, expected: u64, found: u64) -> Failure {
    Failure::failed(format!("the benchmark is void: {what}: expected {expected}, found {found}"))
        .hint("this is a defect of headcount, or of this machine: please report it")
}

fn expect(what: &str, expected: u64, found: u64) -> Result<(), Failure> {
    if expected == found { Ok(()) } else { Err(wrong(what, expected, found)) }
}

/// Runs all steps.
///
/// # Errors
/// When one fails, finds something else than it should, or is cancelled.
pub(crate) fn run(plan: &Plan<'_>) -> Result<Vec<Figure>, Failure> {
    let users = Users::new(1, Shape::default());
    plan.step("generating")?;
    let source = plan.path("users.ndjson");
    let bytes = generate(plan, &users, &source)?;
    plan.step("loading")?;
    let store = Store::create(plan.path("store"), &Options::default())?;
    let (took, report) = seconds(|| Ok(Import::new(&store).input(Input::path(&source)).run()?))?;
    expect("users loaded", plan.users, report.load.users)?;
    fs::remove_file(&source)?;
    let mut figures = vec![
        Figure::of("load from NDJSON, both indexes, durable", "M users/s", &[plan.users as f64 / took / 1e6]),
        Figure::of("load from NDJSON", "MB/s", &[bytes as f64 / took / 1e6]),
    ];
    plan.step("exporting")?;
    figures.extend(exports(plan, &store.snapshot())?);
    plan.step("looking up")?;
    figures.extend(lookups(plan, &users, &store.snapshot())?);
    plan.step("committing")?;
    figures.extend(commits(plan, &store)?);
    store.close()?;
    Ok(figures)
}

fn generate(plan: &Plan<'_>, users: &Users, path: &Path) -> Result<u64, Failure> {
    let mut writer = Writer::new(File::create(path)?, Format::Ndjson);
    let mut draft = Draft::new();
    for index in 0..plan.users {
        if index % 4096 == 0 {
            plan.step("generating")?;
        }
        users.fill(index, &mut draft);
        writer.user(&draft)?;
    }
    Ok(writer.finish()?.bytes)
}

/// Copies with `cp`, byte by byte; where there is no such `cp`, with the system's own call.
fn copy(from: &Path, to: &Path, with_cp: bool) -> Result<(), Failure> {
    if with_cp {
        let copied = Command::new("cp").args(["--reflink=never", "--sparse=never"]).arg(from).arg(to).status()?;
        return if copied.success() { Ok(()) } else { Err(Failure::failed("cp failed")) };
    }
    fs::copy(from, to).map(|_| ()).map_err(Failure::from)
}

fn has_cp() -> bool {
    let version = Command::new("cp").arg("--version").output();
    version.is_ok_and(|output| output.status.success() && output.stdout.starts_with(b"cp (GNU"))
}

/// Writes `len` bytes of a buffer that is in the cache: what a file costs at the least.
fn write_warm(path: &Path, warm: &[u8], len: u64) -> Result<(), Failure> {
    let mut file = File::create(path)?;
    let mut left = len;
    while left > 0 {
        let now = left.min(warm.len() as u64);
        let piece = usize::try_from(now).ok().and_then(|now| warm.get(..now)).unwrap_or(warm);
        file.write_all(piece)?;
        left -= now;
    }
    Ok(())
}

fn exports(plan: &Plan<'_>, snapshot: &Snapshot) -> Result<Vec<Figure>, Failure> {
    let [reference, out, copied, warm] = ["reference", "out", "copy", "warm"].map(|name| plan.path(name));
    let expected = snapshot.stats().totals.registered.users;
    let len = Export::new(snapshot).write_file(&reference)?.bytes;
    let with_cp = has_cp();
    let buffer = vec![7; PIECE];
    let mut rounds = [const { Vec::new() }; 6];
    // The first round fills the page cache, and is not counted.
    for round in 0..=plan.rounds {
        plan.step("exporting")?;
        for path in [&out, &copied, &warm] {
            fs::remove_file(path).or_else(|error| if path.exists() { Err(error) } else { Ok(()) })?;
        }
        let (to_file, summary) = seconds(|| Ok(Export::new(snapshot).write_file(&out)?))?;
        expect("users exported", expected, summary.users)?;
        expect("bytes exported", len, fs::metadata(&out)?.len())?;
        let (cp, ()) = seconds(|| copy(&reference, &copied, with_cp))?;
        expect("bytes copied", len, fs::metadata(&copied)?.len())?;
        let (write, ()) = seconds(|| write_warm(&warm, &buffer, len))?;
        let (nowhere, summary) = seconds(|| Ok(Export::new(snapshot).threads(1).write_to(&mut io::sink())?))?;
        expect("bytes rendered", len, summary.bytes)?;
        if round > 0 {
            let rate = |seconds: f64| len as f64 / seconds / 1e9;
            let all = [
                expected as f64 / to_file / 1e6,
                rate(to_file),
                to_file / cp,
                to_file / write,
                rate(cp),
                rate(nowhere),
            ];
            rounds.iter_mut().zip(all).for_each(|(list, figure)| list.push(figure));
        }
    }
    for path in [&reference, &out, &copied, &warm] {
        fs::remove_file(path)?;
    }
    let [users, bytes, per_cp, per_write, cp, nowhere] = rounds;
    let copier =
        if with_cp { "cp --reflink=never --sparse=never" } else { "a copy by the system (there is no GNU cp)" };
    let against = if with_cp { "export JSON to a file / cp" } else { "export JSON to a file / copy" };
    Ok(vec![
        Figure::of("export JSON to a file", "M users/s", &users),
        Figure::of("export JSON to a file", "GB/s", &bytes),
        Figure::of(copier, "GB/s", &cp),
        Figure::of(against, "×", &per_cp),
        Figure::of("export JSON to a file / write() of a warm buffer", "×", &per_write),
        Figure::of("export JSON to memory, one thread, checksums verified", "GB/s", &nowhere),
    ])
}

fn lookups(plan: &Plan<'_>, users: &Users, snapshot: &Snapshot) -> Result<Vec<Figure>, Failure> {
    let count = plan.users.min(LOOKUPS);
    // Users are in no order of their UIDs: any stretch of them is random.
    let mut draft = Draft::new();
    let (mut uids, mut identities) = (Vec::new(), Vec::new());
    for index in 0..count {
        users.fill(index, &mut draft);
        uids.push(draft.uid().to_owned());
        identities.extend(draft.identities().next().map(|(provider, uid)| (provider, uid.to_owned())));
    }
    let keys: Vec<&str> = uids.iter().map(String::as_str).collect();
    let mut rounds = [const { Vec::new() }; 3];
    for round in 0..=plan.rounds {
        plan.step("looking up")?;
        let (get, found) = seconds(|| count_found(keys.iter().map(|uid| Ok(snapshot.get(uid)?.is_some()))))?;
        expect("users found by UID", keys.len() as u64, found)?;
        let (many, found) = seconds(|| {
            let mut found = 0;
            snapshot.get_many(&keys, |_, user| found += u64::from(user.is_some()))?;
            Ok(found)
        })?;
        expect("users found by UID, in one call", keys.len() as u64, found)?;
        let (find, found) =
            seconds(|| count_found(identities.iter().map(|(p, uid)| Ok(snapshot.find(p, uid)?.is_some()))))?;
        expect("users found by identity", identities.len() as u64, found)?;
        if round > 0 {
            let rate = |n: usize, seconds: f64| n as f64 / seconds / 1e6;
            let all = [rate(keys.len(), get), rate(keys.len(), many), rate(identities.len(), find)];
            rounds.iter_mut().zip(all).for_each(|(list, figure)| list.push(figure));
        }
    }
    let [get, many, find] = rounds;
    Ok(vec![
        Figure::of("get by UID, random, one thread", "M/s", &get),
        Figure::of("get_many by UID, random, one thread", "M/s", &many),
        Figure::of("find by identity, random, one thread", "M/s", &find),
    ])
}

fn count_found(all: impl Iterator<Item = Result<bool, Failure>>) -> Result<u64, Failure> {
    all.map(|found| found.map(u64::from)).sum()
}

fn commits(plan: &Plan<'_>, store: &Store) -> Result<Vec<Figure>, Failure> {
    let mut floor_file = File::create(plan.path("floor"))?;
    let page = vec![7; 4096];
    let before = store.snapshot().stats().origin.seq;
    let (mut ours, mut floors, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..=COMMITS {
        plan.step("committing")?;
        let mut user = User::new(format!("bench-{number}"));
        user.identities.push(Identity::new("bench", number.to_string()));
        let mut batch = headcount::Batch::new();
        batch.put(user);
        let (commit, _) = seconds(|| Ok(store.commit(batch)?))?;
        let (floor, ()) = seconds(|| Ok(floor_file.write_all(&page).and_then(|()| floor_file.sync_data())?))?;
        if number > 0 {
            ours.push(commit * 1e3);
            floors.push(floor * 1e3);
            ratios.push(commit / floor);
        }
    }
    expect("commits", before + COMMITS + 1, store.snapshot().stats().origin.seq)?;
    Ok(vec![
        Figure::of("durable commit of one user", "ms", &ours),
        Figure::of("append of 4 KiB and fdatasync", "ms", &floors),
        Figure::of("durable commit / append and fdatasync", "×", &ratios),
    ])
}
