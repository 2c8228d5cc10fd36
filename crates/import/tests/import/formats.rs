//! What is accepted, and what it becomes.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;

use headcount_block::{Progress, Status, User};
use headcount_import::{Compression, Format, Import, Input};
use headcount_store::{LoadOptions, OnDuplicate};

use super::{SEVEN, gzip, load, load_with, store, users};

fn three() -> Vec<User> {
    vec![
        User::new("a").with_identity("google", "1").with_identity("site", "a,\"b\"\r\nc"),
        User::new("b").with_status(Status::Pending),
        User::new("ü").with_identity("x", "\u{1f600}").with_status(Status::Pending),
    ]
}

#[test]
fn the_documented_example_has_seven_users_and_nine_identities() {
    let store = store();
    let report = load(&store, Format::Auto, SEVEN).unwrap();
    assert_eq!((report.records, report.users, report.identities, report.rejected), (7, 7, 9, 0));
    assert_eq!(report.files[0].format, Format::GigyaJson);
    assert_eq!(report.files[0].bytes, SEVEN.len() as u64);
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    let providers: Vec<_> = report.providers.iter().map(|p| (p.provider.as_str(), p.identities)).collect();
    assert_eq!(providers, [("site", 4), ("facebook", 2), ("twitter", 2), ("google", 1)]);
    let site = store.snapshot().users(headcount_block::UidRange::prefix("6625")).next().unwrap().unwrap();
    let expected = User::new("6625ID").with_identity("site", "6625ID").with_identity("google", "115480002607925776950");
    assert_eq!(site, expected);
}

/// The three users as our exports write them.
fn exports() -> [(Format, &'static str); 3] {
    [
        (
            Format::GigyaJson,
            concat!(
                r#"{"users":[{"UID":"a","status":"registered","identities":[{"provider":"google","providerUID":"1"},"#,
                r#"{"provider":"site","providerUID":"a,\"b\"\r\nc"}]},{"UID":"b","status":"pending","identities":[]},"#,
                r#"{"UID":"ü","status":"pending","identities":[{"provider":"x","providerUID":"😀"}]}],"usersCount":3,"#,
                r#""identitiesCount":3,"statusCode":200,"errorCode":0,"statusReason":"OK","callId":"0","time":"x"}"#
            ),
        ),
        (
            Format::Ndjson,
            concat!(
                r#"{"UID":"a","status":"registered","identities":[{"provider":"google","providerUID":"1"},"#,
                r#"{"provider":"site","providerUID":"a,\"b\"\r\nc"}]}"#,
                "\n{\"UID\":\"b\",\"status\":\"pending\",\"identities\":[]}\n",
                r#"{"UID":"ü","status":"pending","identities":[{"provider":"x","providerUID":"😀"}]}"#,
                "\n"
            ),
        ),
        (
            Format::Csv,
            concat!(
                "uid,provider,providerUID,status\r\na,google,1,registered\r\na,site,\"a,\"\"b\"\"\r\nc\",registered\r\n",
                "b,,,pending\r\nü,x,😀,pending\r\n"
            ),
        ),
    ]
}

#[test]
fn our_own_exports_come_back() {
    for (format, text) in exports() {
        let store = store();
        let report = load(&store, Format::Auto, text).unwrap();
        assert_eq!(report.files[0].format, format);
        assert_eq!(users(&store), three(), "{format}");
        assert_eq!((report.users, report.pending, report.without_identities), (3, 2, 1), "{format}");
        assert_eq!((report.identities, report.repeated_identities), (3, 0), "{format}");
    }
}

#[test]
fn byte_order_marks_blank_lines_and_line_ends_do_not_matter() {
    for (format, text) in exports() {
        let mut variants = vec![format!("\u{feff}{text}"), text.trim_end().to_owned()];
        if format == Format::Ndjson {
            variants.push(text.replace('\n', "\r\n"));
            variants.push(format!("\n \r\n{}\n\n", text.replace('\n', "\n\n\t\n")));
            variants.push(text.replace("{\"UID\"", " { \"UID\"").replace("]}", "] } "));
        }
        if format == Format::Csv {
            variants.push(text.replace("\r\n", "\n").replace("\"\"\nc", "\"\"\r\nc"));
            variants.push(format!("\n{text}\r\n\r\n"));
        }
        if format == Format::GigyaJson {
            variants.push(format!("\n{text}\n \t\r\n"));
        }
        for variant in variants {
            for given in [Format::Auto, format] {
                let store = store();
                load(&store, given, &variant).unwrap_or_else(|e| panic!("{variant:?}: {e}"));
                assert_eq!(users(&store), three(), "{variant:?}");
            }
        }
    }
}

#[test]
fn the_keys_of_a_document_come_in_any_order() {
    let document = r#"{"errorCode":0,"identitiesCount":1,"x":{"users":[{"UID":"no"}]},"usersCount":2,
        "users":[{"identities":[{"providerUID":"1","more":[],"provider":"p"}],"UID":"a"},{"UID":"b","profile":null}],
        "statusCode":200}"#;
    let store = store();
    let report = load(&store, Format::Auto, document).unwrap();
    assert_eq!(users(&store), [User::new("a").with_identity("p", "1"), User::new("b")]);
    assert_eq!(report.without_identities, 1);
    assert_eq!(report.warnings, [""; 0]);
}

