//! `headcount export` for other systems' importers.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use headcount::{Compression, Destination, Format as Own, Progress, Written};
use headcount_import::{Format, Handover, HandoverError, HandoverReport};

use super::{Args, left_out, left_out_text, refuse_terminal};
use crate::failure::{Failure, Outcome};
use crate::interrupt::cancel_on_signals;
use crate::output::{SharedTarget, Target, is_same_place};
use crate::progress::{Rate, watch};
use crate::size::{human_bytes, human_count};
use crate::store;
use crate::ui::{self, Ui};

/// Providers and reasons that are listed for human readers.
const SHOWN: usize = 12;

/// Writes the users of a store for another system: to the file, whose name asks for a format of ours perhaps, or to
/// standard output.
///
/// # Errors
/// When the store cannot be read or the output not be written, and when some of it has no place there; a FILE that stood
/// there before is then as it was.
pub(super) fn run(
    args: &Args,
    format: Format,
    (file, named): (Option<&Path>, Option<Own>),
    compression: Option<Compression>,
    ui: &Ui,
) -> Result<Outcome, Failure> {
    refuse(args, format)?;
    if args.rejects.is_some() && is_same_place(args.rejects.as_deref(), file) {
        let to = file.map_or_else(|| "standard output".to_owned(), |file| file.display().to_string());
        let text = format!("--rejects would come to the same place as the users that are written: {to}");
        return Err(Failure::usage(text).hint("name another file for what is left out"));
    }
    if compression.is_some() && file.is_none() {
        refuse_terminal()?;
    }
    let started = Instant::now();
    let progress = Arc::new(Progress::default());
    let store = store::open(&args.store)?;
    cancel_on_signals(&progress)?;
    let snapshot = store.snapshot();
    let pending = left_out(&snapshot, args.include_pending, (args.limit, args.after.as_ref()));
    let left = args.rejects.as_deref().map(|path| Target::open(Some(path)).map(SharedTarget::new)).transpose()?;
    let mut buffered = left.clone().map(std::io::BufWriter::new);
    let handover = Handover::new(&snapshot, format)?
        .lines(named == Some(Own::Ndjson))?
        .limit(args.limit)
        .after(args.after.as_deref())
        .include_pending(args.include_pending)
        .allow_partial(args.allow_partial)
        .rejects(buffered.as_mut().map(|out| -> &mut dyn Write { out }))
        .progress(&progress);
    let (system, needs) = handover.system();
    let takes_pending = handover.takes_pending();
    let to = Destination::new(file.map(Path::to_path_buf))
        .compress(compression)
        .threads(args.threads.map(usize::from))
        .fsync(args.fsync);
    progress.set_phase("exporting");
    let mut placed = None;
    let fill = |out: &mut dyn Write| {
        let report = handover.run(out)?;
        // Before the file: a kill in between must not leave it in its place without them.
        left.map_or(Ok(()), |left| left.finish_first(args.fsync))?;
        placed = args.rejects.as_deref().filter(|left| *left != Path::new("-"));
        Ok::<_, Failure>(report)
    };
    let ended = watch(ui, &progress, || to.write(fill));
    match ended {
        Ok((report, written)) => {
            let whole = report.is_whole();
            Shown::new(&report, (Some(written), pending, takes_pending), started).show(args, system, ui)?;
            if !args.json {
                ui.note(&format!("for {system}: {needs} (docs/IMPORTING.md, \"Back again\")"));
            }
            Ok(if whole { Outcome::Done } else { Outcome::Rejected })
        }
        Err(failure) => {
            if let Some(HandoverError::Misfits { report, .. }) = failure.error.downcast_ref() {
                Shown::new(report, (None, pending, takes_pending), started).show(args, system, ui)?;
            }
            Err(match placed {
                Some(left) => hint_of_placed(failure, left),
                None => failure,
            })
        }
    }
}

/// Of an export that failed after what was left out had its name: the two are not of the same export.
fn hint_of_placed(failure: Failure, left: &Path) -> Failure {
    let left = left.display();
    let text = format!("{left} is of this export already, which is not there: export again, or remove it");
    let hint = failure.hint.as_ref().map_or_else(|| text.clone(), |hint| format!("{hint}; {text}"));
    failure.hint(hint)
}

