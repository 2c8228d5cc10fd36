//! Records of other systems into rows: what every worker does with a chunk of them.

use std::sync::Arc;

use headcount_block::RowBuf;
use headcount_store::RowKind;

use crate::chunk::Chunk;
use crate::deleted::Deleted;
use crate::draft::{Draft, Mapper, Record, Verdict};
use crate::error::BadRecord;
use crate::format::Format;
use crate::json;
use crate::mapping::Mapping;
use crate::names::ProviderNames;
use crate::object::Bad;
use crate::own::MARK;
use crate::parse::{Failed, Raw, Sink, Target, inside, trim_line_end};
use crate::path::Step;
use crate::scan::{is_space, spaces, value_end};
use crate::spec::Document;

/// What the caller chose for all inputs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) names: ProviderNames,
    /// The provider of the identity that a user without identities gets.
    pub(crate) local: Option<String>,
    /// Which member or column is the UID.
    pub(crate) uid: Option<String>,
    pub(crate) mapping: Option<Mapping>,
    pub(crate) allow_partial: bool,
    /// Memory of the load.
    pub(crate) memory: u64,
}

/// How the records of one input are read.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) format: Format,
    /// Where records lie.
    pub(crate) paths: Vec<Place>,
    /// Members of pages to remember.
    pub(crate) notes: Vec<&'static str>,
    /// What a page looks like, for messages.
    pub(crate) expected: String,
    /// The shape, where it is one of a table.
    pub(crate) document: Option<&'static Document>,
    /// Whether a document may lack the array.
    pub(crate) may_lack: bool,
    /// Which member is the UID.
    pub(crate) uid: &'static str,
    /// Whether all users are pending.
    pub(crate) pending: bool,
    pub(crate) settings: Arc<Settings>,
    /// Users that were left out, and of whom other records may be links.
    pub(crate) gone: Arc<Deleted>,
}

/// The name under which links of users are counted that are left out with these.
pub(crate) const OF_GONE: &str = "identities of accounts that were left out";
const LINKS_OF_GONE: Verdict = Verdict::Skipped(OF_GONE);

impl Job {
    /// Whether a record is a user object of our own form. Where a mapping says what members are, any of them may be the
    /// source's: there the mark tells it. Gigya's accounts are such objects, which its mapping reads.
    fn takes(&self, record: &Record<'_>) -> bool {
        let ours = match self.format {
            Format::Map => MARK,
            Format::GigyaImport | Format::GigyaSearch => return false,
            _ => "UID",
        };
        record.object.has(ours) && is_own_form(record)
    }
}

/// Whether a record has no members but those of our own form.
pub(crate) fn is_own_form(record: &Record<'_>) -> bool {
    record.object.members().all(|(name, _)| matches!(name, "UID" | "status" | "identities" | MARK))
}

/// Where some records lie, and how they are mapped.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) steps: Vec<Step>,
    pub(crate) map: Mapper,
}

/// Reads all records of a chunk that lie at the given path of the job, separated by commas or white space.
pub(crate) fn read_elements<S: Sink>(
    chunk: &Chunk,
    (job, path): (&Job, usize),
    row: &mut RowBuf,
    target: &mut Target<'_, S>,
) -> Result<(), Failed> {
    let Some(place) = job.paths.get(path) else { return Ok(()) };
    let bytes = chunk.bytes();
    let (mut at, mut number) = (0, chunk.number);
    while let Some(&b) = bytes.get(at) {
        if is_space(b) || b == b',' {
            at += 1;
            continue;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        // The cutter handed out whole elements, by the same function.
        let len = value_end(rest).unwrap_or(rest.len());
        let element = rest.get(..len).unwrap_or_default();
        let reader = Reader { job, map: place.map };
        let raw = if job.pending { Raw::Pending(element) } else { Raw::Json(element) };
        reader.record(element, chunk.place(number, at), raw, row, target)?;
        number += 1;
        at += len;
    }
    Ok(())
}

/// Reads all records of a chunk with one a line.
pub(crate) fn read_lines<S: Sink>(
    chunk: &Chunk,
    job: &Job,
    row: &mut RowBuf,
    target: &mut Target<'_, S>,
) -> Result<(), Failed> {
    let Some(place) = job.paths.first() else { return Ok(()) };
    let bytes = chunk.bytes();
    let (mut at, mut line) = (0, chunk.number);
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let len = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        let record = rest.get(..len).unwrap_or_default();
        if spaces(record) < record.len() {
            let reader = Reader { job, map: place.map };
            let raw = Raw::Lines(record, b"\n");
            reader.record(trim_line_end(record), chunk.place(line, at), raw, row, target)?;
        }
        line += 1;
        at += len;
    }
    Ok(())
}

