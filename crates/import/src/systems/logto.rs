//! Logto: lists of users.
//!
//! `{"id":"u1","identities":{"google":{"userId":"1001"}},"ssoIdentities":[{"issuer":"https://i","identityId":"x9"}]}`.
//!
//! `identities` is an object whose keys are the providers.

use crate::draft::{Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

pub(super) static SPEC: Spec = Spec {
    format: Format::Logto,
    system: "Logto",
    uids: &["id"],
    documents: &[Document::new(
        &["[]", "", "users[]"],
        map,
        Rule::new(&["id", "identities{}"], &[], &["UID", "user_id", "localId", "schema_id"]),
    )],
    tables: &[],
    ask: "social users have them in identities; list users with GET /api/users",
};

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    draft.chosen_uid(record, job)?;
    draft.disabled = record.object.is("isSuspended", true)?;
    if let Some(identities) = record.object.get("identities")? {
        for (provider, value) in identities.object("identities")?.members() {
            let identity = value.object(provider)?;
            draft.link(provider, "userId", identity.need("userId", value.raw())?)?;
        }
    }
    draft.links(&record.object, "ssoIdentities", "issuer", "identityId")?;
    Ok(Verdict::User)
}
