//! `headcount export`

mod back;

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::ValueEnum;
use headcount::{
    Compression, CompressionError, DigestAlgorithm, Export, ExportError, Fields, Format, Manifest, Progress,
    ResumeRecord, Snapshot, Source as _, Summary,
};
use headcount_server::shell_quoted;

use crate::failure::{Failure, Outcome};
use crate::interrupt::cancel_on_signals;
use crate::output::expect_outside_stores;
use crate::progress::{Rate, watch};
use crate::serving::Serving;
use crate::size::{human_bytes, human_count};
use crate::store;
use crate::ui::{self, Ui};

const EXAMPLES: &str = "\
Users are written in UID order, from one point in time. FILE is replaced only by a whole export.
The same store and options give the same bytes. Fields are uid, provider, providerUID and status;
with --include-pending and status an export holds all there is in a store.
The summary is written to standard error; with --json as one line: to standard output when the users
go to FILE, else to standard error.

What is written of FILE before it is whole is in FILE.partial. When an export breaks off, it stays;
--resume continues it, with the options that it was begun with, as long as nothing was written to
the store since. --manifest writes FILE.manifest.json, by which `headcount check` tells FILE whole
and unchanged.

--compress packs what is written, with all threads, into gzip members or Zstandard frames of 1 MiB
of users each, which gzip, zstd and `headcount import` read as one. Level 1 unless given, as in
gzip:6 (1 to 9) or zstd:9 (-7 to 19).

auth0, firebase, keycloak and kratos are files for those systems' own importers, and for
`headcount import`; auth0 and kratos one object a line when FILE ends in .ndjson. What has no place
there is listed, and nothing is written; --allow-partial writes the rest (exit code 3), --rejects
keeps what was left out. docs/IMPORTING.md says under \"Back again\" what each system then needs.

Examples:
  headcount export site.hc > users.json
  headcount export site.hc -o users.csv --fields uid,provider,providerUID,status --include-pending
  headcount export site.hc --format ndjson --limit 1000 --after 6625ID
  headcount export site.hc --since 4711 -o changes.json
  headcount export site.hc -o users.ndjson --manifest
  headcount export site.hc -o users.csv.gz
  headcount export site.hc --compress zstd:3 > users.json.zst
  headcount export site.hc --resume users.ndjson
  headcount export site.hc --format ndjson | wc -l
  headcount export site.hc --format keycloak -o users.json
  headcount export site.hc --format firebase -o users.json --allow-partial --rejects left.ndjson";

/// Options of `headcount export`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// Write to FILE instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Format, ours or another system's [default: by FILE's extension (.json, .csv, .ndjson, .jsonl, before .gz or .zst),
    /// or json]
    #[arg(long, value_enum)]
    format: Option<FormatArg>,
    /// Comma list of uid, provider, providerUID, status [default: uid,provider,providerUID]
    #[arg(long, value_name = "LIST")]
    fields: Option<Fields>,
    /// At most N users
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Only users whose UID sorts after this one
    #[arg(long, value_name = "UID")]
    after: Option<String>,
    /// Only what changed after this seq, and who is gone since: `deletedUIDs` and `seq` in JSON, lines with "deleted" in
    /// NDJSON, a column `change` in CSV
    #[arg(long, value_name = "SEQ", conflicts_with_all = ["limit", "after"])]
    since: Option<u64>,
    /// Pending users too: without it they are left out
    #[arg(long)]
    include_pending: bool,
    /// Put ' before CSV values that a spreadsheet would take for a formula; such a file is unfit for import
    #[arg(long)]
    csv_formula_guard: bool,
    /// callId of the JSON: 32 hexadecimal digits [default: from the snapshot and the options]
    #[arg(long, value_name = "HEX", value_parser = call_id)]
    call_id: Option<String>,
    /// time of the JSON, such as 2015-03-22T11:42:25.943Z [default: that of the snapshot]
    #[arg(long, value_name = "T", value_parser = time)]
    time: Option<String>,
    /// Continue the export to FILE that broke off, with the options that it was begun with
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Write FILE.manifest.json: counts, length and digest of FILE, options, seq
    #[arg(long)]
    manifest: bool,
    /// Digest of the manifest [default: blake3]
    #[arg(long, value_enum, value_name = "NAME", requires = "manifest")]
    digest: Option<DigestArg>,
    /// Compress with gzip or zstd, or none [default: by FILE's extension (.gz, .zst), or none]
    #[arg(long, value_name = "NAME[:LEVEL]", value_parser = compress)]
    compress: Option<Compress>,
    /// Threads that render, or compress [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Wait until FILE is on the disk
    #[arg(long)]
    fsync: bool,
    /// Of auth0, firebase, keycloak, kratos: leave out what has no place there (exit code 3), instead of failing
    #[arg(long)]
    allow_partial: bool,
    /// Write what was left out to FILE, as NDJSON that can be imported
    #[arg(long, value_name = "FILE", requires = "allow_partial")]
    rejects: Option<PathBuf>,
    /// Write the summary as one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    Json,
    Csv,
    #[value(alias = "jsonl")]
    Ndjson,
    Auth0,
    Firebase,
    Keycloak,
    Kratos,
}

