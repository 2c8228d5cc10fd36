//! Our own formats, told by content: by what was found, never by a guess or by a file's name.

use crate::csv;
use crate::format::Format;
use crate::probe::{Members, quoted};
use crate::scan::spaces;

/// Why a format could not be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Undetected {
    pub(crate) found: String,
    pub(crate) candidates: Vec<Format>,
}

impl Undetected {
    fn new(found: impl Into<String>, candidates: &[Format]) -> Self {
        Self { found: found.into(), candidates: candidates.to_vec() }
    }
}

/// The bytes of a byte order mark at the start of UTF-8 text.
pub(crate) fn bom_len(head: &[u8]) -> usize {
    if head.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 }
}

/// Where the text begins that an input is known by, and a header: behind a byte order mark and blank lines.
pub(crate) fn text_start(head: &[u8]) -> usize {
    let bom = bom_len(head);
    bom + spaces(head.get(bom..).unwrap_or_default())
}

/// Files that are known not to be text.
const FOREIGN: [(&[u8], &str); 6] = [
    (b"\xff\xfe", "UTF-16 text (little-endian): convert it to UTF-8 first"),
    (b"\xfe\xff", "UTF-16 text (big-endian): convert it to UTF-8 first"),
    (b"PK\x03\x04", "a ZIP archive: unpack it first"),
    (b"\xfd7zXZ\0", "xz data: decompress it first"),
    (b"BZh", "bzip2 data: decompress it first"),
    (b"PAR1", "a Parquet file"),
];

/// Whether an input is known not to be text.
pub(crate) fn foreign_data(head: &[u8]) -> bool {
    FOREIGN.iter().any(|(magic, _)| head.starts_with(magic))
}

/// Whether an input is of one of our own formats beyond doubt: it names UIDs as only these do.
pub(crate) fn is_certain(head: &[u8]) -> bool {
    let text = head.get(text_start(head)..).unwrap_or_default();
    if text.starts_with(b"{") {
        let keys = Keys::read(text);
        return keys.top.iter().chain(&keys.first_user).any(|key| key == "UID");
    }
    let header = csv::record_end(text).map_or(text, |end| text.get(..end).unwrap_or_default());
    let names = csv::fields_of(&String::from_utf8_lossy(header));
    ["uid", "provider", "providerUID"].iter().all(|known| names.iter().any(|name| name.eq_ignore_ascii_case(known)))
}

/// Tells the format of an input from the beginning of its decompressed content.
pub(crate) fn detect(head: &[u8]) -> Result<Format, Undetected> {
    if let Some((_, name)) = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(Undetected::new(*name, &[]));
    }
    let text = head.get(text_start(head)..).unwrap_or_default();
    match text.first() {
        None => Err(Undetected::new("it is empty", &[Format::Ndjson])),
        Some(b'{') => detect_object(text),
        Some(b'[') => Err(Undetected::new(
            "a JSON array: expected a document {\"users\": [...]}, one user object a line, or CSV with a header",
            &[],
        )),
        Some(_) => detect_csv(text),
    }
}

/// Top-level keys that only the document around users has.
const ENVELOPE: [&str; 5] = ["usersCount", "identitiesCount", "statusCode", "errorCode", "callId"];

fn detect_object(text: &[u8]) -> Result<Format, Undetected> {
    let keys = Keys::read(text);
    let top = |name: &str| keys.top.iter().any(|k| k == name);
    let enveloped = ENVELOPE.iter().any(|name| top(name));
    if top("UID") && (top("users") || enveloped) {
        let found = format!("an object with keys of both a user and a document of users ({})", quoted(&keys.top));
        return Err(Undetected::new(found, &[Format::GigyaJson, Format::Ndjson]));
    }
    if top("UID") || (top("identities") && !top("users")) {
        return Ok(Format::Ndjson);
    }
    if !top("users") {
        return if enveloped {
            Ok(Format::GigyaJson)
        } else {
            Err(Undetected::new(format!("an object with the keys {}", quoted(&keys.top)), &[]))
        };
    }
    let user = |name: &str| keys.first_user.iter().any(|k| k == name);
    if user("UID") || user("identities") || enveloped || keys.no_users {
        return Ok(Format::GigyaJson);
    }
    let found = format!("a document of users whose first has the keys {} and no \"UID\"", quoted(&keys.first_user));
    Err(Undetected::new(found, &[Format::GigyaJson]))
}

