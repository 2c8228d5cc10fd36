//! The import: inputs, options, and the run that reads everything, loads it at once, and reports.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use headcount_block::{Progress, RowBuf};
use headcount_store::{BulkLoad, LoadOptions, LoadReport, RejectReason, Rejection, Shard, Store};

use crate::choose::one_uid;
use crate::complete;
use crate::deleted;
use crate::directory;
use crate::error::{BadDocument, IDENTITY_TAKEN, ImportError, reject_name};
use crate::format::Format;
use crate::input::{Input, Prepared};
use crate::mapped::Settings;
use crate::mapping::Mapping;
use crate::names::ProviderNames;
use crate::parse::{Counts, EXAMPLES, OnInvalid};
use crate::read::{AllRead, Names, Plan, read_all};
use crate::rejects::{Open, Rejects};
use crate::report::{FileReport, ProviderCount, RejectedExample, Report};

/// An import into a store: all inputs are one load, all or nothing.
///
/// Invalid records end it unless [`LoadOptions::skip_rejected`] is set; then they are counted, reported, and written
/// to [`rejects`](Self::rejects), and the valid ones are loaded. A document or a compressed file that is not whole
/// always ends it. Memory is bounded whatever the size of the inputs: that of [`LoadOptions::memory`], and beside it
/// about 3 MiB and 1 MiB a thread; 8 MiB more for each record on its way that is as long as a record may be; and of a zstd
/// file its window, which may be 8 MiB or, where [`LoadOptions::memory`] is more, as large as that and at most 128 MiB.
pub struct Import<'s> {
    store: &'s Store,
    format: Format,
    inputs: Vec<Input>,
    options: LoadOptions,
    progress: Arc<Progress>,
    rejects: Option<Box<dyn Write + Send>>,
    rejects_apart: Option<Open>,
    settings: Settings,
}

impl fmt::Debug for Import<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Import").field("format", &self.format).field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

impl<'s> Import<'s> {
    /// An import into `store`, with default options and no inputs yet.
    #[must_use]
    pub fn new(store: &'s Store) -> Self {
        Self {
            store,
            format: Format::Auto,
            inputs: Vec::new(),
            options: LoadOptions::default(),
            progress: Arc::default(),
            rejects: None,
            rejects_apart: None,
            settings: Settings::default(),
        }
    }

    /// The format of all inputs; told by the content of each unless given.
    #[must_use]
    pub const fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Adds an input.
    #[must_use]
    pub fn input(mut self, input: Input) -> Self {
        self.inputs.push(input);
        self
    }

    /// Options of the load; `threads` is also the number of threads that parse.
    #[must_use]
    pub fn options(mut self, options: LoadOptions) -> Self {
        self.options = options;
        self
    }

