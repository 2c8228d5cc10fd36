//! Power cuts: every system call of the hammer is recorded, and for each of them the directory is built as it may be left
//! when the power fails just then, with what no fsync covered lost, kept or torn. What was acknowledged has to be there.
//!
//! `POWER_CUTS` limits how many moments are tried (0: all), `POWER_STEPS` is the length of the recording, `CRASH_SEED`
//! decides what is left. `POWER_CRASHES` is the number of states that are built of workloads with ever other settings, half
//! of them on a disk that refuses a call, once or from then on, before the power fails.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

#[path = "power/disk.rs"]
mod disk;
mod support;
#[path = "power/trace.rs"]
mod trace;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use disk::{Disk, Done, Keep};
use headcount_benches::crash::{Acks, Checker, Settings};
use support::{Hammer, Random, copy, env, files, hammer, in_time, is_there, look, scratch, seed};
use trace::{Call, Event};

const TRACED: &str = "openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,rename,\
    renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync,\
    sync_file_range,sync,syncfs,msync,chmod,fchmod,fchmodat,close,dup,dup2,dup3,fcntl,copy_file_range,sendfile,splice,\
    mmap,lseek";

/// What may be left at each moment.
const LEFT: [Keep; 7] = [Keep::Nothing, Keep::Any, Keep::Names, Keep::Journal, Keep::Data, Keep::Any, Keep::All];

/// What is recorded: a run with these settings, on a disk that holds what `before` holds; and what was acknowledged then.
struct Scenario {
    words: Vec<String>,
    /// A call that fails, in strace's words: `fsync:error=EIO:when=3`.
    refused: Option<String>,
    before: Option<PathBuf>,
    acks: Acks,
}

impl Scenario {
    fn new(words: Vec<String>) -> Self {
        Self { words, refused: None, before: None, acks: Acks::default() }
    }
}

/// A recording: where the store was, and what was called.
struct Recording<'a> {
    scenario: &'a Scenario,
    root: PathBuf,
    calls: Vec<Call>,
    events: Vec<Event>,
    _dir: tempfile::TempDir,
}

fn record(scenario: &Scenario) -> Recording<'_> {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    if let Some(before) = &scenario.before {
        copy(before, &root);
    }
    let trace = dir.path().join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-xx", "-s", "1000000000", "-e", "signal=none", "-e"]);
    command.arg(format!("trace={TRACED}"));
    if let Some(refused) = &scenario.refused {
        command.arg("-e").arg(format!("inject={refused}"));
    }
    command.arg("-o").arg(&trace).arg(env!("CARGO_BIN_EXE_hammer"));
    command.arg(format!("dir={}", root.join("store").display())).args(&scenario.words).stderr(Stdio::inherit());
    let (lines, code) = Hammer::start(command).finish(Duration::from_secs(120)).unwrap();
    let ends: &[i32] = if scenario.refused.is_some() { &[0, 3] } else { &[0] };
    assert!(code.is_some_and(|code| ends.contains(&code)), "{code:?}: {:?}", lines.last());
    let (calls, events) = trace::parse(&fs::read_to_string(&trace).unwrap());
    Recording { scenario, root, calls, events, _dir: dir }
}

/// Goes through a recording and calls `at` after every call that changed the disk, made something durable or said
/// something: with the disk, what was said, what was done last and which step of the workload is under way.
fn replay(recording: &Recording<'_>, mut at: impl FnMut(&Disk, &Acks, &str, &Done)) -> Disk {
    let mut disk = Disk::new(recording.root.to_str().unwrap());
    if let Some(before) = &recording.scenario.before {
        disk.load(before, 0);
    }
    let mut acks = recording.scenario.acks.clone();
    let mut phase = "open".to_owned();
    for event in &recording.events {
        let done = match event {
            Event::Start(number) => disk.start(*number, &recording.calls[*number]),
            Event::End(number, result) => disk.end(*number, &recording.calls[*number], *result),
        };
        if let Done::Said(line) = &done {
            acks.line(line.trim_end());
            let mut words = line.split_whitespace();
            match (words.next(), words.nth(2)) {
                (Some("begin"), Some(name)) => phase = name.to_owned(),
                // What comes between the last step and `closed`.
                (Some("ack" | "seen"), _) => phase = "close".to_owned(),
                _ => {}
            }
        }
        if done != Done::Nothing {
            at(&disk, &acks, &phase, &done);
        }
    }
    disk
}

/// Cuts the power at `cuts` moments of a run with these settings (0: all), and returns how often each call was the last.
fn cut(scenario: &Scenario, cuts: u64, seed: u64) -> BTreeMap<(String, String), u64> {
    cut_and_count(scenario, cuts, seed).0
}

