//! LDIF (RFC 2849), as `slapcat` and `ldapsearch` write it: entries of people, their UID in `uid` or `entryUUID`.

use crate::format::Format;
use crate::spec::Spec;

pub(super) static SPEC: Spec = Spec {
    format: Format::Ldif,
    system: "LDIF",
    uids: &["uid", "entryUUID"],
    documents: &[],
    tables: &[],
    ask: "a directory has none: --local-identity site gives each user one",
};