#[test]
fn missing_counts_are_a_warning() {
    let report = load(&store(), Format::Auto, r#"{"users":[{"UID":"a"}]}"#).unwrap();
    assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
    assert!(report.warnings[0].starts_with("in: usersCount is missing"), "{:?}", report.warnings);
    assert!(report.warnings[1].starts_with("in: identitiesCount is missing"), "{:?}", report.warnings);
}

#[test]
fn rows_of_a_uid_are_one_user_wherever_they_are() {
    let store = store();
    let csv = "ProviderUID,extra,UID,Provider\n1,x,a,p\n,x,b,\n2,x,a,q\n1,x,a,p\n,x,a,\n9,x,c,p\n";
    let report = load(&store, Format::Auto, csv).unwrap();
    let a = User::new("a").with_identity("p", "1").with_identity("q", "2");
    assert_eq!(users(&store), [a, User::new("b"), User::new("c").with_identity("p", "9")]);
    assert_eq!((report.records, report.users, report.identities, report.repeated_identities), (6, 3, 3, 1));
    assert_eq!(report.warnings, ["in: columns that were not used: extra"]);
}

#[test]
fn no_users_are_zero_users_when_the_format_is_certain() {
    for (format, text) in [
        (Format::Auto, "uid,provider,providerUID\r\n"),
        (Format::Auto, "uid,provider,providerUID"),
        (Format::Auto, r#"{"users":[],"usersCount":0,"identitiesCount":0}"#),
        (Format::Auto, r#"{"users":[]}"#),
        (Format::Ndjson, ""),
        (Format::Ndjson, "\u{feff}\n\n"),
    ] {
        let report = load(&store(), format, text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        assert_eq!((report.records, report.users), (0, 0));
    }
}

#[test]
fn compressed_inputs_are_told_by_content() {
    for (format, text) in exports() {
        let half = text.len() / 2;
        let half = (half..).find(|&i| text.is_char_boundary(i)).unwrap();
        let (first, second) = text.as_bytes().split_at(half);
        let members = [gzip(first), gzip(second)].concat();
        let frames = [zstd::encode_all(first, 3).unwrap(), zstd::encode_all(second, 3).unwrap()].concat();
        for (content, compression) in [(members, Compression::Gzip), (frames, Compression::Zstd)] {
            let store = store();
            let report = load(&store, Format::Auto, content).unwrap();
            assert_eq!((report.files[0].format, report.files[0].compression), (format, compression));
            assert_eq!(report.files[0].bytes, text.len() as u64);
            assert_eq!(users(&store), three());
        }
    }
}

#[test]
fn several_inputs_are_one_load() {
    let dir = tempfile::tempdir().unwrap();
    let progress = Arc::new(Progress::default());
    let store = store();
    let mut import = Import::new(&store).progress(Arc::clone(&progress));
    // A wrong extension does not matter.
    for (i, content) in [SEVEN.to_vec(), gzip(b"{\"UID\":\"x\"}\n"), b"uid,provider,providerUID\ny,p,1\n".to_vec()]
        .into_iter()
        .enumerate()
    {
        let path = dir.path().join(format!("{i}.txt"));
        fs::write(&path, content).unwrap();
        import = import.input(Input::path(path));
    }
    let report = import.run().unwrap();
    let formats: Vec<_> = report.files.iter().map(|f| f.format).collect();
    assert_eq!(formats, [Format::GigyaJson, Format::Ndjson, Format::Csv]);
    assert_eq!(report.users, 9);
    assert_eq!(users(&store).len(), 9);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["files"][1]["compression"], "gzip");
    assert_eq!(json["files"][0]["format"], "gigya-json");
    assert_eq!(json["withoutIdentities"], 1);
    assert_eq!(json["load"]["merged"], 0);
}

#[test]
fn a_dry_run_changes_nothing() {
    let store = store();
    let options = LoadOptions { dry_run: true, ..LoadOptions::default() };
    let report = load_with(&store, Format::Auto, &[SEVEN], options).unwrap();
    assert_eq!(report.records, 7);
    assert_eq!(users(&store), []);
}

#[test]
fn users_of_several_inputs_merge_when_asked_for() {
    let store = store();
    let options = LoadOptions { on_duplicate: OnDuplicate::Merge, ..LoadOptions::default() };
    let one = br#"{"UID":"a","identities":[{"provider":"p","providerUID":"1"}]}"#;
    let two = br#"{"UID":"a","status":"pending","identities":[{"provider":"q","providerUID":"2"}]}"#;
    load_with(&store, Format::Ndjson, &[one, two], options).unwrap();
    let merged = User::new("a").with_identity("p", "1").with_identity("q", "2").with_status(Status::Pending);
    assert_eq!(users(&store), [merged]);
}

#[test]
fn the_bytes_read_and_the_total_are_those_of_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    let lines: String = (0..50_000).map(|i| format!("{{\"UID\":\"u{i}\",\"identities\":[]}}\n")).collect();
    fs::write(&path, gzip(lines.as_bytes())).unwrap();
    let len = fs::metadata(&path).unwrap().len();
    let progress = Arc::new(Progress::default());
    let store = store();
    // Cancelled before it begins to read: the counters stay as the reading phase left them.
    progress.cancel();
    let import = Import::new(&store).input(Input::path(&path)).progress(Arc::clone(&progress));
    assert_eq!(import.run().unwrap_err().to_string(), "cancelled: nothing was loaded");
    assert_eq!(progress.phase(), "reading");
    assert_eq!(progress.total_bytes(), len);
}

/// The window of a zstd frame is memory too: it is bounded by that of the load, but what usual levels need is there.
#[test]
fn windows_of_zstd_are_bounded_by_the_memory() {
    let framed = |level, window: u32| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level).unwrap();
        encoder.window_log(window).unwrap();
        let line = b"{\"UID\":\"a\"}\n";
        // In two pieces, so that the length is not known and the window stands in the frame.
        encoder.write_all(line).unwrap();
        encoder.flush().unwrap();
        encoder.write_all(b"{\"UID\":\"b\"}\n").unwrap();
        encoder.finish().unwrap()
    };
    for (memory, level, window, fits) in
        [(16 << 20, 19, 23, true), (16 << 20, 3, 27, false), (128 << 20, 3, 27, true), (1 << 30, 22, 27, true)]
    {
        let options = LoadOptions { memory, ..LoadOptions::default() };
        let outcome = load_with(&store(), Format::Auto, &[&framed(level, window)], options);
        match outcome {
            Ok(report) => assert!(fits && report.users == 2, "{memory} {window}"),
            Err(error) => {
                let message = error.to_string();
                assert!(!fits && message.contains("--memory") && message.contains("zstd -d"), "{message}");
                assert!(!message.contains("damaged"), "{message}");
            }
        }
    }
}

/// Tools write a comment first, and fold it.
#[test]
fn ldif_may_begin_with_a_folded_comment() {
    let text = "# a long comment of the tool that wrote it,\n  which goes on\n#\n dn: x\n\nversion: 1\n\ndn: uid=ana,o=x\n\
                objectClass: person\nuid: ana\n";
    for format in [Format::Auto, Format::Ldif] {
        let store = store();
        load(&store, format, text).unwrap();
        assert_eq!(users(&store), [User::new("ana")]);
    }
    assert!(load(&store(), Format::Ldif, "# a\n comment\nuid,provider,providerUID\n").is_err());
}
