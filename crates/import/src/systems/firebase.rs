//! Firebase Authentication: JSON and CSV of `firebase auth:export`, and lists of the Admin SDK.
//!
//! `{"localId":"u1","providerUserInfo":[{"providerId":"google.com","rawId":"1001"}]}`.
//!
//! `firebase auth:export` writes that inside of `{"users": [...]}`, or CSV without a header; a program that uses the
//! Admin SDK writes `{"uid":"u1","providerData":[{"providerId":"google.com","uid":"1001"}]}`, where passwords and phones
//! are providers too. The command knows four providers and closes its document though it broke off.

use crate::draft::{Draft, Provider, Record, Rows, Table, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

/// The columns of the CSV that are used, by number from 0, under names of their own: the file has no header.
pub(crate) const COLUMNS: [(usize, &str); 6] =
    [(0, "localId"), (7, "googleId"), (11, "facebookId"), (15, "twitterId"), (19, "githubId"), (26, "disabled")];

const FOUR: &str = "`firebase auth:export` writes the providers google.com, facebook.com, twitter.com and github.com only; \
                    others, such as apple.com or OpenID Connect, are lost: export with the Admin SDK to have them";

pub(super) static SPEC: Spec = Spec {
    format: Format::Firebase,
    system: "Firebase",
    uids: &["localId"],
    documents: &[
        Document {
            next: &["nextPageToken"],
            loses: Some(FOUR),
            ..Document::new(
                &["users[]", "userInfo[]", "[]", "", "[].users[]"],
                command,
                Rule::new(&["localId"], &[], &["UID"]),
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
    loses: Some(FOUR),
    ..Table::new(&["localId", "googleId"], &["localId"])
};

fn command<'a>(record: &Record<'a>, _: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    draft.uid("localId", record.need("localId")?)?;
    draft.disabled = record.object.is("disabled", true)?;
    draft.links(&record.object, "providerUserInfo", "providerId", "rawId")?;
    Ok(Verdict::User)
}

fn admin<'a>(record: &Record<'a>, _: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    draft.uid("uid", record.need("uid")?)?;
    draft.disabled = record.object.is("disabled", true)?;
    draft.links(&record.object, "providerData", "providerId", "uid")?;
    Ok(Verdict::User)
}
