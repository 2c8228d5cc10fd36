//! Options for the files of other systems: UIDs, local identities, names of providers; and rejects.

use headcount_import::{ErrorKind, Format, Import, Input, ProviderNames, Report};
use headcount_store::{LoadOptions, Store};

use super::systems::{data, path, shown};
use super::{Shared, inputs, load, store, users};

fn file<'s>(store: &'s Store, name: &str) -> Import<'s> {
    Import::new(store).input(Input::path(path(name)))
}

#[test]
fn the_uid_can_be_chosen_where_there_are_several() {
    for (name, uid, expected) in [
        (
            "cognito-array.json",
            "username",
            "bo: Facebook 22; cy (pending):; di:; google_1001: Google 1001, SignInWithApple a9",
        ),
        ("casdoor.json", "owner/name", "built-in/ana: github 77, google 1001; built-in/bo:"),
        ("people.ldif", "entryUUID", "u-1:; u-2:"),
        ("keycloak-list.json", "username", "ana:"),
        (
            "okta.json",
            "profile.login",
            "ana@example.test: OKTA 00u1; bo@example.test (pending): GOOGLE 00u2; cy@example.test:",
        ),
    ] {
        let store = store();
        file(&store, name).uid(Some(uid.to_owned())).run().unwrap();
        assert_eq!(shown(&users(&store)), expected, "{name}");
    }
    let store = store();
    let error = file(&store, "cognito-array.json").uid(Some("email".to_owned())).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("expected sub or Username"), "{error}");
    // Connections name users by pk alone.
    let joined = || file(&store, "authentik-users.json").input(Input::path(path("authentik-connections.json")));
    let error = joined().uid(Some("uuid".to_owned())).run().unwrap_err();
    assert!(error.to_string().contains("connections name users by pk"), "{error}");
}

#[test]
fn users_without_identities_can_get_one() {
    let local = |name: &str| {
        let store = store();
        let report = file(&store, name).local_identity(Some("site".to_owned())).run();
        report.map(|report| (shown(&users(&store)), report))
    };
    let (found, report) = local("firebase.json").unwrap();
    assert_eq!(found, "uA1: google.com 1001, github.com 77; uB2: site uB2; uC3: site uC3");
    assert_eq!((report.without_identities, report.local_identities, report.identities), (2, 2, 4));
    assert_eq!(local("cognito.csv").unwrap().0, "ana: site ana; bo: site bo");
    assert_eq!(local("people.ldif").unwrap().0, "ana: site ana; bö: site bö");
    let error = local("zitadel.json").unwrap_err();
    assert!(error.kind() == ErrorKind::Usage && error.to_string().contains("parts of users"), "{error}");
    let store = store();
    let own = |format, content| inputs(Import::new(&store).format(format), &[content]);
    own(Format::Ndjson, b"{\"UID\":\"a\"}").local_identity(Some("site".to_owned())).run().unwrap();
    assert_eq!(shown(&users(&store)), "a: site a");
    let empty = own(Format::Ndjson, b"").local_identity(Some(String::new())).run().unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::Usage);
}

#[test]
fn known_names_of_providers_become_gigyas_before_identities_are_compared() {
    let of = |format, content: &[u8]| -> (String, Report) {
        let store = store();
        let import = inputs(Import::new(&store).format(format), &[content]).provider_names(ProviderNames::Gigya);
        let report = import.run().unwrap();
        (shown(&users(&store)), report)
    };
    let (found, _) = of(Format::Auto, &data("firebase-admin.json"));
    assert_eq!(found, "uA1: google 1001, password ana@example.test, phone +15550100, apple a9; uB2:");
    let two = br#"{"UID":"a","identities":[{"provider":"google.com","providerUID":"1"},{"provider":"Google","providerUID":"1"}]}"#;
    for content in [two.to_vec(), [two, &b" "[..]].concat(), format!(" {}", String::from_utf8_lossy(two)).into_bytes()]
    {
        let (found, report) = of(Format::Ndjson, &content);
        assert_eq!((found.as_str(), report.repeated_identities), ("a: google 1", 1));
    }
    let csv = b"uid,provider,providerUID\na,google.com,1\na,googleplus,1\n";
    assert_eq!(of(Format::Csv, csv).0, "a: google 1, googleplus 1");
    let taken = br#"{"UID":"a","identities":[{"provider":"google.com","providerUID":"1"}]}
{"UID":"b","identities":[{"provider":"GoogleOAuth","providerUID":"1"}]}"#;
    let store = store();
    let import = inputs(Import::new(&store), &[taken]).provider_names(ProviderNames::Gigya);
    assert!(import.run().unwrap_err().to_string().contains("belongs to user \"a\""));
    let options = LoadOptions { skip_rejected: true, ..LoadOptions::default() };
    let import = inputs(Import::new(&store).options(options), &[taken]).provider_names(ProviderNames::Gigya);
    assert_eq!(import.run().unwrap().conflicts, 1);
}

