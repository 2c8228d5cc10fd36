//! Which format an input has, and so how it is read: by tables of keys, never by a guess.

use std::sync::Arc;

use crate::csv;
use crate::detect::{Undetected, detect, foreign_data, is_certain, text_start};
use crate::draft::Table;
use crate::error::BadDocument;
use crate::format::Format;
use crate::ldif::{LdifJob, looks_like};
use crate::mapped::{Job, Place, Settings};
use crate::path::{Step, beside, page_depth, steps};
use crate::probe::{Found, Members, Outline, quoted};
use crate::scan::value_end;
use crate::spec::{Document, Spec, spec_of};
use crate::systems::{self, FINALIZE, by_mapping};
use crate::table::{Columns, Names, firebase, is_same};
use crate::table_rows::TableJob;

/// How an input is read.
#[derive(Debug, Clone)]
pub(crate) enum Reading {
    /// As one of our own formats.
    Native,
    /// A record a line.
    Lines(Arc<Job>),
    /// Records wherever they are in JSON.
    Documents(Arc<Job>),
    /// Rows of a table.
    Rows(Arc<TableJob>),
    /// Entries of LDIF.
    Entries(Arc<LdifJob>),
}

/// Why no format could be chosen.
#[derive(Debug)]
pub(crate) enum Unchosen {
    Undetected(Undetected),
    Document(BadDocument),
    Usage(String),
}

/// What a file may be.
enum Candidate {
    Document(&'static Spec, &'static Document, &'static str),
    Table(&'static Spec, &'static Table),
    Firebase(Arc<Columns>),
    Ldif(&'static Spec),
}

/// The beginning of an input, without byte order mark and white space.
pub(crate) struct Head<'h> {
    text: &'h [u8],
    bytes: &'h [u8],
}

impl<'h> Head<'h> {
    pub(crate) fn new(bytes: &'h [u8]) -> Self {
        Self { text: bytes.get(text_start(bytes)..).unwrap_or_default(), bytes }
    }

    fn is_json(&self) -> bool {
        matches!(self.text.first(), Some(b'{' | b'['))
    }

    /// The whole characters of the beginning.
    fn lossless(&self) -> &'h str {
        match std::str::from_utf8(self.text) {
            Ok(text) => text,
            Err(e) => self.text.get(..e.valid_up_to()).and_then(|t| std::str::from_utf8(t).ok()).unwrap_or_default(),
        }
    }

    /// The header record and the first row behind it.
    fn header(&self) -> (&'h str, &'h str) {
        let text = self.lossless();
        let (header, rest) =
            text.split_at_checked(csv::record_end(text.as_bytes()).unwrap_or(text.len())).unwrap_or_default();
        let first = csv::record_end(rest.as_bytes()).and_then(|end| rest.get(..end)).unwrap_or(rest);
        (header, first.trim_end_matches(['\r', '\n']))
    }

