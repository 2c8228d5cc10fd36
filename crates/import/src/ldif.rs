//! LDIF (RFC 2849): entries with blank lines between them, folded lines, comments, values in base64.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use headcount_block::RowBuf;

use crate::chunk::{Chunk, Cut, Cutter, Layout, Uncut};
use crate::csv::clipped;
use crate::draft::{Draft, Verdict};
use crate::error::{BadDocument, BadRecord};
use crate::mapped::{Mapped, Settings};
use crate::parse::{Failed, Raw, Sink, Target, inside};
use crate::scan::newlines;

/// Object classes of people and of accounts; an entry with the attribute `uid` is one whatever its class.
const PEOPLE: [&str; 7] =
    ["person", "organizationalPerson", "inetOrgPerson", "account", "posixAccount", "user", "inetUser"];

/// How the entries of one input are read.
#[derive(Debug)]
pub(crate) struct LdifJob {
    /// The attribute that is the UID.
    pub(crate) uid: &'static str,
    pub(crate) settings: Arc<Settings>,
}

/// Whether a text begins as LDIF does, comments and blank lines apart.
pub(crate) fn looks_like(text: &str) -> bool {
    let mut comment = false;
    let first = text.lines().find(|line| {
        // What a space begins goes on with the line before.
        comment = line.starts_with('#') || (comment && line.starts_with(' '));
        !comment && !line.trim().is_empty()
    });
    first.is_some_and(|line| {
        let starts = |name: &str| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        starts("dn:") || starts("version: 1")
    })
}

/// Cuts after the last blank line.
#[derive(Debug)]
pub(crate) struct EntryCutter {
    job: Arc<LdifJob>,
    line: u64,
}

impl EntryCutter {
    pub(crate) const fn new(job: Arc<LdifJob>) -> Self {
        Self { job, line: 1 }
    }
}

impl Cutter for EntryCutter {
    fn cut(&mut self, bytes: &[u8], eof: bool) -> Result<Cut, Uncut> {
        let mut end = if eof { bytes.len() } else { last_blank_line(bytes) };
        // What an entry needs behind it to be whole is a line end.
        if eof && bytes.last().is_some_and(|b| *b != b'\n') {
            return Err(Uncut { reason: BadDocument::Truncated("its last line"), at: bytes.len() });
        }
        let number = self.line;
        end = end.min(bytes.len());
        self.line += newlines(bytes.get(..end).unwrap_or_default());
        Ok(Cut { records: 0..end, number, consumed: end })
    }

    fn layout(&self) -> Layout {
        Layout::Ldif(Arc::clone(&self.job))
    }

    fn record_name(&self) -> &'static str {
        "an entry"
    }
}

/// The index behind the last blank line, 0 when there is none.
fn last_blank_line(bytes: &[u8]) -> usize {
    let mut end = bytes.len();
    while let Some(at) = memchr::memrchr(b'\n', bytes.get(..end).unwrap_or_default()) {
        let before = bytes.get(..at).unwrap_or_default();
        let before = before.strip_suffix(b"\r").unwrap_or(before);
        if before.last() == Some(&b'\n') {
            return at + 1;
        }
        end = at;
    }
    0
}

/// Reads all entries of a chunk.
pub(crate) fn read<S: Sink>(
    chunk: &Chunk,
    job: &LdifJob,
    row: &mut RowBuf,
    target: &mut Target<'_, S>,
) -> Result<(), Failed> {
    let bytes = chunk.bytes();
    let (mut at, mut line) = (0, chunk.number);
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let len = entry_end(rest);
        let entry = rest.get(..len).unwrap_or_default();
        let blank = entry.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let record = entry.get(blank..).unwrap_or_default();
        line += newlines(entry.get(..blank).unwrap_or_default());
        let place = chunk.place(line, at + blank);
        match entry_of(record).and_then(|entry| entry.map(|e| map(&e, job, row)).transpose()) {
            Ok(None) => {}
            Ok(Some((verdict, tally))) => {
                target.outcome.counts.records += 1;
                let mapped = Mapped { tally, disabled: false };
                target.settle(verdict, mapped, row, place, Raw::Entry(record))?;
            }
            Err((by, reason)) => {
                target.outcome.counts.records += 1;
                target.refuse(1, inside(place, by), reason, Raw::Entry(record))?;
            }
        }
        line += newlines(record);
        at += len;
    }
    Ok(())
}