/// Loads `content` with its rejects, which are given back.
pub(crate) fn rejects_of(store: &Store, format: Format, content: &[u8]) -> (Report, String) {
    let out = Shared::default();
    let options = LoadOptions { skip_rejected: true, ..LoadOptions::default() };
    let import = Import::new(store).format(format).options(options).rejects(Some(Box::new(out.clone())));
    let report = inputs(import, &[content]).run().unwrap();
    (report, out.text())
}

#[test]
fn rejects_can_be_mended_and_imported_again() {
    let store = store();
    let bad = String::from_utf8(data("firebase.json")).unwrap().replace("\"uB2\"", "\"\"");
    // And a user whose identity is somebody else's, refused by the loader.
    let bad = bad.replacen("{\n  \"localId\": \"uC3\"", "{\"localId\":\"uD4\",\"providerUserInfo\":[{\"providerId\":\"google.com\",\"rawId\":\"1001\"}]},\n{\n  \"localId\": \"uC3\"", 1);
    let (report, rejects) = rejects_of(&store, Format::Firebase, bad.as_bytes());
    assert_eq!((report.accepted, report.rejected, report.conflicts), (3, 2, 1), "{report:?}");
    assert_eq!(shown(&users(&store)), "uA1: google.com 1001, github.com 77; uC3:");
    let mended = rejects.replace("\"localId\": \"\"", "\"localId\": \"uB2\"").replace("1001", "1002");
    let report = load(&store, Format::Firebase, &mended).unwrap_or_else(|e| panic!("{e}: {mended}"));
    assert_eq!(report.users, 2);
    assert_eq!(shown(&users(&store)), "uA1: google.com 1001, github.com 77; uB2:; uC3:; uD4: google.com 1002");
}

#[test]
fn rejects_of_tables_and_ldif_are_of_their_form() {
    for (format, name, from, to, lines) in [
        (Format::NextAuth, "nextauth.csv", "2,n2,oauth,github,77,", "2,n2,oauth,,77,", "2,n2,oauth,,77,\r\n"),
        // The second claims what the first has, and is written anew.
        (Format::NextAuth, "nextauth.csv", "2,n2,oauth,github,77,", "2,n2,oauth,google,1001,", ",n2,,google,1001,\r\n"),
        (
            Format::Auth0,
            "auth0.csv",
            "github|77,github,77",
            "github|77,google-oauth2,1001",
            ",github|77,google-oauth2,1001,,,\r\n",
        ),
        (Format::Ldif, "people.ldif", "uid: ana\ncn", "cn", "dn: uid=ana,ou"),
    ] {
        let text = String::from_utf8(data(name)).unwrap();
        assert!(text.contains(from));
        let store = store();
        let (report, rejects) = rejects_of(&store, format, text.replace(from, to).as_bytes());
        assert_eq!(report.rejected, 1, "{name}: {rejects}");
        assert!(rejects.contains(lines), "{name}: {rejects:?}");
        let mended = rejects
            .replace(",,77", ",github,77")
            .replace("1001", "1009")
            .replace("objectClass", "uid: ana\nobjectClass");
        let report = load(&store, format, &mended).unwrap_or_else(|e| panic!("{e}: {mended}"));
        assert_eq!(report.users, 1, "{name}: {mended}");
    }
}

#[test]
fn rows_that_firebase_broke_are_refused_and_the_others_read() {
    let store = store();
    let (report, rejects) = rejects_of(&store, Format::Auto, &data("firebase-broken.csv"));
    assert_eq!((report.accepted, report.rejected), (5, 3), "{report:?}");
    assert_eq!(rejects.lines().count(), 3);
    let example = &report.rejected_examples[0];
    assert_eq!((example.at.number, example.reason.as_str()), (2, "field-count"));
    assert!(example.message.contains("--format=json"), "{}", example.message);
    assert!(
        load(&store, Format::Auto, data("firebase-broken.csv")).unwrap_err().to_string().starts_with("in: line 2, ")
    );
}

