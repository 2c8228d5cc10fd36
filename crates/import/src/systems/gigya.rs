//! Gigya: import files, and pages of `accounts.search`.
//!
//! Import files are `{"settings": {…}, "accounts": [{"UID":…,"identities":[…]}]}`, and pages,
//! `{"results": [{"UID":…,"isRegistered":true,"identities":[…]}], "nextCursorId":…}`.
//!
//! `finalizeRegistration: false` means that all users are pending; `isRegistered: false`, that one is. Rejected accounts
//! stand one a line, without what stood around them: where all were pending, `status` says so in each.

use headcount_block::Status;

use crate::draft::{Draft, Record, Verdict};
use crate::error::BadRecord;
use crate::format::Format;
use crate::json::parse_status;
use crate::mapped::{Job, is_own_form};
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

const ACCOUNT: Rule = Rule::new(&["UID"], &[], &[]);

/// An account on a line of its own, as files of rejects have them. One that says whether it is registered is no user of
/// our own form: read as one it would be registered always.
const LINE: Rule = Rule::new(&["UID"], &["isRegistered"], &[]);
/// As [`LINE`]; of import files nothing tells them, so that the caller has to.
const IMPORT_LINE: Rule = Rule::new(&["UID"], &["settings{}"], &["isRegistered"]);

/// The setting that says whether the users of an import file are registered.
pub(crate) const FINALIZE: &str = "settings.finalizeRegistration";

pub(super) static IMPORT: Spec = Spec {
    format: Format::GigyaImport,
    system: "Gigya import files",
    uids: &["UID"],
    documents: &[
        Document {
            envelope: Rule::new(&["settings{}"], &[], &[]),
            total: Some("settings.totalRecords"),
            ..Document::new(&["accounts[]"], map, ACCOUNT)
        },
        Document::new(&[""], map, IMPORT_LINE),
    ],
    tables: &[],
    ask: "an account has them in identities",
};

pub(super) static SEARCH: Spec = Spec {
    format: Format::GigyaSearch,
    system: "Gigya accounts.search",
    uids: &["UID"],
    documents: &[
        Document {
            next: &["nextCursorId"],
            total: Some("totalCount"),
            ..Document::new(&["results[]", "[].results[]"], map, ACCOUNT)
        },
        Document::new(&[""], map, LINE),
    ],
    tables: &[],
    ask: "search again with SELECT UID, identities, isRegistered",
};

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    draft.chosen_uid(record, job)?;
    expect_user(record)?;
    draft.disabled = record.object.is("isActive", false)?;
    let rejected = is_pending(record)?;
    if job.pending || rejected || record.object.is("isRegistered", false)? {
        draft.pending();
    }
    draft.links(&record.object, "identities", "provider", "providerUID")?;
    Ok(Verdict::User)
}

/// Refuses changes and operations of our own, which have the members of an account: to read one would bring back who is gone.
fn expect_user<'a>(record: &Record<'a>) -> Result<(), Bad<'a>> {
    if let Some(value) = record.object.get("deleted")?.filter(|value| value.raw() == "true") {
        return Err(Bad { reason: BadRecord::Deleted("\"deleted\":true".to_owned()), near: value.raw() });
    }
    match record.object.get("op")? {
        None => Ok(()),
        Some(value) => Err(Bad { reason: BadRecord::IsOperation, near: value.raw() }),
    }
}

/// What `status` says: of rejects, that they were pending. A user of our own form has no other than ours; what an account
/// may have under that name says nothing of its registration.
fn is_pending<'a>(record: &Record<'a>) -> Result<bool, Bad<'a>> {
    let Some(value) = record.object.get("status")? else { return Ok(false) };
    let status = value.id("status")?;
    if is_own_form(record) && parse_status(&status).is_none() {
        return Err(Bad { reason: BadRecord::Status(status.into_owned()), near: value.raw() });
    }
    Ok(status == Status::Pending.as_str())
}
