//! FusionAuth: search results, and links of identity providers.
//!
//! `{"users":[{"id":"…","tenantId":"…"}],"total":1}`, and
//! `{"identityProviderLinks":[{"userId":"…","identityProviderName":"Google","identityProviderUserId":"1001"}]}`.
//!
//! Users and links are parts of users, which are united by the user's id. A file of rejects holds both, one a line.

use crate::draft::{Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

pub(super) static SPEC: Spec = Spec {
    format: Format::FusionAuth,
    system: "FusionAuth",
    uids: &["id"],
    documents: &[
        Document {
            links: true,
            ..Document::new(
                &["identityProviderLinks[]", "[]", "", "[].identityProviderLinks[]"],
                link,
                Rule::new(&["userId", "identityProviderUserId"], &[], &["UID"]),
            )
        },
        Document {
            total: Some("total"),
            next: &["nextResults"],
            ..Document::new(
                &["users[]", "[]", "", "[].users[]"],
                user,
                Rule::new(
                    &["id", "tenantId"],
                    &["insertInstant", "registrations", "usernameStatus", "active"],
                    &["UID"],
                ),
            )
        },
    ],
    tables: &[],
    ask: "give the links too: GET /api/identity-provider/link?userId= for each user",
};

fn user<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    if record.object.has("identityProviderUserId") {
        return link(record, job, draft);
    }
    draft.chosen_uid(record, job)?;
    draft.disabled = record.object.is("active", false)?;
    Ok(Verdict::Fragment)
}

fn link<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    if !["userId", "identityProviderUserId"].iter().any(|key| record.object.has(key)) {
        return user(record, job, draft);
    }
    draft.uid("userId", record.need("userId")?)?;
    let key = if record.object.has("identityProviderName") { "identityProviderName" } else { "identityProviderType" };
    let provider = record.need(key)?.text(key)?;
    draft.link(&provider, "identityProviderUserId", record.need("identityProviderUserId")?)?;
    Ok(Verdict::Fragment)
}
