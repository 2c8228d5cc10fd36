//! A user object of JSON into a row: a fast path for the one shape that exports have, and a parser behind it.
//!
//! The fast path takes exactly `{"UID":"…","status":"…","identities":[{"provider":"…","providerUID":"…"},…]}` without
//! white space and without escapes; `status` may be absent. It gives up at the first byte that differs and at every
//! value that is over a limit, so that what is accepted, and every message, is the parser's alone.

use std::borrow::Cow;
use std::fmt;

use headcount_block::{LimitError, RowBuf, Status};
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::BadRecord;
use crate::names::ProviderNames;
use crate::scan::plain_prefix;

/// What a record holds beside what is in its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    /// Identities of the record, repeated ones included.
    pub(crate) identities: u64,
    /// Identities that were dropped because the user had them already.
    pub(crate) repeated: u64,
}

/// A record that was refused, and the byte inside it where that became clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: BadRecord,
    pub(crate) at: usize,
}

/// Reads the user at the start of `text` if it has the strict shape: its length in bytes.
pub(crate) fn parse_strict(text: &str, row: &mut RowBuf, tally: &mut Tally, names: ProviderNames) -> Option<usize> {
    let mut cursor = Cursor { text, at: 0 };
    row.clear();
    *tally = Tally::default();
    cursor.literal(b"{\"UID\":\"")?;
    row.set_uid(cursor.string()?).ok()?;
    if cursor.literal(b",\"status\":\"").is_some() {
        row.set_status(parse_status(cursor.string()?)?);
    }
    cursor.literal(b",\"identities\":[")?;
    if cursor.literal(b"]}").is_some() {
        return Some(cursor.at);
    }
    loop {
        cursor.literal(b"{\"provider\":\"")?;
        let provider = names.of(cursor.string()?);
        cursor.literal(b",\"providerUID\":\"")?;
        let provider_uid = cursor.string()?;
        tally.identities += 1;
        if !row.push_identity(provider, provider_uid).ok()? {
            tally.repeated += 1;
        }
        if cursor.literal(b"},").is_none() {
            cursor.literal(b"}]}")?;
            return Some(cursor.at);
        }
    }
}

/// The status of this name.
pub(crate) fn parse_status(name: &str) -> Option<Status> {
    [Status::Registered, Status::Pending].into_iter().find(|s| s.as_str() == name)
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Steps over `expected`, or stays.
    #[inline]
    fn literal<const N: usize>(&mut self, expected: &[u8; N]) -> Option<()> {
        let found = self.text.as_bytes().get(self.at..)?.first_chunk::<N>()?;
        if found != expected {
            return None;
        }
        self.at += N;
        Some(())
    }

    /// Steps over the rest of a string without escapes and its closing quote.
    #[inline]
    fn string(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..)?;
        let len = plain_prefix(rest.as_bytes());
        if rest.as_bytes().get(len) != Some(&b'"') {
            return None;
        }
        self.at += len + 1;
        rest.get(..len)
    }
}

/// Reads the user that is all of `text`, white space around it apart.
pub(crate) fn parse(text: &str, row: &mut RowBuf, names: ProviderNames) -> Result<Tally, Refusal> {
    let mut reader = UserReader { names, ..UserReader::new(row) };
    let mut parser = serde_json::Deserializer::from_str(text);
    let outcome = (&mut reader).deserialize(&mut parser).and_then(|()| parser.end());
    match outcome {
        Ok(()) => Ok(reader.tally),
        Err(e) => Err(Refusal {
            at: offset_of(text.as_bytes(), &e),
            reason: reader.refused.take().unwrap_or_else(|| reason_of(&e)),
        }),
    }
}

/// The byte of `text` that the parser stopped at.
pub(crate) fn offset_of(text: &[u8], e: &serde_json::Error) -> usize {
    let line_start = match e.line() {
        0 | 1 => 0,
        line => memchr::memchr_iter(b'\n', text).nth(line - 2).map_or(text.len(), |at| at + 1),
    };
    (line_start + e.column().saturating_sub(1)).min(text.len())
}

/// The parser's message without its line and column, which count from the start of the record.
pub(crate) fn message_of(e: &serde_json::Error) -> String {
    let message = e.to_string();
    let bare = message.rfind(" at line ").and_then(|at| message.get(..at)).unwrap_or(&message);
    match bare {
        "recursion limit exceeded" => "nested deeper than 128 levels",
        "unexpected end of hex escape" | "lone leading surrogate in hex escape" => "unpaired surrogate in a \\u escape",
        other => other,
    }
    .to_owned()
}

fn reason_of(e: &serde_json::Error) -> BadRecord {
    if e.is_data() { BadRecord::Shape(message_of(e)) } else { BadRecord::Json(message_of(e)) }
}

/// What accounts of Gigya's say of their registration. Lines of these are told from users of our own by the first records
/// alone, so that it counts in all of them.
const IS_REGISTERED: &str = "isRegistered";

/// Whether the member is of a change or of an operation of our own: to read one as a user would bring back who is gone, or
/// take identities away.
fn no_user(key: &str, value: Skipped) -> Option<BadRecord> {
    match key {
        "deleted" if value.flag == Some(true) => Some(BadRecord::Deleted("\"deleted\":true".to_owned())),
        "op" => Some(BadRecord::IsOperation),
        _ => None,
    }
}

/// Reads the members of a user object into a row.
pub(crate) struct UserReader<'r> {
    pub(crate) row: &'r mut RowBuf,
    tally: Tally,
    names: ProviderNames,
    /// The reason that a custom error of the parser stands for.
    pub(crate) refused: Option<BadRecord>,
}

