//! Auth0: NDJSON and CSV of export jobs, and its Management API.
//!
//! `{"user_id":"auth0|64a1","identities":[{"provider":"auth0","user_id":"64a1","connection":"…"}]}`.
//!
//! Export jobs write NDJSON, or CSV whose columns their owner chose; only the fields asked for are in them. Without
//! `identities` the first one is in `user_id`, which is split at its first `|`: what follows may hold more of them. The
//! ids of identities are numbers or strings.
//!
//! Written are the same objects, in an array or one a line. The import job wants them without `identities`, which its
//! schema does not have, and with an e-mail address, which a store does not have: docs/IMPORTING.md says how.

use serde::ser::{SerializeMap, Serializer as _};

use crate::back::{Back, Leaving, Longest, Part, Room};
use crate::draft::{Draft, Record, Rows, Table, Verdict};
use crate::error::BadRecord;
use crate::format::Format;
use crate::mapped::Job;
use crate::names::OwnNames;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

const ID: &str = "user_id";
const LINKS: &str = "identities";
const PROVIDER: &str = "provider";
/// Of an identity.
const PROVIDER_UID: &str = "user_id";

const RECORD: Rule = Rule::new(&[ID], &["identities[]", "user_id|"], &["UID", "provider", "provider_id", "localId"]);

pub(super) static SPEC: Spec = Spec {
    format: Format::Auth0,
    system: "Auth0",
    uids: &[ID],
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

pub(super) static BACK: Back = Back {
    format: Format::Auth0,
    system: "Auth0",
    head: "[",
    tail: "]",
    lines: true,
    room: Room { uid: 255, identity: Longest::Any, providers: &[], members: &[], one_each: false, pending: false },
    // Of a Microsoft account nobody knows whether it is `windowslive` or `waad`: it keeps its name.
    names: OwnNames(&[
        ("google", &["google-oauth2"]),
        ("facebook", &["facebook"]),
        ("apple", &["apple"]),
        ("twitter", &["twitter"]),
        ("github", &["github"]),
        ("linkedin", &["linkedin"]),
        ("yahoo", &["yahoo"]),
        ("amazon", &["amazon"]),
        ("instagram", &["instagram"]),
        ("paypal", &["paypal"]),
        ("vkontakte", &["vkontakte"]),
        ("line", &["line"]),
    ]),
    write,
    needs: "an import job needs e-mail addresses and takes 500 KB at most, and identities are linked by calls",
};

fn write(user: &Leaving<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let mut json = serde_json::Serializer::new(out);
    let mut map = json.serialize_map(None)?;
    map.serialize_entry(ID, user.uid)?;
    map.serialize_entry(LINKS, &user.links(&[(PROVIDER, Part::Provider), (PROVIDER_UID, Part::ProviderUid)]))?;
    map.end()
}

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    draft.chosen_uid(record, job)?;
    draft.disabled = record.object.is("blocked", true)?;
    if record.object.has(LINKS) {
        draft.links(&record.object, LINKS, PROVIDER, PROVIDER_UID)?;
    } else {
        let value = record.need(ID)?;
        let id = value.id(ID)?;
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
