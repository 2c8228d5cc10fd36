//! `headcount import`

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use headcount::{Existing, LoadOptions, OnConflict, OnDuplicate, Progress};
use headcount_import::{Format, Import, ImportError, Input, Mapping, ProviderNames, Report};

use crate::failure::{Failure, Kind, Outcome};
use crate::input::{self, STDIN};
use crate::interrupt::cancel_on_signals;
use crate::output::{RejectFiles, is_same_place};
use crate::progress::{Rate, watch};
use crate::size::{human_count, parse_size};
use crate::store::Destination;
use crate::ui::{self, Ui};

const EXAMPLES: &str = "\
All FILEs are one load: either all users are in the store afterwards, or the store is as it was.
Files may be compressed with gzip or zstd. In CSV, the rows of one UID are one user.
Formats are told by content; when none or several fit, give --format. A directory is read as
Keycloak's.
docs/IMPORTING.md says for each system how to get the files out of it, and what they lose.
The summary is written to standard error; with --json, as one line to standard output.

Examples:
  headcount import site.hc users.json
  headcount import site.hc part1.csv.gz part2.csv.gz --on-duplicate merge
  headcount import site.hc users.ndjson --skip-invalid --rejects rejected.ndjson
  headcount import site.hc users.ndjson --dry-run
  headcount import site.hc realm.json --local-identity site --provider-names gigya
  headcount import site.hc auth_users.csv auth_identities.csv
  headcount import site.hc links.csv --map uid=user --map provider=idp --map providerUID=sub
  zcat users.ndjson.gz | headcount import site.hc -";

/// Options of `headcount import`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store; made when it is not there
    store: PathBuf,
    /// Files of users, and directories of Keycloak; `-`, or none when it is not a terminal: standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Format of the files; auto: by content
    #[arg(long, value_name = "FORMAT", default_value = "auto", value_parser = formats())]
    format: Format,
    /// Where UIDs and identities are in files that no format fits: NAME is uid, identities, provider, providerUID or
    /// records; PLACE a JSON Pointer or the name of a CSV column, and `=TEXT` that text itself
    #[arg(long, value_name = "NAME=PLACE")]
    map: Vec<String>,
    /// Which member or column is the UID, where there are several that can be, such as sub or Username
    #[arg(long, value_name = "NAME", conflicts_with = "map")]
    uid: Option<String>,
    /// Give users without identities one of this provider, with the UID as providerUID
    #[arg(long, value_name = "PROVIDER")]
    local_identity: Option<String>,
    /// Names of providers: kept as they are, or known spellings such as google-oauth2 and google.com brought to Gigya's
    #[arg(long, value_enum, value_name = "NAMES", default_value_t = NamesArg::Kept)]
    provider_names: NamesArg,
    /// Load sources that are known not to be complete, such as pages without the last one
    #[arg(long)]
    allow_partial: bool,
    /// Read and check everything, but change nothing
    #[arg(long)]
    dry_run: bool,
    /// Load the valid records and leave out the others (exit code 3), instead of loading nothing
    #[arg(long)]
    skip_invalid: bool,
    /// Write the records that were left out to FILE, in their format, to be mended and imported again by the command that
    /// is shown then; FILE is replaced, and empty when none was left out. Those of files of another layout stand beside it:
    /// for links.csv, r.csv becomes r.links.csv, which must not be there yet
    #[arg(long, value_name = "FILE", requires = "skip_invalid")]
    rejects: Option<PathBuf>,
    /// When the files hold a UID twice: refuse, unite the identities, or take the last
    #[arg(long, value_enum, value_name = "DO", default_value_t = DuplicateArg::Error)]
    on_duplicate: DuplicateArg,
    /// When two users claim an identity: refuse, or leave it with the first
    #[arg(long, value_enum, value_name = "DO", default_value_t = ConflictArg::Error)]
    on_conflict: ConflictArg,
    /// When a user is in the store already: replace it, unite the identities, or refuse [default: replace]
    #[arg(long, value_enum, value_name = "DO")]
    existing: Option<ExistingArg>,
    /// Memory for sorting, such as 512MiB; more of the load is sorted on disk
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = parse_size)]
    memory: u64,
    /// Threads that parse and sort [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Write the summary as one line of JSON to standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum NamesArg {
    Kept,
    Gigya,
}

