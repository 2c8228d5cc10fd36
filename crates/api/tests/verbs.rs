//! The verbs that keep a served store alive.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod support;

use headcount::{Batch, Status, User};
use support::*;

#[test]
fn get_user_info() {
    let f = fixture();
    let request = get("getUserInfo", &[("apiKey", KEY), ("secret", SECRET), ("UID", "6625ID")]);
    assert_eq!(
        text(f.api.handle(&request)),
        concat!(
            r#"{"UID":"6625ID","identities":[{"provider":"site","providerUID":"6625ID"},"#,
            r#"{"provider":"google","providerUID":"115480002607925776950"}],"isRegistered":true,"statusCode":200,"#,
            r#""errorCode":0,"statusReason":"OK","callId":"0000000000000000000000000000002a","#,
            r#""time":"2014-11-14T21:20:00.000Z"}"#
        )
    );
    assert_eq!(f.verb("getUserInfo", &[("UID", "nobody")])["errorCode"], 404_003);
    assert_eq!(f.verb("getUserInfo", &[])["errorCode"], 400_002);
}

#[test]
fn permissions() {
    let f = fixture();
    for (method, reader, writer) in [
        ("getUserInfo", 0, 403_007),
        ("importIdentities", 403_007, 0),
        ("setUID", 403_007, 0),
        ("notifyRegistration", 403_007, 0),
        ("deleteAccount", 403_007, 0),
    ] {
        for (key, secret, expected) in [("reader", READER, reader), ("writer", WRITER, writer)] {
            let params = [
                ("apiKey", KEY),
                ("userKey", key),
                ("secret", secret),
                ("UID", "AABCWA"),
                ("siteUID", "AABCWA"),
                ("identities", "[]"),
            ];
            assert_eq!(code(f.api.handle(&post(method, &params))), expected, "{method} {key}");
        }
    }
    for method in ["importIdentities", "setUID", "notifyRegistration", "deleteAccount"] {
        assert_eq!(code(f.api.handle(&get(method, &[]))), 405_001, "{method}");
    }
}

