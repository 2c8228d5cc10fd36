//! Durable commits: one user each, a hundred users each, and sixteen threads against one; all engines in every round.

use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use headcount_block::User;

use crate::Outcome;
use crate::engines::{Engine, FLOOR, KINDS, Kind, OURS};
use crate::figures::{mean, median, micros, percentile, ratios, spread};
use crate::settings::Settings;
use crate::work::{batches, turns, user};

/// Users that a commit of the preparation has.
const PREPARE: usize = 1_000;
/// Commits of a round, by one thread.
const SINGLES: usize = 10;
/// Commits of a round with [`BATCH`] users each.
const BATCHES: usize = 2;
const BATCH: usize = 100;
const THREADS: usize = 16;
/// Commits of a round, by each of the threads.
const EACH: usize = 256;

/// An open engine.
struct Lane {
    kind: Kind,
    engine: Box<dyn Engine>,
}

/// What one engine took.
#[derive(Default)]
struct Times {
    /// Microseconds of each commit.
    commits: Vec<f64>,
    /// Mean microseconds a commit, of each round.
    rounds: Vec<f64>,
}

/// All engines, holding the same users, closed once and opened again.
fn prepare(dir: &Path, users: u64) -> Outcome<Vec<Lane>> {
    let mut lanes = Vec::new();
    for (number, kind) in KINDS.into_iter().enumerate() {
        let home = dir.join(number.to_string());
        std::fs::create_dir(&home)?;
        if kind.keeps {
            let engine = (kind.open)(&home)?;
            let mut next = 0;
            while next < users {
                let size = usize::try_from(users - next)?.min(PREPARE);
                for batch in batches(&mut next, 1, size) {
                    engine.commit(&batch)?;
                }
            }
            engine.close()?;
        }
        lanes.push(Lane { kind, engine: (kind.open)(&home)? });
    }
    Ok(lanes)
}

/// Reads everything back, then once more after closing and opening.
fn check(dir: &Path, lanes: Vec<Lane>, users: u64) -> Outcome {
    for (number, Lane { kind, engine }) in lanes.into_iter().enumerate() {
        let named = |error| format!("{}: {error}", kind.name);
        engine.check(&mut (0..users).map(user)).map_err(named)?;
        engine.close()?;
        if kind.keeps {
            let again = (kind.open)(&dir.join(number.to_string()))?;
            again.check(&mut (0..users).map(user)).map_err(named)?;
            again.close()?;
        }
    }
    println!("Every engine holds all {users} users, before and after opening it again.\n");
    Ok(())
}

/// Measures commits of `size` users by one thread.
fn measure(lanes: &[Lane], rounds: usize, commits: usize, size: usize, next: &mut u64) -> Outcome<Vec<Times>> {
    let mut times: Vec<Times> = lanes.iter().map(|_| Times::default()).collect();
    for round in 0..=rounds {
        let work = batches(next, commits, size);
        for number in turns(lanes.len(), round) {
            let Some(lane) = lanes.get(number) else { continue };
            let took = work.iter().map(|batch| timed(&*lane.engine, batch)).collect::<Outcome<Vec<f64>>>()?;
            // The first round warms up.
            if let Some(times) = times.get_mut(number).filter(|_| round > 0) {
                times.rounds.push(mean(&took));
                times.commits.extend(took);
            }
        }
    }
    Ok(times)
}

fn timed(engine: &dyn Engine, batch: &[User]) -> Outcome<f64> {
    let began = Instant::now();
    engine.commit(batch)?;
    Ok(micros(began.elapsed()))
}

fn table(title: &str, lanes: &[Lane], times: &[Times]) {
    let rounds_of = |name| lanes.iter().zip(times).find(|(l, _)| l.kind.name == name).map(|(_, t)| &*t.rounds);
    let floor = rounds_of(FLOOR).unwrap_or_default();
    let ours = rounds_of(OURS).unwrap_or_default();
    println!("### {title}\n");
    println!("| engine | median µs | mean µs | p99 µs | × floor: median of rounds (quartiles) | × ours |");
    println!("| --- | --: | --: | --: | --: | --: |");
    for (lane, times) in lanes.iter().zip(times) {
        let (middle, mean, late) = (median(&times.commits), mean(&times.commits), percentile(&times.commits, 99.0));
        let (to_floor, to_ours) = (spread(&ratios(&times.rounds, floor)), spread(&ratios(&times.rounds, ours)));
        println!("| {} | {middle:.0} | {mean:.0} | {late:.0} | {to_floor} | {to_ours} |", lane.kind.name);
    }
    println!();
}