/// Length of the entry at the start of `bytes`, blank lines before it included.
fn entry_end(bytes: &[u8]) -> usize {
    let mut at = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    while let Some(end) = memchr::memchr(b'\n', bytes.get(at..).unwrap_or_default()) {
        at += end + 1;
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.starts_with(b"\n") || rest.starts_with(b"\r\n") {
            return at;
        }
    }
    bytes.len()
}

/// The attributes of an entry that matter.
#[derive(Debug, Default)]
struct Entry {
    dn: Option<String>,
    uid: Vec<String>,
    uuid: Vec<String>,
    person: bool,
    change: Option<String>,
}

/// Reads an entry; `None` for comments and the version alone.
fn entry_of(record: &[u8]) -> Result<Option<Entry>, (usize, BadRecord)> {
    let text = std::str::from_utf8(record).map_err(|e| (e.valid_up_to(), BadRecord::Utf8))?;
    let mut entry = Entry::default();
    let mut attributes = 0_u64;
    let mut at = 0;
    while at < text.len() {
        let rest = text.get(at..).unwrap_or_default();
        let len = folded_end(rest);
        let line = rest.get(..len).unwrap_or_default();
        if !line.starts_with('#') && !line.trim().is_empty() {
            let before = attributes;
            entry.attribute(&unfolded(line)).map_err(|reason| (at, reason))?;
            attributes = before + 1;
        }
        at += len;
    }
    // The version stands before the first entry, and may be a block of its own.
    let alone = entry.dn.is_none() && entry.uid.is_empty() && !entry.person;
    if attributes == 0 || (alone && attributes == 1 && text.trim_start().to_ascii_lowercase().starts_with("version:")) {
        return Ok(None);
    }
    Ok(Some(entry))
}

/// Length of a line with those that continue it.
fn folded_end(text: &str) -> usize {
    let mut at = 0;
    while let Some(end) = text.get(at..).and_then(|rest| rest.find('\n')) {
        at += end + 1;
        if !text.get(at..).unwrap_or_default().starts_with(' ') {
            return at;
        }
    }
    text.len()
}

/// A line without its line ends and folds.
fn unfolded(line: &str) -> Cow<'_, str> {
    let line = line.trim_end_matches(['\r', '\n']);
    if line.contains('\n') { Cow::Owned(line.replace("\r\n ", "").replace("\n ", "")) } else { Cow::Borrowed(line) }
}

impl Entry {
    fn attribute(&mut self, line: &str) -> Result<(), BadRecord> {
        let Some((name, value)) = line.split_once(':') else {
            return Err(BadRecord::Ldif(format!("expected a line such as `uid: ana`, found {:?}", clipped(line))));
        };
        let base = name.split(';').next().unwrap_or(name);
        let is = |known: &str| base.eq_ignore_ascii_case(known);
        if is("dn") {
            self.dn = Some(decoded(name, value)?);
        } else if is("uid") {
            self.uid.push(decoded(name, value)?);
        } else if is("entryUUID") {
            self.uuid.push(decoded(name, value)?);
        } else if is("objectClass") {
            let class = decoded(name, value)?;
            self.person |= PEOPLE.iter().any(|known| known.eq_ignore_ascii_case(&class));
        } else if is("changetype") {
            self.change = Some(decoded(name, value)?);
        }
        Ok(())
    }
}

