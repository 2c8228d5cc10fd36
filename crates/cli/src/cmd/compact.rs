//! `headcount compact`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use headcount::{CompactReport, Compaction, Progress};

use crate::failure::{Failure, Outcome};
use crate::interrupt::cancel_on_signals;
use crate::progress::watch;
use crate::size::{human_bytes, human_count};
use crate::store;
use crate::ui::Ui;

const EXAMPLES: &str = "\
A program that keeps a store open compacts it as it goes; this command is for a store that nobody
has open. Without --full, small segments are merged until they are few. An interrupted compaction
leaves the store as it was.

Examples:
  headcount compact site.hc
  headcount compact site.hc --full";

/// Options of `headcount compact`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// Merge all segments into one, the fastest to read; needs as much free space as the store takes
    #[arg(long)]
    full: bool,
    /// Write the report as one line of JSON to standard output
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    segments_before: u64,
    segments_after: u64,
    bytes_before: u64,
    bytes_after: u64,
    seconds: f64,
}

/// Merges segments.
///
/// # Errors
/// When the store cannot be read or written: it is as it was then.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let progress = Arc::new(Progress::default());
    let how = if args.full { Compaction::Full } else { Compaction::Tiered };
    cancel_on_signals(&progress)?;
    store::write(&args.store, ui, |store| {
        progress.set_phase("compacting");
        let done = watch(ui, &progress, || store.compact(how, &progress))?;
        let report = Report::new(&done, started);
        ui.report(args.json, &report, &report.text())?;
        Ok(Outcome::Done)
    })
}

impl Report {
    fn new(done: &CompactReport, started: Instant) -> Self {
        Self {
            segments_before: done.segments_before,
            segments_after: done.segments_after,
            bytes_before: done.bytes_before,
            bytes_after: done.bytes_after,
            seconds: (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        }
    }

    fn text(&self) -> String {
        format!(
            "compacted {} segments of {} to {} of {} in {:.2} s",
            human_count(self.segments_before),
            human_bytes(self.bytes_before),
            human_count(self.segments_after),
            human_bytes(self.bytes_after),
            self.seconds,
        )
    }
}