/// Seconds that `work`, a list of batches for each thread, takes from the common start to the last thread's end.
fn race(engine: &dyn Engine, work: &[Vec<Vec<User>>]) -> Outcome<Duration> {
    let start = Barrier::new(work.len() + 1);
    let run = |batches: &[Vec<User>]| -> Outcome {
        start.wait();
        batches.iter().try_for_each(|batch| engine.commit(batch))
    };
    thread::scope(|scope| {
        let threads: Vec<_> = work.iter().map(|batches| scope.spawn(|| run(batches))).collect();
        start.wait();
        let began = Instant::now();
        for thread in threads {
            thread.join().map_err(|_| "a committing thread panicked")??;
        }
        Ok(began.elapsed())
    })
}

/// Sixteen threads against one, commits of one user.
fn threads(lanes: &[Lane], rounds: usize, next: &mut u64) -> Outcome {
    let mut rates: Vec<[Vec<f64>; 2]> = lanes.iter().map(|_| Default::default()).collect();
    for round in 0..=rounds {
        let alone = vec![batches(next, EACH, 1)];
        let crowd: Vec<_> = (0..THREADS).map(|_| batches(next, EACH, 1)).collect();
        for number in turns(lanes.len(), round) {
            let Some(lane) = lanes.get(number) else { continue };
            let one = EACH as f64 / race(&*lane.engine, &alone)?.as_secs_f64();
            let many = (THREADS * EACH) as f64 / race(&*lane.engine, &crowd)?.as_secs_f64();
            if let Some([ones, manies]) = rates.get_mut(number).filter(|_| round > 0) {
                ones.push(one);
                manies.push(many);
            }
        }
    }
    println!("### {THREADS} committing threads against one, one user a commit\n");
    println!("| engine | 1 thread, commits/s | {THREADS} threads, commits/s | ratio: median of rounds (quartiles) |");
    println!("| --- | --: | --: | --: |");
    for (lane, [one, many]) in lanes.iter().zip(&rates) {
        let ratio = spread(&ratios(many, one));
        println!("| {} | {:.0} | {:.0} | {ratio} |", lane.kind.name, median(one), median(many));
    }
    println!();
    Ok(())
}

/// Median microseconds of a durable commit of one user, of every engine.
pub(crate) fn one_user(dir: &Path, users: u64, rounds: usize) -> Outcome<Vec<(&'static str, f64)>> {
    std::fs::create_dir(dir)?;
    let lanes = prepare(dir, users)?;
    let mut next = users;
    let times = measure(&lanes, rounds, SINGLES, 1, &mut next)?;
    let medians = lanes.iter().zip(&times).map(|(lane, times)| (lane.kind.name, median(&times.commits))).collect();
    lanes.into_iter().try_for_each(|lane| lane.engine.close())?;
    Ok(medians)
}

/// The three tables, then the check that nothing was lost.
pub(crate) fn run(dir: &Path) -> Outcome {
    let settings = Settings::or(100_000, 100);
    let rounds = settings.rounds;
    let lanes = prepare(dir, settings.users)?;
    println!("{} users before, {rounds} rounds\n", settings.users);
    let mut next = settings.users;
    let singles = measure(&lanes, rounds, SINGLES, 1, &mut next)?;
    table("a durable commit of one user", &lanes, &singles);
    let hundreds = measure(&lanes, rounds, BATCHES, BATCH, &mut next)?;
    table("a durable commit of 100 users", &lanes, &hundreds);
    threads(&lanes, rounds.div_ceil(5), &mut next)?;
    check(dir, lanes, next)
}