/// As [`cut`], with the number of stores that were looked at.
fn cut_and_count(scenario: &Scenario, cuts: u64, seed: u64) -> (BTreeMap<(String, String), u64>, u64) {
    let recording = record(scenario);
    let words = &scenario.words;
    let mut moments = 0_u64;
    let end = replay(&recording, |_, _, _, _| moments += 1);
    // The model of the disk is right only if it ends with what is really there.
    let model = scratch();
    end.leave(Keep::All, &mut Random(0), model.path());
    let (modelled, real) = (files(model.path()), files(&recording.root));
    assert_eq!(modelled.keys().collect::<Vec<_>>(), real.keys().collect::<Vec<_>>(), "other files than in the model");
    assert!(modelled == real, "other bytes than in the model");

    let parsed = Settings::parse(words.iter().cloned().chain(["dir=x".to_owned()])).unwrap();
    let checker = Checker::new(parsed.seed, parsed.from.len() as u64, parsed.largest, parsed.options);
    let (seen, looks) = (Mutex::new(BTreeMap::new()), AtomicU64::new(0));
    let workers = thread::available_parallelism().map_or(1, usize::from) as u64;
    // Writes and announcements are many: of those only as many as fit. All else is always tried.
    let every = moments.checked_div(cuts).map_or(1, |every| every + 1);
    thread::scope(|scope| {
        for worker in 0..workers {
            let (recording, seen, looks, mut checker) = (&recording, &seen, &looks, checker.clone());
            scope.spawn(move || {
                let (mut number, mut open) = (0, 0);
                replay(recording, |disk, acks, phase, done| {
                    number += 1;
                    let (what, about) = match done {
                        Done::Did(what, about) => (*what, about.as_str()),
                        _ => ("said", ""),
                    };
                    if number % every != 0 && matches!(what, "said" | "write" | "sync_file_range" | "ftruncate") {
                        return;
                    }
                    open += 1;
                    if open % workers != worker {
                        return;
                    }
                    for (kind, keep) in (0_u64..).zip(LEFT) {
                        // With a limit, every moment has the worst case and every other one of the rest.
                        if cuts > 0 && kind > 0 && (kind + open / workers).is_multiple_of(2) {
                            continue;
                        }
                        looks.fetch_add(1, Relaxed);
                        let dir = scratch();
                        let random = seed ^ number << 8 ^ kind;
                        disk.leave(keep, &mut Random(random), dir.path());
                        let (given, asked, path) = (checker.clone(), acks.clone(), dir.path().to_path_buf());
                        let probe = (number + kind) % 5 == 0;
                        let looked = in_time(move || look(given, &path.join("store"), &asked, probe).map(|(checker, _)| checker));
                        checker = looked.unwrap_or_else(|error| {
                            let kept = dir.keep();
                            panic!(
                                "{words:?} {:?}, CRASH_SEED={seed}: power lost at moment {number} of {moments}, after {phase}: \
                                 {what} {about}, {keep:?} left of what was not durable, in {}: {error}",
                                recording.scenario.refused,
                                kept.display()
                            )
                        });
                    }
                    let state = (format!("{phase}: {what}"), about.to_owned());
                    *seen.lock().unwrap().entry(state).or_insert(0) += 1;
                });
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    if scenario.refused.is_none() {
        seen.iter().for_each(|((what, about), times)| println!("{times:6}  {what} {about}"));
    }
    let looks = looks.into_inner();
    println!("{} power cuts, {looks} stores looked at", seen.values().sum::<u64>());
    (seen, looks)
}

fn words(text: &str, steps: u64, seed: u64) -> Vec<String> {
    let steps = format!("steps={}", env("POWER_STEPS", steps));
    text.split_whitespace().map(str::to_owned).chain([format!("seed={}", seed & 0xffff), steps]).collect()
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_fails() {
    if !is_there("strace", "power cuts were NOT tried") {
        return;
    }
    let mut seed = seed();
    let mut seen = cut(&Scenario::new(words("delta=3 largest=4", 36, seed)), env("POWER_CUTS", 80), seed);
    // Every numbered state of the modules flush, load/publish, compact and erase lies between two of these.
    let states = [
        ("commit: mkdir", "store/delta"),
        ("commit: fdatasync", "store/delta/db"),
        ("commit: create", "store/tmp/*.seg"),
        ("commit: rename", "store/MANIFEST"),
        ("commit: rename", "store/*.seg"),
        ("commit: fsync", "store"),
        ("commit: unlink", "db"),
        ("commit: rmdir", "delta"),
        ("load: fdatasync", "store/tmp/*.seg"),
        ("load: rename", "store/*.seg"),
        ("load: rename", "store/MANIFEST"),
        ("compact-full: fsync", "store/tmp/*.seg"),
        ("compact-full: rename", "store/*.seg"),
        ("compact-full: rename", "store/MANIFEST"),
        ("compact-full: unlink", "*.seg"),
        ("erase: rename", "store/*.seg"),
        ("erase: rename", "store/MANIFEST"),
        ("erase: unlink", "*.seg"),
        ("erase: unlink", "MANIFEST.prev"),
        ("close: rename", "store/MANIFEST"),
    ];
    // Which of them a run goes through depends on its workload, and on what its threads get done during which step.
    for more in 0.. {
        let missing =
            states.iter().find(|(what, about)| !seen.contains_key(&((*what).to_owned(), (*about).to_owned())));
        let Some((what, about)) = missing else { break };
        assert!(more < 6, "no power cut after {what} {about}");
        seed = seed.wrapping_add(1);
        seen.extend(cut(&Scenario::new(words("delta=3 largest=4", 36, seed)), env("POWER_CUTS", 80), seed));
    }
}

#[test]
fn buffered_commits_of_several_threads_are_lost_from_the_end() {
    if !is_there("strace", "power cuts were NOT tried") {
        return;
    }
    let seed = seed();
    let text = "delta=12 largest=3 buffered=3 maintenance=1 from=0,0,0";
    cut(&Scenario::new(words(text, 18, seed)), env("POWER_CUTS", 30), seed);
}

/// Batches as long as these have the log's library write some of what it holds again, in files of their own: it did so
/// without an fsync.
#[test]
fn long_batches_of_several_threads_are_not_lost() {
    if !is_there("strace", "power cuts were NOT tried") {
        return;
    }
    let seed = seed();
    cut(&Scenario::new(words("delta=1000 largest=3 from=0,0,0", 16, seed)), env("POWER_CUTS", 30), seed);
}

/// A power cut while a store recovers from the one before, which took buffered commits with it.
#[test]
fn nothing_is_lost_when_the_power_fails_again_during_recovery() {
    if !is_there("strace", "power cuts were NOT tried") {
        return;
    }
    let seed = seed();
    let dir = scratch();
    let (before, tried) = (dir.path().join("before"), dir.path().join("tried"));
    fs::create_dir(&before).unwrap();
    let text = "delta=20 largest=3 buffered=500";
    let mut first = words(text, 15, seed);
    first.push("close=0".to_owned());
    let running = Hammer::start(hammer(&before.join("store"), &first));
    let (lines, code) = running.finish(Duration::from_secs(60)).unwrap();
    assert_eq!(code, Some(0), "{:?}", lines.last());
    // How far it came is seen in a copy: looking recovers.
    copy(&before, &tried);
    let parsed = Settings::parse(first.into_iter().chain(["dir=x".to_owned()])).unwrap();
    let checker = Checker::new(parsed.seed, 1, parsed.largest, parsed.options);
    let acks = Acks::default().lines(lines.iter().map(String::as_str));
    let found = look(checker, &tried.join("store"), &acks, false).unwrap().1.unwrap();
    assert!(found.recovery.is_some_and(|r| r.new_incarnation && r.commits > 0), "there is nothing to recover");
    let mut words = words(text, 2, seed);
    words.push(format!("from={}", found.steps[0]));
    let acks = Acks::from_steps(&found.steps);
    let scenario = Scenario { words, refused: None, before: Some(before), acks };
    let seen = cut(&scenario, env("POWER_CUTS", 50), seed);
    for (what, about) in [("open: rename", "store/MANIFEST"), ("open: rename", "store/*.seg"), ("open: unlink", "db")] {
        assert!(seen.contains_key(&(what.to_owned(), about.to_owned())), "no power cut after {what} {about}");
    }
}

/// Settings of a workload, and a call that the disk refuses in every other one.
fn any_scenario(random: &mut Random) -> Scenario {
    let below = |random: &mut Random, bound: u64| random.below(bound);
    let mut words = vec![format!("seed={}", below(random, 1 << 32)), format!("steps={}", 8 + below(random, 14))];
    words.push(format!("largest={}", 1 + below(random, 5)));
    words.push(format!("delta={}", [3, 5, 12, 40, 1000][below(random, 5) as usize]));
    words.push(format!("maintenance={}", below(random, 2)));
    if below(random, 3) == 0 {
        words.push("from=0,0,0".to_owned());
    }
    match below(random, 4) {
        0 => words.push(format!("buffered={}", 1 + below(random, 20))),
        1 => words.push("pread=1".to_owned()),
        _ => {}
    }
    let call = ["write", "pwrite64", "fsync", "fdatasync", "rename", "mkdir"][below(random, 6) as usize];
    let error = ["EIO:when=", "ENOSPC:when="][below(random, 2) as usize];
    let more = ["", "+"][below(random, 2) as usize];
    let refused = (below(random, 2) == 0).then(|| format!("{call}:error={error}{}{more}", 1 + below(random, 30)));
    Scenario { refused, ..Scenario::new(words) }
}

#[test]
fn crashes_of_many_workloads_lose_nothing() {
    if !is_there("strace", "power cuts were NOT tried") {
        return;
    }
    let seed = seed();
    let wanted = env("POWER_CRASHES", 60);
    let (mut workloads, mut looks, mut cuts, mut refused) = (0, 0, 0, 0);
    while looks < wanted {
        let mut random = Random(seed.wrapping_add(workloads));
        let scenario = any_scenario(&mut random);
        let (seen, looked) = cut_and_count(&scenario, env("POWER_CUTS", 30), seed.wrapping_add(workloads));
        workloads += 1;
        looks += looked;
        cuts += seen.values().sum::<u64>();
        refused += u64::from(scenario.refused.is_some());
    }
    println!(
        "{workloads} workloads ({refused} with an error of the disk), {cuts} power cuts, {looks} stores looked at"
    );
}
