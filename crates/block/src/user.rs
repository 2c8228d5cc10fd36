//! Owned users: the convenient twin of the borrowed views.

use std::fmt;

/// Whether a user's registration is finalized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum Status {
    /// Finalized; part of every export.
    #[default]
    Registered,
    /// Not finalized; left out of exports unless asked for.
    Pending,
}

impl Status {
    /// The name used in exports and imports: `registered` or `pending`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Pending => "pending",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One identity: the account `provider_uid` at `provider`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Name of the provider, 1 to 128 bytes.
    pub provider: String,
    /// The provider's name for the account, 1 to 4,096 bytes.
    pub provider_uid: String,
}

impl Identity {
    /// An identity of `provider` and `provider_uid`.
    pub fn new(provider: impl Into<String>, provider_uid: impl Into<String>) -> Self {
        Self { provider: provider.into(), provider_uid: provider_uid.into() }
    }
}

/// One user with the identities linked to it, in link order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct User {
    /// The user's key, 1 to 1,024 bytes.
    pub uid: String,
    /// Registered or pending.
    pub status: Status,
    /// Linked identities, in link order.
    pub identities: Vec<Identity>,
}

impl User {
    /// A registered user without identities.
    pub fn new(uid: impl Into<String>) -> Self {
        Self { uid: uid.into(), ..Self::default() }
    }

    /// The same user with one more identity at the end.
    #[must_use]
    pub fn with_identity(mut self, provider: impl Into<String>, provider_uid: impl Into<String>) -> Self {
        self.identities.push(Identity::new(provider, provider_uid));
        self
    }

    /// The same user with this status.
    #[must_use]
    pub const fn with_status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }
}
