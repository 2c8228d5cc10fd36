//! Synthetic users: the same for the same seed, in constant memory, any of them without the ones before.
//!
//! Every user is a function of (seed, index, [`Shape`]). UIDs and identities are unique without being remembered:
//! each carries a number of its own, scrambled by a bijection, in a fixed place of its text.

mod numbers;
mod values;
mod write;

pub use write::{Counts, Format, Writer};

use std::ops::Range;

use numbers::Stream;

/// How many users are awkward, each in percent of all users.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Users whose registration is not finalized.
    pub pending: f64,
    /// Users without identities.
    pub bare: f64,
    /// Users with a value that needs JSON escaping or CSV quoting.
    pub escaped: f64,
    /// Users with a value that is not ASCII.
    pub unicode: f64,
}

impl Default for Shape {
    fn default() -> Self {
        Self { pending: 3.0, bare: 2.0, escaped: 0.5, unicode: 1.0 }
    }
}

/// One synthetic user; reused from user to user.
#[derive(Debug, Default)]
pub struct Draft {
    uid: String,
    pending: bool,
    /// Providers, and where in `values` their providerUIDs lie.
    identities: Vec<(&'static str, Range<usize>)>,
    values: String,
}

impl Draft {
    /// An empty user to be filled by [`Users::fill`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The user's key.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Whether the registration is not finalized.
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        self.pending
    }

    /// Provider and providerUID of each identity, in link order.
    pub fn identities(&self) -> impl ExactSizeIterator<Item = (&'static str, &str)> {
        self.identities.iter().map(|(provider, at)| (*provider, self.values.get(at.clone()).unwrap_or_default()))
    }

    fn push(&mut self, provider: &'static str, write: impl FnOnce(&mut String)) {
        let start = self.values.len();
        write(&mut self.values);
        self.identities.push((provider, start..self.values.len()));
    }
}

/// All users of one seed and shape.
#[derive(Debug, Clone, Copy)]
pub struct Users {
    seed: u64,
    shape: Shape,
}

/// Most identities of a synthetic user; the number of an identity is its user's index times this, and its place.
const IDENTITIES: u64 = 8;

impl Users {
    /// The users of `seed` and `shape`.
    #[must_use]
    pub const fn new(seed: u64, shape: Shape) -> Self {
        Self { seed, shape }
    }

    /// Writes user number `index` over what `draft` held.
    pub fn fill(&self, index: u64, draft: &mut Draft) {
        let mut random = Stream::new(self.seed, index);
        draft.uid.clear();
        draft.values.clear();
        draft.identities.clear();
        draft.pending = random.chance(self.shape.pending);

        let is_bare = random.chance(self.shape.bare);
        let escaped = random.chance(self.shape.escaped).then(|| values::escaped_suffix(&mut random));
        let unicode = random.chance(self.shape.unicode).then(|| values::unicode_suffix(&mut random));
        let suffixes = [escaped, unicode];
        let suffix_of_uid = is_bare || random.chance(50.0);

        let has_site_uid = values::uid(&mut draft.uid, self.seed, index, &mut random);
        if suffix_of_uid {
            draft.uid.extend(suffixes.into_iter().flatten());
        }
        if is_bare {
            return;
        }
        let mut has_site = has_site_uid;
        if has_site_uid {
            let Draft { uid, values, identities, .. } = draft;
            values.push_str(uid);
            identities.push(("site", 0..values.len()));
        }
        let wanted = values::identity_count(&mut random);
        for place in 0..IDENTITIES {
            if draft.identities.len() >= wanted {
                break;
            }
            let number = index.wrapping_mul(IDENTITIES).wrapping_add(place);
            match values::provider(&mut random) {
                // At most one a user: its text carries the number of the user.
                "site" if has_site => draft.push("facebook", |out| values::facebook(out, self.seed, number)),
                "site" => {
                    has_site = true;
                    draft.push("site", |out| values::site_id(out, self.seed, index));
                }
                provider => {
                    draft.push(provider, |out| values::provider_uid(out, provider, self.seed, number, &mut random))
                }
            }
        }
        if !suffix_of_uid && let Some((_, last)) = draft.identities.last_mut() {
            draft.values.extend(suffixes.into_iter().flatten());
            last.end = draft.values.len();
        }
    }
}

#[cfg(test)]
mod tests;
