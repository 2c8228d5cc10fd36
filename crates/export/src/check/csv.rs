//! CSV exports, row by row: the header, quotes where they are needed and nowhere else, CRLF.

use std::borrow::Cow;
use std::io::Read;

use headcount_block::text::csv_needs_quotes;

use super::content::Content;
use super::error::{Halt, Problem};
use super::tally::Tally;
use super::window::{Stop, Window};
use crate::fields::{Field, Fields};

/// What the columns are.
struct Columns {
    fields: Fields,
    /// Whether the first one says what kind of change a row is.
    changes: bool,
    /// How many there are.
    len: usize,
    /// Where each field is.
    uid: Option<usize>,
    status: Option<usize>,
    provider: Option<usize>,
    provider_uid: Option<usize>,
}

impl Columns {
    fn new(fields: Fields, changes: bool) -> Self {
        let shift = usize::from(changes);
        let of = |field| fields.iter().position(|f| f == field).map(|index| index + shift);
        let len = fields.iter().count() + shift;
        let (uid, status) = (of(Field::Uid), of(Field::Status));
        let (provider, provider_uid) = (of(Field::Provider), of(Field::ProviderUid));
        Self { fields, changes, len, uid, status, provider, provider_uid }
    }

    const fn has_identities(&self) -> bool {
        self.provider.is_some() || self.provider_uid.is_some()
    }
}

/// One row: where each of its fields is.
#[derive(Default)]
struct Row {
    cells: [Cell; 5],
    len: usize,
}

#[derive(Default, Clone, Copy)]
struct Cell {
    start: usize,
    end: usize,
    /// Whether it holds doubled quotes.
    quoted: bool,
}

/// Goes through all rows. `guarded`: whether the formula guard was on, where that is known.
pub(crate) fn rows(window: &mut Window<impl Read>, guarded: Option<bool>) -> Result<Content, Halt> {
    let columns = header(window)?;
    let mut state = State { tally: Tally::guarded(guarded.unwrap_or(true)), kind: Kind::Start, status: Vec::new() };
    let mut row = Row::default();
    loop {
        let mut passed = 0;
        let stop = loop {
            let bytes = window.bytes().get(passed..).unwrap_or_default();
            let len = match split(bytes, columns.len, &mut row) {
                Ok(len) => len,
                Err(stop) => break stop,
            };
            match state.row(&columns, &row, bytes, window.offset() + passed as u64) {
                Ok(()) => passed += len,
                Err(Refused::Row(expected)) => break Stop::Bad { at: 0, expected },
                Err(Refused::Found(problem)) => return Err(problem.into()),
            }
        };
        window.consume(passed)?;
        match stop {
            Stop::Bad { at, expected } => return Err(window.bad(at, expected).into()),
            Stop::More if window.more()? => {}
            Stop::More if window.bytes().is_empty() => break,
            Stop::More => return Err(window.cut_short("a row").into()),
        }
    }
    Ok(Content {
        fields: Some(columns.fields),
        has_uids: columns.uid.is_some(),
        counts_users: columns.uid.is_some() || !columns.has_identities(),
        changes: columns.changes,
        trailer: None,
        tally: state.tally,
    })
}

fn header(window: &mut Window<impl Read>) -> Result<Columns, Halt> {
    const EXPECTED: &str = "a header of uid, provider, providerUID and status, in any order";
    const HEADER_MAX: usize = 100;
    window.fill(HEADER_MAX)?;
    let bytes = window.bytes();
    let Some(end) = bytes.iter().position(|&b| b == b'\n') else {
        return Err(
            if bytes.len() < HEADER_MAX { window.cut_short("the header") } else { window.bad(0, EXPECTED) }.into()
        );
    };
    let text = bytes.get(..end).unwrap_or_default().strip_suffix(b"\r").and_then(|text| std::str::from_utf8(text).ok());
    let of_changes = text.and_then(|text| text.strip_prefix("change,"));
    let (changes, names) = (of_changes.is_some(), of_changes.or(text));
    // Exactly as it is written: neither other cases nor repeats.
    let fields = names.and_then(|names| names.parse::<Fields>().ok().filter(|fields| fields.to_string() == names));
    let Some(fields) = fields else { return Err(window.bad(0, EXPECTED).into()) };
    window.consume(end + 1)?;
    Ok(Columns::new(fields, changes))
}

