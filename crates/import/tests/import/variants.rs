//! Variants of other systems' files: what they mean must not be mistaken for what the usual file means.

use headcount_import::Format;

use super::systems::shown;
use super::{load, store, users};

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
