//! The texts of synthetic users: UIDs, providers and what providers call their accounts.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::numbers::{Stream, scatter, spread};

/// Providers by weight, in thousandths.
const PROVIDERS: [(&str, u64); 12] = [
    ("facebook", 280),
    ("google", 230),
    ("twitter", 130),
    ("site", 100),
    ("linkedin", 60),
    ("apple", 80),
    ("yahoo", 40),
    ("microsoft", 30),
    ("googleplus", 20),
    ("amazon", 10),
    ("instagram", 10),
    ("line", 10),
];

/// Chances of 1, 2, 3, 4 and 5 identities, in percent: 1.74 on average.
const IDENTITY_COUNTS: [(usize, u64); 5] = [(1, 50), (2, 32), (3, 13), (4, 4), (5, 1)];

/// What makes a value need JSON escaping, CSV quoting or both; the first character is in no other value.
const ESCAPED: [&str; 10] = [
    ", Jr.",
    " \"Bob\" O'Brien",
    "\\home\\user",
    "\ttabbed",
    "\nsecond line",
    "\r\nwindows line",
    "\"",
    ",",
    "\u{1}\u{1f}",
    "\u{8}\u{c},\"\\",
];

/// Suffixes that are not ASCII: two, three and four bytes a character, combining marks, right to left, U+2028.
const UNICODE: [&str; 8] = ["-Zoë", "-Łukasz", "-名前", "-😀", "-e\u{301}", "-שלום", "-\u{2028}", "-Ωmega"];

fn weighted<T: Copy>(random: &mut Stream, weights: &[(T, u64)]) -> Option<T> {
    let mut left = random.below(weights.iter().map(|(_, weight)| weight).sum());
    for &(value, weight) in weights {
        match left.checked_sub(weight) {
            None => return Some(value),
            Some(rest) => left = rest,
        }
    }
    None
}

fn one_of(random: &mut Stream, all: &[&'static str]) -> &'static str {
    let at = usize::try_from(random.below(all.len() as u64)).unwrap_or_default();
    all.get(at).copied().unwrap_or_default()
}

pub(super) fn provider(random: &mut Stream) -> &'static str {
    weighted(random, &PROVIDERS).unwrap_or("facebook")
}

pub(super) fn identity_count(random: &mut Stream) -> usize {
    weighted(random, &IDENTITY_COUNTS).unwrap_or(1)
}

pub(super) fn escaped_suffix(random: &mut Stream) -> &'static str {
    one_of(random, &ESCAPED)
}

pub(super) fn unicode_suffix(random: &mut Stream) -> &'static str {
    one_of(random, &UNICODE)
}

/// Appends the UID of user `index`; true when it is a site's own ID.
pub(super) fn uid(out: &mut String, seed: u64, index: u64, random: &mut Stream) -> bool {
    let own = scatter(seed, index);
    match random.below(100) {
        0..52 => {
            out.push_str("_gid_");
            let length = 16 + usize::try_from(random.below(5)).unwrap_or_default();
            base64(out, own, random, length);
        }
        52..74 => hex(out, own, random),
        74..90 => uuid(out, own, random),
        _ => {
            site_id(out, seed, index);
            return true;
        }
    }
    false
}

/// `own` and random bytes, `length` (8 to 24) in all, in base64.
fn base64(out: &mut String, own: u64, random: &mut Stream, length: usize) {
    let mut bytes = [0; 24];
    for (chunk, number) in bytes.chunks_exact_mut(8).zip([own, random.next(), random.next()]) {
        chunk.copy_from_slice(&number.to_le_bytes());
    }
    STANDARD.encode_string(bytes.get(..length).unwrap_or(&bytes), out);
}

/// 32 hexadecimal digits.
fn hex(out: &mut String, own: u64, random: &mut Stream) {
    formatted(out, format_args!("{own:016x}{:016x}", random.next()));
}

/// A version 4 UUID.
fn uuid(out: &mut String, own: u64, random: &mut Stream) {
    let rest = random.next();
    formatted(
        out,
        format_args!(
            "{:08x}-{:04x}-4{:03x}-{:x}{:03x}-{:012x}",
            own >> 32,
            (own >> 16) & 0xffff,
            (own >> 4) & 0xfff,
            8 + (rest & 3),
            (rest >> 4) & 0xfff,
            // The last digit of the number that is the user's own is the first of this group.
            (own & 0xf) << 44 | rest >> 20,
        ),
    );
}

/// A site's own ID: six letters and digits, and more of them from user 36^6 on.
pub(super) fn site_id(out: &mut String, seed: u64, index: u64) {
    const DIGITS: u32 = 36;
    let (mut place, mut round) = spread(seed, index, u64::from(DIGITS).pow(6));
    let mut digit = |number: &mut u64| {
        let value = u32::try_from(*number % u64::from(DIGITS)).unwrap_or_default();
        *number /= u64::from(DIGITS);
        out.extend(char::from_digit(value, DIGITS).map(|c| c.to_ascii_uppercase()));
    };
    for _ in 0..6 {
        digit(&mut place);
    }
    while round > 0 {
        digit(&mut round);
    }
}

/// Decimal digits behind `prefix`, and more of them where `digits` are too few for the number.
fn decimal(out: &mut String, prefix: &str, digits: u32, seed: u64, number: u64) {
    let (place, round) = spread(seed, number, 10_u64.pow(digits));
    out.push_str(prefix);
    let width = usize::try_from(digits).unwrap_or_default();
    formatted(out, format_args!("{place:0width$}"));
    if round > 0 {
        formatted(out, format_args!("{round}"));
    }
}

pub(super) fn facebook(out: &mut String, seed: u64, number: u64) {
    decimal(out, "1015", 13, seed, number);
}

/// Appends what `provider` calls the account with this number.
pub(super) fn provider_uid(out: &mut String, provider: &str, seed: u64, number: u64, random: &mut Stream) {
    // Apart from the numbers of UIDs, so that no account looks like some user's UID.
    let own = scatter(!seed, number);
    match provider {
        "google" | "googleplus" => decimal(out, "115", 18, seed, number),
        "twitter" if random.chance(50.0) => decimal(out, "2", 9, seed, number),
        // Newer accounts have longer numbers: no twitter number of the kind above has their length.
        "twitter" => decimal(out, "9", 18, seed, number),
        "apple" => {
            let rest = random.next();
            formatted(out, format_args!("{:06}.{own:016x}{rest:016x}.{:04}", rest % 1_000_000, (rest >> 40) % 10_000));
        }
        "yahoo" => formatted(out, format_args!("{own:016X}{:010X}", random.next() >> 24)),
        "microsoft" => formatted(out, format_args!("{own:016x}{:016x}", random.next())),
        "linkedin" => base64(out, own, random, 8),
        "amazon" => formatted(out, format_args!("amzn1.account.{own:016X}")),
        "line" => formatted(out, format_args!("U{own:016x}{:016x}", random.next())),
        "instagram" => decimal(out, "4", 10, seed, number),
        _ => facebook(out, seed, number),
    }
}

/// Writing to a `String` does not fail.
fn formatted(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _infallible = out.write_fmt(text);
}
