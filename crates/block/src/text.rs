//! What text costs in the output formats: JSON escaping and CSV quoting, by length.
//!
//! JSON escapes as `serde_json` does: `\b \f \n \r \t \" \\`, other bytes below 0x20 as `\u00xx`, all else raw.
//! CSV quotes as RFC 4180: a value that holds a comma, a quote, CR or LF is quoted and its quotes are doubled.

/// Whether `bytes` need neither JSON escaping nor CSV quoting. Such text is copied as it is into every format.
#[must_use]
pub fn is_plain(bytes: &[u8]) -> bool {
    // No early exit, and no loop over the odd bytes at the end: the last vector overlaps the one before.
    let (vectors, rest) = bytes.as_chunks::<16>();
    match bytes.last_chunk::<16>() {
        Some(last) => vectors.iter().chain([last]).fold(true, |plain, vector| plain & all_plain(vector)),
        None => all_plain(rest),
    }
}

#[inline]
fn all_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, &b| plain & (b >= 0x20) & (b != b'"') & (b != b'\\') & (b != b','))
}

/// Length of one byte inside a JSON string.
const fn json_byte_len(b: u8) -> usize {
    match b {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

/// Length of `bytes` inside a JSON string, without the quotes around it.
#[must_use]
pub fn json_len(bytes: &[u8]) -> usize {
    bytes.iter().map(|&b| json_byte_len(b)).sum()
}

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
#[must_use]
#[inline]
pub fn plain_prefix(bytes: &[u8]) -> usize {
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

/// Whether `bytes` have to be quoted in CSV.
#[must_use]
pub fn csv_needs_quotes(bytes: &[u8]) -> bool {
    bytes.iter().any(|b| matches!(b, b',' | b'"' | b'\r' | b'\n'))
}

/// Length of `bytes` as a CSV field, with the quotes where it is quoted.
#[must_use]
pub fn csv_len(bytes: &[u8]) -> usize {
    if csv_needs_quotes(bytes) { bytes.len() + 2 + bytes.iter().filter(|&&b| b == b'"').count() } else { bytes.len() }
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
    fn every_place_of_every_length_is_looked_at() {
        for len in 0..70 {
            let mut bytes = vec![b'x'; len];
            assert!(is_plain(&bytes), "{len}");
            for at in 0..len {
                for b in [b'"', b'\\', b',', 0x1f] {
                    bytes[at] = b;
                    assert!(!is_plain(&bytes), "{at} of {len}");
                }
                bytes[at] = b'x';
            }
        }
    }

    #[test]
    fn lengths_of_every_byte() {
        for b in 0..=255u8 {
            let json = match b {
                8 | 9 | 10 | 12 | 13 | b'"' | b'\\' => 2,
                0..=31 => 6,
                _ => 1,
            };
            assert_eq!(json_len(&[b]), json, "{b}");
            let csv = match b {
                b',' | b'\r' | b'\n' => 3,
                b'"' => 4,
                _ => 1,
            };
            assert_eq!(csv_len(&[b]), csv, "{b}");
            // Plain text must have its own length in both; the reverse is not promised (other control bytes in CSV).
            assert!(!is_plain(&[b]) || (json == 1 && csv == 1), "{b}");
            assert!(is_plain(&[b]) || json > 1 || csv > 1, "{b}");
        }
    }
}
