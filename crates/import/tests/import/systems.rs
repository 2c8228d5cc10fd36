//! Every system's files: what comes out of them, that they are told by content, truncated ones, and wrong ones.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use headcount_block::{Identity, Status, User};
use headcount_import::{ErrorKind, Format, Import, ImportError, Input, Report};
use headcount_store::Store;
use serde_json::{Value, json};

use super::{gzip, load, load_with, store, users};

pub(crate) fn data(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap()
}

pub(crate) fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/import/data/systems", name].iter().collect()
}

/// Users as text: `uid: provider providerUID, provider providerUID; uid (pending):`.
pub(crate) fn shown(users: &[User]) -> String {
    let mut text = String::new();
    for user in users {
        let pending = if user.status == Status::Pending { " (pending)" } else { "" };
        let identities: Vec<_> = user.identities.iter().map(|i| format!("{} {}", i.provider, i.provider_uid)).collect();
        let gap = if identities.is_empty() { "" } else { " " };
        write!(text, "{}{}{pending}:{gap}{}", if text.is_empty() { "" } else { "; " }, user.uid, identities.join(", "))
            .unwrap();
    }
    text
}

/// One source: its files, its format, its users, and a part of every warning.
pub(crate) struct Case {
    pub(crate) files: &'static [&'static str],
    pub(crate) format: Format,
    users: &'static str,
    warnings: &'static [&'static str],
}

const fn case(file: &'static [&'static str], format: Format, users: &'static str) -> Case {
    Case { files: file, format, users, warnings: &[] }
}

const fn warned(mut case: Case, warnings: &'static [&'static str]) -> Case {
    case.warnings = warnings;
    case
}

const FOUR: &str = "google.com, facebook.com, twitter.com and github.com only";

