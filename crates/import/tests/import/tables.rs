//! Tables that came through other programs: line ends, blank lines and NULLs that must lose and unite nobody.

use headcount_block::User;
use headcount_import::{ErrorKind, Format};
use headcount_store::LoadOptions;

use super::options::rejects_of;
use super::systems::shown;
use super::{load, load_with, store, users};

/// Old line ends in the header swallow the rows: that is an error, as it is in rows.
#[test]
fn a_header_with_a_carriage_return_inside_is_refused() {
    for (format, header) in [
        (Format::Csv, "uid,provider,providerUID"),
        (Format::NextAuth, "userId,provider,providerAccountId"),
        (Format::Supabase, "user_id,provider,provider_id,identity_data"),
    ] {
        let fields = header.matches(',').count() - 2;
        let row = |n: u8| format!("u{n},google,{n}{}", ",".repeat(fields));
        for text in [
            format!("{header}\r{}\r{}\r", row(1), row(2)),
            format!("{header}\r{}\n{}\n", row(1), row(2)),
            format!("{header}\r\r\n{}\r\n", row(1)),
        ] {
            for format in [Format::Auto, format] {
                let error = load(&store(), format, &text).map(|report| report.users).unwrap_err();
                let message = error.to_string();
                assert_eq!(error.kind(), ErrorKind::Input, "{message}");
                assert!(message.contains("carriage return") && message.contains("ends no line"), "{message}");
            }
        }
        for end in ["\n", "\r\n"] {
            let store = store();
            load(&store, Format::Auto, [header, &row(1), &row(2), ""].join(end)).unwrap();
            assert_eq!(shown(&users(&store)), "u1: google 1; u2: google 2");
        }
    }
}

#[test]
fn blank_lines_before_the_header_are_blank_for_every_reader() {
    for blank in [" \n", "\t\r\n", "\n \n", "\u{feff} \n", "\u{feff}\r\n\t \n"] {
        for header in ["uid,provider,providerUID", "userId,provider,providerAccountId"] {
            let store = store();
            load(&store, Format::Auto, format!("{blank}{header}\nu1,google,1\n")).unwrap();
            assert_eq!(users(&store), [User::new("u1").with_identity("google", "1")], "{blank:?} {header}");
            let error = load(&store, Format::Auto, format!("{blank}{header}\nu1,google,2\nu2,,3\n")).unwrap_err();
            let lines = blank.matches('\n').count();
            assert!(error.to_string().starts_with(&format!("in: line {}, ", lines + 3)), "{error}");
        }
    }
}

