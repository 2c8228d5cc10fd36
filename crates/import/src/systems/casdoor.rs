//! Casdoor: lists of users, with a member for each provider.
//!
//! `{"owner":"built-in","name":"ana","id":"0f6c","github":"77","google":"1001"}`.
//!
//! A provider has a member of its own, named like it, whose value is the provider's id of the user.

use crate::draft::{DELETED, Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::object::Bad;
use crate::spec::{Document, Rule, Spec};

/// Members that are providers.
const PROVIDERS: &[&str] = &[
    "adfs",
    "alipay",
    "amazon",
    "apple",
    "auth0",
    "azuread",
    "azureadb2c",
    "baidu",
    "battlenet",
    "bilibili",
    "bitbucket",
    "box",
    "casdoor",
    "cloudfoundry",
    "custom",
    "custom2",
    "custom3",
    "custom4",
    "custom5",
    "custom6",
    "custom7",
    "custom8",
    "custom9",
    "custom10",
    "dailymotion",
    "deezer",
    "digitalocean",
    "dingtalk",
    "discord",
    "douyin",
    "dropbox",
    "eveonline",
    "facebook",
    "fitbit",
    "gitea",
    "gitee",
    "github",
    "gitlab",
    "google",
    "heroku",
    "influxcloud",
    "infoflow",
    "instagram",
    "intercom",
    "kakao",
    "kwai",
    "lark",
    "lastfm",
    "line",
    "linkedin",
    "mailru",
    "meetup",
    "metamask",
    "microsoftonline",
    "naver",
    "nextcloud",
    "okta",
    "onedrive",
    "oura",
    "patreon",
    "paypal",
    "qq",
    "salesforce",
    "shopify",
    "slack",
    "soundcloud",
    "spotify",
    "steam",
    "strava",
    "stripe",
    "tiktok",
    "tumblr",
    "twitch",
    "twitter",
    "typetalk",
    "uber",
    "vk",
    "web3onboard",
    "wechat",
    "wecom",
    "weibo",
    "wepay",
    "xero",
    "yahoo",
    "yammer",
    "yandex",
    "zoom",
];

pub(super) static SPEC: Spec = Spec {
    format: Format::Casdoor,
    system: "Casdoor",
    uids: &["id", "owner/name"],
    documents: &[Document::new(
        &["[]", "data[]", ""],
        map,
        Rule::new(&["owner", "name"], &["signupApplication", "isForbidden", "createdTime"], &["UID", "user_id"]),
    )],
    tables: &[],
    ask: "users have a member for each linked provider; list them with GET /api/get-users?owner=",
};

fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    if record.object.is("isDeleted", true)? {
        return Ok(DELETED);
    }
    if job.uid == "id" {
        draft.chosen_uid(record, job)?;
    } else {
        let (owner, name) = (record.need("owner")?, record.need("name")?);
        let uid = format!("{}/{}", owner.text("owner")?, name.text("name")?);
        draft.uid_text(&uid).map_err(|reason| Bad { reason, near: name.raw() })?;
    }
    draft.disabled = record.object.is("isForbidden", true)?;
    for provider in PROVIDERS {
        let Some(id) = record.object.get(provider)? else { continue };
        if id.raw() != "\"\"" {
            draft.link(provider, provider, id)?;
        }
    }
    Ok(Verdict::User)
}