pub(crate) const CASES: &[Case] = &[
    case(
        &["auth0.ndjson"],
        Format::Auth0,
        "auth0|64a1: auth0 64a1, google-oauth2 1001; github|77: github 77; oauth2|conn|x|9: oauth2 conn|x|9; sms|5:",
    ),
    case(&["auth0.csv"], Format::Auth0, "auth0|64a1: auth0 64a1, google-oauth2 1001; github|77: github 77"),
    case(&["auth0-ids.csv"], Format::Auth0, "auth0|64a1: auth0 64a1; oauth2|conn|x|9: oauth2 conn|x|9"),
    warned(case(&["firebase.json"], Format::Firebase, "uA1: google.com 1001, github.com 77; uB2:; uC3:"), &[FOUR]),
    case(
        &["firebase-admin.json"],
        Format::Firebase,
        "uA1: google.com 1001, password ana@example.test, phone +15550100, apple.com a9; uB2:",
    ),
    warned(
        case(
            &["firebase.csv"],
            Format::Firebase,
            "uA1: google.com 1001, github.com 77; uB2: facebook.com 22, twitter.com 33; uC3:",
        ),
        &[FOUR, "line break"],
    ),
    case(&["keycloak-realm.json"], Format::Keycloak, "0f6c-1: google 1001, github 77; 0f6c-2:; f:8e2a:cy: google 1002"),
    case(
        &["keycloak-realms.json"],
        Format::Keycloak,
        "0f6c-1: google 1001, github 77; 0f6c-2:; 0f6c-3:; f:8e2a:cy: google 1002",
    ),
    warned(case(&["keycloak-list.json"], Format::Keycloak, "0f6c-1:"), &["kc.sh export"]),
    case(
        &["cognito-pages.json"],
        Format::Cognito,
        "6d0c-1: Google 1001, SignInWithApple a9; 6d0c-2: Facebook 22; 6d0c-3 (pending):; 6d0c-4:",
    ),
    case(
        &["cognito-array.json"],
        Format::Cognito,
        "6d0c-1: Google 1001, SignInWithApple a9; 6d0c-2: Facebook 22; 6d0c-3 (pending):; 6d0c-4:",
    ),
    warned(case(&["cognito.csv"], Format::Cognito, "ana:; bo:"), &["has no identities", "native users"]),
    case(&["kratos.json"], Format::Kratos, "7a69-1: google 1001, github 77; 7a69-2: corp urn:x:9; 7a69-3:"),
    warned(case(&["kratos.ndjson"], Format::Kratos, "7a69-1:; 7a69-2:"), &["include_credential=oidc"]),
    case(&["supabase.json"], Format::Supabase, "5f0e-1: google 1001, email 5f0e-1; 5f0e-2:"),
    case(
        &["supabase-identities.csv", "supabase-users.csv"],
        Format::Supabase,
        "5f0e-1: email 5f0e-1, google 1001; 5f0e-2:",
    ),
    case(&["supabase-identities-old.csv"], Format::Supabase, "5f0e-1: google 1001"),
    warned(case(&["supabase-users.csv"], Format::Supabase, "5f0e-1:; 5f0e-2:"), &["auth.identities"]),
    case(
        &["graph-pages.json"],
        Format::Graph,
        "aa-1: google.com 1001, emailAddress ana@example.test; aa-2: userPrincipalName bo@t.onmicrosoft.com; aa-3:",
    ),
    case(&["graph-delta.json"], Format::Graph, "aa-1: google.com 1001, emailAddress ana@example.test"),
    case(&["gigya-import.json"], Format::GigyaImport, "g1 (pending): facebook f1, googleplus p1; g2 (pending):"),
    case(&["gigya-search-pages.json"], Format::GigyaSearch, "g1: facebook f1; g2 (pending):; g3: site g3"),
    case(&["nextauth.csv"], Format::NextAuth, "n1: google 1001, github 78; n2: github 77"),
    case(&["omniauth.csv"], Format::OmniAuth, "7: google 1001, github 77"),
    case(&["aspnet.csv"], Format::AspNet, "u-1: Google 1001; u-2: GitHub 77"),
    case(&["better-auth.csv"], Format::BetterAuth, "b1: google 1001; b2: credential b2"),
    case(&["scim.json"], Format::Scim, "s1: scim ext-1; s2:"),
    warned(case(&["people.ldif"], Format::Ldif, "ana:; bö:"), &["--local-identity"]),
    case(&["logto.json"], Format::Logto, "u1: google 1001, github 77, https://i x9; u2:"),
    case(&["casdoor.json"], Format::Casdoor, "0f6c-1: github 77, google 1001; 0f6c-2:"),
    case(&["clerk.json"], Format::Clerk, "user_1: oauth_google 1001; user_2:"),
    case(&["workos-pages.json"], Format::WorkOs, "user_1: GoogleOAuth 1001; user_2:"),
    warned(case(&["okta.json"], Format::Okta, "00u1: OKTA 00u1; 00u2 (pending): GOOGLE 00u2; 00u3:"), &["Okta's list"]),
    case(&["authentik-connections.json", "authentik-users.json"], Format::Authentik, "7: google 1001; 8:"),
    case(&["fusionauth-users.json", "fusionauth-links.json"], Format::FusionAuth, "f-1: Google 1001; f-2:"),
    case(&["zitadel.json"], Format::Zitadel, "1: google 1001; 2:; 3: google 1003"),
];

fn files<'s>(store: &'s Store, case: &Case) -> Import<'s> {
    case.files.iter().fold(Import::new(store), |import, name| import.input(Input::path(path(name))))
}

fn warnings_are(report: &Report, case: &Case) {
    let found = &report.warnings;
    for part in case.warnings {
        assert!(found.iter().any(|w| w.contains(part)), "{:?}: {part:?} is not in {found:?}", case.files);
    }
    let unused = |w: &&String| !w.contains("columns that were not used");
    assert_eq!(found.iter().filter(unused).count(), case.warnings.len(), "{:?}: {found:?}", case.files);
}

