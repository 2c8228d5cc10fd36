//! What bad input gets: an error that names the place, and a store as it was.

use std::fs;
use std::io;

use headcount_block::User;
use headcount_import::{ErrorKind, Format, Import, Input};
use headcount_store::{Existing, LoadOptions, Store};

use super::{gzip, load, load_with, store, users};

/// A store with a user `kept`.
fn kept() -> Store {
    let store = store();
    load(&store, Format::Ndjson, r#"{"UID":"kept","identities":[{"provider":"p","providerUID":"kept"}]}"#).unwrap();
    store
}

/// Imports `content` into `store`, which must fail with all `parts` in its message and change nothing.
fn fails_in(store: &Store, format: Format, content: &[u8], options: LoadOptions, kind: ErrorKind, parts: &[&str]) {
    let before = (users(store), store.snapshot().seq());
    let shown = String::from_utf8_lossy(&content[..content.len().min(200)]).into_owned();
    let error = load_with(store, format, &[content], options).expect_err(&shown);
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{shown}\nexpected {part:?} in: {message}");
    }
    assert_eq!(error.kind(), kind, "{message}");
    assert_eq!((users(store), store.snapshot().seq()), before);
}

fn fails(format: Format, content: impl AsRef<[u8]>, parts: &[&str]) {
    fails_in(&kept(), format, content.as_ref(), LoadOptions::default(), ErrorKind::Input, parts);
}

/// The record is refused in NDJSON, on line 2, and in a document, as record 2.
fn bad_object(object: &[u8], parts: &[&str]) {
    let line = [b"{\"UID\":\"ok\"}\n", object, b"\n{\"UID\":\"ok2\"}\n"].concat();
    let at = |unit: &'static str| [&[unit], parts].concat();
    fails(Format::Ndjson, line, &at("in: line 2, byte "));
    let document = [b"{\"users\":[{\"UID\":\"ok\"},", object, b",{\"UID\":\"ok2\"}]}"].concat();
    fails(Format::GigyaJson, document, &at("in: record 2, byte "));
}

