//! Records wherever they lie in JSON: deep in a large object, in several arrays, in documents one after the other.
//!
//! A push parser over the structure of the input. Strings and containers that are not on the way to records are
//! stepped over without being held, so that memory is bounded by one record whatever lies around it; every bracket,
//! comma, key and number on that way is checked all the same. Records are handed out whole, for `serde_json` to parse.

use std::sync::Arc;

use crate::chunk::{Cut, Cutter, Layout, Uncut};
use crate::error::BadDocument;
use crate::mapped::Job;
use crate::path::{Step, page_depth};
use crate::scan::{is_space, plain_prefix, spaces, string_end, value_end};

/// Deepest nesting around and between the records.
const DEPTH_MAX: usize = 128;
/// Longest note that is kept: what matters of a longer one is that it is there.
const NOTE_MAX: usize = 256;

/// Walks documents and cuts out what lies at the paths of a job.
#[derive(Debug)]
pub(crate) struct Walker {
    job: Arc<Job>,
    paths: Vec<Vec<Step>>,
    stack: Vec<Frame>,
    expect: Expect,
    string: InString,
    /// Which path the records last cut lie at.
    path: usize,
    /// Records seen.
    records: u64,
    pages: Pages,
    page_depth: usize,
    /// The array that a page must have was seen in this one.
    arrays: u64,
}

#[derive(Debug)]
enum Frame {
    /// An object, and the key of the member at hand.
    Object(String),
    Array,
}

/// What may come next, white space apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// A document, or the end of the input.
    Document,
    Value,
    ValueOrEnd,
    KeyOrEnd,
    Key,
    Colon,
    CommaOrEnd,
}

/// A string that is stepped over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InString {
    Outside,
    Inside,
    Escaped,
}

