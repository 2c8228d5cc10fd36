//! Keycloak: realm files, arrays of realms, files of users.
//!
//! `{"id":"0f6c","username":"ana","federatedIdentities":[{"identityProvider":"google","userId":"1001"}]}`.
//!
//! Users lie in `users` deep in a realm object, in an array of realms, or in a directory's `R-users-0.json` and so on;
//! `federatedUsers` are users of other user storages, with ids such as `f:component:ext`. A realm file that was written
//! without users has no `users`.
//!
//! Written is what the partial import takes. It gives users ids of its own, so the UID is the name of the user too, which
//! Keycloak keeps in lower case. A user has one identity of each provider there: that is the primary key of their table.

use serde::ser::{SerializeMap, Serializer as _};

use crate::back::{Back, Leaving, Longest, Part, Room};
use crate::draft::{Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::names::OwnNames;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

const ID: &str = "id";
const NAME: &str = "username";
const ENABLED: &str = "enabled";
const LINKS: &str = "federatedIdentities";
const PROVIDER: &str = "identityProvider";
const PROVIDER_UID: &str = "userId";
/// The client whose account it is, which nobody signs in to.
const SERVICE: &str = "serviceAccountClientId";
/// The first member of a partial import.
const IF_EXISTS: &str = "ifResourceExists";

const REALM: Rule = Rule::new(
    &["realm"],
    &["users", "federatedUsers", "sslRequired", "accessTokenLifespan", "registrationAllowed", "enabled", "clients"],
    &["UID"],
);

/// Marks of a user in a list, where the realm is not written.
const MARKS: &[&str] =
    &["federatedIdentities[]", "disableableCredentialTypes[]", "requiredActions[]", "totp", "notBefore"];

/// Marks of a user alone. Clients, groups and roles have an `id` too.
const ALONE: &[&str] = &[LINKS, NAME];

pub(super) static SPEC: Spec = Spec {
    format: Format::Keycloak,
    system: "Keycloak",
    uids: &[ID, NAME],
    documents: &[
        Document {
            beside: &[("federatedUsers", map)],
            alone: ALONE,
            envelope: REALM,
            may_lack: true,
            ..Document::new(&["users[]", "[].users[]"], map, Rule::NONE)
        },
        Document {
            alone: ALONE,
            envelope: Rule::new(&[IF_EXISTS], &[], &["UID"]),
            ..Document::new(&["users[]"], map, Rule::NONE)
        },
        Document {
            ..Document::new(
                &["", "[]", "users[]", "[].users[]"],
                map,
                Rule::new(&[NAME], MARKS, &["UID", "Username", "user_id", "localId"]),
            )
        },
    ],
    tables: &[],
    ask: "the REST API's list of users has none: export the realm with `kc.sh export --users realm_file`",
};

pub(super) static BACK: Back = Back {
    format: Format::Keycloak,
    system: "Keycloak",
    head: "{\"ifResourceExists\":\"SKIP\",\"users\":[",
    tail: "]}",
    lines: false,
    room: Room {
        uid: 255,
        identity: Longest::ProviderUid(255),
        providers: &[],
        members: &[],
        one_each: true,
        pending: true,
    },
    // Aliases of identity providers are the choice of whoever runs the realm.
    names: OwnNames(&[]),
    write,
    needs: "the realm needs identity providers whose aliases are the names of the providers",
};

fn write(user: &Leaving<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let mut json = serde_json::Serializer::new(out);
    let mut map = json.serialize_map(None)?;
    map.serialize_entry(ID, user.uid)?;
    map.serialize_entry(NAME, user.uid)?;
    map.serialize_entry(ENABLED, &!user.disabled)?;
    let links =
        user.links(&[(PROVIDER, Part::Provider), (PROVIDER_UID, Part::ProviderUid), ("userName", Part::ProviderUid)]);
    map.serialize_entry(LINKS, &links)?;
    map.end()
}

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    if record.object.get(SERVICE)?.is_some() {
        return Ok(Verdict::Skipped("service accounts"));
    }
    draft.chosen_uid(record, job)?;
    draft.disabled = record.object.is(ENABLED, false)?;
    draft.links(&record.object, LINKS, PROVIDER, PROVIDER_UID)?;
    Ok(Verdict::User)
}
