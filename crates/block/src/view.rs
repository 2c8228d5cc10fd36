//! Borrowed views of users, whichever form they are stored in.

use crate::dictionary::Dictionary;
use crate::error::Fault;
use crate::header::ENTRY_LEN;
use crate::read::UID_LEN_MASK;
use crate::row::{RowIdentities, RowRef};
use crate::user::{Identity, Status, User};

/// One identity, as bytes that are UTF-8 unless the file is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentityRef<'a> {
    /// Name of the provider.
    pub provider: &'a [u8],
    /// The provider's name for the account.
    pub provider_uid: &'a [u8],
}

impl IdentityRef<'_> {
    /// An owned copy.
    ///
    /// # Errors
    /// A [`Fault`] when the text is not UTF-8.
    pub fn to_identity(&self) -> Result<Identity, Fault> {
        Ok(Identity::new(utf8(self.provider, "provider")?, utf8(self.provider_uid, "providerUID")?))
    }
}

/// `bytes` as text.
pub(crate) fn utf8<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, Fault> {
    std::str::from_utf8(bytes).map_err(|e| {
        let at = e.valid_up_to();
        let found = bytes.get(at).copied().map_or(0, u64::from);
        Fault::new(what, at, 0, found)
    })
}

/// One user, as stored: a compact row of a block, or a self-contained row.
#[derive(Debug, Clone, Copy)]
pub struct UserRef<'a>(Repr<'a>);

#[derive(Debug, Clone, Copy)]
enum Repr<'a> {
    Compact {
        uid: &'a [u8],
        pending: bool,
        /// Control entries, the first of which heads the user; those of the next users may follow.
        ctl: &'a [[u8; ENTRY_LEN]],
        /// Text from the first providerUID on.
        text: &'a [u8],
        dict: &'a Dictionary,
    },
    Row(RowRef<'a>),
}

impl<'a> From<RowRef<'a>> for UserRef<'a> {
    fn from(row: RowRef<'a>) -> Self {
        Self(Repr::Row(row))
    }
}

impl<'a> UserRef<'a> {
    pub(crate) const fn compact(
        uid: &'a [u8],
        pending: bool,
        ctl: &'a [[u8; ENTRY_LEN]],
        text: &'a [u8],
        dict: &'a Dictionary,
    ) -> Self {
        Self(Repr::Compact { uid, pending, ctl, text, dict })
    }

    /// The UID.
    #[must_use]
    pub fn uid(&self) -> &'a [u8] {
        match &self.0 {
            Repr::Compact { uid, .. } => uid,
            Repr::Row(row) => row.uid(),
        }
    }

    /// The self-contained row, where the user is stored as one.
    pub(crate) const fn as_row(&self) -> Option<RowRef<'a>> {
        match self.0 {
            Repr::Row(row) => Some(row),
            Repr::Compact { .. } => None,
        }
    }

    /// The UID as text; `None` when it is not UTF-8, which only damage can cause.
    #[must_use]
    pub fn uid_str(&self) -> Option<&'a str> {
        std::str::from_utf8(self.uid()).ok()
    }

    /// Registered or pending.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.0 {
            Repr::Compact { pending: true, .. } => Status::Pending,
            Repr::Compact { .. } => Status::Registered,
            Repr::Row(row) => row.status(),
        }
    }

    /// The identities, in link order.
    #[must_use]
    pub fn identities(&self) -> Identities<'a> {
        Identities(match self.0 {
            Repr::Compact { ctl, text, dict, .. } => Inner::Compact { ctl, text, dict, heads: true },
            Repr::Row(row) => Inner::Row(row.identities()),
        })
    }

    /// Whether the user carries this identity.
    #[must_use]
    pub fn has_identity(&self, provider: &[u8], provider_uid: &[u8]) -> bool {
        self.identities().any(|i| i.provider_uid == provider_uid && i.provider == provider)
    }

    /// Whether both hold the same UID, status and identities in the same order.
    #[must_use]
    pub fn same(&self, other: &UserRef<'_>) -> bool {
        self.uid() == other.uid()
            && self.status() == other.status()
            && self
                .identities()
                .map(|i| (i.provider, i.provider_uid))
                .eq(other.identities().map(|i| (i.provider, i.provider_uid)))
    }

    /// An owned copy.
    ///
    /// # Errors
    /// A [`Fault`] when text is not UTF-8, or an identity cannot be read: its provider is not in the dictionary.
    pub fn to_user(&self) -> Result<User, Fault> {
        let mut each = self.identities();
        let identities = each.by_ref().map(|i| i.to_identity()).collect::<Result<Vec<_>, _>>()?;
        each.expect_end()?;
        Ok(User { uid: utf8(self.uid(), "UID")?.to_owned(), status: self.status(), identities })
    }
}

impl Identities<'_> {
    /// Checks, of an iterator that has come to its end, that it is the user's: what cannot be read ends it too.
    pub(crate) fn expect_end(&self) -> Result<(), Fault> {
        let Inner::Compact { ctl: [[head, provider, _], ..], dict, heads, .. } = &self.0 else { return Ok(()) };
        let (bare, next) = (*heads && *provider == 0, !heads && head & UID_LEN_MASK != 0);
        if bare || next {
            return Ok(());
        }
        Err(Fault::new("identity of a row", 0, dict.len() as u64, u64::from(*provider)))
    }
}

/// Iterator over the identities of a [`UserRef`].
#[derive(Debug, Clone)]
pub struct Identities<'a>(Inner<'a>);

#[derive(Debug, Clone)]
enum Inner<'a> {
    Compact { ctl: &'a [[u8; ENTRY_LEN]], text: &'a [u8], dict: &'a Dictionary, heads: bool },
    Row(RowIdentities<'a>),
}

impl<'a> Iterator for Identities<'a> {
    type Item = IdentityRef<'a>;

    fn next(&mut self) -> Option<IdentityRef<'a>> {
        match &mut self.0 {
            Inner::Row(row) => row.next(),
            Inner::Compact { ctl, text, dict, heads } => {
                let (&[head, provider, len], rest) = ctl.split_first()?;
                // The next user's head ends this one.
                if head & UID_LEN_MASK != 0 && !*heads {
                    return None;
                }
                // Provider 0 stands for "no identity" and is a user's only entry.
                let provider = dict.name(u16::from(provider).checked_sub(1)?)?;
                let (provider_uid, after) = text.split_at_checked(usize::from(len))?;
                (*ctl, *text, *heads) = (rest, after, false);
                Some(IdentityRef { provider, provider_uid })
            }
        }
    }
}