/// Finds the fields of the row at the start of `bytes`; its length with its line end.
fn split(bytes: &[u8], columns: usize, row: &mut Row) -> Result<usize, Stop> {
    let mut at = 0;
    row.len = 0;
    loop {
        let start = at;
        let quoted = bytes.get(at) == Some(&b'"');
        let end = if quoted { closing_quote(bytes, at)? } else { plain_end(bytes, at)? };
        let cell = if quoted { Cell { start: start + 1, end, quoted } } else { Cell { start, end, quoted } };
        at = if quoted { end + 1 } else { end };
        let Some(place) = row.cells.get_mut(row.len).filter(|_| row.len < columns) else {
            return Err(Stop::Bad { at: start, expected: "no more fields than in the header" });
        };
        *place = cell;
        row.len += 1;
        if quoted {
            needs_its_quotes(bytes, cell, columns)?;
        }
        match bytes.get(at..).unwrap_or_default() {
            [b',', ..] => at += 1,
            [b'\r', b'\n', ..] if row.len == columns => return Ok(at + 2),
            [b'\r', b'\n', ..] => return Err(Stop::Bad { at, expected: "as many fields as in the header" }),
            [] | [b'\r'] => return Err(Stop::More),
            _ => return Err(Stop::Bad { at, expected: "a comma or the end of the row" }),
        }
    }
}

/// Refuses quotes around what needs none; the only field of a row is quoted when it is empty.
fn needs_its_quotes(bytes: &[u8], cell: Cell, columns: usize) -> Result<(), Stop> {
    let inside = bytes.get(cell.start..cell.end).unwrap_or_default();
    if csv_needs_quotes(inside) || (inside.is_empty() && columns == 1) {
        return Ok(());
    }
    Err(Stop::Bad { at: cell.start, expected: "no quotes around a value that needs none" })
}

fn plain_end(bytes: &[u8], from: usize) -> Result<usize, Stop> {
    let rest = bytes.get(from..).unwrap_or_default();
    let len = plain_len(rest);
    if len == rest.len() {
        return Err(Stop::More);
    }
    let at = from + len;
    match rest.get(len) {
        Some(b'"') => Err(Stop::Bad { at, expected: "no quote inside a value without quotes" }),
        Some(b'\n') => Err(Stop::Bad { at, expected: "CR before LF" }),
        _ => Ok(at),
    }
}

/// Length of the prefix of `bytes` without a comma, a quote, CR or LF.
fn plain_len(bytes: &[u8]) -> usize {
    const fn lanes(b: u8) -> u64 {
        u64::from_le_bytes([b; 8])
    }
    // The high bit of each lane that is zero; exact up to the lowest, as borrows run upwards only.
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(lanes(1)) & !word & lanes(0x80)
    }
    let (words, tail) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let hit = zeros(word ^ lanes(b','))
            | zeros(word ^ lanes(b'"'))
            | zeros(word ^ lanes(b'\r'))
            | zeros(word ^ lanes(b'\n'));
        if hit != 0 {
            return i * 8 + hit.trailing_zeros() as usize / 8;
        }
    }
    words.len() * 8 + tail.iter().position(|b| b",\"\r\n".contains(b)).unwrap_or(tail.len())
}

/// Index of the quote that closes the one at `open`.
fn closing_quote(bytes: &[u8], open: usize) -> Result<usize, Stop> {
    let mut at = open + 1;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        at += rest.iter().position(|&b| b == b'"').ok_or(Stop::More)?;
        match bytes.get(at + 1) {
            None => return Err(Stop::More),
            Some(b'"') => at += 2,
            Some(_) => return Ok(at),
        }
    }
}

