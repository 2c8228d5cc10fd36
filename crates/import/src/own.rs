//! A user as an object of our own exports: what rejected users and those without a place elsewhere are written as.

use std::io::{self, Write};

use headcount_block::{Identity, Status, User};
use serde::Serialize;
use serde::ser::SerializeMap;

/// The member by which a user of our own form is told from records of any shape, whose members may be called like ours.
/// Readers of our own formats step over it, as over others that they do not know.
pub(crate) const MARK: &str = "headcount";

/// Writes `user` as a line of NDJSON.
pub(crate) fn write_line(out: &mut impl Write, user: &User) -> io::Result<()> {
    write(out, &Object { user, marked: false })
}

/// As [`write_line`], with the mark.
pub(crate) fn write_marked_line(out: &mut impl Write, user: &User) -> io::Result<()> {
    write(out, &Object { user, marked: true })
}

fn write(out: &mut impl Write, object: &Object<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, object)?;
    out.write_all(b"\n")
}

struct Object<'a> {
    user: &'a User,
    marked: bool,
}

impl Serialize for Object<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("UID", &self.user.uid)?;
        if self.user.status == Status::Pending {
            map.serialize_entry("status", self.user.status.as_str())?;
        }
        map.serialize_entry("identities", &Objects(&self.user.identities))?;
        if self.marked {
            map.serialize_entry(MARK, "user")?;
        }
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