/// A format of ours, or another system's by the name that imports have for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Own(Format),
    Other(headcount_import::Format),
}

impl From<FormatArg> for Wanted {
    fn from(format: FormatArg) -> Self {
        use headcount_import::Format as Other;
        match format {
            FormatArg::Json => Self::Own(Format::Json),
            FormatArg::Csv => Self::Own(Format::Csv),
            FormatArg::Ndjson => Self::Own(Format::Ndjson),
            FormatArg::Auth0 => Self::Other(Other::Auth0),
            FormatArg::Firebase => Self::Other(Other::Firebase),
            FormatArg::Keycloak => Self::Other(Other::Keycloak),
            FormatArg::Kratos => Self::Other(Other::Kratos),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(format) => format.fmt(f),
            Self::Other(format) => format.fmt(f),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DigestArg {
    Blake3,
    Sha256,
}

impl From<DigestArg> for DigestAlgorithm {
    fn from(digest: DigestArg) -> Self {
        match digest {
            DigestArg::Blake3 => Self::Blake3,
            DigestArg::Sha256 => Self::Sha256,
        }
    }
}

/// A compression, or none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Compress(Option<Compression>);

fn compress(text: &str) -> Result<Compress, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(Compress(None));
    }
    text.parse()
        .map(|compression| Compress(Some(compression)))
        .map_err(|error: CompressionError| format!("{error}, or none"))
}

/// What FILE's name asks for: the format, and the compression.
fn of_name(file: &Path) -> (Option<Format>, Option<Compression>) {
    let compression = Compression::of_path(file);
    let plain = if compression.is_some() { file.with_extension("") } else { file.to_path_buf() };
    (Format::of_path(&plain), compression)
}

fn call_id(text: &str) -> Result<String, String> {
    if text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text.to_owned());
    }
    Err("expected 32 hexadecimal digits".to_owned())
}

