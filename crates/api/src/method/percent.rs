//! Percent encoding (RFC 3986) and form decoding, strict: what is not an encoding is an error and not a text.

/// Appends `text` with every byte encoded that is not unreserved; upper-case hexadecimal.
pub(crate) fn encode_into(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(b));
        } else {
            out.push('%');
            for nibble in [b >> 4, b & 15] {
                out.push(char::from(HEX.get(usize::from(nibble)).copied().unwrap_or(b'0')));
            }
        }
    }
}

/// `text`, percent-encoded.
#[must_use]
pub fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode_into(text, &mut out);
    out
}

/// Decodes a name or value of a query or form; `None` when it is none: a `%` without two digits, or no UTF-8.
pub(crate) fn decode(text: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&b) = bytes.next() {
        out.push(match b {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(*bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            _ => b,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let text = "a b+c&d=e/~*!'()%é€\u{1f600}\0";
        assert_eq!(percent_encode("a b/~*"), "a%20b%2F~%2A");
        assert_eq!(decode(percent_encode(text).as_bytes()).unwrap(), text);
        assert_eq!(decode(b"a+b%2b%2B").unwrap(), "a b++");
        for bad in [&b"%"[..], b"%4", b"%zz", b"%+1", b"%ff", b"\xe9"] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }
}