    /// Whether its JSON is one record a line: the first is, or it is broken and one behind it is whole and such a record.
    fn is_lines(&self, fits: impl Fn(&Outline<'_>) -> bool) -> bool {
        let line = memchr::memchr(b'\n', self.text).unwrap_or(self.text.len());
        match value_end(self.text) {
            Some(end) if end <= line => true,
            _ => Found::at(self.text, &[]).lines_behind_broken().any(fits),
        }
    }
}

/// Chooses how to read an input that begins with `head`, of the format `wanted`.
///
/// # Errors
/// [`Unchosen`]: none or several formats fit, or the one that was given does not.
pub(crate) fn choose(head: &[u8], wanted: Format, settings: &Arc<Settings>) -> Result<(Format, Reading), Unchosen> {
    let head = Head::new(head);
    if settings.mapping.is_some() {
        return mapped(&head, settings).map(|reading| (Format::Map, reading));
    }
    match wanted {
        Format::Auto => {
            let mut candidates: Vec<_> = if foreign_data(head.bytes) {
                Vec::new()
            } else {
                systems::all().filter_map(|s| candidate(s, &head, false)).collect()
            };
            let native = detect(head.bytes);
            let certain = native.as_ref().ok().filter(|_| is_certain(head.bytes)).copied();
            match (candidates.pop(), certain) {
                (Some(one), None) if candidates.is_empty() => read_as(one, &head, settings),
                (None, _) => match native.map_err(Unchosen::Undetected)? {
                    format if settings.uid.is_some() => Err(Unchosen::Usage(one_uid(format))),
                    format => Ok((format, Reading::Native)),
                },
                (Some(last), certain) => {
                    candidates.push(last);
                    let fitting = candidates.iter().map(Candidate::format).chain(certain).collect();
                    let found = "its content fits several formats".to_owned();
                    Err(Unchosen::Undetected(Undetected { found, candidates: fitting }))
                }
            }
        }
        Format::Map => Err(Unchosen::Usage("--format map needs --map: where UIDs and identities are".to_owned())),
        native if native.is_native() => Ok((native, Reading::Native)),
        given => {
            let spec = spec_of(given).ok_or_else(|| Unchosen::Usage(format!("{given} cannot be read")))?;
            match candidate(spec, &head, true) {
                Some(candidate) => read_as(candidate, &head, settings),
                None => Err(Unchosen::Document(other_format(spec, &head))),
            }
        }
    }
}

impl Candidate {
    fn format(&self) -> Format {
        match self {
            Self::Document(spec, ..) | Self::Table(spec, _) | Self::Ldif(spec) => spec.format,
            Self::Firebase(_) => Format::Firebase,
        }
    }
}

/// How `head` is read as a file of this system, if it can be one; `given` says that it is, and mends what is unclear.
fn candidate(spec: &'static Spec, head: &Head<'_>, given: bool) -> Option<Candidate> {
    if head.is_json() {
        let mut documents = spec.documents.iter();
        let certain = documents.find_map(|d| place_of(d, head, false).map(|p| Candidate::Document(spec, d, p)));
        let likely = || spec.documents.iter().find_map(|d| place_of(d, head, true).map(|p| (d, p)));
        let candidate = certain.or_else(|| given.then(likely).flatten().map(|(d, p)| Candidate::Document(spec, d, p)));
        return candidate.or_else(|| given.then(|| bare_lines(spec, head)).flatten());
    }
    if spec.format == Format::Ldif {
        return looks_like(head.lossless()).then_some(Candidate::Ldif(spec));
    }
    let (header, first) = head.header();
    let names = Names::of(header);
    let fitting = spec.tables.iter().find(|table| table.fits(&names, first) || (given && table.can_be(&names)));
    if let Some(table) = fitting {
        return Some(Candidate::Table(spec, table));
    }
    let table = spec.tables.first().filter(|_| spec.format == Format::Firebase)?;
    firebase(table, head.lossless()).map(Candidate::Firebase)
}

/// How lines are read of which the caller says that they are of this system, and nothing says that they are of another: they
/// may be what a document around them may hold, of which rejects are.
fn bare_lines(spec: &'static Spec, head: &Head<'_>) -> Option<Candidate> {
    let has_place = |document: &&Document| document.places.contains(&"");
    let document = spec.documents.iter().find(|document| has_place(document) && !document.links)?;
    let found = Found::at(head.text, &[]);
    let fits = found.records.iter().any(|record| is_bare_line(spec, document, record));
    let is_other = |other: &'static Spec| other.format != spec.format && candidate(other, head, false).is_some();
    (fits && !systems::all().any(is_other)).then_some(Candidate::Document(spec, document, ""))
}

/// Whether a record on a line of its own, which `document` reads, may be one of those that lie in a document of the system.
fn is_bare_line(spec: &Spec, document: &Document, record: &Outline<'_>) -> bool {
    let has = |key: &str| record.has(key);
    let is_other = document.record.none.iter().any(|key| has(key));
    let mut listed = spec.documents.iter().filter(|listed| !listed.places.contains(&""));
    !is_other
        && listed.any(|listed| {
            let rule = &listed.record;
            let is_such = if rule.is_empty() { spec.uids.iter().any(|uid| has(uid)) } else { rule.allows(has) };
            let is_marked = listed.alone.is_empty() || listed.alone.iter().any(|key| has(key));
            is_such && is_marked && rule.marks(has)
        })
}

/// Where the records of this shape are in the input, if it has that shape.
fn place_of(document: &'static Document, head: &Head<'_>, given: bool) -> Option<&'static str> {
    let enveloped = !document.envelope.is_empty();
    document.places.iter().copied().find(|place| {
        let found = Found::at(head.text, &steps(place));
        if enveloped && !found.pages_fit(&document.envelope, given) {
            return false;
        }
        if found.records.is_empty() {
            return (enveloped && (document.may_lack || found.arrays > 0)) || (given && found.arrays > 0);
        }
        (enveloped && document.record.is_empty())
            || found.records_fit(&document.record, given)
            || (given && found.own_form(place, &document.record))
    })
}

