//! `headcount put`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use headcount::{Progress, Status, Store};
use headcount_import::{ImportError, Input, Lines, Operation};

use crate::batches::{Batches, Cut};
use crate::failure::{Failure, Kind, Outcome};
use crate::input::{self, STDIN};
use crate::interrupt::cancel_on_signals;
use crate::progress::{Rate, watch};
use crate::size::human_count;
use crate::store;
use crate::ui::Ui;

const EXAMPLES: &str = "\
A line is {\"UID\":…,\"identities\":[{\"provider\":…,\"providerUID\":…}],\"status\":\"pending\"}, as
`get` prints it; without status the user is registered. Each user takes the place of the one with
its UID, if there is one. What is reported is on the disk. A store that is not there is made.

Up to 50,000 lines of 8 MiB together, for users that have 64 MiB now, are put all or none. More are
put in several batches: all lines of a FILE are checked before the first batch, but a batch that the
store refuses, as when an identity belongs to another user, leaves those before it in place, and the
message names them. `headcount import` puts any number of users all or none. FILE may be compressed
with gzip or zstd.

Examples:
  headcount put site.hc users.ndjson
  echo '{\"UID\":\"u1\",\"status\":\"pending\"}' | headcount put site.hc
  headcount put site.hc users.ndjson.gz --json";

/// Options of `headcount put`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// User objects, one a line; `-`, or none when it is not a terminal: standard input
    file: Option<PathBuf>,
    /// Write the report as one line of JSON to standard output
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    users: u64,
    pending: u64,
    identities: u64,
    /// Users that are not as they were before.
    changed: u64,
    batches: u64,
    seq: u64,
    seconds: f64,
}

/// Writes users.
///
/// # Errors
/// Names the line, and what was written before it.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let progress = Arc::new(Progress::default());
    let input = input::open(args.file.as_deref(), &progress)?;
    cancel_on_signals(&progress)?;
    store::write_or_make(&args.store, ui, |store| {
        let report = watch(ui, &progress, || {
            if let Some(file) = args.file.as_deref().filter(|file| *file != Path::new(STDIN) && file.is_file()) {
                progress.set_phase("checking");
                check(file, &progress)?;
            }
            progress.set_phase("writing");
            put(store, input, &progress, started)
        })?;
        report.show(args.json, ui)?;
        Ok(Outcome::Done)
    })
}

/// Reads all lines of `file`, so that a bad one is known before anything is written.
fn check(file: &Path, progress: &Arc<Progress>) -> Result<(), Failure> {
    check_lines(file, progress).map_err(|error| {
        if progress.is_cancelled() {
            return Failure::new(Kind::Cancelled, "cancelled: nothing was changed");
        }
        let failure = Failure::from(error);
        let text = format!("{failure}; nothing was applied");
        Failure { error: text.into(), hint: Some("mend it and run the command again".to_owned()), ..failure }
    })
}

fn check_lines(file: &Path, progress: &Arc<Progress>) -> Result<(), ImportError> {
    let mut lines = Lines::open(Input::path(file), progress)?;
    while let Some(mut line) = lines.next_line()? {
        line.user()?;
    }
    Ok(())
}

fn put(store: &Store, input: Input, progress: &Arc<Progress>, started: Instant) -> Result<Report, Failure> {
    let (mut pending, mut identities) = (0, 0);
    let mut lines = Lines::open(input, progress)?;
    let applied = Batches::new(store, progress, Cut::Full).run(
        &mut lines,
        |line| {
            let user = line.user()?;
            pending += u64::from(user.status == Status::Pending);
            identities += user.identities.len() as u64;
            Ok(Operation::Put(user))
        },
        |_| Ok(()),
    )?;
    Ok(Report {
        users: applied.operations,
        pending,
        identities,
        changed: applied.changed,
        batches: applied.batches,
        seq: applied.seq,
        seconds: Rate::of(applied.operations, started).seconds,
    })
}

impl Report {
    fn show(&self, json: bool, ui: &Ui) -> Result<(), Failure> {
        let mut text = format!(
            "put {} users ({} pending), {} identities in {:.2} s: seq {}",
            human_count(self.users),
            human_count(self.pending),
            human_count(self.identities),
            self.seconds,
            self.seq,
        );
        if self.changed != self.users {
            text.push_str(&format!("\n  {} users changed", human_count(self.changed)));
        }
        if self.batches > 1 {
            text.push_str(&format!("\n  in {} batches, one after the other", human_count(self.batches)));
        }
        ui.report(json, self, &text)
    }
}