/// Reads the names of formats, and lists them.
fn formats() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::as_str)).try_map(|name| name.parse::<Format>())
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DuplicateArg {
    Error,
    Merge,
    Last,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ConflictArg {
    Error,
    Ignore,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ExistingArg {
    Replace,
    Merge,
    Error,
}

/// Loads users.
///
/// # Errors
/// Nothing was loaded then, and a store that was not there before is not there now.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    refuse_swapped(args)?;
    if args.json && args.rejects.is_some() && is_same_place(args.rejects.as_deref(), None) {
        return Err(Failure::usage("--rejects and the summary of --json would both come to standard output")
            .hint("name another file for the rejected records"));
    }
    let mapping = mapping(args)?;
    let started = Instant::now();
    let progress = Arc::new(Progress::default());
    let inputs = inputs(args, &progress)?;
    let rejects = args.rejects.as_deref().map(|path| RejectFiles::open(path, &args.files)).transpose()?;
    cancel_on_signals(&progress)?;

    let destination = Destination::open(&args.store, args.dry_run, ui)?;
    let mut import = Import::new(&destination.store)
        .format(args.format)
        .mapping(mapping)
        .uid(args.uid.clone())
        .local_identity(args.local_identity.clone())
        .provider_names(match args.provider_names {
            NamesArg::Kept => ProviderNames::Kept,
            NamesArg::Gigya => ProviderNames::Gigya,
        })
        .allow_partial(args.allow_partial)
        .options(options(args))
        .progress(Arc::clone(&progress))
        .rejects(rejects.as_ref().map(RejectFiles::first));
    if let Some(files) = rejects.clone().filter(RejectFiles::has_others) {
        import = import.rejects_apart(move |input| files.apart(input));
    }
    for input in inputs {
        import = import.input(input);
    }
    let report = match watch(ui, &progress, || import.run()) {
        Ok(report) => report,
        Err(error) => {
            destination.undo();
            return Err(if progress.is_cancelled() {
                Failure::new(Kind::Cancelled, ImportError::Cancelled)
            } else {
                Failure::from(error)
            });
        }
    };
    destination.store.close()?;
    let written = rejects.map_or_else(|| Ok(Vec::new()), |files| files.finish())?;
    Summary::new(&report, args, started).show(args, ui)?;
    if !args.json && !args.dry_run && !written.is_empty() {
        ui.note(&format!("  mend and import what was rejected: {}", mending(args, &report, &written)));
    }
    Ok(if report.rejected > 0 { Outcome::Rejected } else { Outcome::Done })
}

/// The command that imports the rejected records once they are mended: read as they were, and loaded by the same rules, so
/// that nothing goes that was there or was loaded of their users.
fn mending(args: &Args, report: &Report, files: &[PathBuf]) -> String {
    let mut words = vec!["headcount".to_owned(), "import".to_owned(), quoted(&args.store.display().to_string())];
    words.extend(files.iter().map(|file| quoted(&file.display().to_string())));
    let mut option = |name: &str, value: &str| words.extend([format!("--{name}"), quoted(value)]);
    let mut formats = report.files.iter().map(|file| match file.format {
        // Users of its documents are rejected one a line.
        Format::GigyaJson => Format::Ndjson,
        format => format,
    });
    let first = formats.next().filter(|first| *first != Format::Map && formats.all(|format| format == *first));
    if let Some(format) = first {
        option("format", format.as_str());
    }
    // Records are rejected one a line, without the document around them.
    args.map.iter().filter(|pair| !pair.starts_with("records=")).for_each(|pair| option("map", pair));
    args.uid.iter().for_each(|uid| option("uid", uid));
    args.local_identity.iter().for_each(|provider| option("local-identity", provider));
    if matches!(args.provider_names, NamesArg::Gigya) {
        option("provider-names", "gigya");
    }
    match args.on_duplicate {
        DuplicateArg::Error => {}
        DuplicateArg::Merge => option("on-duplicate", "merge"),
        DuplicateArg::Last => option("on-duplicate", "last"),
    }
    if matches!(args.on_conflict, ConflictArg::Ignore) {
        option("on-conflict", "ignore");
    }
    match args.existing {
        // A part of the user may have been loaded, and is in the store by now.
        _ if report.parts > 0 || matches!(args.on_duplicate, DuplicateArg::Merge) => option("existing", "merge"),
        Some(ExistingArg::Replace) => {}
        Some(ExistingArg::Merge) => option("existing", "merge"),
        // Another record of the UID may have been loaded, and counts: what was rejected is a duplicate of it, or came before.
        Some(ExistingArg::Error) | None => option("existing", "error"),
    }
    words.join(" ")
}

/// A word of a command line as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// `import users.json STORE` is an easy mistake.
fn refuse_swapped(args: &Args) -> Result<(), Failure> {
    if !args.store.is_file() {
        return Ok(());
    }
    let store = args.files.iter().find(|file| !file.is_file() && *file != Path::new(STDIN));
    let store = store.cloned().unwrap_or_else(|| "STORE".into());
    Err(Failure::usage(format!("{} is a file, and the first argument is the store", args.store.display()))
        .hint(format!("are the arguments swapped? headcount import {} {}", store.display(), args.store.display())))
}

fn inputs(args: &Args, progress: &Arc<Progress>) -> Result<Vec<Input>, Failure> {
    let stdin = Path::new(STDIN);
    let mut files: Vec<&Path> = args.files.iter().map(PathBuf::as_path).collect();
    if files.is_empty() {
        if io::stdin().is_terminal() {
            return Err(Failure::usage("no FILE is given, and standard input is a terminal")
                .hint("name files of users, or give them on standard input; see `headcount help import`"));
        }
        files.push(stdin);
    }
    if files.iter().filter(|file| **file == stdin).count() > 1 {
        return Err(Failure::usage("standard input (-) can be read once only"));
    }
    let open = |file: &Path| {
        if file == stdin { input::stdin(progress) } else { input::at(file, progress) }
    };
    files.into_iter().map(open).collect()
}

fn options(args: &Args) -> LoadOptions {
    LoadOptions {
        memory: args.memory,
        threads: args.threads.map_or_else(|| LoadOptions::default().threads, usize::from),
        on_duplicate: match args.on_duplicate {
            DuplicateArg::Error => OnDuplicate::Error,
            DuplicateArg::Merge => OnDuplicate::Merge,
            DuplicateArg::Last => OnDuplicate::Last,
        },
        on_conflict: match args.on_conflict {
            ConflictArg::Error => OnConflict::Error,
            ConflictArg::Ignore => OnConflict::Ignore,
        },
        existing: match args.existing.unwrap_or(ExistingArg::Replace) {
            ExistingArg::Replace => Existing::Replace,
            ExistingArg::Merge => Existing::Merge,
            ExistingArg::Error => Existing::Error,
        },
        skip_rejected: args.skip_invalid,
        dry_run: args.dry_run,
    }
}

fn mapping(args: &Args) -> Result<Option<Mapping>, Failure> {
    if args.map.is_empty() {
        return Ok(None);
    }
    let mapping = Mapping::parse(args.map.iter().map(String::as_str));
    mapping.map(Some).map_err(|error| Failure::usage(format!("--map: {error}")))
}

/// What an import did, for human readers and for `--json`.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'r> {
    dry_run: bool,
    seconds: f64,
    users_per_second: u64,
    #[serde(flatten)]
    report: &'r Report,
}

