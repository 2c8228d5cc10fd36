//! Gigya: import files, and pages of `accounts.search`.
//!
//! Import files are `{"settings": {…}, "accounts": [{"UID":…,"identities":[…]}]}`, and pages,
//! `{"results": [{"UID":…,"isRegistered":true,"identities":[…]}], "nextCursorId":…}`.
//!
//! `finalizeRegistration: false` means that all users are pending; `isRegistered: false`, that one is.

use crate::draft::{Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

const ACCOUNT: Rule = Rule::new(&["UID"], &[], &[]);

/// The setting that says whether the users of an import file are registered.
pub(crate) const FINALIZE: &str = "settings.finalizeRegistration";

pub(super) static IMPORT: Spec = Spec {
    format: Format::GigyaImport,
    system: "Gigya import files",
    uids: &["UID"],
    documents: &[Document {
        envelope: Rule::new(&["settings{}"], &[], &[]),
        total: Some("settings.totalRecords"),
        ..Document::new(&["accounts[]"], map, ACCOUNT)
    }],
    tables: &[],
    ask: "an account has them in identities",
};

pub(super) static SEARCH: Spec = Spec {
    format: Format::GigyaSearch,
    system: "Gigya accounts.search",
    uids: &["UID"],
    documents: &[Document {
        next: &["nextCursorId"],
        total: Some("totalCount"),
        ..Document::new(&["results[]", "[].results[]"], map, ACCOUNT)
    }],
    tables: &[],
    ask: "search again with SELECT UID, identities, isRegistered",
};

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    draft.chosen_uid(record, job)?;
    draft.disabled = record.object.is("isActive", false)?;
    if job.pending || record.object.is("isRegistered", false)? {
        draft.pending();
    }
    draft.links(&record.object, "identities", "provider", "providerUID")?;
    Ok(Verdict::User)
}