/// Reads single records.
struct Reader<'j> {
    job: &'j Job,
    map: Mapper,
}

impl Reader<'_> {
    fn record<S: Sink>(
        &self,
        record: &[u8],
        place: headcount_store::Place,
        raw: Raw<'_>,
        row: &mut RowBuf,
        target: &mut Target<'_, S>,
    ) -> Result<(), Failed> {
        target.outcome.counts.records += 1;
        let text = match std::str::from_utf8(record) {
            Ok(text) => text,
            Err(e) => return target.refuse(1, inside(place, e.valid_up_to()), BadRecord::Utf8, raw),
        };
        let names = self.job.settings.names;
        match self.map(text, Draft::new(row, names)) {
            Ok((verdict, mapped)) => {
                if matches!(verdict, Verdict::Skipped(_)) {
                    target.sink.left_out(row);
                }
                target.settle(verdict, mapped, row, place, raw)
            }
            Err((at, reason)) => target.refuse(1, inside(place, at), reason, raw),
        }
    }

    fn map(&self, text: &str, mut draft: Draft<'_>) -> Result<(Verdict, Mapped), (usize, BadRecord)> {
        let located = |bad: Bad<'_>| (bad.offset(text), bad.reason);
        let record = Record::parse(text).map_err(located)?;
        // Files of rejected records hold users that the loader refused, in our own form.
        if self.job.takes(&record) {
            let (verdict, tally) = draft.own(text).map_err(|refusal| (refusal.at, refusal.reason))?;
            return Ok((verdict, Mapped { tally, disabled: false }));
        }
        let mut mapped = (self.map)(&record, self.job, &mut draft).map_err(located);
        // A link that cannot be read as well, once it is known whose it is: among the rejects it would be mended, and bring
        // them back.
        let may_be_link = matches!(mapped, Ok(Verdict::Fragment) | Err(_));
        if may_be_link && !self.job.gone.is_empty() && draft.is_of(&self.job.gone) {
            mapped = Ok(LINKS_OF_GONE);
        }
        let verdict = mapped?;
        Ok((verdict, Mapped { tally: draft.tally, disabled: draft.disabled }))
    }
}

/// What is known of a mapped record beside its row.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mapped {
    pub(crate) tally: json::Tally,
    pub(crate) disabled: bool,
}

impl<S: Sink> Target<'_, S> {
    /// Does with a mapped record what its mapping says.
    pub(crate) fn settle(
        &mut self,
        verdict: Verdict,
        mapped: Mapped,
        row: &mut RowBuf,
        place: headcount_store::Place,
        raw: Raw<'_>,
    ) -> Result<(), Failed> {
        let kind = match verdict {
            Verdict::User => RowKind::User,
            Verdict::Fragment => RowKind::Fragment,
            Verdict::Skipped(why) => {
                *self.outcome.skipped.entry(why).or_default() += 1;
                return Ok(());
            }
        };
        if let Err(reason) = self.push(row, kind, place)? {
            return self.refuse(1, place, reason, raw);
        }
        let counts = &mut self.outcome.counts;
        counts.identities += mapped.tally.identities;
        counts.repeated += mapped.tally.repeated;
        counts.disabled += u64::from(mapped.disabled);
        Ok(())
    }
}
