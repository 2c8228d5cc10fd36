//! CSV of identities: the header, where records end, and the fields of a record.
//!
//! Where a record ends is told by [`record_end`] alone, in the reader and in the workers, so that both always agree.
//! A record without quotes is split at its commas; one with quotes is checked and then goes through `csv_core`.

use std::sync::Arc;

use crate::error::{BadDocument, BadRecord};

/// A column that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Uid,
    Provider,
    ProviderUid,
    Status,
    /// Of our own exports of changes, `export --since`: `upsert` or `delete`.
    Change,
    /// Of our own `changes`: `true` or `false`; of others, in other spellings too.
    Deleted,
    Ignored,
}

impl Column {
    /// The column of this name, in any case.
    fn of(name: &str) -> Self {
        let name = name.trim();
        Self::known().into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or(Self::Ignored, |(_, c)| c)
    }

    const fn known() -> [(&'static str, Self); 6] {
        [
            ("uid", Self::Uid),
            ("provider", Self::Provider),
            ("providerUID", Self::ProviderUid),
            ("status", Self::Status),
            ("change", Self::Change),
            ("deleted", Self::Deleted),
        ]
    }

    /// Whether an import cannot do without it.
    const fn is_needed(self) -> bool {
        matches!(self, Self::Uid | Self::Provider | Self::ProviderUid)
    }
}

/// Whether a column of this name is one that an import cannot do without.
pub(crate) fn is_needed_column(name: &str) -> bool {
    Column::of(name).is_needed()
}

/// A header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// What each column means.
    pub(crate) columns: Vec<Column>,
    /// Names of the columns that are not used.
    pub(crate) ignored: Vec<String>,
    /// The header record as it was found, without line end.
    pub(crate) raw: String,
}

impl Header {
    /// Reads a header record.
    pub(crate) fn parse(record: &[u8]) -> Result<Arc<Self>, BadDocument> {
        let problem = |problem: &str, found: &str, hint| BadDocument::Header {
            problem: problem.to_owned(),
            found: found.to_owned(),
            hint,
        };
        let plain = "in any order and case, separated by commas";
        let Ok(text) = std::str::from_utf8(record) else {
            return Err(problem("is not UTF-8", "other bytes", "in UTF-8"));
        };
        let raw = header_text(text);
        let names = fields_of(raw);
        let found = names.iter().map(|n| format!("{:?}", clipped(n))).collect::<Vec<_>>().join(", ");
        if raw.is_empty() {
            return Err(problem("is missing", "nothing", plain));
        }
        check_header(raw).map_err(|why| problem(&why, &found, "in lines that end in LF or CRLF"))?;
        let columns: Vec<Column> = names.iter().map(|n| Column::of(n)).collect();
        for (name, column) in Column::known() {
            match columns.iter().filter(|&&c| c == column).count() {
                0 if !column.is_needed() => {}
                0 => return Err(problem(&format!("has no column {name}"), &found, hint(&names, name))),
                1 => {}
                // Others may have several, of which each counts.
                _ if matches!(column, Column::Change | Column::Deleted) => {}
                n => return Err(problem(&format!("has {n} columns {name}"), &found, plain)),
            }
        }
        let ignored = names.into_iter().zip(&columns).filter(|(_, c)| **c == Column::Ignored).map(|(n, _)| n).collect();
        Ok(Arc::new(Self { columns, ignored, raw: raw.to_owned() }))
    }
}

/// A header record without its line end.
pub(crate) fn header_text(record: &str) -> &str {
    let record = record.strip_suffix('\n').unwrap_or(record);
    record.strip_suffix('\r').unwrap_or(record)
}

/// Refuses in a header what is refused in rows: where lines end in CR alone, the header holds all of them.
pub(crate) fn check_header(raw: &str) -> Result<(), String> {
    misquoted(raw.as_bytes()).map_err(|(at, why)| format!("has, at its byte {at}, {why}"))
}

/// What other programs put between fields.
pub(crate) const OTHER_SEPARATORS: [char; 3] = [';', '\t', '|'];

fn hint(names: &[String], missing: &str) -> &'static str {
    match names {
        [one] if one.contains(OTHER_SEPARATORS) => "separated by commas (this file seems to use another separator)",
        _ if missing == "uid" && names.iter().any(|n| is_needed_column(n)) => {
            "(an export without uid cannot be imported: export again with the fields uid,provider,providerUID)"
        }
        _ => "in any order and case, separated by commas",
    }
}

