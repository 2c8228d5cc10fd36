//! Synthetic users: the same for the same seed, one at a time, in no order.

use headcount_block::{Identity, Status, User};

/// Provider names by falling frequency; the last ones need escaping or are not ASCII.
const PROVIDERS: [&str; 14] = [
    "facebook",
    "googleplus",
    "twitter",
    "site",
    "linkedin",
    "yahoo",
    "apple",
    "microsoft",
    "vkontakte",
    "line",
    "instagram",
    "saml-corp",
    "wechat",
    "kakao",
];

/// Values that need JSON escaping, CSV quoting, both, or are not ASCII.
const AWKWARD: [&str; 8] = ["a\"b", "c\\d", "e,f", "g\nh", "i\u{1}j", "\u{e9}t\u{e9}", "\u{1f600}", "k\r\nl\tm"];

/// What share of the users is special, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// Users whose registration is not finalized.
    pub pending: u64,
    /// Users without identities.
    pub bare: u64,
    /// Users with a value that needs escaping, quoting, or is not ASCII.
    pub awkward: u64,
}

impl Mix {
    /// What a site's users look like: some pending, few without identities, hardly any that need care.
    pub const USUAL: Self = Self { pending: 2, bare: 1, awkward: 1 };
    /// All special cases at once, often.
    pub const HARD: Self = Self { pending: 30, bare: 30, awkward: 10 };
}

/// An endless, repeatable stream of users with distinct UIDs and distinct identities.
#[derive(Debug, Clone)]
pub struct Synth {
    seed: u64,
    mix: Mix,
    next: u64,
}

impl Synth {
    /// The users of `seed`.
    #[must_use]
    pub const fn new(seed: u64, mix: Mix) -> Self {
        Self { seed, mix, next: 0 }
    }

    /// The UID of user number `n`, without the rest of the user.
    #[must_use]
    pub fn uid(&self, n: u64) -> String {
        self.uid_from(n, &mut Random::new(self.seed, n))
    }

    /// User number `n`.
    #[must_use]
    pub fn user(&self, n: u64) -> User {
        let random = &mut Random::new(self.seed, n);
        let mut user = User::new(self.uid_from(n, random));
        if random.percent() < self.mix.pending {
            user.status = Status::Pending;
        }
        if random.percent() < self.mix.bare {
            return user;
        }
        // One to five identities, 1.7 on average.
        let more = [0, 0, 0, 0, 0, 1, 1, 1, 2, 4];
        let count = 1 + more.get(random.below(10)).copied().unwrap_or_default();
        user.identities.extend((0..count).map(|i| identity(n, i, random)));
        if random.percent() < self.mix.awkward {
            let value = AWKWARD.get(random.below(AWKWARD.len())).copied().unwrap_or_default();
            match (random.below(3), user.identities.last_mut()) {
                (0, Some(identity)) => identity.provider.push_str(value),
                (1, Some(identity)) => identity.provider_uid.push_str(value),
                _ => user.uid.push_str(value),
            }
        }
        user
    }

    /// Three kinds of UID that sites have. The number is in the text, so that no two are equal.
    fn uid_from(&self, n: u64, random: &mut Random) -> String {
        // A bijection of n, so that the order of UIDs has nothing to do with the order of users.
        let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.seed;
        match random.below(10) {
            0..8 => format!("_gid_{}==", base64(mixed, random.next())),
            8 => format!("{mixed:016x}{:016x}", random.next()),
            _ => format!("{}", 100_000_000 + n),
        }
    }
}

impl Iterator for Synth {
    type Item = User;

    fn next(&mut self) -> Option<User> {
        let user = self.user(self.next);
        self.next += 1;
        Some(user)
    }
}

fn identity(n: u64, i: u64, random: &mut Random) -> Identity {
    // The smaller of two draws: the first providers are the frequent ones.
    let which = random.below(PROVIDERS.len()).min(random.below(PROVIDERS.len()));
    let provider = PROVIDERS.get(which).copied().unwrap_or_default();
    let key = n * 8 + i;
    let provider_uid = match random.below(3) {
        0 => format!("1{key:016}"),
        1 => format!("{:08x}{key:012x}", random.next() >> 32),
        _ => format!("user{key}@example.com"),
    };
    Identity::new(provider, provider_uid)
}

/// 22 characters of URL-safe base64 for 128 bits.
fn base64(high: u64, low: u64) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = (u128::from(high) << 64) | u128::from(low);
    (0..22)
        .filter_map(|i| {
            let six = usize::try_from((bits >> (i * 6)) & 63).ok()?;
            ALPHABET.get(six).copied().map(char::from)
        })
        .collect()
}

/// SplitMix64: enough for test data, and no dependency.
#[derive(Debug)]
struct Random(u64);

impl Random {
    const fn new(seed: u64, n: u64) -> Self {
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ n.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap_or_default()
    }

    const fn percent(&mut self) -> u64 {
        self.next() % 100
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn users_are_repeatable_and_distinct() {
        let users: Vec<User> = Synth::new(7, Mix::HARD).take(20_000).collect();
        assert_eq!(users, Synth::new(7, Mix::HARD).take(20_000).collect::<Vec<_>>());
        assert_ne!(users, Synth::new(8, Mix::HARD).take(20_000).collect::<Vec<_>>());
        let uids: HashSet<&str> = users.iter().map(|u| u.uid.as_str()).collect();
        assert_eq!(uids.len(), users.len());
        let identities: Vec<&Identity> = users.iter().flat_map(|u| &u.identities).collect();
        assert_eq!(identities.iter().collect::<HashSet<_>>().len(), identities.len());
        let share = |what: fn(&User) -> bool| users.iter().filter(|u| what(u)).count() * 100 / users.len();
        assert!((28..=32).contains(&share(|u| u.status == Status::Pending)));
        assert!((28..=32).contains(&share(|u| u.identities.is_empty())));
        let per_user = identities.len() as f64 / (users.len() as f64 * 0.7);
        assert!((1.6..1.9).contains(&per_user), "{per_user}");
    }
}
