//! Counts and length sums: what makes the size of an export computable without rendering it.

use std::ops::{AddAssign, SubAssign};

use crate::text::{csv_len, json_len};
use crate::user::Status;
use crate::view::UserRef;

/// Number of u64 in the encoded form of [`ClassSums`].
pub(crate) const CLASS_WORDS: usize = 10;

/// Counts and length sums of the users of one status. Lengths are in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassSums {
    /// Users.
    pub users: u64,
    /// Users without identities.
    pub bare_users: u64,
    /// Identities.
    pub identities: u64,
    /// UIDs, JSON-escaped, without the quotes around them.
    pub json_uid: u64,
    /// Provider names over identities, JSON-escaped.
    pub json_provider: u64,
    /// ProviderUIDs, JSON-escaped.
    pub json_provider_uid: u64,
    /// UIDs, CSV-quoted, once a user.
    pub csv_uid: u64,
    /// UIDs, CSV-quoted, once a row: an identity, or a user without any.
    pub csv_uid_rows: u64,
    /// Provider names over identities, CSV-quoted.
    pub csv_provider: u64,
    /// ProviderUIDs, CSV-quoted.
    pub csv_provider_uid: u64,
}

impl ClassSums {
    /// Rows of a CSV file with identity columns: one an identity, or one for a user without any.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.identities + self.bare_users
    }

    /// The sums as ten words, in field order: their form in files.
    #[must_use]
    pub const fn to_words(&self) -> [u64; CLASS_WORDS] {
        [
            self.users,
            self.bare_users,
            self.identities,
            self.json_uid,
            self.json_provider,
            self.json_provider_uid,
            self.csv_uid,
            self.csv_uid_rows,
            self.csv_provider,
            self.csv_provider_uid,
        ]
    }

    /// The reverse of [`to_words`](Self::to_words).
    #[must_use]
    pub const fn from_words(words: [u64; CLASS_WORDS]) -> Self {
        let [
            users,
            bare_users,
            identities,
            json_uid,
            json_provider,
            json_provider_uid,
            csv_uid,
            csv_uid_rows,
            csv_provider,
            csv_provider_uid,
        ] = words;
        Self {
            users,
            bare_users,
            identities,
            json_uid,
            json_provider,
            json_provider_uid,
            csv_uid,
            csv_uid_rows,
            csv_provider,
            csv_provider_uid,
        }
    }

    fn zip(&mut self, other: &Self, op: impl Fn(u64, u64) -> u64) {
        let (mut words, others) = (self.to_words(), other.to_words());
        for (word, other) in words.iter_mut().zip(others) {
            *word = op(*word, other);
        }
        *self = Self::from_words(words);
    }
}

/// Sums of registered and of pending users, apart.
///
/// Adding and subtracting wrap: a sum read from damaged bytes must not panic, and is found out by comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sums of registered users.
    pub registered: ClassSums,
    /// Sums of pending users.
    pub pending: ClassSums,
}

impl Totals {
    /// Sums of the users with this status.
    pub const fn class_mut(&mut self, status: Status) -> &mut ClassSums {
        match status {
            Status::Registered => &mut self.registered,
            Status::Pending => &mut self.pending,
        }
    }

    /// Adds one user.
    pub fn add_user(&mut self, user: &UserRef<'_>) {
        let mut sums = ClassSums { users: 1, ..ClassSums::default() };
        for identity in user.identities() {
            sums.identities += 1;
            sums.json_provider += json_len(identity.provider) as u64;
            sums.csv_provider += csv_len(identity.provider) as u64;
            sums.json_provider_uid += json_len(identity.provider_uid) as u64;
            sums.csv_provider_uid += csv_len(identity.provider_uid) as u64;
        }
        sums.bare_users = u64::from(sums.identities == 0);
        sums.json_uid = json_len(user.uid()) as u64;
        sums.csv_uid = csv_len(user.uid()) as u64;
        sums.csv_uid_rows = sums.csv_uid * sums.rows();
        self.class_mut(user.status()).zip(&sums, u64::wrapping_add);
    }

    /// All users, registered and pending.
    #[must_use]
    pub const fn users(&self) -> u64 {
        self.registered.users.wrapping_add(self.pending.users)
    }

    /// All identities, of registered and pending users.
    #[must_use]
    pub const fn identities(&self) -> u64 {
        self.registered.identities.wrapping_add(self.pending.identities)
    }

    /// The sums that an export reads: pending users count as none unless they are included.
    #[must_use]
    pub fn selected(&self, include_pending: bool) -> Self {
        if include_pending { *self } else { Self { pending: ClassSums::default(), ..*self } }
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.registered.zip(&other.registered, u64::wrapping_add);
        self.pending.zip(&other.pending, u64::wrapping_add);
    }
}

impl SubAssign for Totals {
    fn sub_assign(&mut self, other: Self) {
        self.registered.zip(&other.registered, u64::wrapping_sub);
        self.pending.zip(&other.pending, u64::wrapping_sub);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_users_count_when_they_are_selected() {
        let class = |users| ClassSums { users, ..ClassSums::default() };
        let totals = Totals { registered: class(2), pending: class(3) };
        assert_eq!(totals.selected(true), totals);
        assert_eq!(totals.selected(false), Totals { registered: class(2), pending: class(0) });
    }
}
