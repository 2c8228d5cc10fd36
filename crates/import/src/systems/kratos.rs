//! Ory Kratos: lists of identities.
//!
//! `{"id":"7a69","traits":{…},"credentials":{"oidc":{"identifiers":["google:1001"],"config":{"providers":[…]}}}}`.
//!
//! `config` is there only when the list was asked for with `include_credential=oidc`; without it the identifiers are
//! split at their first colon. Without `credentials` at all nothing is known of identities.
//!
//! Written is what `kratos import identities` takes: there Kratos gives out the `id`, and the UID is the `external_id`. So it
//! is when such a file is read.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer as _};

use crate::back::{Back, Leaving, Links, Longest, Part, Room};
use crate::draft::{Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::names::OwnNames;
use crate::object::{Bad, Object, Value};
use crate::spec::{Document, Rule, Spec};

const ID: &str = "id";
const EXTERNAL_ID: &str = "external_id";
const SCHEMA: &str = "schema_id";
const TRAITS: &str = "traits";
const STATE: &str = "state";
const INACTIVE: &str = "inactive";
const PROVIDER: &str = "provider";
const PROVIDER_UID: &str = "subject";

pub(super) static SPEC: Spec = Spec {
    format: Format::Kratos,
    system: "Ory Kratos",
    uids: &[ID, EXTERNAL_ID],
    documents: &[Document {
        next: &["next_page_token"],
        ..Document::new(
            &["[]", "", "identities[]"],
            map,
            Rule::new(&[SCHEMA, TRAITS], &[], &["UID", "user_id", "localId"]),
        )
    }],
    tables: &[],
    ask: "list the identities with include_credential=oidc (and include_credential=saml)",
};

pub(super) static BACK: Back = Back {
    format: Format::Kratos,
    system: "Ory Kratos",
    head: "[",
    tail: "]",
    lines: true,
    // The widths of its columns `external_id`, and `identifier`, which is `provider:subject`.
    room: Room { uid: 64, identity: Longest::Both(255), providers: &[], members: &[], one_each: false, pending: true },
    // The ids of providers are the choice of whoever configures Kratos.
    names: OwnNames(&[]),
    write,
    needs: "traits are empty, and the identity schema may need some",
};

/// `{"oidc":{"config":{"providers":[…]}}}`.
#[derive(Serialize)]
struct Credentials<'a> {
    oidc: Oidc<'a>,
}

#[derive(Serialize)]
struct Oidc<'a> {
    config: Config<'a>,
}

#[derive(Serialize)]
struct Config<'a> {
    providers: Links<'a>,
}

#[derive(Serialize)]
struct Traits {}

fn write(user: &Leaving<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let mut json = serde_json::Serializer::new(out);
    let mut map = json.serialize_map(None)?;
    map.serialize_entry(SCHEMA, "default")?;
    map.serialize_entry(EXTERNAL_ID, user.uid)?;
    map.serialize_entry(TRAITS, &Traits {})?;
    map.serialize_entry(STATE, if user.disabled { INACTIVE } else { "active" })?;
    if !user.links.is_empty() {
        let providers = user.links(&[(PROVIDER, Part::Provider), (PROVIDER_UID, Part::ProviderUid)]);
        map.serialize_entry("credentials", &Credentials { oidc: Oidc { config: Config { providers } } })?;
    }
    map.end()
}

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    match record.object.get(EXTERNAL_ID)? {
        // A file that is to be imported has no other.
        Some(external) if job.uid == ID && !record.object.has(ID) => draft.uid(EXTERNAL_ID, external)?,
        _ => draft.chosen_uid(record, job)?,
    }
    if let Some(state) = record.object.get(STATE)? {
        draft.disabled = state.text(STATE)? == INACTIVE;
    }
    for kind in ["oidc", "saml"] {
        let Some(credentials) = record.object.find(&format!("credentials.{kind}"))? else { continue };
        credential(&credentials.object(kind)?, draft)?;
    }
    Ok(Verdict::User)
}

fn credential<'a>(credential: &Object<'a>, draft: &mut Draft<'_>) -> Result<(), Bad<'a>> {
    if credential.find("config.providers")?.is_some() {
        return draft.links(credential, "config.providers", PROVIDER, PROVIDER_UID);
    }
    let Some(identifiers) = credential.get("identifiers")? else { return Ok(()) };
    identifiers.array("identifiers")?.into_iter().try_for_each(|identifier| split(identifier, draft))
}

fn split<'a>(identifier: Value<'a>, draft: &mut Draft<'_>) -> Result<(), Bad<'a>> {
    let text = identifier.text("identifiers")?;
    let Some((provider, subject)) = text.split_once(':') else {
        return Err(identifier.unexpected("text such as provider:subject", "identifiers"));
    };
    draft.link_text(provider, subject).map_err(|reason| Bad { reason, near: identifier.raw() })
}