/// Providers that are listed for human readers.
const PROVIDERS_SHOWN: usize = 12;

/// Whether files of the format hold our own users, whose providers their owner knows.
const fn is_own(format: Format) -> bool {
    matches!(format, Format::GigyaJson | Format::Ndjson | Format::Csv)
}

impl<'r> Summary<'r> {
    /// What was taken for what, to be compared with what the other system says of itself.
    fn show_source(&self, ui: &Ui) {
        let report = self.report;
        for file in &report.files {
            ui.note(&format!("  {}: {} records of {}", file.name, human_count(file.records), file.format));
        }
        for provider in report.providers.iter().take(PROVIDERS_SHOWN) {
            let name = provider.provider.escape_debug();
            ui.note(&format!("  provider {name}: {} identities", human_count(provider.identities)));
        }
        if let Some(more) = report.providers.len().checked_sub(PROVIDERS_SHOWN).filter(|more| *more > 0) {
            ui.note(&format!("  and {more} more providers; --json lists all"));
        }
    }

    fn new(report: &'r Report, args: &Args, started: Instant) -> Self {
        let rate = Rate::of(report.users, started);
        Self { dry_run: args.dry_run, seconds: rate.seconds, users_per_second: rate.users_per_second, report }
    }

    /// The counts in one line.
    fn text(&self) -> String {
        let report = self.report;
        format!(
            "{} {} users ({} pending), {} identities in {:.2} s: {} users/s",
            if self.dry_run { "would import" } else { "imported" },
            human_count(report.users),
            human_count(report.pending),
            human_count(report.identities),
            self.seconds,
            human_count(self.users_per_second),
        )
    }

    fn show(&self, args: &Args, ui: &Ui) -> Result<(), Failure> {
        let done = self.text();
        if args.json {
            let shown = ui::print_json(self);
            return shown.map_err(|failure| if self.dry_run { failure } else { failure.after(&done) });
        }
        let report = self.report;
        for warning in &report.warnings {
            ui.warning(warning);
        }
        for example in &report.rejected_examples {
            ui.warning(&format!("rejected: {}: {}", example.at, example.message));
        }
        ui.note(&done);
        for (reason, count) in &report.skipped_by_reason {
            ui.note(&format!("  {} records were left out: {reason}", human_count(*count)));
        }
        for (count, what) in [
            (report.rejected, "records were rejected"),
            (report.conflicts, "identities are claimed by two users"),
            (report.without_identities, "users came without identities"),
            (report.local_identities, "of these got a local identity"),
            (report.disabled, "users are disabled at the source, and were loaded like others"),
            (report.load.merged, "records were united with an earlier one of their UID"),
            (report.load.superseded, "records were replaced by a later one of their UID"),
            (report.load.replaced, "of the users were in the store before"),
            (report.load.unchanged, "users were in the store already in the same form"),
            (report.repeated_identities, "repeated identities were dropped"),
            (report.load.identities_ignored, "identities of other users were left with them"),
        ] {
            if count > 0 {
                ui.note(&format!("  {} {what}", human_count(count)));
            }
        }
        if report.files.iter().any(|file| !is_own(file.format)) {
            self.show_source(ui);
        }
        Ok(())
    }
}
