//! JSON records of other systems: members as they lie in the record, parsed where a mapping looks at them.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::csv::clipped;
use crate::error::BadRecord;
use crate::json::{Text, message_of, offset_of};

/// Most members of an object and elements of an array that are looked at: what bounds memory beside the record itself.
const PARTS_MAX: usize = 1 << 16;

/// Why a record cannot be mapped, and the piece of it where that became clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bad<'a> {
    pub(crate) reason: BadRecord,
    /// A piece of the record.
    pub(crate) near: &'a str,
}

impl<'a> Bad<'a> {
    pub(crate) fn shape(near: &'a str, message: impl Into<String>) -> Self {
        Self { reason: BadRecord::Shape(message.into()), near }
    }

    /// The same reason, found inside of `outer`, which is the text of a string that holds JSON.
    pub(crate) fn within(reason: BadRecord, outer: Value<'a>) -> Self {
        Self { reason, near: outer.0 }
    }

    /// How many bytes into `record` the piece is.
    pub(crate) fn offset(&self, record: &str) -> usize {
        let by = self.near.as_ptr().addr().saturating_sub(record.as_ptr().addr());
        by.min(record.len())
    }
}

/// A JSON value as it lies in its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value<'a>(&'a str);

impl<'a> Value<'a> {
    /// Reads the value that is all of `text`.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Bad<'a>> {
        let value: &RawValue = serde_json::from_str(text).map_err(|e| Value(text).invalid(&e))?;
        Ok(Self(value.get()))
    }

    /// The text of the value.
    pub(crate) const fn raw(self) -> &'a str {
        self.0
    }

    pub(crate) fn is_null(self) -> bool {
        self.0 == "null"
    }

    fn first(self) -> u8 {
        self.0.as_bytes().first().copied().unwrap_or_default()
    }

    pub(crate) fn is_string(self) -> bool {
        self.first() == b'"'
    }

    pub(crate) fn is_array(self) -> bool {
        self.first() == b'['
    }

    pub(crate) fn is_object(self) -> bool {
        self.first() == b'{'
    }

    /// The value of a string; `what` names it in the error.
    pub(crate) fn text(self, what: &str) -> Result<Cow<'a, str>, Bad<'a>> {
        if !self.is_string() {
            return Err(self.unexpected("a string", what));
        }
        let inner = self.0.get(1..self.0.len().saturating_sub(1)).unwrap_or_default();
        if !inner.contains('\\') {
            return Ok(Cow::Borrowed(inner));
        }
        let text = serde_json::from_str::<String>(self.0).map_err(|e| self.invalid(&e))?;
        Ok(Cow::Owned(text))
    }

    /// An identifier: a string, or a whole number by its digits.
    pub(crate) fn id(self, what: &str) -> Result<Cow<'a, str>, Bad<'a>> {
        let digits = self.0.strip_prefix('-').unwrap_or(self.0);
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Cow::Borrowed(self.0));
        }
        if self.is_string() { self.text(what) } else { Err(self.unexpected("a string or a whole number", what)) }
    }

    /// A truth value, also as text: exports that went through a table have `"true"`.
    pub(crate) fn flag(self, what: &str) -> Result<bool, Bad<'a>> {
        match self.0 {
            "true" | "\"true\"" => Ok(true),
            "false" | "\"false\"" => Ok(false),
            _ => Err(self.unexpected("true or false", what)),
        }
    }

    /// The members of an object.
    pub(crate) fn object(self, what: &str) -> Result<Object<'a>, Bad<'a>> {
        if !self.is_object() {
            return Err(self.unexpected("an object", what));
        }
        serde_json::from_str(self.0).map_err(|e| self.invalid(&e))
    }

    /// The elements of an array.
    pub(crate) fn array(self, what: &str) -> Result<Vec<Self>, Bad<'a>> {
        if !self.is_array() {
            return Err(self.unexpected("an array", what));
        }
        let elements: Elements<'a> = serde_json::from_str(self.0).map_err(|e| self.invalid(&e))?;
        Ok(elements.0)
    }

    /// Something else was expected here.
    pub(crate) fn unexpected(self, expected: &str, what: &str) -> Bad<'a> {
        Bad::shape(self.0, format!("expected {expected} for {what:?}, found {}", clipped(self.0)))
    }

    fn invalid(self, e: &serde_json::Error) -> Bad<'a> {
        let at = offset_of(self.0.as_bytes(), e);
        let near = self.0.get(at..).unwrap_or(self.0);
        let message = message_of(e);
        Bad { reason: if e.is_data() { BadRecord::Shape(message) } else { BadRecord::Json(message) }, near }
    }
}

/// An object with its members in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object<'a> {
    members: Vec<(Cow<'a, str>, Value<'a>)>,
}

