//! The slow, independent way to write an export: serde_json and csv over a map sorted by UID.
//!
//! It shares no code with the exporter and takes every rule from the contract, so that equal bytes mean something.

use std::collections::BTreeMap;
use std::io;

use headcount_block::{Identity, Status, User};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Users by UID: what a store holds.
pub type Users = BTreeMap<String, User>;

/// Which users and which of their fields. Field names are `uid`, `provider`, `providerUID`, `status`.
#[derive(Debug, Clone, Default)]
pub struct Query<'a> {
    /// Field names in the order asked for.
    pub fields: &'a [&'a str],
    /// Users whose UID sorts after this one.
    pub after: Option<&'a str>,
    /// At most so many users.
    pub limit: Option<usize>,
    /// Pending users too.
    pub include_pending: bool,
}

impl Query<'_> {
    fn has(&self, field: &str) -> bool {
        self.fields.contains(&field)
    }

    fn has_identities(&self) -> bool {
        self.has("provider") || self.has("providerUID")
    }

    fn select<'u>(&self, users: &'u Users) -> impl Iterator<Item = &'u User> {
        users
            .values()
            .filter(move |u| self.after.is_none_or(|after| u.uid.as_str() > after))
            .filter(|u| self.include_pending || u.status == Status::Registered)
            .take(self.limit.unwrap_or(usize::MAX))
    }
}

struct JsonUser<'a>(&'a User, &'a Query<'a>);
struct JsonIdentity<'a>(&'a Identity, &'a Query<'a>);

impl Serialize for JsonUser<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(user, query) = self;
        let mut map = serializer.serialize_map(None)?;
        if query.has("uid") {
            map.serialize_entry("UID", &user.uid)?;
        }
        if query.has("status") {
            map.serialize_entry("status", user.status.as_str())?;
        }
        if query.has_identities() {
            let identities: Vec<_> = user.identities.iter().map(|i| JsonIdentity(i, query)).collect();
            map.serialize_entry("identities", &identities)?;
        }
        map.end()
    }
}

impl Serialize for JsonIdentity<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(identity, query) = self;
        let mut map = serializer.serialize_map(None)?;
        if query.has("provider") {
            map.serialize_entry("provider", &identity.provider)?;
        }
        if query.has("providerUID") {
            map.serialize_entry("providerUID", &identity.provider_uid)?;
        }
        map.end()
    }
}

/// One user object a line.
///
/// # Errors
/// None in practice: the output is memory.
pub fn ndjson(users: &Users, query: &Query<'_>) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for user in query.select(users) {
        serde_json::to_writer(&mut out, &JsonUser(user, query))?;
        out.push(b'\n');
    }
    Ok(out)
}

/// The documented envelope.
///
/// # Errors
/// As [`ndjson`].
pub fn json(users: &Users, query: &Query<'_>, call_id: &str, time: &str) -> io::Result<Vec<u8>> {
    struct Envelope<'a>(Vec<JsonUser<'a>>, usize, &'a str, &'a str);
    impl Serialize for Envelope<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Self(users, identities, call_id, time) = self;
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("users", users)?;
            map.serialize_entry("usersCount", &users.len())?;
            map.serialize_entry("identitiesCount", identities)?;
            map.serialize_entry("statusCode", &200)?;
            map.serialize_entry("errorCode", &0)?;
            map.serialize_entry("statusReason", "OK")?;
            map.serialize_entry("callId", call_id)?;
            map.serialize_entry("time", time)?;
            map.end()
        }
    }
    let selected: Vec<_> = query.select(users).map(|u| JsonUser(u, query)).collect();
    let identities = if query.has_identities() { selected.iter().map(|u| u.0.identities.len()).sum() } else { 0 };
    Ok(serde_json::to_vec(&Envelope(selected, identities, call_id, time))?)
}

/// RFC 4180: a row an identity, or a user where no identity column is asked for.
///
/// # Errors
/// As [`ndjson`].
pub fn csv(users: &Users, query: &Query<'_>) -> io::Result<Vec<u8>> {
    let mut out = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    out.write_record(query.fields)?;
    for user in query.select(users) {
        let nobody = Identity::new("", "");
        let identities: Vec<&Identity> = match (query.has_identities(), user.identities.as_slice()) {
            (false, _) | (true, []) => vec![&nobody],
            (true, identities) => identities.iter().collect(),
        };
        for identity in identities {
            out.write_record(query.fields.iter().map(|field| match *field {
                "uid" => user.uid.as_str(),
                "provider" => identity.provider.as_str(),
                "providerUID" => identity.provider_uid.as_str(),
                _ => user.status.as_str(),
            }))?;
        }
    }
    out.into_inner().map_err(|e| io::Error::other(e.to_string()))
}
