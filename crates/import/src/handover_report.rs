//! What a handover wrote, and what it could not.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::format::Format;

/// The outcome of a [`Handover`](crate::Handover).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct HandoverReport {
    /// What was written.
    pub format: Format,
    /// Users written.
    pub users: u64,
    /// Pending users among them: they are disabled there, which no import takes for pending.
    pub pending_as_disabled: u64,
    /// Identities written.
    pub identities: u64,
    /// Identities written by provider, most frequent first.
    pub providers: Vec<WrittenProvider>,
    /// Users that have no place there, with all of their identities.
    pub users_left_out: u64,
    /// The same by reason.
    pub users_left_out_by_reason: BTreeMap<Misfit, u64>,
    /// Identities that have no place there, of users that were written.
    pub identities_left_out: u64,
    /// The same by provider and reason.
    pub identities_left_out_by_provider: Vec<LeftOut>,
    /// Users written without some of their identities.
    pub users_with_less: u64,
    /// The first things that have no place, in UID order: at most 20.
    pub examples: Vec<MisfitExample>,
    /// The last seq that the snapshot holds.
    pub seq: u64,
    /// The last UID looked at, written or not: where a page goes on after.
    pub last_uid: Option<String>,
}

impl HandoverReport {
    /// Whether everything had a place.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.users_left_out == 0 && self.identities_left_out == 0
    }
}

/// How many identities of a provider were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WrittenProvider {
    /// Its name in the store.
    pub provider: String,
    /// What it is called in the file, where that is something else: a name, or a member of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_as: Option<String>,
    /// Identities written.
    pub identities: u64,
}

/// Identities of a provider that have no place, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Name of the provider in the store.
    pub provider: String,
    /// Why.
    pub reason: Misfit,
    /// How many.
    pub identities: u64,
}

/// Something that has no place in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct MisfitExample {
    /// UID of the user.
    pub uid: String,
    /// The identity, unless it is the user as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The identity's providerUID.
    #[serde(rename = "providerUID", skip_serializing_if = "Option::is_none")]
    pub provider_uid: Option<String>,
    /// Why.
    pub reason: Misfit,
    /// What is expected and what was found.
    pub message: String,
}

impl fmt::Display for MisfitExample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {:?}", self.uid)?;
        if let (Some(provider), Some(provider_uid)) = (&self.provider, &self.provider_uid) {
            write!(f, ", identity {provider:?} {provider_uid:?}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Why something has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Misfit {
    /// The system knows no users whose registration is incomplete.
    Pending,
    /// The UID is longer than the system's.
    LongUid,
    /// The system takes no identities of this provider.
    Provider,
    /// A user has one identity of a provider there, and this is another.
    OneEach,
    /// The identity is longer than the system's.
    LongIdentity,
    /// Under the names that the system has for providers, it is an identity that the user has already.
    Repeated,
    /// What the system has for this provider does not take this text.
    Text,
}

impl Misfit {
    /// A short name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::LongUid => "long-uid",
            Self::Provider => "provider",
            Self::OneEach => "one-each",
            Self::LongIdentity => "long-identity",
            Self::Repeated => "repeated",
            Self::Text => "text",
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
