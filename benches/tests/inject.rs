//! A disk that refuses: strace lets the Nth write, fsync, rename, … of the hammer fail, in commits, loads, compactions,
//! erasures and the recovery of a store that was not closed. Each time the error has a type, writing stops for good and
//! names the first cause, reads go on, and nothing acknowledged is lost when the store is opened again.
//!
//! `INJECT_CASES` limits how many failures of each scenario are tried (0: all), `CRASH_SEED` decides which.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use headcount_benches::crash::{Acks, Checker, Settings};
use support::{Hammer, Random, copy, env, hammer, in_time, is_there, look, scratch, seed};

/// System calls that fail. sled writes its log with `pwrite64` and calls `sync_file_range`; the rest is ours.
const CALLS: [&str; 7] = ["write", "pwrite64", "fsync", "fdatasync", "sync_file_range", "rename", "mkdir"];

/// How they fail: once, or from then on, as a full disk does.
const ERRORS: [(&str, &str, &str); 2] = [("EIO", "", "5"), ("ENOSPC", "+", "28")];

/// A store before the hammer comes, and what is known to be in it.
struct Scenario {
    words: Vec<String>,
    before: Option<PathBuf>,
    acks: Acks,
}

/// One failure: the `when`th of each thread's `call`s.
#[derive(Debug, Clone, Copy)]
struct Case {
    call: &'static str,
    when: usize,
    error: (&'static str, &'static str, &'static str),
}

/// What a case came to.
struct Outcome {
    /// What was under way, and the file of the call that failed first; `None` when none did.
    hit: Option<(String, String)>,
    /// Whether the hammer met an error.
    failed: bool,
}

/// Runs the hammer with `case` and looks at what it said, and at the store that it left.
fn run(scenario: &Scenario, checker: &Checker, case: Case) -> Result<Outcome, String> {
    let dir = scratch();
    let (store, trace) = (dir.path().join("store"), dir.path().join("trace"));
    if let Some(before) = &scenario.before {
        copy(before, &store);
    }
    let Case { call, when, error: (errno, more, code) } = case;
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-y", "-s", "0", "-e", "signal=none", "--seccomp-bpf", "-e"]);
    command.arg(format!("trace={call}")).arg("-e").arg(format!("inject={call}:error={errno}:when={when}{more}"));
    command.arg("-o").arg(&trace).arg(env!("CARGO_BIN_EXE_hammer"));
    command.arg(format!("dir={}", store.display())).args(&scenario.words).stderr(Stdio::null());
    let (lines, exit) = Hammer::start(command).finish(Duration::from_secs(60))?;
    let trace = fs::read_to_string(&trace).unwrap();
    let acks = lines.iter().fold(scenario.acks.clone(), |acks, line| acks.lines([line.as_str()]));
    let told = || format!("the hammer said {:?}", lines.iter().rev().take(6).rev().collect::<Vec<_>>());
    let hit = hit(&trace).map(|line| (phase(&lines), file(line)));
    if hit.is_none() && (exit != Some(0) || !acks.failures.is_empty()) {
        return Err(format!("an error though nothing failed: {}", told()));
    }
    let spares = hit.as_ref().is_some_and(|(phase, file)| phase == "load" && file.starts_with("tmp/"));
    speaks(&lines, code, spares).map_err(|e| format!("{e}; {}", told()))?;
    let (given, probe) = (checker.clone(), when % 2 == 0);
    in_time(move || look(given, &store, &acks, probe).map(drop)).map_err(|e| format!("{e}; {}", told()))?;
    Ok(Outcome { hit, failed: exit != Some(0) })
}

/// The line of the trace with the arguments of the first call that failed.
fn hit(trace: &str) -> Option<&str> {
    let (at, line) = trace.lines().enumerate().find(|(_, line)| line.contains("(INJECTED)"))?;
    if !line.contains("<... ") {
        return Some(line);
    }
    // Another thread's calls lie between its beginning and its end.
    let thread = line.split(' ').next()?;
    let before = trace.lines().take(at).filter(|l| l.split(' ').next() == Some(thread));
    before.filter(|l| l.ends_with("<unfinished ...>")).last()
}

/// What was under way when the hammer stopped, or `tolerated`.
fn phase(lines: &[String]) -> String {
    let error = lines.iter().find(|l| l.starts_with("error")).map_or("", String::as_str);
    let words: Vec<&str> = error.split(' ').collect();
    match words.as_slice() {
        [_, "open" | "close", ..] => words[1].to_owned(),
        [_, thread, step, ..] => {
            let begin = format!("begin {thread} {step} ");
            lines.iter().find_map(|l| l.strip_prefix(&begin)).unwrap().to_owned()
        }
        _ => "tolerated".to_owned(),
    }
}

/// The kind of file that a line of the trace is about.
fn file(line: &str) -> String {
    let path = line.rsplit_once(") = ").map_or(line, |(call, _)| call);
    let path = path.split(['<', '>', '"']).find(|part| part.contains('/')).unwrap_or("");
    let mut names: Vec<&str> = path.rsplit('/').take(2).collect();
    names.reverse();
    let kind = |name: &str| match name {
        n if n.ends_with(".seg") => "*.seg".to_owned(),
        n if n.starts_with("delta-") => "delta".to_owned(),
        n if n.starts_with("snap.") => "snap".to_owned(),
        n if n.starts_with(".tmp") => "*".to_owned(),
        n => n.to_owned(),
    };
    names.into_iter().map(kind).collect::<Vec<_>>().join("/")
}

/// Checks what the hammer said after an error. `spares`: a load that could not write its temporary files, which leaves
/// the store as it was and need not stop it.
fn speaks(lines: &[String], code: &str, spares: bool) -> Result<(), String> {
    for line in lines {
        // sled panics over some errors, which the store catches; its own code does not.
        if line.starts_with("panic") && !line.contains("/sled-") {
            return Err(format!("a panic of the store's own: {line}"));
        }
        let words: Vec<&str> = line.split(' ').collect();
        let variant = match words.as_slice() {
            ["error", "open" | "close", variant, ..] | ["error", _, _, variant, ..] => variant,
            ["after", variant, ..] => {
                if spares && *variant == "Committed" {
                    continue;
                }
                if *variant != "Poisoned:" && !spares {
                    return Err(format!("a later commit was not refused: {line}"));
                }
                variant
            }
            ["read", _, "users"] => continue,
            ["read", ..] => return Err(format!("reads do not go on: {line}")),
            _ => continue,
        };
        if !["Io:", "Poisoned:", "NoSpace:"].contains(variant) {
            return Err(format!("an error of another type: {line}"));
        }
        // The second form is sled's, which repeats its first error as text.
        let named = [format!("os error {code}"), format!("code: {code}"), "sled gave up".to_owned()];
        if !named.iter().any(|text| line.contains(text)) {
            return Err(format!("the cause is not named: {line}"));
        }
    }
    Ok(())
}

/// How often each call is made by the thread that makes it most often.
fn calls(scenario: &Scenario) -> BTreeMap<&'static str, usize> {
    let dir = scratch();
    let (store, trace) = (dir.path().join("store"), dir.path().join("trace"));
    if let Some(before) = &scenario.before {
        copy(before, &store);
    }
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-s", "0", "-e", "signal=none", "-e"]).arg(format!("trace={}", CALLS.join(",")));
    command.arg("-o").arg(&trace).arg(env!("CARGO_BIN_EXE_hammer"));
    command.arg(format!("dir={}", store.display())).args(&scenario.words).stderr(Stdio::inherit());
    let (lines, exit) = Hammer::start(command).finish(Duration::from_secs(60)).unwrap();
    assert_eq!(exit, Some(0), "{:?}", lines.last());
    let trace = fs::read_to_string(&trace).unwrap();
    let count = |call: &str| {
        let mut threads: BTreeMap<&str, usize> = BTreeMap::new();
        for (thread, rest) in trace.lines().filter_map(|l| l.split_once(' ')) {
            if rest.trim_start().strip_prefix(call).is_some_and(|r| r.starts_with('(')) {
                *threads.entry(thread).or_default() += 1;
            }
        }
        threads.into_values().max().unwrap_or(0)
    };
    CALLS.iter().map(|call| (*call, count(call))).collect()
}