#[test]
fn every_source_is_told_by_content_and_read() {
    for case in CASES {
        let store = store();
        let report = files(&store, case).run().unwrap_or_else(|e| panic!("{:?}: {e}", case.files));
        assert_eq!(shown(&users(&store)), case.users, "{:?}", case.files);
        for file in &report.files {
            assert_eq!(file.format, case.format, "{}", file.name);
        }
        warnings_are(&report, case);
        // The same again changes nothing.
        let seq = store.snapshot().seq();
        let again = files(&store, case).run().unwrap();
        assert_eq!((again.users, store.snapshot().seq()), (0, seq), "{:?}", case.files);
    }
}

#[test]
fn every_source_is_read_when_its_format_is_given_and_compressed() {
    for case in CASES {
        let store = store();
        let contents: Vec<_> = case.files.iter().map(|name| gzip(&data(name))).collect();
        let dir = tempfile::tempdir().unwrap();
        let mut import = Import::new(&store).format(case.format);
        for (i, content) in contents.iter().enumerate() {
            let path = dir.path().join(i.to_string());
            fs::write(&path, content).unwrap();
            import = import.input(Input::path(path));
        }
        import.run().unwrap_or_else(|e| panic!("{:?}: {e}", case.files));
        assert_eq!(shown(&users(&store)), case.users, "{:?}", case.files);
    }
}

#[test]
fn windows_files_with_a_byte_order_mark_are_read() {
    for case in CASES.iter().filter(|case| case.files.len() == 1) {
        let text = String::from_utf8(data(case.files[0])).unwrap();
        let crlf = text.replace("\r\n", "\n").replace('\n', "\r\n");
        let store = store();
        load(&store, Format::Auto, format!("\u{feff}{crlf}")).unwrap_or_else(|e| panic!("{:?}: {e}", case.files));
        assert_eq!(shown(&users(&store)), case.users, "{:?}", case.files);
    }
}

/// Cut off anywhere, JSON never loads; a table or a list of lines at most as many whole records as it has.
#[test]
fn truncated_files_load_nothing() {
    for name in CASES.iter().flat_map(|case| case.files) {
        let whole = data(name);
        let format = CASES.iter().find(|case| case.files.contains(name)).unwrap().format;
        let concatenated = ["pages", "ndjson"].iter().any(|part| name.contains(part));
        let json = !name.ends_with("csv") && !name.ends_with("ldif");
        let text = whole.trim_ascii_end();
        for cut in (1..text.len()).step_by(41) {
            let store = store();
            let outcome = load(&store, format, &text[..cut]);
            if json && !concatenated {
                let error = outcome.map(|report| format!("{report:?}")).unwrap_err();
                assert!(matches!(error, ImportError::Document { .. }), "{name} cut at {cut}: {error}");
                assert_eq!(users(&store), [], "{name} cut at {cut}");
            }
        }
        if concatenated {
            let inside = text.len() - 2;
            let error = load(&store(), format, &text[..inside]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Input, "{name}: {error}");
        }
    }
    let error = load(&store(), Format::Auto, data("keycloak-realm.json").strip_suffix(b"}\n").unwrap()).unwrap_err();
    assert!(error.to_string().contains("the input ends inside the JSON document: it is truncated"), "{error}");
    let ldif = data("people.ldif");
    let error = load(&store(), Format::Auto, &ldif[..ldif.len() - 3]).unwrap_err();
    assert!(error.to_string().contains("truncated"), "{error}");
}

