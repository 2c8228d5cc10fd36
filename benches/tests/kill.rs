//! `kill -9` at random moments, several times in the life of a store: what was acknowledged is there, nothing is half
//! there, and the store opens without help. `KILL_ROUNDS` says how often, `CRASH_SEED` which moments.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod support;

use std::time::Duration;

use headcount_benches::crash::{Acks, Checker, Settings};
use support::{Hammer, Random, env, hammer, in_time, seed};

/// Kills of one store before the next one is begun.
const LIVES: u64 = 12;

fn settings(random: &mut Random) -> Vec<String> {
    let mut words = vec![format!("seed={}", random.below(1 << 32))];
    words.push(format!("largest={}", 1 + random.below(12)));
    words.push(format!("delta={}", [3, 20, 100, 1000][random.below(4) as usize]));
    words.push(format!("maintenance={}", random.below(2)));
    match random.below(3) {
        0 => words.push(format!("buffered={}", 1 + random.below(40))),
        1 => words.push("pread=1".to_owned()),
        _ => {}
    }
    words
}

fn comma(steps: &[u64]) -> String {
    steps.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

/// A store's lives; returns the steps that were acknowledged in them.
fn store(random: &mut Random, lives: u64) -> Result<u64, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let words = settings(random);
    let threads = if random.below(2) == 0 { 1 } else { 4 };
    let about = format!("{} with {threads} threads", words.join(" "));
    let parsed = Settings::parse(words.iter().cloned().chain(["dir=x".to_owned()])).unwrap();
    let mut checker = Checker::new(parsed.seed, threads, parsed.largest, parsed.options);
    let mut steps = vec![0; threads as usize];
    let mut acknowledged = 0;
    for life in 0..=lives {
        let before: u64 = steps.iter().sum();
        let mut all = words.clone();
        all.push(format!("from={}", comma(&steps)));
        let mut acks = Acks::from_steps(&steps);
        let last = life == lives;
        if last {
            all.push("steps=20".to_owned());
        }
        let running = Hammer::start(hammer(&path, &all));
        if last {
            let (lines, code) = running.finish(Duration::from_secs(120))?;
            acks = acks.lines(lines.iter().map(String::as_str));
            if code != Some(0) || !acks.closed {
                return Err(format!("{about}: left alone it ended with {code:?}: {:?}", acks.failures));
            }
        } else {
            // Often in the middle of opening, mostly in the middle of work.
            let time = [5, 30, 120, 400][random.below(4) as usize];
            let lines = running.lines_for(Duration::from_micros(random.below(time * 1000)));
            acks = acks.lines(lines.iter().chain(&running.kill()).map(String::as_str));
        }
        if !acks.failures.is_empty() {
            return Err(format!("{about}: life {life}: {:?}", acks.failures));
        }
        if !acks.created && !path.join("MANIFEST").exists() {
            continue;
        }
        let (mut worker, path, asked) = (checker.clone(), path.clone(), acks.clone());
        let outcome = in_time(move || worker.check(&path, &asked, last).map(|found| (worker, found)));
        let (worker, found) = outcome.map_err(|e| format!("{about}: life {life}: {e}"))?;
        checker = worker;
        steps = found.steps;
        acknowledged += acks.total() - before;
    }
    Ok(acknowledged)
}

#[test]
fn every_acknowledged_step_outlives_a_kill() {
    let seed = seed();
    let rounds = env("KILL_ROUNDS", 24);
    let mut acknowledged = 0;
    let mut done = 0;
    for number in 0.. {
        if done >= rounds {
            break;
        }
        let lives = LIVES.min(rounds - done);
        match store(&mut Random(seed.wrapping_add(number)), lives) {
            Ok(steps) => acknowledged += steps,
            Err(error) => panic!("store {number} of CRASH_SEED={seed} KILL_ROUNDS={rounds}: {error}"),
        }
        done += lives;
    }
    println!("{done} kills, {acknowledged} acknowledged steps");
    assert!(acknowledged > rounds, "hardly anything was acknowledged: nothing was tested");
}
