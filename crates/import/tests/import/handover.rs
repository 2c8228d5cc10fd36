//! Users written for other systems: what the files look like, what comes back of them, and what has no place in them.

use std::collections::BTreeSet;

use headcount_block::{Identity, Progress, Status, User};
use headcount_import::{Format, Handover, HandoverError, HandoverReport, Import, Input, Misfit};
use headcount_store::{Batch, Existing, LoadOptions, OnDuplicate, Store};
use proptest::prelude::*;

use super::systems::shown;
use super::{load, load_with, store, users};

const FORMATS: [Format; 4] = [Format::Auth0, Format::Firebase, Format::Keycloak, Format::Kratos];

fn user(uid: &str, identities: &[(&str, &str)]) -> User {
    identities.iter().fold(User::new(uid), |user, (provider, uid)| user.with_identity(*provider, *uid))
}

fn filled(users: &[User]) -> Store {
    let store = store();
    store.load(users.iter().cloned()).unwrap();
    store
}

/// What a handover that allows for everything writes: the file, and what has no place in it.
fn hand_over(store: &Store, format: Format) -> (HandoverReport, String, String) {
    let (mut file, mut rejects) = (Vec::new(), Vec::new());
    let snapshot = store.snapshot();
    let handover = Handover::new(&snapshot, format).unwrap().include_pending(true).allow_partial(true);
    let report = handover.rejects(Some(&mut rejects)).run(&mut file).unwrap();
    (report, String::from_utf8(file).unwrap(), String::from_utf8(rejects).unwrap())
}

fn lines(store: &Store, format: Format) -> String {
    let mut file = Vec::new();
    let snapshot = store.snapshot();
    Handover::new(&snapshot, format).unwrap().lines(true).unwrap().run(&mut file).unwrap();
    String::from_utf8(file).unwrap()
}

fn merging() -> LoadOptions {
    LoadOptions { existing: Existing::Merge, on_duplicate: OnDuplicate::Merge, ..LoadOptions::default() }
}

/// Four users, one of them pending, under names that Gigya has for providers.
fn some() -> Store {
    let pending = User { status: Status::Pending, ..user("p4", &[("facebook", "f4")]) };
    filled(&[
        user("auth0|a1", &[("google", "1001"), ("github.com", "77")]),
        user("b2", &[]),
        user("c \"3\"\u{1}\n", &[("twitter", "ü\\\u{1f600}")]),
        pending,
    ])
}