/// The keys of the first object, as far as the head goes, and of the first element of its `users`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Keys {
    top: Vec<String>,
    first_user: Vec<String>,
    no_users: bool,
}

impl Keys {
    fn read(text: &[u8]) -> Self {
        let mut keys = Self::default();
        for (key, value) in Members::new(text) {
            if key == "users" && value.first() == Some(&b'[') {
                let inside = value.get(1..).unwrap_or_default();
                let first = inside.get(spaces(inside)..).unwrap_or_default();
                keys.no_users = first.first() == Some(&b']');
                if first.first() == Some(&b'{') {
                    keys.first_user = Members::new(first).map(|(key, _)| key).collect();
                }
            }
            keys.top.push(key);
        }
        keys
    }
}

fn detect_csv(text: &[u8]) -> Result<Format, Undetected> {
    let header = csv::record_end(text).map_or(text, |end| text.get(..end).unwrap_or_default());
    let Ok(header) = std::str::from_utf8(header) else {
        return Err(Undetected::new("bytes that are not UTF-8 text", &[]));
    };
    let names = csv::fields_of(header);
    // With another separator the header is refused, by a message that says so.
    let names = names.iter().flat_map(|name| name.split(csv::OTHER_SEPARATORS));
    if names.into_iter().any(csv::is_needed_column) {
        return Ok(Format::Csv);
    }
    let found = format!(
        "neither JSON nor a CSV header with uid, provider, providerUID: it starts with {:?}",
        csv::clipped(header.trim_end())
    );
    Err(Undetected::new(found, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(head: &str) -> Result<Format, Undetected> {
        detect(head.as_bytes())
    }

    #[test]
    fn documents_lines_and_tables_are_told_apart() {
        for (head, expected) in [
            (r#"{"users":[{"UID":"a"}]}"#, Format::GigyaJson),
            (r#"{"users":[{"identities":[],"x":{"y":[1]},"UID":"a"#, Format::GigyaJson),
            ("\u{feff}{\n \"callId\": \"x\",\n \"users\" : [ {", Format::GigyaJson),
            (r#"{"users":[]}"#, Format::GigyaJson),
            (r#"{"users":[{"identities":[]}]}"#, Format::GigyaJson),
            (r#"{"errorCode":403000,"errorMessage":"no"}"#, Format::GigyaJson),
            ("\n\r\n{\"UID\":\"a\"}\n", Format::Ndjson),
            ("{\"x\":{\"users\":1},\"UID\":\"a\"}", Format::Ndjson),
            ("{\"identities\":[]}", Format::Ndjson),
            ("uid,provider,providerUID\r\n", Format::Csv),
            ("\u{feff}\"ProviderUID\",x,\"UID\"", Format::Csv),
            ("provider,providerUID\n", Format::Csv),
            ("uid;provider\n", Format::Csv),
        ] {
            assert_eq!(format(head), Ok(expected), "{head}");
        }
    }

    #[test]
    fn what_is_not_sure_is_not_guessed() {
        for (head, candidates, found) in [
            ("", &[Format::Ndjson][..], "empty"),
            ("\u{feff} \n", &[Format::Ndjson], "empty"),
            (r#"{"users":[],"UID":"a"}"#, &[Format::GigyaJson, Format::Ndjson], "both"),
            (r#"{"users":[{"localId":"a"}]}"#, &[Format::GigyaJson], "\"localId\""),
            (r#"{"user_id":"a"}"#, &[], "\"user_id\""),
            ("[{\"UID\":\"a\"}]", &[], "array"),
            ("name,mail\n", &[], "name,mail"),
            ("PK\u{3}\u{4}", &[], "ZIP"),
            ("{", &[], "(none)"),
        ] {
            let error = format(head).unwrap_err();
            assert_eq!(error.candidates, candidates, "{head}");
            assert!(error.found.contains(found), "{head}: {}", error.found);
        }
        assert!(detect(b"\xff\xfe{\0").unwrap_err().found.contains("UTF-16"));
        assert!(detect(b"\x80\x81").unwrap_err().found.contains("UTF-8"));
    }
}
