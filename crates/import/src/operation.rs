//! An operation: one change of a user as a JSON object.

use std::fmt;

use headcount_block::{Identity, LimitError, RowBuf, Status, User};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};

use crate::error::BadRecord;
use crate::json::{self, Once, Refusal, Seen, Text, UserReader};

/// One change of a user.
///
/// | `op` | members |
/// | --- | --- |
/// | `put` | `UID`; `identities` and `status` may be absent, as in a user object |
/// | `link`, `unlink` | `UID`, `provider`, `providerUID` |
/// | `status` | `UID`, `status` |
/// | `rename` | `UID`, `newUID` |
/// | `delete` | `UID` |
///
/// Other members of the object are errors, so that a misspelt one is not passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Makes this the user with its UID.
    Put(User),
    /// Links an identity to a user.
    Link {
        /// The user.
        uid: String,
        /// The identity.
        identity: Identity,
    },
    /// Takes an identity from a user.
    Unlink {
        /// The user.
        uid: String,
        /// The identity.
        identity: Identity,
    },
    /// Sets the status of a user.
    SetStatus {
        /// The user.
        uid: String,
        /// Its new status.
        status: Status,
    },
    /// Gives a user another UID.
    Rename {
        /// The user.
        uid: String,
        /// Its new UID.
        new_uid: String,
    },
    /// Deletes a user.
    Delete {
        /// The user.
        uid: String,
    },
}

/// Reads the operation that is all of `text`, white space around it apart.
pub(crate) fn parse(text: &str, row: &mut RowBuf) -> Result<Operation, Refusal> {
    let mut reader = Reader { user: UserReader::new(row) };
    let mut parser = serde_json::Deserializer::from_str(text);
    let outcome = (&mut reader).deserialize(&mut parser).and_then(|operation| parser.end().map(|()| operation));
    outcome.map_err(|e| Refusal {
        at: json::offset_of(text.as_bytes(), &e),
        reason: reader.user.refused.take().unwrap_or_else(|| {
            let message = json::message_of(&e);
            if e.is_data() { BadRecord::Operation(message) } else { BadRecord::Json(message) }
        }),
    })
}

/// The value of `op`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Put,
    Link,
    Unlink,
    Status,
    Rename,
    Delete,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Put, Self::Link, Self::Unlink, Self::Rename, Self::Status, Self::Delete];

    const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Link => "link",
            Self::Unlink => "unlink",
            Self::Status => "status",
            Self::Rename => "rename",
            Self::Delete => "delete",
        }
    }

    /// Members that it must have beside `op`, and those that it may have.
    const fn members(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Put => (&["UID"], &["identities", "status"]),
            Self::Link | Self::Unlink => (&["UID", "provider", "providerUID"], &[]),
            Self::Status => (&["UID", "status"], &[]),
            Self::Rename => (&["UID", "newUID"], &[]),
            Self::Delete => (&["UID"], &[]),
        }
    }

    /// Checks that the members `found` are those of this operation.
    fn check<E: de::Error>(self, found: &[&str]) -> Result<(), E> {
        let name = self.name();
        let (needed, allowed) = self.members();
        let list = needed.join(", ");
        if let Some(missing) = needed.iter().find(|member| !found.contains(member)) {
            return Err(E::custom(format!("\"{missing}\" is missing: op \"{name}\" expects {list}")));
        }
        if let Some(other) = found.iter().find(|member| !needed.contains(member) && !allowed.contains(member)) {
            let perhaps =
                if allowed.is_empty() { String::new() } else { format!(", and perhaps {}", allowed.join(", ")) };
            return Err(E::custom(format!("unexpected \"{other}\": op \"{name}\" expects {list}{perhaps}")));
        }
        Ok(())
    }
}

/// All members, for messages and to name those found.
const MEMBERS: [&str; 7] = ["op", "UID", "identities", "status", "provider", "providerUID", "newUID"];

struct Reader<'r> {
    user: UserReader<'r>,
}

/// The members that a user object does not have.
struct Extra {
    op: (Once, Option<Kind>),
    provider: (Once, String),
    provider_uid: (Once, String),
    new_uid: (Once, String),
}

