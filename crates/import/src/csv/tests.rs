use proptest::prelude::*;

use super::*;

#[test]
fn headers_come_in_any_order_and_case() {
    let header = Header::parse(b"x,ProviderUid, STATUS ,\"UID\",provider,y\r\n").unwrap();
    assert_eq!(
        header.columns,
        [Column::Ignored, Column::ProviderUid, Column::Status, Column::Uid, Column::Provider, Column::Ignored]
    );
    assert_eq!(header.ignored, ["x", "y"]);
    assert_eq!(header.raw, "x,ProviderUid, STATUS ,\"UID\",provider,y");
}

#[test]
fn headers_that_lack_or_repeat_columns_say_what_was_found() {
    for (header, parts) in [
        (&b"uid,provider"[..], &["no column providerUID", "\"uid\", \"provider\""][..]),
        (b"provider,providerUID", &["no column uid", "export without uid cannot be imported"]),
        (b"uid,UID,provider,providerUID", &["has 2 columns uid", "\"uid\", \"UID\""]),
        (b"uid,provider,providerUID,status,Status", &["has 2 columns status"]),
        (b"uid;provider;providerUID", &["no column uid", "\"uid;provider;providerUID\"", "another separator"]),
        (b"", &["is missing"]),
        (b"\xff", &["not UTF-8"]),
    ] {
        let message = Header::parse(header).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
    }
}

#[test]
fn records_end_at_line_ends_outside_of_quotes() {
    for (bytes, end) in [
        ("a,b\nc", Some(4)),
        ("a,b", None),
        ("a,\"b\nc\"\"\n\"\r\nd", Some(12)),
        ("a,\"b\nc", None),
        ("a,\"b\n\"", None),
        ("\"\"\n", Some(3)),
        ("a\"b\nc\"\n", Some(4)),
        ("\"a\"b\"\nc\"\n", Some(6)),
        ("\n", Some(1)),
    ] {
        assert_eq!(record_end(bytes.as_bytes()), end, "{bytes:?}");
    }
    assert!(is_open(b"a,\"b"));
    assert!(is_open(b"\""));
    assert!(!is_open(b""));
    assert!(!is_open(b"a,\"b\""));
    assert!(!is_open(b"a\"b"));
}

#[test]
fn quotes_that_the_standard_does_not_allow_are_refused() {
    for (record, at) in [("a\"b,c", 1), ("\"a\"b,c", 3), ("a,\"b", 2), ("a,b\rc", 3), ("a,\"b\"\"", 2), ("a, \"b\"", 3)]
    {
        assert_eq!(check_quotes(record.as_bytes()).unwrap_err().0, at, "{record}");
    }
    for record in ["", "\"\"", "\"a\"\"\",b,\"\r\n,\"", "a,\"\"\"\"", ",,"] {
        assert_eq!(check_quotes(record.as_bytes()), Ok(()), "{record}");
    }
}

fn split(splitter: &mut Splitter, record: &str) -> Vec<String> {
    splitter.split(record.as_bytes());
    (0..splitter.len()).map(|i| String::from_utf8(splitter.field(i).to_vec()).unwrap()).collect()
}

#[test]
fn splitting_gives_the_fields_of_each_record_anew() {
    let mut splitter = Splitter::new();
    assert_eq!(split(&mut splitter, "\"a\"\"b\",c"), ["a\"b", "c"]);
    assert_eq!(split(&mut splitter, "\"\""), [""]);
    assert_eq!(split(&mut splitter, ",,\"\""), ["", "", ""]);
    assert_eq!(split(&mut splitter, "\"\u{feff}a\",\"b\r\nc\""), ["\u{feff}a", "b\r\nc"]);
    assert_eq!(split(&mut splitter, "\u{feff}a,\"b\""), ["\u{feff}a", "b"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any table that the csv crate writes is cut and split back into its fields.
    #[test]
    fn tables_come_back(rows in prop::collection::vec(prop::collection::vec("[a,\"\r\né]{0,5}", 3), 1..6), lf in any::<bool>()) {
        let terminator = if lf { csv_terminator(b'\n') } else { ::csv::Terminator::CRLF };
        let mut writer = ::csv::WriterBuilder::new().terminator(terminator).from_writer(Vec::new());
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let bytes = writer.into_inner().unwrap();
        let mut splitter = Splitter::new();
        let (mut at, mut found) = (0, Vec::new());
        while at < bytes.len() {
            let len = record_end(&bytes[at..]).unwrap();
            let line = &bytes[at..at + len];
            let line = line.strip_suffix(b"\n").unwrap();
            let line = if lf { line } else { line.strip_suffix(b"\r").unwrap() };
            prop_assert_eq!(check_quotes(line), Ok(()));
            found.push(split(&mut splitter, std::str::from_utf8(line).unwrap()));
            at += len;
        }
        prop_assert_eq!(found, rows);
    }
}

fn csv_terminator(b: u8) -> ::csv::Terminator {
    ::csv::Terminator::Any(b)
}
