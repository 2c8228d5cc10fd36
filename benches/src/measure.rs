//! Timings in rounds, what is said of them, and the stores that they are taken of.

use std::sync::Arc;
use std::time::Instant;

use headcount_block::{Progress, RowBuf, User};
use headcount_store::{Existing, LoadOptions, Place, RowKind, Store};

/// Whatever goes wrong ends a benchmark with its message.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Median, least and greatest, as text.
#[must_use]
pub fn spread(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |i: usize| sorted.get(i).copied().unwrap_or_default();
    let (middle, last) = (at(sorted.len() / 2), at(sorted.len().saturating_sub(1)));
    format!("{middle:.digits$} ({:.digits$} to {last:.digits$})", at(0))
}

/// Seconds that `work` takes.
///
/// # Errors
/// What `work` reports.
pub fn seconds(work: impl FnOnce() -> Outcome) -> Outcome<f64> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64())
}

/// Loads `users` as one segment; those that are there are replaced.
///
/// # Errors
/// What the store reports.
pub fn load(store: &Store, users: impl Iterator<Item = User>) -> Outcome {
    let options = LoadOptions { threads: 1, existing: Existing::Replace, ..LoadOptions::default() };
    let load = store.bulk_load(options, &Arc::new(Progress::default()))?;
    let mut shard = load.shard();
    let mut row = RowBuf::new();
    for (line, user) in (1..).zip(users) {
        shard.push(row.encode(&user)?, Place { file: 0, line, offset: line }, RowKind::User)?;
    }
    load.finish(vec![shard], &mut |_| Ok(()))?;
    Ok(())
}