impl Extra {
    const fn new() -> Self {
        Self {
            op: (Once::new("op"), None),
            provider: (Once::new("provider"), String::new()),
            provider_uid: (Once::new("providerUID"), String::new()),
            new_uid: (Once::new("newUID"), String::new()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Reader<'_> {
    type Value = Operation;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Operation, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Reader<'_> {
    type Value = Operation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an operation {\"op\": \"...\", \"UID\": \"...\", ...}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Operation, A::Error> {
        let (mut seen, mut extra) = (Seen::default(), Extra::new());
        let mut found = Vec::with_capacity(MEMBERS.len());
        while let Some(key) = map.next_key_seed(Text("an object key"))? {
            let Some(member) = MEMBERS.iter().find(|member| **member == key) else {
                let expected = MEMBERS.join(", ");
                return Err(de::Error::custom(format!("unknown member {key:?}: expected {expected}")));
            };
            if !self.user.member(&key, &mut seen, &mut map)? {
                extra_member(member, &mut extra, &mut map)?;
            }
            if *member != "op" {
                found.push(*member);
            }
        }
        let kind = extra.op.1.ok_or_else(|| de::Error::custom(format!("\"op\" is missing: expected {}", kinds())))?;
        kind.check(&found)?;
        self.operation(kind, extra)
    }
}

/// Reads the value of a member that a user object does not have.
fn extra_member<'de, A: MapAccess<'de>>(member: &str, extra: &mut Extra, map: &mut A) -> Result<(), A::Error> {
    let ((once, value), text) = match member {
        "op" => {
            extra.op.0.take()?;
            let name = map.next_value_seed(Text("a string for \"op\""))?;
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
            extra.op.1 = Some(kind.ok_or_else(|| {
                let clipped: String = name.chars().take(64).collect();
                de::Error::custom(format!("unknown op {clipped:?}: expected {}", kinds()))
            })?);
            return Ok(());
        }
        "provider" => (&mut extra.provider, Text("a string for \"provider\"")),
        "providerUID" => (&mut extra.provider_uid, Text("a string for \"providerUID\"")),
        _ => (&mut extra.new_uid, Text("a string for \"newUID\"")),
    };
    once.take()?;
    *value = map.next_value_seed(text)?.into_owned();
    Ok(())
}

fn kinds() -> String {
    Kind::ALL.map(Kind::name).join(", ")
}

impl Reader<'_> {
    /// Puts the operation together, once it has its members.
    fn operation<E: de::Error>(&mut self, kind: Kind, extra: Extra) -> Result<Operation, E> {
        let finished = self.user.row.finish().map(|row| row.to_user());
        let user = self.user.within(finished)?.map_err(|_| self.user.refuse(BadRecord::Utf8))?;
        let User { uid, status, .. } = user;
        Ok(match kind {
            Kind::Put => Operation::Put(User { uid, ..user }),
            Kind::Link => Operation::Link { uid, identity: self.identity(&extra)? },
            Kind::Unlink => Operation::Unlink { uid, identity: self.identity(&extra)? },
            Kind::Status => Operation::SetStatus { uid, status },
            Kind::Rename => {
                let checked = self.user.row.set_uid(&extra.new_uid.1).map_err(of_new_uid);
                self.user.within(checked)?;
                Operation::Rename { uid, new_uid: extra.new_uid.1 }
            }
            Kind::Delete => Operation::Delete { uid },
        })
    }

    /// The identity, checked by the limits of a user that has no other.
    fn identity<E: de::Error>(&mut self, extra: &Extra) -> Result<Identity, E> {
        let (provider, provider_uid) = (&extra.provider.1, &extra.provider_uid.1);
        let checked = self.user.row.push_identity(provider, provider_uid);
        self.user.within(checked)?;
        Ok(Identity::new(provider, provider_uid))
    }
}

/// A UID's limit, told of `newUID`.
fn of_new_uid(limit: LimitError) -> LimitError {
    let what = "newUID";
    match limit {
        LimitError::Empty { max, .. } => LimitError::Empty { what, max },
        LimitError::TooLong { max, found, .. } => LimitError::TooLong { what, max, found },
        LimitError::Nul { at, .. } => LimitError::Nul { what, at },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Operation, Refusal> {
        parse(text, &mut RowBuf::new())
    }

    fn uid() -> String {
        "u".to_owned()
    }

    #[test]
    fn every_operation_is_read() {
        let identity = Identity::new("site", "1");
        for (text, operation) in [
            (
                r#"{"op":"put","UID":"u","identities":[{"provider":"site","providerUID":"1"}],"status":"pending"}"#,
                Operation::Put(User::new("u").with_identity("site", "1").with_status(Status::Pending)),
            ),
            (r#" {"UID":"\u0075" , "op":"put"} "#, Operation::Put(User::new("u"))),
            (
                r#"{"op":"link","UID":"u","provider":"site","providerUID":"1"}"#,
                Operation::Link { uid: uid(), identity: identity.clone() },
            ),
            (
                r#"{"op":"unlink","providerUID":"1","UID":"u","provider":"site"}"#,
                Operation::Unlink { uid: uid(), identity },
            ),
            (
                r#"{"op":"status","UID":"u","status":"pending"}"#,
                Operation::SetStatus { uid: uid(), status: Status::Pending },
            ),
            (r#"{"op":"rename","UID":"u","newUID":"v"}"#, Operation::Rename { uid: uid(), new_uid: "v".to_owned() }),
            (r#"{"op":"delete","UID":"u"}"#, Operation::Delete { uid: uid() }),
        ] {
            assert_eq!(read(text), Ok(operation), "{text}");
        }
    }

    #[test]
    fn what_is_no_operation_is_named_with_its_byte() {
        for (text, at, parts) in [
            (r#"{"op":"putt","UID":"u"}"#, 11, &["unknown op \"putt\"", "put, link, unlink, rename"][..]),
            (r#"{"op":7,"UID":"u"}"#, 6, &["integer `7`", "a string for \"op\""]),
            (r#"{"UID":"u"}"#, 10, &["\"op\" is missing"]),
            (r#"{"op":"delete"}"#, 14, &["\"UID\" is missing: op \"delete\" expects UID"]),
            (r#"{"op":"delete","UID":"u","uid":"v"}"#, 29, &["unknown member \"uid\": expected op, UID"]),
            (r#"{"op":"delete","UID":"u","newUID":"v"}"#, 37, &["unexpected \"newUID\"", "\"delete\" expects UID"]),
            (
                r#"{"op":"put","UID":"u","provider":"v"}"#,
                36,
                &["unexpected \"provider\"", "perhaps identities, status"],
            ),
            (r#"{"op":"link","UID":"u","provider":"p"}"#, 37, &["\"providerUID\" is missing"]),
            (r#"{"op":"status","UID":"u","status":"done"}"#, 40, &["status is \"done\"", "\"pending\""]),
            (r#"{"op":"rename","UID":"u","newUID":null}"#, 37, &["null", "a string for \"newUID\""]),
            (r#"{"op":"rename","UID":"u","newUID":""}"#, 36, &["newUID is empty"]),
            (r#"{"op":"link","UID":"u","provider":"","providerUID":"1"}"#, 54, &["provider is empty"]),
            (r#"{"op":"delete","op":"delete","UID":"u"}"#, 18, &["duplicate field `op`"]),
            (r#"{"op":"delete","UID":""}"#, 23, &["UID is empty"]),
            (r#"{"op":"put","UID":"u","identities":{}}"#, 34, &["an array for \"identities\""]),
            (r#"["put"]"#, 0, &["an operation {"]),
            (r#"{"op":"put","UID":"u"} {}"#, 23, &["trailing characters"]),
            (r#"{"op":"put","UID":"u""#, 20, &["EOF"]),
        ] {
            let refusal = read(text).unwrap_err();
            let message = refusal.reason.to_string();
            for part in parts {
                assert!(message.contains(part), "{text}: {part:?} is not in: {message}");
            }
            assert_eq!(refusal.at, at, "{text}: {message}");
        }
    }
}
