//! Checks of exported files: whole and unchanged by their manifest, or as far as the content itself shows it.
//!
//! One thread reads the file and hashes it (`feed.rs`); the caller's decompresses it and goes through its records in a
//! window of constant size (`window.rs`, `json.rs`, `csv.rs`), counts them and compares neighbours (`tally.rs`).

mod content;
mod csv;
mod error;
mod feed;
mod json;
mod object;
mod tally;
mod window;

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use headcount_block::Progress;

use crate::digest::{Digest, DigestAlgorithm};
use crate::fields::Fields;
use crate::format::Format;
use crate::manifest::{Manifest, ManifestFile};
use crate::pipeline::panic_text;
use crate::simple::is_formula;
use content::Content;
use error::Halt;
pub use error::{CheckError, Problem};
use feed::{Feed, Passed};
use window::Window;

/// What a file that was found right holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Its format.
    pub format: Format,
    /// How it is compressed: `gzip` or `zstd`.
    pub compression: Option<&'static str>,
    /// Its fields, where they are known.
    pub fields: Option<Fields>,
    /// Users; `None` where the content does not show where one ends. With [`Unchecked::Guard`] the least that there can be.
    pub users: Option<u64>,
    /// UIDs of users who are gone; `None` when it is no export of changes, or an empty one.
    pub deleted: Option<u64>,
    /// Identities.
    pub identities: u64,
    /// UID of the first user, where UIDs are exported.
    pub first_uid: Option<String>,
    /// UID of the last user.
    pub last_uid: Option<String>,
    /// Length of the file.
    pub bytes: u64,
    /// Length of its content, decompressed.
    pub content_bytes: u64,
    /// Its digest, with a manifest.
    pub digest: Option<Digest>,
    /// What could not be checked; nothing with a manifest.
    pub unchecked: Vec<Unchecked>,
}

/// Something that could not be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unchecked {
    /// Nothing in the file says how many users belong to it.
    Whole,
    /// A value may have been replaced by another.
    Unchanged,
    /// There are no UIDs whose order could be looked at.
    Order,
    /// Rows do not show where one user ends and another begins.
    Users,
    /// It is not known whether apostrophes before some values are the formula guard's: with it, `'=a` and `=a` look like one
    /// user.
    Guard,
}

impl fmt::Display for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole => {
                "whether all users are there: nothing in the file states how many there were, it may have been cut at \
                 the end of a line"
            }
            Self::Unchanged => "whether it is unchanged: a value may have been replaced by another",
            Self::Order => "order and repetition of users: it has no UIDs",
            Self::Users => "the number of users: without UIDs its rows do not show where one ends",
            Self::Guard => {
                "whether apostrophes before some UIDs belong to them: they may be those of a formula guard, and what looks like \
                 one user may be two whose UIDs differ by one alone"
            }
        })
    }
}

/// Checks the exported file `path`, plain or compressed with gzip or Zstandard.
///
/// With its manifest: length, digest, counts, first and last UID, and everything that the content shows. Without: the
/// structure, byte for byte as exports are written, the order of UIDs, that the last record is whole, and the counts
/// of JSON; the report then says what could not be checked. Memory is constant.
///
/// # Errors
/// [`CheckError::Problem`] for a file that is not whole or was changed; the others when it cannot be read.
pub fn check_file(
    path: impl AsRef<Path>,
    manifest: Option<&Manifest>,
    progress: Option<&Progress>,
) -> Result<CheckReport, CheckError> {
    let path = path.as_ref();
    let io = |source| CheckError::Io { path: path.to_path_buf(), source };
    let named = |problem| CheckError::Problem { path: path.to_path_buf(), problem: Box::new(problem) };
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if metadata.is_dir() {
        return Err(io(io::ErrorKind::IsADirectory.into()));
    }
    let entry = manifest.map(|manifest| entry(manifest, path)).transpose().map_err(named)?;
    if metadata.is_file() {
        if let Some(progress) = progress {
            progress.set_total_bytes(metadata.len());
        }
        // The cheapest way to find a file that was cut.
        length(entry, metadata.len()).map_err(named)?;
    }
    let algorithm = manifest.map(|manifest| manifest.digest_algorithm);
    match go_through(path, file, manifest, algorithm, progress)? {
        (Ok(found), passed) => {
            length(entry, passed.bytes).map_err(named)?;
            unchanged(entry, &passed).map_err(named)?;
            report(found, passed, manifest).map_err(named)
        }
        (Err(_), _) if progress.is_some_and(Progress::is_cancelled) => Err(CheckError::Cancelled),
        (Err((Halt::Found(problem), _)), _) => Err(named(problem)),
        // What the operating system says is not the decoder's complaint.
        (Err((Halt::Unread { offset, source }, true)), _) if source.raw_os_error().is_none() => {
            Err(named(Problem::Compressed { offset, source }))
        }
        (Err((Halt::Unread { source, .. }, _)), _) => Err(io(source)),
    }
}

