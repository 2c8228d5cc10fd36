//! Files of rejects, mended and read again: nothing that they say may be passed over.

use std::sync::{Arc, Mutex};

use headcount_import::{ErrorKind, Format, Import};
use headcount_store::{Existing, LoadOptions, OnDuplicate};

use super::options::rejects_of;
use super::systems::shown;
use super::{Shared, inputs, load, load_with, store, users};

/// What a file of rejects holds comes back as it was: pending users as pending ones, and nothing of it is passed over.
#[test]
fn rejects_of_pending_users_come_back_as_pending_ones() {
    let search = r#"{"results":[{"UID":"a","isRegistered":true},{"UID":"","isRegistered":false},
        {"UID":"a","isRegistered":false,"identities":[]}],"totalCount":3}"#;
    let import = r#"{"settings":{"importFormat":"gigya-users-import","finalizeRegistration":false},"accounts":[
        {"UID":"a"},{"UID":"","profile":{"a":1}},{},{"UID":"a","identities":[{"provider":"p","providerUID":"1"}]}]}"#;
    let cognito = "cognito:username,email_verified,cognito:user_status\na,true,CONFIRMED\na,true,UNCONFIRMED\n";
    for (format, text, mend, expected) in [
        (Format::GigyaSearch, search, [("\"\"", "\"b\""), ("\"a\"", "\"c\"")], "b (pending):; c (pending):"),
        (
            Format::GigyaImport,
            import,
            [("\"\"", "\"b\""), ("\"a\",\"s", "\"c\",\"s")],
            "b (pending):; c (pending): p 1",
        ),
        (Format::Cognito, cognito, [("\na,", "\nc,"), ("", "")], "c (pending):"),
    ] {
        let (_, rejects) = rejects_of(&store(), format, text.as_bytes());
        let mut mended = rejects.replace("{\"status\":\"pending\"}\n", "");
        for (from, to) in mend.into_iter().filter(|(from, _)| !from.is_empty()) {
            assert!(mended.contains(from), "{mended}");
            mended = mended.replacen(from, to, 1);
        }
        let store = store();
        load(&store, format, &mended).unwrap_or_else(|e| panic!("{format}: {e}: {mended}"));
        assert_eq!(shown(&users(&store)), expected, "{mended}");
        // Without the format they are not read as if all were registered.
        let again = super::store();
        match load(&again, Format::Auto, &mended) {
            Ok(_) => assert_eq!(shown(&users(&again)), expected, "{mended}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Usage, "{error}"),
        }
    }
}