/// A time in the one form that exports have.
fn time(text: &str) -> Result<String, String> {
    const FORM: &str = "0000-00-00T00:00:00.000Z";
    let fits = |(byte, form): (u8, u8)| if form == b'0' { byte.is_ascii_digit() } else { byte == form };
    let is_form = text.len() == FORM.len() && text.bytes().zip(FORM.bytes()).all(fits);
    let number = |at: Range<usize>| text.get(at).and_then(|digits| digits.parse().ok()).unwrap_or(u32::MAX);
    let year: u32 = number(0..4);
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match number(5..7) {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    if is_form
        && (1..=days).contains(&number(8..10))
        && number(11..13) < 24
        && number(14..16) < 60
        && number(17..19) < 60
    {
        return Ok(text.to_owned());
    }
    Err("expected a time in UTC with milliseconds, such as 2015-03-22T11:42:25.943Z".to_owned())
}

/// Writes the users of a store.
///
/// # Errors
/// When the store cannot be read or the output not be written; a FILE that stood there before is then as it was.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let file = args.output.as_deref().filter(|path| *path != Path::new("-"));
    file.or(args.resume.as_deref()).map_or(Ok(()), expect_outside_stores)?;
    let record = args.resume.as_deref().map(|path| begun(args, path)).transpose()?;
    let (named, packed) = file.map(of_name).unwrap_or_default();
    let compression = args.compress.map_or(packed, |Compress(given)| given);
    let format = match args.format.map(Wanted::from) {
        Some(Wanted::Other(other)) => return back::run(args, other, (file, named), compression, ui),
        Some(Wanted::Own(own)) => own,
        None => named.unwrap_or_default(),
    };
    if args.allow_partial {
        return Err(Failure::usage(format!(
            "everything has its place in {format}: --allow-partial is for other systems"
        )));
    }
    if record.is_none() && args.csv_formula_guard && format != Format::Csv {
        return Err(Failure::usage("--csv-formula-guard is for --format csv alone"));
    }
    if args.manifest && record.is_none() && file.is_none() {
        return Err(Failure::usage("--manifest is of a file: give -o FILE too"));
    }
    if compression.is_some() && file.is_none() && record.is_none() {
        refuse_terminal()?;
    }
    let file = args.resume.as_deref().or(file);
    let progress = Arc::new(Progress::default());
    let store = store::open_or_ask(&args.store, |serving| instead(args, format, compression, serving))?;
    cancel_on_signals(&progress)?;
    let snapshot = store.snapshot();
    let export = export(args, &snapshot, format, &progress).compress(compression);
    progress.set_phase("exporting");
    let summary = watch(ui, &progress, || match (file, &record) {
        (Some(path), Some(_)) => export.resume_file(path).map_err(|error| stays(error.into(), args, path)),
        (Some(path), None) => export.write_file(path).map_err(|error| stays(error.into(), args, path)),
        (None, _) => write_stdout(&export, format),
    })?;
    let changes = record.as_ref().map_or(args.since.is_some(), |record| record.since.is_some());
    let pending = match &record {
        Some(begun) => left_out(&snapshot, begun.include_pending || changes, (begun.limit, begun.after.as_ref())),
        None => left_out(&snapshot, args.include_pending || changes, (args.limit, args.after.as_ref())),
    };
    let packed = record.map_or(compression.is_some(), |record| record.compression.is_some());
    let report = Report { pending_left_out: pending, ..Report::new(&summary, changes, packed, started) };
    report.show(args.json, file.is_some(), ui)?;
    if let (Some(digest), Some(path), false) = (&summary.digest, file, args.json) {
        let manifest = Manifest::path_of(path)?;
        ui.note(&format!("manifest {}: {} {}", manifest.display(), digest.algorithm, digest.hex));
    }
    Ok(Outcome::Done)
}

/// Pending users that are not in an export of all users; how many a page leaves out takes a look at them. Changes list them
/// as gone.
fn left_out(snapshot: &Snapshot, told: bool, page: (Option<u64>, Option<&String>)) -> Option<u64> {
    (!told && page == (None, None)).then(|| snapshot.totals().pending.users)
}

/// How that is said, where there are any.
fn left_out_text(pending: Option<u64>, what_then: &str) -> Option<String> {
    let n = pending.filter(|n| *n > 0)?;
    Some(format!("  {} pending users were left out: {what_then}", human_count(n)))
}

/// Compressed users are not for reading.
fn refuse_terminal() -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        return Err(Failure::usage("compressed users are not for a terminal: give -o FILE, or send them into a pipe"));
    }
    Ok(())
}