/// What was found in the content.
struct Found {
    format: Format,
    compression: Option<&'static str>,
    content: Content,
    content_bytes: u64,
}

/// What stopped it, and whether the file is compressed.
type Halted = (Halt, bool);

fn go_through(
    path: &Path,
    file: File,
    manifest: Option<&Manifest>,
    algorithm: Option<DigestAlgorithm>,
    progress: Option<&Progress>,
) -> Result<(Result<Found, Halted>, Passed), CheckError> {
    std::thread::scope(|scope| {
        let (feed, thread) =
            Feed::start(scope, file, algorithm, progress).map_err(|error| CheckError::Thread(error.to_string()))?;
        let found = decompressed(feed, path, manifest);
        let passed = thread.join().map_err(|panic| CheckError::Thread(panic_text(panic.as_ref())))?;
        Ok((found, passed))
    })
}

fn decompressed(mut feed: Feed, path: &Path, manifest: Option<&Manifest>) -> Result<Found, Halted> {
    let unread = |source| (Halt::Unread { offset: 0, source }, false);
    let magic = feed.fill_buf().map_err(unread)?;
    match magic {
        [0x1f, 0x8b, ..] => look(MultiGzDecoder::new(feed), Some("gzip"), path, manifest),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = zstd::stream::read::Decoder::with_buffer(feed).map_err(unread)?;
            look(decoder, Some("zstd"), path, manifest)
        }
        _ => look(feed, None, path, manifest),
    }
}

fn look(
    reader: impl Read,
    compression: Option<&'static str>,
    path: &Path,
    manifest: Option<&Manifest>,
) -> Result<Found, Halted> {
    let mut window = Window::new(reader);
    let mut all = || -> Result<(Format, Content), Halt> {
        let shown = content::format(&mut window)?;
        // A name tells what an empty file is of; nothing else is guessed from it.
        let format = manifest.map(|manifest| manifest.format).or(shown).or_else(|| format_of_name(path));
        let Some(format) = format else { return Err(window.bad(0, "an export").into()) };
        let guarded = manifest.map(|manifest| manifest.formula_guard);
        let content = content::read(&mut window, format, guarded)?;
        content.check_trailer()?;
        Ok((format, content))
    };
    let outcome = all();
    let content_bytes = window.offset();
    match outcome {
        Ok((format, content)) => Ok(Found { format, compression, content, content_bytes }),
        Err(halt) => Err((halt, compression.is_some())),
    }
}

/// The format in a name such as `users.ndjson.gz`.
fn format_of_name(path: &Path) -> Option<Format> {
    Format::of_path(path).or_else(|| Format::of_path(Path::new(path.file_stem()?)))
}

/// The file of the manifest that `path` is: the only one, or the one of its name.
fn entry<'m>(manifest: &'m Manifest, path: &Path) -> Result<&'m ManifestFile, Problem> {
    if let [only] = manifest.files.as_slice() {
        return Ok(only);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let names = || manifest.files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(" or ");
    let found = manifest.files.iter().find(|file| file.name == name);
    found.ok_or_else(|| Problem::Differs { what: "the name", expected: names(), found: name.clone() })
}

fn length(entry: Option<&ManifestFile>, found: u64) -> Result<(), Problem> {
    match entry.map(|entry| entry.bytes).filter(|&expected| expected != found) {
        Some(expected) => Err(Problem::Length { expected, found }),
        None => Ok(()),
    }
}

fn unchanged(entry: Option<&ManifestFile>, passed: &Passed) -> Result<(), Problem> {
    let (Some(entry), Some(found)) = (entry, &passed.digest) else { return Ok(()) };
    if entry.digest == found.hex {
        return Ok(());
    }
    let (expected, found_hex) = (entry.digest.clone(), found.hex.clone());
    Err(Problem::Digest { algorithm: found.algorithm, expected, found: found_hex })
}

