use proptest::prelude::*;

use super::*;
use crate::draft::{Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Place;
use crate::object::Bad;
use crate::path::steps;

fn nothing<'a>(_: &Record<'a>, _: &Job, _: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    Ok(Verdict::User)
}

fn job(paths: &[&str], notes: &[&'static str], may_lack: bool) -> Arc<Job> {
    Arc::new(Job {
        format: Format::Keycloak,
        paths: paths.iter().map(|path| Place { steps: steps(path), map: nothing }).collect(),
        notes: notes.to_vec(),
        expected: "users".to_owned(),
        document: None,
        may_lack,
        uid: "id",
        pending: false,
        settings: Arc::default(),
        gone: Arc::default(),
    })
}

/// What a walk finds: each cut's path, number and text; and what the pages say.
type Walked = (Vec<(usize, u64, String)>, Pages);

/// Walks over `text`, of which `step` bytes more are shown each time that nothing was cut.
fn walk(text: &str, job: &Arc<Job>, step: usize) -> Result<Walked, (BadDocument, usize)> {
    let mut walker = Walker::new(Arc::clone(job));
    let (mut from, mut to, mut found) = (0, step.min(text.len()), Vec::new());
    loop {
        let eof = to == text.len();
        let cut = walker.cut(&text.as_bytes()[from..to], eof).map_err(|e| (e.reason, from + e.at))?;
        assert!(cut.consumed <= to - from);
        if cut.records.is_empty() {
            if eof {
                assert_eq!(from + cut.consumed, text.len());
                return Ok((found, walker.into_pages()));
            }
            to = (to + step).min(text.len());
        } else {
            let records = &text[from + cut.records.start..from + cut.records.end];
            found.push((walker.path, cut.number, records.to_owned()));
        }
        from += cut.consumed;
    }
}

/// The same for every step, with cuts that follow each other at one path joined.
fn walked(text: &str, job: &Arc<Job>) -> Result<Walked, (BadDocument, usize)> {
    // What is shown of the bytes found is what is there.
    let same = |(reason, at)| match reason {
        BadDocument::Unexpected { expected, .. } => (BadDocument::Unexpected { expected, found: String::new() }, at),
        other => (other, at),
    };
    let join = |outcome: Result<Walked, _>| {
        outcome.map_err(same).map(|(found, pages)| {
            let mut values: Vec<(usize, u64, String)> = Vec::new();
            for (path, number, records) in found {
                let array = serde_json::from_str::<Vec<serde_json::Value>>(&format!("[{records}]"));
                let stream = || serde_json::Deserializer::from_str(&records).into_iter().map(Result::unwrap).collect();
                let each = array.unwrap_or_else(|_| stream()).into_iter().map(|value| value.to_string());
                values.extend((number..).zip(each).map(|(number, value)| (path, number, value)));
            }
            (values, pages)
        })
    };
    let whole = join(walk(text, job, usize::MAX));
    for step in [1, 2, 3, 7] {
        assert_eq!(join(walk(text, job, step)), whole, "{text} in steps of {step}");
    }
    whole
}

#[test]
fn records_are_found_deep_inside_whatever_lies_around_them() {
    let text = r#" {"a":{"users":[{"no":1}],"x":"[{\"}"},"users":[{"i":1},{"i":2,"y":["]"]}],"n":[1.5e3,true,null],
        "more":[{"i":3}],"t":{"k":"v\"","n":7}} "#;
    let (found, pages) = walked(text, &job(&["users[]", "more[]"], &["t.k", "t.n", "n"], false)).unwrap();
    let found: Vec<_> = found.iter().map(|(path, number, text)| (*path, *number, text.as_str())).collect();
    assert_eq!(found, [(0, 1, r#"{"i":1}"#), (0, 2, r#"{"i":2,"y":["]"]}"#), (1, 3, r#"{"i":3}"#)]);
    assert_eq!(pages.last, [("t.k", "\"v\\\"\"".to_owned()), ("t.n", "7".to_owned())]);
    assert_eq!(pages.first[0], ("t.k", "\"v\\\"\"".to_owned(), 3));
}

#[test]
fn pages_follow_each_other_or_are_elements() {
    let (found, pages) =
        walked(r#"{"u":[{"i":1}],"n":"x"}{"u":[],"n":null} {"u":null}"#, &job(&["u[]"], &["n"], false)).unwrap();
    assert_eq!((found.len(), pages.count, pages.last.len()), (1, 3, 0));
    assert_eq!(pages.first, [("n", "\"x\"".to_owned(), 1)]);
    let text = r#"[{"u":[{"i":1}],"n":1},{"n":2,"u":[{"i":2},{"i":3}]}]"#;
    let (found, pages) = walked(text, &job(&["[].u[]"], &["n"], false)).unwrap();
    assert_eq!((found.len(), pages.count), (3, 2));
    assert_eq!(pages.last, [("n", "2".to_owned())]);
    assert_eq!(walked("[{},{}]\n[ ]", &job(&["[]"], &[], false)).unwrap().0.len(), 2);
    assert_eq!(walked("{}{} \n{}", &job(&[""], &[], false)).unwrap().0.len(), 3);
    assert_eq!(walked("", &job(&["u[]"], &[], false)).unwrap().1.count, 0);
}

#[test]
fn what_is_not_json_or_no_page_is_refused_with_its_place() {
    let kind = |reason: &BadDocument| match reason {
        BadDocument::Unexpected { .. } => "unexpected",
        BadDocument::Envelope(_) => "invalid",
        BadDocument::Truncated(_) => "truncated",
        _ => "other",
    };
    let u = job(&["u[]"], &["n"], false);
    let cases = [
        (r#"{"x":1}"#, 6, "unexpected"),
        ("[]", 1, "unexpected"),
        ("7", 0, "unexpected"),
        (r#""u""#, 0, "unexpected"),
        (r#"{"u":[1]}"#, 6, "unexpected"),
        (r#"{"u":[{},]}"#, 9, "unexpected"),
        (r#"{"u":[{}{}]}"#, 8, "unexpected"),
        (r#"{"u":[],"u":[]}"#, 12, "invalid"),
        (r#"{"x":[}"#, 6, "unexpected"),
        (r#"{"x":01,"u":[]}"#, 5, "unexpected"),
        (r#"{"x" 1}"#, 5, "unexpected"),
        (r#"{x:1}"#, 1, "unexpected"),
        ("{\"x\":\"a\nb\",\"u\":[]}", 7, "invalid"),
        (r#"{"u":[{"i":1}]"#, 14, "truncated"),
        (r#"{"u":[{"i":1"#, 12, "truncated"),
        (r#"{"u":[]}{"u":[],"x":"a"#, 22, "truncated"),
    ];
    for (text, at, expected) in cases {
        let (reason, found) = walked(text, &u).unwrap_err();
        assert_eq!(kind(&reason), expected, "{text}: {reason}");
        assert_eq!(found, at, "{text}: {reason}");
    }
    assert!(walked(r#"{"x":1}"#, &job(&["u[]"], &[], true)).is_ok());
    let deep = format!("{{\"x\":{}", "[".repeat(1 << 20));
    let (reason, at) = walk(&deep, &u, usize::MAX).unwrap_err();
    assert!(reason.to_string().contains("128 levels") && at == 132, "{reason} {at}");
}

#[test]
fn what_is_stepped_over_is_not_held() {
    let text = format!(r#"{{"x":"{}","y":[{}1],"u":[{{}}]}}"#, "a\\n".repeat(1000), "1,".repeat(1000));
    let mut walker = Walker::new(job(&["u[]"], &[], false));
    let mut from = 0;
    for to in (64..text.len()).step_by(64) {
        let cut = walker.cut(&text.as_bytes()[from..to], false).unwrap();
        from += cut.consumed;
        assert!(to - from < 8 || to > 5_000, "{from} of {to}");
    }
}

/// JSON of any shape with arrays of objects in it.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "[a-u\\\\\"{}\\[\\],: é\n]{0,6}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec(("[un\"]{1,2}", inner), 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_valid_document_is_walked_as_serde_reads_it(around in json(), users in prop::collection::vec(json(), 0..4)) {
        let users: Vec<_> = users.into_iter().filter(serde_json::Value::is_object).collect();
        let expected: Vec<_> = (1..).zip(&users).map(|(number, user)| (0, number, user.to_string())).collect();
        let document = serde_json::json!({"a": around, "users": users, "z": around});
        let text = serde_json::to_string_pretty(&document).unwrap();
        let (found, _) = walked(&text, &job(&["users[]"], &["a", "z", "a.u"], false)).unwrap();
        prop_assert_eq!(found, expected);
        for cut in (0..text.trim_end().len()).filter(|at| text.is_char_boundary(*at)).step_by(11).skip(1) {
            prop_assert!(walk(&text[..cut], &job(&["users[]"], &[], false), 64).is_err(), "{}", &text[..cut]);
        }
    }
}
