//! `headcount delete`

use std::collections::HashSet;
use std::path::PathBuf;

use headcount::{Batch, Error, Store};

use crate::batches::OPERATIONS_MAX;
use crate::errors::doubtful_hint;
use crate::failure::{Failure, Outcome};
use crate::store;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Exit code 4 when a user is not there; the others are deleted all the same: up to 50,000 of them, of
64 MiB together, all or none, and more in several batches. What the store's files hold of a deleted
user goes with later compactions; `headcount erase` removes it at once.

Examples:
  headcount delete site.hc 6625ID
  headcount delete site.hc AABCWA AAKODB";

/// Options of `headcount delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// UIDs of the users
    #[arg(required = true, value_name = "UID")]
    uids: Vec<String>,
    /// Write the report as one line of JSON to standard output
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    deleted: u64,
    not_found: Vec<&'a str>,
    seq: u64,
}

/// Deletes users.
///
/// # Errors
/// When the store cannot be written; names how many were deleted before.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    store::write(&args.store, ui, |store| {
        let report = delete(store, &args.uids)?;
        let users = if report.deleted == 1 { "user" } else { "users" };
        ui.report(args.json, &report, &format!("deleted {} {users}: seq {}", report.deleted, report.seq))?;
        for uid in &report.not_found {
            ui.error(&format!("no user {uid:?}"));
        }
        Ok(if report.not_found.is_empty() { Outcome::Done } else { Outcome::NotFound })
    })
}

fn delete<'a>(store: &Store, uids: &'a [String]) -> Result<Report<'a>, Failure> {
    // The store is open for writing here alone, so that nobody comes in between.
    let snapshot = store.snapshot();
    let mut seen = HashSet::new();
    let mut report = Report { deleted: 0, not_found: Vec::new(), seq: snapshot.seq() };
    let mut found = Vec::new();
    for uid in uids.iter().map(String::as_str).filter(|uid| seen.insert(*uid)) {
        if snapshot.get(uid)?.is_some() {
            found.push(uid);
        } else {
            report.not_found.push(uid);
        }
    }
    drop(snapshot);
    // Of what is left, the first ones last.
    let mut parts: Vec<&[&str]> = found.chunks(OPERATIONS_MAX).rev().collect();
    while let Some(part) = parts.pop() {
        let mut batch = Batch::new();
        for uid in part {
            batch.delete(*uid);
        }
        match store.commit(batch) {
            Ok(commit) => {
                report.deleted += commit.changed;
                report.seq = commit.seq;
            }
            Err(Error::TooLarge { .. }) if part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Err(error) => {
                let hint = doubtful_hint(&error).map(|hint| {
                    format!("{hint} and run the command again: those who were deleted by this one are not there then")
                });
                let failure = Failure::from(error);
                let failure = Failure { hint: hint.or(failure.hint), ..failure };
                if report.deleted == 0 {
                    return Err(failure);
                }
                let Report { deleted, seq, .. } = report;
                let text = format!("{failure}; {deleted} users were deleted before that, up to seq {seq}");
                return Err(failure.reworded(text));
            }
        }
    }
    Ok(report)
}
