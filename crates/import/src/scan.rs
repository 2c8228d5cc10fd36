//! Byte scans that the readers share.

pub(crate) use headcount_block::text::plain_prefix;

/// Whether JSON takes `b` for white space.
pub(crate) const fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r')
}

/// Length of the white space at the start of `bytes`.
pub(crate) fn spaces(bytes: &[u8]) -> usize {
    bytes.iter().position(|&b| !is_space(b)).unwrap_or(bytes.len())
}

/// Newlines in `bytes`.
pub(crate) fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Where the JSON string ends that begins with the quote at the start of `bytes`: the index after its closing quote.
pub(crate) fn string_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let rest = bytes.get(at..)?;
        let stop = plain_prefix(rest);
        at += stop + 1;
        match rest.get(stop)? {
            b'"' => return Some(at),
            b'\\' => at += 1,
            // A control byte is the parser's business.
            _ => {}
        }
    }
}

/// Where the JSON object or array ends that begins at the start of `bytes`, by brackets outside of strings alone.
pub(crate) fn value_end(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at += string_end(bytes.get(at..)?)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_found_behind_escapes_and_brackets_in_strings() {
        assert_eq!(string_end(br#""a\"b\\" "#), Some(8));
        assert_eq!(string_end(br#""a\"#), None);
        assert_eq!(string_end(br#"""#), None);
        assert_eq!(value_end(br#"{"a":"}","b":[{}]} "#), Some(18));
        assert_eq!(value_end(br#"{"a":"}","b":[{}]"#), None);
        assert_eq!(value_end(b"[]x"), Some(2));
    }
}
