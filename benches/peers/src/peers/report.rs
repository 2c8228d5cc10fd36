//! The tables.

use std::collections::HashMap;

use super::Peer;
use crate::figures::{median, percentile};

/// An engine and its figures of all rounds.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) peer: Peer,
    /// Why nothing of it is measured.
    pub(super) skipped: Option<String>,
    figures: HashMap<(&'static str, String), Vec<f64>>,
}

impl Lane {
    pub(super) fn new(peer: Peer, skipped: Option<String>) -> Self {
        Self { peer, skipped, figures: HashMap::new() }
    }

    /// Takes the figures of a round.
    pub(super) fn add(&mut self, phase: &'static str, figures: HashMap<String, f64>) {
        for (name, value) in figures {
            self.figures.entry((phase, name)).or_default().push(value);
        }
    }

    fn values(&self, phase: &'static str, name: &str) -> Option<&[f64]> {
        self.figures.get(&(phase, name.to_owned())).map(Vec::as_slice)
    }

    fn median(&self, phase: &'static str, name: &str) -> Option<f64> {
        self.values(phase, name).map(median)
    }
}

/// Median, least, greatest; nothing where nothing was measured.
fn spread(values: Option<&[f64]>, scale: impl Fn(f64) -> f64) -> String {
    let Some(values) = values else { return "–".to_owned() };
    let values: Vec<f64> = values.iter().map(|value| scale(*value)).collect();
    let digits = |value: f64| match value {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    let all = [median(&values), percentile(&values, 0.0), percentile(&values, 100.0)];
    let [middle, least, most] = all.map(|value| format!("{value:.*}", digits(value)));
    if values.len() > 1 { format!("{middle} ({least}–{most})") } else { middle }
}

/// Private and whole resident memory in MiB.
fn memory(lane: &Lane, phase: &'static str) -> String {
    let [private, resident] = ["private", "resident"].map(|name| lane.median(phase, name));
    match (private, resident) {
        (Some(private), Some(resident)) => format!("{:.0} / {:.0}", private / 1_048_576.0, resident / 1_048_576.0),
        _ => "–".to_owned(),
    }
}

/// One measurement in which less is better.
type What = (&'static str, &'static str, &'static str);

const EXPORT: What = ("export of JSON", "json", "seconds");
const LOAD: What = ("load", "load", "seconds");
const GET: What = ("get", "lookups", "get");
const FIND: What = ("find", "lookups", "find");

/// The peer's quickest, by name.
fn best(lanes: &[Lane], (_, phase, name): What, among: impl Fn(&Peer) -> bool) -> Option<(f64, &str)> {
    let others = lanes.iter().filter(|lane| lane.peer.store != "ours" && lane.peer.is_store && among(&lane.peer));
    let times = others.filter_map(|lane| Some((lane.median(phase, name)?, lane.peer.name)));
    times.min_by(|a, b| a.0.total_cmp(&b.0))
}

fn goals(lanes: &[Lane]) {
    let Some(ours) = lanes.iter().find(|lane| lane.peer.id == "ours") else { return };
    println!("| Headcount against | goal | measured |\n| --- | --: | --: |");
    let line = |what: What, who: &str, goal: f64, best: Option<(f64, &str)>| {
        let (title, phase, name) = what;
        if let (Some((theirs, peer)), Some(own)) = (best, ours.median(phase, name)) {
            let ratio = theirs / own;
            let met = if ratio >= goal { "" } else { " (missed)" };
            println!("| {title}: {who} ({peer}) | {goal:.0} × | {ratio:.1} ×{met} |");
        }
    };
    let finished = |peer: &Peer| peer.id == "lmdb-json";
    line(EXPORT, "the fastest peer", 10.0, best(lanes, EXPORT, |peer| !finished(peer)));
    line(EXPORT, "a peer that has nothing to do but copy", 10.0, best(lanes, EXPORT, finished));
    line(GET, "LMDB", 8.0, best(lanes, GET, |peer| peer.id == "lmdb"));
    line(GET, "the fastest peer", 8.0, best(lanes, GET, |_| true));
    let single = ours.median("lookups", "get").map(|time| (time, "its own single `get`"));
    line(("get in batches", "lookups", "get_many"), "one at a time", 2.0, single);
    line(FIND, "the fastest peer", 5.0, best(lanes, FIND, |_| true));
    line(LOAD, "the fastest peer", 3.0, best(lanes, LOAD, |_| true));
    println!();
}

/// Prints the tables: `durable` has the microseconds of a commit by engine.
pub(super) fn print(lanes: &[Lane], users: u64, durable: &[(&'static str, f64)]) {
    println!(
        "| engine | load, s | JSON to a file, s | CSV to a file, s | get, M/s | get in batches, M/s | find, M/s \
         | durable commit, µs | disk, bytes a user | memory of load, MiB | memory of JSON, MiB |"
    );
    println!("| --- |{}", " --: |".repeat(10));
    for lane in lanes {
        if let Some(why) = &lane.skipped {
            println!("| {} | SKIPPED: {why} |{}", lane.peer.name, " |".repeat(9));
            continue;
        }
        let same = |value: f64| value;
        let rate = |seconds: f64| 1e-6 / seconds;
        let seconds = |phase| spread(lane.values(phase, "seconds"), same);
        // DuckDB's own JSON is lines.
        let json = if lane.values("json", "seconds").is_some() { seconds("json") } else { lines(seconds("ndjson")) };
        let lookups = |name| spread(lane.values("lookups", name), rate);
        let commit = durable.iter().find(|(name, _)| Some(*name) == lane.peer.commits);
        let commit = commit.map_or_else(|| "–".to_owned(), |(_, micros)| format!("{micros:.0}"));
        let disk = lane.median("load", "disk").filter(|_| lane.peer.is_store);
        let disk = disk.map_or_else(|| "–".to_owned(), |bytes| format!("{:.1}", bytes / users as f64));
        let memory_of_json = if lane.values("json", "private").is_some() { "json" } else { "ndjson" };
        println!(
            "| {} | {} | {json} | {} | {} | {} | {} | {commit} | {disk} | {} | {} |",
            lane.peer.name,
            seconds("load"),
            seconds("csv"),
            lookups("get"),
            lookups("get_many"),
            lookups("find"),
            memory(lane, "load"),
            memory(lane, memory_of_json),
        );
    }
    println!();
    goals(lanes);
}

fn lines(seconds: String) -> String {
    if seconds == "–" { seconds } else { format!("{seconds}, as NDJSON") }
}
