//! Clerk: lists of users.
//!
//! `{"id":"user_1","external_accounts":[{"provider":"oauth_google","provider_user_id":"1001"}]}`.

use crate::draft::{Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

pub(super) static SPEC: Spec = Spec {
    format: Format::Clerk,
    system: "Clerk",
    uids: &["id", "external_id"],
    documents: &[Document {
        total: Some("total_count"),
        ..Document::new(
            &["[]", "data[]", "", "[].data[]"],
            map,
            Rule::new(&["id", "external_accounts[]"], &[], &["UID", "user_id"]),
        )
    }],
    tables: &[],
    ask: "users have them in external_accounts; list users with GET /v1/users (the dashboard's CSV has none)",
};

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    draft.chosen_uid(record, job)?;
    draft.disabled = record.object.is("banned", true)? || record.object.is("locked", true)?;
    draft.links(&record.object, "external_accounts", "provider", "provider_user_id")?;
    Ok(Verdict::User)
}
