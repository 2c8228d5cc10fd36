//! `headcount backup`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use headcount::{BackupReport, Progress};

use crate::failure::{Failure, Outcome};
use crate::interrupt::cancel_on_signals;
use crate::progress::{Rate, watch};
use crate::size::{human_bytes, human_count};
use crate::store;
use crate::ui::Ui;

const EXAMPLES: &str = "\
DEST is a store: every command takes it, and to restore it is to rename it. Segments are hard links
where DEST is on the same file system, since they are never modified, and copies elsewhere: a backup
against the loss of a disk belongs on another one.

Examples:
  headcount backup site.hc /mnt/backup/site.hc
  headcount backup site.hc site-monday.hc --json";

/// Options of `headcount backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// Where the copy is made; nothing may be there
    #[arg(value_name = "DEST")]
    destination: PathBuf,
    /// Write the report as one line of JSON to standard output
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    users: u64,
    seq: u64,
    segments_linked: u64,
    segments_copied: u64,
    bytes: u64,
    seconds: f64,
}

/// Copies a store.
///
/// # Errors
/// When the store cannot be read or DEST not be made: it is not there then.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let progress = Arc::new(Progress::default());
    let store = store::open(&args.store)?;
    cancel_on_signals(&progress)?;
    progress.set_phase("copying");
    let done = watch(ui, &progress, || store.backup(&args.destination, &progress))?;
    let report = Report::new(&done, started);
    ui.report(args.json, &report, &report.text())?;
    Ok(Outcome::Done)
}

impl Report {
    fn new(done: &BackupReport, started: Instant) -> Self {
        Self {
            users: done.users,
            seq: done.seq,
            segments_linked: done.segments_linked,
            segments_copied: done.segments_copied,
            bytes: done.bytes,
            seconds: Rate::of(done.users, started).seconds,
        }
    }

    fn text(&self) -> String {
        format!(
            "copied {} users as of seq {}, {}, in {:.2} s: {} segments linked, {} copied",
            human_count(self.users),
            self.seq,
            human_bytes(self.bytes),
            self.seconds,
            human_count(self.segments_linked),
            human_count(self.segments_copied),
        )
    }
}
