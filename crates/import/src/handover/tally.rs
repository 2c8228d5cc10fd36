//! What is counted while users are handed over.

use std::collections::BTreeMap;

use headcount_block::{Identity, User};

use crate::format::Format;
use crate::handover_report::{HandoverReport, LeftOut, Misfit, MisfitExample, WrittenProvider};

/// Examples that are kept.
const EXAMPLES: usize = 20;

/// Counts of a handover.
#[derive(Debug)]
pub(super) struct Tally {
    /// Users and identities of the selection, whether or not they have a place.
    pub(super) seen: u64,
    pub(super) seen_identities: u64,
    /// Users written.
    pub(super) users: u64,
    pending: u64,
    with_less: u64,
    identities: u64,
    /// By the provider's name: what it is called there, and how many.
    providers: BTreeMap<String, (String, u64)>,
    users_left: BTreeMap<Misfit, u64>,
    identities_left: BTreeMap<String, BTreeMap<Misfit, u64>>,
    examples: Vec<MisfitExample>,
    last_uid: String,
}

impl Tally {
    pub(super) const fn new() -> Self {
        Self {
            seen: 0,
            seen_identities: 0,
            users: 0,
            pending: 0,
            with_less: 0,
            identities: 0,
            providers: BTreeMap::new(),
            users_left: BTreeMap::new(),
            identities_left: BTreeMap::new(),
            examples: Vec::new(),
            last_uid: String::new(),
        }
    }

    pub(super) fn see(&mut self, user: &User) {
        self.seen += 1;
        self.seen_identities += user.identities.len() as u64;
        self.last_uid.clone_from(&user.uid);
    }

    pub(super) fn write_user(&mut self, pending: bool, with_less: bool) {
        self.users += 1;
        self.pending += u64::from(pending);
        self.with_less += u64::from(with_less);
    }

    pub(super) fn write_identity(&mut self, provider: &str, written_as: &str) {
        self.identities += 1;
        match self.providers.get_mut(provider) {
            Some((_, n)) => *n += 1,
            None => drop(self.providers.insert(provider.to_owned(), (written_as.to_owned(), 1))),
        }
    }

    pub(super) fn leave_user(&mut self, user: &User, reason: Misfit, message: String) {
        *self.users_left.entry(reason).or_default() += 1;
        self.example(|| MisfitExample { uid: user.uid.clone(), provider: None, provider_uid: None, reason, message });
    }

    pub(super) fn leave_identity(&mut self, uid: &str, identity: &Identity, reason: Misfit, message: String) {
        match self.identities_left.get_mut(&identity.provider) {
            Some(reasons) => *reasons.entry(reason).or_default() += 1,
            None => drop(self.identities_left.insert(identity.provider.clone(), BTreeMap::from([(reason, 1)]))),
        }
        self.example(|| MisfitExample {
            uid: uid.to_owned(),
            provider: Some(identity.provider.clone()),
            provider_uid: Some(identity.provider_uid.clone()),
            reason,
            message,
        });
    }

    fn example(&mut self, make: impl FnOnce() -> MisfitExample) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(make());
        }
    }

    pub(super) fn finish(self, format: Format, seq: u64) -> HandoverReport {
        let written = |(provider, (name, identities)): (String, (String, u64))| WrittenProvider {
            written_as: (name != provider).then_some(name),
            provider,
            identities,
        };
        let mut providers: Vec<_> = self.providers.into_iter().map(written).collect();
        providers.sort_by_key(|provider| std::cmp::Reverse(provider.identities));
        let left: Vec<_> = self
            .identities_left
            .into_iter()
            .flat_map(|(provider, reasons)| {
                reasons.into_iter().map(move |(reason, n)| LeftOut {
                    provider: provider.clone(),
                    reason,
                    identities: n,
                })
            })
            .collect();
        HandoverReport {
            format,
            users: self.users,
            pending_as_disabled: self.pending,
            identities: self.identities,
            providers,
            users_left_out: self.users_left.values().sum(),
            users_left_out_by_reason: self.users_left,
            identities_left_out: left.iter().map(|left| left.identities).sum(),
            identities_left_out_by_provider: left,
            users_with_less: self.with_less,
            examples: self.examples,
            seq,
            last_uid: (self.seen > 0).then_some(self.last_uid),
        }
    }
}