#[test]
fn bad_records_are_named_with_their_place() {
    for (name, from, to, parts) in [
        ("auth0.ndjson", "oauth2|conn|x|9", "oauth2", &["in: line 3, byte 452: ", "without a `|`"][..]),
        (
            "keycloak-realm.json",
            "\"userId\": \"1001\"",
            "\"userId\": [1]",
            &["in: record 1, byte ", "expected a string or a whole number for \"userId\", found [1]"],
        ),
        (
            "cognito-array.json",
            "\\\"userId\\\": \\\"a9\\\"",
            "\\\"userID\\\": 1",
            &["in: record 1, ", "in the string of the attribute", "\"userId\" is missing"],
        ),
        ("kratos.json", "corp:urn:x:9", "corp", &["in: record 2, ", "text such as provider:subject"]),
        ("supabase.json", "\"provider\": \"email\"", "\"provider\": \"\"", &["in: record 1, ", "provider is empty"]),
        ("authentik-connections.json", "\"identifier\"", "\"id\"", &["in: record 1, ", "\"identifier\" is missing"]),
        (
            "nextauth.csv",
            "2,n2,oauth,github,77,",
            "2,n2,oauth,github,77",
            &["in: line 3, ", "expected 6 fields as in the header, found 5"],
        ),
        ("people.ldif", "uid:: YsO2", "uid:: !", &["in: line 17, byte ", "not base64"]),
        ("people.ldif", "uid: ana\n", "uid: ana\nuid: anna\n", &["in: line 9, ", "2 values of uid: --uid entryUUID"]),
    ] {
        let text = String::from_utf8(data(name)).unwrap();
        assert!(text.contains(from), "{name}: {from}");
        let error = load(&store(), Format::Auto, text.replacen(from, to, 1)).unwrap_err();
        let message = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Input, "{message}");
        for part in parts {
            assert!(message.contains(part), "{name}: {part:?} is not in: {message}");
        }
    }
}

#[test]
fn a_table_without_a_last_line_end_is_suspected() {
    let warnings = |content: &[u8]| load(&store(), Format::NextAuth, content).unwrap().warnings;
    let whole = data("nextauth.csv");
    let suspected = |warnings: Vec<String>| warnings.iter().any(|w| w.contains("no line end"));
    assert!(!suspected(warnings(&whole)));
    assert!(suspected(warnings(whole.trim_ascii_end())));
}

/// What has one UID says so, whether its format is given or told by content.
#[test]
fn a_uid_that_cannot_be_chosen_is_refused_by_every_input() {
    let csv = "uid,provider,providerUID,email\na,google,1,e@x\n";
    for (format, text, uid) in [
        (Format::Ndjson, "{\"UID\":\"a\",\"email\":\"e@x\",\"identities\":[]}\n", "email"),
        (Format::Ndjson, "{\"UID\":\"a\",\"email\":\"e@x\",\"identities\":[]}\n", "UID"),
        (Format::GigyaJson, "{\"users\":[{\"UID\":\"a\",\"email\":\"e@x\"}],\"usersCount\":1}", "email"),
        (Format::Csv, csv, "email"),
        (Format::NextAuth, "userId,provider,providerAccountId,email\nn1,google,1,e@x\n", "email"),
        (Format::Auth0, "user_id,email\nauth0|1,e@x\n", "email"),
        (Format::Supabase, "id,aud,email\nu1,x,e@x\n", "email"),
        (Format::Cognito, "cognito:username,email_verified,email,sub\nana,true,e@x,s\n", "email"),
        (Format::Auth0, "{\"user_id\":\"auth0|1\",\"email\":\"e@x\"}\n", "email"),
    ] {
        for given in [Format::Auto, format] {
            let store = store();
            let import = inputs(Import::new(&store).format(given), &[text.as_bytes()]).uid(Some(uid.to_owned()));
            let error = import.run().map(|report| report.users).unwrap_err();
            let message = error.to_string();
            assert_eq!(error.kind(), ErrorKind::Usage, "{message}");
            assert!(message.contains("cannot be") && message.contains(format.as_str()), "{message}");
        }
    }
    // The name of what it is anyway is no choice of another; so is that of the other of two tables.
    for (text, uid, found) in [
        ("userId,provider,providerAccountId\nn1,google,1\n", "user_id", "n1: google 1"),
        ("user_id,provider,provider_id,identity_data\nu1,google,1,{}\n", "id", "u1: google 1"),
        ("user_id,provider,provider_id,identity_data\nu1,google,1,{}\n", "user_id", "u1: google 1"),
        ("cognito:username,email_verified,sub\nana,true,s\n", "Username", "ana:"),
        ("cognito:username,email_verified,sub\nana,true,s\n", "sub", "s:"),
    ] {
        let store = store();
        inputs(Import::new(&store), &[text.as_bytes()]).uid(Some(uid.to_owned())).run().unwrap();
        assert_eq!(shown(&users(&store)), found);
    }
}
