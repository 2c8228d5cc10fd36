//! `headcount delete`

use std::collections::HashSet;
use std::path::PathBuf;

use headcount::{Batch, Store};

use crate::failure::{Failure, Outcome};
use crate::store;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Exit code 4 when a user is not there; the others are deleted all the same, together. What the
store's files hold of a deleted user goes with later compactions; `headcount erase` removes it at
once.

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
/// When the store cannot be written.
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
    let mut batch = Batch::new();
    for uid in uids.iter().filter(|uid| seen.insert(uid.as_str())) {
        if snapshot.get(uid)?.is_some() {
            batch.delete(uid);
        } else {
            report.not_found.push(uid);
        }
    }
    if !batch.is_empty() {
        let commit = store.commit(batch)?;
        report.deleted = commit.changed;
        report.seq = commit.seq;
    }
    Ok(report)
}
