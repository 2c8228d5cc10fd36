//! Keycloak: realm files, arrays of realms, files of users.
//!
//! `{"id":"0f6c","username":"ana","federatedIdentities":[{"identityProvider":"google","userId":"1001"}]}`.
//!
//! Users lie in `users` deep in a realm object, in an array of realms, or in a directory's `R-users-0.json` and so on;
//! `federatedUsers` are users of other user storages, with ids such as `f:component:ext`. A realm file that was written
//! without users has no `users`.

use crate::draft::{Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

const REALM: Rule = Rule::new(
    &["realm"],
    &["users", "federatedUsers", "sslRequired", "accessTokenLifespan", "registrationAllowed", "enabled", "clients"],
    &["UID"],
);

/// Marks of a user in a list, where the realm is not written.
const MARKS: &[&str] =
    &["federatedIdentities[]", "disableableCredentialTypes[]", "requiredActions[]", "totp", "notBefore"];

pub(super) static SPEC: Spec = Spec {
    format: Format::Keycloak,
    system: "Keycloak",
    uids: &["id", "username"],
    documents: &[
        Document {
            beside: &[("federatedUsers", map)],
            envelope: REALM,
            may_lack: true,
            ..Document::new(&["users[]", "[].users[]"], map, Rule::NONE)
        },
        Document {
            ..Document::new(
                &["", "[]", "users[]", "[].users[]"],
                map,
                Rule::new(&["username"], MARKS, &["UID", "Username", "user_id", "localId"]),
            )
        },
    ],
    tables: &[],
    ask: "the REST API's list of users has none: export the realm with `kc.sh export --users realm_file`",
};

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    draft.chosen_uid(record, job)?;
    draft.disabled = record.object.is("enabled", false)?;
    draft.links(&record.object, "federatedIdentities", "identityProvider", "userId")?;
    Ok(Verdict::User)
}