/// Which members of a user object came already.
pub(crate) struct Seen {
    uid: Once,
    status: Once,
    identities: Once,
}

impl Default for Seen {
    fn default() -> Self {
        Self { uid: Once::new("UID"), status: Once::new("status"), identities: Once::new("identities") }
    }
}

impl<'r> UserReader<'r> {
    pub(crate) fn new(row: &'r mut RowBuf) -> Self {
        row.clear();
        Self { row, tally: Tally::default(), names: ProviderNames::Kept, refused: None }
    }

    pub(crate) fn refuse<E: de::Error>(&mut self, reason: BadRecord) -> E {
        let message = reason.to_string();
        self.refused = Some(reason);
        E::custom(message)
    }

    pub(crate) fn within<T, E: de::Error>(&mut self, checked: Result<T, LimitError>) -> Result<T, E> {
        checked.map_err(|e| self.refuse(e.into()))
    }

    /// Reads the value of `key`; false, and nothing read, when a user object has no such member.
    pub(crate) fn member<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        seen: &mut Seen,
        map: &mut A,
    ) -> Result<bool, A::Error> {
        match key {
            "UID" => {
                seen.uid.take()?;
                let value = map.next_value_seed(Text("a string for \"UID\""))?;
                let checked = self.row.set_uid(&value);
                self.within(checked)?;
            }
            "status" => {
                seen.status.take()?;
                let value = map.next_value_seed(Text("a string for \"status\""))?;
                let found = parse_status(&value).ok_or_else(|| self.refuse(BadRecord::Status(value.into_owned())))?;
                self.row.set_status(found);
            }
            "identities" => {
                seen.identities.take()?;
                map.next_value_seed(Identities(self))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<'de> DeserializeSeed<'de> for &mut UserReader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut UserReader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a user object {\"UID\": \"...\", \"identities\": [...]}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = Seen::default();
        let mut incomplete = false;
        while let Some(key) = map.next_key_seed(Text("an object key"))? {
            if !self.member(&key, &mut seen, &mut map)? {
                let value = map.next_value::<Skipped>()?;
                incomplete |= key == IS_REGISTERED && value.flag == Some(false);
                if let Some(reason) = no_user(&key, value) {
                    return Err(self.refuse(reason));
                }
            }
        }
        if incomplete {
            self.row.set_status(Status::Pending);
        }
        if seen.uid.taken {
            return Ok(());
        }
        Err(A::Error::custom(
            "\"UID\" is missing (an export without the field uid cannot be imported: export uid, provider and \
             providerUID)",
        ))
    }
}

/// The value of `identities`.
struct Identities<'u, 'r>(&'u mut UserReader<'r>);

impl<'de> DeserializeSeed<'de> for Identities<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Identities<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array for \"identities\"")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(()) = seq.next_element_seed(OneIdentity(&mut *self.0))? {}
        Ok(())
    }
}

/// One element of `identities`.
struct OneIdentity<'u, 'r>(&'u mut UserReader<'r>);

impl<'de> DeserializeSeed<'de> for OneIdentity<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneIdentity<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an identity object {\"provider\": \"...\", \"providerUID\": \"...\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut provider, mut provider_uid) = (None, None);
        let (mut provider_once, mut provider_uid_once) = (Once::new("provider"), Once::new("providerUID"));
        while let Some(key) = map.next_key_seed(Text("an object key"))? {
            match key.as_ref() {
                "provider" => {
                    provider_once.take()?;
                    provider = Some(map.next_value_seed(Text("a string for \"provider\""))?);
                }
                "providerUID" => {
                    provider_uid_once.take()?;
                    provider_uid = Some(map.next_value_seed(Text("a string for \"providerUID\""))?);
                }
                _ => map.next_value::<Skipped>().map(|_| ())?,
            }
        }
        let missing = |name| {
            A::Error::custom(format!(
                "\"{name}\" is missing in an identity (an export without the field {name} cannot be imported: export \
                 uid, provider and providerUID)"
            ))
        };
        let provider = provider.ok_or_else(|| missing("provider"))?;
        let provider_uid = provider_uid.ok_or_else(|| missing("providerUID"))?;
        let pushed = self.0.row.push_identity(self.0.names.of(&provider), &provider_uid);
        self.0.tally.identities += 1;
        if !self.0.within(pushed)? {
            self.0.tally.repeated += 1;
        }
        Ok(())
    }
}

/// Refuses a key that is given twice.
pub(crate) struct Once {
    name: &'static str,
    taken: bool,
}

impl Once {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, taken: false }
    }

    pub(crate) fn is(&self, key: &str) -> bool {
        self.name == key
    }

    pub(crate) fn take<E: de::Error>(&mut self) -> Result<(), E> {
        if self.taken {
            return Err(E::duplicate_field(self.name));
        }
        self.taken = true;
        Ok(())
    }
}

/// A string, borrowed unless it has escapes; holds what is expected, for the message.
pub(crate) struct Text(pub(crate) &'static str);

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// A value that is not used, read with the parser's limit on nesting, which skipping in `serde_json` does not have.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Skipped {
    /// Its truth value, also as text.
    flag: Option<bool>,
    /// How many elements it has as an array.
    pub(crate) elements: u64,
}

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self::default())
    }
}

impl<'de> Visitor<'de> for Skipped {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self, E> {
        Ok(Self { flag: Some(value), ..self })
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, value: &str) -> Result<Self, E> {
        Ok(Self { flag: value.parse().ok(), ..self })
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {
            self.elements += 1;
        }
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