/// What Firebase's CSV looks like, in words.
const FIREBASE_CSV: &str = "CSV without a header, of 24 to 29 columns, the third true or false and the 24th a time in digits \
                            (commas in names that are not quoted, and line breaks, shift them: export as JSON)";

/// The input is not of the format that was given.
fn other_format(spec: &Spec, head: &Head<'_>) -> BadDocument {
    let mut expected: Vec<String> = Vec::new();
    for document in spec.documents {
        let place = document.places.iter().find(|p| !p.is_empty()).copied().unwrap_or_default();
        let rule = if document.record.is_empty() { &document.envelope } else { &document.record };
        expected.push(format!("JSON with objects at {place} that have {}", rule.words()));
    }
    expected.extend(spec.tables.iter().map(|table| match spec.format {
        Format::Firebase => FIREBASE_CSV.to_owned(),
        _ => format!("CSV with the columns {}", table.words()),
    }));
    if spec.format == Format::Ldif {
        expected.push("entries that begin with `dn:`".to_owned());
    }
    let found = match head.text.first() {
        None => "nothing: it is empty".to_owned(),
        Some(b'{') => {
            let keys: Vec<_> = Members::new(head.text).map(|(key, _)| key).collect();
            format!("a JSON object with {}", quoted(&keys))
        }
        Some(b'[') => {
            let keys = Found::at(head.text, &[Step::Each]).records.first().map(|r| r.keys()).unwrap_or_default();
            format!("a JSON array of objects with {}", quoted(&keys))
        }
        Some(_) => format!("text that begins with {:?}", csv::clipped(head.header().0.trim_end())),
    };
    BadDocument::OtherFormat { format: spec.format, expected: expected.join("; or "), found }
}

/// Builds what reads a candidate.
fn read_as(candidate: Candidate, head: &Head<'_>, settings: &Arc<Settings>) -> Result<(Format, Reading), Unchosen> {
    let format = candidate.format();
    let rows = |columns| {
        Reading::Rows(Arc::new(TableJob { columns, settings: Arc::clone(settings), deleted: Arc::default() }))
    };
    let reading = match candidate {
        Candidate::Document(spec, document, place) => {
            let job = Arc::new(job(spec, document, place, head, settings)?);
            let fits = |line: &Outline<'_>| {
                line.has("UID") || document.record.allows(|key| line.has(key)) || is_bare_line(spec, document, line)
            };
            if place.is_empty() && head.is_lines(fits) { Reading::Lines(job) } else { Reading::Documents(job) }
        }
        Candidate::Table(spec, table) => {
            check_column(spec, table, settings)?;
            let names = Names::of(head.header().0);
            rows(table.columns(spec.format, &names, settings).map_err(Unchosen::Document)?)
        }
        Candidate::Firebase(columns) => {
            if let Some(spec) = spec_of(format) {
                uid_of(spec, settings)?;
            }
            rows(columns)
        }
        Candidate::Ldif(spec) => {
            let uid = uid_of(spec, settings)?;
            Reading::Entries(Arc::new(LdifJob { uid, settings: Arc::clone(settings) }))
        }
    };
    Ok((format, reading))
}