/// What a database writes for "no value" is nobody's UID, and no identity.
#[test]
fn nulls_of_databases_are_no_uids_and_no_identities() {
    for null in ["\\N", "NULL", "null"] {
        let store = store();
        let text = format!("id,user_id,provider,uid\n1,a,google,1\n2,{null},facebook,2\n3,{null},google,3\n");
        let error = load(&store, Format::OmniAuth, &text).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("in: line 3, ") && message.contains("no value"), "{message}");
        assert_eq!(users(&store), []);
        // A user whose row of a join found no identity; half an identity is an error, as with empty fields.
        load(&store, Format::OmniAuth, format!("user_id,provider,uid\na,{null},{null}\nb,,{null}\n")).unwrap();
        assert_eq!(users(&store), [User::new("a"), User::new("b")]);
        for (row, part) in
            [(format!("a,google,{null}"), "providerUID is empty"), (format!("a,{null},1"), "provider is")]
        {
            let error = load(&store, Format::OmniAuth, format!("user_id,provider,uid\n{row}\n")).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}

/// A comma in a name shifts all that follows it: whatever most rows have, none of them is read.
#[test]
fn rows_of_firebase_that_are_shifted_by_a_name_are_refused() {
    let row = |uid: &str, name: &str, fields: usize| {
        let mut row: Vec<String> = vec![String::new(); fields];
        for (i, value) in [
            (0, uid),
            (2, "true"),
            (5, name),
            (7, "1001"),
            (10, "https://photo"),
            (23, "1690000000000"),
            (24, "1700000000000"),
        ] {
            row[i] = value.replace("1001", &format!("1{uid}"));
        }
        row.join(",") + "\n"
    };
    for fields in [25, 27, 28] {
        let all = row("a", "Roe, Ana", fields) + &row("b", "Lee, Bo", fields);
        let most = all.clone() + &row("c", "Cy", fields);
        for format in [Format::Auto, Format::Firebase] {
            for text in [&all, &most] {
                let store = store();
                let error = load(&store, format, text).map(|report| (report.users, shown(&users(&store)))).unwrap_err();
                assert!(format == Format::Auto || error.to_string().contains("commas"), "{error}");
            }
        }
        let store = store();
        let few = row("c", "Cy", fields) + &row("d", "Di", fields) + &row("a", "Roe, Ana", fields);
        let (report, rejects) = rejects_of(&store, Format::Auto, few.as_bytes());
        assert_eq!((report.rejected, shown(&users(&store)).as_str()), (1, "c: google.com 1c; d: google.com 1d"));
        assert!(rejects.starts_with("a,"), "{rejects}");
    }
}

/// A row of 28 fields and the comma that newer versions end it with.
fn firebase_row(uid: &str, fields: &[(usize, &str)]) -> String {
    let mut row = vec![""; 28];
    for (i, value) in [(0, uid), (2, "true"), (23, "1690000000000"), (26, "false")].iter().chain(fields) {
        row[*i] = value;
    }
    row.join(",") + ",\n"
}

/// Newer versions put names with commas into quotes, and double no quotes that are in them.
#[test]
fn names_of_firebase_that_are_quoted_are_read() {
    let row = firebase_row;
    for (five, nine) in [
        (r#""Roe, Ana""#, r#""Roe, Ana""#),
        (r#""Roe, A. "Ana"""#, ""),
        (r#"""Ana" Roe, Dr.""#, r#"Ana "A" Roe"#),
        (r#""Roe, Ana, 3""#, r#""Roe,""#),
        (r#""Ana"#, r#""Roe, Ana""#),
    ] {
        let claims = (27, r#""{""a"":1,""b"":""x, \"y\""}""#);
        let odd = row("a", &[(5, five), (6, "https://p/1"), (7, "1001"), (9, nine), (19, "77"), claims]);
        let few = row("b", &[(7, "1002")]) + &odd + &row("c", &[(15, "5")]);
        for text in [&odd, &few] {
            let store = store();
            load(&store, Format::Auto, text).unwrap_or_else(|e| panic!("{e}: {text}"));
            assert!(shown(&users(&store)).starts_with("a: google.com 1001, github.com 77"), "{text}");
        }
    }
}

/// Addresses of pictures are their users' choice, and in no quotes: what one holds is never taken for the fields behind it.
#[test]
fn rows_of_firebase_with_quotes_that_span_fields_are_refused() {
    let row = firebase_row;
    let good = row("b", &[(7, "1002")]) + &row("c", &[(7, "1003")]);
    let picture = r#"https://p,VICTIM,e@x,"n"#;
    // A row of its own up to the quote of the claims, which go on to the true ones, or to a name.
    let whole = format!("https://p,VICTIM,v@x,{}1690000000000,1700000000000,,false,\"", ",".repeat(14));
    let claims = (27, r#""{""role"":""x""}""#);
    let refused = [
        row("a", &[(5, "A"), (6, &whole), (7, "1001"), (8, "a@x"), claims]),
        row("a", &[(5, "A"), (6, &whole), claims]),
        row("a", &[(5, "A"), (6, &whole), (21, r#"z""#)]),
        row("a", &[(5, "A"), (6, &whole)]),
        row("a", &[(5, "A"), (6, picture), (7, "1001"), (8, "a@x"), (9, r#"z""#)]),
        row("a", &[(5, "A"), (6, picture), (9, r#"z""#)]),
        row("a", &[(5, "A"), (6, r#"p,VICTIM,e@x,n,,,,,,,,,,,,"n"#), (19, "77"), (21, r#"z""#)]),
        row("a", &[(5, r#""a"#), (6, r#"b""#), (7, "1001"), (8, "a@x"), (9, r#""x, y""#)]),
        row("a", &[(5, r#""Roe "x", Ana""#), (7, "1001")]),
        row("a", &[(5, "Roe, Ana"), (7, "1001")]),
        row("a", &[(5, r#""Roe, Ana""#), (9, "Roe, Ana"), (7, "1001")]),
    ];
    // The comma at the end is not in rows of every version.
    let shorter = |text: &str| text.replace(",\n", "\n");
    let both = refused.into_iter().flat_map(|text| [(shorter(&good), shorter(&text)), (good.clone(), text)]);
    for (good, text) in both {
        let store = store();
        let (report, rejects) = rejects_of(&store, Format::Auto, (good + &text).as_bytes());
        assert_eq!(
            (report.rejected, shown(&users(&store)).as_str()),
            (1, "b: google.com 1002; c: google.com 1003"),
            "{text}"
        );
        assert_eq!(rejects.trim_end(), text.trim_end());
        let error = load(&super::store(), Format::Firebase, &text).map(|report| report.users).unwrap_err();
        assert!(error.to_string().contains("export as JSON"), "{error}");
    }
}

/// The time at which a user was made may be missing; then nothing else may look shifted.
#[test]
fn rows_of_firebase_without_a_time_are_read_when_nothing_is_shifted() {
    let row = firebase_row;
    let good = row("b", &[(7, "1002")]) + &row("c", &[(7, "1003")]);
    let timeless = [(23, ""), (7, "1001"), (8, "a@x"), (9, "Ana"), (10, "https://p/1"), (24, "1700000000000")];
    for more in [&[][..], &[(25, "+15550100")], &[(26, "")], &[(6, "https://p/2")]] {
        let store = store();
        let text = good.clone() + &row("a", &[&timeless[..], more].concat());
        load(&store, Format::Auto, &text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(shown(&users(&store)), "a: google.com 1001; b: google.com 1002; c: google.com 1003");
    }
    for shifted in
        [(6, " Ana"), (7, "https://p/2"), (7, "a@x"), (8, "1001"), (10, "Ana"), (24, "x"), (25, "1700000000000")]
    {
        let text = good.clone() + &row("a", &[&timeless[..], &[shifted]].concat());
        let (report, _) = rejects_of(&store(), Format::Auto, text.as_bytes());
        assert_eq!(report.rejected, 1, "{text}");
    }
}

/// A line break in a name makes whole rows, which nothing tells from others: that is said whenever such a file is read.
#[test]
fn csv_of_firebase_is_read_with_a_warning_of_line_breaks() {
    let forged = firebase_row("z", &[(5, "A"), (7, "1001")]).replace(",A,", ",A\nvictim,v@x,true,,,A,");
    let warned = |text: &str| {
        let store = store();
        let options = LoadOptions { skip_rejected: true, ..LoadOptions::default() };
        let report = load_with(&store, Format::Auto, &[text.as_bytes()], options).unwrap();
        let warnings = report.warnings.iter().filter(|w| w.contains("line break") && w.contains("users.json"));
        (shown(&users(&store)), warnings.count())
    };
    let plain = firebase_row("a", &[]) + &firebase_row("b", &[]);
    assert_eq!(warned(&plain), ("a:; b:".to_owned(), 1));
    assert_eq!(warned(&(plain + &forged)), ("a:; b:; victim: google.com 1001".to_owned(), 1));
    assert_eq!(warned(r#"{"users":[{"localId":"a","providerUserInfo":[]}]}"#), ("a:".to_owned(), 0));
}
