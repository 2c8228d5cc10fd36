//! SCIM 2.0 (RFC 7644): list responses.
//!
//! `{"schemas":["urn:…:ListResponse"],"totalResults":1,"Resources":[{"id":"…","externalId":"…"}]}`.
//!
//! `externalId` is what the provisioning client calls the user: an identity of the provider `scim`. Groups have an `id` too,
//! and stand among the users in answers that are not of one type.

use crate::draft::{Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

/// The provider of `externalId`, which has no name of its own.
const PROVIDER: &str = "scim";

/// The schemas of RFC 7643.
const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

pub(super) static SPEC: Spec = Spec {
    format: Format::Scim,
    system: "SCIM 2.0",
    uids: &["id", "userName", "externalId"],
    documents: &[
        Document {
            alone: &["schemas", "userName", "externalId"],
            total: Some("totalResults"),
            ..Document::new(&["Resources[]", "[].Resources[]"], map, Rule::new(&["id"], &[], &["UID"]))
        },
        Document::new(&["", "[]"], map, Rule::new(&["id", "schemas[]"], &["userName", "externalId", "meta"], &["UID"])),
    ],
    tables: &[],
    ask: "users have the attribute externalId where the provisioning client set it",
};

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    if is_group(record)? {
        return Ok(Verdict::Skipped("groups"));
    }
    draft.chosen_uid(record, job)?;
    draft.disabled = record.object.is("active", false)?;
    if let Some(id) = record.object.get("externalId")? {
        draft.link(PROVIDER, "externalId", id)?;
    }
    Ok(Verdict::User)
}

/// Whether a resource is a group: its schema says so, or it has members and not the name that every user has.
fn is_group<'a>(record: &Record<'a>) -> Result<bool, Bad<'a>> {
    if let Some(schemas) = record.object.get("schemas")? {
        let mut groups = false;
        for schema in schemas.array("schemas")? {
            let schema = schema.text("schemas")?;
            groups |= schema.eq_ignore_ascii_case(GROUP);
            if schema.eq_ignore_ascii_case(USER) {
                return Ok(false);
            }
        }
        if groups {
            return Ok(true);
        }
    }
    Ok(record.object.has("members") && !record.object.has("userName"))
}
