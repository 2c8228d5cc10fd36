//! Zitadel: its export, and lists of users.
//!
//! The export is `{"orgs":[{"humanUsers":[{"userId":"1",…}],"userLinks":[{"userId":"1","idpId":"…","providedUserId":"…"}]}]}`,
//! and lists of users, `{"result":[{"userId":"1","human":{…}}]}`.
//!
//! Users and links are parts of users, which are united by `userId`. A file of rejects holds both, one a line.

use crate::draft::{Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

/// What is in the records of those that are left out.
const GONE: &[&str] = &[DELETED_STATE, "machine"];
const DELETED_STATE: &str = "USER_STATE_DELETED";

/// What only users have; `user` in the export.
const USER: &[&str] = &["human{}", "machine{}", "user{}"];

pub(super) static SPEC: Spec = Spec {
    format: Format::Zitadel,
    system: "Zitadel",
    uids: &["userId"],
    documents: &[
        Document {
            beside: &[("userLinks", link)],
            envelope: Rule::new(&["orgs[]"], &[], &["UID"]),
            may_lack: true,
            gone: GONE,
            alone: &["user{}", "human{}", "machine{}", "idpId", "providedUserId"],
            ..Document::new(&["orgs[].humanUsers[]"], user, Rule::NONE)
        },
        Document {
            gone: GONE,
            ..Document::new(&["result[]", "[]", ""], user, Rule::new(&["userId"], USER, &["UID", "provider"]))
        },
        Document {
            gone: GONE,
            links: true,
            ..Document::new(
                &["result[]", "[]", ""],
                link,
                Rule::new(&["userId", "idpId"], &["providedUserId"], &["UID", "provider"]),
            )
        },
    ],
    tables: &[],
    ask: "the export has them in userLinks; of a server, POST /v2/users/{userId}/links/_search has those of one user",
};

fn user<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    if is_link(record) {
        return link(record, job, draft);
    }
    if record.object.get("machine")?.is_some() {
        return Ok(draft.left_out("machine users", record, job));
    }
    draft.chosen_uid(record, job)?;
    if let Some(state) = record.object.get("state")? {
        match state.text("state")?.as_ref() {
            DELETED_STATE => return Ok(draft.left_out("deleted", record, job)),
            "USER_STATE_INACTIVE" | "USER_STATE_LOCKED" => draft.disabled = true,
            _ => {}
        }
    }
    Ok(Verdict::Fragment)
}

fn link<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    if !is_link(record) && ["human", "machine", "user"].iter().any(|key| record.object.has(key)) {
        return user(record, job, draft);
    }
    draft.chosen_uid(record, job)?;
    let provider = record.need("idpId")?.id("idpId")?;
    draft.link(&provider, "providedUserId", record.need("providedUserId")?)?;
    Ok(Verdict::Fragment)
}

/// Whether a record is a link, or one of which a half is missing.
fn is_link(record: &Record<'_>) -> bool {
    record.object.has("idpId") || record.object.has("providedUserId")
}
