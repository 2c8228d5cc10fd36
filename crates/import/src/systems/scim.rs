//! SCIM 2.0 (RFC 7644): list responses.
//!
//! `{"schemas":["urn:…:ListResponse"],"totalResults":1,"Resources":[{"id":"…","externalId":"…"}]}`.
//!
//! `externalId` is what the provisioning client calls the user: an identity of the provider `scim`.

use crate::draft::{Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

/// The provider of `externalId`, which has no name of its own.
const PROVIDER: &str = "scim";

pub(super) static SPEC: Spec = Spec {
    format: Format::Scim,
    system: "SCIM 2.0",
    uids: &["id", "userName", "externalId"],
    documents: &[
        Document {
            total: Some("totalResults"),
            ..Document::new(&["Resources[]", "[].Resources[]"], map, Rule::new(&["id"], &[], &["UID"]))
        },
        Document::new(&["", "[]"], map, Rule::new(&["id", "schemas[]"], &["userName", "externalId", "meta"], &["UID"])),
    ],
    tables: &[],
    ask: "users have the attribute externalId where the provisioning client set it",
};

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    draft.chosen_uid(record, job)?;
    draft.disabled = record.object.is("active", false)?;
    if let Some(id) = record.object.get("externalId")? {
        draft.link(PROVIDER, "externalId", id)?;
    }
    Ok(Verdict::User)
}