#[test]
fn values_of_wrong_types() {
    for (object, part) in [
        (r#"{"UID":5}"#, "expected a string for \"UID\""),
        (r#"{"UID":null}"#, "expected a string for \"UID\""),
        (r#"{"UID":["a"]}"#, "expected a string for \"UID\""),
        (r#"{"UID":"a","identities":null}"#, "expected an array for \"identities\""),
        (r#"{"UID":"a","identities":{"provider":"p"}}"#, "expected an array for \"identities\""),
        (r#"{"UID":"a","identities":["p"]}"#, "expected an identity object"),
        (r#"{"UID":"a","identities":[{"provider":1,"providerUID":"2"}]}"#, "expected a string for \"provider\""),
        (r#"{"UID":"a","identities":[{"provider":"1","providerUID":2}]}"#, "expected a string for \"providerUID\""),
        (r#"{"UID":"a","status":true}"#, "expected a string for \"status\""),
        (r#"{"UID":"a","status":"deleted"}"#, "status is \"deleted\": expected \"registered\" or \"pending\""),
        (r#"{"UID":"a","UID":"b"}"#, "duplicate field `UID`"),
    ] {
        bad_object(object.as_bytes(), &[part]);
    }
    fails(Format::GigyaJson, r#"{"users":{"UID":"a"}}"#, &["in: byte 8: ", "expected an array for \"users\""]);
    fails(Format::GigyaJson, r#"{"users":[7]}"#, &["in: byte 10: expected a user object"]);
    fails(Format::GigyaJson, r#"{"users":[],"usersCount":"0"}"#, &["in: byte 27: ", "expected u64"]);
    fails(Format::Ndjson, "[1]\n", &["in: line 1, byte 0: ", "expected a user object"]);
}

/// Of our own exports of changes, and of operations.
#[test]
fn records_that_are_no_users() {
    bad_object(br#"{"UID":"a","deleted":true}"#, &["\"deleted\":true says that this user is gone"]);
    bad_object(br#"{"deleted":true,"UID":"a","identities":[]}"#, &["\"deleted\":true says that this user is gone"]);
    bad_object(br#"{"op":"delete","UID":"a"}"#, &["\"op\" makes this an operation"]);
    bad_object(br#"{"UID":"a","op":7}"#, &["\"op\" makes this an operation"]);
    for (columns, row, part) in [
        ("change,uid,provider,providerUID", "delete,a,,", "change is \"delete\", which says that this user is gone"),
        ("uid,CHANGE,provider,providerUID", "a,\"delete\",,", "change is \"delete\", which says"),
        ("uid,provider,providerUID,status,deleted", "a,,,,true", "deleted is \"true\", which says"),
        (
            "uid,provider,providerUID,deleted",
            "a,,,2024-02-02",
            "deleted is \"2024-02-02\": expected \"false\" or \"true\"",
        ),
        ("deleted,uid,provider,providerUID,Deleted", "t,a,,,f", "deleted is \"t\", which says"),
        ("change,uid,provider,providerUID", ",a,,", "change is \"\": expected \"upsert\" or \"delete\""),
    ] {
        fails(Format::Auto, format!("{columns}\n{row}\n"), &["in: line 2, byte ", part]);
    }
    for document in
        [r#"{"users":[{"UID":"a"}],"deletedUIDs":["b","c"],"usersCount":1}"#, r#"{"deletedUIDs":["b","c"],"users":[]}"#]
    {
        fails(Format::Auto, document, &["in: \"deletedUIDs\" names 2 users who are gone"]);
    }
    // Nobody is gone.
    let store = store();
    for content in [
        r#"{"users":[{"UID":"a"}],"deletedUIDs":[],"usersCount":1}"#,
        "{\"UID\":\"b\",\"deleted\":false}\n{\"UID\":\"c\",\"deleted\":\"2024-02-02\"}",
        "change,uid,provider,providerUID\nupsert,d,,",
        "uid,provider,providerUID,deleted\ne,,,false\nf,,,0\ng,,,",
    ] {
        assert!(
            load(&store, Format::Auto, content).unwrap().warnings.iter().all(|w| !w.contains("columns")),
            "{content}"
        );
    }
    assert_eq!(users(&store).len(), 7);
}

/// Databases and other programs have a column `deleted` too, and spell its yes and no in their own ways.
#[test]
fn a_column_deleted_says_yes_and_no_in_every_spelling() {
    let row = |said: &str| format!("uid,provider,providerUID,deleted\na,x,1,{said}\n");
    for said in ["false", "False", "FALSE", "f", "F", "no", "n", "N", "0", "NULL", "null", "\\N", "", "\"f\""] {
        let store = store();
        load(&store, Format::Auto, row(said)).unwrap_or_else(|e| panic!("{said}: {e}"));
        assert_eq!(users(&store), [User::new("a").with_identity("x", "1")], "{said}");
    }
    for said in ["true", "True", "TRUE", "t", "T", "yes", "y", "Y", "1"] {
        let part = format!("deleted is {said:?}, which says that this user is gone");
        fails(Format::Auto, row(said), &["in: line 2, byte ", &part]);
    }
    // Where there are two such columns, each of them counts.
    let store = store();
    load(&store, Format::Auto, "deleted,uid,provider,providerUID,deleted\nf,a,,,0\n").unwrap();
    assert_eq!(users(&store), [User::new("a")]);
}

#[test]
fn empty_and_overlong_values_and_nul() {
    let user = |uid: &str, provider: &str, provider_uid: &str| {
        format!(r#"{{"UID":"{uid}","identities":[{{"provider":"{provider}","providerUID":"{provider_uid}"}}]}}"#)
    };
    for (object, row, part) in [
        (user("", "p", "1"), ",p,1".to_owned(), "UID is empty"),
        (
            user(&"u".repeat(1025), "p", "1"),
            format!("{},p,1", "u".repeat(1025)),
            "UID has 1025 bytes: expected 1 to 1024",
        ),
        (
            user("u", &"p".repeat(129), "1"),
            format!("u,{},1", "p".repeat(129)),
            "provider has 129 bytes: expected 1 to 128",
        ),
        (
            user("u", "p", &"1".repeat(4097)),
            format!("u,p,{}", "1".repeat(4097)),
            "providerUID has 4097 bytes: expected 1 to 4096",
        ),
        (user("a\\u0000", "p", "1"), "a\0,p,1".to_owned(), "UID holds a NUL at byte 1"),
        (user("u", "\\u0000", "1"), "u,\0,1".to_owned(), "provider holds a NUL at byte 0"),
        (user("u", "p", "1\\u0000"), "u,p,1\0".to_owned(), "providerUID holds a NUL at byte 1"),
    ] {
        bad_object(object.as_bytes(), &[part]);
        let csv = format!("uid,provider,providerUID\r\nok,p,1\r\n{row}\r\n");
        fails(Format::Csv, csv, &["in: line 3, byte 34: ", part]);
    }
    bad_object(user("u", "", "1").as_bytes(), &["provider is empty"]);
    bad_object(user("u", "p", "").as_bytes(), &["providerUID is empty"]);
    // Exactly at the limits is accepted.
    let object = user(&"u".repeat(1024), &"p".repeat(128), &"1".repeat(4096));
    assert_eq!(load(&store(), Format::Ndjson, object).unwrap().users, 1);
}

#[test]
fn too_many_identities_and_too_long_users() {
    let identity = |i: usize| format!(r#"{{"provider":"p","providerUID":"{i:0>300}"}}"#);
    let many = (0..4097).map(identity).collect::<Vec<_>>().join(",").replace(&"0".repeat(290), "");
    bad_object(format!(r#"{{"UID":"a","identities":[{many}]}}"#).as_bytes(), &["more than 4096 identities"]);
    let long = (0..4000).map(identity).collect::<Vec<_>>().join(",");
    bad_object(format!(r#"{{"UID":"a","identities":[{long}]}}"#).as_bytes(), &["when encoded: at most 1048576"]);
    let rows: String = (0..4097).map(|i| format!("a,p,{i}\n")).collect();
    fails(
        Format::Csv,
        format!("uid,provider,providerUID\n{rows}"),
        &["in: line 4098, byte 35779: user \"a\"", "4096 identities"],
    );
    let rows: String = (0..4000).map(|i| format!("a,p,{i:0>300}\n")).collect();
    fails(
        Format::Csv,
        format!("uid,provider,providerUID\n{rows}"),
        &["in: line 3438, byte 1048005: user \"a\"", "at most 1048576"],
    );
    let line = format!("{{\"UID\":\"ok\"}}\n{{\"x\":\"{}\"}}\n", "y".repeat(8 << 20));
    fails(Format::Ndjson, line, &["in: byte 13: a line is longer than 8388608 bytes", "ndjson"]);
    let open = format!("uid,provider,providerUID\nu,p,\"{}", "y\n".repeat(5 << 20));
    fails(Format::Csv, open, &["in: byte 25: a CSV record (an opening quote", "longer than 8388608 bytes"]);
}

#[test]
fn swapped_columns_are_suspected_when_there_are_too_many_providers() {
    let rows: String = (0..70_000).map(|i| format!("u{i},{i},p\n")).collect();
    let options = LoadOptions { threads: 1, skip_rejected: true, ..LoadOptions::default() };
    let csv = format!("uid,provider,providerUID\n{rows}");
    let parts = ["in: line 65", "more than 65535 different provider names: are the columns swapped"];
    fails_in(&kept(), Format::Auto, csv.as_bytes(), options, ErrorKind::Input, &parts);
}

#[test]
fn text_that_is_not_unicode() {
    bad_object(b"{\"UID\":\"a\xff\"}", &["not UTF-8"]);
    bad_object(br#"{"UID":"\ud83d"}"#, &["unpaired surrogate"]);
    bad_object(br#"{"UID":"\ude00\ud83d"}"#, &["unpaired surrogate"]);
    bad_object(br#"{"UID":"a","identities":[{"provider":"p","providerUID":"\ud83dx"}]}"#, &["unpaired surrogate"]);
    bad_object(br#"{"UID":"a","name":"\ud83d\u0041"}"#, &["surrogate"]);
    bad_object(b"{\"UID\":\"a\tb\"}", &["control character"]);
    fails(Format::Csv, b"uid,provider,providerUID\na,p,\xc3\n", &["in: line 2, byte 29: not UTF-8"]);
    fails(Format::Csv, b"uid,provider,providerUID,\xc3\n", &["header is not UTF-8"]);
    fails(
        Format::GigyaJson,
        b"{\"users\":[],\"usersCount\":0,\"x\":\"\xff\"}",
        &["invalid JSON around the users", "in: byte 3"],
    );
}

#[test]
fn deep_nesting() {
    for depth in [200, 200_000] {
        let nested = format!(r#"{{"UID":"a","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        bad_object(nested.as_bytes(), &["nested deeper than 128 levels"]);
        let nested = format!(r#"{{"users":[],"x":{}}}"#, r#"{"a":"#.repeat(depth) + "1" + &"}".repeat(depth));
        fails(Format::GigyaJson, nested, &["nested deeper than 128 levels"]);
    }
}

#[test]
fn json_that_is_cut_off_or_broken() {
    fails(
        Format::Ndjson,
        "{\"UID\":\"a\"}\n{\"UID\":\"b",
        &["in: line 2, byte 20: invalid JSON: EOF while parsing a string"],
    );
    fails(Format::Ndjson, "{\"UID\":\"a\"}\n\n{\n\"UID\":\"b\"\n}\n", &["in: line 3, byte 13: invalid JSON: EOF"]);
    fails(
        Format::Ndjson,
        "{\"UID\":\"a\"} {\"UID\":\"b\"}\n",
        &["in: line 1, byte 12: invalid JSON: trailing characters"],
    );
    bad_object(br#"{"UID":"a",}"#, &["invalid JSON: trailing comma"]);
    bad_object(br#"{"UID" "a"}"#, &["invalid JSON: expected `:`"]);
    bad_object(b"{}", &["\"UID\" is missing"]);
    let whole = r#"{"users":[{"UID":"a"},{"UID":"b"}],"usersCount":2}"#;
    for (len, part) in [
        (21, "in: byte 21: the input ends inside the array \"users\": it is truncated"),
        (30, "in: byte 30: the input ends inside the array \"users\""),
        (35, "in: byte 35: the input ends inside the JSON document"),
        (49, "in: byte 49: the input ends inside the JSON document"),
    ] {
        fails(Format::GigyaJson, &whole[..len], &[part]);
    }
    fails(
        Format::GigyaJson,
        format!("{whole}{whole}"),
        &["in: byte 50: expected the end of the input after the document"],
    );
    fails(Format::GigyaJson, format!("{whole} x"), &["in: byte 51: ", "found \"x\""]);
    fails(
        Format::GigyaJson,
        r#"{"users":[{"UID":"a"} {"UID":"b"}]}"#,
        &["in: byte 22: expected `,` or `]` after a user"],
    );
    fails(Format::GigyaJson, "", &["expected a JSON object", "found nothing"]);
    fails(Format::GigyaJson, r#"{"usersCount":0,"errorCode":0}"#, &["in: \"users\" is missing"]);
}

#[test]
fn documents_that_report_a_failed_export() {
    let failed =
        r#"{"errorMessage":"Unauthorized user","errorDetails":"no such key","statusCode":403,"errorCode":403005}"#;
    let parts =
        ["in: ", "failed export", "errorCode 403005", "statusCode 403", "\"Unauthorized user\"", "\"no such key\""];
    fails(Format::Auto, failed, &parts);
    fails(
        Format::Auto,
        r#"{"users":[{"UID":"a"}],"usersCount":1,"statusCode":500,"errorCode":500028}"#,
        &["errorCode 500028", "statusCode 500"],
    );
    fails(Format::Auto, r#"{"statusCode":206,"users":[{"UID":"a"}]}"#, &["statusCode 206"]);
}

#[test]
fn declared_counts_that_are_wrong() {
    let users = r#""users":[{"UID":"a","identities":[{"provider":"p","providerUID":"1"}]}]"#;
    fails(Format::Auto, format!(r#"{{{users},"usersCount":2}}"#), &["in: ", "declares usersCount 2, but 1 were read"]);
    fails(
        Format::Auto,
        format!(r#"{{"identitiesCount":0,{users},"usersCount":1}}"#),
        &["in: ", "declares identitiesCount 0, but 1 were read"],
    );
}

#[test]
fn csv_headers_and_rows() {
    for (csv, parts) in [
        ("uid,provider\na,b\n", &["in: byte 0: ", "no column providerUID", "found: \"uid\", \"provider\""][..]),
        ("provider,providerUID\np,1\n", &["no column uid", "export without uid"]),
        ("uid\na\n", &["no column provider"]),
        ("uid,UID,provider,providerUID\n", &["has 2 columns uid"]),
        ("uid;provider;providerUID\n", &["another separator"]),
        (
            "uid,provider,providerUID\na,p,1\nb,p\n",
            &["in: line 3, byte 31: ", "expected 3 fields as in the header, found 2"],
        ),
        ("uid,provider,providerUID\na,p,1,\n", &["in: line 2, byte 25: ", "found 4"]),
        ("uid,provider,providerUID\na,p,\n", &["in: line 2, byte 25: providerUID is empty but provider is not"]),
        ("uid,provider,providerUID\na,,1\n", &["in: line 2, byte 25: provider is empty but providerUID is not"]),
        ("uid,provider,providerUID\na,p,\"1\n2\n", &["in: byte 25: the input ends inside a quoted CSV field"]),
        ("uid,provider,providerUID\na,p,\"1\"2\n", &["in: line 2, byte 32: ", "text after the closing quote"]),
        ("uid,provider,providerUID\na,p,1\"2\n", &["in: line 2, byte 30: ", "a quote inside a field"]),
        ("uid,provider,providerUID\na,p,1\rb,p,2\n", &["in: line 2, byte 30: ", "carriage return"]),
        ("uid,provider,providerUID,status\na,p,1,\n", &["in: line 2, byte 32: status is \"\""]),
        ("uid,provider,providerUID,status\n\na,p,1,gone\n", &["in: line 3, byte 33: status is \"gone\""]),
    ] {
        fails(Format::Auto, csv, parts);
    }
    fails(Format::Csv, "", &["in: byte 0: the CSV header is missing"]);
    fails(Format::Csv, "a,b\n", &["no column uid", "found: \"a\", \"b\""]);
}

#[test]
fn duplicate_users_and_taken_identities() {
    fails(
        Format::Auto,
        "{\"UID\":\"a\"}\n{\"UID\":\"b\"}\n{\"UID\":\"a\"}\n",
        &["in: line 3, byte 24: user \"a\": ", "given before, at in: line 1, byte 0"],
    );
    fails(
        Format::Auto,
        r#"{"users":[{"UID":"a"},{"UID":"a"}]}"#,
        &["in: record 2, byte 22: user \"a\": ", "in: record 1, byte 10"],
    );
    let line = |uid: &str, id: &str| {
        format!("{{\"UID\":\"{uid}\",\"identities\":[{{\"provider\":\"p\",\"providerUID\":\"{id}\"}}]}}\n")
    };
    fails(
        Format::Auto,
        line("a", "1") + &line("b", "1"),
        &["in: line 2, byte 62: user \"b\": ", "identity \"p\" \"1\" belongs to user \"a\" (at in: line 1, byte 0)"],
    );
    fails(
        Format::Auto,
        line("a", "kept"),
        &["in: line 1, byte 0: user \"a\": ", "identity \"p\" \"kept\" belongs to user \"kept\" (in the store)"],
    );
    fails(
        Format::Auto,
        "uid,provider,providerUID\na,p,1\nb,p,1\n",
        &["in: line 3, byte 31: user \"b\": ", "in: line 2, byte 25"],
    );
    fails(
        Format::Auto,
        "uid,provider,providerUID,status\na,p,1,pending\nb,p,2,pending\na,q,1,registered\n",
        &["in: line 4, byte 60: user \"a\": its status differs", "in: line 2, byte 32"],
    );
    let options = LoadOptions { existing: Existing::Error, ..LoadOptions::default() };
    let content = b"{\"UID\":\"kept\"}\n";
    fails_in(
        &kept(),
        Format::Auto,
        content,
        options,
        ErrorKind::Input,
        &["in: line 1, byte 0: ", "has this UID already"],
    );
}

#[test]
fn the_second_of_several_inputs_is_named() {
    let store = kept();
    let before = users(&store);
    let error =
        load_with(&store, Format::Ndjson, &[b"{\"UID\":\"a\"}\n", b"\n{\"UID\":\"a\"}"], LoadOptions::default());
    let message = error.unwrap_err().to_string();
    assert!(message.starts_with("in2: line 2, byte 1: user \"a\""), "{message}");
    assert!(message.contains("at in: line 1, byte 0"), "{message}");
    assert_eq!(users(&store), before);
}

#[test]
fn damaged_compression() {
    let lines: String = (0..30_000).map(|i| format!("{{\"UID\":\"user {i}\"}}\n")).collect();
    let whole = gzip(lines.as_bytes());
    fails(
        Format::Auto,
        &whole[..whole.len() - 1],
        &["in: damaged or truncated gzip data after 618890 decompressed bytes"],
    );
    fails(Format::Auto, &whole[..whole.len() / 2], &["in: damaged or truncated gzip data after "]);
    fails(Format::Auto, &whole[..15], &["in: damaged or truncated gzip data after 0 decompressed bytes"]);
    let mut flipped = whole.clone();
    let crc = flipped.len() - 6;
    flipped[crc] ^= 1;
    fails(Format::Auto, flipped, &["in: damaged or truncated gzip data after 618890 decompressed bytes"]);
    fails(Format::Auto, [&whole[..], b"garbage"].concat(), &["in: damaged or truncated gzip data after 618890"]);
    let whole = zstd::encode_all(lines.as_bytes(), 1).unwrap();
    fails(Format::Auto, &whole[..whole.len() - 1], &["in: damaged or truncated zstd data after "]);
    // Skipping invalid records does not skip damage.
    let options = LoadOptions { skip_rejected: true, ..LoadOptions::default() };
    fails_in(&kept(), Format::Auto, &whole[..whole.len() / 2], options.clone(), ErrorKind::Input, &["zstd"]);
    fails_in(&kept(), Format::Auto, br#"{"users":[{"UID":"a"}"#, options, ErrorKind::Input, &["truncated"]);
}

#[test]
fn formats_that_cannot_be_told() {
    for (content, parts) in [
        (&b""[..], &["in: it is empty", "give --format ndjson if that is what it is"][..]),
        (b"\xef\xbb\xbf \n", &["in: it is empty"]),
        (
            b"[{\"UID\":\"a\"}]",
            &["in: a JSON array", "give --format gigya-json, --format ndjson, --format csv or", "--map"],
        ),
        (b"{\"users\":[],\"UID\":\"a\"}", &["keys of both", "give --format gigya-json or --format ndjson"]),
        (b"{\"users\":[{\"handle\":\"a\"}]}", &["first has the keys \"handle\"", "give --format gigya-json if"]),
        (b"name,mail\na,b\n", &["neither JSON nor a CSV header", "\"name,mail\""]),
        (b"\xff\xfe{\0", &["UTF-16"]),
    ] {
        fails_in(&kept(), Format::Auto, content, LoadOptions::default(), ErrorKind::Usage, parts);
    }
}

#[test]
fn exports_of_fewer_fields_are_refused() {
    fails(
        Format::Auto,
        r#"{"users":[{"identities":[{"provider":"p","providerUID":"1"}]}],"usersCount":1}"#,
        &["in: record 1, byte ", "\"UID\" is missing (an export without the field uid cannot be imported"],
    );
    fails(Format::Auto, "{\"identities\":[]}\n", &["in: line 1, byte ", "\"UID\" is missing (an export without"]);
    fails(
        Format::Auto,
        r#"{"UID":"a","identities":[{"provider":"p"}]}"#,
        &["without the field providerUID cannot be imported"],
    );
    fails(
        Format::Auto,
        r#"{"UID":"a","identities":[{"providerUID":"1"}]}"#,
        &["without the field provider cannot be imported"],
    );
}

#[test]
fn files_that_cannot_be_read() {
    struct Failing;
    impl io::Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.json");
    let secret = dir.path().join("ok.json");
    fs::write(&secret, "{\"UID\":\"a\"}").unwrap();
    let store = kept();
    for (input, part) in [
        (Input::path(&missing), "cannot open ".to_owned() + &missing.display().to_string()),
        (Input::reader("pipe", Box::new(Failing)), "cannot read pipe: ".to_owned()),
    ] {
        let error = Import::new(&store).input(Input::path(&secret)).input(input).run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains(&part), "{error}");
    }
    // Directories are Keycloak's.
    let of = |format| Import::new(&store).format(format).input(Input::path(dir.path())).run().unwrap_err().to_string();
    assert!(of(Format::Ndjson).contains(&format!("cannot open {}: it is a directory", dir.path().display())));
    assert!(of(Format::Auto).contains("REALM-users-0.json"));
    assert_eq!(Import::new(&store).run().unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(users(&store), [User::new("kept").with_identity("p", "kept")]);
}
