//! `headcount erase`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headcount::{EraseReport, Progress};

use crate::failure::{Failure, Outcome};
use crate::interrupt::cancel_on_signals;
use crate::progress::watch;
use crate::store;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Deletes the users and rewrites every file of the store that holds their data, which takes as long as
a compaction of those files. It cannot be undone, and copies of the store, backups among them, keep
theirs. A user who was renamed stands in older files under the earlier UID, with the identities of
then: give that UID as well, though nobody has it any more. Exit code 4 when the store never knew a
UID; the others are erased all the same. What was interrupted is completed by the next command that
writes, for the users who were deleted by then. That command, and no later one, says how many were
not: erase them again.

Examples:
  headcount erase site.hc 6625ID
  headcount erase site.hc AABCWA AAKODB --wait 60
  headcount erase site.hc NEWNAME OLDNAME";

/// Options of `headcount erase`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// UIDs of the users
    #[arg(required = true, value_name = "UID")]
    uids: Vec<String>,
    /// How long to wait for those who still read the old files
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    wait: u64,
    /// Write the report as one line of JSON to standard output
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    erased: u64,
    not_found: &'a [String],
    seq: u64,
}

/// Erases users.
///
/// # Errors
/// When the store cannot be written, or its old files are still read after the wait.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let progress = Arc::new(Progress::default());
    let uids: Vec<&str> = args.uids.iter().map(String::as_str).collect();
    cancel_on_signals(&progress)?;
    store::write(&args.store, ui, |store| {
        progress.set_phase("erasing");
        let wait = Duration::from_secs(args.wait);
        let EraseReport { erased, not_found, seq, .. } = watch(ui, &progress, || store.erase(&uids, wait, &progress))?;
        let users = if erased == 1 { "user" } else { "users" };
        let report = Report { erased, not_found: &not_found, seq };
        ui.report(args.json, &report, &format!("erased {erased} {users}: seq {seq}"))?;
        for uid in &not_found {
            ui.error(&format!("nothing of a user {uid:?}"));
        }
        Ok(if not_found.is_empty() { Outcome::Done } else { Outcome::NotFound })
    })
}
