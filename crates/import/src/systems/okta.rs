//! Okta: lists of users.
//!
//! `{"id":"00u1","status":"ACTIVE","profile":{…},"credentials":{"provider":{"type":"OKTA","name":"OKTA"}}}`.
//!
//! A list of users names the provider of their credentials alone, of which Okta's own id is the id; identities of social
//! providers are a call for each user. STAGED and PROVISIONED users have not finished their registration.

use crate::draft::{Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

pub(super) static SPEC: Spec = Spec {
    format: Format::Okta,
    system: "Okta",
    uids: &["id", "profile.login"],
    documents: &[Document {
        loses: &["Okta's list of users names one provider each; linked social identities are in GET \
             /api/v1/idps/{idpId}/users alone, and are not in this file"],
        ..Document::new(
            &["[]", ""],
            map,
            Rule::new(
                &["id", "status", "profile{}"],
                &["credentials", "activated", "statusChanged"],
                &["UID", "user_id", "aud"],
            ),
        )
    }],
    tables: &[],
    ask: "users have credentials.provider; list users with GET /api/v1/users",
};

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    draft.chosen_uid(record, job)?;
    match record.need("status")?.text("status")?.as_ref() {
        "STAGED" | "PROVISIONED" => draft.pending(),
        "SUSPENDED" | "DEPROVISIONED" | "LOCKED_OUT" => draft.disabled = true,
        _ => {}
    }
    if let Some(name) = record.object.find("credentials.provider.name")? {
        let provider = name.text("name")?;
        draft.link(&provider, "id", record.need("id")?)?;
    }
    Ok(Verdict::User)
}
