use headcount_block::User;
use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<(User, Tally), Refusal> {
    let mut row = RowBuf::new();
    let tally = parse(text, &mut row, ProviderNames::Kept)?;
    Ok((row.finish().unwrap().to_user().unwrap(), tally))
}

fn refused(text: &str) -> (String, usize) {
    let refusal = read(text).unwrap_err();
    (refusal.reason.to_string(), refusal.at)
}

#[test]
fn keys_come_in_any_order_and_others_are_skipped() {
    let text = r#" { "x" : [ { "UID" : 1 } , null, 1e3, -2, true ] , "identities" : [ { "providerUID" : "1" , "n" : {} ,
        "provider" : "a\u00e9\n" } ] , "UID" : "\ud83d\ude00" , "status":"pending" } "#;
    let (user, tally) = read(text).unwrap();
    assert_eq!(user, User::new("😀").with_identity("aé\n", "1").with_status(Status::Pending));
    assert_eq!(tally, Tally { identities: 1, repeated: 0 });
}

#[test]
fn identities_may_be_missing_and_repeat() {
    assert_eq!(read(r#"{"UID":"u"}"#).unwrap().0, User::new("u"));
    let twice = r#"{"UID":"u","identities":[{"provider":"a","providerUID":"1"},{"provider":"a","providerUID":"1"}]}"#;
    let expected = (User::new("u").with_identity("a", "1"), Tally { identities: 2, repeated: 1 });
    assert_eq!(read(twice).unwrap(), expected);
    let mut row = RowBuf::new();
    let mut tally = Tally::default();
    assert_eq!(parse_strict(twice, &mut row, &mut tally, ProviderNames::Kept), Some(twice.len()));
    assert_eq!(tally, expected.1);
}

#[test]
fn wrong_shapes_are_named_with_their_byte() {
    let mut wrong = Vec::new();
    for (text, message, at) in [
        (r#"{"UID":5}"#, "expected a string for \"UID\"", 7),
        (r#"{"UID":null}"#, "invalid type: null, expected a string for \"UID\"", 10),
        (r#"{"identities":[]}"#, "\"UID\" is missing", 16),
        (r#"{"UID":"u","identities":null}"#, "expected an array for \"identities\"", 27),
        (r#"{"UID":"u","identities":{}}"#, "expected an array for \"identities\"", 23),
        (r#"{"UID":"u","identities":[["a","1"]]}"#, "expected an identity object", 24),
        (r#"{"UID":"u","identities":[{"provider":"a"}]}"#, "\"providerUID\" is missing in an identity", 40),
        (r#"{"UID":"u","identities":[{"providerUID":"a"}]}"#, "\"provider\" is missing in an identity", 43),
        (r#"{"UID":"u","identities":[{"provider":7,"providerUID":"a"}]}"#, "a string for \"provider\"", 37),
        (r#"{"UID":"u","UID":"u"}"#, "duplicate field `UID`", 15),
        (r#"{"UID":"u","identities":[],"identities":[]}"#, "duplicate field `identities`", 38),
        (r#"{"UID":"u","status":"Pending"}"#, "status is \"Pending\": expected \"registered\"", 29),
        (r#"["u"]"#, "expected a user object", 0),
        (r#""u""#, "expected a user object", 2),
        (r#"{"UID":"u"} {"UID":"v"}"#, "trailing characters", 12),
        (r#"{"UID":"u""#, "EOF while parsing an object", 9),
        (r#"{"UID":"\ud800"}"#, "surrogate", 0),
        (r#"{"UID":"\ud800\u0041"}"#, "surrogate", 0),
        (r#"{"UID":"u","x":"\udc00"}"#, "surrogate", 0),
        ("{\"UID\":\"a\nb\"}", "control character", 0),
        (r#"{"UID":""}"#, "UID is empty", 9),
        (r#"{"UID":"a\u0000b"}"#, "UID holds a NUL at byte 1", 17),
    ] {
        let (found, byte) = refused(text);
        assert!(found.contains(message), "{text}: {found}");
        if at > 0 && byte != at {
            wrong.push((text, at, byte));
        }
        assert!(!found.contains(" at line "), "{found}");
    }
    assert_eq!(wrong, [], "text, expected byte, found byte");
}

#[test]
fn the_byte_of_a_problem_counts_lines_too() {
    assert_eq!(refused("{\"UID\":\n\n  5}").1, 11);
}

#[test]
fn deep_nesting_is_refused_in_values_that_are_not_used() {
    for depth in [200, 100_000] {
        let text = format!(r#"{{"UID":"u","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(refused(&text).0.contains("nested deeper than 128 levels"));
    }
    let text = format!(r#"{{"UID":"u","x":{}{}}}"#, "[".repeat(100), "]".repeat(100));
    assert!(read(&text).is_ok());
}

#[test]
fn the_strict_path_takes_what_exports_write() {
    for text in [
        r#"{"UID":"u","identities":[]}"#,
        r#"{"UID":"_gid_t+0P1vgAjhVTw8fPs1DSJnjAr3E=","identities":[{"provider":"twitter","providerUID":"26"}]}"#,
        r#"{"UID":"ü","status":"pending","identities":[{"provider":"a","providerUID":"1"},{"provider":"b","providerUID":"é"}]}"#,
    ] {
        let mut row = RowBuf::new();
        assert_eq!(
            parse_strict(&format!("{text},…"), &mut row, &mut Tally::default(), ProviderNames::Kept),
            Some(text.len())
        );
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z0-9_=+/-]{1,20}",
        1 => "\\PC{0,6}",
        1 => Just("a\"b\\c\n\u{0}\u{1f}\u{7f}".to_owned()),
    ]
}

/// A user object as exports write it, of values that may need escapes.
fn line() -> impl Strategy<Value = String> {
    let identity = (text(), text())
        .prop_map(|(provider, uid)| format!("{{\"provider\":{},\"providerUID\":{}}}", quote(&provider), quote(&uid)));
    let status = prop_oneof![
        Just(String::new()),
        Just(",\"status\":\"pending\"".to_owned()),
        Just(",\"status\":\"registered\"".to_owned()),
        Just(",\"status\":\"x\"".to_owned()),
    ];
    (text(), status, prop::collection::vec(identity, 0..4)).prop_map(|(uid, status, identities)| {
        format!("{{\"UID\":{}{status},\"identities\":[{}]}}", quote(&uid), identities.join(","))
    })
}

fn quote(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// The line with some of its characters replaced, removed, doubled or swapped.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), 0..4_u8, "[\"\\\\{}\\[\\],:a \n\u{0}é]");
    (line(), prop::collection::vec(edit, 0..3)).prop_map(|(line, edits)| {
        let mut chars: Vec<char> = line.chars().collect();
        for (at, kind, with) in edits {
            let at = at.index(chars.len());
            match kind {
                0 => chars[at] = with.chars().next().unwrap(),
                1 => drop(chars.remove(at)),
                2 => chars.insert(at, chars[at]),
                _ => chars.truncate(at + 1),
            }
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// What the strict path reads, the parser reads as well, and alike.
    #[test]
    fn the_strict_path_agrees_with_the_parser(text in mutated()) {
        let mut row = RowBuf::new();
        let mut tally = Tally::default();
        if let Some(len) = parse_strict(&text, &mut row, &mut tally, ProviderNames::Kept) {
            let strict = row.finish().map(|r| r.to_user().unwrap());
            let parsed = read(&text[..len]);
            prop_assert_eq!(parsed.map_err(|e| e.reason), strict.map(|u| (u, tally)).map_err(BadRecord::from));
        }
    }

    /// The parser agrees with an independent reading of the same text as a tree of values.
    #[test]
    fn the_parser_agrees_with_a_tree_of_values(text in mutated()) {
        if let Ok((user, _)) = read(&text) {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(value["UID"].as_str(), Some(user.uid.as_str()));
            let mut seen = Vec::new();
            for identity in value["identities"].as_array().unwrap_or(&Vec::new()) {
                let pair = headcount_block::Identity::new(
                    identity["provider"].as_str().unwrap(), identity["providerUID"].as_str().unwrap());
                if !seen.contains(&pair) {
                    seen.push(pair);
                }
            }
            prop_assert_eq!(seen, user.identities);
        } else {
            // Nothing that is plain and whole is refused.
            let mut row = RowBuf::new();
            prop_assert!(parse_strict(&text, &mut row, &mut Tally::default(), ProviderNames::Kept) != Some(text.len()));
        }
    }
}
