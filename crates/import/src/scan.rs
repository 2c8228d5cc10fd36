//! Byte scans that the readers share.

/// The same byte in all eight lanes.
const fn lanes(b: u8) -> u64 {
    u64::from_le_bytes([b; 8])
}

/// The high bit of each lane that holds a quote, a backslash or a byte below 0x20.
///
/// Exact up to and including the lowest such lane: borrows of the subtractions run upwards only.
const fn specials(word: u64) -> u64 {
    let quote = word ^ lanes(b'"');
    let backslash = word ^ lanes(b'\\');
    let zero_quote = quote.wrapping_sub(lanes(1)) & !quote;
    let zero_backslash = backslash.wrapping_sub(lanes(1)) & !backslash;
    let control = word.wrapping_sub(lanes(0x20)) & !word;
    (zero_quote | zero_backslash | control) & lanes(0x80)
}

/// Length of the prefix of `bytes` without quote, backslash or control byte: what a JSON string can hold as it is.
pub(crate) fn plain_prefix(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let hit = specials(u64::from_le_bytes(*word));
        if hit != 0 {
            return i * 8 + hit.trailing_zeros() as usize / 8;
        }
    }
    let special = |&b: &u8| b < 0x20 || b == b'"' || b == b'\\';
    words.len() * 8 + tail.iter().position(special).unwrap_or(tail.len())
}

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
    fn the_plain_prefix_stops_at_every_special_byte_and_at_no_other() {
        for len in 0..40 {
            for at in 0..len {
                for b in 0..=255_u8 {
                    let mut bytes = vec![b'x'; len];
                    bytes[at] = b;
                    let special = b < 0x20 || b == b'"' || b == b'\\';
                    assert_eq!(plain_prefix(&bytes), if special { at } else { len }, "byte {b:#x} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn the_plain_prefix_finds_the_lowest_of_two() {
        for first in 0..8 {
            for second in first..8 {
                for (a, b) in [(b'"', 0x00), (0x1f, b'"'), (b'\\', b'#'), (0x1f, b' '), (b'"', 0xff)] {
                    let mut bytes = [b'!'; 8];
                    bytes[second] = b;
                    bytes[first] = a;
                    assert_eq!(plain_prefix(&bytes), first);
                }
            }
        }
    }

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
