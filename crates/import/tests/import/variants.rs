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