/// Tries the failures of a scenario, at most `most` (0: all); returns how often each was met.
fn sweep(scenario: &Scenario, most: usize, seed: u64) -> BTreeMap<(String, String), u64> {
    let counts = calls(scenario);
    let mut cases: Vec<Case> = Vec::new();
    for (call, count) in &counts {
        for error in ERRORS {
            cases.extend((1..=*count).map(|when| Case { call, when, error }));
        }
    }
    println!("{counts:?}: {} cases", cases.len());
    // The same share of each call; which of them, the seed says.
    let every = cases.len().checked_div(most).map_or(1, |every| every + 1);
    let first = Random(seed).below(every as u64) as usize;
    let cases: Vec<Case> = cases.into_iter().skip(first).step_by(every).collect();
    let parsed = Settings::parse(scenario.words.iter().cloned().chain(["dir=x".to_owned()])).unwrap();
    let checker = Checker::new(parsed.seed, parsed.from.len() as u64, parsed.largest, parsed.options);
    let (next, seen) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Relaxed)) {
                    let outcome = run(scenario, &checker, *case);
                    let outcome = outcome.unwrap_or_else(|e| {
                        panic!("{:?}, CRASH_SEED={seed}: {case:?}: {e}", scenario.words);
                    });
                    let Some((phase, file)) = outcome.hit else { continue };
                    assert_eq!(outcome.failed, phase != "tolerated", "{case:?}: the exit code tells something else");
                    *seen.lock().unwrap().entry((format!("{phase}: {}", case.call), file)).or_insert(0) += 1;
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    for ((what, about), times) in &seen {
        println!("{times:6}  {what} {about}");
    }
    println!("{} of {} failures were met", seen.values().sum::<u64>(), cases.len());
    seen
}