/// The beginning of a text, for a message.
pub(crate) fn clipped(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The fields of one record, for headers.
pub(crate) fn fields_of(record: &str) -> Vec<String> {
    let mut splitter = Splitter::new();
    splitter.split(record.as_bytes());
    (0..splitter.len()).map(|i| String::from_utf8_lossy(splitter.field(i)).trim().to_owned()).collect()
}

/// Length of the record at the start of `bytes`, its line end included; `None` when its end is not among them.
pub(crate) fn record_end(bytes: &[u8]) -> Option<usize> {
    let line = memchr::memchr(b'\n', bytes).map(|at| at + 1);
    let first = memchr::memchr(b'"', bytes.get(..line.unwrap_or(bytes.len()))?);
    let Some(mut quote) = first else { return line };
    loop {
        let opens = quote == 0 || matches!(bytes.get(quote - 1), Some(b',' | b'\n'));
        // A quote inside an unquoted field is text here; the workers refuse the record.
        let after = if opens { closing_quote(bytes, quote)? + 1 } else { quote + 1 };
        let at = after + memchr::memchr2(b'"', b'\n', bytes.get(after..)?)?;
        if bytes.get(at) == Some(&b'\n') {
            return Some(at + 1);
        }
        quote = at;
    }
}

/// Index of the quote that closes the one at `open`; doubled quotes are text.
fn closing_quote(bytes: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        at += memchr::memchr(b'"', bytes.get(at..)?)?;
        if bytes.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

/// Whether the last record of an input, which has no line end, is inside a quoted field.
pub(crate) fn is_open(record: &[u8]) -> bool {
    // With a line end appended the record ends, unless that is inside quotes.
    let mut closed = record.to_vec();
    closed.push(b'\n');
    record_end(&closed).is_none()
}

/// Refuses quotes and carriage returns that RFC 4180 does not allow: the byte inside the record and why.
pub(crate) fn check_quotes(record: &[u8]) -> Result<(), (usize, BadRecord)> {
    misquoted(record).map_err(|(at, why)| (at, BadRecord::Quotes(why)))
}

fn misquoted(record: &[u8]) -> Result<(), (usize, &'static str)> {
    let bad = |at, why| Err((at, why));
    let mut at = 0;
    while let Some(step) = memchr::memchr2(b'"', b'\r', record.get(at..).unwrap_or_default()) {
        at += step;
        if record.get(at) == Some(&b'\r') {
            return bad(at, "a carriage return outside of quotes that ends no line");
        }
        if at > 0 && record.get(at - 1) != Some(&b',') {
            return bad(at, "a quote inside a field that does not begin with one (write it doubled, in quotes)");
        }
        let Some(close) = closing_quote(record, at) else {
            return bad(at, "a quoted field that is not closed");
        };
        if !matches!(record.get(close + 1), None | Some(b',')) {
            return bad(close + 1, "text after the closing quote of a field");
        }
        at = close + 1;
    }
    Ok(())
}

/// Splits records with quotes, into buffers that are used again.
#[derive(Debug)]
pub(crate) struct Splitter {
    reader: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
    len: usize,
}

impl Splitter {
    /// A splitter with empty buffers.
    pub(crate) fn new() -> Self {
        let mut reader = csv_core::Reader::new();
        // The reader takes a byte order mark off the first record; here a first record is nothing special.
        let _ = reader.read_record(b"-\n", &mut [0; 8], &mut [0; 8]);
        Self { reader, text: Vec::new(), ends: Vec::new(), len: 0 }
    }

    /// Splits one record without its line end.
    pub(crate) fn split(&mut self, record: &[u8]) {
        // Unquoting only shortens, and there is no field without a comma but one.
        self.text.resize(record.len() + 1, 0);
        self.ends.resize(memchr::memchr_iter(b',', record).count() + 2, 0);
        let (_, _, written, fields) = self.reader.read_record(record, &mut self.text, &mut self.ends);
        let text = self.text.get_mut(written..).unwrap_or_default();
        let ends = self.ends.get_mut(fields..).unwrap_or_default();
        let (_, _, _, last) = self.reader.read_record(b"\n", text, ends);
        self.len = fields + last;
    }

    /// How many fields the record had.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// A field, unquoted.
    pub(crate) fn field(&self, i: usize) -> &[u8] {
        let end = self.ends.get(..self.len).and_then(|ends| ends.get(i)).copied().unwrap_or_default();
        let start = i.checked_sub(1).and_then(|i| self.ends.get(i)).copied().unwrap_or_default();
        self.text.get(start..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