    /// Counters to watch the import by, and to cancel it.
    #[must_use]
    pub fn progress(mut self, progress: Arc<Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Where skipped records go, in the format of the inputs: NDJSON for JSON, CSV with the header of the inputs for CSV,
    /// LDIF for LDIF. A user of another system that the loader refused stands there in our own form when that system's
    /// is JSON, which its format takes too. Nothing is written when no record is skipped. Where users come in parts
    /// ([`Report::parts`]), what is mended has to be united with the parts that were loaded: [`LoadOptions::existing`].
    #[must_use]
    pub fn rejects(mut self, rejects: Option<Box<dyn Write + Send>>) -> Self {
        self.rejects = rejects;
        self
    }

    /// Where skipped records go whose layout (format, or CSV header) is not that of the first input: `open` is called
    /// for each such layout that has some, with the name of the first input of that layout. Without it, inputs of several
    /// layouts are refused when [`rejects`](Self::rejects) is set. It is called too, with the name that ends in `.ndjson`, for
    /// users whose identities have no room in one row of their table, where a row is a user: they stand there in our own form.
    /// Without it their UIDs have several rows, and [`Report::warnings`] tell what there is no column for.
    #[must_use]
    pub fn rejects_apart(
        mut self,
        open: impl FnMut(&str) -> io::Result<Box<dyn Write + Send>> + Send + 'static,
    ) -> Self {
        self.rejects_apart = Some(Box::new(open));
        self
    }

    /// Gives every user without identities one of this provider, whose providerUID is the UID.
    #[must_use]
    pub fn local_identity(mut self, provider: Option<String>) -> Self {
        self.settings.local = provider;
        self
    }

    /// What becomes of the names of providers.
    #[must_use]
    pub const fn provider_names(mut self, names: ProviderNames) -> Self {
        self.settings.names = names;
        self
    }

    /// Which member or column of the source is the UID, where it has several that can be.
    #[must_use]
    pub fn uid(mut self, name: Option<String>) -> Self {
        self.settings.uid = name;
        self
    }

    /// Loads sources too that are known not to be complete: a page says that another follows, or there are fewer users
    /// than the source says.
    #[must_use]
    pub const fn allow_partial(mut self, allow: bool) -> Self {
        self.settings.allow_partial = allow;
        self
    }

    /// Reads JSON, NDJSON or CSV of any shape by a mapping; the format is [`Format::Map`] then.
    #[must_use]
    pub fn mapping(mut self, mapping: Option<Mapping>) -> Self {
        self.settings.mapping = mapping;
        self
    }

    /// Reads all inputs and loads them.
    ///
    /// # Errors
    /// [`ImportError`]; nothing was loaded.
    pub fn run(self) -> Result<Report, ImportError> {
        let progress = Arc::clone(&self.progress);
        self.read_and_load().map_err(|error| match error {
            // An input that is shut so that a cancelled import does not wait for it fails in its own way.
            ImportError::Io { .. } | ImportError::Compressed { .. } if progress.is_cancelled() => {
                ImportError::Cancelled
            }
            other => other,
        })
    }

    fn read_and_load(self) -> Result<Report, ImportError> {
        let Self { store, format, inputs, options, progress, rejects, rejects_apart, settings } = self;
        let settings = Arc::new(Settings { memory: options.memory, ..settings });
        check_settings(&settings, format)?;
        if inputs.is_empty() {
            return Err(ImportError::Usage("no input was given".to_owned()));
        }
        progress.set_phase("reading");
        let (inputs, mut warnings) = expanded(inputs, format, settings.allow_partial)?;
        let prepare = |input| Prepared::new(input, format, &settings, &progress);
        let mut inputs = inputs.into_iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
        let unseen = deleted::collect(&mut inputs, &progress)?;
        progress.set_total_bytes(inputs.iter().map(Prepared::file_len).sum::<Option<u64>>().unwrap_or(0));
        let names = Names::of(&inputs);
        let rejects = rejects.filter(|_| options.skip_rejected);
        let mut rejects = rejects.map(|out| Rejects::new(out, rejects_apart, &inputs)).transpose()?;
        let on_invalid = match (options.skip_rejected, &rejects) {
            (false, _) => OnInvalid::Fail,
            (true, None) => OnInvalid::Count,
            (true, Some(_)) => OnInvalid::Keep,
        };
        let threads = options.threads.max(1);
        let load = store.bulk_load(options, &progress).map_err(|e| load_error(e, &names))?;
        let shards = (0..threads).map(|_| load.shard()).collect();
        let plan = Plan {
            names: &names,
            on_invalid,
            settings: &settings,
            gone: &unseen.gone,
            progress: &progress,
            rejects: rejects.as_mut(),
        };
        let read = read_all(&mut inputs, shards, plan)?;
        unseen.check(&read.skipped, &read.files)?;
        warnings.extend(complete::check(&inputs, &read.files, &settings)?);
        let mut report = Draft::new(&inputs, &read, &names)?;
        report.warnings.extend(warnings);
        if let Some(rejects) = &mut rejects {
            rejects.flush().map_err(|e| ImportError::io("write", "the file of rejected records", e))?;
        }
        let loaded = report.load(load, read.sinks, &names, rejects.as_mut())?;
        report.warnings.extend(rejects.as_ref().and_then(Rejects::homeless));
        Ok(report.finish(loaded))
    }
}

fn check_settings(settings: &Settings, format: Format) -> Result<(), ImportError> {
    if settings.mapping.is_some() && !matches!(format, Format::Auto | Format::Map) {
        return Err(ImportError::Usage(format!("a mapping says how files are read, and so does the format {format}")));
    }
    if settings.mapping.is_some() && settings.uid.is_some() {
        return Err(ImportError::Usage("a mapping names the UID: it cannot be chosen beside it".to_owned()));
    }
    if settings.uid.is_some() && format.is_native() {
        return Err(ImportError::Usage(one_uid(format)));
    }
    match settings.local.as_deref().map(|local| RowBuf::new().push_identity(local, "uid")) {
        Some(Err(limit)) => Err(ImportError::Usage(format!("the provider of local identities: {limit}"))),
        _ => Ok(()),
    }
}

/// The inputs with directories as what is in them, and warnings about what is missing there.
fn expanded(inputs: Vec<Input>, format: Format, partial: bool) -> Result<(Vec<Input>, Vec<String>), ImportError> {
    let (mut all, mut warnings) = (Vec::new(), Vec::new());
    for input in inputs {
        let directory = input.directory().filter(|_| matches!(format, Format::Auto | Format::Keycloak));
        let Some(directory) = directory else {
            all.push(input);
            continue;
        };
        let (found, missing) = directory::expand(directory)?;
        match missing {
            Some(missing) if !partial => {
                let file = directory.display().to_string();
                return Err(ImportError::Document { file, offset: None, reason: BadDocument::Partial(missing) });
            }
            missing => warnings.extend(missing),
        }
        all.extend(found);
    }
    Ok((all, warnings))
}

/// A report in the making.
struct Draft {
    files: Vec<FileReport>,
    counts: Counts,
    skipped: BTreeMap<String, u64>,
    by_reason: BTreeMap<String, u64>,
    examples: Vec<RejectedExample>,
    warnings: Vec<String>,
}

impl Draft {
    /// What the readers found.
    fn new(inputs: &[Prepared], read: &AllRead<Shard>, names: &Names) -> Result<Self, ImportError> {
        let mut counts = Counts::default();
        let mut files = Vec::with_capacity(inputs.len());
        let mut warnings = Vec::new();
        for (input, file) in inputs.iter().zip(&read.files) {
            counts.add(&file.counts);
            // No part of a user shows whether another has an identity; in our own CSV a row says that there is none.
            if file.counts.parts > 0 && !input.format.is_native() {
                counts.bare -= file.counts.bare;
            }
            warnings.extend(file.check_counts(&input.name)?);
            if let Some((header, _)) = input.header.as_ref().filter(|(header, _)| !header.ignored.is_empty()) {
                let names = header.ignored.join(", ");
                warnings.push(format!("{}: columns that were not used: {}", input.name, names.escape_debug()));
            }
            files.push(FileReport {
                name: input.name.clone(),
                format: input.format,
                compression: input.compression,
                bytes: file.bytes,
                records: file.counts.records,
                rejected: file.counts.rejected,
            });
        }
        let examples = read.examples.iter().map(|(place, reason)| RejectedExample {
            at: names.position(*place),
            uid: None,
            reason: reason.name().to_owned(),
            message: reason.to_string(),
        });
        let owned = |counts: &BTreeMap<&'static str, u64>| counts.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
        let (by_reason, skipped) = (owned(&read.by_reason), owned(&read.skipped));
        Ok(Self { files, counts, skipped, by_reason, examples: examples.collect(), warnings })
    }