/// What a server that has the store does in place of an export, and what it does not.
fn instead(args: &Args, format: Format, compression: Option<Compression>, serving: &Serving) -> String {
    if args.resume.is_some() {
        return format!("an export that broke off goes on from the store alone; {}", serving.stop());
    }
    let call = serving.call(&request(args, format));
    let left_out = [
        (args.csv_formula_guard, "--csv-formula-guard"),
        (args.call_id.is_some(), "--call-id"),
        (args.time.is_some(), "--time"),
        (args.manifest, "--manifest"),
        (compression.is_some(), "--compress"),
        (args.fsync, "--fsync"),
    ];
    let left_out: Vec<_> = left_out.iter().filter(|(given, _)| *given).map(|(_, option)| *option).collect();
    if left_out.is_empty() {
        return format!("ask that: {call}");
    }
    format!("ask that: {call} (without {}, which no call has; {})", left_out.join(", "), serving.stop())
}

/// What a server that has the store is asked for the same users.
fn request(args: &Args, format: Format) -> String {
    let mut words = vec![format!("format={format}")];
    words.extend(args.fields.as_ref().map(|fields| format!("fields={fields}")));
    words.extend(args.limit.map(|limit| format!("limit={limit}")));
    words.extend(args.after.as_ref().map(|uid| shell_quoted(Path::new(&format!("after={uid}")))));
    words.extend(args.since.map(|seq| format!("since={seq}")));
    words.extend(args.include_pending.then(|| "includPendingUsers=true".to_owned()));
    // Answers are not compressed, and not to be named as if they were.
    let plain = |file: &Path| if Compression::of_path(file).is_some() { file.with_extension("") } else { file.into() };
    words.extend(args.output.as_deref().map(|file| format!("-o {}", shell_quoted(&plain(file)))));
    words.join(" ")
}

/// Says how an export that broke off is continued, where it can be.
fn stays(failure: Failure, args: &Args, file: &Path) -> Failure {
    let is_left_alone = match failure.error.downcast_ref() {
        // What lies there now is not of this export.
        Some(
            ExportError::Resume(_) | ExportError::Busy { .. } | ExportError::Taken { .. } | ExportError::Settings(_),
        ) => true,
        Some(error) => error.is_damage(),
        None => false,
    };
    if is_left_alone || ResumeRecord::read(file).is_err() {
        return failure;
    }
    let store = args.store.display();
    failure.hint(format!(
        "what was written stays: `headcount export {store} --resume {}` goes on from there, as long as nothing is \
         written to the store",
        file.display()
    ))
}

/// What the export to `file` that broke off was begun with.
///
/// # Errors
/// When that is not known, or the command line says something else.
fn begun(args: &Args, file: &Path) -> Result<ResumeRecord, Failure> {
    let record = ResumeRecord::read(file)?;
    let other = contradictions(args, file, &record);
    if other.is_empty() {
        return Ok(record);
    }
    let text = format!("not what the export that broke off was begun with: {}", other.join(", "));
    Err(Failure::usage(text).hint("--resume FILE needs no other options; without --resume the export starts anew"))
}

/// The options that say something else than the record.
fn contradictions(args: &Args, file: &Path, record: &ResumeRecord) -> Vec<String> {
    let mut found = Vec::new();
    let mut given = |option: &str, given: Option<String>, begun: Option<String>| {
        if given.is_some() && given != begun {
            let begun = begun.map_or_else(|| "was not given".to_owned(), |begun| format!("was {begun}"));
            found.push(format!("--{option} {} ({begun})", given.unwrap_or_default()).replace(" yes ", " "));
        }
    };
    let yes = |on: bool| on.then(|| "yes".to_owned());
    let path = |path: &Path| path.display().to_string();
    given("output", args.output.as_deref().map(path), Some(path(file)));
    given("format", args.format.map(|f| Wanted::from(f).to_string()), Some(record.format.to_string()));
    given("fields", args.fields.map(|f| f.to_string()), Some(record.fields.to_string()));
    given("limit", args.limit.map(|n| n.to_string()), record.limit.map(|n| n.to_string()));
    given("after", args.after.clone(), record.after.clone());
    given("since", args.since.map(|n| n.to_string()), record.since.map(|n| n.to_string()));
    given("include-pending", yes(args.include_pending), yes(record.include_pending));
    given("csv-formula-guard", yes(args.csv_formula_guard), yes(record.formula_guard));
    given("call-id", args.call_id.clone(), Some(record.call_id.clone()));
    given("time", args.time.clone(), Some(record.time.clone()));
    let none = || "none".to_owned();
    let packed = |compression: Option<Compression>| compression.map_or_else(none, |c| c.to_string());
    given("compress", args.compress.map(|Compress(given)| packed(given)), Some(packed(record.compression)));
    given("manifest", yes(args.manifest), yes(record.manifest.is_some()));
    let digest = args.digest.map(|d| DigestAlgorithm::from(d).to_string());
    given("digest", digest, record.manifest.map(|d| d.to_string()));
    found
}