#[test]
fn a_wrong_file_is_refused_by_every_format() {
    let wrong: [(&str, &[u8]); 3] = [
        ("json", br#"{"colours":[{"name":"red"}]}"#),
        ("array", br#"[{"name":"red"},{"name":"blue"}]"#),
        ("csv", b"name,colour\nana,red\n"),
    ];
    let foreign = |format: &&Format| !matches!(format, Format::Auto | Format::Map);
    for format in Format::ALL.iter().filter(foreign) {
        for (kind, content) in wrong {
            // A line of JSON is a record that lacks everything in our own formats.
            let store = store();
            let error = load(&store, *format, content).map(|r| format!("{format}: {r:?}")).unwrap_err();
            let message = error.to_string();
            assert_eq!(error.kind(), ErrorKind::Input, "{format} {kind}: {message}");
            if !matches!(format, Format::GigyaJson | Format::Ndjson | Format::Csv) {
                let named = format!("is this file of the format {format}?");
                assert!(message.contains("expected") && message.contains(&named), "{format} {kind}: {message}");
            }
            assert_eq!(users(&store), []);
        }
    }
    let map = load(&store(), Format::Map, wrong[0].1).unwrap_err();
    assert!(map.kind() == ErrorKind::Usage && map.to_string().contains("--map"), "{map}");
}

/// No file of one system is taken for another's when that other format is given by mistake.
#[test]
fn no_format_reads_the_files_of_another() {
    let natives = [Format::Auto, Format::Map, Format::GigyaJson, Format::Ndjson, Format::Csv];
    for case in CASES {
        for format in Format::ALL.iter().filter(|f| **f != case.format && !natives.contains(f)) {
            for name in case.files {
                let outcome = load(&store(), *format, data(name));
                let error = outcome.map(|r| format!("{name} as {format}: {r:?}")).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Input, "{name} as {format}: {error}");
                // Gigya's accounts are of our own form, which every format reads.
                let ours = matches!(case.format, Format::GigyaImport | Format::GigyaSearch);
                for lines in bare_lines(name).iter().filter(|_| !ours) {
                    let store = store();
                    match load(&store, *format, lines) {
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Input, "{lines} of {name} as {format}: {error}")
                        }
                        // An object with an empty list, say.
                        Ok(_) => assert_eq!(users(&store), [], "{lines} of {name} as {format}"),
                    }
                }
            }
        }
    }
}

