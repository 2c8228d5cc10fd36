//! Auth0: NDJSON and CSV of export jobs, and its Management API.
//!
//! `{"user_id":"auth0|64a1","identities":[{"provider":"auth0","user_id":"64a1","connection":"…"}]}`.
//!
//! Export jobs write NDJSON, or CSV whose columns their owner chose; only the fields asked for are in them. Without
//! `identities` the first one is in `user_id`, which is split at its first `|`: what follows may hold more of them. The
//! ids of identities are numbers or strings.

use crate::draft::{Draft, Record, Rows, Table, Verdict};
use crate::error::BadRecord;
use crate::format::Format;
use crate::mapped::Job;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

const RECORD: Rule =
    Rule::new(&["user_id"], &["identities[]", "user_id|"], &["UID", "provider", "provider_id", "localId"]);

pub(super) static SPEC: Spec = Spec {
    format: Format::Auth0,
    system: "Auth0",
    uids: &["user_id"],
    documents: &[Document {
        total: Some("total"),
        next: &["next"],
        ..Document::new(&["", "[]", "users[]", "[].users[]"], map, RECORD)
    }],
    tables: &[Table {
        none: &["uid", "provider", "provider_id", "provider_account_id", "login_provider", "provider_key"],
        disabled: Some(("blocked", "true")),
        rows: Rows::Auth0,
        ..Table::new(&["user_id"], &["user_id"])
    }],
    ask: "export again with the fields user_id and identities",
};

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    draft.chosen_uid(record, job)?;
    draft.disabled = record.object.is("blocked", true)?;
    if record.object.has("identities") {
        draft.links(&record.object, "identities", "provider", "user_id")?;
    } else {
        let value = record.need("user_id")?;
        let id = value.id("user_id")?;
        split(&id, draft).map_err(|reason| Bad { reason, near: value.raw() })?;
    }
    Ok(Verdict::User)
}

/// The identity that is in a UID: `provider|id`, split at the first pipe.
pub(crate) fn split(user_id: &str, draft: &mut Draft<'_>) -> Result<(), BadRecord> {
    match user_id.split_once('|') {
        Some((provider, id)) => draft.link_text(provider, id),
        None => Err(BadRecord::Shape(format!(
            "\"user_id\" is {user_id:?}, without a `|` to split it at, and \"identities\" is missing: export both"
        ))),
    }
}