fn export(args: &Args, snapshot: &Snapshot, format: Format, progress: &Arc<Progress>) -> Export<Snapshot> {
    let digest = args.manifest.then(|| args.digest.map(DigestAlgorithm::from).unwrap_or_default());
    let mut export = Export::new(snapshot)
        .format(format)
        .fields(args.fields.unwrap_or_default())
        .limit(args.limit)
        .after(args.after.as_deref())
        .since(args.since)
        .include_pending(args.include_pending)
        .formula_guard(args.csv_formula_guard)
        .manifest(digest)
        .threads(args.threads.map(usize::from))
        .fsync(args.fsync)
        .progress(Arc::clone(progress));
    if let Some(call_id) = &args.call_id {
        export = export.call_id(call_id);
    }
    if let Some(time) = &args.time {
        export = export.time(time);
    }
    export
}

/// Writes to standard output; a terminal gets a line end after the JSON, which has none of its own.
///
/// # Errors
/// Those of the export.
pub(crate) fn write_stdout(export: &Export<Snapshot>, format: Format) -> Result<Summary, Failure> {
    let summary = export.write_stdout()?;
    if format == Format::Json && io::stdout().is_terminal() {
        ui::print_line("")?;
    }
    Ok(summary)
}

/// What an export wrote.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'s> {
    users: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<u64>,
    /// Pending users that were not asked for, where they are known without a look at them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_left_out: Option<u64>,
    identities: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_bytes: Option<u64>,
    seconds: f64,
    users_per_second: u64,
    seq: u64,
    first_uid: Option<&'s str>,
    last_uid: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest_algorithm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'s str>,
}

impl<'s> Report<'s> {
    fn new(summary: &'s Summary, changes: bool, packed: bool, started: Instant) -> Self {
        let rate = Rate::of(summary.users, started);
        Self {
            users: summary.users,
            deleted: changes.then_some(summary.deleted),
            pending_left_out: None,
            identities: summary.identities,
            bytes: summary.bytes,
            content_bytes: packed.then_some(summary.content_bytes),
            seconds: rate.seconds,
            users_per_second: rate.users_per_second,
            seq: summary.seq,
            first_uid: summary.first_uid.as_deref(),
            last_uid: summary.last_uid.as_deref(),
            digest_algorithm: summary.digest.as_ref().map(|digest| digest.algorithm.as_str()),
            digest: summary.digest.as_ref().map(|digest| digest.hex.as_str()),
        }
    }

    fn show(&self, json: bool, to_file: bool, ui: &Ui) -> Result<(), Failure> {
        if json && !to_file {
            return ui::say_json(self);
        }
        let deleted = self.deleted.map_or_else(String::new, |n| format!(", {} deleted", human_count(n)));
        let content = self.content_bytes.map_or_else(String::new, |n| format!(" (from {})", human_bytes(n)));
        let mut text = format!(
            "exported {} users{deleted}, {} identities, {}{content} in {:.2} s: {} users/s",
            human_count(self.users),
            human_count(self.identities),
            human_bytes(self.bytes),
            self.seconds,
            human_count(self.users_per_second),
        );
        if let Some(pending) = left_out_text(self.pending_left_out, "--include-pending writes them too") {
            text.push('\n');
            text.push_str(&pending);
        }
        ui.report(json, self, &text)
    }
}
