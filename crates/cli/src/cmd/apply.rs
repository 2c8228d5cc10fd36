//! `headcount apply`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use headcount::{Progress, Store};
use headcount_import::{Input, Lines};

use crate::batches::{Applied, Batches, Cut, OPERATIONS_MAX};
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::interrupt::cancel_on_signals;
use crate::progress::{Rate, watch};
use crate::size::human_count;
use crate::store;
use crate::ui::{self, Ui};

const EXAMPLES: &str = "\
A line is one of
  {\"op\":\"put\",\"UID\":…,\"identities\":[{\"provider\":…,\"providerUID\":…}],\"status\":\"registered\"}
  {\"op\":\"link\",\"UID\":…,\"provider\":…,\"providerUID\":…}
  {\"op\":\"unlink\",\"UID\":…,\"provider\":…,\"providerUID\":…}
  {\"op\":\"status\",\"UID\":…,\"status\":\"pending\"}
  {\"op\":\"rename\",\"UID\":…,\"newUID\":…}
  {\"op\":\"delete\",\"UID\":…}
put takes the place of the user with its UID; its identities and status may be absent. The others,
but for delete, need a user that is there. To link what is linked, to unlink what is not and to
delete who is not there changes nothing.

A batch is committed as soon as its last line is read, all of it or nothing, and is on the disk when
it is acknowledged. The first line that cannot be applied ends the command with exit code 1: nothing
of its batch is applied, and the message names the lines that were. A store that is not there is
made. FILE may be compressed with gzip or zstd.

Examples:
  headcount apply site.hc changes.ndjson
  tail -n +1 -f changes.ndjson | headcount apply site.hc --batch 1 --acks
  headcount apply site.hc changes.ndjson --batch 50000 --json";

/// Options of `headcount apply`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// Operations, one a line; `-`, or none when it is not a terminal: standard input
    file: Option<PathBuf>,
    /// Operations in a batch: 1 to 50000, and at most 8 MiB of text
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = batch_size)]
    batch: usize,
    /// Write {"seq":…,"lines":…} to standard output for each batch once it is on the disk: lines applied so far
    #[arg(long, conflicts_with = "json")]
    acks: bool,
    /// Write the report as one line of JSON to standard output
    #[arg(long)]
    json: bool,
}

fn batch_size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=OPERATIONS_MAX).contains(&n) => Ok(n),
        _ => Err(format!("expected a number from 1 to {OPERATIONS_MAX}")),
    }
}

/// One durable batch.
#[derive(serde::Serialize)]
struct Ack {
    seq: u64,
    lines: u64,
}

#[derive(serde::Serialize)]
struct Report {
    lines: u64,
    operations: u64,
    /// Users written or deleted, counted in each batch.
    changed: u64,
    batches: u64,
    seq: u64,
    seconds: f64,
}

/// Carries out operations.
///
/// # Errors
/// Names the line, and what was applied before it.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let progress = Arc::new(Progress::default());
    let input = input::open(args.file.as_deref(), &progress)?;
    cancel_on_signals(&progress)?;
    store::write_or_make(&args.store, ui, |store| {
        progress.set_phase("applying");
        let applied = watch(ui, &progress, || apply(args, store, input, &progress))?;
        show(&applied, started, args, ui)?;
        Ok(Outcome::Done)
    })
}

fn apply(args: &Args, store: &Store, input: Input, progress: &Arc<Progress>) -> Result<Applied, Failure> {
    let mut lines = Lines::open(input, progress)?;
    Batches::new(store, progress, Cut::Operations(args.batch)).run(
        &mut lines,
        |line| line.operation(),
        |applied| if args.acks { ui::print_json(&Ack { seq: applied.seq, lines: applied.lines }) } else { Ok(()) },
    )
}

fn show(applied: &Applied, started: Instant, args: &Args, ui: &Ui) -> Result<(), Failure> {
    let rate = Rate::of(applied.operations, started);
    let &Applied { lines, operations, changed, batches, seq } = applied;
    let text = format!(
        "applied {} operations in {} {}, {} users changed, in {:.2} s: seq {seq}",
        human_count(operations),
        human_count(batches),
        if batches == 1 { "batch" } else { "batches" },
        human_count(changed),
        rate.seconds,
    );
    ui.report(args.json, &Report { lines, operations, changed, batches, seq, seconds: rate.seconds }, &text)
}