/// An `id` alone makes nobody a user: read as one, such a record would take identities away from a user of that UID.
#[test]
fn lines_of_anybody_are_of_no_format_that_is_given() {
    for line in [
        r#"{"id":"u1","email":"ana@example.test","links":[{"provider":"google","id":"1001"}]}"#,
        r#"{"id":"c1","clientId":"account","enabled":true}"#,
        r#"{"id":"g1","name":"staff","path":"/staff","subGroups":[]}"#,
        r#"{"id":"r1","name":"admin","composite":false}"#,
        r#"{"error":"not found","id":"7"}"#,
        r#"{"userId":"u1","providerId":"google","accountId":"1001"}"#,
        r#"{"userId":"u1","event":"login","user":"ana"}"#,
    ] {
        for format in [Format::Keycloak, Format::Scim, Format::Graph, Format::Zitadel] {
            let error = load(&store(), format, line).map(|r| format!("{line} as {format}: {r:?}"));
            assert_eq!(error.unwrap_err().kind(), ErrorKind::Input, "{line} as {format}");
        }
    }
    // With a mark it is one.
    for (format, line) in [
        (Format::Keycloak, r#"{"id":"u1","federatedIdentities":[]}"#),
        (Format::Keycloak, r#"{"id":"u1","username":"ana"}"#),
        (Format::Scim, r#"{"id":"u1","userName":"ana"}"#),
        (Format::Scim, r#"{"id":"u1","externalId":"e"}"#),
        (Format::Zitadel, r#"{"userId":"u1","user":{"userName":"ana"}}"#),
        (Format::Zitadel, r#"{"userId":"u1","idpId":"h","providedUserId":"a"}"#),
        (Format::Scim, r#"{"id":"u1","schemas":["urn:ietf:params:scim:schemas:core:2.0:User"]}"#),
    ] {
        assert_eq!(load(&store(), format, line).unwrap().users, 1, "{line}");
    }
}

/// The records of a document: what lies in its lists of users or links, or it is one itself.
fn records(value: &Value, found: &mut Vec<Value>) {
    const LISTS: [&str; 13] = [
        "users",
        "federatedUsers",
        "Users",
        "value",
        "accounts",
        "results",
        "result",
        "Resources",
        "data",
        "orgs",
        "humanUsers",
        "userLinks",
        "identityProviderLinks",
    ];
    let lists = LISTS.iter().filter_map(|list| value.get(list)).filter(|list| list.is_array());
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| records(element, found)),
        Value::Object(_) if lists.clone().next().is_some() => lists.for_each(|list| records(list, found)),
        record => found.push(record.clone()),
    }
}

/// The records of a file of JSON; a realm without users is none.
fn records_of(name: &str) -> Vec<Value> {
    let mut found = Vec::new();
    if name.ends_with("json") {
        let content = data(name);
        let documents = serde_json::Deserializer::from_slice(&content).into_iter::<Value>();
        documents.for_each(|document| records(&document.unwrap(), &mut found));
        found.retain(|record| record.get("realm").is_none());
        assert!(!found.is_empty(), "{name}");
    }
    found
}

/// The records of a file one a line: all of them, and each of them alone.
fn bare_lines(name: &str) -> Vec<String> {
    let records: Vec<_> = records_of(name).into_iter().map(|record| format!("{record}\n")).collect();
    if records.is_empty() { records } else { [vec![records.concat()], records].concat() }
}

/// Users' identities, each with its UID.
fn identities_of(users: &[User]) -> BTreeSet<String> {
    let named = |user: &User, i: &Identity| format!("{}: {} {}", user.uid, i.provider, i.provider_uid);
    users.iter().flat_map(|user| user.identities.iter().map(move |i| named(user, i))).collect()
}

/// Rejects stand one a line, without what was around them: what a document may hold, a line may.
#[test]
fn every_record_is_read_alone_on_a_line_when_its_format_is_given() {
    for case in CASES.iter().filter(|case| case.files.iter().all(|name| name.ends_with("json"))) {
        let mut read = BTreeSet::new();
        // A UID alone is no mark of anything.
        for record in case.files.iter().flat_map(|name| records_of(name)).filter(|r| r != &json!({ "userId": "3" })) {
            let store = store();
            let report = load(&store, case.format, format!("{record}\n"))
                .unwrap_or_else(|e| panic!("{:?}: {e}: {record}", case.files));
            assert_eq!((report.records, report.rejected), (1, 0), "{:?}: {record}", case.files);
            let users = users(&store);
            assert!(users.iter().all(|user| case.users.contains(&user.uid)), "{:?}: {users:?}", case.files);
            read.append(&mut identities_of(&users));
        }
        let store = store();
        files(&store, case).run().unwrap();
        assert_eq!(read, identities_of(&users(&store)), "{:?}", case.files);
    }
}

#[test]
fn several_fitting_formats_are_named_and_none_is_taken() {
    for (content, parts) in [
        (&data("two-tables.csv")[..], &["fits several formats", "--format nextauth", "--format omniauth", "--map"][..]),
        (b"[]", &["a JSON array"]),
        (b"user_id,email\n7,a@example.test\n", &["neither JSON nor a CSV header"]),
        (br#"{"users":[{"UID":"a"}],"accounts":[{"UID":"a"}],"settings":{}}"#, &["gigya-import", "gigya-json"]),
    ] {
        let error = load(&store(), Format::Auto, content).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, ImportError::UnknownFormat { .. }), "{message}");
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
    }
}

#[test]
fn partial_sources_load_only_when_that_is_allowed() {
    for (name, part) in [
        ("cognito-first-page.json", "\"PaginationToken\" that another follows"),
        ("graph-first-page.json", "\"@odata.nextLink\" that another follows"),
        ("gigya-search-first-page.json", "\"nextCursorId\" that another follows"),
        ("workos-first-page.json", "\"list_metadata.after\" that another follows"),
        ("authentik-first-page.json", "\"pagination.next\" that another follows"),
        ("scim-first-page.json", "totalResults says 5, but 2 were read"),
    ] {
        let store = store();
        let import = || Import::new(&store).input(Input::path(path(name)));
        let message = import().run().unwrap_err().to_string();
        assert!(message.contains(part) && message.contains("--allow-partial"), "{name}: {message}");
        assert_eq!(users(&store), []);
        let report = import().allow_partial(true).run().unwrap();
        assert!(report.users > 0 && report.warnings.iter().any(|w| w.contains(part)), "{:?}", report.warnings);
    }
    // One file a page, in whatever order a shell lists them.
    let last = br#"{"Users":[{"Username":"z","Attributes":[{"Name":"sub","Value":"z"}]}]}"#;
    let first = data("cognito-first-page.json");
    for pages in [[&first[..], last], [last, &first]] {
        assert_eq!(
            load_with(&store(), Format::Auto, &pages, headcount_store::LoadOptions::default()).unwrap().users,
            3
        );
    }
}

#[test]
fn a_page_that_reports_an_error_is_no_page() {
    let page = data("cognito-first-page.json");
    let error = [&page[..], br#"{"__type":"TooManyRequestsException","message":"Rate exceeded"}"#].concat();
    let message = load(&store(), Format::Auto, error).unwrap_err().to_string();
    assert!(message.contains("expected a JSON document with the list Users[]"), "{message}");
    let nulls = br#"{"Users":[{"Username":"z","Attributes":[{"Name":"sub","Value":"z"}]}]}{"Users":null}"#;
    assert_eq!(load(&store(), Format::Auto, nulls).unwrap().users, 1);
}

#[test]
fn settings_behind_the_accounts_are_refused() {
    let late = String::from_utf8(data("gigya-import-late.json")).unwrap();
    // What is seen at once applies.
    assert_eq!(load(&store(), Format::Auto, &late).unwrap().pending, 1);
    let padded = late.replace("\"identities\"", &format!("\"data\":\"{}\",\"identities\"", "x".repeat(1 << 20)));
    let late = load(&store(), Format::GigyaImport, padded).unwrap_err().to_string();
    assert!(late.contains("settings.finalizeRegistration is false, and stands behind"), "{late}");
    let counted = String::from_utf8(data("gigya-import.json")).unwrap();
    let fewer = counted.replace("\"totalRecords\": 2", "\"totalRecords\": 3");
    let error = load(&store(), Format::Auto, fewer).unwrap_err().to_string();
    assert!(error.contains("settings.totalRecords says 3, but 2 were read"), "{error}");
    let more = counted.replace("\"totalRecords\": 2", "\"totalRecords\": 1");
    let report = load(&store(), Format::Auto, more).unwrap();
    assert!(report.warnings.iter().any(|w| w.contains("says 1, but 2 were read")), "{:?}", report.warnings);
}

#[test]
fn skipped_and_disabled_users_are_counted() {
    let count = |name: &str| {
        let report = load(&store(), Format::Auto, data(name)).unwrap();
        assert_eq!(report.records, report.accepted + report.skipped + report.rejected, "{name}");
        (report.skipped, report.disabled)
    };
    assert_eq!(count("supabase.json"), (1, 0));
    assert_eq!(count("graph-delta.json"), (1, 0));
    assert_eq!(count("graph-pages.json"), (0, 1));
    assert_eq!(count("keycloak-realm.json"), (0, 1));
    assert_eq!(count("cognito-array.json"), (0, 1));
    assert_eq!(count("kratos.json"), (0, 1));
    assert_eq!(count("casdoor.json"), (1, 1));
    assert_eq!(count("people.ldif"), (2, 0));
    assert_eq!(count("firebase.json"), (0, 1));
    assert_eq!(count("auth0.ndjson"), (0, 1));
    assert_eq!(count("gigya-search-pages.json"), (0, 1));
    let store = store();
    let tables = [data("supabase-users.csv"), data("supabase-identities.csv")];
    let dir = tempfile::tempdir().unwrap();
    let inputs = tables.iter().enumerate().fold(Import::new(&store), |import, (i, content)| {
        let path = dir.path().join(i.to_string());
        fs::write(&path, content).unwrap();
        import.input(Input::path(path))
    });
    let report = inputs.run().unwrap();
    assert_eq!(report.skipped_by_reason.get("deleted"), Some(&1));
    assert_eq!(report.skipped_by_reason.get("identities of deleted users"), Some(&1));
    // Of a stream, the table of users cannot be read twice.
    let streams: Vec<&[u8]> = tables.iter().map(Vec::as_slice).collect();
    let error = load_with(&store, Format::Auto, &streams, headcount_store::LoadOptions::default()).unwrap_err();
    assert!(error.kind() == ErrorKind::Usage && error.to_string().contains("give it as a file"), "{error}");
}

#[test]
fn directories_of_keycloak_are_read_and_gaps_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let user = |n: u32| format!(r#"{{"id":"u{n}","username":"n{n}","enabled":true,"federatedIdentities":[]}}"#);
    for n in 0..12 {
        let file = format!(r#"{{"realm":"demo","users":[{}]}}"#, user(n));
        fs::write(dir.path().join(format!("demo-users-{n}.json")), file).unwrap();
    }
    let federated = r#"{"realm":"demo","federatedUsers":[{"id":"f:1:x","federatedIdentities":[]}]}"#;
    fs::write(dir.path().join("demo-federated-users-0.json"), federated).unwrap();
    fs::write(dir.path().join("demo-realm.json"), r#"{"realm":"demo","sslRequired":"none","enabled":true}"#).unwrap();
    fs::write(dir.path().join("notes.txt"), "not a part of it").unwrap();
    let store = store();
    let import = || Import::new(&store).input(Input::path(dir.path()));
    assert_eq!(import().run().unwrap().users, 13);
    fs::remove_file(dir.path().join("demo-users-3.json")).unwrap();
    let message = import().run().unwrap_err().to_string();
    assert!(message.contains("demo-users-3.json is missing"), "{message}");
    assert!(import().allow_partial(true).run().unwrap().warnings.iter().any(|w| w.contains("demo-users-3")));
}

/// Keycloak's files may be compressed: none is passed over for its name.
#[test]
fn compressed_files_of_a_directory_are_parts_of_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = |n: u32| format!(r#"{{"realm":"r","users":[{{"id":"u{n}","username":"n{n}","totp":false}}]}}"#);
    fs::write(dir.path().join("r-users-0.json"), file(0)).unwrap();
    fs::write(dir.path().join("r-users-1.json.gz"), gzip(file(1).as_bytes())).unwrap();
    fs::write(dir.path().join("r-users-2.json.zst"), zstd::encode_all(file(2).as_bytes(), 0).unwrap()).unwrap();
    fs::write(dir.path().join("r-realm.json.gz"), gzip(br#"{"realm":"r","enabled":true}"#)).unwrap();
    let store = store();
    let import = || Import::new(&store).input(Input::path(dir.path()));
    import().run().unwrap();
    assert_eq!(shown(&users(&store)), "u0:; u1:; u2:");
    fs::rename(dir.path().join("r-users-1.json.gz"), dir.path().join("r-users-3.json.gz")).unwrap();
    assert!(import().run().unwrap_err().to_string().contains("r-users-1.json is missing"));
    // Of two that are called the same nobody knows which one counts.
    fs::write(dir.path().join("r-users-1.json"), file(1)).unwrap();
    fs::write(dir.path().join("r-users-3.json"), file(3)).unwrap();
    let error = import().run().unwrap_err().to_string();
    assert!(error.contains("r-users-3.json and r-users-3.json.gz"), "{error}");
}
