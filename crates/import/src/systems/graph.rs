//! Microsoft Graph: lists and deltas of users.
//!
//! `{"value":[{"id":"…","identities":[{"signInType":"federated","issuer":"google.com","issuerAssignedId":"1001"}]}]}`.
//!
//! The issuer is the provider of federated identities; of local ones it is the tenant, and the type of the sign-in is
//! the provider. `identities` is there only when it was asked for. Deltas mark users that are gone with `@removed`.
//! Members of a group or of the directory are objects of all types, which `@odata.type` tells.

use crate::draft::{DELETED, Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

const MARKS: &[&str] = &["userPrincipalName", "@odata.type", "@removed"];

/// Marks of a user in a page of Graph's.
const RECORDS: &[&str] = &["userPrincipalName", "@odata.type", "@removed", "identities[]"];

pub(super) static SPEC: Spec = Spec {
    format: Format::Graph,
    system: "Microsoft Graph",
    uids: &["id", "userPrincipalName"],
    documents: &[
        Document {
            envelope: Rule::new(&[], &["@odata.context", "@odata.nextLink", "@odata.deltaLink"], &["UID"]),
            next: &["@odata.nextLink"],
            total: Some("@odata.count"),
            ..Document::new(&["value[]", "[].value[]"], map, Rule::new(&["id"], RECORDS, &["UID"]))
        },
        Document {
            next: &["@odata.nextLink"],
            ..Document::new(
                &["value[]", "[]", "", "[].value[]"],
                map,
                Rule::new(&["id"], MARKS, &["UID", "aud", "app_metadata", "credentials", "username"]),
            )
        },
    ],
    tables: &[],
    ask: "ask for them: GET /users?$select=id,identities",
};

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    if record.object.get("@removed")?.is_some() {
        return Ok(DELETED);
    }
    if let Some(kind) = record.object.get("@odata.type")?
        && !is_user(&kind.text("@odata.type")?)
    {
        return Ok(Verdict::Skipped("objects that are no users"));
    }
    draft.chosen_uid(record, job)?;
    draft.disabled = record.object.is("accountEnabled", false)?;
    let Some(identities) = record.object.get("identities")? else { return Ok(Verdict::User) };
    for element in identities.array("identities")? {
        let identity = element.object("identities")?;
        let kind = identity.need("signInType", element.raw())?.text("signInType")?;
        let key = if kind == "federated" { "issuer" } else { "signInType" };
        let provider = identity.need(key, element.raw())?.text(key)?;
        draft.link(&provider, "issuerAssignedId", identity.need("issuerAssignedId", element.raw())?)?;
    }
    Ok(Verdict::User)
}

/// Whether a type is that of users, or of a kind of them, and not of groups, devices and so on.
fn is_user(kind: &str) -> bool {
    let name = kind.rsplit('.').next().unwrap_or_default();
    name.to_ascii_lowercase().ends_with("user")
}