/// Refuses options that mean nothing in other systems' files.
fn refuse(args: &Args, format: Format) -> Result<(), Failure> {
    let given = [
        (args.since.is_some(), "--since", "its importer takes users, and no deletions"),
        (args.fields.is_some(), "--fields", "its members are what its importer takes"),
        (args.manifest, "--manifest", "`headcount check` does not know it"),
        (args.csv_formula_guard, "--csv-formula-guard", "it is not CSV"),
        (args.call_id.is_some(), "--call-id", "it has no callId"),
        (args.time.is_some(), "--time", "it has no time"),
    ];
    match given.into_iter().find(|(is_given, ..)| *is_given) {
        Some((_, option, why)) => Err(Failure::usage(format!("{option} cannot be used with --format {format}: {why}"))),
        None => Ok(()),
    }
}

/// What was written, and what was not.
struct Shown<'r> {
    report: &'r HandoverReport,
    /// Unless it failed.
    written: Option<Written>,
    /// Pending users that were not asked for, where that is known.
    pending_left_out: Option<u64>,
    /// Whether the system would have them.
    takes_pending: bool,
    rate: Rate,
}

/// The same as JSON.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'r> {
    /// Whether the file was put in place.
    complete: bool,
    #[serde(flatten)]
    report: &'r HandoverReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_left_out: Option<u64>,
    bytes: Option<u64>,
    content_bytes: Option<u64>,
    seconds: f64,
    users_per_second: u64,
}

impl<'r> Shown<'r> {
    fn new(
        report: &'r HandoverReport,
        (written, pending_left_out, takes_pending): (Option<Written>, Option<u64>, bool),
        started: Instant,
    ) -> Self {
        Self { report, written, pending_left_out, takes_pending, rate: Rate::of(report.users, started) }
    }

    fn show(&self, args: &Args, system: &str, ui: &Ui) -> Result<(), Failure> {
        if args.json {
            let summary = Summary {
                complete: self.written.is_some(),
                report: self.report,
                pending_left_out: self.pending_left_out,
                bytes: self.written.map(|written| written.bytes),
                content_bytes: self.written.map(|written| written.content_bytes),
                seconds: self.rate.seconds,
                users_per_second: self.rate.users_per_second,
            };
            let to_file = args.output.as_deref().is_some_and(|path| path != Path::new("-"));
            if !to_file {
                return ui::say_json(&summary);
            }
            let done = self.written.map(|written| self.text(written, system));
            return ui::print_json(&summary).map_err(|failure| match done {
                Some(done) => failure.after(&done),
                None => failure,
            });
        }
        for example in &self.report.examples {
            ui.warning(&format!("no place in {system}: {example}"));
        }
        if let Some(written) = self.written {
            self.note_written(written, system, ui);
            let known = "--include-pending writes them too".to_owned();
            let what_then = if self.takes_pending { known } else { format!("{system} knows no pending users") };
            if let Some(pending) = left_out_text(self.pending_left_out, &what_then) {
                ui.note(&pending);
            }
        }
        self.note_left_out(ui);
        Ok(())
    }

    /// The counts in one line.
    fn text(&self, written: Written, system: &str) -> String {
        format!(
            "wrote {} users, {} identities for {system}, {} in {:.2} s: {} users/s",
            human_count(self.report.users),
            human_count(self.report.identities),
            human_bytes(written.bytes),
            self.rate.seconds,
            human_count(self.rate.users_per_second),
        )
    }

    fn note_written(&self, written: Written, system: &str, ui: &Ui) {
        let report = self.report;
        ui.note(&self.text(written, system));
        if report.pending_as_disabled > 0 {
            let pending = human_count(report.pending_as_disabled);
            ui.note(&format!("  {pending} pending users are written as disabled, and come back as registered ones"));
        }
        let renamed = report.providers.iter().filter_map(|p| p.written_as.as_ref().map(|name| (p, name)));
        for (provider, name) in renamed.take(SHOWN) {
            let identities = human_count(provider.identities);
            let provider = provider.provider.escape_debug();
            ui.note(&format!("  {identities} identities of {provider} are written as {name}"));
        }
    }

    fn note_left_out(&self, ui: &Ui) {
        let report = self.report;
        for (reason, users) in &report.users_left_out_by_reason {
            ui.note(&format!("  {} users were left out: {reason}", human_count(*users)));
        }
        let lost = &report.identities_left_out_by_provider;
        for left in lost.iter().take(SHOWN) {
            let identities = human_count(left.identities);
            let provider = left.provider.escape_debug();
            ui.note(&format!("  {identities} identities of {provider} were left out: {}", left.reason));
        }
        if let Some(more) = lost.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            ui.note(&format!("  and {more} more such lines; --json lists all"));
        }
    }
}
