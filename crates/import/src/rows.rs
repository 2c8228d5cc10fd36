//! CSV rows into fragments of users: consecutive rows of one UID are one fragment, the loader unites the others.

use headcount_block::{LimitError, RowBuf, Status};
use headcount_store::{Place, RowKind};

use crate::chunk::Chunk;
use crate::csv::{self, Column, Splitter};
use crate::error::BadRecord;
use crate::json::parse_status;
use crate::mapped::OF_GONE;
use crate::names::ProviderNames;
use crate::parse::{Failed, Raw, Sink, Target, inside, trim_line_end};
use crate::scan::newlines;

/// Line end of rejected records, as in our own exports.
const CRLF: &[u8] = b"\r\n";

/// The fields of a row that are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Fields<'a> {
    uid: &'a str,
    provider: &'a str,
    provider_uid: &'a str,
    status: Option<&'a str>,
    /// A column of changes that does not say that the row is of a user, and what it says.
    change: Option<(Column, &'a str)>,
}

impl<'a> Fields<'a> {
    fn set(&mut self, column: Column, field: &'a str) {
        match column {
            Column::Uid => self.uid = field,
            Column::Provider => self.provider = field,
            Column::ProviderUid => self.provider_uid = field,
            Column::Status => self.status = Some(field),
            Column::Change if field != "upsert" => self.change = Some((column, field)),
            Column::Deleted if truth(field) != Some(false) => self.change = Some((column, field)),
            Column::Change | Column::Deleted | Column::Ignored => {}
        }
    }

    /// Refuses a row of who is gone.
    fn expect_user(&self) -> Result<(), BadRecord> {
        let Some((of, said)) = self.change else { return Ok(()) };
        let (column, is_gone, expected) = match of {
            Column::Change => ("change", said == "delete", "\"upsert\" or \"delete\""),
            _ => ("deleted", truth(said) == Some(true), "\"false\" or \"true\""),
        };
        Err(if is_gone {
            BadRecord::Deleted(format!("{column} is {said:?}, which"))
        } else {
            BadRecord::Change { column, expected, found: csv::clipped(said) }
        })
    }

    fn status(&self) -> Result<Status, BadRecord> {
        let Some(name) = self.status else { return Ok(Status::Registered) };
        parse_status(name).ok_or_else(|| BadRecord::Status(csv::clipped(name)))
    }

    /// The identity of the row, if it has one.
    fn identity(&self) -> Result<Option<(&'a str, &'a str)>, BadRecord> {
        match (self.provider.is_empty(), self.provider_uid.is_empty()) {
            (true, true) => Ok(None),
            (false, false) => Ok(Some((self.provider, self.provider_uid))),
            (true, false) => Err(BadRecord::HalfIdentity { empty: "provider", given: "providerUID" }),
            (false, true) => Err(BadRecord::HalfIdentity { empty: "providerUID", given: "provider" }),
        }
    }
}

/// What a column `deleted` says, which others have too, and databases and other programs spell in their own ways; `None` where
/// that is not known.
fn truth(said: &str) -> Option<bool> {
    const NO: [&str; 8] = ["false", "", "f", "no", "n", "0", "NULL", "\\N"];
    const YES: [&str; 5] = ["true", "t", "yes", "y", "1"];
    let is = |spellings: &[&str]| spellings.iter().any(|spelling| spelling.eq_ignore_ascii_case(said));
    if is(&NO) { Some(false) } else { is(&YES).then_some(true) }
}

/// One row and where it is.
#[derive(Clone, Copy)]
struct Record<'a> {
    bytes: &'a [u8],
    /// Its bytes in the chunk.
    start: usize,
    end: usize,
    place: Place,
}

/// Reads rows, with buffers that are used again.
#[derive(Debug)]
pub(crate) struct RowReader {
    names: ProviderNames,
    splitter: Splitter,
    group: Group,
}

/// The consecutive rows that are in the row buffer.
#[derive(Debug)]
struct Group {
    uid: String,
    status: Status,
    rows: u64,
    identities: u64,
    repeated: u64,
    /// Its bytes in the chunk.
    start: usize,
    end: usize,
    place: Place,
}

impl RowReader {
    pub(crate) fn new(names: ProviderNames) -> Self {
        let group = Group {
            uid: String::new(),
            status: Status::Registered,
            rows: 0,
            identities: 0,
            repeated: 0,
            start: 0,
            end: 0,
            place: Place { file: 0, line: 0, offset: 0 },
        };
        Self { names, splitter: Splitter::new(), group }
    }

