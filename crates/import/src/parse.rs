//! A chunk's records into rows: what every worker does, with buffers that are used again.

use std::collections::BTreeMap;

use headcount_block::{RowBuf, RowRef};
use headcount_store::{Place, RowKind, Shard};

use crate::chunk::{Chunk, Layout};
use crate::csv::Splitter;
use crate::deleted::Deleted;
use crate::error::BadRecord;
use crate::json::{self, Tally};
use crate::ldif;
use crate::mapped::{self, Settings};
use crate::probe::{Members, after_value};
use crate::rows::RowReader;
use crate::scan::{is_space, spaces, value_end};
use crate::table_rows;

/// Takes rows; a [`Shard`] of a load, or a collector in tests.
pub(crate) trait Sink {
    /// Takes one row that begins at `at` of the inputs.
    fn push(&mut self, row: RowRef<'_>, at: Place, kind: RowKind) -> Result<(), headcount_store::Error>;

    /// Hears of a record that is left out; its UID, where it has one, is in `row`.
    fn left_out(&mut self, row: &mut RowBuf) {
        let _ = row;
    }
}

impl Sink for Shard {
    fn push(&mut self, row: RowRef<'_>, at: Place, kind: RowKind) -> Result<(), headcount_store::Error> {
        Self::push(self, row, at, kind)
    }
}

/// Why a chunk was not read to its end.
#[derive(Debug)]
pub(crate) enum Failed {
    Record(Place, BadRecord),
    Store(headcount_store::Error),
    /// The options do not fit the input.
    Usage(&'static str),
}

/// Why users in parts get no local identity.
const PARTS: &str = "--local-identity cannot be given for this format: its records are parts of users, of which none shows \
                     whether another names an identity";

/// Refused records whose place and reason are kept, for one run.
pub(crate) const EXAMPLES: usize = 20;

/// Counts of records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Records read: user objects, or CSV rows.
    pub(crate) records: u64,
    /// Refused ones among them.
    pub(crate) rejected: u64,
    /// Rows given to the sink.
    pub(crate) rows: u64,
    /// Rows without identities among them.
    pub(crate) bare: u64,
    /// Identities in the accepted records, repeated ones included.
    pub(crate) identities: u64,
    /// Identities dropped since their user had them already.
    pub(crate) repeated: u64,
    /// Users that the source says are disabled.
    pub(crate) disabled: u64,
    /// Users that came without identities and got a local one.
    pub(crate) local: u64,
    /// Rows among those given to the sink that are parts of users.
    pub(crate) parts: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.rejected += other.rejected;
        self.rows += other.rows;
        self.bare += other.bare;
        self.identities += other.identities;
        self.repeated += other.repeated;
        self.disabled += other.disabled;
        self.local += other.local;
        self.parts += other.parts;
    }
}

/// Refused records.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    /// How many, by reason.
    pub(crate) by_reason: BTreeMap<&'static str, u64>,
    /// The first of them.
    pub(crate) examples: Vec<(Place, BadRecord)>,
    /// The records as they were, each on a line of its own.
    pub(crate) raw: Vec<u8>,
}

/// What came of one chunk.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    pub(crate) refused: Refused,
    /// Records that were left out as their source says, by reason.
    pub(crate) skipped: BTreeMap<&'static str, u64>,
}

/// What is done with refused records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnInvalid {
    /// The first one ends the import.
    Fail,
    /// They are counted.
    Count,
    /// They are counted, and their bytes are kept.
    Keep,
}

/// Where the rows of a chunk go, and what is done with its bad records.
pub(crate) struct Target<'a, S> {
    pub(crate) sink: &'a mut S,
    pub(crate) on_invalid: OnInvalid,
    /// The provider of the identity that a user without identities gets.
    pub(crate) local: Option<&'a str>,
    /// Users of whom no row of our own is taken: another input leaves them out.
    pub(crate) gone: &'a Deleted,
    pub(crate) outcome: Outcome,
}

