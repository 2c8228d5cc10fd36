//! Supabase: its Admin API, and the tables `auth.users` and `auth.identities` as CSV.
//!
//! `{"id":"5f0e","aud":"authenticated","identities":[{"identity_id":"9c11","id":"1001","provider":"google"}]}`.
//!
//! In the API's JSON `identities[].id` is the provider's id. In the table `auth.identities`, and in JSON that was made of
//! it, the provider's id is `provider_id`, and `id` is the row's own, which the API calls `identity_id`; before November
//! 2023 there was no `provider_id`, and `id` was the provider's.
//! The rows of both tables are parts of users, so that the files may come in any order of rows.

use crate::draft::{DELETED, Draft, Provider, Record, Rows, Table, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

const USERS: &[&str] =
    &["instance_id", "aud", "raw_app_meta_data", "is_anonymous", "is_sso_user", "encrypted_password"];

pub(super) static SPEC: Spec = Spec {
    format: Format::Supabase,
    system: "Supabase",
    uids: &["id"],
    documents: &[Document {
        next: &["nextPage", "next_page"],
        total: Some("total"),
        ..Document::new(
            &["users[]", "[]", "", "[].users[]"],
            map,
            Rule::new(&["id"], &["app_metadata{}", "aud", "is_anonymous"], &["UID", "user_id", "localId", "schema_id"]),
        )
    }],
    tables: &[
        Table {
            any: USERS,
            none: &["user_id", "provider"],
            deleted: Some("deleted_at"),
            rows: Rows::Parts,
            ..Table::new(&["id"], &["id"])
        },
        Table {
            links: &[(Provider::Column("provider"), "provider_id")],
            rows: Rows::Parts,
            ..Table::new(&["user_id", "provider", "provider_id", "identity_data"], &["user_id"])
        },
        Table {
            none: &["provider_id"],
            links: &[(Provider::Column("provider"), "id")],
            rows: Rows::Parts,
            ..Table::new(&["user_id", "provider", "id", "identity_data"], &["user_id"])
        },
    ],
    ask: "give the table auth.identities too; the Admin API's list has them in each user",
};

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    draft.chosen_uid(record, job)?;
    if record.object.get("deleted_at")?.is_some() {
        return Ok(DELETED);
    }
    draft.disabled = record.object.get("banned_until")?.is_some();
    let Some(identities) = record.object.get("identities")? else { return Ok(Verdict::User) };
    for element in identities.array("identities")? {
        let identity = element.object("identities")?;
        let of_the_table = !identity.has("identity_id") && identity.get("provider_id")?.is_some();
        let key = if of_the_table { "provider_id" } else { "id" };
        let provider = identity.need("provider", element.raw())?.text("provider")?;
        draft.link(&provider, key, identity.need(key, element.raw())?)?;
    }
    Ok(Verdict::User)
}
