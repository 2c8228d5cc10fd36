//! The document `{"users": [...], "usersCount": n, ..., "errorCode": 0}`: Gigya's `exportUsers` response, and our own.
//!
//! A structural splitter, which knows strings and brackets and nothing else, finds the top-level array `users` and
//! hands out its elements. What is left, the envelope with an empty `users`, goes through `serde_json` at the end, as
//! every element does in the workers: between them each byte of the document meets the parser.

use std::fmt;

use serde::de::{self, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::chunk::{Cut, Cutter, Layout, RECORD_MAX, Uncut};
use crate::csv::clipped;
use crate::error::BadDocument;
use crate::format::Format;
use crate::json::{Once, Skipped, message_of, offset_of};
use crate::scan::{spaces, value_end};

/// Splits a document into the elements of `users` and its envelope.
#[derive(Debug)]
pub(crate) struct Splitter {
    state: State,
    envelope: Vec<u8>,
    /// Offset of the document in the input.
    base: u64,
    /// Bytes of the document that are consumed.
    consumed: u64,
    /// Where the elements were taken out: index in the envelope, and how many bytes of the document.
    hole: Option<(usize, u64)>,
    /// Elements seen.
    elements: u64,
    depth: usize,
    string: InString,
    key_start: usize,
    key_end: usize,
    after_colon: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Envelope,
    Elements(Expect),
    End,
}

/// What may come next in the array, white space apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    ElementOrEnd,
    Element,
    CommaOrEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InString {
    Outside,
    Inside,
    Escaped,
}

impl Splitter {
    /// A splitter of the document that begins at byte `base` of its input.
    pub(crate) const fn new(base: u64) -> Self {
        Self {
            state: State::Start,
            envelope: Vec::new(),
            base,
            consumed: 0,
            hole: None,
            elements: 0,
            depth: 0,
            string: InString::Outside,
            key_start: 0,
            key_end: 0,
            after_colon: false,
        }
    }

    /// How many elements `users` had.
    pub(crate) const fn elements(&self) -> u64 {
        self.elements
    }

    /// Parses the envelope, after the whole document was cut.
    ///
    /// # Errors
    /// What is wrong with it, and the byte of the input.
    pub(crate) fn envelope(&self) -> Result<Envelope, (BadDocument, u64)> {
        let mut parser = serde_json::Deserializer::from_slice(&self.envelope);
        let parsed = parser.deserialize_map(EnvelopeVisitor).and_then(|e| parser.end().map(|()| e));
        parsed.map_err(|e| {
            let at = offset_of(&self.envelope, &e);
            let hole = self.hole.filter(|(index, _)| *index <= at).map_or(0, |(_, len)| len);
            (BadDocument::Envelope(message_of(&e)), self.base + at as u64 + hole)
        })
    }

    fn start(&mut self, bytes: &[u8]) -> Result<usize, Uncut> {
        let at = spaces(bytes);
        self.envelope.extend_from_slice(bytes.get(..at).unwrap_or_default());
        match bytes.get(at) {
            None => Ok(at),
            Some(b'{') => {
                self.state = State::Envelope;
                Ok(at)
            }
            Some(_) => Err(unexpected("a JSON object {\"users\": [...]}", bytes, at)),
        }
    }

    /// Takes the bytes up to the elements, or to the end of the document.
    fn around(&mut self, bytes: &[u8]) -> Result<usize, Uncut> {
        for (at, &b) in bytes.iter().enumerate() {
            if self.envelope.len() >= RECORD_MAX {
                let what = "the document around its users";
                return Err(Uncut { reason: too_long(what), at });
            }
            self.envelope.push(b);
            match self.string {
                InString::Escaped => self.string = InString::Inside,
                InString::Inside => self.inside_string(b),
                InString::Outside => self.outside_string(b),
            }
            if let State::Elements(_) = self.state
                && self.hole.is_some()
            {
                let reason = BadDocument::Envelope("duplicate field `users`".to_owned());
                return Err(Uncut { reason, at });
            }
            if self.state != State::Envelope {
                return Ok(at + 1);
            }
        }
        Ok(bytes.len())
    }

    fn inside_string(&mut self, b: u8) {
        match b {
            b'\\' => self.string = InString::Escaped,
            b'"' => {
                self.string = InString::Outside;
                if self.depth == 1 && !self.after_colon {
                    self.key_end = self.envelope.len();
                }
            }
            _ => {}
        }
    }

    fn outside_string(&mut self, b: u8) {
        match b {
            b'"' => {
                self.string = InString::Inside;
                if self.depth == 1 && !self.after_colon {
                    self.key_start = self.envelope.len() - 1;
                }
            }
            b'[' if self.depth == 1 && self.after_colon && self.key_is_users() => {
                self.state = State::Elements(Expect::ElementOrEnd);
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.state = State::End;
                }
            }
            b':' if self.depth == 1 => self.after_colon = true,
            b',' if self.depth == 1 => self.after_colon = false,
            _ => {}
        }
    }

    fn key_is_users(&self) -> bool {
        let key = self.envelope.get(self.key_start..self.key_end).unwrap_or_default();
        key == b"\"users\""
            || (key.contains(&b'\\') && serde_json::from_slice::<String>(key).is_ok_and(|k| k == "users"))
    }

    /// Takes whole elements: the bytes consumed, and where among them the elements are.
    fn take_elements(&mut self, bytes: &[u8], from: usize, mut expect: Expect) -> Result<Elements, Uncut> {
        let mut at = from;
        let mut found = Elements { first: 0, last: 0, consumed: 0 };
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            at += spaces(rest);
            let rest = bytes.get(at..).unwrap_or_default();
            match (expect, rest.first()) {
                (_, None) => break,
                (Expect::ElementOrEnd | Expect::Element, Some(b'{')) => {
                    let Some(len) = value_end(rest) else { break };
                    if found.last == 0 {
                        found.first = at;
                    }
                    at += len;
                    found.last = at;
                    self.elements += 1;
                    expect = Expect::CommaOrEnd;
                }
                (Expect::CommaOrEnd, Some(b',')) => {
                    at += 1;
                    expect = Expect::Element;
                }
                (Expect::ElementOrEnd | Expect::CommaOrEnd, Some(b']')) => {
                    at += 1;
                    self.envelope.push(b']');
                    let taken = self.consumed + at as u64 - self.envelope.len() as u64;
                    self.hole = Some((self.envelope.len() - 1, taken));
                    self.state = State::Envelope;
                    found.consumed = at;
                    return Ok(found);
                }
                (Expect::ElementOrEnd | Expect::Element, Some(_)) => {
                    return Err(unexpected("a user object", bytes, at));
                }
                (Expect::CommaOrEnd, Some(_)) => return Err(unexpected("`,` or `]` after a user", bytes, at)),
            }
        }
        self.state = State::Elements(expect);
        found.consumed = at;
        Ok(found)
    }

    fn cut_short(&self) -> BadDocument {
        match self.state {
            State::Start => BadDocument::Unexpected {
                expected: "a JSON object {\"users\": [...]}".into(),
                found: "nothing".to_owned(),
            },
            State::Elements(_) => BadDocument::Truncated("the array \"users\""),
            State::Envelope | State::End => BadDocument::Truncated("the JSON document"),
        }
    }
}