    /// Loads what was read, and notes what the loader refuses.
    fn load(
        &mut self,
        load: BulkLoad,
        shards: Vec<Shard>,
        names: &Names,
        mut rejects: Option<&mut Rejects>,
    ) -> Result<LoadReport, ImportError> {
        let mut refused = 0;
        let mut note = |rejection: &Rejection| -> io::Result<()> {
            let reason = reject_name(&rejection.reason);
            *self.by_reason.entry(reason.to_owned()).or_default() += 1;
            refused += 1;
            if refused <= EXAMPLES {
                self.examples.push(RejectedExample {
                    at: names.position(rejection.at),
                    uid: Some(rejection.user.uid.clone()),
                    reason: reason.to_owned(),
                    message: message_of(&rejection.reason, names),
                });
            }
            let Some(rejects) = rejects.as_mut() else { return Ok(()) };
            rejects.user(rejection.at.file, &rejection.user)?;
            // Nothing may be left to fail once the load is published.
            rejects.flush()
        };
        load.finish(shards, &mut note).map_err(|e| load_error(e, names))
    }

    fn finish(self, load: LoadReport) -> Report {
        let providers = load
            .providers
            .iter()
            .map(|(provider, identities)| ProviderCount { provider: provider.clone(), identities: *identities });
        let mut providers: Vec<_> = providers.collect();
        providers.sort_by(|a, b| b.identities.cmp(&a.identities).then_with(|| a.provider.cmp(&b.provider)));
        let skipped = self.skipped.values().sum();
        let taken = self.by_reason.get(IDENTITY_TAKEN).copied().unwrap_or_default();
        Report {
            files: self.files,
            records: self.counts.records,
            accepted: self.counts.records - self.counts.rejected - skipped,
            skipped,
            skipped_by_reason: self.skipped,
            rejected: self.counts.rejected + load.rejected,
            rejected_by_reason: self.by_reason,
            rejected_examples: self.examples,
            users: load.users,
            pending: load.pending,
            without_identities: self.counts.bare,
            local_identities: self.counts.local,
            parts: self.counts.parts,
            disabled: self.counts.disabled,
            conflicts: taken + load.identities_ignored,
            identities: load.identities,
            repeated_identities: self.counts.repeated + load.identities_repeated,
            providers,
            warnings: self.warnings,
            load,
        }
    }
}

/// An error of the loader, with the names of the inputs in it.
fn load_error(error: headcount_store::Error, names: &Names) -> ImportError {
    match error {
        headcount_store::Error::Cancelled => ImportError::Cancelled,
        headcount_store::Error::Rejected(rejection) => ImportError::Rejected {
            at: names.position(rejection.at),
            reason: message_of(&rejection.reason, names),
            uid: rejection.user.uid,
        },
        other => ImportError::Store(other),
    }
}

fn message_of(reason: &RejectReason, names: &Names) -> String {
    match reason {
        RejectReason::DuplicateUid { first } => format!(
            "this UID was given before, at {}; remove one, or choose to merge them or to let the last one win",
            names.position(*first)
        ),
        RejectReason::IdentityTaken { provider, provider_uid, owner, owner_at } => {
            let place = owner_at.map_or_else(|| "in the store".to_owned(), |at| format!("at {}", names.position(at)));
            format!(
                "identity {provider:?} {provider_uid:?} belongs to user {owner:?} ({place}); an identity belongs to one \
                 user: correct one of them, or choose to ignore such conflicts"
            )
        }
        RejectReason::AlreadyExists => {
            "the store has this UID already; choose to replace or to merge existing users".to_owned()
        }
        RejectReason::StatusDiffers { first } => {
            format!("its status differs from that of its row at {}; give all rows of a UID one", names.position(*first))
        }
        other => other.to_string(),
    }
}