#[test]
fn files_are_what_the_importers_take() {
    let store = some();
    let (report, file, rejects) = hand_over(&store, Format::Auth0);
    assert_eq!(
        file,
        concat!(
            "[\n",
            r#"{"user_id":"auth0|a1","identities":[{"provider":"google-oauth2","user_id":"1001"},{"provider":"github","user_id":"77"}]},"#,
            "\n",
            r#"{"user_id":"b2","identities":[]},"#,
            "\n",
            r#"{"user_id":"c \"3\"\u0001\n","identities":[{"provider":"twitter","user_id":"ü\\😀"}]}"#,
            "\n]\n",
        )
    );
    assert_eq!((report.users, report.identities, report.users_left_out), (3, 3, 1));
    assert_eq!(report.users_left_out_by_reason.keys().collect::<Vec<_>>(), [&Misfit::Pending]);
    let pending =
        "{\"UID\":\"p4\",\"status\":\"pending\",\"identities\":[{\"provider\":\"facebook\",\"providerUID\":\"f4\"}]}\n";
    assert_eq!(rejects, pending);

    let (report, file, rejects) = hand_over(&store, Format::Firebase);
    assert_eq!(
        file,
        concat!(
            r#"{"users":["#,
            "\n",
            r#"{"localId":"auth0|a1","disabled":false,"providerUserInfo":[{"providerId":"google.com","rawId":"1001"},{"providerId":"github.com","rawId":"77"}]},"#,
            "\n",
            r#"{"localId":"b2","disabled":false,"providerUserInfo":[]},"#,
            "\n",
            r#"{"localId":"c \"3\"\u0001\n","disabled":false,"providerUserInfo":[{"providerId":"twitter.com","rawId":"ü\\😀"}]},"#,
            "\n",
            r#"{"localId":"p4","disabled":true,"providerUserInfo":[{"providerId":"facebook.com","rawId":"f4"}]}"#,
            "\n]}\n",
        )
    );
    assert_eq!((report.users, report.identities, report.pending_as_disabled, rejects.as_str()), (4, 4, 1, ""));
    let renamed: Vec<_> = report.providers.iter().map(|p| (p.provider.as_str(), p.written_as.as_deref())).collect();
    let google = [("facebook", Some("facebook.com")), ("github.com", None), ("google", Some("google.com"))];
    assert_eq!(renamed[..3], google);

    let (_, file, _) = hand_over(&store, Format::Keycloak);
    assert_eq!(
        file.lines().take(2).collect::<Vec<_>>(),
        [
            r#"{"ifResourceExists":"SKIP","users":["#,
            concat!(
                r#"{"id":"auth0|a1","username":"auth0|a1","enabled":true,"federatedIdentities":["#,
                r#"{"identityProvider":"google","userId":"1001","userName":"1001"},"#,
                r#"{"identityProvider":"github.com","userId":"77","userName":"77"}]},"#,
            ),
        ]
    );
    assert!(
        file.ends_with("\"userName\":\"f4\"}]}\n]}\n") && file.contains(r#""username":"p4","enabled":false"#),
        "{file}"
    );

    let (_, file, _) = hand_over(&store, Format::Kratos);
    assert_eq!(
        file.lines().take(3).collect::<Vec<_>>(),
        [
            "[",
            concat!(
                r#"{"schema_id":"default","external_id":"auth0|a1","traits":{},"state":"active","credentials":{"oidc":{"config":"#,
                r#"{"providers":[{"provider":"google","subject":"1001"},{"provider":"github.com","subject":"77"}]}}}},"#,
            ),
            r#"{"schema_id":"default","external_id":"b2","traits":{},"state":"active"},"#,
        ]
    );
    assert!(file.contains(r#""external_id":"p4","traits":{},"state":"inactive""#), "{file}");
}

#[test]
fn one_object_a_line_where_that_is_a_form_of_theirs() {
    let store = filled(&[user("a", &[("google", "1")]), user("b", &[])]);
    for format in [Format::Auth0, Format::Kratos] {
        let file = lines(&store, format);
        assert_eq!(file.lines().count(), 2, "{file}");
        assert!(file.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{file}");
        for wanted in [format, Format::Auto] {
            let back = super::store();
            let report = load(&back, wanted, &file).unwrap();
            assert_eq!((report.users, report.files[0].format), (2, format));
        }
    }
    for format in [Format::Firebase, Format::Keycloak] {
        let snapshot = store.snapshot();
        let refused = Handover::new(&snapshot, format).unwrap().lines(true).unwrap_err();
        assert!(matches!(refused, HandoverError::Document(f) if f == format), "{refused}");
    }
    let refused = Handover::new(&store.snapshot(), Format::Okta).unwrap_err().to_string();
    assert_eq!(refused, "users are not written as okta: expected auth0, firebase, keycloak, kratos");
}

/// Texts that a careless writer breaks on, and a user with many identities.
fn awkward(provider: impl Fn(usize) -> String) -> Vec<User> {
    let texts = [
        "\"",
        "\\",
        "\u{7f}",
        "\u{1}\t\r\n",
        "</script>",
        "ü€😀\u{10ffff}",
        "\u{feff}",
        "a|b|c",
        "a:b:c",
        " ",
        "{\"UID\":1}",
    ];
    let mut all: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(i, text)| user(text, &[(&provider(0), &format!("{text}{i}")), (&provider(1), text)]))
        .collect();
    let many = (0..2500).fold(User::new("many"), |user, i| user.with_identity(provider(i), format!("many {i}")));
    all.push(many);
    all.sort_by(|a, b| a.uid.cmp(&b.uid));
    all
}

#[test]
fn awkward_text_comes_back_as_it_was() {
    for format in FORMATS {
        let provider = |i: usize| match format {
            Format::Firebase => ["google.com", "github.com"][i % 2].to_owned(),
            _ => format!("p\"{i}"),
        };
        let expected = awkward(provider);
        let store = filled(&expected);
        let (report, file, rejects) = hand_over(&store, format);
        assert!(report.is_whole() && rejects.is_empty(), "{format}: {:?}", report.examples);
        assert_eq!((report.users, report.identities), (12, 2522));
        for wanted in [format, Format::Auto] {
            let back = super::store();
            let found = load(&back, wanted, &file).unwrap_or_else(|e| panic!("{format} as {wanted}: {e}"));
            assert_eq!(found.files[0].format, format);
            assert!(users(&back) == expected, "{format} as {wanted}: {}", shown(&users(&back)));
        }
    }
}

#[test]
fn an_empty_store_is_a_file_of_nobody() {
    for format in FORMATS {
        let (report, file, rejects) = hand_over(&store(), format);
        assert_eq!((report.users, report.last_uid.as_deref(), rejects.as_str()), (0, None, ""));
        serde_json::from_str::<serde_json::Value>(&file).unwrap();
        let back = store();
        let found = load(&back, format, &file).unwrap_or_else(|e| panic!("{format}: {file}: {e}"));
        assert_eq!((found.users, found.records, users(&back)), (0, 0, vec![]), "{format}");
    }
    // What else is in a partial import tells it from others.
    let (_, file, _) = hand_over(&store(), Format::Keycloak);
    assert_eq!(load(&store(), Format::Auto, &file).unwrap().files[0].format, Format::Keycloak);
}

/// What each system has no place for: the reason, and what stays of the user.
#[test]
fn what_has_no_place_is_told_and_kept() {
    let long = "u".repeat(129);
    let case = |format, users: &[User], left: &[(&str, Misfit)], written: &str| {
        let store = filled(users);
        let (report, file, rejects) = hand_over(&store, format);
        let told: Vec<_> = report.examples.iter().map(|e| (e.uid.as_str(), e.reason)).collect();
        assert_eq!(told, left, "{format}: {:?}", report.examples);
        assert_eq!(report.users_left_out + report.identities_left_out, left.len() as u64, "{format}");
        let back = super::store();
        load(&back, format, &file).unwrap();
        assert_eq!(shown(&super::users(&back)), written, "{format}");
        // With what was kept, everybody is whole.
        load_with(&back, Format::Ndjson, &[rejects.as_bytes()], merging()).unwrap();
        let named = |users: Vec<User>| {
            let ids = |user: User| user.identities.into_iter().map(|i| i.provider_uid).collect::<BTreeSet<_>>();
            users.into_iter().map(|user| (user.uid.clone(), ids(user))).collect::<Vec<_>>()
        };
        assert_eq!(named(super::users(&back)), named(super::users(&store)), "{format}: {rejects}");
        // Unless it is allowed, nothing is whole.
        let mut cut = Vec::new();
        let refused =
            Handover::new(&store.snapshot(), format).unwrap().include_pending(true).run(&mut cut).unwrap_err();
        assert!(matches!(&refused, HandoverError::Misfits { report: r, .. } if **r == report), "{refused}");
        assert!(serde_json::from_slice::<serde_json::Value>(&cut).is_err(), "the document was closed");
    };
    case(
        Format::Firebase,
        &[user("a", &[("google.com", "1"), ("apple.com", "2"), ("site", "3")]), user(&long, &[("google", "4")])],
        &[("a", Misfit::Provider), ("a", Misfit::Provider), (&long, Misfit::LongUid)],
        "a: google.com 1",
    );
    case(
        Format::Firebase,
        &[user("a", &[("google", "1"), ("google.com", "1")])],
        &[("a", Misfit::Repeated)],
        "a: google.com 1",
    );
    case(
        Format::Auth0,
        &[user("a", &[("google", "1"), ("google-oauth2", "1")]), User { status: Status::Pending, ..user("b", &[]) }],
        &[("a", Misfit::Repeated), ("b", Misfit::Pending)],
        "a: google-oauth2 1",
    );
    let (uid, subject) = ("v".repeat(256), "s".repeat(256));
    case(
        Format::Keycloak,
        &[user("a", &[("google", "1"), ("google", "2"), ("github", "1"), ("corp", &subject)]), user(&uid, &[])],
        &[("a", Misfit::OneEach), ("a", Misfit::LongIdentity), (&uid, Misfit::LongUid)],
        "a: google 1, github 1",
    );
    let (uid, fits, over) = ("w".repeat(65), "s".repeat(250), "t".repeat(251));
    case(
        Format::Kratos,
        &[user("a", &[("corp", &fits), ("corp", &over)]), user(&uid, &[("corp", "9")])],
        &[("a", Misfit::LongIdentity), (&uid, Misfit::LongUid)],
        &format!("a: corp {fits}"),
    );
}

/// Lengths are counted as the systems count them, to the last one that fits.
#[test]
fn the_longest_that_fits_is_written() {
    for (format, max) in [(Format::Firebase, 128), (Format::Kratos, 64), (Format::Keycloak, 255), (Format::Auth0, 255)]
    {
        for (uid, fits) in [
            ("ü".repeat(max), true),
            (format!("{}ü", "u".repeat(max)), false),
            ("😀".repeat(max / 2), true),
            ("😀".repeat(max / 2 + 1), false),
        ] {
            let (report, ..) = hand_over(&filled(&[user(&uid, &[])]), format);
            assert_eq!(report.is_whole(), fits, "{format}: {}", uid.chars().count());
        }
    }
}

/// Firebase has passwords and phones as members of the user.
#[test]
fn passwords_and_phones_are_members_in_firebase() {
    let store = filled(&[
        user("a", &[("password", "ana@example.test"), ("phone", "+15550100"), ("google.com", "1")]),
        user("b", &[("password", "b"), ("phone", "5550100"), ("phone", "+15550101"), ("phone", "+15550102")]),
    ]);
    let (report, file, _) = hand_over(&store, Format::Firebase);
    let a =
        r#"{"localId":"a","email":"ana@example.test","phoneNumber":"+15550100","disabled":false,"providerUserInfo":[{"#;
    let b = r#"{"localId":"b","phoneNumber":"+15550101","disabled":false,"providerUserInfo":[]}"#;
    assert!(file.contains(a) && file.contains(b), "{file}");
    let reasons: Vec<_> = report.examples.iter().map(|e| e.reason).collect();
    assert_eq!((report.identities, reasons), (4, vec![Misfit::Text, Misfit::Text, Misfit::OneEach]));
    let left: Vec<_> =
        report.identities_left_out_by_provider.iter().map(|l| (l.provider.as_str(), l.reason, l.identities)).collect();
    assert_eq!(left, [("password", Misfit::Text, 1), ("phone", Misfit::OneEach, 1), ("phone", Misfit::Text, 1)]);
    assert_eq!(report.users_with_less, 1);
}

#[test]
fn pages_limits_and_pending_users() {
    let store = some();
    let snapshot = store.snapshot();
    let run = |limit: Option<u64>, after: Option<&str>, pending| {
        let mut file = Vec::new();
        let handover = Handover::new(&snapshot, Format::Firebase).unwrap();
        let report = handover.limit(limit).after(after).include_pending(pending).run(&mut file).unwrap();
        let back = super::store();
        load(&back, Format::Firebase, &file).unwrap();
        (
            users(&back).into_iter().map(|u| u.uid).collect::<Vec<_>>().join(" ").replace("c \"3\"\u{1}\n", "c3"),
            report.last_uid,
        )
    };
    assert_eq!(run(None, None, false).0, "auth0|a1 b2 c3");
    assert_eq!(run(None, None, true).0, "auth0|a1 b2 c3 p4");
    assert_eq!(run(Some(2), None, false), ("auth0|a1 b2".to_owned(), Some("b2".to_owned())));
    assert_eq!(run(None, Some("b2"), true).0, "c3 p4");
    assert_eq!(run(Some(1), Some("b2"), true).0, "c3");
    assert_eq!(run(Some(0), None, true), (String::new(), None));
}

#[test]
fn a_handover_can_be_cancelled_and_fails_with_its_destination() {
    let many: Vec<_> = (0..5000).map(|i| user(&format!("u{i:05}"), &[])).collect();
    let store = filled(&many);
    let progress = Progress::default();
    progress.cancel();
    let snapshot = store.snapshot();
    let cancelled = Handover::new(&snapshot, Format::Auth0).unwrap().progress(&progress).run(&mut Vec::new());
    assert!(matches!(cancelled, Err(HandoverError::Cancelled)));
    // While the users before the limit are counted, too; what is written is too little to ask.
    let mut batch = Batch::new();
    batch.put(user("u", &[]));
    store.commit(batch).unwrap();
    let limited = store.snapshot();
    let handover = Handover::new(&limited, Format::Auth0).unwrap().limit(10).progress(&progress);
    assert!(matches!(handover.run(&mut Vec::new()), Err(HandoverError::Cancelled)));
    let mut small = [0_u8; 70_000];
    let full = Handover::new(&snapshot, Format::Auth0).unwrap().run(&mut &mut small[..]);
    assert!(matches!(full, Err(HandoverError::Write(_))), "{full:?}");
    let lost: Vec<_> = many.iter().map(|u| user(&u.uid, &[("site", &u.uid)])).collect();
    let store = filled(&lost);
    let snapshot = store.snapshot();
    let mut small = [0_u8; 100];
    let mut rejects = &mut small[..];
    let handover = Handover::new(&snapshot, Format::Firebase).unwrap().allow_partial(true).rejects(Some(&mut rejects));
    let full = handover.run(&mut Vec::new());
    assert!(matches!(full, Err(HandoverError::Rejects(_))), "{full:?}");
}

#[test]
fn the_uid_of_a_kratos_file_is_the_external_id_where_there_is_no_other() {
    let both = r#"[{"id":"7a69","external_id":"e1","schema_id":"s","traits":{}},{"external_id":"e2","schema_id":"s","traits":{}}]"#;
    let back = store();
    load(&back, Format::Kratos, both).unwrap();
    assert_eq!(shown(&users(&back)), "7a69:; e2:");
    let back = store();
    Import::new(&back)
        .format(Format::Kratos)
        .uid(Some("external_id".to_owned()))
        .input(Input::reader("in", Box::new(std::io::Cursor::new(both.as_bytes().to_vec()))))
        .run()
        .unwrap();
    assert_eq!(shown(&users(&back)), "e1:; e2:");
    let neither = r#"[{"schema_id":"s","traits":{}}]"#;
    let error = load(&store(), Format::Kratos, neither).unwrap_err().to_string();
    assert!(error.contains("\"id\" is missing"), "{error}");
}

/// Users of any text: what a file and what was kept beside it hold together is what the store held.
fn any_users() -> impl Strategy<Value = Vec<User>> {
    let provider = prop_oneof![
        Just("google".to_owned()),
        Just("google.com".to_owned()),
        Just("google-oauth2".to_owned()),
        Just("github.com".to_owned()),
        Just("site".to_owned()),
        "[^\\x00]{1,12}",
    ];
    let one = (
        "[^\\x00]{1,10}|[a-zü😀]{60,140}|[a-z]{250,260}",
        any::<bool>(),
        prop::collection::vec((provider, "[^\\x00]{0,8}|[a-z]{240,270}"), 0..5),
    );
    prop::collection::vec(one, 0..12).prop_map(|drafts| {
        let mut users: Vec<User> = Vec::new();
        for (i, (uid, pending, identities)) in drafts.into_iter().enumerate() {
            let status = if pending { Status::Pending } else { Status::Registered };
            let linked =
                |(j, (provider, text)): (usize, (String, String))| Identity::new(provider, format!("{text}{i}-{j}"));
            let identities = identities.into_iter().enumerate().map(linked).collect();
            let fits = |provider: &str| !matches!(provider, "password" | "phone");
            let user = User { uid, status, identities };
            if users.iter().all(|u| u.uid != user.uid) && user.identities.iter().all(|i| fits(&i.provider)) {
                users.push(user);
            }
        }
        users.sort_by(|a, b| a.uid.cmp(&b.uid));
        users
    })
}

/// The users as a set that does not depend on the order of identities, or on who was pending.
fn bare(users: Vec<User>) -> Vec<User> {
    let mut users = users;
    for user in &mut users {
        user.status = Status::Registered;
        user.identities.sort();
    }
    users
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn file_and_rejects_together_are_the_store(given in any_users(), which in 0..FORMATS.len()) {
        let format = FORMATS[which];
        let store = filled(&given);
        let (report, file, rejects) = hand_over(&store, format);
        let back = super::store();
        let wanted = if report.users == 0 { format } else { Format::Auto };
        let found = load(&back, wanted, &file).unwrap();
        prop_assert_eq!((found.users, found.identities), (report.users, report.identities));
        prop_assert_eq!(found.files[0].format, format);
        load_with(&back, Format::Ndjson, &[rejects.as_bytes()], merging()).unwrap();
        let mut expected = bare(given);
        let kept: Vec<User> = {
            let apart = super::store();
            load_with(&apart, Format::Ndjson, &[rejects.as_bytes()], merging()).unwrap();
            users(&apart)
        };
        let is_kept = |uid: &str, i: &Identity| kept.iter().any(|u| u.uid == uid && u.identities.contains(i));
        for user in &mut expected {
            let uid = user.uid.clone();
            for identity in &mut user.identities {
                let named = report.providers.iter().find(|p| p.provider == identity.provider);
                let name = named.and_then(|p| p.written_as.clone());
                if let Some(name) = name.filter(|_| !is_kept(&uid, identity)) {
                    identity.provider = name;
                }
            }
        }
        prop_assert_eq!(bare(users(&back)), bare(expected));
    }
}
