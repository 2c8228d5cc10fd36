//! Tables that came through other programs: line ends, blank lines and NULLs that must lose and unite nobody.

use headcount_import::{ErrorKind, Format};

use super::systems::shown;
use super::{load, store, users};

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
