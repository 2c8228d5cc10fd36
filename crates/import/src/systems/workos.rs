//! WorkOS: lists of users, with their identities put into them.
//!
//! `{"object":"user","id":"user_1","identities":[{"provider":"GoogleOAuth","idp_id":"1001"}]}`.
//!
//! A list of users has no identities: those of one user are a call of their own, whose answer a script puts into the user.

use crate::draft::{Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

pub(super) static SPEC: Spec = Spec {
    format: Format::WorkOs,
    system: "WorkOS",
    uids: &["id", "external_id"],
    documents: &[Document {
        next: &["list_metadata.after"],
        ..Document::new(
            &["data[]", "[]", "", "[].data[]"],
            map,
            Rule::new(
                &["id", "email_verified"],
                &["profile_picture_url", "last_sign_in_at", "identities[]"],
                &["UID", "user_id", "aud", "external_accounts"],
            ),
        )
    }],
    tables: &[],
    ask: "put the answer of GET /user_management/users/{id}/identities into each user as identities",
};

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    draft.chosen_uid(record, job)?;
    draft.links(&record.object, "identities", "provider", "idp_id")?;
    Ok(Verdict::User)
}
