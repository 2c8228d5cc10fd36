use super::*;

fn joined(json: &str) -> String {
    let mut out = Vec::new();
    join_lines(json.as_bytes(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn objects_over_several_lines_are_joined_without_changing_them() {
    assert_eq!(joined("{\r\n \"a\": \"b\\\"\n\r\",\n\"c\\\\\":\n1}"), "{   \"a\": \"b\\\"\\n\\r\", \"c\\\\\": 1}");
}

#[test]
fn line_ends_are_found_behind_a_record_only() {
    assert_eq!(line_end(b"ab", 2), Some(2));
    assert_eq!(line_end(b"ab\nc", 2), Some(3));
    assert_eq!(line_end(b"ab\r\nc", 2), Some(4));
    assert_eq!(line_end(b"ab\rc", 2), None);
    assert_eq!(line_end(b"ab c", 2), None);
    assert_eq!(trim_line_end(b"ab\r\n"), b"ab");
    assert_eq!(trim_line_end(b"ab\r"), b"ab");
}
