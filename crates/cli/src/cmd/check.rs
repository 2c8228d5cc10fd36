//! `headcount check`

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use headcount::{CheckReport, Manifest, ManifestError, Progress, ResumeRecord, check_file};

use crate::failure::{Failure, Kind, Outcome};
use crate::interrupt::cancel_on_signals;
use crate::progress::{Rate, watch};
use crate::size::{human_bytes, human_count};
use crate::ui::{self, Ui};

const EXAMPLES: &str = "\
With a manifest (`headcount export --manifest`): FILE is whole and unchanged, by length and digest,
and holds the users and identities that the manifest states. Without one: its structure, the order
of its UIDs, that it ends where a record does, and the counts in JSON; what cannot be told without
one is listed. FILE may be compressed with gzip or zstd. Exit code 5 when something is wrong.

Examples:
  headcount check users.json
  headcount check backup/users.csv.gz --manifest users.csv.gz.manifest.json
  headcount check users.ndjson --json";

/// Options of `headcount check`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The exported file: JSON, CSV or NDJSON
    file: PathBuf,
    /// Its manifest [default: FILE.manifest.json, if it is there]
    #[arg(long, value_name = "MANIFEST")]
    manifest: Option<PathBuf>,
    /// Write the report as one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// Nothing is wrong, as far as could be checked.
    ok: bool,
    /// The manifest that it was checked by.
    manifest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(flatten)]
    found: Option<Found>,
    /// What could not be checked.
    unchecked: Vec<String>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    format: String,
    compression: Option<&'static str>,
    fields: Option<String>,
    users: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<u64>,
    identities: u64,
    bytes: u64,
    content_bytes: u64,
    first_uid: Option<String>,
    last_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest_algorithm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    seconds: f64,
}

impl Found {
    fn new(report: &CheckReport, seconds: f64) -> Self {
        Self {
            format: report.format.to_string(),
            compression: report.compression,
            fields: report.fields.map(|fields| fields.to_string()),
            users: report.users,
            deleted: report.deleted,
            identities: report.identities,
            bytes: report.bytes,
            content_bytes: report.content_bytes,
            first_uid: report.first_uid.clone(),
            last_uid: report.last_uid.clone(),
            digest_algorithm: report.digest.as_ref().map(|digest| digest.algorithm.as_str()),
            digest: report.digest.as_ref().map(|digest| digest.hex.clone()),
            seconds,
        }
    }
}

/// Checks an exported file.
///
/// # Errors
/// When it is not whole, was changed, or cannot be read.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let progress = Arc::new(Progress::default());
    cancel_on_signals(&progress)?;
    let sidecar = sidecar(args)?;
    let by = sidecar.as_ref().map(|path| path.display().to_string());
    let checked = match sidecar.map(Manifest::read).transpose() {
        Ok(manifest) => {
            progress.set_phase("checking");
            let check = || check_file(&args.file, manifest.as_ref(), Some(&progress));
            watch(ui, &progress, check).map_err(Failure::from)
        }
        Err(error) => Err(error.into()),
    };
    match checked {
        Ok(report) => {
            show(&report, by, args, started)?;
            Ok(Outcome::Done)
        }
        Err(failure) => {
            if args.json && failure.kind == Kind::Damage {
                let problem = Some(failure.to_string());
                ui::print_json(&Report { ok: false, manifest: by, problem, found: None, unchecked: Vec::new() })?;
            }
            Err(between(failure, &args.file))
        }
    }
}

/// The manifest to check by: the one that is given, or the one beside the file.
fn sidecar(args: &Args) -> Result<Option<PathBuf>, Failure> {
    if args.manifest.is_some() {
        return Ok(args.manifest.clone());
    }
    let beside = Manifest::path_of(&args.file)?;
    match beside.try_exists() {
        Ok(there) => Ok(there.then_some(beside)),
        // Nothing can have a name that is too long.
        Err(error) if error.kind() == io::ErrorKind::InvalidFilename => Ok(None),
        // Without it, less would be checked than whoever put it there expects.
        Err(source) => Err(ManifestError::Io { path: beside, source }.into()),
    }
}

/// A file that does not fit its manifest may be the one that an export was about to replace.
fn between(failure: Failure, file: &Path) -> Failure {
    if failure.kind != Kind::Damage || ResumeRecord::read(file).is_err() {
        return failure;
    }
    failure.hint(format!(
        "an export to this file broke off, perhaps between its manifest and its name: `headcount export STORE --resume \
         {}` completes it",
        file.display()
    ))
}

fn show(report: &CheckReport, by: Option<String>, args: &Args, started: Instant) -> Result<(), Failure> {
    let seconds = Rate::of(report.users.unwrap_or_default(), started).seconds;
    let unchecked: Vec<String> = report.unchecked.iter().map(ToString::to_string).collect();
    if args.json {
        let found = Some(Found::new(report, seconds));
        return ui::print_json(&Report { ok: true, manifest: by, problem: None, found, unchecked });
    }
    let users = report.users.map_or_else(|| "users not counted".to_owned(), |n| format!("{} users", human_count(n)));
    let deleted = report.deleted.map_or_else(String::new, |n| format!(", {} deleted", human_count(n)));
    let packed = report.compression.map_or_else(String::new, |name| format!(", {name}"));
    let what = format!(
        "{users}{deleted}, {} identities, {} of {}{packed}, in {seconds:.2} s",
        human_count(report.identities),
        human_bytes(report.bytes),
        report.format
    );
    let verdict = match &report.digest {
        Some(digest) => format!("whole and unchanged: {what}; {} {}", digest.algorithm, digest.hex),
        None => format!("nothing wrong was found: {what}"),
    };
    ui::print_line(&verdict)?;
    for what in &unchecked {
        ui::print_line(&format!("not checked: {what}"))?;
    }
    Ok(())
}