#[test]
fn import_identities() {
    let f = fixture();
    let seq = f.store.snapshot().seq();
    let two = r#"[{"provider":"a","providerUID":"1","more":[]},{"providerUID":"262710724","provider":"twitter"}]"#;
    let one = r#"[{"provider":"a","providerUID":"1"}]"#;
    let long = format!(r#"[{{"provider":"{}","providerUID":"1"}}]"#, "p".repeat(200));
    for (uid, identities, more, expected) in [
        ("AABCWA", two, ("lang", ""), 400_003),
        ("AABCWA", two, ("handleIdentityConflicts", "Error"), 400_003),
        ("AABCWA", two, ("handleIdentityConflicts", "Connect"), 400_006),
        ("nobody", one, ("lang", ""), 404_003),
        ("nobody", one, ("allowNewUser", "false"), 404_003),
        ("AABCWA", "{}", ("lang", ""), 400_004),
        ("AABCWA", "[{\"provider\":\"a\"}]", ("lang", ""), 400_004),
        ("AABCWA", long.as_str(), ("lang", ""), 400_006),
        ("AABCWA", "", ("lang", ""), 400_002),
        ("AABCWA", two, ("handleIdentityConflicts", "ignore"), 0),
        ("AABCWA", two, ("handleIdentityConflicts", "Ignore"), 0),
    ] {
        let answer = f.verb("importIdentities", &[("UID", uid), ("identities", identities), more]);
        assert_eq!(answer["errorCode"], expected, "{uid} {identities} {more:?} {answer}");
    }
    assert_eq!(f.store.snapshot().seq(), seq + 1, "one commit, and nothing for what was there");
    let user = f.store.get("AABCWA").unwrap().unwrap();
    assert_eq!(user, User::new("AABCWA").with_identity("site", "AABCWA").with_identity("a", "1"));
    let new = r#"[{"provider":"b","providerUID":"2"}]"#;
    let answer = f.verb("importIdentities", &[("UID", "new"), ("identities", new), ("allowNewUser", "true")]);
    assert_eq!(answer["errorCode"], 0);
    assert_eq!(f.store.get("new").unwrap().unwrap(), User::new("new").with_identity("b", "2"));
}

#[test]
fn registration_and_site_uids() {
    let f = fixture();
    let mut batch = Batch::new();
    batch.put(User::new("p").with_status(Status::Pending).with_identity("fb", "1").with_identity("site", "old"));
    f.store.commit(batch).unwrap();
    let seq = f.store.snapshot().seq();
    assert_eq!(f.verb("getUserInfo", &[("UID", "p")])["isRegistered"], false);
    assert_eq!(f.verb("notifyRegistration", &[("UID", "p"), ("siteUID", "AABCWA")])["errorCode"], 400_003);
    assert_eq!(f.verb("notifyRegistration", &[("UID", "p"), ("siteUID", "é")])["errorCode"], 400_006);
    assert_eq!(f.verb("notifyRegistration", &[("UID", "p"), ("siteUID", &"s".repeat(253))])["errorCode"], 400_006);
    assert_eq!(f.verb("notifyRegistration", &[("UID", "p"), ("siteUID", "mine")])["errorCode"], 0);
    assert_eq!(f.store.snapshot().seq(), seq + 1);
    assert_eq!(f.store.get("p").unwrap(), None);
    let mine = User::new("mine").with_identity("site", "mine").with_identity("fb", "1");
    assert_eq!(f.store.get("mine").unwrap().unwrap(), mine);
    assert_eq!(f.verb("setUID", &[("UID", "mine")])["errorCode"], 400_002);
    assert_eq!(f.verb("setUID", &[("UID", "mine"), ("siteUID", "mine")])["errorCode"], 0);
    assert_eq!(f.store.snapshot().seq(), seq + 1, "nothing to change");
    assert_eq!(f.verb("setUID", &[("UID", "mine"), ("siteUID", "other")])["errorCode"], 0);
    assert_eq!(f.verb("setUID", &[("UID", "mine"), ("siteUID", "other")])["errorCode"], 404_003);
    assert_eq!(f.store.find("site", "other").unwrap().unwrap().uid, "other");
    assert_eq!(f.verb("notifyRegistration", &[("UID", "nobody")])["errorCode"], 404_003);
    assert_eq!(f.verb("notifyRegistration", &[("UID", "other")])["errorCode"], 0);
}

#[test]
fn delete_account() {
    let f = fixture();
    assert_eq!(f.verb("deleteAccount", &[("UID", "AABCWA")])["errorCode"], 0);
    assert_eq!(f.verb("deleteAccount", &[("UID", "AABCWA")])["errorCode"], 404_003);
}

#[test]
fn site_uids() {
    let taken = "an identity of provider \"site\" belongs to another user";
    for verb in ["setUID", "notifyRegistration"] {
        let long = "s".repeat(252);
        for (uid, site_uid, expected, details) in [
            ("AABCWA", "x", 0, ""),
            ("AABCWA", " ~!\"", 0, ""),
            ("AABCWA", long.as_str(), 0, ""),
            ("AABCWA", &"s".repeat(253), 400_006, "1 to 252 ASCII characters"),
            ("AABCWA", "\u{80}", 400_006, "1 to 252 ASCII characters"),
            ("AABCWA", "AAKODB", 400_003, "siteUID"),
            ("AABCWA", "foreign", 400_003, taken),
            ("nobody", "x", 404_003, "UID"),
            ("", "x", 400_002, "UID"),
            // The same once more: nothing changes.
            ("AABCWA", "AABCWA", 0, ""),
        ] {
            let f = fixture();
            let mut batch = Batch::new();
            batch.link("6625ID", headcount::Identity::new("site", "foreign"));
            batch.link("AABCWA", headcount::Identity::new("fb", "1"));
            batch.link("AABCWA", headcount::Identity::new("site", "older"));
            f.store.commit(batch).unwrap();
            let seq = f.store.snapshot().seq();
            let answer = f.verb(verb, &[("UID", uid), ("siteUID", site_uid)]);
            assert_eq!(answer["errorCode"], expected, "{verb} {uid} {site_uid}: {answer}");
            let found = answer["errorDetails"].as_str().unwrap_or_default();
            assert!(found.contains(details), "{verb} {uid} {site_uid}: {answer}");
            assert_eq!(
                f.store.snapshot().seq(),
                seq + u64::from(expected == 0),
                "{verb} {site_uid}: one commit or none"
            );
            if expected == 0 {
                let now = User::new(site_uid).with_identity("site", site_uid).with_identity("fb", "1");
                assert_eq!(f.store.get(site_uid).unwrap(), Some(now), "{verb}: first, and the only one of the site");
            }
        }
    }
    let f = fixture();
    assert_eq!(f.verb("setUID", &[("UID", "AABCWA"), ("siteUID", "")])["errorCode"], 400_002);
    assert_eq!(f.verb("notifyRegistration", &[("UID", "AABCWA"), ("siteUID", "")])["errorCode"], 0, "not given");
}

#[test]
fn answers_of_verbs() {
    let f = fixture();
    let response = f.api.handle(&post(
        "deleteAccount",
        &[("apiKey", KEY), ("secret", SECRET), ("UID", "AABCWA"), ("context", "c"), ("x", "")],
    ));
    assert_eq!(
        text(response),
        concat!(
            r#"{"statusCode":200,"errorCode":0,"statusReason":"OK","callId":"0000000000000000000000000000002a","#,
            r#""time":"2014-11-14T21:20:00.000Z","context":"c","#,
            r#""ignoredParams":[{"paramName":"x","warningCode":403007,"message":"Unknown parameter, ignored"}]}"#
        )
    );
    // What exportUsers knows, others do not.
    let strict = f.verb("getUserInfo", &[("UID", "AAKODB"), ("limit", "1"), ("checkParams", "true")]);
    assert_eq!(strict["errorCode"], 403_007, "{strict}");
    let strict = f.verb("getUserInfo", &[("UID", "AAKODB"), ("sdk", "x"), ("ctag", "y"), ("checkParams", "true")]);
    assert_eq!(strict["errorCode"], 0, "{strict}");
}
