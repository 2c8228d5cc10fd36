//! Formats, and telling them apart by content: by what was found, never by a guess or by a file's name.

use std::fmt;
use std::str::FromStr;

use crate::csv;
use crate::scan::{spaces, string_end, value_end};

/// The format of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Told by the content.
    Auto,
    /// One document `{"users": [...], "usersCount": n, ...}`: the response of Gigya's `exportUsers`, and our own.
    GigyaJson,
    /// One user object a line.
    Ndjson,
    /// CSV with a header that names `uid`, `provider`, `providerUID` and perhaps `status`.
    Csv,
}

impl Format {
    /// The name used on command lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::GigyaJson => "gigya-json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A format name that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown format {0:?}: expected auto, gigya-json, ndjson or csv")]
pub struct UnknownFormatName(String);

impl FromStr for Format {
    type Err = UnknownFormatName;

    fn from_str(name: &str) -> Result<Self, UnknownFormatName> {
        [Self::Auto, Self::GigyaJson, Self::Ndjson, Self::Csv]
            .into_iter()
            .find(|f| f.as_str() == name)
            .ok_or_else(|| UnknownFormatName(name.to_owned()))
    }
}

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

/// Files that are known not to be text.
const FOREIGN: [(&[u8], &str); 6] = [
    (b"\xff\xfe", "UTF-16 text (little-endian): convert it to UTF-8 first"),
    (b"\xfe\xff", "UTF-16 text (big-endian): convert it to UTF-8 first"),
    (b"PK\x03\x04", "a ZIP archive: unpack it first"),
    (b"\xfd7zXZ\0", "xz data: decompress it first"),
    (b"BZh", "bzip2 data: decompress it first"),
    (b"PAR1", "a Parquet file"),
];

/// Tells the format of an input from the beginning of its decompressed content.
pub(crate) fn detect(head: &[u8]) -> Result<Format, Undetected> {
    if let Some((_, name)) = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(Undetected::new(*name, &[]));
    }
    let text = head.get(bom_len(head)..).unwrap_or_default();
    let text = text.get(spaces(text)..).unwrap_or_default();
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

fn quoted(keys: &[String]) -> String {
    const SHOWN: usize = 12;
    if keys.is_empty() {
        return "(none)".to_owned();
    }
    let shown = keys.iter().take(SHOWN).map(|k| format!("{:?}", csv::clipped(k))).collect::<Vec<_>>().join(", ");
    if keys.len() > SHOWN { format!("{shown}, ...") } else { shown }
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

/// The members of the object at the start of some text: key, and the text from the value on. Ends where the text, or
/// its being JSON, ends.
struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Members<'a> {
    fn new(object: &'a [u8]) -> Self {
        Self { rest: object.get(1..).unwrap_or_default() }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (String, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let skip = |text: &'a [u8]| text.get(spaces(text)..);
        let at_key = skip(self.rest)?;
        if at_key.first() != Some(&b'"') {
            return None;
        }
        let (key, rest) = at_key.split_at_checked(string_end(at_key)?)?;
        let value = skip(skip(rest)?.strip_prefix(b":")?)?;
        self.rest = after_value(value).and_then(|rest| skip(rest)?.strip_prefix(b",")).unwrap_or_default();
        Some((serde_json::from_slice(key).ok()?, value))
    }
}

fn after_value(value: &[u8]) -> Option<&[u8]> {
    let len = match value.first()? {
        b'"' => string_end(value)?,
        b'{' | b'[' => value_end(value)?,
        _ => value.iter().position(|b| matches!(b, b',' | b'}'))?,
    };
    value.get(len..)
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

    #[test]
    fn names_go_both_ways() {
        for format in [Format::Auto, Format::GigyaJson, Format::Ndjson, Format::Csv] {
            assert_eq!(format.as_str().parse(), Ok(format));
        }
        assert!("xml".parse::<Format>().unwrap_err().to_string().contains("gigya-json"));
    }
}
