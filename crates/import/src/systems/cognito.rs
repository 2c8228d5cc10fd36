//! AWS Cognito: `ListUsers`, and the CSV of its imports.
//!
//! `{"Username":"google_1001","Attributes":[{"Name":"sub","Value":"6d0c"},{"Name":"identities","Value":"[…]"}]}`.
//!
//! The attribute `identities` is JSON in a string: an array of objects, or one object when the file went through an API
//! gateway. Native users have none. Without a `userId` it is what follows the provider's name in `Username`. The CSV, made
//! for imports, has no identities at all.

use crate::draft::{Draft, Record, Table, Verdict};
use crate::error::BadRecord;
use crate::format::Format;
use crate::mapped::Job;
use crate::object::{Bad, Value};
use crate::spec::{Document, Rule, Spec};

pub(super) static SPEC: Spec = Spec {
    format: Format::Cognito,
    system: "AWS Cognito",
    uids: &["sub", "Username"],
    documents: &[Document {
        next: &["PaginationToken", "NextToken", "nextToken"],
        ..Document::new(
            &["Users[]", "[]", "[].Users[]", ""],
            map,
            Rule::new(&["Username"], &["Attributes[]", "UserAttributes[]", "UserStatus"], &["UID"]),
        )
    }],
    tables: &[Table {
        any: &["cognito:mfa_enabled", "email_verified", "cognito:user_status", "sub"],
        pending: Some(("cognito:user_status", "UNCONFIRMED")),
        loses: &[
            "Cognito's CSV has no identities: users of other providers come without theirs; use `aws cognito-idp \
             list-users` to have them",
        ],
        ..Table::new(&["cognito:username"], &["cognito:username", "sub"])
    }],
    ask: "native users have none; those of other providers have the attribute identities, unless list-users was called \
          with --attributes-to-get",
};

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    let mut sub = None;
    let mut identities = None;
    let list = if record.object.has("UserAttributes") { "UserAttributes" } else { "Attributes" };
    if let Some(attributes) = record.object.get(list)? {
        for element in attributes.array(list)? {
            let attribute = element.object(list)?;
            let name = attribute.need("Name", element.raw())?.text("Name")?;
            let slot = match name.as_ref() {
                "sub" => &mut sub,
                "identities" => &mut identities,
                _ => continue,
            };
            if slot.replace(attribute.need("Value", element.raw())?).is_some() {
                return Err(Bad::shape(element.raw(), format!("the attribute {name:?} is given twice")));
            }
        }
    }
    let uid = if job.uid == "sub" { sub } else { Some(record.need("Username")?) };
    let missing =
        || Bad::shape(record.text, "the attribute \"sub\" is missing (--uid Username takes the name instead)");
    draft.uid(job.uid, uid.ok_or_else(missing)?)?;
    draft.disabled = record.object.is("Enabled", false)?;
    if let Some(status) = record.object.get("UserStatus")?
        && status.text("UserStatus")? == "UNCONFIRMED"
    {
        draft.pending();
    }
    if let Some(value) = identities {
        let text = value.text("identities")?;
        let name = record.object.get("Username")?.map(|name| name.text("Username")).transpose()?.unwrap_or_default();
        links(&text, &name, draft).map_err(|reason| Bad::within(reason, value))?;
    }
    Ok(Verdict::User)
}

/// The identities that stand in a string; `name` is their user's.
fn links(text: &str, name: &str, draft: &mut Draft<'_>) -> Result<(), BadRecord> {
    let inside =
        |bad: Bad<'_>| BadRecord::Shape(format!("in the string of the attribute \"identities\": {}", bad.reason));
    if text.trim().is_empty() {
        return Ok(());
    }
    let value = Value::parse(text).map_err(inside)?;
    let elements = if value.is_object() { vec![value] } else { value.array("identities").map_err(inside)? };
    elements.into_iter().try_for_each(|element| link(element, name, draft).map_err(inside))
}

fn link<'a>(element: Value<'a>, name: &str, draft: &mut Draft<'_>) -> Result<(), Bad<'a>> {
    let identity = element.object("identities")?;
    let provider = identity.need("providerName", element.raw())?.text("providerName")?;
    if let Some(id) = identity.get("userId")? {
        return draft.link(&provider, "userId", id);
    }
    let Some(id) = after_provider(name, &provider) else {
        let message = format!("\"userId\" is missing, and the Username is not {provider}_ with the id behind it");
        return Err(Bad::shape(element.raw(), message));
    };
    draft.link_text(&provider, id).map_err(|reason| Bad { reason, near: element.raw() })
}

/// What follows the provider in the name of a user of its: `1001` of `google_1001`.
fn after_provider<'n>(name: &'n str, provider: &str) -> Option<&'n str> {
    let (start, rest) = name.split_at_checked(provider.len())?;
    rest.strip_prefix('_').filter(|id| start.eq_ignore_ascii_case(provider) && !id.is_empty())
}