struct Elements {
    first: usize,
    /// End of the last whole element; 0 when there is none.
    last: usize,
    consumed: usize,
}

impl Cutter for Splitter {
    fn cut(&mut self, bytes: &[u8], eof: bool) -> Result<Cut, Uncut> {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let before = (at, self.state);
            match self.state {
                State::Start => at += self.start(rest).map_err(|e| e.shifted(at))?,
                State::Envelope => at += self.around(rest).map_err(|e| e.shifted(at))?,
                State::Elements(expect) => {
                    let number = self.elements + 1;
                    let found = self.take_elements(bytes, at, expect)?;
                    at = found.consumed;
                    if found.last > 0 {
                        self.consumed += at as u64;
                        return Ok(Cut { records: found.first..found.last, number, consumed: at });
                    }
                }
                State::End => {
                    at += spaces(rest);
                    if at < bytes.len() {
                        return Err(unexpected("the end of the input after the document", bytes, at));
                    }
                }
            }
            if (at, self.state) == before {
                break;
            }
        }
        if eof && self.state != State::End {
            return Err(Uncut { reason: self.cut_short(), at: bytes.len() });
        }
        self.consumed += at as u64;
        Ok(Cut { records: 0..0, number: self.elements + 1, consumed: at })
    }

    fn layout(&self) -> Layout {
        Layout::Elements
    }

    fn record_name(&self) -> &'static str {
        "a user object"
    }
}

impl Uncut {
    fn shifted(self, by: usize) -> Self {
        Self { at: self.at + by, ..self }
    }
}

