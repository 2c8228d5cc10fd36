//! Ory Kratos: lists of identities.
//!
//! `{"id":"7a69","traits":{…},"credentials":{"oidc":{"identifiers":["google:1001"],"config":{"providers":[…]}}}}`.
//!
//! `config` is there only when the list was asked for with `include_credential=oidc`; without it the identifiers are
//! split at their first colon. Without `credentials` at all nothing is known of identities.

use crate::draft::{Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::object::{Bad, Object, Value};
use crate::spec::{Document, Rule, Spec};

pub(super) static SPEC: Spec = Spec {
    format: Format::Kratos,
    system: "Ory Kratos",
    uids: &["id", "external_id"],
    documents: &[Document {
        next: &["next_page_token"],
        ..Document::new(
            &["[]", "", "identities[]"],
            map,
            Rule::new(&["schema_id", "traits"], &[], &["UID", "user_id", "localId"]),
        )
    }],
    tables: &[],
    ask: "list the identities with include_credential=oidc (and include_credential=saml)",
};

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    draft.chosen_uid(record, job)?;
    if let Some(state) = record.object.get("state")? {
        draft.disabled = state.text("state")? == "inactive";
    }
    for kind in ["oidc", "saml"] {
        let Some(credentials) = record.object.find(&format!("credentials.{kind}"))? else { continue };
        credential(&credentials.object(kind)?, draft)?;
    }
    Ok(Verdict::User)
}

fn credential<'a>(credential: &Object<'a>, draft: &mut Draft<'_>) -> Result<(), Bad<'a>> {
    if credential.find("config.providers")?.is_some() {
        return draft.links(credential, "config.providers", "provider", "subject");
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