impl<S: Sink> Target<'_, S> {
    /// Hands a finished row over, or refuses its record.
    pub(crate) fn push(&mut self, row: &mut RowBuf, kind: RowKind, at: Place) -> Result<Result<(), BadRecord>, Failed> {
        let mut finished = match row.finish() {
            Ok(row) => row,
            Err(e) => return Ok(Err(e.into())),
        };
        let counts = &mut self.outcome.counts;
        counts.rows += 1;
        counts.parts += u64::from(kind == RowKind::Fragment);
        counts.bare += u64::from(finished.identity_count() == 0);
        if let Some(local) = self.local {
            if kind == RowKind::Fragment {
                return Err(Failed::Usage(PARTS));
            }
            if finished.identity_count() == 0 {
                let uid = String::from_utf8_lossy(finished.uid()).into_owned();
                finished = match row.push_identity(local, &uid).and_then(|_| row.finish()) {
                    Ok(row) => row,
                    Err(e) => return Ok(Err(e.into())),
                };
                counts.local += 1;
            }
        }
        let row = finished;
        self.sink.push(row, at, kind).map_err(|e| match e {
            // Too many providers: not this record's fault alone, so it ends the import in any case.
            headcount_store::Error::Limit(limit) => Failed::Record(at, limit.into()),
            other => Failed::Store(other),
        })?;
        Ok(Ok(()))
    }

    /// Refuses `records` records with the bytes `raw`; `at` is the place of the problem.
    pub(crate) fn refuse(&mut self, records: u64, at: Place, reason: BadRecord, raw: Raw<'_>) -> Result<(), Failed> {
        if self.on_invalid == OnInvalid::Fail {
            return Err(Failed::Record(at, reason));
        }
        self.outcome.counts.rejected += records;
        let refused = &mut self.outcome.refused;
        *refused.by_reason.entry(reason.name()).or_default() += records;
        if refused.examples.len() < EXAMPLES {
            refused.examples.push((at, reason));
        }
        if self.on_invalid == OnInvalid::Keep {
            raw.write_to(&mut refused.raw);
        }
        Ok(())
    }
}

/// The bytes of refused records.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Raw<'a> {
    /// A line, or CSV records, to be kept as they are.
    Lines(&'a [u8], &'static [u8]),
    /// JSON that may stretch over lines.
    Json(&'a [u8]),
    /// As that, an object whose document says that all are pending.
    Pending(&'a [u8]),
    /// An entry of LDIF.
    Entry(&'a [u8]),
}

impl Raw<'_> {
    fn write_to(self, out: &mut Vec<u8>) {
        match self {
            Self::Lines(bytes, end) => {
                out.extend_from_slice(trim_line_end(bytes));
                out.extend_from_slice(end);
            }
            Self::Json(bytes) => {
                join_lines(bytes, out);
                out.push(b'\n');
            }
            Self::Pending(bytes) => {
                out.extend_from_slice(b"{\"status\":\"pending\"");
                join_members(bytes, out);
                out.push(b'\n');
            }
            Self::Entry(bytes) => {
                out.extend_from_slice(bytes.trim_ascii_end());
                out.extend_from_slice(b"\n\n");
            }
        }
    }
}

/// Writes the members of an object behind another that stands for its `status`: that is left out, since a member may be there
/// once only.
fn join_members(object: &[u8], out: &mut Vec<u8>) {
    let mut rest = object.get(1..).unwrap_or_default();
    let mut begun = false;
    for (key, value) in Members::new(object) {
        let Some(after) = after_value(value) else { break };
        if key != "status" {
            let member = rest.get(..rest.len() - after.len()).unwrap_or_default();
            out.push(b',');
            join_lines(member.trim_ascii_start().strip_prefix(b",").unwrap_or(member), out);
        }
        (rest, begun) = (after, true);
    }
    // What is no member is for whoever mends it.
    if !begun && !rest.trim_ascii_start().starts_with(b"}") {
        out.push(b',');
    }
    join_lines(rest, out);
}

/// Writes JSON on one line: line breaks become spaces, and escapes inside of strings.
fn join_lines(json: &[u8], out: &mut Vec<u8>) {
    let (mut inside, mut escaped) = (false, false);
    for &b in json {
        match b {
            b'\n' if inside => out.extend_from_slice(b"\\n"),
            b'\r' if inside => out.extend_from_slice(b"\\r"),
            b'\n' | b'\r' => out.push(b' '),
            _ => out.push(b),
        }
        inside ^= b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
    }
}

/// `line` without its line end.
pub(crate) fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Parses chunks.
pub(crate) struct Parser<'s> {
    settings: &'s Settings,
    gone: &'s Deleted,
    row: RowBuf,
    rows: RowReader,
    splitter: Splitter,
}

impl<'s> Parser<'s> {
    /// A parser that takes no rows of our own of the users in `gone`.
    pub(crate) fn new(settings: &'s Settings, gone: &'s Deleted) -> Self {
        let rows = RowReader::new(settings.names);
        Self { settings, gone, row: RowBuf::new(), rows, splitter: Splitter::new() }
    }

