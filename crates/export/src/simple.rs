//! The plain renderer: one user at a time, any text, any order of columns.
//!
//! It renders what the kernel cannot take (rows that need escapes, unusual column orders, the formula guard), and it is
//! what the kernel is tested against.

use headcount_block::{IdentityRef, RowRef, UserRef, text};

use crate::fields::Field;
use crate::format::Format;
use crate::layout::Layout;

/// Appends `user`.
pub(crate) fn render_user(layout: &Layout, user: &UserRef<'_>, out: &mut Vec<u8>) {
    render::<false>(layout, user, out);
}

/// Appends the user in `row`: looks once at all of its text, where [`render_user`] looks at each value.
pub(crate) fn render_row(layout: &Layout, row: RowRef<'_>, out: &mut Vec<u8>) {
    if row.is_plain() && !layout.formula_guard {
        render::<true>(layout, &row.into(), out);
    } else {
        render::<false>(layout, &row.into(), out);
    }
}

/// Appends a user, of whom `PLAIN` says that no text needs escaping or quoting.
fn render<const PLAIN: bool>(layout: &Layout, user: &UserRef<'_>, out: &mut Vec<u8>) {
    match layout.format {
        Format::Json => {
            out.push(b',');
            json_user::<PLAIN>(layout, user, out);
        }
        Format::Ndjson => {
            json_user::<PLAIN>(layout, user, out);
            out.push(b'\n');
        }
        Format::Csv => csv_user::<PLAIN>(layout, user, out),
    }
}

/// Appends `text` as the inside of a JSON string, escaped as `serde_json` does.
pub(crate) fn json_text(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    // Without a branch a byte: nearly all text is plain.
    if text.iter().fold(true, |plain, b| plain & (*b >= 0x20) & (*b != b'"') & (*b != b'\\')) {
        out.extend_from_slice(text);
        return;
    }
    for &b in text {
        match b {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x20 => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(b >> 4), digit(b & 15)]);
            }
            _ => out.push(b),
        }
    }
}

/// Appends `"name":"text"`.
pub(crate) fn json_member(name: &str, text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    json_text(text, out);
    out.push(b'"');
}

/// Appends `head`, `text` and `"`.
#[inline(always)]
fn quoted<const PLAIN: bool, const N: usize>(head: &[u8; N], text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(head);
    if PLAIN {
        out.extend_from_slice(text);
    } else {
        json_text(text, out);
    }
    out.push(b'"');
}

/// Appends a CSV field, quoted where RFC 4180 asks for it.
pub(crate) fn csv_text(value: &[u8], out: &mut Vec<u8>) {
    if !text::csv_needs_quotes(value) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for &b in value {
        if b == b'"' {
            out.push(b);
        }
        out.push(b);
    }
    out.push(b'"');
}

/// Whether a spreadsheet would take `value` for a formula: the formula guard puts an apostrophe before it.
pub(crate) fn is_formula(value: &[u8]) -> bool {
    matches!(value.first(), Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r'))
}

/// Appends a CSV field, guarded where the layout asks for it.
#[inline(always)]
pub(crate) fn csv_value(layout: &Layout, value: &[u8], out: &mut Vec<u8>) {
    if layout.formula_guard && is_formula(value) {
        csv_text(&[b"'", value].concat(), out);
    } else {
        csv_text(value, out);
    }
}

/// Appends a comma unless this is the first member.
fn separate(first: &mut bool, out: &mut Vec<u8>) {
    if !*first {
        out.push(b',');
    }
    *first = false;
}

fn json_user<const PLAIN: bool>(layout: &Layout, user: &UserRef<'_>, out: &mut Vec<u8>) {
    let mut first = true;
    out.push(b'{');
    if layout.fields.has(Field::Uid) {
        separate(&mut first, out);
        quoted::<PLAIN, _>(b"\"UID\":\"", user.uid(), out);
    }
    if layout.fields.has(Field::Status) {
        separate(&mut first, out);
        quoted::<true, _>(b"\"status\":\"", user.status().as_str().as_bytes(), out);
    }
    if layout.fields.has_identities() {
        separate(&mut first, out);
        out.extend_from_slice(b"\"identities\":[");
        let mut first = true;
        for identity in user.identities() {
            separate(&mut first, out);
            json_identity::<PLAIN>(layout, &identity, out);
        }
        out.push(b']');
    }
    out.push(b'}');
}

fn json_identity<const PLAIN: bool>(layout: &Layout, identity: &IdentityRef<'_>, out: &mut Vec<u8>) {
    let mut first = true;
    out.push(b'{');
    if layout.fields.has(Field::Provider) {
        separate(&mut first, out);
        quoted::<PLAIN, _>(b"\"provider\":\"", identity.provider, out);
    }
    if layout.fields.has(Field::ProviderUid) {
        separate(&mut first, out);
        quoted::<PLAIN, _>(b"\"providerUID\":\"", identity.provider_uid, out);
    }
    out.push(b'}');
}

fn csv_user<const PLAIN: bool>(layout: &Layout, user: &UserRef<'_>, out: &mut Vec<u8>) {
    let mut identities = user.identities();
    let first = identities.next();
    csv_row::<PLAIN>(layout, user, first.as_ref(), out);
    if layout.fields.has_identities() {
        identities.for_each(|identity| csv_row::<PLAIN>(layout, user, Some(&identity), out));
    }
}

fn csv_row<const PLAIN: bool>(
    layout: &Layout,
    user: &UserRef<'_>,
    identity: Option<&IdentityRef<'_>>,
    out: &mut Vec<u8>,
) {
    if layout.changes {
        out.extend_from_slice(b"upsert,");
    }
    let start = out.len();
    let mut first = true;
    for field in layout.fields.iter() {
        separate(&mut first, out);
        let value = match field {
            Field::Uid => user.uid(),
            Field::Provider => identity.map_or(&[][..], |i| i.provider),
            Field::ProviderUid => identity.map_or(&[][..], |i| i.provider_uid),
            Field::Status => user.status().as_str().as_bytes(),
        };
        if PLAIN {
            out.extend_from_slice(value);
        } else {
            csv_value(layout, value, out);
        }
    }
    if out.len() == start {
        // An empty line would be no record at all to most readers.
        out.extend_from_slice(b"\"\"");
    }
    out.extend_from_slice(b"\r\n");
}