/// What an account itself has under the name of what says that it is pending is not written beside that.
#[test]
fn rejects_of_pending_accounts_have_one_status() {
    for (account, kept) in [
        (r#"{"UID":"","status":"active","data":{"status":1}}"#, r#""UID":"","data":{"status":1}"#),
        ("{ \"status\" : {\"a\":[1,\"}\"]},\n \"UID\":\"\" }", r#"  "UID":"" "#),
        (r#"{"UID":"","\u0073tatus":null}"#, r#""UID":"""#),
        (r#"{"UID":""}"#, r#""UID":"""#),
    ] {
        let text = format!(r#"{{"settings":{{"finalizeRegistration":false}},"accounts":[{account}]}}"#);
        let (report, rejects) = rejects_of(&store(), Format::GigyaImport, text.as_bytes());
        assert_eq!((report.rejected, rejects.as_str()), (1, format!("{{\"status\":\"pending\",{kept}}}\n").as_str()));
        let store = store();
        let mended = rejects.replace("\"\"", "\"b\"");
        load(&store, Format::GigyaImport, &mended).unwrap_or_else(|e| panic!("{e}: {mended}"));
        assert_eq!(shown(&users(&store)), "b (pending):");
    }
}

/// The rejects of one input hold users and links, and users in our own form, all in one file.
#[test]
fn rejects_of_users_and_links_are_told_apart_line_by_line() {
    let own = r#"{"UID":"2","identities":[{"provider":"h","providerUID":"x"}]}"#;
    for (format, lines) in [
        (Format::Zitadel, [r#"{"userId":"1","idpId":"h","providedUserId":"hh"}"#, r#"{"userId":"1","human":{}}"#]),
        (
            Format::Authentik,
            [
                r#"{"pk":7,"user":1,"source_obj":{"slug":"h"},"identifier":"hh"}"#,
                r#"{"pk":1,"username":"ana","uuid":"u"}"#,
            ],
        ),
        (
            Format::FusionAuth,
            [
                r#"{"userId":"1","identityProviderName":"h","identityProviderUserId":"hh"}"#,
                r#"{"id":"1","tenantId":"t","active":true}"#,
            ],
        ),
    ] {
        for lines in
            [vec![lines[0], own], vec![own, lines[0]], vec![lines[1], lines[0], own], vec![lines[0], lines[1], own]]
        {
            let store = store();
            let text = lines.join("\n") + "\n";
            load(&store, format, &text).unwrap_or_else(|e| panic!("{format}: {e}: {text}"));
            assert_eq!(shown(&users(&store)), "1: h hh; 2: h x", "{format}: {text}");
        }
    }
    // What is neither is refused still.
    for line in [r#"{"userId":"1","providedUserId":"hh"}"#, r#"{"userId":"1","idpId":"h"}"#] {
        let error = load(&store(), Format::Zitadel, format!("{own}\n{line}\n")).unwrap_err();
        assert!(error.to_string().contains("is missing"), "{error}");
    }
}

/// A user that the loader refused stands among the rejects in our own form, which every format of JSON takes.
#[test]
fn every_format_of_json_takes_users_of_our_own_form() {
    let own = "{\"UID\":\"p\",\"status\":\"pending\",\"identities\":[]}\n{\"UID\":\"q\",\"identities\":[]}\n";
    let formats = Format::ALL.into_iter().filter(|format| {
        let other = [Format::Auto, Format::Map, Format::Csv, Format::GigyaJson, Format::Ldif];
        let tables = [Format::NextAuth, Format::OmniAuth, Format::AspNet, Format::BetterAuth];
        !other.contains(format) && !tables.contains(format)
    });
    for format in formats {
        let store = store();
        load(&store, format, own).unwrap_or_else(|e| panic!("{format}: {e}"));
        assert_eq!(shown(&users(&store)), "p (pending):; q:", "{format}");
    }
}

/// A row that says all of a user has room for one identity of a provider, and the loader may refuse one that has more.
#[test]
fn identities_of_a_rejected_user_that_no_column_has_room_for_are_not_lost() {
    let firebase =
        |uid: &str, google: &str| format!("{uid},e,true,,,,,{google}{}1690000000000,,,false,,\n", ",".repeat(16));
    let stored = r#"{"UID":"a","identities":[{"provider":"google.com","providerUID":"9"},{"provider":"apple.com","providerUID":"5"}]}
{"UID":"z","identities":[{"provider":"google.com","providerUID":"2"}]}"#;
    let auth0 = "user_id,identities[0].provider,identities[0].user_id\n";
    let cases = [
        (
            Format::Firebase,
            stored,
            firebase("a", "2"),
            Existing::Merge,
            OnDuplicate::Error,
            "google.com 9, apple.com 5, google.com 2",
        ),
        (
            Format::Auth0,
            r#"{"UID":"z","identities":[{"provider":"q","providerUID":"2"}]}"#,
            format!("{auth0}a,p,1\na,q,2\n"),
            Existing::Replace,
            OnDuplicate::Merge,
            "p 1, q 2",
        ),
    ];
    for (format, stored, text, existing, on_duplicate, expected) in cases {
        let options = LoadOptions { skip_rejected: true, existing, on_duplicate, ..LoadOptions::default() };
        let options = || options.clone();
        // In a file of their own, in our own form, where there can be one.
        let (store, first, apart) = (store(), Shared::default(), Shared::default());
        let (to, names) = (apart.clone(), Arc::new(Mutex::new(Vec::new())));
        let noted = Arc::clone(&names);
        load(&store, Format::Ndjson, stored).unwrap();
        let import = Import::new(&store).format(format).options(options()).rejects(Some(Box::new(first.clone())));
        let import = import.rejects_apart(move |name| {
            noted.lock().unwrap().push(name.to_owned());
            Ok(Box::new(to.clone()))
        });
        let report = inputs(import, &[text.as_bytes()]).run().unwrap();
        assert_eq!((report.rejected, report.warnings.iter().filter(|w| w.contains("no column")).count()), (1, 0));
        assert_eq!(*names.lock().unwrap(), ["in.ndjson"]);
        let again = super::store();
        load(&again, format, apart.text()).unwrap_or_else(|e| panic!("{e}: {}", apart.text()));
        assert_eq!(shown(&users(&again)), format!("a: {expected}"), "{}", apart.text());
        // Elsewhere in rows, several of them, and what has no column is told.
        let (store, out) = (super::store(), Shared::default());
        load(&store, Format::Ndjson, stored).unwrap();
        let import = Import::new(&store).format(format).options(options()).rejects(Some(Box::new(out.clone())));
        let report = inputs(import, &[text.as_bytes()]).run().unwrap();
        let told: Vec<_> = report.warnings.iter().filter(|w| w.contains("no column")).collect();
        assert_eq!(told.len(), usize::from(format == Format::Firebase), "{told:?}");
        assert!(told.iter().all(|w| w.contains("apple.com") && w.starts_with('1')), "{told:?}");
        let again = super::store();
        let merging = LoadOptions { on_duplicate: OnDuplicate::Merge, ..LoadOptions::default() };
        load_with(&again, format, &[out.text().as_bytes()], merging).unwrap_or_else(|e| panic!("{e}: {}", out.text()));
        assert_eq!(shown(&users(&again)), format!("a: {}", expected.replace("apple.com 5, ", "")), "{}", out.text());
    }
}

/// What the format takes, its rejects take: numbers as ids too, though nothing but what our own form has is in them.
#[test]
fn rejects_of_gigya_are_no_stricter_than_its_files() {
    let import = r#"{"settings":{"importFormat":"x","finalizeRegistration":false},"accounts":[
        {"UID":"","identities":[{"provider":"p","providerUID":7}]}]}"#;
    let (_, rejects) = rejects_of(&store(), Format::GigyaImport, import.as_bytes());
    let store = store();
    let mended = rejects.replace("\"\"", "\"b\"");
    load(&store, Format::GigyaImport, &mended).unwrap_or_else(|e| panic!("{e}: {mended}"));
    assert_eq!(shown(&users(&store)), "b (pending): p 7");
    // What is no status is still refused in users of our own form.
    for format in [Format::GigyaImport, Format::GigyaSearch] {
        let text = r#"{"UID":"b","status":"pendng","identities":[]}"#;
        let error = load(&super::store(), format, text).map(|report| report.users).unwrap_err();
        assert!(error.to_string().contains("\"pendng\""), "{error}");
    }
}
