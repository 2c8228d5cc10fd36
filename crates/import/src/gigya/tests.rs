use super::*;

/// The elements that come out when the document is shown `step` bytes more at a time, and the splitter.
fn split(document: &str, step: usize) -> Result<(Vec<String>, Splitter), (BadDocument, usize)> {
    let mut splitter = Splitter::new(0);
    let mut elements = Vec::new();
    let (mut from, mut to) = (0, 0);
    let bytes = document.as_bytes();
    loop {
        let eof = to == bytes.len();
        let cut = splitter.cut(&bytes[from..to], eof).map_err(|e| (e.reason, from + e.at))?;
        if !cut.records.is_empty() {
            assert_eq!(cut.number, elements.len() as u64 + 1);
            let mut rest = &bytes[from..to][cut.records.clone()];
            while let Some(len) = value_end(rest) {
                elements.push(String::from_utf8(rest[..len].to_vec()).unwrap());
                rest = &rest[len..];
                let gap = rest.iter().position(|&b| b == b'{').unwrap_or(rest.len());
                assert!(rest[..gap].iter().all(|b| b" \n,".contains(b)));
                rest = &rest[gap..];
            }
        }
        from += cut.consumed;
        if eof && cut.records.is_empty() {
            assert_eq!(from, to);
            return Ok((elements, splitter));
        }
        if cut.consumed == 0 || from == to {
            to = (to + step).min(bytes.len());
        }
    }
}

const DOCUMENT: &str = r#" {"time":"x]}\"{", "nested": {"users":[{"UID":"no"}]}, "usersCount":3,
 "users" : [ {"UID":"a}\\","x":[{}]} ,
{"UID":"b\"]"},{"identities":[]} ] , "errorCode" : 0, "statusCode":200,"list":[1,"users",[2]]}
 "#;

#[test]
fn elements_and_envelope_do_not_depend_on_where_reads_end() {
    let expected = [r#"{"UID":"a}\\","x":[{}]}"#, r#"{"UID":"b\"]"}"#, r#"{"identities":[]}"#];
    for step in 1..DOCUMENT.len() + 1 {
        let (elements, splitter) = split(DOCUMENT, step).unwrap();
        assert_eq!(elements, expected, "step {step}");
        let envelope = splitter.envelope().unwrap();
        assert_eq!(envelope.check(), Ok(()));
        assert_eq!((envelope.users_count(), envelope.identities_count()), (Some(3), None));
        assert_eq!(splitter.elements(), 3);
    }
}

#[test]
fn every_truncation_is_an_error() {
    let end = DOCUMENT.trim_end().len();
    for len in 0..end {
        for step in [1, 7, 1000] {
            let (reason, at) = split(&DOCUMENT[..len], step).unwrap_err();
            assert!(at <= len);
            let expected = matches!(reason, BadDocument::Truncated(_) | BadDocument::Unexpected { .. });
            assert!(expected, "{len}: {reason:?}");
        }
    }
    assert!(split(&DOCUMENT[..end], 3).is_ok());
}

#[test]
fn broken_structure_is_found_at_its_byte() {
    for (document, message, at) in [
        ("[]", "expected a JSON object", 0),
        ("", "found nothing", 0),
        (r#"{"users":[]} x"#, "the end of the input after the document, found \"x\"", 13),
        (r#"{"users":[]}{"users":[]}"#, "the end of the input after the document", 12),
        (r#"{"users":[5]}"#, "expected a user object, found \"5", 10),
        (r#"{"users":[{},]}"#, "expected a user object, found \"]", 13),
        (r#"{"users":[,{}]}"#, "expected a user object", 10),
        (r#"{"users":[{}{}]}"#, "expected `,` or `]` after a user", 12),
        (r#"{"users":[{}],"users":[{}]}"#, "duplicate field `users`", 22),
        (r#"{"users":[{}],"\u0075sers":[{}]}"#, "duplicate field `users`", 27),
    ] {
        for step in [1, 5, 1000] {
            let (reason, found) = split(document, step).unwrap_err();
            assert!(reason.to_string().contains(message), "{document}: {reason}");
            assert_eq!(found, at, "{document}");
        }
    }
}

#[test]
fn an_escaped_key_names_the_array_as_well() {
    let (elements, splitter) = split(r#"{"\u0075sers":[{"UID":"a"}]}"#, 1).unwrap();
    assert_eq!(elements.len(), 1);
    assert_eq!(splitter.envelope().unwrap().check(), Ok(()));
}

fn envelope(document: &str) -> Result<Envelope, (String, u64)> {
    let (_, splitter) = split(document, 1000).unwrap();
    splitter.envelope().map_err(|(reason, at)| (reason.to_string(), at))
}

#[test]
fn the_envelope_is_parsed_and_errors_point_into_the_document() {
    for (document, message, byte) in [
        (r#"{"usersCount":"3","users":[{},{}]}"#, "expected u64", 16),
        (r#"{"users":[{},{}],"usersCount":-3}"#, "expected u64", 31),
        (r#"{"users":[{},{}],"usersCount":3,"usersCount":3}"#, "duplicate field `usersCount`", 43),
        (r#"{"users":{"a":1},"usersCount":3}"#, "expected an array for \"users\"", 8),
        (r#"{"users":[{}] "usersCount":3}"#, "expected `,` or `}`", 14),
        (r#"{"users":[{}],}"#, "trailing comma", 14),
        (r#"{"users":[{}],"x":"\ud800"}"#, "surrogate", 0),
        (r#"{"users":[{}],"x":nul}"#, "expected ident", 0),
    ] {
        let (found, at) = envelope(document).unwrap_err();
        assert!(found.contains(message), "{document}: {found}");
        if byte > 0 {
            assert_eq!(at, byte, "{document}: {found}");
        }
    }
    let deep = format!(r#"{{"users":[],"x":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    assert!(envelope(&deep).unwrap_err().0.contains("nested deeper"));
}

#[test]
fn failed_exports_and_missing_users_are_refused() {
    for (document, parts) in [
        (
            r#"{"errorCode":403005,"errorMessage":"Unauthorized user","errorDetails":{"a":1},"statusCode":403}"#,
            &["errorCode 403005", "statusCode 403", "\"Unauthorized user\"", r#"{\"a\":1}"#][..],
        ),
        (r#"{"users":[{}],"usersCount":1,"statusCode":500,"errorCode":0}"#, &["statusCode 500"]),
        (r#"{"users":[{}],"errorCode":500028}"#, &["errorCode 500028"]),
        (r#"{"usersCount":1}"#, &["\"users\" is missing"]),
    ] {
        let message = envelope(document).unwrap().check().unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
    }
}

#[test]
fn the_envelope_is_bounded() {
    let document = format!("{{\"x\":\"{}", "y".repeat(RECORD_MAX));
    let (reason, _) = split(&document, 1 << 20).unwrap_err();
    assert!(matches!(reason, BadDocument::TooLong { .. }), "{reason}");
}
