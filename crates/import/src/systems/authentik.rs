//! authentik: lists of users and of their source connections.
//!
//! `{"results":[{"pk":7,"username":"ana","uuid":"…"}]}`, and of its source connections
//! `{"results":[{"pk":1,"user":7,"source_obj":{"slug":"google"},"identifier":"1001"}]}`.
//!
//! Users and connections are parts of users, which are united by `pk`. Older versions write no `identifier`.
//! A file of rejects holds both, one a line.

use crate::draft::{Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

/// What is in the records of service accounts, and in none of people.
const GONE: &[&str] = &[SERVICE];
const SERVICE: &str = "service_account";

pub(super) static SPEC: Spec = Spec {
    format: Format::Authentik,
    system: "authentik",
    uids: &["pk", "uuid", "username"],
    documents: &[
        Document {
            next: &["pagination.next"],
            gone: GONE,
            links: true,
            ..Document::new(
                &["results[]", "[]", "", "[].results[]"],
                connection,
                Rule::new(&["pk", "user"], &["source_obj{}", "identifier"], &["UID", "username"]),
            )
        },
        Document {
            next: &["pagination.next"],
            gone: GONE,
            ..Document::new(
                &["results[]", "[]", "", "[].results[]"],
                user,
                Rule::new(&["pk", "username"], &["uuid", "is_superuser", "groups_obj"], &["UID", "user_id"]),
            )
        },
    ],
    tables: &[],
    ask: "give the source connections too: GET /api/v3/sources/user_connections/all/ (or /oauth/)",
};

fn user<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    if record.object.has("user") && !record.object.has("username") {
        return connection(record, job, draft);
    }
    if let Some(kind) = record.object.get("type")?
        && kind.text("type")?.contains(SERVICE)
    {
        return Ok(draft.left_out("service accounts", record, job));
    }
    draft.chosen_uid(record, job)?;
    draft.disabled = record.object.is("is_active", false)?;
    Ok(Verdict::Fragment)
}

fn connection<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    if record.object.has("username") && !record.object.has("user") {
        return user(record, job, draft);
    }
    let user = record.need("user")?;
    if job.uid != "pk" {
        return Err(Bad::shape(
            user.raw(),
            format!("connections name users by pk, and the UID is {}: leave out --uid", job.uid),
        ));
    }
    draft.uid("user", user)?;
    let Some(identifier) = record.object.get("identifier")? else {
        return Err(Bad::shape(record.text, "\"identifier\" is missing: this version of authentik does not tell it"));
    };
    let slug = match record.object.find("source_obj.slug")? {
        Some(slug) => slug,
        None => record.need("source")?,
    };
    let provider = slug.text("slug")?;
    draft.link(&provider, "identifier", identifier)?;
    Ok(Verdict::Fragment)
}