impl<'a> Object<'a> {
    /// Reads the object that is all of `text`.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Bad<'a>> {
        let text = text.trim_ascii();
        if text.starts_with('{') {
            return serde_json::from_str(text).map_err(|e| Value(text).invalid(&e));
        }
        // What is no JSON at all is said to be that.
        let found = clipped(Value::parse(text)?.0);
        Err(Bad::shape(text, format!("expected a JSON object, found {found}")))
    }

    /// The value of `key`; `null` is no value.
    ///
    /// # Errors
    /// When the key is given twice: which of them counts cannot be known.
    pub(crate) fn get(&self, key: &str) -> Result<Option<Value<'a>>, Bad<'a>> {
        let mut found = self.members.iter().filter(|(k, _)| k == key).map(|(_, v)| *v);
        let first = found.next();
        if let Some(second) = found.next() {
            return Err(Bad::shape(second.0, format!("duplicate field `{key}`")));
        }
        Ok(first.filter(|v| !v.is_null()))
    }

    /// The value of `key`, which has to be there.
    pub(crate) fn need(&self, key: &str, near: &'a str) -> Result<Value<'a>, Bad<'a>> {
        self.get(key)?.ok_or_else(|| Bad::shape(near, format!("{key:?} is missing")))
    }

    /// The value at a path of keys with dots between them; `None` when one of them is not there.
    pub(crate) fn find(&self, path: &str) -> Result<Option<Value<'a>>, Bad<'a>> {
        match path.split_once('.') {
            None => self.get(path),
            Some((key, rest)) => match self.get(key)? {
                Some(value) if value.is_object() => value.object(key)?.find(rest),
                _ => Ok(None),
            },
        }
    }

    /// Whether the truth value `key` is there and equals `wanted`.
    pub(crate) fn is(&self, key: &str, wanted: bool) -> Result<bool, Bad<'a>> {
        Ok(self.get(key)?.map(|v| v.flag(key)).transpose()? == Some(wanted))
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, Value<'a>)> {
        self.members.iter().map(|(key, value)| (key.as_ref(), *value))
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.members.iter().any(|(k, _)| k == key)
    }

    /// The names of the members, for messages.
    pub(crate) fn names(&self) -> Vec<String> {
        self.members.iter().map(|(key, _)| key.to_string()).collect()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(key) = map.next_key_seed(Text("an object key"))? {
                    if members.len() == PARTS_MAX {
                        return Err(A::Error::custom(format!("an object of more than {PARTS_MAX} members")));
                    }
                    members.push((key, Value(map.next_value::<&RawValue>()?.get())));
                }
                Ok(Object { members })
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// The elements of an array.
struct Elements<'a>(Vec<Value<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Elements<'de>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element::<&RawValue>()? {
                    if elements.len() == PARTS_MAX {
                        return Err(A::Error::custom(format!("an array of more than {PARTS_MAX} elements")));
                    }
                    elements.push(Value(element.get()));
                }
                Ok(Elements(elements))
            }
        }

        deserializer.deserialize_seq(Each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object<'_> {
        Object::parse(text).unwrap()
    }

    #[test]
    fn members_are_found_and_typed() {
        let record = r#" {"a":"x\n","b":12,"c":null,"d":{"e":[1,{"f":true}]},"t":"true"} "#;
        let o = object(record);
        assert_eq!(o.need("a", "").unwrap().text("a").unwrap(), "x\n");
        assert_eq!(o.need("b", "").unwrap().id("b").unwrap(), "12");
        assert_eq!(o.get("c").unwrap(), None);
        assert_eq!(o.find("d.e").unwrap().unwrap().array("e").unwrap().len(), 2);
        assert_eq!(o.find("a.b").unwrap(), None);
        assert!(o.is("t", true).unwrap());
        assert!(o.need("b", "").unwrap().text("b").unwrap_err().reason.to_string().contains("found 12"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let twice = r#"{"a":1,"a":2}"#;
        let bad = object(twice).get("a").unwrap_err();
        assert_eq!((bad.offset(twice), bad.reason.name()), (11, "wrong-shape"));
        let missing = object(twice).need("b", twice).unwrap_err();
        assert!(missing.reason.to_string().contains("\"b\" is missing"));
        let broken = r#"{"a":1,"b":tru}"#;
        let bad = Object::parse(broken).unwrap_err();
        assert_eq!((bad.offset(broken), bad.reason.name()), (14, "invalid-json"));
        for text in ["", "[]", "{", "{\"a\":1} x", "7", "{\"a\" 1}"] {
            assert!(Object::parse(text).is_err(), "{text}");
        }
        let many = format!("{{\"a\":[{}0],{}\"z\":0}}", "0,".repeat(PARTS_MAX - 1), "\"b\":0,".repeat(PARTS_MAX - 2));
        assert!(object(&many).need("a", "").unwrap().array("a").is_ok());
        let more = many.replacen("0,", "0,0,", 1);
        let bad = object(&more).need("a", "").unwrap().array("a").unwrap_err();
        assert!(bad.reason.to_string().contains("more than 65536 elements"), "{}", bad.reason);
        let bad = Object::parse(&many.replacen("\"b\"", "\"y\":0,\"b\"", 1)).unwrap_err().reason;
        assert!(bad.to_string().contains("more than 65536 members"), "{bad}");
        let number = r#"{"a":1.5}"#;
        assert!(object(number).need("a", "").unwrap().id("a").is_err());
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(object(&deep).need("a", "").unwrap().is_array());
    }
}