fn report(found: Found, passed: Passed, manifest: Option<&Manifest>) -> Result<CheckReport, Problem> {
    let Found { format, compression, content, content_bytes } = found;
    let uid = |uid: &[u8]| String::from_utf8_lossy(uid).into_owned();
    let tally = &content.tally;
    let mut report = CheckReport {
        format,
        compression,
        fields: manifest.map(|manifest| manifest.fields).or(content.fields),
        users: content.counts_users.then_some(tally.users),
        deleted: content.changes.then_some(tally.deleted),
        identities: tally.identities,
        first_uid: tally.first.as_deref().map(uid),
        last_uid: tally.last().map(uid),
        bytes: passed.bytes,
        content_bytes,
        digest: passed.digest,
        unchecked: if manifest.is_some() { Vec::new() } else { unchecked(format, &content) },
    };
    if let Some(manifest) = manifest {
        as_stated(manifest, &report, &content)?;
        if manifest.formula_guard {
            // The file alone does not say which of its apostrophes are the guard's, nor which rows are of two users.
            report.users = report.users.map(|_| manifest.users);
            (report.first_uid, report.last_uid) = (manifest.first_uid.clone(), manifest.last_uid.clone());
        }
    }
    Ok(report)
}

/// Compares what was found with what the manifest states.
fn as_stated(manifest: &Manifest, report: &CheckReport, content: &Content) -> Result<(), Problem> {
    let possible = |least: u64| manifest.users.clamp(least, least.saturating_add(content.tally.alike));
    let counts = [
        ("users", manifest.users, report.users.map(possible)),
        ("deleted UIDs", manifest.deleted.unwrap_or_default(), Some(report.deleted.unwrap_or_default())),
        ("identities", manifest.identities, Some(report.identities)),
        ("bytes of content", manifest.content_bytes.unwrap_or(report.content_bytes), Some(report.content_bytes)),
    ];
    for (what, expected, found) in counts {
        if let Some(found) = found.filter(|&found| found != expected) {
            return Err(Problem::Count { what, by: "the manifest", expected, found });
        }
    }
    let none = || "none".to_owned();
    let text = |uid: &Option<String>| uid.clone().unwrap_or_else(none);
    // As it stands in the file.
    let stated = |uid: &Option<String>| {
        let guarded = uid.as_ref().filter(|uid| manifest.formula_guard && is_formula(uid.as_bytes()));
        guarded.map_or_else(|| text(uid), |uid| format!("'{uid}"))
    };
    let fields = content.fields.map_or_else(|| manifest.fields, |fields| same_order(fields, manifest));
    let trailer = content.trailer.as_ref();
    let pairs = [
        ("the fields", manifest.fields.to_string(), fields.to_string()),
        ("the first UID", stated(&manifest.first_uid), text(&report.first_uid)),
        ("the last UID", stated(&manifest.last_uid), text(&report.last_uid)),
        (
            "the compression",
            manifest.compression.clone().unwrap_or_else(none),
            report.compression.map_or_else(none, str::to_owned),
        ),
        ("callId", manifest.call_id.clone(), trailer.map_or_else(|| manifest.call_id.clone(), |t| t.call_id.clone())),
        ("time", manifest.time.clone(), trailer.map_or_else(|| manifest.time.clone(), |t| t.time.clone())),
    ];
    for (what, expected, found) in pairs {
        if expected != found {
            return Err(Problem::Differs { what, expected, found });
        }
    }
    match trailer.and_then(|trailer| trailer.seq).filter(|_| manifest.since.is_some()) {
        Some(seq) if seq != manifest.seq => {
            Err(Problem::Differs { what: "seq", expected: manifest.seq.to_string(), found: seq.to_string() })
        }
        _ => Ok(()),
    }
}

/// `fields` in the manifest's order where it has the same: that of JSON says nothing.
fn same_order(fields: Fields, manifest: &Manifest) -> Fields {
    let same = Format::Csv != manifest.format
        && fields.iter().all(|field| manifest.fields.has(field))
        && manifest.fields.iter().all(|field| fields.has(field));
    if same { manifest.fields } else { fields }
}

fn unchecked(format: Format, content: &Content) -> Vec<Unchecked> {
    let notes = [
        (format != Format::Json, Unchecked::Whole),
        (true, Unchecked::Unchanged),
        (!content.has_uids, Unchecked::Order),
        (!content.counts_users, Unchecked::Users),
        (content.tally.guard_seen, Unchecked::Guard),
    ];
    notes.into_iter().filter_map(|(is_so, what)| is_so.then_some(what)).collect()
}
