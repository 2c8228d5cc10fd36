//! Memory of full deltas.

use std::path::Path;

use headcount_store::Options;

use crate::Outcome;
use crate::fill;

/// One line each: what is filled, commits, changes that a delta holds.
const CASES: [(&str, u64, Option<usize>); 3] = [
    ("one full delta", 1, Some(2)),
    ("two full deltas (one of twice the size)", 2, Some(3)),
    ("writing without a pause: five deltas one after another", 5, None),
];

/// Fills deltas by commits of one user each, and says what that took of memory.
pub(crate) fn run(dir: &Path) -> Outcome {
    let full = Options::default().delta_changes;
    println!("A full delta holds {full} changes; commits of one new user with one or two identities.\n");
    println!(
        "| state | private memory added, MiB | at the most, MiB | resident at the most, mapped files included, MiB |"
    );
    println!("| --- | --: | --: | --: |");
    for (number, (name, deltas, limit)) in CASES.into_iter().enumerate() {
        let path = dir.join(number.to_string());
        let limit = limit.map(|deltas| deltas * full);
        let memory = fill::start(&path, deltas * full as u64, limit)?.memory;
        let added = |bytes: u64| bytes.saturating_sub(memory.before) >> 20;
        println!("| {name} | {} | {} | {} |", added(memory.after), added(memory.peak), memory.resident >> 20);
        std::fs::remove_dir_all(&path)?;
    }
    Ok(())
}