    /// Parses one chunk.
    pub(crate) fn parse<S: Sink>(
        &mut self,
        chunk: &Chunk,
        sink: &mut S,
        on_invalid: OnInvalid,
    ) -> Result<Outcome, Failed> {
        let local = self.settings.local.as_deref();
        let mut target = Target { sink, on_invalid, local, gone: self.gone, outcome: Outcome::default() };
        match &chunk.layout {
            Layout::Lines => self.lines(chunk, &mut target)?,
            Layout::Elements => self.elements(chunk, &mut target)?,
            Layout::Rows(header) => self.rows.read(chunk, &header.columns, &mut self.row, &mut target)?,
            Layout::Mapped(job, path) => mapped::read_elements(chunk, (job, *path), &mut self.row, &mut target)?,
            Layout::MappedLines(job) => mapped::read_lines(chunk, job, &mut self.row, &mut target)?,
            Layout::Table(job) => table_rows::read(chunk, job, &mut self.splitter, &mut self.row, &mut target)?,
            Layout::Ldif(job) => ldif::read(chunk, job, &mut self.row, &mut target)?,
        }
        Ok(target.outcome)
    }

    fn lines<S: Sink>(&mut self, chunk: &Chunk, target: &mut Target<'_, S>) -> Result<(), Failed> {
        let bytes = chunk.bytes();
        // Checked for the whole chunk at once, which is cheap; only a chunk with a bad line is checked line by line.
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let mut tally = Tally::default();
        let (mut at, mut line) = (0, chunk.number);
        while at < bytes.len() {
            let place = chunk.place(line, at);
            line += 1;
            if let Some(len) =
                text.get(at..).and_then(|t| json::parse_strict(t, &mut self.row, &mut tally, self.settings.names))
                && let Some(end) = line_end(bytes, at + len)
            {
                let raw = Raw::Lines(bytes.get(at..end).unwrap_or_default(), b"\n");
                self.accept(tally, place, raw, target)?;
                at = end;
                continue;
            }
            let rest = bytes.get(at..).unwrap_or_default();
            let len = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            let record = rest.get(..len).unwrap_or_default();
            if spaces(record) < record.len() {
                self.any(trim_line_end(record), place, Raw::Lines(record, b"\n"), target)?;
            }
            at += len;
        }
        Ok(())
    }

    fn elements<S: Sink>(&mut self, chunk: &Chunk, target: &mut Target<'_, S>) -> Result<(), Failed> {
        let bytes = chunk.bytes();
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let mut tally = Tally::default();
        let (mut at, mut number) = (0, chunk.number);
        while let Some(&b) = bytes.get(at) {
            if is_space(b) || b == b',' {
                at += 1;
                continue;
            }
            let place = chunk.place(number, at);
            number += 1;
            let rest = bytes.get(at..).unwrap_or_default();
            if let Some(len) =
                text.get(at..).and_then(|t| json::parse_strict(t, &mut self.row, &mut tally, self.settings.names))
            {
                self.accept(tally, place, Raw::Json(rest.get(..len).unwrap_or_default()), target)?;
                at += len;
                continue;
            }
            // The cutter handed out whole elements, by the same function.
            let len = value_end(rest).unwrap_or(rest.len());
            let element = rest.get(..len).unwrap_or_default();
            self.any(element, place, Raw::Json(element), target)?;
            at += len;
        }
        Ok(())
    }

    /// A record that is not of the strict shape.
    fn any<S: Sink>(
        &mut self,
        record: &[u8],
        place: Place,
        raw: Raw<'_>,
        target: &mut Target<'_, S>,
    ) -> Result<(), Failed> {
        let parsed = match std::str::from_utf8(record) {
            Ok(text) => json::parse(text, &mut self.row, self.settings.names),
            Err(e) => Err(json::Refusal { reason: BadRecord::Utf8, at: e.valid_up_to() }),
        };
        match parsed {
            Ok(tally) => self.accept(tally, place, raw, target),
            Err(refusal) => {
                target.outcome.counts.records += 1;
                target.refuse(1, inside(place, refusal.at), refusal.reason, raw)
            }
        }
    }

    fn accept<S: Sink>(
        &mut self,
        tally: Tally,
        place: Place,
        raw: Raw<'_>,
        target: &mut Target<'_, S>,
    ) -> Result<(), Failed> {
        target.outcome.counts.records += 1;
        if let Err(reason) = target.push(&mut self.row, RowKind::User, place)? {
            return target.refuse(1, place, reason, raw);
        }
        target.outcome.counts.identities += tally.identities;
        target.outcome.counts.repeated += tally.repeated;
        Ok(())
    }
}

impl Chunk {
    /// The place of the record with this number that begins at byte `at` of the chunk.
    pub(crate) const fn place(&self, number: u64, at: usize) -> Place {
        Place { file: self.file, line: number, offset: self.offset + at as u64 }
    }
}

/// The place `by` bytes inside the record at `place`.
pub(crate) const fn inside(place: Place, by: usize) -> Place {
    Place { file: place.file, line: place.line, offset: place.offset + by as u64 }
}

/// Where the line ends whose text ends at `at`; `None` when there is more text.
fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at) {
        None => Some(at),
        Some(b'\n') => Some(at + 1),
        Some(b'\r') if bytes.get(at + 1) == Some(&b'\n') => Some(at + 2),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