fn words(text: &str, seed: u64) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).chain([format!("seed={}", seed & 0xffff)]).collect()
}

#[test]
fn an_error_of_the_disk_stops_writing_and_loses_nothing() {
    if !is_there("strace", "errors of the disk were NOT tried") {
        return;
    }
    let seed = seed();
    let words = words("delta=5 largest=3 steps=20", seed);
    let seen = sweep(&Scenario { words, before: None, acks: Acks::default() }, env("INJECT_CASES", 120) as usize, seed);
    for phase in ["commit", "load", "compact-full"] {
        assert!(seen.keys().any(|(what, _)| what.starts_with(&format!("{phase}: "))), "no failure during {phase}");
    }
    for call in ["write", "pwrite64", "fsync", "fdatasync", "rename"] {
        assert!(seen.keys().any(|(what, _)| what.ends_with(&format!(": {call}"))), "no failure of {call}");
    }
}

/// sled's drop fsyncs, and panics when that fails: a full disk made a commit panic that began a new log.
#[test]
fn a_log_that_cannot_be_made_is_an_error_and_no_panic() {
    if !is_there("strace", "errors of the disk were NOT tried") {
        return;
    }
    let words = words("steps=1", 1);
    let checker = Checker::new(1, 1, 6, Settings::parse(["dir=x".to_owned()]).unwrap().options);
    let scenario = Scenario { words, before: None, acks: Acks::default() };
    let mut phases = BTreeMap::new();
    for when in 1..=8 {
        let outcome = run(&scenario, &checker, Case { call: "fsync", when, error: ERRORS[1] }).unwrap();
        *phases.entry(outcome.hit.unwrap().0).or_insert(0) += 1;
    }
    assert!(phases.get("commit").is_some_and(|cases| *cases > 3), "{phases:?}");
}

#[test]
fn an_error_of_the_disk_during_recovery_loses_nothing() {
    if !is_there("strace", "errors of the disk were NOT tried") {
        return;
    }
    let seed = seed();
    let dir = scratch();
    let store = dir.path().join("store");
    let mut all = words("delta=5 largest=3", seed);
    let first: Vec<String> = all.iter().cloned().chain(["steps=9".to_owned(), "close=0".to_owned()]).collect();
    let (lines, exit) = Hammer::start(hammer(&store, &first)).finish(Duration::from_secs(60)).unwrap();
    assert_eq!(exit, Some(0), "{:?}", lines.last());
    let acks = Acks::default().lines(lines.iter().map(String::as_str));
    all.extend(["from=9".to_owned(), "steps=2".to_owned()]);
    let scenario = Scenario { words: all, before: Some(store), acks };
    let seen = sweep(&scenario, env("INJECT_CASES", 60) as usize, seed);
    assert!(seen.keys().any(|(what, _)| what.starts_with("open: ")), "no failure during the open");
}
