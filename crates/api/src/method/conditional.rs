//! What a client has already: entity tags, conditions and ranges (RFC 9110, sections 8.8.3, 13 and 14).

use std::ops::Range;

use sha2::{Digest as _, Sha256};

use crate::method::site::hex;

/// A strong entity tag: the seq, so that the snapshot can be found again, and a hash of all that the bytes depend on.
pub(crate) fn entity_tag(seq: u64, depends_on: &str) -> String {
    let hash = Sha256::digest(depends_on.as_bytes());
    format!("\"{seq}-{}\"", hex(hash.get(..12).unwrap_or_default()))
}

/// The seq in an entity tag of ours.
pub(crate) fn seq_of(tag: &str) -> Option<u64> {
    tag.strip_prefix('"')?.split_once('-')?.0.parse().ok()
}

/// Whether `If-None-Match` names `tag`: a list, compared weakly, or `*`.
pub(crate) fn names(header: &str, tag: &str) -> bool {
    header.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// What a `Range` header asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it: no range, several, or one that cannot be read.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Bytes that there are not.
    Unsatisfiable,
}

/// Reads a `Range` header for a body of `total` bytes.
pub(crate) fn wanted(header: &str, total: u64) -> Wanted {
    let ranges = match header.split_once('=') {
        Some((unit, ranges)) if unit.trim().eq_ignore_ascii_case("bytes") => ranges.trim(),
        _ => return Wanted::Whole,
    };
    let Some((first, last)) = ranges.split_once('-') else { return Wanted::Whole };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (number(first.trim()), number(last.trim())) {
        (Some(first), _) if first >= total => match last.trim() {
            "" => Wanted::Unsatisfiable,
            last => number(last).filter(|last| *last >= first).map_or(Wanted::Whole, |_| Wanted::Unsatisfiable),
        },
        (Some(first), Some(last)) if last >= first => Wanted::Part(first..last.saturating_add(1).min(total)),
        (Some(first), None) if last.trim().is_empty() => Wanted::Part(first..total),
        (None, Some(suffix)) if first.trim().is_empty() => match suffix.min(total) {
            0 => Wanted::Unsatisfiable,
            suffix => Wanted::Part(total - suffix..total),
        },
        _ => Wanted::Whole,
    }
}

/// A content coding for `Accept-Encoding`: the one it likes best of gzip and zstd, zstd where it has no preference;
/// `None` for none.
pub(crate) fn coding(header: &str) -> Option<&'static str> {
    let mut best: Option<(&'static str, u32)> = None;
    for one in header.split(',') {
        let (name, weight) = one.split_once(';').unwrap_or((one, "q=1"));
        let known = match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => "gzip",
            "zstd" => "zstd",
            _ => continue,
        };
        let weight = weight.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok());
        let weight = match weight.filter(|q| (0.0..=1.0).contains(q)) {
            // Three digits are all that a weight may have.
            Some(q) => (0..=1000).rev().find(|n| f64::from(*n) <= f64::from(q) * 1000.0 + 0.5).unwrap_or(0),
            None => 0,
        };
        let better = best.is_none_or(|(_, before)| weight > before || (weight == before && known == "zstd"));
        if weight > 0 && better {
            best = Some((known, weight));
        }
    }
    best.map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (header, expected) in [
            ("bytes=0-", Wanted::Part(0..10)),
            ("bytes=3-5", Wanted::Part(3..6)),
            ("Bytes = 3-99", Wanted::Part(3..10)),
            ("bytes=-4", Wanted::Part(6..10)),
            ("bytes=-40", Wanted::Part(0..10)),
            ("bytes=9-9", Wanted::Part(9..10)),
            ("bytes=10-", Wanted::Unsatisfiable),
            ("bytes=10-11", Wanted::Unsatisfiable),
            ("bytes=99999999999999999999999-", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=5-3", Wanted::Whole),
            ("bytes=12-11", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("users=0-1", Wanted::Whole),
            ("", Wanted::Whole),
        ] {
            assert_eq!(wanted(header, 10), expected, "{header}");
        }
        assert_eq!(wanted("bytes=-5", 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn tags() {
        let tag = entity_tag(42, "x");
        assert_eq!(seq_of(&tag), Some(42));
        assert!(names(&tag, &tag) && names(&format!("\"a\", W/{tag}"), &tag) && names("*", &tag));
        assert!(!names("\"a\"", &tag) && !names("", &tag));
        assert_eq!((seq_of("W/\"42-a\""), seq_of("\"x\""), seq_of("")), (None, None, None));
    }

    #[test]
    fn codings() {
        assert_eq!(coding("gzip, deflate, br"), Some("gzip"));
        assert_eq!(coding("gzip, zstd"), Some("zstd"));
        assert_eq!(coding("gzip;q=0.9, zstd;q=0.1"), Some("gzip"));
        assert_eq!(coding("gzip;q=0"), None);
        assert_eq!(coding("identity"), None);
        assert_eq!(coding("*"), None);
        assert_eq!(coding("gzip;q=x, ;;,"), None);
    }
}