/// The value behind the first colon of a line: text, base64 behind a second one, or a URL behind `<`.
fn decoded(name: &str, value: &str) -> Result<String, BadRecord> {
    if let Some(encoded) = value.strip_prefix(':') {
        let bytes = STANDARD.decode(encoded.trim());
        let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        return text.ok_or_else(|| BadRecord::Ldif(format!("the value of {name} is not base64 of UTF-8 text")));
    }
    if value.starts_with('<') {
        return Err(BadRecord::Ldif(format!("the value of {name} is in another file, which is not read")));
    }
    Ok(value.trim_start_matches(' ').to_owned())
}

/// An attribute as a line, in base64 where text would be read otherwise.
pub(crate) fn line(name: &str, value: &str) -> String {
    let safe = |b: u8| b.is_ascii() && !matches!(b, 0 | b'\n' | b'\r');
    let plain = value.bytes().all(safe) && !value.starts_with([' ', ':', '<']) && !value.ends_with(' ');
    if plain { format!("{name}: {value}\n") } else { format!("{name}:: {}\n", STANDARD.encode(value)) }
}

type Refused = (usize, BadRecord);

fn map(entry: &Entry, job: &LdifJob, row: &mut RowBuf) -> Result<(Verdict, crate::json::Tally), Refused> {
    let bad = |message: String| Err((0, BadRecord::Ldif(message)));
    let mut draft = Draft::new(row, job.settings.names);
    if let Some(change) = entry.change.as_ref().filter(|change| !change.eq_ignore_ascii_case("add")) {
        return bad(format!("changetype {change}: expected whole entries, as slapcat and ldapsearch write them"));
    }
    if entry.dn.is_none() {
        return bad("dn is missing".to_owned());
    }
    if !entry.person && entry.uid.is_empty() {
        return Ok((Verdict::Skipped("entries that are no users"), draft.tally));
    }
    let values = if job.uid == "uid" { &entry.uid } else { &entry.uuid };
    match values.as_slice() {
        [one] => draft.uid_text(one).map_err(|reason| (0, reason))?,
        [] if job.uid == "uid" => return bad("a person without uid (--uid entryUUID takes that)".to_owned()),
        [] => return bad(format!("{} is missing (slapcat writes it; ldapsearch when asked for `+`)", job.uid)),
        many => return bad(format!("{} values of {}: --uid entryUUID takes that instead", many.len(), job.uid)),
    }
    Ok((Verdict::User, draft.tally))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid_of(text: &str) -> Result<Option<Vec<String>>, (usize, BadRecord)> {
        Ok(entry_of(text.as_bytes())?.map(|entry| entry.uid))
    }

    #[test]
    fn values_are_unfolded_and_decoded() {
        for text in [
            "dn: x\nuid: ana\n",
            "dn: x\r\nUID:: YW\r\n 5h\r\n",
            "# a\n  comment\ndn: x\nuid;lang-en: an\n a\n",
            "version: 1\ndn: x\nuid:ana",
        ] {
            assert_eq!(uid_of(text).unwrap(), Some(vec!["ana".to_owned()]), "{text}");
        }
        assert_eq!(uid_of("version: 1\n").unwrap(), None);
        assert_eq!(uid_of("# only\n# comments\n").unwrap(), None);
        for (text, at) in [("dn: x\nuid:: ?\n", 6), ("dn: x\nuid:< file:///x\n", 6), ("dn: x\nnonsense\n", 6)] {
            assert_eq!(uid_of(text).unwrap_err().0, at, "{text}");
        }
    }

    #[test]
    fn entries_end_at_blank_lines() {
        assert_eq!(last_blank_line(b"a\n\nb\n"), 3);
        assert_eq!(last_blank_line(b"a\r\n\r\nb"), 5);
        assert_eq!(last_blank_line(b"a\nb\n"), 0);
        assert_eq!(entry_end(b"\n\na: 1\nb: 2\n\nc"), 12);
        assert_eq!(entry_end(b"a: 1"), 4);
        assert!(looks_like("# c\n\nDN: x") && looks_like("version: 1\n") && !looks_like("dn,x\n"));
    }
}
