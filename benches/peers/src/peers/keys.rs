//! What is looked up: the same users in the same random order for every engine, and what must have been seen.

use std::io::{BufWriter, Write};
use std::path::Path;

use headcount_block::{Status, User};

use crate::Outcome;
use crate::stores::user;
use crate::work::scattered;

/// What lookups found, so that none is left out and none is for nothing: a few bytes of every identity are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    users: u64,
    pending: u64,
    identities: u64,
    sum: u64,
}

impl Seen {
    /// A user that was found.
    #[inline]
    pub(crate) fn user<'a>(&mut self, pending: bool, links: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        self.head(pending);
        for (provider, provider_uid) in links {
            self.link(provider, provider_uid);
        }
    }

    /// A user that was found, its identities still to come.
    #[inline]
    pub(crate) fn head(&mut self, pending: bool) {
        self.users += 1;
        self.pending += u64::from(pending);
    }

    /// One of its identities: first byte of the provider, last byte and length of the other.
    #[inline]
    pub(crate) fn link(&mut self, provider: &[u8], provider_uid: &[u8]) {
        self.identities += 1;
        let ends = [provider.first(), provider_uid.last()].map(|byte| byte.copied().map_or(0, u64::from));
        let [first, last] = ends;
        self.sum += first + 257 * last + 65_537 * provider_uid.len() as u64;
    }

    fn expect(&mut self, user: &User) {
        let links = user.identities.iter().map(|i| (i.provider.as_bytes(), i.provider_uid.as_bytes()));
        self.user(user.status == Status::Pending, links);
    }
}

/// Keys in a random order, as often as they come up.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) uids: Vec<String>,
    pub(crate) links: Vec<(String, String)>,
    /// What finding all of `uids` sees.
    pub(crate) by_uid: Seen,
    /// What finding all of `links` sees.
    pub(crate) by_link: Seen,
}

impl Keys {
    /// `count` keys of each kind out of a store with `users` users.
    pub(crate) fn new(users: u64, count: u64) -> Self {
        let mut keys = Self::default();
        for i in 0..count {
            let user = user(scattered(i) % users);
            keys.by_uid.expect(&user);
            let which = usize::try_from(i).unwrap_or_default() % user.identities.len().max(1);
            if let Some(identity) = user.identities.get(which) {
                keys.by_link.expect(&user);
                keys.links.push((identity.provider.clone(), identity.provider_uid.clone()));
            }
            keys.uids.push(user.uid);
        }
        keys
    }

    /// For programs in other languages: a JSON document.
    pub(crate) fn write(&self, path: &Path) -> Outcome {
        let mut out = BufWriter::new(std::fs::File::create(path)?);
        let seen = |seen: &Seen| [seen.users, seen.pending, seen.identities, seen.sum];
        serde_json::to_writer(&mut out, &(&self.uids, &self.links, seen(&self.by_uid), seen(&self.by_link)))?;
        Ok(out.flush()?)
    }
}
