//! A user as an object of our own exports: what rejected users and those without a place elsewhere are written as.

use std::io::{self, Write};

use headcount_block::{Identity, Status, User};
use serde::Serialize;
use serde::ser::SerializeMap;

/// Writes `user` as a line of NDJSON.
pub(crate) fn write_line(out: &mut impl Write, user: &User) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Object(user))?;
    out.write_all(b"\n")
}

struct Object<'a>(&'a User);

impl Serialize for Object<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("UID", &self.0.uid)?;
        if self.0.status == Status::Pending {
            map.serialize_entry("status", self.0.status.as_str())?;
        }
        map.serialize_entry("identities", &Objects(&self.0.identities))?;
        map.end()
    }
}

struct Objects<'a>(&'a [Identity]);

impl Serialize for Objects<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct One<'a> {
            provider: &'a str,
            #[serde(rename = "providerUID")]
            provider_uid: &'a str,
        }
        serializer.collect_seq(self.0.iter().map(|i| One { provider: &i.provider, provider_uid: &i.provider_uid }))
    }
}