/// What the rows so far were of.
struct State {
    tally: Tally,
    kind: Kind,
    /// Status of the user before.
    status: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Start,
    /// A user with identities, of which more may follow.
    Linked,
    /// A user without, or a UID that is gone: one row.
    Alone,
}

enum Refused {
    Row(&'static str),
    Found(Problem),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Found(problem)
    }
}

impl State {
    fn row(&mut self, columns: &Columns, row: &Row, bytes: &[u8], offset: u64) -> Result<(), Refused> {
        let cell = |index: usize| value(bytes, row.cells.get(index).copied().unwrap_or_default());
        let (uid, status) = (columns.uid.map(cell), columns.status.map(cell));
        let empty = |index: Option<usize>| index.map(|index| cell(index).is_empty());
        let (provider, provider_uid) = (empty(columns.provider), empty(columns.provider_uid));
        let is_bare = provider == Some(true) || provider_uid == Some(true);
        if is_bare && (provider == Some(false) || provider_uid == Some(false)) {
            return Err(Refused::Row("provider and providerUID, or neither"));
        }
        if columns.changes && *cell(0) == *b"delete" {
            return self.gone(uid.as_deref(), is_bare || !columns.has_identities(), status.as_deref(), offset);
        }
        if columns.changes && *cell(0) != *b"upsert" {
            return Err(Refused::Row("upsert or delete"));
        }
        if status.as_deref().is_some_and(|status| status != b"registered" && status != b"pending") {
            return Err(Refused::Row("the status registered or pending"));
        }
        let linked = columns.has_identities() && !is_bare;
        let identities = u64::from(linked);
        let Some(uid) = uid else {
            self.tally.count(identities);
            return Ok(());
        };
        if uid.is_empty() {
            return Err(Refused::Row("a UID that is not empty"));
        }
        if *uid == *self.tally.before() && linked && self.kind == Kind::Linked {
            if status.as_deref().is_none_or(|status| status == self.status) {
                self.tally.go_on(identities);
                return Ok(());
            }
            if !self.tally.may_be_another() {
                return Err(Refused::Row("the status that the user has in the row before"));
            }
        }
        self.tally.user(&uid, identities, offset)?;
        self.kind = if linked { Kind::Linked } else { Kind::Alone };
        self.status.clear();
        self.status.extend_from_slice(status.as_deref().unwrap_or_default());
        Ok(())
    }

    fn gone(&mut self, uid: Option<&[u8]>, bare: bool, status: Option<&[u8]>, offset: u64) -> Result<(), Refused> {
        let Some(uid) = uid.filter(|uid| bare && !uid.is_empty() && status.is_none_or(<[u8]>::is_empty)) else {
            return Err(Refused::Row("a UID and nothing else in a row of a deletion"));
        };
        self.kind = Kind::Alone;
        Ok(self.tally.gone(uid, offset)?)
    }
}

/// The text of a field.
fn value(bytes: &[u8], cell: Cell) -> Cow<'_, [u8]> {
    let inside = bytes.get(cell.start..cell.end).unwrap_or_default();
    if !cell.quoted || !inside.contains(&b'"') {
        return Cow::Borrowed(inside);
    }
    let mut text = Vec::with_capacity(inside.len());
    let mut after_quote = false;
    for &b in inside {
        // Every second of two quotes.
        after_quote = b == b'"' && !after_quote;
        if b != b'"' || after_quote {
            text.push(b);
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_length_stops_at_every_special_byte_and_at_no_other() {
        for len in 0..20 {
            for at in 0..len {
                for b in 0..=255_u8 {
                    for after in [b'x', b',', 0x0b, b'-', 0x80] {
                        let mut bytes = vec![b'x'; len];
                        bytes.iter_mut().skip(at).for_each(|place| *place = after);
                        bytes[at] = b;
                        let expected = bytes.iter().position(|b| b",\"\r\n".contains(b)).unwrap_or(len);
                        assert_eq!(plain_len(&bytes), expected, "{bytes:?}");
                    }
                }
            }
        }
    }
}