/// What the documents say beside their records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pages {
    /// Documents, or elements of an array of them.
    pub(crate) count: u64,
    /// Notes of the last one: the path as the table writes it, and the value as it stands there.
    pub(crate) last: Vec<(&'static str, String)>,
    /// Notes of all, each the first time that it has a value, with the number of records before it.
    pub(crate) first: Vec<(&'static str, String, u64)>,
    /// What the documents say together of how many records there are.
    pub(crate) total: Option<u64>,
}

impl Walker {
    /// A walker for the records of `job`.
    pub(crate) fn new(job: Arc<Job>) -> Self {
        let paths: Vec<_> = job.paths.iter().map(|place| place.steps.clone()).collect();
        let page_depth = paths.first().map_or(0, |path| page_depth(path));
        Self {
            job,
            paths,
            stack: Vec::new(),
            expect: Expect::Document,
            string: InString::Outside,
            path: 0,
            records: 0,
            pages: Pages::default(),
            page_depth,
            arrays: 0,
        }
    }

    /// What the documents said, after the whole input was cut.
    pub(crate) fn into_pages(self) -> Pages {
        self.pages
    }

    /// Which records begin with the value at hand.
    fn record_path(&self) -> Option<usize> {
        let at = |path: &Vec<Step>| {
            path.len() == self.stack.len()
                && path.iter().zip(&self.stack).all(|(step, frame)| match (step, frame) {
                    (Step::Each, Frame::Array) => true,
                    (Step::Key(key), Frame::Object(at)) => key == at,
                    _ => false,
                })
        };
        self.paths.iter().position(at)
    }

    /// The note that the value at hand is, as the table writes its path.
    fn note(&self) -> Option<&'static str> {
        let keys = self.stack.get(self.page_depth..).filter(|_| !self.job.notes.is_empty())?;
        match keys {
            [Frame::Object(key)] => self.job.notes.iter().copied().find(|note| note == key),
            [Frame::Object(outer), Frame::Object(key)] => {
                let nested =
                    |note: &&str| note.strip_prefix(outer.as_str()).and_then(|n| n.strip_prefix('.')) == Some(key);
                self.job.notes.iter().copied().find(nested)
            }
            _ => None,
        }
    }

    fn take_note(&mut self, note: &'static str, value: &[u8]) {
        let value = String::from_utf8_lossy(value.get(..NOTE_MAX).unwrap_or(value)).into_owned();
        let counts = !matches!(value.as_str(), "null" | "\"\"");
        if counts && !self.pages.first.iter().any(|(known, ..)| *known == note) {
            self.pages.first.push((note, value.clone(), self.records));
        }
        let total = self.job.document.and_then(|document| document.total);
        if let Some(number) = value.trim_matches('"').parse::<u64>().ok().filter(|_| total == Some(note)) {
            self.pages.total = Some(self.pages.total.unwrap_or_default().saturating_add(number));
        }
        if counts {
            self.pages.last.push((note, value));
        }
    }

    /// A value begins: how many bytes of it are taken now.
    fn value(&mut self, bytes: &[u8], at: usize, eof: bool) -> Result<Option<usize>, Uncut> {
        let rest = bytes.get(at..).unwrap_or_default();
        if self.stack.len() == self.page_depth {
            self.begin_page();
        }
        if self.stack.len() <= self.page_depth && !matches!(rest.first(), Some(b'{' | b'[')) {
            return Err(unexpected(&self.job.expected, rest, at));
        }
        match rest.first() {
            Some(b @ (b'{' | b'[')) => {
                if self.stack.len() >= DEPTH_MAX {
                    return Err(invalid(format!("nested deeper than {DEPTH_MAX} levels"), at));
                }
                let object = *b == b'{';
                self.stack.push(if object { Frame::Object(String::new()) } else { Frame::Array });
                if !object {
                    self.note_array(at)?;
                }
                self.expect = if object { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
                Ok(Some(1))
            }
            Some(b'"') => match self.note() {
                None => {
                    self.string = InString::Inside;
                    self.expect = self.after_value();
                    Ok(Some(1))
                }
                Some(note) => {
                    let Some(len) = string_end(rest) else { return Ok(None) };
                    self.take_note(note, rest.get(..len).unwrap_or_default());
                    self.expect = self.after_value();
                    Ok(Some(len))
                }
            },
            _ => self.scalar(rest, at, eof),
        }
    }

    /// A number, `true`, `false` or `null`.
    fn scalar(&mut self, rest: &[u8], at: usize, eof: bool) -> Result<Option<usize>, Uncut> {
        let end = rest.iter().position(|&b| is_space(b) || matches!(b, b',' | b']' | b'}' | b':' | b'"'));
        let Some(len) = end.or_else(|| eof.then_some(rest.len())) else { return Ok(None) };
        let scalar = rest.get(..len).unwrap_or_default();
        if serde_json::from_slice::<serde_json::Value>(scalar).is_err() {
            return Err(unexpected("a JSON value", rest, at));
        }
        if scalar == b"null" {
            // Some servers write an empty list so.
            self.stack.push(Frame::Array);
            let noted = self.note_array(at);
            self.stack.pop();
            noted?;
        }
        if let Some(note) = self.note() {
            self.take_note(note, scalar);
        }
        self.expect = self.after_value();
        Ok(Some(len))
    }

    /// Notes that the array that was just entered is one of records.
    fn note_array(&mut self, at: usize) -> Result<(), Uncut> {
        let Some(path) = self.record_path().and_then(|i| self.paths.get(i).filter(|_| i == 0)) else { return Ok(()) };
        self.arrays += 1;
        let once = path.iter().filter(|step| **step == Step::Each).count() == self.page_depth + 1;
        if once && self.arrays > 1 {
            return Err(invalid("the list of users is given twice", at));
        }
        Ok(())
    }

    fn begin_page(&mut self) {
        self.pages.count += 1;
        self.pages.last.clear();
        self.arrays = 0;
    }

    fn after_value(&self) -> Expect {
        if self.stack.is_empty() { Expect::Document } else { Expect::CommaOrEnd }
    }

    /// A container ends.
    fn close(&mut self, rest: &[u8], at: usize) -> Result<(), Uncut> {
        let object = rest.first() == Some(&b'}');
        match self.stack.pop() {
            Some(Frame::Object(_)) if object => {}
            Some(Frame::Array) if !object => {}
            _ => return Err(unexpected("the bracket that closes what is open", rest, at)),
        }
        // What is an array itself, where an object with one is expected, lacks nothing: it is something else.
        let other =
            !object && matches!(self.paths.first().and_then(|path| path.get(self.page_depth)), Some(Step::Key(_)));
        if self.stack.len() == self.page_depth && self.arrays == 0 && (other || !self.job.may_lack) {
            return Err(unexpected_page(&self.job.expected, at));
        }
        self.expect = self.after_value();
        Ok(())
    }

    /// A key: its length, or `None` when it is not whole yet.
    fn key(&mut self, rest: &[u8], at: usize) -> Result<Option<usize>, Uncut> {
        let Some(len) = string_end(rest) else { return Ok(None) };
        let inner = rest.get(1..len.saturating_sub(1)).unwrap_or_default();
        let Some(Frame::Object(key)) = self.stack.last_mut() else {
            return Err(unexpected("a value", rest, at));
        };
        match std::str::from_utf8(inner) {
            Ok(plain) if plain_prefix(inner) == inner.len() => {
                key.clear();
                key.push_str(plain);
            }
            _ => {
                let quoted = rest.get(..len).unwrap_or_default();
                *key = serde_json::from_slice(quoted).map_err(|_| unexpected("a key in quotes", rest, at))?;
            }
        }
        self.expect = Expect::Colon;
        Ok(Some(len))
    }

    /// Steps over the rest of a string: the bytes taken.
    fn inside_string(&mut self, rest: &[u8], at: usize) -> Result<usize, Uncut> {
        if self.string == InString::Escaped {
            self.string = InString::Inside;
            return Ok(1);
        }
        let plain = plain_prefix(rest);
        match rest.get(plain) {
            None => return Ok(plain),
            Some(b'"') => self.string = InString::Outside,
            Some(b'\\') => self.string = InString::Escaped,
            Some(_) => return Err(invalid("a control character inside of a string", at + plain)),
        }
        Ok(plain + 1)
    }

    /// Whole records that follow each other at the same path, from the one at `at` on.
    fn cut_records(&mut self, bytes: &[u8], mut at: usize, path: usize) -> Result<Cut, Uncut> {
        let number = self.records + 1;
        let (first, mut last) = (at, 0);
        loop {
            at += spaces(bytes.get(at..).unwrap_or_default());
            let rest = bytes.get(at..).unwrap_or_default();
            match rest.first() {
                None => break,
                Some(b'{') => {}
                Some(_) if last > 0 && self.stack.is_empty() => break,
                Some(_) => return Err(unexpected("a user object", rest, at)),
            }
            let Some(len) = value_end(rest) else { break };
            at += len;
            last = at;
            self.records += 1;
            self.path = path;
            if self.stack.is_empty() {
                self.pages.count += 1;
                continue;
            }
            let comma = at + spaces(bytes.get(at..).unwrap_or_default());
            if bytes.get(comma) != Some(&b',') {
                self.expect = Expect::CommaOrEnd;
                return Ok(Cut { records: first..last, number, consumed: last });
            }
            at = comma + 1;
            self.expect = Expect::Value;
        }
        Ok(Cut { records: first..last.max(first), number, consumed: if last > 0 { at } else { first } })
    }

    /// Takes one token of the structure: its length, or `None` when it is not whole yet.
    fn token(&mut self, bytes: &[u8], at: usize, eof: bool) -> Result<Option<usize>, Uncut> {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(&b) = rest.first() else { return Ok(None) };
        match (self.expect, b) {
            (Expect::Document | Expect::Value | Expect::ValueOrEnd, b'{' | b'[' | b'"') => self.value(bytes, at, eof),
            (Expect::ValueOrEnd, b']') | (Expect::KeyOrEnd, b'}') | (Expect::CommaOrEnd, b'}' | b']') => {
                self.close(rest, at).map(|()| Some(1))
            }
            (Expect::Document | Expect::Value | Expect::ValueOrEnd, _) => self.value(bytes, at, eof),
            (Expect::KeyOrEnd | Expect::Key, b'"') => self.key(rest, at),
            (Expect::Colon, b':') => {
                self.expect = Expect::Value;
                Ok(Some(1))
            }
            (Expect::CommaOrEnd, b',') => {
                self.expect = if matches!(self.stack.last(), Some(Frame::Array)) { Expect::Value } else { Expect::Key };
                Ok(Some(1))
            }
            (Expect::Colon, _) => Err(unexpected("`:` after a key", rest, at)),
            (Expect::CommaOrEnd, _) => Err(unexpected("`,` or the end of the object or array", rest, at)),
            (Expect::KeyOrEnd | Expect::Key, _) => Err(unexpected("a key in quotes", rest, at)),
        }
    }
}

impl Cutter for Walker {
    fn cut(&mut self, bytes: &[u8], eof: bool) -> Result<Cut, Uncut> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            if self.string != InString::Outside {
                at += self.inside_string(rest, at)?;
                continue;
            }
            let space = spaces(rest);
            if space > 0 {
                at += space;
                continue;
            }
            let is_value = matches!(self.expect, Expect::Document | Expect::Value | Expect::ValueOrEnd);
            let ends = self.expect == Expect::ValueOrEnd && rest.first() == Some(&b']');
            if let Some(path) = self.record_path().filter(|_| is_value && !ends) {
                let cut = self.cut_records(bytes, at, path)?;
                if !cut.records.is_empty() {
                    return Ok(cut);
                }
                break;
            }
            match self.token(bytes, at, eof)? {
                Some(len) => at += len,
                None => break,
            }
        }
        if eof && (at < bytes.len() || !self.stack.is_empty() || self.string != InString::Outside) {
            return Err(Uncut { reason: BadDocument::Truncated("the JSON document"), at: bytes.len() });
        }
        Ok(Cut { records: 0..0, number: self.records + 1, consumed: at })
    }

    fn layout(&self) -> Layout {
        Layout::Mapped(Arc::clone(&self.job), self.path)
    }

    fn record_name(&self) -> &'static str {
        "a record"
    }
}

fn invalid(message: impl Into<String>, at: usize) -> Uncut {
    Uncut { reason: BadDocument::Envelope(message.into()), at }
}

fn unexpected(expected: &str, rest: &[u8], at: usize) -> Uncut {
    const SHOWN: usize = 20;
    let found = String::from_utf8_lossy(rest.get(..SHOWN).unwrap_or(rest)).into_owned();
    let reason = BadDocument::Unexpected { expected: expected.to_owned().into(), found: format!("{found:?}") };
    Uncut { reason, at }
}

fn unexpected_page(expected: &str, at: usize) -> Uncut {
    let found = "a document without, which ends here (a page that reports an error?)".to_owned();
    Uncut { reason: BadDocument::Unexpected { expected: expected.to_owned().into(), found }, at }
}

#[cfg(test)]
mod tests;