/// The refusal of a choice where there is none.
pub(crate) fn one_uid(format: Format) -> String {
    format!("{format} has one UID: it cannot be chosen")
}

/// Refuses the choice of a column that cannot be the UID; where the tables of a system call it differently, each takes
/// the name that the others have for it.
fn check_column(spec: &Spec, table: &Table, settings: &Settings) -> Result<(), Unchosen> {
    let Some(chosen) = &settings.uid else { return Ok(()) };
    if table.uids.iter().chain(spec.uids).any(|uid| is_same(uid, chosen)) {
        return Ok(());
    }
    let expected = table.uids.join(" or ");
    Err(Unchosen::Usage(format!("{chosen:?} cannot be the UID in {}: expected {expected}", spec.format)))
}

/// The member that is the UID.
fn uid_of(spec: &Spec, settings: &Settings) -> Result<&'static str, Unchosen> {
    let Some(chosen) = &settings.uid else { return Ok(spec.uids.first().copied().unwrap_or_default()) };
    spec.uids.iter().copied().find(|uid| uid.eq_ignore_ascii_case(chosen)).ok_or_else(|| {
        Unchosen::Usage(format!("{chosen:?} cannot be the UID in {}: expected {}", spec.format, spec.uids.join(" or ")))
    })
}

fn job(
    spec: &'static Spec,
    document: &'static Document,
    place: &'static str,
    head: &Head<'_>,
    settings: &Arc<Settings>,
) -> Result<Job, Unchosen> {
    let mut paths = vec![Place { steps: steps(place), map: document.map }];
    paths.extend(document.beside.iter().map(|(name, map)| Place { steps: steps(&beside(place, name)), map: *map }));
    let mut notes: Vec<&'static str> = document.next.iter().copied().chain(document.total).collect();
    let mut pending = false;
    if spec.format == Format::GigyaImport {
        notes.push(FINALIZE);
        let found = Found::at(head.text, &steps(place));
        let says_so = |text: &[u8]| found.pages.iter().any(|page| page.starts_with(FINALIZE, text));
        pending = says_so(b"false") || says_so(b"\"false\"");
    }
    Ok(Job {
        format: spec.format,
        expected: expected(place),
        paths,
        notes,
        document: Some(document),
        may_lack: document.may_lack,
        uid: uid_of(spec, settings)?,
        pending,
        settings: Arc::clone(settings),
        gone: Arc::default(),
    })
}

/// What a page looks like, in words.
fn expected(place: &str) -> String {
    match place {
        "" => "a JSON object for each user".to_owned(),
        "[]" => "a JSON array of users".to_owned(),
        place => format!("a JSON document with the list {place}"),
    }
}

/// How to read an input by a mapping.
fn mapped(head: &Head<'_>, settings: &Arc<Settings>) -> Result<Reading, Unchosen> {
    let Some(mapping) = &settings.mapping else { return Err(Unchosen::Usage("no mapping is given".to_owned())) };
    if !head.is_json() {
        let columns = mapping.columns(&Names::of(head.header().0)).map_err(Unchosen::Document)?;
        let settings = Arc::clone(settings);
        return Ok(Reading::Rows(Arc::new(TableJob { columns, settings, deleted: Arc::default() })));
    }
    let bare = if head.text.starts_with(b"[") { vec![Step::Each] } else { Vec::new() };
    let steps = mapping.record_steps().unwrap_or(bare);
    let lines = steps.is_empty() && head.is_lines(|_| false);
    let job = Arc::new(Job {
        format: Format::Map,
        expected: if page_depth(&steps) == 0 && steps.is_empty() {
            expected("")
        } else {
            "a JSON document with the records where the mapping says".to_owned()
        },
        paths: vec![Place { steps, map: by_mapping }],
        notes: Vec::new(),
        document: None,
        may_lack: false,
        uid: "",
        pending: false,
        settings: Arc::clone(settings),
        gone: Arc::default(),
    });
    Ok(if lines { Reading::Lines(job) } else { Reading::Documents(job) })
}
