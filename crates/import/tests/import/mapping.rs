//! Imports by a mapping.

use headcount_import::{ErrorKind, Format, Import, Mapping};
use headcount_store::LoadOptions;

use super::systems::{data, shown};
use super::{Shared, inputs, load, store, users};

fn mapped(content: &[u8], pairs: &[&str]) -> Result<String, headcount_import::ImportError> {
    let store = store();
    let mapping = Mapping::parse(pairs.iter().copied()).unwrap();
    inputs(Import::new(&store).mapping(Some(mapping)), &[content]).run()?;
    Ok(shown(&users(&store)))
}

#[test]
fn any_json_and_csv_is_read_by_a_mapping() {
    let links = ["records=/data/people", "uid=/n", "identities=/links", "provider=/idp", "providerUID=/sub"];
    assert_eq!(mapped(&data("mapped.json"), &links).unwrap(), "1: google 1001, github 77; 2:");
    let one = ["uid=/user/id", "provider=/idp", "providerUID=/sub"];
    assert_eq!(mapped(&data("mapped.ndjson"), &one).unwrap(), "a: google 1, github 2; b:");
    let columns = ["uid=who", "provider=where", "providerUID=What"];
    assert_eq!(mapped(&data("mapped.csv"), &columns).unwrap(), "a: google 1, github 2; b:");
    assert_eq!(
        mapped(&data("mapped.csv"), &["uid=what", "provider==site", "providerUID=what"]).unwrap_err().kind(),
        ErrorKind::Input
    );
    assert_eq!(
        mapped(b"[{\"id\":1,\"sub\":2}]", &["uid=/id", "provider==corp", "providerUID=/sub"]).unwrap(),
        "1: corp 2"
    );
    let by_key = ["uid=/id", "identities=/identities", "providerUID=/userId"];
    assert_eq!(mapped(&data("logto.json"), &by_key).unwrap(), "u1: google 1001, github 77; u2:");
    assert_eq!(mapped(b"[]", &["uid=/id"]).unwrap(), "");
}

#[test]
fn what_a_mapping_does_not_find_is_named() {
    for (content, pairs, parts) in [
        (&b"[{\"a\":1}]"[..], &["uid=/id"][..], &["in: record 1, byte 1: ", "no UID at /id"][..]),
        (b"{\"a\":1}\n", &["uid=/id"], &["in: line 1, byte 0: ", "no UID at /id"]),
        (b"[{\"id\":1,\"p\":\"x\"}]", &["uid=/id", "provider=/p", "providerUID=/q"], &["nothing at /q"]),
        (b"[{\"id\":1,\"q\":\"x\"}]", &["uid=/id", "provider=/p", "providerUID=/q"], &["without a provider"]),
        (b"a,b\n1,2\n", &["uid=c"], &["has no column c", "found: \"a\", \"b\""]),
        (b"a,A\n1,2\n", &["uid=a"], &["has the column a twice"]),
        (b"a,b\n1,2\n", &["uid=a", "identities=/b", "providerUID=b"], &["identities and records are for JSON"]),
        (b"{\"x\":[1]}", &["records=/y", "uid=/id"], &["records where the mapping says"]),
        (b"[1,2]", &["uid=/id"], &["expected a user object"]),
    ] {
        let error = mapped(content, pairs).unwrap_err();
        let message = error.to_string();
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
        assert_eq!(error.kind(), ErrorKind::Input);
    }
    let store = store();
    let mapping = Mapping::parse(["uid=/id"]).unwrap();
    let both = inputs(Import::new(&store).format(Format::Auth0).mapping(Some(mapping)), &[b"{}"]).run().unwrap_err();
    assert_eq!(both.kind(), ErrorKind::Usage);
}

/// The caller says where things are: no record is taken for one of our own form that does not say that it is.
#[test]
fn a_mapping_counts_for_records_that_look_like_our_own_too() {
    for (content, pairs, expected) in [
        (r#"{"UID":"a"}"#, &["uid=/UID", "provider==corp", "providerUID=/UID"][..], "a: corp a"),
        (
            r#"{"UID":"a","identities":[{"provider":"p","providerUID":"x","subject":"REAL"}]}"#,
            &["uid=/UID", "identities=/identities", "provider=/provider", "providerUID=/subject"],
            "a: p REAL",
        ),
        (
            r#"{"UID":"a","identities":{"google":{"userId":1}}}"#,
            &["uid=/UID", "identities=/identities", "providerUID=/userId"],
            "a: google 1",
        ),
        (r#"{"UID":"a","status":"active"}"#, &["uid=/UID"], "a:"),
    ] {
        for text in [content.to_owned(), format!("[{content}]")] {
            assert_eq!(mapped(text.as_bytes(), pairs).unwrap(), expected, "{text}");
        }
    }
}

#[test]
fn rejects_of_a_mapping_come_back_as_they_were() {
    let pairs = ["uid=/UID", "identities=/identities", "provider=/p", "providerUID=/sub"];
    let text = concat!(
        r#"{"UID":"a","identities":[{"p":"google","sub":"1"}]}"#,
        "\n",
        r#"{"UID":"b","identities":[{"p":"google","sub":"1"},{"p":"github","sub":7}]}"#,
        "\n",
        r#"{"UID":"","identities":[{"p":"github","sub":"8"}]}"#,
        "\n"
    );
    let (store, out) = (store(), Shared::default());
    let mapping = Mapping::parse(pairs).unwrap();
    let options = LoadOptions { skip_rejected: true, ..LoadOptions::default() };
    let import = Import::new(&store).mapping(Some(mapping)).options(options).rejects(Some(Box::new(out.clone())));
    assert_eq!(inputs(import, &[text.as_bytes()]).run().unwrap().rejected, 2);
    let mended = out.text().replace("\"\"", "\"c\"").replace("\"1\"", "\"2\"");
    assert_eq!(mapped(mended.as_bytes(), &pairs).unwrap(), "b: google 2, github 7; c: github 8", "{mended}");
    // Those that the loader refused are users of our own form for everybody else too.
    let refused = mended.lines().find(|line| line.contains("\"b\"")).unwrap();
    let again = super::store();
    load(&again, Format::Auto, refused).unwrap();
    assert_eq!(shown(&users(&again)), "b: google 2, github 7");
}
