//! Variants of other systems' files: what they mean must not be mistaken for what the usual file means.

use headcount_import::{Format, Import, ProviderNames};

use super::options::rejects_of;
use super::systems::shown;
use super::{inputs, load, store, users};

/// In JSON that was made of the tables, `id` of an identity is the row's own.
#[test]
fn identities_of_supabase_are_told_from_their_rows() {
    for (identity, expected) in [
        (r#"{"id":"9c11-uuid","provider_id":"1001","user_id":"u1","provider":"google"}"#, "u1: google 1001"),
        (r#"{"identity_id":"9c11-uuid","id":"1001","provider":"google"}"#, "u1: google 1001"),
        (r#"{"identity_id":"9c11-uuid","id":"1001","provider_id":"1001","provider":"google"}"#, "u1: google 1001"),
        (r#"{"id":"1001","provider":"google"}"#, "u1: google 1001"),
        (r#"{"id":"1001","provider_id":null,"provider":"google"}"#, "u1: google 1001"),
    ] {
        let store = store();
        load(&store, Format::Auto, format!(r#"[{{"id":"u1","aud":"authenticated","identities":[{identity}]}}]"#))
            .unwrap();
        assert_eq!(shown(&users(&store)), expected, "{identity}");
    }
    let bad = r#"[{"id":"u1","aud":"authenticated","identities":[{"provider":"google"}]}]"#;
    assert!(load(&store(), Format::Auto, bad).unwrap_err().to_string().contains("\"id\" is missing"));
}

/// Of an identity without `userId` the user's name tells it: `Google_1001`.
#[test]
fn identities_of_cognito_without_an_id_have_it_in_the_name() {
    let load = |name: &str, identities: &str| {
        let store = store();
        let attribute = serde_json::to_string(identities).unwrap();
        let text = format!(
            r#"[{{"Username":{name:?},"Attributes":[{{"Name":"sub","Value":"s1"}},
            {{"Name":"identities","Value":{attribute}}}],"UserStatus":"EXTERNAL_PROVIDER"}}]"#
        );
        load(&store, Format::Auto, text).map(|_| shown(&users(&store))).map_err(|e| e.to_string())
    };
    let google = r#"[{"providerName":"Google","providerType":"Google"}]"#;
    for name in ["Google_1001", "google_1001"] {
        assert_eq!(load(name, google).unwrap(), "s1: Google 1001");
    }
    assert_eq!(load("My_Corp_a_b", r#"{"providerName":"My_Corp","userId":null}"#).unwrap(), "s1: My_Corp a_b");
    let two = r#"[{"providerName":"Google"},{"providerName":"Facebook","userId":"22"}]"#;
    assert_eq!(load("google_1001", two).unwrap(), "s1: Google 1001, Facebook 22");
    // A name that does not say it, or says nothing.
    for name in ["6d0c-uuid", "google_", "Google", "googleplus_1", "facebook_22"] {
        let message = load(name, google).unwrap_err();
        assert!(message.contains("\"userId\" is missing") && message.contains("Google_"), "{message}");
    }
}

/// `username` is anybody's column, `cognito:username` is Cognito's.
#[test]
fn tables_of_cognito_are_known_by_its_own_columns() {
    let text = "username,email_verified,provider,provider_uid\nana,true,google,1\n";
    let error = load(&store(), Format::Auto, text).unwrap_err();
    assert!(error.to_string().contains("no column uid"), "{error}");
    assert!(load(&store(), Format::Auto, "username,email_verified,sub\nana,true,s\n").is_err());
    for header in ["cognito:username,email_verified", "Cognito:Username,email_verified"] {
        let store = store();
        load(&store, Format::Auto, format!("{header}\nana,true\n")).unwrap();
        assert_eq!(shown(&users(&store)), "ana:");
    }
    // Where the caller says what it is, the name may have lost its prefix.
    let store = store();
    load(&store, Format::Cognito, "username,email_verified\nana,true\n").unwrap();
    assert_eq!(shown(&users(&store)), "ana:");
}

/// As text too, as other flags; and what is neither is no word for "registered".
#[test]
fn finalize_registration_is_read_as_text_and_refused_as_anything_else() {
    let file = |value: &str| {
        format!(
            r#"{{"settings":{{"importFormat":"gigya-users-import","finalizeRegistration":{value}}},"accounts":[{{"UID":"a"}}]}}"#
        )
    };
    for (value, pending) in [("false", 1), ("\"false\"", 1), ("true", 0), ("\"true\"", 0), ("null", 0)] {
        assert_eq!(load(&store(), Format::Auto, file(value)).unwrap().pending, pending, "{value}");
    }
    for value in ["0", "\"no\"", "\"False\""] {
        let message = load(&store(), Format::Auto, file(value)).unwrap_err().to_string();
        assert!(message.contains("expected true or false for settings.finalizeRegistration"), "{message}");
    }
}

/// Each document of a file has a number of its own.
#[test]
fn totals_of_import_files_are_added_up_in_one_file_too() {
    let document = |uid: &str, total: u64| {
        format!(r#"{{"settings":{{"importFormat":"x","totalRecords":{total}}},"accounts":[{{"UID":"{uid}"}}]}}"#)
    };
    let both = [document("a", 1), document("b", 1)].concat();
    let report = load(&store(), Format::Auto, both).unwrap();
    assert_eq!((report.users, report.warnings.iter().filter(|w| w.contains("were read")).count()), (2, 0));
    let message = load(&store(), Format::Auto, [document("a", 1), document("b", 3)].concat()).unwrap_err().to_string();
    assert!(message.contains("says 4, but 2 were read"), "{message}");
}

/// Users in our own form stand among the rejects of a system: their providers are named as the others' are.
#[test]
fn providers_of_users_in_our_own_form_are_renamed_with_the_others() {
    let text = concat!(
        r#"{"user_id":"auth0|1","identities":[{"provider":"google-oauth2","user_id":"1"}]}"#,
        "\n",
        r#"{"UID":"b","identities":[{"provider":"google-oauth2","providerUID":"2"}]}"#,
        "\n"
    );
    for (names, provider) in [(ProviderNames::Kept, "google-oauth2"), (ProviderNames::Gigya, "google")] {
        let store = store();
        let import = inputs(Import::new(&store).format(Format::Auth0).provider_names(names), &[text.as_bytes()]);
        import.run().unwrap();
        assert_eq!(shown(&users(&store)), format!("auth0|1: {provider} 1; b: {provider} 2"));
    }
}

/// What lies elsewhere than the first document's is not passed over, and a realm without users is worth a word.
#[test]
fn realms_that_lie_elsewhere_or_have_no_users_are_no_silent_nothing() {
    let realm = |name: &str| {
        format!(r#"{{"realm":"{name}","enabled":true,"users":[{{"id":"{name}","federatedIdentities":[]}}]}}"#)
    };
    let (a, b) = (realm("a"), realm("b"));
    assert_eq!(load(&store(), Format::Auto, format!("{a}{b}")).unwrap().users, 2);
    assert_eq!(load(&store(), Format::Auto, format!("[{a},{b}]")).unwrap().users, 2);
    for text in [format!("{a}[{b}]"), format!("[{a}]{b}"), format!("{a}[]")] {
        let outcome = load(&store(), Format::Auto, &text).map(|report| report.users);
        assert!(outcome.is_err(), "{outcome:?}: {text}");
    }
    let warned = |text: &str| {
        let report = load(&store(), Format::Auto, text).unwrap();
        report.warnings.iter().any(|warning| warning.contains("no user of Keycloak was read"))
    };
    assert!(warned(r#"{"realm":"a","enabled":true}"#) && warned(r#"[{"realm":"a","enabled":true}]"#));
    assert!(!warned(&format!(r#"[{{"realm":"a","enabled":true}},{b}]"#)));
}

/// Whether somebody is registered is asked of each record, wherever it is.
#[test]
fn registration_that_is_not_complete_is_seen_behind_the_beginning() {
    let plain: String = (0..150).map(|i| format!("{{\"UID\":\"{i:03}\",\"identities\":[]}}\n")).collect();
    for (member, pending) in [
        ("\"isRegistered\":false", 1),
        ("\"isRegistered\":\"false\"", 1),
        ("\"isRegistered\":true", 0),
        ("\"isRegistered\":null", 0),
        ("\"isRegistered\":{\"a\":false}", 0),
        ("\"profile\":{\"isRegistered\":false}", 0),
        ("\"status\":\"registered\",\"isRegistered\":false", 1),
        ("\"isRegistered\":false,\"status\":\"registered\"", 1),
    ] {
        let text = format!("{plain}{{\"UID\":\"last\",{member}}}\n");
        let report = load(&store(), Format::Auto, text).unwrap();
        assert_eq!((report.files[0].format, report.pending), (Format::Ndjson, pending), "{member}");
    }
    let report = load(&store(), Format::Auto, "{\"users\":[{\"UID\":\"a\",\"isRegistered\":false}]}").unwrap();
    assert_eq!(report.pending, 1);
}

/// Lines that do not end fit nothing, and are looked at once.
#[test]
fn broken_lines_are_no_format_and_are_seen_fast() {
    let started = std::time::Instant::now();
    for line in ["{\"a\":{\"b\":[\n", "{\"id\":{\"b\":[\n", "[{\"id\":\n"] {
        let text = line.repeat((1 << 20) / line.len());
        let message = load(&store(), Format::Auto, &text).map(|report| report.users).unwrap_err().to_string();
        assert!(!message.contains("several formats"), "{message}");
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    // One among others is the record that is wrong, whatever of it is there.
    let good = |n: u32| format!("{{\"user_id\":\"auth0|{n}\",\"identities\":[]}}\n");
    for broken in ["{\"user_id\":\"auth0|2\",\"ident\n", "{\"us\n", "{\"x\":[{\n"] {
        let text = [good(1), broken.to_owned(), good(3)].concat();
        let error = load(&store(), Format::Auto, &text).unwrap_err();
        assert!(error.to_string().starts_with("in: line 2, "), "{error}");
        // So is the first, of lines that name their format.
        let kratos = |n: u32| format!("{{\"id\":\"k{n}\",\"schema_id\":\"s\",\"traits\":{{}}}}\n");
        let (id, auth0) = ("{\"id\":\"k1\",\"traits\":{\n", broken);
        let scim = "{\"id\":\"s1\",\"userName\":\n";
        for (text, format, expected) in [
            ([auth0, &good(1), &good(3)].concat(), Format::Auth0, "auth0|1:; auth0|3:"),
            ([id, &kratos(2), &kratos(3)].concat(), Format::Kratos, "k2:; k3:"),
            ([scim, "{\"id\":\"s2\",\"userName\":\"b\"}\n"].concat(), Format::Scim, "s2:"),
            ([scim, "{\"id\":\"k2\",\"federatedIdentities\":[]}\n"].concat(), Format::Keycloak, "k2:"),
        ] {
            // Lines of the last two are anybody's: the caller has to say whose.
            let named = [Format::Auto, format];
            for given in named.into_iter().skip(usize::from(text.starts_with(scim))) {
                let error = load(&store(), given, &text).unwrap_err();
                assert!(error.to_string().starts_with("in: line 1, "), "{error}");
                let store = store();
                let (report, rejects) = rejects_of(&store, given, text.as_bytes());
                assert_eq!((report.rejected, shown(&users(&store)).as_str()), (1, expected), "{text}");
                assert_eq!(rejects, text.split_inclusive('\n').next().unwrap());
            }
        }
    }
    // One that is alone is cut, and so is a document whose records are inside.
    for cut in [
        "{\"user_id\":\"auth0|2\",\"ident",
        "{\"user_id\":\"auth0|2\",\"identities\":[\n{\"provider\":\"p\",\"user_id\":\"7\"}\n",
    ] {
        let error = load(&store(), Format::Auth0, cut).map(|report| report.users).unwrap_err();
        assert!(error.to_string().contains("truncated"), "{error}");
    }
    // Records on lines of their own inside of a document are no lines.
    let list =
        format!("{{\"users\":[\n{}{{\"user_id\":\"auth0|z\"}}]}}", good(1).replace("}\n", "},\n").repeat(60_000));
    let error = load(&store(), Format::Auto, list).unwrap_err().to_string();
    assert!(error.contains("given before"), "{error}");
}