    /// Reads all rows of a chunk.
    pub(crate) fn read<S: Sink>(
        &mut self,
        chunk: &Chunk,
        columns: &[Column],
        row: &mut RowBuf,
        target: &mut Target<'_, S>,
    ) -> Result<(), Failed> {
        let bytes = chunk.bytes();
        let text = std::str::from_utf8(bytes).ok();
        let (mut at, mut line) = (0, chunk.number);
        self.group.rows = 0;
        while at < bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            let len = csv::record_end(rest).unwrap_or(rest.len());
            let raw = rest.get(..len).unwrap_or_default();
            let record = Record { bytes: trim_line_end(raw), start: at, end: at + len, place: chunk.place(line, at) };
            if !record.bytes.is_empty() {
                target.outcome.counts.records += 1;
                let known = text.and_then(|t| t.get(at..at + record.bytes.len()));
                match self.record(record, known, columns, row, chunk, target)? {
                    Ok(()) => {}
                    Err(_) if target.gone.contains_field(&mut self.splitter, record.bytes, uid_column(columns)) => {
                        *target.outcome.skipped.entry(OF_GONE).or_default() += 1;
                    }
                    Err((by, reason)) => target.refuse(1, inside(record.place, by), reason, Raw::Lines(raw, CRLF))?,
                }
            }
            line += newlines(raw);
            at += len;
        }
        self.flush(chunk, row, target)
    }

    /// Reads one row; `known` is its text when the chunk is known to be UTF-8.
    fn record<'a, S: Sink>(
        &mut self,
        record: Record<'a>,
        known: Option<&'a str>,
        columns: &[Column],
        row: &mut RowBuf,
        chunk: &Chunk,
        target: &mut Target<'_, S>,
    ) -> Result<Result<(), (usize, BadRecord)>, Failed> {
        let text = match known.map_or_else(|| std::str::from_utf8(record.bytes), Ok) {
            Ok(text) => text,
            Err(e) => return Ok(Err((e.valid_up_to(), BadRecord::Utf8))),
        };
        let plain = memchr::memchr2(b'"', b'\r', record.bytes).is_none();
        let Self { names, splitter, group } = self;
        let fields = if plain { split_plain(text, columns) } else { split_quoted(splitter, text, columns) };
        let fields = fields.map(|fields| Fields { provider: names.of(fields.provider), ..fields });
        match fields {
            Ok(fields) => Ok(group.add(fields, record, row, chunk, target)?.map_err(|reason| (0, reason))),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    fn flush<S: Sink>(&mut self, chunk: &Chunk, row: &mut RowBuf, target: &mut Target<'_, S>) -> Result<(), Failed> {
        self.group.flush(chunk, row, target)
    }
}

fn uid_column(columns: &[Column]) -> usize {
    columns.iter().position(|column| *column == Column::Uid).unwrap_or(usize::MAX)
}

/// Splits a row without quotes.
fn split_plain<'a>(text: &'a str, columns: &[Column]) -> Result<Fields<'a>, (usize, BadRecord)> {
    let mut fields = Fields::default();
    let mut found = 0;
    for field in text.split(',') {
        fields.set(columns.get(found).copied().unwrap_or(Column::Ignored), field);
        found += 1;
    }
    counted(fields, columns.len(), found)
}

/// Splits a row that may have quotes.
fn split_quoted<'a>(
    splitter: &'a mut Splitter,
    text: &str,
    columns: &[Column],
) -> Result<Fields<'a>, (usize, BadRecord)> {
    csv::check_quotes(text.as_bytes())?;
    splitter.split(text.as_bytes());
    let mut fields = Fields::default();
    for (i, column) in columns.iter().enumerate() {
        fields.set(*column, std::str::from_utf8(splitter.field(i)).map_err(|_| (0, BadRecord::Utf8))?);
    }
    counted(fields, columns.len(), splitter.len())
}

const fn counted(fields: Fields<'_>, expected: usize, found: usize) -> Result<Fields<'_>, (usize, BadRecord)> {
    if found == expected { Ok(fields) } else { Err((0, BadRecord::Fields { expected, found })) }
}

impl Group {
    /// Adds a row to the group when it is of the same user, or else begins the next group with it.
    fn add<S: Sink>(
        &mut self,
        fields: Fields<'_>,
        record: Record<'_>,
        row: &mut RowBuf,
        chunk: &Chunk,
        target: &mut Target<'_, S>,
    ) -> Result<Result<(), BadRecord>, Failed> {
        let same = self.rows > 0 && self.uid == fields.uid;
        // Whatever else is wrong with it: among the rejects it would be mended, and bring them back.
        if !same && target.gone.contains(fields.uid) {
            self.flush(chunk, row, target)?;
            *target.outcome.skipped.entry(OF_GONE).or_default() += 1;
            return Ok(Ok(()));
        }
        let parts = fields.expect_user().and_then(|()| Ok((fields.status()?, fields.identity()?)));
        let (status, identity) = match parts {
            Ok(parts) => parts,
            Err(reason) => return Ok(Err(reason)),
        };
        if same && self.status == status {
            match self.push(identity, row) {
                Ok(()) => {
                    self.rows += 1;
                    self.end = record.end;
                    return Ok(Ok(()));
                }
                // The loader unites the parts, and refuses them together.
                Err(LimitError::TooManyIdentities { .. }) => {}
                Err(e) => return Ok(Err(e.into())),
            }
        }
        self.flush(chunk, row, target)?;
        row.clear();
        if let Err(e) = row.set_uid(fields.uid) {
            return Ok(Err(e.into()));
        }
        row.set_status(status);
        (self.identities, self.repeated) = (0, 0);
        if let Err(e) = self.push(identity, row) {
            return Ok(Err(e.into()));
        }
        self.uid.clear();
        self.uid.push_str(fields.uid);
        self.status = status;
        self.rows = 1;
        (self.start, self.end, self.place) = (record.start, record.end, record.place);
        Ok(Ok(()))
    }

    fn push(&mut self, identity: Option<(&str, &str)>, row: &mut RowBuf) -> Result<(), LimitError> {
        if let Some((provider, provider_uid)) = identity {
            let new = row.push_identity(provider, provider_uid)?;
            self.identities += 1;
            self.repeated += u64::from(!new);
        }
        Ok(())
    }

    /// Hands the group over, if there is one.
    fn flush<S: Sink>(&mut self, chunk: &Chunk, row: &mut RowBuf, target: &mut Target<'_, S>) -> Result<(), Failed> {
        let rows = std::mem::take(&mut self.rows);
        if rows == 0 {
            return Ok(());
        }
        if let Err(reason) = target.push(row, RowKind::Fragment, self.place)? {
            let raw = chunk.bytes().get(self.start..self.end).unwrap_or_default();
            return target.refuse(rows, self.place, reason, Raw::Lines(raw, CRLF));
        }
        target.outcome.counts.identities += self.identities;
        target.outcome.counts.repeated += self.repeated;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