const fn too_long(what: &'static str) -> BadDocument {
    BadDocument::TooLong { what, max: RECORD_MAX, format: Format::GigyaJson }
}

fn unexpected(expected: &'static str, bytes: &[u8], at: usize) -> Uncut {
    const SHOWN: usize = 20;
    let rest = bytes.get(at..).unwrap_or_default();
    let found = String::from_utf8_lossy(rest.get(..SHOWN).unwrap_or(rest)).into_owned();
    Uncut { reason: BadDocument::Unexpected { expected: expected.into(), found: format!("{found:?}") }, at }
}

/// The document without its users.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Envelope {
    has_users: bool,
    users_count: Option<u64>,
    identities_count: Option<u64>,
    status_code: Option<i64>,
    error_code: Option<i64>,
    error_message: Option<Value>,
    error_details: Option<Value>,
    /// UIDs of users who are gone, in an export of our own of what changed.
    deleted: u64,
}

impl Envelope {
    /// Refuses the report of a failed export, changes that have deletions among them, and a document without users.
    pub(crate) fn check(&self) -> Result<(), BadDocument> {
        let failed = self.error_code.is_some_and(|c| c != 0) || self.status_code.is_some_and(|c| c != 200);
        if failed {
            return Err(BadDocument::FailedExport(self.failure()));
        }
        if self.deleted > 0 {
            return Err(BadDocument::DeletedUsers(self.deleted));
        }
        if self.has_users { Ok(()) } else { Err(BadDocument::NoUsers) }
    }

    fn failure(&self) -> String {
        let text = |value: &Option<Value>| match value {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        };
        let quoted = |value| text(value).filter(|t| !t.is_empty()).map(|t| format!("{:?}", clipped(&t)));
        let parts = [
            self.error_code.map(|c| format!("errorCode {c}")),
            self.status_code.map(|c| format!("statusCode {c}")),
            quoted(&self.error_message).map(|m| format!("errorMessage {m}")),
            quoted(&self.error_details).map(|m| format!("errorDetails {m}")),
        ];
        format!(" ({})", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }

    /// Compares a declared count with what was read; a missing one is a warning.
    pub(crate) fn check_count(
        what: &'static str,
        declared: Option<u64>,
        found: u64,
    ) -> Result<Option<String>, BadDocument> {
        match declared {
            None => Ok(Some(format!("{what} is missing: whether the document is complete could not be checked by it"))),
            Some(declared) if declared != found => Err(BadDocument::Count { what, declared, found }),
            Some(_) => Ok(None),
        }
    }

    pub(crate) const fn users_count(&self) -> Option<u64> {
        self.users_count
    }

    pub(crate) const fn identities_count(&self) -> Option<u64> {
        self.identities_count
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document {\"users\": [...]}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        const KEYS: [&str; 8] = [
            "users",
            "usersCount",
            "identitiesCount",
            "statusCode",
            "errorCode",
            "errorMessage",
            "errorDetails",
            "deletedUIDs",
        ];
        let mut once = KEYS.map(Once::new);
        let mut envelope = Envelope::default();
        while let Some(key) = map.next_key::<String>()? {
            if let Some(known) = once.iter_mut().find(|o| o.is(&key)) {
                known.take()?;
            }
            match key.as_str() {
                "users" => {
                    map.next_value::<NoElements>()?;
                    envelope.has_users = true;
                }
                "usersCount" => envelope.users_count = Some(map.next_value()?),
                "identitiesCount" => envelope.identities_count = Some(map.next_value()?),
                "statusCode" => envelope.status_code = Some(map.next_value()?),
                "errorCode" => envelope.error_code = Some(map.next_value()?),
                "errorMessage" => envelope.error_message = Some(map.next_value()?),
                "errorDetails" => envelope.error_details = Some(map.next_value()?),
                "deletedUIDs" => envelope.deleted = map.next_value::<Skipped>()?.elements,
                _ => map.next_value::<Skipped>().map(|_| ())?,
            }
        }
        Ok(envelope)
    }
}

/// The array that the elements were taken from.
struct NoElements;

impl<'de> de::Deserialize<'de> for NoElements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Self)
    }
}

impl<'de> Visitor<'de> for NoElements {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array for \"users\"")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        match seq.next_element::<Skipped>()? {
            None => Ok(self),
            Some(_) => Err(A::Error::custom("users that are not at the top of the document")),
        }
    }
}

#[cfg(test)]
mod tests;
