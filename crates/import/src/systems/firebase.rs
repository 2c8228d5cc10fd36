//! Firebase Authentication: JSON and CSV of `firebase auth:export`, and lists of the Admin SDK.
//!
//! `{"localId":"u1","providerUserInfo":[{"providerId":"google.com","rawId":"1001"}]}`.
//!
//! `firebase auth:export` writes that inside of `{"users": [...]}`, or CSV without a header; a program that uses the
//! Admin SDK writes `{"uid":"u1","providerData":[{"providerId":"google.com","uid":"1001"}]}`, where passwords and phones
//! are providers too. The command knows four providers and closes its document though it broke off.
//!
//! Written is what `firebase auth:import` takes. It refuses the whole file for a member or a provider that it does not
//! know. Passwords and phones are no identities in it: their providerUIDs are `email` and `phoneNumber` of the user.

use serde::ser::{SerializeMap, Serializer as _};

use crate::back::{Back, Leaving, Longest, Member, Part, Room};
use crate::draft::{Draft, Provider, Record, Rows, Table, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::names::OwnNames;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

const ID: &str = "localId";
const DISABLED: &str = "disabled";
const LINKS: &str = "providerUserInfo";
const PROVIDER: &str = "providerId";
const PROVIDER_UID: &str = "rawId";

/// The columns of the CSV that are used, by number from 0, under names of their own: the file has no header.
pub(crate) const COLUMNS: [(usize, &str); 6] =
    [(0, "localId"), (7, "googleId"), (11, "facebookId"), (15, "twitterId"), (19, "githubId"), (26, "disabled")];

const FOUR: &str = "`firebase auth:export` writes the providers google.com, facebook.com, twitter.com and github.com only; \
                    others, such as apple.com or OpenID Connect, are lost: export with the Admin SDK to have them";

const BREAKS: &str = "the identities in Firebase's CSV cannot be trusted: users choose their names, and what follows a line break in \
                      one is read as a row of another user; import what `firebase auth:export users.json` writes instead";

pub(super) static SPEC: Spec = Spec {
    format: Format::Firebase,
    system: "Firebase",
    uids: &[ID],
    documents: &[
        Document {
            next: &["nextPageToken"],
            loses: &[FOUR],
            ..Document::new(
                &["users[]", "userInfo[]", "[]", "", "[].users[]"],
                command,
                Rule::new(&[ID], &[], &["UID"]),
            )
        },
        Document {
            next: &["pageToken", "nextPageToken"],
            ..Document::new(
                &["[]", "users[]", "", "[].users[]"],
                admin,
                Rule::new(&["uid"], &["providerData[]", "metadata{}"], &["UID", "localId", "user_id"]),
            )
        },
    ],
    tables: &[TABLE],
    ask: "users of passwords and phones have none in this export; export with the Admin SDK to see all providers",
};

const TABLE: Table = Table {
    links: &[
        (Provider::Is("google.com"), "googleId"),
        (Provider::Is("facebook.com"), "facebookId"),
        (Provider::Is("twitter.com"), "twitterId"),
        (Provider::Is("github.com"), "githubId"),
    ],
    disabled: Some(("disabled", "true")),
    rows: Rows::Users,
    loses: &[FOUR, BREAKS],
    ..Table::new(&["localId", "googleId"], &["localId"])
};

pub(super) static BACK: Back = Back {
    format: Format::Firebase,
    system: "Firebase",
    head: "{\"users\":[",
    tail: "]}",
    lines: false,
    room: Room {
        uid: 128,
        identity: Longest::Any,
        providers: &PROVIDERS,
        members: &[
            Member { provider: "password", name: "email", holds: is_address },
            Member { provider: "phone", name: "phoneNumber", holds: is_number },
        ],
        one_each: false,
        pending: true,
    },
    names: OwnNames(&[
        ("google", &["google.com"]),
        ("facebook", &["facebook.com"]),
        ("twitter", &["twitter.com"]),
        ("github", &["github.com"]),
    ]),
    write,
    needs: "`firebase auth:import` takes files whose names end in .json",
};

/// The providers that the command takes.
const PROVIDERS: [&str; 4] = ["google.com", "facebook.com", "twitter.com", "github.com"];

/// Something before and after an `@`, without white space: the rest is Firebase's to say.
fn is_address(text: &str) -> bool {
    let sides = text.rsplit_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    sides && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// E.164: a plus and 2 to 15 digits.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (2..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
}

fn write(user: &Leaving<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let mut json = serde_json::Serializer::new(out);
    let mut map = json.serialize_map(None)?;
    map.serialize_entry(ID, user.uid)?;
    for (name, value) in &user.members {
        map.serialize_entry(name, value)?;
    }
    map.serialize_entry(DISABLED, &user.disabled)?;
    map.serialize_entry(LINKS, &user.links(&[(PROVIDER, Part::Provider), (PROVIDER_UID, Part::ProviderUid)]))?;
    map.end()
}

fn command<'a>(record: &Record<'a>, _: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    draft.uid(ID, record.need(ID)?)?;
    draft.disabled = record.object.is(DISABLED, true)?;
    draft.links(&record.object, LINKS, PROVIDER, PROVIDER_UID)?;
    Ok(Verdict::User)
}

fn admin<'a>(record: &Record<'a>, _: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    draft.uid("uid", record.need("uid")?)?;
    draft.disabled = record.object.is(DISABLED, true)?;
    draft.links(&record.object, "providerData", PROVIDER, "uid")?;
    Ok(Verdict::User)
}
